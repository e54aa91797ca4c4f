//! A worker's HTTP/2 connections to one endpoint, and those that are being made.
//!
//! ```text
//!             room on a connection of the key: the least loaded one
//! lend ──────────────────────────────────────────────────────────────► LentStream
//!  │ none                                                                  ▲
//!  ├──► a connection of the key is being made: wait for it, 100 at most ───┤
//!  └──► make one ──────────────────────────────────────────────────────────┘
//! ```
//!
//! A connection is made once its backend's SETTINGS are known, which say how many streams it may carry; the exchange that makes
//! it waits for nothing.
//!
//! The key of a connection is the server name, the client that it is for, and the generation of the client identity.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use rustls::pki_types::ServerName;

use super::connect::Spoken;
use super::http2_connection::Http2Connection;
use crate::base::limits::HTTP2_FIRST_STREAMS;
use crate::proxy::client_binding::ClientId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Http2Pool {
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    dials: Rc<RefCell<Vec<Rc<Dial>>>>,
    /// What the endpoint chose last, where it has a choice.
    chosen: Cell<Option<Spoken>>,
}

/// A connection that is being made, or whose backend's SETTINGS are awaited.
#[derive(Debug)]
pub(crate) struct Dial {
    name: Option<ServerName<'static>>,
    client: Option<ClientId>,
    identity: u64,
    over: Cell<bool>,
    /// Exchanges that wait for it.
    waiting: RefCell<Vec<Option<Waker>>>,
}

/// Ends a [`Dial`] when it is dropped.
#[derive(Debug)]
pub(crate) struct Dialing {
    dials: Rc<RefCell<Vec<Rc<Dial>>>>,
    dial: Rc<Dial>,
}

impl Http2Pool {
    /// The connection with the fewest streams among those that `fits`, if one has room.
    pub(crate) fn least_loaded(
        &self,
        fits: impl Fn(&Http2Connection) -> bool,
    ) -> Option<Rc<Http2Connection>> {
        let connections = self.connections.borrow();
        let usable = connections.iter().filter(|connection| fits(connection) && connection.room() > 0);
        usable.min_by_key(|connection| connection.lent()).cloned()
    }

    /// Adds a connection.
    pub(crate) fn add(&self, connection: Rc<Http2Connection>) {
        self.connections.borrow_mut().push(connection);
    }

    /// Takes a connection out that has ended.
    pub(crate) fn remove(&self, ended: &Rc<Http2Connection>) {
        self.connections.borrow_mut().retain(|connection| !Rc::ptr_eq(connection, ended));
    }

    /// How many there are, and take new streams.
    pub(crate) fn len(&self) -> usize {
        self.connections.borrow().iter().filter(|connection| !connection.is_ending()).count()
    }

    /// How many of them carry no exchange.
    pub(crate) fn idle(&self) -> usize {
        let connections = self.connections.borrow();
        connections.iter().filter(|connection| connection.lent() == 0 && !connection.is_ending()).count()
    }

    /// Ends those that `over` names, each once it carries no exchange.
    pub(crate) fn retire(&self, over: impl Fn(&Http2Connection) -> bool) {
        let over: Vec<_> = self
            .connections
            .borrow()
            .iter()
            .filter(|connection| !connection.is_ending() && over(connection))
            .cloned()
            .collect();
        over.iter().for_each(|connection| connection.retire());
    }

    /// Ends the one that has carried no exchange for longest, if there is one. True: there was.
    pub(crate) fn give_up_one(&self) -> bool {
        let oldest = {
            let connections = self.connections.borrow();
            let idle = connections.iter().filter(|connection| !connection.is_ending());
            let idle = idle.filter_map(|connection| Some((connection.ages().1?, connection)));
            idle.min_by_key(|(since, _)| *since).map(|(_, connection)| Rc::clone(connection))
        };
        oldest.inspect(|connection| connection.retire()).is_some()
    }

    /// Calls `each` for all connections.
    pub(crate) fn each(&self, each: impl Fn(&Http2Connection)) {
        self.connections.borrow().iter().for_each(|connection| each(connection));
    }

    /// Whether a new connection will carry many streams, as far as is known.
    pub(crate) fn expects_http2(&self) -> bool {
        self.chosen.get() != Some(Spoken::Http11)
    }

    /// Takes note of what the endpoint speaks.
    pub(crate) fn choose(&self, spoken: Spoken) {
        self.chosen.set(Some(spoken));
    }

    /// The connection of this key that is being made, if fewer than 100 exchanges are for it: so many streams most backends
    /// permit.
    pub(crate) fn under_way(
        &self,
        name: Option<&ServerName<'static>>,
        client: Option<ClientId>,
        identity: u64,
    ) -> Option<Rc<Dial>> {
        let dials = self.dials.borrow();
        let is_of_key = |dial: &Rc<Dial>| {
            dial.name.as_ref() == name && dial.client == client && dial.identity == identity
        };
        let has_room = |dial: &Rc<Dial>| dial.waiting.borrow().len() + 1 < HTTP2_FIRST_STREAMS as usize;
        dials.iter().find(|dial| is_of_key(dial) && has_room(dial)).cloned()
    }

    /// Announces a connection of this key.
    pub(crate) fn begin(
        &self,
        name: Option<ServerName<'static>>,
        client: Option<ClientId>,
        identity: u64,
    ) -> Dialing {
        let (over, waiting) = (Cell::new(false), RefCell::default());
        let dial = Rc::new(Dial { name, client, identity, over, waiting });
        self.dials.borrow_mut().push(Rc::clone(&dial));
        Dialing { dials: Rc::clone(&self.dials), dial }
    }
}

impl Dial {
    /// Waits until it has ended, one way or the other.
    pub(crate) async fn ended(&self) {
        let place = self.waiting.borrow().len();
        self.waiting.borrow_mut().push(None);
        poll_fn(|cx| {
            if self.over.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut()[place] = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.dials.borrow_mut().retain(|dial| !Rc::ptr_eq(dial, &self.dial));
        self.dial.over.set(true);
        for waker in self.dial.waiting.take().into_iter().flatten() {
            waker.wake();
        }
    }
}
