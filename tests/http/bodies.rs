//! Bodies arrive whole and exact, however they are framed on either side.

use super::OK;
use crate::support::*;

/// Bytes without a pattern that a shifted copy would match.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = vec![0; length];
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}

pub const SIZES: [usize; 9] = [0, 1, 100, 16_383, 16_384, 32_768, 65_537, 1 << 20, 5_000_003];

/// Chunks of uneven sizes that together are `body`.
fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in body.chunks(size) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

#[test]
fn a_body_with_a_length_reaches_the_backend_with_that_length() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for size in SIZES {
        let body = noise(size);
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")).send(&body);
        assert_eq!(client.response().status, 200);
        let request = backend.request();
        assert_eq!(request.header("Content-Length"), Some(&*size.to_string()));
        assert!(request.body == body, "{size} bytes");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_chunked_body_reaches_the_backend_chunked() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for size in SIZES {
        let body = noise(size);
        client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunks(&body, 7_001));
        assert_eq!(client.response().status, 200);
        let request = backend.request();
        assert_eq!(request.header("Transfer-Encoding"), Some("chunked"));
        assert!(request.body == body, "{size} bytes");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn chunk_extensions_end_at_ringate() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n";
    ringate.client().send(format!("{head}5;name=value;x\r\nhello\r\n0;last\r\n\r\n")).response();
    assert_eq!(backend.request().wire, b"5\r\nhello\r\n0\r\n\r\n");
}

#[test]
fn trailers_of_a_request_are_passed_on_but_for_those_that_frame() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body =
        "2\r\nhi\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: evil\r\nTransfer-Encoding: gzip\r\n\r\n";
    ringate.client().send(format!("{head}{body}")).response();
    let request = backend.request();
    assert_eq!(request.header("Trailer"), Some("X-Sum"));
    assert_eq!(String::from_utf8(request.wire).unwrap(), "2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n");
}

#[test]
fn a_response_with_a_length_reaches_the_client_with_that_length() {
    for size in SIZES {
        let body = noise(size);
        let backend = Backend::replying(super::ok(&body));
        let ringate = Setup::to(backend.address()).start();
        let mut client = ringate.client();
        for _ in 0..2 {
            let response = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
            assert_eq!(response.header("Content-Length"), Some(&*size.to_string()));
            assert!(response.body == body, "{size} bytes");
        }
    }
}

#[test]
fn a_chunked_response_reaches_the_client_chunked_with_its_trailers() {
    let mut reply = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    reply.extend_from_slice(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
    let backend = Backend::replying(reply);
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for _ in 0..2 {
        let response = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
        assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
        assert_eq!(response.header("Trailer"), Some("X-Sum"));
        assert_eq!(String::from_utf8(response.wire).unwrap(), "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn large_chunked_responses_arrive_whole() {
    for size in SIZES {
        let body = noise(size);
        let mut reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        reply.extend_from_slice(&chunks(&body, 4_099));
        let backend = Backend::replying(reply);
        let ringate = Setup::to(backend.address()).start();
        let response = ringate.get("/");
        assert!(response.body == body, "{size} bytes");
    }
}

#[test]
fn a_body_that_ends_with_its_connection_becomes_chunked() {
    let body = noise(100_000);
    let sent = body.clone();
    let backend = Backend::start(move |connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        connection.send(&sent)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for _ in 0..2 {
        let response = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
        assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
        assert_eq!(response.header("Connection"), None);
        assert!(response.body == body);
    }
}

#[test]
fn http_1_0_clients_get_neither_chunks_nor_trailers() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n";
    let backend = Backend::replying(chunked);
    let ringate = Setup::to(backend.address()).start();
    let answer = super::exchange(&ringate, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");

    let closing = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.0 200 OK\r\n\r\nhello")
    });
    let ringate = Setup::to(closing.address()).start();
    let answer = super::exchange(&ringate, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
}

#[test]
fn head_and_304_keep_their_length_without_a_body_and_204_has_none() {
    let backend = Backend::serving(|request| match request.line() {
        "HEAD /head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
        "HEAD /chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        "GET /304" => b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 99\r\n\r\n".to_vec(),
        "GET /204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => OK.to_vec(),
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("HEAD /head HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response_to_head().header("Content-Length"), Some("1234"));
    client.send("GET /304 HTTP/1.1\r\nHost: h\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.header("Content-Length")), (304, Some("99")));
    client.send("GET /204 HTTP/1.1\r\nHost: h\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, &*response.head), (204, "HTTP/1.1 204 No Content\r\n\r\n"));
    client.send("HEAD /chunked HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response_to_head().status, 200);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn it_does_not_matter_how_the_bytes_are_cut() {
    let wire = b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n!\r\n0\r\nT: u\r\n\r\n";
    let backend = Backend::start(move |connection| {
        while connection.request()?.is_some() {
            for byte in wire {
                connection.send([*byte])?;
                std::thread::yield_now();
            }
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    for _ in 0..3 {
        for byte in b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        {
            client.send([*byte]);
        }
        let response = client.response();
        assert_eq!((response.header("A"), response.text()), (Some("b"), "hello!"));
        assert!(response.wire.ends_with(b"0\r\nT: u\r\n\r\n"));
        let request = backend.request();
        assert_eq!((request.line(), &*request.body), ("POST /a", &b"abc"[..]));
    }
    assert_eq!(backend.connections(), 1);
}
