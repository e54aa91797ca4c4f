//! An upstream as workers see it: part of the snapshot.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::backend_tls::UpstreamTls;
use super::circuit::Circuit;
use super::concurrency::ConcurrencyLimiter;
use super::endpoint::EndpointState;
use super::mirror::Mirror;
use super::request_key::{Repeat, RequestKey};
use super::sticky::Sticky;
use crate::base::address::{Address, endpoint_authority, endpoint_host};
use crate::base::clock;
use crate::base::meter::{PerWorker, UpstreamCells};
use crate::config::plan::{HashBy, HealthCheck, Outliers, Retries};
use crate::http::BackendHttp;
use crate::proxy_protocol;
use crate::route::{Algorithm, stable_hash};

/// An upstream as workers see it.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoints: Vec<Endpoint>,
    /// How an endpoint is chosen.
    pub(crate) balance: Algorithm,
    /// What of a request the choice depends on, if it does.
    pub hash_by: Option<HashBy>,
    /// Whether a client's requests go to one endpoint.
    pub(crate) sticky: Option<Sticky>,
    /// How long the weight of an endpoint that is new or back rises; zero: it has all of it at once.
    pub slow_start: Duration,
    /// Which versions of HTTP are spoken with it.
    pub http: BackendHttp,
    /// TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the request's end to the response's head.
    pub response_timeout: Duration,
    /// Silence within a response or a relay; age of an idle connection.
    pub idle_timeout: Duration,
    /// Idle connections kept per endpoint and worker.
    pub idle_per_worker: usize,
    /// Idle connections kept at each endpoint, over all workers, before a request needs them; 0 for none.
    pub min_idle: usize,
    /// Whether a worker takes idle connections of others.
    pub shared: bool,
    /// A connection older than this is not used again.
    pub max_age: Duration,
    /// Present if the exchanges at an endpoint are bounded.
    pub limiter: Option<ConcurrencyLimiter>,
    /// Its circuit bounds.
    pub(crate) circuit: Circuit,
    /// How its endpoints are checked, if they are.
    pub health: Option<HealthCheck>,
    /// Which outcomes eject an endpoint.
    pub outliers: Outliers,
    /// When a request is tried again.
    pub retries: Retries,
    /// How often that was so.
    pub retried: Arc<Retried>,
    /// What is counted of it. Kept over reloads.
    pub(crate) meter: Arc<PerWorker<UpstreamCells>>,
    /// Where copies of its requests go, if it has some.
    pub(crate) mirror: Option<Mirror>,
    /// The PROXY header that its connections begin with, if they do. Then each has a client of its own.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// The source address of its connections over TCP; `None`: the kernel's choice.
    pub bind_address: Option<IpAddr>,
    /// Present if its endpoints speak TLS.
    pub tls: Option<Arc<UpstreamTls>>,
}

impl Upstream {
    /// What the choice of an endpoint takes from a connection that is relayed. `client`: its address, if it has one.
    pub(crate) fn connection_key(&self, client: Option<IpAddr>) -> RequestKey {
        let client = client.filter(|_| self.hash_by == Some(HashBy::ClientAddress));
        // As in a request's head, where it is a text.
        let hash = client.map(|client| stable_hash(client.to_canonical().to_string().as_bytes()));
        RequestKey { hash, ..RequestKey::default() }
    }

    /// Whether connections to an endpoint of `other` are what this one would make: the PROXY header and the source address
    /// are the same, and so are TLS, trust and client identity.
    pub(crate) fn connects_like(&self, other: &Self) -> bool {
        UpstreamTls::is_same(self.tls.as_ref(), other.tls.as_ref())
            && (self.proxy_protocol, self.bind_address) == (other.proxy_protocol, other.bind_address)
            && self.http == other.http
    }
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
    /// The name, `HOST:PORT` or `unix:PATH` as the config has it. Other endpoints have the same one where it has several
    /// addresses.
    pub name: String,
    /// The address; `None`: the name does not resolve.
    pub address: Option<Address>,
    /// What logs call it: the name or, where that has several addresses, `HOST/ADDRESS:PORT`.
    pub label: String,
    /// Its share. Each address has that of the name.
    pub weight: u32,
    /// Whether it is used only where no other one can be.
    pub backup: bool,
    /// Whether it gets no new requests, but for those of sessions at it.
    pub drain: bool,
    /// The stable hash of its label: what its place for keys depends on.
    pub(crate) hash: u64,
    /// What all workers share of it.
    pub(crate) state: Arc<EndpointState>,
}

impl Endpoint {
    /// An endpoint of which nothing is known. `several`: its name has other addresses, too.
    pub fn new(name: String, address: Option<Address>, weight: u32, several: bool) -> Self {
        let label = match address.as_ref().filter(|_| several) {
            Some(address) => format!("{}/{address}", endpoint_host(&name)),
            None => name.clone(),
        };
        let hash = stable_hash(label.as_bytes());
        Self { name, address, label, weight, backup: false, drain: false, hash, state: Arc::default() }
    }

    /// Whether such a request may go to it at will. An endpoint that is not usable is tried after all that are.
    pub(crate) fn is_usable(&self, repeat: Repeat) -> bool {
        self.address.is_some()
            && self.state.outlier.is_usable(clock::millis, repeat)
            && !self.state.check.is_down()
    }

    /// Whether both are the same address of the same name.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.address) == (&other.name, &other.address)
    }

    /// The host of its name, with the brackets of an IPv6 address; that of a Unix socket is `localhost`.
    pub(crate) fn host(&self) -> &str {
        endpoint_host(&self.name)
    }

    /// What a request that names no host is given (RFC 9112 §3.2): its name; for a Unix socket `localhost`.
    pub(crate) fn authority(&self) -> &str {
        endpoint_authority(&self.name)
    }
}
