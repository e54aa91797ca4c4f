//! Where a body is written, whatever version carries it.

use std::pin::pin;

use super::body::{Frame, Piece};
use crate::http1::Framing;
use crate::http2::{FieldLines, SendError, StreamEnd};
use crate::io::stream::Keep;
use crate::io::{Buffer, PeerHandle, Pipe, StreamError, Writer};
use crate::proxy::http2;
use crate::proxy::stream_peer::StreamPeer;

/// One direction of a stream, behind the head.
#[derive(Debug)]
pub(crate) enum BodyWriter<'a> {
    /// Of an HTTP/1 connection.
    H1(&'a mut Writer),
    /// Of a stream of an HTTP/2 connection.
    H2 {
        /// The stream.
        stream: &'a http2::Stream,
        /// The connection.
        connection: &'a PeerHandle,
    },
}

impl BodyWriter<'_> {
    /// How a body of this framing is sent here.
    pub(crate) fn frame(&self, framing: Framing) -> Frame {
        match self {
            Self::H1(_) => Frame::of(framing),
            Self::H2 { .. } => Frame::Stream,
        }
    }

    /// The other end.
    pub(crate) fn peer(&self) -> StreamPeer {
        match self {
            Self::H1(writer) => StreamPeer::H1(writer.peer()),
            Self::H2 { stream, connection } => {
                StreamPeer::H2 { connection: (*connection).clone(), stream: stream.watch() }
            }
        }
    }

    /// Writes a part of what is in a pipe: only where [`BodyReader::may_pass_unseen`](super::body_reader::BodyReader) allows it.
    pub(crate) async fn write_unseen(&mut self, pipe: &mut Pipe) -> Result<usize, StreamError> {
        match self {
            Self::H1(writer) => Ok(writer.write_unseen(pipe).await?),
            Self::H2 { .. } => Err(StreamError::Http2(StreamEnd::Send(SendError::State))),
        }
    }

    /// Writes a piece that was framed for this writer. The buffer comes back with its plaintext not yet consumed.
    pub(crate) async fn write_piece(
        &mut self,
        piece: &Piece,
        buffer: Buffer,
        keep: Keep,
    ) -> (Result<(), StreamError>, Buffer) {
        match self {
            Self::H1(writer) => piece.write(writer, buffer, keep).await,
            Self::H2 { stream, .. } => pin!(write_content(stream, piece, buffer)).await,
        }
    }
}

/// Writes a piece's content, and the trailers behind it if it is the last one.
async fn write_content(
    stream: &http2::Stream,
    piece: &Piece,
    buffer: Buffer,
) -> (Result<(), StreamError>, Buffer) {
    let (range, trailers) = piece.content();
    let end = piece.done && trailers.is_empty();
    if range.is_empty() && !end && trailers.is_empty() {
        return (Ok(()), buffer);
    }
    let (result, buffer) = stream.write(buffer, range, end).await;
    match result {
        Ok(()) if !trailers.is_empty() => (stream.send_trailers(FieldLines::of(trailers)), buffer),
        result => (result, buffer),
    }
}
