//! Heads written anew from what was understood (RFC 9110 §7.6), and Ringate's own replies.
//!
//! Everything is appended to a vector that the caller keeps, so that nothing is allocated once it has grown.

use std::ops::Range;

use super::Framing;
use crate::http::{
    BodyLength, Field, KnownField, PLAIN_TEXT, RequestHead, ResponseHead, Version, is_same_name,
    reason_phrase, says_client,
};

/// Room for what is written beside what was received.
const ROOM: usize = 512;

/// What Ringate tells a backend of the client. All of it was checked where it was made: it is written as it is.
#[derive(Clone, Copy, Debug)]
pub struct ForwardedFor<'a> {
    /// The client's IP address in text: `X-Forwarded-For`.
    pub client: &'a str,
    /// `http` or `https`: `X-Forwarded-Proto`.
    pub proto: &'static str,
    /// The authority that the client asked for: `X-Forwarded-Host`.
    pub host: Option<&'a str>,
    /// `X-Request-Id`
    pub request_id: &'a str,
    /// `X-Forwarded-Client-Cert`: the client's verified certificate.
    pub client_certificate: Option<&'a str>,
}

/// Which path goes to the backend. The query always goes as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRewrite<'a> {
    /// As received.
    Keep,
    /// This one: normalised, or without its prefix. A `/` is put before it unless it begins with one.
    Replace(&'a str),
}

/// Appends the head that goes to a backend: HTTP/1.1, with a target in origin form.
///
/// Host is `host`, or else the request's. Where neither is (HTTP/1.0 without Host) it is sent empty, as RFC 9112
/// §3.2 says; callers better give the endpoint's name then. Hop-by-hop fields, those that Connection lists and
/// those that are Ringate's to set are left out; framing, Expect and Upgrade are written from what was understood.
pub fn encode_request(
    head: &RequestHead<'_, '_>,
    path: PathRewrite<'_>,
    forwarded: &ForwardedFor<'_>,
    host: Option<&str>,
    out: &mut Vec<u8>,
) {
    out.reserve(head.fields.block().len() + ROOM);
    put(out, &[head.method.as_str(), " "]);
    match path {
        PathRewrite::Keep => put(out, &[head.target.path]),
        PathRewrite::Replace(path) if path.starts_with('/') || path == "*" => put(out, &[path]),
        PathRewrite::Replace(path) => put(out, &["/", path]),
    }
    if let Some(query) = head.target.query {
        put(out, &["?", query]);
    }
    put(out, &[" HTTP/1.1\r\nHost: ", host.or(head.host).unwrap_or(""), "\r\n"]);

    let mut lines = Lines { head: head.fields.block(), run: 0..0 };
    for header in head.fields.iter() {
        let kept = match KnownField::of(header.name) {
            KnownField::Other => {
                let counted = head.max_forwards.is_some();
                !(says_client(header.name)
                    || counted && is_same_name(header.name.as_bytes(), b"max-forwards"))
            }
            KnownField::Trailer => head.body == BodyLength::Unknown,
            // Of an OPTIONS it is written below.
            KnownField::MaxForwards => head.max_forwards.is_none(),
            _ => false,
        };
        if kept && !head.fields.end_here(header.name) {
            lines.put(header, out);
        }
    }
    lines.end(out);
    put(out, &["X-Forwarded-For: ", forwarded.client, "\r\nX-Forwarded-Proto: ", forwarded.proto]);
    if let Some(host) = forwarded.host {
        put(out, &["\r\nX-Forwarded-Host: ", host]);
    }
    if let Some(certificate) = forwarded.client_certificate {
        put(out, &["\r\nX-Forwarded-Client-Cert: ", certificate]);
    }
    put(out, &["\r\nX-Request-Id: ", forwarded.request_id, "\r\n"]);
    put_framing(out, request_framing(head.body));
    if let Some(count) = head.max_forwards {
        put(out, &["Max-Forwards: "]);
        put_decimal(out, u64::from(count.saturating_sub(1)));
        put(out, &["\r\n"]);
    }
    if head.expect_continue {
        put(out, &["Expect: 100-continue\r\n"]);
    }
    if let Some(protocol) = head.upgrade {
        put_upgrade(out, protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// What must be known of the client to write a response to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseContext {
    /// The version of its request. Interim responses must not be sent to HTTP/1.0.
    pub version: Version,
    /// Its connection ends after this response. A body in [`Framing::UntilClose`] means so in any case.
    pub close: bool,
}

/// How a request's body goes on to a backend.
fn request_framing(body: BodyLength) -> Framing {
    match body {
        BodyLength::None => Framing::None,
        BodyLength::Known(length) => Framing::Length(length),
        BodyLength::Unknown => Framing::Chunked,
    }
}

/// How a response's body goes on to a client of `version`: one of unknown length goes in chunks, or unframed to HTTP/1.0,
/// whose connection must then be closed.
fn response_framing(body: BodyLength, version: Version) -> Framing {
    match (body, version) {
        (BodyLength::Unknown, Version::Http10) => Framing::UntilClose,
        (body, _) => request_framing(body),
    }
}

/// Appends the head that goes to the client, and returns how its body must be framed.
///
/// Hop-by-hop fields and those that Connection lists are left out; framing and Connection are written anew,
/// the rest goes as it came. In answer to HEAD and in 304, Content-Length goes as the backend sent it.
pub fn encode_response(head: &ResponseHead<'_, '_>, to: &ResponseContext, out: &mut Vec<u8>) -> Framing {
    out.reserve(head.fields.block().len() + ROOM);
    let framing = response_framing(head.body, to.version);
    let mut lines = Lines { head: head.fields.block(), run: 0..0 };
    match status_line(head) {
        Some(line) => lines.run = line,
        None => put_status(out, head.status, head.reason),
    }
    for header in head.fields.iter() {
        let kept = match KnownField::of(header.name) {
            KnownField::Other
            | KnownField::Host
            | KnownField::Expect
            | KnownField::MaxForwards
            | KnownField::LookAlike => true,
            KnownField::Trailer => framing == Framing::Chunked,
            _ => false,
        };
        if kept && !head.fields.end_here(header.name) {
            lines.put(header, out);
        }
    }
    lines.end(out);
    match head.content_length {
        Some(length) if framing == Framing::None && head.status >= 200 && head.status != 204 => {
            put_framing(out, Framing::Length(length));
        }
        _ => put_framing(out, framing),
    }
    if let Some(protocol) = head.upgrade {
        put_upgrade(out, protocol);
    } else if !head.is_interim() {
        put_persistence(out, to.close || framing == Framing::UntilClose, to.version);
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// Appends a whole response of Ringate's own, in plain text.
///
/// `head_only`: the request was HEAD. `extra`: further fields, such as Allow with a 405; written as they are.
/// With `close` false the client must be of HTTP/1.1.
pub(crate) fn encode_reply(
    status: u16,
    body: &str,
    close: bool,
    head_only: bool,
    extra: &[(&str, &str)],
    out: &mut Vec<u8>,
) {
    let mut fields = Vec::new();
    for (name, value) in extra {
        put(&mut fields, &[name, ": ", value, "\r\n"]);
    }
    let content = Content { media_type: PLAIN_TEXT, bytes: body.as_bytes() };
    encode_answer(status, &fields, Some(content), close, out);
    if !head_only {
        out.extend_from_slice(body.as_bytes());
    }
}

/// The body of a response that Ringate makes itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    /// `Content-Type`, checked where it was made.
    pub media_type: &'a str,
    /// What Content-Length counts.
    pub bytes: &'a [u8],
}

/// Appends the head of a response of Ringate's own.
///
/// `fields`: further field lines, each ended by CRLF, checked where they were made. Without `content` nothing is
/// said of a body: for statuses that have none. With `close` false the client must be of HTTP/1.1.
pub(crate) fn encode_answer(
    status: u16,
    fields: &[u8],
    content: Option<Content<'_>>,
    close: bool,
    out: &mut Vec<u8>,
) {
    put_status(out, status, reason_phrase(status));
    out.extend_from_slice(fields);
    if let Some(content) = content {
        put(out, &["Content-Type: ", content.media_type, "\r\n"]);
        put_framing(out, Framing::Length(content.bytes.len() as u64));
    }
    put_persistence(out, close, Version::Http11);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// What goes on of a received head: lines that came as they would be written, and stand together, leave in one copy.
struct Lines<'b> {
    head: &'b [u8],
    /// Lines to be copied.
    run: Range<usize>,
}

impl Lines<'_> {
    /// The next field, which points into the head.
    #[inline]
    fn put(&mut self, header: &Field<'_>, out: &mut Vec<u8>) {
        let at = |bytes: &[u8]| bytes.as_ptr().addr().wrapping_sub(self.head.as_ptr().addr());
        let start = at(header.name.as_bytes());
        let value = start + header.name.len() + 2;
        let end = value + header.value.len() + 2;
        // One space before the value, and none after it.
        let as_written = at(header.value) == value
            && self.head.get(value - 1) == Some(&b' ')
            && self.head.get(end - 2..end) == Some(b"\r\n");
        if as_written && start == self.run.end {
            self.run.end = end;
            return;
        }
        self.end(out);
        if as_written {
            self.run = start..end;
        } else {
            put_field(out, header);
        }
    }

    /// Copies what is still to be copied.
    #[inline]
    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head[std::mem::take(&mut self.run)]);
    }
}

/// Where the status line is, if it came as it would be written.
fn status_line(head: &ResponseHead<'_, '_>) -> Option<Range<usize>> {
    let reason = "HTTP/1.1 200 ".len();
    let end = reason + head.reason.len() + 2;
    let line = head.fields.block().get(..end)?;
    let as_written = line.starts_with(b"HTTP/1.1 ")
        && line[reason - 1] == b' '
        && &line[reason..end - 2] == head.reason.as_bytes()
        && line.ends_with(b"\r\n");
    as_written.then_some(0..end)
}

#[inline]
fn put_field(out: &mut Vec<u8>, header: &Field<'_>) {
    out.extend_from_slice(header.name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(header.value);
    out.extend_from_slice(b"\r\n");
}

/// The status line. Its last space stays where there is no reason (RFC 9112 §4).
fn put_status(out: &mut Vec<u8>, status: u16, reason: &str) {
    put(out, &["HTTP/1.1 "]);
    put_decimal(out, u64::from(status));
    put(out, &[" ", reason, "\r\n"]);
}

fn put_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            put(out, &["Content-Length: "]);
            put_decimal(out, length);
            put(out, &["\r\n"]);
        }
        Framing::Chunked => put(out, &["Transfer-Encoding: chunked\r\n"]),
    }
}

fn put_upgrade(out: &mut Vec<u8>, protocol: &str) {
    put(out, &["Connection: Upgrade\r\nUpgrade: ", protocol, "\r\n"]);
}

/// Says what the version would not imply (RFC 9112 §9.3).
fn put_persistence(out: &mut Vec<u8>, close: bool, version: Version) {
    match (close, version) {
        (true, _) => put(out, &["Connection: close\r\n"]),
        (false, Version::Http10) => put(out, &["Connection: keep-alive\r\n"]),
        (false, Version::Http11) => {}
    }
}

/// Appends a number in decimal digits.
pub(crate) fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
