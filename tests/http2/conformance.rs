//! What RFC 9113 and RFC 7541 have a server do about each mistake of a client, on the wire, plain and over TLS.
//! `tests/data/http2` has the same of the codec, to the byte.

use super::*;

/// What becomes of what was sent.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// GOAWAY with this code, and the end.
    Goaway(u32),
    /// RST_STREAM with this code; the connection stays.
    Reset(u32, u32),
    /// A response with this status; the connection stays.
    Status(u32, u16),
    /// Nothing but that the connection stays.
    Fine,
}
use Want::*;

type Case = (&'static str, Vec<u8>, Want);

fn cases() -> Vec<Case> {
    let mut cases = frames();
    cases.extend(streams());
    cases.extend(messages());
    cases.extend(compression());
    cases
}

const U32: fn(u32) -> [u8; 4] = u32::to_be_bytes;

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, [&id.to_be_bytes()[..], &U32(value)].concat())
}

fn frames() -> Vec<Case> {
    let long = [0; 16_385];
    let dependency = |on: u32| [&U32(on)[..], &[15]].concat();
    let padded = |padding: u8| [&[padding][..], &request("GET", &[])].concat();
    vec![
        // §4.1, §4.2
        ("unknown frame", [frame(0x77, 0xff, 0, "x"), get(1)].concat(), Status(1, 200)),
        ("unknown flags of PING", frame(PING, 0xfe, 0, [0; 8]), Fine),
        ("reserved bit of a stream id", frame(PING, 0, 1 << 31, [0; 8]), Fine),
        (
            "DATA of the largest size",
            [post(1, &[]), frame(DATA, ES, 1, &long[..16_384])].concat(),
            Status(1, 200),
        ),
        ("DATA too long", [post(1, &[]), frame(DATA, ES, 1, long)].concat(), Goaway(FRAME_SIZE_ERROR)),
        ("HEADERS too long", frame(HEADERS, ES | EH, 1, long), Goaway(FRAME_SIZE_ERROR)),
        // §6.1
        ("DATA on stream 0", frame(DATA, ES, 0, "x"), Goaway(PROTOCOL_ERROR)),
        ("DATA on an idle stream", frame(DATA, ES, 1, "x"), Goaway(PROTOCOL_ERROR)),
        (
            "padding beyond DATA",
            [post(1, &[]), frame(DATA, ES | PADDED, 1, [6, 1, 2])].concat(),
            Goaway(PROTOCOL_ERROR),
        ),
        ("padded DATA", [post(1, &[]), frame(DATA, ES | PADDED, 1, b"\x02hi\0\0")].concat(), Status(1, 200)),
        // §6.2
        ("HEADERS on stream 0", frame(HEADERS, ES | EH, 0, request("GET", &[])), Goaway(PROTOCOL_ERROR)),
        (
            "padded HEADERS",
            frame(HEADERS, ES | EH | PADDED, 1, [padded(3), vec![0; 3]].concat()),
            Status(1, 200),
        ),
        ("padding beyond HEADERS", frame(HEADERS, ES | EH | PADDED, 1, padded(250)), Goaway(PROTOCOL_ERROR)),
        (
            "HEADERS with priority",
            frame(HEADERS, ES | EH | PRIO, 1, [dependency(0), request("GET", &[])].concat()),
            Status(1, 200),
        ),
        (
            "HEADERS on itself",
            frame(HEADERS, ES | EH | PRIO, 1, [dependency(1), request("GET", &[])].concat()),
            Reset(1, PROTOCOL_ERROR),
        ),
        // §6.3
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, dependency(1)), Goaway(PROTOCOL_ERROR)),
        (
            "PRIORITY on an idle stream",
            [frame(PRIORITY, 0, 5, dependency(0)), get(1)].concat(),
            Status(1, 200),
        ),
        (
            "PRIORITY on itself",
            [post(1, &[]), frame(PRIORITY, 0, 1, dependency(1))].concat(),
            Reset(1, PROTOCOL_ERROR),
        ),
        (
            "PRIORITY of another length",
            [post(1, &[]), frame(PRIORITY, 0, 1, [0; 4])].concat(),
            Reset(1, FRAME_SIZE_ERROR),
        ),
        // §6.4
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, U32(8)), Goaway(PROTOCOL_ERROR)),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, U32(8)), Goaway(PROTOCOL_ERROR)),
        (
            "RST_STREAM of another length",
            [post(1, &[]), frame(RST_STREAM, 0, 1, [0; 3])].concat(),
            Goaway(FRAME_SIZE_ERROR),
        ),
        ("RST_STREAM", [post(1, &[]), frame(RST_STREAM, 0, 1, U32(8)), get(3)].concat(), Status(3, 200)),
        // §6.5
        ("ACK with payload", frame(SETTINGS, ES, 0, [0; 6]), Goaway(FRAME_SIZE_ERROR)),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, []), Goaway(PROTOCOL_ERROR)),
        ("SETTINGS of a length not of six", frame(SETTINGS, 0, 0, [0; 3]), Goaway(FRAME_SIZE_ERROR)),
        ("ENABLE_PUSH of 2", setting(2, 2), Goaway(PROTOCOL_ERROR)),
        ("INITIAL_WINDOW_SIZE too large", setting(4, 1 << 31), Goaway(FLOW_CONTROL_ERROR)),
        ("MAX_FRAME_SIZE too small", setting(5, 16_383), Goaway(PROTOCOL_ERROR)),
        ("MAX_FRAME_SIZE too large", setting(5, 1 << 24), Goaway(PROTOCOL_ERROR)),
        ("unknown setting", [setting(0xff, 1), get(1)].concat(), Status(1, 200)),
        ("the same setting twice", [setting(4, 1), setting(4, 100_000), get(1)].concat(), Status(1, 200)),
        // §6.6
        (
            "PUSH_PROMISE",
            frame(PUSH_PROMISE, EH, 1, [&U32(2)[..], &request("GET", &[])].concat()),
            Goaway(PROTOCOL_ERROR),
        ),
        // §6.7
        ("PING on a stream", frame(PING, 0, 1, [0; 8]), Goaway(PROTOCOL_ERROR)),
        ("PING of another length", frame(PING, 0, 0, [0; 6]), Goaway(FRAME_SIZE_ERROR)),
        ("PING with ACK", frame(PING, ES, 0, [7; 8]), Fine),
        // §6.8
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, [0; 8]), Goaway(PROTOCOL_ERROR)),
        // §6.9
        ("WINDOW_UPDATE of 0", frame(WINDOW_UPDATE, 0, 0, U32(0)), Goaway(PROTOCOL_ERROR)),
        (
            "WINDOW_UPDATE of 0 on a stream",
            [post(1, &[]), frame(WINDOW_UPDATE, 0, 1, U32(0))].concat(),
            Reset(1, PROTOCOL_ERROR),
        ),
        ("WINDOW_UPDATE of another length", frame(WINDOW_UPDATE, 0, 0, [0; 3]), Goaway(FRAME_SIZE_ERROR)),
        ("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, U32(1)), Goaway(PROTOCOL_ERROR)),
        (
            "window overflow",
            [frame(WINDOW_UPDATE, 0, 0, U32(0x7fff_ffff)), frame(WINDOW_UPDATE, 0, 0, U32(0x7fff_ffff))]
                .concat(),
            Goaway(FLOW_CONTROL_ERROR),
        ),
        (
            "window overflow of a stream",
            [post(1, &[]), frame(WINDOW_UPDATE, 0, 1, U32(0x7fff_ffff))].concat(),
            Reset(1, FLOW_CONTROL_ERROR),
        ),
        (
            "window overflow by SETTINGS",
            [post(1, &[]), frame(WINDOW_UPDATE, 0, 1, U32(0x7fff_0000)), setting(4, 0x7fff_ffff)].concat(),
            Goaway(FLOW_CONTROL_ERROR),
        ),
        // §6.10
        ("CONTINUATION alone", frame(CONTINUATION, EH, 1, request("GET", &[])), Goaway(PROTOCOL_ERROR)),
        (
            "CONTINUATION behind END_HEADERS",
            [post(1, &[]), frame(CONTINUATION, EH, 1, block(&[("a", "b")]))].concat(),
            Goaway(PROTOCOL_ERROR),
        ),
        (
            "CONTINUATION on stream 0",
            [frame(HEADERS, ES, 1, []), frame(CONTINUATION, EH, 0, request("GET", &[]))].concat(),
            Goaway(PROTOCOL_ERROR),
        ),
        (
            "CONTINUATION of another stream",
            [frame(HEADERS, ES, 1, []), frame(CONTINUATION, EH, 3, request("GET", &[]))].concat(),
            Goaway(PROTOCOL_ERROR),
        ),
        (
            "a frame within a header block",
            [frame(HEADERS, ES, 1, []), frame(PING, 0, 0, [0; 8])].concat(),
            Goaway(PROTOCOL_ERROR),
        ),
        (
            "a header block in three",
            [
                frame(HEADERS, ES, 1, &request("GET", &[])[..3]),
                frame(CONTINUATION, 0, 1, []),
                frame(CONTINUATION, EH, 1, &request("GET", &[])[3..]),
            ]
            .concat(),
            Status(1, 200),
        ),
        // RFC 9218 §7.1
        (
            "PRIORITY_UPDATE on a stream",
            frame(PRIORITY_UPDATE, 0, 1, [&U32(1)[..], b"u=1"].concat()),
            Goaway(PROTOCOL_ERROR),
        ),
        (
            "PRIORITY_UPDATE",
            [frame(PRIORITY_UPDATE, 0, 0, [&U32(1)[..], b"u=1"].concat()), get(1)].concat(),
            Status(1, 200),
        ),
    ]
}

fn streams() -> Vec<Case> {
    let cancelled = [post(1, &[]), frame(RST_STREAM, 0, 1, U32(8))].concat();
    vec![
        // §5.1
        ("DATA on a half-closed stream", [get(1), frame(DATA, ES, 1, "x")].concat(), Reset(1, STREAM_CLOSED)),
        ("HEADERS on a half-closed stream", [get(1), get(1)].concat(), Reset(1, STREAM_CLOSED)),
        (
            "DATA behind RST_STREAM",
            [&cancelled[..], &frame(DATA, ES, 1, "x")].concat(),
            Reset(1, STREAM_CLOSED),
        ),
        ("HEADERS behind RST_STREAM", [&cancelled[..], &get(1)].concat(), Goaway(STREAM_CLOSED)),
        (
            "WINDOW_UPDATE behind RST_STREAM",
            [&cancelled[..], &frame(WINDOW_UPDATE, 0, 1, U32(1))].concat(),
            Fine,
        ),
        // §5.1.1
        ("an even stream id", frame(HEADERS, ES | EH, 2, request("GET", &[])), Goaway(PROTOCOL_ERROR)),
        ("a lower stream id", [get(5), get(3)].concat(), Goaway(PROTOCOL_ERROR)),
        ("the highest stream id", get(0x7fff_ffff), Status(0x7fff_ffff, 200)),
    ]
}

fn messages() -> Vec<Case> {
    let head = |fields: &[(&str, &str)]| frame(HEADERS, ES | EH, 1, block(fields));
    let get_with = |name, value| frame(HEADERS, ES | EH, 1, request("GET", &[(name, value)]));
    let bad = Reset(1, PROTOCOL_ERROR);
    vec![
        // §8.1
        (
            "trailers without END_STREAM",
            [post(1, &[]), frame(HEADERS, EH, 1, block(&[("a", "b")]))].concat(),
            bad,
        ),
        (
            "trailers",
            [post(1, &[]), frame(DATA, 0, 1, "x"), frame(HEADERS, ES | EH, 1, block(&[("a", "b")]))].concat(),
            Status(1, 200),
        ),
        (
            "a pseudo-field in trailers",
            [post(1, &[]), frame(HEADERS, ES | EH, 1, block(&[(":method", "GET")]))].concat(),
            bad,
        ),
        ("length too large", [post(1, &[("content-length", "3")]), frame(DATA, ES, 1, "ab")].concat(), bad),
        ("length too small", [post(1, &[("content-length", "1")]), frame(DATA, ES, 1, "ab")].concat(), bad),
        (
            "lengths of several frames",
            [post(1, &[("content-length", "1")]), frame(DATA, 0, 1, "a"), frame(DATA, ES, 1, "b")].concat(),
            bad,
        ),
        ("length without content", get_with("content-length", "1"), bad),
        (
            "two lengths",
            frame(HEADERS, EH, 1, request("POST", &[("content-length", "1"), ("content-length", "2")])),
            bad,
        ),
        // §8.2
        ("a name in upper case", get_with("X-Test", "a"), bad),
        ("a name with a space", get_with("x y", "a"), bad),
        ("an empty name", get_with("", "a"), bad),
        ("a name with a colon", get_with("a:b", "a"), bad),
        ("a value with CR LF", get_with("x", "a\r\nb: c"), bad),
        ("a value with NUL", get_with("x", "a\0"), bad),
        ("a value that ends with a space", get_with("x", "a "), bad),
        ("connection", get_with("connection", "close"), bad),
        ("keep-alive", get_with("keep-alive", "timeout=1"), bad),
        ("proxy-connection", get_with("proxy-connection", "close"), bad),
        ("transfer-encoding", get_with("transfer-encoding", "chunked"), bad),
        ("upgrade", get_with("upgrade", "h2c"), bad),
        ("te of another value", get_with("te", "gzip"), bad),
        ("te: trailers", get_with("te", "trailers"), Status(1, 200)),
        // §8.3
        ("an unknown pseudo-field", get_with(":test", "a"), bad),
        ("a response's pseudo-field", get_with(":status", "200"), bad),
        (
            "a pseudo-field behind a field",
            head(&[(":method", "GET"), ("x", "a"), (":scheme", "http"), (":path", "/"), (":authority", "a")]),
            bad,
        ),
        ("without :method", head(&[(":scheme", "http"), (":path", "/"), (":authority", "a")]), bad),
        ("without :scheme", head(&[(":method", "GET"), (":path", "/"), (":authority", "a")]), bad),
        ("without :path", head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]), bad),
        (
            "an empty :path",
            head(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")]),
            bad,
        ),
        (
            "two of :method",
            head(&[
                (":method", "GET"),
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ]),
            bad,
        ),
        (
            "two of :path",
            head(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":path", "/"),
                (":authority", "a"),
            ]),
            bad,
        ),
        (
            "a path without its slash",
            head(&[(":method", "GET"), (":scheme", "http"), (":path", "a"), (":authority", "a")]),
            bad,
        ),
        ("another Host", get_with("host", "other"), bad),
        ("the same Host", get_with("host", "localhost"), Status(1, 200)),
        (
            "Host alone",
            head(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a")]),
            Status(1, 200),
        ),
        ("CONNECT", head(&[(":method", "CONNECT"), (":authority", "a:1")]), Status(1, 501)),
        (
            "CONNECT of another protocol",
            head(&[
                (":method", "CONNECT"),
                (":protocol", "connect-udp"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
            ]),
            Status(1, 501),
        ),
        (
            "TRACE",
            head(&[(":method", "TRACE"), (":scheme", "http"), (":path", "/"), (":authority", "a")]),
            Status(1, 501),
        ),
        (
            "OPTIONS *",
            head(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "a")]),
            Status(1, 200),
        ),
        ("another expectation", get_with("expect", "more"), Status(1, 417)),
    ]
}

fn compression() -> Vec<Case> {
    let hpack = |bytes: &[u8]| frame(HEADERS, ES | EH, 1, [request("GET", &[]), bytes.to_vec()].concat());
    let bad = Goaway(COMPRESSION_ERROR);
    vec![
        ("index 0", hpack(&[0x80]), bad),
        ("an index beyond the tables", hpack(&[0xff, 0x10]), bad),
        ("a table size behind fields", hpack(&[0x3f, 0x01]), bad),
        (
            "a table size beyond SETTINGS",
            frame(HEADERS, ES | EH, 1, [&[0x3f, 0xe2, 0x1f][..], &request("GET", &[])].concat()),
            bad,
        ),
        ("a string beyond the block", hpack(&[0x00, 0x05, b'a']), bad),
        ("Huffman padding of eight bits", hpack(&[0x00, 0x01, b'a', 0x82, 0x1f, 0xff]), bad),
        ("Huffman padding of zeros", hpack(&[0x00, 0x01, b'a', 0x81, 0x18]), bad),
        ("the end of string in Huffman", hpack(&[0x00, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]), bad),
        ("an integer without end", hpack(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), bad),
    ]
}

/// Whether what comes back is what is wanted.
fn check(mut peer: Peer, (name, sent, want): &Case) {
    peer.greet(&[]);
    peer.send(sent);
    peer.name = name;
    match *want {
        Goaway(code) => assert_eq!(peer.ended(), Some(code), "{name}"),
        Reset(stream, code) => {
            let reset = peer.answer(stream);
            assert_eq!((reset.reset, reset.heads.len()), (Some(code), 0), "{name}");
            assert!(peer.is_alive(), "{name}");
        }
        Status(stream, status) => {
            let answer = peer.answer(stream);
            assert_eq!((answer.status(), answer.reset), (status, None), "{name}");
            assert!(peer.is_alive(), "{name}");
        }
        Fine => assert!(peer.is_alive(), "{name}"),
    }
}

/// A backend that answers once it has the whole request; whatever is half there is not answered before.
fn backend() -> Backend {
    Backend::serving(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        OK.to_vec()
    })
}

#[test]
fn every_mistake_has_its_verdict_on_a_plain_connection() {
    let backend = backend();
    let ringate = setup(backend.address()).start();
    for case in cases() {
        check(Peer::silent(ringate.address()), &case);
    }
    assert!(ringate.metric("http2_connection_errors_total") > 40);
    assert!(ringate.metric("http2_stream_errors_total") > 20);
    assert_eq!(ringate.metric("panics_total"), 0);
}

#[test]
fn every_mistake_has_its_verdict_over_tls() {
    let backend = backend();
    let certs = Pki::new();
    let ringate = setup(backend.address()).listener(&certs.listener_tls()).start();
    for case in cases() {
        check(Peer::silent_tls(ringate.address(), &certs.client_config(), b"h2"), &case);
    }
}

#[test]
fn what_does_not_begin_as_http2_is_not_taken_for_it() {
    let backend = backend();
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::silent(ringate.address());
    peer.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert_eq!(peer.ended(), Some(PROTOCOL_ERROR));
    let mut peer = Peer::silent(ringate.address());
    peer.send([PREFACE, &get(1)].concat());
    assert_eq!(peer.ended(), Some(PROTOCOL_ERROR), "SETTINGS come first");
    // The preface in pieces.
    let mut peer = Peer::silent(ringate.address());
    for byte in PREFACE {
        peer.send([*byte]);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    peer.send([frame(SETTINGS, 0, 0, []), get(1)].concat());
    assert_eq!(peer.answer(1).status(), 200);
}

#[test]
fn versions_are_served_as_configured() {
    let backend = backend();
    let one = setup(backend.address()).listener("http.versions = [\"1.1\"]").start();
    assert_eq!(one.get("/").status, 200);
    let mut client = one.client();
    client.send(PREFACE);
    assert!(client.response().status >= 400);
    let two = setup(backend.address()).listener("http.versions = [\"2\"]").start();
    let mut peer = Peer::connect(two.address());
    peer.send(get(1));
    assert_eq!(peer.answer(1).status(), 200);
    let mut peer = Peer::silent(two.address());
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(peer.ended(), Some(PROTOCOL_ERROR));
    let both = setup(backend.address()).start();
    let mut client = both.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
    assert_eq!(client.response().status, 200);
}
