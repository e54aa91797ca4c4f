//! What a backend's certificate is checked against.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

pub(super) type Sha256 = [u8; 32];

/// Certificates that a peer's chain may end in, or that a peer may present itself.
#[derive(Clone, Debug)]
pub struct TrustAnchors {
    authorities: RootCertStore,
    /// The subjects of all, which clients choose their certificate by.
    subjects: Vec<DistinguishedName>,
    /// Everything that was added, by digest: a server may present exactly one of these, as a self-signed one does.
    exact: HashSet<Sha256>,
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
        Self { authorities: RootCertStore::empty(), subjects: Vec::new(), exact: HashSet::new() }
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

/// The public keys that a backend may have, besides being trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PinMismatch(Sha256);

impl fmt::Display for PinMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its public key is not among the pinned ones (SHA-256 ")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl std::error::Error for PinMismatch {}

/// Checks a backend's certificate: by webpki against the authorities, or as one that is trusted itself.
///
/// A certificate that is trusted itself is accepted where webpki knows no issuer for it, or finds that it is
/// an authority's (as `openssl req -x509` makes them), if the name and the time are right.
#[derive(Debug)]
pub struct BackendVerifier {
    /// None where no authority is trusted.
    chains: Option<Arc<WebPkiServerVerifier>>,
    exact: HashSet<Sha256>,
    pins: HashSet<Sha256>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl BackendVerifier {
    /// `crls`: with any, each certificate of a chain must be covered by one and not be revoked.
    /// `pins`: SHA-256 of the subject public key info; with any, the leaf's must be among them.
    pub fn new(
        anchors: TrustAnchors,
        crls: Vec<CertificateRevocationListDer<'static>>,
        pins: impl IntoIterator<Item = [u8; 32]>,
    ) -> Result<Arc<Self>, TrustError> {
        if anchors.is_empty() {
            return Err(TrustError::Empty);
        }
        let provider = Arc::new(default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let chains = if !anchors.authorities.is_empty() {
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(anchors.authorities), provider);
            let built = builder.with_crls(crls).build().map_err(|error| match error {
                VerifierBuilderError::NoRootAnchors => TrustError::Empty,
                other => TrustError::BadRevocationList(other.to_string()),
            });
            Some(built?)
        } else if crls.is_empty() {
            None
        } else {
            return Err(TrustError::RevocationWithoutAuthority);
        };
        let pins = pins.into_iter().collect();
        Ok(Arc::new(Self { chains, exact: anchors.exact, pins, algorithms }))
    }

    fn check_pin(&self, leaf: &ParsedCertificate<'_>) -> Result<(), Error> {
        let key = sha256(&leaf.subject_public_key_info());
        if self.pins.is_empty() || self.pins.contains(&key) {
            return Ok(());
        }
        Err(CertificateError::Other(OtherError(Arc::new(PinMismatch(key)))).into())
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
        let by_chain = match &self.chains {
            Some(chains) => {
                chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let leaf = ParsedCertificate::try_from(end_entity)?;
        match by_chain {
            Ok(_) => {}
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if self.exact.contains(&sha256(end_entity)) =>
            {
                check_validity(end_entity, now)?;
                verify_server_name(&leaf, server_name)?;
            }
            Err(error) => return Err(error),
        }
        self.check_pin(&leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
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
