//! The PROXY header before a client connection's own first byte, where the listener takes one.

use std::pin::pin;
use std::rc::Rc;

use crate::base::address::Peer;
use crate::base::sample::sampled;
use crate::io::proxy_header::{self, ProxyHeaderError};
use crate::io::{Deadline, Fired, TcpStream};
use crate::proxy::client_binding::ProxiedOrigin;
use crate::proxy::downstream::connection_limits;
use crate::proxy::snapshot::Listener;
use crate::proxy::worker::Worker;
use crate::proxy_protocol::Accept;

/// Whose a connection is.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The client.
    pub(crate) peer: Peer,
    /// The addresses of its header.
    pub(crate) said: ProxiedOrigin,
}

/// Reads the header before `deadline`, and seats the connection with the client that it names. `None`: it is over.
pub(crate) async fn read(
    worker: &Rc<Worker>,
    listener: &Listener,
    accept: Accept,
    tcp: &TcpStream,
    peer: Peer,
    deadline: &Deadline,
) -> Option<Origin> {
    let reason = match deadline.race(pin!(proxy_header::read(tcp, accept))).await {
        Ok(Ok(header)) => {
            worker.counters.proxy_headers.add(1);
            let addresses = header.addresses;
            let peer = addresses.map_or(peer, |addresses| Peer::Ip(addresses.source));
            return match connection_limits::admit_client(worker, listener, peer) {
                Ok(seat) => Some(Origin { peer, said: ProxiedOrigin { addresses, seat } }),
                Err(bound) => {
                    connection_limits::refuse(worker, listener, tcp, bound);
                    None
                }
            };
        }
        // A health check by connecting, which a load balancer may make every second.
        Ok(Err(ProxyHeaderError::Left)) | Err(Fired::Interrupted | Fired::Displaced) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(Fired::Expired) => {
            worker.counters.timeouts.add(1);
            worker.counters.limit_head_timeout.add(1);
            "no whole PROXY header within `limits.head_timeout`".to_owned()
        }
    };
    worker.counters.proxy_header_failures.add(1);
    sampled!(
        info,
        ProxyHeader of &listener.name,
        { listener = listener.name, client = %peer, },
        "connection refused: {reason}"
    );
    None
}
