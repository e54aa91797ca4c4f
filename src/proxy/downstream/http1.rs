//! HTTP/1.1: one client connection, exchange after exchange.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::base::limits::Limits;
use crate::http1::RequestError;
use crate::io::buffer::{self, Use};
use crate::io::{Buffer, Deadline, Fired, ReadCancel, Stream, StreamError};
use crate::proxy::client::ClientFacts;
use crate::proxy::downstream::accepted::Accepted;
use crate::proxy::downstream::http2::{self, Preface};
use crate::proxy::downstream::listener::ListenerSocket;
use crate::proxy::downstream::refusal::{named, refusal};
use crate::proxy::error_pages::{ErrorContext, ErrorFormat};
use crate::proxy::exchange::client_stream::{CallEnd, ClientStream, EncodedReply, ResponseWriter};
use crate::proxy::exchange::found::Held;
use crate::proxy::exchange::next::{IsLast, Next};
use crate::proxy::exchange::route::{self, Decision, Place, Refused, Understood};
use crate::proxy::exchange::state::{Exchange, within};
use crate::proxy::failure::Failure;
use crate::proxy::idle::{self, Woken};
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// A client connection of an HTTP listener. There is one for each idle connection: it is kept small.
#[derive(Debug)]
pub(crate) struct Connection {
    worker: Rc<Worker>,
    listening: Rc<ListenerSocket>,
    stream: Stream,
    deadline: Deadline,
    facts: ClientFacts,
    /// Requests so far.
    served: u64,
}

/// How a burst of requests ended.
enum Burst {
    /// What the connection does next.
    Ended(Next),
    /// It is an HTTP/2 connection, which begins with these bytes.
    Http2(Box<Buffer>),
}

impl From<Next> for Burst {
    fn from(next: Next) -> Self {
        Self::Ended(next)
    }
}

/// What the first bytes of a burst are.
enum Headed {
    /// A request.
    Decided,
    /// Nothing: the client left.
    Left,
    /// The preface of HTTP/2.
    Http2,
}

/// Serves an HTTP connection until it ends.
///
/// A block, not an `async fn`, whose future would hold its argument twice.
pub(crate) fn serve(client: Box<Accepted>) -> impl Future<Output = ()> {
    let (mut connection, mut early) = Connection::new(client);
    async move {
        loop {
            // Boxed for its size: an idle connection must not hold the state of a busy one.
            let next = match Box::pin(connection.burst(early.take())).await {
                Burst::Ended(next) => next,
                Burst::Http2(early) => {
                    let Connection { worker, listening, stream, deadline, facts, .. } = *connection;
                    let client = http2::Client { worker, listening, facts };
                    return Box::pin(http2::serve(client, stream, deadline, Some(early))).await;
                }
            };
            match next {
                Next::Idle => {}
                Next::Close => return Box::pin(connection.close()).await,
                Next::Linger => {
                    connection.facts.leave();
                    return Box::pin(idle::linger(&mut connection.stream, &connection.deadline)).await;
                }
                Next::Abort => return,
            }
            if !connection.idle().await {
                return Box::pin(connection.close()).await;
            }
        }
    }
}

/// Ends a call of gRPC-Web that failed within its response, and the connection with it.
async fn end_call(mut client: ClientStream<'_>, end: &CallEnd, deadline: &Deadline) -> Next {
    deadline.set(idle::LINGER);
    match deadline.race(pin!(client.end_call(end))).await {
        Ok(Ok(())) => Next::Linger,
        _ => Next::Abort,
    }
}

impl Connection {
    /// A connection that has not sent a request yet, and what arrived behind its handshake. Takes the box, so that
    /// it is freed here: the caller lives on.
    #[allow(clippy::boxed_local)]
    fn new(client: Box<Accepted>) -> (Box<Self>, Option<Box<Buffer>>) {
        let Accepted { worker, listening, stream, early, deadline, origin, tls, .. } = *client;
        let facts = ClientFacts::new(origin.peer.name(), tls);
        if origin.said.matters() {
            facts.own(&worker.clients, origin.said, &stream.reader.peer());
        }
        (Box::new(Self { worker, listening, stream, deadline, facts, served: 0 }), early.map(Box::new))
    }

    /// Waits for a silent client, holding no buffer. False: it sends no further request.
    async fn idle(&mut self) -> bool {
        loop {
            // A request that has arrived is answered, whatever ended the wait for it.
            let over = self.listening.is_last_of(&self.worker, &self.facts);
            if over && !self.stream.reader.peer().has_arrived() {
                return false;
            }
            self.deadline.set(self.patience().saturating_sub(idle::HOT));
            self.deadline.interruptible(true);
            let woken = self.deadline.race(pin!(self.stream.reader.readable())).await;
            self.deadline.interruptible(false);
            match woken {
                Ok(readable) => return readable.is_ok() && self.has_memory(),
                // It may have been for others.
                Err(Fired::Interrupted) => {}
                // Its client may have sent a request at the same moment.
                Err(Fired::Displaced) if self.stream.reader.peer().has_arrived() => {}
                Err(Fired::Displaced) => {
                    self.worker.counters.connections_displaced.add(1);
                    return false;
                }
                Err(Fired::Expired) => {
                    self.worker.counters.limit_idle_timeout.add(1);
                    return false;
                }
            }
        }
    }

    /// How long it may be silent.
    fn patience(&self) -> Duration {
        let (view, listener) = self.listening.enter(&self.worker);
        view.config.listeners[listener].limits.idle_timeout
    }

    /// Whether there is a buffer to read its request into.
    fn has_memory(&self) -> bool {
        let full = buffer::in_use() == Use::Full;
        self.worker.counters.limit_buffer_memory.add(u64::from(full));
        !full
    }

    /// Serves requests for as long as they keep coming.
    async fn burst(&mut self, early: Option<Box<Buffer>>) -> Burst {
        let mut buffer = early.map_or_else(Buffer::small, |early| *early);
        let mut off = ReadCancel::default();
        loop {
            if buffer.is_empty() {
                // Pinned where they are made: an await moves a large future, and what is moved is copied.
                buffer = match pin!(self.hot(&mut off, buffer)).await {
                    Ok(buffer) => buffer,
                    Err(next) => return next.into(),
                };
            }
            let (view, listener) = self.listening.enter(&self.worker);
            let limits = &view.config.listeners[listener].limits;
            let mut place = None;
            let headed = pin!(self.head(&view, listener, &mut buffer, &mut place)).await;
            match headed {
                Ok(Headed::Decided) => {}
                Ok(Headed::Left) => return Next::Close.into(),
                Ok(Headed::Http2) => return Burst::Http2(Box::new(buffer)),
                Err(refused) => return Box::pin(self.turn_away(*refused, &view, listener)).await.into(),
            }
            let order = match place {
                Some(Decision::Forward(ref mut order)) => order,
                Some(Decision::Answer(mut answer)) => {
                    answer.keep_alive &= !self.is_last(limits);
                    let is_last =
                        |ahead: &dyn Fn() -> bool| self.listening.is_last(&self.worker, &self.facts, ahead);
                    let at = (&*self.worker, &is_last as IsLast<'_>, &self.facts, (&*view, listener));
                    let mut client = ClientStream::http1(&mut self.stream, answer.envelope);
                    match pin!(answer.send(at, &mut client, &self.deadline, limits, buffer)).await {
                        (Next::Idle, rest) => buffer = rest,
                        (next, _) => return next.into(),
                    }
                    continue;
                }
                None => return Next::Close.into(),
            };
            order.envelope.keep_alive &= !self.is_last(limits);
            let seen = (&*view, listener);
            let is_last = |ahead: &dyn Fn() -> bool| self.listening.is_last(&self.worker, &self.facts, ahead);
            let envelope = order.envelope;
            let mut client = ClientStream::http1(&mut self.stream, envelope);
            let of = (client.peer(), &self.facts);
            let mut exchange = Exchange::new(&self.worker, &is_last, seen, of, order);
            let time = exchange.time();
            let outcome = {
                let run = pin!(exchange.run(&mut client, &self.deadline, buffer));
                within(&self.worker, time, run).await
            };
            let reply = match &outcome {
                Err(failure) if !exchange.is_answered() => {
                    let context = exchange.error_context();
                    let (_, writer) = client.split();
                    let listener = &view.config.listeners[listener];
                    refusal(&writer, failure, context, listener, exchange.response_rules())
                }
                _ => None,
            };
            let call_end = outcome.as_ref().err().and_then(|failure| exchange.call_end(failure));
            exchange.log(outcome.as_ref().err(), reply.as_ref().map_or(0, EncodedReply::len));
            if let Some(end) = call_end {
                return Box::pin(end_call(client, &end, &self.deadline)).await.into();
            }
            match outcome {
                Ok((Next::Idle, rest)) => buffer = rest,
                Ok((next, _)) => return next.into(),
                Err(_) if exchange.is_answered() => {
                    self.worker.counters.exchanges_aborted.add(1);
                    if exchange.is_unframed() {
                        client.reset();
                    }
                    return Next::Abort.into();
                }
                Err(failure) => return self.refuse(&failure, reply).await.into(),
            }
        }
    }

    /// Counts a request. True: its connection carries no more.
    fn is_last(&mut self, limits: &Limits) -> bool {
        self.served += 1;
        let last = self.served == limits.requests_per_connection;
        self.worker.counters.limit_requests_per_connection.add(u64::from(last));
        last
    }

    async fn hot(&mut self, off: &mut ReadCancel, buffer: Buffer) -> Result<Buffer, Next> {
        // Not to be interrupted: a client that has just connected, or whose last response had no `Connection: close`, may have a
        // request on its way.
        let woken = pin!(idle::hot(&mut self.stream.reader, &self.deadline, off, buffer)).await;
        match woken {
            Woken::Data(buffer) => Ok(buffer),
            Woken::Lull => Err(Next::Idle),
            Woken::End | Woken::Interrupted => Err(Next::Close),
            Woken::Failed => Err(Next::Abort),
        }
    }

    /// Reads until the head at the buffer's front is whole, and understands it.
    /// A failure comes with whether the request is HEAD: its reply has no body.
    async fn head(
        &mut self,
        view: &View,
        listener: usize,
        buffer: &mut Buffer,
        place: &mut Place,
    ) -> Result<Headed, Box<Refused>> {
        let mut waiting = false;
        loop {
            let of = &view.config.listeners[listener];
            let preface = match &of.http.http2 {
                Some(_) if self.served == 0 => Preface::of(buffer.data()),
                _ => Preface::No,
            };
            if preface == Preface::Http2 {
                return Ok(Headed::Http2);
            }
            let understood = ClientStream::read_head(buffer.data(), &of.limits, |head, envelope| {
                route::understand(view, listener, &self.facts, &self.worker, (head, envelope), place)
            });
            let understood =
                understood.map_err(|error| Refused::unknown(Failure::Request(error), of, &self.facts));
            match understood {
                // What may become an HTTP/2 connection is no request yet.
                _ if preface == Preface::Unclear => {}
                Ok(None) => {}
                Ok(Some(Ok(understood))) => {
                    self.worker.counters.requests.add(1);
                    return match understood {
                        Understood::Decided => Ok(Headed::Decided),
                        Understood::Wait(held) => {
                            Box::pin(self.settle((view, listener), buffer, held, place)).await
                        }
                    };
                }
                Ok(Some(Err(mut refused))) | Err(mut refused) => {
                    self.worker.counters.requests_refused.add(1);
                    refused.context.get_or_insert_with(|| {
                        named(self.context(view, listener, buffer.data()), &self.worker)
                    });
                    return Err(refused);
                }
            }
            // The read takes the buffer, and keeps it where it does not end in time.
            let context = self.context(view, listener, buffer.data());
            let refused = |failure| {
                let unknown = Refused::unknown(failure, of, &self.facts);
                Box::new(Refused { context: Some(named(context, &self.worker)), ..*unknown })
            };
            if !waiting {
                // Once for the whole head: a byte now and then does not move it.
                self.deadline.set(of.limits.head_timeout);
                waiting = true;
            }
            let spent = std::mem::replace(buffer, Buffer::small());
            let filling = pin!(self.stream.reader.fill(spent));
            let (result, filled) = match self.deadline.race(filling).await {
                Ok(filled) => filled,
                Err(_) => return Err(refused(Failure::HeadTimeout)),
            };
            *buffer = filled;
            match result {
                Ok(0) => return Ok(Headed::Left),
                Ok(_) => {}
                Err(StreamError::TooLarge) => {
                    return Err(refused(Failure::Request(RequestError::HeadTooLong)));
                }
                Err(_) => return Err(refused(Failure::ClientGone)),
            }
        }
    }

    /// Waits for what must be found out about the request at the buffer's front, and decides on it.
    async fn settle(
        &self,
        (view, listener): (&View, usize),
        buffer: &Buffer,
        mut held: Box<Held>,
        place: &mut Place,
    ) -> Result<Headed, Box<Refused>> {
        let of = &view.config.listeners[listener];
        loop {
            let client = StreamPeer::H1(self.stream.reader.peer());
            let Some(resumed) = held.run((view, listener), &self.worker, &client).await else {
                return Ok(Headed::Left);
            };
            let understood = ClientStream::read_head(buffer.data(), &of.limits, |head, _| {
                route::resume(view, listener, &self.facts, &self.worker, (head, resumed), place)
            });
            match understood {
                Ok(Some(Ok(Understood::Decided))) => return Ok(Headed::Decided),
                Ok(Some(Ok(Understood::Wait(next)))) => held = next,
                Ok(Some(Err(refused))) => {
                    self.worker.counters.requests_refused.add(1);
                    return Err(refused);
                }
                // The bytes are those that were understood before.
                Ok(None) | Err(_) => return Err(Refused::unknown(Failure::ClientGone, of, &self.facts)),
            }
        }
    }

    /// The form of an error response, by the bytes of the client's head, which may be malformed.
    fn context(&self, view: &View, listener: usize, head: &[u8]) -> ErrorContext {
        let pages = view.config.listeners[listener].pages.as_ref();
        let format = pages.map(|_| ErrorFormat::in_bytes(head));
        ErrorContext { head_only: ClientStream::is_head(head), format, grpc: None, route: None }
    }

    /// Sends the client the reason why its request is not served, and ends the connection.
    async fn refuse(&mut self, failure: &Failure, reply: Option<EncodedReply>) -> Next {
        if failure.is_timeout() {
            self.worker.counters.timeouts.add(1);
        }
        let (Some(status), Some(reply)) = (failure.status(), reply) else {
            return Next::Abort;
        };
        self.worker.count_status(status);
        self.deadline.set(idle::LINGER);
        let mut writer = ResponseWriter::http1(&mut self.stream);
        match self.deadline.race(pin!(writer.write_local(&reply))).await {
            // To read on would take a buffer.
            Ok(Ok(())) if matches!(failure, Failure::MemoryShort) => Next::Close,
            Ok(Ok(())) => Next::Linger,
            _ => Next::Abort,
        }
    }

    /// The same for a request of which this much is known.
    async fn turn_away(&mut self, refused: Refused, view: &View, listener: usize) -> Next {
        let writer = ResponseWriter::http1(&mut self.stream);
        let (failure, reply) = refused.reply((&self.worker, view, listener), &writer, &self.facts);
        self.refuse(&failure, reply).await
    }

    /// Ends our side. A client that does not read can't hold it up.
    async fn close(&mut self) {
        self.facts.leave();
        if !self.stream.reader.peer().is_drained() && buffer::in_use() < Use::Full {
            // To close on bytes that were not read resets the connection: what is still on its way out would be lost.
            return Box::pin(idle::linger(&mut self.stream, &self.deadline)).await;
        }
        self.deadline.set(idle::LINGER);
        let _ = self.deadline.race(pin!(self.stream.shutdown())).await;
    }
}
