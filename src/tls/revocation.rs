//! Certificate revocation lists (RFC 5280 §5, §6.3.3).
//!
//! Webpki takes the first list of an issuer's name. A CA has several: older and newer ones, those of an earlier key under
//! the same name, lists for authorities and for other certificates. So the lists are chosen here, at each verification:
//! of the lists that cover the certificate and that its issuer's key signed, the newest one in its time counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use rustls::{CertRevocationListError, CertificateError, Error};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::backend_verifier::TrustAnchors;
use super::certificate_facts::{plain_name, unix};

/// The authority that issued a certificate, as far as lists need it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issuer<'a> {
    /// SubjectPublicKeyInfo in DER.
    pub spki: &'a [u8],
    /// Whether its keyUsage, if it has one, includes cRLSign.
    pub signs_lists: bool,
}

/// Revocation lists by the DER of their issuers' names.
#[derive(Debug, Default)]
pub(crate) struct RevocationLists {
    by_issuer: HashMap<Vec<u8>, Vec<Arc<List>>>,
}

/// A complete revocation list.
#[derive(Debug)]
pub(crate) struct List {
    der: CertificateRevocationListDer<'static>,
    /// Its issuer's name: in DER, and in words.
    issuer: Vec<u8>,
    name: String,
    /// The keyIdentifier of its authorityKeyIdentifier.
    key: Option<Vec<u8>>,
    /// thisUpdate and nextUpdate, in seconds since 1970.
    from: u64,
    until: u64,
    /// The CRL number, big-endian without leading zeros. Empty: none, as in version 1.
    number: Vec<u8>,
    only_users: bool,
    only_authorities: bool,
    /// The names of the distribution point that the list is for. Empty: it is for all.
    points: Vec<String>,
    revoked: HashSet<Vec<u8>>,
}

/// Why a revocation list cannot be used, in words that follow "the revocation list of NAME"; `None`: it can.
///
/// # Errors
/// The bytes are not a revocation list.
fn revocation_list_fault(der: &CertificateRevocationListDer<'_>) -> Result<Option<String>, String> {
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("there are bytes behind the revocation list".to_owned());
    }
    Ok(fault(&list).map(|why| format!("the revocation list of {} {why}", plain_name(list.issuer()))))
}

fn fault(list: &CertificateRevocationList<'_>) -> Option<String> {
    if list.next_update().is_none() {
        return Some("has no nextUpdate, so its end is unknown".to_owned());
    }
    for extension in list.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(point) => {
                let kind = if point.indirect_crl {
                    "is an indirect one (issuingDistributionPoint)"
                } else if point.only_contains_attribute_certs {
                    "is for attribute certificates alone"
                } else if point.only_some_reasons.is_some() {
                    "covers some reasons of revocation alone (onlySomeReasons)"
                } else if matches!(
                    &point.distribution_point,
                    Some(DistributionPointName::NameRelativeToCRLIssuer(_))
                ) {
                    "names its distribution point relative to its issuer"
                } else {
                    continue;
                };
                return Some(format!("{kind}, which is not supported: use the issuer's complete list"));
            }
            _ if extension.oid.to_id_string() == "2.5.29.27" => {
                return Some(
                    "is a delta list, which is not supported: use the issuer's complete list".to_owned(),
                );
            }
            _ if extension.critical => {
                let oid = extension.oid.to_id_string();
                return Some(format!("has the critical extension {oid}, which is not supported"));
            }
            _ => {}
        }
    }
    let foreign = list
        .iter_revoked_certificates()
        .flat_map(|entry| entry.extensions())
        .find(|extension| extension.critical && extension.oid.to_id_string() != "2.5.29.21");
    foreign.map(|extension| {
        let oid = extension.oid.to_id_string();
        format!("has an entry with the critical extension {oid}, which is not supported")
    })
}

/// The certificates that a list is for: those of an issuer's name, key and scope.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    issuer: Vec<u8>,
    key: Key,
    /// onlyContainsUserCerts, onlyContainsCACerts, and the names of the distribution point.
    scope: (bool, bool, Vec<String>),
}

impl Group {
    /// Whether a trusted authority signed the list.
    pub(super) fn is_trusted(&self) -> bool {
        matches!(self.key, Key::Trusted(_))
    }

    /// Whether the issuers' names are the same.
    pub(super) fn is_namesake(&self, other: &Self) -> bool {
        self.issuer == other.issuer
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// SubjectPublicKeyInfo of the trusted authority that signed the list.
    Trusted(Vec<u8>),
    /// The content of authorityKeyIdentifier, as for authorities that peers send.
    Named(Option<Vec<u8>>),
}

impl RevocationLists {
    /// # Errors
    /// A list that cannot be read or is of a kind that is not supported, in words.
    pub(super) fn build(lists: Vec<CertificateRevocationListDer<'static>>) -> Result<Self, String> {
        let lists = lists.into_iter().map(|der| List::read(der).map(Arc::new));
        Ok(Self::of(lists.collect::<Result<_, _>>()?))
    }

    pub(crate) fn of(lists: Vec<Arc<List>>) -> Self {
        let mut by_issuer: HashMap<Vec<u8>, Vec<Arc<List>>> = HashMap::new();
        for list in lists {
            by_issuer.entry(list.issuer.clone()).or_default().push(list);
        }
        Self { by_issuer }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<List>> {
        self.by_issuer.values().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_issuer.is_empty()
    }

    /// # Errors
    /// The certificate is revoked, or no list in its time covers it.
    pub(super) fn check(
        &self,
        certificate: &X509Certificate<'_>,
        issuer: Issuer<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
        now: UnixTime,
    ) -> Result<(), Error> {
        let named = self.by_issuer.get(certificate.issuer().as_raw()).map_or(&[][..], Vec::as_slice);
        let covering: Vec<&List> = named
            .iter()
            .map(|list| &**list)
            .filter(|list| list.covers(certificate))
            .filter(|list| is_signed(&list.der, issuer.spki, algorithms))
            .collect();
        if covering.is_empty() {
            return Err(CertificateError::UnknownRevocationStatus.into());
        }
        if !issuer.signs_lists {
            return Err(CertRevocationListError::IssuerInvalidForCrl.into()); // RFC 5280 §6.3.3 (f)
        }
        let secs = now.as_secs();
        let current = || covering.iter().filter(|list| list.is_current(secs));
        let Some(newest) = current().map(|list| list.age()).max() else {
            let ended = covering.iter().filter(|list| list.until < secs).map(|list| list.until).max();
            return Err(match ended {
                Some(until) => CertificateError::ExpiredRevocationListContext {
                    time: now,
                    next_update: UnixTime::since_unix_epoch(std::time::Duration::from_secs(until)),
                }
                .into(),
                None => CertificateError::UnknownRevocationStatus.into(),
            });
        };
        // Lists of the same age differ only by mistake: each of them can revoke.
        let serial = bare(certificate.raw_serial());
        if current().any(|list| list.age() == newest && list.revoked.contains(serial)) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(())
    }
}

impl List {
    /// # Errors
    /// The bytes are no list, or one of a kind that is not supported, in words.
    pub(crate) fn read(der: CertificateRevocationListDer<'static>) -> Result<Self, String> {
        if let Some(why) = revocation_list_fault(&der)? {
            return Err(why);
        }
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| error.to_string())?;
        let mut read = Self {
            issuer: list.issuer().as_raw().to_vec(),
            name: plain_name(list.issuer()),
            key: None,
            from: unix(list.last_update().timestamp()),
            until: list.next_update().map_or(0, |time| unix(time.timestamp())),
            number: list.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default(),
            only_users: false,
            only_authorities: false,
            points: Vec::new(),
            revoked: list
                .iter_revoked_certificates()
                .map(|entry| bare(entry.raw_serial()).to_vec())
                .collect(),
            der: Vec::new().into(),
        };
        for extension in list.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::IssuingDistributionPoint(point) => {
                    read.only_users = point.only_contains_user_certs;
                    read.only_authorities = point.only_contains_ca_certs;
                    if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
                        read.points = names.iter().map(point_name).collect();
                    }
                }
                ParsedExtension::AuthorityKeyIdentifier(key) => {
                    read.key = key.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        read.der = der;
        Ok(read)
    }

    /// The DER.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its issuer's name, safe for logs.
    pub(crate) fn issuer_name(&self) -> &str {
        &self.name
    }

    /// thisUpdate, in seconds since 1970.
    pub(crate) fn this_update(&self) -> u64 {
        self.from
    }

    /// nextUpdate, in seconds since 1970.
    pub(crate) fn next_update(&self) -> u64 {
        self.until
    }

    /// Whether `now`, in seconds since 1970, is within its time.
    pub(crate) fn is_current(&self, now: u64) -> bool {
        (self.from..=self.until).contains(&now)
    }

    /// Whether it is at least as new as `other`.
    pub(super) fn is_as_new_as(&self, other: &Self) -> bool {
        self.age() >= other.age()
    }

    /// Which certificates it is for.
    pub(super) fn group(&self, anchors: &TrustAnchors) -> Group {
        Group {
            issuer: self.issuer.clone(),
            key: match self.signer(anchors) {
                Some(spki) => Key::Trusted(spki.to_vec()),
                None => Key::Named(self.key.clone()),
            },
            scope: (self.only_users, self.only_authorities, self.points.clone()),
        }
    }

    /// SubjectPublicKeyInfo of the trusted authority that signed it.
    fn signer<'a>(&self, anchors: &'a TrustAnchors) -> Option<&'a [u8]> {
        let algorithms = default_provider().signature_verification_algorithms;
        let mut of_this_name = anchors.facts().filter(|known| known.subject == self.issuer);
        of_this_name.find(|known| is_signed(&self.der, &known.spki, &algorithms)).map(|known| &*known.spki)
    }

    /// The order of lists: by their dates, then by their numbers. A CA that lost its counter begins again at 1.
    fn age(&self) -> (u64, usize, &[u8]) {
        (self.from, self.number.len(), &self.number)
    }

    /// RFC 5280 §6.3.3 (b) (2).
    fn covers(&self, certificate: &X509Certificate<'_>) -> bool {
        let of_kind = if certificate.is_ca() { !self.only_users } else { !self.only_authorities };
        of_kind && (self.points.is_empty() || self.points.iter().any(|point| has_point(certificate, point)))
    }
}

fn has_point(certificate: &X509Certificate<'_>, name: &str) -> bool {
    certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => points.points.iter().any(|point| {
            // Points for some reasons or of another issuer are not for complete lists.
            point.reasons.is_none()
                && point.crl_issuer.is_none()
                && matches!(&point.distribution_point, Some(DistributionPointName::FullName(names))
                    if names.iter().any(|known| point_name(known) == name))
        }),
        _ => false,
    })
}

fn point_name(name: &GeneralName<'_>) -> String {
    format!("{name:?}")
}

/// A serial number without its leading zeros.
fn bare(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

/// Whether the key of `spki` made the signature of a certificate or list.
pub(super) fn is_signed_by(der: &[u8], spki: &[u8]) -> bool {
    is_signed(der, spki, &default_provider().signature_verification_algorithms)
}

/// Whether the key of `spki` made the signature of `list`.
fn is_signed(list: &[u8], spki: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
    let verify = || {
        let (_, content, _) = element(list)?;
        let (tbs, _, rest) = element(content)?;
        let (_, algorithm, rest) = element(rest)?;
        let (_, signature, _) = element(rest)?;
        let (_, content, _) = element(spki)?;
        let (_, key_algorithm, rest) = element(content)?;
        let (_, key, _) = element(rest)?;
        let ([0, signature @ ..], [0, key @ ..]) = (signature, key) else { return None };
        algorithms
            .all
            .iter()
            .filter(|known| {
                known.signature_alg_id().as_ref() == algorithm
                    && known.public_key_alg_id().as_ref() == key_algorithm
            })
            .find_map(|known| known.verify_signature(key, tbs, signature).ok())
    };
    verify().is_some()
}

/// The first element of `der`: the whole of it, its content, and what is behind it. Lengths are definite (DER).
pub(super) fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = usize::from(*der.get(1)?);
    let (start, len) = match first {
        0..=0x7f => (2, first),
        0x81..=0x84 => {
            let bytes = der.get(2..2 + (first - 0x80))?;
            (2 + bytes.len(), bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
        }
        _ => return None,
    };
    let end = start.checked_add(len)?;
    Some((der.get(..end)?, der.get(start..end)?, der.get(end..)?))
}
