//! The bound of an upstream's concurrency: most exchanges at each endpoint, over all workers, and the queue before them.
//!
//! An exchange passes it by [`admission`](super::admission), where the drawing is.
//!
//! Counts are atomics of the endpoints, which all workers share; the queue is in parts, a worker's own waiters in each.
//! Tickets number the waiters of all workers, each worker shows its oldest one's, and room goes to the oldest ticket of
//! those whose endpoints have some: whoever makes room serves it, or rings the bell of its worker. No wake-up is lost: a
//! waiter shows its ticket before it looks for room once more, and whoever makes room does so before it looks for tickets.
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
pub(crate) const NOBODY: u64 = u64::MAX;

/// An upstream's gate.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    pub(crate) length: usize,
    pub(crate) timeout: Duration,
    bound: Bound,
    pub(crate) hall: Arc<Hall>,
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
pub(crate) struct Hall {
    /// Exchanges in the queue.
    pub(crate) waiting: AtomicUsize,
    pub(crate) tickets: AtomicU64,
    pub(crate) members: ArcSwap<Vec<Arc<QueueEntry>>>,
}

/// A worker's part of the queue, as the others see it.
#[derive(Debug)]
pub(crate) struct QueueEntry {
    /// The ticket of the one that waits longest, or [`NOBODY`].
    oldest: AtomicU64,
    /// Where its waiters may go.
    bound: Bound,
    /// Wakes the worker. `None` if there was no descriptor left: then its waiters are served once a second.
    rope: Option<Notifier>,
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
    /// A gate that lets `max` exchanges to each of `endpoints`, and `length` wait for `timeout`.
    pub(crate) fn new(
        max: usize,
        endpoints: impl Iterator<Item = Arc<EndpointState>>,
        length: usize,
        timeout: Duration,
    ) -> Self {
        let bound = Bound { max: max as u64, endpoints: endpoints.collect() };
        Self { length, timeout, bound, hall: Arc::default() }
    }

    /// This gate in the place of `last`: they have one queue.
    #[must_use]
    pub(crate) fn in_place_of(self, last: &Self) -> Self {
        Self { hall: Arc::clone(&last.hall), ..self }
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
        let (rope, bell) = notify::pair().map(Option::Some).unwrap_or_default().unzip();
        if let Some(mut bell) = bell.and_then(|bell| Notified::adopt(bell).ok()) {
            runtime::spawn(async move { while bell.rung().await && serve() {} });
        }
        let member = Arc::new(QueueEntry { oldest: AtomicU64::new(NOBODY), bound: self.bound.clone(), rope });
        self.hall.members.rcu(|members| {
            let mut members = Vec::clone(members);
            members.push(Arc::clone(&member));
            members
        });
        WorkerQueue { member, waiters: RefCell::default() }
    }

    /// The line's worker has no pool for this gate any more.
    pub(crate) fn part(&self, line: &WorkerQueue) {
        let others = |members: &Arc<Vec<Arc<QueueEntry>>>| {
            members.iter().filter(|member| !Arc::ptr_eq(member, &line.member)).cloned().collect::<Vec<_>>()
        };
        self.hall.members.rcu(others);
    }
}

impl Bound {
    fn has_room(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.has_room(self.max))
    }
}

impl Hall {
    /// Whether the oldest waiter of those that there is room for is in `own`. Wakes its worker if it is elsewhere.
    pub(crate) fn is_next(&self, own: &Arc<QueueEntry>) -> bool {
        let members = self.members.load();
        let shown = members.iter().map(|member| (member.oldest.load(SeqCst), member));
        let served = shown.filter(|(ticket, member)| *ticket != NOBODY && member.bound.has_room());
        match served.min_by_key(|(ticket, _)| *ticket) {
            None => false,
            Some((_, member)) if Arc::ptr_eq(member, own) => true,
            Some((_, member)) => {
                if let Some(rope) = &member.rope {
                    rope.pull();
                }
                false
            }
        }
    }
}

impl WorkerQueue {
    /// Shows the others how old this worker's oldest waiter is.
    pub(crate) fn show(&self) {
        let oldest = self.waiters.borrow().front().map_or(NOBODY, |waiter| waiter.ticket);
        self.member.oldest.store(oldest, SeqCst);
    }
}
