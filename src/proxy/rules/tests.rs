//! Heads are changed while they are written. What comes of it is what came of changing heads that were written already,
//! one rule after another: that is done here once more, on text.

use std::time::{Duration, SystemTime};

use super::*;
use crate::base::limits::Limits;
use crate::certs::Timestamp;
use crate::certs::apikeys::KeyFile;
use crate::config::access;
use crate::config::plan::{self, AnyOr, HeaderEdits, OriginPattern};
use crate::http::{ForwardedFor, OutgoingRequest, PathRewrite, RequestContext, Version, is_same_name};
use crate::http1::{self, HeadLimits, Parsed, ResponseContext, header_slots};
use crate::proxy::client::ClientFacts;

/// Takes out of a written head every field whose name is `taken`.
fn remove_fields(head: &mut String, taken: impl Fn(&[u8]) -> bool) {
    let mut lines = head.split_inclusive("\r\n");
    let first = lines.next().unwrap_or_default();
    let kept = lines.filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        *line == "\r\n" || !taken(name.as_bytes())
    });
    *head = std::iter::once(first).chain(kept).collect();
}

/// Puts field lines behind the fields of a written head.
fn append_fields(head: &mut String, lines: &[u8]) {
    let lines = std::str::from_utf8(lines).unwrap();
    *head = format!("{}{lines}\r\n", head.strip_suffix("\r\n").unwrap());
}

fn change_request(rules: &ResponseRules, asked: &RequestView<'_, '_, '_>, head: &mut String) {
    if let Some(listener) = &rules.listener {
        change_request(listener, asked, head);
    }
    if let (Some(rule), Some(known)) = (&rules.rules.keys, &rules.key) {
        remove_fields(head, |name| rule.removes(known, name));
        append_fields(head, format!("{}: {}\r\n", rule.name_header, known.name).as_bytes());
    }
    if matches!(rules.trace, TraceEdit::Remove | TraceEdit::Replace(_)) {
        remove_fields(head, trace::is_context);
    }
    if let TraceEdit::Replace(value) = &rules.trace {
        append_fields(head, &[b"traceparent: ", &value[..], b"\r\n"].concat());
    }
    if let Some(headers) = &rules.rules.headers {
        remove_fields(head, |name| headers.drops_from_request(name));
        append_fields(head, &headers.lines(&Source::Request(asked)).unwrap().request);
    }
}

fn change_response(rules: &ResponseRules, asked: &RequestView<'_, '_, '_>, head: &mut String) {
    if let Some(listener) = &rules.listener {
        change_response(listener, asked, head);
    }
    if let Some(cors) = &rules.rules.cors {
        remove_fields(head, cors::is_cors);
        append_fields(head, &cors.grant(asked, |_| false));
    }
    if let Some(headers) = &rules.rules.headers {
        remove_fields(head, |name| headers.drops_from_response(name));
        append_fields(head, &headers.lines(&Source::Request(asked)).unwrap().response);
    }
}

/// The tags of a written head.
fn tags(head: &str) -> Vec<String> {
    let tag =
        |line: &str| line.to_ascii_lowercase().starts_with("etag:").then(|| line[5..].trim().to_owned());
    head.lines().skip(1).filter_map(tag).collect()
}

/// What compression changes of a written head. `decided`: whether the body is encoded; `fits`: whether it might be.
fn compress(head: &mut String, status: u16, fits: bool, offered: bool) {
    let weaken = |head: &mut String| {
        if let Some(tag) = tags(head).first().filter(|tag| tag.starts_with('"')) {
            remove_fields(head, |name| name.eq_ignore_ascii_case(b"etag"));
            append_fields(head, format!("ETag: W/{tag}\r\n").as_bytes());
        }
    };
    let of_bytes =
        ["content-digest", "repr-digest", "digest", "content-md5", "content-length", "accept-ranges"];
    let describes = |name: &[u8]| of_bytes.iter().any(|known| is_same_name(name, known.as_bytes()));
    let vary = b"Vary: Accept-Encoding\r\n";
    if status == 304 {
        if offered && fits {
            weaken(head);
            remove_fields(head, describes);
        }
        return append_fields(head, vary);
    }
    if fits {
        append_fields(head, vary);
        if offered {
            weaken(head);
            remove_fields(head, |name| describes(name) || is_same_name(name, b"content-encoding"));
            append_fields(head, b"Content-Encoding: gzip\r\n");
        }
    }
}

fn edits(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderEdits {
    let lines = |lines: &[(&str, &str)]| {
        let line = |(name, value): &(&str, &str)| ((*name).to_owned(), access::template(value).unwrap());
        lines.iter().map(line).collect()
    };
    let remove = remove.iter().map(|name| (*name).to_owned()).collect();
    HeaderEdits { set: lines(set), add: lines(add), remove, host: None }
}

/// Header edits that meet what other rules set, and what Ringate says of the client.
fn header_edits() -> Vec<Option<Box<Headers>>> {
    let some = |request, response| Headers::new(&request, &response, &[]);
    vec![
        None,
        some(
            edits(
                &[("X-Key-Name", "{request.method}")],
                &[("X-A", "1"), ("X-A", "2")],
                &["X-Forwarded-Proto"],
            ),
            edits(&[("ETag", "\"mine\""), ("x-b", "{client.address}")], &[("Vary", "X")], &["Server"]),
        ),
        some(
            edits(
                &[("traceparent", "t")],
                &[("Cookie", "{request.header.x-none}")],
                &["cookie", "x_forwarded_for"],
            ),
            edits(&[("Digest", "d")], &[("Access-Control-Allow-Origin", "*")], &["vary", "X_B", "ETag"]),
        ),
    ]
}

/// The rules of a route in all their combinations. The second is the key that they take.
fn routes() -> (Vec<Arc<Rules>>, String) {
    let mut file = KeyFile::parse("").unwrap();
    let key = file.generate("partner", Timestamp::from(SystemTime::UNIX_EPOCH)).unwrap();
    let rule = |forward| KeyRule {
        keys: file.keys(),
        header: "x-api-key".into(),
        name_header: "X-Key-Name".into(),
        forward,
    };
    let cors = || {
        Cors::new(&plan::Cors {
            origins: vec![OriginPattern::Exact("https://a.example".into())],
            methods: AnyOr::Any,
            headers: AnyOr::Any,
            credentials: true,
            max_age: Duration::from_secs(1),
            expose: vec!["X-B".into()],
        })
    };
    let compression =
        || Compression { algorithms: vec![Coding::Gzip], min_size: 1, types: vec!["text/*".into()] };
    let mut routes = Vec::new();
    for keys in [None, Some(false), Some(true)] {
        for trace in [Trace::Pass, Trace::Make, Trace::Off] {
            for headers in 0..header_edits().len() {
                for number in 0..4 {
                    routes.push(Arc::new(Rules {
                        keys: keys.map(rule),
                        trace,
                        headers: header_edits().swap_remove(headers),
                        cors: (number & 1 != 0).then(cors),
                        compression: (number & 2 != 0).then(compression),
                        ..Rules::default()
                    }));
                }
            }
        }
    }
    (routes, key)
}

fn limits() -> HeadLimits {
    HeadLimits::from(&Limits::default())
}

/// Runs `check` with each request, and with what each combination of rules has to do with it.
fn for_each(check: impl Fn(&RequestView<'_, '_, '_>, &ResponseRules)) -> usize {
    let (routes, key) = routes();
    let client = ClientFacts::new("192.0.2.1".into(), None);
    let mut checked = 0;
    let common =
        "Cookie: c\r\nX_Api_Key: x\r\nx.key.name: evil\r\nx-key-name: evil\r\nTraceState: s\r\nX-A:0\r\n";
    for fields in [
        format!("X-Api-Key: {key}\r\n{common}Origin: https://a.example\r\nAccept-Encoding: gzip\r\n"),
        format!("{common}Authorization: Bearer {key}\r\nTraceParent: bad\r\nConnection: x-a\r\n"),
        format!(
            "X-API-KEY: {key}\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n{common}\
             Authorization: Basic x\r\nX-Forwarded-Proto: x\r\nAccept-Encoding: br;q=0\r\n"
        ),
    ] {
        let received = format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: 1\r\n\r\n");
        let mut slots = header_slots();
        let parsed = http1::parse_request(received.as_bytes(), &mut slots, &limits());
        let Ok(Parsed::Complete(head)) = parsed else { panic!("{received}") };
        let asked = RequestView {
            head: &head,
            path: "/a",
            client: &client,
            address: "192.0.2.1",
            id: "0123456789abcdef0123456789abcdef",
            listener: "web",
            sampled: true,
        };
        for route in &routes {
            for headers in header_edits() {
                let listener = Arc::new(Rules { headers, ..Rules::default() });
                let listener = listener.edits(&Source::Request(&asked), None);
                let (rules, admitted) = route.admit(&asked, listener, None);
                assert!(admitted.is_ok(), "{received}");
                if let Some(rules) = rules {
                    check(&asked, &rules);
                    checked += 1;
                }
            }
        }
    }
    checked
}

#[test]
fn a_request_is_what_it_was_when_its_written_head_was_changed() {
    let checked = for_each(|asked, rules| {
        let forwarded = ForwardedFor {
            client: "192.0.2.1",
            proto: "http",
            host: Some("h"),
            request_id: "r",
            client_certificate: None,
        };
        let write = |edit: &HeadEdit<'_>| {
            let head =
                OutgoingRequest::new(asked.head, PathRewrite::Keep, None, &forwarded, edit, Vec::new());
            let mut out = Vec::new();
            http1::encode_request(&head, &mut out);
            String::from_utf8(out).unwrap()
        };
        let mut expected = write(&HeadEdit::default());
        change_request(rules, asked, &mut expected);
        assert_eq!(edit_request(Some(rules), write), expected, "{rules:?}");
    });
    assert!(checked > 500, "{checked}");
}

#[test]
fn a_response_is_what_it_was_when_its_written_head_was_changed() {
    let common = "Server: s\r\nAccess-Control-Allow-Origin: evil\r\naccess_control_max_age: 9\r\nDIGEST: d\r\nX-B: 0\r\n";
    let responses = [
        format!("200 OK\r\nContent-Type: text/html\r\nETag: \"a\"\r\n{common}Content-Length: 5\r\n"),
        format!(
            "200 OK\r\n{common}Content-Type: text/html\r\nETag: W/\"a\"\r\nTransfer-Encoding: chunked\r\n"
        ),
        format!("200 OK\r\n{common}Content-Type: text/html\r\nETag: a\r\nContent-Length: 5\r\n"),
        format!(
            "200 OK\r\nETag: \"a\"\r\nContent-Type: text/a\r\nETag: \"b\"\r\n{common}Content-Length: 5\r\n"
        ),
        format!(
            "200 OK\r\nConnection: etag\r\nContent-Type: text/a\r\nETag: b\r\n{common}Content-Length: 5\r\n"
        ),
        format!("200 OK\r\nContent-Type: image/png\r\nETag: \"a\"\r\n{common}Content-Length: 5\r\n"),
        format!("206 OK\r\nContent-Type: text/html\r\nVary: X\r\n{common}Content-Length: 5\r\n"),
        format!("304 OK\r\nETag: \"a\"\r\n{common}Content-Length: 5\r\n"),
        format!("304 OK\r\n{common}\r\n").replace("\r\n\r\n", "\r\n"),
    ];
    let checked = for_each(|asked, rules| {
        for received in &responses {
            let received = format!("HTTP/1.1 {received}\r\n");
            let mut slots = header_slots();
            let context = RequestContext::default();
            let parsed = http1::parse_response(received.as_bytes(), &mut slots, &limits(), &context);
            let Ok(Parsed::Complete(head)) = parsed else { panic!("{received}: {parsed:?}") };
            let to = ResponseContext { version: Version::Http11, close: false };
            let write = |head: &ResponseHead<'_, '_>, edit: &HeadEdit<'_>| {
                let mut out = Vec::new();
                http1::encode_response(head, edit, &to, &mut out);
                String::from_utf8(out).unwrap()
            };
            let (found, coding) = edit_response(Some(rules), &head, true, write);

            // The length of a body that is encoded is not known.
            let body = if coding.is_some() { BodyLength::Unknown } else { head.body };
            let mut expected = write(&ResponseHead { body, ..head.head }, &HeadEdit::default());
            change_response(rules, asked, &mut expected);
            if let (Some(rule), Some(offer)) = (&rules.rules.compression, rules.offer) {
                let offered = offer.coding.is_some();
                let tags = tags(&expected);
                let is_tag = |tag: &String| tag.ends_with('"');
                let fits = tags.len() <= 1 && tags.iter().all(is_tag) && compress::is_fit(rule, &head);
                assert_eq!(coding.is_some(), fits && offered && head.status != 304, "{received}");
                compress(&mut expected, head.status, fits, offered);
            }
            assert_eq!(found, expected, "{received} {rules:?}");
        }
    });
    assert!(checked > 500, "{checked}");
}
