//! The pages on other gateways' procedures are true: all their commands run, in their order, against the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::*;

/// Ports that the pages name; each run has others.
const PORTS: [&str; 4] = ["8443", "8080", "8081", "9901"];

/// A fenced block: what follows the fence, and its text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_open = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), is_open) {
            (Some(info), false) => {
                found.push((info.to_owned(), String::new()));
                is_open = true;
            }
            (Some(_), true) => is_open = false,
            (None, true) => found.last_mut().unwrap().1.extend([line, "\n"]),
            (None, false) => {}
        }
    }
    found
}

/// Writes the page's files into a folder, and runs its commands there as one script.
fn follow(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vendors").join(name);
    let mut page = fs::read_to_string(&path).unwrap();
    for port in PORTS {
        page = page.replace(port, &free_address().port().to_string());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n".to_owned();
    let mut commands = 0;
    for (info, text) in blocks(&page) {
        match info.split_once(' ') {
            None if info == "sh" => {
                script.push_str(&text);
                commands += text.matches("ringate ").count();
            }
            Some((_, file)) if file != "fragment" => fs::write(dir.path().join(file), text).unwrap(),
            _ => panic!("{name}: write `sh`, or a language and the file's name, not `{info}`"),
        }
    }
    assert!(commands > 4, "{name}: {commands} commands");
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_ringate"));
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(binary.parent().unwrap().to_owned()).chain(std::env::split_paths(&folders)),
    );
    let mut shell = Command::new("bash");
    shell.args(["-xc", &script]).current_dir(dir.path()).env("PATH", path.unwrap()).env("NO_COLOR", "1");
    let output = run(&mut shell);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let log = fs::read_to_string(dir.path().join("ringate.log")).unwrap_or_default();
    assert!(
        output.status.success(),
        "{name}: {}\n{}\n{}\n{log}",
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
}

#[test]
fn axway_backend_tls() {
    follow("axway-backend-tls.md");
}

#[test]
fn axway_mutual_tls() {
    follow("axway-mutual-tls.md");
}

#[test]
fn axway_api_portal() {
    follow("axway-api-portal.md");
}

#[test]
fn bijira() {
    follow("bijira.md");
}

#[test]
fn aws_client_certificates() {
    follow("aws-client-certificates.md");
}
