//! Consumers and credentials on disk: a file each, replaced by one rename.
//!
//! ```text
//! STORE/_consumers/NAME.toml      a consumer; its removal is what deletes its credentials
//! STORE/_credentials/NAME.toml    a credential: its state, and digests of its keys
//! ```
//!
//! No certificate's name begins with `_`, so the folders are in nothing's way.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::disk::{entries, make_folder, read_file, sync, write_whole};
use super::lock::Lock;
use super::{Store, StoreError, TEMPORARY, check_name};
use crate::certs::consumers::{Consumer, Credential};

const CONSUMERS: &str = "_consumers";
const CREDENTIALS: &str = "_credentials";
/// The largest file of a consumer or credential: a CSR and a chain are in it.
const MAX_BYTES: u64 = 512 * 1024;
const SUFFIX: &str = ".toml";

/// The writers' lock, held while a consumer or credential is changed.
#[derive(Debug)]
pub(crate) struct ConsumersLock(#[expect(dead_code, reason = "held, not read")] Lock);

impl Store {
    /// Waits for other writers, and keeps them out.
    pub(crate) fn lock_consumers(&self) -> Result<ConsumersLock, StoreError> {
        self.lock().map(ConsumersLock)
    }

    /// Every consumer, or why one can't be read.
    pub(crate) fn consumers(&self) -> Result<Vec<Result<Consumer, StoreError>>, StoreError> {
        self.all(CONSUMERS, Consumer::parse)
    }

    /// Every credential, or why one can't be read.
    pub(crate) fn credentials(&self) -> Result<Vec<Result<Credential, StoreError>>, StoreError> {
        self.all(CREDENTIALS, Credential::parse)
    }

    /// One consumer, if there is one of this name.
    pub(crate) fn consumer(&self, name: &str) -> Result<Option<Consumer>, StoreError> {
        self.one(CONSUMERS, name, Consumer::parse)
    }

    /// One credential, if there is one of this name.
    pub(crate) fn credential(&self, name: &str) -> Result<Option<Credential>, StoreError> {
        self.one(CREDENTIALS, name, Credential::parse)
    }

    /// Writes a consumer, new or changed.
    pub(crate) fn put_consumer(&self, consumer: &Consumer, lock: &ConsumersLock) -> Result<(), StoreError> {
        self.put_text(CONSUMERS, &consumer.name, consumer.to_text(), lock)
    }

    /// Writes a credential, new or changed.
    pub(crate) fn put_credential(
        &self,
        credential: &Credential,
        lock: &ConsumersLock,
    ) -> Result<(), StoreError> {
        self.put_text(CREDENTIALS, &credential.name, credential.to_text(), lock)
    }

    /// Removes a consumer, if there is one of this name.
    pub(crate) fn delete_consumer(&self, name: &str, _: &ConsumersLock) -> Result<(), StoreError> {
        self.remove_text(CONSUMERS, name)
    }

    /// Removes a credential, if there is one of this name.
    pub(crate) fn delete_credential(&self, name: &str, _: &ConsumersLock) -> Result<(), StoreError> {
        self.remove_text(CREDENTIALS, name)
    }

    fn text_path(&self, folder: &str, name: &str) -> PathBuf {
        self.path().join(folder).join(format!("{name}{SUFFIX}"))
    }

    fn all<T>(
        &self,
        folder: &str,
        parse: fn(&str, &str) -> Result<T, String>,
    ) -> Result<Vec<Result<T, StoreError>>, StoreError> {
        let names = entries(&self.path().join(folder))?;
        let names = names.iter().filter_map(|entry| entry.strip_suffix(SUFFIX));
        let named = names.filter(|name| check_name(name).is_ok());
        Ok(named.filter_map(|name| self.one(folder, name, parse).transpose()).collect())
    }

    fn one<T>(
        &self,
        folder: &str,
        name: &str,
        parse: fn(&str, &str) -> Result<T, String>,
    ) -> Result<Option<T>, StoreError> {
        // A name from a request is no path.
        if check_name(name).is_err() {
            return Ok(None);
        }
        let path = self.text_path(folder, name);
        let text = match read_file(&path, MAX_BYTES) {
            Ok(content) => String::from_utf8_lossy(&content.bytes).into_owned(),
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        parse(&text, name).map(Some).map_err(|reason| StoreError::Record { path, reason })
    }

    fn put_text(
        &self,
        folder: &str,
        name: &str,
        text: Result<String, String>,
        _: &ConsumersLock,
    ) -> Result<(), StoreError> {
        check_name(name)?;
        let text =
            text.map_err(|reason| StoreError::Record { path: self.text_path(folder, name), reason })?;
        let folder = self.path().join(folder);
        if !folder.is_dir() {
            make_folder(&folder)?;
            sync(self.path())?;
        }
        let file = format!("{name}{SUFFIX}");
        // Left behind by a crash: the holder of the lock removes it.
        let _ = fs::remove_file(folder.join(format!("{TEMPORARY}{file}")));
        write_whole(&folder, &file, text.as_bytes(), 0o600)
    }

    fn remove_text(&self, folder: &str, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let path = self.text_path(folder, name);
        match fs::remove_file(&path) {
            Ok(()) => sync(&self.path().join(folder)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StoreError::io(&path, "remove", error)),
        }
    }
}
