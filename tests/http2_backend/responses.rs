//! Responses of HTTP/2 backends as HTTP/1.1 clients get them.

use super::kit::*;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A backend whose answer to `/` is made of these frames, and which answers all else with 200.
fn answering(answer: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Backend {
    backend(&[], move |frames, head| match head.get(":path") {
        Some("/") => frames.send(answer(head.stream)),
        _ => frames.send(ok(head.stream, "ok")),
    })
}

#[test]
fn a_response_has_a_reason_its_fields_and_its_framing() {
    let backend = answering(|stream| {
        let mut bytes = headers(stream, 0, &[(":status", "103"), ("link", "</a>")]);
        bytes.extend(headers(
            stream,
            0,
            &[(":status", "201"), ("x-a", "1"), ("set-cookie", "a"), ("set-cookie", "b")],
        ));
        bytes.extend(frame(DATA, 0, stream, b"one"));
        bytes.extend(frame(DATA, 0, stream, b" two"));
        bytes.extend(headers(stream, END_STREAM, &[("grpc-status", "0")]));
        bytes
    });
    let ringate = before(&[&backend]).start();
    let mut client = ringate.client();
    let early = client.send(GET).until("\r\n\r\n");
    assert_eq!(early, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    let head = client.until("\r\n\r\n");
    assert_eq!(
        head,
        "HTTP/1.1 201 Created\r\nx-a: 1\r\nset-cookie: a\r\nset-cookie: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let body = client.until("grpc-status: 0\r\n\r\n");
    assert!(body.ends_with("0\r\ngrpc-status: 0\r\n\r\n"), "{body}");
    let data: String = body.split("\r\n").skip(1).step_by(2).take_while(|line| !line.contains(':')).collect();
    assert_eq!(data, "one two");
}

#[test]
fn heads_without_bodies_and_lengths() {
    let backend = backend(&[], |frames, head| {
        let answer = match (head.get(":method"), head.get(":path")) {
            (Some("HEAD"), _) => {
                headers(head.stream, END_STREAM, &[(":status", "200"), ("content-length", "1000")])
            }
            (_, Some("/204")) => empty(head.stream, "204"),
            (_, Some("/304")) => headers(head.stream, END_STREAM, &[(":status", "304"), ("etag", "\"a\"")]),
            (_, Some("/length")) => [
                headers(head.stream, 0, &[(":status", "200"), ("content-length", "2")]),
                frame(DATA, END_STREAM, head.stream, b"ok"),
            ]
            .concat(),
            _ => empty(head.stream, "200"),
        };
        frames.send(answer)
    });
    let ringate = before(&[&backend]).start();
    let mut client = ringate.client();
    let response = client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").response_to_head();
    assert_eq!((response.status, response.header("content-length")), (200, Some("1000")));
    for (path, status, length, body) in [
        ("/204", 204, None, ""),
        ("/304", 304, None, ""),
        ("/length", 200, Some("2"), "ok"),
        ("/", 200, None, ""),
    ] {
        let response = client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).response();
        let length = if path == "/" { response.header("content-length") } else { length };
        let seen = (response.status, response.header("content-length"), response.text());
        assert_eq!(seen, (status, length, body), "{path}");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_response_that_breaks_the_rules_is_502_and_costs_its_stream_alone() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("no status", &[("x-a", "1")]),
        ("status without digits", &[(":status", "2 0")]),
        ("short status", &[(":status", "20")]),
        ("101", &[(":status", "101")]),
        ("a request's pseudo-field", &[(":status", "200"), (":path", "/")]),
        ("a pseudo-field twice", &[(":status", "200"), (":status", "204")]),
        ("a late pseudo-field", &[("x-a", "1"), (":status", "200")]),
        ("upper case", &[(":status", "200"), ("X-A", "1")]),
        ("an empty name", &[(":status", "200"), ("", "1")]),
        ("space in a name", &[(":status", "200"), ("x a", "1")]),
        ("colon in a name", &[(":status", "200"), ("x:a", "1")]),
        ("CR LF in a name", &[(":status", "200"), ("x-a\r\nx-b", "1")]),
        ("LF in a value", &[(":status", "200"), ("x-a", "1\nx-b: 2")]),
        ("CR LF in a value", &[(":status", "200"), ("x-a", "1\r\n\r\nHTTP/1.1 200 OK")]),
        ("NUL in a value", &[(":status", "200"), ("x-a", "1\0")]),
        ("space before a value", &[(":status", "200"), ("x-a", " 1")]),
        ("connection", &[(":status", "200"), ("connection", "close")]),
        ("keep-alive", &[(":status", "200"), ("keep-alive", "1")]),
        ("transfer-encoding", &[(":status", "200"), ("transfer-encoding", "chunked")]),
        ("upgrade", &[(":status", "200"), ("upgrade", "h2c")]),
        ("proxy-connection", &[(":status", "200"), ("proxy-connection", "close")]),
        ("two lengths", &[(":status", "200"), ("content-length", "0"), ("content-length", "5")]),
        ("a signed length", &[(":status", "200"), ("content-length", "+0")]),
        ("a list of lengths", &[(":status", "200"), ("content-length", "0, 0")]),
        ("a length like one", &[(":status", "200"), ("content_length", "5")]),
        ("a coding like one", &[(":status", "200"), ("transfer_encoding", "chunked")]),
        ("a length beyond the body", &[(":status", "200"), ("content-length", "5")]),
    ];
    let backend = backend(&[], move |frames, head| {
        let number = head.get(":path").and_then(|path| path[1..].parse::<usize>().ok());
        match number {
            Some(number) => frames.send(headers(head.stream, END_STREAM, cases[number].1)),
            None => frames.send(ok(head.stream, "ok")),
        }
    });
    let ringate = before_with(&[&backend], "health = { passive = false }").start();
    for (number, (name, _)) in cases.iter().enumerate() {
        let mut client = ringate.client();
        let response = client.send(format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")).response();
        assert_eq!(response.status, 502, "{name}");
        assert_eq!(
            ringate.client().send("GET /good HTTP/1.1\r\nHost: h\r\n\r\n").response().text(),
            "ok",
            "{name}"
        );
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_whole() {
    for (name, end) in [("a reset", 0), ("more than the length", 1), ("the connection's end", 2)] {
        let backend = backend(&[], move |frames, head| {
            let stream = head.stream;
            frames.send(headers(stream, 0, &[(":status", "200"), ("content-length", "10")]))?;
            frames.send(frame(DATA, 0, stream, b"part"))?;
            match end {
                0 => frames.send(reset(stream, 2)),
                1 => frames.send(frame(DATA, END_STREAM, stream, b"1234567")),
                _ => Err(std::io::ErrorKind::Other.into()),
            }
        });
        let ringate = before(&[&backend]).start();
        let mut client = ringate.client();
        let rest = client.send(GET).try_rest().unwrap_or_default();
        let text = String::from_utf8_lossy(&rest);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(body.len() < 10, "{name}: {text}");
    }
}

#[test]
fn an_early_response_ends_the_upload() {
    let backend = backend(&[], |frames, head| {
        let stream = head.stream;
        frames.send(headers(stream, END_STREAM, &[(":status", "413"), ("x-why", "size")]))?;
        frames.send(reset(stream, 0))
    });
    let ringate = before(&[&backend]).start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n").send(vec![b'x'; 20_000]);
    let response = client.response();
    assert_eq!((response.status, response.header("x-why")), (413, Some("size")));
    assert_eq!(ringate.client().send(GET).response().status, 413);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_backend_that_breaks_the_connections_rules_is_left() {
    let backend = Backend::start(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let head = frames.head()?;
        frames.send(frame(DATA, 0, head.stream, b"before the head"))?;
        frames.send(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0]))?;
        frames.connection.rest().map(drop)
    });
    let ringate = before(&[&backend]).start();
    assert_eq!(ringate.client().send(GET).response().status, 502);
    backend.await_ended(1);
    ringate.await_log("the backend broke the rules");
    // A backend that does not speak HTTP/2 at all.
    let backend = Backend::start(|connection| {
        connection.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
        connection.rest().map(drop)
    });
    let ringate = before(&[&backend]).start();
    assert_eq!(ringate.client().send(GET).response().status, 502);
}
