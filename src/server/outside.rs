//! What a config takes from outside its files: further files, environment variables, and content of files.

use std::path::{Path, PathBuf};

use super::regular_file;
use crate::base::limits::{MAX_CONFIG_BYTES, MAX_REFERRED_BYTES};
use crate::config::Outside;

/// The disk and the environment of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk;

impl Outside for Disk {
    fn expand(&self, pattern: &Path) -> Result<Vec<PathBuf>, String> {
        let text = pattern.to_str().ok_or("the pattern is no valid Unicode")?;
        if !text.contains(['*', '?', '[']) {
            std::fs::metadata(pattern).map_err(|error| format!("{text}: {error}"))?;
            return Ok(vec![pattern.to_owned()]);
        }
        // A pattern matches nothing in a folder that is not there, or may not be read: which is a mistake.
        let plain = pattern
            .components()
            .take_while(|part| part.as_os_str().to_str().is_some_and(|part| !part.contains(['*', '?', '['])));
        let folder: PathBuf = plain.collect();
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            // Editors leave hidden files behind.
            require_literal_leading_dot: true,
        };
        let found = glob::glob_with(text, options).map_err(|error| format!("{text}: {error}"))?;
        let mut paths = Vec::new();
        for path in found {
            let path = path.map_err(|error| format!("{}: {}", error.path().display(), error.error()))?;
            if !path.is_dir() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        regular_file::read_text(path, MAX_CONFIG_BYTES as u64).map_err(|error| error.to_string())
    }

    fn identity(&self, path: &Path) -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }

    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        match std::env::var_os(name) {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|_| "it is no valid Unicode".to_owned()),
        }
    }

    fn value(&self, path: &Path) -> Result<String, String> {
        let mut text =
            regular_file::read_text(path, MAX_REFERRED_BYTES).map_err(|error| error.to_string())?;
        let kept =
            text.strip_suffix('\n').map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
        text.truncate(kept);
        Ok(text)
    }
}
