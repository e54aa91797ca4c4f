//! Files that list endpoints.

use std::path::Path;

use crate::config;
use crate::server::regular_file;

/// Most bytes of such a file.
const MAX_BYTES: u64 = 1024 * 1024;

/// The endpoints that a file lists, each with its weight.
///
/// # Errors
/// The file can't be read, or is not valid; in words.
pub(super) fn read(path: &Path) -> Result<Vec<(String, u32)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let text = regular_file::read_text(path, MAX_BYTES).map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    config::endpoint_list(&text, folder).map_err(|error| format!("{}: {error}", path.display()))
}
