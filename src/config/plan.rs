//! The plan: the checked, immutable form of the config.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use rustls::SupportedCipherSuite;

use super::diagnostics::Warning;
pub(crate) use crate::base::address::Address;
use crate::base::limits::Limits;
pub(crate) use crate::base::network::{AddressRule, Network};
pub(crate) use crate::certs::consumers::Definition;
use crate::http::BackendHttp;
use crate::proxy_protocol::{Accept, Version};
use crate::tls::{Group, RsaBits, Versions};

mod auth;
mod balance;
mod circuit;
mod clients;
mod endpoint;
mod health;
mod http;
mod listener_tls;
mod log;
mod maps;
mod mirror;
mod ocsp;
mod outliers;
mod pages;
mod process;
mod retries;
mod route;
mod rules;
mod telemetry;

pub(crate) use auth::{
    AskMethod, Auth, BasicAuth, ForwardAuth, KeyLocation, KeySource, OnFailure, TokenAuth,
};
pub(crate) use balance::{Balance, Hash, HashBy, Sticky, StickyBy};
pub(crate) use circuit::{CircuitLimits, Queue};
pub(crate) use clients::ClientAuth;
pub(crate) use endpoint::Endpoint;
pub(crate) use health::{AllDown, CheckKind, GrpcCheck, HealthCheck, HttpCheck};
pub(crate) use http::ListenerHttp;
pub(crate) use listener_tls::ListenerTls;
pub(crate) use log::{AccessLog, LogChoice, NamedLog, RouteLog};
pub(crate) use maps::{Entries, Map};
pub(crate) use mirror::Mirror;
pub(crate) use ocsp::Ocsp;
pub(crate) use outliers::Outliers;
pub(crate) use pages::{ErrorPage, ErrorPages, PageSource, PageStatus};
pub(crate) use process::{Process, SeccompMode};
pub(crate) use retries::Retries;
pub(crate) use route::{
    CertificateRule, ConditionalEdits, Destination, HeaderEdits, Portal, PortalRequests, Respond,
    ResponseRate, Route, RouteLimits, SanPattern, Share, Template,
};
pub(crate) use rules::{
    AnyOr, ApiKeys, Compression, CompressionSetting, Cors, LimitBy, OriginPattern, RateLimit, Refusal,
    RouteRules, Trace,
};
pub(crate) use telemetry::Otlp;

/// A value and its place in the config file, as a range of bytes. Two are equal if their values are.
#[derive(Clone)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the file; empty at 0 for a default that the file does not mention.
    pub span: Range<usize>,
}

impl<T: fmt::Debug> fmt::Debug for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The checked content of a config file. References between sections are resolved to indices.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[process]`
    pub process: Process,
    /// `[admin]`; `None`: no admin server.
    pub admin: Option<Admin>,
    /// `store.path`, resolved against the config file's folder.
    pub store: PathBuf,
    /// The other keys of `[store]`.
    pub rotation: Rotation,
    /// `[resolver]`
    pub resolver: Resolver,
    /// `[log]`
    pub log: Log,
    /// `telemetry.otlp`; `None`: no traces.
    pub otlp: Option<Otlp>,
    /// `[limits]`: for the process, and for listeners without limits of their own.
    pub limits: Limits,
    /// `[[listener]]`, in the order of the file; names are unique.
    pub listeners: Vec<Listener>,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Route>,
    /// `[map.*]`, ordered by name.
    pub maps: Vec<Map>,
    /// `[credentials.*]`, ordered by name.
    pub credentials: Vec<At<Definition>>,
    /// `[upstream.*]`, ordered by name; behind them `[upstream.*.environment.*]`, each whole as it is with its overlay.
    pub upstreams: Vec<Upstream>,
    /// What `${file:PATH}` stands for anywhere: no message may repeat it.
    pub secrets: Vec<String>,
    /// Keys of an earlier version, and what to write now.
    pub old_keys: Vec<Warning>,
}

/// `[resolver]`: how `dns:` and `srv:` endpoints are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// `servers`; none: those of the system, after its hosts file.
    pub servers: Vec<SocketAddr>,
    /// `ttl.min`: the least time between lookups. Default 1 s.
    pub min: Duration,
    /// `ttl.max`: the longest time between lookups, and the time for which endpoints are kept that the name servers say
    /// are none. Default 5 min.
    pub max: Duration,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { servers: Vec::new(), min: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

/// `[store]`, beside its path: how certificates are rotated and renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// `grace`: how long connections of an old generation may go on. Default 10 min.
    pub grace: Duration,
    /// `renew_before`: how long before its end a generated certificate stages its successor. Default 30 days.
    pub renew_before: Duration,
    /// Whether `renew_before` is written.
    pub wrote_renew_before: bool,
    /// `renew`
    pub renew: Renew,
}

/// `store.renew`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renew {
    /// A successor is staged, and waits to be activated.
    Staged,
    /// It is activated when a trial has passed everywhere.
    Automatic,
}

impl Rotation {
    /// `renew_before` as the config has it; `None`: it has not.
    pub fn written_renew_before(&self) -> Option<Duration> {
        self.wrote_renew_before.then_some(self.renew_before)
    }
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(600),
            renew_before: Duration::from_secs(30 * 86_400),
            wrote_renew_before: false,
            renew: Renew::Staged,
        }
    }
}

impl Plan {
    /// Where traffic for an upstream goes, as indices, if it came through a listener of this environment: to the
    /// upstream's overlay for that, if it has one.
    pub fn in_environment(&self, upstream: usize, environment: Option<&str>) -> usize {
        let base = &self.upstreams[upstream].name.value;
        let overlay = environment.and_then(|environment| {
            let name = Upstream::overlaid_name(base, environment);
            self.upstreams.iter().position(|upstream| upstream.name.value == name)
        });
        overlay.unwrap_or(upstream)
    }

    /// Whether traffic for an upstream is HTTP, as far as is known: no tcp or udp listener's route names it.
    pub fn speaks_http(&self, upstream: usize) -> bool {
        !self.serves(upstream, |protocol| protocol != Protocol::Http)
    }

    /// Whether all traffic for an upstream is datagrams: routes name it, all of them of udp listeners.
    pub fn speaks_udp(&self, upstream: usize) -> bool {
        self.serves(upstream, |protocol| protocol == Protocol::Udp)
            && !self.serves(upstream, |protocol| protocol != Protocol::Udp)
    }

    /// Whether the route of a listener with such a protocol names an upstream, or one that it is an overlay of.
    pub(crate) fn serves(&self, upstream: usize, is: impl Fn(Protocol) -> bool) -> bool {
        let name = self.upstreams[upstream].base_name();
        let of = |listener: &usize| is(self.listeners[*listener].protocol);
        let mut routes = self.routes.iter().filter(|route| route.listeners.iter().any(of));
        routes.any(|route| route.upstreams().any(|index| self.upstreams[index].base_name() == name))
    }

    /// The names of all environments, of listeners and of upstreams, each once and in order.
    pub fn environments(&self) -> Vec<&str> {
        let listeners = self.listeners.iter().filter_map(|listener| listener.environment.as_ref());
        let upstreams = self.upstreams.iter().filter_map(|upstream| upstream.environment.as_ref());
        let mut names: Vec<&str> = listeners.chain(upstreams).map(|at| at.value.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// How many workers, where, on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `None`: one per CPU of `cpus`.
    pub workers: Option<usize>,
    /// `None`: the affinity mask. Sorted, without repetition.
    pub cpus: Option<At<Vec<usize>>>,
    /// Which driver.
    pub driver: DriverSetting,
    /// How long a drain may take.
    pub drain: Duration,
    /// Whether large pieces of plain bodies are moved by the kernel, without a copy.
    pub splice: bool,
}

/// `runtime.driver`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverSetting {
    /// io_uring, or epoll where io_uring is refused.
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll.
    Epoll,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: where the admin server listens, or the first of several.
    pub listen: At<AdminAddress>,
    /// The others.
    pub others: Vec<At<AdminAddress>>,
    /// `hosts`: names by which requests without a token may call it over TCP, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// `metrics = "open"`: `/metrics` needs no token.
    pub open_metrics: bool,
    /// `token_file`, which each TCP address has, too.
    pub token_file: Option<At<PathBuf>>,
    /// `read_only_token_file`: the file that holds the bearer token of clients that change nothing.
    pub read_only_token_file: Option<At<PathBuf>>,
    /// `audit`: the file with a line for each change.
    pub audit: Option<PathBuf>,
}

impl Admin {
    /// All addresses, in the order of the file.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &At<AdminAddress>> {
        std::iter::once(&self.listen).chain(&self.others)
    }
}

/// One of `admin.listen`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// `unix:PATH`, resolved against the config file's folder.
    Unix(PathBuf),
    /// `ADDRESS:PORT`, which demands `token_file`.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The file that holds the bearer token, resolved against the config file's folder.
        token_file: PathBuf,
    },
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `level`: error, warn, info, debug, trace. Default info.
    pub level: tracing::Level,
    /// `format`: `"text"` (default) or `"json"`.
    pub format: LogFormat,
    /// `access`: `"off"` (default, `None`), `"stdout"`, or a file.
    pub access: Option<AccessLog>,
    /// `access_format`, with `redact` in it: the content of a line. Default: as `format`.
    pub access_format: super::access::Format,
    /// `tcp_format`: the same for connections of tcp listeners.
    pub tcp_format: super::access::Format,
    /// `udp_format`: the same for sessions of udp listeners.
    pub udp_format: super::access::Format,
    /// `named`: further access logs, which routes name.
    pub named: Vec<NamedLog>,
}

impl Default for Log {
    fn default() -> Self {
        let (access_format, tcp_format) = (super::access::Format::text(), super::access::Format::tcp_text());
        let (level, format, udp_format) =
            (tracing::Level::INFO, LogFormat::Text, super::access::Format::udp_text());
        Self { level, format, access: None, access_format, tcp_format, udp_format, named: Vec::new() }
    }
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique name.
    pub name: At<String>,
    /// One or more addresses.
    pub addresses: Vec<At<Address>>,
    /// `socket_mode`: the permissions of its Unix sockets. Default 0o660.
    pub socket_mode: u32,
    /// `ipv6_only`: `[::]` takes no IPv4 connections. Default true.
    pub ipv6_only: bool,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// `http`: which versions it serves; of an http listener.
    pub http: ListenerHttp,
    /// `udp`: when its sessions end; of a udp listener.
    pub udp: UdpSessions,
    /// `environment`: which overlay of upstreams its traffic uses.
    pub environment: Option<At<String>>,
    /// `[listener.tls]`; its presence makes clients speak TLS.
    pub tls: Option<ListenerTls>,
    /// `proxy_protocol`: which PROXY headers its connections must begin with; `None`: with none.
    pub proxy_protocol: Option<Accept>,
    /// `[listener.limits]` over `[limits]`.
    pub limits: Limits,
    /// `[listener.error_pages]` over `[error_pages]`; `None`: plain words.
    pub error_pages: Option<ErrorPages>,
    /// `request_id = "accept"`: an id that a client gives its request is kept.
    pub accept_request_id: bool,
    /// `proxy_status`: responses to failures have a Proxy-Status field.
    pub proxy_status: bool,
    /// `compression`, for routes without one of their own.
    pub compression: Option<CompressionSetting>,
    /// `refuse`: which requests are refused before any route is chosen.
    pub refusals: Vec<Refusal>,
    /// `rate_limit`: before any route is chosen, and beside the routes' own.
    pub rate_limit: Option<RateLimit>,
    /// `headers.request`: before those of the route.
    pub request_headers: HeaderEdits,
    /// `headers.response`: before those of the route, of every response, refusals as well.
    pub response_headers: HeaderEdits,
    /// `headers.when`, in their order: behind these two, under conditions.
    pub conditional_headers: Vec<ConditionalEdits>,
    /// `allow`, `deny`: which clients may come, whatever the routes say.
    pub permitted: AddressRule,
    /// `client_address`: where the client's address is taken from, if not from its connection.
    pub client_address: Option<ClientAddress>,
}

/// `listener.client_address`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// `header`
    pub field: ClientField,
    /// `trusted`: the proxies that are believed.
    pub trusted: Vec<Network>,
    /// `trusted` has `unix:`: proxies that connect over a Unix socket are believed. Either this or `trusted` has some.
    pub trusts_unix: bool,
}

/// `client_address.header`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientField {
    /// `X-Forwarded-For`: each proxy appends the address that it heard.
    ForwardedFor,
    /// `X-Real-IP`
    RealIp,
}

impl ClientField {
    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForwardedFor => "x-forwarded-for",
            Self::RealIp => "x-real-ip",
        }
    }
}

/// `listener.protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// Bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// As the config has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `listener.udp`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpSessions {
    /// `requests`: datagrams of the client after which its next one begins another session. Default 0: no bound.
    pub requests: u64,
    /// `responses`: datagrams that the backend sends for each of the client's. A session that has had all of them ends.
    /// Default 0: they are not counted.
    pub responses: u64,
}

/// A certificate as the config names it. Paths are resolved against the config file's folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateRef {
    /// A name in the store.
    Store(String),
    /// One file with chain and, for an identity, key: PEM or PKCS#12 (a value with a slash).
    File(PathBuf),
    /// `{ cert = "FILE", key = "FILE" }`.
    Pair {
        /// The chain.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// `{ cert = "FILE", key = "FILE", passphrase_file = "FILE" }`.
    Locked {
        /// The chain, perhaps with the key; or a PKCS#12 container.
        cert: PathBuf,
        /// The private key, if it has a file of its own.
        key: Option<PathBuf>,
        /// The passphrase that opens them.
        passphrase_file: PathBuf,
    },
}

/// `[upstream.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Unique name: `orders`, or `orders@production` for an overlay.
    pub name: At<String>,
    /// The overlay's environment; `None`: the upstream as it is without one.
    pub environment: Option<At<String>>,
    /// At least one.
    pub endpoints: Vec<At<Endpoint>>,
    /// `balance` and `hash`: how an endpoint is chosen. Default: round robin.
    pub balance: Balance,
    /// `sticky`: whether a client's requests go to one endpoint. Default: `None`.
    pub sticky: Option<At<Sticky>>,
    /// `slow_start`: how long the weight of an endpoint that is new or back rises. Default 0.
    pub slow_start: Duration,
    /// `http`: the version spoken with the backends. Default 1.1.
    pub http: At<BackendHttp>,
    /// `timeouts.connect`, TCP and TLS together. Default 2 s.
    pub connect_timeout: Duration,
    /// `timeouts.response`: from the request's end to the response's head. Default 30 s.
    pub response_timeout: Duration,
    /// `timeouts.idle`: silence within a response body or an L4 relay, and how long an idle connection is kept. Default 60 s.
    pub idle_timeout: Duration,
    /// `pool.idle_per_worker`: idle connections kept per endpoint and worker. Default 256; 0 turns reuse off.
    pub idle_per_worker: usize,
    /// `pool.min_idle`: idle connections made before requests need them, per endpoint over all workers. Default 0.
    pub min_idle: usize,
    /// `pool.shared`: whether a worker takes idle connections of others. Default true.
    pub shared: bool,
    /// `pool.max_age`: a connection older than this is not used again. Default 1 h.
    pub max_age: Duration,
    /// `pool.max_per_endpoint`: exchanges at each endpoint over all workers. Default 0: no bound.
    pub max_per_endpoint: usize,
    /// `queue`: the exchanges that wait while each endpoint has that many.
    pub queue: Queue,
    /// `limits`: circuit bounds.
    pub limits: CircuitLimits,
    /// `limits.per_endpoint`
    pub endpoint_limits: CircuitLimits,
    /// `health`, but for `passive`: how its endpoints are checked, if they are.
    pub health: Option<HealthCheck>,
    /// `health.passive` and `outliers`: which outcomes eject an endpoint.
    pub outliers: Outliers,
    /// `retries`: when a request is tried at another endpoint.
    pub retries: Retries,
    /// `mirror`: another upstream that gets copies of its requests.
    pub mirror: Option<Mirror>,
    /// `proxy_protocol`: the PROXY header that its connections begin with; `None`: none.
    pub proxy_protocol: Option<Version>,
    /// `bind_address`: the source address of its connections; `None`: the kernel's choice.
    pub bind_address: Option<At<IpAddr>>,
    /// `[upstream.NAME.tls]`; its presence makes the backend TLS.
    pub tls: Option<UpstreamTls>,
}

impl Upstream {
    /// What the upstream `name` is called with the overlay of an environment.
    pub fn overlaid_name(name: &str, environment: &str) -> String {
        format!("{name}@{environment}")
    }

    /// The name in the file: without the environment.
    pub fn base_name(&self) -> &str {
        match self.name.value.split_once('@') {
            Some((name, _)) if self.environment.is_some() => name,
            _ => &self.name.value,
        }
    }
}

/// `[upstream.NAME.tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// SNI and the name that is verified (DNS name or IP address). `None`: the request's host; for `tcp`, the endpoint's host.
    pub server_name: Option<At<String>>,
    /// What the backend's certificate is checked against; never empty. Default: `[System]`.
    pub trust: Vec<At<TrustRef>>,
    /// SHA-256 of SubjectPublicKeyInfos (RFC 7469 §2.4); with any, the backend's must be among them.
    pub pins: Vec<At<[u8; 32]>>,
    /// Files with revocation lists; with any, each certificate of a chain must be covered.
    pub crl: Vec<At<PathBuf>>,
    /// The least size of RSA keys. Default 2048 bits.
    pub min_rsa_bits: RsaBits,
    /// `insecure_skip_verify = true` with its place; `None`: backends are verified.
    pub insecure_skip_verify: Option<At<()>>,
    /// The client identity, presented when the backend requests one.
    pub certificate: Option<At<CertificateRef>>,
    /// Whether a backend that never requests it is refused. Only with `certificate`.
    pub require_client_auth: bool,
    /// Enabled versions.
    pub versions: Versions,
    /// Cipher suites in order of preference; `None`: all, AES first.
    pub cipher_suites: Option<Vec<At<SupportedCipherSuite>>>,
    /// Key exchange groups in order of preference; `None`: all.
    pub groups: Option<Vec<At<Group>>>,
    /// `resumption.tickets_per_endpoint`: more are kept when needed; 0 turns resumption off. Default 8.
    pub tickets_per_endpoint: usize,
}

/// One of `tls.trust`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TrustRef {
    /// The system's roots.
    System,
    /// A certificate by store name or file.
    Certificate(CertificateRef),
}
