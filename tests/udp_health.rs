//! Active checks of udp endpoints: a datagram that a real name server answers, or does not.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::*;

/// A query for the address of `www.example` (RFC 1035 §4), as `health.send` has it.
const QUERY: &str = "hex:1234 0100 0001 0000 0000 0000 03 777777 07 6578616d706c65 00 0001 0001";
const QUICK: &str = "interval = \"100ms\", timeout = \"600ms\", fall = 2, rise = 2";

/// dnsmasq that says 192.0.2.LAST of each name.
fn dnsmasq(at: SocketAddr, last: u8) -> Process {
    let server = Process::start(Command::new("dnsmasq").args([
        "--no-daemon",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--listen-address=127.0.0.1",
        &format!("--port={}", at.port()),
        &format!("--address=/example/192.0.2.{last}"),
        "--conf-file=/dev/null",
        "--pid-file=",
    ]));
    eventually("dnsmasq", || last_of(at, &client()));
    server
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    client
}

/// The last byte of the address that a server says of `www.example`.
fn last_of(server: SocketAddr, client: &UdpSocket) -> Option<u8> {
    let digits: String = QUERY[4..].split(' ').collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let query: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    client.send_to(&query, server).ok()?;
    let mut answer = [0; 512];
    let length = client.recv(&mut answer).ok()?;
    (answer[7] == 1).then(|| answer[length - 1])
}

fn setup(endpoints: &[SocketAddr], health: &str) -> Ringate {
    let health = format!("health = {{ type = \"udp\", {health}, {QUICK} }}");
    Setup::to_all(endpoints.iter().copied())
        .listener("protocol = \"udp\"")
        .section("[admin]")
        .upstream(&health)
        .start()
}

fn addresses(ringate: &Ringate) -> Vec<serde_json::Value> {
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    status["upstreams"][0]["addresses"].as_array().unwrap().clone()
}

fn await_check(ringate: &Ringate, index: usize, passes: bool) -> String {
    eventually(&format!("checks of {index} that pass: {passes}"), || {
        let found = addresses(ringate)[index].clone();
        let is_down = found["state"] == "down";
        let is_checked = !found["check"].is_null();
        (is_checked && is_down != passes).then(|| found["reason"].as_str().unwrap_or_default().to_owned())
    })
}

/// Which servers answer the queries of several clients.
fn servers(ringate: &Ringate) -> Vec<u8> {
    let mut found: Vec<u8> = (0..8).filter_map(|_| last_of(ringate.address(), &client())).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn a_name_server_that_is_killed_gets_no_queries_until_it_is_back() {
    let at = [free_address(), free_address()];
    let (first, _second) = (dnsmasq(at[0], 1), dnsmasq(at[1], 2));
    // The answer has the id of the query, and is a response without an error.
    let ringate = setup(&at, &format!("send = \"{QUERY}\", expect = \"hex:12 34 85 80\""));
    let checked = || await_check(&ringate, 0, true) + &await_check(&ringate, 1, true);
    checked();
    assert_eq!(servers(&ringate), [1, 2]);
    // A client whose session is at the first server.
    let kept = eventually("a session at the first server", || {
        let client = client();
        (last_of(ringate.address(), &client) == Some(1)).then_some(client)
    });

    // Stopped, it receives datagrams and answers none: no ICMP message says so.
    first.signal(Signal::STOP);
    let reason = await_check(&ringate, 0, false);
    assert!(reason.contains("health check: no answer in time"), "{reason}");
    assert_eq!(servers(&ringate), [2]);
    assert_eq!(last_of(ringate.address(), &kept), Some(2), "its session goes on elsewhere");
    first.signal(Signal::CONT);
    checked();
    assert_eq!(servers(&ringate), [1, 2]);

    drop(first);
    let reason = await_check(&ringate, 0, false);
    assert!(reason.contains("no process receives datagrams at"), "{reason}");
    assert_eq!(servers(&ringate), [2]);
    let _first = dnsmasq(at[0], 1);
    checked();
    eventually("both", || (servers(&ringate) == [1, 2]).then_some(()));
    ringate.await_log("the health check passes");
    let checks = ringate.admin("/metrics");
    assert!(
        checks.contains("ringate_endpoint_checks_total{") && checks.contains("result=\"failed\""),
        "{checks}"
    );
}

#[test]
fn what_is_answered_decides_and_without_an_expectation_a_refusal_does() {
    let at = free_address();
    let _server = dnsmasq(at, 1);
    let (closed, silent) = (free_address(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let silent = silent.local_addr().unwrap();
    for (endpoint, health, fault) in [
        (at, format!("send = \"{QUERY}\", expect = \"\""), None),
        (at, format!("send = \"{QUERY}\", expect = \"hex:c0000201\""), None),
        (
            at,
            format!("send = \"{QUERY}\", expect = \"hex:c0000209\""),
            Some("no answer has what is expected"),
        ),
        (closed, "send = \"ping\"".to_owned(), Some("no process receives datagrams at")),
    ] {
        let ringate = setup(&[endpoint], &health);
        let found = eventually("a check", || {
            Some(addresses(&ringate)[0]["check"].clone()).filter(|it| !it.is_null())
        });
        match fault {
            None => assert!(found["fault"].is_null(), "{health}: {found}"),
            Some(fault) => assert!(found["fault"].as_str().unwrap().contains(fault), "{health}: {found}"),
        }
    }
    let ringate = setup(&[silent], "send = \"ping\"");
    let found =
        eventually("a check", || Some(addresses(&ringate)[0]["check"].clone()).filter(|it| !it.is_null()));
    assert!(found["fault"].is_null(), "the port is open: {found}");
}

#[test]
fn keys_of_the_datagram_are_checked() {
    for (health, reason) in [
        ("type = \"udp\", send = \"hex:0\"", "these are no bytes"),
        ("type = \"udp\", expect = [\"200\"]", "expected a string"),
        ("type = \"udp\", path = \"/\"", "health.path` has no effect without `type = \"http\"`"),
        ("type = \"tcp\", send = \"a\"", "health.send` has no effect without `type = \"udp\"`"),
        ("type = \"http\", expect = \"200\"", "expected a list"),
    ] {
        let text = Setup::to(free_address())
            .listener("protocol = \"udp\"")
            .upstream(&format!("health = {{ {health} }}"))
            .text();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ringate.toml");
        std::fs::write(&file, text).unwrap();
        let refused = run(Ringate::command().arg("check").arg("-c").arg(&file));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(reason), "{health}: {said}");
    }
}
