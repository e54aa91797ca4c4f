//! The snapshot that workers run from: immutable, built by `server`, published through one pointer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

pub use super::destination::{Destination, Redirect, Rewrite, Split};
use super::endpoint::EndpointTls;
use super::gate::Gate;
use super::pages::Pages;
use super::rules::Rules;
use crate::base::limits::Limits;
use crate::base::snapshot::Snapshot;
use crate::config::plan::{AddressRule, ClientAddress, Retries};
use crate::proxy_protocol::{self, Accept};
use crate::route::Table;
use crate::tls::Identity;

/// One bound address, the same number on every worker and in every snapshot for as long as it is bound.
pub type SocketId = u32;

/// Everything that a worker needs to serve, of one moment.
#[derive(Debug)]
pub struct Running {
    /// Counts the snapshots of this process, from 1.
    pub version: u64,
    /// `[limits]`: here only what bounds the process counts.
    pub limits: Limits,
    /// In the order of the config file.
    pub listeners: Vec<Listener>,
    /// In the order of the plan's.
    pub upstreams: Vec<Arc<Upstream>>,
}

/// A listener as workers see it.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it is bound, with the ports that were chosen for port 0. Filled in once its sockets are bound.
    pub addresses: Vec<SocketAddr>,
    /// Its sockets, in the order of its addresses.
    pub sockets: Vec<SocketId>,
    /// Present if its clients speak TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether its clients' certificates are verified.
    pub verifies_clients: bool,
    /// Which PROXY headers its connections must begin with; `None`: with none.
    pub proxy_protocol: Option<Accept>,
    /// What bounds its clients.
    pub limits: Limits,
    /// Whether a client's certificate goes whole to backends, not only its names.
    pub forward_certificate: bool,
    /// What its clients are told where Ringate has bad news; `None`: plain words.
    pub pages: Option<Arc<Pages>>,
    /// Which clients may come.
    pub permitted: AddressRule,
    /// Where a client's address is taken from, if not from its connection.
    pub client_address: Option<ClientAddress>,
    /// Whether its clients may give their requests ids.
    pub accept_request_id: bool,
    /// Where its traffic goes.
    pub traffic: Traffic,
}

/// What is spoken on a listener, and where it goes.
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
        /// Index into [`Running::upstreams`].
        upstream: usize,
    },
    /// Bytes of TLS that is not opened: where they go is said by the server name in the ClientHello.
    TcpByName {
        /// Server name, as the host of `/`, to index into [`Running::upstreams`].
        table: Table,
    },
}

/// What a matched request is done with.
#[derive(Debug)]
pub struct Route {
    /// Where it goes.
    pub to: Destination,
    /// What becomes of the path.
    pub rewrite: Rewrite,
    /// Whether `%2F` in a path passes.
    pub encoded_slashes: bool,
    /// Whether slashes in a row go on as one.
    pub merge_slashes: bool,
    /// From the request's end to the response's head, if the upstream's time is not the route's.
    pub response_timeout: Option<Duration>,
    /// Silence within a response, in the same way.
    pub idle_timeout: Option<Duration>,
    /// What else the route asks for, if anything.
    pub rules: Option<Arc<Rules>>,
}

/// An upstream as workers see it.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoints: Vec<Endpoint>,
    /// TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the request's end to the response's head.
    pub response_timeout: Duration,
    /// Silence within a response or a relay; age of an idle connection.
    pub idle_timeout: Duration,
    /// Idle connections kept per endpoint and worker.
    pub idle_per_worker: usize,
    /// A connection older than this is not used again.
    pub max_age: Duration,
    /// Present if the exchanges at an endpoint are bounded.
    pub gate: Option<Gate>,
    /// When a request is tried again.
    pub retries: Retries,
    /// How often that was so.
    pub retried: Arc<Retried>,
    /// The PROXY header that its connections begin with, if they do. Then each has a client of its own.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// Present if its endpoints speak TLS.
    pub tls: Option<UpstreamTls>,
}

/// Retries of an upstream, over all workers.
#[derive(Debug, Default)]
pub struct Retried {
    /// Those that were sent.
    pub sent: AtomicU64,
    /// Those for which the budget had no room.
    pub refused: AtomicU64,
}

/// One endpoint: an address of a name of the config.
#[derive(Debug)]
pub struct Endpoint {
    /// The name, `HOST:PORT` as the config has it. Other endpoints have the same one where it has several addresses.
    pub name: String,
    /// The address; `None`: the name does not resolve.
    pub address: Option<SocketAddr>,
    /// What logs call it: the name or, where that has several addresses, `HOST/ADDRESS:PORT`.
    pub label: String,
    /// Its share. Each address has that of the name.
    pub weight: u32,
    /// What is known of its TLS.
    pub tls: Arc<EndpointTls>,
}

impl Endpoint {
    /// An endpoint of which nothing is known. `several`: its name has other addresses, too.
    pub fn new(name: String, address: Option<SocketAddr>, weight: u32, several: bool) -> Self {
        let label = match address.filter(|_| several) {
            Some(address) => format!("{}/{address}", crate::http1::host_name(&name)),
            None => name.clone(),
        };
        Self { name, address, label, weight, tls: Arc::default() }
    }

    /// Whether both are the same address of the same name.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.address) == (&other.name, other.address)
    }
}

/// How an upstream's endpoints are spoken to.
#[derive(Debug)]
pub struct UpstreamTls {
    /// Trust, versions, suites, client identity; without a session store, which each worker adds.
    pub config: Arc<ClientConfig>,
    /// The name that is sent and verified; `None`: the request's host, or the endpoint's.
    pub server_name: Option<ServerName<'static>>,
    /// The identity presented, for the generation that pooled connections carry.
    pub identity: Option<Snapshot<Identity>>,
    /// Whether a backend that never asks for our certificate is refused.
    pub require_client_auth: bool,
    /// Whether backends are verified at all.
    pub verifies: bool,
    /// Session tickets kept per endpoint, 0 for none.
    pub tickets: usize,
}
