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
use std::future::poll_fn;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::Local;
use super::failure::Failure;
use super::pool::Pool;
use crate::io::buffer::{self, Parked, Use};
use crate::io::deadline::{TICK, ticks};
use crate::io::unix::{self, Bell, Rope};
use crate::io::{Buffer, Deadline, peer, runtime};

/// How often it is looked whether a client that waits is still there.
const LOOK: Duration = Duration::from_millis(250);
/// No ticket.
const NOBODY: u64 = u64::MAX;

/// An upstream's gate.
#[derive(Debug)]
pub struct Gate {
    length: usize,
    timeout: Duration,
    hall: Arc<Hall>,
}

/// What all workers share of a gate, and what outlives a reload: an exchange counts wherever it came from.
#[derive(Debug)]
struct Hall {
    max: u64,
    /// Exchanges at each endpoint.
    in_flight: Box<[AtomicU64]>,
    /// Exchanges in the queue.
    waiting: AtomicUsize,
    tickets: AtomicU64,
    members: ArcSwap<Vec<Arc<Member>>>,
}

/// A worker's part of the queue, as the others see it.
#[derive(Debug)]
struct Member {
    /// The ticket of the one that waits longest, or [`NOBODY`].
    oldest: AtomicU64,
    /// Wakes the worker. `None` if there was no descriptor left: then its waiters are served once a second.
    rope: Option<Rope>,
}

/// A worker's part of the queue, as itself sees it.
#[derive(Debug)]
pub(super) struct Line {
    member: Arc<Member>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    /// Endpoints that are of no use to it. Room at others is waited for, and what waits behind it waits too.
    avoided: Vec<usize>,
    /// The endpoint that it may go to.
    granted: Cell<Option<usize>>,
    waker: RefCell<Option<Waker>>,
}

/// Leave for one exchange at an endpoint, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    pool: Rc<Pool>,
    endpoint: Cell<usize>,
    /// Some endpoint had no room for its holder.
    missed: Cell<bool>,
}

/// A place in the queue, given up when it is dropped.
struct Place {
    pool: Rc<Pool>,
    waiter: Rc<Waiter>,
}

impl Gate {
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

    /// A worker's line before this gate. Its bell rings for `pool`.
    pub(super) fn join(&self, pool: &Weak<Pool>) -> Line {
        let (rope, bell) = unix::pair().map(Option::Some).unwrap_or_default().unzip();
        if let Some(mut bell) = bell.and_then(|bell| Bell::adopt(bell).ok()) {
            let pool = Weak::clone(pool);
            runtime::spawn(async move {
                while bell.rung().await {
                    let Some(pool) = pool.upgrade() else { return };
                    serve(&pool);
                }
            });
        }
        let member = Arc::new(Member { oldest: AtomicU64::new(NOBODY), rope });
        self.hall.members.rcu(|members| {
            let mut members = Vec::clone(members);
            members.push(Arc::clone(&member));
            members
        });
        Line { member, waiters: RefCell::default() }
    }

    /// The line's worker has no pool for this gate any more.
    pub(super) fn part(&self, line: &Line) {
        let others = |members: &Arc<Vec<Arc<Member>>>| {
            members.iter().filter(|member| !Arc::ptr_eq(member, &line.member)).cloned().collect::<Vec<_>>()
        };
        self.hall.members.rcu(others);
    }
}

impl Hall {
    fn take(&self, endpoint: usize) -> bool {
        let more = |count| (count < self.max).then_some(count + 1);
        self.in_flight[endpoint].fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    fn has_room(&self) -> bool {
        self.in_flight.iter().any(|count| count.load(SeqCst) < self.max)
    }

    /// Wakes the worker whose waiter is the oldest of all, unless that is this one: then true.
    fn is_next(&self, own: &Arc<Member>) -> bool {
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

impl Line {
    /// Shows the others how old this worker's oldest waiter is.
    fn show(&self) {
        let oldest = self.waiters.borrow().front().map_or(NOBODY, |waiter| waiter.ticket);
        self.member.oldest.store(oldest, SeqCst);
    }
}

/// Gives room to whoever has waited longest, for as long as there is any.
pub(super) fn serve(pool: &Rc<Pool>) {
    let (Some(Gate { hall, .. }), Some(line)) = (&pool.upstream.gate, &pool.line) else {
        return;
    };
    while hall.waiting.load(SeqCst) > 0 && hall.has_room() {
        if !hall.is_next(&line.member) || line.waiters.borrow().is_empty() {
            return;
        }
        let front = line.waiters.borrow().front().cloned();
        let useful = |endpoint: &usize| front.as_ref().is_none_or(|it| !it.avoided.contains(endpoint));
        let Some(endpoint) = pool.candidates().filter(useful).find(|&endpoint| hall.take(endpoint)) else {
            return;
        };
        pool.begin_trial(endpoint);
        let front = line.waiters.borrow_mut().pop_front();
        line.show();
        if let Some(waiter) = front {
            hall.waiting.fetch_sub(1, SeqCst);
            waiter.granted.set(Some(endpoint));
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }
}

/// What leave is asked for with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// The client's socket.
    pub(super) client: RawFd,
    /// The tick of the worker's wheel from which on the wait counts.
    pub(super) since: u64,
    /// Endpoints that are of no use: the request has failed there.
    pub(super) avoided: &'a [usize],
}

/// Leave to go to an endpoint of `pool`, at once or after a wait in its queue; `None` where nothing is bounded.
/// None is given to anybody while memory is short.
/// The buffer, with what is used of it in `used` of its block, is given back to the pool meanwhile.
pub(super) async fn admit(
    local: &Local,
    pool: &Rc<Pool>,
    deadline: &Deadline,
    ask: Ask<'_>,
    held: &mut Option<Buffer>,
    used: std::ops::Range<usize>,
) -> Result<Option<Permit>, Failure> {
    if buffer::in_use() >= Use::Short {
        return Err(Failure::MemoryShort);
    }
    let Some(gate) = &pool.upstream.gate else {
        return Ok(None);
    };
    if gate.hall.waiting.load(SeqCst) == 0
        && let Some(endpoint) =
            pool.candidates().find(|endpoint| !ask.avoided.contains(endpoint) && gate.hall.take(*endpoint))
    {
        pool.begin_trial(endpoint);
        return Ok(Some(Permit::to(pool, endpoint)));
    }
    let place = Place::take(pool, gate, ask.avoided.to_vec())?;
    local.counters.queued.add(1);
    local.counters.queue_open.add(1);
    let parked = held.take().map(|buffer| buffer.park(used));
    let result = Box::pin(place.wait(local, gate, deadline, ask)).await;
    local.counters.queue_open.sub(1);
    *held = parked.map(Parked::unpark);
    result.map(Some)
}

impl Place {
    fn take(pool: &Rc<Pool>, gate: &Gate, avoided: Vec<usize>) -> Result<Self, Failure> {
        let Some(line) = &pool.line else {
            return Err(Failure::QueueFull);
        };
        let more = |waiting| (waiting < gate.length).then_some(waiting + 1);
        gate.hall.waiting.fetch_update(SeqCst, SeqCst, more).map_err(|_| Failure::QueueFull)?;
        let ticket = gate.hall.tickets.fetch_add(1, SeqCst);
        let waiter = Rc::new(Waiter { ticket, avoided, granted: Cell::new(None), waker: RefCell::new(None) });
        line.waiters.borrow_mut().push_back(Rc::clone(&waiter));
        line.show();
        // Room may have been made between the look and the ticket.
        serve(pool);
        Ok(Self { pool: Rc::clone(pool), waiter })
    }

    async fn wait(
        self,
        local: &Local,
        gate: &Gate,
        deadline: &Deadline,
        Ask { client, since, .. }: Ask<'_>,
    ) -> Result<Permit, Failure> {
        let end = since + ticks(gate.timeout);
        loop {
            let left = TICK.saturating_mul(end.saturating_sub(local.wheel.now()) as u32);
            deadline.set(left.min(LOOK));
            let granted = poll_fn(|cx| match self.waiter.granted.take() {
                Some(endpoint) => Poll::Ready(endpoint),
                None => {
                    *self.waiter.waker.borrow_mut() = Some(cx.waker().clone());
                    Poll::Pending
                }
            });
            if let Ok(endpoint) = deadline.race(pin!(granted)).await {
                return Ok(Permit::to(&self.pool, endpoint));
            }
            if peer::has_left(client) {
                local.counters.clients_left.add(1);
                return Err(Failure::ClientGone);
            }
            if local.wheel.now() >= end {
                return Err(Failure::QueueTimeout);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (Some(gate), Some(line)) = (&self.pool.upstream.gate, &self.pool.line) else {
            return;
        };
        if let Some(endpoint) = self.waiter.granted.take() {
            // Granted in the moment in which it gave up.
            drop(Permit::to(&self.pool, endpoint));
            return;
        }
        let mut waiters = line.waiters.borrow_mut();
        let before = waiters.len();
        waiters.retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
        let gave_up = waiters.len() < before;
        drop(waiters);
        if gave_up {
            line.show();
            gate.hall.waiting.fetch_sub(1, SeqCst);
            // A bell may have rung for it: what it leaves is the next one's.
            serve(&self.pool);
        }
    }
}

impl Permit {
    fn to(pool: &Rc<Pool>, endpoint: usize) -> Self {
        Self { pool: Rc::clone(pool), endpoint: Cell::new(endpoint), missed: Cell::new(false) }
    }

    /// Its holder looks for a connection: what was missed before is forgotten.
    pub fn begin(&self) {
        self.missed.set(false);
    }

    /// Whether an endpoint was passed over since then as it had no room, and who waits `since` that tick may wait for it.
    pub fn may_wait(&self, local: &Local, since: u64) -> bool {
        let in_time = |gate: &Gate| local.wheel.now() < since + ticks(gate.timeout);
        self.missed.get() && self.pool.upstream.gate.as_ref().is_some_and(in_time)
    }

    /// Where its holder may go.
    pub fn endpoint(&self) -> usize {
        self.endpoint.get()
    }

    /// Exchanges it for one for another endpoint, if there is room.
    pub fn move_to(&self, endpoint: usize) -> bool {
        let Some(gate) = &self.pool.upstream.gate else {
            return true;
        };
        if endpoint == self.endpoint.get() {
            return true;
        }
        let moved = gate.hall.take(endpoint);
        if moved {
            gate.hall.in_flight[self.endpoint.replace(endpoint)].fetch_sub(1, SeqCst);
            serve(&self.pool);
        } else {
            self.missed.set(true);
        }
        moved
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = &self.pool.upstream.gate {
            gate.hall.in_flight[self.endpoint.get()].fetch_sub(1, SeqCst);
            serve(&self.pool);
        }
    }
}
