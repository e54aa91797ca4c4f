//! A worker's backend connections: one pool an upstream, one list an endpoint.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use rustls::pki_types::ServerName;

use crate::base::clock;
use crate::base::meter::{Served, UpstreamCells};
use crate::base::published::Reader;
use crate::base::sample::sampled;
use crate::http::BackendHttp;
use crate::io::deadline::TICK;
use crate::io::{Wheel, deadline};
use crate::proxy::client_binding::ClientBinding;
use crate::proxy::failure::{Bound, ConnectError, Failure, Stage};
use crate::proxy::upstream::concurrency::WorkerQueue;
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::proxy::upstream::connect::Dialer;
use crate::proxy::upstream::connection::{ConnectionFacts, UpstreamConnection};
use crate::proxy::upstream::endpoint::Failed;
use crate::proxy::upstream::endpoint_pool::EndpointPool;
use crate::proxy::upstream::identity::{EndpointIdentity, serial};
use crate::proxy::upstream::load::{InFlight, Refresh};
use crate::proxy::upstream::request_key::RequestKey;
use crate::proxy::upstream::retry_budget::Budget;
use crate::proxy::upstream::shared_idle::TICK_MILLIS;
use crate::proxy::upstream::stream::UpstreamStream;
use crate::proxy::upstream::warm_up::SeenWeights;
use crate::proxy::worker::Worker;
use crate::route::Balancer;
use crate::tls::error::{alert_text, concerns_our_certificate};
use crate::tls::{Identity, Reason};

/// Ticks after which an idle connection ends where descriptors are short.
const SHED_TICKS: u64 = 10;

/// The connections of one worker to one upstream.
#[derive(Debug)]
pub struct Pool {
    /// What it connects to.
    pub upstream: Arc<Upstream>,
    /// The client identity of this moment, if there is one.
    pub(crate) identity: Option<RefCell<Reader<Identity>>>,
    /// Its exchanges that wait for a place, if their number is limited.
    pub(crate) waiting: Option<WorkerQueue>,
    pub(crate) balancer: Balancer,
    /// How much of what goes here may go twice. It outlives a reload that leaves the upstream.
    pub(crate) budget: Rc<Budget>,
    /// The weight of each endpoint as this worker saw it last, in parts of [`WHOLE`](super::warm_up::WHOLE). A pool of another
    /// snapshot may have other ones.
    pub(crate) weights: Box<[Cell<u32>]>,
    /// Of when the endpoints' weights are.
    pub(crate) seen: Cell<SeenWeights>,
    /// Of when their loads are.
    pub(crate) refresh: Refresh,
    /// In the order of the upstream's. Pools of other snapshots may have them, too.
    pub(crate) endpoints: Vec<Rc<EndpointPool>>,
    /// What the worker counts of the upstream.
    pub(crate) meter: Arc<UpstreamCells>,
    pub(crate) wheel: Wheel,
}

/// A request for a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectRequest<'a> {
    /// The request's host.
    pub host: Option<&'a str>,
    /// The request is at hand and can be sent again.
    pub whole: bool,
    /// The client that the connection is for, where the upstream gets PROXY headers.
    pub client: Option<&'a ClientBinding>,
    /// Endpoints at which the request failed before. They are tried last.
    pub failed: &'a [usize],
    /// What the order of endpoints depends on.
    pub(crate) key: RequestKey,
    /// Which versions of HTTP the connection may have.
    pub(crate) http: BackendHttp,
}

impl Pool {
    /// A pool that has what `last`, that of the same upstream in the snapshot before, keeps of endpoints which stay, and
    /// else is empty. `start` moves the round-robin's first pick; `queue` gives it its part of the upstream's queue.
    pub(crate) fn open(
        upstream: Arc<Upstream>,
        start: usize,
        worker: &Worker,
        last: Option<&Self>,
        queue: impl FnOnce(&Weak<Self>) -> Option<WorkerQueue>,
    ) -> Rc<Self> {
        let weights: Vec<u32> = upstream.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let identity = upstream.tls.as_ref().and_then(|tls| tls.identity.as_ref());
        let identity = identity.map(|identity| RefCell::new(identity.reader()));
        let balancer = Balancer::new(upstream.balance, &weights, start);
        if let Some(last) = last {
            balancer.follow(&last.balancer, was_in(last, &upstream));
        }
        let endpoints = followed(&upstream, last);
        Rc::new_cyclic(|pool| Self {
            waiting: queue(pool),
            identity,
            balancer,
            budget: last.map(|last| Rc::clone(&last.budget)).unwrap_or_default(),
            weights: weights.iter().map(|_| Cell::new(0)).collect(),
            seen: Cell::default(),
            refresh: Refresh::default(),
            endpoints,
            meter: upstream.meter.of(worker.number),
            wheel: worker.wheel.clone(),
            upstream,
        })
    }

    /// A stream of an idle connection to `endpoint`, if it has one.
    ///
    /// Its state is checked each time, also if it was in use a moment ago: that costs a system call, but a byte that arrived
    /// unrequested would otherwise begin the answer to this request.
    pub fn check_out(
        &self,
        worker: &Worker,
        endpoint: usize,
        call: ConnectRequest<'_>,
    ) -> Result<UpstreamStream, usize> {
        let Ok(server_name) = self.server_name(endpoint, call.host) else {
            return Err(endpoint);
        };
        if call.http != BackendHttp::Http11
            && let Some(stream) = self.lend(worker, endpoint, server_name.as_ref(), call.client)
        {
            self.count_reuse(worker);
            return Ok(stream);
        }
        if call.http == BackendHttp::Http2 {
            return Err(endpoint);
        }
        let (circuit, counts) = (&self.upstream.circuit, &self.upstream.endpoints[endpoint].state.circuit);
        let Ok(counted) = circuit.take_at(counts, Bound::EndpointRequests) else {
            return Err(endpoint);
        };
        let idle = match self.upstream.proxy_protocol {
            None => self
                .take_idle(worker, endpoint, server_name.as_ref())
                .or_else(|| self.take_shared(worker, endpoint, server_name.as_ref())),
            Some(_) => self.take_kept(worker, endpoint, server_name.as_ref(), call.client),
        };
        let mut backend = idle.ok_or(endpoint)?;
        self.count_reuse(worker);
        backend.in_flight =
            Some(InFlight::begin(&self.endpoints[endpoint].used).bounded(counted).connected());
        Ok(UpstreamStream::H1(backend))
    }

    fn count_reuse(&self, worker: &Worker) {
        worker.counters.backend_reuses.add(1);
        self.meter.reuses.add(1);
    }

    /// What a failure means on a TLS connection: the backend may have ended it with an alert. In TLS 1.3 that is
    /// how it refuses our certificate; some only close. `heard`: some of a response had arrived.
    pub fn attribute(&self, backend: &ConnectionFacts<'_>, heard: bool, failure: Failure) -> Failure {
        let Some(reason) = self.reason(backend, heard, &failure) else { return failure };
        self.record_failure(backend, reason);
        Failure::Refused(reason)
    }

    /// Why the backend ended a TLS connection, as far as is known.
    pub(crate) fn reason(
        &self,
        backend: &ConnectionFacts<'_>,
        heard: bool,
        failure: &Failure,
    ) -> Option<Reason> {
        match (backend.alert, failure) {
            (alert, Failure::BackendGone(_))
                if backend.renegotiates && !alert.is_some_and(concerns_our_certificate) =>
            {
                Some(Reason::Renegotiation)
            }
            (Some(alert), _) => Some(Reason::of_alert(alert).after(backend.verdict.is_pending() && !heard)),
            (None, Failure::BackendGone(_)) if backend.verdict.is_pending() && !heard => {
                Some(Reason::ClosedAfterCertificate)
            }
            _ => None,
        }
    }

    /// Takes down and logs the end that a backend has put to a TLS connection after its handshake.
    pub(crate) fn record_failure(&self, backend: &ConnectionFacts<'_>, reason: Reason) {
        let endpoint = &self.upstream.endpoints[backend.endpoint];
        let Some(name) = backend.server_name else { return };
        self.endpoints[backend.endpoint].dialer.forget(name);
        let text = match reason.alert() {
            Some(alert) => {
                format!("after the handshake the peer closed with the alert {}", alert_text(alert))
            }
            None if reason == Reason::Renegotiation => {
                "the peer asked for a new handshake within the connection, which is declined, and closed"
                    .to_owned()
            }
            None => "after the handshake the peer closed without an alert and without an answer".to_owned(),
        };
        sampled!(
            warn,
            Connect of &self.upstream.name,
            {
                upstream = self.upstream.name,
                endpoint = endpoint.label,
                reason = tracing::field::display(reason),
            },
            "TLS: {text}; {}",
            reason.remedy()
        );
        endpoint.state.tls.failed(Failed::now(name, reason, text));
    }

    /// Whether a failure may be due to the server name in the client's request: a made-up Host must not take an
    /// endpoint from the others.
    pub(crate) fn is_about_the_host(&self, host: Option<&str>, error: &ConnectError) -> bool {
        let named_by_client = host.is_some() && self.is_named_by_request();
        named_by_client && matches!(error, ConnectError::Tls(..) | ConnectError::Timeout(Stage::Tls))
    }

    /// Whether the request's host is the name that is verified in TLS.
    pub(crate) fn is_named_by_request(&self) -> bool {
        self.upstream.tls.as_ref().is_some_and(|tls| tls.server_name.is_none())
    }

    /// The authority for requests that name none (HTTP/1.0).
    pub fn authority(&self) -> &str {
        self.upstream.endpoints[0].authority()
    }

    pub(crate) fn server_name(
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
            Some(host) => crate::http::host_name(host),
            None => self.upstream.endpoints[endpoint].host(),
        };
        // TLS knows IPv6 addresses without the brackets that they wear in an authority.
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        ServerName::try_from(name.to_owned()).map(Some).map_err(|_| ConnectError::ServerName)
    }

    /// The client identity of this moment.
    pub(crate) fn current(&self) -> Option<Arc<Identity>> {
        self.identity.as_ref().map(|identity| Arc::clone(identity.borrow_mut().load()))
    }

    pub(crate) fn identity_state(&self, endpoint: usize) -> &EndpointIdentity {
        &self.endpoints[endpoint].identity_state
    }

    pub(crate) fn dialer(&self, endpoint: usize) -> &Dialer {
        &self.endpoints[endpoint].dialer
    }

    /// Whether an idle connection to this endpoint has the identity, by its serial, that the next request is to be sent
    /// with.
    pub(crate) fn suits(&self, worker: &Worker, endpoint: usize, serial: u64) -> bool {
        let Some(identity) = &self.identity else {
            return true;
        };
        self.identity_state(endpoint).suits(Some(identity.borrow_mut().load()), serial, worker.wheel.now())
    }

    /// Whether a connection with the identity of this serial may serve another request.
    pub(crate) fn keeps(&self, endpoint: usize, serial: u64) -> bool {
        let Some(identity) = &self.identity else {
            return true;
        };
        self.identity_state(endpoint).keeps(Some(identity.borrow_mut().load()), serial)
    }

    fn take_idle(
        &self,
        worker: &Worker,
        endpoint: usize,
        name: Option<&ServerName<'static>>,
    ) -> Option<Box<UpstreamConnection>> {
        loop {
            let backend = {
                let mut idle = self.endpoints[endpoint].idle.borrow_mut();
                let at = idle.iter().rposition(|backend| backend.server_name.as_ref() == name)?;
                idle.remove(at)
            };
            if let Some(backend) = self.revalidate(worker, endpoint, backend) {
                return Some(backend);
            }
        }
    }

    /// The connection that is kept for this client only.
    fn take_kept(
        &self,
        worker: &Worker,
        endpoint: usize,
        name: Option<&ServerName<'static>>,
        client: Option<&ClientBinding>,
    ) -> Option<Box<UpstreamConnection>> {
        let client = client?.id();
        let backend = self.endpoints[endpoint].kept.take(client)?;
        assert_eq!(backend.client, Some(client), "a connection of another client");
        if backend.server_name.as_ref() == name { self.revalidate(worker, endpoint, backend) } else { None }
    }

    /// A connection to `endpoint` that was idle, if it can carry another request.
    pub(crate) fn revalidate(
        &self,
        worker: &Worker,
        endpoint: usize,
        mut backend: Box<UpstreamConnection>,
    ) -> Option<Box<UpstreamConnection>> {
        let suits = self.suits(worker, endpoint, backend.identity);
        if !suits || self.is_over(worker, endpoint, &backend) || !self.is_open(worker, endpoint, &mut backend)
        {
            return None;
        }
        backend.reused = true;
        // Its endpoint may have had another place in the snapshot that it was made in.
        backend.endpoint = endpoint;
        if let Some(hold) = &mut backend.hold {
            hold.wakes();
        }
        Some(backend)
    }

    /// Whether a connection is too old, or was idle for too long.
    fn is_over(&self, worker: &Worker, endpoint: usize, backend: &UpstreamConnection) -> bool {
        let now = worker.wheel.now();
        let age = now.saturating_sub(backend.since);
        age > deadline::ticks(self.upstream.idle_timeout)
            || self.endpoints[endpoint].idle_limit.limit().is_some_and(|limit| age > limit)
            || now.saturating_sub(backend.born) > deadline::ticks(self.upstream.max_age)
    }

    /// Whether an idle connection is still open. Its age tells how long the endpoint keeps such connections.
    fn is_open(&self, worker: &Worker, endpoint: usize, backend: &mut UpstreamConnection) -> bool {
        let age = worker.wheel.now().saturating_sub(backend.since);
        let idle_limit = &self.endpoints[endpoint].idle_limit;
        let is_open = backend.stream.is_fresh();
        if is_open {
            idle_limit.survived(age);
        } else {
            idle_limit.closed(age);
        }
        is_open
    }

    /// Notes that the endpoint took the identity of this serial.
    pub(crate) fn accepted(&self, endpoint: usize, identity: u64) {
        let state = self.identity_state(endpoint);
        let fresh = state.accepted.replace(identity) != identity;
        if let Some((_, place)) = state.places.borrow().iter().find(|(known, _)| *known == identity) {
            place.accept();
        }
        if let Some(refusal) = state.refusal.get().filter(|refusal| refusal.identity == identity) {
            state.refusal.set(None);
            tracing::info!(
                upstream = self.upstream.name,
                endpoint = self.upstream.endpoints[endpoint].label,
                "takes generation {} of the client certificate now",
                refusal.generation
            );
        } else if fresh {
            tracing::debug!(upstream = self.upstream.name, endpoint, "client certificate accepted");
        }
    }

    /// Takes back a stream whose response was read whole: of HTTP/1, its connection.
    pub fn check_in(&self, worker: &Worker, stream: UpstreamStream) {
        let mut backend = match stream {
            UpstreamStream::H1(backend) => backend,
            UpstreamStream::H2(lent) => return self.check_in_stream(&lent),
        };
        backend.in_flight = None;
        if backend.verdict.settle() {
            self.accepted(backend.endpoint, backend.identity);
        }
        if !self.keeps(backend.endpoint, backend.identity) {
            return;
        }
        let endpoint = &self.endpoints[backend.endpoint];
        let most = endpoint.most();
        self.upstream.endpoints[backend.endpoint].state.outlier.connected();
        self.upstream.endpoints[backend.endpoint].state.answered();
        backend.since = worker.wheel.now();
        if let Some(client) = backend.client {
            endpoint.kept.put(client, backend, most);
            return;
        }
        let mut idle = endpoint.idle.borrow_mut();
        let given_up = if idle.len() < most {
            None
        } else if most == 0 {
            return;
        } else {
            let at = if self.is_named_by_request() { least_useful(&idle, &backend) } else { 0 };
            Some(idle.remove(at))
        };
        let at = backend.endpoint;
        idle.push(backend);
        drop(idle);
        drop(given_up);
        self.share_surplus(worker, at);
    }

    /// A newer snapshot is followed, in which `successor` is the pool of the same upstream, if it still has that. Endpoints
    /// that it has not taken over close: their idle connections end now, and those in use after their exchanges, which
    /// may take days where they have become tunnels.
    pub(crate) fn retire(&self, successor: Option<&Self>) {
        let taken: FxHashSet<*const EndpointPool> =
            successor.iter().flat_map(|it| &it.endpoints).map(Rc::as_ptr).collect();
        for (endpoint, pool) in self.upstream.endpoints.iter().zip(&self.endpoints) {
            if !taken.contains(&Rc::as_ptr(pool)) {
                pool.close();
                endpoint.state.shared_idle.clear();
            }
        }
    }

    /// An exchange at an endpoint has ended: see [`WorkerUse::ended`](super::load::WorkerUse::ended).
    #[inline]
    pub(crate) fn ended(&self, endpoint: usize, status: u16, served: &Served, is_error: bool) {
        if let Some(endpoint) = self.endpoints.get(endpoint) {
            endpoint.used.ended(status, served, is_error);
        }
    }

    /// Drops connections that were not used for a moment, those that any worker may take among them.
    pub(crate) fn shed(&self, worker: &Worker) {
        let last = worker.wheel.now().saturating_sub(SHED_TICKS);
        let last_shared = clock::millis().saturating_sub(SHED_TICKS * TICK_MILLIS);
        for (of, endpoint) in self.upstream.endpoints.iter().zip(&self.endpoints) {
            of.state.shared_idle.shed(last_shared);
            endpoint.idle.borrow_mut().retain(|backend| backend.since >= last);
            endpoint.kept.retain(|backend| backend.since >= last);
            endpoint.http2.retire(|connection| connection.ages().1.is_some_and(|since| since < last));
        }
    }

    /// Drops idle connections that are over or that their backend has closed.
    pub fn sweep(self: &Rc<Self>, worker: &Worker) {
        let current = self.current();
        let active = serial(current.as_ref());
        let now = worker.wheel.now();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            endpoint.dialer.sweep(worker, current.as_ref());
            let keeps = |backend: &mut UpstreamConnection| {
                if let Some(hold) = &mut backend.hold {
                    hold.rests(TICK * u32::try_from(now.saturating_sub(backend.since)).unwrap_or(u32::MAX));
                }
                endpoint.identity_state.keeps(current.as_ref(), backend.identity)
                    && !self.is_over(worker, index, backend)
                    && self.is_open(worker, index, backend)
            };
            endpoint.idle.borrow_mut().retain_mut(|backend| keeps(backend));
            endpoint.kept.retain(keeps);
            self.sweep_http2(worker, index);
            self.sweep_shared(index, active);
        }
    }
}

/// Which index an endpoint of `upstream` had in `last`.
fn was_in<'a>(last: &'a Pool, upstream: &'a Upstream) -> impl Fn(usize) -> Option<usize> + 'a {
    let id = |endpoint: &Endpoint| endpoint.state.id();
    move |endpoint| {
        let its = id(&upstream.endpoints[endpoint]);
        last.upstream.endpoints.iter().position(|known| id(known) == its)
    }
}

/// What a worker keeps of each endpoint of `upstream`: what it kept in `last`, if connections made there are what would be
/// made now.
fn followed(upstream: &Upstream, last: Option<&Pool>) -> Vec<Rc<EndpointPool>> {
    let last = last.filter(|last| last.upstream.connects_like(upstream));
    let known: FxHashMap<u64, _> = last
        .iter()
        .flat_map(|last| last.upstream.endpoints.iter().zip(&last.endpoints))
        .map(|(endpoint, pool)| (endpoint.state.id(), (endpoint, pool)))
        .collect();
    let follow = |endpoint: &Endpoint| match known.get(&endpoint.state.id()) {
        Some((last, pool)) => {
            pool.follow(last, endpoint, upstream);
            Rc::clone(pool)
        }
        None => EndpointPool::of(endpoint, upstream),
    };
    upstream.endpoints.iter().map(follow).collect()
}

/// Which of the idle connections of a full pool gives way to `newcomer`, where clients choose the names that they are
/// for. A name has half of the room at most. Connections that were used once, as those for made-up names are, have what
/// the others leave, but a quarter at least, so that a new name finds room too.
fn least_useful(idle: &[Box<UpstreamConnection>], newcomer: &UpstreamConnection) -> usize {
    let most = idle.len();
    let is_same = |backend: &UpstreamConnection| backend.server_name == newcomer.server_name;
    let count = |is: &dyn Fn(&UpstreamConnection) -> bool| idle.iter().filter(|backend| is(backend)).count();
    let first = |is: &dyn Fn(&UpstreamConnection) -> bool| idle.iter().position(|backend| is(backend));
    let oldest = if count(&is_same) >= most.div_ceil(2) {
        first(&is_same)
    } else if count(&|backend| !backend.reused) >= most.div_ceil(4) {
        first(&|backend| !backend.reused)
    } else {
        first(&|backend| backend.reused)
    };
    oldest.unwrap_or(0)
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let (Some(limiter), Some(waiting)) = (&self.upstream.limiter, &self.waiting) {
            limiter.part(waiting);
        }
    }
}
