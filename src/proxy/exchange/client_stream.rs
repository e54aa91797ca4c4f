//! The client's side of one exchange: its request, and the way back to it.

use super::body::{self, Part, Piece};
use crate::base::limits::Limits;
use crate::http::{Content, HeadEdit, RequestHead, ResponseHead, Trailers, Version};
use crate::http1::{
    self, Body, BodyError, Envelope, Framing, HeadLimits, Parsed, RequestError, ResponseContext,
};
use crate::io::stream::Keep;
use crate::io::{Buffer, Reader, Stream, StreamError, Writer};

/// A request whose head was read, and its response. An exchange has no other way to its client.
#[derive(Debug)]
pub(crate) enum ClientStream<'c> {
    /// HTTP/1: all of a connection, for as long as the request lasts.
    H1 {
        /// The connection.
        stream: &'c mut Stream,
        /// The head in the client's buffer, and the framing of the body behind it.
        envelope: Envelope,
        /// What is left of the body.
        body: Body,
    },
}

/// Where the request's body is read.
#[derive(Debug)]
pub(crate) enum RequestReader<'s> {
    /// See [`ClientStream::H1`].
    H1 {
        /// The connection.
        reader: &'s mut Reader,
        /// What is left of the body.
        body: &'s mut Body,
    },
}

/// Where the response is written.
#[derive(Debug)]
pub(crate) enum ResponseWriter<'s> {
    /// See [`ClientStream::H1`].
    H1(&'s mut Writer),
}

impl<'c> ClientStream<'c> {
    /// Hands `understood` the head of the HTTP/1 request at the front of `bytes`. `None`: it is not whole yet.
    ///
    /// # Errors
    /// The client broke the rules of its version.
    pub(crate) fn read_head<R>(
        bytes: &[u8],
        limits: &Limits,
        understood: impl FnOnce(&RequestHead<'_, '_>, Envelope) -> R,
    ) -> Result<Option<R>, RequestError> {
        let mut slots = http1::header_slots();
        match http1::parse_request(bytes, &mut slots, &HeadLimits::from(limits))? {
            Parsed::Complete(head) => Ok(Some(understood(&head, head.envelope()))),
            Parsed::Partial => Ok(None),
        }
    }

    /// Whether the HTTP/1 request at the front of `bytes`, which may be malformed, is HEAD.
    pub(crate) fn is_head(bytes: &[u8]) -> bool {
        http1::is_head_request(bytes)
    }

    /// The stream of an HTTP/1 connection whose request has this head.
    pub(crate) fn http1(stream: &'c mut Stream, envelope: Envelope) -> Self {
        Self::H1 { stream, envelope, body: Body::new(envelope.framing) }
    }

    /// Takes what `buffer` has of the body, behind the head.
    ///
    /// # Errors
    /// The body broke the rules of its framing.
    pub(crate) fn take_first(&mut self, buffer: &mut Buffer) -> Result<Part, BodyError> {
        match self {
            Self::H1 { envelope, body, .. } => body::take(buffer, envelope.len, body),
        }
    }

    /// Reads on behind what `buffer` has.
    pub(crate) async fn fill(&mut self, buffer: Buffer) -> (Result<usize, StreamError>, Buffer) {
        match self {
            Self::H1 { stream, .. } => stream.reader.fill(buffer).await,
        }
    }

    /// Whether the client has sent more than was read.
    pub(crate) fn has_arrived(&self) -> bool {
        match self {
            Self::H1 { stream, .. } => stream.reader.peer().has_arrived(),
        }
    }

    /// Ends the response before its end, so that the client does not take it for whole. Of HTTP/1 that ends the connection.
    pub(crate) fn reset(&mut self) {
        match self {
            Self::H1 { stream, .. } => stream.reset(),
        }
    }

    /// Both of its directions, which an exchange may use at the same time.
    pub(crate) fn split(&mut self) -> (RequestReader<'_>, ResponseWriter<'_>) {
        match self {
            Self::H1 { stream: Stream { reader, writer, .. }, body, .. } => {
                (RequestReader::H1 { reader, body }, ResponseWriter::H1(writer))
            }
        }
    }
}

impl RequestReader<'_> {
    /// The trailer fields of the body, once it has ended.
    pub(crate) fn trailers(&self) -> Trailers<'_> {
        match self {
            Self::H1 { body, .. } => body.trailers(),
        }
    }
}

impl<'s> ResponseWriter<'s> {
    /// Of an HTTP/1 connection whose request was not understood.
    pub(crate) fn http1(stream: &'s mut Stream) -> Self {
        Self::H1(&mut stream.writer)
    }

    /// Appends the head of a response of Ringate's own: `fields` are further field lines, checked where they were made.
    pub(crate) fn encode_local(
        &self,
        status: u16,
        (fields, content): (&[u8], Option<Content<'_>>),
        close: bool,
        edit: &HeadEdit<'_>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::H1(_) => http1::encode_answer(status, fields, content, close, edit, out),
        }
    }

    /// Writes a whole response, head and body in one send.
    pub(crate) async fn write_local(&mut self, encoded: &[u8]) -> Result<(), StreamError> {
        match self {
            Self::H1(writer) => writer.write_bytes(encoded).await,
        }
    }

    /// Appends a response's head, changed by `edit`, to a client of `version`. Returns how its body is framed. `close`: the
    /// connection ends after the response.
    pub(crate) fn encode_head(
        &self,
        head: &ResponseHead<'_, '_>,
        edit: &HeadEdit<'_>,
        (version, close): (Version, bool),
        out: &mut Vec<u8>,
    ) -> Framing {
        match self {
            Self::H1(_) => http1::encode_response(head, edit, &ResponseContext { version, close }, out),
        }
    }

    /// Writes an encoded head that no body follows.
    pub(crate) async fn write_head(&mut self, encoded: &[u8]) -> Result<(), StreamError> {
        match self {
            Self::H1(writer) => writer.write_bytes(encoded).await,
        }
    }

    /// Writes part of a body, with the head in front of it where there is one.
    pub(crate) async fn write_piece(
        &mut self,
        piece: &Piece,
        buffer: Buffer,
    ) -> (Result<(), StreamError>, Buffer) {
        match self {
            Self::H1(writer) => piece.write(writer, buffer, Keep::Nothing).await,
        }
    }
}
