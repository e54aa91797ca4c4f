//! A client connection as backends know it by a PROXY header: its id, its addresses, and the pools that keep
//! connections for it alone.

use std::cell::{Cell, OnceCell, RefCell};
use std::num::NonZeroU64;
use std::rc::Weak;

use super::connection_permit::ConnectionPermit;
use crate::io::PeerHandle;
use crate::proxy_protocol::{Addresses, Subject};

/// Identifies a client connection of a worker. No two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientId(NonZeroU64);

/// Gives ids.
#[derive(Debug)]
pub(crate) struct ClientIds(Cell<NonZeroU64>);

impl Default for ClientIds {
    fn default() -> Self {
        Self(Cell::new(NonZeroU64::MIN))
    }
}

impl ClientIds {
    fn next(&self) -> ClientId {
        ClientId(self.0.replace(self.0.get().saturating_add(1)))
    }
}

/// Where connections are kept that serve one client connection alone.
pub(crate) trait HoldsDedicated: std::fmt::Debug {
    /// A client connection has ended: its connections end.
    fn release(&self, client: ClientId);
}

/// A client connection as backends see it. When it is dropped, the connections that are kept for it are closed.
#[derive(Debug)]
pub struct ClientBinding {
    id: ClientId,
    /// `None` if the connection broke before they were read.
    addresses: Option<Addresses>,
    /// The pools that may keep connections for it.
    pools: RefCell<Vec<Weak<dyn HoldsDedicated>>>,
    /// See [`ProxiedOrigin`].
    _seat: Option<Box<ConnectionPermit>>,
}

/// The addresses of a connection's PROXY header, if it had one.
#[derive(Debug, Default)]
pub(crate) struct ProxiedOrigin {
    /// Both of its ends, if the header had them.
    pub(crate) addresses: Option<Addresses>,
    /// Its permit among the connections of its client, which was unknown before. Held to the connection's end.
    pub(crate) seat: Option<Box<ConnectionPermit>>,
}

impl ProxiedOrigin {
    /// Whether it must be kept.
    pub(crate) fn matters(&self) -> bool {
        self.addresses.is_some() || self.seat.is_some()
    }
}

impl ClientBinding {
    /// For the connection of `peer`, or the addresses of its PROXY header.
    pub(crate) fn new(ids: &ClientIds, said: ProxiedOrigin, peer: &PeerHandle) -> Self {
        let asked = || {
            let (source, destination) = peer.addresses()?;
            Some(Addresses { source, destination })
        };
        let addresses = said.addresses.or_else(asked);
        Self { id: ids.next(), addresses, pools: RefCell::default(), _seat: said.seat }
    }

    /// The client has left: what is kept for it ends.
    pub(crate) fn leave(&mut self) {
        for pool in self.pools.take().iter().filter_map(Weak::upgrade) {
            pool.release(self.id);
        }
    }

    pub(crate) fn id(&self) -> ClientId {
        self.id
    }

    /// The subject of a PROXY header for it.
    pub(crate) fn subject(&self) -> Subject {
        self.addresses.map_or(Subject::Unknown, Subject::Client)
    }

    /// From now on something may be kept for it in `pool`.
    pub(crate) fn is_known_to(&self, pool: &Weak<dyn HoldsDedicated>) {
        let mut pools = self.pools.borrow_mut();
        if !pools.iter().any(|known| Weak::ptr_eq(known, pool)) {
            // Those of configs that are over are gone by now.
            pools.retain(|known| known.strong_count() > 0);
            pools.push(Weak::clone(pool));
        }
    }
}

impl Drop for ClientBinding {
    fn drop(&mut self) {
        self.leave();
    }
}

/// [`ClientBinding`], once it is needed.
pub(crate) type Lazily = OnceCell<Box<ClientBinding>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_twice() {
        let ids = ClientIds::default();
        assert_ne!(ids.next(), ids.next());
    }
}
