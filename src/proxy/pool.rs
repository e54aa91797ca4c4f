//! A worker's backend connections: one pool an upstream, one list an endpoint.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::Local;
use super::dial::{Dialed, Dialer, Wanted};
use super::endpoint::Failed;
use super::exchange::retry::Budget;
use super::failure::{ConnectError, Failure, Stage};
use super::gate::{self, Line, Permit};
use super::hold::Hold;
use super::own::{ClientId, Kept, Own};
use super::running::{Endpoint, Upstream};
use super::standing::Standing;
use crate::base::sample::sampled;
use crate::base::snapshot::Reader;
use crate::io::deadline::{TICK, ticks};
use crate::io::{Buffer, Deadline, Stream, Wheel, deadline};
use crate::proxy_protocol::{self, Subject};
use crate::route::RoundRobin;
use crate::tls::error::{alert_text, concerns_our_certificate};
use crate::tls::{Identity, Reason};

/// Ticks for which an endpoint that refused a connection is tried last.
const HOLD_OFF_TICKS: u64 = 20;

/// The connections of one worker to one upstream.
#[derive(Debug)]
pub struct Pool {
    /// What it connects to.
    pub upstream: Arc<Upstream>,
    /// The client identity of this moment, if there is one.
    identity: Option<RefCell<Reader<Identity>>>,
    /// Its exchanges that wait for the gate, if there is one.
    pub(super) line: Option<Line>,
    balance: RoundRobin,
    /// How much of what goes here may go twice.
    pub(super) budget: Budget,
    endpoints: Vec<EndpointPool>,
    wheel: Wheel,
    this: Weak<Self>,
    /// A snapshot has another one in its place: nobody will take from it, and nobody sweeps it.
    retired: Cell<bool>,
}

/// What a connection is asked for with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// The request's host.
    pub host: Option<&'a str>,
    /// The request is at hand and can be sent again.
    pub whole: bool,
    /// Whose the connection is to be, where the upstream is told of its clients.
    pub client: Option<&'a Own>,
    /// Endpoints at which the request failed before. They are tried last.
    pub failed: &'a [usize],
}

#[derive(Debug, Default)]
struct EndpointPool {
    /// Idle connections, the last used at the end. Boxed: they come and go with each request, and are large.
    #[allow(clippy::vec_box)]
    idle: RefCell<Vec<Box<Backend>>>,
    /// The same where each has its client.
    kept: Kept,
    /// Makes its connections, and keeps its TLS sessions.
    dialer: Dialer,
    /// Which generation of the client identity it gets.
    standing: Standing,
    /// Until which tick of the worker's wheel it is tried last. 0: it was reached, or answered, last.
    shunned: Cell<u64>,
}

impl EndpointPool {
    /// One without connections. Without an address it is tried last.
    fn of(endpoint: &Endpoint) -> Self {
        let shunned = Cell::new(if endpoint.address.is_none() { u64::MAX } else { 0 });
        Self { shunned, ..Self::default() }
    }
}

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Backend {
    /// Its entry among the connections made with a client identity. It goes before the socket does.
    hold: Option<Hold>,
    /// The connection.
    pub stream: Stream,
    /// What arrived with the handshake, if anything did.
    pub early: Option<Buffer>,
    /// Which endpoint of the pool.
    pub endpoint: usize,
    /// Whether it has carried a request before.
    pub reused: bool,
    /// Whose it is; `None`: anyone's.
    client: Option<ClientId>,
    /// The name that was verified; `None` on plain connections.
    server_name: Option<ServerName<'static>>,
    /// The serial of the identity that it was made with; 0 without one.
    identity: u64,
    /// The backend has yet to judge our certificate (TLS 1.3).
    unproven: bool,
    /// It asked for a certificate, and has yet to judge ours, or its lack (TLS 1.3).
    unjudged: bool,
    /// Should it refuse that, the previous generation may stand in.
    contested: bool,
    born: u64,
    since: u64,
}

impl Backend {
    fn fresh(
        local: &Local,
        endpoint: usize,
        server_name: Option<ServerName<'static>>,
        client: Option<ClientId>,
        dialed: Dialed,
    ) -> Box<Self> {
        let Dialed { stream, early, identity, unproven, unjudged, contested, hold, .. } = dialed;
        let now = local.wheel.now();
        Box::new(Self {
            hold,
            stream,
            early,
            endpoint,
            reused: false,
            client,
            server_name,
            identity,
            unproven,
            unjudged,
            contested,
            born: now,
            since: now,
        })
    }

    /// The tick since which it has been idle.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// The serial of the client identity that it was made with; 0 without one.
    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    /// Whether its backend may still refuse our certificate, and the previous generation would stand in: then a
    /// request on it is kept until the response begins.
    pub(super) fn is_contested(&self) -> bool {
        self.contested && !self.reused
    }
}

impl Pool {
    /// An empty pool. `start` moves the round-robin's first pick.
    pub fn open(upstream: Arc<Upstream>, start: usize, wheel: &Wheel) -> Rc<Self> {
        let weights: Vec<u32> = upstream.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let endpoints = upstream.endpoints.iter().map(EndpointPool::of).collect();
        let identity = upstream.tls.as_ref().and_then(|tls| tls.identity.as_ref());
        let identity = identity.map(|identity| RefCell::new(identity.reader()));
        let balance = RoundRobin::new(&weights, start);
        Rc::new_cyclic(|pool| {
            let line = upstream.gate.as_ref().map(|gate| gate.join(pool));
            let budget = Budget::default();
            let (wheel, this) = (wheel.clone(), Weak::clone(pool));
            let retired = Cell::new(false);
            Self { line, identity, balance, budget, endpoints, wheel, this, retired, upstream }
        })
    }

    /// An idle connection to `endpoint`, if it has one.
    ///
    /// It is looked at for life each time, also if it was in use a moment ago: that costs a system call, but a
    /// byte that came unasked would otherwise begin the answer to this request.
    pub fn check_out(&self, local: &Local, endpoint: usize, call: Call<'_>) -> Result<Box<Backend>, usize> {
        let Ok(server_name) = self.server_name(endpoint, call.host) else {
            return Err(endpoint);
        };
        let idle = match self.upstream.proxy_protocol {
            None => self.take_idle(local, endpoint, server_name.as_ref()),
            Some(_) => self.take_kept(local, endpoint, server_name.as_ref(), call.client),
        };
        let backend = idle.ok_or(endpoint)?;
        local.counters.backend_reuses.add(1);
        Ok(backend)
    }

    /// A new connection, to `first` or, where that can't be reached, to the next one for which leave is given.
    pub async fn connect(
        &self,
        local: &Local,
        deadline: &Deadline,
        call: Call<'_>,
        first: usize,
        permit: Option<&Permit>,
    ) -> Result<Box<Backend>, ConnectError> {
        let Call { host, whole, client, failed } = call;
        let subject = client.map_or(Subject::Local, Own::subject);
        let header = self.upstream.proxy_protocol.map(|version| proxy_protocol::encode(version, subject));
        let client = client.filter(|_| header.is_some()).map(|client| {
            client.is_known_to(&self.this);
            client.id()
        });
        let mut refused = None;
        permit.inspect(|permit| permit.begin());
        for endpoint in self.in_order(first, failed) {
            if permit.is_some_and(|permit| !permit.move_to(endpoint)) {
                continue;
            }
            let server_name = self.server_name(endpoint, host)?;
            let wanted = Wanted { name: server_name.as_ref(), whole, header: header.as_deref() };
            self.begin_trial(endpoint);
            let failed_until = &self.endpoints[endpoint].shunned;
            match self.present(local, deadline, endpoint, wanted).await {
                Ok(dialed) => {
                    failed_until.set(0);
                    return Ok(Backend::fresh(local, endpoint, server_name, client, dialed));
                }
                Err(error) => {
                    local.counters.backend_connect_failures.add(1);
                    sampled!(
                        warn,
                        Connect of &self.upstream.name,
                        {
                            upstream = self.upstream.name,
                            endpoint = self.upstream.endpoints[endpoint].label,
                            reason = error.reason().map(tracing::field::display),
                        },
                        "{error}{}",
                        error.advice()
                    );
                    if matches!(error, ConnectError::Unresolved) {
                        failed_until.set(u64::MAX);
                    } else if !self.is_about_the_host(host, &error) {
                        failed_until.set(local.wheel.now() + HOLD_OFF_TICKS);
                    } else if failed_until.get() != 0 {
                        // Its trial has found out nothing.
                        failed_until.set(local.wheel.now());
                    }
                    refused = Some(error);
                }
            }
        }
        Err(refused.unwrap_or(ConnectError::ServerName))
    }

    /// An endpoint is gone to: if its last connection failed, one finds out whether it is back, and others keep off
    /// meanwhile.
    pub(super) fn begin_trial(&self, endpoint: usize) {
        let failed_until = &self.endpoints[endpoint].shunned;
        if failed_until.get() != 0 {
            failed_until.set(self.wheel.now() + ticks(self.upstream.connect_timeout));
        }
    }

    /// Where a connection is tried, one after the other: `first`, the other addresses of its name and, if the upstream's
    /// retries are for that, all others. An endpoint that has just refused is tried
    /// last, but before those at which the request has failed.
    fn in_order(&self, first: usize, failed: &[usize]) -> Vec<usize> {
        let endpoints = &self.upstream.endpoints;
        let is_tried =
            |other: &usize| self.upstream.retries.connect || endpoints[*other].name == endpoints[first].name;
        let others = self.balance.others(first).filter(is_tried);
        let mut order: Vec<_> = std::iter::once(first).chain(others).collect();
        let now = self.wheel.now();
        order.sort_by_key(|endpoint| {
            (failed.contains(endpoint), self.endpoints[*endpoint].shunned.get() > now)
        });
        order
    }

    /// What a failure means on a TLS connection: the backend may have ended it with an alert. In TLS 1.3 that is
    /// how it refuses our certificate; some only close. `heard`: some of a response had come.
    pub fn judge(&self, backend: &Backend, heard: bool, failure: Failure) -> Failure {
        let Some(reason) = self.reason(backend, heard, &failure) else { return failure };
        self.take_down(backend, reason);
        Failure::Refused(reason)
    }

    /// Why the backend ended a TLS connection, as far as that tells.
    pub(super) fn reason(&self, backend: &Backend, heard: bool, failure: &Failure) -> Option<Reason> {
        let reader = &backend.stream.reader;
        match (reader.peer_alert(), failure) {
            (alert, Failure::BackendGone(_))
                if reader.asked_renegotiation() && !alert.is_some_and(concerns_our_certificate) =>
            {
                Some(Reason::Renegotiation)
            }
            (Some(alert), _) => Some(Reason::of_alert(alert).after(backend.unjudged && !heard)),
            (None, Failure::BackendGone(_)) if backend.unjudged && !backend.reused && !heard => {
                Some(Reason::ClosedAfterCertificate)
            }
            _ => None,
        }
    }

    /// Takes down and logs the end that a backend has put to a TLS connection after its handshake.
    pub(super) fn take_down(&self, backend: &Backend, reason: Reason) {
        let endpoint = &self.upstream.endpoints[backend.endpoint];
        let Some(name) = &backend.server_name else { return };
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
            reason.mend()
        );
        endpoint.tls.failed(Failed::now(name, reason, text));
    }

    /// Whether a failure may be due to the name that the client asked for: a made-up Host must not take an
    /// endpoint from the others.
    fn is_about_the_host(&self, host: Option<&str>, error: &ConnectError) -> bool {
        let named_by_client = host.is_some() && self.is_named_by_request();
        named_by_client && matches!(error, ConnectError::Tls(..) | ConnectError::Timeout(Stage::Tls))
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

    /// Whether every endpoint has just refused.
    pub fn is_shunned(&self) -> bool {
        let now = self.wheel.now();
        self.endpoints.iter().all(|endpoint| endpoint.shunned.get() > now)
    }

    /// Where a request goes that failed at `last`: the next endpoint that did not just refuse and has room, or the
    /// same one again. The permit goes with it.
    pub(super) fn next(&self, local: &Local, last: usize, permit: Option<&Permit>) -> usize {
        let now = local.wheel.now();
        let answers = |endpoint: &usize| self.endpoints[*endpoint].shunned.get() <= now;
        let has_room = |endpoint: &usize| permit.is_none_or(|permit| permit.move_to(*endpoint));
        self.balance.others(last).filter(answers).find(has_room).unwrap_or(last)
    }

    /// Where a request goes that failed at the endpoints `failed`, the last of them just now: to the next one at which it
    /// did not, rather one that did not just refuse, and only one that has room. The permit goes with it.
    pub(super) fn next_untried(
        &self,
        local: &Local,
        failed: &[usize],
        permit: Option<&Permit>,
    ) -> Option<usize> {
        let now = local.wheel.now();
        let last = *failed.last()?;
        let refused = |endpoint: usize| self.endpoints[endpoint].shunned.get() > now;
        let mut untried: Vec<_> = self.balance.others(last).filter(|other| !failed.contains(other)).collect();
        untried.sort_by_key(|&endpoint| refused(endpoint));
        untried.into_iter().find(|&endpoint| permit.is_none_or(|permit| permit.move_to(endpoint)))
    }

    /// Whether the request's host is the name that is verified in TLS.
    pub(super) fn is_named_by_request(&self) -> bool {
        self.upstream.tls.as_ref().is_some_and(|tls| tls.server_name.is_none())
    }

    /// Every endpoint that did not just refuse, from the one whose turn it is; all of them if each did.
    pub(super) fn candidates(&self) -> impl Iterator<Item = usize> + '_ {
        let first = self.balance.pick();
        let now = self.wheel.now();
        let all = move || std::iter::once(first).chain(self.balance.others(first));
        let answers = move |endpoint: usize| self.endpoints[endpoint].shunned.get() <= now;
        let none = !all().any(answers);
        all().filter(move |&endpoint| none || answers(endpoint))
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

    /// The client identity of this moment.
    pub(super) fn current(&self) -> Option<Arc<Identity>> {
        self.identity.as_ref().map(|identity| Arc::clone(identity.borrow_mut().load()))
    }

    pub(super) fn standing(&self, endpoint: usize) -> &Standing {
        &self.endpoints[endpoint].standing
    }

    pub(super) fn dialer(&self, endpoint: usize) -> &Dialer {
        &self.endpoints[endpoint].dialer
    }

    /// Whether an idle connection to this endpoint has the identity, by its serial, that the next request is to be sent
    /// with.
    fn suits(&self, local: &Local, endpoint: usize, serial: u64) -> bool {
        let Some(identity) = &self.identity else {
            return true;
        };
        self.standing(endpoint).suits(Some(identity.borrow_mut().load()), serial, local.wheel.now())
    }

    /// Whether a connection with the identity of this serial may serve another request.
    fn keeps(&self, endpoint: usize, serial: u64) -> bool {
        let Some(identity) = &self.identity else {
            return true;
        };
        self.standing(endpoint).keeps(Some(identity.borrow_mut().load()), serial)
    }

    fn take_idle(
        &self,
        local: &Local,
        endpoint: usize,
        name: Option<&ServerName<'static>>,
    ) -> Option<Box<Backend>> {
        loop {
            let backend = {
                let mut idle = self.endpoints[endpoint].idle.borrow_mut();
                let at = idle.iter().rposition(|backend| backend.server_name.as_ref() == name)?;
                idle.remove(at)
            };
            if let Some(backend) = self.wake(local, backend) {
                return Some(backend);
            }
        }
    }

    /// What is kept for the client, and nobody else's.
    fn take_kept(
        &self,
        local: &Local,
        endpoint: usize,
        name: Option<&ServerName<'static>>,
        client: Option<&Own>,
    ) -> Option<Box<Backend>> {
        let client = client?.id();
        let backend = self.endpoints[endpoint].kept.take(client)?;
        assert_eq!(backend.client, Some(client), "a connection of another client");
        if backend.server_name.as_ref() == name { self.wake(local, backend) } else { None }
    }

    /// A connection that was idle, if it can carry another request.
    fn wake(&self, local: &Local, mut backend: Box<Backend>) -> Option<Box<Backend>> {
        let suits = self.suits(local, backend.endpoint, backend.identity);
        if !suits || self.is_over(local, &backend) || !backend.stream.is_fresh() {
            return None;
        }
        backend.reused = true;
        if let Some(hold) = &mut backend.hold {
            hold.wakes();
        }
        Some(backend)
    }

    /// A client has left: what was kept for it ends.
    pub(super) fn part_from(&self, client: ClientId) {
        for endpoint in &self.endpoints {
            drop(endpoint.kept.take(client));
        }
    }

    /// Whether a connection is too old, or was idle for too long.
    fn is_over(&self, local: &Local, backend: &Backend) -> bool {
        let now = local.wheel.now();
        now.saturating_sub(backend.since) > deadline::ticks(self.upstream.idle_timeout)
            || now.saturating_sub(backend.born) > deadline::ticks(self.upstream.max_age)
    }

    /// Takes back a connection whose response was read whole.
    pub fn check_in(&self, local: &Local, mut backend: Box<Backend>) {
        if backend.unproven {
            self.accepted(backend.endpoint, backend.identity);
            backend.unproven = false;
        }
        if self.retired.get() || !self.keeps(backend.endpoint, backend.identity) {
            return;
        }
        let (endpoint, most) = (&self.endpoints[backend.endpoint], self.upstream.idle_per_worker);
        endpoint.shunned.set(0);
        backend.since = local.wheel.now();
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
        idle.push(backend);
        drop(idle);
        drop(given_up);
    }

    /// Ends its idle connections, and keeps none from here on. Exchanges that began with it end with it, which may take
    /// days where they have become tunnels.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        for endpoint in &self.endpoints {
            drop(endpoint.idle.take());
            endpoint.kept.retain(|_| false);
        }
    }

    /// Drops idle connections that are over or that their backend has closed.
    pub fn sweep(self: &Rc<Self>, local: &Local) {
        // Room that no wake-up told of: an endpoint that is tried again.
        gate::serve(self);
        let current = self.current();
        let now = local.wheel.now();
        for endpoint in &self.endpoints {
            endpoint.dialer.sweep(local, current.as_ref());
            let keeps = |backend: &mut Backend| {
                if let Some(hold) = &mut backend.hold {
                    hold.rests(TICK * u32::try_from(now.saturating_sub(backend.since)).unwrap_or(u32::MAX));
                }
                endpoint.standing.keeps(current.as_ref(), backend.identity)
                    && !self.is_over(local, backend)
                    && backend.stream.is_fresh()
            };
            endpoint.idle.borrow_mut().retain_mut(|backend| keeps(backend));
            endpoint.kept.retain(keeps);
        }
    }
}

/// Which of the idle connections of a full pool gives way to `newcomer`, where clients choose the names that they are
/// for. A name has half of the room at most. Connections that were used once, as those for made-up names are, have what
/// the others leave, but a quarter at least, so that a new name finds room too.
fn least_useful(idle: &[Box<Backend>], newcomer: &Backend) -> usize {
    let most = idle.len();
    let is_same = |backend: &Backend| backend.server_name == newcomer.server_name;
    let count = |is: &dyn Fn(&Backend) -> bool| idle.iter().filter(|backend| is(backend)).count();
    let first = |is: &dyn Fn(&Backend) -> bool| idle.iter().position(|backend| is(backend));
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
        if let (Some(gate), Some(line)) = (&self.upstream.gate, &self.line) {
            gate.part(line);
        }
    }
}
