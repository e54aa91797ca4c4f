//! Compression: which responses are encoded, and what their heads say then.

use crate::config::plan::Compression;
use crate::http::{BodyLength, Coding, RequestHead, ResponseHead, Version, is_same_name, negotiate};
use crate::http1;

impl Compression {
    /// Whether it encodes responses of this `Content-Type`.
    fn takes(&self, content_type: &[u8]) -> bool {
        let media = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        self.types.iter().any(|known| match known.strip_suffix('*') {
            None => media.eq_ignore_ascii_case(known.as_bytes()),
            Some(kind) => {
                media.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind.as_bytes()))
            }
        })
    }
}

/// What a request allows, known before its response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    coding: Option<Coding>,
}

/// What is offered to this request.
pub(crate) fn offer(rule: &Compression, head: &RequestHead<'_, '_>) -> Offer {
    let coding = match head.version {
        // There are no chunks to send it in.
        Version::Http10 => None,
        Version::Http11 => negotiate(head.fields.all("accept-encoding"), &rule.algorithms),
    };
    Offer { coding }
}

/// Decides on a response's head and rewrites the encoded one. `None`: the body goes as it is.
pub(crate) fn edit(
    rule: &Compression,
    offer: Offer,
    head: &ResponseHead<'_, '_>,
    room: bool,
    encoded: &mut Vec<u8>,
) -> Option<Coding> {
    let fits = is_fit(rule, head) && has_one_tag_at_most(encoded);
    if head.status == 304 {
        // What the client has stored may be encoded: then its tag was weakened, and must stay so, and its length is
        // another one (RFC 9110 §8.6).
        if offer.coding.is_some() && fits {
            weaken(encoded);
            http1::remove_fields(encoded, describes_bytes);
        }
        http1::append_fields(encoded, VARY);
        return None;
    }
    if !fits {
        return None;
    }
    http1::append_fields(encoded, VARY);
    let coding = offer.coding.filter(|_| room)?;
    weaken(encoded);
    http1::remove_fields(encoded, |name| describes_bytes(name) || is_one_of(name, &FRAMING));
    let fields = format!("Content-Encoding: {}\r\nTransfer-Encoding: chunked\r\n", coding.name());
    http1::append_fields(encoded, fields.as_bytes());
    Some(coding)
}

const VARY: &[u8] = b"Vary: Accept-Encoding\r\n";

/// Written anew where a body is encoded; a Content-Encoding that is there is `identity`.
const FRAMING: [&[u8]; 2] = [b"content-encoding", b"transfer-encoding"];
/// Digests of the content or the representation (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [&[u8]; 4] = [b"content-digest", b"repr-digest", b"digest", b"content-md5"];

fn is_one_of(name: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|known| is_same_name(name, known))
}

/// Whether a field describes the bytes as the backend sent them, and does not hold for others.
fn describes_bytes(name: &[u8]) -> bool {
    is_one_of(name, &DIGESTS) || is_one_of(name, &[b"content-length", b"accept-ranges"])
}

/// Whether a trailer does not hold any more once the body before it is encoded.
pub(crate) fn describes_body(name: &[u8]) -> bool {
    is_one_of(name, &DIGESTS) || is_same_name(name, b"etag")
}

/// Whether the rule is meant for this response, whatever its client takes. Of a 304 it is asked whether it may be meant
/// for the response that the client has stored.
fn is_fit(rule: &Compression, head: &ResponseHead<'_, '_>) -> bool {
    let revalidated = head.status == 304;
    let body = match (head.body, head.content_length) {
        (BodyLength::None, None) if revalidated => true,
        (BodyLength::Known(length), _) | (BodyLength::None, Some(length)) => length >= rule.min_size,
        // In answer to HEAD; 204 has no length.
        (BodyLength::None, None) => false,
        (BodyLength::Unknown, _) => true,
    };
    let mut codings = head.fields.all("content-encoding");
    let media = head.fields.get("content-type");
    body && head.status >= 200
        && !matches!(head.status, 204 | 205 | 206 | 416)
        && codings.all(|coding| coding.eq_ignore_ascii_case(b"identity"))
        && head.fields.get("content-range").is_none()
        && !is_not_to_be_transformed(head)
        && media.map_or(revalidated, |value| rule.takes(value))
        && !announces_digests(head)
}

/// Whether a trailer is announced that would describe other bytes than those that go out.
fn announces_digests(head: &ResponseHead<'_, '_>) -> bool {
    let mut names = head.fields.all("trailer").flat_map(|value| value.split(|&byte| byte == b','));
    names.any(|name| describes_body(name.trim_ascii()))
}

/// RFC 9111 §5.2.2.6
fn is_not_to_be_transformed(head: &ResponseHead<'_, '_>) -> bool {
    let fields = head.fields.all("cache-control");
    let mut directives = fields.flat_map(|value| value.split(|&byte| byte == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// The values of all ETag fields of an encoded head.
fn tags(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = encoded.split(|&byte| byte == b'\n').map(|line| line.trim_ascii());
    lines.skip(1).filter_map(|line| {
        let (name, value) = line.split_at_checked(5)?;
        name.eq_ignore_ascii_case(b"etag:").then(|| value.trim_ascii())
    })
}

/// Whether there is no ETag, or one that can be weakened: a malformed one, or several, are nothing to rewrite.
fn has_one_tag_at_most(encoded: &[u8]) -> bool {
    let mut tags = tags(encoded);
    tags.next().is_none_or(|tag| is_entity_tag(tag) && tags.next().is_none())
}

/// RFC 9110 §8.8.3
fn is_entity_tag(tag: &[u8]) -> bool {
    let opaque = tag.strip_prefix(b"W/").unwrap_or(tag);
    let inner = opaque.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| inner.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)))
}

/// A strong ETag becomes a weak one: the encoded bytes are not those it was given for (RFC 9110 §8.8.1).
fn weaken(encoded: &mut Vec<u8>) {
    let tag = tags(encoded).find(|tag| tag.starts_with(b"\"")).map(<[u8]>::to_vec);
    if let Some(tag) = tag {
        http1::remove_fields(encoded, |name| name.eq_ignore_ascii_case(b"etag"));
        http1::append_fields(encoded, &[b"ETag: W/", &tag[..], b"\r\n"].concat());
    }
}
