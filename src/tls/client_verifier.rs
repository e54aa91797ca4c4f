//! What a client's certificate is checked against.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::algorithms::verify_handshake_signatures;
use super::backend_verifier::{TrustAnchors, TrustError};
use super::chain::{Role, Trust};
use super::identity::note_chain;
use super::revocation::RevocationLists;

/// Whether a client needs a certificate. One that it presents must be valid in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Demand {
    /// It is requested, and may be missing.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// What a client's certificate must be for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientUsage {
    /// For clients, if it says what it is for (RFC 5280 §4.2.1.12).
    #[default]
    Client,
    /// For anything.
    Any,
}

/// Checks a client's certificate: by webpki against the authorities, or as one that is trusted itself.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    trust: Trust,
    /// What clients choose their certificate by.
    hints: Vec<DistinguishedName>,
    demand: Demand,
    usage: ClientUsage,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// `lists`: with any, each certificate of a chain must be covered by one that is not out of date, and not be revoked.
    ///
    /// # Errors
    /// Nothing is trusted, or there are lists and no authority.
    pub(crate) fn new(
        anchors: TrustAnchors,
        lists: Arc<RevocationLists>,
        (demand, usage): (Demand, ClientUsage),
    ) -> Result<Arc<Self>, TrustError> {
        let algorithms = default_provider().signature_verification_algorithms;
        let hints = anchors.hints();
        let trust = Trust::new(anchors, lists, algorithms)?;
        Ok(Arc::new(Self { trust, hints, demand, usage, algorithms }))
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
        note_chain(end_entity, intermediates);
        let role = match self.usage {
            ClientUsage::Client => Role::Client,
            ClientUsage::Any => Role::ClientOfAnyUsage,
        };
        self.trust.verify(end_entity, intermediates, role, now)?;
        Ok(ClientCertVerified::assertion())
    }

    verify_handshake_signatures!(|_: &Self, error, _: &CertificateDer<'_>| error);
}

/// Takes any certificate whose key the client has. Those that `trust` does not accept count for credentials alone, which
/// know them by their digest.
#[derive(Debug)]
pub(crate) struct AnyClient {
    trust: Option<Arc<ClientVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyClient {
    /// `trust`: what certificates are verified by; none is verified without it.
    pub(crate) fn new(trust: Option<Arc<ClientVerifier>>) -> Arc<Self> {
        let algorithms = default_provider().signature_verification_algorithms;
        Arc::new(Self { trust, algorithms })
    }

    /// Whether a chain, leaf first, is verified.
    pub(crate) fn trusts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let (Some(trust), [leaf, above @ ..]) = (&self.trust, chain) else { return false };
        trust.verify_client_cert(leaf, above, UnixTime::now()).is_ok()
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: clients choose among all of their certificates.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        note_chain(end_entity, intermediates);
        Ok(ClientCertVerified::assertion())
    }

    verify_handshake_signatures!(|_: &Self, error, _: &CertificateDer<'_>| error);
}
