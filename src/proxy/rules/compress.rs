//! Compression: which responses are encoded, and how their heads change.

use crate::config::plan::Compression;
use crate::http::{
    BodyLength, Coding, HeadEdit, RequestHead, ResponseHead, Version, is_same_name, negotiate, put_line,
    read_lines,
};

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
    pub(super) coding: Option<Coding>,
}

/// What is offered to this request.
pub(crate) fn offer(rule: &Compression, head: &RequestHead<'_, '_>) -> Offer {
    let coding = match head.version {
        // There are no chunks to send it in.
        Version::Http10 => None,
        Version::Http11 | Version::Http2 => negotiate(head.fields.all("accept-encoding"), &rule.algorithms),
    };
    Offer { coding }
}

/// What is changed of a response's head.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// How its body is encoded; `None`: it goes as it is.
    pub(crate) coding: Option<Coding>,
    /// Field lines that go behind all others.
    pub(crate) added: Vec<u8>,
    /// Its ETag is among these, in a weak form.
    weakened: bool,
    /// What describes the bytes as the backend sent them does not go on.
    other_bytes: bool,
}

impl Change {
    /// Whether any field of the response does not go on.
    pub(crate) fn removes_any(&self) -> bool {
        self.weakened || self.other_bytes
    }

    /// Whether a field of this name does not go on.
    pub(crate) fn removes(&self, name: &[u8]) -> bool {
        self.weakened && name.eq_ignore_ascii_case(b"etag")
            || self.other_bytes && describes_bytes(name)
            // One that is there is `identity`.
            || self.coding.is_some() && is_same_name(name, b"content-encoding")
    }

    /// The head with the length that its body has then.
    pub(crate) fn of<'h, 'b>(&self, head: &ResponseHead<'h, 'b>) -> ResponseHead<'h, 'b> {
        let content_length = head.content_length.filter(|_| !self.other_bytes);
        match head.body {
            BodyLength::Known(_) if self.coding.is_some() => {
                ResponseHead { body: BodyLength::Unknown, content_length, ..*head }
            }
            _ => ResponseHead { content_length, ..*head },
        }
    }

    /// A strong ETag becomes a weak one: the encoded bytes are not those it was given for (RFC 9110 §8.8.1).
    fn weaken(&mut self, tag: Option<&[u8]>) {
        if let Some(tag) = tag.filter(|tag| tag.starts_with(b"\"")) {
            self.weakened = true;
            put_line("ETag", &[b"W/", tag].concat(), &mut self.added);
        }
    }
}

/// Decides on a response, of which `edit` is what other rules change. `None`: compression has no part in it.
pub(crate) fn change(
    rule: &Compression,
    offer: Offer,
    head: &ResponseHead<'_, '_>,
    room: bool,
    edit: &HeadEdit<'_>,
) -> Option<Change> {
    let tag = one_tag_at_most(head, edit);
    let fits = tag.is_some() && is_fit(rule, head);
    let mut change = Change::default();
    if head.status == 304 {
        // What the client has stored may be encoded: then its tag was weakened, and must stay so, and its length is
        // another one (RFC 9110 §8.6).
        if offer.coding.is_some() && fits {
            change.weaken(tag.flatten());
            change.other_bytes = true;
        }
        change.added.extend_from_slice(VARY);
        return Some(change);
    }
    if !fits {
        return None;
    }
    change.added.extend_from_slice(VARY);
    if let Some(coding) = offer.coding.filter(|_| room) {
        change.weaken(tag.flatten());
        change.other_bytes = true;
        change.coding = Some(coding);
        put_line("Content-Encoding", coding.name().as_bytes(), &mut change.added);
    }
    Some(change)
}

const VARY: &[u8] = b"Vary: Accept-Encoding\r\n";

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

/// Whether the rule covers this response, whatever its client accepts. For a 304: whether it may cover the response that the
/// client has stored.
pub(super) fn is_fit(rule: &Compression, head: &ResponseHead<'_, '_>) -> bool {
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

/// The ETag that goes on, if there is one. `None`: it can't be weakened. A malformed one, or several, are nothing to
/// rewrite.
fn one_tag_at_most<'a>(head: &'a ResponseHead<'_, '_>, edit: &'a HeadEdit<'_>) -> Option<Option<&'a [u8]>> {
    let passes = !edit.removes(b"etag") && !head.fields.end_here("etag");
    let received = head.fields.all("etag").filter(|_| passes);
    let added = read_lines(edit.added).filter(|(name, _)| name.eq_ignore_ascii_case(b"etag"));
    let mut tags = received.chain(added.map(|(_, value)| value));
    let tag = tags.next();
    (tag.is_none_or(is_entity_tag) && tags.next().is_none()).then_some(tag)
}

/// RFC 9110 §8.8.3
fn is_entity_tag(tag: &[u8]) -> bool {
    let opaque = tag.strip_prefix(b"W/").unwrap_or(tag);
    let inner = opaque.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| inner.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)))
}
