//! When the certificates of the store end, as metrics have it: read when something there has changed, and never by a scrape.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::renewal::{FileStamp, stamp_of};
use crate::base::published::Published;
use crate::certs::{Store, Timestamp};

/// One certificate: its name, its active generation, and the end of that.
pub(crate) type StoredEnd = (String, u32, Timestamp);

/// See the module.
#[derive(Debug)]
pub(crate) struct StoredEnds {
    ends: Published<Vec<StoredEnd>>,
    read: Mutex<Option<Read>>,
}

/// The store when it was read.
#[derive(Debug)]
struct Read {
    path: PathBuf,
    /// Kept, as opening a store reads every record.
    store: Store,
    records: Vec<(String, Option<FileStamp>)>,
}

impl StoredEnds {
    /// As the store at `path` has them now.
    pub(crate) fn new(path: &Path) -> Self {
        let ends = Self { ends: Published::new(Vec::new()), read: Mutex::default() };
        ends.look(path);
        ends
    }

    /// What is known.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&[StoredEnd]) -> R) -> R {
        self.ends.with(|ends| read(ends))
    }

    /// Reads the records again if any has changed. Costs a look at each of them.
    pub(crate) fn look(&self, path: &Path) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = read.take().filter(|read| read.path == path);
        let Some(mut known) = known.or_else(|| {
            let store = Store::open(path).ok()?;
            Some(Read { path: path.to_owned(), store, records: Vec::new() })
        }) else {
            return self.ends.store(Vec::new().into());
        };
        let files = known.store.record_files().into_iter();
        let records: Vec<_> = files.map(|(name, file)| (name, stamp_of(&file))).collect();
        if known.records != records {
            self.ends.store(known.store.ends().into());
            known.records = records;
        }
        *read = Some(known);
    }
}
