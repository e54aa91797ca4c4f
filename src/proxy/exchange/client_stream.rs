//! The client's side of one exchange: its request, and the way back to it.

use super::body::{self, Part, Piece};
use crate::http::{HeadEdit, ResponseHead, Version};
use crate::http1::{self, Body, BodyError, Envelope, Framing, ResponseContext};
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
    /// The trailer fields of the body, as lines, once it has ended.
    pub(crate) fn trailers(&self) -> &[u8] {
        match self {
            Self::H1 { body, .. } => body.trailers(),
        }
    }
}

impl ResponseWriter<'_> {
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
