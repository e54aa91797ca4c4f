//! A worker's connections to backends that were made with a client identity: each is counted where its generation's
//! uses are, and can be ended from outside when that generation's time is over.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::base::uses::Place;
use crate::io::PeerHandle;
use crate::tls::Identity;

/// All of a worker's.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrackedConnections(Rc<RefCell<Slots>>);

#[derive(Debug, Default)]
struct Slots {
    held: Vec<Option<Held>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Held {
    peer: PeerHandle,
    identity: Arc<Identity>,
    /// The generation is the fallback of one that was refused: grace does not end it.
    rescue: bool,
}

/// One connection's entry, removed when this is dropped. The entry keeps the socket open, so that it can only end its own
/// connection.
#[derive(Debug)]
pub(crate) struct TrackedConnection {
    holds: TrackedConnections,
    index: usize,
    /// Where its use is counted; `None` once the connection is no longer this worker's.
    place: Option<Arc<Place>>,
    /// How long the connection has been idle, where it is known to be.
    idle: Duration,
}

/// The entry of a connection that no worker has.
#[derive(Debug)]
pub(crate) struct DetachedTrack {
    place: CountedPlace,
    identity: Arc<Identity>,
    rescue: bool,
}

/// A connection that is counted at its place until this is dropped.
#[derive(Debug)]
struct CountedPlace {
    /// `None` once a worker counts it again.
    place: Option<Arc<Place>>,
    idle: Duration,
}

impl Drop for CountedPlace {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.close(self.idle);
        }
    }
}

impl DetachedTrack {
    /// Whether the time of its generation is over.
    pub(crate) fn is_overdue(&self, now: SystemTime) -> bool {
        self.identity.uses().is_over(now, self.rescue)
    }
}

impl TrackedConnections {
    /// Enters a connection.
    pub(crate) fn hold(
        &self,
        peer: PeerHandle,
        identity: &Arc<Identity>,
        place: &Arc<Place>,
        rescue: bool,
    ) -> TrackedConnection {
        place.open();
        self.enter(Held { peer, identity: Arc::clone(identity), rescue }, Arc::clone(place), Duration::ZERO)
    }

    /// Enters a connection that another worker had. It has been counted all the time.
    pub(crate) fn attach(&self, peer: PeerHandle, track: DetachedTrack) -> Option<TrackedConnection> {
        let DetachedTrack { mut place, identity, rescue } = track;
        let idle = place.idle;
        place.place.take().map(|place| self.enter(Held { peer, identity, rescue }, place, idle))
    }

    fn enter(&self, held: Held, place: Arc<Place>, idle: Duration) -> TrackedConnection {
        let held = Some(held);
        let mut slots = self.0.borrow_mut();
        let index = match slots.free.pop() {
            Some(index) => {
                slots.held[index] = held;
                index
            }
            None => {
                slots.held.push(held);
                slots.held.len() - 1
            }
        };
        TrackedConnection { holds: self.clone(), index, place: Some(place), idle }
    }

    /// Ends the connections whose generation's time is over: their next read finds the end.
    /// Returns how many there were.
    pub(crate) fn end_overdue(&self, now: SystemTime) -> u64 {
        let mut ended = 0;
        for held in self.0.borrow_mut().held.iter_mut().flatten() {
            if held.identity.uses().is_over(now, held.rescue) {
                held.peer.end();
                ended += 1;
            }
        }
        ended
    }
}

impl TrackedConnection {
    /// The connection is idle for so long. Its generation was last used then.
    pub(crate) fn rests(&mut self, idle: Duration) {
        self.idle = idle;
        if let Some(place) = &self.place {
            place.used(idle);
        }
    }

    /// Takes the entry out of this worker: the connection, which is idle, goes to another one and stays counted.
    pub(crate) fn detach(mut self) -> Option<DetachedTrack> {
        let place = self.place.take()?;
        let held = self.holds.0.borrow_mut().held[self.index].take()?;
        let place = CountedPlace { place: Some(place), idle: self.idle };
        Some(DetachedTrack { place, identity: held.identity, rescue: held.rescue })
    }

    /// The connection is in use again.
    pub(crate) fn wakes(&mut self) {
        self.idle = Duration::ZERO;
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        let mut slots = self.holds.0.borrow_mut();
        slots.held[self.index] = None;
        slots.free.push(self.index);
        if let Some(place) = &self.place {
            place.close(self.idle);
        }
    }
}
