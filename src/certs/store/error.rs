//! What can go wrong with the store and with files, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::super::bundle::BundleError;

/// A private key that others than its owner may access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExposed {
    /// The key's file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for KeyExposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "{path}: others may access this private key (mode {:04o}); run `chmod 600 {path}`",
            self.mode
        )
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
    /// A name that means something else in the config.
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
    /// The certificate has no active generation yet.
    NotActive {
        /// Its name.
        name: String,
        /// The generation that waits.
        staged: Option<u32>,
    },
    /// No such generation.
    NoSuchGeneration {
        /// The certificate's name.
        name: String,
        /// The generation asked for.
        number: u32,
        /// Those that there are.
        numbers: Vec<u32>,
    },
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
    /// Something that is not a certificate of the store has its place.
    InTheWay {
        /// The path.
        path: PathBuf,
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
    /// A key in the store that others may access.
    KeyExposed(KeyExposed),
    /// The content of a file (or of a pair of them) is not usable.
    Bundle {
        /// The certificate's file, or the generation's folder.
        path: PathBuf,
        /// The key's file, if it has one of its own.
        key: Option<PathBuf>,
        /// What is wrong.
        source: BundleError,
    },
    /// The system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: a verb.
        doing: &'static str,
        /// What the system said.
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

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name } => write!(
                f,
                "{name:?} cannot name a certificate; use up to 64 of a-z, 0-9, '.', '_' and '-', beginning with a \
                 letter or digit"
            ),
            Self::ReservedName { name } => {
                write!(f, "{name:?} means the system's roots wherever trust is named; choose another name")
            }
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
            Self::NotActive { name, staged: Some(number) } => write!(
                f,
                "certificate {name:?} has no active generation yet; activate {number} with `ringate cert activate {name}`"
            ),
            Self::NotActive { name, staged: None } => write!(
                f,
                "certificate {name:?} has no generation; bring one with `ringate cert stage {name} --cert FILE`"
            ),
            Self::NoSuchGeneration { name, number, numbers } => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                write!(f, "certificate {name:?} has no generation {number}; it has: {}", numbers.join(", "))
            }
            Self::NotAFolder { path } => {
                write!(
                    f,
                    "{}: the certificate store must be a folder; set [store] path to one",
                    path.display()
                )
            }
            Self::IsAFolder { path } => {
                write!(f, "{}: this is a folder; give a file in PEM or DER form", path.display())
            }
            Self::InTheWay { path } => write!(
                f,
                "{}: something that is not a certificate of this store is there; move it away or choose another name",
                path.display()
            ),
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
            Self::KeyExposed(exposed) => exposed.fmt(f),
            Self::Bundle { path, key: None, source } => write!(f, "{}: {source}", path.display()),
            Self::Bundle { path, key: Some(key), source } => {
                write!(f, "{} with key {}: {source}", path.display(), key.display())
            }
            Self::Io { path, doing, source } => {
                write!(f, "{}: cannot {doing} it: {source}", path.display())?;
                match source.kind() {
                    io::ErrorKind::NotFound => f.write_str("; check the path"),
                    io::ErrorKind::PermissionDenied => f.write_str("; check its owner and permissions"),
                    io::ErrorKind::StorageFull => f.write_str("; make room on the disk"),
                    _ => Ok(()),
                }
            }
        }
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
