//! A connection to a backend that carries many exchanges at a time (RFC 9113), and the part of it that one exchange has.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::certificate_verdict::CertificateVerdict;
use super::circuit::CountedConnection;
use super::connection::{ConnectionFacts, UpstreamConnection};
use super::load::InFlight;
use crate::base::counters::Counters;
use crate::base::limits::{HTTP2_PING_AFTER, HTTP2_PING_PATIENCE, HTTP2_SETTINGS_TIMEOUT};
use crate::base::sample::sampled;
use crate::http2::{Config, Connection, ErrorCode, FieldSource, RequestLine, SendError};
use crate::io::deadline::TICK;
use crate::io::{self, Buffer, PeerHandle, Wheel, runtime};
use crate::proxy::client_binding::ClientId;
use crate::proxy::http2::{Serve, Session, SessionEnd, Stream, Timeouts, drive};
use crate::proxy::identity_connections::TrackedConnection;
use crate::proxy::worker::Worker;

thread_local! {
    /// What each connection allows its backend.
    static CONFIG: Arc<Config> = Arc::new(Config::default());
}

/// A connection as its pool and its exchanges share it. Its task alone reads and writes.
#[derive(Debug)]
pub(crate) struct Http2Connection {
    session: Rc<Session>,
    peer: PeerHandle,
    wheel: Wheel,
    counters: Arc<Counters>,
    /// Its entry among the connections made with a client identity.
    hold: RefCell<Option<TrackedConnection>>,
    /// Its count among those of the upstream and the endpoint, where these are bounded.
    counted: RefCell<CountedConnection>,
    /// The client connection that it is for; `None`: any.
    client: Option<ClientId>,
    /// The name that was verified; `None` on plain connections.
    server_name: Option<ServerName<'static>>,
    /// The serial of the identity that it was made with; 0 without one.
    identity: u64,
    /// What the backend makes of our certificate.
    verdict: Cell<CertificateVerdict>,
    born: u64,
    /// The tick since which it carries no exchange.
    since: Cell<u64>,
    /// Exchanges that have a part of it, and those of them that have not opened their stream.
    lent: Cell<usize>,
    unopened: Cell<usize>,
    /// A response has come by it.
    answered: Cell<bool>,
    /// It is to end once it carries no exchange.
    retiring: Cell<bool>,
}

impl Http2Connection {
    /// Takes over a connection just made, and runs its task.
    pub(crate) fn start(
        worker: &Worker,
        at: Rc<dyn Keeper>,
        (upstream, idle): (&str, Duration),
        made: UpstreamConnection,
    ) -> Rc<Self> {
        let UpstreamConnection {
            hold,
            stream,
            early,
            client,
            server_name,
            identity,
            verdict,
            _counted,
            born,
            ..
        } = made;
        let codec = Connection::client(CONFIG.with(Arc::clone));
        let connection = Rc::new(Self {
            session: Session::new(codec, &worker.wheel, &worker.counters),
            peer: stream.reader.peer(),
            wheel: worker.wheel.clone(),
            counters: Arc::clone(&worker.counters),
            hold: RefCell::new(hold),
            counted: RefCell::new(_counted),
            client,
            server_name,
            identity,
            verdict: Cell::new(verdict),
            born,
            since: Cell::new(born),
            lent: Cell::new(0),
            unopened: Cell::new(0),
            answered: Cell::new(false),
            retiring: Cell::new(false),
        });
        let task = run(Rc::clone(&connection), at, upstream.to_owned(), idle, stream, early);
        runtime::spawn(task);
        connection
    }

    /// Exchanges that it carries.
    pub(crate) fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Streams that it may still be asked for. Until the backend's SETTINGS arrive, that is one: a backend may permit no more.
    pub(crate) fn room(&self) -> usize {
        if self.retiring.get() {
            return 0;
        }
        let room = self.session.capacity().saturating_sub(self.unopened.get());
        if self.session.is_settled() { room } else { room.min(usize::from(self.lent.get() == 0)) }
    }

    /// Waits until it is known how many streams it permits, or until its end.
    pub(crate) async fn settled(&self) {
        self.session.settled().await;
    }

    /// Whether it takes no new streams, for good.
    pub(crate) fn is_ending(&self) -> bool {
        self.retiring.get() || self.session.is_ending()
    }

    /// Whether it was made for this name, and this client.
    pub(crate) fn is_for(&self, name: Option<&ServerName<'static>>, client: Option<ClientId>) -> bool {
        self.server_name.as_ref() == name && self.client == client
    }

    pub(crate) fn client(&self) -> Option<ClientId> {
        self.client
    }

    /// The serial of the client identity that it was made with; 0 without one.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    /// The tick at which it was made, and the one since which it carries no exchange, if it carries none.
    pub(crate) fn ages(&self) -> (u64, Option<u64>) {
        (self.born, (self.lent.get() == 0).then(|| self.since.get()))
    }

    /// Whether its socket is known to have ended, although its task has not noticed.
    pub(crate) fn has_left(&self) -> bool {
        self.lent.get() == 0 && self.peer.has_left()
    }

    /// Ends it once it carries no exchange: at once if it carries none.
    pub(crate) fn retire(&self) {
        self.retiring.set(true);
        if self.lent.get() == 0 {
            drop(self.counted.take());
            self.session.shut_down();
        }
    }

    /// It carries no exchange at this tick: its identity was used last when the last one ended.
    pub(crate) fn rests(&self, now: u64) {
        let idle = u32::try_from(now.saturating_sub(self.since.get())).unwrap_or(u32::MAX);
        if let Some(hold) = self.hold.borrow_mut().as_mut().filter(|_| self.lent.get() == 0) {
            hold.rests(TICK * idle);
        }
    }

    /// What is known of it, for `endpoint` of a pool.
    pub(crate) fn facts(&self, endpoint: usize) -> ConnectionFacts<'_> {
        ConnectionFacts {
            endpoint,
            server_name: self.server_name.as_ref(),
            identity: self.identity,
            verdict: self.verdict.get(),
            alert: self.session.alert(),
            renegotiates: false,
        }
    }

    /// A response has come. True: a client certificate was accepted by that.
    pub(crate) fn answered(&self) -> bool {
        self.answered.set(true);
        let mut verdict = self.verdict.get();
        let accepted = verdict.settle();
        self.verdict.set(verdict);
        accepted
    }

    /// A part of it for one exchange. There is [room](Self::room).
    pub(crate) fn lend(
        self: &Rc<Self>,
        at: Rc<dyn Keeper>,
        endpoint: usize,
        scheme: &'static str,
        in_flight: InFlight,
    ) -> LentStream {
        if self.lent.replace(self.lent.get() + 1) == 0
            && let Some(hold) = &mut *self.hold.borrow_mut()
        {
            hold.wakes();
        }
        self.unopened.set(self.unopened.get() + 1);
        self.counters.backend_http2_streams.add(1);
        LentStream {
            connection: Rc::clone(self),
            at,
            endpoint,
            scheme,
            reused: self.answered.get(),
            stream: OnceCell::new(),
            accept: OnceCell::new(),
            _in_flight: in_flight,
        }
    }

    fn give_back(&self, at: &dyn Keeper) {
        self.lent.set(self.lent.get() - 1);
        if self.lent.get() > 0 {
            return;
        }
        self.since.set(self.wheel.now());
        if self.retiring.get() || at.is_full() {
            self.retire();
        }
    }
}

/// Drives a connection to its end.
async fn run(
    connection: Rc<Http2Connection>,
    at: Rc<dyn Keeper>,
    upstream: String,
    idle: Duration,
    mut stream: io::Stream,
    early: Option<Buffer>,
) {
    let counters = Arc::clone(&connection.counters);
    counters.backend_http2_connections.add(1);
    counters.backend_http2_connections_open.add(1);
    let deadline = connection.wheel.deadline();
    let mut serve = Backend { idle };
    let ended = {
        let driving = drive(&connection.session, &mut stream, early.map(Box::new), &deadline, &mut serve);
        let mut driving = pin!(driving);
        // A panic ends its own connection.
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| driving.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await
    };
    at.ended(&connection);
    drop((connection.hold.take(), connection.counted.take()));
    counters.backend_http2_connections_open.sub(1);
    match ended {
        Ok(SessionEnd::Violation(violation)) => {
            counters.http2_connection_errors.add(1);
            sampled!(warn, Exchange of &upstream, { upstream = upstream, }, "HTTP/2: the backend broke the rules, so its connection was closed: {violation}");
        }
        Ok(SessionEnd::Overdue(overdue)) => {
            counters.timeouts.add(1);
            sampled!(warn, Exchange of &upstream, { upstream = upstream, }, "HTTP/2: the backend was silent, so its connection was closed: {overdue:?}");
        }
        Ok(_) => {}
        Err(_) => {
            counters.panics.add(1);
            connection.session.close(ErrorCode::INTERNAL_ERROR);
            sampled!(error, Panic of "connections", {}, "the task of a backend's connection panicked and was closed");
        }
    }
}

/// The owner's side of the driver.
struct Backend {
    /// How long it is kept without a stream.
    idle: Duration,
}

impl Serve for Backend {
    fn begin_turn(&mut self, _: &Context<'_>) {}

    fn end_turn(&mut self) {}

    fn request(&mut self, stream: Stream, _: &Context<'_>) {
        // Servers open no streams: the codec refuses them.
        drop(stream);
    }

    fn run(&mut self) {}

    fn is_woken(&self) -> bool {
        false
    }

    fn running(&self) -> usize {
        0
    }

    fn is_ending(&self) -> bool {
        false
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts {
            head: HTTP2_SETTINGS_TIMEOUT,
            write: self.idle,
            idle: self.idle,
            ping: Some((HTTP2_PING_AFTER, HTTP2_PING_PATIENCE)),
        }
    }

    fn rest(&mut self) {}
}

/// One exchange's part of a connection: the right to a stream, and the stream once it is open. Dropped before its end, the
/// stream is reset; the connection carries its others on.
#[derive(Debug)]
pub struct LentStream {
    connection: Rc<Http2Connection>,
    at: Rc<dyn Keeper>,
    endpoint: usize,
    scheme: &'static str,
    reused: bool,
    stream: OnceCell<Stream>,
    /// Of a request for WebSocket: what its response has to say to an HTTP/1.1 client.
    accept: OnceCell<Box<str>>,
    _in_flight: InFlight,
}

impl LentStream {
    /// Waits until the backend's SETTINGS are known: they say which protocols it has (RFC 8441 §3).
    pub(crate) async fn settings(&self) {
        self.connection.session.settled().await;
    }

    /// The stream is one for WebSocket: the response of a HTTP/1.1 server would have this Sec-WebSocket-Accept.
    pub(crate) fn set_accept(&self, accept: Box<str>) {
        let _ = self.accept.set(accept);
    }

    /// See [`set_accept`](Self::set_accept).
    pub(crate) fn accept(&self) -> Option<&str> {
        self.accept.get().map(|accept| &**accept)
    }

    /// The connection's socket.
    pub(crate) fn peer(&self) -> &PeerHandle {
        &self.connection.peer
    }

    /// Opens the stream with a request's head.
    ///
    /// # Errors
    /// The connection takes no stream any more, or not this request. Nothing was sent.
    pub(crate) fn open<'a>(
        &self,
        line: &RequestLine<'_>,
        fields: impl FieldSource<'a>,
        end_stream: bool,
    ) -> Result<&Stream, SendError> {
        let line = RequestLine { scheme: Some(self.scheme), ..*line };
        let stream = self.connection.session.open(&line, fields, end_stream)?;
        self.connection.unopened.set(self.connection.unopened.get() - 1);
        Ok(self.stream.get_or_init(|| stream))
    }

    /// The stream, once it is open.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        self.stream.get()
    }

    /// The connection that carries it.
    pub(crate) fn connection(&self) -> &Http2Connection {
        &self.connection
    }

    /// The endpoint of the pool, by its index.
    pub(crate) fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// Whether a response had come by the connection before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// What is known of the connection.
    pub(crate) fn facts(&self) -> ConnectionFacts<'_> {
        self.connection.facts(self.endpoint)
    }
}

/// What keeps connections.
pub(crate) trait Keeper: fmt::Debug {
    /// Whether it has more connections without an exchange than it keeps.
    fn is_full(&self) -> bool;
    /// A connection has ended.
    fn ended(&self, connection: &Rc<Http2Connection>);
}

impl Drop for LentStream {
    fn drop(&mut self) {
        match self.stream.take() {
            Some(stream) => drop(stream),
            None => self.connection.unopened.set(self.connection.unopened.get() - 1),
        }
        self.connection.give_back(&*self.at);
    }
}
