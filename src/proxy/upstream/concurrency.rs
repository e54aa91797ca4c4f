//! The bound of an upstream's concurrency: most exchanges at each endpoint, over all workers, and the queue before them.
//!
//! An exchange passes it by [`admission`](super::admission), where the drawing is.
//!
//! Counts are atomics of the endpoints, which all workers share; the queue is in parts, a worker's own waiters in each.
//! Tickets number the waiters of all workers, each worker shows its oldest one's, and a free place is given to the oldest
//! ticket of those whose endpoints have one: the worker that frees it serves it, or notifies the ticket's worker. No wake-up
//! is lost: a waiter shows its ticket before it checks for a place once more, and a place is freed before tickets are read.
//!
//! Counts and queue outlive a reload. Exchanges that wait meanwhile stay in their part of the queue, with the endpoints and
//! the bound that they began with, until they are served.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::io::notify::{self, Notified, Notifier};
use crate::io::runtime;
use crate::proxy::upstream::endpoint::EndpointState;
use crate::proxy::upstream::request_key::RequestKey;

/// No ticket.
pub(crate) const NO_TICKET: u64 = u64::MAX;

/// An upstream's gate.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    pub(crate) length: usize,
    pub(crate) timeout: Duration,
    bound: Bound,
    pub(crate) queue: Arc<SharedQueue>,
}

/// How many exchanges there may be at each of which endpoints.
#[derive(Clone, Debug)]
struct Bound {
    max: u64,
    /// In the order of the upstream's.
    endpoints: Arc<[Arc<EndpointState>]>,
}

/// What all workers share of a queue, and what outlives a reload.
#[derive(Debug, Default)]
pub(crate) struct SharedQueue {
    /// Exchanges in the queue.
    pub(crate) waiting: AtomicUsize,
    pub(crate) tickets: AtomicU64,
    pub(crate) members: ArcSwap<Vec<Arc<QueueEntry>>>,
}

/// A worker's part of the queue, as the others see it.
#[derive(Debug)]
pub(crate) struct QueueEntry {
    /// The ticket of the one that waits longest, or [`NO_TICKET`].
    oldest: AtomicU64,
    /// Where its waiters may go.
    bound: Bound,
    /// Wakes the worker. `None` if there was no descriptor left: then its waiters are served once a second.
    notifier: Option<Notifier>,
}

/// A worker's part of the queue, as itself sees it.
#[derive(Debug)]
pub(crate) struct WorkerQueue {
    pub(crate) member: Arc<QueueEntry>,
    pub(crate) waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    /// What its place depends on.
    pub(crate) key: RequestKey,
    /// Endpoints that are of no use to it. Room at others is waited for, and what waits behind it waits too.
    pub(crate) avoided: Vec<usize>,
    /// The endpoint that it may go to.
    pub(crate) granted: Cell<Option<usize>>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

impl ConcurrencyLimiter {
    /// A limit of `max` exchanges to each of `endpoints`, with `length` that wait for `timeout`.
    pub(crate) fn new(
        max: usize,
        endpoints: impl Iterator<Item = Arc<EndpointState>>,
        length: usize,
        timeout: Duration,
    ) -> Self {
        let bound = Bound { max: max as u64, endpoints: endpoints.collect() };
        Self { length, timeout, bound, queue: Arc::default() }
    }

    /// This limit in the place of `last`: they share the queue.
    #[must_use]
    pub(crate) fn in_place_of(self, last: &Self) -> Self {
        Self { queue: Arc::clone(&last.queue), ..self }
    }

    /// Counts one more exchange at `endpoint`, if there is room.
    pub(crate) fn take(&self, endpoint: usize) -> bool {
        self.bound.endpoints[endpoint].begin_exchange(self.bound.max)
    }

    /// An exchange at `endpoint` has ended.
    pub(crate) fn give_back(&self, endpoint: usize) {
        self.bound.endpoints[endpoint].end_exchange();
    }

    /// A worker's part of the queue. `serve` runs whenever another worker has made room; false: nothing waits any more.
    pub(crate) fn join(&self, serve: impl Fn() -> bool + 'static) -> WorkerQueue {
        let (notifier, receiver) = notify::pair().map(Option::Some).unwrap_or_default().unzip();
        if let Some(mut notified) = receiver.and_then(|receiver| Notified::adopt(receiver).ok()) {
            runtime::spawn(async move { while notified.notified().await && serve() {} });
        }
        let member =
            Arc::new(QueueEntry { oldest: AtomicU64::new(NO_TICKET), bound: self.bound.clone(), notifier });
        self.queue.members.rcu(|members| {
            let mut members = Vec::clone(members);
            members.push(Arc::clone(&member));
            members
        });
        WorkerQueue { member, waiters: RefCell::default() }
    }

    /// The worker of `waiting` has no pool for this limit any more.
    pub(crate) fn part(&self, waiting: &WorkerQueue) {
        let others = |members: &Arc<Vec<Arc<QueueEntry>>>| {
            members.iter().filter(|member| !Arc::ptr_eq(member, &waiting.member)).cloned().collect::<Vec<_>>()
        };
        self.queue.members.rcu(others);
    }
}

impl Bound {
    fn has_room(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.has_room(self.max))
    }
}

impl SharedQueue {
    /// Whether the oldest waiter of those that there is room for is in `own`. Wakes its worker if it is elsewhere.
    pub(crate) fn is_next(&self, own: &Arc<QueueEntry>) -> bool {
        let members = self.members.load();
        let shown = members.iter().map(|member| (member.oldest.load(SeqCst), member));
        let served = shown.filter(|(ticket, member)| *ticket != NO_TICKET && member.bound.has_room());
        match served.min_by_key(|(ticket, _)| *ticket) {
            None => false,
            Some((_, member)) if Arc::ptr_eq(member, own) => true,
            Some((_, member)) => {
                if let Some(notifier) = &member.notifier {
                    notifier.notify();
                }
                false
            }
        }
    }
}

impl WorkerQueue {
    /// Shows the others how old this worker's oldest waiter is.
    pub(crate) fn show(&self) {
        let oldest = self.waiters.borrow().front().map_or(NO_TICKET, |waiter| waiter.ticket);
        self.member.oldest.store(oldest, SeqCst);
    }
}
