//! `kill -9` at any moment of a command on credentials leaves the old state or the new one.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::*;

/// Commands that are killed.
const ROUNDS: u32 = 40;

#[test]
fn a_killed_command_leaves_the_old_state_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = Setup::to(free_address())
        .section("[credentials.key]\napi_key = true\napproval = \"automatic\"")
        .text();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    done(dir.path(), "consumer add acme");
    done(dir.path(), "credential request acme key --name one");
    let begun = Instant::now();
    done(dir.path(), "credential suspend one");
    done(dir.path(), "credential resume one");
    let time = begun.elapsed() / 2;
    let (mut changed, mut state) = (0, "active".to_owned());
    for round in 0..ROUNDS {
        let (command, next) = match state.as_str() {
            "active" => ("suspend", "suspended"),
            _ => ("resume", "active"),
        };
        let mut child = Ringate::command()
            .current_dir(dir.path())
            .args(["credential", command, "one", "-c", "ringate.toml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(time * round / ROUNDS + Duration::from_micros(u64::from(round * 37 % 100)));
        let _ = child.kill();
        child.wait().unwrap();
        let now = json(dir.path(), "credential show one")["state"].as_str().unwrap().to_owned();
        assert!(now == state || now == next, "{state} became {now}");
        changed += u32::from(now == next);
        state = now;
    }
    println!("{changed} of {ROUNDS} were done before they were killed");
    // The next writer goes its way whatever was left behind.
    done(dir.path(), "credential revoke one");
    let left: Vec<_> = fs::read_dir(dir.path().join("certs/_credentials"))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(left, ["one.toml"]);
}
