//! What `auth` of routes is checked against: files of users, keys of issuers, and the threads that make hashes.
//!
//! ```text
//! twice a second   files: changed and whole ─► read ─► published in their cells
//!                  URLs:  due, or a token names a key that is not there ─► fetched ─► published
//! ```
//!
//! What can't be read leaves what is in force, and is logged. Cells outlive reloads that leave their files and URLs.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::fetch::{Wanted, fetch};
use super::regular_file;
use crate::auth::htpasswd::Users;
use crate::auth::jwks::KeySet;
use crate::base::limits::{MAX_CONFIG_BYTES, PASSWORD_NICE, PASSWORD_THREADS};
use crate::base::published::Published;
use crate::config::plan::{KeyLocation, KeySource};
use crate::io::vital;
use crate::proxy::rules::auth::{Job, PasswordChecks, UserFile};

mod token_keys;
pub(crate) mod watch;

pub(super) use token_keys::TokenKeys;

/// The queue of the threads that make hashes. They start with the first route that needs them, and stay.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn password_checks() -> std::io::Result<Arc<PasswordChecks>> {
    static POOL: OnceLock<Arc<PasswordChecks>> = OnceLock::new();
    if let Some(pool) = POOL.get() {
        return Ok(Arc::clone(pool));
    }
    let (checks, jobs) = PasswordChecks::new();
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..PASSWORD_THREADS {
        let jobs = Arc::clone(&jobs);
        let thread = std::thread::Builder::new().name(format!("passwords-{number}"));
        thread.spawn(move || vital::guard("a thread of passwords", || make_hashes(&jobs)))?;
    }
    Ok(Arc::clone(POOL.get_or_init(|| Arc::new(checks))))
}

/// Makes one hash after the other, for as long as there is a queue.
fn make_hashes(jobs: &Mutex<Receiver<Job>>) {
    // A thread has a nice value of its own on Linux. Workers that have something to do go first.
    if let Err(error) = rustix::process::nice(PASSWORD_NICE) {
        tracing::debug!("auth: the threads that verify passwords have the priority of workers: {error}");
    }
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job.run(),
            Err(_) => return,
        }
    }
}

/// Reads a file of users.
///
/// # Errors
/// It can't be read, or is none; in words.
pub(super) fn read_users(path: &std::path::Path) -> Result<Users, String> {
    let text = regular_file::read_text(path, MAX_CONFIG_BYTES as u64);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    Users::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads the keys of an issuer, from their file or URL.
///
/// # Errors
/// They can't be had, or are none; in words.
pub(super) fn read_keys(source: &KeySource, store: &std::path::Path) -> Result<KeySet, String> {
    let (name, bytes) = match &source.at {
        KeyLocation::File(path) => {
            let read = regular_file::read(path, MAX_CONFIG_BYTES as u64);
            (path.display().to_string(), read.map_err(|it| it.to_string()))
        }
        KeyLocation::Url { url, trust, .. } => (url.clone(), json(url, trust, store)),
    };
    let keys = bytes.and_then(|bytes| KeySet::parse(&bytes, source.secrets));
    keys.map_err(|error| format!("{name}: {error}"))
}

/// The content of a URL with keys. `trust`: as an upstream's; `store`: where names in it are found.
fn json(url: &str, trust: &[String], store: &std::path::Path) -> Result<Vec<u8>, String> {
    let fields = &[("Accept", "application/json")];
    fetch(&Wanted { url, trust, store, method: "GET", fields, body: &[] }).map_err(|error| error.to_string())
}

/// A cell for a file of users.
///
/// # Errors
/// In words.
pub(super) fn user_cell(users: Users) -> Result<Published<UserFile>, String> {
    UserFile::new(users).map(Published::new).map_err(str::to_owned)
}
