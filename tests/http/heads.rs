//! Heads are written anew: what is for this hop ends here, what Ringate knows of the client is added, the rest
//! goes on as it came.

use std::collections::HashSet;

use super::{OK, exchange};
use crate::support::*;

/// A head without the one field that differs each time.
fn without_id(head: &str) -> String {
    let lines = head.split_inclusive("\r\n").filter(|line| !line.starts_with("X-Request-Id: "));
    lines.collect()
}

fn forwarded(request: &str) -> String {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    assert_eq!(ringate.client().send(request).response().status, 200, "{request}");
    without_id(&backend.request().head)
}

#[test]
fn the_backend_sees_exactly_this() {
    let request = "GET /a/b?c=d&e HTTP/1.1\r\nhOsT: example.com:8080\r\nAccept: */*\r\nX-Empty:\r\nX-Odd:  a  b\t \r\n\r\n";
    let expected = "GET /a/b?c=d&e HTTP/1.1\r\n\
        Host: example.com:8080\r\n\
        Accept: */*\r\n\
        X-Empty: \r\n\
        X-Odd: a  b\r\n\
        X-Forwarded-For: 127.0.0.1\r\n\
        X-Forwarded-Proto: http\r\n\
        X-Forwarded-Host: example.com:8080\r\n\
        \r\n";
    assert_eq!(forwarded(request), expected);
}

#[test]
fn fields_for_this_hop_end_here() {
    let request = "POST / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Mine,x-yours\r\nKeep-Alive: timeout=5\r\n\
        X-Mine: 1\r\nX-YOURS: 2\r\nX-Theirs: 3\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\n\
        Proxy-Authorization: Basic x\r\nUpgrade: websocket\r\nTrailer: X\r\nProxy: http://evil\r\nContent-Length: 2\r\n\r\nhi";
    let expected = "POST / HTTP/1.1\r\nHost: h\r\nX-Theirs: 3\r\n\
        X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(forwarded(request), expected);
}

#[test]
fn connection_cannot_take_away_what_the_backend_relies_on() {
    let request = "POST / HTTP/1.1\r\nHost: h\r\nConnection: Host, Content-Length, X-Forwarded-For, X-Request-Id\r\nContent-Length: 2\r\n\r\nhi";
    let expected = "POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
        X-Forwarded-Host: h\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(forwarded(request), expected);
}

#[test]
fn what_a_client_says_of_itself_is_dropped() {
    let mut request = "GET / HTTP/1.1\r\nHost: h\r\n".to_owned();
    for name in [
        "X-Forwarded-For",
        "x-forwarded-proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Client-Cert",
        "X_Forwarded_For",
        "Forwarded",
        "X-Real-IP",
        "X-Request-Id",
        "X_Request_Id",
    ] {
        request += &format!("{name}: evil\r\n");
    }
    let head = forwarded(&format!("{request}\r\n"));
    let expected = "GET / HTTP/1.1\r\nHost: h\r\n\
        X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n\r\n";
    assert_eq!(head, expected);
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).workers(2).start();
    for _ in 0..8 {
        let mut client = ringate.client();
        for _ in 0..25 {
            client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: same\r\n\r\n").response();
        }
    }
    let ids: HashSet<String> =
        (0..200).map(|_| backend.request().header("X-Request-Id").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 200);
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit())));
}

#[test]
fn a_target_in_absolute_form_names_the_host_and_is_sent_in_origin_form() {
    let request = "GET http://Example.com:81/a?b HTTP/1.1\r\nHost: other\r\n\r\n";
    let head = forwarded(request);
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\nHost: Example.com:81\r\n"), "{head}");
    assert!(head.contains("\r\nX-Forwarded-Host: Example.com:81\r\n"));
    let head = forwarded("GET http://example.com?b HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert!(head.starts_with("GET /?b HTTP/1.1\r\nHost: example.com\r\n"), "{head}");
    let head = forwarded("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\nHost: h\r\n"), "{head}");
}

#[test]
fn http_1_0_without_a_host_goes_on_under_the_endpoints_name() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    exchange(&ringate, "GET / HTTP/1.0\r\n\r\n");
    let request = backend.request();
    assert_eq!(request.header("Host"), Some(&*backend.address().to_string()));
    assert_eq!(request.header("X-Forwarded-Host"), None);
}

#[test]
fn over_tls_the_backend_is_told_https() {
    let pki = Pki::new();
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).listener(&pki.listener_tls()).start();
    let mut client = ringate.tls_client(pki.client_config());
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: http\r\n\r\n").response();
    assert_eq!(backend.request().header("X-Forwarded-Proto"), Some("https"));
}

#[test]
fn the_client_sees_exactly_this() {
    let reply = "HTTP/1.1 299 What ever\r\nServer: x\r\nconnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\
        Keep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n\
        content-length: 2\r\nX-Forwarded-For: kept\r\nX-Request-Id: kept\r\n\r\nok";
    let backend = Backend::replying(reply);
    let ringate = Setup::to(backend.address()).start();
    let response = ringate.client().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    let expected = "HTTP/1.1 299 What ever\r\nServer: x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\
        X-Forwarded-For: kept\r\nX-Request-Id: kept\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(response.head, expected);
}

#[test]
fn a_reason_may_be_empty_and_bytes_beyond_ascii_stay_as_they_are() {
    let backend = Backend::replying(b"HTTP/1.1 200 \r\nX-Name: \xc3\xa4\xff\r\nContent-Length: 0\r\n\r\n");
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Name: \xc3\xa4\xff\r\nConnection: close\r\n\r\n");
    let answer = client.rest();
    assert!(answer.starts_with(b"HTTP/1.1 200 \r\nX-Name: \xc3\xa4\xff\r\n"));
    assert_eq!(backend.request().header("X-Name"), Some("\u{c3}\u{a4}\u{ff}"), "a character a byte");
}

#[test]
fn big_heads_within_the_bounds_pass_both_ways() {
    let fields = |count: usize, size: usize| -> String {
        (0..count).map(|number| format!("X-{number}: {}\r\n", "v".repeat(size))).collect()
    };
    for (count, size) in [(95, 100), (3, 5_000), (1, 15_000)] {
        let fields = fields(count, size);
        let backend = Backend::replying(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"));
        let ringate = Setup::to(backend.address()).start();
        let mut client = ringate.client();
        for _ in 0..3 {
            let response = client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).response();
            assert!(response.head.contains(&fields));
            assert!(backend.request().head.contains(&fields));
        }
    }
}
