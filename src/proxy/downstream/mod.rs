//! The client's side: accepted connections, their PROXY header and TLS handshake, and the protocol spoken on them.

pub(crate) mod accept;
pub(crate) mod accepted;
pub(crate) mod connection_limits;
pub(crate) mod frontend;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod listener;
pub(crate) mod passthrough;
pub(crate) mod proxy_header;
mod refusal;
pub(crate) mod tcp;
pub(crate) mod udp;
