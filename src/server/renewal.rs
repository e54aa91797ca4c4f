//! Time and files: certificates near their end get successors, and changed files are taken up.
//!
//! ```text
//! every second   files that the config names: changed, whole, valid ─► tried ─► activated if no backend refuses it
//!                (those that peers are checked against: in force at once)
//! every minute   certificates in use near their end: warned of; generated ones stage a successor,
//!                which with `renew = "automatic"` is tried, and activated if no backend refuses it
//! ```
//!
//! A file that is being written is read again: only content that stays the same for a second, that can be parsed and whose
//! key fits is used. Until then the current certificate stays in use.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use self::clock::Steady;
use self::trusted::Trusted;
use self::unresolved::Unresolved;
use super::audit::Entry;
use super::deployment::Deployment;
use super::events::{CertificateChange, Event};
use super::{build, rotation::RotationError};
use crate::base::published::Published;
use crate::certs::command::{Made, Stage, StageSource};
use crate::certs::renewal::{Renewal, renewal};
use crate::certs::{Store, Timestamp};
use crate::config::Diagnostics;
use crate::config::plan::{At, CertificateRef, Renew};
use crate::io::fault;
use crate::tls::Identity;

mod clock;
pub(crate) mod ends;
mod trusted;
mod unresolved;

/// How often files are checked.
const LOOK: Duration = Duration::from_secs(1);
/// How often the time is.
const CHECK: Duration = Duration::from_secs(60);
/// How long after a trial that did not pass the next one is made.
const AGAIN: Duration = Duration::from_secs(600);
/// How long after invalid files were read they are read again unchanged: at first, and at most.
const REREAD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// What warnings of credentials are remembered under; no certificate has this name.
const CREDENTIALS: &str = "/credentials";
/// How often an end that is near is warned of.
const WARN: Duration = Duration::from_secs(86_400);

/// Runs on a thread of its own for as long as the deployment lives.
pub(crate) fn run(deployment: &Weak<Deployment>) {
    let mut watch = Watch::default();
    let mut unresolved = Unresolved::default();
    loop {
        std::thread::sleep(LOOK);
        let Some(deployment) = deployment.upgrade() else { return };
        fault::point("renewal");
        watch.look(&deployment);
        deployment.stored.look(&deployment.plan().store);
        unresolved.look(&deployment);
    }
}

/// The state between two checks.
#[derive(Debug, Default)]
struct Watch {
    clock: Steady,
    files: HashMap<CertificateRef, Seen>,
    checked: Option<Instant>,
    trusted: Trusted,
    warned: HashMap<String, Instant>,
    tried: HashMap<(String, u32), Instant>,
}

/// What identifies a file's content and permissions: its size, the times of its last changes, and its number.
pub(crate) type FileStamp = (u64, (i64, i64), (i64, i64), u64);
/// Those of all files of a certificate. `None`: the file is not there now.
type Stamp = Vec<Option<FileStamp>>;

#[derive(Debug, Default)]
struct Seen {
    /// Of the last check.
    last: Stamp,
    /// What has been dealt with.
    done: Option<Stamp>,
    /// Not before this moment.
    again: Option<Instant>,
    /// They were invalid: the last wait before they were read again, and the error.
    failed: Option<(Duration, String)>,
    /// A warning of them was logged, and nothing of their being right since.
    warned: bool,
}

impl Seen {
    /// The files are invalid, perhaps only for now: a clock, permissions and descriptors change without them. They are read
    /// again, ever more rarely, and the same error is logged once.
    fn unusable(&mut self, failed: Option<(Duration, String)>, said: String, name: &str) {
        let (first, most) = REREAD;
        let (wait, before) = failed.unzip();
        // A time or a number in it makes it no other.
        let shape = |text: &str| text.replace(|character: char| character.is_ascii_digit(), "");
        if before.is_none_or(|before| shape(&before) != shape(&said)) {
            tracing::warn!(
                certificate = name,
                "its files are not valid, keeping the certificate in use: {said}"
            );
        }
        let wait = wait.map_or(first, |wait| (2 * wait).min(most));
        self.again = Some(Instant::now() + wait);
        self.failed = Some((wait, said));
        // Files that were dealt with and come back as they were are read again.
        (self.done, self.warned) = (None, true);
    }
}

impl Watch {
    fn look(&mut self, deployment: &Deployment) {
        self.read_clock();
        let identities = deployment.made().identities;
        for (named, cell) in &identities {
            self.file(deployment, named, cell);
        }
        self.trusted.look(deployment);
        // A process in the place of this one looks after what ends.
        if deployment.server.is_replaced() || self.checked.is_some_and(|checked| checked.elapsed() < CHECK) {
            return;
        }
        self.checked = Some(Instant::now());
        self.warn(deployment);
        for (named, _) in &identities {
            if let CertificateRef::Store(name) = named
                && let Err(error) = self.renew(deployment, name)
            {
                tracing::warn!(certificate = name, "renewal: {error}");
            }
        }
    }

    fn read_clock(&mut self) {
        if self.clock.read(Instant::now(), SystemTime::now()) {
            tracing::warn!(
                "the system clock was set, or the machine slept: no certificate is renewed before the clock has run \
                 evenly for ten minutes"
            );
        }
    }

    /// Takes up what a certificate's files hold now, once they have settled.
    fn file(&mut self, deployment: &Deployment, named: &CertificateRef, cell: &Published<Identity>) {
        let Some(stamp) = stamp(named) else { return };
        let seen = self.files.entry(named.clone()).or_default();
        let settled = std::mem::replace(&mut seen.last, stamp.clone()) == stamp;
        if !settled {
            (seen.again, seen.failed) = (None, None);
            return;
        }
        let due = seen.again.is_none_or(|again| Instant::now() >= again);
        if !due || seen.done.as_ref() == Some(&stamp) {
            return;
        }
        let taken = take_up(deployment, named, cell);
        let failed = seen.failed.take();
        match taken {
            Taken::Done => (seen.done, seen.again, seen.warned) = (Some(stamp), None, false),
            Taken::Same => {
                if std::mem::take(&mut seen.warned) {
                    let current = cell.load();
                    tracing::info!(certificate = current.name(), "its files are in order again");
                }
                (seen.done, seen.again) = (Some(stamp), None);
            }
            Taken::Later => seen.again = Some(Instant::now() + AGAIN),
            Taken::Again => {}
            Taken::Unusable(said) => seen.unusable(failed, said, cell.load().name()),
        }
    }

    /// Warns of ends that are near, of each once a day.
    fn warn(&mut self, deployment: &Deployment) {
        self.warned.retain(|_, warned| warned.elapsed() < WARN);
        for (named, cell) in &deployment.made().identities {
            self.warn_of_the_future(named, &cell.load());
        }
        for ending in ends::endings(deployment) {
            let name = &*ending.certificate;
            if self.warned.contains_key(name) {
                continue;
            }
            match ending.days_left {
                ..0 => tracing::error!(certificate = name, "the certificate {ending}"),
                _ => tracing::warn!(certificate = name, "the certificate {ending}"),
            }
            let near = CertificateChange::NearEnd {
                not_after: ending.not_after,
                days_left: ending.days_left,
                affects: ending.affects.clone(),
            };
            deployment.events.send(&Event::certificate(name, near));
            self.warned.insert(name.to_owned(), Instant::now());
        }
        // Their number has no bound that a log could take line by line: one warning a day has the first ones.
        let credentials = deployment.credential_warnings();
        if !credentials.is_empty() && !self.warned.contains_key(CREDENTIALS) {
            credentials.iter().for_each(|warning| tracing::warn!("{warning}"));
            self.warned.insert(CREDENTIALS.to_owned(), Instant::now());
        }
    }

    /// Warns of a certificate that is not valid yet, once a day.
    fn warn_of_the_future(&mut self, named: &CertificateRef, identity: &Identity) {
        let (now, from) = (Timestamp::from(SystemTime::now()), Timestamp::from_unix(identity.not_before()));
        let key = format!("{named:?} from {from}");
        if now >= from || self.warned.contains_key(&key) {
            return;
        }
        let number = identity.generation();
        let valid = |it: &Arc<Identity>| (it.not_before()..=it.not_after()).contains(&now.unix());
        let instead = match identity.previous().filter(valid) {
            Some(previous) => {
                format!("listeners present generation {} until then", previous.generation())
            }
            None => "it is presented all the same".to_owned(),
        };
        tracing::error!(
            certificate = identity.name(),
            "generation {number} is valid only from {from}, and it is {now}: {instead}; check this machine's clock, or \
             bring another certificate"
        );
        self.warned.insert(key, Instant::now());
    }

    /// Stages a successor where one is due, and activates it where that is wanted.
    fn renew(&mut self, deployment: &Deployment, name: &str) -> Result<(), RotationError> {
        let plan = deployment.plan();
        let now = SystemTime::now();
        let certificate = Store::open(&plan.store)?.describe(name, now)?;
        let expired = certificate.main().and_then(|main| main.days_left()).is_some_and(|days| days < 0);
        if !self.clock.is_settled(expired) {
            return Ok(());
        }
        let staged = match renewal(&certificate, now, plan.rotation.renew_before) {
            Renewal::Stage => match stage(deployment, name) {
                Some(staged) => staged,
                None => return Ok(()),
            },
            Renewal::Staged { generation, unattended: true } => generation,
            // Until a person does something about it there are warnings of its end.
            Renewal::NotBefore(_) | Renewal::Staged { .. } | Renewal::Bring(_) | Renewal::Nothing => {
                return Ok(());
            }
        };
        // The clock may have been set while the key was made.
        self.read_clock();
        if plan.rotation.renew == Renew::Automatic && self.clock.is_settled(expired) {
            self.activate(deployment, name, staged)?;
        }
        Ok(())
    }

    fn activate(&mut self, deployment: &Deployment, name: &str, staged: u32) -> Result<(), RotationError> {
        let key = (name.to_owned(), staged);
        if self.tried.get(&key).is_some_and(|tried| tried.elapsed() < AGAIN) {
            return Ok(());
        }
        self.tried.insert(key, Instant::now());
        let trial = deployment.certificate(name, |certificate| certificate.trial())?;
        let against = trial.against();
        if !against.is_empty() {
            let against = against.join("; ");
            tracing::warn!(certificate = name, "generation {staged} is not activated yet: {against}");
            return Ok(());
        }
        // Or while backends were asked.
        self.read_clock();
        if !self.clock.is_settled(false) {
            return Ok(());
        }
        let done = deployment.turn(name, |turn| turn.activate(Some(staged), false))?;
        tracing::info!(certificate = name, "renewed: generation {} is active", done.generation);
        note(deployment, "renewal", name, done.generation);
        let renewed = CertificateChange::Renewed { generation: done.generation };
        deployment.events.send(&Event::certificate(name, renewed));
        Ok(())
    }
}

/// Stages the successor. `None`: it can't be made, which has been logged.
fn stage(deployment: &Deployment, name: &str) -> Option<u32> {
    let source = StageSource::Generate { generate: None };
    match deployment.make(Stage { name: name.to_owned(), source }) {
        Ok(Made { generation, expires, replaced, .. }) => {
            let until = expires.map_or_else(String::new, |expires| format!(", until {expires}"));
            tracing::info!(certificate = name, "generation {generation} is staged: its successor{until}");
            deployment.events.send(&Event::certificate(name, CertificateChange::Staged { generation }));
            if let Some(replaced) = replaced {
                tracing::warn!(
                    certificate = name,
                    "generation {replaced}, staged at the same moment, gave way to it"
                );
            }
            Some(generation)
        }
        Err(error) => {
            tracing::warn!(certificate = name, "no successor can be made: {error}");
            None
        }
    }
}

/// Writes down what no client has asked for.
fn note(deployment: &Deployment, call: &str, name: &str, active: u64) {
    if let Some(audit) = &deployment.audit {
        let mut entry =
            Entry::new(serde_json::json!({ "by": "ringate" }), call, format!("certificate {name}"));
        entry.after = serde_json::json!({ "active": active });
        drop(audit.note(entry));
    }
}

enum Taken {
    /// Activated.
    Done,
    /// The certificate that is in use.
    Same,
    /// Invalid, with the reason.
    Unusable(String),
    /// Not yet: a backend refuses it, or can't be reached.
    Later,
    /// Another change was faster: read it again.
    Again,
}

/// Reads, tries and activates the content of a certificate's files.
fn take_up(deployment: &Deployment, named: &CertificateRef, cell: &Published<Identity>) -> Taken {
    let mut problems = Diagnostics::new("", "");
    let at = At { value: named.clone(), span: 0..0 };
    let current = cell.load();
    let Some(read) = build::identity_again(&deployment.plan(), &at, &current, &mut problems) else {
        let said: Vec<&str> = problems.iter().map(|problem| problem.message).collect();
        return Taken::Unusable(said.join("; "));
    };
    if read.chain() == current.chain() {
        return Taken::Same;
    }
    let next = Arc::new(read.renumbered(current.generation() + 1));
    let Ok(trial) = deployment.certificate(current.name(), |certificate| Ok(certificate.present(&next)))
    else {
        return Taken::Later;
    };
    // A server's certificate needs no trial.
    let against = trial.against();
    if !against.is_empty() {
        let against = against.join("; ");
        tracing::warn!(
            certificate = current.name(),
            "changed, but is not activated: {against}. It is tried again; `ringate reload` activates it at once"
        );
        return Taken::Later;
    }
    if !deployment.publish(cell, &current, Arc::clone(&next)) {
        return Taken::Again;
    }
    tracing::info!(certificate = next.name(), "changed: generation {} is active", next.generation());
    note(deployment, "changed file", next.name(), next.generation());
    Taken::Done
}

/// `None`: not from files.
fn stamp(named: &CertificateRef) -> Option<Stamp> {
    let stamp: Stamp = files_of(named).iter().map(|path| stamp_of(path)).collect();
    (!stamp.is_empty()).then_some(stamp)
}

pub(crate) fn stamp_of(path: &Path) -> Option<FileStamp> {
    let found = std::fs::metadata(path).ok()?;
    let written = (found.mtime(), found.mtime_nsec());
    Some((found.len(), written, (found.ctime(), found.ctime_nsec()), found.ino()))
}

/// The files that hold a certificate; none of one in the store.
fn files_of(named: &CertificateRef) -> Vec<&Path> {
    match named {
        CertificateRef::Store(_) => Vec::new(),
        CertificateRef::File(path) => vec![path],
        CertificateRef::Pair { cert, key } => vec![cert, key],
        CertificateRef::Locked { cert, key, passphrase_file } => {
            [Some(cert), key.as_ref(), Some(passphrase_file)]
                .into_iter()
                .flatten()
                .map(|path| &**path)
                .collect()
        }
    }
}
