//! Configs of nginx and HAProxy become configs of Ringate, as far as they can.
//!
//! ```text
//! text ─► directives (parse) ─► Draft (one arm for each directive) ─► checked text
//!                                  └► Report: each line is in the result, or needless, or listed with the reason
//! ```
//!
//! A directive that no arm knows is listed, and so is a key that the check of Ringate refuses: nothing is dropped
//! without a word. Where access control can't be translated, its route refuses with 503.

use std::path::Path;

mod algorithms;
mod draft;
mod expressions;
mod haproxy;
mod nginx;
mod report;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use draft::Beside;
pub(crate) use report::{Listed, Report};

use super::sources::Outside;
use draft::Draft;

/// Whose config it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Nginx,
    HaProxy,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
        }
    }
}

/// What an import makes.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    /// The config of Ringate.
    pub(crate) toml: String,
    /// Whether the check of Ringate takes it, and it serves something.
    pub(crate) ok: bool,
    /// What became of each line.
    pub(crate) report: Report,
    /// Files that the config names, which belong beside it. They begin with [`MADE`].
    pub(crate) files: Vec<Beside>,
}

/// What a file beside the config begins with.
pub(crate) const MADE: &str = "# Made by `ringate import`";

/// A file to import.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// As it was named.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Translates the files, which are read as one config in this order. `folder` is absolute; relative paths in the files are resolved
/// against it.
pub(crate) fn import(origin: Origin, files: &[File], folder: &Path, outside: &dyn Outside) -> Imported {
    let (mut draft, mut report) = (Draft::default(), Report::default());
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    draft.head.push(format!(
        "Translated from {} by `ringate import {}`.",
        names.join(", "),
        origin.name().to_lowercase()
    ));
    draft.head.push("The lines that are not in it are in the list that the command printed.".to_owned());
    match origin {
        Origin::Nginx => nginx::translate(files, folder, outside, &mut draft, &mut report),
        Origin::HaProxy => haproxy::translate(files, folder, outside, &mut draft, &mut report),
    }
    let toml = draft.settle(&mut report);
    let ok = !draft.is_empty() && super::parse("ringate.toml", &toml, folder).is_ok();
    Imported { toml, ok, report, files: draft.files }
}
