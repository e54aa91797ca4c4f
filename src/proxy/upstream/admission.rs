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
//! How it is counted and who is served next is in [`concurrency`](super::concurrency).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use super::concurrency::{ConcurrencyLimiter, Waiter, WorkerQueue};
use super::config::Upstream;
use super::pool::Pool;
use super::request_key::RequestKey;
use crate::io::buffer::{self, Parked, Use};
use crate::io::deadline::{TICK, ticks};
use crate::io::{Buffer, Deadline, Peer};
use crate::proxy::failure::Failure;
use crate::proxy::worker::Worker;

/// How often it is looked whether a client that waits is still there.
const LOOK: Duration = Duration::from_millis(250);

/// This worker's part of the queue before an upstream, if its concurrency is bounded. It serves the pool's waiters
/// whenever another worker has made room.
pub(crate) fn join(upstream: &Upstream, pool: &Weak<Pool>) -> Option<WorkerQueue> {
    let pool = Weak::clone(pool);
    let serve = move || {
        let pool = pool.upgrade();
        pool.inspect(serve).is_some()
    };
    upstream.gate.as_ref().map(|gate| gate.join(serve))
}

/// What leave is asked for with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmissionRequest<'a> {
    /// The client's socket.
    pub(crate) client: &'a Peer,
    /// The tick of the worker's wheel from which on the wait counts.
    pub(crate) since: u64,
    /// Endpoints that are of no use: the request has failed there.
    pub(crate) avoided: &'a [usize],
    /// What the endpoint depends on.
    pub(crate) key: RequestKey,
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

/// Gives room to whoever has waited longest, for as long as there is any.
pub(crate) fn serve(pool: &Rc<Pool>) {
    let (Some(gate), Some(line)) = (&pool.upstream.gate, &pool.line) else {
        return;
    };
    let hall = &gate.hall;
    while hall.waiting.load(SeqCst) > 0 && hall.is_next(&line.member) {
        let Some(waiter) = line.waiters.borrow().front().cloned() else {
            return;
        };
        let Some(endpoint) = first_with_room(pool, gate, waiter.key, &waiter.avoided) else {
            return;
        };
        pool.begin_trial(endpoint);
        line.waiters.borrow_mut().pop_front();
        line.show();
        hall.waiting.fetch_sub(1, SeqCst);
        waiter.granted.set(Some(endpoint));
        if let Some(waker) = waiter.waker.take() {
            waker.wake();
        }
    }
}

/// Takes room for one exchange at the best endpoint that has some.
fn first_with_room(
    pool: &Pool,
    gate: &ConcurrencyLimiter,
    key: RequestKey,
    avoided: &[usize],
) -> Option<usize> {
    pool.candidates(key, avoided).find(|&endpoint| gate.take(endpoint))
}

/// Leave to go to an endpoint of `pool`, at once or after a wait in its queue; `None` where nothing is bounded.
/// None is given to anybody while memory is short.
/// The buffer, with what is used of it in `used` of its block, is given back to the pool meanwhile.
pub(crate) async fn admit(
    worker: &Worker,
    pool: &Rc<Pool>,
    deadline: &Deadline,
    ask: AdmissionRequest<'_>,
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
        && let Some(endpoint) = first_with_room(pool, gate, ask.key, ask.avoided)
    {
        pool.begin_trial(endpoint);
        return Ok(Some(Permit::to(pool, endpoint)));
    }
    let place = Place::take(pool, gate, &ask)?;
    worker.counters.queued.add(1);
    worker.counters.queue_open.add(1);
    let parked = held.take().map(|buffer| buffer.park(used));
    let result = Box::pin(place.wait(worker, gate, deadline, ask)).await;
    worker.counters.queue_open.sub(1);
    *held = parked.map(Parked::unpark);
    result.map(Some)
}

impl Place {
    fn take(pool: &Rc<Pool>, gate: &ConcurrencyLimiter, ask: &AdmissionRequest<'_>) -> Result<Self, Failure> {
        let Some(line) = &pool.line else {
            return Err(Failure::QueueFull);
        };
        let more = |waiting| (waiting < gate.length).then_some(waiting + 1);
        gate.hall.waiting.fetch_update(SeqCst, SeqCst, more).map_err(|_| Failure::QueueFull)?;
        let ticket = gate.hall.tickets.fetch_add(1, SeqCst);
        let (avoided, key) = (ask.avoided.to_vec(), ask.key);
        let (granted, waker) = (Cell::new(None), RefCell::new(None));
        let waiter = Rc::new(Waiter { ticket, key, avoided, granted, waker });
        line.waiters.borrow_mut().push_back(Rc::clone(&waiter));
        line.show();
        // Room may have been made between the look and the ticket.
        serve(pool);
        Ok(Self { pool: Rc::clone(pool), waiter })
    }

    async fn wait(
        self,
        worker: &Worker,
        gate: &ConcurrencyLimiter,
        deadline: &Deadline,
        AdmissionRequest { client, since, .. }: AdmissionRequest<'_>,
    ) -> Result<Permit, Failure> {
        let end = since + ticks(gate.timeout);
        loop {
            let left = TICK.saturating_mul(end.saturating_sub(worker.wheel.now()) as u32);
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
            if client.has_left() {
                worker.counters.downstream_disconnects.add(1);
                return Err(Failure::ClientGone);
            }
            if worker.wheel.now() >= end {
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
    pub fn may_wait(&self, worker: &Worker, since: u64) -> bool {
        let in_time = |gate: &ConcurrencyLimiter| worker.wheel.now() < since + ticks(gate.timeout);
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
        let moved = gate.take(endpoint);
        if moved {
            gate.give_back(self.endpoint.replace(endpoint));
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
            gate.give_back(self.endpoint.get());
            serve(&self.pool);
        }
    }
}
