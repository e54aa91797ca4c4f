//! Consumers and credentials, made ready for the data path.

use std::sync::Arc;

use super::Builder;
use crate::certs::CaMaterial;
use crate::config::plan;
use crate::proxy::rules::{Accepted, CredentialRule};
use crate::server::consumers::Consumers;

impl Builder<'_> {
    /// The consumers of the store: those that run already, if it is the same store. CAs that definitions name are checked.
    pub(super) fn consumers(&mut self) -> Arc<Consumers> {
        let plan = self.plan;
        if !self.refreshes {
            for definition in &plan.credentials {
                let Some(issuer) = &definition.issuer else { continue };
                let stored = self.store(&definition.span).and_then(|store| store.get(issuer));
                if let Some(stored) = self.good(&definition.span, stored) {
                    self.good(&definition.span, CaMaterial::from_bundle(&stored.bundle));
                }
            }
        }
        let running = self.previous.filter(|previous| previous.plan.store == plan.store);
        self.consumers = match running {
            Some(previous) => {
                // The store has the truth, whether this config is taken or not.
                if !self.refreshes {
                    previous.made.consumers.reread();
                }
                Arc::clone(&previous.made.consumers)
            }
            None => {
                let loaded = Consumers::load(&plan.store);
                // What nothing uses is no reason not to start.
                let span = plan.credentials.first().map_or(0..0, |at| at.span.clone());
                match loaded {
                    Ok(consumers) => {
                        for broken in consumers.broken() {
                            let title = format!("a consumer or credential can't be read: {broken}");
                            let help = "it does not count until the file is right, or deleted".to_owned();
                            self.problems.warning(span.clone(), title, Some(help));
                        }
                        Arc::new(consumers)
                    }
                    Err(error) => {
                        if !plan.credentials.is_empty() {
                            self.wrong(&span, error.to_string(), None);
                        }
                        Arc::default()
                    }
                }
            }
        };
        Arc::clone(&self.consumers)
    }

    /// Which credentials a route accepts, if it asks for any.
    pub(super) fn credential_rule(&self, route: &plan::Route) -> Option<CredentialRule> {
        let named = &route.rules.credentials;
        let definitions =
            self.plan.credentials.iter().filter(|it| named.iter().any(|at| at.value == it.name));
        let accepted = definitions.map(|it| Accepted {
            definition: it.name.clone(),
            api_key: it.api_key,
            mtls: it.mtls,
            origins: it.javascript_origins,
        });
        let rule = || CredentialRule { index: self.consumers.index(), accepted: accepted.collect() };
        (!named.is_empty()).then(rule)
    }
}
