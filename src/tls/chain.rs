//! The verdict on a peer's certificate, the same for backends and clients.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, ExtendedKeyPurpose, OtherError};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, VerifiedPath};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::backend_verifier::{TrustAnchors, TrustError, Unacceptable, check_validity, sha256};
use super::certificate_facts::signs_lists;
use super::revocation::{Issuer, RevocationLists};

/// What a peer presents its certificate as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
    /// A client's, whatever its extended key usage is.
    ClientOfAnyUsage,
}

/// The extended key usage that a chain must have, if it has any (RFC 5280 §4.2.1.12).
struct WantedUsage(Option<KeyUsage>);

impl ExtendedKeyUsageValidator for WantedUsage {
    fn validate(&self, mut present: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match &self.0 {
            Some(wanted) => wanted.validate(present),
            None => present.try_for_each(|usage| usage.map(|_| ())),
        }
    }
}

/// What a certificate is accepted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vouched {
    /// It is trusted itself.
    Itself,
    /// A trusted authority issued it, or one below such an authority.
    Authority,
}

/// Trust anchors with the revocation lists that apply to what they issued.
#[derive(Debug)]
pub(super) struct Trust {
    anchors: TrustAnchors,
    lists: Arc<RevocationLists>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// With any of `lists`, each certificate of a chain must be covered by one in its time.
    ///
    /// # Errors
    /// Nothing is trusted, or there are lists and no authority.
    pub(super) fn new(
        anchors: TrustAnchors,
        lists: Arc<RevocationLists>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, TrustError> {
        if anchors.is_empty() {
            return Err(TrustError::Empty);
        }
        if !lists.is_empty() && anchors.authorities().is_empty() {
            return Err(TrustError::RevocationWithoutAuthority);
        }
        Ok(Self { anchors, lists, algorithms })
    }

    pub(super) fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// Everything but the name. A certificate that is trusted itself is judged by its own time alone, and by lists that
    /// revoke it: an authority beside it in the trust list takes nothing from it.
    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<Vouched, Error> {
        if self.anchors.is_exact(&sha256(end_entity)) {
            check_validity(end_entity, now)?;
            self.check_exact(end_entity, now)?;
            return Ok(Vouched::Itself);
        }
        let usage = WantedUsage(match role {
            Role::Server => Some(KeyUsage::server_auth()),
            Role::Client => Some(KeyUsage::client_auth()),
            Role::ClientOfAnyUsage => None,
        });
        let refusal: RefCell<Option<Error>> = RefCell::new(None);
        let check = |path: &VerifiedPath<'_>| {
            self.check_path(path, now).map_err(|error| {
                refusal.borrow_mut().get_or_insert(error);
                webpki::Error::UnknownIssuer
            })
        };
        let explained = |error| {
            let why = super::explain::explain(&error, end_entity, intermediates, &self.anchors);
            why.map_or_else(|| in_words(error, role), Error::from)
        };
        let leaf = EndEntityCert::try_from(end_entity).map_err(explained)?;
        let roots = self.anchors.authorities();
        match leaf.verify_for_usage(self.algorithms.all, roots, intermediates, now, usage, None, Some(&check))
        {
            Ok(_) => Ok(Vouched::Authority),
            Err(error) => Err(refusal.take().unwrap_or_else(|| explained(error))),
        }
    }

    /// Refuses a certificate that is trusted itself if a list of a trusted issuer revokes it.
    fn check_exact(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        if self.lists.is_empty() {
            return Ok(());
        }
        let parsed = parse(certificate)?;
        for known in self.anchors.facts().filter(|known| known.subject == parsed.issuer().as_raw()) {
            let issuer = Issuer { spki: &known.spki, signs_lists: known.signs_lists };
            let verdict = self.lists.check(&parsed, issuer, &self.algorithms, now);
            if matches!(verdict, Err(Error::InvalidCertificate(CertificateError::Revoked))) {
                return verdict;
            }
        }
        Ok(())
    }

    /// What webpki does not check: the anchor's own time and extensions, and the revocation lists.
    fn check_path(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), Error> {
        let anchor = path.anchor();
        let known = self.anchors.vouching(&anchor.subject, &anchor.subject_public_key_info, now)?;
        if self.lists.is_empty() {
            return Ok(());
        }
        let (mut spki, mut signs) = (known.spki.clone(), known.signs_lists);
        let below = path.intermediate_certificates().rev().map(|certificate| certificate.der());
        for certificate in below.chain([path.end_entity().der()]) {
            let parsed = parse(&certificate)?;
            let issuer = Issuer { spki: &spki, signs_lists: signs };
            self.lists.check(&parsed, issuer, &self.algorithms, now)?;
            spki = parsed.public_key().raw.to_vec();
            signs = signs_lists(&parsed);
        }
        Ok(())
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    let parsed = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(parsed.1)
}

/// Webpki's verdict in rustls's terms.
fn in_words(error: webpki::Error, role: Role) -> Error {
    use CertificateError as C;
    use webpki::Error as E;
    let refused: CertificateError = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => C::BadEncoding,
        E::CertNotValidYet { time, not_before } => C::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => C::ExpiredContext { time, not_after },
        E::InvalidCertValidity => C::Expired,
        E::UnknownIssuer => C::UnknownIssuer,
        E::InvalidSignatureForPublicKey => C::BadSignature,
        E::UnsupportedSignatureAlgorithmContext(context) => C::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: context.signature_algorithm_id,
            supported_algorithms: context.supported_algorithms,
        },
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            C::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: context.signature_algorithm_id,
                public_key_algorithm_id: context.public_key_algorithm_id,
            }
        }
        E::RequiredEkuNotFoundContext(_) => C::InvalidPurposeContext {
            required: match role {
                Role::Server => ExtendedKeyPurpose::ServerAuth,
                Role::Client | Role::ClientOfAnyUsage => ExtendedKeyPurpose::ClientAuth,
            },
            presented: Vec::new(),
        },
        E::UnsupportedCertVersion => return Unacceptable::Version.into(),
        E::UnsupportedCriticalExtension => {
            let extension = "of an unknown kind".to_owned();
            return Unacceptable::CriticalExtension { extension, authority: None }.into();
        }
        other => C::Other(OtherError(Arc::new(other))),
    };
    refused.into()
}
