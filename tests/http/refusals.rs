//! What can't be served is answered with the status that says why, and a short text.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{OK, exchange};
use crate::support::*;

/// A whole refusal: status line, Ringate's own short body, and the connection's end.
fn assert_refusal(answer: &str, status: &str, why: &str) {
    let code = status.split(' ').next().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{why}: {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{why}: {answer}");
    assert!(head.contains("\r\nConnection: close"), "{why}: {answer}");
    assert!(head.contains("\r\nContent-Type: text/plain; charset=utf-8"), "{why}: {answer}");
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{why}: {answer}");
    assert!(body.starts_with(code) && body.len() < 100, "{why}: {answer}");
}

#[test]
fn each_fault_of_a_request_has_its_status() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .limits("body_bytes = 1000\nhead_bytes = \"4KiB\"\ntarget_bytes = \"1KiB\"\nheaders = 10")
        .listener("http.versions = [\"1.1\"]")
        .start();
    let long = "a".repeat(2000);
    let fields: String = (0..11).map(|number| format!("X-{number}: v\r\n")).collect();
    for (request, status) in [
        ("garbage\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400 Bad Request"),
        ("GET noslash HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "400 Bad Request"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n".to_owned(), "413 Content Too Large"),
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), "414 URI Too Long"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: magic\r\n\r\nx".to_owned(),
            "417 Expectation Failed",
        ),
        (format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"), "431 Request Header Fields Too Large"),
        (
            format!("GET / HTTP/1.1\r\nHost: h\r\nA: {long}\r\nB: {long}\r\nC: {long}\r\n\r\n"),
            "431 Request Header Fields Too Large",
        ),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), "505 HTTP Version Not Supported"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "505 HTTP Version Not Supported"),
    ] {
        assert_refusal(&exchange(&ringate, &request), status, &request);
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn connect_and_trace_are_not_served() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    for request in [
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        assert_refusal(&exchange(&ringate, request), "501 Not Implemented", request);
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_refused_head_request_gets_no_body() {
    let backend = Backend::replying(OK);
    let ringate =
        Setup::to(backend.address()).routes("[[route]]\npath = \"/only\"\nupstream = \"app\"").start();
    let answer = exchange(&ringate, "HEAD /other HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_head_request_that_takes_too_long_gets_no_body() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).limits("head_timeout = \"200ms\"").start();
    for half in ["HEAD / HTTP/1.1\r\nHost: h\r\n", "\r\nHEAD / HT"] {
        let answer = exchange(&ringate, half);
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn a_client_that_sends_all_of_its_body_before_it_reads_is_told() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).limits("body_bytes = 1000").start();
    let size = 16 << 20;
    let mut client = ringate.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"));
    client.send(vec![b'x'; size]).finish_sending();
    assert_refusal(&String::from_utf8(client.rest()).unwrap(), "413 Content Too Large", "16 MiB");
}

#[test]
fn a_chunked_body_is_bounded_too() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).limits("body_bytes = 1000").start();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let of = |sizes: &[usize]| {
        let chunks: String =
            sizes.iter().map(|&size| format!("{size:x}\r\n{}\r\n", "x".repeat(size))).collect();
        format!("{chunks}0\r\n\r\n")
    };
    for fits in [of(&[1000]), of(&[1; 1000]), of(&[])] {
        assert_eq!(ringate.client().send(head).send(fits).response().text(), "ok");
    }
    for (exceeds, how) in [(of(&[1001]), "one chunk"), (of(&[1; 1001]), "many"), (of(&[100_000]), "far")] {
        let mut client = ringate.client();
        client.send(format!("{head}{exceeds}"));
        assert_refusal(&String::from_utf8(client.rest()).unwrap(), "413 Content Too Large", how);
        let mut client = ringate.client();
        client.send(head);
        let _ = client.try_send(exceeds);
        assert_refusal(&String::from_utf8(client.rest()).unwrap(), "413 Content Too Large", how);
    }
}

#[test]
fn a_head_that_takes_too_long_is_408() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).limits("head_timeout = \"300ms\"").start();
    for half in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"] {
        let mut client = ringate.client();
        let begun = Instant::now();
        client.send(half);
        assert_refusal(&String::from_utf8(client.rest()).unwrap(), "408 Request Timeout", half);
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_byte_now_and_then_does_not_buy_time() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).limits("head_timeout = \"500ms\"").start();
    let mut client = ringate.client();
    client.tcp().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nX: ");
    loop {
        assert!(begun.elapsed() < Duration::from_secs(5), "still open");
        let _ = client.try_send("x");
        match client.try_response() {
            Ok(response) => break assert_eq!(response.status, 408),
            Err(error) => assert!(
                matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
                "{error}"
            ),
        }
    }
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let backend = Backend::start(|connection| connection.rest().map(drop));
    let ringate = Setup::to(backend.address()).limits("body_timeout = \"300ms\"").start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    assert_refusal(&String::from_utf8(client.rest()).unwrap(), "408 Request Timeout", "half a body");
    backend.await_ended(1);
    assert!(backend.received(0).ends_with(b"\r\n\r\nhalf"));
}

#[test]
fn a_backend_that_can_not_be_reached_is_502_at_once() {
    let ringate = Setup::to(free_address()).start();
    let begun = Instant::now();
    assert_refusal(
        &exchange(&ringate, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        "502 Bad Gateway",
        "connection refused",
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// An address that neither accepts nor refuses: a listening socket whose queue is full.
fn tarpit() -> (Socket, Vec<Socket>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let fill = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address.into());
        socket
    };
    (listener, (0..4).map(fill).collect(), address)
}

#[test]
fn a_backend_that_does_not_accept_in_time_is_504() {
    let (_listener, _queue, address) = tarpit();
    let ringate = Setup::to(address).upstream("timeouts = { connect = \"300ms\" }").start();
    let begun = Instant::now();
    let answer = exchange(&ringate, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_refusal(&answer, "504 Gateway Timeout", "connect");
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_backend_that_does_not_answer_in_time_is_504() {
    for half in ["", "HTTP/1.1 200 OK\r\n"] {
        let backend = Backend::start(move |connection| {
            connection.request()?;
            connection.send(half)?;
            connection.rest().map(drop)
        });
        let ringate = Setup::to(backend.address()).upstream("timeouts = { response = \"300ms\" }").start();
        let answer = exchange(&ringate, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_refusal(&answer, "504 Gateway Timeout", half);
        backend.await_ended(1);
    }
}

#[test]
fn a_backend_that_hangs_up_before_its_answer_is_502() {
    for (half, resets) in [("", false), ("HTTP/1.1 200 OK\r\nContent-", false), ("", true)] {
        let backend = Backend::start(move |connection| {
            connection.request()?;
            connection.send(half)?;
            if resets { connection.reset() } else { Ok(()) }
        });
        let ringate = Setup::to(backend.address()).start();
        let answer = exchange(&ringate, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_refusal(&answer, "502 Bad Gateway", half);
    }
}

#[test]
fn a_plain_request_to_a_tls_listener_and_the_reverse_end_at_once() {
    let pki = Pki::new();
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).listener(&pki.listener_tls()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.try_rest().unwrap().starts_with(b"HTTP/1.1 400 "));
    let plain = Setup::to(backend.address()).start();
    let mut client = plain.tls_client(pki.client_config());
    assert!(client.try_send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
    assert_eq!(backend.connections(), 0);
}
