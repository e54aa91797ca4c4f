//! Waiting for a response: nothing is read from the client meanwhile, so it is checked from time to time whether it is still
//! connected. The steps are those of the deadline that the wait has anyway: a quick response costs nothing.

use std::cell::Cell;
use std::pin::Pin;
use std::time::Duration;

use crate::io::Deadline;
use crate::io::deadline::{TICK, ticks};
use crate::proxy::exchange::stage::Phase;
use crate::proxy::failure::Failure;
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::worker::Worker;

/// How often it is checked.
const LOOK: Duration = Duration::from_secs(1);

/// Runs `work` for as long as the client is connected, at which it is looked once a second. `None`: it has left.
pub(crate) async fn while_connected<T>(
    worker: &Worker,
    client: &StreamPeer,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let deadline = worker.wheel.deadline();
    loop {
        deadline.set(LOOK);
        if let Ok(done) = deadline.race(work.as_mut()).await {
            return Some(done);
        }
        if client.has_left() {
            worker.counters.downstream_disconnects.add(1);
            return None;
        }
    }
}

/// The wait of one exchange.
#[derive(Debug)]
pub(crate) struct DisconnectWatch {
    /// The client.
    pub(crate) client: StreamPeer,
    /// The tick since which the response is waited for, or the request was written.
    since: Cell<u64>,
    /// The tick at which the wait for a response's head is over; 0 in shorter waits, which have their deadline.
    due: Cell<u64>,
}

impl DisconnectWatch {
    /// For this client.
    pub(crate) fn new(client: StreamPeer) -> Self {
        Self { client, since: Cell::new(0), due: Cell::new(0) }
    }

    /// Sets the deadline of a wait.
    pub(crate) fn set(&self, worker: &Worker, deadline: &Deadline, phase: Phase, patience: Duration) {
        let long = phase == Phase::BackendHead && patience > LOOK;
        deadline.set(if long { LOOK } else { patience });
        let now = worker.wheel.now();
        if matches!(phase, Phase::BackendWrite | Phase::BackendHead) {
            self.since.set(now);
        }
        self.due.set(if long { now + ticks(patience) } else { 0 });
    }

    /// The tick since which the response is waited for, or the request was written.
    pub(crate) fn since(&self) -> u64 {
        self.since.get()
    }

    /// Runs an attempt to its end, or to the end of its patience, or until `gives_up`, which is asked once a second while
    /// the response's head is waited for: then `None`.
    ///
    /// # Errors
    /// The client has left.
    pub(crate) async fn keep<T>(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        phase: &Cell<Phase>,
        mut attempt: Pin<&mut impl Future<Output = T>>,
        gives_up: impl Fn() -> bool,
    ) -> Result<Option<T>, Failure> {
        loop {
            if let Ok(done) = deadline.race(attempt.as_mut()).await {
                return Ok(Some(done));
            }
            let left = self.due.get().saturating_sub(worker.wheel.now());
            if left == 0 || phase.get() != Phase::BackendHead {
                return Ok(None);
            }
            if self.client.has_left() {
                worker.counters.downstream_disconnects.add(1);
                return Err(Failure::ClientGone);
            }
            if gives_up() {
                return Ok(None);
            }
            deadline.set(LOOK.min(TICK.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX))));
        }
    }
}
