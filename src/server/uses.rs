//! What uses a certificate of the store, by the plan.

use crate::certs::command::{Role, Use};
use crate::config::plan::{At, CertificateRef, Plan, TrustRef};

/// The places in the plan that name the certificate `name` of the store.
pub(crate) fn of(plan: &Plan, name: &str) -> Vec<Use> {
    let is_it = |at: &At<CertificateRef>| at.value == CertificateRef::Store(name.to_owned());
    let trusts_it =
        |at: &At<TrustRef>| at.value == TrustRef::Certificate(CertificateRef::Store(name.to_owned()));
    let mut found = Vec::new();
    let mut add = |used: bool, by: String, role| {
        if used {
            found.push(Use { by, role });
        }
    };
    for listener in &plan.listeners {
        let by = format!("listener {:?}", listener.name.value);
        if let Some(tls) = &listener.tls {
            add(tls.certificates.iter().any(is_it), by.clone(), Role::Server);
            let trust = tls.clients.iter().flat_map(|clients| &clients.trust);
            add(trust.into_iter().any(is_it), by, Role::Trust);
        }
    }
    for upstream in &plan.upstreams {
        let by = match &upstream.environment {
            None => format!("upstream {:?}", upstream.name.value),
            Some(environment) => {
                format!("environment {:?} of upstream {:?}", environment.value, upstream.base_name())
            }
        };
        if let Some(tls) = &upstream.tls {
            add(tls.certificate.as_ref().is_some_and(is_it), by.clone(), Role::Client);
            add(tls.trust.iter().any(trusts_it), by, Role::Trust);
        }
    }
    found
}
