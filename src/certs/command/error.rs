//! Why a request was not done.

use std::fmt;

use super::{Part, Use};
use crate::certs::bundle::BundleError;
use crate::certs::generate::GenerateError;
use crate::certs::store::{StateError, StoreError};

/// Why a request was not done, with what to do about it.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The store did not.
    Store(StoreError),
    /// The request cannot be fulfilled: such a certificate cannot be generated.
    Generate(GenerateError),
    /// What was brought is not usable.
    Bundle(BundleError),
    /// It is used.
    InUse {
        /// The certificate's name.
        name: String,
        /// What uses it.
        used_by: Vec<Use>,
    },
    /// The staged generation was not tried, or a backend refused it.
    TrialNeeded {
        /// The certificate's name.
        name: String,
        /// The staged generation.
        generation: u32,
        /// Whether there was a trial, which it did not pass.
        failed: bool,
        /// Which upstreams present it.
        used_by: Vec<Use>,
    },
    /// A successor can only be made of what is self-signed.
    NoSuccessor {
        /// The certificate's name.
        name: String,
        /// The certificates that it signed.
        issuer: String,
    },
    /// A request for a CA elsewhere, and a CA of the store.
    IssuerOfRequest,
    /// It has no such part.
    NoSuchPart {
        /// The certificate's name.
        name: String,
        /// The requested name.
        part: Part,
    },
    /// A description longer than any that people read.
    LongDescription,
}

/// What kind of failure it is: for a status, or an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// There is nothing of that name or number.
    NotFound,
    /// It conflicts with the current state.
    Conflict,
    /// What was given cannot be used.
    Invalid,
    /// The machine failed, not the asker.
    Failed,
}

impl CommandError {
    /// What kind of failure it is.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => match error {
                StoreError::NotFound { .. } => ErrorKind::NotFound,
                StoreError::State(StateError::NoSuchGeneration { .. }) => ErrorKind::NotFound,
                StoreError::State(_) | StoreError::InTheWay { .. } | StoreError::Locked { .. } => {
                    ErrorKind::Conflict
                }
                StoreError::InvalidName { .. }
                | StoreError::ReservedName { .. }
                | StoreError::Bundle { .. }
                | StoreError::TooLarge { .. }
                | StoreError::NotAPassphrase { .. } => ErrorKind::Invalid,
                _ => ErrorKind::Failed,
            },
            Self::Generate(
                GenerateError::Random | GenerateError::Library(_) | GenerateError::Clock { .. },
            ) => ErrorKind::Failed,
            Self::Generate(_) | Self::Bundle(_) | Self::LongDescription | Self::IssuerOfRequest => {
                ErrorKind::Invalid
            }
            Self::InUse { .. } | Self::TrialNeeded { .. } | Self::NoSuccessor { .. } => ErrorKind::Conflict,
            Self::NoSuchPart { .. } => ErrorKind::NotFound,
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<GenerateError> for CommandError {
    fn from(error: GenerateError) -> Self {
        Self::Generate(error)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Generate(error) => error.fmt(f),
            Self::Bundle(error) => error.fmt(f),
            Self::InUse { name, used_by } => write!(
                f,
                "certificate {name:?} is used by {}; take it out of the config there, and delete it then",
                list(used_by)
            ),
            Self::TrialNeeded { name, generation, failed, used_by } => {
                let trial = if *failed { "did not pass its trial" } else { "was not tried yet" };
                write!(
                    f,
                    "generation {generation} of certificate {name:?} {trial}, and is presented by {}; try it with \
                     `ringate cert trial {name}` while ringate runs, or give --force",
                    list(used_by)
                )
            }
            Self::NoSuccessor { name, issuer } => write!(
                f,
                "certificate {name:?} was signed by {issuer}, whose key is not in the store, and so must its successor \
                 be; make a request with \
                 `ringate cert generate {name} --common-name CN --csr`, have it signed, and import the certificate"
            ),
            Self::IssuerOfRequest => f.write_str(
                "a request (csr) is signed by a CA elsewhere; leave out either the issuer or the request",
            ),
            Self::NoSuchPart { name, part } => {
                let what = match part {
                    Part::Active => "active generation",
                    Part::Staged => "staged generation",
                    Part::Previous => "previous generation",
                    Part::Request => "request",
                };
                write!(f, "certificate {name:?} has no {what}; `ringate cert show {name}` lists what it has")
            }
            Self::LongDescription => {
                let limit = crate::base::limits::MAX_DESCRIPTION_BYTES;
                write!(f, "the description has more than {limit} bytes; give a shorter one")
            }
        }
    }
}

impl std::error::Error for CommandError {}

fn list(used_by: &[Use]) -> String {
    used_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
