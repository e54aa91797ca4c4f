//! A request that Ringate makes itself. It goes to an upstream like any other: through the pool, with the upstream's health,
//! bounds and client identity.
//!
//! ```text
//! room at an endpoint ─► a connection, idle or new ─► the request ─► its response ──► Receive
//!          ▲                                                              │ closed, not processed, retries
//!          └───────────────────── this endpoint or the next one ◄─────────┘
//! ```

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use super::body;
use super::body_reader::{BodyReader, BodyState};
use super::retry_policy::{Attempts, Cause};
use super::retrying::may_retry;
use super::trailer_filter::TrailerFilter;
use super::upstream_stream::ResponseReader;
use crate::base::limits::{HTTP2_UNPROCESSED_REPEATS, Limits, MAX_INTERIM_RESPONSES};
use crate::http::{OutgoingRequest, RequestContext, ResponseHead, Trailers};
use crate::http1::{Body, Framing, ResponseError};
use crate::http2::{ErrorCode, ResetCause, StreamEnd};
use crate::io::stream::Keep;
use crate::io::{Buffer, Deadline, StreamError};
use crate::proxy::failure::{Bound, ConnectError, Failure};
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::upstream::admission::{self, AdmissionRequest, Permit};
use crate::proxy::upstream::outlier_detection::Fault;
use crate::proxy::upstream::pool::{ConnectRequest, Pool};
use crate::proxy::upstream::request_key::RequestKey;
use crate::proxy::upstream::stream::UpstreamStream;
use crate::proxy::worker::Worker;

/// See the module.
pub(crate) struct OwnRequest<'a> {
    /// Its destination.
    pub(crate) pool: &'a Rc<Pool>,
    /// Its head.
    pub(crate) head: &'a OutgoingRequest,
    /// Its body.
    pub(crate) content: &'a [u8],
    /// What the response's parser must know.
    pub(crate) context: RequestContext,
    /// Which endpoint it prefers.
    pub(crate) key: RequestKey,
    /// The authority, where the TLS server name is taken from it; `None`: the endpoint's.
    pub(crate) host: Option<&'a str>,
    /// Whether it may be sent twice (RFC 9110 §9.2.2).
    pub(crate) idempotent: bool,
    /// It carries connection-bound credentials: its connection is not used again.
    pub(crate) authenticates: bool,
    /// Bounds of the response's head.
    pub(crate) limits: &'a Limits,
    /// What it may cost.
    pub(crate) effort: Effort<'a>,
    /// The endpoint that it was sent to last, and the version of HTTP there.
    pub(crate) sent_to: Cell<Option<(usize, &'static str)>>,
}

/// What is done for a request of Ringate's own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effort<'a> {
    /// It waits in no queue and goes to one endpoint only: requests of clients go first.
    Spare,
    /// This client waits for it. It waits for room, and goes to other endpoints as the upstream's `retries` say.
    Client(&'a StreamPeer),
}

/// Takes the response to a request of Ringate's own.
pub(crate) trait Receive {
    /// The head of the final response.
    fn head(&mut self, head: &ResponseHead<'_, '_>);
    /// The next part of its body. False: nothing more is wanted, and the connection ends.
    fn body(&mut self, part: &[u8]) -> bool;
}

/// How far a request has come.
#[derive(Default)]
struct Progress {
    attempts: Attempts,
    /// Endpoints that closed a new connection without an answer.
    failed: Vec<usize>,
    /// How often it was sent again that a backend had not processed it.
    unprocessed: u32,
    /// Whether any byte of a response has arrived in the attempt.
    heard: Cell<bool>,
}

/// Where a request is sent once more.
struct Once {
    endpoint: usize,
    /// Only a new connection will do.
    anew: bool,
}

impl OwnRequest<'_> {
    /// Sends it, and reads the response to its end.
    ///
    /// # Errors
    /// There was no whole response. `receiver` may have got a part of one.
    pub(crate) async fn run(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        receiver: &mut impl Receive,
    ) -> Result<(), Failure> {
        let pool = self.pool;
        let refused = |bound| {
            pool.upstream.circuit.refuse(bound);
            Failure::Connect(ConnectError::Limit(bound))
        };
        let _counted = pool.upstream.circuit.take(Bound::Requests).map_err(refused)?;
        let permit = self.admit(worker, deadline).await?;
        let endpoint = permit.as_ref().map(Permit::endpoint).or_else(|| pool.pick_with_room(self.key));
        let endpoint = endpoint.ok_or(Failure::Connect(ConnectError::NoEndpoint))?;
        pool.begin_trial(endpoint);
        let mut once = Once { endpoint, anew: false };
        let mut progress = Progress::default();
        loop {
            let mut stream = self.connect(worker, deadline, &once, &progress, permit.as_ref()).await?;
            let version = if matches!(stream, UpstreamStream::H1(_)) { "1.1" } else { "2" };
            self.sent_to.set(Some((stream.endpoint(), version)));
            progress.heard.set(false);
            let since = worker.wheel.now();
            let result = self.attempt(worker, deadline, &mut stream, &progress, receiver).await;
            let failure = match result {
                Ok(keeps) => {
                    if keeps && !self.authenticates && pool.upstream.proxy_protocol.is_none() {
                        pool.check_in(worker, stream);
                    } else {
                        stream.reset();
                    }
                    return Ok(());
                }
                Err(failure) => failure,
            };
            self.note(&stream, &failure, &progress, since);
            let Some(next) = self.again(worker, &stream, &failure, &mut progress, permit.as_ref()) else {
                let failure = pool.attribute(&stream.facts(), progress.heard.get(), failure);
                stream.reset();
                return Err(failure);
            };
            stream.reset();
            once = next;
        }
    }

    async fn admit(&self, worker: &Worker, deadline: &Deadline) -> Result<Option<Permit>, Failure> {
        match self.effort {
            Effort::Spare => admission::admit_at_once(self.pool, self.key),
            Effort::Client(client) => {
                let ask = AdmissionRequest { client, since: worker.wheel.now(), avoided: &[], key: self.key };
                admission::admit(worker, self.pool, deadline, ask, &mut None, 0..0).await
            }
        }
    }

    async fn connect(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        once: &Once,
        progress: &Progress,
        permit: Option<&Permit>,
    ) -> Result<UpstreamStream, Failure> {
        let pool = self.pool;
        let call = ConnectRequest {
            host: self.host,
            whole: true,
            client: None,
            failed: &progress.failed,
            key: self.key,
            http: pool.upstream.http,
        };
        let anew = once.anew || !self.idempotent && pool.is_careful(once.endpoint);
        if !anew && let Ok(stream) = pool.check_out(worker, once.endpoint, call) {
            return Ok(stream);
        }
        self.sent_to.set(Some((once.endpoint, "")));
        let connecting = pool.open_stream(worker, deadline, call, once.endpoint, permit);
        connecting.await.map_err(Failure::Connect)
    }

    /// Tells the pool what a failure says of an endpoint.
    fn note(&self, stream: &UpstreamStream, failure: &Failure, progress: &Progress, since: u64) {
        let heard = progress.heard.get();
        if !heard {
            self.pool.note_unanswered(stream, failure);
        }
        let fault = match failure {
            _ if failure.is_unprocessed() => return,
            Failure::BackendGone(_) if !heard && !stream.is_reused() => Fault::Reset,
            Failure::BackendTimeout if !heard => Fault::Timeout,
            Failure::Response(_) | Failure::Http2(_) => Fault::Invalid,
            _ => return,
        };
        self.pool.failed(stream.endpoint(), fault, since);
    }

    /// Whether it is sent once more, and where.
    fn again(
        &self,
        worker: &Worker,
        stream: &UpstreamStream,
        failure: &Failure,
        progress: &mut Progress,
        permit: Option<&Permit>,
    ) -> Option<Once> {
        let (pool, from, heard) = (self.pool, stream.endpoint(), progress.heard.get());
        let has_room = |endpoint| permit.is_none_or(|permit: &Permit| permit.move_to(endpoint));
        if failure.is_unprocessed() && !heard {
            if progress.unprocessed >= HTTP2_UNPROCESSED_REPEATS {
                return None;
            }
            progress.unprocessed += 1;
            worker.counters.http2_unprocessed_retries.add(1);
            let endpoint = if is_refused(failure) { pool.next(from, self.key, has_room) } else { from };
            return Some(Once { endpoint, anew: false });
        }
        let closed = !heard && matches!(failure, Failure::BackendGone(_));
        // Its pooled connection was closed by the backend just then.
        if closed && stream.is_reused() && self.idempotent && failure.is_about_connection() {
            worker.counters.stale_retries.add(1);
            return Some(Once { endpoint: from, anew: true });
        }
        // The backend refused our certificate and has read nothing.
        if !heard && pool.rescue(worker, &stream.facts(), failure, self.idempotent) {
            return Some(Once { endpoint: from, anew: true });
        }
        if let Effort::Spare = self.effort {
            return None;
        }
        if closed {
            progress.failed.push(from);
        }
        let wanted = match failure {
            // Judged when it came.
            Failure::Unwanted(_) => true,
            Failure::BackendGone(_) => closed && may_retry(worker, pool, &progress.attempts, Cause::Reset),
            Failure::BackendTimeout => !heard && may_retry(worker, pool, &progress.attempts, Cause::Timeout),
            _ => false,
        };
        if wanted {
            return Some(Once { endpoint: pool.next(from, self.key, has_room), anew: false });
        }
        let (now, time) = (worker.wheel.now(), pool.upstream.response_timeout);
        let fails_over = closed && self.idempotent && pool.upstream.retries.failover;
        if !fails_over || !progress.attempts.may_fail_over(now, time) {
            return None;
        }
        let endpoint = pool.next_untried(&progress.failed, self.key, has_room)?;
        worker.counters.failovers.add(1);
        Some(Once { endpoint, anew: true })
    }

    /// Writes it and reads the response to its end. Whether the connection may be used again.
    async fn attempt(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        stream: &mut UpstreamStream,
        progress: &Progress,
        receiver: &mut impl Receive,
    ) -> Result<bool, Failure> {
        let (policy, time) = (&self.pool.upstream.retries, self.pool.upstream.response_timeout);
        let since = worker.wheel.now();
        let patience = match self.effort {
            Effort::Spare => time,
            Effort::Client(_) => progress.attempts.begin(policy, since, time, (true, self.idempotent)),
        };
        let endpoint = stream.endpoint();
        let mut buffer = Buffer::small();
        if !buffer.append(self.content) {
            buffer = Buffer::large();
            buffer.append(self.content);
        }
        let framing = Framing::Length(self.content.len() as u64);
        let part = body::take(&mut buffer, 0, &mut Body::new(framing)).map_err(Failure::RequestBody)?;
        let trailers = (Trailers::default(), TrailerFilter::of_request(None, None));
        let early = stream.take_early();
        let (mut reader, mut writer) = stream.split();
        deadline.set(patience);
        let writing = writer.write_head(&worker.heads, self.head, &part, trailers, buffer, Keep::Nothing);
        let (written, _) = deadline.race(pin!(writing)).await.map_err(|_| Failure::BackendTimeout)?;
        written.map_err(Failure::of_backend)?;
        let mut buffer = early.unwrap_or_else(Buffer::small);
        let mut interim = 0;
        let (framing, keeps) = loop {
            let understood = reader.read_head(&buffer, self.limits, &self.context, |head, envelope| {
                let wanted = head.is_interim() || !self.retries(worker, progress, head.status);
                if !head.is_interim() {
                    self.pool.responded(endpoint, head.status, since, false);
                    if wanted {
                        receiver.head(head);
                    }
                }
                (head.status, head.is_interim(), wanted, envelope)
            });
            match understood.map_err(Failure::Response)? {
                Some((_, true, _, envelope)) => {
                    interim += 1;
                    if interim > MAX_INTERIM_RESPONSES {
                        return Err(Failure::Response(ResponseError::TooManyInterim));
                    }
                    buffer.consume(envelope.len);
                }
                Some((status, false, false, _)) => return Err(Failure::Unwanted(status)),
                Some((_, false, true, envelope)) => {
                    buffer.consume(envelope.len);
                    break (envelope.framing, envelope.keep_alive);
                }
                None => buffer = fill(&mut reader, deadline, buffer).await?,
            }
            progress.heard.set(progress.heard.get() || !buffer.is_empty());
        };
        progress.heard.set(true);
        deadline.set(time);
        let mut state = BodyState::new(framing);
        let Some(body) = reader.body(&mut state) else { return Ok(false) };
        let drained = drain(body, deadline, buffer, receiver).await;
        // What the client would get of a copy's response that breaks off later is not known: it has answered.
        let drained = match self.effort {
            Effort::Spare => drained.unwrap_or(false),
            Effort::Client(_) => drained?,
        };
        Ok(drained && keeps && framing != Framing::UntilClose)
    }

    /// Whether a response of this status is one to be tried again.
    fn retries(&self, worker: &Worker, progress: &Progress, status: u16) -> bool {
        let is_client = matches!(self.effort, Effort::Client(_));
        is_client && may_retry(worker, self.pool, &progress.attempts, Cause::Status(status))
    }
}

fn is_refused(failure: &Failure) -> bool {
    let refused = StreamEnd::Reset(ResetCause::Peer(ErrorCode::REFUSED_STREAM));
    matches!(failure, Failure::BackendGone(Some(StreamError::Http2(end))) if *end == refused)
}

/// Reads on.
async fn fill(
    reader: &mut ResponseReader<'_>,
    deadline: &Deadline,
    buffer: Buffer,
) -> Result<Buffer, Failure> {
    let filling = pin!(reader.fill(buffer));
    let (result, buffer) = deadline.race(filling).await.map_err(|_| Failure::BackendTimeout)?;
    match result? {
        0 => Err(Failure::BackendGone(None)),
        _ => Ok(buffer),
    }
}

/// Hands a body on, until the deadline. Whether it was whole, and nothing is behind it.
async fn drain(
    mut reader: BodyReader<'_>,
    deadline: &Deadline,
    mut buffer: Buffer,
    receiver: &mut impl Receive,
) -> Result<bool, Failure> {
    loop {
        let part = reader.take(&mut buffer, 0).map_err(Failure::ResponseBody)?;
        if part.data() > 0 && !receiver.body(buffer.part(part.range())) {
            return Ok(false);
        }
        buffer.consume(part.consumed);
        if part.done {
            return Ok(buffer.is_idle());
        }
        let (result, filled) = {
            let filling = pin!(reader.fill(buffer));
            deadline.race(filling).await.map_err(|_| Failure::BackendTimeout)?
        };
        buffer = filled;
        if result.map_err(|error| Failure::BackendGone(Some(error)))? == 0 {
            reader.eof().map_err(Failure::ResponseBody)?;
            return Ok(buffer.is_idle());
        }
    }
}
