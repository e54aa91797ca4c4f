//! Requests of strangers, by the page for consumers. A request makes a consumer and a credential, and a code: the
//! holder of the code sees what becomes of the request and, once it is approved, collects the credential. There are no accounts.
//!
//! ```text
//! claim ─► requested ─ approve (by a person, or the definition) ─► approved ─ collect ─► active; its key is shown, once
//! ```
//!
//! Of the code its SHA-256 is kept. What is not decided or collected for [`PORTAL_REQUEST_TIME`] is deleted.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

use super::credential::{Consumer, Credential, later, unhex};
use super::definition::Approval;
use super::desk::{Desk, check_text, origins};
use super::error::ConsumerError;
use super::issue;
use super::order::{CredentialInfo, Issue, Issued};
use super::state::{Standing, State};
use crate::base::limits::{MAX_CONSUMERS, MAX_CREDENTIALS, PORTAL_REQUEST_TIME};
use crate::certs::bundle::Bundle;
use crate::certs::generate::{GenerateRequest, csr};
use crate::certs::passphrase::Passphrase;
use crate::certs::pkcs12;
use crate::certs::store::ConsumersLock;
use crate::certs::time::Timestamp;
use zeroize::Zeroizing;

/// The secret half of a code, in bytes.
const SECRET_BYTES: usize = 20;
/// The passphrase of a container, in bytes before they are written in base32.
const PASSPHRASE_BYTES: usize = 15;
/// Longest part of a consumer's name that is made of the stranger's, in bytes.
const SLUG_BYTES: usize = 32;

/// What is kept of a request's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claim {
    /// SHA-256 of the secret in lower-case hexadecimal.
    pub sha256: String,
    /// When the credential was collected with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<Timestamp>,
}

/// A request, as a stranger makes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClaimRequest {
    /// Of which kind.
    pub definition: String,
    /// A name in the stranger's words.
    pub name: String,
    /// An address to write to.
    pub contact: String,
    /// What it is for.
    pub description: String,
    /// Pages that may use it.
    pub origins: Vec<String>,
    /// A CSR or a certificate, or neither.
    pub given: Issue,
    /// How many requests may wait.
    pub most: usize,
}

/// A request and what became of it.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The credential.
    pub credential: CredentialInfo,
    /// When it was collected by its code.
    pub collected: Option<Timestamp>,
    /// It can't be issued before a certificate, or a CSR, is given.
    pub lacks_certificate: bool,
}

/// What was collected. It is shown once.
pub(crate) struct Collected {
    /// The credential with its key and certificate.
    pub issued: Issued,
    /// PKCS#12 with the key that was made here, and its passphrase.
    pub container: Option<(Zeroizing<Vec<u8>>, Zeroizing<String>)>,
}

impl std::fmt::Debug for Collected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collected").field("issued", &self.issued).finish_non_exhaustive()
    }
}

impl Desk<'_> {
    /// Takes a request in, and returns its code.
    ///
    /// # Errors
    /// As of [`Order::Request`](super::Order::Request), or as many requests wait as may.
    pub(crate) fn claim(&mut self, asked: ClaimRequest) -> Result<(String, Claimed), ConsumerError> {
        let ClaimRequest { definition, name, contact, description, origins: named, given, most } = asked;
        let definition = self.definition(&definition)?.clone();
        for (what, text) in
            [("the name", &name), ("the contact", &contact), ("the description", &description)]
        {
            check_text(what, text)?;
        }
        if name.trim().is_empty() || contact.trim().is_empty() {
            let text = "a request has a name and a contact: the operator must know whose it is";
            return Err(ConsumerError::Invalid(text.to_owned()));
        }
        let origins = origins(&definition, named)?;
        let material = issue::check(&definition, given, None, self.now)?;
        let lock = self.store.lock_consumers()?;
        self.forget_stale(&lock)?;
        self.check_room(most)?;
        let consumer = Consumer {
            name: self.new_name(&name)?,
            title: name.trim().to_owned(),
            contact: contact.trim().to_owned(),
            created: self.time(),
            portal: true,
        };
        let (now, secret) = (self.time(), random_text(SECRET_BYTES)?);
        let mut credential = Credential {
            name: self.free_name(&consumer.name, &definition.name)?,
            consumer: consumer.name.clone(),
            definition: definition.name.clone(),
            description,
            created: now,
            origins,
            csr: None,
            names: None,
            claim: Some(Claim { sha256: hex_digest(&secret), collected: None }),
            state: match definition.approval {
                Approval::Manual => State::Requested { since: now },
                Approval::Automatic => State::Approved { since: now },
            },
            key: Vec::new(),
            certificate: Vec::new(),
        };
        if let Some(material) = material {
            drop(material.note(&mut credential, now));
        }
        self.store.put_consumer(&consumer, &lock)?;
        self.book.consumers.insert(consumer.name.clone(), consumer);
        self.store.put_credential(&credential, &lock)?;
        let code = format!("{}.{}", credential.name, *secret);
        let claimed = self.claimed_of(&credential);
        self.book.credentials.insert(credential.name.clone(), credential);
        Ok((code, claimed))
    }

    /// What became of the request of a code. `None`: it is no code of a request.
    pub(crate) fn claimed(&self, code: &str) -> Option<Claimed> {
        let (name, secret) = code.rsplit_once('.')?;
        let credential = self.book.credentials.get(name)?;
        opens(credential, secret).then(|| self.claimed_of(credential))
    }

    /// Issues what was approved to the holder of its code. `make_key`: its key is made here, and forgotten.
    ///
    /// # Errors
    /// There is no such request, it is not approved, or its certificate can't be made.
    pub(crate) fn collect(
        &mut self,
        code: &str,
        mut given: Issue,
        make_key: bool,
    ) -> Result<Collected, ConsumerError> {
        let unknown =
            || ConsumerError::NotFound { kind: "request", name: String::new(), similar: Vec::new() };
        let (name, secret) = code.rsplit_once('.').ok_or_else(unknown)?;
        let lock = self.store.lock_consumers()?;
        let known = self.book.credentials.contains_key(name);
        let credential = if known { self.store.credential(name)? } else { None };
        let mut credential = credential.filter(|it| opens(it, secret)).ok_or_else(unknown)?;
        let is = credential.state.standing(self.time());
        if is != Standing::Approved {
            return Err(ConsumerError::State { name: name.to_owned(), is, wanted: "collected" });
        }
        let definition = self.definition(&credential.definition)?.clone();
        let key = match make_key {
            true => Some(csr(&GenerateRequest::new(&credential.consumer))?),
            false => None,
        };
        if let Some(made) = &key {
            given = Issue { csr: Some(made.csr_pem.clone()), certificate: None };
        }
        let now = self.time();
        let mut warnings = Vec::new();
        if let Some(material) = issue::check(&definition, given, None, self.now)? {
            warnings = material.note(&mut credential, now);
        }
        if let Some(claim) = &mut credential.claim {
            claim.collected = Some(now);
        }
        let made = issue::issue(self.store, &definition, credential, self.now)?;
        let container = match (&key, &made.certificate) {
            (Some(key), Some(chain)) => Some(container(chain, &key.key_pem, name)?),
            _ => None,
        };
        let issued = self.keep(made, warnings, &lock)?;
        Ok(Collected { issued, container })
    }

    fn claimed_of(&self, credential: &Credential) -> Claimed {
        let info = self.info(credential);
        let mtls = self.definition(&credential.definition).is_ok_and(|it| it.mtls);
        Claimed {
            lacks_certificate: mtls && credential.csr.is_none() && credential.certificate.is_empty(),
            collected: credential.claim.as_ref().and_then(|claim| claim.collected),
            credential: info,
        }
    }

    /// Whether there is room for one more request.
    fn check_room(&self, most: usize) -> Result<(), ConsumerError> {
        let waits = |credential: &&Credential| {
            credential.claim.is_some()
                && matches!(credential.state, State::Requested { .. } | State::Approved { .. })
        };
        if self.book.credentials.values().filter(waits).count() >= most {
            return Err(ConsumerError::TooMany { kind: "requests", most });
        }
        for (kind, count, most) in [
            ("consumers", self.book.consumers.len(), MAX_CONSUMERS),
            ("credentials", self.book.credentials.len(), MAX_CREDENTIALS),
        ] {
            if count >= most {
                return Err(ConsumerError::TooMany { kind, most });
            }
        }
        Ok(())
    }

    /// Deletes requests that were refused, or waited, for too long, and their consumers where these have nothing else.
    fn forget_stale(&mut self, lock: &ConsumersLock) -> Result<(), ConsumerError> {
        let now = self.time();
        let is_over = |since: Timestamp| later(since, PORTAL_REQUEST_TIME) < now;
        let stale = self.book.credentials.values().filter(|credential| {
            let waits = matches!(
                credential.state,
                State::Requested { .. } | State::Approved { .. } | State::Denied { .. }
            );
            credential.claim.is_some() && waits && is_over(credential.state.since())
        });
        let stale: Vec<String> = stale.map(|credential| credential.name.clone()).collect();
        for name in stale {
            self.store.delete_credential(&name, lock)?;
            self.book.credentials.remove(&name);
        }
        let with: std::collections::BTreeSet<&str> =
            self.book.credentials.values().map(|credential| credential.consumer.as_str()).collect();
        let alone = self.book.consumers.values().filter(|consumer| {
            consumer.portal && is_over(consumer.created) && !with.contains(consumer.name.as_str())
        });
        let alone: Vec<String> = alone.map(|consumer| consumer.name.clone()).collect();
        for name in alone {
            self.store.delete_consumer(&name, lock)?;
            self.book.consumers.remove(&name);
        }
        Ok(())
    }

    /// A consumer's name, made of a stranger's words: no one can choose that of another consumer.
    fn new_name(&self, words: &str) -> Result<String, ConsumerError> {
        let mut slug = String::new();
        for character in words.chars() {
            match character.to_ascii_lowercase() {
                plain @ ('a'..='z' | '0'..='9') => slug.push(plain),
                _ if slug.is_empty() || slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
            if slug.len() == SLUG_BYTES {
                break;
            }
        }
        let slug = slug.trim_end_matches('-');
        let slug = if slug.is_empty() { "portal" } else { slug };
        Ok(format!("{slug}-{}", *random_text(5)?))
    }
}

/// Whether a secret is that of the credential's code.
fn opens(credential: &Credential, secret: &str) -> bool {
    let known = credential.claim.as_ref().and_then(|claim| unhex(&claim.sha256));
    known.is_some_and(|known| {
        verify_slices_are_equal(&known, digest(&SHA256, secret.as_bytes()).as_ref()).is_ok()
    })
}

fn hex_digest(secret: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, secret.as_bytes()).as_ref())
}

/// Random letters and digits.
fn random_text(bytes: usize) -> Result<Zeroizing<String>, ConsumerError> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    aws_lc_rs::rand::fill(&mut random).map_err(|_| ConsumerError::Random)?;
    Ok(Zeroizing::new(BASE32_NOPAD.encode(&random).to_ascii_lowercase()))
}

/// PKCS#12 of a chain and its key, with a passphrase of its own.
fn container(
    chain: &str,
    key: &str,
    name: &str,
) -> Result<(Zeroizing<Vec<u8>>, Zeroizing<String>), ConsumerError> {
    let invalid = |error: &dyn std::fmt::Display| ConsumerError::Invalid(error.to_string());
    let bundle =
        Bundle::from_parts(chain.as_bytes(), Some(key.as_bytes())).map_err(|error| invalid(&error))?;
    let passphrase = random_text(PASSPHRASE_BYTES)?;
    let container = pkcs12::write(&bundle, &Passphrase::from(passphrase.to_string()), name);
    Ok((container.map_err(|error| invalid(&error))?, passphrase))
}

/// How long a request is kept, in days.
pub(crate) const fn kept_days() -> u64 {
    PORTAL_REQUEST_TIME.as_secs() / Duration::from_secs(86_400).as_secs()
}
