//! Calls that fail within their response: after its head, or after messages, went to the client.

use std::io;
use std::time::Duration;

use super::*;
use crate::http2::peer::{self, Answer, Peer};
use crate::http2_backend::kit::*;

/// A message of gRPC.
pub(super) const MESSAGE: &[u8] = b"\0\0\0\0\x05first";
/// One that lacks three bytes.
pub(super) const PART: &[u8] = b"\0\0\0\0\x05se";

/// A backend of HTTP/2 whose responses begin, and do not end as they should: by the path.
pub(super) fn failing() -> Backend {
    backend(&[], |frames, head| {
        let (path, stream) = (head.get(":path").unwrap_or_default().to_owned(), head.stream);
        let kind = if path == "/page" { "text/html" } else { "application/grpc" };
        // So long that Ringate has seen the end of the call's time, and so short that it has not acted on it.
        let give_up = |frames: &mut Frames<'_>| {
            std::thread::sleep(Duration::from_millis(201));
            frames.send(reset(stream, 8))
        };
        if path == "/gives-up-at-once" {
            return give_up(frames);
        }
        let mut fields = vec![(":status", "200"), ("content-type", kind)];
        if path == "/length" {
            fields.push(("content-length", "100"));
        }
        frames.send(headers(stream, 0, &fields))?;
        frames.send(frame(DATA, 0, stream, MESSAGE))?;
        match path.as_str() {
            "/silent" => Ok(()),
            "/gives-up" => give_up(frames),
            "/part" => {
                frames.send(frame(DATA, 0, stream, PART))?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            // Trailers that are none.
            "/malformed" => frames.send(headers(stream, 0, &[("grpc-status", "0")])),
            // A frame that ends the connection.
            "/broken" => frames.send(frame(PING, 0, stream, &[0; 8])),
            code if code.starts_with("/reset-") => {
                frames.send(reset(stream, code["/reset-".len()..].parse().unwrap()))
            }
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        }
    })
}

fn before_failing(backend: &Backend) -> Ringate {
    Setup::to(backend.address())
        .section("[admin]\n[log]\naccess = \"access.log\"\naccess_format = \"{request.path} {response.status} {grpc.status} {failure.type}\"")
        .routes("[[route]]\nupstream = \"app\"\ngrpc_web = true")
        .upstream("http = \"2\"\ntimeouts.idle = \"600ms\"")
        .start()
}

fn call(client: &mut Peer, stream: u32, path: &str, more: &[(&str, &str)]) -> Answer {
    ask(client, stream, path, more);
    client.answer(stream)
}

fn ask(client: &mut Peer, stream: u32, path: &str, more: &[(&str, &str)]) {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "h"),
        ("te", "trailers"),
    ];
    fields.extend_from_slice(more);
    client.send(peer::frame(peer::HEADERS, peer::EH | peer::ES, stream, peer::block(&fields)));
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn last_line(ringate: &Ringate, path: &str) -> String {
    eventually("the line of the access log", || {
        let text = std::fs::read_to_string(ringate.dir().join("access.log")).unwrap_or_default();
        let line = text.lines().next_back()?.to_owned();
        (line.starts_with(path) && text.ends_with('\n')).then_some(line)
    })
}

#[test]
fn a_call_that_fails_within_its_response_ends_with_a_status_in_trailers() {
    let backend = failing();
    let ringate = before_failing(&backend);
    let mut client = Peer::connect(ringate.address());
    let terminated = "connection_terminated";
    let cases = [
        ("/dies", MESSAGE.len(), "14", "502 Bad Gateway within the response", terminated),
        ("/part", MESSAGE.len() + PART.len(), "14", "502 Bad Gateway within the response", terminated),
        ("/malformed", MESSAGE.len(), "13", "502 Bad Gateway within the response", "http_protocol_error"),
        ("/broken", MESSAGE.len(), "13", "502 Bad Gateway within the response", "http_protocol_error"),
        ("/silent", MESSAGE.len(), "14", "504 Gateway Timeout within the response", "http_response_timeout"),
        ("/reset-2", MESSAGE.len(), "13", "502 Bad Gateway within the response", terminated),
        ("/reset-7", MESSAGE.len(), "14", "502 Bad Gateway within the response", terminated),
        ("/reset-8", MESSAGE.len(), "1", "502 Bad Gateway within the response", terminated),
        ("/reset-11", MESSAGE.len(), "8", "502 Bad Gateway within the response", terminated),
    ];
    for (number, (path, length, code, message, kind)) in (0..).zip(cases) {
        let answer = call(&mut client, 2 * number + 1, path, &[GRPC]);
        assert_eq!((answer.status(), answer.body.len(), answer.reset), (200, length, None), "{path}");
        assert_eq!(answer.heads.len(), 2, "{path}: {answer:?}");
        assert_eq!(answer.trailer("grpc-status"), Some(code), "{path}");
        assert_eq!(answer.trailer("grpc-message"), Some(message), "{path}");
        let proxy_status = format!("ringate; error={kind}");
        assert_eq!(answer.trailer("proxy-status"), Some(&*proxy_status), "{path}");
        assert_eq!(last_line(&ringate, path), format!("{path} 200 {code} {kind}"));
        assert_eq!(ringate.metric("grpc_calls_ended_total"), u64::from(number) + 1);
    }
    assert!(client.is_alive());
    assert_eq!(ringate.metric("exchanges_aborted_total"), 0);
    assert_eq!(ringate.metric("timeouts_total"), 1);
}

#[test]
fn a_call_whose_time_is_over_within_its_response_ends_with_deadline_exceeded() {
    let backend = failing();
    let ringate = before_failing(&backend);
    let mut client = Peer::connect(ringate.address());
    let answer = call(&mut client, 1, "/silent", &[GRPC, ("grpc-timeout", "200m")]);
    assert_eq!((answer.body.as_slice(), answer.trailer("grpc-status")), (MESSAGE, Some("4")));
    assert_eq!(last_line(&ringate, "/silent"), "/silent 200 4 http_response_timeout");
    // A backend that gives it up then means the same, before its response as well.
    for (stream, path) in [(3, "/gives-up"), (5, "/gives-up-at-once")] {
        let answer = call(&mut client, stream, path, &[GRPC, ("grpc-timeout", "200m")]);
        assert_eq!(answer.trailer("grpc-status"), Some("4"), "{path}: {answer:?}");
    }
    // What its client does not take is given up.
    let mut client = Peer::silent(ringate.address());
    client.greet(&[(4, 3)]);
    ask(&mut client, 1, "/silent", &[GRPC, ("grpc-timeout", "200m")]);
    let head = client.until(peer::HEADERS);
    client.fields(&head.payload);
    assert_eq!(client.until(peer::DATA).payload, MESSAGE[..3]);
    let last = client.until(peer::HEADERS);
    assert!(last.ends());
    let trailers = client.fields(&last.payload);
    assert!(trailers.contains(&("grpc-status".to_owned(), "4".to_owned())), "{trailers:?}");
    assert!(client.is_alive());
}

#[test]
fn what_is_no_response_of_grpc_or_has_a_length_is_cut() {
    let backend = failing();
    let ringate = before_failing(&backend);
    let mut client = Peer::connect(ringate.address());
    for (stream, path, kind) in [(1, "/page", GRPC), (3, "/length", GRPC), (5, "/dies", ("accept", "*/*"))] {
        let answer = call(&mut client, stream, path, &[kind]);
        assert_eq!((answer.heads.len(), answer.reset), (1, Some(2)), "{path}: {answer:?}");
        assert!(last_line(&ringate, path).starts_with(&format!("{path} 200 - ")));
    }
    assert_eq!(ringate.metric("exchanges_aborted_total"), 3);
    assert_eq!(ringate.metric("grpc_calls_ended_total"), 0);
}

#[test]
fn a_backend_of_http1_that_fails_ends_the_call_as_well() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (rest, code) in [("", "14"), ("no chunk\r\n", "13")] {
        let backend = Backend::start(move |connection| {
            connection.request()?;
            connection.send(head)?;
            connection.send("a\r\n\0\0\0\0\x05first\r\n")?;
            std::thread::sleep(Duration::from_millis(100));
            connection.send(rest)
        });
        let ringate = Setup::to(backend.address()).section("[admin]").start();
        let mut client = Peer::connect(ringate.address());
        let answer = call(&mut client, 1, "/", &[GRPC]);
        assert_eq!((answer.body.as_slice(), answer.trailer("grpc-status")), (MESSAGE, Some(code)));
        assert!(client.is_alive());
    }
}

#[test]
fn a_request_that_is_too_long_ends_its_call() {
    let backend = failing();
    let ringate = Setup::to(backend.address())
        .section("[admin]\n[limits]\nbody_bytes = 10")
        .upstream("http = \"2\"")
        .start();
    let mut client = Peer::connect(ringate.address());
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/silent"), (":authority", "h"), GRPC];
    client.send(peer::frame(peer::HEADERS, peer::EH, 1, peer::block(&fields)));
    client.send(peer::frame(peer::DATA, 0, 1, [0; 10]));
    // Its response has begun by then.
    let head = client.until(peer::HEADERS);
    client.fields(&head.payload);
    client.send(peer::frame(peer::DATA, 0, 1, [0; 10]));
    let answer = client.answer(1);
    assert_eq!((answer.reset, answer.trailer("grpc-status")), (None, Some("2")), "{answer:?}");
    assert_eq!(answer.trailer("grpc-message"), Some("413 Content Too Large within the response"));
}

/// A call of gRPC-Web by HTTP/1.1: what comes behind the response's head, to the end of the connection.
fn web_call(ringate: &Ringate, path: &str, kind: &str, more: &str) -> Vec<u8> {
    let mut client = ringate.client();
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\nContent-Length: 0\r\n{more}\r\n"
    ));
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 200 "));
    client.rest()
}

fn web_trailers(code: &str, status: &str, kind: &str) -> Vec<u8> {
    let lines = format!(
        "grpc-status:{code}\r\ngrpc-message:{status} within the response\r\nproxy-status:ringate; error={kind}\r\n"
    );
    [&[0x80, 0, 0, 0, lines.len() as u8][..], lines.as_bytes()].concat()
}

fn chunk(content: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
}

#[test]
fn a_call_of_grpc_web_ends_with_its_frame_of_trailers() {
    let backend = failing();
    let ringate = before_failing(&backend);
    let gone = web_trailers("14", "502 Bad Gateway", "connection_terminated");
    let over = web_trailers("4", "504 Gateway Timeout", "http_response_timeout");
    for (path, more, trailers) in [("/dies", "", &gone), ("/silent", "grpc-timeout: 200m\r\n", &over)] {
        let rest = web_call(&ringate, path, "application/grpc-web", more);
        let expected = [chunk(MESSAGE), chunk(trailers), b"0\r\n\r\n".to_vec()].concat();
        assert_eq!(String::from_utf8_lossy(&rest), String::from_utf8_lossy(&expected), "{path}");
        let rest = web_call(&ringate, path, "application/grpc-web-text", more);
        let text = |content: &[u8]| chunk(data_encoding::BASE64.encode(content).as_bytes());
        assert_eq!(rest, [text(MESSAGE), text(trailers), b"0\r\n\r\n".to_vec()].concat(), "{path}");
    }
    let mut client = Peer::connect(ringate.address());
    let answer = call(&mut client, 1, "/dies", &[("content-type", "application/grpc-web")]);
    assert_eq!((answer.heads.len(), answer.reset), (1, None));
    assert_eq!(answer.body, [MESSAGE, &gone].concat());
    assert_eq!(last_line(&ringate, "/dies"), "/dies 200 14 connection_terminated");
    // Within a message the frame would be taken for the rest of it.
    let answer = call(&mut client, 3, "/part", &[("content-type", "application/grpc-web")]);
    assert_eq!((answer.body, answer.reset), ([MESSAGE, PART].concat(), Some(2)));
    let rest = web_call(&ringate, "/part", "application/grpc-web", "");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(ringate.metric("grpc_calls_ended_total"), 5);
    assert_eq!(ringate.metric("exchanges_aborted_total"), 2);
}

#[test]
fn a_stream_both_ways_outlives_the_bounds_of_a_request() {
    let backend = Backend::start(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let head = frames.head()?;
        frames.send(headers(head.stream, 0, &[(":status", "200"), ("content-type", "application/grpc")]))?;
        loop {
            let next = frames.next()?;
            if next.kind == DATA {
                frames.send(frame(DATA, 0, next.stream, &next.payload))?;
            }
        }
    });
    let limits = "[limits]\nbody_timeout = \"1s\"\nbody_rate = \"10KiB/s\"\nbody_grace = \"1s\"";
    let ringate = Setup::to(backend.address())
        .section(&format!("[admin]\n{limits}"))
        .upstream("http = \"2\"\ntimeouts.idle = \"4s\"")
        .start();
    let mut client = Peer::connect(ringate.address());
    client.send(peer::post(1, &[GRPC]));
    for _ in 0..3 {
        client.send(peer::frame(peer::DATA, 0, 1, MESSAGE));
        assert_eq!(client.until(peer::DATA).payload, MESSAGE);
        std::thread::sleep(Duration::from_millis(2500));
    }
    // Neither side says anything any more.
    let answer = client.answer(1);
    assert_eq!((answer.trailer("grpc-status"), answer.reset), (Some("14"), None));
}
