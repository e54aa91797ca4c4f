//! What can go wrong with the store and with files, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::apikeys::KeyError;
use super::super::bundle::BundleError;
use crate::base::text;

/// A private key, or a folder of the store, that others than its owner may access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exposed {
    /// A key: refused in the store, a warning elsewhere.
    Key {
        /// Its file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file with a passphrase: a warning.
    Passphrase {
        /// Its file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder of the store: refused if everyone can write to it, otherwise a warning.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Exposed {
    /// Whether every user of this machine could replace its keys and certificates.
    pub(super) fn is_open_to_all(&self) -> bool {
        const OTHERS_WRITE: u32 = 0o002;
        matches!(self, Self::Folder { mode, .. } if mode & OTHERS_WRITE != 0)
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: others may access this private key (mode {mode:04o}); run `chmod 600 {path}`"
                )
            }
            Self::Passphrase { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: others may access this passphrase (mode {mode:04o}); run `chmod 600 {path}`"
                )
            }
            Self::Folder { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: others may access this folder of keys (mode {mode:04o}); run `chmod 700 {path}`"
                )
            }
        }
    }
}

/// Why the store, or a file, did not do what was asked. Each message names the file and what to do.
#[derive(Debug)]
pub enum StoreError {
    /// Not a name for a certificate.
    InvalidName {
        /// As given.
        name: String,
    },
    /// A name that means something else, in the config or in the store.
    ReservedName {
        /// As given.
        name: String,
    },
    /// No certificate of that name.
    NotFound {
        /// The name.
        name: String,
        /// The store's folder.
        store: PathBuf,
        /// Names that there are, the most similar first; empty if the store is.
        similar: Vec<String>,
    },
    /// The certificate is not in a state for this.
    State(StateError),
    /// The store's path is not a folder.
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A folder where a file was expected.
    IsAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A pipe, a socket or a device where a file was expected.
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Something that is not a certificate of the store has its place.
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// A file of API keys, or a change to it, is refused.
    Keys {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// `certificate.toml` cannot be understood.
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file larger than any of its kind.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes it may have.
        limit: u64,
    },
    /// A file that should hold a passphrase has more than a line, or no UTF-8.
    NotAPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// A credential of systemd's is meant, but systemd gave none.
    NoCredentials {
        /// As given.
        path: PathBuf,
    },
    /// A key in the store that other users can access, or a store that everyone can write to.
    Exposed(Exposed),
    /// Another writer kept the lock for too long.
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// The process that holds it.
        holder: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The content of a file (or of a pair of them) is not usable.
    Bundle {
        /// The certificate's file, or the generation's folder.
        path: PathBuf,
        /// The key's file, if it has one of its own.
        key: Option<PathBuf>,
        /// What is wrong.
        source: BundleError,
    },
    /// A folder has no file with a certificate that peers could be checked against.
    NoTrustFiles {
        /// The folder.
        path: PathBuf,
    },
    /// Neither PEM nor DER of a revocation list.
    NotARevocationList {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: a verb.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    pub(super) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), doing, source }
    }

    pub(super) fn bundle(path: &Path, source: BundleError) -> Self {
        Self::Bundle { path: path.to_owned(), key: None, source }
    }
}

const NO_NAME: &str = "cannot name a certificate; use up to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or \
                       digit";

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name } => write!(f, "{} {NO_NAME}", text::shown(name)),
            Self::ReservedName { name } => write!(f, "{name:?} {}; choose another name", meaning(name)),
            Self::NotFound { name, store, similar } if similar.is_empty() => write!(
                f,
                "there is no certificate {name:?}: the store {} is empty; make one with `ringate cert generate {name} \
                 --common-name CN`, or bring one with `ringate cert import {name} --cert FILE --key FILE`",
                store.display()
            ),
            Self::NotFound { name, store, similar } => write!(
                f,
                "there is no certificate {name:?} in {}; it has: {}",
                store.display(),
                similar.join(", ")
            ),
            Self::State(error) => error.fmt(f),
            Self::NotAFolder { path } => {
                let text = "the certificate store must be a folder; set [store] path to one";
                write!(f, "{}: {text}", path.display())
            }
            Self::IsAFolder { path } => {
                write!(f, "{}: this is a folder; give a file in PEM or DER form", path.display())
            }
            Self::NotAFile { path } => {
                write!(f, "{}: this is a pipe or a device, not a file; give a file", path.display())
            }
            Self::InTheWay { path } => write!(
                f,
                "{}: something that is not a certificate of this store is there; move it away or choose another name",
                path.display()
            ),
            Self::Keys { path, error } => keys(f, path, error),
            Self::Record { path, reason } => {
                write!(f, "{}: {}; restore it, or delete the certificate", path.display(), reason.trim_end())
            }
            Self::TooLarge { path, limit } => {
                let kib = limit / 1024;
                write!(
                    f,
                    "{}: larger than {kib} KiB, so it is no certificate; give another file",
                    path.display()
                )
            }
            Self::NotAPassphrase { path } => {
                write!(f, "{}: a passphrase is one line of UTF-8 text; write it so", path.display())
            }
            Self::NoCredentials { path } => write!(
                f,
                "{}: systemd gave no credentials to this process; give the unit a LoadCredential= of that name, or name \
                 a file",
                path.display()
            ),
            Self::Exposed(exposed) => exposed.fmt(f),
            Self::Locked { path, holder, waited } => write!(
                f,
                "{}: {holder} holds the store's lock, and did not let go of it within {} s; let it finish or end it, \
                 and try again",
                path.display(),
                waited.as_secs()
            ),
            Self::Bundle { path, key: None, source } => write!(f, "{}: {source}", path.display()),
            Self::Bundle { path, key: Some(key), source } => {
                write!(f, "{} with key {}: {source}", path.display(), key.display())
            }
            Self::NoTrustFiles { path } => write!(
                f,
                "{}: the folder has no certificate in a *.pem, *.crt, *.cer or *.der file; put the CA's certificate there",
                path.display()
            ),
            Self::NotARevocationList { path, reason } => {
                write!(f, "{}: no revocation list: {reason}; give one in PEM or DER", path.display())
            }
            Self::Io { path, doing, source } => {
                let remedy = remedy(source.kind());
                write!(f, "{}: cannot {doing} it: {source}{remedy}", path.display())
            }
        }
    }
}

/// What a reserved name means.
fn meaning(name: &str) -> &'static str {
    match name {
        super::KEYS_FOLDER => "is the folder of API keys",
        _ => "means the system's roots wherever trust is named",
    }
}

/// What to do about a refusal of the system's.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => "; check its owner and permissions",
        io::ErrorKind::StorageFull => "; make room on the disk",
        _ => "",
    }
}

/// Of a file of API keys: what to do about one that can't be read.
fn keys(f: &mut fmt::Formatter<'_>, path: &Path, error: &KeyError) -> fmt::Result {
    write!(f, "{}: {error}", path.display())?;
    match error {
        KeyError::Syntax(_) | KeyError::Digest(_) => {
            f.write_str("; correct it, or move it away and make its keys anew with `ringate apikey generate`")
        }
        KeyError::Name(_) | KeyError::Taken(_) | KeyError::NotFound(_) | KeyError::Random => Ok(()),
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bundle { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a certificate's generations conflict with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// The certificate has no active generation yet.
    NotActive {
        /// Its name.
        name: String,
        /// The generation that waits.
        staged: Option<u32>,
    },
    /// The name is taken.
    Exists {
        /// The name.
        name: String,
    },
    /// A request for this name waits for its certificate.
    RequestWaits {
        /// The certificate's name.
        name: String,
        /// The request's subject.
        subject: String,
    },
    /// No request waits for a certificate, and no key came with it.
    NoRequest {
        /// The certificate's name.
        name: String,
    },
    /// Nothing is staged.
    NothingStaged {
        /// The certificate's name.
        name: String,
    },
    /// The staged generation is another one than was meant.
    OtherStaged {
        /// The certificate's name.
        name: String,
        /// Meant.
        wanted: u32,
        /// Staged meanwhile.
        staged: u32,
    },
    /// There is no generation to go back to.
    NothingPrevious {
        /// The certificate's name.
        name: String,
    },
    /// There is no generation to retire.
    NothingToRetire {
        /// The certificate's name.
        name: String,
    },
    /// The active generation cannot be retired.
    RetiresActive {
        /// The certificate's name.
        name: String,
        /// The generation.
        number: u32,
    },
    /// No such generation.
    NoSuchGeneration {
        /// The certificate's name.
        name: String,
        /// The requested generation.
        number: u32,
        /// Those that there are.
        numbers: Vec<u32>,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotActive { name, staged: Some(number) } => write!(
                f,
                "certificate {name:?} has no active generation yet; activate {number} with `ringate cert activate {name}`"
            ),
            Self::NotActive { name, staged: None } => write!(
                f,
                "certificate {name:?} has no generation yet; bring the certificate of its request with \
                 `ringate cert import {name} --cert FILE`"
            ),
            Self::Exists { name } => write!(
                f,
                "there is a certificate {name:?} already; stage its next generation with `ringate cert stage {name}`, \
                 or choose another name"
            ),
            Self::RequestWaits { name, subject } => write!(
                f,
                "the request for {subject} waits for its certificate, and a new one would throw its key away; bring \
                 the certificate with `ringate cert import {name} --cert FILE`, or give up the request with --force"
            ),
            Self::NoRequest { name } => write!(
                f,
                "no request of certificate {name:?} waits for a certificate; give the key too, with --key FILE"
            ),
            Self::NothingStaged { name } => write!(
                f,
                "nothing is staged for certificate {name:?}; stage its next generation with `ringate cert stage {name}`"
            ),
            Self::OtherStaged { name, wanted, staged } => write!(
                f,
                "generation {wanted} of certificate {name:?} is not staged any more, generation {staged} is; see \
                 it with `ringate cert show {name}`, and begin again"
            ),
            Self::NothingPrevious { name } => {
                write!(f, "certificate {name:?} has no previous generation to go back to")
            }
            Self::NothingToRetire { name } => {
                write!(f, "certificate {name:?} has no previous generation, so there is nothing to retire")
            }
            Self::RetiresActive { name, number } => {
                write!(f, "generation {number} of certificate {name:?} is in use; activate another one first")
            }
            Self::NoSuchGeneration { name, number, numbers } => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                write!(f, "certificate {name:?} has no generation {number}; it has: {}", numbers.join(", "))
            }
        }
    }
}

impl std::error::Error for StateError {}

impl From<StateError> for StoreError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}
