//! The gate before an upstream: at most so many exchanges at each endpoint, over all workers, and a queue before it.
//!
//! ```text
//!            room, and nobody waits
//! admit ────────────────────────────────────────► Permit ──► drop: room ──► serve the oldest
//!    │                                              ▲
//!    └─ no room ──► Place in the queue ── granted ──┘
//!                     │ full, too late, client gone
//!                     └──► Failure
//! ```
//!
//! Counts are atomics that all workers share; the queue is in parts, a worker's own waiters in each. Tickets number
//! the waiters of all workers, each worker shows its oldest one's, and room goes to the oldest ticket: whoever makes
//! room serves it, or rings the bell of its worker. No wake-up is lost: a waiter shows its ticket before it looks
//! for room once more, and whoever makes room does so before it looks for tickets.

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

/// No ticket.
pub(crate) const NOBODY: u64 = u64::MAX;

/// An upstream's gate.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    pub(crate) length: usize,
    pub(crate) timeout: Duration,
    pub(crate) hall: Arc<Hall>,
}

/// What all workers share of a gate, and what outlives a reload: an exchange counts wherever it came from.
#[derive(Debug)]
pub(crate) struct Hall {
    pub(crate) max: u64,
    /// Exchanges at each endpoint.
    pub(crate) in_flight: Box<[AtomicU64]>,
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
    /// Wakes the worker. `None` if there was no descriptor left: then its waiters are served once a second.
    rope: Option<Notifier>,
}

/// A worker's part of the queue, as itself sees it.
#[derive(Debug)]
pub struct WorkerQueue {
    pub(crate) member: Arc<QueueEntry>,
    pub(crate) waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    /// Endpoints that are of no use to it. Room at others is waited for, and what waits behind it waits too.
    pub(crate) avoided: Vec<usize>,
    /// The endpoint that it may go to.
    pub(crate) granted: Cell<Option<usize>>,
    pub(crate) waker: RefCell<Option<Waker>>,
}

impl ConcurrencyLimiter {
    /// A gate that lets `max` exchanges to each of `endpoints`, and `length` wait for `timeout`.
    pub fn new(max: usize, endpoints: usize, length: usize, timeout: Duration) -> Self {
        let hall = Hall {
            max: max as u64,
            in_flight: (0..endpoints).map(|_| AtomicU64::new(0)).collect(),
            waiting: AtomicUsize::new(0),
            tickets: AtomicU64::new(0),
            members: ArcSwap::default(),
        };
        Self { length, timeout, hall: Arc::new(hall) }
    }

    /// This gate in the place of `last`, before the same endpoints: those who are at them, and those who wait, are
    /// counted on, if the bound is the same too.
    #[must_use]
    pub fn in_place_of(self, last: &Self) -> Self {
        let same = self.hall.max == last.hall.max && self.hall.in_flight.len() == last.hall.in_flight.len();
        if same { Self { hall: Arc::clone(&last.hall), ..self } } else { self }
    }

    /// A worker's part of the queue. `serve` runs whenever another worker has made room; false: nothing waits any more.
    pub(crate) fn join(&self, serve: impl Fn() -> bool + 'static) -> WorkerQueue {
        let (rope, bell) = notify::pair().map(Option::Some).unwrap_or_default().unzip();
        if let Some(mut bell) = bell.and_then(|bell| Notified::adopt(bell).ok()) {
            runtime::spawn(async move { while bell.rung().await && serve() {} });
        }
        let member = Arc::new(QueueEntry { oldest: AtomicU64::new(NOBODY), rope });
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

impl Hall {
    pub(crate) fn take(&self, endpoint: usize) -> bool {
        let more = |count| (count < self.max).then_some(count + 1);
        self.in_flight[endpoint].fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.iter().any(|count| count.load(SeqCst) < self.max)
    }

    /// Wakes the worker whose waiter is the oldest of all, unless that is this one: then true.
    pub(crate) fn is_next(&self, own: &Arc<QueueEntry>) -> bool {
        let members = self.members.load();
        let shown = members.iter().map(|member| (member.oldest.load(SeqCst), member));
        match shown.min_by_key(|(ticket, _)| *ticket) {
            Some((NOBODY, _)) | None => true,
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
