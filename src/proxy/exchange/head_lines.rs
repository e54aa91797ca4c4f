//! Heads on their way to an HTTP/2 stream: field lines, as fields are kept everywhere, that become a header block once it is
//! their turn to be sent (RFC 7541 §2.2: blocks are decoded in the order in which they were encoded).

use crate::http::{
    Content, HeadEdit, KnownField, LineCopy, ResponseHead, copy_lines, put_line, reason_phrase,
};
use crate::http1::Framing;

/// Appends the fields of a response's head that go to an HTTP/2 client, changed by `edit`, and returns how its body is framed
/// where it is known: there is none, or so many bytes, or content to the stream's end. `upgraded`: the client asked for
/// another protocol by extended CONNECT, and has it.
pub(crate) fn response_lines(
    head: &ResponseHead<'_, '_>,
    edit: &HeadEdit<'_>,
    upgraded: bool,
    out: &mut Vec<u8>,
) -> Framing {
    let framing = Framing::of(head.body);
    let mut lines = LineCopy::new(head.fields.block(), 0..0);
    for field in head.fields.iter() {
        let kept = match KnownField::of(field.name) {
            // The handshake of WebSocket ends with this hop (RFC 8441 §5).
            KnownField::Other => !upgraded || !field.name.eq_ignore_ascii_case("sec-websocket-accept"),
            KnownField::Expect | KnownField::MaxForwards | KnownField::LookAlike => true,
            KnownField::Trailer => framing == Framing::Chunked,
            _ => false,
        };
        if kept && !head.fields.end_here(field.name) && !edit.removes(field.name.as_bytes()) {
            lines.put(field, out);
        }
    }
    lines.end(out);
    let length = match head.content_length {
        Some(length) if framing == Framing::None && head.status >= 200 && head.status != 204 => Some(length),
        _ => match framing {
            Framing::Length(length) => Some(length),
            _ => None,
        },
    };
    if let Some(length) = length {
        put_length(length, out);
    }
    out.extend_from_slice(edit.added);
    framing
}

/// Appends the fields of a response of Ringate's own: see [`crate::http1`]'s.
pub(crate) fn answer_lines(
    fields: &[u8],
    content: Option<Content<'_>>,
    edit: &HeadEdit<'_>,
    out: &mut Vec<u8>,
) {
    copy_lines(fields, |name| edit.removes(name), out);
    if let Some(content) = content {
        if !edit.removes(b"content-type") {
            put_line("content-type", content.media_type.as_bytes(), out);
        }
        put_length(content.bytes.len() as u64, out);
    }
    out.extend_from_slice(edit.added);
}

/// Appends what a failure is to a client of gRPC.
pub(crate) fn put_grpc(status: u16, code: u8, out: &mut Vec<u8>) {
    put_line("grpc-status", code.to_string().as_bytes(), out);
    put_line("grpc-message", format!("{status} {}", reason_phrase(status)).trim_end().as_bytes(), out);
}

/// The same of one within the response, in trailers.
pub(crate) fn put_grpc_within(status: u16, code: u8, out: &mut Vec<u8>) {
    put_line("grpc-status", code.to_string().as_bytes(), out);
    let message = format!("{status} {} within the response", reason_phrase(status));
    put_line("grpc-message", message.as_bytes(), out);
}

fn put_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-length: ");
    crate::http1::put_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}
