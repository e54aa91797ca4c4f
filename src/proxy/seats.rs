//! Seats: how many connections a listener has, and how many a client has of them, over all workers.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::Local;
use super::running::{Listener, Traffic};
use crate::base::tally::{Entry, Key};
use crate::io::buffer::{self, Use};
use crate::io::{TcpStream, socket};
use std::os::fd::AsRawFd;

/// What is said to a client whose connection is refused. It is sent before its request is read: a client that
/// speaks TLS or something else would not understand it.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Retry-After: 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 24\r\n\
    Connection: close\r\n\
    \r\n\
    503 Service Unavailable\n";

/// The seats that one connection holds, given back when it is dropped.
#[derive(Debug)]
pub struct Seats {
    local: Rc<Local>,
    held: [Option<Key>; 2],
}

impl Drop for Seats {
    fn drop(&mut self) {
        for key in self.held.into_iter().flatten() {
            self.local.tally.leave(key);
        }
    }
}

/// Whether a connection may be served.
#[derive(Debug)]
pub enum Admission {
    /// It may. Nothing is held where nothing is bounded.
    Seated(Option<Box<Seats>>),
    /// Its listener has as many as it may: ask again in a moment.
    Wait,
    /// It may not.
    Refused(Bound),
}

/// What a refused connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `limits.connections_per_client`
    Client,
    /// `limits.buffer_memory`
    Memory,
}

/// Asks for the seats of a connection from `peer`. A bound that a reload brings counts from then on.
pub fn admit(local: &Rc<Local>, listener: &Listener, peer: SocketAddr) -> Admission {
    if buffer::in_use() >= Use::Short {
        return Admission::Refused(Bound::Memory);
    }
    let limits = &listener.limits;
    // Who a load balancer speaks for is said by its header.
    let per_client = if listener.proxy_protocol.is_none() { limits.connections_per_client } else { 0 };
    if limits.connections == 0 && per_client == 0 {
        return Admission::Seated(None);
    }
    let mut seats = Box::new(Seats { local: Rc::clone(local), held: [None; 2] });
    // The client's first: one that is refused must not wait.
    if per_client > 0 && seats.enter_client(listener, peer).is_err() {
        return Admission::Refused(Bound::Client);
    }
    if limits.connections > 0 {
        let key = local.tally.key(&*listener.name);
        match local.tally.enter(key, limits.connections) {
            Entry::Counted => seats.held[1] = Some(key),
            Entry::Uncounted => {}
            Entry::Full => return Admission::Wait,
        }
    }
    Admission::Seated(Some(seats))
}

/// Asks for the seat among the connections of the client `peer`, known by now from a PROXY header.
///
/// # Errors
/// The client has as many as it may.
pub fn admit_client(
    local: &Rc<Local>,
    listener: &Listener,
    peer: SocketAddr,
) -> Result<Option<Box<Seats>>, Bound> {
    if listener.limits.connections_per_client == 0 {
        return Ok(None);
    }
    let mut seats = Box::new(Seats { local: Rc::clone(local), held: [None; 2] });
    seats.enter_client(listener, peer)?;
    Ok(Some(seats))
}

impl Seats {
    fn enter_client(&mut self, listener: &Listener, peer: SocketAddr) -> Result<(), Bound> {
        let tally = &self.local.tally;
        let key = tally.key(&(&*listener.name, client(peer.ip())));
        match tally.enter(key, listener.limits.connections_per_client) {
            Entry::Counted => self.held[0] = Some(key),
            Entry::Uncounted => {}
            Entry::Full => return Err(Bound::Client),
        }
        Ok(())
    }
}

/// Closes a connection that met a bound, with a word where it would be understood.
pub fn refuse(local: &Local, listener: &Listener, tcp: &TcpStream, bound: Bound) {
    match bound {
        Bound::Client => local.counters.limit_connections_per_client.add(1),
        Bound::Memory => local.counters.limit_buffer_memory.add(1),
    }
    if listener.tls.is_none() && matches!(listener.traffic, Traffic::Http { .. }) {
        local.count_status(503);
        socket::send_now(tcp.as_raw_fd(), TOO_MANY);
    }
}

/// What counts as one client: an IPv4 address, or the network that an IPv6 host chooses its addresses from.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_ipv4() {
        let client = |text: &str| client(text.parse().unwrap());
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::9"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn the_words_are_as_long_as_they_say() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 24);
    }
}
