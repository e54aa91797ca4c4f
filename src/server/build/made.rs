//! What others ask of an assembly.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::Made;
use crate::base::published::Published;
use crate::certs::apikeys::Keys;
use crate::config::plan::CertificateRef;
use crate::proxy::upstream::config::Upstream;
use crate::tls::Identity;

impl Made {
    /// The cell of a certificate in use.
    pub fn identity(&self, certificate: &CertificateRef) -> Option<&Published<Identity>> {
        self.identities.iter().find(|(name, _)| name == certificate).map(|(_, cell)| cell)
    }

    /// The certificates in force of an entry of a trust list.
    pub fn trusted(&self, named: &CertificateRef) -> &[CertificateDer<'static>] {
        self.trusted.get(named).map_or(&[], Vec::as_slice)
    }

    /// The upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().map(|made| &made.upstream).find(|upstream| upstream.name == name)
    }

    /// The API keys that a file held when it was read.
    pub fn keys(&self, file: &Path) -> Option<&Keys> {
        self.keys.get(file)
    }

    /// Whether two listeners, by index, have the very same TLS config, or both none.
    pub fn same_policy(left: &Self, at: usize, right: &Self, index: usize) -> bool {
        match (&left.listeners[at], &right.listeners[index]) {
            (None, None) => true,
            (Some(left), Some(right)) => Arc::ptr_eq(&left.config, &right.config),
            _ => false,
        }
    }
}
