//! The discovery thread: looks up what is due, and publishes other endpoints than before.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Discovered, Source, look_up};
use crate::io::fault;
use crate::server::Deployment;
use crate::server::file_watch::FileWatch;

/// How often it looks what is due, and at files.
const LOOK: Duration = Duration::from_millis(200);

/// Runs on a thread of its own for as long as the deployment lives.
///
/// # Panics
/// The thread's runtime can't be made.
pub(crate) fn run(deployment: &Weak<Deployment>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut watch = Watch::default();
    #[allow(clippy::expect_used)] // the process ends with the thread: `vital`
    runtime.expect("a runtime for lookups").block_on(async {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(deployment) = deployment.upgrade() else { return };
            fault::point("discovery");
            watch.look(&deployment).await;
        }
    });
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
struct Watch {
    known: BTreeMap<Source, Discovered>,
    running: JoinSet<(Source, Discovered)>,
    asked: HashSet<Source>,
    files: BTreeMap<Source, FileWatch>,
}

impl Watch {
    async fn look(&mut self, deployment: &Arc<Deployment>) {
        self.follow(deployment);
        self.begin(deployment);
        let mut found = Vec::new();
        while let Some(done) = self.running.try_join_next() {
            found.extend(done.ok());
        }
        for (source, discovered) in &found {
            self.asked.remove(source);
            self.note(source, discovered);
        }
        if found.is_empty() {
            return;
        }
        // One of these blocks until every worker has taken the endpoints up.
        let publisher = Arc::clone(deployment);
        let _ = tokio::task::spawn_blocking(move || publisher.discovered(found)).await;
    }

    /// Takes up the sources of the config that runs, and forgets others.
    fn follow(&mut self, deployment: &Deployment) {
        let current = deployment.current();
        let sources = &current.made.discovered;
        self.known.retain(|source, _| sources.contains_key(source));
        self.files.retain(|source, _| sources.contains_key(source));
        for (source, discovered) in sources {
            if !self.known.contains_key(source) {
                self.known.insert(source.clone(), discovered.clone());
            }
        }
    }

    /// Begins the lookups that are due.
    fn begin(&mut self, deployment: &Deployment) {
        let now = Instant::now();
        for (source, known) in &self.known {
            let is_due = known.due.is_some_and(|due| due <= now);
            let has_changed =
                source.file().is_some_and(|path| self.files.entry(source.clone()).or_default().settled(path));
            if (is_due || has_changed) && self.asked.insert(source.clone()) {
                let settings = deployment.plan().resolver.clone();
                self.running.spawn(look_up(settings, source.clone(), Some(known.clone())));
            }
        }
    }

    /// Says once what is wrong, and once that it is right again.
    fn note(&mut self, source: &Source, discovered: &Discovered) {
        let before = self.known.insert(source.clone(), discovered.clone());
        let was = before.and_then(|before| before.problem);
        let kept = match discovered.targets.len() {
            0 => "it has no endpoint".to_owned(),
            count => format!("its {count} endpoints are kept"),
        };
        match (&was, &discovered.problem) {
            (None, Some((_, why))) => {
                tracing::warn!(%source, "discovery: {why}; {kept}");
            }
            (Some((_, before)), Some((_, why))) if before != why => {
                tracing::warn!(%source, "discovery: {why}; {kept}");
            }
            (Some(_), None) => tracing::info!(%source, "discovery: the source is in order again"),
            _ => {}
        }
    }
}
