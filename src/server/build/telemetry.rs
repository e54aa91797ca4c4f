//! How the collector of traces is checked.

use std::sync::Arc;

use rustls::ClientConfig;

use super::Builder;
use crate::tls::{self, BackendVerifier, ClientPolicy, RevocationLists, RsaBits, Versions};

impl Builder<'_> {
    /// `Some(None)`: there is no collector, or it is reached without TLS. What runs keeps what it has.
    pub(super) fn collector_tls(&mut self) -> Option<Option<Arc<ClientConfig>>> {
        let Some(otlp) = self.plan.otlp.as_ref().filter(|otlp| otlp.endpoint.value.https) else {
            return Some(None);
        };
        if let Some(previous) = self.previous.filter(|previous| previous.plan.otlp == self.plan.otlp) {
            return Some(previous.running.collector_tls.clone());
        }
        let anchors = self.anchors(&otlp.trust)?;
        let span = &otlp.endpoint.span;
        let verifier =
            BackendVerifier::with_lists(anchors, Arc::<RevocationLists>::default(), [], RsaBits::default());
        let verifier = self.good(span, verifier)?;
        let alpn = vec![b"http/1.1".to_vec()];
        let policy =
            ClientPolicy { versions: Versions::default(), cipher_suites: None, groups: None, verifier, alpn };
        self.good(span, tls::client_config(&policy)).map(Some)
    }
}
