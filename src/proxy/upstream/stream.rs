//! What a pool lends to one exchange.

use super::certificate_verdict::CertificateVerdict;
use super::connection::UpstreamConnection;

/// An exchange's part of a connection to a backend.
///
/// A connection has a capacity: how many streams it carries at a time. An HTTP/1 connection has a capacity of one, so that
/// its stream is the connection, and the pool has the connection back when the exchange is over.
#[derive(Debug)]
pub enum UpstreamStream {
    /// HTTP/1.1: all of a connection.
    H1(Box<UpstreamConnection>),
}

impl UpstreamStream {
    /// The connection that carries it.
    pub(crate) fn connection(&self) -> &UpstreamConnection {
        match self {
            Self::H1(connection) => connection,
        }
    }

    /// The endpoint of the pool, by its index.
    pub(crate) fn endpoint(&self) -> usize {
        self.connection().endpoint
    }

    /// Whether the connection has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.connection().reused
    }

    /// What the backend makes of the connection's client certificate.
    pub(crate) fn verdict(&self) -> CertificateVerdict {
        self.connection().verdict
    }
}
