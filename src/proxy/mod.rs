//! Floor 3: exchanges (L7), relays (L4), and the connections to backends.
//!
//! One task serves one client connection from accept to close, its backend side included:
//!
//! ```text
//! accept ─► TLS handshake ─► hot wait ─► head ─► decide ─► check out ─► attempt ─► check in ─┐
//!                              ▲  │ silent for a while                                        │
//!                              │  └─► idle wait (no buffer)                                   │
//!                              └──────────────────────────────────────────────────────────────┘
//! ```

pub mod access;
pub mod body;
pub mod client;
mod coding;
pub mod destination;
mod dial;
pub mod door;
pub mod endpoint;
pub mod exchange;
pub mod failure;
mod forward;
pub mod gate;
mod hold;
pub mod l4;
pub mod l7;
pub mod lull;
mod origin;
pub mod own;
mod pace;
pub mod pages;
pub mod pool;
mod preface;
pub mod reply;
pub mod rules;
pub mod running;
pub mod seats;
mod sni;
mod standing;
mod trailers;
mod vigil;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::counters::Counters;
use crate::base::sample::sampled;
use crate::base::snapshot::{Reader, Snapshot};
use crate::base::tally::Tally;
use crate::io::{Deadline, Fired, Stream, TcpStream, Wheel, tls};
use crate::tls::{Handshake, HandshakeError};
use door::Door;
use pool::Pool;
use preface::Origin;
use running::{Running, SocketId, Traffic};

/// What a worker owns. Nobody else touches it, so nothing in it is locked.
#[derive(Debug)]
pub struct Local {
    /// Written here, summed elsewhere.
    pub counters: Arc<Counters>,
    /// All deadlines of this worker.
    pub wheel: Wheel,
    /// Set when the worker drains.
    pub draining: Cell<bool>,
    /// Where access-log lines go, if anywhere.
    pub access: Option<access::Sink>,
    /// What is open, counted with all other workers.
    pub tally: Arc<Tally>,
    /// Its backend connections that were made with a client identity.
    pub(in crate::proxy) backends: hold::Holds,
    ids: exchange::RequestIds,
    clients: own::ClientIds,
    /// Where its round-robins begin, so that workers don't all begin with the same endpoint.
    start: usize,
    /// Heads are encoded here, then moved in front of the body they belong to. All connections of the worker share it:
    /// what it holds is somebody else's after an await.
    scratch: RefCell<Vec<u8>>,
    snapshot: RefCell<Reader<Running>>,
    view: RefCell<Rc<View>>,
    doors: RefCell<Vec<Rc<Door>>>,
}

/// A snapshot and this worker's pools for it.
#[derive(Debug)]
pub struct View {
    /// The snapshot.
    pub running: Arc<Running>,
    /// In the order of its upstreams.
    pub pools: Vec<Rc<Pool>>,
}

impl Local {
    /// A worker's state. `ids` is what its request ids begin with.
    pub fn new(
        snapshot: &Snapshot<Running>,
        counters: Arc<Counters>,
        access: Option<access::Seed>,
        tally: Arc<Tally>,
        ids: u64,
    ) -> Self {
        let running = snapshot.load();
        let wheel = Wheel::new();
        crate::io::buffer::bound(running.limits.buffer_memory.unwrap_or_default());
        let pools =
            running.upstreams.iter().map(|upstream| Pool::open(Arc::clone(upstream), ids as usize, &wheel));
        let pools = pools.collect();
        Self {
            counters,
            wheel,
            draining: Cell::new(false),
            access: access.map(access::Seed::sink),
            tally,
            backends: hold::Holds::default(),
            ids: exchange::RequestIds::new(ids),
            clients: own::ClientIds::default(),
            start: ids as usize,
            scratch: RefCell::new(Vec::with_capacity(4096)),
            snapshot: RefCell::new(snapshot.reader()),
            view: RefCell::new(Rc::new(View { running, pools })),
            doors: RefCell::new(Vec::new()),
        }
    }

    /// The view of this moment, loaded once an exchange. Pools of upstreams that a new snapshot keeps are kept.
    pub fn view(&self) -> Rc<View> {
        let mut reader = self.snapshot.borrow_mut();
        let running = reader.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(running, &view.running) {
            let pools = running.upstreams.iter().map(|upstream| {
                let kept = view.pools.iter().find(|pool| Arc::ptr_eq(&pool.upstream, upstream));
                kept.cloned().unwrap_or_else(|| Pool::open(Arc::clone(upstream), self.start, &self.wheel))
            });
            let pools = pools.collect();
            let last = std::mem::replace(&mut *view, Rc::new(View { running: Arc::clone(running), pools }));
            for door in self.doors.borrow().iter() {
                door.follow(running, &last, &self.wheel);
            }
            for pool in &last.pools {
                if !view.pools.iter().any(|kept| Rc::ptr_eq(kept, pool)) {
                    pool.retire();
                }
            }
        }
        Rc::clone(&view)
    }

    /// The door of a socket that was bound for the snapshot of this moment; `None` if that has no such socket.
    pub fn open(&self, socket: SocketId) -> Option<Rc<Door>> {
        let view = self.view();
        let listener = door::listener_of(&view.running, socket)?;
        let tls = view.running.listeners[listener].tls.is_some();
        let door = Rc::new(Door::new(socket, listener, tls));
        self.doors.borrow_mut().push(Rc::clone(&door));
        Some(door)
    }

    fn count_status(&self, status: u16) {
        let counters = &self.counters;
        match status {
            100..=199 => counters.responses_1xx.add(1),
            200..=299 => counters.responses_2xx.add(1),
            300..=399 => counters.responses_3xx.add(1),
            400..=499 => counters.responses_4xx.add(1),
            _ => counters.responses_5xx.add(1),
        }
    }

    /// Counts the bound that a failure met, if it met one.
    fn count_bound(&self, failure: &failure::Failure) {
        if let Some(count) = failure.bound(&self.counters) {
            count.add(1);
        }
    }

    /// A request that was refused before it was routed, in the access log.
    /// `bytes`: of the reply.
    fn log_refusal(
        &self,
        listener: &str,
        client: &client::ClientFacts,
        failure: &failure::Failure,
        bytes: usize,
    ) {
        self.count_bound(failure);
        tracing::debug!(client = %client.address, "request refused: {failure}");
        if let Some(sink) = &self.access {
            let record = sink.take().or_else(|| {
                sink.begin(listener, client, None, None);
                sink.take()
            });
            let outcome = access::Outcome {
                status: failure.status().unwrap_or(0),
                bytes: bytes as u64,
                duration: std::time::Duration::ZERO,
                first_byte: (bytes > 0).then_some(std::time::Duration::ZERO),
                upstream: None,
                endpoint: None,
                tries: 0,
                relay: None,
                failure: Some(failure),
            };
            if let Some(record) = record {
                sink.end(record, &outcome);
            }
        }
    }

    /// Drops idle backend connections that are over, gives unused memory back, and hands the log on.
    /// Called once a second.
    pub fn sweep(&self) {
        let view = Rc::clone(&self.view.borrow());
        for pool in &view.pools {
            pool.sweep(self);
        }
        // A closed door is remembered until the last connection that came through it has ended.
        self.doors.borrow_mut().retain(|door| door.sweep(self) || Rc::strong_count(door) > 1);
        let overdue = self.backends.end_overdue(std::time::SystemTime::now());
        self.counters.identity_overdue.add(overdue);
        if let Some(access) = &self.access {
            access.sweep();
        }
        self.counters.spliced_bytes.add(crate::io::Pipe::sweep());
        crate::io::buffer::bound(view.running.limits.buffer_memory.unwrap_or_default());
        crate::io::buffer::trim();
    }

    /// Begins to drain: idle connections close at once, others after their exchange.
    pub fn drain(&self) {
        self.draining.set(true);
        self.doors.borrow().iter().for_each(|door| door.drain());
        self.wheel.interrupt();
    }
}

/// A client connection, its handshake done.
#[derive(Debug)]
struct Client {
    local: Rc<Local>,
    door: Rc<Door>,
    stream: Stream,
    /// What arrived behind the handshake.
    early: Option<crate::io::Buffer>,
    deadline: Deadline,
    origin: Origin,
    tls: Option<Box<client::ClientTls>>,
}

/// Serves one connection that came through `door` until it ends.
///
/// What an idle connection does not need is boxed, here and in `l7`: its task must be small.
pub fn serve(local: Rc<Local>, door: Rc<Door>, tcp: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> {
    let greeting = Box::pin(greet(local, door, tcp, peer));
    async move {
        let Some(client) = greeting.await else {
            return;
        };
        let (view, listener) = client.door.enter(&client.local);
        match view.running.listeners[listener].traffic {
            Traffic::Http { .. } => {
                drop(view);
                l7::serve(client).await;
            }
            Traffic::Tcp { upstream } => {
                let local = Rc::clone(&client.local);
                let entry = l4::Entry { listener: &view.running.listeners[listener].name, sni: None };
                Box::pin(l4::serve(&local, entry, &view.pools[upstream], client)).await;
            }
            Traffic::TcpByName { .. } => {
                let local = Rc::clone(&client.local);
                Box::pin(sni::serve(&local, &view, listener, client)).await;
            }
        }
    }
}

/// The PROXY header and the TLS handshake, where the listener has them, both within `limits.head_timeout`. The client is
/// boxed: it is large, and soon unpacked.
async fn greet(local: Rc<Local>, door: Rc<Door>, tcp: TcpStream, peer: SocketAddr) -> Option<Box<Client>> {
    let deadline = door.deadline(&local.wheel);
    let (view, listener) = door.enter(&local);
    let (listener, policy) = (&view.running.listeners[listener], door.policy());
    let origin = match listener.proxy_protocol {
        None => Origin { peer, said: own::Said::default() },
        Some(accept) => {
            deadline.set(listener.limits.head_timeout);
            Box::pin(preface::read(&local, listener, accept, &tcp, peer, &deadline)).await?
        }
    };
    let tcp_only = !matches!(listener.traffic, Traffic::Http { .. });
    if tcp_only && !listener.permitted.permits(origin.peer.ip()) {
        // Requests of http listeners are answered with 403.
        tracing::debug!(listener = listener.name, client = %origin.peer, "the client's address is not permitted");
        return None;
    }
    let Some(config) = &listener.tls else {
        let stream = Stream::plain(tcp);
        return Some(Box::new(Client { local, door, stream, early: None, deadline, origin, tls: None }));
    };
    if listener.proxy_protocol.is_none() {
        deadline.set(listener.limits.head_timeout);
    }
    let peer = origin.peer;
    let mut tcp = tcp;
    let shaken = {
        let shake = async {
            let mut handshake = Handshake::server(Arc::clone(config))?;
            let rest = tls::shake(&mut tcp, &mut handshake).await?;
            Ok::<_, tls::TlsError>((handshake, rest))
        };
        deadline.race(pin!(shake)).await
    };
    let (handshake, rest) = match shaken {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => {
            refused(&local, &listener.name, peer, &error.to_string());
            if let tls::TlsError::Handshake(error) = error {
                let http = matches!(listener.traffic, Traffic::Http { .. });
                lull::part(tcp, &deadline, if http { last_words(&error) } else { b"" }).await;
            }
            return None;
        }
        Err(Fired::Expired) => {
            local.counters.timeouts.add(1);
            local.counters.limit_head_timeout.add(1);
            refused(&local, &listener.name, peer, "not finished within `limits.head_timeout`");
            return None;
        }
        Err(Fired::Interrupted) => return None,
    };
    let finished = tls::finish(tcp, handshake, rest).map_err(|error| error.to_string());
    let client = finished.and_then(|(stream, facts, early)| {
        let tls = client::ClientTls::new(&facts, listener.forward_certificate, policy);
        tls.map(|tls| (stream, early, tls)).map_err(|error| error.to_string())
    });
    match client {
        Ok((stream, early, tls)) => {
            local.counters.client_handshakes.add(1);
            Some(Box::new(Client { local, door, stream, early, deadline, origin, tls: Some(tls) }))
        }
        Err(reason) => {
            refused(&local, &listener.name, peer, &reason);
            None
        }
    }
}

/// Counts a failed handshake and logs why.
fn refused(local: &Local, listener: &str, client: SocketAddr, reason: &str) {
    local.counters.client_handshake_failures.add(1);
    sampled!(
        info,
        ClientHandshake of listener,
        { listener, client = %client, },
        "TLS handshake with a client failed: {reason}"
    );
}

/// What a client reads that sent plain HTTP to a TLS port. Other clients have been sent an alert.
fn last_words(error: &HandshakeError) -> &'static [u8] {
    match error {
        HandshakeError::NotTls(start) if start.looks_like_http() => {
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 47\r\nConnection: close\r\n\r\n\
              The plain HTTP request was sent to HTTPS port.\n"
        }
        _ => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function answers.
    fn answered<A, B, C, D, R>(_: fn(A, B, C, D) -> R) -> usize {
        size_of::<R>()
    }

    /// An idle connection holds these two, each in a block of the allocator's size classes (112, 128, …, 256, 320, …).
    /// A byte more costs a class more: `scripts/idle-memory` measures the whole.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(answered(serve) <= 256, "{}", answered(serve));
        assert!(size_of::<l7::Connection>() <= 112, "{}", size_of::<l7::Connection>());
    }
}
