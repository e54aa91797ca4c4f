//! grpcio as client and as server: `peer.py` has the calls.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// Python with grpcio. `scripts/test` has installed it; otherwise it is installed now.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = run_within(LONG, &mut Command::new(root.join("scripts/python-peers")));
    assert!(output.status.success(), "scripts/python-peers: {}", String::from_utf8_lossy(&output.stderr));
    root.join("target/peers-venv/bin/python")
}

fn peer() -> Command {
    let mut command = Command::new(python());
    command.arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc/peer.py"));
    command
}

#[test]
fn grpcio_reports_the_status_of_a_call_that_fails_within_its_response() {
    let backend = within::failing();
    let ringate = Setup::to(backend.address()).upstream("http = \"2\"\ntimeouts.idle = \"2s\"").start();
    let output = run_within(LONG, peer().arg("within").arg(ringate.address().to_string()));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{}", ringate.log());
}

#[test]
fn all_kinds_of_calls_pass_between_grpcio_and_grpcio() {
    let pki = Pki::new();
    let files = ["server.pem", "server.key", "ca.pem"].map(|name| pki.file(name));
    let server = Process::start(peer().arg("serve").args(files));
    let port = |name: &str| {
        let start = format!("{name} ");
        server.await_line(name, |line| line.strip_prefix(&start)?.trim().parse::<u16>().ok())
    };
    let (plain, mutual) = (port("plain"), port("mutual"));
    // Plain to plain, and TLS to mutual TLS.
    let route = |listener: &str, upstream: &str| {
        format!("[[route]]\nlistener = \"{listener}\"\nupstream = \"{upstream}\"\nmethods = [\"POST\"]\n")
    };
    let config = Setup::to(([127, 0, 0, 1], mutual).into())
        .workers(2)
        .section("[admin]\n[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"")
        .listener(&pki.listener_tls())
        .routes(&format!(
            "{}{}[[route]]\nlistener = [\"web\", \"plain\"]\npath = \"/dead\"\nupstream = \"dead\"\n\
             [upstream.plain]\nendpoints = [\"127.0.0.1:{plain}\"]\nhttp = \"2\"\n\
             [upstream.dead]\nendpoints = [\"127.0.0.1:9\"]\nhttp = \"2\"\n",
            route("web", "app"),
            route("plain", "plain")
        ))
        .upstream(&format!("http = \"2\"\n{}", pki.upstream_mutual_tls()));
    let ringate = config.start();
    let address = |name: &str| ringate.address_of(name).to_string();
    let output = run_within(
        LONG,
        peer().arg("call").arg(address("plain")).arg(address("web")).arg(pki.file("ca.pem")),
    );
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{}\n{}", ringate.log(), server.log());
    assert_eq!(ringate.metric("http2_connection_errors_total"), 0);
    assert_eq!(ringate.metric("http2_stream_errors_total"), 0);
}
