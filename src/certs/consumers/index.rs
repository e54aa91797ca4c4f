//! What requests are checked against: every credential that was issued, by key, certificate and origin. Immutable; a change
//! publishes another one.
//!
//! A lookup takes no lock and allocates nothing. Expiry is compared at the lookup, so that it needs no change of the index.

use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustc_hash::FxHashMap;

use super::credential::{CertificateNames, unhex};
use super::desk::Book;
use super::state::State;
use crate::base::limits::MAX_API_KEY_BYTES;
use crate::certs::time::Timestamp;

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    entries: Vec<Entry>,
    /// SHA-256 of a key to its credential, and from when on the key does not count.
    keys: FxHashMap<[u8; 32], (u32, Option<i64>)>,
    /// SHA-256 of a certificate to its credentials.
    certificates: FxHashMap<[u8; 32], Vec<u32>>,
    /// Credentials that are recognised by a certificate's names.
    named: Vec<u32>,
    /// By definition: the origins of its active credentials, each with the last second for which one of them counts.
    origins: FxHashMap<Box<str>, FxHashMap<Box<str>, i64>>,
}

/// A credential that was issued.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: Arc<str>,
    /// Its consumer's.
    pub consumer: Arc<str>,
    /// Its definition's.
    pub definition: Arc<str>,
    kept: Kept,
    /// In seconds since 1970; `i64::MAX`: never.
    expires: i64,
    origins: Box<[Box<str>]>,
    certificates: Box<[Pin]>,
    names: Option<CertificateNames>,
}

#[derive(Debug)]
struct Pin {
    sha256: [u8; 32],
    /// From when on it does not count, in seconds since 1970.
    until: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Active,
    Suspended,
    Revoked,
}

/// Why an issued credential is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotInForce {
    /// For a while.
    Suspended,
    /// Until it is renewed.
    Expired,
    /// For good.
    Revoked,
}

/// What a client's certificate is compared by.
#[derive(Clone, Copy, Debug)]
pub struct PresentedCertificate<'a> {
    /// SHA-256 of the whole certificate.
    pub sha256: &'a [u8; 32],
    /// Its last second, since 1970.
    pub not_after: i64,
    /// Issuer (RFC 4514) and alternative names, where the listener has verified it.
    pub verified: Option<(&'a str, &'a dyn Names)>,
}

/// The alternative names of a certificate.
pub trait Names: std::fmt::Debug {
    /// Whether `san` (`DNS:…`, `URI:…`, `email:…`, `IP:…`) is one of them.
    fn has(&self, san: &str) -> bool;
}

impl Index {
    /// Of all that was issued.
    pub(crate) fn of(book: &Book) -> Self {
        let mut index = Self::default();
        for credential in book.credentials.values() {
            let (kept, expires) = match &credential.state {
                State::Active { expires, .. } => (Kept::Active, *expires),
                State::Suspended { expires, .. } => (Kept::Suspended, *expires),
                State::Revoked { .. } => (Kept::Revoked, None),
                State::Requested { .. } | State::Approved { .. } | State::Denied { .. } => continue,
            };
            let Ok(at) = u32::try_from(index.entries.len()) else { break };
            let expires = expires.map_or(i64::MAX, Timestamp::unix);
            for key in &credential.key {
                let Some(digest) = unhex(&key.sha256) else { continue };
                index.keys.insert(digest, (at, key.until.map(Timestamp::unix)));
            }
            let pins = credential.certificate.iter().filter_map(|it| {
                let until = it.until.map_or(i64::MAX, Timestamp::unix).min(it.not_after.unix());
                Some(Pin { sha256: unhex(&it.sha256)?, until })
            });
            let certificates: Box<[Pin]> = pins.collect();
            for pin in &certificates {
                index.certificates.entry(pin.sha256).or_default().push(at);
            }
            if credential.names.is_some() {
                index.named.push(at);
            }
            if kept == Kept::Active && !credential.origins.is_empty() {
                let union = index.origins.entry(credential.definition.as_str().into()).or_default();
                for origin in &credential.origins {
                    match union.entry(origin.as_str().into()) {
                        Slot::Occupied(mut slot) => {
                            let last = expires.max(*slot.get());
                            slot.insert(last);
                        }
                        Slot::Vacant(slot) => drop(slot.insert(expires)),
                    }
                }
            }
            index.entries.push(Entry {
                name: credential.name.as_str().into(),
                consumer: credential.consumer.as_str().into(),
                definition: credential.definition.as_str().into(),
                kept,
                expires,
                origins: credential.origins.iter().map(|origin| origin.as_str().into()).collect(),
                certificates,
                names: credential.names.clone(),
            });
        }
        index
    }

    /// The credential of a key that was presented. Its duration reveals nothing of the keys: they are found by a digest that
    /// a client can't choose.
    pub fn by_key(&self, key: &[u8], now: i64) -> Option<&Entry> {
        if self.keys.is_empty() || key.len() > MAX_API_KEY_BYTES {
            return None;
        }
        let presented: [u8; 32] = digest(&SHA256, key).as_ref().try_into().ok()?;
        let (at, until) = self.keys.get(&presented)?;
        if until.is_some_and(|until| until <= now) {
            return None;
        }
        self.entries.get(*at as usize)
    }

    /// The credentials of a certificate, whatever their state.
    pub fn by_certificate<'i>(
        &'i self,
        certificate: &'i PresentedCertificate<'_>,
        now: i64,
    ) -> impl Iterator<Item = &'i Entry> {
        let pinned = self.certificates.get(certificate.sha256).into_iter().flatten();
        let entries = pinned.chain(&self.named).filter_map(|at| self.entries.get(*at as usize));
        entries.filter(move |entry| entry.has(certificate, now))
    }

    /// Whether pages of `origin` may use an active credential of this definition.
    pub fn allows(&self, definition: &str, origin: &str, now: i64) -> bool {
        let last = self.origins.get(definition).and_then(|union| union.get(origin));
        last.is_some_and(|last| now < *last)
    }

    /// How many credentials were issued.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    /// Whether it is in force.
    ///
    /// # Errors
    /// Why not.
    pub fn standing(&self, now: i64) -> Result<(), NotInForce> {
        match self.kept {
            Kept::Revoked => Err(NotInForce::Revoked),
            _ if self.expires <= now => Err(NotInForce::Expired),
            Kept::Suspended => Err(NotInForce::Suspended),
            Kept::Active => Ok(()),
        }
    }

    /// Whether this is its client certificate, in its time.
    pub fn has(&self, certificate: &PresentedCertificate<'_>, now: i64) -> bool {
        let pinned = |pin: &Pin| pin.sha256 == *certificate.sha256 && now < pin.until;
        let named = |names: &CertificateNames| {
            certificate
                .verified
                .is_some_and(|(issuer, sans)| *issuer == *names.issuer && sans.has(&names.san))
        };
        now <= certificate.not_after
            && (self.certificates.iter().any(pinned) || self.names.as_ref().is_some_and(named))
    }

    /// Whether pages of this origin may use it.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|own| **own == *origin)
    }
}
