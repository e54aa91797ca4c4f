//! Seats: how many connections a listener has, and how many a client has of them, over all workers.

use std::fmt;

use crate::base::address::Peer;
use crate::base::failures::Failed;
use crate::base::tally::Entry;
use crate::io::buffer::{self, Use};
use crate::io::{TcpStream, socket};
use crate::proxy::connection_permit::ConnectionPermit;
use crate::proxy::failure::Failure;
use crate::proxy::snapshot::{Listener, Traffic};
use crate::proxy::worker::Worker;

/// The response to a client whose connection is refused. It is sent before its request is read: a client that
/// speaks TLS or something else would not understand it.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Retry-After: 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 24\r\n\
    Connection: close\r\n\
    \r\n\
    503 Service Unavailable\n";

/// Whether a connection may be served.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It may. Nothing is held where nothing is bounded.
    Seated(Option<Box<ConnectionPermit>>),
    /// Its listener has as many as it may: try again in a moment.
    Wait,
    /// Its connection is refused.
    Refused(Bound),
}

/// What a refused connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// `limits.connections_per_client`
    Client,
    /// `limits.buffer_memory`
    Memory,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => {
                f.write_str("the client has as many connections as limits.connections_per_client")
            }
            Self::Memory => Failure::MemoryShort.fmt(f),
        }
    }
}

/// Takes the permits of a connection from `peer`. A bound that a reload brings counts from then on.
pub(crate) fn admit(worker: &Worker, listener: &Listener, peer: Peer) -> Admission {
    if buffer::in_use() >= Use::Short {
        return Admission::Refused(Bound::Memory);
    }
    let limits = &listener.limits;
    // With a PROXY header, the client is known only when that has been read.
    let per_client = if listener.proxy_protocol.is_none() { limits.connections_per_client } else { 0 };
    if limits.connections == 0 && per_client == 0 {
        return Admission::Seated(None);
    }
    let mut seats = ConnectionPermit::new(&worker.tally);
    // The client's first: one that is refused must not wait. Clients of a Unix socket are not told apart.
    if per_client > 0
        && let Some(address) = peer.ip()
        && seats.enter_client((&listener.name, per_client), address).is_err()
    {
        return Admission::Refused(Bound::Client);
    }
    if limits.connections > 0 {
        let key = worker.tally.key(&*listener.name);
        match worker.tally.enter(key, limits.connections) {
            Entry::Counted => seats.held[1] = Some(key),
            Entry::Uncounted => {}
            Entry::Full => return Admission::Wait,
        }
    }
    Admission::Seated(Some(seats))
}

/// Takes the permit among the connections of the client `peer`, known by now from a PROXY header.
///
/// # Errors
/// The client has as many as it may.
pub(crate) fn admit_client(
    worker: &Worker,
    listener: &Listener,
    peer: Peer,
) -> Result<Option<Box<ConnectionPermit>>, Bound> {
    let Some(address) = peer.ip().filter(|_| listener.limits.connections_per_client > 0) else {
        return Ok(None);
    };
    let mut seats = ConnectionPermit::new(&worker.tally);
    let bound = listener.limits.connections_per_client;
    seats.enter_client((&listener.name, bound), address).map_err(|_| Bound::Client)?;
    Ok(Some(seats))
}

/// Closes a connection that met a bound, with a word where it would be understood.
pub(crate) fn refuse(worker: &Worker, listener: &Listener, tcp: &TcpStream, bound: Bound) {
    match bound {
        Bound::Client => worker.counters.limit_connections_per_client.add(1),
        Bound::Memory => worker.counters.limit_buffer_memory.add(1),
    }
    let is_answered = listener.tls.is_none() && matches!(listener.traffic, Traffic::Http { .. });
    // A client that opens too many can push out what others did wrong, and nothing of the backends.
    let (clients, kind) = match bound {
        Bound::Client => (true, "connection_limit_reached"),
        Bound::Memory => (false, "proxy_internal_error"),
    };
    let status = if is_answered { 503 } else { 0 };
    worker.counters.failures.note(&Failed { clients, status, ..Failed::at(&listener.name, kind, &bound) });
    if is_answered {
        worker.count_status(503);
        socket::send_last(tcp, TOO_MANY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_as_long_as_they_say() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 24);
    }
}
