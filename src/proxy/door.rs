//! A listening socket of one worker, as the connections that came through it see it.
//!
//! A snapshot lists its listeners in the order of the config file, so a listener's index holds for that
//! snapshot alone. What stays is the socket: its door knows which listener it belongs to now. When a
//! reload takes the socket away, its connections end on the last snapshot that had it: idle ones at
//! once, others after the exchange that is under way or on its way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::running::{Running, SocketId};
use super::{Local, View};
use crate::io::{Deadline, Wheel};

/// See the module.
#[derive(Debug)]
pub struct Door {
    socket: SocketId,
    /// Index in the view that `enter` gives.
    listener: Cell<usize>,
    closed: Cell<bool>,
    /// What the connections of a closed door end on.
    last: RefCell<Option<Rc<View>>>,
}

impl Door {
    pub(super) fn new(socket: SocketId, listener: usize) -> Self {
        Self { socket, listener: Cell::new(listener), closed: Cell::new(false), last: RefCell::new(None) }
    }

    /// Its socket's number, which is also the group that its connections' deadlines are in.
    pub fn socket(&self) -> SocketId {
        self.socket
    }

    /// The view of this moment and the listener's index in it. They belong together: take both, once an exchange.
    pub fn enter(&self, local: &Local) -> (Rc<View>, usize) {
        let view = local.view();
        match self.closed.get().then(|| self.last.borrow().clone()).flatten() {
            Some(last) => (last, self.listener.get()),
            None => (view, self.listener.get()),
        }
    }

    /// Whether the exchange under way is its connection's last.
    pub fn is_ending(&self, local: &Local) -> bool {
        local.draining.get() || self.closed.get()
    }

    /// Whether a reload has taken the socket away.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// A deadline that is interrupted when the door closes.
    pub fn deadline(&self, wheel: &Wheel) -> Deadline {
        wheel.deadline_in(self.socket)
    }

    /// Finds its listener in a new snapshot, or closes.
    pub(super) fn follow(&self, running: &Running, last: &Rc<View>, wheel: &Wheel) {
        if self.closed.get() {
            return;
        }
        match listener_of(running, self.socket) {
            Some(listener) => self.listener.set(listener),
            None => {
                *self.last.borrow_mut() = Some(Rc::clone(last));
                self.closed.set(true);
                wheel.interrupt_group(self.socket);
            }
        }
    }

    /// Looks after a closed door's last view. True while the door is open.
    pub(super) fn sweep(&self, local: &Local) -> bool {
        if let Some(last) = &*self.last.borrow() {
            last.pools.iter().for_each(|pool| pool.sweep(local));
            // A connection may have turned idle since the last time.
            local.wheel.interrupt_group(self.socket);
        }
        !self.closed.get()
    }
}

/// The listener that has this socket.
pub(super) fn listener_of(running: &Running, socket: SocketId) -> Option<usize> {
    running.listeners.iter().position(|listener| listener.sockets.contains(&socket))
}
