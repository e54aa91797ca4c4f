//! A worker's client side as a whole: its listening sockets, and the upkeep of all that they serve from.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use super::listener::{self, ListenerSocket};
use crate::base::published::Published;
use crate::io::{Pipe, buffer, descriptors};
use crate::proxy::snapshot::{RuntimeConfig, SocketId};
use crate::proxy::upstream::admission;
use crate::proxy::view::{View, Views};
use crate::proxy::worker::Worker;

/// See the module.
#[derive(Debug)]
pub struct Frontend {
    /// What its connections share.
    pub worker: Rc<Worker>,
    views: Rc<Views>,
    listeners: RefCell<Vec<Rc<ListenerSocket>>>,
}

impl Frontend {
    /// A client side that serves from what `snapshot` publishes. `start` moves the round-robins' first pick.
    pub fn new(worker: Worker, snapshot: &Published<RuntimeConfig>, start: usize) -> Self {
        let worker = Rc::new(worker);
        let views = Rc::new(Views::new(Rc::clone(&worker), snapshot, start));
        buffer::bound(views.last().config.limits.buffer_memory.unwrap_or_default());
        Self { worker, views, listeners: RefCell::default() }
    }

    /// The view of this moment.
    pub fn view(&self) -> Rc<View> {
        self.views.current()
    }

    /// Has every listening socket take up the snapshot that is published now. Returns its version.
    pub fn apply(&self) -> u64 {
        for listener in self.listeners.borrow().iter() {
            listener.refresh(&self.worker);
        }
        self.view().config.version
    }

    /// A socket that was bound for the snapshot of this moment; `None` if that has no such socket.
    pub(crate) fn open(&self, socket: SocketId) -> Option<Rc<ListenerSocket>> {
        let view = self.view();
        let index = listener::listener_of(&view.config, socket)?;
        let listener = Rc::new(ListenerSocket::new(socket, index, Rc::clone(&self.views), view));
        self.listeners.borrow_mut().push(Rc::clone(&listener));
        Some(listener)
    }

    /// Drops idle backend connections that are over, gives unused memory back, and hands the log on.
    /// Called once a second.
    pub fn sweep(&self) {
        let view = self.views.last();
        let worker = &*self.worker;
        for pool in &view.pools {
            // Room that no notification announced: an endpoint that is tried again.
            admission::serve(pool);
            pool.sweep(worker);
            pool.prewarm(&self.worker);
        }
        // A closed socket is remembered until the last connection that came through it has ended.
        self.listeners
            .borrow_mut()
            .retain(|listener| listener.sweep(worker) || Rc::strong_count(listener) > 1);
        let overdue = worker.tracked.end_overdue(SystemTime::now());
        worker.counters.client_certificate_grace_expired.add(overdue);
        if let Some(access) = &worker.access {
            access.sweep();
        }
        worker.counters.spliced_bytes.add(Pipe::sweep());
        buffer::bound(view.config.limits.buffer_memory.unwrap_or_default());
        buffer::trim();
    }

    /// Frees descriptors, where they are short: some idle client connections end, and backend connections that were not
    /// used for a moment.
    pub(crate) fn free_descriptors(&self) {
        if !descriptors::are_short() {
            return;
        }
        self.worker.wheel.displace();
        for pool in &self.views.last().pools {
            pool.shed(&self.worker);
        }
    }

    /// Begins to drain: idle connections close at once, others after their exchange. `left` are the sockets that another process
    /// has, too: nothing is accepted from them any more.
    pub fn drain(&self, left: &[SocketId]) {
        self.worker.draining.set(true);
        self.listeners.borrow().iter().for_each(|listener| listener.drain(left));
        self.worker.wheel.interrupt();
    }
}
