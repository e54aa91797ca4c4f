//! What a listener's clients are checked by.

use std::ops::Range;
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;

use super::Builder;
use crate::certs::store::load_trust;
use crate::config::plan::{self, CertificateRef};
use crate::tls::{ClientVerifier, Demand, TrustAnchors, TrustError};

impl Builder<'_> {
    /// `Some(None)`: clients are not asked. `span` is blamed where the parts are right and their sum is not.
    ///
    /// What is read is noted: tickets of a listener end with what their clients were checked against.
    #[allow(clippy::option_option)] // an error is `None` here, as everywhere
    pub(super) fn client_verifier(
        &mut self,
        span: &Range<usize>,
        auth: Option<&plan::ClientAuth>,
    ) -> Option<Option<Arc<dyn ClientCertVerifier>>> {
        let Some(auth) = auth else { return Some(None) };
        let demand = if auth.required { Demand::Required } else { Demand::Optional };
        let mut trust = Vec::new();
        for at in &auth.trust {
            match &at.value {
                CertificateRef::File(path) => trust.extend(self.good(&at.span, load_trust(path))?),
                _ => trust.extend(self.bundle(at)?.chain().to_vec()),
            }
        }
        let mut crls = Vec::new();
        for at in &auth.crl {
            crls.extend(self.revocation_lists(at)?);
        }
        trust.iter().for_each(|certificate| self.note(certificate));
        let span = auth.trust.first().map_or(span, |at| &at.span);
        let mut whole = true;
        for certificate in &trust {
            whole &= self.concern(span, certificate);
        }
        let anchors = self.good(span, TrustAnchors::build(trust))?;
        if !whole {
            return None;
        }
        if !anchors.hints_fit() && !self.refreshes {
            self.problems.warning(
                span.clone(),
                format!("the names of these {} certificates do not fit into a TLS message", anchors.len()),
                Some(
                    "clients get no names to choose a certificate by: name only the CAs that issue it"
                        .to_owned(),
                ),
            );
        }
        let verifier = ClientVerifier::new(anchors, crls, demand);
        let of_a_list = matches!(
            verifier,
            Err(TrustError::BadRevocationList(_) | TrustError::RevocationWithoutAuthority)
        );
        let span = auth.crl.first().filter(|_| of_a_list).map_or(span, |at| &at.span);
        Some(Some(self.good(span, verifier)?))
    }
}
