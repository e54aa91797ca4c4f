//! Server-Timing: what Ringate has measured of an exchange, if its listener tells clients.

use crate::http::{OK, ok};
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// The metrics of a value: their names, each with a duration in milliseconds.
fn metrics(value: &str) -> Vec<&str> {
    let each = value.split(", ").map(|metric| {
        let (name, millis) = metric.split_once(";dur=").unwrap_or_else(|| panic!("{value}"));
        let millis: f64 = millis.parse().unwrap();
        assert!((0.0..20_000.0).contains(&millis), "{value}");
        name
    });
    each.collect()
}

#[test]
fn responses_say_how_long_each_part_took() {
    let backend =
        Backend::replying("HTTP/1.1 200 OK\r\nServer-Timing: db;dur=53\r\nContent-Length: 2\r\n\r\nok");
    let ringate = Setup::to(backend.address()).listener("server_timing = true").start();
    let mut client = ringate.client();
    let first = client.send(GET).response();
    let [own, ours] = first.headers("Server-Timing")[..] else { panic!("{}", first.head) };
    assert_eq!((own, metrics(ours)), ("db;dur=53", vec!["connect", "ttfb"]));
    let second = client.send(GET).response();
    let [_, ours] = second.headers("Server-Timing")[..] else { panic!("{}", second.head) };
    assert_eq!(metrics(ours), ["ttfb"], "the connection was reused");
    // By HTTP/2 the same.
    let arguments = ["--http2-prior-knowledge", "-D", "-", "-o", "/dev/null", &ringate.url()];
    let head = curl(&arguments.map(std::ffi::OsStr::new));
    let lines: Vec<&str> =
        head.lines().filter_map(|line| line.trim_end().strip_prefix("server-timing: ")).collect();
    assert_eq!((lines.len(), metrics(lines[1])), (2, vec!["ttfb"]), "{head}");

    let silent = Setup::to(backend.address()).start();
    assert_eq!(silent.get("/").headers("Server-Timing"), ["db;dur=53"], "off by default");
}

#[test]
fn a_wait_in_the_queue_is_measured_and_an_answer_of_ringates_own_has_none() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .listener("server_timing = true")
        .upstream("[upstream.app.pool]\nmax_per_endpoint = 1")
        .routes("[[route]]\nupstream = \"app\"\n[[route]]\npath = \"=/own\"\nrespond = { status = 200, body = \"x\" }")
        .start();
    let response = ringate.get("/");
    assert_eq!(metrics(response.header("Server-Timing").unwrap()), ["queue", "connect", "ttfb"]);
    assert_eq!(ringate.get("/own").header("Server-Timing"), None);
    let compressed = Backend::serving(|_| ok("x".repeat(5000)));
    let ringate =
        Setup::to(compressed.address()).listener("server_timing = true\ncompression = true").start();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    assert_eq!(
        metrics(ringate.client().send(request).response().header("Server-Timing").unwrap()),
        ["connect", "ttfb"]
    );
}
