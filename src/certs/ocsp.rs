//! The status of a certificate by OCSP (RFC 6960, in the profile of RFC 5019): requests, and the responses that are stapled.
//! Pure: bytes and the time in, bytes and verdicts out.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, BitString, Class, FromDer, Tag};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{AlgorithmIdentifier, X509Certificate};
use x509_parser::verify::verify_signature;

use super::encode;
use super::inspect;
use super::time::Timestamp;

/// How far a responder's clock may be ahead of ours, in seconds.
const SKEW: i64 = 300;
/// id-sha1 and id-sha256, as contents of an OBJECT IDENTIFIER.
const SHA1_OID: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA256_OID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// id-pkix-ocsp-basic (RFC 6960 §4.2.1).
const BASIC_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// The TLS feature extension (RFC 7633 §4), and the feature of stapling: status_request.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
const STATUS_REQUEST: u8 = 5;
/// id-ad-ocsp (RFC 5280 §4.2.2.1).
const OCSP_ACCESS: &str = "1.3.6.1.5.5.7.48.1";

/// A good response: it is of the certificate, its signer may sign it, and its time has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// As it is stapled.
    pub der: Vec<u8>,
    /// When the responder knew the status to be right.
    pub this_update: Timestamp,
    /// By when there is a newer response; it is good until then.
    pub next_update: Timestamp,
}

/// Why a response is not stapled, or none can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OcspError {
    /// The chain does not have the certificate of the leaf's issuer.
    NoIssuer(String),
    /// The bytes are no response.
    Damaged,
    /// The responder answers with an error (RFC 6960 §4.2.1).
    Status(u8),
    /// It is about other certificates: their serial numbers.
    Foreign(Vec<String>),
    /// Neither the issuer nor one that it delegated has signed it.
    Signature,
    /// The certificate is revoked, since this time.
    Revoked(Option<Timestamp>),
    /// The responder does not know the certificate.
    Unknown,
    /// It says not by when there is a newer one, which RFC 5019 §2.2.4 demands.
    Endless,
    /// It is from the future.
    NotYet(Timestamp),
    /// It has ended.
    Ended(Timestamp),
}

impl fmt::Display for OcspError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIssuer(issuer) => {
                write!(f, "the chain does not have the certificate of the issuer, {issuer}: add it to the chain's file")
            }
            Self::Damaged => f.write_str("it is no OCSP response in DER or PEM (RFC 6960)"),
            Self::Status(code) => {
                let name = match code {
                    1 => "malformedRequest",
                    2 => "internalError",
                    3 => "tryLater",
                    5 => "sigRequired",
                    6 => "unauthorized",
                    _ => "an unknown status",
                };
                write!(f, "the responder answers {name}: ask the CA whether it still runs OCSP for this certificate")
            }
            Self::Foreign(serials) => {
                write!(f, "it is about another certificate (serial {}): get the response anew", serials.join(", "))
            }
            Self::Signature => f.write_str(
                "it is signed neither by the certificate's issuer nor by a responder that the issuer delegated",
            ),
            Self::Revoked(since) => {
                let since = since.map_or_else(String::new, |since| format!(" since {since}"));
                write!(f, "the CA says that the certificate is revoked{since}: replace the certificate")
            }
            Self::Unknown => f.write_str("the responder does not know the certificate"),
            Self::Endless => f.write_str("it has no nextUpdate, which RFC 5019 demands: have the responder set it"),
            Self::NotYet(from) => write!(f, "it is valid only from {from}: compare the clocks"),
            Self::Ended(at) => write!(f, "it ended at {at}: get a newer one"),
        }
    }
}

impl std::error::Error for OcspError {}

/// A leaf and its issuer, between which a response stands.
#[derive(Debug)]
pub struct Subject<'a> {
    leaf: X509Certificate<'a>,
    issuer: X509Certificate<'a>,
}

impl<'a> Subject<'a> {
    /// Of a chain, leaf first.
    ///
    /// # Errors
    /// [`OcspError::NoIssuer`]
    pub fn of(chain: &'a [CertificateDer<'_>]) -> Result<Self, OcspError> {
        let Some(leaf) = chain.first().and_then(|der| inspect::parse(der).ok()) else {
            return Err(OcspError::NoIssuer(String::new()));
        };
        let issued = |issuer: &X509Certificate<'_>| {
            issuer.subject().as_raw() == leaf.issuer().as_raw()
                && leaf.verify_signature(Some(issuer.public_key())).is_ok()
        };
        let issuer = chain.iter().filter_map(|der| inspect::parse(der).ok()).find(issued);
        match issuer {
            Some(issuer) => Ok(Self { leaf, issuer }),
            None => Err(OcspError::NoIssuer(inspect::name_text(leaf.issuer()))),
        }
    }

    /// An OCSPRequest for the leaf (RFC 5019 §2.1.1): by SHA-1, as every responder knows it, without a nonce.
    pub(crate) fn request(&self) -> Vec<u8> {
        let (name, key) = self.hashes(&SHA1_FOR_LEGACY_USE_ONLY);
        let algorithm = tlv(0x30, &[&tlv(0x06, &[SHA1_OID]), &[0x05, 0x00]]);
        let serial = tlv(0x02, &[self.leaf.raw_serial()]);
        let certificate = tlv(0x30, &[&algorithm, &tlv(0x04, &[&name]), &tlv(0x04, &[&key]), &serial]);
        let list = tlv(0x30, &[&tlv(0x30, &[&certificate])]);
        tlv(0x30, &[&tlv(0x30, &[&list])])
    }

    /// Where the CA answers, by the leaf's authorityInfoAccess: the first http URL.
    pub(crate) fn url(&self) -> Option<String> {
        responder(&self.leaf)
    }

    /// The response in `bytes` (DER or PEM), if it is good at `now`.
    pub fn judge(&self, bytes: &[u8], now: SystemTime) -> Result<Response, OcspError> {
        let der = from_pem(bytes);
        let der = der.as_deref().unwrap_or(bytes);
        let read = Basic::read(der)?;
        let is_it = |single: &&Single<'_>| {
            let algorithm = match single.algorithm {
                SHA1_OID => &SHA1_FOR_LEGACY_USE_ONLY,
                SHA256_OID => &SHA256,
                _ => return false,
            };
            let (name, key) = self.hashes(algorithm);
            let serial = |raw: &[u8]| raw.iter().position(|byte| *byte != 0).map(|at| raw[at..].to_vec());
            (single.name_hash, single.key_hash) == (&*name, &*key)
                && serial(single.serial) == serial(self.leaf.raw_serial())
        };
        let Some(single) = read.singles.iter().find(is_it) else {
            return Err(OcspError::Foreign(read.singles.iter().map(|it| encode::hex(it.serial)).collect()));
        };
        let now = Timestamp::from(now);
        if !self.signed(&read, now) {
            return Err(OcspError::Signature);
        }
        match single.status {
            Status::Good => {}
            Status::Revoked(since) => return Err(OcspError::Revoked(since)),
            Status::Unknown => return Err(OcspError::Unknown),
        }
        let next_update = single.next_update.ok_or(OcspError::Endless)?;
        if single.this_update > now.plus(SKEW) {
            return Err(OcspError::NotYet(single.this_update));
        }
        if next_update <= now {
            return Err(OcspError::Ended(next_update));
        }
        Ok(Response { der: der.to_vec(), this_update: single.this_update, next_update })
    }

    /// Whether the issuer signed, or one that it has delegated (RFC 6960 §4.2.2.2).
    fn signed(&self, read: &Basic<'_>, now: Timestamp) -> bool {
        if read.is_signed_by(&self.issuer) {
            return true;
        }
        let mut delegates = read.certificates.iter().filter_map(|der| inspect::parse(der).ok());
        delegates.any(|delegate| {
            let in_time = (delegate.validity().not_before.timestamp()
                ..=delegate.validity().not_after.timestamp())
                .contains(&now.unix());
            let may =
                delegate.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.ocsp_signing);
            may && in_time
                && delegate.issuer().as_raw() == self.issuer.subject().as_raw()
                && delegate.verify_signature(Some(self.issuer.public_key())).is_ok()
                && read.is_signed_by(&delegate)
        })
    }

    /// issuerNameHash and issuerKeyHash (RFC 6960 §4.1.1).
    fn hashes(&self, algorithm: &'static Algorithm) -> (Vec<u8>, Vec<u8>) {
        let hash = |bytes: &[u8]| digest(algorithm, bytes).as_ref().to_vec();
        let key = &self.issuer.public_key().subject_public_key.data;
        (hash(self.leaf.issuer().as_raw()), hash(key))
    }
}

/// Whether a certificate demands that a response is stapled (RFC 7633).
pub(crate) fn must_staple(leaf: &CertificateDer<'_>) -> bool {
    let Ok(leaf) = inspect::parse(leaf) else { return false };
    let feature = leaf.extensions().iter().find(|extension| extension.oid.to_id_string() == TLS_FEATURE);
    let Some(mut list) = feature.and_then(|it| Reader(it.value).next()).and_then(|it| it.inner()) else {
        return false;
    };
    std::iter::from_fn(|| list.next()).any(|it| it.content == [STATUS_REQUEST])
}

fn responder(leaf: &X509Certificate<'_>) -> Option<String> {
    let accesses = leaf.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    });
    accesses.flat_map(|access| access.iter()).find_map(|access| match access.access_location {
        GeneralName::URI(url)
            if access.access_method.to_id_string() == OCSP_ACCESS
                && url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) =>
        {
            Some(url.to_owned())
        }
        _ => None,
    })
}

/// An element in DER.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(u8::try_from(short).unwrap_or_default()),
        long => {
            let bytes = long.to_be_bytes();
            let significant = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(0)..];
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(&content);
    out
}

/// The DER of a PEM section `OCSP RESPONSE`.
fn from_pem(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once("-----BEGIN OCSP RESPONSE-----")?;
    let (content, _) = rest.split_once("-----END OCSP RESPONSE-----")?;
    let plain: String = content.chars().filter(|character| !character.is_whitespace()).collect();
    data_encoding::BASE64.decode(plain.as_bytes()).ok()
}

/// What a response says of one certificate.
#[derive(Debug)]
struct Single<'a> {
    algorithm: &'a [u8],
    name_hash: &'a [u8],
    key_hash: &'a [u8],
    serial: &'a [u8],
    status: Status,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
}

#[derive(Debug)]
enum Status {
    Good,
    Revoked(Option<Timestamp>),
    Unknown,
}

/// A BasicOCSPResponse (RFC 6960 §4.2.1).
struct Basic<'a> {
    /// What is signed.
    data: &'a [u8],
    singles: Vec<Single<'a>>,
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificates: Vec<&'a [u8]>,
}

impl<'a> Basic<'a> {
    fn read(der: &'a [u8]) -> Result<Self, OcspError> {
        let mut outer = Reader(der);
        let response = outer.next().filter(|_| outer.0.is_empty()).ok_or(OcspError::Damaged)?;
        let mut parts = response.sequence().ok_or(OcspError::Damaged)?;
        let status = parts.universal(Tag::Enumerated).ok_or(OcspError::Damaged)?;
        match status.content {
            [0] => {}
            [code] => return Err(OcspError::Status(*code)),
            _ => return Err(OcspError::Damaged),
        }
        Self::successful(parts).ok_or(OcspError::Damaged)
    }

    /// What follows the status.
    fn successful(mut parts: Reader<'a>) -> Option<Self> {
        let mut bytes = parts.tagged(0)?.inner()?.next()?.sequence()?;
        if bytes.universal(Tag::Oid)?.content != BASIC_OID {
            return None;
        }
        let mut content = Reader(bytes.universal(Tag::OctetString)?.content);
        let mut basic = content.next()?.sequence()?;
        let data = basic.next()?;
        let algorithm = basic.next()?;
        // The parser of x509-parser takes other tags for this one.
        algorithm.sequence()?.universal(Tag::Oid)?;
        let algorithm = algorithm.der;
        let signature = basic.universal(Tag::BitString)?.der;
        let mut certificates = Vec::new();
        if let Some(list) = basic.tagged(0) {
            let mut list = list.inner()?.next()?.sequence()?;
            while let Some(certificate) = list.next() {
                certificates.push(certificate.der);
            }
        }
        let mut fields = data.sequence()?;
        fields.tagged(0); // version
        fields.next()?; // responderID
        fields.universal(Tag::GeneralizedTime)?; // producedAt
        let mut list = fields.next()?.sequence()?;
        let mut singles = Vec::new();
        while !list.0.is_empty() {
            singles.push(Single::read(&list.next()?)?);
        }
        Some(Self { data: data.der, singles, algorithm, signature, certificates })
    }

    fn is_signed_by(&self, signer: &X509Certificate<'_>) -> bool {
        let Ok((_, algorithm)) = AlgorithmIdentifier::from_der(self.algorithm) else { return false };
        let Ok((_, signature)) = BitString::from_der(self.signature) else { return false };
        signature.unused_bits == 0
            && verify_signature(signer.public_key(), &algorithm, &signature, self.data).is_ok()
    }
}

impl<'a> Single<'a> {
    fn read(of: &Element<'a>) -> Option<Self> {
        let mut parts = of.sequence()?;
        let mut id = parts.next()?.sequence()?;
        let algorithm = id.next()?.sequence()?.universal(Tag::Oid)?.content;
        let name_hash = id.universal(Tag::OctetString)?.content;
        let key_hash = id.universal(Tag::OctetString)?.content;
        let serial = id.universal(Tag::Integer)?.content;
        let status = parts.next()?;
        let status = match status.tag {
            _ if status.class != Class::ContextSpecific => return None,
            Tag(0) => Status::Good,
            Tag(1) => Status::Revoked(status.inner().and_then(|mut it| time(&it.next()?))),
            _ => Status::Unknown,
        };
        let this_update = time(&parts.universal(Tag::GeneralizedTime)?)?;
        let next_update = match parts.tagged(0) {
            Some(next) => Some(time(&next.inner()?.next()?)?),
            None => None,
        };
        Some(Self { algorithm, name_hash, key_hash, serial, status, this_update, next_update })
    }
}

/// A GeneralizedTime in the form of RFC 5280 §4.1.2.5.2: `YYYYMMDDHHMMSSZ`.
fn time(of: &Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(of.content).ok().filter(|text| text.len() == 15 && text.is_ascii())?;
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let (date, clock) = ([part(0..4), part(4..6), part(6..8)], [part(8..10), part(10..12), part(12..15)]);
    format!("{}T{}", date.join("-"), clock.join(":")).parse().ok()
}

/// Elements one after the other, in strict DER.
struct Reader<'a>(&'a [u8]);

struct Element<'a> {
    class: Class,
    tag: Tag,
    is_constructed: bool,
    content: &'a [u8],
    /// With its header.
    der: &'a [u8],
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Element<'a>> {
        let (rest, any) = Any::from_der(self.0).ok()?;
        let der = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        let is_constructed = any.header.is_constructed();
        Some(Element { class: any.class(), tag: any.tag(), is_constructed, content: any.data, der })
    }

    /// The next one, which must have this tag.
    fn universal(&mut self, tag: Tag) -> Option<Element<'a>> {
        self.next().filter(|element| element.class == Class::Universal && element.tag == tag)
    }

    /// The next one, if it has this tag of its context.
    fn tagged(&mut self, tag: u32) -> Option<Element<'a>> {
        let before = self.0;
        let found = self.next().filter(|it| it.class == Class::ContextSpecific && it.tag == Tag(tag));
        if found.is_none() {
            self.0 = before;
        }
        found
    }
}

impl<'a> Element<'a> {
    /// Its elements, if it has any.
    fn inner(&self) -> Option<Reader<'a>> {
        self.is_constructed.then_some(Reader(self.content))
    }

    /// The elements of a SEQUENCE.
    fn sequence(&self) -> Option<Reader<'a>> {
        (self.class == Class::Universal && self.tag == Tag::Sequence).then(|| self.inner())?
    }
}
