//! One end of a tunnel, whatever version carries it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::io::stream::{Closed, Keep};
use crate::io::{Buffer, Deadline, PeerHandle, ReadCancel, Reader, Stream, StreamError, Writer};
use crate::proxy::http2;
use crate::proxy::idle::{self, Woken};
use crate::proxy::stream_peer::StreamPeer;

/// See the module.
#[derive(Debug)]
pub(crate) enum TunnelEnd<'a> {
    /// A whole connection.
    H1(&'a mut Stream),
    /// A stream of an HTTP/2 connection (RFC 8441).
    H2 {
        /// The stream.
        stream: &'a http2::Stream,
        /// The connection.
        connection: &'a PeerHandle,
    },
}

/// Where one direction is read.
#[derive(Debug)]
pub(super) enum TunnelReader<'a> {
    H1(&'a mut Reader),
    H2(&'a http2::Stream),
}

/// Where one direction is written.
#[derive(Debug)]
pub(super) enum TunnelWriter<'a> {
    H1(&'a mut Writer),
    H2(&'a http2::Stream),
}

/// What a read brought.
pub(super) enum Read {
    Data(Buffer),
    /// The end, in order.
    End,
    /// The peer is lost.
    Lost,
}

impl TunnelEnd<'_> {
    /// Both of its directions, and the peer.
    pub(super) fn split(&mut self) -> (TunnelReader<'_>, TunnelWriter<'_>, StreamPeer) {
        match self {
            Self::H1(stream) => {
                let peer = StreamPeer::H1(stream.reader.peer());
                let Stream { reader, writer } = &mut **stream;
                (TunnelReader::H1(reader), TunnelWriter::H1(writer), peer)
            }
            Self::H2 { stream, connection } => {
                let peer = StreamPeer::H2 { connection: (*connection).clone(), stream: stream.watch() };
                (TunnelReader::H2(stream), TunnelWriter::H2(stream), peer)
            }
        }
    }
}

impl TunnelReader<'_> {
    /// Waits for bytes, in silence without a buffer. `lull` is the wait's own.
    pub(super) async fn read(&mut self, lull: &Deadline, off: &mut ReadCancel, mut buffer: Buffer) -> Read {
        let reader = match self {
            Self::H1(reader) => reader,
            Self::H2(stream) => {
                let (result, filled) = stream.read(buffer).await;
                return match result {
                    Ok(0) => Read::End,
                    Ok(_) => Read::Data(filled),
                    Err(_) => Read::Lost,
                };
            }
        };
        loop {
            // Pinned where it is made: an await moves a large future, and what is moved is copied.
            let woken = pin!(idle::hot(reader, lull, off, buffer)).await;
            match woken {
                // Half a TLS record is no word yet: it moves no deadline, nor anything else.
                Woken::Data(filled) if filled.is_empty() => buffer = filled,
                Woken::Data(filled) => return Read::Data(filled),
                Woken::Lull | Woken::Interrupted => {
                    if reader.readable().await.is_err() {
                        return Read::Lost;
                    }
                    buffer = Buffer::small();
                }
                Woken::End => {
                    // The other direction is finished first: it may have to report a reset.
                    yield_now().await;
                    // A cut stream must not end as if it were whole.
                    return if reader.closed() == Closed::Clean { Read::End } else { Read::Lost };
                }
                Woken::Failed => return Read::Lost,
            }
        }
    }
}

impl TunnelWriter<'_> {
    /// Writes all of a buffer's plaintext.
    pub(super) async fn write(&mut self, buffer: Buffer) -> (Result<(), StreamError>, Buffer) {
        match self {
            Self::H1(writer) => pin!(writer.write_data(buffer, Keep::Nothing)).await,
            Self::H2(stream) => {
                let range = buffer.position()..buffer.position() + buffer.len();
                pin!(stream.write(buffer, range, false)).await
            }
        }
    }

    /// Ends this direction.
    pub(super) async fn shutdown(&mut self) -> Result<(), StreamError> {
        match self {
            Self::H1(writer) => writer.shutdown().await,
            Self::H2(stream) => stream.write_bytes(&[], true).await,
        }
    }
}

/// Lets the task's other futures run once.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
