//! Why a config was not put in force.

use std::fmt;

use super::load::LoadError;
use super::sockets::advice;
use super::supervisor::StartError;
use super::write::WriteError;
use crate::config::edit::EditError;
use crate::config::{Diagnostics, Plan};

/// Why nothing was reloaded. What ran before runs on.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The config can't be run.
    Config(LoadError),
    /// The process is on its way out.
    Draining,
    /// The file can't be changed so.
    Edit(EditError),
    /// The changed file can't be written.
    Write(WriteError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Draining => f.write_str("ringate is draining: it takes no new config"),
            Self::Edit(error) => error.fmt(f),
            Self::Write(WriteError::Changed) => {
                f.write_str("the config file is being changed by another process: repeat the request")
            }
            Self::Write(WriteError::Io { path, error }) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        Self::Config(error)
    }
}

/// Reports at its place in the config file why it can't be started.
pub(super) fn point_at(error: &StartError, plan: &Plan, problems: &mut Diagnostics) {
    match error {
        StartError::Listen { listener, address, error: reason } => {
            let at = &plan.listeners[*listener].addresses[*address];
            let help = advice(&at.value, reason);
            problems.error(at.span.clone(), format!("{}: {error}", at.value), Some(help));
        }
        StartError::Other(text) => problems.error(0..0, text.clone(), None),
    }
}
