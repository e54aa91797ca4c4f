//! Files that list endpoints.

use std::io::Read as _;
use std::path::Path;

use crate::config;

/// Most bytes of such a file.
const MAX_BYTES: u64 = 1024 * 1024;

/// The endpoints that a file lists, each with its weight.
///
/// # Errors
/// The file can't be read, or is not valid; in words.
pub(super) fn read(path: &Path) -> Result<Vec<(String, u32)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("{}: this is not a file", path.display()));
    }
    let mut text = String::new();
    let length = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if length as u64 > MAX_BYTES {
        return Err(format!("{}: it has more than {MAX_BYTES} bytes", path.display()));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    config::endpoint_list(&text, folder).map_err(|error| format!("{}: {error}", path.display()))
}
