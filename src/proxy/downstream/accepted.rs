//! A client connection whose PROXY header and TLS handshake are done.

use std::rc::Rc;

use super::listener::ListenerSocket;
use super::proxy_header::Origin;
use crate::io::{Buffer, Deadline, Stream};
use crate::proxy::client::ClientTls;
use crate::proxy::worker::Worker;

/// A client connection, its handshake done.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listening: Rc<ListenerSocket>,
    pub(crate) stream: Stream,
    /// What arrived behind the handshake.
    pub(crate) early: Option<Buffer>,
    pub(crate) deadline: Deadline,
    pub(crate) origin: Origin,
    pub(crate) tls: Option<Box<ClientTls>>,
    /// HTTP/2 was negotiated by ALPN.
    pub(crate) http2: bool,
}
