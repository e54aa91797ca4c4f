//! The wait for what takes long: so much of it at a time, and so many that wait.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::base::limits::ADMIN_WAITING;

/// Permits for work of one kind. A waiting request holds no thread.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    seats: Arc<Semaphore>,
    /// A place for each that sits or waits.
    places: Arc<Semaphore>,
}

/// Held until the work is done, which continues after its client has disconnected.
#[derive(Debug)]
pub(super) struct Seat {
    _seat: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Queue {
    pub(super) fn new(seats: usize) -> Self {
        let places = Arc::new(Semaphore::new(seats + ADMIN_WAITING));
        Self { seats: Arc::new(Semaphore::new(seats)), places }
    }

    /// Waits for a seat.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) async fn sit(&self) -> Result<Seat, Problem> {
        let busy = |_| {
            let detail =
                format!("{ADMIN_WAITING} requests of this kind wait already: repeat the request later");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests at once", detail)
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let seat = Arc::clone(&self.seats).acquire_owned().await;
        let seat = seat.map_err(|_| Problem::internal("the queue was closed"))?;
        Ok(Seat { _seat: seat, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn one_sits_some_wait_and_the_next_is_told_to_come_back() {
        let queue = Queue::new(1);
        let Poll::Ready(Ok(seat)) = poll(pin!(queue.sit())) else { panic!("a seat is free") };
        let mut waiting: Vec<_> = (0..ADMIN_WAITING).map(|_| Box::pin(queue.sit())).collect();
        for wait in &mut waiting {
            assert!(poll(wait.as_mut()).is_pending());
        }
        let Poll::Ready(Err(problem)) = poll(pin!(queue.sit())) else { panic!("it is full") };
        assert_eq!(problem.status, 503);
        drop(seat);
        assert!(matches!(poll(waiting[0].as_mut()), Poll::Ready(Ok(_))));
        // A request that gives up leaves its place.
        waiting.pop();
        assert!(poll(pin!(queue.sit())).is_pending());
    }
}
