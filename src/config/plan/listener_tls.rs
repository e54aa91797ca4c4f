//! `[listener.tls]`

use rustls::SupportedCipherSuite;

use super::{At, CertificateRef, ClientAuth, Ocsp};
use crate::tls::{CipherOrder, Group, Versions};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// At least one; chosen by SNI, the first is the default.
    pub certificates: Vec<At<CertificateRef>>,
    /// Enabled versions.
    pub versions: Versions,
    /// Cipher suites in order of preference; `None`: all, AES first.
    pub cipher_suites: Option<Vec<At<SupportedCipherSuite>>>,
    /// `cipher_order`: whose order of suites counts.
    pub cipher_order: CipherOrder,
    /// Key exchange groups in order of preference; `None`: all.
    pub groups: Option<Vec<At<Group>>>,
    /// `ocsp`: the responses that are stapled; `None`: none.
    pub ocsp: Option<Ocsp>,
    /// `client_auth` and its keys; `None`: no certificate is requested from clients, but for `credentials`.
    pub clients: Option<ClientAuth>,
    /// `client_auth = "none"` is written.
    pub client_auth_off: bool,
    /// A route has credentials with client certificates: any certificate is taken, and counts for those alone unless
    /// `clients` verifies it.
    pub credentials: bool,
}
