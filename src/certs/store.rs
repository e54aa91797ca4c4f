//! The store: a folder that a human can read, and the only file of `certs` that touches the disk.
//!
//! ```text
//! STORE/.lock                        held (flock) by whoever writes
//! STORE/NAME/certificate.toml        the truth: which generations exist, which is active, which staged
//! STORE/NAME/000001/chain.pem        the chain, leaf first
//! STORE/NAME/000001/key.pem          its key, 0600; absent in a certificate without one
//! STORE/NAME/.tmp-…, STORE/.tmp-…    being written, or left behind by a crash
//! ```
//!
//! Writing a generation: its folder is filled under a temporary name, synced and renamed; then
//! `certificate.toml` is replaced in the same way. That last rename is the commit. Before it, the new
//! folder is not mentioned and so does not exist; the next writer removes it. Readers need no lock:
//! what `certificate.toml` mentions is complete and never changes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::bundle::Bundle;
use super::material;
use super::time::Timestamp;

mod error;

pub use error::{KeyExposed, StoreError};

/// The largest file with a chain, a key or both.
const MAX_IDENTITY_BYTES: u64 = 1 << 20;
/// The largest file with trusted certificates. The system's own bundle has a quarter of a MiB.
const MAX_TRUST_BYTES: u64 = 16 << 20;
/// The longest certificate name.
const MAX_NAME_BYTES: usize = 64;
/// Most names that a [`StoreError::NotFound`] carries.
const MAX_SIMILAR: usize = 8;

/// In `trust`, this means the system's roots.
const RESERVED_NAME: &str = "system";

const FACTS_FILE: &str = "certificate.toml";
const CHAIN_FILE: &str = "chain.pem";
const KEY_FILE: &str = "key.pem";
const LOCK_FILE: &str = ".lock";
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

/// What [`Store::put`] records beside the bundle.
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

/// `certificate.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    created: Timestamp,
    /// Absent while the first generation is only staged.
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staged: Option<u32>,
    /// The highest number ever given. Never given again, since sessions and reports are keyed by it.
    last: u32,
    #[serde(default)]
    generation: Vec<GenerationRecord>,
}

/// One generation in `certificate.toml`. All but `number`, `created` and `origin` is there for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationRecord {
    number: u32,
    created: Timestamp,
    origin: Origin,
    subject: String,
    not_after: Timestamp,
    sha256: String,
}

impl Record {
    fn generation(&self, number: u32) -> Option<&GenerationRecord> {
        self.generation.iter().find(|generation| generation.number == number)
    }
}

/// The certificate store in a folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store at `path`. A folder that does not exist yet is an empty store; the first write makes it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = path.into();
        match fs::metadata(&root) {
            Ok(metadata) if !metadata.is_dir() => Err(StoreError::NotAFolder { path: root }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(&root, "look at", error))
            }
            _ => Ok(Self { root }),
        }
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The certificate `name` with its active generation.
    pub fn get(&self, name: &str) -> Result<StoredCertificate, StoreError> {
        self.consistent(name, |record| self.load(record))
    }

    /// The content of any generation of `name`: active, staged or earlier.
    pub fn get_generation(&self, name: &str, number: u32) -> Result<Bundle, StoreError> {
        self.consistent(name, |record| self.load_generation(record, number))
    }

    /// Every certificate in the store.
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

    /// The names of all certificates, sorted.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = entries(&self.root)?
            .into_iter()
            .filter(|name| check_name(name).is_ok() && self.folder(name).join(FACTS_FILE).exists())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Makes `bundle` the active generation of `name`, which is created if there is none, and returns
    /// the generation's number. Earlier generations stay.
    pub fn put(&self, name: &str, bundle: &Bundle, meta: &Meta) -> Result<u32, StoreError> {
        check_name(name)?;
        let folder = self.folder(name);
        bundle.check_validity(meta.now).map_err(|error| StoreError::bundle(&folder, error))?;
        let _lock = self.lock()?;
        let created = Timestamp::from(meta.now);
        match self.record(name) {
            Ok(mut record) => {
                sweep(&folder, &record)?;
                let number = next_number(&mut record, &folder)?;
                let temporary = folder.join(format!("{TEMPORARY}{number:06}"));
                write_generation(&temporary, bundle)?;
                rename(&temporary, &folder.join(format!("{number:06}")))?;
                sync(&folder)?;
                activate(&mut record, number, bundle, meta);
                write_whole(&folder, FACTS_FILE, record_text(&record, &folder)?.as_bytes(), 0o644)?;
                Ok(number)
            }
            Err(StoreError::NotFound { .. }) => {
                let mut record = Record {
                    name: name.to_owned(),
                    description: String::new(),
                    created,
                    active: None,
                    staged: None,
                    last: 1,
                    generation: Vec::new(),
                };
                activate(&mut record, 1, bundle, meta);
                // The whole folder appears at once.
                let temporary = self.root.join(format!("{TEMPORARY}{name}"));
                make_folder(&temporary)?;
                write_generation(&temporary.join("000001"), bundle)?;
                write_whole(&temporary, FACTS_FILE, record_text(&record, &folder)?.as_bytes(), 0o644)?;
                rename(&temporary, &folder)?;
                sync(&self.root)?;
                Ok(1)
            }
            Err(error) => Err(error),
        }
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

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Takes the writers' lock, and removes what a crashed writer left behind.
    fn lock(&self) -> Result<File, StoreError> {
        self.make_root()?;
        let path = self.root.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::io(&path, "open", error))?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(StoreError::io(&path, "lock", error.into())),
            }
        }
        for name in entries(&self.root)? {
            if name.starts_with(TEMPORARY) {
                remove(&self.root.join(name))?;
            }
        }
        Ok(lock)
    }

    fn make_root(&self) -> Result<(), StoreError> {
        if self.root.is_dir() {
            return Ok(());
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
        made.map_err(|error| StoreError::io(&self.root, "make", error))?;
        match self.root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
            _ => sync(Path::new(".")),
        }
    }

    /// Runs `read` on the record of `name`; once more if a file vanished meanwhile, since a writer
    /// may have replaced or deleted the certificate between the record and its files.
    fn consistent<T>(
        &self,
        name: &str,
        read: impl Fn(&Record) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        check_name(name)?;
        match read(&self.record(name)?) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                read(&self.record(name)?)
            }
            result => result,
        }
    }

    fn record(&self, name: &str) -> Result<Record, StoreError> {
        let path = self.folder(name).join(FACTS_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.not_found(name)),
            Err(error) => return Err(StoreError::io(&path, "read", error)),
        };
        let broken = |reason: String| StoreError::Record { path: path.clone(), reason };
        let record: Record = toml::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if record.name != name {
            return Err(broken(format!(
                "it names the certificate {:?}; its folder must have the same name",
                record.name
            )));
        }
        for number in record.active.iter().chain(&record.staged) {
            if record.generation(*number).is_none() {
                return Err(broken(format!("there is no [[generation]] with number {number}")));
            }
        }
        Ok(record)
    }

    fn load(&self, record: &Record) -> Result<StoredCertificate, StoreError> {
        let active = record.active.and_then(|number| record.generation(number));
        let active = active
            .ok_or_else(|| StoreError::NotActive { name: record.name.clone(), staged: record.staged })?;
        Ok(StoredCertificate {
            name: record.name.clone(),
            description: record.description.clone(),
            created: record.created,
            generation: active.number,
            generation_created: active.created,
            origin: active.origin,
            staged: record.staged,
            bundle: self.load_generation(record, active.number)?,
        })
    }

    fn load_generation(&self, record: &Record, number: u32) -> Result<Bundle, StoreError> {
        if record.generation(number).is_none() {
            let numbers = record.generation.iter().map(|generation| generation.number).collect();
            return Err(StoreError::NoSuchGeneration { name: record.name.clone(), number, numbers });
        }
        let folder = self.folder(&record.name).join(format!("{number:06}"));
        let chain = read_file(&folder.join(CHAIN_FILE), MAX_IDENTITY_BYTES)?;
        let key_path = folder.join(KEY_FILE);
        let key = match read_file(&key_path, MAX_IDENTITY_BYTES) {
            Ok(key) => Some(key),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(exposed) = key.as_ref().and_then(|key| exposure(&key_path, key.mode)) {
            return Err(StoreError::KeyExposed(exposed));
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
pub fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = name.len() <= MAX_NAME_BYTES
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
    if !valid {
        return Err(StoreError::InvalidName { name: name.to_owned() });
    }
    if name == RESERVED_NAME {
        return Err(StoreError::ReservedName { name: name.to_owned() });
    }
    Ok(())
}

fn next_number(record: &mut Record, folder: &Path) -> Result<u32, StoreError> {
    // Six digits, so that folders sort as numbers do.
    const MAX_NUMBER: u32 = 999_999;
    let listed = record.generation.iter().map(|generation| generation.number);
    record.last = listed.fold(record.last, u32::max);
    if record.last >= MAX_NUMBER {
        let reason = format!("all {MAX_NUMBER} generation numbers are used up; put it under a new name");
        return Err(StoreError::Record { path: folder.join(FACTS_FILE), reason });
    }
    record.last += 1;
    Ok(record.last)
}

fn activate(record: &mut Record, number: u32, bundle: &Bundle, meta: &Meta) {
    if let Some(description) = &meta.description {
        record.description.clone_from(description);
    }
    record.generation.push(GenerationRecord {
        number,
        created: Timestamp::from(meta.now),
        origin: meta.origin,
        subject: bundle.facts().subject.clone(),
        not_after: bundle.facts().not_after,
        sha256: bundle.facts().sha256.clone(),
    });
    record.active = Some(number);
}

fn record_text(record: &Record, folder: &Path) -> Result<String, StoreError> {
    let text = toml::to_string(record)
        .map_err(|error| StoreError::Record { path: folder.join(FACTS_FILE), reason: error.to_string() })?;
    Ok(format!("# Written by ringate; change it with `ringate cert`.\n\n{text}"))
}

/// Removes from a certificate's folder what a crashed writer left behind: temporary files, and
/// generation folders that the record does not mention. Anything else is someone's own and stays.
fn sweep(folder: &Path, record: &Record) -> Result<(), StoreError> {
    for name in entries(folder)? {
        let is_generation = name.len() == 6 && name.bytes().all(|byte| byte.is_ascii_digit());
        let is_known = name.parse().is_ok_and(|number| record.generation(number).is_some());
        if name.starts_with(TEMPORARY) || (is_generation && !is_known) {
            remove(&folder.join(name))?;
        }
    }
    Ok(())
}

fn write_generation(folder: &Path, bundle: &Bundle) -> Result<(), StoreError> {
    make_folder(folder)?;
    write_new(&folder.join(CHAIN_FILE), bundle.chain_pem().as_bytes(), 0o644)?;
    if let Some(key) = bundle.key_pem() {
        write_new(&folder.join(KEY_FILE), key.as_bytes(), 0o600)?;
    }
    sync(folder)
}

/// Writes a file so that, at any moment, its old or its new content is there, whole.
fn write_whole(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let temporary = folder.join(format!("{TEMPORARY}{name}"));
    write_new(&temporary, bytes, mode)?;
    rename(&temporary, &folder.join(name))?;
    sync(folder)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| StoreError::io(path, "write", error))
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().mode(0o700).create(path).map_err(|error| StoreError::io(path, "make", error))
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
            StoreError::InTheWay { path: to.to_owned() }
        }
        _ => StoreError::io(to, "replace", error),
    })
}

/// Makes renames and new files in `folder` survive a power failure.
fn sync(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| StoreError::io(folder, "sync", error))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| StoreError::io(path, "remove", error))
}

/// The names in a folder; none if it does not exist. Names that are not UTF-8 cannot be ours.
fn entries(folder: &Path) -> Result<Vec<String>, StoreError> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(folder, "read", error)),
    };
    let mut names = Vec::new();
    for entry in read {
        let entry = entry.map_err(|error| StoreError::io(folder, "read", error))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// A bundle read from files outside the store.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the files hold.
    pub bundle: Bundle,
    /// Set if others than the key's owner may access it. A warning only: outside the store, groups such as
    /// `ssl-cert` are common and deliberate.
    pub exposed: Option<KeyExposed>,
}

/// Reads a chain, perhaps with its key, from one file (PEM), or one certificate (PEM or DER).
pub fn load_file(path: &Path) -> Result<Loaded, StoreError> {
    let file = read_file(path, MAX_IDENTITY_BYTES)?;
    let bundle = Bundle::from_parts(&file.bytes, None).map_err(|error| StoreError::bundle(path, error))?;
    let exposed = bundle.key().and_then(|_| exposure(path, file.mode));
    Ok(Loaded { bundle, exposed })
}

/// Reads a chain from `cert` and its key from `key`, each PEM or DER.
pub fn load_pair(cert: &Path, key: &Path) -> Result<Loaded, StoreError> {
    let chain = read_file(cert, MAX_IDENTITY_BYTES)?;
    let secret = read_file(key, MAX_IDENTITY_BYTES)?;
    // Each alone first, so that an error names the file that is at fault.
    material::read(&chain.bytes).map_err(|error| StoreError::bundle(cert, error))?;
    material::read(&secret.bytes).map_err(|error| StoreError::bundle(key, error))?;
    let bundle = Bundle::from_parts(&chain.bytes, Some(&secret.bytes))
        .map_err(|source| StoreError::Bundle { path: cert.to_owned(), key: Some(key.to_owned()), source })?;
    Ok(Loaded { bundle, exposed: exposure(key, secret.mode) })
}

/// Reads trusted certificates: any number in PEM, or one in DER. Keys beside them are passed over.
pub fn load_trust(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let file = read_file(path, MAX_TRUST_BYTES)?;
    material::certificates(&file.bytes).map_err(|error| StoreError::bundle(path, error))
}

/// A file's content, which may be secret, and its permission bits.
struct Content {
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

fn read_file(path: &Path, limit: u64) -> Result<Content, StoreError> {
    let failed = |error| StoreError::io(path, "read", error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(StoreError::IsAFolder { path: path.to_owned() });
    }
    if metadata.len() > limit {
        return Err(StoreError::TooLarge { path: path.to_owned(), limit });
    }
    // Sized at once, so that growing leaves no copies of a key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Content { bytes, mode: metadata.mode() & 0o7777 })
}

fn exposure(path: &Path, mode: u32) -> Option<KeyExposed> {
    const OTHERS: u32 = 0o077;
    (mode & OTHERS != 0).then(|| KeyExposed { path: path.to_owned(), mode })
}
