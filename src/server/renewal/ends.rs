//! Certificates whose end is near, ours and those of backends, and what each end would take down.

use std::time::SystemTime;

use crate::certs::renewal::window;
use crate::certs::{Facts, Timestamp};
use crate::config::Plan;
use crate::config::plan::{CertificateRef, TrustRef};
use crate::server::deployment::Deployment;
use crate::server::rotation::{affected, through};

/// A certificate that ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Whose it is: its name, or `backend ENDPOINT of UPSTREAM`.
    pub certificate: String,
    /// When.
    pub not_after: Timestamp,
    /// When its time begins, if it has not.
    pub begins: Option<Timestamp>,
    /// Whole days until its end, rounded down; negative: it has ended.
    pub days_left: i64,
    /// The listeners and routes that depend on it, in words.
    pub affects: String,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let affects = &self.affects;
        match self.days_left {
            _ if self.begins.is_some() => {
                let begins = self.begins.map_or_else(String::new, |begins| begins.to_string());
                write!(f, "is valid only from {begins}; what depends on it: {affects}")
            }
            ..0 => write!(f, "has expired; what depends on it: {affects}"),
            days => write!(f, "ends in {days} days; what depends on it: {affects}"),
        }
    }
}

/// Those in use whose end is near: within `renew_before`, or the last third of a short validity.
pub(crate) fn endings(deployment: &Deployment) -> Vec<Ending> {
    let (current, now) = (deployment.current(), SystemTime::now());
    let plan = &current.plan;
    let before = plan.rotation.renew_before;
    let near = |not_before: i64, not_after: i64| {
        not_after - Timestamp::from(now).unix() <= window(before, not_before, not_after)
    };
    let mut found = Vec::new();
    for (named, cell) in &current.made.identities {
        let identity = cell.load();
        if near(identity.not_before(), identity.not_after()) {
            let not_after = Timestamp::from_unix(identity.not_after());
            found.push(Ending {
                certificate: identity.name().to_owned(),
                not_after,
                begins: None,
                days_left: not_after.days_from(now),
                affects: affected(plan, named).join("; "),
            });
        }
    }
    for (index, upstream) in current.running.upstreams.iter().enumerate() {
        for endpoint in &upstream.endpoints {
            let last = endpoint.state.tls.last();
            let chain = last.as_ref().as_ref().and_then(|last| last.facts.peer_certificates.as_deref());
            let leaf = chain.and_then(<[_]>::first).and_then(|der| Facts::from_der(der).ok());
            let Some(facts) = leaf.filter(|facts| near(facts.not_before.unix(), facts.not_after.unix()))
            else {
                continue;
            };
            found.push(Ending {
                certificate: format!("backend {} of {}", endpoint.label, upstream.name),
                not_after: facts.not_after,
                begins: None,
                days_left: facts.not_after.days_from(now),
                affects: through(plan, index),
            });
        }
    }
    for (named, place, affects) in trusted(plan) {
        for facts in current.made.trusted(named).iter().filter_map(|der| Facts::from_der(der).ok()) {
            let begins = Some(facts.not_before).filter(|begins| *begins > Timestamp::from(now));
            if begins.is_some() || near(facts.not_before.unix(), facts.not_after.unix()) {
                found.push(Ending {
                    certificate: format!("{} in the trust of {place}", facts.subject),
                    not_after: facts.not_after,
                    begins,
                    days_left: facts.not_after.days_from(now),
                    affects: affects.clone(),
                });
            }
        }
    }
    found
}

/// The entries of trust lists, except the system's, each with its place and what depends on it in words.
fn trusted(plan: &Plan) -> Vec<(&CertificateRef, String, String)> {
    let mut found = Vec::new();
    for (index, upstream) in plan.upstreams.iter().enumerate() {
        for at in upstream.tls.iter().flat_map(|tls| &tls.trust) {
            if let TrustRef::Certificate(named) = &at.value {
                let place = format!("upstream {}", upstream.name.value);
                found.push((named, place, through(plan, index)));
            }
        }
    }
    for listener in &plan.listeners {
        let clients = listener.tls.as_ref().and_then(|tls| tls.clients.as_ref());
        for at in clients.iter().flat_map(|clients| &clients.trust) {
            let place = format!("listener {}", listener.name.value);
            found.push((&at.value, place.clone(), place));
        }
    }
    found
}
