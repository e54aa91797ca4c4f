//! HTTP/2 to clients is what RFC 9113 and RFC 7541 ask for: all cases of `scripts/conformance`, plain and over TLS.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::*;

/// 1 KiB for any request.
fn backend() -> Backend {
    Backend::serving(|request| {
        let body = "x".repeat(if request.head.starts_with("HEAD ") { 0 } else { 1024 });
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n{body}").into_bytes()
    })
}

fn start(tls: &str) -> (Backend, Ringate) {
    let backend = backend();
    let limits = "head_timeout = \"2s\"\nbody_timeout = \"2s\"\nidle_timeout = \"2s\"";
    let ringate = Setup::to(backend.address()).limits(limits).section("[admin]").listener(tls).start();
    (backend, ringate)
}

/// Runs all cases, and fails with those that have failed.
fn assert_conforms(ringate: &Ringate, more: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/conformance");
    let mut command = Command::new(script);
    command
        .args(["--address", &ringate.address().to_string(), "--timeout", "10", "--prompt", "10"])
        .args(more);
    // Each wait in it is bounded; all of them together are longer than what `run` waits for.
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<_> = text.lines().filter(|line| !line.starts_with("passed")).collect();
    assert!(output.status.success(), "{failed:#?}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with(" 0 failed, 0 skipped\n"), "{failed:#?}");
    assert_eq!(ringate.metric("panics_total"), 0);
}

#[test]
fn plain_with_prior_knowledge() {
    let (_backend, ringate) = start("");
    assert_conforms(&ringate, &[]);
}

#[test]
fn over_tls() {
    let pki = Pki::new();
    let (_backend, ringate) = start(&pki.listener_tls());
    assert_conforms(&ringate, &["--tls"]);
}
