//! The store: a folder of readable files, and the only part of `certs` that touches the disk.
//!
//! ```text
//! STORE/.lock                        held (flock) by the writer, with its process id
//! STORE/NAME/certificate.toml        the truth: which generations exist, and which state each is in
//! STORE/NAME/000001/chain.pem        the chain, leaf first
//! STORE/NAME/000001/key.pem          its key, 0600; absent in a certificate without one
//! STORE/NAME/000002/request.pem      in place of a chain: a request that waits for its certificate
//! STORE/_consumers, _credentials      see `consumers`
//! STORE/NAME/.tmp-…, STORE/.tmp-…    being written, or left behind by a crash
//! ```
//!
//! Writing a generation: its folder is filled under a temporary name, synced and renamed; then
//! `certificate.toml` is replaced in the same way. That last rename is the commit. Before it, the new
//! folder is not mentioned and so does not exist; the next process that opens the store removes it. Readers need no
//! lock: what `certificate.toml` mentions is complete and never changes.
//!
//! Each call is synchronous, and writers wait for each other (10 s at most, [`Store::with_patience`]): keep them off a thread
//! that must not block.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::bundle::Bundle;
use super::time::Timestamp;
use crate::base::text::without_keys;

mod consumers;
mod crl;
mod describe;
mod disk;
mod error;
mod files;
mod keyfile;
mod lock;
mod record;
mod secret;
pub(super) mod write;

pub(crate) use consumers::ConsumersLock;
pub(crate) use crl::load_crls;
pub(crate) use describe::{Description, GenerationInfo};
pub(crate) use error::{Exposed, StateError, StoreError};
pub(crate) use files::trust_files;
pub(crate) use files::{Files, Loaded, load_file, load_passphrase, read_secret};
#[allow(unreachable_pub)] // for internals
pub use files::{load_pair, load_trust};
pub(crate) use keyfile::{KEYS_FOLDER, change_keys, load_keys};
pub(crate) use record::{Activation, GenerationState, Rollback};

use disk::{entries, exposure, folder_exposure, read_file};
use record::Record;

/// The largest file with a chain, a key or both.
const MAX_IDENTITY_BYTES: u64 = 1 << 20;
/// The largest file with trusted certificates. The system's own bundle has a quarter of a MiB.
const MAX_TRUST_BYTES: u64 = 16 << 20;
/// The largest file with a passphrase.
const MAX_PASSPHRASE_BYTES: u64 = 4096;
/// Largest revocation list: some public CAs' have hundreds of thousands of entries.
const MAX_CRL_BYTES: u64 = 64 * 1024 * 1024;
/// The longest certificate name.
const MAX_NAME_BYTES: usize = 64;
/// Most names that a [`StoreError::NotFound`] carries.
const MAX_SIMILAR: usize = 8;
/// How long a writer waits for another one. Each holds the lock for a few disk writes.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How often a reader begins again because a writer was faster.
const MAX_READS: usize = 16;

/// Names that no certificate has. In `trust`, the first means the system's roots; the other is not ours to write to or delete.
const RESERVED_NAMES: [&str; 2] = ["system", KEYS_FOLDER];

const FACTS_FILE: &str = "certificate.toml";
const CHAIN_FILE: &str = "chain.pem";
const KEY_FILE: &str = "key.pem";
const REQUEST_FILE: &str = "request.pem";
const TEMPORARY: &str = ".tmp-";

/// Where a generation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Made here; may renew itself.
    Generated,
    /// Brought by the user.
    Imported,
}

/// What is recorded beside a bundle.
#[derive(Clone, Debug)]
pub struct Meta {
    /// What the certificate is for. Left out: as it was.
    pub description: Option<String>,
    /// Where the bundle came from.
    pub origin: Origin,
    /// The time that is recorded, and at which the bundle must be valid.
    pub now: SystemTime,
}

/// A certificate with its active generation.
#[derive(Clone, Debug)]
pub struct StoredCertificate {
    /// Its name.
    pub name: String,
    /// What it is for; perhaps empty.
    pub description: String,
    /// When it was first put into the store.
    pub created: Timestamp,
    /// The active generation's number.
    pub generation: u32,
    /// When the active generation was put into the store.
    pub generation_created: Timestamp,
    /// Where the active generation came from.
    pub origin: Origin,
    /// The staged generation's number, if there is one.
    pub staged: Option<u32>,
    /// The number of the generation that a rollback brings back, if there is one.
    pub previous: Option<u32>,
    /// The active generation's content.
    pub bundle: Bundle,
}

/// All certificates, and those that could not be read.
#[derive(Debug, Default)]
pub struct Listing {
    /// By name.
    pub certificates: Vec<StoredCertificate>,
    /// By name. One broken certificate does not hide the others.
    pub broken: Vec<(String, StoreError)>,
}

/// The certificate store in a folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    patience: Duration,
}

impl Store {
    /// The store at `path`. A folder that does not exist yet is an empty store; the first write makes it.
    /// What a crashed writer left behind is removed, if no other writer is at work.
    ///
    /// # Errors
    /// `path` is not a folder, or one that everyone can write to.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = path.into();
        match fs::metadata(&root) {
            Ok(metadata) if !metadata.is_dir() => return Err(StoreError::NotAFolder { path: root }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { root, patience: LOCK_PATIENCE });
            }
            Err(error) => return Err(StoreError::io(&root, "inspect", error)),
        }
        if let Some(exposed) = folder_exposure(&root).filter(Exposed::is_open_to_all) {
            return Err(StoreError::Exposed(exposed));
        }
        let store = Self { root, patience: LOCK_PATIENCE };
        store.clean();
        Ok(store)
    }

    /// The same store; its writers wait so long for each other.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Folders of the store that users other than their owner can access: warnings at the start. Exposed keys
    /// are errors when they are read.
    pub fn exposed(&self) -> Vec<Exposed> {
        let mut found: Vec<Exposed> = folder_exposure(&self.root).into_iter().collect();
        for name in self.names().unwrap_or_default() {
            let folder = self.folder(&name);
            found.extend(folder_exposure(&folder));
            let Ok(record) = self.record(&name) else { continue };
            for entry in entries(&folder).unwrap_or_default() {
                if entry.parse().is_ok_and(|number| record.has_folder(number)) {
                    found.extend(folder_exposure(&folder.join(entry)));
                }
            }
        }
        found
    }

    /// The certificate `name` with its active generation.
    pub fn get(&self, name: &str) -> Result<StoredCertificate, StoreError> {
        self.consistent(name, |record| self.load(record))
    }

    /// The content of a generation of `name` that has files: active, staged or previous.
    pub fn get_generation(&self, name: &str, number: u32) -> Result<Bundle, StoreError> {
        self.consistent(name, |record| self.load_generation(record, number))
    }

    /// The staged generation of `name`, if there is one: its number and content.
    pub fn get_staged(&self, name: &str) -> Result<Option<(u32, Bundle)>, StoreError> {
        self.consistent(name, |record| self.load_optional(record, record.staged))
    }

    /// The previous generation of `name`, if there is one: its number and content.
    pub fn get_previous(&self, name: &str) -> Result<Option<(u32, Bundle)>, StoreError> {
        self.consistent(name, |record| self.load_optional(record, record.previous))
    }

    /// Every certificate in the store that has an active generation.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for name in self.names()? {
            match self.get(&name) {
                Ok(certificate) => listing.certificates.push(certificate),
                // Deleted since its name was read.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => listing.broken.push((name, error)),
            }
        }
        Ok(listing)
    }

    /// Each certificate with the number of its active generation and the last second of that, by what is recorded: no
    /// key and no chain is read. One that is broken, or has none, is left out.
    pub fn ends(&self) -> Vec<(String, u32, Timestamp)> {
        let names = self.names().unwrap_or_default().into_iter();
        let ends = names.filter_map(|name| {
            let record = self.record(&name).ok()?;
            let active = record.generation(record.active?)?;
            Some((name, active.number, active.not_after))
        });
        ends.collect()
    }

    /// The file of each certificate's record, by name: it is replaced whenever the record changes.
    pub(crate) fn record_files(&self) -> Vec<(String, PathBuf)> {
        let names = self.names().unwrap_or_default().into_iter();
        names.map(|name| (name.clone(), self.folder(&name).join(FACTS_FILE))).collect()
    }

    /// The names of all certificates, sorted.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = entries(&self.root)?
            .into_iter()
            .filter(|name| check_name(name).is_ok() && self.folder(name).join(FACTS_FILE).exists())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn generation_folder(&self, name: &str, number: u32) -> PathBuf {
        self.folder(name).join(format!("{number:06}"))
    }

    /// Runs `read` on the record of `name`; again while files vanish under it and the record changes, since
    /// writers may commit between the record and its files.
    fn consistent<T>(
        &self,
        name: &str,
        read: impl Fn(&Record) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        check_name(name)?;
        let mut record = self.record(name)?;
        for _ in 1..MAX_READS {
            match read(&record) {
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
            let now = self.record(name)?;
            if now == record {
                break;
            }
            record = now;
        }
        read(&record)
    }

    fn record(&self, name: &str) -> Result<Record, StoreError> {
        let path = self.folder(name).join(FACTS_FILE);
        let text = match read_file(&path, MAX_IDENTITY_BYTES) {
            Ok(content) => String::from_utf8_lossy(&content.bytes).into_owned(),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(self.not_found(name));
            }
            Err(error) => return Err(error),
        };
        Record::parse(&text, name).map_err(|reason| StoreError::Record { path, reason })
    }

    fn load(&self, record: &Record) -> Result<StoredCertificate, StoreError> {
        let active = record.active.and_then(|number| record.generation(number));
        let active = active.ok_or_else(|| {
            StoreError::State(StateError::NotActive { name: record.name.clone(), staged: record.staged })
        })?;
        Ok(StoredCertificate {
            name: record.name.clone(),
            description: record.description.clone(),
            created: record.created,
            generation: active.number,
            generation_created: active.created,
            origin: active.origin,
            staged: record.staged,
            previous: record.previous,
            bundle: self.load_generation(record, active.number)?,
        })
    }

    fn load_optional(
        &self,
        record: &Record,
        number: Option<u32>,
    ) -> Result<Option<(u32, Bundle)>, StoreError> {
        let load = |number| self.load_generation(record, number).map(|bundle| (number, bundle));
        number.map(load).transpose()
    }

    fn load_generation(&self, record: &Record, number: u32) -> Result<Bundle, StoreError> {
        if record.state(number) == GenerationState::Retired {
            let living = record.generation.iter().map(|generation| generation.number);
            let numbers = living.filter(|number| record.has_folder(*number)).collect();
            return Err(StoreError::State(StateError::NoSuchGeneration {
                name: record.name.clone(),
                number,
                numbers,
            }));
        }
        let folder = self.generation_folder(&record.name, number);
        let before = disk::identity(&folder)?;
        let chain = read_file(&folder.join(CHAIN_FILE), MAX_IDENTITY_BYTES)?;
        let key_path = folder.join(KEY_FILE);
        let key = match read_file(&key_path, MAX_IDENTITY_BYTES) {
            Ok(key) => Some(key),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A folder that went away meanwhile has no key either.
        if disk::identity(&folder)? != before {
            return Err(StoreError::io(&folder, "read", io::ErrorKind::NotFound.into()));
        }
        if let Some(exposed) = key.as_ref().and_then(|key| exposure(&key_path, key.mode)) {
            return Err(StoreError::Exposed(exposed));
        }
        Bundle::from_parts(&chain.bytes, key.as_ref().map(|key| key.bytes.as_slice()))
            .map_err(|error| StoreError::bundle(&folder, error))
    }

    fn not_found(&self, name: &str) -> StoreError {
        let mut similar = self.names().unwrap_or_default();
        let likeness = |other: &String| strsim::jaro_winkler(name, other);
        similar.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
        similar.truncate(MAX_SIMILAR);
        StoreError::NotFound { name: name.to_owned(), store: self.root.clone(), similar }
    }
}

/// Whether `name` may name a certificate: `[a-z0-9][a-z0-9._-]*`, at most 64 characters. Such a name is also a
/// harmless file name.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = name.len() <= MAX_NAME_BYTES
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
    // A key in the place of a name would be shown in every list.
    if !valid || without_keys(name) != name {
        return Err(StoreError::InvalidName { name: name.to_owned() });
    }
    if RESERVED_NAMES.contains(&name) {
        return Err(StoreError::ReservedName { name: name.to_owned() });
    }
    Ok(())
}
