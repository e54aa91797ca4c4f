//! Many futures of one task, each polled only when it was woken itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use super::waker::Kept;

const BITS: usize = u64::BITS as usize;

/// Futures of one kind beside each other in one task. Memory of those that have ended is used again.
///
/// What wakes a future marks it, and wakes the task unless the task is in its turn: it looks at the marks before the turn
/// ends. Marks are bits, so that many futures that wait cost nothing when one is woken.
#[derive(Debug)]
pub(crate) struct FutureSet<F> {
    places: Vec<Place<F>>,
    free: Vec<u32>,
    turn: Option<Arc<Turn>>,
    live: usize,
}

#[derive(Debug)]
struct Place<F> {
    future: Pin<Box<Option<F>>>,
    waker: Option<Waker>,
}

/// What the wakers of all futures share. It is used by one thread: nothing is ordered by it.
#[derive(Debug)]
struct Turn {
    /// A bit for each place: its future was woken.
    woken: Box<[AtomicU64]>,
    /// The task is in its turn.
    active: AtomicBool,
    task: Kept,
}

#[derive(Debug)]
struct Call {
    turn: Arc<Turn>,
    place: usize,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.turn.mark(self.place);
        if !self.turn.active.load(Relaxed) {
            self.turn.task.waker().wake_by_ref();
        }
    }
}

impl Turn {
    fn mark(&self, place: usize) {
        self.woken[place / BITS].fetch_or(1 << (place % BITS), Relaxed);
    }
}

impl<F: Future<Output = ()>> FutureSet<F> {
    /// A set without futures. It allocates when one is put in.
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), turn: None, live: 0 }
    }

    /// How many futures have not ended.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The task's turn begins: until [`end_turn`](Self::end_turn) marks wake no task.
    pub(crate) fn begin_turn(&mut self, cx: &Context<'_>) {
        match &self.turn {
            Some(turn) if turn.task.is(cx.waker()) => turn.active.store(true, Relaxed),
            Some(turn) => self.renew(turn.woken.len() * BITS, cx.waker()),
            None => {}
        }
    }

    /// The task's turn ends. No future is marked.
    pub(crate) fn end_turn(&self) {
        if let Some(turn) = &self.turn {
            turn.active.store(false, Relaxed);
        }
    }

    /// Whether a future was woken and not polled since.
    pub(crate) fn is_woken(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.woken.iter().any(|word| word.load(Relaxed) != 0))
    }

    /// Puts a future in, within a turn. It counts as woken.
    pub(crate) fn insert(&mut self, future: F, cx: &Context<'_>) {
        let place = match self.free.pop() {
            Some(place) => {
                let place = place as usize;
                self.places[place].future.as_mut().set(Some(future));
                place
            }
            None => {
                self.places.push(Place { future: Box::pin(Some(future)), waker: None });
                self.places.len() - 1
            }
        };
        self.live += 1;
        let marks = self.turn.as_ref().map_or(0, |turn| turn.woken.len() * BITS);
        if place >= marks {
            self.renew((place + 1).max(2 * marks), cx.waker());
        }
        if let Some(turn) = &self.turn {
            turn.mark(place);
        }
    }

    /// Makes room for as many marks, and wakers anew. Everything counts as woken, as old wakers mark nothing any more.
    fn renew(&mut self, marks: usize, task: &Waker) {
        let woken = (0..marks.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect();
        let turn = Turn { woken, active: AtomicBool::new(true), task: Kept::new(task) };
        for (number, place) in self.places.iter_mut().enumerate() {
            place.waker = None;
            if place.future.is_some() {
                turn.mark(number);
            }
        }
        self.turn = Some(Arc::new(turn));
    }

    /// Polls each future that was woken, once.
    pub(crate) fn poll_woken(&mut self) {
        let Some(turn) = &self.turn else { return };
        for (number, word) in turn.woken.iter().enumerate() {
            let mut woken = word.swap(0, Relaxed);
            while woken != 0 {
                let at = number * BITS + woken.trailing_zeros() as usize;
                woken &= woken - 1;
                let Some(place) = self.places.get_mut(at) else { continue };
                let call = || Waker::from(Arc::new(Call { turn: Arc::clone(turn), place: at }));
                let waker = place.waker.get_or_insert_with(call);
                let Some(future) = place.future.as_mut().as_pin_mut() else { continue };
                if let Poll::Ready(()) = future.poll(&mut Context::from_waker(waker)) {
                    place.future.as_mut().set(None);
                    self.free.push(at as u32);
                    self.live -= 1;
                }
            }
        }
    }

    /// Gives all memory back where no future is left.
    pub(crate) fn shrink(&mut self) {
        if self.live == 0 {
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn only_woken_futures_are_polled_and_places_are_used_again() {
        let polls = Rc::new(RefCell::new(Vec::new()));
        let ended = Rc::new(Cell::new(0));
        let wakers = Rc::new(RefCell::new(vec![None; 200]));
        let future = |number: usize| {
            let (polls, wakers, ended) = (Rc::clone(&polls), Rc::clone(&wakers), Rc::clone(&ended));
            poll_fn(move |cx| {
                polls.borrow_mut().push(number);
                wakers.borrow_mut()[number] = Some(cx.waker().clone());
                if ended.get() == number { Poll::Ready(()) } else { Poll::Pending }
            })
        };
        let cx = Context::from_waker(Waker::noop());
        let mut set = FutureSet::new();
        set.begin_turn(&cx);
        for number in 1..=100 {
            set.insert(future(number), &cx);
        }
        set.poll_woken();
        assert_eq!(std::mem::take(&mut *polls.borrow_mut()).len(), 100);
        assert!(!set.is_woken());
        set.end_turn();
        wakers.borrow()[70].as_ref().map(Waker::wake_by_ref).unwrap();
        assert!(set.is_woken());
        ended.set(70);
        set.begin_turn(&cx);
        set.poll_woken();
        assert_eq!(std::mem::take(&mut *polls.borrow_mut()), [70]);
        assert_eq!(set.len(), 99);
        set.insert(future(101), &cx);
        assert_eq!((set.len(), set.places.len()), (100, 100));
        set.poll_woken();
        assert_eq!(std::mem::take(&mut *polls.borrow_mut()), [101]);
    }
}
