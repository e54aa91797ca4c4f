//! What changes the store: each call takes the lock, and either happens whole or not at all.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use zeroize::Zeroizing;

use super::disk::{entries, make_folder, read_file, remove, rename, sync, write_new, write_whole};
use super::record::{Activation, Record, RequestRecord, Rollback, TrialRecord};
use super::{
    CHAIN_FILE, FACTS_FILE, KEY_FILE, MAX_IDENTITY_BYTES, Meta, REQUEST_FILE, StateError, Store, StoreError,
    TEMPORARY, check_name, lock,
};
use crate::certs::bundle::Bundle;
use crate::certs::generate::Csr;
use crate::certs::passphrase::Passphrase;
use crate::certs::time::Timestamp;

/// A generation that waits to be activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Staged {
    /// Its number.
    pub generation: u32,
    /// The one that was staged before it, and now is retired.
    pub replaced: Option<u32>,
}

impl Store {
    /// Makes `bundle` the active generation of `name`, which is created if there is none, and returns
    /// the generation's number. What was active is the previous generation then.
    pub fn put(&self, name: &str, bundle: &Bundle, meta: &Meta) -> Result<u32, StoreError> {
        self.check(name, bundle, meta)?;
        let _lock = self.lock()?;
        match self.record(name) {
            Ok(record) => self.change(record, |record| {
                let number = self.add(&self.folder(name), record, bundle)?;
                record.put(number, bundle, meta);
                Ok(number)
            }),
            Err(StoreError::NotFound { .. }) => self.create_locked(name, bundle, meta),
            Err(error) => Err(error),
        }
    }

    /// Makes `bundle` the first and active generation of `name`, which must not exist, and returns its number.
    pub fn create(&self, name: &str, bundle: &Bundle, meta: &Meta) -> Result<u32, StoreError> {
        self.check(name, bundle, meta)?;
        let _lock = self.lock()?;
        self.must_be_free(name)?;
        self.create_locked(name, bundle, meta)
    }

    /// Makes `bundle` the staged generation of `name`, which must exist, in place of what was staged before.
    pub fn stage(&self, name: &str, bundle: &Bundle, meta: &Meta) -> Result<Staged, StoreError> {
        self.check(name, bundle, meta)?;
        self.update(name, |record| {
            let generation = self.add(&self.folder(name), record, bundle)?;
            let replaced = record.stage(generation, bundle, meta);
            Ok(Staged { generation, replaced })
        })
    }

    /// Makes the staged generation the active one. `number`, if given, is the generation that is meant: should
    /// another one have been staged meanwhile, nothing happens.
    pub fn activate(
        &self,
        name: &str,
        number: Option<u32>,
        now: SystemTime,
    ) -> Result<Activation, StoreError> {
        self.update(name, |record| {
            let name = || record.name.clone();
            let staged =
                record.staged.ok_or_else(|| StoreError::State(StateError::NothingStaged { name: name() }))?;
            if let Some(wanted) = number.filter(|wanted| *wanted != staged) {
                return Err(StoreError::State(StateError::OtherStaged { name: name(), wanted, staged }));
            }
            self.must_be_valid(record, staged, now)?;
            let name = name();
            record
                .activate(Timestamp::from(now))
                .map_err(|_| StoreError::State(StateError::NothingStaged { name }))
        })
    }

    /// Makes the previous generation the active one again.
    pub fn rollback(&self, name: &str, now: SystemTime) -> Result<Rollback, StoreError> {
        self.update(name, |record| {
            let nothing = || StoreError::State(StateError::NothingPrevious { name: record.name.clone() });
            self.must_be_valid(record, record.previous.ok_or_else(nothing)?, now)?;
            let name = record.name.clone();
            record.rollback().map_err(|_| StoreError::State(StateError::NothingPrevious { name }))
        })
    }

    /// Ends a staged or previous generation, or gives a request up: its key is deleted.
    pub fn retire(&self, name: &str, number: u32) -> Result<(), StoreError> {
        self.update(name, |record| {
            let name = record.name.clone();
            if record.active == Some(number) {
                return Err(StoreError::State(StateError::RetiresActive { name, number }));
            }
            if record.retire(number) {
                return Ok(());
            }
            let numbers = record.staged.into_iter().chain(record.previous).collect();
            Err(StoreError::State(StateError::NoSuchGeneration { name, number, numbers }))
        })
    }

    /// Stores the result of a trial of the staged generation `number`. Nothing happens if it is not staged any more.
    pub fn record_trial(
        &self,
        name: &str,
        number: u32,
        passed: bool,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        self.update(name, |record| {
            if record.staged == Some(number) {
                record.trial = Some(TrialRecord { generation: number, at: Timestamp::from(now), passed });
            }
            Ok(())
        })
    }

    /// Sets the description of `name`.
    pub fn set_description(&self, name: &str, description: &str) -> Result<(), StoreError> {
        self.update(name, |record| {
            description.clone_into(&mut record.description);
            Ok(())
        })
    }

    /// Keeps a request with its key until [`Store::complete`] brings the certificate. `name` is created if there is
    /// none. A request that waits already is only replaced with `replace`.
    pub fn request(
        &self,
        name: &str,
        csr: &Csr,
        subject: &str,
        meta: &Meta,
        replace: bool,
    ) -> Result<u32, StoreError> {
        check_name(name)?;
        let _lock = self.lock()?;
        let change = |record: &mut Record, folder: &Path| {
            if let Some(waiting) = record.request.as_ref().filter(|_| !replace) {
                let (name, subject) = (record.name.clone(), waiting.subject.clone());
                return Err(StoreError::State(StateError::RequestWaits { name, subject }));
            }
            if let Some(description) = &meta.description {
                record.description.clone_from(description);
            }
            let number = self.next_number(record)?;
            let (csr_pem, key_pem) = (csr.csr_pem.as_bytes(), csr.key_pem.as_bytes());
            write_folder(folder, number, &[(REQUEST_FILE, csr_pem, 0o644), (KEY_FILE, key_pem, 0o600)])?;
            let created = Timestamp::from(meta.now);
            record.request = Some(RequestRecord { number, created, subject: subject.to_owned() });
            Ok(number)
        };
        match self.record(name) {
            Ok(record) => self.change(record, |record| change(record, &self.folder(name))),
            Err(StoreError::NotFound { .. }) => self.create_with(Record::new(name, meta.now.into()), change),
            Err(error) => Err(error),
        }
    }

    /// Brings the certificate for the request that waits: `chain` is in any form that is read, the key is the request's.
    /// It becomes active if nothing is, staged otherwise. Returns the generation's number, whether it is active, and its
    /// content.
    pub fn complete(
        &self,
        name: &str,
        chain: &[u8],
        passphrase: Option<&Passphrase>,
        meta: &Meta,
    ) -> Result<(u32, bool, Bundle), StoreError> {
        self.update(name, |record| {
            let none = || StoreError::State(StateError::NoRequest { name: record.name.clone() });
            let waiting = record.request.as_ref().ok_or_else(none)?.number;
            let folder = self.generation_folder(name, waiting);
            let key = read_file(&folder.join(KEY_FILE), MAX_IDENTITY_BYTES)?;
            let bundle = Bundle::from_locked_parts(chain, Some(&key.bytes), passphrase);
            let bundle = bundle.map_err(|error| StoreError::bundle(&folder, error))?;
            self.check(name, &bundle, meta)?;
            let number = self.add(&self.folder(name), record, &bundle)?;
            record.request = None;
            let first = record.active.is_none();
            if first {
                record.put(number, &bundle, meta);
            } else {
                record.stage(number, &bundle, meta);
            }
            Ok((number, first, bundle))
        })
    }

    /// Removes `name` with all its generations. Whether anything uses it is for the caller to know.
    pub fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let _lock = self.lock()?;
        // Not `record`: a certificate whose record is broken can be deleted as well.
        let folder = self.folder(name);
        if !folder.join(FACTS_FILE).exists() {
            return Err(self.not_found(name));
        }
        let temporary = self.root.join(format!("{TEMPORARY}{name}"));
        rename(&folder, &temporary)?;
        sync(&self.root)?;
        remove(&temporary)
    }

    // Steps

    fn check(&self, name: &str, bundle: &Bundle, meta: &Meta) -> Result<(), StoreError> {
        check_name(name)?;
        bundle.check_validity(meta.now).map_err(|error| StoreError::bundle(&self.folder(name), error))
    }

    fn must_be_free(&self, name: &str) -> Result<(), StoreError> {
        match self.record(name) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            _ => Err(StoreError::State(StateError::Exists { name: name.to_owned() })),
        }
    }

    fn must_be_valid(&self, record: &Record, number: u32, now: SystemTime) -> Result<(), StoreError> {
        let bundle = self.load_generation(record, number)?;
        let folder = self.generation_folder(&record.name, number);
        bundle.check_validity(now).map_err(|error| StoreError::bundle(&folder, error))
    }

    fn next_number(&self, record: &mut Record) -> Result<u32, StoreError> {
        record.next_number().map_err(|_| StoreError::Record {
            path: self.folder(&record.name).join(FACTS_FILE),
            reason: "all generation numbers are used up; put it under a new name".to_owned(),
        })
    }

    /// Writes the files of a new generation. They do not count before the record mentions them.
    fn add(&self, folder: &Path, record: &mut Record, bundle: &Bundle) -> Result<u32, StoreError> {
        let number = self.next_number(record)?;
        let chain = bundle.chain_pem();
        let key: Option<Zeroizing<String>> = bundle.key_pem();
        let mut files = vec![(CHAIN_FILE, chain.as_bytes(), 0o644)];
        files.extend(key.as_ref().map(|key| (KEY_FILE, key.as_bytes(), 0o600)));
        write_folder(folder, number, &files)?;
        Ok(number)
    }

    fn create_locked(&self, name: &str, bundle: &Bundle, meta: &Meta) -> Result<u32, StoreError> {
        self.create_with(Record::new(name, meta.now.into()), |record, folder| {
            let number = self.add(folder, record, bundle)?;
            record.put(number, bundle, meta);
            Ok(number)
        })
    }

    /// A new certificate, whose folder appears at once.
    fn create_with<T>(
        &self,
        mut record: Record,
        fill: impl FnOnce(&mut Record, &Path) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let folder = self.folder(&record.name);
        let temporary = self.root.join(format!("{TEMPORARY}{}", record.name));
        make_folder(&temporary)?;
        let filled = fill(&mut record, &temporary)
            .and_then(|filled| self.write_record(&temporary, &record).map(|()| filled))
            .and_then(|filled| rename(&temporary, &folder).map(|()| filled));
        match filled {
            Ok(filled) => {
                sync(&self.root)?;
                Ok(filled)
            }
            Err(error) => {
                // A key without a request; the next process that opens the store would remove it, too.
                let _ = remove(&temporary);
                Err(error)
            }
        }
    }

    /// Changes `name`, which must exist.
    fn update<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Record) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        check_name(name)?;
        // Before the lock, which makes the store's folder.
        self.record(name)?;
        let _lock = self.lock()?;
        self.change(self.record(name)?, change)
    }

    /// Changes a record with the lock held, and removes the files that are of no state any more.
    fn change<T>(
        &self,
        mut record: Record,
        change: impl FnOnce(&mut Record) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let folder = self.folder(&record.name);
        let before = record.clone();
        let changed = change(&mut record).and_then(|changed| {
            if record != before {
                self.write_record(&folder, &record)?;
            }
            Ok(changed)
        });
        // The change is done or not by now: files left over are no error, and the next process that opens the store removes them.
        let _ = self.record(&before.name).and_then(|record| sweep(&folder, &record));
        changed
    }

    fn write_record(&self, folder: &Path, record: &Record) -> Result<(), StoreError> {
        let path = folder.join(FACTS_FILE);
        let text = record.to_text().map_err(|reason| StoreError::Record { path, reason })?;
        write_whole(folder, FACTS_FILE, text.as_bytes(), 0o644)
    }

    // Leftovers

    /// Takes the writers' lock, and removes what a crashed writer left behind.
    pub(super) fn lock(&self) -> Result<lock::Lock, StoreError> {
        self.make_root()?;
        let lock = lock::take(&self.root, self.patience)?;
        for path in self.leftovers() {
            remove_at_once(&path)?;
        }
        Ok(lock)
    }

    /// Removes what a crashed writer left behind. Where this is impossible (another writer, another user's store,
    /// a file system that is read-only), it waits for the next writer.
    pub(super) fn clean(&self) {
        if !self.leftovers().is_empty()
            && let Ok(Some(_lock)) = lock::try_take(&self.root)
        {
            for path in self.leftovers() {
                let _ = remove_at_once(&path);
            }
        }
    }

    /// Files and folders of ours that no record mentions. Those of a writer at work are among them: remove
    /// them with the lock held only.
    fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for name in entries(&self.root).unwrap_or_default() {
            let folder = self.root.join(&name);
            if name.starts_with(TEMPORARY) {
                found.push(folder);
            } else if check_name(&name).is_ok()
                && let Ok(record) = self.record(&name)
            {
                found.extend(unmentioned(&folder, &record));
            }
        }
        found
    }

    fn make_root(&self) -> Result<(), StoreError> {
        if self.root.is_dir() {
            return Ok(());
        }
        let parent = match self.root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(|error| StoreError::io(parent, "make", error))?;
        match make_folder(&self.root) {
            // Another writer was faster.
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        sync(parent)
    }
}

/// A folder of this number with these files, which appears at once.
fn write_folder(folder: &Path, number: u32, files: &[(&str, &[u8], u32)]) -> Result<(), StoreError> {
    let temporary = folder.join(format!("{TEMPORARY}{number:06}"));
    make_folder(&temporary)?;
    for (name, bytes, mode) in files {
        write_new(&temporary.join(name), bytes, *mode)?;
    }
    sync(&temporary)?;
    rename(&temporary, &folder.join(format!("{number:06}")))?;
    sync(folder)
}

/// Temporary files, and folders of generations that have none. Anything else is someone's own.
fn unmentioned(folder: &Path, record: &Record) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in entries(folder).unwrap_or_default() {
        let is_generation = name.len() == 6 && name.bytes().all(|byte| byte.is_ascii_digit());
        let is_known = name.parse().is_ok_and(|number| record.has_folder(number));
        if name.starts_with(TEMPORARY) || (is_generation && !is_known) {
            found.push(folder.join(name));
        }
    }
    found
}

fn sweep(folder: &Path, record: &Record) -> Result<(), StoreError> {
    unmentioned(folder, record).iter().try_for_each(|path| remove_at_once(path))
}

/// Removes a file or a folder. A folder is renamed first, so that no reader sees half of it.
fn remove_at_once(path: &Path) -> Result<(), StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with(TEMPORARY) {
        return remove(path);
    }
    let temporary = path.with_file_name(format!("{TEMPORARY}{name}"));
    rename(path, &temporary)?;
    remove(&temporary)
}
