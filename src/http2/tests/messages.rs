//! Heads as they are read and written.

use super::peer::*;
use crate::http::{BodyLength, Method, Target, Version};
use crate::http2::{Field, RequestLine, SendError, Unserved};

/// Passes a request from a client of ours to a server of ours.
fn pass(line: &RequestLine<'_>, fields: &[Field<'_>]) -> (Vec<String>, Peer) {
    let (mut client, mut server) = (Peer::client(), Peer::server());
    let Peer { connection, out, .. } = &mut client;
    connection.send_request(line, fields.iter().copied(), true, out).unwrap();
    let events = server.feed(&client.out).unwrap();
    (events, server)
}

#[test]
fn what_belongs_to_http1_connections_is_left_out() {
    let fields = [
        field("Host", "a.example"),
        field("Accept", "*/*"),
        field("Connection", "keep-alive"),
        field("Keep-Alive", "timeout=5"),
        field("Proxy-Connection", "keep-alive"),
        field("Transfer-Encoding", "chunked"),
        field("Upgrade", "websocket"),
        field("TE", "gzip"),
        field("te", "Trailers"),
    ];
    let (events, _) = pass(&GET, &fields);
    let pseudo = "{:method: GET} {:scheme: https} {:authority: a.example} {:path: /}";
    assert_eq!(events, [format!("request 1 end {pseudo} {{accept: */*}} {{te: Trailers}}")]);
}

#[test]
fn a_request_line_is_read_as_it_is_written() {
    let line = RequestLine { method: "DELETE", path: Some("/a?b=c"), ..GET };
    let (_, server) = pass(&line, &[field("a", "b")]);
    assert_eq!(server.fields.request_line(), Some(line));
    assert_eq!(server.fields.iter().count(), 1);
    assert_eq!(server.fields.all().count(), 5);
    assert_eq!((server.fields.status(), server.fields.get(b"a")), (None, Some(&b"b"[..])));
}

#[test]
fn what_could_be_read_in_two_ways_is_not_sent() {
    for (name, value) in
        [("", "b"), ("a b", "c"), (":path", "/"), ("a", "b\r\nc: d"), ("a", " b"), ("a", "\0")]
    {
        let mut client = Peer::client();
        let Peer { connection, out, .. } = &mut client;
        let sent = connection.send_request(&GET, [field(name, value)].into_iter(), true, out);
        assert_eq!(sent, Err(SendError::Field), "{name:?}: {value:?}");
        assert!(out.is_empty());
        let line = RequestLine { path: Some("/\r\nx: y"), ..GET };
        assert_eq!(connection.send_request(&line, std::iter::empty(), true, out), Err(SendError::Field));
    }
}

#[test]
fn never_indexed_fields_are_passed_on_as_such() {
    let secret = Field { never_indexed: true, ..field("x-secret", "s") };
    let (events, _) = pass(&GET, &[secret, field("authorization", "Basic"), field("a", "b")]);
    assert!(events[0].ends_with("{!x-secret: s} {!authorization: Basic} {a: b}"), "{events:?}");
}

#[test]
fn a_long_head_goes_in_continuation_frames() {
    let long = "v".repeat(20_000);
    let mut client = Peer::client();
    let Peer { connection, out, .. } = &mut client;
    let fields = [field("one", &long), field("two", &long)];
    connection.send_request(&GET, fields.into_iter(), true, out).unwrap();
    let mut server = Peer::server();
    let events = server.feed(&client.out.clone()).unwrap();
    assert!(events[0].ends_with(&format!("{{one: {long}}} {{two: {long}}}")));
    let frames = client.written();
    assert_eq!(frames.len(), 3, "40,000 bytes of 7 bits, in frames of 16,384");
    assert!(frames[0] == "HEADERS 1 end" && frames[2].starts_with("CONTINUATION 1 {:method: GET}"));
}

/// A request that a server of ours takes, as a header block.
fn served(block: &[u8], end_stream: bool) -> Peer {
    let config = crate::http2::Config { connect_protocol: true, ..Default::default() };
    let mut server = Peer::ready(crate::http2::Role::Server, config);
    let flags = if end_stream { ES | EH } else { EH };
    let events = server.feed(&frame(HEADERS, flags, 1, block)).unwrap();
    assert!(events[0].starts_with("request"), "{events:?}");
    server
}

#[test]
fn a_request_becomes_a_message() {
    let fields = [
        ("cookie", "a=b"),
        ("x", "y"),
        ("cookie", "c=d"),
        ("content-length", "5"),
        ("expect", "100-continue"),
    ];
    let server = served(&[get(), block(&fields)].concat(), false);
    let mut slots = [httparse::EMPTY_HEADER; 10];
    let head = server.fields.request_head(false, &mut slots).unwrap();
    assert_eq!((head.method, head.target), (Method::Get, Target { path: "/", query: None }));
    assert_eq!((head.version, head.host), (Version::Http2, Some("a")));
    assert_eq!((head.body, head.expect_continue, head.upgrade), (BodyLength::Known(5), true, None));
    let names: Vec<&str> = head.fields.iter().map(|field| field.name).collect();
    assert_eq!(names, ["cookie", "x", "content-length", "expect"]);
    assert_eq!(head.fields.get("Cookie"), Some(&b"a=b; c=d"[..]));
    let mut slots = [httparse::EMPTY_HEADER; 3];
    assert_eq!(server.fields.request_head(false, &mut slots).unwrap_err(), Unserved::TooManyFields);
}

#[test]
fn fields_stand_as_lines_of_http1() {
    let server = served(&[get(), block(&[("a", "b"), ("c", ""), ("d", "e f")])].concat(), true);
    let mut slots = [httparse::EMPTY_HEADER; 10];
    let head = server.fields.request_head(true, &mut slots).unwrap();
    assert!(head.fields.block().ends_with(b"a: b\r\nc: \r\nd: e f\r\n"));
    assert_eq!(head.body, BodyLength::None);
}

#[test]
fn extended_connect_is_the_upgrade_that_it_stands_for() {
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat?a"),
        (":authority", "a"),
    ];
    let server = served(&block(&connect), false);
    let mut slots = [httparse::EMPTY_HEADER; 10];
    let head = server.fields.request_head(false, &mut slots).unwrap();
    assert_eq!((head.method, head.upgrade, head.body), (Method::Get, Some("websocket"), BodyLength::None));
    assert_eq!(head.target, Target { path: "/chat", query: Some("a") });
}

#[test]
fn what_is_not_served_over_http1_is_not_served() {
    let request =
        |method| block(&[(":method", method), (":scheme", "https"), (":path", "/"), (":authority", "a")]);
    let connect = block(&[(":method", "CONNECT"), (":authority", "a:443")]);
    let with = |method, name, value| [request(method), literal(name, value)].concat();
    for (block, unserved) in [
        (connect, Some(Unserved::Method)),
        (request("TRACE"), Some(Unserved::Method)),
        (with("GET", "expect", "tea"), Some(Unserved::Expectation)),
        (with("OPTIONS", "max-forwards", "x"), Some(Unserved::MaxForwards)),
        (with("OPTIONS", "max-forwards", "5"), None),
        (with("GET", "max-forwards", "x"), None),
        (request("BREW"), None),
    ] {
        let server = served(&block, true);
        let mut slots = [httparse::EMPTY_HEADER; 10];
        assert_eq!(server.fields.request_head(true, &mut slots).err(), unserved);
    }
}

#[test]
fn a_response_becomes_a_message() {
    for (fields, end, head_request, status, body) in [
        (&[(":status", "200"), ("content-length", "5")][..], false, false, 200, BodyLength::Known(5)),
        (&[(":status", "200"), ("content-length", "5")], true, true, 200, BodyLength::None),
        (&[(":status", "404")], false, false, 404, BodyLength::Unknown),
        (&[(":status", "103"), ("link", "x")], false, false, 103, BodyLength::None),
    ] {
        let mut client = Peer::client();
        let Peer { connection, out, .. } = &mut client;
        let line = RequestLine { method: if head_request { "HEAD" } else { "GET" }, ..GET };
        connection.send_request(&line, std::iter::empty(), true, out).unwrap();
        client.feed(&frame(HEADERS, if end { ES | EH } else { EH }, 1, &block(fields))).unwrap();
        let mut slots = [httparse::EMPTY_HEADER; 10];
        let head = client.fields.response_head(end, head_request, &mut slots).unwrap();
        assert_eq!((head.status, head.body, head.version), (status, body, Version::Http2));
        assert_eq!(head.fields.len(), fields.len() - 1);
    }
}
