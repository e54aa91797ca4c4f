//! The copy of one request (`upstream.mirror`): its body is collected, it is sent, and its response is dropped.
//!
//! ```text
//! request ──► its body is at hand ─────────────────────────► a task of its own ──► response, dropped
//!    └──────► Collecting: the body as it passes by ── whole ──┘
//!                 └── too long, or cut: no copy
//! ```

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::body;
use super::body_reader::{BodyReader, BodyState};
use super::trailer_filter::TrailerFilter;
use super::upstream_stream::ResponseReader;
use crate::base::limits::{Limits, MAX_INTERIM_RESPONSES, MAX_REPEATED_BYTES};
use crate::base::sample::sampled;
use crate::http::{BodyLength, OutgoingRequest, RequestContext, Trailers};
use crate::http1::{Body, Framing, ResponseError};
use crate::io::stream::Keep;
use crate::io::{Buffer, Deadline, runtime};
use crate::proxy::failure::{Bound, ConnectError, Failure};
use crate::proxy::upstream::admission;
use crate::proxy::upstream::mirror::{CopyInFlight, MirrorCounts, Skipped};
use crate::proxy::upstream::outlier_detection::Fault;
use crate::proxy::upstream::pool::{ConnectRequest, Pool};
use crate::proxy::upstream::request_key::RequestKey;
use crate::proxy::upstream::stream::UpstreamStream;
use crate::proxy::worker::Worker;

/// A copy whose body passes by.
pub(crate) struct Collecting {
    /// `None`: it was sent, or there will be none.
    copy: Cell<Option<RequestCopy>>,
    body: RefCell<Vec<u8>>,
}

/// A request for the other upstream, but for its body.
pub(crate) struct RequestCopy {
    pub(crate) to: Rc<Pool>,
    pub(crate) counts: Arc<MirrorCounts>,
    pub(crate) _in_flight: CopyInFlight,
    pub(crate) head: OutgoingRequest,
    pub(crate) context: RequestContext,
    pub(crate) key: RequestKey,
    /// It carries credentials of a connection: that is not used again.
    pub(crate) authenticates: bool,
    pub(crate) idempotent: bool,
    pub(crate) limits: Limits,
}

impl Collecting {
    /// A copy of which no body is at hand.
    pub(crate) fn new(copy: RequestCopy) -> Self {
        Self { copy: Cell::new(Some(copy)), body: RefCell::default() }
    }

    /// A part of the request's body passes by.
    pub(crate) fn add(&self, data: &[u8]) {
        let mut body = self.body.borrow_mut();
        if body.len() + data.len() <= MAX_REPEATED_BYTES as usize {
            body.extend_from_slice(data);
        } else if let Some(copy) = self.copy.take() {
            body.clear();
            copy.counts.skip(Skipped::BodyTooLong);
        }
    }

    /// The body is whole: the copy is sent.
    pub(crate) fn finish(&self, worker: &Rc<Worker>) {
        if let Some(copy) = self.copy.take() {
            runtime::spawn(copy.send(Rc::clone(worker), self.body.take()));
        }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.counts.skip(Skipped::Incomplete);
        }
    }
}

impl RequestCopy {
    async fn send(mut self, worker: Rc<Worker>, body: Vec<u8>) {
        if self.head.body != BodyLength::None {
            self.head.body = BodyLength::Known(body.len() as u64);
        }
        let deadline = worker.wheel.deadline();
        match self.exchange(&worker, &deadline, &body).await {
            Ok(()) => self.counts.sent.fetch_add(1, Relaxed),
            Err(failure) => {
                let of = &self.to.upstream.name;
                sampled!(warn, Exchange of of, { upstream = of, }, "a mirrored request failed: {failure}");
                self.counts.failed.fetch_add(1, Relaxed)
            }
        };
        worker.heads.give(self.head.take_memory());
    }

    async fn exchange(&self, worker: &Worker, deadline: &Deadline, body: &[u8]) -> Result<(), Failure> {
        let pool = &self.to;
        let refused = |bound| {
            pool.upstream.circuit.refuse(bound);
            Failure::Connect(ConnectError::Limit(bound))
        };
        let _counted = pool.upstream.circuit.take(Bound::Requests).map_err(refused)?;
        // It waits in no queue: requests of clients do.
        let permit = admission::admit_at_once(pool, self.key)?;
        let endpoint = permit.as_ref().map(|permit| permit.endpoint()).or_else(|| pool.pick(self.key));
        let endpoint = endpoint.ok_or(Failure::Connect(ConnectError::NoEndpoint))?;
        pool.begin_trial(endpoint);
        let host = std::str::from_utf8(self.head.authority()).ok().filter(|_| pool.is_named_by_request());
        let http = pool.upstream.http;
        let call = ConnectRequest { host, whole: true, key: self.key, http, ..ConnectRequest::default() };
        let mut idle = pool.check_out(worker, endpoint, call).ok();
        loop {
            let is_idle = idle.is_some();
            let mut stream = match idle.take() {
                Some(stream) => stream,
                None => {
                    let connecting = pool.open_stream(worker, deadline, call, endpoint, permit.as_ref());
                    connecting.await.map_err(Failure::Connect)?
                }
            };
            let since = worker.wheel.now();
            let mut heard = false;
            let result = self.attempt(worker, deadline, &mut stream, body, &mut heard).await;
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
            let closed = !heard && matches!(failure, Failure::BackendGone(_));
            let is_stale = closed && is_idle && self.idempotent;
            if is_stale || !heard && pool.rescue(worker, &stream.facts(), &failure, self.idempotent) {
                stream.reset();
                continue;
            }
            let fault = match failure {
                Failure::BackendGone(_) if closed && !is_idle => Some(Fault::Reset),
                Failure::BackendTimeout if !heard => Some(Fault::Timeout),
                Failure::Response(_) => Some(Fault::Invalid),
                _ => None,
            };
            if let Some(fault) = fault {
                pool.failed(stream.endpoint(), fault, since);
            }
            let failure = pool.attribute(&stream.facts(), heard, failure);
            stream.reset();
            return Err(failure);
        }
    }

    /// Writes the copy and reads the response to its end. Whether the connection may be used again.
    async fn attempt(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        stream: &mut UpstreamStream,
        content: &[u8],
        heard: &mut bool,
    ) -> Result<bool, Failure> {
        let endpoint = stream.endpoint();
        let mut buffer = Buffer::small();
        if !buffer.append(content) {
            buffer = Buffer::large();
            buffer.append(content);
        }
        let framing = Framing::Length(content.len() as u64);
        let part = body::take(&mut buffer, 0, &mut Body::new(framing)).map_err(Failure::RequestBody)?;
        let trailers = (Trailers::default(), TrailerFilter::of_request(None, None));
        let since = worker.wheel.now();
        let early = stream.take_early();
        let (mut reader, mut writer) = stream.split();
        deadline.set(self.to.upstream.response_timeout);
        let writing =
            pin!(writer.write_head(&worker.heads, &self.head, &part, trailers, buffer, Keep::Nothing));
        let (written, _) = deadline.race(writing).await.map_err(|_| Failure::BackendTimeout)?;
        written.map_err(|error| Failure::BackendGone(Some(error)))?;
        let mut buffer = early.unwrap_or_else(Buffer::small);
        let mut interim = 0;
        let (status, framing, keeps) = loop {
            let understood = reader.read_head(&buffer, &self.limits, &self.context, |head, envelope| {
                (head.status, head.is_interim(), envelope)
            });
            match understood.map_err(Failure::Response)? {
                Some((_, true, envelope)) => {
                    interim += 1;
                    if interim > MAX_INTERIM_RESPONSES {
                        return Err(Failure::Response(ResponseError::TooManyInterim));
                    }
                    buffer.consume(envelope.len);
                }
                Some((status, false, envelope)) => {
                    buffer.consume(envelope.len);
                    break (status, envelope.framing, envelope.keep_alive);
                }
                None => buffer = fill(&mut reader, deadline, buffer).await?,
            }
            *heard |= !buffer.is_empty();
        };
        self.to.responded(endpoint, status, since, false);
        deadline.set(self.to.upstream.response_timeout);
        // What the client would get of a response that breaks off later is not known: it has answered.
        let mut state = BodyState::new(framing);
        let Some(body) = reader.body(&mut state) else { return Ok(false) };
        let drained = drain(body, deadline, buffer).await.unwrap_or(false);
        Ok(drained && keeps && framing != Framing::UntilClose)
    }
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

/// Drops a body, until the deadline. Whether it was whole, and nothing is behind it.
async fn drain(mut reader: BodyReader<'_>, deadline: &Deadline, mut buffer: Buffer) -> Result<bool, Failure> {
    loop {
        let part = reader.take(&mut buffer, 0).map_err(Failure::ResponseBody)?;
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
