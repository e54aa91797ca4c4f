//! TCP: bytes both ways, with half-close, over plain or TLS on either side.

use std::cell::Cell;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Instant;

use crate::base::failures::Failed;
use crate::base::meter::Served;
use crate::base::sample::sampled;
use crate::io::Buffer;
use crate::proxy::access::{End, Outcome, Relayed};
use crate::proxy::client::ClientFacts;
use crate::proxy::client_binding::ClientBinding;
use crate::proxy::downstream::accepted::Accepted;
use crate::proxy::exchange::tunnel;
use crate::proxy::exchange::tunnel_end::TunnelEnd;
use crate::proxy::failure::{Bound, ConnectError, Failure};
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::upstream::admission::{self, AdmissionRequest, Permit};
use crate::proxy::upstream::pool::{ConnectRequest, Pool};
use crate::proxy::worker::Worker;
use crate::tls::Reason;
use crate::tls::error::concerns_our_certificate;

/// Where a client came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// The listener's name.
    pub(crate) listener: &'a str,
    /// The name in a hello that is not opened.
    pub(crate) sni: Option<&'a str>,
}

/// The endpoints of a connection, by their indices.
#[derive(Debug, Default)]
struct Course {
    /// The first that was tried.
    first: Cell<Option<usize>>,
    /// The one that it is connected to.
    connected: Cell<Option<usize>>,
}

/// Relays one client connection to an upstream, and logs it in the access log.
pub(crate) async fn serve(worker: &Rc<Worker>, entry: Entry<'_>, pool: &Rc<Pool>, mut client: Box<Accepted>) {
    let (started, course) = (Instant::now(), Course::default());
    let ended = carry(worker, pool, &mut client, &course).await;
    let endpoint = &course.connected;
    measure(pool, endpoint.get(), started, &ended);
    let failed: Option<(_, _, &dyn Display)> = match &ended {
        Err(failure) => Some((failure.is_clients(), failure.kind(), failure)),
        Ok(Relayed { end: End::BackendLost, .. }) => {
            Some((false, "connection_terminated", &"the backend's side of the relay broke"))
        }
        Ok(_) => None,
    };
    if let Some((clients, kind, reason)) = failed {
        let (upstream, first) = (&pool.upstream, course.first.get());
        worker.counters.failures.note(&Failed {
            clients,
            upstream: &upstream.name,
            endpoint: first.map_or("", |first| &upstream.endpoints[first].label),
            duration: started.elapsed(),
            ..Failed::at(entry.listener, kind, reason)
        });
    }
    let Some(access) = &worker.access else { return };
    let outcome = Outcome {
        upstream: Some(&pool.upstream.name),
        endpoint: endpoint.get().map(|endpoint| &*pool.upstream.endpoints[endpoint].label),
        relay: ended.as_ref().ok().copied(),
        failure: ended.as_ref().err().map(|failure| failure as &dyn Display),
        error: ended.as_ref().err().and_then(Failure::proxy_error),
        ..Outcome::unrelayed(started.elapsed())
    };
    access.relay(entry.listener, &facts(&mut client), entry.sni, &outcome);
}

/// Counts a connection that has ended, at its upstream and its endpoint.
fn measure(pool: &Pool, endpoint: Option<usize>, started: Instant, ended: &Result<Relayed, Failure>) {
    let (up, down) = ended.as_ref().map_or((0, 0), |relayed| (relayed.up, relayed.down));
    let duration = started.elapsed();
    let served = Served { request_bytes: up, response_bytes: down, duration, ..Served::default() };
    pool.meter.add(0, &served);
    if let Some(endpoint) = endpoint {
        pool.ended(endpoint, 0, &served, false);
    }
}

/// The facts about a client for logs.
pub(crate) fn facts(client: &mut Accepted) -> ClientFacts {
    ClientFacts::new(client.origin.peer.name(), client.tls.take())
}

async fn carry(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    client: &mut Accepted,
    course: &Course,
) -> Result<Relayed, Failure> {
    let peer = client.stream.reader.peer();
    let mut said = || std::mem::take(&mut client.origin.said);
    let own = pool.upstream.proxy_protocol.map(|_| ClientBinding::new(&worker.clients, said(), &peer));
    let key = pool.upstream.connection_key(client.origin.peer.ip());
    let call = ConnectRequest { client: own.as_ref(), key, ..ConnectRequest::default() };
    let circuit = &pool.upstream.circuit;
    let refused = |bound| {
        circuit.refuse(bound);
        let failure = Failure::Connect(ConnectError::Limit(bound));
        worker.count_bound(&failure);
        failure
    };
    let _counted = circuit.take(Bound::Requests).map_err(refused)?;
    let since = worker.wheel.now();
    let peer = StreamPeer::H1(peer);
    let ask = AdmissionRequest { client: &peer, since, avoided: &[], key };
    // Leave is held for as long as the relay lasts.
    let (_permit, mut backend) = loop {
        let permit = match admission::admit(worker, pool, &client.deadline, ask, &mut None, 0..0).await {
            Ok(permit) => permit,
            Err(failure) => {
                worker.count_bound(&failure);
                let (of, address) = (&pool.upstream.name, client.origin.peer);
                sampled!(warn, Exchange of of, { upstream = of, client = %address, }, "{failure}");
                return Err(failure);
            }
        };
        let first = permit.as_ref().map(Permit::endpoint).or_else(|| pool.pick_with_room(key));
        let first = first.ok_or(Failure::Connect(ConnectError::NoEndpoint))?;
        course.first.set(Some(first));
        match Box::pin(pool.connect(worker, &client.deadline, call, first, permit.as_ref())).await {
            Ok(backend) => break (permit, backend),
            Err(_) if permit.is_some_and(|permit| permit.may_wait(worker, since)) => {}
            // Logged by the pool; a TCP client can only be refused by closing.
            Err(ConnectError::Limit(bound)) => return Err(refused(bound)),
            Err(error) => return Err(Failure::Connect(error)),
        }
    };
    course.connected.set(Some(backend.endpoint));
    let idle = pool.upstream.idle_timeout;
    let from_client = client.early.take().unwrap_or_else(Buffer::small);
    let from_backend = backend.early.take().unwrap_or_else(Buffer::small);
    let ends = (TunnelEnd::H1(&mut client.stream), TunnelEnd::H1(&mut backend.stream));
    let relay = tunnel::tunnel(worker, &client.deadline, idle, ends, from_client, from_backend);
    let relayed = Box::pin(relay).await;
    let reader = &backend.stream.reader;
    if let Some(alert) = reader.peer_alert() {
        let declined = reader.asked_renegotiation() && !concerns_our_certificate(alert);
        let reason = if declined { Reason::Renegotiation } else { Reason::of_alert(alert) };
        pool.record_failure(&backend.facts(), reason);
    }
    Ok(relayed)
}
