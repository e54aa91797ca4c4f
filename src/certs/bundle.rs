//! A certificate chain, perhaps with the private key of its first certificate, proven to belong together.

use std::fmt;
use std::ops::Deref;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::asn1_rs::{Any, FromDer, Sequence};
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;
use zeroize::{Zeroize, Zeroizing};

use super::encode;
use super::facts::{self, Facts};
use super::material::{self, Material};
use super::passphrase::Passphrase;
use super::time::Timestamp;

mod error;

pub use error::{BundleError, LockError};

/// The smallest RSA key that signs here, and whose signatures are checked here.
const MIN_RSA_BITS: usize = 2048;

/// A private key in DER that wipes its bytes when dropped and never shows them in `{:?}`.
pub struct PrivateKey(PrivateKeyDer<'static>);

impl PrivateKey {
    /// The key as PEM, in the encoding it came in (PKCS#8, PKCS#1 or SEC1).
    pub fn to_pem(&self) -> Zeroizing<String> {
        let label = match &self.0 {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        encode::pem(label, self.0.secret_der())
    }
}

impl From<PrivateKeyDer<'static>> for PrivateKey {
    fn from(der: PrivateKeyDer<'static>) -> Self {
        Self(der)
    }
}

impl Deref for PrivateKey {
    type Target = PrivateKeyDer<'static>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self(self.0.clone_key())
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A chain, leaf first, and perhaps the leaf's key. Whoever holds one knows that
///
/// - there is at least one certificate, and each parses,
/// - each certificate is issued and signed by the next one (except in a collection of CA certificates
///   without a key, which is a trust bundle and has no order),
/// - the key, if there is one, is the leaf's, and usable for TLS here.
///
/// Validity in time is not part of this: ask [`Bundle::check_validity`].
#[derive(Clone, Debug)]
pub struct Bundle {
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKey>,
    facts: Facts,
}

impl Bundle {
    /// From one PEM text with the chain and perhaps the key, or one DER certificate.
    pub fn from_pem(text: &[u8]) -> Result<Self, BundleError> {
        Self::from_parts(text, None)
    }

    /// From a chain and a key, each PEM or DER, neither locked.
    ///
    /// A key beside the chain in `cert` is used if `key` is left out; if both hold one, they must be the same.
    pub fn from_parts(cert: &[u8], key: Option<&[u8]>) -> Result<Self, BundleError> {
        Self::from_locked_parts(cert, key, None)
    }

    /// From a chain and a key, each PEM or DER, or a PKCS#12 container; the passphrase opens what is locked.
    /// The certificates of a container are put in order.
    pub fn from_locked_parts(
        cert: &[u8],
        key: Option<&[u8]>,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, BundleError> {
        let mut material = material::read(cert, passphrase)?;
        if let Some(key) = key {
            let mut read = material::read(key, passphrase)?;
            if read.keys.is_empty() {
                let certificates = read.certificates.iter().map(|_| "CERTIFICATE".to_owned());
                return Err(BundleError::NoKey { found: certificates.chain(read.others).collect() });
            }
            material.keys.append(&mut read.keys);
        }
        Self::from_material(material)
    }

    fn from_material(mut material: Material) -> Result<Self, BundleError> {
        if material.certificates.is_empty() {
            return Err(BundleError::NoCertificate { found: material::found(&material) });
        }
        material.keys.dedup_by(|a, b| a.secret_der() == b.secret_der());
        if material.keys.len() > 1 {
            return Err(BundleError::SeveralKeys { count: material.keys.len() });
        }
        let key = material.keys.pop();
        let mut chain = material.certificates;
        if material.unordered {
            chain = put_in_order(chain, key.as_ref())?;
        }
        let facts = {
            let parsed = parse_all(&chain)?;
            let key_spki = key.as_ref().map(|key| public_key(key, &parsed[0])).transpose()?;
            check_key(&parsed, key_spki.as_deref())?;
            let is_trust = key.is_none() && parsed.iter().all(|certificate| certificate.is_ca());
            if !is_trust {
                check_chain(&parsed, key_spki.as_deref())?;
            }
            Facts::of(&parsed[0])
        };
        Ok(Self { chain, key, facts })
    }

    /// The certificates, leaf first. Never empty.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The leaf's private key, if it is known.
    pub fn key(&self) -> Option<&PrivateKey> {
        self.key.as_ref()
    }

    /// What the leaf says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The chain as PEM text.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| encode::pem("CERTIFICATE", certificate).to_string()).collect()
    }

    /// The key as PEM text, if there is one.
    pub fn key_pem(&self) -> Option<Zeroizing<String>> {
        self.key.as_ref().map(PrivateKey::to_pem)
    }

    /// Checks that all of the chain is valid at `now`. A self-signed root at its end is passed over: peers
    /// have their own copy of it, or none.
    pub fn check_validity(&self, now: SystemTime) -> Result<(), BundleError> {
        let now = Timestamp::from(now);
        for (index, certificate) in self.chain.iter().enumerate() {
            let Ok(facts) = Facts::from_der(certificate) else { continue };
            if index > 0 && facts.self_signed {
                continue;
            }
            let (position, subject) = (index + 1, facts.subject);
            if now > facts.not_after {
                return Err(BundleError::Expired { position, subject, since: facts.not_after });
            }
            if now < facts.not_before {
                return Err(BundleError::NotYetValid { position, subject, from: facts.not_before, now });
            }
        }
        Ok(())
    }
}

fn parse_all<'a>(chain: &'a [CertificateDer<'static>]) -> Result<Vec<X509Certificate<'a>>, BundleError> {
    let parse = |(index, der): (usize, &'a CertificateDer<'static>)| {
        facts::parse(der).map_err(|reason| BundleError::NotACertificate { position: index + 1, reason })
    };
    chain.iter().enumerate().map(parse).collect()
}

/// The certificates of a container, whose order says nothing: each before its issuer, if there is such an order.
fn put_in_order(
    chain: Vec<CertificateDer<'static>>,
    key: Option<&PrivateKey>,
) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let parsed = parse_all(&chain)?;
    let key = key.map(|key| public_key(key, &parsed[0])).transpose()?;
    Ok(match right_order(&parsed, key.as_deref()) {
        Some(order) => order.into_iter().map(|index| chain[index].clone()).collect(),
        None => chain,
    })
}

/// The SubjectPublicKeyInfo that belongs to `key`, which is said to be that of `certificate`.
fn public_key(key: &PrivateKey, certificate: &X509Certificate<'_>) -> Result<Vec<u8>, BundleError> {
    let unsupported = |reason: String| BundleError::KeyUnsupported { reason };
    let signer = sign::any_supported_type(key).map_err(|_| match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() < MIN_RSA_BITS => unsupported(format!(
            "its certificate's is an RSA key of {} bits, which is too weak to sign with: an identity needs RSA with \
             2048 bits at least, or ECDSA; have a certificate made for a new key",
            rsa.key_size()
        )),
        _ => unsupported(
            "it is damaged, or not RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519".to_owned(),
        ),
    })?;
    let public =
        signer.public_key().ok_or_else(|| unsupported("its public half cannot be computed".to_owned()))?;
    Ok(public.as_ref().to_vec())
}

fn check_key(chain: &[X509Certificate<'_>], key: Option<&[u8]>) -> Result<(), BundleError> {
    let Some(key) = key else { return Ok(()) };
    if chain[0].public_key().raw == key {
        return Ok(());
    }
    // The key of a later certificate is an order gone wrong, which the chain's check explains better.
    if chain.iter().any(|certificate| certificate.public_key().raw == key) {
        return Err(disorder(chain, Some(key), 0));
    }
    Err(BundleError::KeyMismatch {
        subject: chain[0].subject().to_string(),
        certificate: encode::pin(chain[0].public_key().raw),
        key: encode::pin(key),
    })
}

fn check_chain(chain: &[X509Certificate<'_>], key: Option<&[u8]>) -> Result<(), BundleError> {
    for (index, pair) in chain.windows(2).enumerate() {
        let (issued, issuer) = (&pair[0], &pair[1]);
        if issued.issuer().as_raw() != issuer.subject().as_raw() || issued.as_raw() == issuer.as_raw() {
            return Err(disorder(chain, key, index));
        }
        if !signed_by(issued, issuer) {
            return Err(BundleError::NotSignedBy {
                position: index + 1,
                subject: issued.subject().to_string(),
                issuer: issuer.subject().to_string(),
            });
        }
    }
    Ok(())
}

/// The error for a chain whose link after `broken` (counted from 0) does not hold.
fn disorder(chain: &[X509Certificate<'_>], key: Option<&[u8]>, broken: usize) -> BundleError {
    if let Some(order) = right_order(chain, key) {
        let order = order.into_iter().map(|index| (index + 1, chain[index].subject().to_string())).collect();
        return BundleError::ChainOutOfOrder { order };
    }
    let next = (broken + 1).min(chain.len() - 1);
    BundleError::ChainUnrelated {
        position: next + 1,
        subject: chain[next].subject().to_string(),
        wanted: chain[broken].issuer().to_string(),
    }
}

/// The order in which each certificate is issued by the next one, if there is exactly one start for it.
fn right_order(chain: &[X509Certificate<'_>], key: Option<&[u8]>) -> Option<Vec<usize>> {
    let issues_another = |index: usize| {
        let mut others = chain.iter().enumerate().filter(|(other, _)| *other != index);
        others.any(|(_, other)| other.issuer().as_raw() == chain[index].subject().as_raw())
    };
    let is_leaf = |index: &usize| match key {
        Some(key) => chain[*index].public_key().raw == key,
        None => !issues_another(*index),
    };
    let leaves: Vec<usize> = (0..chain.len()).filter(is_leaf).collect();
    let [leaf] = leaves[..] else { return None };
    let mut order = vec![leaf];
    while order.len() < chain.len() {
        let issuer = chain[*order.last()?].issuer().as_raw();
        let next = |index: &usize| !order.contains(index) && chain[*index].subject().as_raw() == issuer;
        let next = (0..chain.len()).find(next)?;
        order.push(next);
    }
    Some(order)
}

/// Whether `issuer`'s key made `issued`'s signature. Signatures that we cannot check (SHA-1, small RSA keys)
/// pass: whether they are good enough is for the peer to say.
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
