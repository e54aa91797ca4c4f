//! What a client connection has of its own: the connections to backends that were told of it by a PROXY header.
//!
//! Whoever reads such a header takes all that comes over its connection for that one client's. So the connection serves
//! no other client, however idle it is, and ends when its client leaves. Between the exchanges of the client's connection
//! it waits in the pool, at its endpoint, under the client's id: there its age, its health and the generation of its
//! identity are looked after as everyone's are.

use std::cell::{Cell, OnceCell, RefCell};
use std::num::NonZeroU64;
use std::os::fd::RawFd;
use std::rc::Weak;

use rustc_hash::FxHashMap;

use super::pool::{Backend, Pool};
use super::seats::Seats;
use crate::io::peer;
use crate::proxy_protocol::{Addresses, Subject};

/// Tells the client connections of a worker apart. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(NonZeroU64);

/// Gives ids.
#[derive(Debug)]
pub(super) struct ClientIds(Cell<NonZeroU64>);

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

/// A client connection, as backends are told of it. When it is dropped, so is all that is kept for it.
#[derive(Debug)]
pub struct Own {
    id: ClientId,
    /// `None` if the connection broke before it could be asked.
    addresses: Option<Addresses>,
    /// Where something may be kept for it.
    pools: RefCell<Vec<Weak<Pool>>>,
    /// See [`Said`].
    _seat: Option<Box<Seats>>,
}

/// What a PROXY header said of a connection, if it had one.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Both of its ends, if the header had them.
    pub(super) addresses: Option<Addresses>,
    /// Its seat among the connections of its client, who was not known before. Held to the connection's end.
    pub(super) seat: Option<Box<Seats>>,
}

impl Said {
    /// Whether it must be remembered.
    pub(super) fn matters(&self) -> bool {
        self.addresses.is_some() || self.seat.is_some()
    }
}

impl Own {
    /// Of the connection `fd`, or of what it was said to be.
    pub(super) fn new(ids: &ClientIds, said: Said, fd: RawFd) -> Self {
        let asked = || {
            let (source, destination) = peer::addresses(fd)?;
            Some(Addresses { source, destination })
        };
        let addresses = said.addresses.or_else(asked);
        Self { id: ids.next(), addresses, pools: RefCell::default(), _seat: said.seat }
    }

    /// The client has left: what is kept for it ends.
    pub(super) fn leave(&mut self) {
        for pool in self.pools.take().iter().filter_map(Weak::upgrade) {
            pool.part_from(self.id);
        }
    }

    pub(super) fn id(&self) -> ClientId {
        self.id
    }

    /// What a header says of it.
    pub(super) fn subject(&self) -> Subject {
        self.addresses.map_or(Subject::Unknown, Subject::Client)
    }

    /// From now on something may be kept for it in `pool`.
    pub(super) fn is_known_to(&self, pool: &Weak<Pool>) {
        let mut pools = self.pools.borrow_mut();
        if !pools.iter().any(|known| known.ptr_eq(pool)) {
            // Those of configs that are over are gone by now.
            pools.retain(|known| known.strong_count() > 0);
            pools.push(Weak::clone(pool));
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.leave();
    }
}

/// [`Own`], once it is needed.
pub(super) type Lazily = OnceCell<Box<Own>>;

/// Idle connections to one endpoint, each of one client connection.
#[derive(Debug, Default)]
pub(super) struct Kept(RefCell<FxHashMap<ClientId, Box<Backend>>>);

impl Kept {
    pub(super) fn take(&self, client: ClientId) -> Option<Box<Backend>> {
        self.0.borrow_mut().remove(&client)
    }

    /// Keeps `backend`. Of more than `most`, the one that has waited longest ends.
    pub(super) fn put(&self, client: ClientId, backend: Box<Backend>, most: usize) {
        let mut kept = self.0.borrow_mut();
        // A client sends one request at a time: it has another one here only if that goes by another name.
        let before = kept.insert(client, backend);
        let over = kept.len() > most;
        let oldest =
            kept.iter().filter(|_| over).min_by_key(|(_, backend)| backend.since()).map(|(id, _)| *id);
        let given_up = oldest.and_then(|id| kept.remove(&id));
        drop(kept);
        drop((before, given_up));
    }

    pub(super) fn retain(&self, mut keeps: impl FnMut(&mut Backend) -> bool) {
        let mut kept = self.0.borrow_mut();
        if kept.is_empty() {
            return;
        }
        kept.retain(|_, backend| keeps(backend));
        if kept.is_empty() {
            kept.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_twice() {
        let ids = ClientIds::default();
        assert_ne!(ids.next(), ids.next());
    }
}
