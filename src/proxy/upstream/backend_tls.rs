//! TLS with the endpoints of an upstream: part of the snapshot.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::base::published::Published;
use crate::tls::Identity;

/// TLS with an upstream's endpoints. A reload that leaves all of it as it is keeps this very object: connections and
/// sessions that were made with it serve on.
#[derive(Debug)]
pub struct UpstreamTls {
    /// Trust, versions, suites, client identity; without a session store, which each worker adds.
    pub config: Arc<ClientConfig>,
    /// The name that is sent and verified; `None`: the request's host, or the endpoint's.
    pub server_name: Option<ServerName<'static>>,
    /// The identity presented, for the generation that pooled connections carry.
    pub identity: Option<Published<Identity>>,
    /// Whether a backend that does not request our certificate is refused.
    pub require_client_auth: bool,
    /// Whether backends are verified at all.
    pub verifies: bool,
    /// Session tickets kept per endpoint, 0 for none.
    pub tickets: usize,
}

impl UpstreamTls {
    /// Whether connections that were made with either are the same: both are plain, or of this very object.
    pub(crate) fn is_same(one: Option<&Arc<Self>>, other: Option<&Arc<Self>>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}
