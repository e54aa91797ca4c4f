//! A config file that runs: started once, reloaded any number of times.
//!
//! ```text
//! parse ─► plan ─► assemble ─► bind what is new ─► publish one snapshot ─► every worker has taken it up
//!   └────────┴─────────┴──────────────┴─► error: what runs is unchanged, and the answer has each error with its place
//! ```
//!
//! All of this blocks (disk, name servers): call it where that is allowed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::audit::Audit;
use super::build::endpoints::Resolve;
use super::build::{self, Assembly, Made, Previous};
use super::changes::{self, Changes};
use super::discovery::{self, Discovered, Source};
use super::events::{CertificateChange, Event, Events};
use super::inherited::Inherited;
use super::load::{self, LoadError, Loaded};
use super::refused::{Refused, point_at};
use super::rotation::{
    self, CertificateContext, LockedCertificate, Rotation, RotationError, RotationGuard, RotationState,
};
use super::sockets::Prepared;
use super::stapling::Stapling;
use super::stored::StoredEnds;
use super::supervisor::Server;
use super::uses;
use super::verification::Verifications;
use super::write::{self, WriteError};
use crate::base::published::Published;
use crate::certs::Store;
use crate::certs::command::Role;
use crate::config::edit::EditError;
use crate::config::plan::CertificateRef;
use crate::config::{Diagnostics, Level, Plan, Sources};
use crate::proxy::snapshot::RuntimeConfig;
use crate::tls::Identity;

mod commands;
mod freeze;

/// How long a reload waits for its workers: each checks at its next turn, unless it is stalled.
const TAKE_UP: Duration = Duration::from_secs(2);
/// How often a change is repeated because another process has just saved the file.
const MAX_EDITS: usize = 5;
/// Bytes that are kept of why a reload was refused.
const MAX_REASON: usize = 4096;
/// How often a config is read anew because a generation was moved meanwhile, before moves have to wait.
const MAX_READS: usize = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// The workers.
    pub server: Arc<Server>,
    /// Whether backends are verified.
    pub verifications: Verifications,
    /// When the certificates of the store end.
    pub stored: StoredEnds,
    /// What listeners staple.
    pub stapling: Stapling,
    /// Where changes are written down, if anywhere.
    pub audit: Option<Audit>,
    /// What happens is sent there.
    pub events: Arc<Events>,
    /// Configs that were refused since the start, by reload or change.
    pub refused: AtomicU64,
    /// When and why the last reload was refused; none once one was not.
    last_refused: Mutex<Option<(SystemTime, String)>>,
    /// Refreshes that met a trust file or revocation list which is not in force as it is.
    pub refreshes_failed: AtomicU64,
    /// What is wrong with trust files and revocation lists now, and what to do, in words.
    trust_faults: Mutex<Vec<String>>,
    /// What the last lookups of sources came to, also where that changed no endpoint.
    lookups: Mutex<BTreeMap<Source, Discovered>>,
    file: PathBuf,
    current: Mutex<Arc<Current>>,
    /// Held while a config is read, checked and published: one after the other. Taken before the ledger's.
    changing: Mutex<()>,
    /// Held while a key is made.
    making: Mutex<()>,
    /// Held while consumers or credentials are changed. Taken last.
    ordering: Mutex<()>,
    /// What is remembered of rotations.
    rotations: RotationState,
}

/// What runs now. The three belong together.
#[derive(Debug)]
pub(crate) struct Current {
    /// The config's content; keys that need a restart are as they were at the start.
    pub plan: Arc<Plan>,
    /// What workers run from.
    pub running: Arc<RuntimeConfig>,
    /// The pointers to the certificates in use.
    pub made: Made,
}

/// What a reload did, or would do.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// The snapshot's version; for a review, the one that runs.
    pub version: u64,
    /// What it changes.
    pub changes: Changes,
    /// Warnings.
    pub problems: Diagnostics,
}

impl Deployment {
    /// Starts what was loaded from `file`. See [`Server::start_with`].
    ///
    /// # Errors
    /// Nothing was started: an address that can't be bound, with its place in the file, or another reason in words.
    pub(crate) fn start(
        file: &Path,
        loaded: Loaded,
        inherited: Inherited,
        gate: impl FnOnce(&[usize]) -> Result<(), String>,
    ) -> Result<Self, LoadError> {
        let Loaded { plan, assembly, mut problems } = loaded;
        write::clean(file);
        if let Ok(sources) = load::read(file) {
            sources.files().iter().for_each(|source| write::clean(&source.path));
        }
        assembly.keep_session_secret(&plan.store);
        let audit =
            plan.admin.as_ref().and_then(|admin| admin.audit.as_deref()).map(Audit::start).transpose();
        let audit = match audit {
            Ok(audit) => audit,
            Err(reason) => {
                problems.error(0..0, reason, None);
                return Err(LoadError::Wrong(problems));
            }
        };
        let stored = StoredEnds::new(&plan.store);
        match Server::start_with(&plan, assembly.running, inherited, gate) {
            Ok(server) => Ok(Self {
                current: Mutex::new(Arc::new(Current {
                    plan: Arc::new(plan),
                    running: server.snapshot.load(),
                    made: assembly.made,
                })),
                server: Arc::new(server),
                verifications: Verifications::default(),
                stored,
                stapling: Stapling::default(),
                audit,
                events: Arc::default(),
                refused: AtomicU64::new(0),
                last_refused: Mutex::new(None),
                refreshes_failed: AtomicU64::new(0),
                trust_faults: Mutex::new(assembly.faults),
                lookups: Mutex::default(),
                changing: Mutex::new(()),
                making: Mutex::new(()),
                ordering: Mutex::new(()),
                file: file.to_owned(),
                rotations: RotationState::default(),
            }),
            Err(error) => {
                point_at(&error, &plan, &mut problems);
                Err(LoadError::Wrong(problems))
            }
        }
    }

    /// The config file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What runs now.
    pub(crate) fn current(&self) -> Arc<Current> {
        // A panic can't leave it half changed: it is replaced whole.
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The plan that runs.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.current().plan)
    }

    /// The pointers to the certificates in use.
    pub(crate) fn made(&self) -> Made {
        self.current().made.clone()
    }

    /// Reads one certificate of the store and its state in what runs.
    ///
    /// # Errors
    /// Those of `work`, or the store can't be opened.
    pub(crate) fn certificate<T>(
        &self,
        name: &str,
        work: impl FnOnce(&CertificateContext<'_>) -> Result<T, RotationError>,
    ) -> Result<T, RotationError> {
        self.with_certificate(name, |certificate| work(&certificate))
    }

    /// Moves a generation of one certificate of the store; then the workers look at their connections. A reload that is
    /// under way reads the certificate again: what it has read must not be published over what this does.
    ///
    /// # Errors
    /// Those of `work`, or the store can't be opened.
    pub(crate) fn turn<T>(
        &self,
        name: &str,
        work: impl FnOnce(&LockedCertificate<'_>) -> Result<T, RotationError>,
    ) -> Result<T, RotationError> {
        let guard = self.rotations.lock();
        if self.server.is_replaced() {
            return Err(RotationError::Replaced);
        }
        let result =
            self.with_certificate(name, |certificate| work(&LockedCertificate::new(certificate, &guard)));
        drop(guard);
        self.server.sweep();
        self.stored.look(&self.plan().store);
        // What peers are checked against is no identity, which a cell holds: it is part of what is published.
        if result.is_ok() && uses::of(&self.plan(), name).iter().any(|place| place.role == Role::Trust) {
            self.refresh();
        }
        result
    }

    fn with_certificate<T>(
        &self,
        name: &str,
        work: impl FnOnce(CertificateContext<'_>) -> Result<T, RotationError>,
    ) -> Result<T, RotationError> {
        let current = self.current();
        let store = Store::open(&current.plan.store)?;
        work(CertificateContext {
            store: &store,
            name,
            running: &current.running,
            plan: &current.plan,
            cell: current.made.identity(&CertificateRef::Store(name.to_owned())),
            rotations: &self.rotations,
            events: &self.events,
            grace: current.plan.rotation.grace,
            now: SystemTime::now(),
        })
    }

    /// Where the generations of a certificate in use are used.
    pub(crate) fn rotation(&self, cell: &Published<Identity>) -> Rotation {
        self.rotations.report(cell, &self.server.snapshot.load(), SystemTime::now())
    }

    /// Publishes content that a certificate's files have now, in the place of `current`. False: something else has been
    /// published meanwhile.
    pub(crate) fn publish(
        &self,
        cell: &Published<Identity>,
        current: &Arc<Identity>,
        next: Arc<Identity>,
    ) -> bool {
        let (generation, previous) = (next.generation(), Some(current.generation()));
        {
            let _guard = self.rotations.lock();
            if !Arc::ptr_eq(&cell.load(), current) {
                return false;
            }
            let grace = self.plan().rotation.grace;
            next.set_previous(Some(Arc::clone(current)));
            self.rotations.publish(cell, next, grace, SystemTime::now());
        }
        self.server.sweep();
        let activated = CertificateChange::Activated { generation, previous, forced: false };
        self.events.send(&Event::certificate(current.name(), activated));
        true
    }

    /// Reads the file again and runs it. Returns when every worker does.
    ///
    /// # Errors
    /// See [`Refused`]; then nothing has changed.
    pub(crate) fn reload(&self) -> Result<Reloaded, Refused> {
        self.reload_now().inspect_err(|refused| self.keep_reason(refused.to_string()))
    }

    /// Takes note of a reload that was refused before it began.
    pub(crate) fn note_refused(&self, reason: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.keep_reason(reason.to_owned());
    }

    fn keep_reason(&self, mut reason: String) {
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        *self.last_refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((SystemTime::now(), reason));
    }

    /// When and why the last reload was refused, if it was.
    pub(crate) fn last_refused(&self) -> Option<(SystemTime, String)> {
        self.last_refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reload_now(&self) -> Result<Reloaded, Refused> {
        self.counted(|| {
            let _guard = self.changing();
            let current = self.current();
            let read = || Ok(load::load(&self.file, Some(current.previous()))?);
            let (loaded, _still) = self.settled(read)?;
            let (loaded, prepared) = self.prepare(loaded)?;
            Ok(self.commit(&current, loaded, prepared))
        })
    }

    /// Reads again what peers are verified against, certificates and revocation lists, and publishes what has changed: one
    /// atomic store, after which each handshake on any worker uses it. What was begun before ends as it began; connections to
    /// backends that were verified by older files are not used again. An invalid file, or a revocation list that is not better
    /// than the one in force, is logged once and in the status while it lasts, and what is in force stays. False: there was one.
    pub(crate) fn refresh(&self) -> bool {
        let nothing = |_: &str| Err(io::Error::other("names are not resolved now"));
        let good = self.refresh_with(&nothing, &BTreeMap::new(), "changed trust or revocation lists");
        if !good {
            self.refreshes_failed.fetch_add(1, Ordering::Relaxed);
        }
        good
    }

    /// The names of endpoints that have no address.
    pub(crate) fn unresolved(&self) -> Vec<String> {
        let current = self.current();
        let all = current.running.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        let mut names: Vec<String> =
            all.filter(|endpoint| endpoint.address.is_none()).map(|endpoint| endpoint.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Gives endpoints that have no address those that their names have by now.
    pub(crate) fn resolved(&self, found: &HashMap<String, Vec<SocketAddr>>) {
        let known = |name: &str| found.get(name).cloned().ok_or_else(|| io::Error::other("not resolved"));
        self.refresh_with(&known, &BTreeMap::new(), "names that did not resolve before");
    }

    /// Takes up what lookups of sources have found: endpoints that are other ones than before are published.
    pub(crate) fn discovered(&self, found: Vec<(Source, Discovered)>) {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner).extend(found.iter().cloned());
        let current = self.current();
        let is_other = |(source, discovered): &(Source, Discovered)| {
            let before = current.made.discovered.get(source);
            before.is_some_and(|before| before.targets != discovered.targets)
        };
        let other: BTreeMap<Source, Discovered> = found.into_iter().filter(is_other).collect();
        if !other.is_empty() {
            let nothing = |_: &str| Err(io::Error::other("names are not resolved now"));
            self.refresh_with(&nothing, &other, "discovered endpoints");
        }
    }

    /// What is known of each source.
    pub(crate) fn sources(&self) -> Vec<(Source, Discovered)> {
        let current = self.current();
        let lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = |(source, known): (&Source, &Discovered)| {
            (source.clone(), lookups.get(source).unwrap_or(known).clone())
        };
        current.made.discovered.iter().map(latest).collect()
    }

    /// See [`refresh`](Self::refresh). `resolve` gives the addresses of names that have none, `found` what lookups
    /// of sources have found; `what` is the log's word for what may have changed.
    fn refresh_with(&self, resolve: Resolve<'_>, found: &BTreeMap<Source, Discovered>, what: &str) -> bool {
        let _guard = self.changing();
        let _rotation = self.rotations.lock();
        let current = self.current();
        let mut problems = Diagnostics::new("", "");
        let assembly = build::refresh(current.previous(), resolve, found, &mut problems);
        let faults = assembly.as_ref().map_or(&[][..], |assembly| &assembly.faults).iter().cloned();
        let errors = problems.iter().filter(|problem| problem.level == Level::Error);
        let errors = errors.map(|problem| format!("{}: what is in force stays", problem.message));
        let good = self.note_faults(errors.chain(faults).collect());
        let Some(assembly) = assembly else { return false };
        let changes = Changes::between(current.previous(), &current.plan, &assembly);
        let changed: Vec<String> =
            [("listener", changes.listeners.changed), ("upstream", changes.upstreams.changed)]
                .into_iter()
                .flat_map(|(kind, names)| names.into_iter().map(move |name| format!("{kind} {name}")))
                .collect();
        if changed.is_empty() || !self.server.ready.load(Ordering::Relaxed) {
            return good;
        }
        let Ok(prepared) = self.server.prepare(&current.plan) else { return false };
        self.replace(assembly, prepared, Arc::clone(&current.plan));
        discovery::log_changes(&current.made.discovered, found);
        tracing::info!("{what} are in force: {}", changed.join(", "));
        good
    }

    /// Logs each fault of trust files and revocation lists once, for as long as it lasts. Returns whether there is none.
    fn note_faults(&self, faults: Vec<String>) -> bool {
        let mut known = self.trust_faults.lock().unwrap_or_else(PoisonError::into_inner);
        for fault in faults.iter().filter(|fault| !known.contains(fault)) {
            tracing::warn!("trust or revocation lists: {fault}");
        }
        if faults.is_empty() && !known.is_empty() {
            tracing::info!("trust files and revocation lists are in order again");
        }
        *known = faults;
        known.is_empty()
    }

    /// What is wrong with trust files and revocation lists now, and what to do, in words.
    pub(crate) fn trust_faults(&self) -> Vec<String> {
        self.trust_faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the config by `change`, which gets its files and returns them changed, and runs it. Changes of others in the
    /// files since they were loaded are kept, and run, too. Files are written only if all of it is valid.
    ///
    /// # Errors
    /// See [`Refused`]; then nothing has changed, neither the file nor what runs.
    pub(crate) fn edit(
        &self,
        change: impl Fn(&Sources) -> Result<Sources, EditError>,
    ) -> Result<Reloaded, Refused> {
        self.counted(|| {
            let _guard = self.changing();
            let current = self.current();
            let read = || {
                let text = load::read(&self.file)?;
                let edited = change(&text).map_err(Refused::Edit)?;
                let loaded = load::load_sources(&edited, Some(current.previous()))?;
                Ok((text, edited, loaded))
            };
            for _ in 0..MAX_EDITS {
                let ((text, edited, loaded), _still) = self.settled(read)?;
                let (loaded, prepared) = self.prepare(loaded)?;
                match write::replace_all(&text, &edited) {
                    Ok(()) => return Ok(self.commit(&current, loaded, prepared)),
                    Err(WriteError::Changed) => {}
                    Err(error) => return Err(Refused::Write(error)),
                }
            }
            Err(Refused::Write(WriteError::Changed))
        })
    }

    /// What the file would be, changed by `change`, and what that would become. Nothing is published.
    ///
    /// # Errors
    /// See [`Refused`].
    pub(crate) fn preview(
        &self,
        change: impl Fn(&Sources) -> Result<Sources, EditError>,
    ) -> Result<(Sources, Loaded), Refused> {
        let current = self.current();
        let edited = change(&load::read(&self.file)?).map_err(Refused::Edit)?;
        let loaded = load::load_sources(&edited, Some(current.previous()))?;
        Ok((edited, loaded))
    }

    /// Reads what is to be published, and takes the right to publish it: no generation has been moved since before it was
    /// read. Names are resolved before: an emergency rollback does not wait for name servers.
    fn settled<T>(&self, read: impl Fn() -> Result<T, Refused>) -> Result<(T, RotationGuard<'_>), Refused> {
        for _ in 0..MAX_READS {
            let earlier = self.rotations.lock().number();
            let found = read();
            let guard = self.rotations.lock();
            if guard.follows(earlier) {
                return Ok((found?, guard));
            }
        }
        let guard = self.rotations.lock();
        Ok((read()?, guard))
    }

    fn counted(&self, run: impl FnOnce() -> Result<Reloaded, Refused>) -> Result<Reloaded, Refused> {
        run().inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// The effect of a reload with these texts in the files; `None`: with their current ones.
    ///
    /// # Errors
    /// See [`Refused`].
    pub(crate) fn review(&self, sources: Option<&Sources>) -> Result<Reloaded, Refused> {
        let current = self.current();
        let loaded = match sources {
            None => load::load(&self.file, Some(current.previous()))?,
            Some(sources) => load::load_sources(sources, Some(current.previous()))?,
        };
        let mut loaded = loaded;
        let refused = self.server.try_addresses(&loaded.plan);
        if !refused.is_empty() {
            refused.iter().for_each(|error| point_at(error, &loaded.plan, &mut loaded.problems));
            return Err(LoadError::Wrong(loaded.problems).into());
        }
        let changes = Changes::between(current.previous(), &loaded.plan, &loaded.assembly);
        Ok(Reloaded { version: current.running.version, changes, problems: loaded.problems })
    }

    /// The last that can fail: binds what is new.
    fn prepare(&self, mut loaded: Loaded) -> Result<(Loaded, Prepared), Refused> {
        if !self.server.ready.load(Ordering::Relaxed) {
            return Err(Refused::Draining);
        }
        match self.server.prepare(&loaded.plan) {
            Ok(prepared) => Ok((loaded, prepared)),
            Err(error) => {
                point_at(&error, &loaded.plan, &mut loaded.problems);
                Err(LoadError::Wrong(loaded.problems).into())
            }
        }
    }

    /// With both locks held, and no generation moved since before `loaded` was read: that would be undone.
    fn commit(&self, current: &Current, loaded: Loaded, prepared: Prepared) -> Reloaded {
        let Loaded { plan, mut assembly, problems } = loaded;
        let changes = Changes::between(current.previous(), &plan, &assembly);
        assembly.keep_session_secret(&plan.store);
        for (cell, identity) in assembly.renewed.drain(..) {
            self.rotations.forget_trial(&identity);
            self.rotations.publish(&cell, identity, plan.rotation.grace, SystemTime::now());
        }
        for identity in assembly.without_fallback.drain(..) {
            rotation::stand_alone(&identity, SystemTime::now());
        }
        *self.last_refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // The answer lists them.
        let faults = std::mem::take(&mut assembly.faults);
        *self.trust_faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        let plan = Arc::new(changes::as_it_runs(plan, &current.plan));
        let version = self.replace(assembly, prepared, plan);
        Reloaded { version, changes, problems }
    }

    /// Publishes, and waits until every worker has taken it up. Returns the version.
    fn replace(&self, assembly: Assembly, prepared: Prepared, plan: Arc<Plan>) -> u64 {
        let version = self.server.publish(prepared, assembly.running);
        let next = Current { plan, running: self.server.snapshot.load(), made: assembly.made };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        let patience = Instant::now() + TAKE_UP;
        while !self.server.has_applied(version) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        version
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn previous(&self) -> Previous<'_> {
        Previous { plan: &self.plan, running: &self.running, made: &self.made }
    }
}
