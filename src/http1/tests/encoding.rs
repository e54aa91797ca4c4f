//! What goes to backends and clients, byte for byte.

use super::*;

const FORWARDED: ForwardedFor<'_> = ForwardedFor {
    client: "192.0.2.1",
    proto: "https",
    host: Some("a.example:8443"),
    request_id: "r1",
    client_certificate: None,
};

const OURS: &str = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: a.example:8443\r\nX-Request-Id: r1\r\n";

/// What goes to the backend for `received`, without Ringate's own fields, which are in each of them.
fn forwarded(received: &str, path: PathRewrite<'_>, host: Option<&str>) -> String {
    let mut slots = header_slots();
    let head = match parse_request(received.as_bytes(), &mut slots, &LIMITS) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{received:?}: {other:?}"),
    };
    let mut out = Vec::new();
    encode_request(&head, path, &FORWARDED, host, &mut out);
    let sent = String::from_utf8(out).unwrap();
    assert!(sent.contains(OURS), "{sent:?}");
    sent.replace(OURS, "")
}

/// What goes to the client for `received`, and how its body is framed.
fn answered(received: &str, request: RequestContext, to: ResponseContext) -> (String, Framing) {
    let mut slots = header_slots();
    let head = match parse_response(received.as_bytes(), &mut slots, &LIMITS, &request) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{received:?}: {other:?}"),
    };
    let mut out = Vec::new();
    let framing = encode_response(&head, &to, &mut out);
    (String::from_utf8(out).unwrap(), framing)
}

const PLAIN: RequestContext = RequestContext { head: false, upgrade: None };
const MODERN: ResponseContext = ResponseContext { version: Version::Http11, close: false };
const CLOSING: ResponseContext = ResponseContext { version: Version::Http11, close: true };
const OLD: ResponseContext = ResponseContext { version: Version::Http10, close: false };

#[test]
fn a_request_goes_on_as_it_was_understood() {
    assert_eq!(
        forwarded(
            "\r\nPOST http://b/x?y=1 HTTP/1.1\r\nHOST:a\r\nContent-LENGTH: 007\r\nAccept:*/*\r\ncookie: a  b \r\n\r\n",
            PathRewrite::Keep,
            None
        ),
        "POST /x?y=1 HTTP/1.1\r\nHost: b\r\nAccept: */*\r\ncookie: a  b\r\nContent-Length: 7\r\n\r\n"
    );
    assert_eq!(
        forwarded("GET / HTTP/1.0\r\n\r\n", PathRewrite::Keep, Some("c:1")),
        "GET / HTTP/1.1\r\nHost: c:1\r\n\r\n"
    );
    assert_eq!(
        forwarded("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", PathRewrite::Keep, None),
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
    );
}

#[test]
fn a_path_is_replaced_and_its_query_kept() {
    for (path, line) in [("/z", "GET /z?q HTTP/1.1"), ("", "GET /?q HTTP/1.1"), ("z/", "GET /z/?q HTTP/1.1")]
    {
        let sent = forwarded("GET /a?q HTTP/1.1\r\nHost: a\r\n\r\n", PathRewrite::Replace(path), None);
        assert_eq!(sent.lines().next(), Some(line));
    }
}

#[test]
fn what_is_for_this_hop_ends_here() {
    assert_eq!(
        forwarded(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, host, content-length, Cookie\r\nx-hop: 1\r\n\
             Connection: Other\r\nOTHER: 2\r\nKeep-Alive: 3\r\nTE: trailers\r\nTrailer: a\r\nUpgrade: b\r\n\
             Proxy-Connection: c\r\nProxy-Authorization: d\r\nProxy-Authenticate: e\r\nProxy: f\r\n\
             HTTP2-Settings: g\r\nContent-Length: 1\r\nAuthorization: h\r\nCookie: i\r\n\r\n",
            PathRewrite::Keep,
            None
        ),
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: h\r\nContent-Length: 1\r\n\r\n"
    );
}

#[test]
fn connection_cannot_take_away_what_ringate_says() {
    assert_eq!(
        forwarded(
            "PUT / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding, host, expect, x-forwarded-for\r\n\
             Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nTrailer: b\r\n\r\n",
            PathRewrite::Keep,
            None
        ),
        "PUT / HTTP/1.1\r\nHost: a\r\nTrailer: b\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    );
}

#[test]
fn what_a_client_says_in_ringates_name_is_dropped() {
    for name in [
        "X-Forwarded-For",
        "x-forwarded-proto",
        "X-FORWARDED-HOST",
        "X-Forwarded-Port",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Anything",
        "X_Forwarded_For",
        "x-forwarded_for",
        "Forwarded",
        "X-Real-IP",
        "X-Request-ID",
        "X_REQUEST_ID",
    ] {
        let received = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: evil\r\n\r\n");
        assert_eq!(
            forwarded(&received, PathRewrite::Keep, None),
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "{name}"
        );
    }
    for name in ["X-Forwarded", "X-Forwarder-For", "Forwarded-For", "X-Request-Idx", "user_id"] {
        let received = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: b\r\n\r\n");
        assert_eq!(forwarded(&received, PathRewrite::Keep, None), received, "{name}");
    }
}

#[test]
fn an_upgrade_goes_on_and_comes_back() {
    let asked = "GET /s HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(forwarded(asked, PathRewrite::Keep, None), asked);
    let agreed = "HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let asked = RequestContext { head: false, upgrade: Some(Upgrade::WebSocket) };
    assert_eq!(answered(agreed, asked, CLOSING), (agreed.into(), Framing::None));
}

#[test]
fn a_response_goes_on_as_it_was_understood() {
    let received = "HTTP/1.0 200 Fine\r\nServer:s\r\nDate: d\r\nX-Request-Id: r\r\nKeep-Alive: timeout=5\r\n\
                    Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nContent-Length: 05\r\nSet-Cookie: a\r\n\r\n";
    let head = "HTTP/1.1 200 Fine\r\nServer: s\r\nDate: d\r\nX-Request-Id: r\r\nSet-Cookie: a\r\nContent-Length: 5\r\n";
    for (to, connection) in
        [(MODERN, ""), (CLOSING, "Connection: close\r\n"), (OLD, "Connection: keep-alive\r\n")]
    {
        let expected = (format!("{head}{connection}\r\n"), Framing::Length(5));
        assert_eq!(answered(received, PLAIN, to), expected);
    }
}

#[test]
fn a_body_is_framed_as_its_client_can_read_it() {
    let chunked = "HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\n\r\n";
    let unframed = "HTTP/1.0 200 A\r\nTrailer: t\r\n\r\n";
    let to_modern = "HTTP/1.1 200 A\r\nTrailer: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    let to_old = "HTTP/1.1 200 A\r\nConnection: close\r\n\r\n";
    for received in [chunked, unframed] {
        assert_eq!(answered(received, PLAIN, MODERN), (to_modern.into(), Framing::Chunked));
        assert_eq!(answered(received, PLAIN, OLD), (to_old.into(), Framing::UntilClose));
    }
}

#[test]
fn a_response_without_a_body_tells_its_length_only_where_it_may() {
    let sent = |received: &str, head: bool| {
        let (sent, framing) = answered(received, RequestContext { head, upgrade: None }, MODERN);
        assert_eq!(framing, Framing::None);
        sent
    };
    let with_length = "HTTP/1.1 304 A\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(sent(with_length, false), with_length);
    let to_head = "HTTP/1.1 200 A\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(sent(to_head, true), to_head);
    assert_eq!(sent("HTTP/1.1 204 A\r\nContent-Length: 0\r\n\r\n", false), "HTTP/1.1 204 A\r\n\r\n");
    assert_eq!(sent("HTTP/1.1 204 A\r\nContent-Length: 0\r\n\r\n", true), "HTTP/1.1 204 A\r\n\r\n");
    assert_eq!(sent("HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\n\r\n", true), "HTTP/1.1 200 A\r\n\r\n");
    let interim = "HTTP/1.1 103 Hints\r\nLink: l\r\n\r\n";
    assert_eq!(answered(interim, PLAIN, CLOSING), (interim.into(), Framing::None));
}

#[test]
fn replies_are_whole_responses() {
    let mut out = Vec::new();
    encode_reply(405, "no\n", true, false, &[("Allow", "GET, HEAD")], &mut out);
    assert_eq!(
        out.escape_ascii().to_string(),
        "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 3\r\nConnection: close\r\n\r\nno\n"
            .escape_debug()
            .to_string()
    );
    out.clear();
    encode_reply(502, "bad\n", false, true, &[], &mut out);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\n"
    );
    assert_eq!(response(b"HTTP/1.1 100 Continue\r\n\r\n", &PLAIN).as_deref(), Ok("100 Continue"));
}

#[test]
fn a_vector_that_has_grown_is_not_grown_again() {
    let received = b"GET /a HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n";
    let mut slots = header_slots();
    let Ok(Parsed::Complete(head)) = parse_request(received, &mut slots, &LIMITS) else { panic!() };
    let (mut text, mut out) = (Vec::with_capacity(1024), Vec::with_capacity(1024));
    let places = (text.as_ptr(), out.as_ptr());
    for _ in 0..10 {
        out.clear();
        let edit = HeadEdit::default();
        let mut request = OutgoingRequest::new(&head, PathRewrite::Keep, None, &FORWARDED, &edit, text);
        crate::http1::encode_request(&request, &mut out);
        text = request.take_memory();
        text.clear();
    }
    assert_eq!(
        (text.as_ptr(), out.as_ptr(), text.capacity(), out.capacity()),
        (places.0, places.1, 1024, 1024)
    );
}

/// Every field alone and beside others, taken out or kept: what goes on is what is written without it, and what is added
/// stands behind all else.
#[test]
fn an_edit_is_applied_while_a_head_is_written() {
    let fields = ["A: 1", "B:2", "a:  3", "C: 4", "X-Forwarded-Proto: x", "D: 5"];
    for mask in 0..64_u32 {
        let chosen = fields.iter().enumerate().filter(|(at, _)| mask & 1 << at != 0).map(|(_, field)| *field);
        let chosen: Vec<&str> = chosen.collect();
        for removed in ["A", "B", "C", "D", "X-Forwarded-Proto", "x_request_id", "Z"] {
            let stays = |field: &&&str| !field.split(':').next().unwrap().eq_ignore_ascii_case(removed);
            let lines =
                |fields: &[&str]| fields.iter().map(|field| format!("{field}\r\n")).collect::<String>();
            let (all, kept) =
                (lines(&chosen), lines(&chosen.iter().filter(stays).copied().collect::<Vec<_>>()));
            let is_removed = |name: &[u8]| crate::http::is_same_name(name, removed.as_bytes());
            let edit = HeadEdit { removed: Some(&is_removed), added: b"New: 1\r\n" };

            let start = "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n";
            let received = format!("{start}{all}\r\n");
            let mut slots = header_slots();
            let Ok(Parsed::Complete(head)) = parse_request(received.as_bytes(), &mut slots, &LIMITS) else {
                panic!()
            };
            let request = OutgoingRequest::new(&head, PathRewrite::Keep, None, &FORWARDED, &edit, Vec::new());
            let mut out = Vec::new();
            crate::http1::encode_request(&request, &mut out);
            let mut slots = header_slots();
            let without = format!("{start}{kept}\r\n");
            let Ok(Parsed::Complete(head)) = parse_request(without.as_bytes(), &mut slots, &LIMITS) else {
                panic!()
            };
            let mut expected = Vec::new();
            encode_request(&head, PathRewrite::Keep, &FORWARDED, None, &mut expected);
            let mut expected = String::from_utf8(expected).unwrap();
            for (name, line) in [
                ("X-Forwarded-Proto", "X-Forwarded-Proto: https\r\n"),
                ("x_request_id", "X-Request-Id: r1\r\n"),
            ] {
                expected = if name == removed { expected.replace(line, "") } else { expected };
            }
            let expected = format!("{}New: 1\r\n\r\n", expected.strip_suffix("\r\n").unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{chosen:?} {removed}");

            let written = |fields: &str, edit: &HeadEdit<'_>| {
                let received = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 5\r\n\r\n");
                let mut slots = header_slots();
                let parsed = parse_response(received.as_bytes(), &mut slots, &LIMITS, &PLAIN);
                let Ok(Parsed::Complete(head)) = parsed else { panic!() };
                let mut out = Vec::new();
                crate::http1::encode_response(&head, edit, &CLOSING, &mut out);
                String::from_utf8(out).unwrap()
            };
            let expected = written(&kept, &HeadEdit::default());
            let expected = format!("{}New: 1\r\n\r\n", expected.strip_suffix("\r\n").unwrap());
            assert_eq!(written(&all, &edit), expected, "{chosen:?} {removed}");
        }
    }
}

#[test]
fn lines_go_on_as_they_came_only_if_they_came_as_they_would_be_written() {
    // Each field alone, beside one that is left out, and beside one that is kept: runs of lines begin and end everywhere.
    let odd = ["A: 1", "B:2", "C:  3", "D: 4 ", "E: ", "F:", "G:\t5", "H: 6 7", "I: \t", "J: :"];
    let left_out = ["Keep-Alive: x", "Proxy-Connection: y"];
    for first in odd {
        for second in odd.into_iter().chain(left_out) {
            for third in odd {
                let fields = [first, second, third];
                let written = |field: &&str| {
                    let (name, value) = field.split_once(':').unwrap();
                    format!("{name}: {}\r\n", value.trim())
                };
                let kept = fields.iter().filter(|field| !left_out.contains(field));
                let expected: String = kept.map(written).collect();
                let received = fields.join("\r\n");
                let sent = forwarded(
                    &format!("GET / HTTP/1.1\r\nHost: h\r\n{received}\r\n\r\n"),
                    PathRewrite::Keep,
                    None,
                );
                assert_eq!(sent, format!("GET / HTTP/1.1\r\nHost: h\r\n{expected}\r\n"));
                for status in ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200"] {
                    let response = format!("{status}\r\n{received}\r\nContent-Length: 0\r\n\r\n");
                    let (sent, _) = answered(&response, PLAIN, MODERN);
                    let reason = if status.ends_with("OK") { "OK" } else { "" };
                    assert_eq!(sent, format!("HTTP/1.1 200 {reason}\r\n{expected}Content-Length: 0\r\n\r\n"));
                }
            }
        }
    }
}
