//! The snapshot that workers run from: immutable, built by `server`, published through one pointer.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};

use crate::base::address::Address;
use crate::base::counters::DatagramCounts;
use crate::base::limits::Limits;
use crate::base::meter::{ListenerCells, PerWorker, RouteCells};
use crate::config::plan::{AddressRule, ClientAddress, RouteLimits, UdpSessions};
use crate::http2;
use crate::proxy::client_failures::ClientFailures;
pub(crate) use crate::proxy::destination::{Destination, Split};
use crate::proxy::error_pages::Pages;
use crate::proxy::rules::Rules;
use crate::proxy::upstream::config::Upstream;
use crate::proxy_protocol::Accept;
use crate::route::{Map, Rewrite, Table};
use crate::tls::AnyClient;

/// One bound address, the same number on every worker and in every snapshot for as long as it is bound.
pub(crate) type SocketId = u32;

/// Everything that a worker needs to serve, of one moment.
#[derive(Debug)]
pub struct RuntimeConfig {
    /// Counts the snapshots of this process, from 1.
    pub version: u64,
    /// `[limits]`: here only what bounds the process counts.
    pub limits: Limits,
    /// In the order of the config file.
    pub listeners: Vec<Listener>,
    /// In the order of the plan's.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The maps, for the access log.
    pub(crate) maps: Vec<Arc<Map>>,
    /// How the collector of traces is checked, if it is reached over TLS. Used at the start.
    pub(crate) collector_tls: Option<Arc<ClientConfig>>,
}

/// A listener as workers see it.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it is bound, with the ports that were chosen for port 0. Filled in once its sockets are bound.
    pub addresses: Vec<Address>,
    /// Its sockets, in the order of its addresses.
    pub sockets: Vec<SocketId>,
    /// Present if its clients speak TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether its clients' certificates are verified.
    pub verifies_clients: bool,
    /// Present if handshakes take any certificate, for credentials: which of them count as verified.
    pub(crate) any_client: Option<Arc<AnyClient>>,
    /// Which PROXY headers its connections must begin with; `None`: with none.
    pub proxy_protocol: Option<Accept>,
    /// What bounds its clients.
    pub limits: Limits,
    /// Whether a client's whole certificate is sent to backends, not only its names.
    pub forward_certificate: bool,
    /// Its error pages; `None`: plain text.
    pub pages: Option<Arc<Pages>>,
    /// Which clients are permitted.
    pub permitted: AddressRule,
    /// What else it asks of requests before any route is chosen: refusals, a limit and header edits alone, if anything.
    pub rules: Option<Arc<Rules>>,
    /// Where a client's address is taken from, if not from its connection.
    pub client_address: Option<ClientAddress>,
    /// Whether its clients may give their requests ids.
    pub accept_request_id: bool,
    /// Whether responses to failures have a Proxy-Status field (RFC 9209).
    pub proxy_status: bool,
    /// Its clients' failed handshakes.
    pub(crate) failures: Arc<ClientFailures>,
    /// What is counted of it.
    pub(crate) meter: Arc<PerWorker<ListenerCells>>,
    /// What is counted of its requests that no route is known for.
    pub(crate) unrouted: Arc<PerWorker<RouteCells>>,
    /// Which versions of HTTP it serves.
    pub http: HttpVersions,
    /// The protocol and destination of its traffic.
    pub traffic: Traffic,
}

impl Listener {
    /// One of its routes, by its index.
    pub(crate) fn route(&self, route: Option<u32>) -> Option<&Route> {
        let Traffic::Http { routes, .. } = &self.traffic else { return None };
        routes.get(route? as usize)
    }

    /// The id of one of its routes; empty: there is none.
    pub(crate) fn route_id(&self, route: Option<u32>) -> &str {
        self.route(route).map_or("", |route| &route.id)
    }

    /// The error pages of one of its routes, or its own.
    pub(crate) fn pages_of(&self, route: Option<u32>) -> Option<&Arc<Pages>> {
        self.route(route).and_then(|route| route.pages.as_ref()).or(self.pages.as_ref())
    }
}

/// The versions of HTTP of a listener.
#[derive(Debug)]
pub struct HttpVersions {
    /// HTTP/1.1, and 1.0.
    pub http1: bool,
    /// HTTP/2, and what its clients are allowed.
    pub http2: Option<Arc<http2::Config>>,
}

/// The protocol of a listener, and the destination of its traffic.
#[derive(Debug)]
pub enum Traffic {
    /// HTTP: the route table gives indices into `routes`.
    Http {
        /// Host, path and method to index.
        table: Table,
        /// The routes of this listener.
        routes: Vec<Route>,
    },
    /// Bytes, all to one upstream.
    Tcp {
        /// Index into [`RuntimeConfig::upstreams`].
        upstream: usize,
    },
    /// Datagrams, all to one upstream.
    Udp(Udp),
    /// Bytes of TLS that is not opened: the server name in the ClientHello decides on the upstream.
    TcpByName {
        /// Server name, as the host of `/`, to index into [`RuntimeConfig::upstreams`].
        table: Table,
    },
}

/// Where datagrams go, and when their sessions end.
#[derive(Debug)]
pub struct Udp {
    /// Index into [`RuntimeConfig::upstreams`].
    pub upstream: usize,
    /// When sessions end, besides `timeouts.idle`.
    pub sessions: UdpSessions,
    /// What it has relayed. Kept over reloads.
    pub counts: Arc<DatagramCounts>,
}

/// What metrics call all routes that are too many to have series of their own.
pub(crate) const OTHER: &str = "other";

/// What is counted of a route. Kept over reloads.
#[derive(Debug, Default)]
pub(crate) struct RouteMeter {
    /// What metrics call the route: the host and path that it matches, and its methods where it has some.
    pub(crate) label: Box<str>,
    /// The path that it matches.
    pub(crate) path: Box<str>,
    /// The counts.
    pub(crate) cells: PerWorker<RouteCells>,
}

/// The access log of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteLog {
    /// The log by its place among the process's; `None`: there are no lines.
    pub(crate) channel: Option<u8>,
    /// The share of requests with a line, as a fraction of 2⁶⁴; failed ones have one in any case.
    pub(crate) share: u64,
}

/// What a matched request is done with.
#[derive(Debug)]
pub struct Route {
    /// Its id in the admin API.
    pub id: Box<str>,
    /// What is counted of it.
    pub(crate) meter: Arc<RouteMeter>,
    /// Its destination.
    pub to: Destination,
    /// How the path changes.
    pub rewrite: Rewrite,
    /// Whether `%2F` in a path passes.
    pub encoded_slashes: bool,
    /// Whether slashes in a row are merged into one.
    pub merge_slashes: bool,
    /// Whether calls of gRPC-Web are made to its upstream as calls of gRPC.
    pub grpc_web: bool,
    /// From the request's end to the response's head, if the upstream's time is not the route's.
    pub response_timeout: Option<Duration>,
    /// Silence within a response, in the same way.
    pub idle_timeout: Option<Duration>,
    /// The backend's responses that get an error page: first and last status of each range.
    pub intercepted: Box<[(u16, u16)]>,
    /// Which log has its lines; `None`: the main one, a line for each request.
    pub(crate) log: Option<RouteLog>,
    /// Its error pages; `None`: its listener's.
    pub pages: Option<Arc<Pages>>,
    /// What bounds its requests and responses.
    pub limits: RouteLimits,
    /// The rules of the route, if it has any.
    pub rules: Option<Arc<Rules>>,
}

impl Route {
    /// Whether a backend's response of this status gets an error page.
    pub(crate) fn intercepts(&self, status: u16) -> bool {
        self.intercepted.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}
