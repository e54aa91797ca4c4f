//! The fuzz targets' checks hold for their seeds and for the corpus, each also damaged in a few places, and for what
//! fuzzing has found of worth.

use std::path::PathBuf;

use data_encoding::BASE64;

use crate::corpus;
use crate::support::run;

#[path = "../fuzz/checks.rs"]
mod checks;

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 18] = [
    ("request", checks::request),
    ("response", checks::response),
    ("chunked", checks::chunked),
    ("trailers", checks::trailers),
    ("path", checks::path),
    ("hello", checks::hello),
    ("record", checks::record),
    ("proxy", checks::proxy),
    ("config", checks::config),
    ("container", checks::container),
    ("certificate", checks::certificate),
    ("crl", checks::crl),
    ("patch", checks::patch),
    ("http2_frames", checks::http2_frames),
    ("hpack", checks::hpack),
    ("dns_message", checks::dns_message),
    ("ocsp", checks::ocsp),
    ("file", checks::file),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = folder().join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let seeds: Vec<_> = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

/// The input, and versions of it with a byte changed, left out or doubled, at places spread over it.
fn with_damage(input: &[u8], check: Check) {
    check(input);
    for at in (0..input.len()).step_by(input.len() / 16 + 1) {
        for byte in [0, b'\r', b'\n', b' ', b':', b'%', b'0', 0xff] {
            let mut changed = input.to_vec();
            changed[at] = byte;
            check(&changed);
        }
        check(&[&input[..at], &input[at + 1..]].concat());
        check(&[&input[..=at], &input[at..]].concat());
    }
}

#[test]
fn the_seeds_of_each_fuzz_target_hold() {
    for (target, check) in TARGETS {
        for seed in seeds(target) {
            with_damage(&seed, check);
        }
    }
}

/// Sets of up to ten lists, of pseudo-random bytes.
#[test]
fn sets_of_revocation_lists_are_judged_as_their_fields_say() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    for lists in (1..=10).cycle().take(600) {
        let input: Vec<u8> = (0..=2 * lists).map(|_| byte()).collect();
        checks::crl(&input);
    }
}

/// `scripts/fuzz keep` writes them, an input a line.
#[test]
fn what_fuzzing_kept_holds() {
    let mut kept = 0;
    for (target, check) in TARGETS {
        let Ok(lines) = std::fs::read_to_string(folder().join(format!("{target}.corpus"))) else { continue };
        for line in lines.lines() {
            check(
                &BASE64.decode(line.as_bytes()).unwrap_or_else(|error| panic!("{target}: {line}: {error}")),
            );
            kept += 1;
        }
    }
    assert!(kept > 500, "{kept}");
}

#[test]
fn the_fuzz_targets_hold_for_the_corpus() {
    for case in corpus::requests().into_iter().filter(|case| case.sent.len() < 2000) {
        for at in [0, 100, 200] {
            with_damage(&[&[at], &case.sent[..]].concat(), checks::request);
        }
    }
    for case in corpus::responses().into_iter().filter(|case| case.sent.len() < 2000) {
        for kind in 0..16 {
            with_damage(&[&[kind, 128], &case.sent[..]].concat(), checks::response);
        }
    }
}

/// A `cargo` of the test's own stands for cargo-fuzz.
#[test]
fn the_script_tells_a_finding_a_failed_build_and_a_clean_run_apart() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts");
    for folder in ["scripts", "fuzz", "bin"] {
        std::fs::create_dir(place(folder)).unwrap();
    }
    std::fs::copy(scripts.join("fuzz"), place("scripts/fuzz")).unwrap();
    for (said, status, right) in [
        ("stat::number_of_executed_units: 7", 0, Some("path: 7 executions in 1 s, nothing found")),
        ("error: could not compile `ringate-fuzz`", 101, None),
        ("SUMMARY: libFuzzer: deadly signal", 77, None),
        ("", 0, None),
    ] {
        let cargo = format!("#!/bin/sh\n[ \"$2\" = --version ] && exit 0\necho '{said}'\nexit {status}\n");
        std::fs::write(place("bin/cargo"), cargo).unwrap();
        std::fs::set_permissions(place("bin/cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", place("bin").display(), std::env::var("PATH").unwrap());
        let mut script = std::process::Command::new("bash");
        let output = run(script.arg(place("scripts/fuzz")).args(["1", "path"]).env("PATH", path));
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), right.is_some(), "{said}: {told}");
        assert_eq!(told.contains("nothing found"), right.is_some(), "{said}: {told}");
        assert!(told.contains(right.unwrap_or_default()), "{said}: {told}");
    }
}
