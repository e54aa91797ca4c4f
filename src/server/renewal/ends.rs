//! Certificates whose end is near, ours and those of backends, and what each end would take down.

use std::time::SystemTime;

use crate::certs::renewal::window;
use crate::certs::{Facts, Timestamp};
use crate::server::deployment::Deployment;
use crate::server::rotation::{affected, through};

/// A certificate that ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Whose it is: its name, or `backend ENDPOINT of UPSTREAM`.
    pub certificate: String,
    /// When.
    pub not_after: Timestamp,
    /// Whole days until then, rounded down; negative: it has ended.
    pub days_left: i64,
    /// The listeners and routes that depend on it, in words.
    pub affects: String,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let affects = &self.affects;
        match self.days_left {
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
                days_left: not_after.days_from(now),
                affects: affected(plan, named).join("; "),
            });
        }
    }
    for (index, upstream) in current.running.upstreams.iter().enumerate() {
        for endpoint in &upstream.endpoints {
            let last = endpoint.tls.last();
            let chain = last.as_ref().as_ref().and_then(|last| last.facts.peer_certificates.as_deref());
            let leaf = chain.and_then(<[_]>::first).and_then(|der| Facts::from_der(der).ok());
            let Some(facts) = leaf.filter(|facts| near(facts.not_before.unix(), facts.not_after.unix()))
            else {
                continue;
            };
            found.push(Ending {
                certificate: format!("backend {} of {}", endpoint.label, upstream.name),
                not_after: facts.not_after,
                days_left: facts.not_after.days_from(now),
                affects: through(plan, index),
            });
        }
    }
    found
}
