//! HTTP/2: one client connection, whose requests are served beside each other in its task.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::base::counters::{Count, Counters};
use crate::http::{Method, grpc};
use crate::http1::RequestError;
use crate::http2::{Connection, ErrorCode, Flood, Violation};
use crate::io::{Buffer, Deadline, FutureSet, Jobs, PeerHandle, Stream};
use crate::proxy::client::ClientFacts;
use crate::proxy::downstream::accepted::Accepted;
use crate::proxy::downstream::listener::ListenerSocket;
use crate::proxy::downstream::refusal::{named, refusal};
use crate::proxy::error_pages::{ErrorContext, ErrorFormat};
use crate::proxy::exchange::client_stream::{CallEnd, ClientStream, EncodedReply, ResponseWriter};
use crate::proxy::exchange::found::Held;
use crate::proxy::exchange::local_reply::LocalReply;
use crate::proxy::exchange::next::{IsLast, Next};
use crate::proxy::exchange::route::{self, Decision, Forward, Place, Refused, Understood};
use crate::proxy::exchange::state::{Exchange, within};
use crate::proxy::failure::Failure;
use crate::proxy::http2::{self, Head, Overdue, Serve, Session, SessionEnd, Timeouts};
use crate::proxy::idle;
use crate::proxy::snapshot::Listener;
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// What the requests of a connection share.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listening: Rc<ListenerSocket>,
    pub(crate) facts: ClientFacts,
}

/// What the first bytes of a connection begin (RFC 9113 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preface {
    /// An HTTP/2 connection.
    Http2,
    /// That, or something else: more must be read.
    Unclear,
    /// Something else.
    No,
}

impl Preface {
    /// Judges the bytes that were received so far.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        const START: &[u8] = b"PRI * HTTP/2.0\r\n";
        let known = bytes.len().min(START.len());
        match bytes[..known] == START[..known] {
            true if known == START.len() => Self::Http2,
            true if known > 0 => Self::Unclear,
            _ => Self::No,
        }
    }
}

/// Serves a connection that was negotiated to be HTTP/2, until it ends.
pub(crate) fn accept(client: Box<Accepted>) -> impl Future<Output = ()> {
    let Accepted { worker, listening, stream, early, deadline, origin, tls, .. } = *client;
    let facts = ClientFacts::new(origin.peer.name(), tls);
    if origin.said.matters() {
        facts.own(&worker.clients, origin.said, &stream.reader.peer());
    }
    serve(Client { worker, listening, facts }, stream, deadline, early.map(Box::new))
}

/// Serves a connection until it ends. `early` is what was received of it.
pub(crate) async fn serve(
    client: Client,
    mut stream: Stream,
    deadline: Deadline,
    early: Option<Box<Buffer>>,
) {
    let client = Rc::new(client);
    let peer = stream.reader.peer();
    let (view, listener) = client.listening.enter(&client.worker);
    let Some(config) = view.config.listeners[listener].http.http2.clone() else { return };
    let most = view.config.listeners[listener].limits.requests_per_connection;
    drop(view);
    let counters = Rc::clone(&client.worker);
    let counters = &counters.counters;
    counters.http2_connections.add(1);
    let _open = Open::new(counters);
    let session = Session::new(Connection::server(config), &client.worker.wheel, counters);
    let exchanges = FutureSet::new(|jobs| serve_requests(Rc::clone(&client), peer.clone(), jobs));
    let mut requests = Requests { client: &client, exchanges, served: 0, most };
    http2::drive(&session, &mut stream, early, &deadline, &mut requests).await;
    drop(requests);
    if let Some(client) = Rc::into_inner(client) {
        let Client { mut facts, .. } = client;
        facts.leave();
    }
}

/// A connection among those that are open.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.http2_connections_open.add(1);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.http2_connections_open.sub(1);
    }
}

/// Counts how a connection ended.
fn count(counters: &Counters, end: SessionEnd) {
    match end {
        SessionEnd::Violation(violation) => {
            counters.http2_connection_errors.add(1);
            if let Some(count) = flood_count(counters, violation) {
                count.add(1);
            }
            tracing::debug!("a client's HTTP/2 connection ended: {violation}");
        }
        SessionEnd::Overdue(overdue) => {
            counters.timeouts.add(1);
            match overdue {
                Overdue::Head | Overdue::Settings => counters.limit_head_timeout.add(1),
                Overdue::Write | Overdue::Ping => counters.limit_body_timeout.add(1),
            }
        }
        SessionEnd::Finished | SessionEnd::Closed | SessionEnd::Lost => {}
    }
}

fn flood_count(counters: &Counters, violation: Violation) -> Option<&Count> {
    let Violation::Flood(flood) = violation else { return None };
    Some(match flood {
        Flood::ResetsReceived => &counters.http2_floods_resets,
        Flood::ResetsProvoked => &counters.http2_floods_provoked_resets,
        Flood::StreamsRefused => &counters.http2_floods_refused_streams,
        Flood::Settings => &counters.http2_floods_settings,
        Flood::Pings => &counters.http2_floods_pings,
        Flood::EmptyData => &counters.http2_floods_empty_data,
        Flood::WindowUpdates => &counters.http2_floods_window_updates,
        Flood::Priorities => &counters.http2_floods_priorities,
        Flood::ClosedStreams => &counters.http2_floods_closed_streams,
        Flood::UnknownFrames => &counters.http2_floods_unknown_frames,
        Flood::HeadsTooLarge => &counters.http2_floods_large_heads,
        Flood::Table => &counters.http2_floods_table,
        Flood::Continuations | Flood::HeaderBlock => &counters.http2_floods_header_blocks,
    })
}

/// The requests of a connection that are under way.
struct Requests<'a, F, M> {
    client: &'a Client,
    exchanges: FutureSet<http2::Stream, F, M>,
    /// Requests so far, and after how many the connection ends; 0: it does not.
    served: u64,
    most: u64,
}

impl<F, M> Serve for Requests<'_, F, M>
where
    F: Future<Output = Infallible>,
    M: Fn(Jobs<http2::Stream>) -> F,
{
    fn begin_turn(&mut self, cx: &Context<'_>) {
        self.exchanges.begin_turn(cx);
    }

    fn end_turn(&mut self) {
        self.exchanges.end_turn();
    }

    fn request(&mut self, stream: http2::Stream, cx: &Context<'_>) {
        self.served += 1;
        self.exchanges.insert(stream, cx);
    }

    fn run(&mut self) {
        self.exchanges.poll_woken();
    }

    fn is_woken(&self) -> bool {
        self.exchanges.is_woken()
    }

    fn running(&self) -> usize {
        self.exchanges.len()
    }

    fn is_ending(&self) -> bool {
        let Client { worker, listening, facts } = self.client;
        listening.is_last_of(worker, facts) || self.most > 0 && self.served >= self.most
    }

    fn timeouts(&self) -> Timeouts {
        let (view, listener) = self.client.listening.enter(&self.client.worker);
        let limits = &view.config.listeners[listener].limits;
        Timeouts {
            head: limits.head_timeout,
            write: limits.body_timeout,
            idle: limits.idle_timeout,
            ping: None,
        }
    }

    fn rest(&mut self) {
        self.exchanges.shrink();
    }

    fn ended(&mut self, end: SessionEnd) {
        count(&self.client.worker.counters, end);
    }
}

/// Serves one request after the other.
async fn serve_requests(client: Rc<Client>, peer: PeerHandle, jobs: Jobs<http2::Stream>) -> Infallible {
    loop {
        let stream = jobs.next().await;
        pin!(serve_request(&client, &peer, stream)).await;
    }
}

/// Serves one request, from its head to the end of its response.
async fn serve_request(client: &Client, peer: &PeerHandle, stream: http2::Stream) {
    let Some(head) = stream.take_head() else { return };
    if stream.is_ended() {
        // It was reset in the segment that it came in.
        client.worker.counters.downstream_disconnects.add(1);
        return http2::Stream::give_fields(head.fields);
    }
    // Until its response is whole, a stream that ends must not seem to.
    stream.set_code(ErrorCode::INTERNAL_ERROR);
    let (view, listener) = client.listening.enter(&client.worker);
    let request = Request { client, peer, view: &view, listener, stream: &stream };
    let mut place = None;
    let refused = match request.decide(&head, &mut place) {
        Ok(Understood::Decided) => None,
        Ok(Understood::Wait(held)) => Box::pin(request.settle(&head, held, &mut place)).await,
        Err(refused) => Some(refused),
    };
    http2::Stream::give_fields(head.fields);
    if let Some(refused) = refused {
        return Box::pin(request.refuse(*refused)).await;
    }
    match place {
        Some(Decision::Forward(mut order)) => pin!(request.forward(&mut order)).await,
        Some(Decision::Answer(reply)) => pin!(request.answer(reply)).await,
        // Its stream has ended while it waited.
        None => {}
    }
}

/// One request and what it is served with.
struct Request<'a> {
    client: &'a Client,
    peer: &'a PeerHandle,
    view: &'a View,
    listener: usize,
    stream: &'a http2::Stream,
}

impl Request<'_> {
    fn listener(&self) -> &Listener {
        &self.view.config.listeners[self.listener]
    }

    /// What becomes of it.
    fn decide(&self, head: &Head, place: &mut Place) -> Result<Understood, Box<Refused>> {
        let (of, Client { worker, facts, .. }) = (self.listener(), self.client);
        let understood = match head.kind {
            None => Err(Failure::Request(RequestError::HeadTooLong)),
            Some(_) => self.understand(head, place),
        };
        let decided = match understood {
            Ok(decided) => decided,
            Err(failure) => {
                let head_only = head.fields.get(b":method") == Some(Method::Head.as_str().as_bytes());
                let fields = head.fields.iter().map(|field| (field.name, field.value));
                let format = of.pages.as_ref().map(|_| ErrorFormat::of(fields, ""));
                let unknown = Refused::unknown(failure, of, facts);
                let is_grpc = head.fields.get(b"content-type").is_some_and(grpc::is_grpc);
                let grpc = is_grpc.then_some(grpc::Call::Native);
                let context = Some(named(ErrorContext { head_only, format, grpc, route: None }, worker));
                Err(Box::new(Refused { context, ..*unknown }))
            }
        };
        match &decided {
            Ok(_) => worker.counters.requests.add(1),
            Err(_) => worker.counters.requests_refused.add(1),
        }
        decided
    }

    /// Waits for what must be found out about it, and decides; unless its stream ends. `Some`: it is refused.
    async fn settle(&self, head: &Head, mut held: Box<Held>, place: &mut Place) -> Option<Box<Refused>> {
        let Client { worker, facts, .. } = self.client;
        loop {
            let peer = StreamPeer::H2 { connection: self.peer.clone(), stream: self.stream.watch() };
            let resumed = {
                let run = pin!(held.run((self.view, self.listener), worker, &peer));
                self.while_open(run).await??
            };
            let understood = ClientStream::read_fields(&head.fields, head.end_stream, |head, _| {
                route::resume(self.view, self.listener, facts, worker, (head, resumed), place)
            });
            match understood.ok()? {
                Ok(Understood::Decided) => return None,
                Ok(Understood::Wait(next)) => held = next,
                Err(refused) => {
                    worker.counters.requests_refused.add(1);
                    return Some(refused);
                }
            }
        }
    }

    fn understand(
        &self,
        head: &Head,
        place: &mut Place,
    ) -> Result<Result<Understood, Box<Refused>>, Failure> {
        let Client { worker, facts, .. } = self.client;
        let limits = &self.listener().limits;
        let target = head.fields.get(b":path").map_or(0, <[u8]>::len);
        if target > limits.target_bytes {
            return Err(Failure::Request(RequestError::TargetTooLong));
        }
        ClientStream::read_fields(&head.fields, head.end_stream, |head, envelope| {
            route::understand(self.view, self.listener, facts, worker, (head, envelope), place)
        })
        .map_err(Failure::Unserved)
    }

    /// Sends it to a backend, and the response to the client.
    async fn forward(&self, order: &mut Forward) {
        let Client { worker, facts, .. } = self.client;
        let deadline = worker.wheel.deadline();
        let is_last: IsLast<'_> = &|_| false;
        let mut client = ClientStream::http2(self.stream, self.peer, order.head.body);
        let of = (client.peer(), facts);
        let mut exchange = Exchange::new(worker, is_last, (self.view, self.listener), of, order);
        let outcome = {
            let time = exchange.time();
            let run = pin!(exchange.run(&mut client, &deadline, Buffer::small()));
            let run = pin!(within(worker, time, run));
            self.while_open(run).await.unwrap_or_else(|| {
                worker.counters.downstream_disconnects.add(1);
                Err(Failure::ClientGone)
            })
        };
        let reply = match &outcome {
            Err(failure) if !exchange.is_answered() => {
                let (_, writer) = client.split();
                refusal(
                    &writer,
                    failure,
                    exchange.error_context(),
                    self.listener(),
                    exchange.response_rules(),
                )
            }
            _ => None,
        };
        let call_end = outcome.as_ref().err().and_then(|failure| exchange.call_end(failure));
        exchange.log(outcome.as_ref().err(), reply.as_ref().map_or(0, EncodedReply::len));
        if let Some(end) = call_end {
            return Box::pin(self.end_call(client, &end, &deadline)).await;
        }
        match outcome {
            Ok(_) if exchange.observed.relayed.get().is_some() => self.stream.set_code(ErrorCode::CANCEL),
            Ok(_) => self.end(&deadline).await,
            Err(failure) if exchange.is_answered() => {
                worker.counters.exchanges_aborted.add(1);
                if matches!(failure, Failure::CallTimeout) {
                    self.stream.set_code(ErrorCode::CANCEL);
                }
            }
            Err(failure) => self.reply(&failure, reply, &deadline).await,
        }
    }

    /// Ends a call that failed within its response.
    async fn end_call(&self, mut client: ClientStream<'_>, end: &CallEnd, deadline: &Deadline) {
        deadline.set(idle::LINGER);
        let ending = pin!(client.end_call(end));
        let mut ending = pin!(deadline.race(ending));
        if matches!(self.while_open(ending.as_mut()).await, Some(Ok(Ok(())))) {
            self.end(deadline).await;
        }
    }

    /// Answers it.
    async fn answer(&self, reply: LocalReply) {
        let Client { worker, facts, .. } = self.client;
        let deadline = worker.wheel.deadline();
        let is_last: IsLast<'_> = &|_| false;
        // Its content, if it has some, is not read.
        let mut client = ClientStream::http2(self.stream, self.peer, crate::http::BodyLength::Unknown);
        let limits = &self.listener().limits;
        let at = (&**worker, is_last, facts, (self.view, self.listener));
        let sent = pin!(reply.send(at, &mut client, &deadline, limits, Buffer::small()));
        match self.while_open(sent).await {
            // It was cut: the stream must not seem to end in order.
            None | Some((Next::Abort, _)) => {}
            Some(_) => self.end(&deadline).await,
        }
    }

    /// Sends the client the reason why its request is not served.
    async fn refuse(&self, refused: Refused) {
        let Client { worker, facts, .. } = self.client;
        let writer = ResponseWriter::http2(self.stream, self.peer);
        let (failure, reply) = refused.reply((worker, self.view, self.listener), &writer, facts);
        self.reply(&failure, reply, &worker.wheel.deadline()).await;
    }

    async fn reply(&self, failure: &Failure, reply: Option<EncodedReply>, deadline: &Deadline) {
        let worker = &self.client.worker;
        if failure.is_timeout() {
            worker.counters.timeouts.add(1);
        }
        let (Some(status), Some(reply)) = (failure.status(), reply) else { return };
        worker.count_status(status);
        deadline.set(idle::LINGER);
        let mut writer = ResponseWriter::http2(self.stream, self.peer);
        let sending = pin!(writer.write_local(&reply));
        let mut sending = pin!(deadline.race(sending));
        if matches!(self.while_open(sending.as_mut()).await, Some(Ok(Ok(())))) {
            self.end(deadline).await;
        }
    }

    /// The response is whole. The rest of the request's content is read on for a moment, and dropped: many clients send all of
    /// it before they read a response. Then the stream is reset without an error (RFC 9113 §8.1).
    async fn end(&self, deadline: &Deadline) {
        self.stream.set_code(ErrorCode::NO_ERROR);
        let begun = Instant::now();
        while !self.stream.is_over() {
            deadline.set(idle::LINGER.min(idle::LINGER_LONGEST.saturating_sub(begun.elapsed())));
            let reading = pin!(self.stream.read(Buffer::small()));
            let mut reading = pin!(deadline.race(reading));
            let Some(Ok((Ok(1..), _))) = self.while_open(reading.as_mut()).await else { return };
        }
    }

    /// Runs `work` for as long as the stream is open. `None`: the client has reset it, or its connection has ended.
    async fn while_open<F: Future>(&self, mut work: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.stream.poll_ended(cx).map(|_| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_recognised_as_far_as_it_is_there() {
        assert_eq!(Preface::of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Preface::Http2);
        assert_eq!(Preface::of(b"PRI * HTTP/2.0\r\n"), Preface::Http2);
        assert_eq!(Preface::of(b"PRI"), Preface::Unclear);
        for other in [&b""[..], b"PRO", b"PRI / HTTP/2.0\r\n", b"GET / HTTP/1.1\r\n"] {
            assert_eq!(Preface::of(other), Preface::No);
        }
    }
}
