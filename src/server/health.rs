//! Active checks: each endpoint of an upstream with `health.type` is checked at its interval, once for the whole process.
//!
//! ```text
//! every turn   endpoints whose time has come ─► a thread for each check, so many at most ─► the endpoint's state
//! ```
//!
//! Workers load the result with the endpoint's state. It outlives a reload that keeps the endpoint and its checks.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHasher};

use super::deployment::Deployment;
use super::probe::{Target, check};
use crate::base::limits::CHECKS_AT_ONCE;
use crate::config::plan::HealthCheck;
use crate::proxy::upstream::check::Change;
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::proxy::upstream::endpoint::EndpointState;

/// How often it is looked whether a check is due.
const TURN: Duration = Duration::from_millis(50);

/// Runs on a thread of its own for as long as the deployment lives.
pub(crate) fn run(deployment: &Weak<Deployment>) {
    let mut schedule = Schedule::default();
    loop {
        let Some(deployment) = deployment.upgrade() else { return };
        schedule.turn(&deployment.server.snapshot.load().upstreams);
        drop(deployment);
        std::thread::sleep(TURN);
    }
}

/// When which endpoint is checked next.
#[derive(Default)]
struct Schedule {
    /// By the endpoint's id.
    known: FxHashMap<u64, Scheduled>,
    under_way: Arc<AtomicUsize>,
}

struct Scheduled {
    policy: HealthCheck,
    due: Instant,
    /// Held by the check that is under way.
    busy: Arc<()>,
    checks: u64,
}

impl Schedule {
    fn turn(&mut self, upstreams: &[Arc<Upstream>]) {
        let now = Instant::now();
        let mut present = Vec::new();
        for upstream in upstreams {
            for endpoint in &upstream.endpoints {
                let id = endpoint.state.id();
                match &upstream.health {
                    Some(policy) => {
                        present.push(id);
                        self.look(upstream, endpoint, policy, now);
                    }
                    None if self.known.contains_key(&id) => endpoint.state.check.forget(),
                    None => {}
                }
            }
        }
        self.known.retain(|id, _| present.contains(id));
    }

    /// Starts a check of the endpoint if it is due.
    fn look(&mut self, upstream: &Upstream, endpoint: &Endpoint, policy: &HealthCheck, now: Instant) {
        let fresh = || Scheduled { policy: policy.clone(), due: now, busy: Arc::default(), checks: 0 };
        let scheduled = self.known.entry(endpoint.state.id()).or_insert_with(fresh);
        if scheduled.policy != *policy {
            *scheduled = fresh();
        }
        let is_busy = Arc::strong_count(&scheduled.busy) > 1;
        if scheduled.due > now || is_busy || endpoint.address.is_none() {
            return;
        }
        if self.under_way.load(SeqCst) >= CHECKS_AT_ONCE {
            return;
        }
        scheduled.checks += 1;
        scheduled.due = now + jittered(policy.interval, (endpoint.state.id(), scheduled.checks));
        let check = Check {
            target: Target::of(upstream, endpoint, false, None),
            policy: policy.clone(),
            state: Arc::clone(&endpoint.state),
            _busy: Arc::clone(&scheduled.busy),
            under_way: UnderWay::begin(&self.under_way),
        };
        let thread = std::thread::Builder::new().name("check".to_owned());
        if let Err(error) = thread.spawn(move || check.run()) {
            tracing::warn!(upstream = upstream.name, "health check: no thread for it: {error}");
        }
    }
}

/// `interval` with up to a tenth more or less, so that many proxies do not check at once.
fn jittered(interval: Duration, of: impl Hash) -> Duration {
    let mut hasher = FxHasher::default();
    (of, std::process::id()).hash(&mut hasher);
    interval * (900 + (hasher.finish() >> 32) as u32 % 201) / 1000
}

/// One check, counted until it is dropped.
struct Check {
    target: Target,
    policy: HealthCheck,
    state: Arc<EndpointState>,
    _busy: Arc<()>,
    under_way: UnderWay,
}

struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Check {
    fn run(self) {
        let begun = Instant::now();
        let fault = check(&self.target, &self.policy).err();
        let HealthCheck { fall, rise, .. } = self.policy;
        if fault.is_none() {
            // A connection was made: no trial is needed for that.
            self.state.outlier.connected();
        }
        let (upstream, endpoint) = (&self.target.upstream, self.target.label());
        match self.state.check.note(begun.elapsed(), fault.clone(), fall, rise) {
            Change::Fell => {
                let fault = fault.unwrap_or_default();
                tracing::warn!(upstream, endpoint, "the health check fails: the endpoint is down: {fault}");
            }
            Change::Rose => {
                self.state.begin_warm_up();
                tracing::info!(upstream, endpoint, "the health check passes: the endpoint is up again");
            }
            Change::First | Change::None => {}
        }
        drop(self.under_way);
    }
}
