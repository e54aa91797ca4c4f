//! Comparison of public keys in their SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): one key has several encodings.

use x509_parser::asn1_rs::Tag;
use x509_parser::oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// How a certificate's public key compares with the public half of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyMatch {
    /// It is the same key.
    Same,
    /// It is the same point, but the curve is written out as explicit parameters, which RFC 5480 §2.1.1 forbids.
    ExplicitParameters,
    /// It is another key.
    Other,
}

/// Compares a certificate's key with `key`, the SubjectPublicKeyInfo of a private key's public half, in DER. An EC point
/// may be compressed (RFC 5480 §2.2), and the parameters of an RSA key may be absent.
pub(crate) fn compare(certificate: &SubjectPublicKeyInfo<'_>, key: &[u8]) -> KeyMatch {
    if certificate.raw == key {
        return KeyMatch::Same;
    }
    let Ok((_, key)) = SubjectPublicKeyInfo::from_der(key) else { return KeyMatch::Other };
    if certificate.algorithm.algorithm != key.algorithm.algorithm {
        return KeyMatch::Other;
    }
    let (held, made) = (&*certificate.subject_public_key.data, &*key.subject_public_key.data);
    if certificate.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return if held == made { KeyMatch::Same } else { KeyMatch::Other };
    }
    if !is_point(held, made) {
        return KeyMatch::Other;
    }
    match has_explicit_parameters(certificate) {
        true => KeyMatch::ExplicitParameters,
        false if certificate.algorithm.parameters == key.algorithm.parameters => KeyMatch::Same,
        false => KeyMatch::Other,
    }
}

/// Whether an EC key's curve is not named but written out (RFC 3279 §2.3.5).
pub(crate) fn has_explicit_parameters(key: &SubjectPublicKeyInfo<'_>) -> bool {
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && key.algorithm.parameters.as_ref().is_some_and(|parameters| parameters.tag() != Tag::Oid)
}

/// Whether `held`, in any form of SEC 1 §2.3.3, is the uncompressed point `whole`.
fn is_point(held: &[u8], whole: &[u8]) -> bool {
    let [4, coordinates @ ..] = whole else { return false };
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    let odd = y.last().map_or(0, |last| last & 1);
    match held {
        [4, rest @ ..] => rest == coordinates,
        [form @ (2 | 3), rest @ ..] => rest == x && form & 1 == odd,
        [form @ (6 | 7), rest @ ..] => rest == coordinates && form & 1 == odd,
        _ => false,
    }
}
