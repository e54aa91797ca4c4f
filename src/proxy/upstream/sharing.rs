//! How idle connections move between workers: from a worker that has more than it needs to the endpoint's
//! [`SharedIdle`](super::shared_idle::SharedIdle), and from there to a worker that has none.
//!
//! A worker keeps an eighth of what it has in use, so that requests that follow each other closely find a connection
//! without a look at shared memory. All workers together hold little more than one connection for each exchange then.

use std::time::SystemTime;

use rustls::pki_types::ServerName;

use super::backend_tls::UpstreamTls;
use super::certificate_verdict::CertificateVerdict;
use super::connect::Spoken;
use super::connection::UpstreamConnection;
use super::identity::serial;
use super::pool::Pool;
use super::shared_idle::{SharedConnection, TICK_MILLIS, millis};
use crate::base::clock;
use crate::proxy::identity_connections::TrackedConnection;
use crate::proxy::worker::Worker;

/// A worker keeps one idle connection for so many exchanges that it has under way at the endpoint.
const EXCHANGES_PER_IDLE: u64 = 8;

impl Pool {
    /// Whether idle connections go to other workers. They do not where each belongs to one client, or was made for the name
    /// that a client asked for.
    fn shares(&self) -> bool {
        self.upstream.shared && self.upstream.proxy_protocol.is_none() && !self.is_named_by_request()
    }

    /// A connection to `endpoint` that another worker does not need, if there is one.
    pub(crate) fn take_shared(
        &self,
        worker: &Worker,
        endpoint: usize,
        name: Option<&ServerName<'static>>,
    ) -> Option<Box<UpstreamConnection>> {
        let shared = &self.upstream.endpoints[endpoint].state.shared_idle;
        if shared.is_empty() || !self.shares() {
            return None;
        }
        let active = serial(self.current().as_ref());
        let fits = |other: &SharedConnection| {
            UpstreamTls::is_same(self.upstream.tls.as_ref(), other.tls.as_ref())
                && other.identity == active
                && other.server_name.as_ref() == name
        };
        // One that its backend has closed meanwhile is followed by another.
        while let Some(connection) = shared.take(fits) {
            let Some(connection) = adopt(worker, endpoint, *connection) else { continue };
            if let Some(connection) = self.revalidate(worker, endpoint, connection) {
                worker.counters.backend_connections_taken_over.add(1);
                return Some(connection);
            }
        }
        None
    }

    /// Gives the connection that has been idle for longest to the other workers, where this one has more than it needs.
    pub(crate) fn share_surplus(&self, worker: &Worker, endpoint: usize) {
        let pool = &self.endpoints[endpoint];
        let most = (pool.used.own() / EXCHANGES_PER_IDLE).max(1);
        let mut idle = pool.idle.borrow_mut();
        // First what costs nothing: this is asked after each response.
        if (idle.len() as u64) <= most || !self.shares() || pool.used.is_alone() {
            return;
        }
        if idle[0].verdict.is_pending() || idle[0].identity != serial(self.current().as_ref()) {
            return;
        }
        let oldest = idle.remove(0);
        drop(idle);
        self.share(worker, endpoint, *oldest);
    }

    fn share(&self, worker: &Worker, endpoint: usize, connection: UpstreamConnection) {
        let UpstreamConnection {
            hold, stream, server_name, identity, _counted: counted, born, since, ..
        } = connection;
        let (now, tick) = (clock::millis(), worker.wheel.now());
        let millis_of = |at: u64| now.saturating_sub(tick.saturating_sub(at) * TICK_MILLIS);
        let (born, since) = (millis_of(born), millis_of(since));
        let track = hold.and_then(TrackedConnection::detach);
        let Some(stream) = stream.detach() else { return };
        let tls = self.upstream.tls.clone();
        let shared = SharedConnection { stream, track, tls, server_name, identity, counted, born, since };
        let most = self.endpoints[endpoint].most();
        self.upstream.endpoints[endpoint].state.shared_idle.put(Box::new(shared), most);
    }

    /// Closes shared connections that are over, that their backend has closed, or that no worker needs.
    /// `active` is the serial of the client identity of this moment.
    pub(crate) fn sweep_shared(&self, endpoint: usize, active: u64) {
        let (upstream, now, millis_now) = (&self.upstream, SystemTime::now(), clock::millis());
        upstream.endpoints[endpoint].state.shared_idle.sweep(upstream.idle_timeout, |connection| {
            let is_over = millis_now.saturating_sub(connection.since) > millis(upstream.idle_timeout)
                || millis_now.saturating_sub(connection.born) > millis(upstream.max_age);
            let is_overdue = connection.track.as_ref().is_some_and(|track| track.is_overdue(now));
            let has_same_tls = UpstreamTls::is_same(upstream.tls.as_ref(), connection.tls.as_ref());
            let is_current = has_same_tls && connection.identity == active;
            is_current && !is_over && !is_overdue && connection.stream.is_alive()
        });
    }
}

/// A shared connection as one of this worker's.
fn adopt(worker: &Worker, endpoint: usize, shared: SharedConnection) -> Option<Box<UpstreamConnection>> {
    let SharedConnection { stream, track, server_name, identity, counted, born, since, .. } = shared;
    let stream = stream.attach().ok()?;
    let hold = track.and_then(|track| worker.tracked.attach(stream.reader.peer(), track));
    let (now, tick) = (clock::millis(), worker.wheel.now());
    let tick_of = |at: u64| tick.saturating_sub(now.saturating_sub(at) / TICK_MILLIS);
    Some(Box::new(UpstreamConnection {
        hold,
        stream,
        early: None,
        spoken: Spoken::Http11,
        endpoint,
        reused: true,
        client: None,
        server_name,
        identity,
        verdict: if identity == 0 { CertificateVerdict::NotAsked } else { CertificateVerdict::Accepted },
        _counted: counted,
        born: tick_of(born),
        since: tick_of(since),
        in_flight: None,
    }))
}
