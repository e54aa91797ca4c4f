//! Several futures of one task, each polled only when it was woken itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use super::waker::Kept;

/// A future beside others in its task. It has a waker of its own: when one of the others was woken, it is not polled, as
/// what it holds would be fetched into the caches for nothing. What wakes it wakes the task.
#[derive(Debug)]
pub(crate) struct WakeGated<F> {
    future: F,
    call: Option<(Arc<Call>, Waker)>,
}

#[derive(Debug)]
struct Call {
    /// Woken since it was polled. Never from another thread: nothing is to be ordered by it.
    made: AtomicBool,
    task: Kept,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.made.store(true, Relaxed);
        self.task.waker().wake_by_ref();
    }
}

impl<F: Future + Unpin> WakeGated<F> {
    /// The future, to be polled with the others of its task. It counts as woken.
    pub(crate) fn new(future: F) -> Self {
        Self { future, call: None }
    }
}

impl<F: Future + Unpin> Future for WakeGated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let (call, waker) = match &mut this.call {
            Some(own) if own.0.task.is(cx.waker()) => own,
            other => {
                let call = Arc::new(Call { made: AtomicBool::new(true), task: Kept::new(cx.waker()) });
                other.insert((Arc::clone(&call), Waker::from(call)))
            }
        };
        if !call.made.load(Relaxed) {
            return Poll::Pending;
        }
        call.made.store(false, Relaxed);
        Pin::new(&mut this.future).poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use super::*;

    /// Counts its polls in `polls` and leaves its waker in `waker`.
    fn counted<'a>(
        polls: &'a Cell<u32>,
        waker: &'a Cell<Option<Waker>>,
    ) -> impl Future<Output = ()> + Unpin + 'a {
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
    }

    #[test]
    fn only_the_woken_one_is_polled() {
        let (polls, wakers) = ([const { Cell::new(0) }; 2], [const { Cell::new(None) }; 2]);
        let mut both = [0, 1].map(|at| WakeGated::new(counted(&polls[at], &wakers[at])));
        let mut turn = |task: &Waker| {
            for one in &mut both {
                assert_eq!(Pin::new(one).poll(&mut Context::from_waker(task)), Poll::Pending);
            }
            [polls[0].get(), polls[1].get()]
        };
        let task = Arc::new(Call { made: AtomicBool::new(false), task: Kept::new(Waker::noop()) });
        let waker = Waker::from(Arc::clone(&task));
        assert_eq!(turn(&waker), [1, 1], "at first all are");
        assert_eq!(turn(&waker), [1, 1]);
        wakers[1].take().expect("a waker").wake();
        assert!(task.made.load(Relaxed), "the task is woken");
        assert_eq!(turn(&waker), [1, 2]);
        assert_eq!(turn(&waker), [1, 2]);
        // Another waker of the task replaces the one that the waiting futures have.
        assert_eq!(turn(Waker::noop()), [2, 3]);
    }
}
