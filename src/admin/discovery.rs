//! What is known of the sources that endpoints name: for status, and as metrics.

use std::time::SystemTime;

use serde::Serialize;

use super::exposition::{Text, label};
use crate::certs::Timestamp;
use crate::config::plan;
use crate::server::Deployment;
use crate::server::discovery::{Discovered, Source};

/// One source of an upstream.
#[derive(Serialize)]
pub(super) struct Discovery {
    /// As the config names it.
    source: String,
    /// Endpoints that it has now.
    endpoints: usize,
    /// When they were found, or found again.
    refreshed: Option<Timestamp>,
    /// For how long that holds; none: until the file changes.
    ttl_seconds: Option<u64>,
    lookups: u64,
    failures: u64,
    /// When and why the last lookup failed, if it did: what was found before is kept.
    problem: Option<Problem>,
}

#[derive(Serialize)]
struct Problem {
    at: Timestamp,
    reason: String,
}

impl Discovery {
    /// The sources that an upstream names.
    pub(super) fn all(planned: &plan::Upstream, known: &[(Source, Discovered)]) -> Vec<Self> {
        let named = planned.endpoints.iter().filter_map(|at| Source::of(&at.address));
        let named = named.filter_map(|source| known.iter().find(|(known, _)| *known == source));
        named.map(|(source, discovered)| Self::of(source, discovered)).collect()
    }

    fn of(source: &Source, discovered: &Discovered) -> Self {
        let problem = discovered.problem.as_ref();
        Self {
            source: source.to_string(),
            endpoints: discovered.targets.len(),
            refreshed: discovered.refreshed.map(Into::into),
            ttl_seconds: discovered.ttl.map(|ttl| ttl.as_secs()),
            lookups: discovered.lookups,
            failures: discovered.failures,
            problem: problem.map(|(at, reason)| Problem { at: (*at).into(), reason: reason.clone() }),
        }
    }
}

/// Adds the metrics that have a source.
#[allow(clippy::cast_precision_loss)] // counts beyond 2^53 lose their last digits, as in Prometheus itself
pub(super) fn metrics(deployment: &Deployment, text: &mut Text) {
    let sources = deployment.sources();
    let mut family = |kind: &str, name: &str, help: &str, value: &dyn Fn(&Discovered) -> Option<f64>| {
        let sample = |(source, discovered): &(Source, Discovered)| {
            Some((label("source", &source.to_string()), value(discovered)?))
        };
        text.family(kind, name, help, sources.iter().filter_map(sample));
    };
    let help = "Endpoints that a source has now.";
    family("gauge", "discovery_endpoints", help, &|it| Some(it.targets.len() as f64));
    let help = "Lookups of a source.";
    family("counter", "discovery_lookups_total", help, &|it| Some(it.lookups as f64));
    let help = "Lookups of a source that failed, or found nothing.";
    family("counter", "discovery_failures_total", help, &|it| Some(it.failures as f64));
    let help = "Whether the last lookup of a source failed: 1 while older endpoints are kept.";
    family("gauge", "discovery_stale", help, &|it| Some(f64::from(u8::from(it.problem.is_some()))));
    let help = "When a source's endpoints were found last, in seconds since 1970.";
    family("gauge", "discovery_refreshed_timestamp_seconds", help, &|it| {
        Some(it.refreshed?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64())
    });
}
