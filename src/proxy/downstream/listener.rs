//! A listening socket of one worker, as the connections that it accepted see it.
//!
//! A snapshot lists its listeners in the order of the config file, so a listener's index holds for that
//! snapshot alone. What stays is the socket: its listening knows which listener it belongs to now. When a
//! reload takes the socket away, its connections end on the last snapshot that had it: idle ones at
//! once, others after the exchange that is under way or on its way, whose response has `Connection: close` (RFC 9112 §9.6).
//! So do those of clients whose certificates were verified by another policy (trust, revocation lists, `client_auth`) than
//! the one that is now in force.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::{Deadline, Wheel};
use crate::proxy::client::ClientFacts;
use crate::proxy::snapshot::{RuntimeConfig, SocketId};
use crate::proxy::upstream::admission;
use crate::proxy::view::{View, Views};
use crate::proxy::worker::Worker;

/// How long requests are still taken that arrive on a connection that is to end: a client that sends them without waiting
/// for responses would never let it.
const AHEAD: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct ListenerSocket {
    socket: SocketId,
    /// Index in the view that `enter` gives.
    listener: Cell<usize>,
    closed: Cell<bool>,
    /// Another process has the socket, too, and serves what waits in it.
    left: Cell<bool>,
    /// How often another policy came into force by which its clients' certificates are verified.
    policy: Cell<u32>,
    /// Whether its clients speak TLS.
    tls: Cell<bool>,
    /// When connections last became such as are to end.
    ended: Cell<Option<Instant>>,
    /// What the connections of a closed listening end on.
    last: RefCell<Option<Rc<View>>>,
    views: Rc<Views>,
    /// The view that it has followed last.
    seen: RefCell<Rc<View>>,
}

impl ListenerSocket {
    pub(crate) fn new(socket: SocketId, listener: usize, views: Rc<Views>, view: Rc<View>) -> Self {
        let tls = view.config.listeners[listener].tls.is_some();
        let (closed, left) = (Cell::new(false), Cell::new(false));
        let (policy, ended) = (Cell::new(0), Cell::new(None));
        let (listener, tls) = (Cell::new(listener), Cell::new(tls));
        Self {
            socket,
            listener,
            closed,
            left,
            policy,
            tls,
            ended,
            last: RefCell::new(None),
            views,
            seen: RefCell::new(view),
        }
    }

    /// The view of this moment and the listener's index in it. They belong together: take both, once an exchange.
    pub(crate) fn enter(&self, worker: &Worker) -> (Rc<View>, usize) {
        let view = self.refresh(worker);
        match self.closed.get().then(|| self.last.borrow().clone()).flatten() {
            Some(last) => (last, self.listener.get()),
            None => (view, self.listener.get()),
        }
    }

    /// Takes up the view of this moment.
    pub(crate) fn refresh(&self, worker: &Worker) -> Rc<View> {
        let view = self.views.current();
        if !Rc::ptr_eq(&view, &self.seen.borrow()) {
            let last = self.seen.replace(Rc::clone(&view));
            self.follow(&view.config, &last, &worker.wheel);
        }
        view
    }

    /// Whether every connection's exchange under way is its last.
    pub(crate) fn is_ending(&self, worker: &Worker) -> bool {
        worker.draining.get() || self.closed.get()
    }

    /// Whether this client's is: also as its certificate was verified by a policy that is not in force any more. Its
    /// next connection is judged anew.
    pub(crate) fn is_last_of(&self, worker: &Worker, client: &ClientFacts) -> bool {
        let other_policy =
            || client.tls().map_or(self.tls.get(), |tls| !self.tls.get() || tls.policy != self.policy.get());
        self.is_ending(worker) || other_policy()
    }

    /// Whether a response that begins now is the last of its client's connection. `ahead` returns whether more of its
    /// requests have arrived, before the client could know: those are answered too.
    pub(crate) fn is_last(
        &self,
        worker: &Worker,
        client: &ClientFacts,
        ahead: impl FnOnce() -> bool,
    ) -> bool {
        if !self.is_last_of(worker, client) {
            return false;
        }
        self.ended.get().is_some_and(|at| at.elapsed() > AHEAD) || !ahead()
    }

    /// The worker drains. `left` are the sockets that another process has, too.
    pub(crate) fn drain(&self, left: &[SocketId]) {
        self.left.set(left.contains(&self.socket));
        self.ended.set(Some(Instant::now()));
    }

    /// Whether another process has the socket, too, and serves what waits in it.
    pub(crate) fn is_left(&self) -> bool {
        self.left.get()
    }

    /// The number of the policy in force.
    pub(crate) fn policy(&self) -> u32 {
        self.policy.get()
    }

    /// A deadline that is interrupted when the listening closes.
    pub(crate) fn deadline(&self, wheel: &Wheel) -> Deadline {
        wheel.deadline_in(self.socket)
    }

    /// Finds its listener in a new snapshot, or closes.
    pub(crate) fn follow(&self, running: &RuntimeConfig, last: &Rc<View>, wheel: &Wheel) {
        if self.closed.get() {
            return;
        }
        match listener_of(running, self.socket) {
            Some(listener) => {
                let (old, new) = (&last.config.listeners[self.listener.get()], &running.listeners[listener]);
                self.listener.set(listener);
                self.tls.set(new.tls.is_some());
                let same = old.tls.as_ref().map(Arc::as_ptr) == new.tls.as_ref().map(Arc::as_ptr);
                if !same && (old.verifies_clients || new.verifies_clients) {
                    self.policy.set(self.policy.get().wrapping_add(1));
                    self.ended.set(Some(Instant::now()));
                    wheel.interrupt_group(self.socket);
                }
            }
            None => {
                *self.last.borrow_mut() = Some(Rc::clone(last));
                self.closed.set(true);
                self.ended.set(Some(Instant::now()));
                wheel.interrupt_group(self.socket);
            }
        }
    }

    /// Keeps the last view of a closed listening alive as long as needed. True while the listening is open.
    pub(crate) fn sweep(&self, worker: &Worker) -> bool {
        if let Some(last) = &*self.last.borrow() {
            last.pools.iter().for_each(|pool| {
                admission::serve(pool);
                pool.sweep(worker);
            });
            // A connection may have turned idle since the last time.
            worker.wheel.interrupt_group(self.socket);
        }
        !self.closed.get()
    }
}

/// The listener that has this socket.
pub(crate) fn listener_of(running: &RuntimeConfig, socket: SocketId) -> Option<usize> {
    running.listeners.iter().position(|listener| listener.sockets.contains(&socket))
}
