//! `client_auth` of a listener's TLS.

use std::path::PathBuf;

use super::{At, CertificateRef};
use crate::tls::ClientUsage;

/// How a listener requests certificates from its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// `client_auth = "required"`: there is no connection without one. Otherwise it is optional.
    pub required: At<bool>,
    /// `client_trust`: what it is checked against; empty only where certificates are for credentials alone.
    pub trust: Vec<At<CertificateRef>>,
    /// `client_trust` is written, be it good or not.
    pub wrote_trust: bool,
    /// `client_crl`: files of revocation lists.
    pub crl: Vec<At<PathBuf>>,
    /// `client_usage`: what it must be for.
    pub usage: ClientUsage,
    /// `forward_certificate`: the whole certificate is sent to backends, not only its names.
    pub forward_certificate: bool,
}
