//! A config with the files that it includes, checked with everything it names.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::build::heritage::{Heritage, build_after};
use super::build::{Assembly, Previous, build};
use super::outside::Disk;
use crate::config::plan::Admin;
use crate::config::{self, Diagnostics, Plan, Sources};

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
    load_sources(&read(path)?, previous)
}

/// The same for the start of a process that goes on with what another one knew.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn load_after(path: &Path, heritage: &Heritage) -> Result<Loaded, LoadError> {
    load_with(&read(path)?, |plan, problems| build_after(plan, heritage, problems))
}

/// The config file at `path`, with the files that it includes. What fails of these is reported by the check.
///
/// # Errors
/// [`LoadError::Unreadable`]: the file itself.
pub(crate) fn read(path: &Path) -> Result<Sources, LoadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| LoadError::Unreadable { path: path.to_owned(), error })?;
    Ok(with_text(path, &text))
}

/// The same as if `text` stood in the file at `path`.
pub(crate) fn with_text(path: &Path, text: &str) -> Sources {
    Sources::gather(&path.display().to_string(), path, text, &Disk)
}

/// Checks a config as if these texts stood in its files.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn load_sources(sources: &Sources, previous: Option<Previous<'_>>) -> Result<Loaded, LoadError> {
    load_with(sources, |plan, problems| build(plan, previous, problems))
}

fn load_with(
    sources: &Sources,
    build: impl FnOnce(&Plan, &mut Diagnostics) -> Option<Assembly>,
) -> Result<Loaded, LoadError> {
    let plan = parse(sources)?;
    let mut problems = config::warnings_of(sources, &plan);
    match build(&plan, &mut problems) {
        Some(assembly) => Ok(Loaded { plan, assembly, problems }),
        None => Err(LoadError::Wrong(problems)),
    }
}

/// The plan of a config, without a check of what it names.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn parse(sources: &Sources) -> Result<Plan, LoadError> {
    config::parse_all(sources, folder(&sources.first().path), &Disk).map_err(LoadError::Wrong)
}

/// `[admin]` of a config alone: what else is in its files may be wrong.
///
/// # Errors
/// What is wrong with that section.
pub(crate) fn admin(sources: &Sources) -> Result<Option<Admin>, Diagnostics> {
    config::admin(sources, folder(&sources.first().path), &Disk)
}

/// What relative paths in the config file at `path` are relative to, wherever a command is called from.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
