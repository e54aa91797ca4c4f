//! Files of API keys on disk.

use std::path::Path;

use super::disk::{make_folder, read_file, write_whole};
use super::{LOCK_PATIENCE, StoreError, lock};
use crate::certs::apikeys::{KeyError, KeyFile};

/// The folder of the store that files of API keys stand in, unless the config names them by a path.
pub(crate) const KEYS_FOLDER: &str = "api-keys";
/// The largest file of keys.
const MAX_KEYS_BYTES: u64 = 16 << 20;

/// Reads a file of API keys.
///
/// # Errors
/// It can't be read, or is none.
pub(crate) fn load_keys(path: &Path) -> Result<KeyFile, StoreError> {
    let file = read_file(path, MAX_KEYS_BYTES).map_err(|error| match error {
        StoreError::TooLarge { .. } => {
            wrong(path, &KeyError::Syntax(format!("it is larger than {} MiB", MAX_KEYS_BYTES >> 20)))
        }
        StoreError::IsAFolder { .. } => wrong(path, &KeyError::Syntax("it is a folder".to_owned())),
        other => other,
    })?;
    let text = String::from_utf8_lossy(&file.bytes);
    KeyFile::parse(&text).map_err(|error| wrong(path, &error))
}

/// Changes a file of API keys, which is made if there is none (0600). One change at a time, and the old content
/// or the new is there at any moment.
///
/// # Errors
/// The file can't be read or written, or the change is refused.
pub(crate) fn change_keys<T>(
    path: &Path,
    change: impl FnOnce(&mut KeyFile) -> Result<T, KeyError>,
) -> Result<T, StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    for folder in [folder.parent(), Some(folder)].into_iter().flatten() {
        if !folder.as_os_str().is_empty() && !folder.exists() {
            make_folder(folder)?;
        }
    }
    let _lock = lock::take(folder, LOCK_PATIENCE)?;
    let mut file = if path.exists() { load_keys(path)? } else { KeyFile::default() };
    let result = change(&mut file).map_err(|error| wrong(path, &error))?;
    // Left behind by a crash: the holder of the lock removes it.
    let _ = std::fs::remove_file(folder.join(format!("{}{name}", super::TEMPORARY)));
    write_whole(folder, name, file.text().as_bytes(), 0o600)?;
    Ok(result)
}

fn wrong(path: &Path, error: &KeyError) -> StoreError {
    StoreError::Keys { path: path.to_owned(), error: error.clone() }
}
