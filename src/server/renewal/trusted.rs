//! Files that peers are checked against: certificates in `trust` and `client_trust`, revocation lists.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{AGAIN, Stamp, files_of, stamp_of};
use crate::certs::store::trust_files;
use crate::config::Plan;
use crate::config::plan::TrustRef;
use crate::server::deployment::Deployment;

/// Their state between two checks.
#[derive(Debug, Default)]
pub(super) struct Trusted {
    files: HashMap<PathBuf, Seen>,
    /// A file was invalid: when all are read again, changed or not.
    again: Option<Instant>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of the last check.
    last: Stamp,
    /// What was read.
    done: Stamp,
}

impl Trusted {
    /// Has changed files read once they have settled. One that is not there for a moment is in the midst of being
    /// replaced; one that stays away has been deleted.
    pub(super) fn look(&mut self, deployment: &Deployment) {
        let plan = deployment.plan();
        let mut changed = false;
        for path in files(&plan) {
            let inside = trust_files(path).unwrap_or_default();
            let stamp: Stamp =
                [path].into_iter().chain(inside.iter().map(|file| &**file)).map(stamp_of).collect();
            let seen = self.files.entry(path.to_owned()).or_default();
            let settled = std::mem::replace(&mut seen.last, stamp.clone()) == stamp;
            if settled && seen.done != stamp {
                seen.done = stamp;
                changed = true;
            }
        }
        if changed || self.again.is_some_and(|again| Instant::now() >= again) {
            self.again = (!deployment.refresh()).then(|| Instant::now() + AGAIN);
        }
    }
}

fn files(plan: &Plan) -> Vec<&Path> {
    let upstreams = plan.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref()).flat_map(|tls| {
        let trust = tls.trust.iter().filter_map(|at| match &at.value {
            TrustRef::System => None,
            TrustRef::Certificate(named) => Some(files_of(named)),
        });
        trust.flatten().chain(tls.crl.iter().map(|at| &*at.value))
    });
    let clients = plan.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.clients.as_ref());
    let listeners = clients.flat_map(|clients| {
        let trust = clients.trust.iter().flat_map(|at| files_of(&at.value));
        trust.chain(clients.crl.iter().map(|at| &*at.value))
    });
    upstreams.chain(listeners).collect()
}
