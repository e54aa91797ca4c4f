//! A worker's backend connections: one pool an upstream, one list an endpoint.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Local;
use super::failure::ConnectError;
use super::running::Upstream;
use crate::io::{Buffer, Deadline, Stream, TcpStream, socket, tls};
use crate::route::RoundRobin;
use crate::tls::Handshake;
use crate::tls::{Sessions, with_sessions};

/// Ticks for which an endpoint that refused a connection is tried last.
const HOLD_OFF_TICKS: u64 = 20;
/// Server names for which an endpoint's sessions are kept, where names come from requests.
const MAX_NAMES: usize = 64;

/// The connections of one worker to one upstream.
#[derive(Debug)]
pub struct Pool {
    /// What it connects to.
    pub upstream: Arc<Upstream>,
    balance: RoundRobin,
    endpoints: Vec<EndpointPool>,
}

#[derive(Debug, Default)]
struct EndpointPool {
    /// Idle connections, the last used at the end. Boxed: they come and go with each request, and are large.
    #[allow(clippy::vec_box)]
    idle: RefCell<Vec<Box<Backend>>>,
    /// TLS configs with this endpoint's own session store, by server name.
    sessions: RefCell<FxHashMap<ServerName<'static>, Arc<ClientConfig>>>,
    /// Until which tick of the worker's wheel it is tried last.
    shunned: Cell<u64>,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Backend {
    /// The connection.
    pub stream: Stream,
    /// What arrived with the handshake, if anything did.
    pub early: Option<Buffer>,
    /// Which endpoint of the pool.
    pub endpoint: usize,
    /// Whether it has carried a request before.
    pub reused: bool,
    /// The name that was verified; `None` on plain connections.
    server_name: Option<ServerName<'static>>,
    /// The generation of the identity that was presented.
    generation: u64,
    born: u64,
    since: u64,
}

impl Pool {
    /// An empty pool. `start` moves the round-robin's first pick.
    pub fn new(upstream: Arc<Upstream>, start: usize) -> Self {
        let weights: Vec<u32> = upstream.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let endpoints = upstream.endpoints.iter().map(|_| EndpointPool::default()).collect();
        Self { balance: RoundRobin::new(&weights, start), endpoints, upstream }
    }

    /// An idle connection to the endpoint whose turn it is, if it has one; otherwise where to connect first.
    ///
    /// It is looked at for life each time, also if it was in use a moment ago: that costs a system call, but a
    /// byte that came unasked would otherwise begin the answer to this request.
    pub fn check_out(&self, local: &Local, host: Option<&str>) -> Result<Box<Backend>, usize> {
        let endpoint = self.pick(local);
        let Ok(server_name) = self.server_name(endpoint, host) else {
            return Err(endpoint);
        };
        let backend = self.take_idle(local, endpoint, server_name.as_ref()).ok_or(endpoint)?;
        local.counters.backend_reuses.add(1);
        Ok(backend)
    }

    /// A new connection, to `first` or, where that can't be reached, to the next one.
    pub async fn connect(
        &self,
        local: &Local,
        deadline: &Deadline,
        host: Option<&str>,
        first: usize,
    ) -> Result<Box<Backend>, ConnectError> {
        let mut refused = None;
        for endpoint in std::iter::once(first).chain(self.balance.others(first)) {
            let server_name = self.server_name(endpoint, host)?;
            deadline.set(self.upstream.connect_timeout);
            let connecting = pin!(self.connect_endpoint(local, endpoint, server_name));
            match deadline.race(connecting).await.unwrap_or(Err(ConnectError::Timeout)) {
                Ok(backend) => return Ok(backend),
                Err(error) => {
                    local.counters.backend_connect_failures.add(1);
                    tracing::warn!(
                        upstream = self.upstream.name,
                        endpoint = self.upstream.endpoints[endpoint].name,
                        "{error}"
                    );
                    self.endpoints[endpoint].shunned.set(local.wheel.now() + HOLD_OFF_TICKS);
                    refused = Some(error);
                }
            }
        }
        Err(refused.unwrap_or(ConnectError::ServerName))
    }

    /// The endpoint whose turn it is, or the next one after it that did not just refuse.
    pub fn pick(&self, local: &Local) -> usize {
        let first = self.balance.pick();
        let now = local.wheel.now();
        std::iter::once(first)
            .chain(self.balance.others(first))
            .find(|&endpoint| self.endpoints[endpoint].shunned.get() <= now)
            .unwrap_or(first)
    }

    /// The authority for requests that name none (HTTP/1.0).
    pub fn authority(&self) -> &str {
        &self.upstream.endpoints[0].name
    }

    fn server_name(
        &self,
        endpoint: usize,
        host: Option<&str>,
    ) -> Result<Option<ServerName<'static>>, ConnectError> {
        let Some(tls) = &self.upstream.tls else {
            return Ok(None);
        };
        if let Some(name) = &tls.server_name {
            return Ok(Some(name.clone()));
        }
        let name = match host {
            Some(host) => crate::http1::host_name(host),
            None => crate::http1::host_name(&self.upstream.endpoints[endpoint].name),
        };
        // TLS knows IPv6 addresses without the brackets that they wear in an authority.
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        ServerName::try_from(name.to_owned()).map(Some).map_err(|_| ConnectError::ServerName)
    }

    /// The identity's generation of this moment; 0 without one.
    fn generation(&self) -> u64 {
        let identity = self.upstream.tls.as_ref().and_then(|tls| tls.identity.as_ref());
        identity.map_or(0, |identity| identity.load().generation())
    }

    fn take_idle(
        &self,
        local: &Local,
        endpoint: usize,
        name: Option<&ServerName<'static>>,
    ) -> Option<Box<Backend>> {
        let generation = self.generation();
        loop {
            let mut backend = {
                let mut idle = self.endpoints[endpoint].idle.borrow_mut();
                let at = idle.iter().rposition(|backend| backend.server_name.as_ref() == name)?;
                idle.swap_remove(at)
            };
            let usable = backend.generation == generation && !self.is_over(local, &backend);
            if usable && backend.stream.is_fresh() {
                backend.reused = true;
                return Some(backend);
            }
        }
    }

    /// Whether a connection is too old, or was idle for too long.
    fn is_over(&self, local: &Local, backend: &Backend) -> bool {
        let now = local.wheel.now();
        let ticks = |duration: std::time::Duration| {
            (duration.as_millis() / crate::io::deadline::TICK.as_millis()) as u64
        };
        now.saturating_sub(backend.since) > ticks(self.upstream.idle_timeout)
            || now.saturating_sub(backend.born) > ticks(self.upstream.max_age)
    }

    /// Takes back a connection whose response was read whole.
    pub fn check_in(&self, local: &Local, mut backend: Box<Backend>) {
        let mut idle = self.endpoints[backend.endpoint].idle.borrow_mut();
        if idle.len() < self.upstream.idle_per_worker {
            backend.since = local.wheel.now();
            idle.push(backend);
        }
    }

    /// Drops idle connections that are over or that their backend has closed.
    pub fn sweep(&self, local: &Local) {
        let generation = self.generation();
        for endpoint in &self.endpoints {
            endpoint.idle.borrow_mut().retain_mut(|backend| {
                backend.generation == generation && !self.is_over(local, backend) && backend.stream.is_fresh()
            });
        }
    }

    /// Idle connections of all endpoints.
    pub fn idle(&self) -> usize {
        self.endpoints.iter().map(|endpoint| endpoint.idle.borrow().len()).sum()
    }

    async fn connect_endpoint(
        &self,
        local: &Local,
        endpoint: usize,
        server_name: Option<ServerName<'static>>,
    ) -> Result<Box<Backend>, ConnectError> {
        let tcp = connect_any(&self.upstream.endpoints[endpoint].addresses).await?;
        local.counters.backend_connections.add(1);
        let now = local.wheel.now();
        let generation = self.generation();
        let (stream, early) = match &server_name {
            None => (Stream::plain(tcp), None),
            Some(name) => {
                let config = self.tls_config(endpoint, name)?;
                let run = async {
                    let handshake = Handshake::client(config, name.clone()).map_err(tls::TlsError::from)?;
                    tls::run(tcp, handshake).await
                };
                match run.await {
                    Ok((stream, facts, early)) => {
                        local.counters.backend_handshakes.add(1);
                        local.counters.backend_resumptions.add(u64::from(facts.resumed));
                        (stream, early)
                    }
                    Err(error) => {
                        local.counters.backend_handshake_failures.add(1);
                        return Err(ConnectError::Tls(error));
                    }
                }
            }
        };
        Ok(Box::new(Backend {
            stream,
            early,
            endpoint,
            reused: false,
            server_name,
            generation,
            born: now,
            since: now,
        }))
    }

    /// The TLS config whose session store belongs to this endpoint and name on this worker.
    fn tls_config(
        &self,
        endpoint: usize,
        name: &ServerName<'static>,
    ) -> Result<Arc<ClientConfig>, ConnectError> {
        let Some(tls) = &self.upstream.tls else {
            return Err(ConnectError::ServerName);
        };
        let mut known = self.endpoints[endpoint].sessions.borrow_mut();
        if let Some(config) = known.get(name) {
            return Ok(Arc::clone(config));
        }
        if known.len() >= MAX_NAMES {
            known.clear();
        }
        let config = with_sessions(&tls.config, Arc::new(Sessions::new(tls.tickets)));
        known.insert(name.clone(), Arc::clone(&config));
        Ok(config)
    }
}

/// A connection to the first of an endpoint's addresses that answers.
async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut refused = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for &address in addresses {
        match socket::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(ConnectError::Io(refused))
}
