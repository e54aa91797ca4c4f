//! Certificates and keys in files outside the store.

use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::disk::{exposure, read_file};
use super::error::{Exposed, StoreError};
use super::{MAX_IDENTITY_BYTES, MAX_TRUST_BYTES};
use crate::certs::bundle::Bundle;
use crate::certs::material;

/// A bundle read from files outside the store.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the files hold.
    pub bundle: Bundle,
    /// Set if others than the key's owner may access it. A warning only: outside the store, groups such as
    /// `ssl-cert` are common and deliberate.
    pub exposed: Option<Exposed>,
}

/// Reads a chain, perhaps with its key, from one file (PEM), or one certificate (PEM or DER).
pub fn load_file(path: &Path) -> Result<Loaded, StoreError> {
    let file = read_file(path, MAX_IDENTITY_BYTES)?;
    let bundle = Bundle::from_parts(&file.bytes, None).map_err(|error| StoreError::bundle(path, error))?;
    let exposed = bundle.key().and_then(|_| exposure(path, file.mode));
    Ok(Loaded { bundle, exposed })
}

/// Reads a chain from `cert` and its key from `key`, each PEM or DER.
pub fn load_pair(cert: &Path, key: &Path) -> Result<Loaded, StoreError> {
    let chain = read_file(cert, MAX_IDENTITY_BYTES)?;
    let secret = read_file(key, MAX_IDENTITY_BYTES)?;
    // Each alone first, so that an error names the file that is at fault.
    material::read(&chain.bytes).map_err(|error| StoreError::bundle(cert, error))?;
    material::read(&secret.bytes).map_err(|error| StoreError::bundle(key, error))?;
    let bundle = Bundle::from_parts(&chain.bytes, Some(&secret.bytes))
        .map_err(|source| StoreError::Bundle { path: cert.to_owned(), key: Some(key.to_owned()), source })?;
    Ok(Loaded { bundle, exposed: exposure(key, secret.mode) })
}

/// Reads trusted certificates: any number in PEM, or one in DER. Keys beside them are passed over.
pub fn load_trust(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let file = read_file(path, MAX_TRUST_BYTES)?;
    material::certificates(&file.bytes).map_err(|error| StoreError::bundle(path, error))
}
