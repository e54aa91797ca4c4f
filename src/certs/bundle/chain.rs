//! Which of a file's certificates make the chain that is presented, and in which order.
//!
//! A file may hold certificates twice, in any order, and some that have nothing to do with the others (RFC 8446 §4.4.2:
//! implementations should be prepared for extraneous certificates and arbitrary orderings). What is presented begins
//! with the leaf; each further certificate issued one before it.

use std::cell::Cell;
use std::fmt;

use rustls::crypto::aws_lc_rs::default_provider;
use x509_parser::asn1_rs::{Any, FromDer, Sequence};
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Version;

use super::MIN_RSA_BITS;
use super::inspect;
use crate::base::spki::{self, KeyMatch};

/// Most signatures that are checked to order the certificates of one file. A chain needs a handful.
const MAX_SIGNATURES: usize = 256;

/// How the chain differs from the certificates of the file it was read from: a warning. Positions are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainNote {
    /// A certificate is there more than once.
    Repeated {
        /// The position of the further one.
        position: usize,
        /// Its subject.
        subject: String,
        /// The position of the first one.
        first: usize,
    },
    /// A certificate issued none of the others.
    Unrelated {
        /// Its position.
        position: usize,
        /// Its subject.
        subject: String,
        /// The end of the chain without it: a subject, and the issuer that is not in the file. None: the chain ends in a
        /// root.
        missing: Option<(String, String)>,
    },
    /// A certificate has the name of an issuer, but its key did not make the signature.
    NotTheIssuer {
        /// Its position.
        position: usize,
        /// Its subject.
        subject: String,
        /// The subject of the certificate that it did not sign.
        issued: String,
    },
    /// The certificates were out of order.
    Reordered {
        /// The order in which they are presented: positions in the file, and subjects.
        order: Vec<(usize, String)>,
    },
}

impl fmt::Display for ChainNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated { position, subject, first } => write!(
                f,
                "certificate {position} ({subject}) is the same as certificate {first}: it is not presented twice; \
                 remove one of them"
            ),
            Self::Unrelated { position, subject, missing } => {
                write!(
                    f,
                    "certificate {position} ({subject}) issued none of the others: it is not presented; remove it"
                )?;
                match missing {
                    Some((subject, issuer)) => write!(
                        f,
                        ". The chain ends with {subject}, whose issuer {issuer} is not in the file: add that \
                         certificate, unless it is a root"
                    ),
                    None => Ok(()),
                }
            }
            Self::NotTheIssuer { position, subject, issued } => write!(
                f,
                "certificate {position} ({subject}) has the name of the issuer of {issued}, but its key did not sign \
                 that: it is not presented; get the issuer's certificate anew from the CA"
            ),
            Self::Reordered { order } => {
                f.write_str("the certificates are out of order; they are presented in this order: ")?;
                for (index, (position, subject)) in order.iter().enumerate() {
                    write!(f, "{}{subject} (now {position})", if index > 0 { ", then " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// The chain within a file's certificates.
pub(super) struct Chosen {
    /// Indices of what is kept, leaf first.
    pub order: Vec<usize>,
    /// What was changed.
    pub notes: Vec<ChainNote>,
}

/// Chooses the chain of the key whose SubjectPublicKeyInfo is `key`. `None`: none of the certificates is the key's.
///
/// Without a key nothing but repeats is left out: what the certificates are for is not known.
pub(super) fn choose(
    certificates: &[X509Certificate<'_>],
    key: Option<&[u8]>,
    unordered: bool,
) -> Option<Chosen> {
    let links = Links { certificates, checked: Cell::new(0) };
    let mut notes = Vec::new();
    let distinct = links.distinct(&mut notes);
    let leaf = match key {
        Some(key) => links.leaf_of_key(&distinct, key, unordered)?,
        None if distinct.iter().all(|&index| is_authority(&certificates[index])) => {
            return Some(Chosen { order: distinct, notes });
        }
        None => *distinct.iter().find(|&&index| !is_authority(&certificates[index]))?,
    };
    let mut order = links.chain(leaf, &distinct);
    let others: Vec<usize> = distinct.iter().copied().filter(|index| !order.contains(index)).collect();
    match key {
        Some(_) => notes.extend(others.iter().map(|&other| links.left_out(other, &order))),
        None => order.extend(others),
    }
    if !order.is_sorted() {
        notes.push(ChainNote::Reordered {
            order: order.iter().map(|&index| (index + 1, links.subject(index))).collect(),
        });
    }
    if unordered {
        // A container is a set: its order and its further certificates are no sign of a mistake.
        notes.clear();
    }
    Some(Chosen { order, notes })
}

/// A CA's certificate; or a root of X.509 version 1, which has no field for it.
fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    let old_root = certificate.version() == X509Version::V1
        && certificate.subject().as_raw() == certificate.issuer().as_raw();
    certificate.is_ca() || old_root
}

/// Which certificate issued which.
struct Links<'a, 'b> {
    certificates: &'b [X509Certificate<'a>],
    /// How many signatures were checked.
    checked: Cell<usize>,
}

impl Links<'_, '_> {
    fn subject(&self, index: usize) -> String {
        inspect::name_text(self.certificates[index].subject())
    }

    /// The first of each group of equal certificates.
    fn distinct(&self, notes: &mut Vec<ChainNote>) -> Vec<usize> {
        let mut seen = std::collections::HashMap::new();
        let mut distinct = Vec::new();
        for (index, certificate) in self.certificates.iter().enumerate() {
            match seen.insert(certificate.as_raw(), index) {
                None => distinct.push(index),
                Some(first) => {
                    seen.insert(certificate.as_raw(), first);
                    let (position, subject) = (index + 1, self.subject(index));
                    notes.push(ChainNote::Repeated { position, subject, first: first + 1 });
                }
            }
        }
        distinct
    }

    /// The certificate of a key: the first of the file, if it is that; else the newest of several.
    fn leaf_of_key(&self, distinct: &[usize], key: &[u8], unordered: bool) -> Option<usize> {
        let is_its =
            |index: &&usize| spki::compare(self.certificates[**index].public_key(), key) == KeyMatch::Same;
        let mut its = distinct.iter().filter(is_its).copied().peekable();
        if !unordered && its.peek() == Some(&0) {
            return Some(0);
        }
        let newest = |index: &usize| {
            let from = self.certificates[*index].validity().not_before.timestamp();
            (from, std::cmp::Reverse(*index))
        };
        its.max_by_key(newest)
    }

    /// Whether `issuer` issued `issued`, by name and signature.
    fn is_link(&self, issued: usize, issuer: usize) -> bool {
        let (issued, issuer) = (&self.certificates[issued], &self.certificates[issuer]);
        if issued.issuer().as_raw() != issuer.subject().as_raw() || self.checked.get() >= MAX_SIGNATURES {
            return false;
        }
        self.checked.set(self.checked.get() + 1);
        signed_by(issued, issuer)
    }

    /// The leaf, the path up from it in the file's order of preference, then every other certificate above the leaf: a
    /// cross-signed authority has several, and peers choose the one that they trust.
    fn chain(&self, leaf: usize, distinct: &[usize]) -> Vec<usize> {
        let leaf_key = self.certificates[leaf].public_key().raw;
        // Another certificate of the leaf's own key is its predecessor, not its issuer.
        let others: Vec<usize> = distinct
            .iter()
            .copied()
            .filter(|&index| index != leaf && self.certificates[index].public_key().raw != leaf_key)
            .collect();
        let mut order = vec![leaf];
        let mut last = leaf;
        while !self.is_link(last, last) {
            let next = others.iter().copied().find(|&at| !order.contains(&at) && self.is_link(last, at));
            let Some(next) = next else { break };
            order.push(next);
            last = next;
        }
        let path = order.len();
        let mut at = 0;
        while at < order.len() {
            let issued = order[at];
            for &issuer in &others {
                if !order.contains(&issuer) && self.is_link(issued, issuer) {
                    order.push(issuer);
                }
            }
            at += 1;
        }
        order[path..].sort_unstable();
        order
    }

    /// Why a certificate is not in the chain `order`.
    fn left_out(&self, index: usize, order: &[usize]) -> ChainNote {
        let (position, subject) = (index + 1, self.subject(index));
        let name = self.certificates[index].subject().as_raw();
        let ends = |at: usize| {
            let issuer = self.certificates[at].issuer().as_raw();
            !order.iter().any(|&other| self.certificates[other].subject().as_raw() == issuer)
        };
        let end = order.iter().copied().find(|&at| ends(at));
        match end {
            Some(end) if self.certificates[end].issuer().as_raw() == name => {
                ChainNote::NotTheIssuer { position, subject, issued: self.subject(end) }
            }
            _ => {
                let issuer = |at: usize| inspect::name_text(self.certificates[at].issuer());
                let missing = end.map(|end| (self.subject(end), issuer(end)));
                ChainNote::Unrelated { position, subject, missing }
            }
        }
    }
}

/// Whether `issuer`'s key made `issued`'s signature. Signatures that we cannot check (SHA-1, small RSA keys)
/// pass: whether they are good enough is the peer's decision.
fn signed_by(issued: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let key = issuer.public_key();
    if matches!(key.parsed(), Ok(PublicKey::RSA(rsa)) if rsa.key_size() < MIN_RSA_BITS) {
        return true;
    }
    let (Some(key_algorithm), Some(signature_algorithm)) =
        (inner_sequence(key.raw, 0), inner_sequence(issued.as_raw(), 1))
    else {
        return true;
    };
    let mut known = false;
    for algorithm in default_provider().signature_verification_algorithms.all {
        if algorithm.public_key_alg_id().as_ref() != key_algorithm
            || algorithm.signature_alg_id().as_ref() != signature_algorithm
        {
            continue;
        }
        known = true;
        let (public, signature) = (&key.subject_public_key.data, &issued.signature_value.data);
        if algorithm.verify_signature(public, issued.tbs_certificate.as_ref(), signature).is_ok() {
            return true;
        }
    }
    !known
}

/// The content of the SEQUENCE that is element `position` of the SEQUENCE `der`.
fn inner_sequence(der: &[u8], position: usize) -> Option<Vec<u8>> {
    let (_, outer) = Sequence::from_der(der).ok()?;
    let mut rest: &[u8] = &outer.content;
    for _ in 0..position {
        rest = Any::from_der(rest).ok()?.0;
    }
    Some(Sequence::from_der(rest).ok()?.1.content.into_owned())
}
