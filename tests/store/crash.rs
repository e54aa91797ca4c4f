//! `kill -9` at any moment of a command on the store leaves the old state or the new one, whole, and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Shop, states};
use crate::support::*;

/// Commands that are killed, unless the environment says how many: `RINGATE_STORE_CRASHES=300`.
const ROUNDS: usize = 60;

/// Numbers without a pattern, the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// What `show` says, without what changes with the clock; nothing if there is no such certificate.
fn look(shop: &Shop, name: &str) -> Option<Value> {
    let output = shop.cert(&format!("show {name} --json"));
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {
            let mut shown: Value = serde_json::from_slice(&output.stdout).unwrap();
            for generation in shown["generations"].as_array_mut().unwrap() {
                generation.as_object_mut().unwrap().remove("days_left");
            }
            Some(shown)
        }
        Some(1) if said.contains("there is no certificate") => None,
        other => panic!("{other:?}: {said}"),
    }
}

/// Every file and folder below `folder`.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with(".tmp-")
}

/// No key is readable by others, whether its write was finished or not.
fn assert_private(store: &Path) {
    for path in walk(store) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
        } else if path.ends_with("key.pem") {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}

/// What is on the disk is what the record mentions, and no more.
fn assert_clean(store: &Path, name: &str, shown: Option<&Value>) {
    let left: Vec<PathBuf> = walk(store).into_iter().filter(|path| is_temporary(path)).collect();
    assert!(left.is_empty(), "{left:?}");
    let Some(shown) = shown else {
        assert!(!store.join(name).exists());
        return;
    };
    let mut folders: Vec<u64> = walk(&store.join(name))
        .iter()
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
        .collect();
    folders.sort_unstable();
    let mut living: Vec<u64> = states(shown).into_iter().flatten().collect();
    living.sort_unstable();
    assert_eq!(folders, living);
    for generation in shown["generations"].as_array().unwrap() {
        assert!(generation["problem"].is_null(), "{generation}");
        if generation["state"] != "retired" {
            assert_eq!(generation["has_key"], true, "{generation}");
        }
    }
}

/// The states that `words` leads to from `before`.
fn expected(words: &str, before: Option<&Value>) -> Option<[Option<u64>; 3]> {
    let [active, staged, previous] = before.map(states).unwrap_or_default();
    let newest = before.map_or(0, |before| before["generations"][0]["number"].as_u64().unwrap());
    Some(match words.split(' ').next().unwrap() {
        "generate" | "import" => [Some(1), None, None],
        "stage" => [active, Some(newest + 1), previous],
        "activate" => [staged, None, active],
        "rollback" if staged.is_some() => [previous, staged, active],
        "rollback" => [previous, active, None],
        "describe" => [active, staged, previous],
        "delete" => return None,
        other => panic!("{other}"),
    })
}

/// A command that is possible now.
fn pick(dice: &mut Dice, before: Option<&Value>, round: usize) -> String {
    let Some(before) = before else {
        let words = ["generate a --common-name a", "import a --cert cert.pem --key key.pem"];
        return words[dice.below(words.len())].to_owned();
    };
    let [_, staged, previous] = states(before);
    let mut words = vec![
        "stage a --generate".to_owned(),
        "stage a --cert cert.pem --key key.pem".to_owned(),
        format!("describe a round-{round}"),
    ];
    if staged.is_some() {
        words.extend(["activate a".to_owned(), "activate a --force".to_owned()]);
    }
    if previous.is_some() {
        words.push("rollback a".to_owned());
    }
    if round.is_multiple_of(7) {
        return "delete a".to_owned();
    }
    words.swap_remove(dice.below(words.len()))
}

#[test]
fn a_command_that_is_killed_happens_whole_or_not_at_all() {
    let rounds = std::env::var("RINGATE_STORE_CRASHES").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let shop = Shop::new();
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=a");
    shop.did("generate bystander --common-name bystander");
    let bystander = look(&shop, "bystander");
    let store = shop.path("certs");
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (mut old, mut new, mut torn) = (0, 0, 0);
    let mut before = look(&shop, "a");
    // How long a command takes when it is not killed: measured on the run, as machines differ.
    let started = Instant::now();
    shop.did("describe bystander x");
    let mut span = started.elapsed() + Duration::from_millis(5);
    shop.did("describe bystander ");
    for round in 1..=rounds {
        let words = pick(&mut dice, before.as_ref(), round);
        let mut command = Ringate::command();
        command.current_dir(shop.dir.path()).arg("cert").args(words.split(' ')).args(["-c", "ringate.toml"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        // The writing is at the end.
        let share = 30 + dice.below(80);
        let moment = span.mul_f64(share as f64 / 100.0);
        while started.elapsed() < moment && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let ended = child.wait().unwrap().success();
        if ended {
            span = span.mul_f64(0.9).max(Duration::from_millis(1));
        } else {
            span = span.mul_f64(1.05);
        }

        assert_private(&store);
        torn += usize::from(walk(&store).iter().any(|path| is_temporary(path)));
        let now = look(&shop, "a");
        assert_private(&store);
        assert_clean(&store, "a", now.as_ref());
        assert_eq!(look(&shop, "bystander"), bystander, "{words}");
        if now == before {
            assert!(
                !ended || words.starts_with("describe"),
                "round {round}: {words} was done and is not there"
            );
            old += 1;
        } else {
            assert_eq!(now.as_ref().map(states), expected(&words, before.as_ref()), "round {round}: {words}");
            new += 1;
        }
        before = now;
    }
    eprintln!(
        "{rounds} commands killed: {old} times the old state, {new} times the new one, {torn} times in between"
    );
    assert!(old > rounds / 10 && new > rounds / 10, "the moments were not spread: {old} old, {new} new");
}
