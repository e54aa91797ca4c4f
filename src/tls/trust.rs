//! What a backend's certificate is checked against.
//!
//! ```text
//! chain ─► webpki: issuer, time, usage, name constraints, revocation ─┐
//!      └─► or trusted itself: time ───────────────────────────────────┴─► name ─► pins ─► handshake signature
//! ```

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::algorithms::{RsaBits, rsa_bits};
use super::identity::note_chain;
use super::presented::distinguished_name;

pub(super) type Sha256 = [u8; 32];

/// Certificates that a peer's chain may end in, or that a peer may present itself.
#[derive(Clone, Debug)]
pub struct TrustAnchors {
    authorities: RootCertStore,
    /// The subjects of all, which clients choose their certificate by.
    subjects: Vec<DistinguishedName>,
    /// Everything that was added, by digest: a server may present exactly one of these, as a self-signed one does.
    exact: HashSet<Sha256>,
    /// The authorities that sign with RSA: subject in DER, and bits.
    rsa: Vec<(Vec<u8>, u32)>,
}

/// Why a trust list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// A certificate cannot be parsed.
    BadCertificate(String),
    /// Nothing is trusted, so no backend could be.
    Empty,
    /// A revocation list cannot be parsed.
    BadRevocationList(String),
    /// Revocation lists without an authority that could have signed them.
    RevocationWithoutAuthority,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCertificate(why) => write!(f, "a trusted certificate cannot be parsed: {why}"),
            Self::Empty => f.write_str("no certificate is trusted"),
            Self::BadRevocationList(why) => write!(f, "a revocation list cannot be parsed: {why}"),
            Self::RevocationWithoutAuthority => {
                f.write_str("there are revocation lists, but no authority is trusted")
            }
        }
    }
}

impl std::error::Error for TrustError {}

impl Default for TrustAnchors {
    fn default() -> Self {
        Self::new()
    }
}

impl TrustAnchors {
    /// Trusts nothing.
    pub fn new() -> Self {
        Self {
            authorities: RootCertStore::empty(),
            subjects: Vec::new(),
            exact: HashSet::new(),
            rsa: Vec::new(),
        }
    }

    /// Trusts each of `certificates`; the first that cannot be parsed is the error.
    pub fn build(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TrustError> {
        let mut anchors = Self::new();
        for certificate in certificates {
            anchors.add(certificate)?;
        }
        Ok(anchors)
    }

    /// Trusts `certificate`: as an authority if it is one, and as a server's own certificate in any case.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), TrustError> {
        let bad = |error: String| TrustError::BadCertificate(error);
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| bad(error.to_string()))?;
        // Old roots are of version 1, which cannot say that it is an authority.
        let old_root = parsed.version() == X509Version::V1 && parsed.subject() == parsed.issuer();
        let authority = parsed.is_ca() || old_root;
        if self.exact.insert(sha256(&certificate)) {
            self.subjects.push(parsed.subject().as_raw().to_vec().into());
        }
        if authority {
            if let Some(bits) = key_bits(&parsed) {
                self.rsa.push((parsed.subject().as_raw().to_vec(), bits));
            }
            self.authorities.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        Ok(())
    }

    /// The number of certificates.
    pub fn len(&self) -> usize {
        self.exact.len()
    }

    /// Whether nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    /// Authorities, digests and subjects, for who checks clients.
    pub(super) fn into_parts(self) -> (RootCertStore, HashSet<Sha256>, Vec<DistinguishedName>) {
        (self.authorities, self.exact, self.subjects)
    }
}

/// Why a certificate is refused that webpki and rustls have no word for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unacceptable {
    /// The SHA-256 of its public key is not among the pinned ones.
    Pin(Sha256),
    /// A trusted authority has the name of its issuer, but did not sign it.
    Namesake {
        /// The name.
        issuer: String,
    },
    /// Its keyUsage does not let its key sign, which is all that it does in a handshake (RFC 8446 §4.4.2.2).
    NotForSigning,
    /// An RSA key is smaller than the policy allows.
    WeakKey {
        /// Its size.
        bits: u32,
        /// The least size.
        least: u32,
        /// Whose it is; none: the backend's own.
        authority: Option<String>,
    },
}

impl fmt::Display for Unacceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin(key) => {
                f.write_str("its public key is not among the pinned ones (SHA-256 ")?;
                key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str(")")
            }
            Self::Namesake { issuer } => {
                write!(f, "it is not signed by the trusted authority {issuer}, but by another of that name")
            }
            Self::NotForSigning => f.write_str("its keyUsage does not allow digitalSignature"),
            Self::WeakKey { bits, least, authority: None } => {
                write!(f, "its RSA key has {bits} bits, and `min_rsa_bits` is {least}")
            }
            Self::WeakKey { bits, least, authority: Some(name) } => {
                write!(
                    f,
                    "the RSA key of its authority {name} has {bits} bits, and `min_rsa_bits` is {least}"
                )
            }
        }
    }
}

impl std::error::Error for Unacceptable {}

impl From<Unacceptable> for Error {
    fn from(why: Unacceptable) -> Self {
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

/// Checks a backend's certificate: by webpki against the authorities, or as one that is trusted itself.
///
/// A certificate that is trusted itself is accepted where webpki knows no issuer for it, or finds that it is
/// an authority's (as `openssl req -x509` makes them), if the name and the time are right.
#[derive(Debug)]
pub struct BackendVerifier {
    judge: Judge,
    rsa: RsaBits,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Judge {
    Trust {
        /// None where no authority is trusted.
        chains: Option<Arc<WebPkiServerVerifier>>,
        anchors: TrustAnchors,
        pins: HashSet<Sha256>,
    },
    /// Whoever holds the key of the certificate that it presents will do.
    Nobody,
}

impl BackendVerifier {
    /// `crls`: with any, each certificate of a chain must be covered by one that is not out of date, and not be revoked.
    /// `pins`: SHA-256 of the subject public key info; with any, the leaf's must be among them.
    /// `rsa`: the least size of RSA keys, in the chain and in the handshake.
    pub fn new(
        anchors: TrustAnchors,
        crls: Vec<CertificateRevocationListDer<'static>>,
        pins: impl IntoIterator<Item = [u8; 32]>,
        rsa: RsaBits,
    ) -> Result<Arc<Self>, TrustError> {
        if anchors.is_empty() {
            return Err(TrustError::Empty);
        }
        let algorithms = rsa.algorithms();
        let chains = if !anchors.authorities.is_empty() {
            let provider =
                CryptoProvider { signature_verification_algorithms: algorithms, ..default_provider() };
            let authorities = Arc::new(anchors.authorities.clone());
            let builder = WebPkiServerVerifier::builder_with_provider(authorities, Arc::new(provider));
            let built = builder.with_crls(crls).enforce_revocation_expiration().build();
            Some(built.map_err(|error| match error {
                VerifierBuilderError::NoRootAnchors => TrustError::Empty,
                other => TrustError::BadRevocationList(other.to_string()),
            })?)
        } else if crls.is_empty() {
            None
        } else {
            return Err(TrustError::RevocationWithoutAuthority);
        };
        let judge = Judge::Trust { chains, anchors, pins: pins.into_iter().collect() };
        Ok(Arc::new(Self { judge, rsa, algorithms }))
    }

    /// Takes any certificate (`insecure_skip_verify`). That the backend holds its key is still checked, so that
    /// nobody can read along who did not answer himself.
    pub fn unchecked(rsa: RsaBits) -> Arc<Self> {
        Arc::new(Self { judge: Judge::Nobody, rsa, algorithms: rsa.algorithms() })
    }

    /// The certificate that signed with a key too small, if that is why a chain is refused.
    fn weak_authority(&self, chain: &[&CertificateDer<'_>], anchors: &TrustAnchors) -> Option<Unacceptable> {
        let least = self.rsa.bits();
        let mut issuer = None;
        for (index, der) in chain.iter().enumerate() {
            let (_, parsed) = X509Certificate::from_der(der).ok()?;
            match key_bits(&parsed) {
                Some(bits) if index > 0 && bits < least => {
                    let authority = Some(distinguished_name(parsed.subject()));
                    return Some(Unacceptable::WeakKey { bits, least, authority });
                }
                _ => issuer = Some((parsed.issuer().as_raw().to_vec(), distinguished_name(parsed.issuer()))),
            }
        }
        let (subject, name) = issuer?;
        let (_, bits) = anchors.rsa.iter().find(|(known, bits)| *known == subject && *bits < least)?;
        Some(Unacceptable::WeakKey { bits: *bits, least, authority: Some(name) })
    }

    /// A handshake signature that does not verify may be made with a key too small.
    fn name_weak_key(&self, error: Error, leaf: &CertificateDer<'_>) -> Error {
        let least = self.rsa.bits();
        match (error, X509Certificate::from_der(leaf)) {
            (Error::InvalidCertificate(CertificateError::BadSignature), Ok((_, parsed))) => {
                match key_bits(&parsed).filter(|bits| *bits < least) {
                    Some(bits) => Unacceptable::WeakKey { bits, least, authority: None }.into(),
                    None => CertificateError::BadSignature.into(),
                }
            }
            (error, _) => error,
        }
    }
}

impl ServerCertVerifier for BackendVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        note_chain(end_entity, intermediates);
        let Judge::Trust { chains, anchors, pins } = &self.judge else {
            return Ok(ServerCertVerified::assertion());
        };
        let by_chain = match chains {
            Some(chains) => {
                chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let leaf = ParsedCertificate::try_from(end_entity)?;
        match by_chain {
            // webpki passes over keyUsage. Who is trusted himself may say what he likes.
            Ok(_) if !may_sign(end_entity)? && !anchors.exact.contains(&sha256(end_entity)) => {
                return Err(Unacceptable::NotForSigning.into());
            }
            Ok(_) => {}
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_),
            )) if anchors.exact.contains(&sha256(end_entity)) => {
                check_validity(end_entity, now)?;
                verify_server_name(&leaf, server_name)?;
            }
            Err(error) => {
                use CertificateError::{BadSignature, UnknownIssuer};
                let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).collect();
                let better = match &error {
                    Error::InvalidCertificate(BadSignature | UnknownIssuer) => {
                        self.weak_authority(&chain, anchors)
                    }
                    _ => None,
                };
                let better = better.or_else(|| match &error {
                    Error::InvalidCertificate(BadSignature) => namesake(&chain),
                    _ => None,
                });
                return Err(better.map_or(error, Error::from));
            }
        }
        let key = sha256(&leaf.subject_public_key_info());
        if !pins.is_empty() && !pins.contains(&key) {
            return Err(Unacceptable::Pin(key).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
            .map_err(|error| self.name_weak_key(error, cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
            .map_err(|error| self.name_weak_key(error, cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A chain whose signatures do not verify, as when a CA was made anew under its old name.
fn namesake(chain: &[&CertificateDer<'_>]) -> Option<Unacceptable> {
    let (_, last) = X509Certificate::from_der(chain.last()?).ok()?;
    Some(Unacceptable::Namesake { issuer: last.issuer().to_string() })
}

/// Whether a certificate's keyUsage, if it has one, lets its key make the signature of a handshake.
fn may_sign(certificate: &CertificateDer<'_>) -> Result<bool, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let usage = parsed.key_usage().map_err(|_| CertificateError::BadEncoding)?;
    Ok(usage.is_none_or(|usage| usage.value.digital_signature()))
}

/// The size of a certificate's key, if that is RSA.
fn key_bits(certificate: &X509Certificate<'_>) -> Option<u32> {
    const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
    let key = certificate.public_key();
    let is_rsa = key.algorithm.algorithm.to_id_string() == RSA_ENCRYPTION;
    is_rsa.then(|| rsa_bits(&key.subject_public_key.data)).flatten()
}

pub(super) fn check_validity(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = |at: i64| u64::try_from(at).unwrap_or(0); // before 1970: certainly past
    let not_before = seconds(parsed.validity().not_before.timestamp());
    let not_after = seconds(parsed.validity().not_after.timestamp());
    let at = |secs| UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs));
    if now.as_secs() < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: at(not_before) });
    }
    if now.as_secs() > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after: at(not_after) });
    }
    Ok(())
}

pub(super) fn sha256(bytes: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
