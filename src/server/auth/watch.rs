//! The thread that reads files of users and keys of issuers again.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{TokenKeys, read_keys, read_users};
use crate::auth::jwks::KeySet;
use crate::base::published::Published;
use crate::config::plan::{KeyLocation, KeySource};
use crate::io::fault;
use crate::proxy::rules::auth::UserFile;
use crate::server::Deployment;
use crate::server::file_watch::FileWatch;
use crate::server::map_watch::MapWatch;

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The least time between two fetches of a URL for a key that is not there: such tokens can be made up.
const LEAST: Duration = Duration::from_secs(10);
/// How long after a fetch that failed the next one is made: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Runs on a thread of its own for as long as the deployment lives.
pub(crate) fn run(deployment: &Weak<Deployment>) {
    let (mut watch, mut maps) = (Watch::default(), MapWatch::default());
    loop {
        std::thread::sleep(LOOK);
        let Some(deployment) = deployment.upgrade() else { return };
        fault::point("auth");
        watch.look(&deployment);
        maps.look(&deployment);
    }
}

#[derive(Default)]
struct Watch {
    users: HashMap<PathBuf, Seen>,
    keys: HashMap<KeySource, Seen>,
    urls: HashMap<KeySource, Fetched>,
}

/// A file, and what was wrong with it.
#[derive(Debug, Default)]
struct Seen {
    file: FileWatch,
    fault: Option<String>,
}

/// A URL's fetches.
struct Fetched {
    at: Instant,
    due: Instant,
    wait: Duration,
    running: Option<JoinHandle<Result<KeySet, String>>>,
    fault: Option<String>,
}

impl Watch {
    fn look(&mut self, deployment: &Arc<Deployment>) {
        let current = deployment.current();
        let (users, keys) = current.made.auth();
        retain(&mut self.users, users);
        retain(&mut self.keys, keys);
        retain(&mut self.urls, keys);
        for (path, cell) in users {
            self.users.entry(path.clone()).or_default().look_at_users(path, cell);
        }
        for (source, keys) in keys {
            match &source.at {
                KeyLocation::File(path) => {
                    let seen = self.keys.entry(source.clone()).or_default();
                    seen.look_at_keys(path, source, keys);
                }
                KeyLocation::Url { url, refresh, .. } => {
                    let fetched =
                        self.urls.entry(source.clone()).or_insert_with(|| Fetched::begin(keys, *refresh));
                    fetched.look(url, (source, *refresh), keys, &current.plan.store);
                }
            }
        }
    }
}

/// Forgets what the config that runs does not have.
fn retain<K: Hash + Eq, T, U>(known: &mut HashMap<K, T>, present: &rustc_hash::FxHashMap<K, U>) {
    known.retain(|key, _| present.contains_key(key));
}

impl Seen {
    /// Logs once what is wrong, and once that it is right again.
    fn note(&mut self, path: &Path, fault: Option<String>) {
        match &fault {
            Some(why) if self.fault.as_ref() != Some(why) => {
                tracing::warn!("auth: what is in force stays, correct the file: {why}");
            }
            None if self.fault.is_some() => {
                tracing::info!("auth: {}: the file is in order again", path.display())
            }
            _ => {}
        }
        self.fault = fault;
    }

    fn look_at_users(&mut self, path: &Path, cell: &Published<UserFile>) {
        if !self.file.settled(path) {
            return;
        }
        let read = read_users(path);
        if let Ok(users) = &read
            && cell.with(|file| file.users() == users)
        {
            return self.note(path, None);
        }
        let made = read.and_then(|users| UserFile::new(users).map_err(str::to_owned));
        match made {
            Ok(file) => {
                let count = file.users().len();
                cell.store(file.into());
                match count {
                    0 => tracing::warn!(
                        "auth: {}: there is no user in it: every request is refused",
                        path.display()
                    ),
                    _ => tracing::info!("auth: {}: {count} users are in force", path.display()),
                }
                self.fault = None;
            }
            Err(why) => self.note(path, Some(why)),
        }
    }

    fn look_at_keys(&mut self, path: &Path, source: &KeySource, keys: &TokenKeys) {
        if !self.file.settled(path) {
            return;
        }
        match read_keys(source, Path::new("")) {
            Ok(set) => {
                tracing::info!("auth: {}: {} keys are in force", path.display(), set.len());
                keys.cell.store(Some(set).into());
                self.fault = None;
            }
            Err(why) => {
                keys.failures.fetch_add(1, Relaxed);
                self.note(path, Some(why));
            }
        }
    }
}

impl Fetched {
    /// The keys were fetched with the config, or could not be.
    fn begin(keys: &TokenKeys, refresh: Duration) -> Self {
        let now = Instant::now();
        let known = keys.cell.with(Option::is_some);
        let due = if known { now + refresh } else { now };
        Self { at: now, due, wait: AGAIN.0, running: None, fault: None }
    }

    fn look(&mut self, url: &str, (source, refresh): (&KeySource, Duration), keys: &TokenKeys, store: &Path) {
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            self.finish(url, running, refresh, keys);
        }
        let now = Instant::now();
        let wanted = keys.wanted.load(Relaxed) && now >= self.at + LEAST;
        if self.running.is_some() || now < self.due && !wanted {
            return;
        }
        keys.wanted.store(false, Relaxed);
        self.at = now;
        let (source, store) = (source.clone(), store.to_owned());
        let thread = std::thread::Builder::new().name("fetch".to_owned());
        match thread.spawn(move || read_keys(&source, &store)) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                tracing::warn!("auth: no thread to fetch {url}: {error}");
                self.due = now + self.wait;
            }
        }
    }

    fn finish(
        &mut self,
        url: &str,
        running: JoinHandle<Result<KeySet, String>>,
        refresh: Duration,
        keys: &TokenKeys,
    ) {
        let fetched = running.join().unwrap_or_else(|_| Err("the fetch failed: a bug of Ringate".to_owned()));
        match fetched {
            Ok(set) => {
                if self.fault.take().is_some() || keys.cell.with(Option::is_none) {
                    tracing::info!("auth: {url}: {} keys are in force", set.len());
                }
                keys.cell.store(Some(set).into());
                (self.due, self.wait) = (Instant::now() + refresh, AGAIN.0);
            }
            Err(why) => {
                keys.failures.fetch_add(1, Relaxed);
                if self.fault.as_ref() != Some(&why) {
                    let kept = if keys.cell.with(Option::is_some) {
                        "those before stay"
                    } else {
                        "there are none yet"
                    };
                    tracing::warn!("auth: the keys of tokens can't be fetched, {kept}: {why}");
                }
                self.fault = Some(why);
                self.due = Instant::now() + self.wait.min(refresh);
                self.wait = (2 * self.wait).min(AGAIN.1);
            }
        }
    }
}
