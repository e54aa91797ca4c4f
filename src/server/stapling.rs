//! OCSP responses that listeners staple to their certificates: from files that are watched, or fetched from the CA.
//!
//! ```text
//! twice a second   files: changed and whole ─► judged for each certificate ─┐
//!                  fetch: due ─► a thread asks ─► judged ───────────────────┴─► kept in the identity
//! ```
//!
//! A response belongs to an identity, which is one generation of a certificate: the next one begins without. A response that
//! is refused, or none at all, fails no handshake; the last good one is presented until its own end.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::Deployment;
use super::fetch::{FetchError, Wanted, fetch};
use super::file_watch::FileWatch;
use super::regular_file;
use super::verification::jittered;
use crate::base::limits::MAX_OCSP_BYTES;
use crate::certs::Timestamp;
use crate::certs::ocsp::{self, OcspError, Response};
use crate::config::Plan;
use crate::config::plan::{CertificateRef, Ocsp};
use crate::io::fault;
use crate::tls::{Identity, Staple};

/// How often files are looked at, and what is due.
const LOOK: Duration = Duration::from_millis(500);
/// How long after a fetch that failed the next one is made: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// The least time between two fetches that succeeded.
const LEAST: Duration = Duration::from_secs(20);
/// The longest request that a URL may hold, in base64 (RFC 5019 §5). Longer ones are posted.
const MAX_GET: usize = 255;

/// What is known of each certificate's responses, for status and metrics.
#[derive(Debug, Default)]
pub(crate) struct Stapling(Mutex<BTreeMap<String, Known>>);

/// What is known of one certificate's responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The file or the responder.
    pub(crate) source: String,
    /// Fetches and files without a usable response.
    pub(crate) failures: u64,
    /// What is wrong now, and what to do.
    pub(crate) problem: Option<String>,
}

/// The stapled response of a certificate in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stapled {
    /// The file or the responder.
    pub(crate) source: String,
    /// When the responder knew the status to be right; none: nothing is stapled.
    pub(crate) this_update: Option<Timestamp>,
    /// Until when it is stapled.
    pub(crate) next_update: Option<Timestamp>,
    /// Fetches and files without a usable response.
    pub(crate) failures: u64,
    /// What is wrong now, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

impl Stapling {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a certificate staples, if its listener is to staple anything.
    pub(crate) fn of(&self, identity: &Identity) -> Option<Stapled> {
        let known = self.known().get(identity.name()).cloned()?;
        let times = identity.stapled(Timestamp::from(SystemTime::now()).unix());
        let (this, next) =
            times.map(|(this, next)| (Timestamp::from_unix(this), Timestamp::from_unix(next))).unzip();
        let Known { source, failures, problem } = known;
        Some(Stapled { source, this_update: this, next_update: next, failures, problem })
    }

    /// Takes down how it went. Logs once what is wrong, and once that it is right again.
    fn note(&self, identity: &Identity, source: &str, failed: bool, problem: Option<String>) {
        let (name, mut all) = (identity.name(), self.known());
        let known = all.entry(name.to_owned()).or_default();
        source.clone_into(&mut known.source);
        known.failures += u64::from(failed);
        match &problem {
            Some(why) if known.problem.as_ref() != Some(why) => {
                let now = Timestamp::from(SystemTime::now()).unix();
                let stays = match identity.stapled(now) {
                    Some((_, until)) => {
                        format!("the response before is stapled until {}", Timestamp::from_unix(until))
                    }
                    None if ocsp::must_staple(&identity.chain()[0]) => {
                        "nothing is stapled, which the certificate demands: clients may refuse it".to_owned()
                    }
                    None => "nothing is stapled".to_owned(),
                };
                tracing::warn!(certificate = name, "OCSP: {source}: {why}; {stays}");
            }
            None if known.problem.is_some() => {
                tracing::info!(certificate = name, "OCSP: {source} is in order again")
            }
            _ => {}
        }
        known.problem = problem;
    }
}

/// Keeps a response in its identity.
pub(super) fn staple(identity: &Identity, response: Response) {
    let Response { der, this_update, next_update } = response;
    let (this_update, next_update) = (this_update.unix(), next_update.unix());
    identity.staple(Staple { response: der, this_update, next_update });
}

/// Runs on a thread of its own for as long as the deployment lives.
pub(crate) fn run(deployment: &Weak<Deployment>) {
    let mut watch = Watch::default();
    loop {
        std::thread::sleep(LOOK);
        let Some(deployment) = deployment.upgrade() else { return };
        fault::point("stapling");
        watch.look(&deployment);
    }
}

#[derive(Default)]
struct Watch {
    files: HashMap<PathBuf, File>,
    /// What was judged of each certificate: its identity, and its files' versions.
    judged: HashMap<CertificateRef, (u64, Vec<u64>)>,
    fetches: HashMap<CertificateRef, Fetches>,
}

/// A file with what it held at the last change.
#[derive(Debug, Default)]
struct File {
    watch: FileWatch,
    /// How often it has changed; 0: it was not read yet.
    version: u64,
    content: Option<Result<Vec<u8>, String>>,
}

/// The certificates whose responses are stapled, each once.
pub(super) fn wanted(plan: &Plan) -> Vec<(&CertificateRef, &Ocsp)> {
    let mut found: Vec<(&CertificateRef, &Ocsp)> = Vec::new();
    for tls in plan.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        for at in tls.certificates.iter().filter(|_| tls.ocsp.is_some()) {
            if let Some(ocsp) = &tls.ocsp
                && found.iter().all(|(named, _)| **named != at.value)
            {
                found.push((&at.value, ocsp));
            }
        }
    }
    found
}

/// The content of a file that may hold a response.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    regular_file::read(path, MAX_OCSP_BYTES as u64).map_err(|error| error.to_string())
}

/// The newest good response of several files for a chain. `Err`: there is none; the reason is of the file that comes nearest.
pub(super) fn best<'f>(
    chain: &[CertificateDer<'_>],
    files: impl Iterator<Item = (&'f Path, Result<Vec<u8>, String>)>,
    now: SystemTime,
) -> Result<Response, String> {
    let subject = ocsp::Subject::of(chain).map_err(|error| error.to_string())?;
    let (mut best, mut why): (Option<Response>, Option<(bool, String)>) = (None, None);
    for (path, content) in files {
        let (is_foreign, reason) = match content.map(|bytes| subject.judge(&bytes, now)) {
            Ok(Ok(response)) => {
                if best.as_ref().is_none_or(|best| best.this_update < response.this_update) {
                    best = Some(response);
                }
                continue;
            }
            Ok(Err(error)) => (matches!(error, OcspError::Foreign(_)), error.to_string()),
            Err(error) => (false, error),
        };
        if why.as_ref().is_none_or(|(foreign, _)| *foreign && !is_foreign) {
            why = Some((is_foreign, format!("{}: {reason}", path.display())));
        }
    }
    best.ok_or_else(|| why.map_or_else(String::new, |(_, why)| why))
}

impl Watch {
    fn look(&mut self, deployment: &Deployment) {
        let current = deployment.current();
        let wanted = wanted(&current.plan);
        self.files.retain(|path, _| {
            wanted.iter().any(
                |(_, ocsp)| matches!(ocsp, Ocsp::Files(files) if files.iter().any(|at| at.value == *path)),
            )
        });
        self.judged.retain(|named, _| wanted.iter().any(|(wanted, _)| *wanted == named));
        self.fetches.retain(|named, _| wanted.iter().any(|(wanted, _)| *wanted == named));
        let paths = wanted.iter().flat_map(|(_, ocsp)| match ocsp {
            Ocsp::Files(files) => files.as_slice(),
            Ocsp::Fetch { .. } => &[],
        });
        let mut paths: Vec<&PathBuf> = paths.map(|at| &at.value).collect();
        paths.sort();
        paths.dedup();
        paths.into_iter().for_each(|path| self.files.entry(path.clone()).or_default().look(path));
        let mut names = Vec::new();
        for (named, ocsp) in wanted {
            let Some(cell) = current.made.identity(named) else { continue };
            let identity = cell.load();
            names.push(identity.name().to_owned());
            match ocsp {
                Ocsp::Files(files) => {
                    let paths: Vec<&Path> = files.iter().map(|at| &*at.value).collect();
                    self.judge(&deployment.stapling, named, &identity, &paths);
                }
                Ocsp::Fetch { url } => {
                    let fetches = self.fetches.entry(named.clone()).or_insert_with(|| Fetches::of(&identity));
                    let url = url.as_ref().map(|at| at.value.as_str());
                    fetches.look(&deployment.stapling, &identity, url, &current.plan.store);
                }
            }
        }
        deployment.stapling.known().retain(|name, _| names.contains(name));
    }

    /// Staples what the files hold, once for each content and each identity; and says when the last response has ended.
    fn judge(&mut self, stapling: &Stapling, named: &CertificateRef, identity: &Identity, paths: &[&Path]) {
        let versions =
            paths.iter().map(|path| self.files.get(*path).map_or(0, |file| file.version)).collect();
        let state = (identity.serial(), versions);
        let now = SystemTime::now();
        let has_one = identity.stapled(Timestamp::from(now).unix()).is_some();
        let source = paths.first().map_or_else(String::new, |path| path.display().to_string());
        if self.judged.get(named) == Some(&state) {
            if !has_one && stapling.known().get(identity.name()).is_some_and(|known| known.problem.is_none())
            {
                let why = "the response has ended: get a newer one".to_owned();
                stapling.note(identity, &source, true, Some(why));
            }
            return;
        }
        if state.1.contains(&0) {
            // It is read once it has settled.
            return;
        }
        let contents = paths.iter().filter_map(|path| Some((*path, self.files.get(*path)?.content.clone()?)));
        match best(identity.chain(), contents, now) {
            Ok(response) => {
                staple(identity, response);
                stapling.note(identity, &source, false, None);
            }
            Err(why) => stapling.note(identity, &source, true, Some(why)),
        }
        self.judged.insert(named.clone(), state);
    }
}

impl File {
    fn look(&mut self, path: &Path) {
        if self.watch.settled(path) {
            self.version += 1;
            self.content = Some(read(path));
        }
    }
}

/// What one fetch came to: the responder's URL, and its response.
type Fetched = (String, Result<Response, String>);

/// The fetches for one certificate.
struct Fetches {
    /// The identity that the last one was for.
    serial: u64,
    due: Instant,
    wait: Duration,
    running: Option<JoinHandle<Fetched>>,
}

impl Fetches {
    fn of(identity: &Identity) -> Self {
        Self { serial: identity.serial(), due: Instant::now(), wait: AGAIN.0, running: None }
    }

    fn look(&mut self, stapling: &Stapling, identity: &Identity, url: Option<&str>, store: &Path) {
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            let bug = || (String::new(), Err("the fetch failed: a bug of Ringate".to_owned()));
            let fetched = running.join().unwrap_or_else(|_| bug());
            // A response for a generation that has been replaced meanwhile is of no use.
            if self.serial == identity.serial() {
                self.finish(stapling, identity, fetched);
            }
        }
        if self.running.is_some() {
            return;
        }
        if self.serial != identity.serial() {
            *self = Self::of(identity);
        }
        if Instant::now() < self.due {
            return;
        }
        let (chain, url, store) = (identity.chain().to_vec(), url.map(str::to_owned), store.to_owned());
        let thread = std::thread::Builder::new().name("ocsp".to_owned());
        match thread.spawn(move || ask(&chain, url.as_deref(), &store)) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                tracing::warn!(certificate = identity.name(), "OCSP: no thread to ask: {error}");
                self.due = Instant::now() + self.wait;
            }
        }
    }

    fn finish(&mut self, stapling: &Stapling, identity: &Identity, (source, fetched): Fetched) {
        let now = Instant::now();
        match fetched {
            Ok(response) => {
                self.due = now + refresh_after(&response, SystemTime::now(), identity.serial());
                self.wait = AGAIN.0;
                staple(identity, response);
                stapling.note(identity, &source, false, None);
            }
            Err(why) => {
                self.due = now + jittered(self.wait, identity.serial());
                self.wait = (2 * self.wait).min(AGAIN.1);
                stapling.note(identity, &source, true, Some(why));
            }
        }
    }
}

/// How long after `now` the next response is fetched: at half of the validity, a tenth more or less, so that a fleet does not
/// ask at the same moment; where that has passed, as a responder hands out old responses, in a quarter of what is left.
fn refresh_after(response: &Response, now: SystemTime, of: u64) -> Duration {
    let now = Timestamp::from(now).unix();
    let (this, next) = (response.this_update.unix(), response.next_update.unix());
    let seconds = |time: i64| Duration::from_secs(u64::try_from(time).unwrap_or(0));
    let half = this + (next - this) / 2 - now;
    let wait = if half > 0 { seconds(half) } else { seconds((next - now) / 4) };
    jittered(wait, of).max(LEAST.min(seconds(next - now) / 2))
}

/// Asks the responder of a chain's leaf, or the one at `url`, for its status.
fn ask(chain: &[CertificateDer<'_>], url: Option<&str>, store: &Path) -> Fetched {
    let subject = match ocsp::Subject::of(chain) {
        Ok(subject) => subject,
        Err(error) => return (url.unwrap_or_default().to_owned(), Err(error.to_string())),
    };
    let Some(url) = url.map(str::to_owned).or_else(|| subject.url()) else {
        let why = "the certificate names no OCSP responder (its CA may have ended OCSP): name one with `ocsp.url`, or take \
                   `ocsp` out";
        return (String::new(), Err(why.to_owned()));
    };
    let response = request(&url, &subject.request(), store);
    let judged = response.and_then(|bytes| {
        subject
            .judge(&bytes, SystemTime::now())
            .map_err(|error| format!("its response can't be used: {error}"))
    });
    (url, judged)
}

/// A GET, as caches on the way answer it; where the responder has none, a POST (RFC 6960 §A.1).
fn request(url: &str, request: &[u8], store: &Path) -> Result<Vec<u8>, String> {
    let encoded = data_encoding::BASE64.encode(request);
    let encoded = encoded.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let accept = ("Accept", "application/ocsp-response");
    let trust: &[String] = &[];
    if encoded.len() <= MAX_GET {
        let url = format!("{}/{encoded}", url.trim_end_matches('/'));
        let wanted = Wanted { url: &url, trust, store, method: "GET", fields: &[accept], body: &[] };
        match fetch(&wanted) {
            Err(FetchError::Status(_)) => {}
            fetched => return fetched.map_err(|error| error.to_string()),
        }
    }
    let fields = &[accept, ("Content-Type", "application/ocsp-request")];
    let wanted = Wanted { url, trust, store, method: "POST", fields, body: request };
    fetch(&wanted).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_read_to_its_end() {
        let why = read(Path::new("/dev/zero")).unwrap_err();
        assert!(why.contains("this is not a file"), "{why}");
    }
}
