//! Rotation: from a staged generation of a certificate to the active one, and back.
//!
//! ```text
//!  stage ──────► trial ──────► activate ──────► the old generation's connections close when idle, within
//!  (store)       real hand-    one pointer      `grace` at most; the report says when it is safe to revoke
//!                shakes        swap                │
//!                   ▲                              │
//!                   └────────── rollback ◄─────────┘  ─► retire: nothing falls back on it any more
//! ```
//!
//! The store is the truth and is written first; then the cell that every worker reads is stored to, once. Calls
//! block (disk, handshakes): they are made beside the control thread.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::events::{CertificateChange, Event, Events};
use super::probe::{Report, Target, Verdict, probe_each};
use crate::base::published::Published;
use crate::certs::command::Role;
use crate::certs::concern::concerns;
use crate::certs::{Bundle, StateError, Store, StoreError, Timestamp};
use crate::config::Plan;
use crate::proxy::snapshot::RuntimeConfig;
use crate::tls::Identity;

mod affected;
mod error;
pub(crate) mod report;

pub(crate) use affected::{affected, through};
pub(crate) use error::RotationError;
pub(crate) use report::{Rotation, Use};

/// What is remembered of rotations while the process runs.
#[derive(Debug, Default)]
pub(crate) struct RotationState {
    /// Held by the thread that moves a generation: the store's order is then the cells' order. How often it was taken.
    moving: Mutex<u64>,
    certificates: Mutex<BTreeMap<String, Entry>>,
}

/// The right to move generations, of any certificate: no other thread has it meanwhile.
#[derive(Debug)]
pub(crate) struct RotationGuard<'a>(MutexGuard<'a, u64>);

impl RotationGuard<'_> {
    /// Whether no other thread had the right between `earlier`, which is [`number`](Self::number) of another one, and this.
    pub(crate) fn follows(&self, earlier: u64) -> bool {
        *self.0 == earlier + 1
    }

    /// Which turn of the process this is.
    pub(crate) fn number(&self) -> u64 {
        *self.0
    }
}

/// What is remembered of one certificate.
#[derive(Debug, Default)]
struct Entry {
    /// The last trial, of a generation staged or active.
    trial: Option<Trial>,
    /// Generations that were active in this process, the newest last. The older go when nothing uses them.
    superseded: Vec<Arc<Identity>>,
    /// The generation that a rollback took out of use and staged again.
    staged_again: Option<u64>,
}

/// Most superseded generations remembered of a certificate that no connection has.
const REMEMBERED: usize = 2;

/// What a trial found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// The certificate.
    pub certificate: String,
    /// The generation that was presented.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// Whether every endpoint accepts it, or requests none. False without endpoints, as then there was no trial.
    pub passed: bool,
    /// Each endpoint of each upstream that the certificate is bound to.
    pub endpoints: Vec<Tried>,
    /// What peers may object to in it, whatever these endpoints thought, with what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What one endpoint thought of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tried {
    /// In a word.
    pub outcome: Outcome,
    /// The alert of a refusal, if there was one.
    pub alert: Option<String>,
    /// The whole report.
    #[serde(flatten)]
    pub report: Report,
}

/// What one endpoint thought of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It requested it and accepted it.
    Accepted,
    /// It refused it.
    Refused,
    /// It could not be reached.
    Unreachable,
    /// It did not request one.
    NeverAsked,
    /// The handshake failed for another reason.
    Failed,
}

/// What an activation or a rollback did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Activated {
    /// The certificate.
    pub certificate: String,
    /// The generation that is active now.
    pub generation: u64,
    /// The one that was.
    pub previous: Option<u64>,
    /// The generation that a rollback can no longer bring back: its key is deleted.
    #[serde(default)]
    pub retired: Option<u64>,
    /// Of a rollback: whether the one that was is staged again; else it is the previous one.
    #[serde(default)]
    pub staged_again: bool,
    /// When.
    pub at: Timestamp,
    /// It was activated although no trial passed.
    pub forced: bool,
    /// Whether what runs has it from now on; false where nothing that runs uses it.
    pub live: bool,
}

/// One certificate of the store, with what runs of it.
#[derive(Debug)]
pub(crate) struct CertificateContext<'a> {
    /// Where its generations are.
    pub store: &'a Store,
    /// Its name.
    pub name: &'a str,
    /// What runs, or would run.
    pub running: &'a RuntimeConfig,
    /// The config that it was made from: its upstreams have the same order.
    pub plan: &'a Plan,
    /// The pointer that workers read it from; none: nothing that runs uses it.
    pub cell: Option<&'a Published<Identity>>,
    /// What is remembered of rotations.
    pub rotations: &'a RotationState,
    /// Where what happens is sent.
    pub events: &'a Events,
    /// How long connections of the old generation may go on.
    pub grace: Duration,
    /// The time.
    pub now: SystemTime,
}

impl CertificateContext<'_> {
    /// The identity of the active generation, as it would be presented.
    ///
    /// # Errors
    /// There is none, or it can't be presented.
    pub(crate) fn active(&self) -> Result<Arc<Identity>, RotationError> {
        if let Some(cell) = self.cell {
            return Ok(cell.load());
        }
        let stored = self.store.get(self.name)?;
        self.identity(stored.generation, &stored.bundle).map(Arc::new)
    }

    /// Presents the staged generation to every endpoint that the active one is presented to. Where there is none,
    /// nothing is recorded: that proves nothing about later endpoints.
    ///
    /// # Errors
    /// Nothing is staged, or it can't be read. What endpoints think of it is no error.
    pub(crate) fn trial(&self) -> Result<Trial, RotationError> {
        let nothing = || RotationError::NothingStaged(self.name.to_owned());
        let (number, bundle) = self.store.get_staged(self.name)?.ok_or_else(nothing)?;
        let identity = Arc::new(self.identity(number, &bundle)?);
        let trial = self.present(&identity);
        trial.warnings.iter().for_each(|warning| tracing::warn!(certificate = self.name, "{warning}"));
        if !trial.endpoints.is_empty() {
            self.store.record_trial(self.name, number, trial.passed, self.now)?;
            self.rotations.entry(self.name, |entry| entry.trial = Some(trial.clone()));
        }
        match (trial.endpoints.len(), trial.against().len()) {
            (0, _) => {
                tracing::info!(certificate = self.name, "trial of generation {number}: no backend to try")
            }
            (asked, 0) => {
                tracing::info!(
                    certificate = self.name,
                    "trial of generation {number}: passed at {asked} endpoints"
                );
            }
            (asked, against) => tracing::warn!(
                certificate = self.name,
                "trial of generation {number}: not passed at {against} of {asked} endpoints"
            ),
        }
        Ok(trial)
    }

    /// Presents `identity` to every endpoint that this certificate is bound to.
    pub(crate) fn present(&self, identity: &Arc<Identity>) -> Trial {
        let (targets, generation) = (self.targets(identity), identity.generation());
        self.tell(CertificateChange::TrialBegun { generation, endpoints: targets.len() });
        let reports = probe_each(&targets, |report| {
            let answer = Box::new(Tried::from(report.clone()));
            self.tell(CertificateChange::Tried { generation, answer });
        });
        let endpoints: Vec<Tried> = reports.into_iter().map(Tried::from).collect();
        let passed = !endpoints.is_empty() && endpoints.iter().all(Tried::passed);
        self.tell(CertificateChange::Trial { generation, passed, endpoints: endpoints.len() });
        Trial {
            certificate: self.name.to_owned(),
            generation: identity.generation(),
            at: Timestamp::from(self.now),
            passed,
            endpoints,
            warnings: self.warnings(identity),
        }
    }

    /// What peers may object to in a generation, at each upstream that it would be presented by.
    fn warnings(&self, identity: &Identity) -> Vec<String> {
        let upstreams = self.running.upstreams.iter().filter(|it| report::presents(it, self.name));
        let places: Vec<String> = upstreams.map(|it| format!("upstream {:?}", it.name)).collect();
        let role = (!places.is_empty()).then_some(Role::Client);
        let renew_before = self.plan.rotation.written_renew_before();
        let place = match places.is_empty() {
            true => String::new(),
            false => format!(", for {}", places.join(", ")),
        };
        let subject = format!("{}, generation {}{place}", self.name, identity.generation());
        let found = concerns(identity.chain(), role, renew_before, self.now);
        found.iter().map(|concern| format!("{subject}: {concern}; {}", concern.help())).collect()
    }

    fn tell(&self, what: CertificateChange) {
        self.events.send(&Event::certificate(self.name, what));
    }

    /// The endpoints of every upstream, of any environment, whose client identity this is.
    fn targets(&self, identity: &Arc<Identity>) -> Vec<Target> {
        let upstreams = self.running.upstreams.iter().enumerate();
        let bound = upstreams.filter(|(_, upstream)| report::presents(upstream, self.name));
        bound
            .flat_map(|(index, upstream)| {
                Target::of_upstream(upstream, self.plan.speaks_http(index), Some(identity))
            })
            .collect()
    }

    /// Where the generations are used, and whether the old one is safe to revoke. `None`: nothing that runs uses it.
    pub(crate) fn report(&self) -> Option<Rotation> {
        Some(self.rotations.report(self.cell?, self.running, self.now))
    }

    /// The identity of a generation that is to be active: the one that was it before, if this process remembers it, so
    /// that its connections still count as its own.
    fn active_again(&self, number: u32, bundle: &Bundle) -> Result<Arc<Identity>, RotationError> {
        let previous = self.cell.and_then(|cell| cell.load().previous());
        let known = self.rotations.entry(self.name, |entry| {
            let mut known = previous.iter().chain(&entry.superseded);
            known.find(|it| it.generation() == u64::from(number) && it.chain() == bundle.chain()).cloned()
        });
        known.map_or_else(|| self.identity(number, bundle).map(Arc::new), Ok)
    }

    fn identity(&self, number: u32, bundle: &Bundle) -> Result<Identity, RotationError> {
        let key = bundle.key().ok_or_else(|| RotationError::NoKey(self.name.to_owned()))?;
        Identity::new(self.name, u64::from(number), bundle.chain().to_vec(), key.clone_key())
            .map_err(|error| RotationError::Unusable(self.name.to_owned(), error))
    }
}

/// A [`CertificateContext`] with the right to move generations: no other generation is moved, and no config published, for
/// as long as it exists.
#[derive(Debug)]
pub(crate) struct LockedCertificate<'a> {
    context: CertificateContext<'a>,
    _guard: &'a RotationGuard<'a>,
}

impl<'a> LockedCertificate<'a> {
    /// `guard` was taken before anything of `context` was read.
    pub(crate) fn new(context: CertificateContext<'a>, guard: &'a RotationGuard<'a>) -> Self {
        Self { context, _guard: guard }
    }
}

impl<'a> Deref for LockedCertificate<'a> {
    type Target = CertificateContext<'a>;

    fn deref(&self) -> &CertificateContext<'a> {
        &self.context
    }
}

impl LockedCertificate<'_> {
    /// Makes the staged generation the active one, if its trial passed or with `force`. When this returns, every
    /// connection that is made, on any worker, presents it, and no idle one of the old generation is used again.
    /// `wanted`, if given, is the generation that is meant.
    ///
    /// # Errors
    /// Nothing is staged, it was not tried on every endpoint, or its trial did not pass; nothing has changed then.
    pub(crate) fn activate(&self, wanted: Option<u32>, force: bool) -> Result<Activated, RotationError> {
        let nothing = || RotationError::NothingStaged(self.name.to_owned());
        let (number, bundle) = self.store.get_staged(self.name)?.ok_or_else(nothing)?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != number) {
            let name = self.name.to_owned();
            return Err(StoreError::State(StateError::OtherStaged { name, wanted, staged: number }).into());
        }
        // Whatever could fail is done before anything changes.
        let identity = match bundle.key() {
            None if self.cell.is_none() => None,
            _ => Some(self.active_again(number, &bundle)?),
        };
        let forced = match self.may_activate(number, identity.as_ref()) {
            Err(error) if !force => return Err(error),
            tried => tried.is_err(),
        };
        let done = self.store.activate(self.name, Some(number), self.now)?;
        let live = match (self.cell, identity) {
            (Some(cell), Some(identity)) => {
                identity.set_previous(Some(cell.load()));
                self.rotations.publish(cell, identity, self.grace, self.now);
                true
            }
            _ => false,
        };
        let (generation, previous) = (u64::from(done.active), done.previous.map(u64::from));
        self.tell(CertificateChange::Activated { generation, previous, forced });
        Ok(Activated {
            certificate: self.name.to_owned(),
            generation,
            previous,
            retired: done.retired.map(u64::from),
            staged_again: false,
            at: Timestamp::from(self.now),
            forced,
            live,
        })
    }

    /// Whether the staged generation passed a trial at every endpoint, or has no endpoint to be tried at. Which endpoints a trial
    /// before a restart included is unknown: it counts as it is.
    fn may_activate(&self, number: u32, identity: Option<&Arc<Identity>>) -> Result<(), RotationError> {
        let targets = identity.map(|identity| self.targets(identity)).unwrap_or_default();
        if targets.is_empty() {
            return Ok(());
        }
        let name = || self.name.to_owned();
        let trial = self.store.describe(self.name, self.now)?.trial;
        let Some(trial) = trial.filter(|trial| trial.generation == number) else {
            return Err(RotationError::NotTried(name(), number));
        };
        let asked = self.rotations.entry(self.name, |entry| {
            let same = |it: &&Trial| it.generation == u64::from(number) && it.at == trial.at;
            entry.trial.as_ref().filter(same).cloned()
        });
        if !trial.passed {
            let against = asked.as_ref().map(Trial::against).unwrap_or_default();
            return Err(RotationError::NotPassed(name(), number, against));
        }
        let unasked: Vec<String> = asked.map(|asked| asked.unasked(&targets)).unwrap_or_default();
        if unasked.is_empty() { Ok(()) } else { Err(RotationError::NotAsked(name(), number, unasked)) }
    }

    /// Makes the previous generation the active one again.
    ///
    /// # Errors
    /// There is none, or it is not valid any more.
    pub(crate) fn rollback(&self) -> Result<Activated, RotationError> {
        let nothing = || RotationError::NoPrevious(self.name.to_owned());
        let (number, bundle) = self.store.get_previous(self.name)?.ok_or_else(nothing)?;
        let identity = match self.cell {
            None => None,
            Some(_) => Some(self.active_again(number, &bundle)?),
        };
        let done = self.store.rollback(self.name, self.now)?;
        let live = self.cell.is_some();
        if let (Some(cell), Some(identity)) = (self.cell, identity) {
            // What was rolled back from is no fallback.
            identity.set_previous(None);
            self.rotations.publish(cell, identity, self.grace, self.now);
        }
        if done.staged_again {
            self.rotations.entry(self.name, |entry| entry.staged_again = done.replaced.map(u64::from));
        }
        let (generation, replaced) = (u64::from(done.active), done.replaced.map(u64::from));
        self.tell(CertificateChange::RolledBack { generation, replaced });
        Ok(Activated {
            certificate: self.name.to_owned(),
            generation,
            previous: replaced,
            retired: None,
            staged_again: done.staged_again,
            at: Timestamp::from(self.now),
            forced: false,
            live,
        })
    }

    /// Ends the previous generation: it is no fallback any more, its connections end now, its key is deleted. Returns its
    /// number.
    ///
    /// # Errors
    /// There is none, or without `force` it is not safe.
    pub(crate) fn retire(&self, force: bool) -> Result<u64, RotationError> {
        let nothing = || StoreError::State(StateError::NothingToRetire { name: self.name.to_owned() });
        let number = self.store.describe(self.name, self.now)?.previous.ok_or_else(nothing)?;
        let rotation = self.report();
        if let Some(safe) = rotation.as_ref().and_then(|rotation| rotation.safe_to_revoke.as_ref())
            && !safe.safe
            && !force
        {
            return Err(RotationError::StillNeeded(self.name.to_owned(), safe.reasons.clone()));
        }
        self.store.retire(self.name, number)?;
        if let Some(cell) = self.cell {
            stand_alone(&cell.load(), self.now);
        }
        tracing::info!(certificate = self.name, "generation {number} is retired: its key is removed");
        self.tell(CertificateChange::Retired { generation: u64::from(number) });
        Ok(u64::from(number))
    }
}

/// Lets nothing stand in for a generation any more: connections of the one that did end now.
pub(crate) fn stand_alone(active: &Identity, now: SystemTime) {
    if let Some(previous) = active.previous() {
        active.set_previous(None);
        previous.uses().end_at(Some(now));
        previous.uses().end_rescues_at(Some(now));
    }
}

impl RotationState {
    /// Publishes a generation, and with it the one that may stand in for it: one atomic store, and each connection that
    /// is made from then on presents it. The one that it replaces ends within `grace`, and so does what stood in for that.
    pub(crate) fn publish(
        &self,
        cell: &Published<Identity>,
        identity: Arc<Identity>,
        grace: Duration,
        now: SystemTime,
    ) {
        let old = cell.load();
        let stood_in = old.previous();
        let in_use = [Some(Arc::clone(&identity)), identity.previous()];
        identity.uses().end_at(None);
        in_use.iter().flatten().for_each(|used| used.uses().end_rescues_at(None));
        let name = identity.name().to_owned();
        cell.store(Arc::clone(&identity));
        // Only now: until here a connection may have needed the fallback.
        old.set_previous(None);
        old.uses().end_at(Some(now + grace));
        if let Some(passed) = stood_in
            && !in_use.iter().flatten().any(|used| Arc::ptr_eq(used, &passed))
        {
            passed.uses().end_rescues_at(Some(now + grace));
        }
        self.entry(&name, |entry| {
            entry.staged_again.take_if(|number| *number == identity.generation());
            entry.superseded.retain(|known| known.serial() != identity.serial());
            entry.superseded.push(old);
            let from = entry.superseded.len().saturating_sub(REMEMBERED);
            let mut index = 0;
            entry.superseded.retain(|known| {
                index += 1;
                index > from || known.uses().read().iter().any(|usage| usage.connections > 0)
            });
        });
    }

    /// Where the generations of what a cell holds are used.
    pub(crate) fn report(
        &self,
        cell: &Published<Identity>,
        running: &RuntimeConfig,
        now: SystemTime,
    ) -> Rotation {
        let current = cell.load();
        let (trial, superseded, staged_again) = self.entry(current.name(), |entry| {
            (entry.trial.clone(), entry.superseded.clone(), entry.staged_again)
        });
        report::rotation(running, &current, &superseded, trial.as_ref(), staged_again, now)
    }

    /// Forgets a certificate that there is no more: one that is made under its name later is another one.
    pub(crate) fn forget(&self, name: &str) {
        self.certificates().remove(name);
    }

    /// Forgets the trial of another content under the number of `identity`: a certificate's that was in its place.
    pub(crate) fn forget_trial(&self, identity: &Identity) {
        self.entry(identity.name(), |entry| {
            entry.trial.take_if(|trial| trial.generation == identity.generation());
        });
    }

    /// Waits for the right to move a generation.
    pub(crate) fn lock(&self) -> RotationGuard<'_> {
        let mut turns = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        *turns += 1;
        RotationGuard(turns)
    }

    fn entry<R>(&self, name: &str, edit: impl FnOnce(&mut Entry) -> R) -> R {
        edit(self.certificates().entry(name.to_owned()).or_default())
    }

    fn certificates(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trial {
    /// Those of `targets` that it did not include, in words.
    fn unasked(&self, targets: &[Target]) -> Vec<String> {
        let asked = |target: &&Target| {
            let mut reports = self.endpoints.iter().map(|tried| &tried.report);
            let address = target.address.as_ref().map(ToString::to_string);
            reports.any(|it| {
                (&it.upstream, &it.endpoint, &it.address) == (&target.upstream, &target.endpoint, &address)
            })
        };
        let unasked = targets.iter().filter(|target| !asked(target));
        unasked.map(|target| format!("{} {}", target.upstream, target.label())).collect()
    }

    /// The endpoints that speak against activating it, in words.
    pub(crate) fn against(&self) -> Vec<String> {
        let against = self.endpoints.iter().filter(|tried| !tried.passed());
        against
            .map(|tried| {
                let Report { upstream, problem, .. } = &tried.report;
                let endpoint = tried.report.label();
                format!("{upstream} {endpoint}: {}", problem.as_deref().unwrap_or("no reason given"))
            })
            .collect()
    }
}

impl Tried {
    /// Whether it speaks for activating the generation.
    pub(crate) fn passed(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted | Outcome::NeverAsked)
    }
}

impl From<Report> for Tried {
    fn from(report: Report) -> Self {
        let (outcome, alert) = match (&report.client_certificate, &report.problem) {
            (Verdict::Refused { alert, .. }, _) => (Outcome::Refused, alert.clone()),
            (_, Some(_)) if !report.reached => (Outcome::Unreachable, None),
            // Whether it answers our request is not the certificate's doing.
            (Verdict::Accepted, _) => (Outcome::Accepted, None),
            (Verdict::NotAsked, None) => (Outcome::NeverAsked, None),
            _ => (Outcome::Failed, None),
        };
        Self { outcome, alert, report }
    }
}
