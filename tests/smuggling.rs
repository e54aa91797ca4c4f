//! A message whose borders are in doubt goes nowhere: not to the backend, not to the client.

use crate::http::{OK, exchange, ok};
use crate::support::*;

/// Requests that some other parser would cut differently. `@` stands for a body that would be a second request.
const HOSTILE_REQUESTS: &[(&str, &str)] = &[
    (
        "length and coding",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n@",
    ),
    (
        "coding and length",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n@",
    ),
    ("two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n@"),
    (
        "the same length twice",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n@",
    ),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4, 4\r\n\r\n@"),
    ("a length with a sign", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\n@"),
    ("a negative length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n@"),
    ("a length in hexadecimal", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x4\r\n\r\n@"),
    ("a length with a space", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4 4\r\n\r\n@"),
    ("a length with an underscore", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4_4\r\n\r\n@"),
    ("a length with a fraction", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4.0\r\n\r\n@"),
    ("an empty length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n@"),
    (
        "a length beyond 64 bits",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551620\r\n\r\n@",
    ),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n@",
    ),
    (
        "a coding and another",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n@",
    ),
    ("a list of codings", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n@"),
    ("chunked first", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n@"),
    ("identity", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n@"),
    ("an empty coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n@"),
    ("chunked with a parameter", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n@"),
    ("chunked in quotes", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n@"),
    (
        "chunked behind a vertical tab",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n@",
    ),
    ("xchunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n@"),
    ("a coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n@"),
    ("space before the colon", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n@"),
    ("tab before the colon", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length\t: 4\r\n\r\n@"),
    ("a folded line", "POST / HTTP/1.1\r\nHost: h\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n@"),
    ("a folded coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n@"),
    ("space before the first field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n@"),
    ("no colon", "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding chunked\r\n\r\n@"),
    ("no name", "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n@"),
    ("a name that is no token", "GET / HTTP/1.1\r\nHost: h\r\nX(y): z\r\n\r\n@"),
    ("a NUL in a name", "GET / HTTP/1.1\r\nHost: h\r\nX\0: z\r\n\r\n@"),
    ("a NUL in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n@"),
    ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n@"),
    ("a bare LF", "GET / HTTP/1.1\r\nHost: h\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n@"),
    ("bare LFs all over", "GET / HTTP/1.1\nHost: h\n\n@"),
    ("a bare LF at the head's end", "GET / HTTP/1.1\r\nHost: h\r\n\n@"),
    ("a bare CR at a line's end", "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n@"),
    ("a bare CR before the request", "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("no Host", "GET / HTTP/1.1\r\n\r\n@"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: evil\r\n\r\n@"),
    ("a list of Hosts", "GET / HTTP/1.1\r\nHost: h, evil\r\n\r\n@"),
    ("a Host with a path", "GET / HTTP/1.1\r\nHost: h/evil\r\n\r\n@"),
    ("a Host with a user", "GET / HTTP/1.1\r\nHost: h@evil\r\n\r\n@"),
    ("a Host with a space", "GET / HTTP/1.1\r\nHost: h evil\r\n\r\n@"),
    ("a Host with a bad port", "GET / HTTP/1.1\r\nHost: h:80@evil\r\n\r\n@"),
    ("a user in the target", "GET http://h@evil/ HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("another scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("an asterisk without OPTIONS", "GET * HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("two spaces in the request line", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("a tab in the request line", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("a space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("a space behind the version", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n@"),
    ("a space before the method", " GET / HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("a fragment", "GET /#a HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("a control character in the target", "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n@"),
    ("HTTP/0.9", "GET /\r\n\r\n@"),
    ("lower-case http", "GET / http/1.1\r\nHost: h\r\n\r\n@"),
    ("a version of two digits", "GET / HTTP/1.11\r\nHost: h\r\n\r\n@"),
    ("Connection lists no token", "GET / HTTP/1.1\r\nHost: h\r\nConnection: a b\r\n\r\n@"),
];

/// Chunked bodies that are broken from their first byte on.
const HOSTILE_CHUNKS: &[(&str, &str)] = &[
    ("no size", "\r\n@"),
    ("no digits", "zz\r\n@"),
    ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n@"),
    ("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n@"),
    ("a negative size", "-5\r\nhello\r\n0\r\n\r\n@"),
    ("space before a size", " 5\r\nhello\r\n0\r\n\r\n@"),
    ("a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n@"),
    ("a bare LF behind a size", "5\nhello\r\n0\r\n\r\n@"),
    ("a bare CR behind a size", "5\rhello\r\n0\r\n\r\n@"),
    ("a bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n@"),
    ("a NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n@"),
    ("more data than the size says", "3\r\nhello\r\n0\r\n\r\n@"),
    ("a chunk that ends in LF", "5\r\nhello\n0\r\n\r\n@"),
    ("a chunk without an end", "5\r\nhello0\r\n\r\n@"),
    ("a trailer that is no field", "0\r\nGET / HTTP/1.1\r\n\r\n@"),
    ("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n@"),
    ("a trailer that ends in LF", "0\r\nA: b\n\r\n@"),
];

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn hostile_requests_are_refused_whole_and_the_connection_ends() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = HOSTILE_CHUNKS.iter().map(|(what, body)| (*what, format!("{chunked}{body}")));
    for (what, request) in
        HOSTILE_REQUESTS.iter().map(|(what, request)| (*what, (*request).to_owned())).chain(chunks)
    {
        let answer = exchange(&ringate, request.replace('@', SMUGGLED));
        let status = &answer[..answer.len().min(13)];
        assert!(["HTTP/1.1 400 ", "HTTP/1.1 501 ", "HTTP/1.1 505 "].contains(&status), "{what}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: one answer: {answer:?}");
        assert_eq!(backend.connections(), 0, "{what}: something reached the backend");
    }
}

#[test]
fn hostile_requests_are_refused_however_they_are_cut() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    for (what, request) in HOSTILE_REQUESTS {
        let mut client = ringate.client();
        for byte in request.replace('@', SMUGGLED).bytes() {
            if client.try_send([byte]).is_err() {
                break;
            }
        }
        // What comes behind a refusal may reset the connection, which may cost its answer, but nothing else.
        if let Ok(response) = client.try_response() {
            assert!([400, 501, 505].contains(&response.status), "{what}: {}", response.head);
        }
        assert_eq!(backend.connections(), 0, "{what}: something reached the backend");
    }
}

#[test]
fn a_body_that_turns_hostile_later_never_ends_well_for_the_backend() {
    for (what, tail) in HOSTILE_CHUNKS {
        let backend = Backend::start(|connection| connection.rest().map(drop));
        let ringate = Setup::to(backend.address()).start();
        let mut client = ringate.client();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
        eventually("the first chunk", || backend.received(0).ends_with(b"hi\r\n").then_some(()));
        client.send(tail.replace('@', SMUGGLED));
        assert_eq!(client.response().status, 400, "{what}");
        backend.await_ended(1);
        let received = String::from_utf8(backend.received(0)).unwrap();
        assert!(!received.ends_with("0\r\n\r\n"), "{what}: looks complete: {received}");
        assert!(!received.contains("smuggled"), "{what}: {received}");
    }
}

#[test]
fn a_body_that_looks_like_a_request_stays_a_body() {
    let backend = Backend::serving(|request| ok(request.line()));
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    let length = SMUGGLED.len();
    client.send(format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"));
    assert_eq!(client.response().text(), "POST /a");
    client.send(format!(
        "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response().text(), "POST /b");
    assert_eq!(backend.requests(), 2);
}

/// Responses that a client must never see.
const HOSTILE_RESPONSES: &[(&str, &str)] = &[
    ("nothing", ""),
    ("no HTTP", "SSH-2.0-OpenSSH_9.6\r\n"),
    ("a blank line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/2", "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/0.9", "<html></html>"),
    ("lower-case http", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    (
        "length and coding",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab"),
    ("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab"),
    ("a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab"),
    ("two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"),
    ("a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n"),
    ("a bare CR in a value", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"),
    ("bare LFs", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("a field without a colon", "HTTP/1.1 200 OK\r\nhello\r\nContent-Length: 0\r\n\r\n"),
    ("a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Len"),
];

#[test]
fn hostile_responses_become_502() {
    for (what, reply) in HOSTILE_RESPONSES {
        let reply = *reply;
        let backend = Backend::start(move |connection| {
            connection.request()?;
            connection.send(reply)
        });
        let ringate = Setup::to(backend.address()).start();
        let answer = exchange(&ringate, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{what}: {answer:?}");
        assert!(answer.ends_with("\r\n\r\n502 Bad Gateway\n"), "{what}: {answer:?}");
    }
}

#[test]
fn heads_of_responses_are_bounded() {
    let many: String = (0..101).map(|number| format!("X-{number}: v\r\n")).collect();
    let long = format!("X: {}\r\n", "v".repeat(40_000));
    for fields in [many, long] {
        let backend = Backend::replying(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"));
        let ringate = Setup::to(backend.address()).start();
        assert_eq!(ringate.get("/").status, 502);
    }
}

#[test]
fn bytes_behind_a_response_never_answer_the_next_request() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for later in [false, true] {
        let backend = Backend::start(move |connection| {
            while connection.request()?.is_some() {
                if later {
                    // Alone in its packet, after the response was taken for whole.
                    connection.send(OK)?;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    connection.send(evil)?;
                } else {
                    connection.send([OK, evil.as_bytes()].concat())?;
                }
            }
            Ok(())
        });
        let ringate = Setup::to(backend.address()).start();
        let mut client = ringate.client();
        for _ in 0..5 {
            assert_eq!(client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().text(), "ok");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(backend.connections(), 5, "a connection with a byte too many is not used again");
    }
}

#[test]
fn a_204_with_a_body_does_not_shift_the_next_response() {
    for reply in [
        "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
    ] {
        let backend = Backend::replying(reply);
        let ringate = Setup::to(backend.address()).start();
        let mut client = ringate.client();
        for _ in 0..3 {
            let response = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
            assert_eq!(response.head, "HTTP/1.1 204 No Content\r\n\r\n");
        }
        assert_eq!(backend.connections(), 3);
    }
}
