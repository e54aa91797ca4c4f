//! A certificate chain, perhaps with the private key of its first certificate, proven to belong together.

use std::fmt;
use std::ops::Deref;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::sign;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;
use zeroize::{Zeroize, Zeroizing};

use super::encode;
use super::inspect::{self, Facts};
use super::parse::{self, Material};
use super::passphrase::Passphrase;
use super::time::Timestamp;
use crate::base::spki::{self, KeyMatch};

mod chain;
mod error;

pub(crate) use chain::ChainNote;
pub(crate) use error::{BundleError, LockError};

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

    /// Whether the curve of an EC key is written out: its parameters begin with the field's kind, prime-field (RFC 3279
    /// §2.3.5).
    fn has_explicit_parameters(&self) -> bool {
        const PRIME_FIELD: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01, 0x01];
        self.0.secret_der().windows(PRIME_FIELD.len()).any(|window| window == PRIME_FIELD)
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

/// A chain, leaf first, and perhaps the leaf's key. Its existence proves that
///
/// - there is at least one certificate, and each parses,
/// - with a key, each certificate but the first issued and signed one before it (without a key it may be a trust bundle,
///   which has no order),
/// - the key, if there is one, is the leaf's, and usable for TLS here.
///
/// Validity in time is not part of this: see [`Bundle::check_validity`].
#[derive(Clone, Debug)]
pub struct Bundle {
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKey>,
    facts: Facts,
    notes: Vec<ChainNote>,
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
    ///
    /// Certificates that are out of order are put in order; repeated ones, and those that the chain of the key does not
    /// need, are left out: see [`Bundle::notes`].
    pub fn from_locked_parts(
        cert: &[u8],
        key: Option<&[u8]>,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, BundleError> {
        let mut material = parse::read(cert, passphrase)?;
        if let Some(key) = key {
            let mut read = parse::read(key, passphrase)?;
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
            return Err(BundleError::NoCertificate { found: parse::found(&material) });
        }
        drop_repeated(&mut material.keys);
        if material.keys.len() > 1 {
            return Err(BundleError::SeveralKeys { count: material.keys.len() });
        }
        let key = material.keys.pop();
        let found = material.certificates;
        let parsed = parse_all(&found)?;
        let key_spki = key.as_ref().map(|key| public_key(key, &parsed[0])).transpose()?;
        let chosen = chain::choose(&parsed, key_spki.as_deref(), material.unordered)
            .ok_or_else(|| mismatch(&parsed, key.as_ref(), key_spki.as_deref().unwrap_or_default()))?;
        let facts = Facts::of(&parsed[chosen.order[0]]);
        drop(parsed);
        let chain = chosen.order.into_iter().map(|index| found[index].clone()).collect();
        Ok(Self { chain, key, facts, notes: chosen.notes })
    }

    /// The certificates, leaf first. Never empty.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The leaf's private key, if it is known.
    pub fn key(&self) -> Option<&PrivateKey> {
        self.key.as_ref()
    }

    /// The content of the leaf.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How the chain differs from what was read: warnings.
    pub fn notes(&self) -> &[ChainNote] {
        &self.notes
    }

    /// The chain as PEM text.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| encode::pem("CERTIFICATE", certificate).to_string()).collect()
    }

    /// The key as PEM text, if there is one.
    pub fn key_pem(&self) -> Option<Zeroizing<String>> {
        self.key.as_ref().map(PrivateKey::to_pem)
    }

    /// Checks that all of the chain is valid at `now`. A self-signed root is passed over: peers have their own copy of
    /// it, or none; and so is an authority of which another certificate in the chain is valid.
    pub fn check_validity(&self, now: SystemTime) -> Result<(), BundleError> {
        let now = Timestamp::from(now);
        let all: Vec<Facts> = self.chain.iter().filter_map(|der| Facts::from_der(der).ok()).collect();
        let is_valid = |facts: &Facts| (facts.not_before..=facts.not_after).contains(&now);
        for (index, facts) in all.iter().enumerate() {
            let stands_in = |other: &Facts| {
                is_valid(other) && other.subject == facts.subject && other.spki_sha256 == facts.spki_sha256
            };
            if index > 0 && (facts.self_signed || all[1..].iter().any(stands_in)) {
                continue;
            }
            let (position, subject) = (index + 1, facts.subject.clone());
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
        inspect::parse(der).map_err(|reason| BundleError::NotACertificate { position: index + 1, reason })
    };
    chain.iter().enumerate().map(parse).collect()
}

/// Leaves one of each key, of which a file may have copies.
fn drop_repeated(keys: &mut Vec<PrivateKey>) {
    let mut seen: Vec<Vec<u8>> = Vec::new();
    keys.retain(|key| {
        // Two encodings of one key have the same public half.
        let public =
            sign::any_supported_type(key).ok().and_then(|signer| Some(signer.public_key()?.to_vec()));
        let is_new = public.as_ref().is_none_or(|public| !seen.contains(public));
        seen.extend(public);
        is_new
    });
    keys.dedup_by(|a, b| a.secret_der() == b.secret_der());
}

/// The SubjectPublicKeyInfo that belongs to `key`, the supposed key of `certificate`.
fn public_key(key: &PrivateKey, certificate: &X509Certificate<'_>) -> Result<Vec<u8>, BundleError> {
    let unsupported = |reason: String| BundleError::KeyUnsupported { reason };
    let signer = sign::any_supported_type(key).map_err(|_| cannot_sign(certificate, key))?;
    let public =
        signer.public_key().ok_or_else(|| unsupported("its public half cannot be computed".to_owned()))?;
    Ok(public.as_ref().to_vec())
}

/// Why a key cannot be loaded, judged by its certificate.
fn cannot_sign(certificate: &X509Certificate<'_>, private: &PrivateKey) -> BundleError {
    let key = certificate.public_key();
    if spki::has_explicit_parameters(key) {
        return BundleError::ExplicitParameters { subject: inspect::name_text(certificate.subject()) };
    }
    if private.has_explicit_parameters() {
        return BundleError::KeyUnsupported { reason: EXPLICIT_KEY.to_owned() };
    }
    let key_type = inspect::key_type(key);
    let reason = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() < MIN_RSA_BITS => format!(
            "its certificate's is an RSA key of {} bits, which is too weak to sign with: an identity needs RSA with \
             2048 bits at least, or ECDSA; have a certificate made for a new key",
            rsa.key_size()
        ),
        _ if !inspect::is_usable(key) => format!(
            "its certificate's is {key_type}, which is not supported here; have a certificate made for a new key: RSA \
             (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519"
        ),
        _ => {
            "it is damaged, or not RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519".to_owned()
        }
    };
    BundleError::KeyUnsupported { reason }
}

const EXPLICIT_KEY: &str = "its curve is written out as explicit parameters; \
                            `openssl ec -in FILE -param_enc named_curve -out key.pem` names it: use key.pem";

/// The error for a key that is that of no certificate. `public` is its SubjectPublicKeyInfo.
fn mismatch(found: &[X509Certificate<'_>], key: Option<&PrivateKey>, public: &[u8]) -> BundleError {
    // A key whose curve is written out may have been read as that of another curve.
    let key_is_explicit = key.is_some_and(PrivateKey::has_explicit_parameters);
    let written_out = |certificate: &&X509Certificate<'_>| {
        let held = certificate.public_key();
        spki::compare(held, public) == KeyMatch::ExplicitParameters
            || key_is_explicit && spki::has_explicit_parameters(held)
    };
    if let Some(certificate) = found.iter().find(written_out) {
        return BundleError::ExplicitParameters { subject: inspect::name_text(certificate.subject()) };
    }
    if key_is_explicit {
        return BundleError::KeyUnsupported { reason: EXPLICIT_KEY.to_owned() };
    }
    BundleError::KeyMismatch {
        subject: inspect::name_text(found[0].subject()),
        certificate: encode::pin(found[0].public_key().raw),
        key: encode::pin(public),
    }
}
