//! The concurrency limit of an upstream: at most so many exchanges at each endpoint, over all workers, and a queue before it.
//!
//! ```text
//!            room, and no exchange waits
//! admit ────────────────────────────────────────► Permit ──► drop: room ──► serve the oldest
//!    │                                              ▲
//!    └─ no room ──► Place in the queue ── granted ──┘
//!                     │ full, too late, client gone
//!                     └──► Failure
//! ```
//!
//! How it is counted and which exchange is served next is in [`concurrency`](super::concurrency).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::concurrency::{ConcurrencyLimiter, Waiter, WorkerQueue};
use super::config::Upstream;
use super::pool::Pool;
use super::request_key::RequestKey;
use crate::io::buffer::{self, Parked, Use};
use crate::io::deadline::{TICK, ticks};
use crate::io::{Buffer, Deadline};
use crate::proxy::failure::Failure;
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::worker::Worker;

/// How often it is checked whether a waiting client is still connected.
const LOOK: Duration = Duration::from_millis(250);

/// This worker's part of the queue before an upstream, if its concurrency is bounded. It serves the pool's waiters
/// whenever another worker has made room.
pub(crate) fn join(upstream: &Upstream, pool: &Weak<Pool>) -> Option<WorkerQueue> {
    let pool = Weak::clone(pool);
    let serve = move || {
        let pool = pool.upgrade();
        pool.inspect(serve).is_some()
    };
    upstream.limiter.as_ref().map(|limiter| limiter.join(serve))
}

/// A request for a permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmissionRequest<'a> {
    /// The client.
    pub(crate) client: &'a StreamPeer,
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

/// Gives free places to the exchange that has waited longest, for as long as there are any.
pub(crate) fn serve(pool: &Rc<Pool>) {
    let (Some(limiter), Some(waiting)) = (&pool.upstream.limiter, &pool.waiting) else {
        return;
    };
    let queue = &limiter.queue;
    while queue.waiting.load(SeqCst) > 0 && queue.is_next(&waiting.member) {
        let Some(waiter) = waiting.waiters.borrow().front().cloned() else {
            return;
        };
        let Some(endpoint) = first_with_room(pool, limiter, waiter.key, &waiter.avoided) else {
            return;
        };
        pool.begin_trial(endpoint);
        waiting.waiters.borrow_mut().pop_front();
        waiting.show();
        queue.waiting.fetch_sub(1, SeqCst);
        waiter.granted.set(Some(endpoint));
        if let Some(waker) = waiter.waker.take() {
            waker.wake();
        }
    }
}

/// Takes room for one exchange at the best endpoint that has some.
fn first_with_room(
    pool: &Pool,
    limiter: &ConcurrencyLimiter,
    key: RequestKey,
    avoided: &[usize],
) -> Option<usize> {
    pool.candidates(key, avoided).find(|&endpoint| limiter.take(endpoint))
}

/// A permit for an endpoint of `pool`, at once or after a wait in its queue; `None` where nothing is bounded. While memory is
/// short, no permit is given.
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
    if pool.refuses() {
        return Err(Failure::EndpointsDown);
    }
    let Some(limiter) = &pool.upstream.limiter else {
        return Ok(None);
    };
    if limiter.queue.waiting.load(SeqCst) == 0
        && let Some(endpoint) = first_with_room(pool, limiter, ask.key, ask.avoided)
    {
        pool.begin_trial(endpoint);
        return Ok(Some(Permit::to(pool, endpoint)));
    }
    let place = Place::take(pool, limiter, &ask)?;
    worker.counters.queued.add(1);
    worker.counters.queue_open.add(1);
    let begun = Instant::now();
    let parked = held.take().map(|buffer| buffer.park(used));
    let result = Box::pin(place.wait(worker, limiter, deadline, ask)).await;
    worker.counters.queue_open.sub(1);
    pool.meter.queue.add(begun.elapsed());
    *held = parked.map(Parked::unpark);
    result.map(Some)
}

/// A permit for a request that does not wait; `None` where nothing is bounded.
///
/// # Errors
/// There is no room now, or no endpoint for it.
pub(crate) fn admit_at_once(pool: &Rc<Pool>, key: RequestKey) -> Result<Option<Permit>, Failure> {
    if pool.refuses() {
        return Err(Failure::EndpointsDown);
    }
    let Some(limiter) = &pool.upstream.limiter else {
        return Ok(None);
    };
    let is_free = limiter.queue.waiting.load(SeqCst) == 0;
    let endpoint = is_free.then(|| first_with_room(pool, limiter, key, &[])).flatten();
    endpoint.map(|endpoint| Some(Permit::to(pool, endpoint))).ok_or(Failure::QueueFull)
}

impl Place {
    fn take(
        pool: &Rc<Pool>,
        limiter: &ConcurrencyLimiter,
        ask: &AdmissionRequest<'_>,
    ) -> Result<Self, Failure> {
        let Some(waiting) = &pool.waiting else {
            return Err(Failure::QueueFull);
        };
        let more = |waiting| (waiting < limiter.length).then_some(waiting + 1);
        limiter.queue.waiting.fetch_update(SeqCst, SeqCst, more).map_err(|_| Failure::QueueFull)?;
        let ticket = limiter.queue.tickets.fetch_add(1, SeqCst);
        let (avoided, key) = (ask.avoided.to_vec(), ask.key);
        let (granted, waker) = (Cell::new(None), RefCell::new(None));
        let waiter = Rc::new(Waiter { ticket, key, avoided, granted, waker });
        waiting.waiters.borrow_mut().push_back(Rc::clone(&waiter));
        waiting.show();
        // Room may have been made between the look and the ticket.
        serve(pool);
        Ok(Self { pool: Rc::clone(pool), waiter })
    }

    async fn wait(
        self,
        worker: &Worker,
        limiter: &ConcurrencyLimiter,
        deadline: &Deadline,
        AdmissionRequest { client, since, .. }: AdmissionRequest<'_>,
    ) -> Result<Permit, Failure> {
        let end = since + ticks(limiter.timeout);
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
        let (Some(limiter), Some(waiting)) = (&self.pool.upstream.limiter, &self.pool.waiting) else {
            return;
        };
        if let Some(endpoint) = self.waiter.granted.take() {
            // Granted in the moment in which it gave up.
            drop(Permit::to(&self.pool, endpoint));
            return;
        }
        let mut waiters = waiting.waiters.borrow_mut();
        let before = waiters.len();
        waiters.retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
        let gave_up = waiters.len() < before;
        drop(waiters);
        if gave_up {
            waiting.show();
            limiter.queue.waiting.fetch_sub(1, SeqCst);
            // A bell may have rung for it: what it leaves is the next one's.
            serve(&self.pool);
        }
    }
}

impl Permit {
    fn to(pool: &Rc<Pool>, endpoint: usize) -> Self {
        Self { pool: Rc::clone(pool), endpoint: Cell::new(endpoint), missed: Cell::new(false) }
    }

    /// Its holder begins to look for a connection: what was missed before is forgotten.
    pub fn begin(&self) {
        self.missed.set(false);
    }

    /// Whether an endpoint was skipped since then as it was full, and an exchange that waits since the tick `since` may wait for it.
    pub fn may_wait(&self, worker: &Worker, since: u64) -> bool {
        let in_time = |limiter: &ConcurrencyLimiter| worker.wheel.now() < since + ticks(limiter.timeout);
        self.missed.get() && self.pool.upstream.limiter.as_ref().is_some_and(in_time)
    }

    /// Where its holder may go.
    pub fn endpoint(&self) -> usize {
        self.endpoint.get()
    }

    /// Exchanges it for one for another endpoint, if there is room.
    pub fn move_to(&self, endpoint: usize) -> bool {
        let Some(limiter) = &self.pool.upstream.limiter else {
            return true;
        };
        if endpoint == self.endpoint.get() {
            return true;
        }
        let moved = limiter.take(endpoint);
        if moved {
            limiter.give_back(self.endpoint.replace(endpoint));
            serve(&self.pool);
        } else {
            self.missed.set(true);
        }
        moved
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limiter) = &self.pool.upstream.limiter {
            limiter.give_back(self.endpoint.get());
            serve(&self.pool);
        }
    }
}
