//! Client connections live for as long as both sides want them to, and answers come in the order of requests.

use std::time::Duration;

use super::{OK, echo, exchange};
use crate::support::*;

#[test]
fn http_1_1_stays_open_until_somebody_says_close() {
    let (_backend, ringate) = echo();
    let mut client = ringate.client();
    for path in ["/1", "/2", "/3"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.text(), format!("GET {path}"));
        assert_eq!(response.header("Connection"), None);
    }
    client.send("GET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().header("Connection"), Some("close"));
    client.closes();
}

#[test]
fn nothing_is_read_behind_a_request_that_says_close() {
    let (backend, ringate) = echo();
    let requests =
        "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = exchange(&ringate, requests);
    assert!(answer.ends_with("\r\n\r\nGET /1"), "{answer}");
    assert_eq!(backend.requests(), 1);
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let (_backend, ringate) = echo();
    let answer = exchange(&ringate, "GET /1 HTTP/1.0\r\nHost: h\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nGET /1");
    let mut client = ringate.client();
    for _ in 0..2 {
        client.send("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!((response.header("Connection"), response.text()), (Some("keep-alive"), "GET /1"));
    }
    client.send("GET /1 HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().header("Connection"), Some("close"));
    client.closes();
}

#[test]
fn a_backend_that_closes_does_not_close_the_client() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for _ in 0..3 {
        let response = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
        assert_eq!((response.header("Connection"), response.text()), (None, "ok"));
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn an_http_1_0_backend_serves_http_1_1_clients() {
    let backend = Backend::serving(|_| {
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for _ in 0..2 {
        let response = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
        assert_eq!(response.head, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    }
    assert_eq!(backend.connections(), 1, "keep-alive was offered");
}

#[test]
fn pipelined_requests_are_answered_in_order_to_the_byte() {
    let (backend, ringate) = echo();
    let mut requests = String::new();
    let mut expected = String::new();
    for number in 0..50 {
        requests += &format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n");
        let line = format!("GET /{number}");
        expected += &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len());
    }
    let mut client = ringate.client();
    client.send(&requests);
    assert_eq!(String::from_utf8(client.bytes(expected.len())).unwrap(), expected);
    assert_eq!((backend.requests(), backend.connections()), (50, 1));
}

#[test]
fn pipelined_requests_with_bodies_keep_their_borders() {
    let backend = Backend::serving(|request| super::ok(&request.body));
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    let first = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 14\r\n\r\nGET / HTTP/1.1";
    let second =
        "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n";
    let third = "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n";
    let fourth = "\r\nPOST /4 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    client.send(format!("{first}{second}{third}{fourth}"));
    let bodies: Vec<String> = (0..4).map(|_| client.response().text().to_owned()).collect();
    assert_eq!(bodies, ["GET / HTTP/1.1", "0\r\n\r\n", "", ""]);
    let lines: Vec<String> = (0..4).map(|_| backend.request().line().to_owned()).collect();
    assert_eq!(lines, ["POST /1", "POST /2", "GET /3", "POST /4"]);
}

#[test]
fn a_pipelined_request_that_is_refused_does_not_spoil_the_one_before() {
    let (backend, ringate) = echo();
    let answer = exchange(&ringate, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost : h\r\n\r\n");
    let (first, second) = answer.split_at(answer.find("GET /1").unwrap() + 6);
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(second.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{second}");
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answer() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").finish_sending();
    assert_eq!(client.response().text(), "ok");
    client.closes();
}

#[test]
fn a_connection_that_was_silent_for_a_while_goes_on() {
    let (_backend, ringate) = echo();
    let mut client = ringate.client();
    client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n").response();
    // Longer than a silent connection keeps its buffer: what is tested is this passage of time.
    std::thread::sleep(std::time::Duration::from_millis(900));
    for _ in 0..2 {
        assert_eq!(client.send("GET /2 HTTP/1.1\r\nHost: h\r\n\r\n").response().text(), "GET /2");
    }
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).limits("idle_timeout = \"1s\"").start();
    let mut fresh = ringate.client();
    let mut used = ringate.client();
    used.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    used.closes();
    fresh.closes();
}

#[test]
fn connections_beyond_the_bound_wait_for_their_turn() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).limits("connections_per_worker = 2").start();
    let mut served = [ringate.client(), ringate.client()];
    for client in &mut served {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    }
    let mut third = ringate.client();
    third.send("GET /third HTTP/1.1\r\nHost: h\r\n\r\n");
    served[0].send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert_eq!(backend.requests(), 3, "the third is not served yet");
    let [first, _second] = served;
    drop(first);
    assert_eq!(third.response().text(), "ok");
}

#[test]
fn a_response_arrives_whole_though_its_client_has_sent_more_than_is_read() {
    const SIZE: usize = 900 * 1024;
    let backend = Backend::start(|connection| {
        connection.request()?;
        std::thread::sleep(Duration::from_millis(300));
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))?;
        connection.send(vec![b'x'; SIZE])?;
        connection.rest().map(drop)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    backend.request();
    client.send("\r\n");
    // By now all of it has been handed to the kernel, and part of it waits there for this client.
    std::thread::sleep(Duration::from_millis(900));
    let response = client.response();
    assert_eq!((response.status, response.body.len()), (200, SIZE));
}
