//! One exchange on its way: the request to a backend, and the backend's response to the client.

use std::pin::pin;
use std::time::Duration;

use super::body_reader::{BodyReader, BodyState};
use super::body_writer::BodyWriter;
use super::client_stream::{ClientStream, ResponseWriter};
use super::coding::BodyCoding;
use super::decided::Decided;
use super::grpc_web::{self, HasContent};
use super::next::Next;
use super::stage::{Phase, UploadStage};
use super::state::Exchange;
use super::state::{Outcome, Spare};
use super::tunnel;
use super::upstream_stream::{RequestWriter, ResponseReader};
use crate::base::limits::MAX_INTERIM_RESPONSES;
use crate::http::grpc_web::Malformed;
use crate::http::{BodyLength, ResponseHead, Version};
use crate::http1::{Envelope, Framing, ResponseError};
use crate::http2::{SendError, StreamEnd};
use crate::io::{Buffer, Deadline, StreamError};
use crate::proxy::exchange::body::{self, Frame, Part};
use crate::proxy::exchange::coding;
use crate::proxy::exchange::min_rate::{self, Pace};
use crate::proxy::exchange::relay::{Relay, RelayError};
use crate::proxy::exchange::retry_policy::Cause;
use crate::proxy::exchange::trailer_filter::TrailerFilter;
use crate::proxy::failure::Failure;
use crate::proxy::rules;
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::upstream::stream::UpstreamStream;

impl<'a> Exchange<'a> {
    /// From the head in `buffer` to the end of the response. Returns what the client's connection does
    /// next, and its buffer with what it had sent ahead.
    pub(crate) async fn run(
        &mut self,
        client: &mut ClientStream<'_>,
        deadline: &Deadline,
        mut buffer: Buffer,
    ) -> Result<(Next, Buffer), Failure> {
        if self.gathers(buffer.len()) {
            buffer = Box::pin(self.gather(client, deadline, buffer)).await?;
        }
        let mut first = self.take_first(client, &mut buffer)?;
        self.mirror(&first, &mut buffer);
        self.begin_attempt();
        // Leave is held to the exchange's end, retries and a tunnel included.
        let mut held = Some(buffer);
        let (mut permit, mut backend) = self.open(deadline, &first, &mut held).await?;
        let mut buffer = held.unwrap_or_else(Buffer::small);
        loop {
            let endpoint = backend.endpoint();
            self.observed.endpoint.set(Some(endpoint));
            self.attempt_connected(&backend);
            let ended = {
                let attempt = pin!(self.attempt(client, &mut backend, deadline, &first, buffer));
                let gives_up = || self.gives_up(endpoint, first.done);
                let kept = self.disconnects.keep(self.worker, deadline, &self.phase, attempt, gives_up).await;
                kept.map(|kept| kept.unwrap_or_else(|| (Err(self.too_slow()), self.spare.take())))
            };
            let (result, spare) = match ended {
                Ok(ended) => ended,
                Err(failure) => {
                    backend.reset();
                    return Err(failure);
                }
            };
            let returned = spare.into_buffer(&mut first);
            let failure = match result {
                Ok(answer) => {
                    let rest = returned.map(|mut buffer| {
                        if first.done {
                            buffer.consume(first.consumed);
                        }
                        buffer
                    });
                    return self.finish(answer, client, backend, deadline, rest).await;
                }
                Err(failure) => self.judged(failure),
            };
            self.note_failure(&backend, &failure);
            // Without the request at hand nothing is tried again, nor counted as if it were.
            let kept = self.kept(client, returned, &mut first, &failure);
            let once = kept.as_ref().and_then(|_| self.again(&backend, &failure, permit.as_ref()));
            let (Some(kept), Some(once)) = (kept, once) else {
                let failure = if first.done { failure } else { failure.without_body() };
                let failure = self.order.pool.attribute(&backend.facts(), self.is_heard(), failure);
                backend.reset();
                return Err(failure);
            };
            // The backend that failed is let go before another one is asked.
            backend.reset();
            self.end_attempt(Some(&failure));
            self.begin_attempt();
            (backend, buffer) = Box::pin(self.open_again(deadline, once, &first, &mut permit, kept)).await?;
        }
    }

    /// Takes what has arrived of the request's body.
    fn take_first(&self, client: &mut ClientStream<'_>, buffer: &mut Buffer) -> Result<Part, Failure> {
        let mut first = client.take_first(buffer).map_err(Failure::RequestBody)?;
        if let Some(decoder) = &self.decoder {
            let decoded = first.decode(buffer, &mut decoder.borrow_mut());
            decoded.map_err(|Malformed| Failure::NotBase64)?;
        }
        self.observed.received.set(u64::from(self.order.head_bytes) + first.data());
        if self.body_bound() < first.data() { Err(Failure::BodyTooLarge) } else { Ok(first) }
    }

    /// The request as it may be sent again: what an attempt returned of it, or what was kept of its body as that passed by;
    /// then that is its first part.
    fn kept(
        &self,
        client: &ClientStream<'_>,
        returned: Option<Buffer>,
        first: &mut Part,
        failure: &Failure,
    ) -> Option<Buffer> {
        if first.done || self.is_unsent(failure) {
            return returned;
        }
        if !failure.is_unprocessed() {
            return None;
        }
        let (rest, done) = match returned.filter(|_| self.is_sent()) {
            Some(rest) => (rest, true),
            // The upload was broken off: what it had read was kept before it was written.
            None => (Buffer::small(), client.is_body_over()?),
        };
        let (sent, kept) = self.held.restore(&rest, done)?;
        *first = sent;
        Some(kept)
    }

    /// Sends the request to `backend` and brings its response to the client, both at once where the
    /// request's body is longer than what `buffer` has of it.
    pub(crate) async fn attempt(
        &self,
        client: &mut ClientStream<'_>,
        backend: &mut UpstreamStream,
        deadline: &Deadline,
        first: &Part,
        buffer: Buffer,
    ) -> (Result<Outcome, Failure>, Spare) {
        let patience = self.begin(first.done);
        self.wait(deadline, Phase::BackendWrite, patience);
        let keep = self.keep(backend, first.done);
        let early = backend.take_early();
        let speaks_http2 = matches!(backend, UpstreamStream::H2(_));
        let (from_client, to_client) = client.split();
        let (from_backend, mut to_backend) = backend.split();
        let (heads, trailers) = (&self.worker.heads, (from_client.trailers(), self.order.trailer_filter()));
        let writing = to_backend.write_head(heads, &self.order.head, first, trailers, buffer, keep);
        let (written, mut buffer) = pin!(writing).await;
        // A backend that refuses the request before it has read it all may have sent the reason.
        let broken = match written.map_err(Failure::of_backend) {
            Err(failure) if self.is_unsent(&failure) => return (Err(failure), Spare::Held(buffer)),
            written => written.err(),
        };
        if first.done || broken.is_some() {
            let ahead = buffer.len() > first.consumed;
            self.upload.set(match broken {
                None => UploadStage::Sent { ahead },
                Some(_) => UploadStage::Refused,
            });
            self.wait(deadline, Phase::BackendHead, self.remaining(patience, first.done));
            self.spare.set(Spare::of(buffer, first));
            let result = self.respond(from_backend, to_client, deadline, early).await;
            let result = match (result, broken) {
                (Err(Failure::BackendGone(None)), Some(failure)) => Err(failure),
                (result, _) => result,
            };
            return (result, self.spare.take());
        }
        if speaks_http2 {
            self.held.begin(buffer.part(first.range()), heads.take());
        }
        buffer.consume(first.consumed);
        let allowance = self.body_bound() - first.data();
        // Boxed: a long upload is rare and its state large, while each exchange carries this future's size.
        let upload = self.upload(from_client, to_backend, deadline, allowance, buffer);
        let answer = self.respond(from_backend, to_client, deadline, early);
        let (result, rest) = super::duplex::both(Box::pin(upload), Box::pin(answer)).await;
        (result, rest.map_or(Spare::Nothing, Spare::Held))
    }

    /// The least speed of a body.
    pub(crate) fn pace<'p>(
        &'p self,
        deadline: &'p Deadline,
        client: min_rate::Client,
        to: StreamPeer,
        writing: (Phase, Duration),
    ) -> Pace<'p> {
        let (wheel, peer) = (&self.worker.wheel, &self.disconnects.client);
        let sends = client == min_rate::Client::Sends;
        let stage = if sends { self.upload_stage() } else { self.download_stage() };
        let response = &self.response;
        Pace { wheel, limits: self.limits, peer, client, to, writing, deadline, stage, response }
    }

    /// The same of a response's body.
    pub(crate) fn download_pace<'p>(&'p self, deadline: &'p Deadline) -> Pace<'p> {
        let [_, writing] = self.download_waits();
        self.pace(deadline, min_rate::Client::Takes, self.disconnects.client.clone(), writing)
    }

    /// The rest of the request's body.
    pub(crate) async fn upload(
        &self,
        reader: BodyReader<'_>,
        writer: RequestWriter<'_>,
        deadline: &Deadline,
        allowance: u64,
        buffer: Buffer,
    ) -> Result<Buffer, RelayError> {
        let lost = || RelayError::To(StreamEnd::Lost.into());
        let writer = writer.body().ok_or_else(lost)?;
        let out = writer.frame(Framing::of(self.order.head.body));
        // A client that waits for its 100 waits for the backend, as long as nothing of the body came.
        let waits_for_100 = self.order.expects && allowance == self.body_bound();
        let opening = waits_for_100.then_some((Phase::BackendHead, self.order.response_timeout));
        let copied = |data: &[u8]| {
            self.copy.iter().for_each(|copy| copy.add(data));
            self.held.add(data);
        };
        let is_copied = self.copy.is_some() || self.held.is_held();
        let (to, writing) = (writer.peer(), (Phase::BackendWrite, self.order.response_timeout));
        let relay = Relay {
            reader,
            writer,
            out,
            filter: self.order.trailer_filter(),
            deadline,
            phase: &self.phase,
            stage: self.upload_stage(),
            moved: &self.observed.received,
            waits: [(Phase::ClientBody, self.limits.body_timeout), writing],
            opening,
            conversation: Some((&self.response, self.order.idle_timeout)),
            copy: is_copied.then_some(&copied as _),
            decoder: self.decoder.as_ref(),
            allowance,
            throttle: None,
        };
        let pace = self.pace(deadline, min_rate::Client::Sends, to, writing);
        let buffer = pace.keep(relay.run(buffer)).await.map_err(|_| RelayError::TooSlow)??;
        self.upload.set(UploadStage::Sent { ahead: !buffer.is_empty() });
        if let Some(copy) = &self.copy {
            copy.finish(self.worker);
        }
        if self.is_answered() {
            // The response that has begun is waited for as before.
            let [reading, writing] = self.download_waits();
            let (phase, patience) =
                if self.download_stage().phase() == writing.0 { writing } else { reading };
            self.wait(deadline, phase, patience);
        } else {
            self.wait(deadline, Phase::BackendHead, self.order.response_timeout);
        }
        Ok(buffer)
    }

    /// Reads the response's heads and its body, and writes them to the client.
    pub(crate) async fn respond(
        &self,
        mut reader: ResponseReader<'_>,
        mut writer: ResponseWriter<'_>,
        deadline: &Deadline,
        early: Option<Buffer>,
    ) -> Result<Outcome, Failure> {
        let mut buffer = early.unwrap_or_else(Buffer::small);
        let mut interim = 0;
        loop {
            let decided = self.understand(&mut reader, &writer, &buffer)?;
            let Some(mut decided) = decided else {
                let (result, filled) = reader.fill(buffer).await;
                buffer = filled;
                match result {
                    Ok(0) => return Err(Failure::BackendGone(None)),
                    Ok(_) => self.hear(),
                    Err(failure) => return Err(failure),
                }
                continue;
            };
            self.worker.count_status(decided.status);
            self.observed.status.set(decided.status);
            if decided.interim {
                interim += 1;
                if interim > MAX_INTERIM_RESPONSES {
                    return Err(Failure::Response(ResponseError::TooManyInterim));
                }
                if self.order.version != Version::Http10 {
                    writer
                        .write_head(decided.status, &decided.head)
                        .await
                        .map_err(|_| Failure::ClientGone)?;
                }
                self.worker.heads.give(std::mem::take(&mut decided.head));
                buffer.consume(decided.head_len);
                if decided.status == 100 && self.upload.get() == UploadStage::Expecting {
                    // From its 100 on, a client owes its body.
                    self.upload.set(UploadStage::Reading);
                    self.wait(deadline, Phase::ClientBody, self.limits.body_timeout);
                }
                continue;
            }
            if decided.status == 101 {
                self.answer(true);
                writer.write_head(101, &decided.head).await.map_err(|_| Failure::ClientGone)?;
                self.observed.bytes.set(decided.head.len() as u64);
                buffer.consume(decided.head_len);
                return Ok(Outcome { backend: false, client: false, tunnel: Some(buffer) });
            }
            return self.pass_on(decided, reader, writer, deadline, buffer).await;
        }
    }

    /// Understands the head at the buffer's front, and encodes it for the client.
    fn understand(
        &self,
        reader: &mut ResponseReader<'_>,
        writer: &ResponseWriter<'_>,
        buffer: &Buffer,
    ) -> Result<Option<Decided>, Failure> {
        let understood =
            |head: &ResponseHead<'_, '_>, envelope: Envelope| self.decide(writer, head, envelope);
        let decided = reader.read_head(buffer, self.limits, &self.order.context, understood);
        decided.map_err(Failure::Response)?.transpose()
    }

    fn decide(
        &self,
        writer: &ResponseWriter<'_>,
        head: &ResponseHead<'_, '_>,
        envelope: Envelope,
    ) -> Result<Decided, Failure> {
        if !head.is_interim() {
            self.held.release(&self.worker.heads);
            self.judge(head);
        }
        if !head.is_interim() && self.may_retry(Cause::Status(head.status)) {
            return Err(Failure::Unwanted(head.status));
        }
        if let Some(code) = grpc_code(head)
            && self.may_retry(Cause::Grpc(code))
        {
            return Err(Failure::Unwanted(head.status));
        }
        let declines = self.order.context.upgrade.is_some() && (200..300).contains(&head.status);
        if declines && self.order.version == Version::Http2 {
            // To an extended CONNECT a success is the change of protocol (RFC 8441 §5).
            return Err(Failure::Response(ResponseError::UpgradeDeclined));
        }
        let keep = match self.upload.get() {
            UploadStage::Sent { ahead } => {
                let ahead = || ahead || self.disconnects.client.has_arrived();
                self.order.envelope.keep_alive && !(self.is_last)(&ahead)
            }
            _ => false,
        };
        if !head.is_interim() && self.intercepts(head) {
            return Ok(self.replaced(writer, (head, envelope), keep));
        }
        let mut encoded = self.worker.heads.take();
        let to = (self.order.version, !keep);
        let rules = self.order.pending.as_deref().filter(|_| !head.is_interim());
        let web = self.grpc_web().and_then(|web| Some((web, grpc_web::translates(head)?)));
        let room = web.is_none() && coding::has_room(self.worker);
        let (framing, compressed) = rules::edit_response(rules, head, room, |head, edit| {
            self.with_session(head, edit, |edit| match web {
                None => writer.encode_head(head, edit, to, &mut encoded),
                Some(web) => grpc_web::response(web, head, edit, |head, edit| {
                    writer.encode_head(head, edit, to, &mut encoded)
                }),
            })
        });
        self.note(head);
        let decided = Decided::of((head, envelope), encoded, (framing, writer.frame(framing)), keep);
        let coding = match web {
            Some((web, HasContent::Yes)) => Some(BodyCoding::GrpcWeb(web)),
            Some((_, HasContent::No)) => None,
            None => compressed.map(BodyCoding::Compressed),
        };
        Ok(match coding {
            Some(coding) if envelope.framing != Framing::None => {
                decided.encoded(coding, writer.frame(Framing::Chunked))
            }
            _ => decided,
        })
    }

    /// The fields of a response's head for the access log.
    pub(crate) fn note(&self, head: &ResponseHead<'_, '_>) {
        if !head.is_interim() {
            self.observed.responded();
            self.note_call(head);
            if let Some(record) = self.order.logged.borrow_mut().as_mut() {
                record.respond(head);
            }
        }
    }

    /// The response's body, its head in front of the first bytes of it.
    pub(crate) async fn pass_on(
        &self,
        mut decided: Decided,
        reader: ResponseReader<'_>,
        mut writer: ResponseWriter<'_>,
        deadline: &Deadline,
        mut buffer: Buffer,
    ) -> Result<Outcome, Failure> {
        if decided.coding.is_some() {
            return Box::pin(self.pass_on_encoded(decided, reader, writer, deadline, buffer)).await;
        }
        let mut state = BodyState::new(decided.framing);
        let mut reader = reader.body(&mut state).ok_or(Failure::BackendGone(None))?;
        reader.take_arrived(&mut buffer, decided.head_len, decided.framing);
        let encoded = std::mem::take(&mut decided.head);
        let filter = TrailerFilter::of_response(
            decided.named.as_deref(),
            (self.order.pending.as_deref(), decided.status),
            false,
        );
        let part = reader.take(&mut buffer, decided.head_len).map_err(Failure::ResponseBody)?;
        let lead = writer.lead(&encoded);
        let first = body::frame(&mut buffer, &part, lead, (reader.trailers(), filter), decided.out);
        let begun = writer.begin(decided.status, &encoded, first.is_end());
        self.worker.heads.give(encoded);
        // Until here a faulty response could still be answered with a 502.
        begun.map_err(uncarried)?;
        self.answer(!decided.unframed);
        self.wait(deadline, Phase::ClientWrite, self.limits.body_timeout);
        let (result, returned) = writer.write_piece(&first, buffer).await;
        buffer = returned;
        result.map_err(|_| Failure::ClientGone)?;
        buffer.consume(first.consumed);
        self.observed.bytes.set(first.len() as u64);
        if !first.done {
            let relay = self.relay(reader, writer.body(), (decided.out, filter), deadline);
            let pace = self.download_pace(deadline);
            let relaying = Box::pin(pace.keep(relay.run(buffer)));
            let relayed = relaying.await.unwrap_or(Err(RelayError::TooSlow));
            buffer = relayed.map_err(RelayError::of_response)?;
        }
        self.note_trailers(state.trailers());
        // Bytes behind the response belong to nothing: such a connection is not used again.
        let backend = decided.backend_keeps && self.is_sent() && buffer.is_idle();
        Ok(Outcome { backend, client: decided.client_keeps, tunnel: None })
    }

    /// The same with a body that is encoded on its way.
    pub(crate) async fn pass_on_encoded(
        &self,
        mut decided: Decided,
        reader: ResponseReader<'_>,
        writer: ResponseWriter<'_>,
        deadline: &Deadline,
        buffer: Buffer,
    ) -> Result<Outcome, Failure> {
        let Some(coding) = decided.coding else { return Err(Failure::BackendGone(None)) };
        if let BodyCoding::Page(head) = coding {
            return self.send_page(decided, head as usize, (reader, writer), deadline, buffer).await;
        }
        let lead = std::mem::take(&mut decided.head);
        let mut state = BodyState::new(decided.framing);
        let filter = TrailerFilter::of_response(
            decided.named.as_deref(),
            (self.order.pending.as_deref(), decided.status),
            true,
        );
        let reader = reader.body(&mut state).ok_or(Failure::BackendGone(None))?;
        let relay = self.relay(reader, writer.body(), (decided.out, filter), deadline);
        let begins = || self.answer(true);
        let lead = coding::Lead { status: decided.status, encoded: lead, received: decided.head_len };
        let of = (&**self.worker, &self.messages);
        let run = coding::run(of, coding, lead, relay, buffer, &begins);
        let pace = self.download_pace(deadline);
        let relayed = Box::pin(pace.keep(run)).await.unwrap_or(Err(RelayError::TooSlow));
        let buffer = relayed.map_err(RelayError::of_response)?;
        self.note_trailers(state.trailers());
        let backend = decided.backend_keeps && self.is_sent() && buffer.is_idle();
        Ok(Outcome { backend, client: decided.client_keeps, tunnel: None })
    }

    /// Phase and patience of a response's body, where it is read and where it is written.
    pub(crate) fn download_waits(&self) -> [(Phase, Duration); 2] {
        [(Phase::BackendBody, self.order.idle_timeout), (Phase::ClientWrite, self.limits.body_timeout)]
    }

    /// What is left of a response's body, on its way to the client.
    pub(crate) fn relay<'r>(
        &'r self,
        reader: BodyReader<'r>,
        writer: BodyWriter<'r>,
        (out, filter): (Frame, TrailerFilter<'r>),
        deadline: &'r Deadline,
    ) -> Relay<'r> {
        Relay {
            reader,
            writer,
            out,
            filter,
            deadline,
            phase: &self.phase,
            stage: self.download_stage(),
            moved: &self.observed.bytes,
            waits: self.download_waits(),
            opening: None,
            conversation: None,
            copy: None,
            decoder: None,
            allowance: u64::MAX,
            throttle: self.throttle(),
        }
    }

    /// Gives the backend back, or turns both connections into a tunnel.
    pub(crate) async fn finish(
        &self,
        answer: Outcome,
        client: &mut ClientStream<'_>,
        mut backend: UpstreamStream,
        deadline: &Deadline,
        rest: Option<Buffer>,
    ) -> Result<(Next, Buffer), Failure> {
        if let Some(from_backend) = answer.tunnel {
            let from_client = rest.unwrap_or_else(Buffer::small);
            let idle = self.order.idle_timeout;
            let backend = backend.tunnel_end().ok_or(Failure::BackendGone(None))?;
            let ends = (client.tunnel_end(), backend);
            let tunnel = tunnel::tunnel(self.worker, deadline, idle, ends, from_client, from_backend);
            self.observed.relayed.set(Some(tunnel.await));
            return Ok((Next::Abort, Buffer::small()));
        }
        if answer.backend && !self.order.authenticates {
            self.order.pool.check_in(self.worker, backend);
        } else {
            backend.reset();
        }
        match rest {
            Some(rest) if answer.client => Ok((Next::Idle, rest)),
            // What the client may still send is read, but not for ever, and not served.
            Some(rest) if self.is_sent() && rest.is_idle() => Ok((Next::Close, rest)),
            _ => Ok((Next::Linger, Buffer::small())),
        }
    }
}

/// A response's head that could not be begun: its client has left, or cannot be sent such a head.
fn uncarried(error: StreamError) -> Failure {
    match error {
        StreamError::Http2(StreamEnd::Send(SendError::Field | SendError::HeaderListTooLarge)) => {
            Failure::Response(ResponseError::Untranslatable)
        }
        _ => Failure::ClientGone,
    }
}

/// The code of a response of gRPC that has no messages (Trailers-Only).
fn grpc_code(head: &ResponseHead<'_, '_>) -> Option<u8> {
    if head.version != Version::Http2 || head.body == BodyLength::Unknown {
        return None;
    }
    std::str::from_utf8(head.fields.get("grpc-status")?).ok()?.parse().ok()
}
