//! The PROXY header before a client connection's own first byte, where the listener takes one.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use super::Local;
use super::own::Said;
use super::running::Listener;
use super::seats;
use crate::base::sample::sampled;
use crate::io::proxy_header::{self, ProxyHeaderError};
use crate::io::{Deadline, Fired, TcpStream};
use crate::proxy_protocol::Accept;

/// Whose a connection is.
#[derive(Debug)]
pub(super) struct Origin {
    /// The client.
    pub(super) peer: SocketAddr,
    /// What a header said of it.
    pub(super) said: Said,
}

/// Reads the header before `deadline`, and seats the connection with the client that it names. `None`: it is over.
pub(super) async fn read(
    local: &Rc<Local>,
    listener: &Listener,
    accept: Accept,
    tcp: &TcpStream,
    peer: SocketAddr,
    deadline: &Deadline,
) -> Option<Origin> {
    let reason = match deadline.race(pin!(proxy_header::read(tcp, accept))).await {
        Ok(Ok(header)) => {
            local.counters.proxy_headers.add(1);
            let addresses = header.addresses;
            let peer = addresses.map_or(peer, |addresses| addresses.source);
            return match seats::admit_client(local, listener, peer) {
                Ok(seat) => Some(Origin { peer, said: Said { addresses, seat } }),
                Err(bound) => {
                    seats::refuse(local, listener, tcp, bound);
                    None
                }
            };
        }
        // A look whether the port is open, which a load balancer may make every second.
        Ok(Err(ProxyHeaderError::Left)) | Err(Fired::Interrupted) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(Fired::Expired) => {
            local.counters.timeouts.add(1);
            local.counters.limit_head_timeout.add(1);
            "no whole PROXY header within `limits.head_timeout`".to_owned()
        }
    };
    local.counters.proxy_header_failures.add(1);
    sampled!(
        info,
        ProxyHeader of &listener.name,
        { listener = listener.name, client = %peer, },
        "connection refused: {reason}"
    );
    None
}
