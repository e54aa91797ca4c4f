//! An upgrade that the backend agrees to turns both connections into a tunnel.

use super::{OK, exchange};
use crate::support::*;

const ASKING: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees, and then answers each byte with itself in upper case, until the client ends.
fn shouting(greeting: &'static str) -> Backend {
    Backend::start(move |connection| {
        connection.request()?;
        connection.send(format!("{AGREED}{greeting}"))?;
        while let Ok(byte) = connection.bytes(1) {
            connection.send(byte.to_ascii_uppercase())?;
        }
        connection.send("bye")
    })
}

#[test]
fn bytes_flow_both_ways_after_101() {
    let backend = shouting("");
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(ASKING);
    let response = client.response();
    assert_eq!((response.status, response.header("Upgrade")), (101, Some("websocket")));
    assert_eq!(response.header("Connection"), Some("Upgrade"));
    assert_eq!(response.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for word in ["hello", "\x00frame", "GET / HTTP/1.1\r\n\r\n"] {
        client.send(word);
        assert_eq!(String::from_utf8(client.bytes(word.len())).unwrap(), word.to_uppercase());
    }
    let request = backend.request();
    assert_eq!(
        (request.header("Connection"), request.header("Upgrade")),
        (Some("Upgrade"), Some("websocket"))
    );
    assert_eq!(request.header("Sec-WebSocket-Version"), Some("13"));
}

#[test]
fn each_side_ends_on_its_own() {
    let backend = shouting("");
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(ASKING).response();
    client.send("x").finish_sending();
    assert_eq!(client.rest(), b"Xbye");
    backend.await_ended(1);
}

#[test]
fn what_was_sent_ahead_on_either_side_is_not_lost() {
    let backend = shouting("welcome ");
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(format!("{ASKING}early"));
    client.finish_sending();
    assert_eq!(client.response().status, 101);
    assert_eq!(String::from_utf8(client.rest()).unwrap(), "welcome EARLYbye");
}

#[test]
fn a_tunnel_outlives_the_patience_for_requests_but_not_silence() {
    let backend = shouting("");
    let ringate = Setup::to(backend.address())
        .limits("head_timeout = \"200ms\"\nbody_timeout = \"200ms\"\nidle_timeout = \"1s\"")
        .upstream("timeouts = { response = \"200ms\", idle = \"2s\" }")
        .start();
    let mut client = ringate.client();
    client.send(ASKING).response();
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(600));
        assert_eq!(client.send("a").bytes(1), b"A");
    }
    client.ends();
}

#[test]
fn a_backend_that_declines_answers_as_always() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for _ in 0..2 {
        assert_eq!(client.send(ASKING).response().text(), "ok");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn an_upgrade_nobody_asked_for_is_a_bad_gateway() {
    let backend = Backend::replying(AGREED);
    let ringate = Setup::to(backend.address()).start();
    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let answer = exchange(&ringate, request);
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{request}: {answer}");
    }
}

#[test]
fn a_101_without_its_protocol_is_a_bad_gateway() {
    let backend = Backend::replying("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    let ringate = Setup::to(backend.address()).start();
    let answer = exchange(&ringate, ASKING);
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
}
