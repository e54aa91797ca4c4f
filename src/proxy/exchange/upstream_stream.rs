//! The backend's side of one exchange: what is written and read on a stream that the pool has lent.

use super::body::{self, Frame, Part};
use super::body_reader::{BodyReader, BodyState};
use super::body_writer::BodyWriter;
use super::request_fields::RequestFields;
use super::trailer_filter::TrailerFilter;
use super::tunnel_end::TunnelEnd;
use crate::base::limits::Limits;
use crate::http::{BodyLength, OutgoingRequest, RequestContext, ResponseHead, Trailers};
use crate::http1::{self, Envelope, Framing, HeadLimits, Parsed, ResponseError};
use crate::http2::StreamEnd;
use crate::io::stream::Keep;
use crate::io::{Buffer, Reader, Stream, StreamError, Writer};
use crate::proxy::failure::Failure;
use crate::proxy::head_buffers::HeadBuffers;
use crate::proxy::http2::{self, Head};
use crate::proxy::upstream::http2_connection::LentStream;
use crate::proxy::upstream::stream::UpstreamStream;
use crate::tls::RecordError;

/// Where the request is written.
#[derive(Debug)]
pub(crate) enum RequestWriter<'s> {
    /// See [`UpstreamStream::H1`].
    H1(&'s mut Writer),
    /// See [`UpstreamStream::H2`].
    H2(&'s LentStream),
}

/// Where the response is read.
#[derive(Debug)]
pub(crate) enum ResponseReader<'s> {
    /// See [`UpstreamStream::H1`].
    H1(&'s mut Reader),
    /// See [`UpstreamStream::H2`].
    H2 {
        /// The stream.
        lent: &'s LentStream,
        /// A head that was received and not read.
        head: Option<Head>,
    },
}

impl UpstreamStream {
    /// Both of its directions, which an exchange may use at the same time.
    pub(crate) fn split(&mut self) -> (ResponseReader<'_>, RequestWriter<'_>) {
        match self {
            Self::H1(connection) => {
                let Stream { reader, writer, .. } = &mut connection.stream;
                (ResponseReader::H1(reader), RequestWriter::H1(writer))
            }
            Self::H2(lent) => (ResponseReader::H2 { lent, head: None }, RequestWriter::H2(lent)),
        }
    }

    /// All of it, for another protocol. `None`: its stream was not opened.
    pub(crate) fn tunnel_end(&mut self) -> Option<TunnelEnd<'_>> {
        match self {
            Self::H1(connection) => Some(TunnelEnd::H1(&mut connection.stream)),
            Self::H2(lent) => lent.stream().map(|stream| TunnelEnd::H2 { stream, connection: lent.peer() }),
        }
    }

    /// Ends the exchange before its end. Of HTTP/1 that ends the connection: the pool does not have it back.
    pub(crate) fn reset(self) {
        match self {
            Self::H1(connection) => drop(connection),
            Self::H2(lent) => drop(lent),
        }
    }

    /// What arrived of the response before it was asked for: with the handshake.
    pub(crate) fn take_early(&mut self) -> Option<Buffer> {
        match self {
            Self::H1(connection) => connection.early.take(),
            Self::H2(_) => None,
        }
    }
}

impl<'s> RequestWriter<'s> {
    /// Writes the request's head, encoded for this connection, and the first part of its body, in one send. `trailers` are
    /// those behind it, if it is the last part, and the filter decides which of them go on. The buffer has its plaintext still.
    pub(crate) async fn write_head(
        &mut self,
        heads: &HeadBuffers,
        head: &OutgoingRequest,
        first: &Part,
        trailers: (Trailers<'_>, TrailerFilter<'_>),
        mut buffer: Buffer,
        keep: Keep,
    ) -> (Result<(), StreamError>, Buffer) {
        match self {
            Self::H1(writer) => {
                let mut encoded = heads.take();
                let framing = http1::encode_request(head, &mut encoded);
                let piece = body::frame(&mut buffer, first, &encoded, trailers, Frame::of(framing));
                heads.give(encoded);
                piece.write(writer, buffer, keep).await
            }
            Self::H2(lent) => {
                let fields = RequestFields::of(head);
                if let Some(accept) = fields.accept() {
                    lent.settings().await;
                    lent.set_accept(accept);
                }
                let is_end = first.done && first.data() == 0;
                // A stream for another protocol stays open.
                let ends = is_end && trailers.0.is_empty() && lent.accept().is_none();
                let stream = match lent.open(&fields.line(), fields.fields(), ends) {
                    Ok(stream) => stream,
                    Err(error) => return (Err(StreamEnd::Send(error).into()), buffer),
                };
                if ends || is_end && lent.accept().is_some() {
                    return (Ok(()), buffer);
                }
                let piece = body::frame(&mut buffer, first, &[], trailers, Frame::Stream);
                BodyWriter::H2 { stream, connection: lent.peer() }.write_piece(&piece, buffer, keep).await
            }
        }
    }

    /// What is written behind the head. `None`: that was not sent.
    pub(crate) fn body(self) -> Option<BodyWriter<'s>> {
        match self {
            Self::H1(writer) => Some(BodyWriter::H1(writer)),
            Self::H2(lent) => lent.stream().map(|stream| BodyWriter::H2 { stream, connection: lent.peer() }),
        }
    }
}

impl<'s> ResponseReader<'s> {
    /// Hands `understood` the head that was received: at the buffer's front, or of the stream. `None`: it is not whole yet.
    ///
    /// # Errors
    /// The backend broke the rules of its version.
    pub(crate) fn read_head<R>(
        &mut self,
        buffer: &Buffer,
        limits: &Limits,
        to: &RequestContext,
        understood: impl FnOnce(&ResponseHead<'_, '_>, Envelope) -> R,
    ) -> Result<Option<R>, ResponseError> {
        match self {
            Self::H1(_) if buffer.is_empty() => Ok(None),
            Self::H1(_) => {
                let mut slots = http1::header_slots();
                let limits = HeadLimits::from(limits);
                match http1::parse_response(buffer.data(), &mut slots, &limits, to)? {
                    Parsed::Complete(head) => Ok(Some(understood(&head, head.envelope()))),
                    Parsed::Partial => Ok(None),
                }
            }
            Self::H2 { lent, head } => {
                let Some(Head { mut fields, end_stream, .. }) = head.take() else { return Ok(None) };
                let accept = lent.accept().filter(|_| fields.status() == Some(200) && !end_stream);
                if let Some(accept) = accept {
                    fields.push(b"sec-websocket-accept", accept.as_bytes());
                }
                let understood = |head: &ResponseHead<'_, '_>| {
                    let switched = ResponseHead {
                        status: 101,
                        reason: "Switching Protocols",
                        body: BodyLength::None,
                        content_length: None,
                        upgrade: Some("websocket"),
                        ..*head
                    };
                    let head = if accept.is_some() { &switched } else { head };
                    let framing = Framing::of(head.body);
                    understood(head, Envelope { len: 0, framing, keep_alive: true })
                };
                let result = fields.with_response(end_stream, to.head, understood);
                http2::Stream::give_fields(fields);
                result.map(Some).ok_or(ResponseError::TooManyFields)
            }
        }
    }

    /// Reads on behind what `buffer` has, or waits for the stream's next head. 0: the backend has closed.
    ///
    /// # Errors
    /// The connection, or the stream, broke.
    pub(crate) async fn fill(&mut self, buffer: Buffer) -> (Result<usize, Failure>, Buffer) {
        match self {
            Self::H1(reader) => {
                let (result, buffer) = reader.fill(buffer).await;
                let result = result.map_err(|error| match error {
                    StreamError::TooLarge => Failure::Response(ResponseError::HeadTooLong),
                    error => Failure::BackendGone(Some(error)),
                });
                (result, buffer)
            }
            Self::H2 { lent, head } => {
                let Some(stream) = lent.stream() else { return (Ok(0), buffer) };
                // Heads do not come by it: of many streams that wait, each would have its own, and none of them in the caches.
                drop(buffer);
                let result = match stream.head().await {
                    Ok(received) => {
                        *head = Some(received);
                        Ok(1)
                    }
                    Err(StreamError::Http2(StreamEnd::Lost)) => Err(Failure::BackendGone(Some(lost(lent)))),
                    Err(error) => Err(Failure::of_backend(error)),
                };
                (result, Buffer::small())
            }
        }
    }

    /// What is read behind the head. `None`: there is no stream.
    pub(crate) fn body(self, state: &'s mut BodyState) -> Option<BodyReader<'s>> {
        match self {
            Self::H1(reader) => Some(BodyReader::H1 { reader, body: &mut state.body }),
            Self::H2 { lent, .. } => {
                Some(BodyReader::H2 { stream: lent.stream()?, content: &mut state.content })
            }
        }
    }
}

/// Why a stream was lost with its connection.
fn lost(lent: &LentStream) -> StreamError {
    match lent.facts().alert {
        Some(alert) => StreamError::Tls(RecordError::PeerAlert(alert)),
        None => StreamError::Http2(StreamEnd::Lost),
    }
}
