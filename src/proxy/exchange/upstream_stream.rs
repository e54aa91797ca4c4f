//! The backend's side of one exchange: what is written and read on a stream that the pool has lent.

use super::body::{self, Frame, Part};
use super::body_reader::{BodyReader, BodyState};
use super::body_writer::BodyWriter;
use super::trailer_filter::TrailerFilter;
use super::tunnel_end::TunnelEnd;
use crate::base::limits::Limits;
use crate::http::{OutgoingRequest, RequestContext, ResponseHead, Trailers};
use crate::http1::{self, Envelope, HeadLimits, Parsed, ResponseError};
use crate::io::stream::Keep;
use crate::io::{Buffer, Reader, Stream, StreamError, Writer};
use crate::proxy::upstream::stream::UpstreamStream;
use crate::proxy::worker::HeadBuffers;

/// Where the request is written.
#[derive(Debug)]
pub(crate) enum RequestWriter<'s> {
    /// See [`UpstreamStream::H1`].
    H1(&'s mut Writer),
}

/// Where the response is read.
#[derive(Debug)]
pub(crate) enum ResponseReader<'s> {
    /// See [`UpstreamStream::H1`].
    H1(&'s mut Reader),
}

impl UpstreamStream {
    /// Both of its directions, which an exchange may use at the same time.
    pub(crate) fn split(&mut self) -> (ResponseReader<'_>, RequestWriter<'_>) {
        match self {
            Self::H1(connection) => {
                let Stream { reader, writer, .. } = &mut connection.stream;
                (ResponseReader::H1(reader), RequestWriter::H1(writer))
            }
        }
    }

    /// All of it, for another protocol.
    pub(crate) fn tunnel_end(&mut self) -> TunnelEnd<'_> {
        match self {
            Self::H1(connection) => TunnelEnd::H1(&mut connection.stream),
        }
    }

    /// Ends the exchange before its end. Of HTTP/1 that ends the connection: the pool does not have it back.
    pub(crate) fn reset(self) {
        match self {
            Self::H1(connection) => drop(connection),
        }
    }

    /// What arrived of the response before it was asked for: with the handshake.
    pub(crate) fn take_early(&mut self) -> Option<Buffer> {
        match self {
            Self::H1(connection) => connection.early.take(),
        }
    }
}

impl<'s> RequestWriter<'s> {
    /// What is written behind the head.
    pub(crate) fn body(self) -> BodyWriter<'s> {
        match self {
            Self::H1(writer) => BodyWriter::H1(writer),
        }
    }

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
        }
    }
}

impl<'s> ResponseReader<'s> {
    /// What is read behind the head.
    pub(crate) fn body(self, state: &'s mut BodyState) -> BodyReader<'s> {
        match self {
            Self::H1(reader) => BodyReader::H1 { reader, body: &mut state.body },
        }
    }

    /// Hands `understood` the head at the buffer's front. `None`: it is not whole yet.
    ///
    /// # Errors
    /// The backend broke the rules of its version.
    pub(crate) fn read_head<R>(
        &self,
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
        }
    }

    /// Reads on behind what `buffer` has.
    pub(crate) async fn fill(&mut self, buffer: Buffer) -> (Result<usize, StreamError>, Buffer) {
        match self {
            Self::H1(reader) => reader.fill(buffer).await,
        }
    }
}
