//! Copies of requests for another upstream: what they are like, and that the exchange does not notice them.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::http::ok;
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";
const GET: &str = "GET /a?b=1 HTTP/1.1\r\nHost: shop.test\r\nX-User: ada\r\n\r\n";

fn main_backend() -> Backend {
    Backend::serving(|request| ok(request.line()))
}

/// Ringate with a mirror of all requests of `app`, at this address.
fn mirrored(main: &Backend, shadow: impl std::fmt::Display, percent: &str) -> Setup {
    Setup::to(main.address())
        .section(ADMIN)
        .upstream(&format!("mirror = {{ upstream = \"shadow\", percent = {percent} }}"))
        .section(&format!("[upstream.shadow]\nendpoints = [\"{shadow}\"]\ntimeouts.response = \"1s\""))
}

fn text(request: &Request) -> String {
    format!("{}{}", request.head, String::from_utf8_lossy(&request.body))
}

/// A sample of the mirror's metrics.
fn count(ringate: &Ringate, name: &str, reason: Option<&str>) -> u64 {
    let reason = reason.map_or_else(String::new, |reason| format!(",reason=\"{reason}\""));
    let sample = format!("ringate_{name}{{upstream=\"app\",mirror=\"shadow\"{reason}}} ");
    let metrics = ringate.admin("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&sample));
    line.unwrap_or_else(|| panic!("no {sample}in {metrics}")).parse().unwrap()
}

fn await_count(ringate: &Ringate, name: &str, reason: Option<&str>, value: u64) {
    eventually(name, || (count(ringate, name, reason) == value).then_some(()));
}

#[test]
fn a_copy_is_the_request_with_a_mark() {
    let (main, shadow) = (main_backend(), main_backend());
    let ringate = mirrored(&main, shadow.address(), "100").start();
    let mut client = ringate.client();
    assert_eq!(client.send(GET).response().status, 200);
    let [get, copy] = [&main, &shadow].map(|at| text(&at.request()));
    let unmarked = copy.replace("X-Ringate-Mirrored: app\r\n", "");
    assert_ne!(unmarked, copy);
    assert_eq!(unmarked, get, "all else is the same, the host too");
    // The copy's connection is idle only once its response has come.
    await_count(&ringate, "mirror_in_flight", None, 0);
    let post = "POST /b HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(client.send(post).response().status, 200);
    let [post, copy] = [&main, &shadow].map(|at| text(&at.request()));
    assert!(copy.contains("POST /b ") && copy.ends_with("hello"), "{copy}");
    assert_eq!(copy.replace("X-Ringate-Mirrored: app\r\n", ""), post);
    await_count(&ringate, "mirrored_requests_total", None, 2);
    assert_eq!(shadow.connections(), 1, "its connections are used again");
    await_count(&ringate, "mirror_in_flight", None, 0);
    let status = ringate.admin("/v1/status");
    assert!(status.contains("\"requests\":2"), "{status}");
}

#[test]
fn bodies_that_arrive_later_are_copied_as_they_pass() {
    let (main, shadow) = (main_backend(), main_backend());
    let ringate = mirrored(&main, shadow.address(), "100").start();
    let mut client = ringate.client();
    client.send("POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(client.send("defghij").response().status, 200);
    assert!(text(&shadow.request()).ends_with("\r\n\r\nabcdefghij"));
    client.send("POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(client.send("4\r\ndefg\r\n0\r\n\r\n").response().status, 200);
    let copy = text(&shadow.request());
    assert!(copy.contains("ontent-Length: 7\r\n") && copy.ends_with("\r\n\r\nabcdefg"), "{copy}");

    // Longer ones have no copy, whether their length is known or not.
    let long = "x".repeat(40_000);
    let known = format!("POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n{long}");
    assert_eq!(client.send(known).response().status, 200);
    client.send("POST /f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("9c40\r\n{long}\r\n"));
    assert_eq!(client.send("0\r\n\r\n").response().status, 200);
    await_count(&ringate, "mirror_skipped_total", Some("body_too_long"), 2);

    // One that breaks off has none either.
    let mut gone = ringate.client();
    gone.send("POST /g HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    await_count(&ringate, "mirror_in_flight", None, 1);
    gone.reset();
    await_count(&ringate, "mirror_skipped_total", Some("incomplete"), 1);
    assert_eq!(shadow.requests(), 2);
    await_count(&ringate, "mirror_in_flight", None, 0);
}

#[test]
fn a_mirror_that_is_down_or_silent_changes_nothing() {
    let main = main_backend();
    let down = mirrored(&main, free_address(), "100").start();
    let mut client = down.client();
    for _ in 0..5 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    await_count(&down, "mirror_failures_total", None, 5);
    down.await_log("a mirrored request failed");

    // It accepts and never responds: no request waits for it, and copies are bounded.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let ringate = mirrored(&main, silent.local_addr().unwrap(), "100").start();
    let mut client = ringate.client();
    let begun = Instant::now();
    for _ in 0..400 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    if begun.elapsed() < Duration::from_millis(900) {
        assert!(count(&ringate, "mirror_skipped_total", Some("busy")) >= 400 - 256);
    }
    eventually("the end of all copies", || {
        let ended = count(&ringate, "mirror_failures_total", None);
        let busy = count(&ringate, "mirror_skipped_total", Some("busy"));
        (ended + busy == 400).then_some(())
    });
    await_count(&ringate, "mirror_in_flight", None, 0);
    assert_eq!(count(&ringate, "mirrored_requests_total", None), 0);
}

#[test]
fn responses_of_the_mirror_are_read_and_dropped() {
    let main = main_backend();
    let shadow = Backend::serving(|request| match request.line().contains("/a") {
        true => {
            [b"HTTP/1.1 500 Oops\r\nContent-Length: 300000\r\n\r\n".as_slice(), &[b'x'; 300_000]].concat()
        }
        false => ok("small"),
    });
    let ringate = mirrored(&main, shadow.address(), "100").start();
    let mut client = ringate.client();
    for number in 1..=3 {
        assert_eq!(client.send(GET).response().status, 200);
        await_count(&ringate, "mirrored_requests_total", None, number);
    }
    assert_eq!(shadow.connections(), 1);
    // An upgrade is a conversation: it has no copy.
    let upgrade = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(client.send(upgrade).response().status, 200);
    await_count(&ringate, "mirror_skipped_total", Some("upgrade"), 1);
}

#[test]
fn a_share_of_the_requests_is_mirrored() {
    let (main, shadow) = (main_backend(), main_backend());
    let ringate = mirrored(&main, shadow.address(), "12.5").start();
    let mut client = ringate.client();
    for _ in 0..800 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    eventually("the last copy", || (count(&ringate, "mirror_in_flight", None) == 0).then_some(()));
    assert!((50..160).contains(&shadow.requests()), "{}", shadow.requests());
}

#[test]
fn copies_go_over_tls() {
    let main = main_backend();
    let shadow = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = shadow.local_addr().unwrap();
    // A peer that is no TLS server: the copy fails, the request does not.
    let ringate = mirrored(&main, address, "100")
        .section("[upstream.shadow.tls]\nserver_name = \"shadow.test\"\ntrust = [\"system\"]")
        .start();
    assert!(!ringate.log().contains("no route uses"), "{}", ringate.log());
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = shadow.accept().unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        hello
    });
    assert_eq!(ringate.client().send(GET).response().status, 200);
    assert_eq!(peer.join().unwrap()[..2], [22, 3], "a ClientHello");
    await_count(&ringate, "mirror_failures_total", None, 1);
}

#[test]
fn mirrors_that_can_not_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ringate.toml");
    let shadow = "[upstream.shadow]\nendpoints = [\"127.0.0.1:2\"]\n";
    for (mirror, wrong) in [
        ("upstream = \"app\"", "`app` is the upstream itself"),
        ("upstream = \"shadows\"", "there is no upstream called `shadows`"),
        ("upstream = \"shadow\", percent = 101", "101 is not a number from 0 to 100"),
        ("percent = 5", "`upstream` is missing"),
    ] {
        let main = format!("[upstream.app]\nendpoints = [\"127.0.0.1:1\"]\nmirror = {{ {mirror} }}\n");
        let listener =
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nupstream = \"app\"\n";
        std::fs::write(&config, format!("{listener}{main}{shadow}")).unwrap();
        let checked = run(Ringate::command().arg("check").arg("-c").arg(&config));
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success() && said.contains(wrong), "{mirror}: {said}");
    }
}
