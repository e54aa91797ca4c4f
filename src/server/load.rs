//! A config file, checked with everything it names.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::build::heritage::{Heritage, build_after};
use super::build::{Assembly, Previous, build};
use crate::config::{self, Diagnostics, Plan};

/// A config that can be run.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Its content.
    pub plan: Plan,
    /// What that became.
    pub assembly: Assembly,
    /// Holds warnings. Errors found from here on are added to the same file's.
    pub problems: Diagnostics,
}

/// Why a config can't be run.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file can't be read.
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// Its content is invalid; with places.
    Wrong(Diagnostics),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Wrong(problems) => problems.fmt(f),
        }
    }
}

/// Reads and checks the config file at `path`; see [`Previous`] for what `previous` is for.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn load(path: &Path, previous: Option<Previous<'_>>) -> Result<Loaded, LoadError> {
    load_text(path, &read(path)?, previous)
}

/// The same for the start of a process that goes on with what another one knew.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn load_after(path: &Path, heritage: &Heritage) -> Result<Loaded, LoadError> {
    load_with(path, &read(path)?, |plan, problems| build_after(plan, heritage, problems))
}

/// The text of the config file at `path`.
///
/// # Errors
/// [`LoadError::Unreadable`].
pub(crate) fn read(path: &Path) -> Result<String, LoadError> {
    std::fs::read_to_string(path).map_err(|error| LoadError::Unreadable { path: path.to_owned(), error })
}

/// Checks a config as if `text` stood in the file at `path`.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn load_text(
    path: &Path,
    text: &str,
    previous: Option<Previous<'_>>,
) -> Result<Loaded, LoadError> {
    load_with(path, text, |plan, problems| build(plan, previous, problems))
}

fn load_with(
    path: &Path,
    text: &str,
    build: impl FnOnce(&Plan, &mut Diagnostics) -> Option<Assembly>,
) -> Result<Loaded, LoadError> {
    let name = path.display().to_string();
    let plan = parse(path, text)?;
    let mut problems = config::warnings(&name, text, &plan);
    match build(&plan, &mut problems) {
        Some(assembly) => Ok(Loaded { plan, assembly, problems }),
        None => Err(LoadError::Wrong(problems)),
    }
}

/// The plan in `text`, without a check of what it names.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Plan, LoadError> {
    config::parse(&path.display().to_string(), text, folder(path)).map_err(LoadError::Wrong)
}

/// What relative paths in the config file at `path` are relative to, wherever a command is called from.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
