//! `client_auth` of a listener's TLS.

use std::path::PathBuf;

use super::{At, CertificateRef};

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
    /// What backends get of it.
    pub forward: ForwardCertificate,
}

/// What backends get of a client's certificate, besides its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardCertificate {
    /// `forward_certificate`: X-Forwarded-Client-Cert has the whole certificate.
    pub whole: bool,
    /// `client_cert_field`
    pub field: ClientCertField,
}

/// `client_cert_field`: which fields of RFC 9440 backends get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertField {
    /// None.
    #[default]
    Off,
    /// Client-Cert.
    Leaf,
    /// Client-Cert, and Client-Cert-Chain with the certificates above it.
    Chain,
}
