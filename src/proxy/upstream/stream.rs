//! What a pool lends to one exchange.

use super::certificate_verdict::CertificateVerdict;
use super::connection::{ConnectionFacts, UpstreamConnection};
use super::http2_connection::LentStream;

/// An exchange's part of a connection to a backend.
///
/// A connection has a capacity: how many streams it carries at a time. An HTTP/1 connection has a capacity of one, so that
/// its stream is the connection, and the pool has the connection back when the exchange is over.
#[derive(Debug)]
pub enum UpstreamStream {
    /// HTTP/1.1: all of a connection.
    H1(Box<UpstreamConnection>),
    /// HTTP/2: a stream of a connection that carries others.
    H2(LentStream),
}

impl UpstreamStream {
    /// What is known of the connection that carries it.
    pub(crate) fn facts(&self) -> ConnectionFacts<'_> {
        match self {
            Self::H1(connection) => connection.facts(),
            Self::H2(lent) => lent.facts(),
        }
    }

    /// The endpoint of the pool, by its index.
    pub(crate) fn endpoint(&self) -> usize {
        match self {
            Self::H1(connection) => connection.endpoint,
            Self::H2(lent) => lent.endpoint(),
        }
    }

    /// Whether the connection has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::H1(connection) => connection.reused,
            Self::H2(lent) => lent.is_reused(),
        }
    }

    /// What the backend makes of the connection's client certificate.
    pub(crate) fn verdict(&self) -> CertificateVerdict {
        self.facts().verdict
    }
}
