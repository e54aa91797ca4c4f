//! Just enough BER (X.690 §8) to walk through containers: Windows writes them with indefinite lengths and strings in
//! pieces, which DER parsers refuse. Nothing that a signature covers is read this way.

use x509_parser::asn1_rs::{Any, Class, FromBer, Oid, Tag};
use zeroize::Zeroizing;

/// One element.
pub(super) struct Element<'a> {
    any: Any<'a>,
    /// Its bytes with its header.
    pub der: &'a [u8],
}

/// The element that `bytes` are, without anything after it.
pub(super) fn one(bytes: &[u8]) -> Option<Element<'_>> {
    match next(bytes)? {
        (element, []) => Some(element),
        _ => None,
    }
}

fn next(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (rest, any) = Any::from_ber(bytes).ok()?;
    let der = &bytes[..bytes.len() - rest.len()];
    Some((Element { any, der }, rest))
}

/// `ContentInfo ::= SEQUENCE { contentType, [0] EXPLICIT content }` (RFC 5652 §3)
pub(super) fn content_info<'a>(info: &Element<'a>) -> Option<(Oid<'a>, Element<'a>)> {
    let parts = info.sequence()?;
    let kind = parts.first()?.oid()?;
    Some((kind, parts.get(1)?.explicit(0)?))
}

impl<'a> Element<'a> {
    fn children(&self) -> Option<Vec<Self>> {
        if !self.any.header.is_constructed() {
            return None;
        }
        let mut rest = self.any.data;
        let mut children = Vec::new();
        while !rest.is_empty() {
            let (child, after) = next(rest)?;
            children.push(child);
            rest = after;
        }
        Some(children)
    }

    fn is(&self, class: Class, tag: Tag) -> bool {
        self.any.class() == class && self.any.tag() == tag
    }

    /// The elements of a SEQUENCE.
    pub(super) fn sequence(&self) -> Option<Vec<Self>> {
        self.is(Class::Universal, Tag::Sequence).then(|| self.children())?
    }

    /// The one element within `[tag] EXPLICIT`.
    pub(super) fn explicit(&self, tag: u32) -> Option<Self> {
        let mut children = self.is(Class::ContextSpecific, Tag(tag)).then(|| self.children())??;
        let child = children.pop();
        child.filter(|_| children.is_empty())
    }

    /// The elements of `[tag] IMPLICIT SET`.
    pub(super) fn implicit_set(&self, tag: u32) -> Option<Vec<Self>> {
        self.is(Class::ContextSpecific, Tag(tag)).then(|| self.children())?
    }

    /// The bytes of an OCTET STRING, of its pieces together.
    pub(super) fn octets(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.is(Class::Universal, Tag::OctetString).then(|| self.pieces())?
    }

    /// The same for `[tag] IMPLICIT OCTET STRING`.
    pub(super) fn implicit_octets(&self, tag: u32) -> Option<Zeroizing<Vec<u8>>> {
        self.is(Class::ContextSpecific, Tag(tag)).then(|| self.pieces())?
    }

    fn pieces(&self) -> Option<Zeroizing<Vec<u8>>> {
        // Sized at once: what is in a container may be a key.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.any.data.len()));
        if !self.any.header.is_constructed() {
            bytes.extend_from_slice(self.any.data);
            return Some(bytes);
        }
        for piece in self.children()? {
            let whole = piece.is(Class::Universal, Tag::OctetString) && !piece.any.header.is_constructed();
            bytes.extend_from_slice(whole.then_some(piece.any.data)?);
        }
        Some(bytes)
    }

    /// An OBJECT IDENTIFIER.
    pub(super) fn oid(&self) -> Option<Oid<'a>> {
        let is_oid = self.is(Class::Universal, Tag::Oid) && !self.any.data.is_empty();
        is_oid.then(|| Oid::new(self.any.data.into()))
    }

    /// A small INTEGER that is not negative.
    pub(super) fn integer(&self) -> Option<u64> {
        let data = self.any.data;
        let fits = self.is(Class::Universal, Tag::Integer) && (1..=8).contains(&data.len()) && data[0] < 0x80;
        fits.then(|| data.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}
