//! What a client's certificate is checked against.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::trust::{TrustAnchors, TrustError, check_validity, sha256};

/// Whether a client may come without a certificate. One that it presents must hold in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// It is asked, and may have none.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// Checks a client's certificate: by webpki against the authorities, or as one that is trusted itself.
#[derive(Debug)]
pub struct ClientVerifier {
    /// None where no authority is trusted.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    exact: HashSet<[u8; 32]>,
    /// What clients choose their certificate by.
    hints: Vec<DistinguishedName>,
    demand: Demand,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// `crls`: with any, each certificate of a chain must be covered by one that is not out of date, and not be revoked.
    ///
    /// # Errors
    /// Nothing is trusted, or a revocation list can't be used.
    pub fn new(
        anchors: TrustAnchors,
        crls: Vec<CertificateRevocationListDer<'static>>,
        demand: Demand,
    ) -> Result<Arc<Self>, TrustError> {
        if anchors.is_empty() {
            return Err(TrustError::Empty);
        }
        let provider = Arc::new(default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let (authorities, exact, hints) = anchors.into_parts();
        let chains = if authorities.is_empty() {
            if !crls.is_empty() {
                return Err(TrustError::RevocationWithoutAuthority);
            }
            None
        } else {
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            let built = builder.with_crls(crls).enforce_revocation_expiration().build();
            let built = built.map_err(|error| match error {
                VerifierBuilderError::NoRootAnchors => TrustError::Empty,
                other => TrustError::BadRevocationList(other.to_string()),
            });
            Some(built?)
        };
        Ok(Arc::new(Self { chains, exact, hints, demand, algorithms }))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.demand == Demand::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let by_chain = match &self.chains {
            Some(chains) => chains.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match by_chain {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if self.exact.contains(&sha256(end_entity)) =>
            {
                check_validity(end_entity, now)?;
                Ok(ClientCertVerified::assertion())
            }
            verdict => verdict,
        }
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
