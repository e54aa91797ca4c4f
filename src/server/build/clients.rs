//! What a listener's clients are checked by.

use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;

use super::Builder;
use super::Clients;
use crate::config::plan::{self, At};
use crate::tls::{AnyClient, ClientVerifier, Demand, TrustAnchors, TrustError};

impl Builder<'_> {
    /// How clients' certificates are taken. Where credentials have certificates, any is taken unless `client_auth` is
    /// `"required"`.
    pub(super) fn clients(&mut self, name: &At<String>, tls: &plan::ListenerTls) -> Option<Clients> {
        let auth = tls.clients.as_ref().filter(|auth| !auth.trust.is_empty());
        let known = auth.map(|auth| self.client_verifier(name, auth));
        // An error is `None` here, as everywhere.
        let known = match known {
            Some(verifier) => Some(verifier?),
            None => None,
        };
        let is_required = auth.is_some_and(|auth| *auth.required);
        if !tls.credentials || is_required {
            let verifier = known.map(|known| known as Arc<dyn ClientCertVerifier>);
            return Some(Clients { verifier, any: None });
        }
        let any = AnyClient::new(known);
        Some(Clients { verifier: Some(Arc::clone(&any) as Arc<dyn ClientCertVerifier>), any: Some(any) })
    }

    /// The place of `name` is blamed where the parts are right and their sum is not.
    ///
    /// What is read is noted: tickets of a listener end with what their clients were checked against.
    fn client_verifier(&mut self, name: &At<String>, auth: &plan::ClientAuth) -> Option<Arc<ClientVerifier>> {
        let demand = if *auth.required { Demand::Required } else { Demand::Optional };
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
        let verifier = ClientVerifier::new(anchors, lists, (demand, auth.usage));
        let of_a_list = matches!(verifier, Err(TrustError::RevocationWithoutAuthority));
        let span = auth.crl.first().filter(|_| of_a_list).map_or(span, |at| &at.span);
        self.good(span, verifier)
    }
}
