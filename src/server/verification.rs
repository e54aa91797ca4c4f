//! Whether the backends of each upstream with TLS are verified, also where no traffic has found out: a handshake with each endpoint
//! shortly after a load, after a change of the upstream's TLS, and once a day.
//!
//! ```text
//! every turn   endpoints that are new, or whose TLS is ─► a moment later, if no traffic made a handshake: one of our own
//!              verified ─► again in a day          not verified ─► again in half a minute, ever more rarely
//! ```
//!
//! What is known of an endpoint is kept for as long as its address and its TLS stay, whatever else changes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::deployment::Deployment;
use super::probe::{Report, Target, probe_all};
use super::trust_trial::is_verified;
use crate::certs::Facts;
use crate::proxy::upstream::backend_tls::UpstreamTls;
use crate::proxy::upstream::config::{Endpoint, Upstream};

/// How often it is looked whether a handshake is due.
const TURN: Duration = Duration::from_millis(200);
/// How long traffic has to make the first handshake: after the start, and later.
const FIRST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(200));
/// When a backend that is verified is looked at again.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// When one that is not is: at first, and at most.
const FAILED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));
/// Handshakes at a time.
const AT_ONCE: usize = 16;

/// What is known, by the endpoint's id.
#[derive(Debug, Default)]
pub(crate) struct Verifications(Mutex<HashMap<u64, Known>>);

#[derive(Debug)]
struct Known {
    tls: Arc<UpstreamTls>,
    /// Since when the endpoint has this TLS.
    since: SystemTime,
    due: Instant,
    wait: Duration,
    probed: Option<(SystemTime, Report)>,
}

/// What was found last of one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// When.
    pub(crate) at: SystemTime,
    /// `"probe"` or `"traffic"`.
    pub(crate) by: &'static str,
    /// Why it is not verified; none: it is, unless `insecure_skip_verify` is set.
    pub(crate) fault: Option<String>,
    /// The certificate that it presented.
    pub(crate) leaf: Option<Facts>,
}

/// Runs on a thread of its own for as long as the deployment lives.
pub(crate) fn run(deployment: &Weak<Deployment>) {
    let begun = Instant::now();
    loop {
        let Some(deployment) = deployment.upgrade() else { return };
        let current = deployment.current();
        let plan = &current.plan;
        let upstreams = current.running.upstreams.iter().enumerate();
        let spoken = upstreams.filter(|(index, _)| !plan.speaks_udp(*index)).map(|(_, upstream)| upstream);
        let first = if begun.elapsed() < FIRST.0 { FIRST.0 } else { FIRST.1 };
        let due = deployment.verifications.due(spoken, first);
        let (ids, targets): (Vec<u64>, Vec<Target>) = due.into_iter().unzip();
        if !targets.is_empty() {
            let reports = probe_all(&targets);
            deployment.verifications.note(ids.into_iter().zip(reports));
        }
        drop((current, deployment));
        std::thread::sleep(TURN);
    }
}

impl Verifications {
    /// The endpoints with which a handshake is to be made now.
    fn due<'a>(
        &self,
        upstreams: impl Iterator<Item = &'a Arc<Upstream>>,
        first: Duration,
    ) -> Vec<(u64, Target)> {
        let mut all = self.all();
        let (mut present, mut due) = (Vec::new(), Vec::new());
        let now = Instant::now();
        for upstream in upstreams {
            let Some(tls) = &upstream.tls else { continue };
            for endpoint in upstream.endpoints.iter().filter(|endpoint| endpoint.address.is_some()) {
                let id = endpoint.state.id();
                present.push(id);
                let fresh = || Known {
                    tls: Arc::clone(tls),
                    since: SystemTime::now(),
                    due: now + first,
                    wait: FAILED.0,
                    probed: None,
                };
                let known = all.entry(id).or_insert_with(fresh);
                if !Arc::ptr_eq(&known.tls, tls) {
                    *known = fresh();
                }
                if known.due > now || due.len() >= AT_ONCE {
                    continue;
                }
                known.due = now + jittered(AGAIN, id);
                let is_seen =
                    endpoint.state.tls.last().as_ref().as_ref().is_some_and(|last| last.at >= known.since);
                // Later ones are made in any case: a session that is resumed presents no certificate.
                if known.probed.is_some() || !is_seen {
                    due.push((id, target(upstream, endpoint)));
                }
            }
        }
        all.retain(|id, _| present.contains(id));
        due
    }

    fn note(&self, found: impl Iterator<Item = (u64, Report)>) {
        let (mut all, now) = (self.all(), Instant::now());
        for (id, report) in found {
            let Some(known) = all.get_mut(&id) else { continue };
            let (upstream, endpoint) = (&report.upstream, report.label());
            let was_verified = known.probed.as_ref().map(|(_, report)| is_verified(report));
            if is_verified(&report) {
                known.wait = FAILED.0;
                if was_verified == Some(false) {
                    tracing::info!(upstream, endpoint, "the backend is verified now");
                }
            } else {
                known.due = now + jittered(known.wait, id);
                known.wait = (known.wait * 2).min(FAILED.1);
                if was_verified != Some(false) {
                    let why = report.problem.as_deref().unwrap_or("no reason is known");
                    tracing::warn!(upstream, endpoint, "the backend is not verified: {why}");
                }
            }
            known.probed = Some((SystemTime::now(), report));
        }
    }

    /// What was found last of an endpoint, by a probe or by traffic. `None`: nothing yet.
    pub(crate) fn of(&self, endpoint: &Endpoint) -> Option<Verified> {
        let all = self.all();
        let known = all.get(&endpoint.state.id())?;
        let leaf = |chain: &[rustls::pki_types::CertificateDer<'_>]| Facts::from_der(chain.first()?).ok();
        let (last, failure) = (endpoint.state.tls.last(), endpoint.state.tls.failure());
        let made = last.as_ref().as_ref().map(|last| Verified {
            at: last.at,
            by: "traffic",
            fault: None,
            leaf: leaf(last.facts.peer_certificates.as_deref().unwrap_or_default()),
        });
        // What the backend thinks of us is no part of it.
        let ours = failure.as_ref().as_ref().filter(|failed| failed.reason.alert().is_none());
        let failed = ours.map(|failed| Verified {
            at: failed.at,
            by: "traffic",
            fault: Some(failed.text.clone()),
            leaf: leaf(&failed.chain),
        });
        let probed = known.probed.as_ref().map(|(at, report)| Verified {
            at: *at,
            by: "probe",
            fault: (!is_verified(report))
                .then(|| report.problem.clone().unwrap_or_else(|| "the backend was not verified".to_owned())),
            leaf: report.chain.first().map(|link| link.facts.clone()),
        });
        let found = [made, failed, probed].into_iter().flatten().filter(|found| found.at >= known.since);
        found.max_by_key(|found| found.at)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        // A panic can't leave an entry half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target(upstream: &Upstream, endpoint: &Endpoint) -> Target {
    let mut target = Target::of(upstream, endpoint, false, None);
    if let Some(tls) = &mut target.tls {
        tls.resumes = false;
    }
    target
}

/// `time` with up to a tenth more or less, so that many proxies do not look at once.
pub(super) fn jittered(time: Duration, of: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    (of, std::process::id()).hash(&mut hasher);
    time * (900 + (hasher.finish() >> 32) as u32 % 201) / 1000
}
