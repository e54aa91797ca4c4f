//! What messages of one version of HTTP become in the other one: one message, as it was.

use std::sync::Arc;

use ringate::internals::http::{
    BodyLength, ForwardedFor, HeadEdit, HttpField, OutgoingRequest, PathRewrite, RequestContext, RequestHead,
    Version,
};
use ringate::internals::http1::{self, Framing, HeadLimits, Parsed, ResponseContext, header_slots};
use ringate::internals::http2::{
    Config, Connection, Event, Field, FieldLimits, FieldList, HeadKind, RequestLine,
};
use ringate::internals::route::normalise_path;

use super::super::{framing, lines};

/// Longer than any input, and what is added to it.
const LONGER: HeadLimits = HeadLimits { head_bytes: 256 * 1024, headers: 256, target_bytes: 64 * 1024 };
const FORWARDED: ForwardedFor<'_> = ForwardedFor {
    client: "192.0.2.1",
    proto: "https",
    host: None,
    request_id: "r",
    client_certificate: None,
};
const EMPTY: HttpField<'_> = HttpField { name: "", value: b"" };

fn framed(body: BodyLength) -> Framing {
    match body {
        BodyLength::None => Framing::None,
        BodyLength::Known(length) => Framing::Length(length),
        BodyLength::Unknown => Framing::Chunked,
    }
}

/// An HTTP/2 request that the codec has handed out, towards HTTP/1 and back.
pub(super) fn request(fields: &FieldList, end_stream: bool) {
    let mut slots = [EMPTY; 256];
    let Ok(head) = fields.request_head(end_stream, &mut slots) else { return };
    let Ok(path) = normalise_path(head.target.path) else { return };
    let edit = HeadEdit::default();
    let path = PathRewrite::Replace(&path);
    let request = OutgoingRequest::new(&head, path, None, &FORWARDED, &edit, Vec::new());
    let mut out = Vec::new();
    http1::encode_request(&request, &mut out);
    assert_eq!(framing(&out), framed(head.body), "{}", out.escape_ascii());
    let hosts = lines(&out).iter().filter(|line| line.to_ascii_lowercase().starts_with(b"host:")).count();
    assert_eq!(hosts, 1);

    let mut slots = header_slots();
    let again = match http1::parse_request(&out, &mut slots, &LONGER) {
        Ok(Parsed::Complete(again)) => again,
        other => panic!("{other:?}: {}", out.escape_ascii()),
    };
    assert_eq!((again.len, again.framing), (out.len(), framed(head.body)));
    assert_eq!((again.method, again.target.query, again.host), (head.method, head.target.query, head.host));
    assert_eq!(again.upgrade, head.upgrade);
    to_http2(&again);
}

/// A request towards HTTP/2: what is sent is well-formed, and has the same line.
fn to_http2(head: &RequestHead<'_, '_>) {
    let edit = HeadEdit::default();
    let request = OutgoingRequest::new(head, PathRewrite::Keep, Some("a"), &FORWARDED, &edit, Vec::new());
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let (Some(method), Some(path)) = (text(request.method()), text(request.target())) else { return };
    let line =
        RequestLine { method, scheme: Some("https"), authority: "a", path: Some(path), protocol: None };
    let fields = request.fields().split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some(Field { name: &line[..colon], value: line[colon + 1..].trim_ascii(), never_indexed: false })
    });
    let limits = FieldLimits { bytes: 256 * 1024, fields: 256 };
    let config = Arc::new(Config { fields: limits, ..Config::default() });
    let mut client = Connection::client(Arc::clone(&config));
    let mut out = Vec::new();
    client.start(&mut out);
    if client.send_request(&line, fields, true, &mut out).is_err() {
        return;
    }
    let mut server = Connection::server(config);
    let (mut list, mut written, mut at, mut heads) = (FieldList::new(), Vec::new(), 0, 0);
    loop {
        let received = server.receive(&out[at..], 0, &mut list, &mut written).expect("well-formed frames");
        at += received.consumed;
        match received.event {
            None => break,
            Some(Event::Head { kind: HeadKind::Request, .. }) => {
                let line = list.request_line().expect("a request has its line");
                assert_eq!((line.method, line.path, line.authority), (method, Some(path), "a"));
                heads += 1;
            }
            Some(Event::Settings) => {}
            Some(event) => panic!("{event:?} of {}", request.fields().escape_ascii()),
        }
    }
    assert_eq!((at, heads), (out.len(), 1));
}

/// An HTTP/2 response that the codec has handed out, towards HTTP/1.
pub(super) fn response(fields: &FieldList, end_stream: bool, head_request: bool) {
    let mut slots = [EMPTY; 256];
    let Some(head) = fields.response_head(end_stream, head_request, &mut slots) else { return };
    let mut out = Vec::new();
    let to = ResponseContext { version: Version::Http11, close: false };
    let said = http1::encode_response(&head, &HeadEdit::default(), &to, &mut out);
    let seen = framing(&out);
    let never = head.status < 200 || matches!(head.status, 204 | 304) || head_request;
    match said {
        Framing::None => assert!(never, "{}", out.escape_ascii()),
        framed => assert_eq!(seen, framed, "{}", out.escape_ascii()),
    }
    let mut slots = header_slots();
    let context = RequestContext { head: head_request, upgrade: None };
    match http1::parse_response(&out, &mut slots, &LONGER, &context) {
        Ok(Parsed::Complete(again)) => {
            assert_eq!((again.len, again.status, again.framing), (out.len(), head.status, said));
        }
        other => panic!("{other:?}: {}", out.escape_ascii()),
    }
}
