//! Many futures of one task, each polled only when it was woken itself.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use super::waker::Kept;

const BITS: usize = u64::BITS as usize;

/// Futures of one kind beside each other in one task. Each does one job after the other, and has its memory from its first
/// job on: a job that is given to it costs no allocation, and moves no more than the job.
///
/// What wakes a future marks it, and wakes the task unless the task is in its turn: it looks at the marks before the turn
/// ends. Marks are bits, so that many futures that wait cost nothing when one is woken.
#[derive(Debug)]
pub(crate) struct FutureSet<T, F, M> {
    places: Vec<Place<T, F>>,
    /// Those without a job.
    free: Vec<u32>,
    turn: Option<Arc<Turn>>,
    /// Makes a future from the place of its jobs.
    make: M,
}

#[derive(Debug)]
struct Place<T, F> {
    future: Pin<Box<F>>,
    jobs: Jobs<T>,
    waker: Option<Waker>,
}

/// Where a future of a set has its jobs from.
pub(crate) struct Jobs<T>(Rc<Cell<Job<T>>>);

#[derive(Default)]
enum Job<T> {
    /// It waits for one.
    #[default]
    None,
    /// One waits for it.
    Given(T),
    /// It is doing one.
    Begun,
}

impl<T> Jobs<T> {
    fn new() -> Self {
        Self(Rc::new(Cell::new(Job::None)))
    }

    /// The next job. The one before is done.
    pub(crate) async fn next(&self) -> T {
        // No waker is kept: a place that is given a job is marked.
        poll_fn(|_| match self.0.take() {
            Job::Given(job) => {
                self.0.set(Job::Begun);
                Poll::Ready(job)
            }
            Job::None | Job::Begun => Poll::Pending,
        })
        .await
    }

    fn give(&self, job: T) {
        self.0.set(Job::Given(job));
    }

    /// Whether it waits for a job.
    fn is_free(&self) -> bool {
        let job = self.0.take();
        let free = matches!(job, Job::None);
        self.0.set(job);
        free
    }
}

impl<T> fmt::Debug for Jobs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

/// What the wakers of all futures share. It is used by one thread: nothing is ordered by it.
#[derive(Debug)]
struct Turn {
    /// A bit for each place: its future was woken.
    woken: Box<[AtomicU64]>,
    /// The task will look at the marks: it is in its turn, or was woken since.
    noticed: AtomicBool,
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
        if !self.turn.noticed.swap(true, Relaxed) {
            self.turn.task.waker().wake_by_ref();
        }
    }
}

impl Turn {
    fn mark(&self, place: usize) {
        self.woken[place / BITS].fetch_or(1 << (place % BITS), Relaxed);
    }
}

impl<T, F: Future<Output = Infallible>, M: Fn(Jobs<T>) -> F> FutureSet<T, F, M> {
    /// A set without futures. It allocates when a job needs one more.
    pub(crate) fn new(make: M) -> Self {
        Self { places: Vec::new(), free: Vec::new(), turn: None, make }
    }

    /// How many jobs are not done.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The task's turn begins: until [`end_turn`](Self::end_turn) marks wake no task.
    pub(crate) fn begin_turn(&mut self, cx: &Context<'_>) {
        match &self.turn {
            Some(turn) if turn.task.is(cx.waker()) => turn.noticed.store(true, Relaxed),
            Some(turn) => self.renew(turn.woken.len() * BITS, cx.waker()),
            None => {}
        }
    }

    /// The task's turn ends. No future is marked.
    pub(crate) fn end_turn(&self) {
        if let Some(turn) = &self.turn {
            turn.noticed.store(false, Relaxed);
        }
    }

    /// Whether a future was woken and not polled since.
    pub(crate) fn is_woken(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.woken.iter().any(|word| word.load(Relaxed) != 0))
    }

    /// Gives a future a job, within a turn. It counts as woken.
    pub(crate) fn insert(&mut self, job: T, cx: &Context<'_>) {
        let place = match self.free.pop() {
            Some(place) => place as usize,
            None => {
                let jobs = Jobs::new();
                let future = Box::pin((self.make)(Jobs(Rc::clone(&jobs.0))));
                self.places.push(Place { future, jobs, waker: None });
                self.places.len() - 1
            }
        };
        self.places[place].jobs.give(job);
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
        let turn = Turn { woken, noticed: AtomicBool::new(true), task: Kept::new(task) };
        for (number, place) in self.places.iter_mut().enumerate() {
            place.waker = None;
            if !place.jobs.is_free() {
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
                let Some(place) = self.places.get_mut(at).filter(|place| !place.jobs.is_free()) else {
                    continue;
                };
                let call = || Waker::from(Arc::new(Call { turn: Arc::clone(turn), place: at }));
                let waker = place.waker.get_or_insert_with(call);
                let polled = place.future.as_mut().poll(&mut Context::from_waker(waker));
                debug_assert!(polled.is_pending());
                if place.jobs.is_free() {
                    self.free.push(at as u32);
                }
            }
        }
    }

    /// Gives all memory back where every job is done.
    pub(crate) fn shrink(&mut self) {
        if self.len() == 0 {
            (self.places, self.free, self.turn) = (Vec::new(), Vec::new(), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    async fn serve<T: Copy>(jobs: Jobs<T>, poll: impl Fn(T, &Context<'_>) -> Poll<()>) -> Infallible {
        loop {
            let job = jobs.next().await;
            poll_fn(|cx| poll(job, cx)).await;
        }
    }

    #[test]
    fn only_woken_futures_are_polled_and_places_are_used_again() {
        let polls = Rc::new(RefCell::new(Vec::new()));
        let ended = Rc::new(Cell::new(0));
        let wakers = Rc::new(RefCell::new(vec![None; 200]));
        let make = |jobs: Jobs<usize>| {
            let (polls, wakers, ended) = (Rc::clone(&polls), Rc::clone(&wakers), Rc::clone(&ended));
            serve(jobs, move |number, cx: &Context<'_>| {
                polls.borrow_mut().push(number);
                wakers.borrow_mut()[number] = Some(cx.waker().clone());
                if ended.get() == number { Poll::Ready(()) } else { Poll::Pending }
            })
        };
        let cx = Context::from_waker(Waker::noop());
        let mut set = FutureSet::new(make);
        set.begin_turn(&cx);
        for number in 1..=100 {
            set.insert(number, &cx);
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
        // What wakes a future that has no job does nothing.
        wakers.borrow()[70].as_ref().map(Waker::wake_by_ref).unwrap();
        set.poll_woken();
        assert_eq!(polls.borrow().len(), 0);
        set.insert(101, &cx);
        assert_eq!((set.len(), set.places.len()), (100, 100));
        set.poll_woken();
        assert_eq!(std::mem::take(&mut *polls.borrow_mut()), [101]);
    }
}
