//! Why a rotation did not go on.

use std::fmt;

use crate::certs::{StateError, StoreError};
use crate::tls::IdentityError;

/// Why a rotation did not go on.
#[derive(Debug)]
pub(crate) enum RotationError {
    /// The store refused, or failed.
    Store(StoreError),
    /// The generation has no key, or can't be used.
    Unusable(String, IdentityError),
    /// The generation can't be presented: it has no private key.
    NoKey(String),
    /// Nothing is staged.
    NothingStaged(String),
    /// The staged generation was not tried.
    NotTried(String, u32),
    /// Its trial did not pass; the endpoints that spoke against it.
    NotPassed(String, u32, Vec<String>),
    /// Its trial passed, but did not include these endpoints.
    NotAsked(String, u32, Vec<String>),
    /// The previous generation is still needed; why.
    StillNeeded(String, Vec<String>),
    /// There is no previous generation.
    NoPrevious(String),
    /// Another process has taken the place of this one, and would not know.
    Replaced,
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Unusable(name, error) => write!(f, "the certificate `{name}` can't be presented: {error}"),
            Self::NoKey(name) => {
                write!(f, "the certificate `{name}` has no private key, which is needed to present it")
            }
            Self::NothingStaged(name) => StateError::NothingStaged { name: name.clone() }.fmt(f),
            Self::NotTried(name, number) => write!(
                f,
                "generation {number} of certificate {name:?} was not tried yet; try it with `ringate cert trial {name}`, \
                 or give --force"
            ),
            Self::NotPassed(name, number, against) => {
                write!(f, "generation {number} of certificate {name:?} did not pass its trial")?;
                if !against.is_empty() {
                    write!(f, ": {}", against.join("; "))?;
                }
                write!(
                    f,
                    ". Backends may have to trust it first (`ringate cert export {name} --part staged`); then try it \
                     again, or give --force"
                )
            }
            Self::NotAsked(name, number, unasked) => {
                write!(
                    f,
                    "the trial of generation {number} of certificate {name:?} did not include {}; make it again with \
                     `ringate cert trial {name}`, or give --force",
                    unasked.join(", ")
                )
            }
            Self::StillNeeded(name, reasons) => {
                write!(
                    f,
                    "the previous generation of certificate {name:?} is still needed: {}; wait, or give --force",
                    reasons.join("; ")
                )
            }
            Self::NoPrevious(name) => StateError::NothingPrevious { name: name.clone() }.fmt(f),
            Self::Replaced => f.write_str("a new process has taken the place of this one; try again"),
        }
    }
}

impl std::error::Error for RotationError {}

impl From<StoreError> for RotationError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
