//! A config file that runs: started once, reloaded any number of times.
//!
//! ```text
//! parse ─► plan ─► assemble ─► bind what is new ─► publish one snapshot ─► every worker has taken it up
//!   └────────┴─────────┴──────────────┴─► wrong: what runs stays, and the answer says what is wrong where
//! ```
//!
//! All of this blocks (disk, name servers): call it where that is allowed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::assemble::{Made, Previous};
use super::changes::{self, Changes};
use super::load::{self, LoadError, Loaded};
use super::rotation::{Fallback, Ledger, Room, Rotation, RotationError};
use super::supervisor::{Server, StartError};
use crate::base::snapshot::Snapshot;
use crate::certs::Store;
use crate::config::plan::CertificateRef;
use crate::config::{Diagnostics, Plan};
use crate::tls::Identity;

/// How long a reload waits for its workers: each looks at its next turn, which only a stalled one misses.
const TAKE_UP: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Deployment {
    /// The workers.
    pub server: Arc<Server>,
    file: PathBuf,
    live: Mutex<Live>,
    /// What is remembered of rotations.
    ledger: Ledger,
}

/// What runs.
#[derive(Debug)]
struct Live {
    plan: Arc<Plan>,
    made: Made,
}

/// What a reload did, or would do.
#[derive(Debug)]
pub struct Reloaded {
    /// The snapshot's version; for a review, the one that runs.
    pub version: u64,
    /// What it changes.
    pub changes: Changes,
    /// Warnings.
    pub problems: Diagnostics,
}

/// Why nothing was reloaded. What ran before runs on.
#[derive(Debug)]
pub enum Refused {
    /// The config can't be run.
    Config(LoadError),
    /// The process is on its way out.
    Draining,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Draining => f.write_str("ringate is draining: it takes no new config"),
        }
    }
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        Self::Config(error)
    }
}

impl Deployment {
    /// Starts what was loaded from `file`.
    ///
    /// # Errors
    /// Nothing was started: an address that can't be bound, with its place in the file, or another reason in words.
    pub fn start(file: &Path, loaded: Loaded) -> Result<Self, LoadError> {
        let Loaded { plan, assembly, mut problems } = loaded;
        match Server::start(&plan, assembly.running) {
            Ok(server) => Ok(Self {
                server: Arc::new(server),
                file: file.to_owned(),
                live: Mutex::new(Live { plan: Arc::new(plan), made: assembly.made }),
                ledger: Ledger::default(),
            }),
            Err(error) => {
                point_at(&error, &plan, &mut problems);
                Err(LoadError::Wrong(problems))
            }
        }
    }

    /// The config file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What runs now.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.live().plan)
    }

    /// The pointers to the certificates in use.
    pub fn made(&self) -> Made {
        self.live().made.clone()
    }

    /// Works on one certificate of the store and what runs of it; then the workers look at their connections.
    ///
    /// # Errors
    /// Those of `work`, or the store can't be opened.
    pub fn room<T>(
        &self,
        name: &str,
        work: impl FnOnce(&Room<'_>) -> Result<T, RotationError>,
    ) -> Result<T, RotationError> {
        let (plan, made) = (self.plan(), self.made());
        let store = Store::open(&plan.store)?;
        let room = Room {
            store: &store,
            name,
            running: &self.server.snapshot.load(),
            cell: made.identity(&CertificateRef::Store(name.to_owned())),
            ledger: &self.ledger,
            grace: plan.rotation.grace,
            now: SystemTime::now(),
        };
        let result = work(&room);
        self.server.sweep();
        result
    }

    /// Where the generations of a certificate in use are used.
    pub fn rotation(&self, cell: &Snapshot<Identity>) -> Rotation {
        self.ledger.report(cell, &self.server.snapshot.load(), SystemTime::now())
    }

    /// Publishes content that a certificate's files have now, as the generation after the one that runs.
    pub fn publish(&self, cell: &Snapshot<Identity>, identity: Arc<Identity>) {
        {
            let _alone = self.ledger.alone();
            let grace = self.plan().rotation.grace;
            self.ledger.publish(cell, identity, Fallback::Replaced, grace, SystemTime::now());
        }
        self.server.sweep();
    }

    /// Reads the file again and runs what it says. Returns when every worker does.
    ///
    /// # Errors
    /// See [`Refused`]; then nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, Refused> {
        let mut live = self.live();
        let loaded = load::load(&self.file, Some(live.previous()))?;
        self.apply(&mut live, loaded)
    }

    /// What a reload would do, if `text` stood in the file; `None`: what stands in it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn review(&self, text: Option<&str>) -> Result<Reloaded, Refused> {
        let live = self.live();
        let loaded = match text {
            None => load::load(&self.file, Some(live.previous()))?,
            Some(text) => load::load_text(&self.file, text, Some(live.previous()))?,
        };
        let changes = Changes::between(live.previous(), &loaded.plan, &loaded.assembly);
        Ok(Reloaded { version: self.server.snapshot.load().version, changes, problems: loaded.problems })
    }

    fn apply(&self, live: &mut Live, loaded: Loaded) -> Result<Reloaded, Refused> {
        let Loaded { plan, assembly, mut problems } = loaded;
        if !self.server.ready.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Refused::Draining);
        }
        let prepared = match self.server.prepare(&plan) {
            Ok(prepared) => prepared,
            Err(error) => {
                point_at(&error, &plan, &mut problems);
                return Err(LoadError::Wrong(problems).into());
            }
        };
        let changes = Changes::between(live.previous(), &plan, &assembly);
        let _alone = self.ledger.alone();
        for (cell, identity) in assembly.renewed {
            self.ledger.publish(&cell, identity, Fallback::Replaced, plan.rotation.grace, SystemTime::now());
        }
        let version = self.server.publish(prepared, assembly.running);
        *live = Live { plan: Arc::new(changes::as_it_runs(plan, &live.plan)), made: assembly.made };
        let patience = Instant::now() + TAKE_UP;
        while !self.server.has_applied(version) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Reloaded { version, changes, problems })
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // It is replaced whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn previous(&self) -> Previous<'_> {
        Previous { plan: &self.plan, made: &self.made }
    }
}

/// Says of the config file why it can't be started.
fn point_at(error: &StartError, plan: &Plan, problems: &mut Diagnostics) {
    match error {
        StartError::Listen { listener, address, .. } => {
            let at = &plan.listeners[*listener].addresses[*address];
            let help =
                "choose another address, or stop the process that holds this one (`ss -ltnp` shows it)";
            problems.error(at.span.clone(), format!("{}: {error}", at.value), Some(help.to_owned()));
        }
        StartError::Other(text) => problems.error(0..0, text.clone(), None),
    }
}
