//! The other end of a stream, whatever version carries it: to look at it while the stream is in use.

use super::http2::StreamWatch;
use crate::io::PeerHandle;
use crate::io::peer::Flow;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum StreamPeer {
    /// HTTP/1: of a connection. The kernel is asked.
    H1(PeerHandle),
    /// HTTP/2: of one stream of a connection.
    H2 {
        /// The connection.
        connection: PeerHandle,
        /// The stream.
        stream: StreamWatch,
    },
}

impl StreamPeer {
    /// The connection that carries it.
    pub(crate) fn connection(&self) -> &PeerHandle {
        match self {
            Self::H1(connection) | Self::H2 { connection, .. } => connection,
        }
    }

    /// How much it has carried; `None` if that is unknown.
    pub(crate) fn flow(&self) -> Option<Flow> {
        match self {
            Self::H1(connection) => connection.flow(),
            Self::H2 { stream, .. } => stream.flow(),
        }
    }

    /// Whether bytes of the peer wait to be read, of another request perhaps. Streams of HTTP/2 carry one each.
    pub(crate) fn has_arrived(&self) -> bool {
        match self {
            Self::H1(connection) => connection.has_arrived(),
            Self::H2 { .. } => false,
        }
    }

    /// Whether nothing of what the peer sent waits to be read.
    pub(crate) fn is_drained(&self) -> bool {
        match self {
            Self::H1(connection) => connection.is_drained(),
            Self::H2 { stream, .. } => stream.is_drained(),
        }
    }

    /// Whether the peer has ended its side of an HTTP/1 connection, or an HTTP/2 stream before its time.
    pub(crate) fn has_left(&self) -> bool {
        match self {
            Self::H1(connection) => connection.has_left(),
            Self::H2 { stream, .. } => stream.has_left(),
        }
    }
}
