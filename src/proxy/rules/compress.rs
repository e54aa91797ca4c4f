//! Compression: which responses are encoded, and what their heads say then.

use super::field_in;
use crate::http1::{self, Coding, Framing, RequestHead, ResponseHead, Version};

/// Which responses are encoded, and how.
#[derive(Debug)]
pub struct Compression {
    /// In our order of preference.
    pub algorithms: Vec<Coding>,
    /// Bodies that are known to be shorter go as they are.
    pub min_size: u64,
    /// Media types in lower case, `text/*` for all of a kind.
    pub types: Vec<String>,
}

impl Compression {
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
pub(super) struct Offer {
    coding: Option<Coding>,
}

/// What is offered to this request.
pub(super) fn offer(rule: &Compression, head: &RequestHead<'_, '_>) -> Offer {
    let accept = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("accept-encoding"));
    let coding = match head.version {
        // There are no chunks to send it in.
        Version::Http10 => None,
        Version::Http11 => http1::negotiate(accept.map(|header| header.value), &rule.algorithms),
    };
    Offer { coding }
}

/// Decides on a response's head and rewrites the encoded one. `None`: the body goes as it is.
pub(super) fn edit(
    rule: &Compression,
    offer: Offer,
    head: &ResponseHead<'_, '_>,
    room: bool,
    encoded: &mut Vec<u8>,
) -> Option<Coding> {
    if head.status == 304 {
        // What the client has stored may be encoded: its tag was weakened, and must stay so.
        if offer.coding.is_some() {
            weaken(encoded);
        }
        http1::append_fields(encoded, VARY);
        return None;
    }
    if !is_fit(rule, head) {
        return None;
    }
    http1::append_fields(encoded, VARY);
    let coding = offer.coding.filter(|_| room)?;
    weaken(encoded);
    // What speaks of the bytes as the backend sent them does not hold any more.
    const GONE: [&[u8]; 8] = [
        b"content-encoding", // of "identity", if there is one
        b"content-length",
        b"transfer-encoding",
        b"accept-ranges",
        b"content-digest",
        b"repr-digest",
        b"digest",
        b"content-md5",
    ];
    http1::remove_fields(encoded, |name| GONE.iter().any(|gone| name.eq_ignore_ascii_case(gone)));
    let fields = format!("Content-Encoding: {}\r\nTransfer-Encoding: chunked\r\n", coding.name());
    http1::append_fields(encoded, fields.as_bytes());
    Some(coding)
}

const VARY: &[u8] = b"Vary: Accept-Encoding\r\n";

/// Whether the rule is meant for this response, whatever its client takes.
fn is_fit(rule: &Compression, head: &ResponseHead<'_, '_>) -> bool {
    let body = match (head.framing, head.content_length) {
        (Framing::Length(length), _) | (Framing::None, Some(length)) => length >= rule.min_size,
        // In answer to HEAD; 204 has no length.
        (Framing::None, None) => false,
        (Framing::Chunked | Framing::UntilClose, _) => true,
    };
    let mut codings = head.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("content-encoding"));
    let has = |name| field_in(head.headers, name).is_some();
    body && head.status >= 200
        && !matches!(head.status, 204 | 205 | 206 | 304 | 416)
        && codings.all(|coding| coding.value.eq_ignore_ascii_case(b"identity"))
        && !has("content-range")
        && !is_not_to_be_transformed(head)
        && field_in(head.headers, "content-type").is_some_and(|value| rule.takes(value))
}

/// RFC 9111 §5.2.2.6
fn is_not_to_be_transformed(head: &ResponseHead<'_, '_>) -> bool {
    let fields = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("cache-control"));
    let mut directives = fields.flat_map(|header| header.value.split(|&byte| byte == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// A strong ETag becomes a weak one: the encoded bytes are not those it was given for (RFC 9110 §8.8.1).
fn weaken(encoded: &mut Vec<u8>) {
    let lines = encoded.split(|&byte| byte == b'\n').map(|line| line.trim_ascii());
    let tag = lines.skip(1).find_map(|line| {
        let (name, value) = line.split_at_checked(5)?;
        name.eq_ignore_ascii_case(b"etag:").then(|| value.trim_ascii().to_vec())
    });
    if let Some(tag) = tag.filter(|tag| tag.starts_with(b"\"")) {
        http1::remove_fields(encoded, |name| name.eq_ignore_ascii_case(b"etag"));
        http1::append_fields(encoded, &[b"ETag: W/", &tag[..], b"\r\n"].concat());
    }
}
