//! TLS with the endpoints of an upstream: part of the snapshot.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::base::published::Published;
use crate::http::BackendHttp;
use crate::tls::Identity;

/// TLS with an upstream's endpoints. A reload that leaves all of it as it is keeps this very object: connections and
/// sessions that were made with it serve on.
#[derive(Debug)]
pub struct UpstreamTls {
    /// Trust, versions, suites, client identity; without a session store, which each worker adds.
    pub config: Arc<ClientConfig>,
    /// The same with an offer of HTTP/2 by ALPN, for traffic of HTTP where the upstream speaks that.
    pub http2: Option<Arc<ClientConfig>>,
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
    /// The config for a connection that may have these versions of HTTP.
    pub(crate) fn config_for(&self, http: BackendHttp) -> &Arc<ClientConfig> {
        self.http2.as_ref().filter(|_| http != BackendHttp::Http11).unwrap_or(&self.config)
    }

    /// Whether connections that were made with either are the same: both are plain, or of this very object.
    pub(crate) fn is_same(one: Option<&Arc<Self>>, other: Option<&Arc<Self>>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}
