//! The secret that sticky sessions are signed with, where the config names no file of its own.

use std::fs;
use std::io;

use zeroize::Zeroizing;

use super::disk::{exposure, make_folder, read_file, write_whole};
use super::{Store, StoreError, TEMPORARY, lock};

/// The file in the store's folder: hexadecimal digits.
const SECRET_FILE: &str = ".session-secret";
const MAX_SECRET_BYTES: u64 = 4096;

impl Store {
    /// The secret, if one is kept.
    ///
    /// # Errors
    /// Its file can't be read, or others may read it.
    pub(crate) fn session_secret(&self) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let path = self.root.join(SECRET_FILE);
        if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let content = read_file(&path, MAX_SECRET_BYTES)?;
        if let Some(exposed) = exposure(&path, content.mode) {
            return Err(StoreError::Exposed(exposed));
        }
        let secret = Zeroizing::new(content.bytes.trim_ascii().to_vec());
        if secret.len() < 32 {
            let error = io::Error::other("it is no secret: remove it, and a new one is made");
            return Err(StoreError::io(&path, "use", error));
        }
        Ok(Some(secret))
    }

    /// Keeps a secret of text, unless one is kept already.
    ///
    /// # Errors
    /// The store can't be written.
    pub(crate) fn keep_session_secret(&self, secret: &[u8]) -> Result<(), StoreError> {
        if !self.root.exists() {
            make_folder(&self.root)?;
        }
        let _lock = lock::take(&self.root, self.patience)?;
        if self.root.join(SECRET_FILE).exists() {
            return Ok(());
        }
        // Left behind by a crash: the holder of the lock removes it.
        let _ = fs::remove_file(self.root.join(format!("{TEMPORARY}{SECRET_FILE}")));
        write_whole(&self.root, SECRET_FILE, &[secret, b"\n"].concat(), 0o600)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_kept_once_and_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("certs")).unwrap();
        assert_eq!(store.session_secret().unwrap(), None);
        store.keep_session_secret(&[b'a'; 64]).unwrap();
        store.keep_session_secret(&[b'b'; 64]).unwrap();
        assert_eq!(store.session_secret().unwrap().unwrap()[..], [b'a'; 64]);
        let file = store.path().join(SECRET_FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(store.names().unwrap().is_empty());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(store.session_secret(), Err(StoreError::Exposed(_))));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "short").unwrap();
        let error = store.session_secret().unwrap_err().to_string();
        assert!(error.contains("remove it, and a new one is made"), "{error}");
    }
}
