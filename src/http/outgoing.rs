//! A request on its way to a backend: what was understood of the client's, with all changes made, apart from the buffer
//! that it came in. It is encoded once the backend's connection is known, and with it the version that this one has.

use super::field::list;
use super::lines::{LineCopy, put_line};
use super::{BodyLength, HeadEdit, KnownField, RequestHead, is_same_name, says_client};

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

impl ForwardedFor<'_> {
    fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let lines = [
            ("X-Forwarded-For", Some(self.client)),
            ("X-Forwarded-Proto", Some(self.proto)),
            ("X-Forwarded-Host", self.host),
            ("X-Forwarded-Client-Cert", self.client_certificate),
            ("X-Request-Id", Some(self.request_id)),
        ];
        lines.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Which path goes to the backend. The query always goes as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRewrite<'a> {
    /// As received.
    Keep,
    /// This one: normalised, or without its prefix. A `/` is put before it unless it begins with one.
    Replace(&'a str),
}

/// See the module. Its parts lie in one vector, which is used again from request to request.
#[derive(Debug)]
pub struct OutgoingRequest {
    /// Method, target, authority and upgrade, then the fields, then those that were added.
    text: Vec<u8>,
    /// Where each of these ends but the last.
    ends: [u32; 5],
    /// Of the body.
    pub body: BodyLength,
    /// Whether the client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// The Max-Forwards that goes on, of an OPTIONS that has one (RFC 9110 §7.6.2).
    pub max_forwards: Option<u32>,
    /// Whether the client says that it takes trailers (`TE: trailers`, RFC 9110 §10.1.4).
    pub takes_trailers: bool,
}

impl OutgoingRequest {
    /// Takes the head over with its changes, in one pass, in the memory of `text`, which is empty.
    ///
    /// The authority is `host`, or else the request's. Where neither is (HTTP/1.0 without Host) it is empty; callers
    /// better give the endpoint's name then. Hop-by-hop fields, those that Connection lists and those that are Ringate's
    /// to set are left out.
    pub fn new(
        head: &RequestHead<'_, '_>,
        path: PathRewrite<'_>,
        host: Option<&str>,
        forwarded: &ForwardedFor<'_>,
        edit: &HeadEdit<'_>,
        mut text: Vec<u8>,
    ) -> Self {
        text.reserve(head.fields.block().len() + edit.added.len() + ROOM);
        let mut ends = [0; 5];
        let out = &mut text;
        out.extend_from_slice(head.method.as_str().as_bytes());
        ends[0] = out.len() as u32;
        put_target(head, path, out);
        ends[1] = out.len() as u32;
        out.extend_from_slice(host.or(head.host).unwrap_or_default().as_bytes());
        ends[2] = out.len() as u32;
        out.extend_from_slice(head.upgrade.unwrap_or_default().as_bytes());
        ends[3] = out.len() as u32;
        let takes_trailers = put_fields(head, edit, out);
        for (name, value) in forwarded.lines().filter(|(name, _)| !edit.removes(name.as_bytes())) {
            put_line(name, value.as_bytes(), out);
        }
        ends[4] = out.len() as u32;
        out.extend_from_slice(edit.added);
        Self {
            text,
            ends,
            body: head.body,
            expect_continue: head.expect_continue,
            max_forwards: head.max_forwards.map(|count| count.saturating_sub(1)),
            takes_trailers,
        }
    }

    /// A request of Ringate's own: `lines` are all of its fields but Host and what frames its body.
    pub(crate) fn own(
        (method, target): (&str, &str),
        authority: &str,
        lines: &[u8],
        body: BodyLength,
    ) -> Self {
        let mut text = Vec::with_capacity(method.len() + target.len() + authority.len() + lines.len() + ROOM);
        let mut ends = [0; 5];
        let parts = [method.as_bytes(), target.as_bytes(), authority.as_bytes(), b"", lines];
        for (part, end) in parts.into_iter().zip(&mut ends) {
            text.extend_from_slice(part);
            *end = text.len() as u32;
        }
        Self { text, ends, body, expect_continue: false, max_forwards: None, takes_trailers: false }
    }

    /// The same once more, with further field lines behind all others, and without a client that waits for a 100.
    pub fn copy(&self, added: &[u8]) -> Self {
        let text = [&self.text, added].concat();
        Self { text, ends: self.ends, expect_continue: false, ..*self }
    }

    fn part(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let end = self.ends.get(number).map_or(self.text.len(), |&end| end as usize);
        &self.text[start..end]
    }

    /// The method's name.
    pub fn method(&self) -> &[u8] {
        self.part(0)
    }

    /// Path and query.
    pub fn target(&self) -> &[u8] {
        self.part(1)
    }

    /// `host[:port]`, or nothing.
    pub fn authority(&self) -> &[u8] {
        self.part(2)
    }

    /// The protocol to change to, if one is asked for.
    pub fn upgrade(&self) -> Option<&[u8]> {
        Some(self.part(3)).filter(|protocol| !protocol.is_empty())
    }

    /// Field lines: the client's, then what Ringate says of the client.
    pub fn fields(&self) -> &[u8] {
        self.part(4)
    }

    /// Field lines that rules added. They go behind all others.
    pub fn added(&self) -> &[u8] {
        self.part(5)
    }

    /// Replaces the value of the field line that was added last, if it is one of this name and the value is as long.
    pub(crate) fn replace_last(&mut self, name: &str, value: &str) {
        let Some(end) = self.text.len().checked_sub(2) else { return };
        let Some(start) = end.checked_sub(value.len()) else { return };
        let is_it =
            self.text[..start].strip_suffix(b": ").is_some_and(|line| line.ends_with(name.as_bytes()));
        if is_it {
            self.text[start..end].copy_from_slice(value.as_bytes());
        }
    }

    /// How many bytes all of it has.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// Takes its memory, for another one. Nothing is left of the request.
    pub fn take_memory(&mut self) -> Vec<u8> {
        self.ends = [0; 5];
        std::mem::take(&mut self.text)
    }
}

fn put_target(head: &RequestHead<'_, '_>, path: PathRewrite<'_>, out: &mut Vec<u8>) {
    let path = match path {
        PathRewrite::Keep => head.target.path,
        PathRewrite::Replace(path) => {
            if !path.starts_with('/') && path != "*" {
                out.push(b'/');
            }
            path
        }
    };
    out.extend_from_slice(path.as_bytes());
    if let Some(query) = head.target.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
}

/// Appends the fields that go on. True: TE names trailers.
fn put_fields(head: &RequestHead<'_, '_>, edit: &HeadEdit<'_>, out: &mut Vec<u8>) -> bool {
    let mut takes_trailers = false;
    let mut lines = LineCopy::new(head.fields.block(), 0..0);
    for field in head.fields.iter() {
        let kept = match KnownField::of(field.name) {
            KnownField::Other => {
                let counted = head.max_forwards.is_some();
                !(says_client(field.name) || counted && is_same_name(field.name.as_bytes(), b"max-forwards"))
            }
            KnownField::Trailer => head.body == BodyLength::Unknown,
            // Of an OPTIONS it is written anew.
            KnownField::MaxForwards => head.max_forwards.is_none(),
            KnownField::HopByHop => {
                takes_trailers |= field.name.len() == 2 && names_trailers(field.value);
                false
            }
            _ => false,
        };
        if kept && !head.fields.end_here(field.name) && !edit.removes(field.name.as_bytes()) {
            lines.put(field, out);
        }
    }
    lines.end(out);
    takes_trailers
}

/// Whether a value of TE has `trailers`.
fn names_trailers(te: &[u8]) -> bool {
    list(te).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}
