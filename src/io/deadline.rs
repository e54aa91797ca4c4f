//! Deadlines: one slot a connection on a wheel of the worker, moved instead of re-armed.
//!
//! A connection sets its deadline several times an exchange and nearly never reaches it.
//! So setting one only writes the slot's due tick; the slot stays in whatever bucket it
//! was queued in, and when that bucket's tick is reached it is queued again for the rest.

use std::cell::{Cell, RefCell, RefMut};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::waker::Kept;

/// The wheel's resolution: a deadline fires at most this much late, and never early, but for [`STALL`].
pub(crate) const TICK: Duration = Duration::from_millis(50);
const TICKS_PER_SECOND: u64 = 1000 / TICK.as_millis() as u64;
const BUCKETS: u64 = 256;
/// Ticks beyond which a worker was not busy but stopped (a signal, its machine moved). That time does not count: deadlines
/// set afterwards, before the wheel has turned, are based on its old tick and would all fire.
const STALL: u64 = TICKS_PER_SECOND;
/// Holders that one call of [`Wheel::displace`] wakes, if there are so many.
const LEAST_DISPLACED: usize = 8;
const NEVER: u64 = u64::MAX;
const NO_GROUP: u32 = u32::MAX;

/// `duration` in whole ticks, rounded up. Called several times an exchange: no division of 128 bits.
pub(crate) fn ticks(duration: Duration) -> u64 {
    let rest = u64::from(duration.subsec_nanos().div_ceil(TICK.subsec_nanos()));
    duration.as_secs().saturating_mul(TICKS_PER_SECOND).saturating_add(rest)
}

/// Why a deadline's holder was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// The time is over.
    Expired,
    /// The worker or the holder's group drains, and the holder had allowed interruption, since it only waits for its peer.
    Interrupted,
    /// The same, where the holder's descriptor is needed for another connection.
    Displaced,
}

/// The worker's wheel.
#[derive(Clone, Debug)]
pub struct Wheel(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: RefCell<Inner>,
    /// The tick of this moment, as far as the driver has told.
    now: Cell<u64>,
    origin: Instant,
    /// Ticks that did not count.
    stalled: Cell<u64>,
    ticker: RefCell<Option<Waker>>,
}

#[derive(Debug)]
struct Inner {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots by the tick that they are looked at again. An entry whose tick is not its slot's
    /// `queued_at` any more (the deadline was moved to an earlier bucket) is passed over.
    buckets: Vec<Vec<(u32, u64)>>,
    queued: usize,
}

#[derive(Debug)]
struct Slot {
    /// When it fires; `NEVER` while no deadline is set.
    due: u64,
    /// The tick of the bucket that holds it, `NEVER` if none does.
    queued_at: u64,
    fired: Option<Fired>,
    interruptible: bool,
    /// Slots that are interrupted together: see [`Wheel::interrupt_group`].
    group: u32,
    waker: Option<Kept>,
    live: bool,
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

impl Wheel {
    /// A wheel with nothing on it.
    pub fn new() -> Self {
        Self(Rc::new(Shared {
            inner: RefCell::new(Inner {
                slots: Vec::new(),
                free: Vec::new(),
                buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
                queued: 0,
            }),
            now: Cell::new(0),
            origin: Instant::now(),
            stalled: Cell::new(0),
            ticker: RefCell::new(None),
        }))
    }

    /// Turns the wheel for as long as the worker lives. Sleeps while nothing is queued.
    pub async fn run(self) {
        loop {
            poll_fn(|cx| {
                if self.0.inner.borrow().queued > 0 {
                    return Poll::Ready(());
                }
                *self.0.ticker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
            monoio::time::sleep(TICK).await;
            self.turn_to(self.tick_of_now());
        }
    }

    /// The tick of this moment, as far as the wheel has turned.
    pub fn now(&self) -> u64 {
        if self.0.inner.borrow().queued == 0 {
            // It stands still, but time goes on: idle connections age without traffic, too.
            self.0.now.set(self.tick_of_now());
        }
        self.0.now.get()
    }

    fn tick_of_now(&self) -> u64 {
        (self.0.origin.elapsed().as_millis() / TICK.as_millis()) as u64 - self.0.stalled.get()
    }

    /// Turns as far as `now`, but by no more than [`STALL`].
    fn turn_to(&self, now: u64) {
        let counted = now.min(self.0.now.get() + STALL);
        self.0.stalled.set(self.0.stalled.get() + now - counted);
        self.advance(counted);
    }

    /// Fires all that is due up to `now`.
    fn advance(&self, now: u64) {
        let from = self.0.now.replace(now);
        let mut inner = self.0.inner.borrow_mut();
        let inner = &mut *inner;
        for tick in from + 1..=now {
            let bucket = std::mem::take(&mut inner.buckets[(tick % BUCKETS) as usize]);
            for (index, at) in bucket {
                inner.queued -= 1;
                let slot = &mut inner.slots[index as usize];
                if slot.queued_at != at {
                    continue;
                }
                slot.queued_at = NEVER;
                if slot.due <= now {
                    slot.due = NEVER;
                    // An interrupt that happened before takes precedence.
                    let why = slot.fired.unwrap_or(Fired::Expired);
                    slot.fire(why);
                } else if slot.due != NEVER {
                    inner.queue(index, now);
                }
            }
        }
    }

    /// Wakes every holder that allows interruption.
    pub fn interrupt(&self) {
        for slot in self.0.inner.borrow_mut().slots.iter_mut() {
            if slot.live && slot.interruptible {
                slot.fire(Fired::Interrupted);
            }
        }
    }

    /// The same for the holders of one group alone.
    pub fn interrupt_group(&self, group: u32) {
        for slot in self.0.inner.borrow_mut().slots.iter_mut() {
            if slot.live && slot.interruptible && slot.group == group {
                slot.fire(Fired::Interrupted);
            }
        }
    }

    /// Wakes some of those that may be interrupted and have a time: a quarter, those whose time is over first.
    pub(crate) fn displace(&self) {
        let slots = &mut self.0.inner.borrow_mut().slots;
        let is_idle =
            |slot: &Slot| slot.live && slot.interruptible && slot.due != NEVER && slot.fired.is_none();
        let idle = slots.iter().enumerate().filter(|(_, slot)| is_idle(slot));
        let mut idle: Vec<_> = idle.map(|(index, slot)| (slot.due, index)).collect();
        idle.sort_unstable();
        let most = idle.len().div_ceil(4).max(LEAST_DISPLACED);
        for &(_, index) in idle.iter().take(most) {
            slots[index].fire(Fired::Displaced);
        }
    }

    /// A slot of this wheel, with no deadline set, in no group.
    pub fn deadline(&self) -> Deadline {
        self.deadline_in(NO_GROUP)
    }

    /// The same, in a group.
    pub fn deadline_in(&self, group: u32) -> Deadline {
        let mut inner = self.0.inner.borrow_mut();
        let slot = |queued_at| Slot {
            due: NEVER,
            queued_at,
            fired: None,
            interruptible: false,
            group,
            waker: None,
            live: true,
        };
        let index = match inner.free.pop() {
            Some(index) => {
                // It may still be queued from its last life; then that entry serves this one.
                let queued_at = inner.slots[index as usize].queued_at;
                inner.slots[index as usize] = slot(queued_at);
                index
            }
            None => {
                inner.slots.push(slot(NEVER));
                (inner.slots.len() - 1) as u32
            }
        };
        Deadline { wheel: self.clone(), index }
    }
}

impl Inner {
    /// Queues the slot in the bucket of its due tick, or in the last one before the wheel comes round.
    fn queue(&mut self, index: u32, now: u64) {
        let at = self.slots[index as usize].due.clamp(now + 1, now + BUCKETS - 1);
        self.slots[index as usize].queued_at = at;
        self.buckets[(at % BUCKETS) as usize].push((index, at));
        self.queued += 1;
    }
}

impl Slot {
    fn fire(&mut self, why: Fired) {
        self.fired = Some(why);
        if let Some(kept) = self.waker.take() {
            kept.waker().wake_by_ref();
        }
    }
}

/// One connection's deadline.
#[derive(Debug)]
pub struct Deadline {
    wheel: Wheel,
    index: u32,
}

impl Deadline {
    /// Another deadline of the same wheel.
    pub(crate) fn beside(&self) -> Self {
        self.wheel.deadline()
    }

    /// Sets or moves the deadline; what fired before is forgotten.
    pub fn set(&self, after: Duration) {
        self.queue(after).fired = None;
    }

    /// Sets or moves the time.
    fn queue(&self, after: Duration) -> RefMut<'_, Slot> {
        let shared = &self.wheel.0;
        let mut inner = shared.inner.borrow_mut();
        if inner.queued == 0 {
            // The wheel stood still: read the clock, start it again.
            shared.now.set(self.wheel.tick_of_now());
            if let Some(ticker) = shared.ticker.borrow_mut().take() {
                ticker.wake();
            }
        }
        let now = shared.now.get();
        // One more tick, as the present one has partly passed.
        let due = now.saturating_add(ticks(after)).saturating_add(1);
        let slot = &mut inner.slots[self.index as usize];
        slot.due = due;
        if slot.queued_at > due {
            inner.queue(self.index, now);
        }
        RefMut::map(inner, |inner| &mut inner.slots[self.index as usize])
    }

    /// Takes the deadline back; what fired before is forgotten.
    pub fn clear(&self) {
        let mut inner = self.wheel.0.inner.borrow_mut();
        let slot = &mut inner.slots[self.index as usize];
        slot.due = NEVER;
        slot.fired = None;
    }

    /// Sets whether a drain may interrupt the holder from here on.
    pub fn interruptible(&self, yes: bool) {
        self.wheel.0.inner.borrow_mut().slots[self.index as usize].interruptible = yes;
    }

    /// What fired, if anything did since the last `set`.
    pub fn fired(&self) -> Option<Fired> {
        self.wheel.0.inner.borrow().slots[self.index as usize].fired
    }

    /// What fired, for a future that polls several things at once.
    pub(crate) fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<Fired> {
        let mut inner = self.wheel.0.inner.borrow_mut();
        let slot = &mut inner.slots[self.index as usize];
        if let Some(fired) = slot.fired {
            return Poll::Ready(fired);
        }
        match &slot.waker {
            Some(kept) if kept.is(cx.waker()) => {}
            _ => slot.waker = Some(Kept::new(cx.waker())),
        }
        Poll::Pending
    }

    /// Runs `work` until it is done or the deadline fires, whichever is first.
    /// A future that loses is to be dropped: only for connections that die with it.
    ///
    /// It is taken by reference, as are all large futures here: each move would copy it whole.
    pub async fn race<F: Future + ?Sized>(&self, mut work: Pin<&mut F>) -> Result<F::Output, Fired> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_fired(cx).map(Err),
        })
        .await
    }

    /// Runs `work` to its end. When the deadline fires before, calls `on_fired`, which should end it; and again with each tick
    /// while `work` goes on: the operation to cancel may just have ended, and another one have begun.
    pub async fn watch<F: Future + ?Sized>(
        &self,
        mut work: Pin<&mut F>,
        mut on_fired: impl FnMut(),
    ) -> F::Output {
        let mut called = false;
        let output = poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            if self.poll_fired(cx).is_pending() {
                return Poll::Pending;
            }
            called = true;
            on_fired();
            let polled = work.as_mut().poll(cx);
            if polled.is_pending() {
                self.fire_again(cx);
            }
            polled
        })
        .await;
        if called {
            self.wheel.0.inner.borrow_mut().slots[self.index as usize].due = NEVER;
        }
        output
    }

    /// Wakes with the next tick, as what fired shows no effect yet; it stays what has fired.
    fn fire_again(&self, cx: &Context<'_>) {
        self.queue(TICK).waker = Some(Kept::new(cx.waker()));
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut inner = self.wheel.0.inner.borrow_mut();
        let slot = &mut inner.slots[self.index as usize];
        slot.due = NEVER;
        slot.fired = None;
        slot.waker = None;
        slot.live = false;
        inner.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn fired(deadline: &Deadline) -> Option<Fired> {
        deadline.wheel.0.inner.borrow().slots[deadline.index as usize].fired
    }

    #[test]
    fn fires_at_its_tick_and_not_before() {
        let wheel = Wheel::new();
        let deadline = wheel.deadline();
        deadline.set(TICK * 10);
        wheel.advance(10);
        assert_eq!(fired(&deadline), None);
        wheel.advance(11);
        assert_eq!(fired(&deadline), Some(Fired::Expired));
    }

    #[test]
    fn a_moved_deadline_fires_at_its_new_time_both_ways() {
        let wheel = Wheel::new();
        let (later, sooner) = (wheel.deadline(), wheel.deadline());
        later.set(TICK * 2);
        later.set(TICK * 20);
        sooner.set(TICK * 20);
        sooner.set(TICK * 2);
        wheel.advance(5);
        assert_eq!((fired(&later), fired(&sooner)), (None, Some(Fired::Expired)));
        wheel.advance(21);
        assert_eq!(fired(&later), Some(Fired::Expired));
    }

    #[test]
    fn a_deadline_beyond_the_wheel_fires_at_its_time() {
        let wheel = Wheel::new();
        let deadline = wheel.deadline();
        deadline.set(TICK * (3 * BUCKETS as u32));
        for tick in 1..=3 * BUCKETS {
            wheel.advance(tick);
        }
        assert_eq!(fired(&deadline), None);
        wheel.advance(3 * BUCKETS + 1);
        assert_eq!(fired(&deadline), Some(Fired::Expired));
    }

    #[test]
    fn time_in_which_the_worker_was_kept_from_its_work_does_not_count() {
        let wheel = Wheel::new();
        let (fresh, near) = (wheel.deadline(), wheel.deadline());
        near.set(TICK * 2);
        fresh.set(TICK * 2 * STALL as u32);
        wheel.turn_to(1000 * STALL);
        assert_eq!((fired(&fresh), fired(&near)), (None, Some(Fired::Expired)));
        assert_eq!((wheel.0.now.get(), wheel.0.stalled.get()), (STALL, 999 * STALL));
        wheel.turn_to(2 * STALL);
        assert_eq!(fired(&fresh), None);
        wheel.turn_to(2 * STALL + 1);
        assert_eq!(fired(&fresh), Some(Fired::Expired));
        assert_eq!(wheel.0.stalled.get(), 999 * STALL);
    }

    #[test]
    fn a_slot_is_used_again_and_cleared_deadlines_do_not_fire() {
        let wheel = Wheel::new();
        let first = wheel.deadline();
        first.set(TICK * 3);
        drop(first);
        let second = wheel.deadline();
        assert_eq!(second.index, 0);
        second.set(TICK * 10);
        wheel.advance(5);
        assert_eq!(fired(&second), None);
        second.clear();
        wheel.advance(100);
        assert_eq!(fired(&second), None);
        assert_eq!(wheel.0.inner.borrow().queued, 0);
    }

    #[test]
    fn what_goes_on_after_its_time_is_called_off_again() {
        let wheel = Wheel::new();
        let deadline = wheel.deadline();
        deadline.set(TICK);
        let called = Cell::new(0);
        let endless = pin!(std::future::pending::<()>());
        let mut watching = pin!(deadline.watch(endless, || called.set(called.get() + 1)));
        let mut turn =
            || assert!(watching.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        turn();
        assert_eq!(called.get(), 0);
        wheel.advance(2);
        turn();
        assert_eq!(called.get(), 1);
        let waits = || wheel.0.inner.borrow().slots[0].waker.is_some();
        assert!(waits(), "a holder is to be woken");
        wheel.advance(5);
        assert!(!waits(), "the wheel wakes him");
        turn();
        assert_eq!(called.get(), 2);
    }

    #[test]
    fn those_whose_time_is_over_first_are_displaced() {
        let wheel = Wheel::new();
        let holders: Vec<_> = (0..40).map(|_| wheel.deadline()).collect();
        for (index, holder) in holders.iter().enumerate() {
            holder.interruptible(index % 40 != 39);
            holder.set(TICK * (40 - index as u32));
        }
        let accepting = wheel.deadline();
        accepting.interruptible(true);
        wheel.displace();
        let displaced = |index: usize| fired(&holders[index]) == Some(Fired::Displaced);
        assert!((0..40).all(|index| displaced(index) == (29..39).contains(&index)));
        wheel.displace();
        assert_eq!(((0..40).filter(|&index| displaced(index)).count(), fired(&accepting)), (18, None));
    }

    #[test]
    fn an_interrupt_reaches_only_those_who_allow_it() {
        let wheel = Wheel::new();
        let (busy, idle) = (wheel.deadline(), wheel.deadline());
        idle.interruptible(true);
        wheel.interrupt();
        assert_eq!((fired(&busy), fired(&idle)), (None, Some(Fired::Interrupted)));
    }
}
