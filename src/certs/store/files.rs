//! Certificates and keys in files outside the store.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::disk::{Content, exposure, passphrase_exposure, read_file, read_given};
use super::error::{Exposed, StoreError};
use super::{MAX_IDENTITY_BYTES, MAX_PASSPHRASE_BYTES, MAX_TRUST_BYTES};
use crate::certs::bundle::Bundle;
use crate::certs::parse;
use crate::certs::passphrase::Passphrase;

/// A bundle read from files outside the store.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the files hold.
    pub bundle: Bundle,
    /// The key and the passphrase, if others than their owner may access them. Warnings only: outside the store, groups
    /// such as `ssl-cert` are common and deliberate.
    pub exposed: Vec<Exposed>,
}

/// Where a certificate outside the store lies. Any path may begin with `$CREDENTIALS_DIRECTORY/`, where systemd puts
/// what a unit's `LoadCredential=` names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    /// The chain (PEM, or one certificate in DER), perhaps with the key; or a PKCS#12 container with both.
    pub cert: &'a Path,
    /// The key, PEM or DER, if it has a file of its own.
    pub key: Option<&'a Path>,
    /// The passphrase that opens what is locked.
    pub passphrase_file: Option<&'a Path>,
}

impl<'a> Files<'a> {
    /// One file, not locked.
    pub(crate) fn one(cert: &'a Path) -> Self {
        Self { cert, key: None, passphrase_file: None }
    }

    /// Reads a chain, perhaps with its key.
    pub(crate) fn load(self) -> Result<Loaded, StoreError> {
        let Some(path) = self.passphrase_file else { return self.load_with(None) };
        let (passphrase, exposed) = passphrase(path, read_file)?;
        let mut loaded = self.load_with(Some(&passphrase))?;
        loaded.exposed.extend(exposed);
        Ok(loaded)
    }

    /// The same, with a passphrase that is known.
    pub(crate) fn load_with(self, passphrase: Option<&Passphrase>) -> Result<Loaded, StoreError> {
        let cert = &*credential(self.cert)?;
        let chain = read_file(cert, MAX_IDENTITY_BYTES)?;
        let Some(key) = self.key else {
            let bundle = Bundle::from_locked_parts(&chain.bytes, None, passphrase)
                .map_err(|error| StoreError::bundle(cert, error))?;
            let exposed = bundle.key().and_then(|_| exposure(cert, chain.mode)).into_iter().collect();
            return Ok(Loaded { bundle, exposed });
        };
        let key = &*credential(key)?;
        let secret = read_file(key, MAX_IDENTITY_BYTES)?;
        // Each alone first, so that an error names the file that is at fault.
        parse::read(&chain.bytes, passphrase).map_err(|error| StoreError::bundle(cert, error))?;
        parse::read(&secret.bytes, passphrase).map_err(|error| StoreError::bundle(key, error))?;
        let bundle =
            Bundle::from_locked_parts(&chain.bytes, Some(&secret.bytes), passphrase).map_err(|source| {
                StoreError::Bundle { path: cert.to_owned(), key: Some(key.to_owned()), source }
            })?;
        Ok(Loaded { bundle, exposed: exposure(key, secret.mode).into_iter().collect() })
    }

    /// Reads trusted certificates: any number in PEM or PKCS#12, or one in DER; of a folder, those of its files, see
    /// [`trust_files`]. Keys beside them are passed over.
    pub(crate) fn load_trust(self) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        let passphrase = self.passphrase_file.map(|path| passphrase(path, read_file)).transpose()?;
        let passphrase = passphrase.map(|(passphrase, _)| passphrase);
        let cert = &*credential(self.cert)?;
        let read = |path: &Path| {
            let file = read_file(path, MAX_TRUST_BYTES)?;
            parse::certificates(&file.bytes, passphrase.as_ref())
                .map_err(|error| StoreError::bundle(path, error))
        };
        let Some(files) = trust_files(cert) else { return read(cert) };
        let mut certificates = Vec::new();
        for file in &files {
            certificates.extend(read(file)?);
        }
        if certificates.is_empty() {
            return Err(StoreError::NoTrustFiles { path: cert.to_owned() });
        }
        Ok(certificates)
    }
}

/// The files of a folder that trusted certificates are read from, in order: `*.pem`, `*.crt`, `*.cer` and `*.der`, but
/// not hidden ones. `None`: it is no folder.
pub(crate) fn trust_files(path: &Path) -> Option<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = paths
        .filter(|path| {
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let kind = path.extension().and_then(|kind| kind.to_str()).map(str::to_ascii_lowercase);
            let is_kind = kind.is_some_and(|kind| matches!(&*kind, "pem" | "crt" | "cer" | "der"));
            is_kind && !is_hidden && path.is_file()
        })
        .collect();
    files.sort_unstable();
    Some(files)
}

/// Reads a chain, perhaps with its key, from one file that is not locked.
pub(crate) fn load_file(path: &Path) -> Result<Loaded, StoreError> {
    Files::one(path).load()
}

/// Reads a chain from `cert` and its key from `key`, which is not locked.
pub fn load_pair(cert: &Path, key: &Path) -> Result<Loaded, StoreError> {
    Files { key: Some(key), ..Files::one(cert) }.load()
}

/// Reads trusted certificates from one file that is not locked.
pub fn load_trust(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    Files::one(path).load_trust()
}

/// Reads a passphrase that a user names: the file's content, without the line end at its end. Waits for the writer of a pipe.
/// The second value is set if others than the file's owner may access it.
pub(crate) fn load_passphrase(path: &Path) -> Result<(Passphrase, Option<Exposed>), StoreError> {
    passphrase(path, read_given)
}

fn passphrase(
    path: &Path,
    read: fn(&Path, u64) -> Result<Content, StoreError>,
) -> Result<(Passphrase, Option<Exposed>), StoreError> {
    let path = &*credential(path)?;
    let content = read(path, MAX_PASSPHRASE_BYTES)?;
    let passphrase = Passphrase::from_file_content(&content.bytes)
        .ok_or_else(|| StoreError::NotAPassphrase { path: path.to_owned() })?;
    Ok((passphrase, passphrase_exposure(path, content.mode)))
}

/// Reads a whole file that a user names and that may be secret, of the size that a chain, a key or a container may have.
/// Waits for the writer of a pipe.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    read_given(&credential(path)?, MAX_IDENTITY_BYTES).map(|content| content.bytes)
}

/// `path`, or the file of systemd's that it means.
fn credential(path: &Path) -> Result<Cow<'_, Path>, StoreError> {
    const VARIABLE: &str = "CREDENTIALS_DIRECTORY";
    let Ok(name) = path.strip_prefix(format!("${VARIABLE}")) else { return Ok(path.into()) };
    match std::env::var_os(VARIABLE) {
        Some(folder) => Ok(Path::new(&folder).join(name).into()),
        None => Err(StoreError::NoCredentials { path: path.to_owned() }),
    }
}
