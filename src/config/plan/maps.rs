//! `[map.NAME]`: values by what a request has.

use std::path::PathBuf;

use super::At;
use crate::route::Input;

/// `[map.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Its name.
    pub name: At<String>,
    /// `from`
    pub input: Input,
    /// `entries` or `file`
    pub entries: Entries,
    /// `default`; empty where it is left out.
    pub default: String,
    /// `any_case`
    pub any_case: bool,
}

/// The entries of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entries {
    /// In the config: keys and values.
    Here(Vec<(String, String)>),
    /// In this file.
    File(At<PathBuf>),
}
