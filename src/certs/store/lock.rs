//! The writers' lock: one at a time, over processes and threads alike.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::StoreError;
use super::disk;

const LOCK_FILE: &str = ".lock";
/// How often to try: flock has no wait with a bound.
const POLL: Duration = Duration::from_millis(5);
/// Longest text about a holder that is believed.
const MAX_HOLDER_BYTES: usize = 200;

/// Held until it is dropped, or its process ends in any way: the kernel releases it.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// Takes the lock of the store in `root`, waiting for `patience` at most.
pub(super) fn take(root: &Path, patience: Duration) -> Result<Lock, StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(lock) = try_take(root)? {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            let path = root.join(LOCK_FILE);
            return Err(StoreError::Locked { holder: holder(&path), path, waited: patience });
        }
        std::thread::sleep(POLL);
    }
}

/// Takes the lock if it is free.
pub(super) fn try_take(root: &Path) -> Result<Option<Lock>, StoreError> {
    let path = root.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    // A link would let the folder's owner make root write elsewhere.
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = options.custom_flags(flags).open(&path);
    let mut file = file.map_err(|error| StoreError::io(&path, "open", error))?;
    let metadata = file.metadata().map_err(|error| StoreError::io(&path, "inspect", error))?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(StoreError::InTheWay { path });
    }
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(StoreError::io(&path, "lock", error.into())),
        }
    }
    disk::give_to_owner(&file, root);
    // For processes that wait in vain. It is a hint, so a full disk does not matter here.
    let _ = file.set_len(0).and_then(|()| file.write_all(myself().as_bytes()));
    Ok(Some(Lock(file)))
}

fn myself() -> String {
    let name = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    format!("process {} ({})\n", std::process::id(), name.trim())
}

/// The process that holds the lock, as far as is known.
fn holder(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default().trim();
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if first.is_empty() || first.len() > MAX_HOLDER_BYTES || !first.chars().all(plain) {
        return "another process".to_owned();
    }
    first.to_owned()
}
