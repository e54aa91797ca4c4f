//! UDP: datagrams both ways. What one client sends to a listener is a session, with a socket of its own that is connected
//! to one endpoint.
//!
//! One task serves a listening socket of a worker with all its sessions: it waits for any of their sockets, receives a
//! batch, and sends it on before it receives more. Nothing is queued here: what the kernel does not take is dropped and
//! counted, as on any way of a datagram.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use self::sessions::{Key, Sessions};
use crate::base::counters::DatagramCounts;
use crate::base::failures::Failed;
use crate::base::limits::{UDP_BATCH, UDP_BATCHES, UDP_SILENCE};
use crate::base::sample::sampled;
use crate::base::tally::Entry;
use crate::io::datagrams::{self, Batch, Next, Report, Sent, Target};
use crate::io::deadline::{TICK, ticks};
use crate::io::udp::{self, Readiness};
use crate::proxy::access::{End, Outcome, Relayed};
use crate::proxy::client::ClientFacts;
use crate::proxy::connection_permit::ConnectionPermit;
use crate::proxy::downstream::listener::ListenerSocket;
use crate::proxy::snapshot::{Listener, Traffic, Udp};
use crate::proxy::upstream::load::InFlight;
use crate::proxy::upstream::pool::Pool;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;
use crate::proxy_protocol::{Addresses, encode_datagram};

mod sessions;

/// The token of the listening socket; sessions have their index.
const CLIENTS: u64 = u64::MAX;
/// The token of the first socket of [`Relay::own`].
const OWN: u64 = 1 << 32;
/// Sessions that end for their silence in one turn.
const EXPIRED: usize = 1024;
/// Looks at the sockets in a row before other tasks have their turn.
const LOOKS: usize = 4;
/// Datagrams of a backend after which its session's socket is prepared for many.
const MANY: u64 = 16;

/// What has passed in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    datagrams: u64,
    bytes: u64,
}

/// One client's datagrams.
#[derive(Debug)]
struct Session {
    socket: UdpSocket,
    pool: Rc<Pool>,
    endpoint: usize,
    started: Instant,
    up: Passed,
    down: Passed,
    /// What each datagram to the backend begins with.
    header: Box<[u8]>,
    /// The largest datagrams that the kernel takes together, to the backend and to the client.
    most: (usize, usize),
    _permit: Box<ConnectionPermit>,
    _in_flight: InFlight,
}

/// What holds for one turn: the snapshot, and the listener in it.
struct Turn<'a> {
    listener: &'a Listener,
    udp: &'a Udp,
    pool: &'a Rc<Pool>,
    now: u64,
    /// No session is begun any more.
    ending: bool,
}

impl<'a> Turn<'a> {
    /// `None` if the listener is not a udp one.
    fn of(view: &'a View, listener: usize, now: u64, ending: bool) -> Option<Self> {
        let listener = &view.config.listeners[listener];
        let Traffic::Udp(udp) = &listener.traffic else { return None };
        Some(Self { listener, udp, pool: &view.pools[udp.upstream], now, ending })
    }
}

/// A listening socket with its sessions.
pub(crate) struct Relay {
    worker: Rc<Worker>,
    listening: Rc<ListenerSocket>,
    socket: UdpSocket,
    /// Where it is bound.
    address: SocketAddr,
    readiness: Rc<Readiness>,
    sessions: Sessions<Session>,
    /// Once the socket is left to another process: one for each client of a session.
    own: Option<Vec<UdpSocket>>,
    /// Datagrams that the socket has dropped so far.
    overflows: u32,
    /// What has passed since it was last counted for the listener: see [`DatagramCounts`].
    passed: (Passed, Passed),
    dropped: u64,
}

impl Relay {
    /// Serves nothing yet. On a worker's runtime.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn new(
        worker: Rc<Worker>,
        listening: Rc<ListenerSocket>,
        socket: UdpSocket,
    ) -> io::Result<Self> {
        let (address, readiness) = (socket.local_addr()?, Rc::new(Readiness::new()?));
        readiness.add(&socket, CLIENTS)?;
        let (sessions, passed) = (Sessions::default(), Default::default());
        let own = None;
        Ok(Self {
            worker,
            listening,
            socket,
            address,
            readiness,
            sessions,
            own,
            overflows: 0,
            passed,
            dropped: 0,
        })
    }

    /// Relays until the worker drains, or a reload takes the socket away, and the last session has ended.
    pub(crate) async fn serve(mut self) {
        let (worker, readiness) = (Rc::clone(&self.worker), Rc::clone(&self.readiness));
        let deadline = self.listening.deadline(&worker.wheel);
        // It is kept when the deadline fires first: the runtime goes on waiting for the sockets.
        let mut ready = pin!(waiting(&readiness));
        let mut tokens = Vec::new();
        loop {
            let (view, listener) = self.listening.enter(&worker);
            let ending = self.listening.is_ending(&worker);
            let Some(turn) = Turn::of(&view, listener, worker.wheel.now(), ending) else { return };
            self.expire(&turn);
            if ending {
                self.leave(&turn);
                if self.sessions.len() == 0 {
                    return;
                }
            }
            match self.next_end(&turn) {
                Some(after) => deadline.set(after),
                None => deadline.clear(),
            }
            deadline.interruptible(!ending);
            drop(view);
            match deadline.race(ready.as_mut()).await {
                Ok(Ok(())) => {
                    let (view, listener) = self.listening.enter(&worker);
                    let ending = self.listening.is_ending(&worker);
                    let Some(turn) = Turn::of(&view, listener, worker.wheel.now(), ending) else { return };
                    datagrams::with_batch(|batch| self.turn(&turn, batch, &mut tokens));
                    ready.set(waiting(&readiness));
                }
                Ok(Err(error)) => {
                    sampled!(error, Accept of "udp", {}, "datagrams can't be waited for: {error}");
                    crate::io::sleep(Duration::from_millis(50)).await;
                    ready.set(waiting(&readiness));
                }
                // Sessions are over, or the socket is to close.
                Err(_) => {}
            }
        }
    }

    /// Relays what has arrived, as far as it is this task's turn.
    fn turn(&mut self, turn: &Turn<'_>, batch: &mut Batch, tokens: &mut Vec<u64>) {
        for _ in 0..LOOKS {
            if self.readiness.look(tokens).is_err() || tokens.is_empty() {
                break;
            }
            batch.clear();
            for token in tokens.iter().filter(|token| **token < OWN) {
                self.receive_from_backend(turn, batch, *token as u32);
            }
            self.flush_to_clients(batch);
            for token in tokens.iter().filter(|token| **token >= OWN) {
                self.receive_from_clients(turn, batch, *token);
            }
        }
        self.count(&turn.udp.counts);
    }

    /// Leaves the socket: it closes, or another process has it and receives from it. The clients of sessions are heard on sockets
    /// that are connected to them, which the kernel prefers.
    fn leave(&mut self, turn: &Turn<'_>) {
        if self.own.is_some() {
            return;
        }
        let (address, readiness) = (self.address, &self.readiness);
        let mut own = Vec::new();
        for key in self.sessions.keys() {
            let local = SocketAddr::new(key.local.unwrap_or(address.ip()), address.port());
            let connected = udp::connect_from(local, key.client);
            let added = connected.and_then(|socket| {
                readiness.add(&socket, OWN + own.len() as u64)?;
                Ok(socket)
            });
            match added {
                Ok(socket) => own.push(socket),
                // Its client's next datagram begins a session at whatever is bound there.
                Err(error) => {
                    sampled!(warn, Exchange of "udp", {}, "a udp session can't be kept while this process drains: {error}");
                }
            }
        }
        readiness.remove(&self.socket);
        if !self.listening.is_left() {
            // What has arrived before; it would be lost with the socket.
            datagrams::with_batch(|batch| self.receive_from_clients(turn, batch, CLIENTS));
        }
        // Any of them sends to any client, from the same port.
        if let Some(sender) = own.first().and_then(|socket| socket.try_clone().ok()) {
            self.socket = sender;
        }
        self.own = Some(own);
    }

    fn receive_from_clients(&mut self, turn: &Turn<'_>, batch: &mut Batch, token: u64) {
        for _ in 0..UDP_BATCHES {
            batch.clear();
            let socket = match &self.own {
                None => &self.socket,
                Some(own) => match own.get(token.wrapping_sub(OWN) as usize) {
                    Some(socket) => socket,
                    None => return,
                },
            };
            // An error is of a datagram that was sent before; what has arrived is received the next time.
            let empty = batch.receive(socket, true).unwrap_or(true);
            self.forward(turn, batch);
            if empty {
                return;
            }
        }
    }

    /// Sends what was received from clients to their sessions' backends, each client's pieces in their order.
    fn forward(&mut self, turn: &Turn<'_>, batch: &mut Batch) {
        let count = batch.pieces().len();
        let mut taken = [false; UDP_BATCH];
        for first in 0..count {
            let piece = batch.pieces()[first];
            if piece.overflows != 0 {
                let more = piece.overflows.wrapping_sub(self.overflows);
                self.overflows = piece.overflows;
                self.worker.counters.udp_queue_drops.add(u64::from(more));
                self.dropped += u64::from(more);
            }
            let Some(client) = piece.peer.filter(|_| !taken[first]) else { continue };
            let mut group = [0; UDP_BATCH];
            let mut size = 0;
            for (index, other) in batch.pieces().iter().enumerate().skip(first) {
                if !taken[index] && (other.peer, other.local) == (piece.peer, piece.local) {
                    (taken[index], group[size], size) = (true, index, size + 1);
                }
            }
            self.send_to_backend(turn, batch, Key { client, local: piece.local }, &group[..size]);
        }
    }

    /// Sends pieces of one client. If its backend can't be reached, a session with another endpoint takes what is left.
    fn send_to_backend(&mut self, turn: &Turn<'_>, batch: &mut Batch, key: Key, group: &[usize]) {
        let (mut next, mut failures) = (0, 0);
        while next < group.len() {
            let index = self.sessions.find(&key).or_else(|| self.begin(turn, key));
            let tries_left = failures <= turn.pool.upstream.endpoints.len();
            let Some(index) = index.filter(|_| tries_left) else {
                let lost: usize = group[next..].iter().map(|&piece| batch.pieces()[piece].count()).sum();
                self.worker.counters.udp_refused.add(lost as u64);
                self.dropped += lost as u64;
                return;
            };
            let Some((_, session)) = self.sessions.get(index) else { return };
            let mut asked = session.up.datagrams;
            let mut end = next;
            let bound = turn.udp.sessions.requests;
            while end < group.len() && (end == next || bound == 0 || asked < bound) {
                asked += batch.pieces()[group[end]].count() as u64;
                let (most, header) = (session.most.0, &session.header);
                batch.push(group[end], Target { to: None, from: None, tag: index, most, header });
                end += 1;
            }
            let (mut lost, mut sent, mut unreachable) = (0, Passed::default(), None);
            let most = &mut session.most.0;
            batch.flush(&session.socket, |report| match settle(&report, most, &mut lost, &mut sent) {
                Some(error) => {
                    unreachable = Some((report.first, error));
                    Next::Stop
                }
                None => Next::Continue,
            });
            session.up.datagrams += sent.datagrams;
            session.up.bytes += sent.bytes;
            let (had_reply, done) = (session.down.datagrams > 0, bound > 0 && asked >= bound);
            self.passed.0.datagrams += sent.datagrams;
            self.passed.0.bytes += sent.bytes;
            self.lose(lost);
            if let Some((first, error)) = unreachable {
                self.unreachable(turn, index, &error);
                next = group.iter().position(|&piece| piece == first).unwrap_or(end);
                failures += 1;
                continue;
            }
            self.sessions.touch(index, turn.now);
            if had_reply {
                self.sessions.confirm(index);
            }
            if done {
                self.sessions.unbind(index);
            }
            next = end;
        }
    }

    /// Receives what the backend of a session has sent, and sends what the batch has no room for.
    fn receive_from_backend(&mut self, turn: &Turn<'_>, batch: &mut Batch, index: u32) {
        for _ in 0..UDP_BATCHES {
            if batch.is_full() {
                self.flush_to_clients(batch);
            }
            let first = batch.pieces().len();
            let Some((&key, session)) = self.sessions.get(index) else { return };
            let empty = match batch.receive(&session.socket, false) {
                Ok(empty) => empty,
                Err(error) if udp::is_unreachable(&error) => {
                    return self.unreachable(turn, index, &error);
                }
                Err(_) => true,
            };
            if batch.pieces().len() == first {
                return;
            }
            if session.down.datagrams == 0 {
                session.pool.heard(session.endpoint);
            }
            let before = session.down.datagrams;
            for at in first..batch.pieces().len() {
                let piece = batch.pieces()[at];
                session.down.datagrams += piece.count() as u64;
                session.down.bytes += piece.len as u64;
                self.passed.1.datagrams += piece.count() as u64;
                self.passed.1.bytes += piece.len as u64;
                let most = session.most.1;
                batch.push(
                    at,
                    Target { to: Some(key.client), from: key.local, tag: index, most, header: &[] },
                );
            }
            if before < MANY && session.down.datagrams >= MANY {
                udp::expect_many(&session.socket);
            }
            let responses = turn.udp.sessions.responses;
            if responses > 0 && session.down.datagrams >= session.up.datagrams * responses {
                return self.end(turn, index, End::Answered, None);
            }
            self.sessions.touch(index, turn.now);
            if empty {
                return;
            }
        }
    }

    fn flush_to_clients(&mut self, batch: &mut Batch) {
        let (mut lost, sessions) = (0, &mut self.sessions);
        let mut sent = Passed::default();
        batch.flush(&self.socket, |report| {
            let mut most = usize::MAX;
            // A client that can't be reached is no reason to end anything: it may be silent for now.
            if settle(&report, &mut most, &mut lost, &mut sent).is_some() {
                lost += report.count as u64;
            }
            if most != usize::MAX
                && let Some((_, session)) = sessions.get(report.tag)
            {
                session.most.1 = session.most.1.min(most);
            }
            Next::Continue
        });
        batch.clear();
        self.lose(lost);
    }

    /// Counts datagrams that the kernel did not take.
    fn lose(&mut self, lost: u64) {
        self.worker.counters.udp_send_drops.add(lost);
        self.dropped += lost;
    }

    /// A new session of a client, unless a bound or the client's address forbids it.
    fn begin(&mut self, turn: &Turn<'_>, key: Key) -> Option<u32> {
        if turn.ending || !turn.listener.permitted.permits(key.client.ip().to_canonical()) {
            return None;
        }
        let permit = self.permit(turn, key.client)?;
        let place = turn.pool.upstream.connection_key(Some(key.client.ip()));
        let opened = turn.pool.open_datagrams(&self.worker, place);
        let opened = opened.and_then(|(endpoint, socket, in_flight)| {
            let header = turn.pool.upstream.proxy_protocol.map(|_| self.proxy_header(key));
            let session = Session {
                socket,
                pool: Rc::clone(turn.pool),
                endpoint,
                started: Instant::now(),
                up: Passed::default(),
                down: Passed::default(),
                header: header.unwrap_or_default().into_boxed_slice(),
                most: (usize::MAX, usize::MAX),
                _permit: permit,
                _in_flight: in_flight,
            };
            let index = self.sessions.insert(key, turn.now, session);
            let Some((_, session)) = self.sessions.get(index) else { return Ok(index) };
            match self.readiness.add(&session.socket, u64::from(index)) {
                Ok(()) => Ok(index),
                Err(error) => {
                    self.sessions.remove(index);
                    Err(error)
                }
            }
        });
        match opened {
            Ok(index) => {
                self.worker.counters.udp_sessions.add(1);
                self.worker.counters.udp_sessions_open.add(1);
                turn.udp.counts.sessions.fetch_add(1, Relaxed);
                turn.udp.counts.open.fetch_add(1, Relaxed);
                Some(index)
            }
            Err(error) => {
                let (listener, of) = (&turn.listener.name, &turn.pool.upstream.name);
                sampled!(warn, Exchange of of, { listener, upstream = of, }, "a udp session can't be begun: {error}");
                None
            }
        }
    }

    /// A client's place among the sessions of its listener. With all of them taken, another session of this worker ends.
    fn permit(&mut self, turn: &Turn<'_>, client: SocketAddr) -> Option<Box<ConnectionPermit>> {
        let Listener { name, limits, .. } = turn.listener;
        let mut permit = ConnectionPermit::new(&self.worker.tally);
        let per_client = limits.connections_per_client;
        if per_client > 0 && permit.enter_client((name, per_client), client.ip()).is_err() {
            self.worker.counters.limit_connections_per_client.add(1);
            return None;
        }
        let key = self.worker.tally.key(&("udp", &**name));
        let enter = |permit: &mut ConnectionPermit, tally: &crate::base::tally::Tally| {
            let entry = tally.enter(key, limits.udp_sessions);
            permit.held[1] = (entry == Entry::Counted).then_some(key);
            entry != Entry::Full
        };
        if enter(&mut permit, &self.worker.tally) {
            return Some(permit);
        }
        self.worker.counters.limit_udp_sessions.add(1);
        let before = turn.now.saturating_sub(ticks(UDP_SILENCE));
        let other = self.sessions.expendable(before)?;
        self.end(turn, other, End::Displaced, None);
        enter(&mut permit, &self.worker.tally).then_some(permit)
    }

    /// What each datagram of a client begins with where its backend is to know it.
    fn proxy_header(&self, key: Key) -> Vec<u8> {
        let ip: IpAddr = key.local.unwrap_or(self.address.ip());
        let destination = SocketAddr::new(ip, self.address.port());
        encode_datagram(Addresses { source: key.client, destination })
    }

    /// A session's backend can't be reached: the client's next datagram begins another session.
    fn unreachable(&mut self, turn: &Turn<'_>, index: u32, error: &io::Error) {
        if let Some((_, session)) = self.sessions.get(index) {
            session.pool.shun(&self.worker, session.endpoint, error);
            self.end(turn, index, End::BackendLost, Some(error));
        }
    }

    /// Ends sessions that have been silent for too long.
    fn expire(&mut self, turn: &Turn<'_>) {
        let idle = ticks(turn.pool.upstream.idle_timeout);
        for _ in 0..EXPIRED {
            match self.sessions.oldest() {
                Some((index, active)) if active + idle <= turn.now => {
                    self.end(turn, index, End::Idle, None);
                }
                _ => return,
            }
        }
    }

    /// When the next session ends for its silence.
    fn next_end(&self, turn: &Turn<'_>) -> Option<Duration> {
        let (_, active) = self.sessions.oldest()?;
        let left = (active + ticks(turn.pool.upstream.idle_timeout)).saturating_sub(turn.now);
        Some(TICK.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX)))
    }

    /// Ends a session, and writes its line.
    fn end(&mut self, turn: &Turn<'_>, index: u32, end: End, failure: Option<&io::Error>) {
        let Some((key, session)) = self.sessions.remove(index) else { return };
        self.worker.counters.udp_sessions_open.sub(1);
        turn.udp.counts.open.fetch_sub(1, Relaxed);
        let Session { up, down, pool, endpoint, started, .. } = session;
        if let Some(error) = failure {
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            let kind = if refused { "connection_refused" } else { "destination_ip_unroutable" };
            self.worker.counters.failures.note(&Failed {
                upstream: &pool.upstream.name,
                endpoint: &pool.upstream.endpoints[endpoint].label,
                duration: started.elapsed(),
                ..Failed::at(&turn.listener.name, kind, error)
            });
        }
        let Some(access) = &self.worker.access else { return };
        let relayed =
            Relayed { up: up.bytes, down: down.bytes, datagrams: Some((up.datagrams, down.datagrams)), end };
        let outcome = Outcome {
            upstream: Some(&pool.upstream.name),
            endpoint: Some(&pool.upstream.endpoints[endpoint].label),
            relay: Some(relayed),
            failure: failure.map(|failure| failure as &dyn std::fmt::Display),
            ..Outcome::unrelayed(started.elapsed())
        };
        let client = ClientFacts::new(key.client.ip().to_canonical().to_string().into(), None);
        access.session(&turn.listener.name, &client, &outcome);
    }

    /// Counts what has passed since the last time.
    fn count(&mut self, of_listener: &DatagramCounts) {
        let (up, down) = std::mem::take(&mut self.passed);
        let dropped = std::mem::take(&mut self.dropped);
        let counters = &self.worker.counters;
        let counts = [
            (up.datagrams, Some(&counters.udp_datagrams_up), &of_listener.datagrams_up),
            (up.bytes, Some(&counters.udp_bytes_up), &of_listener.bytes_up),
            (down.datagrams, Some(&counters.udp_datagrams_down), &of_listener.datagrams_down),
            (down.bytes, Some(&counters.udp_bytes_down), &of_listener.bytes_down),
            // By their reasons they are counted where they are dropped.
            (dropped, None, &of_listener.dropped),
        ];
        for (more, of_worker, of_listener) in counts.into_iter().filter(|(more, ..)| *more > 0) {
            if let Some(of_worker) = of_worker {
                of_worker.add(more);
            }
            of_listener.fetch_add(more, Relaxed);
        }
    }
}

/// Waits until any socket is ready.
async fn waiting(readiness: &Rc<Readiness>) -> io::Result<()> {
    readiness.ready().await
}

/// Counts what became of a message. Returns the error that says that its peer can't be reached.
fn settle(report: &Report, most: &mut usize, lost: &mut u64, sent: &mut Passed) -> Option<io::Error> {
    let (datagrams, bytes) = (report.count as u64, report.bytes as u64);
    match &report.sent {
        Sent::Whole => {
            sent.datagrams += datagrams;
            sent.bytes += bytes;
        }
        Sent::Apart { size, lost: some } => {
            *most = (*most).min(size.saturating_sub(1));
            *lost += *some as u64;
            sent.datagrams += datagrams.saturating_sub(*some as u64);
            sent.bytes += bytes.saturating_sub((some * size) as u64);
        }
        Sent::Failed(error) if udp::is_unreachable(error) => {
            return Some(io::Error::from(error.kind()));
        }
        Sent::Failed(_) => *lost += datagrams,
    }
    None
}
