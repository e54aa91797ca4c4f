//! What a listener's clients are checked by.

use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;

use super::Builder;
use crate::config::plan::{self, At};
use crate::tls::{ClientVerifier, Demand, TrustAnchors, TrustError};

impl Builder<'_> {
    /// `Some(None)`: clients are not asked. The place of `name` is blamed where the parts are right and their sum is not.
    ///
    /// What is read is noted: tickets of a listener end with what their clients were checked against.
    #[allow(clippy::option_option)] // an error is `None` here, as everywhere
    pub(super) fn client_verifier(
        &mut self,
        name: &At<String>,
        auth: Option<&plan::ClientAuth>,
    ) -> Option<Option<Arc<dyn ClientCertVerifier>>> {
        let Some(auth) = auth else { return Some(None) };
        let demand = if auth.required { Demand::Required } else { Demand::Optional };
        let mut trust = Vec::new();
        for at in &auth.trust {
            trust.extend(self.trusted(&at.value, &at.span)?);
        }
        trust.iter().for_each(|certificate| self.note(certificate));
        let span = auth.trust.first().map_or(&name.span, |at| &at.span);
        let anchors = self.good(span, TrustAnchors::build(trust))?;
        let lists = self.lists(&format!("listener {}", name.value), &auth.crl, &anchors)?;
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
        let verifier = ClientVerifier::new(anchors, lists, demand);
        let of_a_list = matches!(verifier, Err(TrustError::RevocationWithoutAuthority));
        let span = auth.crl.first().filter(|_| of_a_list).map_or(span, |at| &at.span);
        Some(Some(self.good(span, verifier)?))
    }
}
