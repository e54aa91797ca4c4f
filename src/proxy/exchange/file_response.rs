//! A response with a file: its head is made as that of any response, with the route's rules, and its body goes the way of all
//! bodies, with the file in the place of a backend.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::Duration;

use super::body::{self, Part};
use super::body_reader::BodyReader;
use super::client_stream::{ClientStream, ResponseWriter};
use super::coding::{self, BodyCoding};
use super::min_rate::{self, Pace};
use super::next::Next;
use super::observed::Observed;
use super::relay::{Relay, RelayError};
use super::stage::{BodyStage, Phase, ResponseStage};
use super::throttle::Throttle;
use super::trailer_filter::TrailerFilter;
use crate::base::failures::Failed;
use crate::base::limits::Limits;
use crate::base::meter::Served;
use crate::base::sample::sampled;
use crate::config::plan::ResponseRate;
use crate::http::{BodyLength, Field, Fields, ResponseHead, Trailers, Version, read_lines, reason_phrase};
use crate::http1::Framing;
use crate::io::{Buffer, Deadline};
use crate::proxy::access::{self, Record};
use crate::proxy::client::ClientFacts;
use crate::proxy::destination::files::FileAnswer;
use crate::proxy::failure::Failure;
use crate::proxy::rules::{self, ResponseRules};
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::trace::{Finished, Trace};
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// Most fields of a file's head.
const FIELDS: usize = 12;

/// What is known of a response with a file while it is sent. What is counted and logged of it follows when this is dropped, also
/// where the client has left.
pub(super) struct FileResponse<'a> {
    worker: &'a Worker,
    facts: &'a ClientFacts,
    /// The view and the listener in it.
    seen: (&'a View, usize),
    /// Bytes of the request in the client's buffer, if all of it is there.
    whole: Option<usize>,
    head_bytes: u32,
    route: Option<u32>,
    /// The request's id.
    id: Vec<u8>,
    rules: Option<Box<ResponseRules>>,
    /// How fast its body goes out at most.
    rate: Option<ResponseRate>,
    logged: RefCell<Option<Box<Record>>>,
    trace: Option<Box<Trace>>,
    observed: Observed,
    phase: Cell<Phase>,
    stage: Cell<ResponseStage>,
    /// How it ended; until then, as if the client had left.
    ended: Result<(), Failure>,
}

/// Where a response goes, and within which bounds.
type To<'t, 'c> = (&'t mut ClientStream<'c>, &'t Deadline, &'t Limits);

impl<'a> FileResponse<'a> {
    pub(super) fn new(
        (worker, facts, seen): (&'a Worker, &'a ClientFacts, (&'a View, usize)),
        (whole, head_bytes, route, id): (Option<usize>, u32, Option<u32>, Vec<u8>),
        (rules, rate): (Option<Box<ResponseRules>>, Option<ResponseRate>),
        (logged, trace): (Option<Box<Record>>, Option<Box<Trace>>),
        waited: Duration,
    ) -> Self {
        Self {
            worker,
            facts,
            seen,
            whole,
            head_bytes,
            route,
            id,
            rules,
            rate,
            logged: logged.into(),
            trace,
            observed: Observed::begin(waited),
            phase: Cell::new(Phase::BackendBody),
            stage: Cell::new(ResponseStage::Silent),
            ended: Err(Failure::ClientGone),
        }
    }

    /// Sends it, and returns what the client's connection does next, with the client's buffer. `keep`: the connection lives on.
    pub(super) async fn send(
        mut self,
        answer: FileAnswer,
        version: Version,
        (client, deadline, limits): To<'_, '_>,
        keep: bool,
        mut buffer: Buffer,
    ) -> (Next, Buffer) {
        self.worker.counters.requests_answered.add(1);
        self.worker.count_status(answer.status);
        self.observed.status.set(answer.status);
        deadline.set(limits.body_timeout);
        let sent = {
            let peer = client.peer();
            let (_, writer) = client.split();
            let sending = pin!(self.write(answer, writer, (version, !keep), (deadline, limits, &peer)));
            deadline.race(sending).await
        };
        let late = match self.phase.get() {
            Phase::BackendBody => Failure::FileCut,
            _ => Failure::ClientTimeout,
        };
        self.ended = sent.unwrap_or(Err(late));
        let is_whole = self.ended.is_ok();
        if !is_whole && matches!(self.stage.get(), ResponseStage::Begun { framed: false, .. }) {
            client.reset();
        }
        match self.whole {
            Some(whole) if keep && is_whole => {
                buffer.consume(whole);
                (Next::Idle, buffer)
            }
            _ if is_whole => (Next::Linger, buffer),
            _ => (Next::Abort, buffer),
        }
    }

    async fn write(
        &self,
        answer: FileAnswer,
        mut writer: ResponseWriter<'_>,
        to: (Version, bool),
        (deadline, limits, peer): (&Deadline, &Limits, &StreamPeer),
    ) -> Result<(), Failure> {
        let (encoded, framing, coding) = self.encode(&answer, &writer, to);
        self.worker.heads.give(answer.fields);
        self.observed.responded();
        let waits = [(Phase::BackendBody, limits.body_timeout), (Phase::ClientWrite, limits.body_timeout)];
        let (mut buffer, out) = (Buffer::small(), writer.frame(framing));
        let Some(mut file) = answer.body else {
            return self
                .write_first(&mut writer, (answer.status, encoded), (Part::end(&buffer), out), buffer)
                .await
                .map(drop);
        };
        let filter = TrailerFilter::of_response(None, (None, 0), coding.is_some());
        let pace = Pace {
            wheel: &self.worker.wheel,
            limits,
            peer,
            client: min_rate::Client::Takes,
            to: peer.clone(),
            writing: waits[1],
            deadline,
            stage: BodyStage::Download(&self.stage),
            response: &self.stage,
        };
        if let Some(coding) = coding {
            let out = writer.frame(Framing::Chunked);
            let relay = self.relay(BodyReader::File(&mut file), writer, (out, filter), waits, deadline);
            let (begins, messages) = (|| self.begin(framing), Cell::new(None));
            let lead = coding::Lead { status: answer.status, encoded, received: 0 };
            let run = coding::run(
                (self.worker, &messages),
                BodyCoding::Compressed(coding),
                lead,
                relay,
                buffer,
                &begins,
            );
            return ended(Box::pin(pace.keep(run)).await.unwrap_or(Err(RelayError::TooSlow)));
        }
        let mut reader = BodyReader::File(&mut file);
        if !reader.is_done() {
            let (result, filled) = reader.fill(buffer).await;
            buffer = filled;
            // Nothing was sent yet. The file has become empty since it was opened, or can't be read.
            if !matches!(result, Ok(1..)) {
                return Err(Failure::FileCut);
            }
        }
        let first = reader.take(&mut buffer, 0).map_err(|_| Failure::FileCut)?;
        let done = first.done;
        self.begin(framing);
        let buffer = self.write_first(&mut writer, (answer.status, encoded), (first, out), buffer).await?;
        if done {
            return Ok(());
        }
        let relay = self.relay(reader, writer, (out, filter), waits, deadline);
        ended(Box::pin(pace.keep(relay.run(buffer))).await.unwrap_or(Err(RelayError::TooSlow)))
    }

    /// The head as it goes out, how the body is framed, and how it is compressed by a rule, if it is.
    fn encode(
        &self,
        answer: &FileAnswer,
        writer: &ResponseWriter<'_>,
        to: (Version, bool),
    ) -> (Vec<u8>, Framing, Option<crate::http::Coding>) {
        let mut slots = [Field { name: "", value: b"" }; FIELDS];
        let mut count = 0;
        for (slot, (name, value)) in slots.iter_mut().zip(read_lines(&answer.fields)) {
            *slot = Field { name: std::str::from_utf8(name).unwrap_or_default(), value };
            count += 1;
        }
        let body = match (&answer.body, answer.length) {
            (Some(_), Some(length)) => BodyLength::Known(length),
            _ => BodyLength::None,
        };
        let head = ResponseHead {
            version: Version::Http11,
            status: answer.status,
            reason: reason_phrase(answer.status),
            body,
            content_length: answer.length,
            upgrade: None,
            fields: Fields::new(&slots[..count], &answer.fields, false),
        };
        if let Some(record) = self.logged.borrow_mut().as_mut() {
            record.respond(&head);
        }
        let mut encoded = self.worker.heads.take();
        let room = coding::has_room(self.worker);
        let (framing, coding) = rules::edit_response(self.rules.as_deref(), &head, room, |head, edit| {
            writer.encode_head(head, edit, to, &mut encoded)
        });
        (encoded, framing, coding.filter(|_| answer.body.is_some()))
    }

    fn begin(&self, framing: Framing) {
        self.stage.set(ResponseStage::Begun { framed: framing != Framing::UntilClose, writing: true });
    }

    /// The head, and the first part of the body behind it. The buffer comes back without that.
    async fn write_first(
        &self,
        writer: &mut ResponseWriter<'_>,
        (status, encoded): (u16, Vec<u8>),
        (part, out): (Part, body::Frame),
        mut buffer: Buffer,
    ) -> Result<Buffer, Failure> {
        let filter = TrailerFilter::of_response(None, (None, 0), false);
        let lead = writer.lead(&encoded);
        let piece = body::frame(&mut buffer, &part, lead, (Trailers::default(), filter), out);
        let begun = writer.begin(status, &encoded, piece.is_end());
        self.worker.heads.give(encoded);
        begun.map_err(|_| Failure::ClientGone)?;
        self.phase.set(Phase::ClientWrite);
        let (result, mut buffer) = writer.write_piece(&piece, buffer).await;
        result.map_err(|_| Failure::ClientGone)?;
        buffer.consume(piece.consumed);
        self.observed.bytes.set(piece.len() as u64);
        Ok(buffer)
    }

    fn relay<'r>(
        &'r self,
        reader: BodyReader<'r>,
        writer: ResponseWriter<'r>,
        (out, filter): (body::Frame, TrailerFilter<'r>),
        waits: [(Phase, Duration); 2],
        deadline: &'r Deadline,
    ) -> Relay<'r> {
        Relay {
            reader,
            writer: writer.body(),
            out,
            filter,
            deadline,
            phase: &self.phase,
            stage: BodyStage::Download(&self.stage),
            moved: &self.observed.bytes,
            waits,
            opening: None,
            conversation: None,
            copy: None,
            decoder: None,
            allowance: u64::MAX,
            throttle: self.rate.map(|rate| Throttle::new(rate, &self.worker.wheel)),
        }
    }

    /// Notes a failure where failures are looked for.
    fn report(&self, failure: &Failure) {
        self.worker.count_bound(failure);
        self.worker.counters.exchanges_aborted.add(1);
        if matches!(failure, Failure::ClientGone) {
            self.worker.counters.downstream_disconnects.add(1);
        }
        if failure.is_timeout() {
            self.worker.counters.timeouts.add(1);
        }
        if failure.is_clients() {
            tracing::debug!(client = %self.facts.address, "{failure}");
        } else {
            sampled!(warn, Exchange of "files", { client = %self.facts.address, }, "{failure}");
        }
        let (view, listener) = self.seen;
        let listener = &view.config.listeners[listener];
        self.worker.counters.failures.note(&Failed {
            clients: failure.is_clients(),
            route: listener.route_id(self.route),
            id: std::str::from_utf8(&self.id).unwrap_or_default(),
            status: self.observed.status.get(),
            duration: self.observed.duration(),
            ..Failed::at(&listener.name, failure.kind(), failure)
        });
    }
}

/// Why a file did not get through: its part in it is that of a backend.
fn ended(relayed: Result<Buffer, RelayError>) -> Result<(), Failure> {
    match relayed {
        Ok(_) => Ok(()),
        Err(RelayError::From(_) | RelayError::Body(_)) => Err(Failure::FileCut),
        Err(error) => Err(error.of_response()),
    }
}

impl Drop for FileResponse<'_> {
    fn drop(&mut self) {
        let failure = self.ended.as_ref().err();
        if let Some(failure) = failure {
            self.report(failure);
        }
        let (status, observed) = (self.observed.status.get(), &self.observed);
        let (duration, first_byte) = (observed.duration(), observed.first_byte());
        let request_bytes = self.whole.map_or(u64::from(self.head_bytes), |whole| whole as u64);
        let response_bytes = observed.bytes.get();
        let served = Served { status, request_bytes, response_bytes, duration, ..Served::default() };
        let (view, listener) = self.seen;
        view.meters[listener].route(self.route).add(&served);
        self.worker.heads.give(std::mem::take(&mut self.id));
        if let (Some(trace), Some(tracer)) = (self.trace.take(), &self.worker.traces) {
            let (error, reason) = (failure.and_then(Failure::proxy_error), failure.map(ToString::to_string));
            tracer.answered(trace, Finished { status, duration, error, reason });
        }
        if let (Some(sink), Some(record)) = (&self.worker.access, self.logged.take()) {
            let outcome = access::Outcome {
                status,
                bytes: response_bytes,
                duration,
                first_byte,
                upstream: None,
                endpoint: None,
                tries: 0,
                relay: None,
                failure: failure.map(|failure| failure as &dyn std::fmt::Display),
                error: failure.and_then(Failure::proxy_error),
                grpc_status: None,
            };
            sink.end(record, &outcome);
        }
    }
}
