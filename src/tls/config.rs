//! Policies in, rustls' configs out.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::groups::Group;
use super::identity::{ClientResolver, Identity, ServerResolver};
use super::sessions::Sessions;
use super::ticket_keys::TicketKeys;
use super::tickets::Tickets;
use super::watched::watched;

/// Every suite, best first: AES-128 before AES-256, which costs a third more without a practical gain, before ChaCha20, which
/// is for machines without AES instructions.
pub const CIPHER_SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The IANA name of a suite; those of TLS 1.3 begin with `TLS13_`.
pub fn cipher_suite_name(suite: SupportedCipherSuite) -> &'static str {
    suite.suite().as_str().unwrap_or_default()
}

/// The suite of this name, as [`Facts::suite_name`](super::Facts::suite_name) and the config file write it.
pub fn cipher_suite_by_name(name: &str) -> Option<SupportedCipherSuite> {
    CIPHER_SUITES.into_iter().find(|suite| cipher_suite_name(*suite) == name)
}

/// The TLS versions that may be negotiated; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Default for Versions {
    fn default() -> Self {
        Self { tls12: true, tls13: true }
    }
}

/// Whose order of preference decides between suites that both sides have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CipherOrder {
    /// The listener's.
    #[default]
    Server,
    /// The client's.
    Client,
}

/// How Ringate speaks TLS to the endpoints of an upstream.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    /// Which versions.
    pub versions: Versions,
    /// Which suites, best first; none: [`CIPHER_SUITES`].
    pub cipher_suites: Option<Vec<SupportedCipherSuite>>,
    /// Which groups, best first; none: [`Group::ALL`].
    pub groups: Option<Vec<Group>>,
    /// What a backend's certificate is checked by.
    pub verifier: Arc<dyn ServerCertVerifier>,
    /// The protocols to offer by ALPN, best first.
    pub alpn: Vec<Vec<u8>>,
}

/// How Ringate speaks TLS to clients.
#[derive(Clone, Debug)]
pub struct ServerPolicy {
    /// Which versions.
    pub versions: Versions,
    /// Which suites, best first; none: [`CIPHER_SUITES`].
    pub cipher_suites: Option<Vec<SupportedCipherSuite>>,
    /// Whose order of them counts.
    pub cipher_order: CipherOrder,
    /// Which groups, best first; none: [`Group::ALL`].
    pub groups: Option<Vec<Group>>,
    /// What is presented.
    pub resolver: Arc<ServerResolver>,
    /// What a client's certificate is checked by; none: clients are not asked.
    pub client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// The protocols to accept by ALPN, best first.
    pub alpn: Vec<Vec<u8>>,
    /// The keys of stateless tickets: one [`ticketer`] for all workers, so that a client may resume on any.
    pub ticketer: Arc<dyn ProducesTickets>,
}

/// Why a policy makes no config.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigError {
    /// No version is allowed.
    NoVersions,
    /// No suite of the allowed versions is allowed.
    NoSuites,
    /// rustls refuses.
    Rustls(rustls::Error),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVersions => f.write_str("no TLS version is allowed"),
            Self::NoSuites => f.write_str("no cipher suite of the allowed TLS versions is allowed"),
            Self::Rustls(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The config of a policy, which presents no certificate and resumes nothing: [`bind`] adds both.
pub fn client_config(policy: &ClientPolicy) -> Result<Arc<ClientConfig>, ConfigError> {
    let (provider, versions) =
        provider(policy.versions, policy.cipher_suites.as_deref(), policy.groups.as_deref())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .map_err(ConfigError::Rustls)?
        .dangerous() // the name of a way to pass a verifier of one's own
        .with_custom_certificate_verifier(Arc::clone(&policy.verifier))
        .with_client_cert_resolver(Arc::new(ClientResolver::new(None)));
    config.alpn_protocols.clone_from(&policy.alpn);
    config.enable_secret_extraction = true;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// A copy of `base` that presents `identity` and keeps its sessions in `store`.
///
/// rustls resumes a session only under the same verifier and resolver that it began with: the verifier stays
/// that of `base`, the resolver is this identity's own. So no session outlives its identity in this copy, either.
pub fn bind(base: &ClientConfig, identity: Option<Arc<Identity>>, store: Arc<Sessions>) -> Arc<ClientConfig> {
    let mut config = base.clone();
    config.client_auth_cert_resolver = Arc::new(ClientResolver::new(identity));
    config.resumption = Resumption::store(store);
    Arc::new(config)
}

/// The config of a listener.
pub fn server_config(policy: &ServerPolicy) -> Result<Arc<ServerConfig>, ConfigError> {
    let wanted = policy.cipher_suites.as_deref().unwrap_or(&CIPHER_SUITES);
    let watched: Vec<SupportedCipherSuite> = wanted.iter().filter_map(|suite| watched(*suite)).collect();
    let (provider, versions) = provider(policy.versions, Some(&watched), policy.groups.as_deref())?;
    let verifier = policy.client_verifier.clone().unwrap_or_else(|| Arc::new(NoClientAuth));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .map_err(ConfigError::Rustls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&policy.resolver) as Arc<_>);
    config.alpn_protocols.clone_from(&policy.alpn);
    config.enable_secret_extraction = true;
    config.ignore_client_order = policy.cipher_order == CipherOrder::Server;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(Tickets(Arc::clone(&policy.ticketer)));
    config.send_tls13_tickets = 2;
    Ok(Arc::new(config))
}

/// Keys for stateless tickets, which change by themselves every six hours.
pub fn ticketer() -> Result<Arc<TicketKeys>, ConfigError> {
    TicketKeys::new().map(Arc::new)
}

/// The provider with the suites and groups that are allowed, and the allowed versions that any of them is of.
fn provider(
    versions: Versions,
    suites: Option<&[SupportedCipherSuite]>,
    groups: Option<&[Group]>,
) -> Result<(CryptoProvider, Vec<&'static SupportedProtocolVersion>), ConfigError> {
    let allowed: Vec<&'static SupportedProtocolVersion> =
        [(versions.tls13, &TLS13), (versions.tls12, &TLS12)]
            .into_iter()
            .filter_map(|(allowed, version)| allowed.then_some(version))
            .collect();
    if allowed.is_empty() {
        return Err(ConfigError::NoVersions);
    }
    let suites = suites.unwrap_or(&CIPHER_SUITES).iter().copied();
    let cipher_suites: Vec<_> = suites.filter(|suite| allowed.contains(&suite.version())).collect();
    if cipher_suites.is_empty() {
        return Err(ConfigError::NoSuites);
    }
    let usable =
        |version: &&SupportedProtocolVersion| cipher_suites.iter().any(|suite| suite.version() == *version);
    let used = allowed.into_iter().filter(usable).collect();
    let kx_groups = groups.unwrap_or(&Group::ALL).iter().map(|group| group.key_exchange()).collect();
    Ok((CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() }, used))
}
