//! Heads written anew from what was understood (RFC 9110 §7.6), and Ringate's own replies.
//!
//! Everything is appended to a vector that the caller keeps, so that nothing is allocated once it has grown.

use std::ops::Range;

use super::Framing;
use crate::http::{
    BodyLength, Content, HeadEdit, KnownField, LineCopy, OutgoingRequest, PLAIN_TEXT, ResponseHead, Version,
    copy_lines, reason_phrase,
};

/// Room for what is written beside what was received.
const ROOM: usize = 512;

/// Appends the head that goes to a backend: HTTP/1.1, with a target in origin form. Framing, Expect and Upgrade are written
/// from what was understood. An authority that is not known is sent empty, as RFC 9112 §3.2 says. Returns how the body must be
/// framed.
pub fn encode_request(request: &OutgoingRequest, out: &mut Vec<u8>) -> Framing {
    out.reserve(request.size() + ROOM);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[request.method(), b" ", request.target(), b" HTTP/1.1\r\nHost: ", request.authority(), b"\r\n"]);
    put(&[request.fields()]);
    let framing = Framing::of(request.body);
    put_framing(out, framing);
    if let Some(count) = request.max_forwards {
        put_number("Max-Forwards: ", u64::from(count), out);
    }
    if request.expect_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if let Some(protocol) = request.upgrade() {
        put_upgrade(out, protocol);
    }
    out.extend_from_slice(request.added());
    out.extend_from_slice(b"\r\n");
    framing
}

/// What must be known of the client to write a response to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseContext {
    /// The version of its request. Interim responses must not be sent to HTTP/1.0.
    pub version: Version,
    /// Its connection ends after this response. A body in [`Framing::UntilClose`] means so in any case.
    pub close: bool,
}

/// How a response's body goes on to a client of `version`: one of unknown length goes in chunks, or unframed to HTTP/1.0,
/// whose connection must then be closed.
fn response_framing(body: BodyLength, version: Version) -> Framing {
    match (body, version) {
        (BodyLength::Unknown, Version::Http10) => Framing::UntilClose,
        (body, _) => Framing::of(body),
    }
}

/// Appends the head that goes to the client, changed by `edit` in the same pass, and returns how its body must be framed.
///
/// Hop-by-hop fields and those that Connection lists are left out; framing and Connection are written anew,
/// the rest goes as it came. In answer to HEAD and in 304, Content-Length goes as the backend sent it.
pub fn encode_response(
    head: &ResponseHead<'_, '_>,
    edit: &HeadEdit<'_>,
    to: &ResponseContext,
    out: &mut Vec<u8>,
) -> Framing {
    out.reserve(head.fields.block().len() + edit.added.len() + ROOM);
    let framing = response_framing(head.body, to.version);
    let line = status_line(head);
    if line.is_none() {
        put_status(out, head.status, head.reason);
    }
    let mut lines = LineCopy::new(head.fields.block(), line.unwrap_or_default());
    for field in head.fields.iter() {
        let kept = match KnownField::of(field.name) {
            KnownField::Other
            | KnownField::Host
            | KnownField::Expect
            | KnownField::MaxForwards
            | KnownField::LookAlike => true,
            KnownField::Trailer => framing == Framing::Chunked,
            _ => false,
        };
        if kept && !head.fields.end_here(field.name) && !edit.removes(field.name.as_bytes()) {
            lines.put(field, out);
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
        put_upgrade(out, protocol.as_bytes());
    } else if !head.is_interim() {
        put_persistence(out, to.close || framing == Framing::UntilClose, to.version);
    }
    out.extend_from_slice(edit.added);
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
    encode_answer(status, &fields, Some(content), close, &HeadEdit::default(), out);
    if !head_only {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Appends the head of a response of Ringate's own.
///
/// `fields`: further field lines, each ended by CRLF, checked where they were made; like the others they are changed by
/// `edit`. Without `content` nothing is said of a body: for statuses that have none. With `close` false the client must be
/// of HTTP/1.1.
pub(crate) fn encode_answer(
    status: u16,
    fields: &[u8],
    content: Option<Content<'_>>,
    close: bool,
    edit: &HeadEdit<'_>,
    out: &mut Vec<u8>,
) {
    put_status(out, status, reason_phrase(status));
    copy_lines(fields, |name| edit.removes(name), out);
    if let Some(content) = content {
        if !edit.removes(b"content-type") {
            put(out, &["Content-Type: ", content.media_type, "\r\n"]);
        }
        put_framing(out, Framing::Length(content.bytes.len() as u64));
    }
    put_persistence(out, close, Version::Http11);
    out.extend_from_slice(edit.added);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
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

/// The status line. Its last space stays where there is no reason (RFC 9112 §4).
fn put_status(out: &mut Vec<u8>, status: u16, reason: &str) {
    put(out, &["HTTP/1.1 "]);
    put_decimal(out, u64::from(status));
    put(out, &[" ", reason, "\r\n"]);
}

fn put_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => put_number("Content-Length: ", length, out),
        Framing::Chunked => put(out, &["Transfer-Encoding: chunked\r\n"]),
    }
}

fn put_number(name: &str, number: u64, out: &mut Vec<u8>) {
    put(out, &[name]);
    put_decimal(out, number);
    put(out, &["\r\n"]);
}

fn put_upgrade(out: &mut Vec<u8>, protocol: &[u8]) {
    put(out, &["Connection: Upgrade\r\nUpgrade: "]);
    out.extend_from_slice(protocol);
    put(out, &["\r\n"]);
}

/// Writes what the version does not imply (RFC 9112 §9.3).
fn put_persistence(out: &mut Vec<u8>, close: bool, version: Version) {
    match (close, version) {
        (true, _) => put(out, &["Connection: close\r\n"]),
        (false, Version::Http10) => put(out, &["Connection: keep-alive\r\n"]),
        (false, Version::Http11 | Version::Http2) => {}
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
