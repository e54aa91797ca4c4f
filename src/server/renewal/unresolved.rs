//! Names of endpoints that did not resolve are looked up again, on a thread of their own: a name server that is silent
//! must not hold up the renewal of certificates.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::build::endpoints::{resolve_all, system};
use crate::server::deployment::Deployment;

/// How long after an attempt the next one is made.
const AGAIN: Duration = Duration::from_secs(10);

/// The attempts to resolve them.
#[derive(Debug, Default)]
pub(super) struct Unresolved {
    begun: Option<Instant>,
    asking: Option<JoinHandle<()>>,
}

impl Unresolved {
    pub(super) fn look(&mut self, deployment: &Arc<Deployment>) {
        if self.asking.as_ref().is_some_and(|asking| !asking.is_finished()) {
            return;
        }
        let names = deployment.unresolved();
        if names.is_empty() {
            self.begun = None;
            return;
        }
        if self.begun.get_or_insert_with(Instant::now).elapsed() < AGAIN {
            return;
        }
        self.begun = Some(Instant::now());
        let deployment = Arc::downgrade(deployment);
        let ask = move || {
            let asked: Vec<&str> = names.iter().map(String::as_str).collect();
            let answers = resolve_all(&asked, &system);
            let found = names.iter().cloned().zip(answers);
            let found: HashMap<_, _> =
                found.filter_map(|(name, answer)| Some((name, answer.ok()?))).collect();
            if let Some(deployment) = deployment.upgrade().filter(|_| !found.is_empty()) {
                deployment.resolved(&found);
            }
        };
        self.asking = std::thread::Builder::new().name("resolver".to_owned()).spawn(ask).ok();
    }
}
