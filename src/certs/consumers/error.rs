//! Why an order about consumers or credentials was not carried out, with what to do about it.

use std::fmt;

use super::state::Standing;
use crate::base::text::shown;
use crate::certs::command::ErrorKind;
use crate::certs::generate::GenerateError;
use crate::certs::store::StoreError;

/// Why an order was not carried out.
#[derive(Debug)]
pub(crate) enum ConsumerError {
    /// Not a name for a consumer or a credential.
    Name(String),
    /// There is no such consumer, credential or definition.
    NotFound {
        /// `consumer`, `credential` or `definition`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The names that are most like it.
        similar: Vec<String>,
    },
    /// There is one of that name already.
    Exists {
        /// `consumer` or `credential`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The credential is in a state from which this is not possible.
    State {
        /// The credential.
        name: String,
        /// What it is now.
        is: Standing,
        /// What was asked for: `approved`, `suspended` …
        wanted: &'static str,
    },
    /// Its definition does not allow that it is suspended.
    NotSuspendable {
        /// The credential.
        name: String,
        /// Its definition.
        definition: String,
    },
    /// A consumer has credentials that are in force.
    InUse {
        /// The consumer.
        name: String,
        /// Its credentials that are.
        credentials: Vec<String>,
    },
    /// What was given does not suit the definition, or can't be used.
    Invalid(String),
    /// As many as may be.
    TooMany {
        /// `consumers` or `credentials`.
        kind: &'static str,
        /// How many may be.
        most: usize,
    },
    /// The certificate can't be made.
    Generate(GenerateError),
    /// The store did not.
    Store(StoreError),
    /// The system gives no random numbers.
    Random,
    /// Another process has taken the place of this one, and would not know.
    Replaced,
}

impl ConsumerError {
    /// What kind of failure it is.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. }
            | Self::State { .. }
            | Self::NotSuspendable { .. }
            | Self::InUse { .. }
            | Self::TooMany { .. }
            | Self::Replaced => ErrorKind::Conflict,
            Self::Name(_) | Self::Invalid(_) | Self::Generate(_) => ErrorKind::Invalid,
            Self::Store(StoreError::NotFound { .. }) => ErrorKind::NotFound,
            Self::Store(StoreError::Locked { .. }) => ErrorKind::Conflict,
            Self::Store(_) | Self::Random => ErrorKind::Failed,
        }
    }
}

impl From<StoreError> for ConsumerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<GenerateError> for ConsumerError {
    fn from(error: GenerateError) -> Self {
        Self::Generate(error)
    }
}

impl fmt::Display for ConsumerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "{} is not a name: use up to 64 lower-case letters, digits, `.`, `_` and `-`, and begin with a letter or digit",
                shown(name)
            ),
            Self::NotFound { kind, name, similar } => {
                write!(f, "there is no {kind} called {}", shown(name))?;
                match (&similar[..], *kind) {
                    ([], "definition") => f.write_str("; add [credentials.NAME] to the config and reload it"),
                    ([], "consumer") => f.write_str("; add it with `ringate consumer add NAME`"),
                    ([], _) => f.write_str("; there is none yet"),
                    (similar, _) => write!(f, "; there is {}", similar.join(", ")),
                }
            }
            Self::Exists { kind, name } => {
                write!(f, "there is a {kind} called {name} already; choose another name, or delete it first")
            }
            Self::State { name, is, wanted } => {
                write!(f, "{name} is {is}, so it can't be {wanted}")?;
                match is {
                    Standing::Requested => {
                        write!(f, "; approve it first: `ringate credential approve {name}`")
                    }
                    Standing::Approved => write!(f, "; issue it first: `ringate credential issue {name}`"),
                    Standing::Expired => write!(f, "; renew it: `ringate credential renew {name}`"),
                    Standing::Suspended => write!(f, "; resume it first: `ringate credential resume {name}`"),
                    Standing::Denied | Standing::Revoked => f.write_str("; request another one"),
                    Standing::Active => Ok(()),
                }
            }
            Self::NotSuspendable { name, definition } => write!(
                f,
                "{name} can't be suspended: [credentials.{definition}] has `suspendable = false`; revoke it instead"
            ),
            Self::InUse { name, credentials } => write!(
                f,
                "{name} has credentials that are in force: {}; revoke them first, or delete it with --force",
                credentials.join(", ")
            ),
            Self::Invalid(text) => f.write_str(text),
            Self::TooMany { kind, most } => {
                write!(f, "there are {most} {kind}, and no more may be; delete what is not needed any more")
            }
            Self::Generate(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Random => f.write_str("the system gives no random numbers; try again"),
            Self::Replaced => f.write_str("a new process has taken the place of this one; try again"),
        }
    }
}
