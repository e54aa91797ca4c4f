//! Whether workers turn: each writes down the time of its last turn, and other threads compare it with the clock.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::gettid;

/// How often a worker beats, however little it has to do.
pub(crate) const BEAT: Duration = Duration::from_millis(200);
/// Beats in a second.
pub(crate) const BEATS_PER_SECOND: u32 = 5;
/// A worker whose last beat is longer ago is stuck.
pub(crate) const STUCK: Duration = Duration::from_secs(1);
/// In place of a time: the worker has ended.
const ENDED: u64 = u64::MAX;

/// A worker's last turn.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    origin: Instant,
    /// Milliseconds since `origin`.
    last: AtomicU64,
    /// The kernel's number of its thread; 0: it has not begun.
    thread: AtomicU32,
}

impl Heartbeat {
    /// Its first turn is now.
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), last: AtomicU64::new(0), thread: AtomicU32::new(0) }
    }

    /// The worker runs on the calling thread.
    pub(crate) fn begin(&self) {
        let thread = u32::try_from(gettid().as_raw_nonzero().get()).unwrap_or(0);
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// The kernel's number of the worker's thread, while it runs.
    pub(crate) fn thread(&self) -> Option<u32> {
        let thread = self.thread.load(Ordering::Relaxed);
        (thread > 0 && self.last.load(Ordering::Relaxed) != ENDED).then_some(thread)
    }

    /// The worker makes a turn.
    pub(crate) fn beat(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// The worker has ended, and will beat no more.
    pub(crate) fn end(&self) {
        self.last.store(ENDED, Ordering::Relaxed);
    }

    /// The time since its last turn; `None` if it has ended.
    pub(crate) fn silence(&self) -> Option<Duration> {
        match self.last.load(Ordering::Relaxed) {
            ENDED => None,
            last => Some(Duration::from_millis(self.now().saturating_sub(last))),
        }
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

/// A worker that makes no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Its number, from 0.
    pub worker: usize,
    /// Since its last turn.
    pub silence: Duration,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} has made no turn for {:.1} s", self.worker, self.silence.as_secs_f64())
    }
}

/// Logs when a worker gets stuck, and when it turns again.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    stuck: Vec<Stuck>,
}

impl Watch {
    /// Compares with the last time. `stuck` are the workers that are stuck now.
    pub(crate) fn compare(&mut self, stuck: Vec<Stuck>) {
        let has = |list: &[Stuck], worker| list.iter().any(|known| known.worker == worker);
        for fresh in stuck.iter().filter(|found| !has(&self.stuck, found.worker)) {
            tracing::error!("{fresh}: its connections wait, and the process is not ready");
        }
        for known in self.stuck.iter().filter(|known| !has(&stuck, known.worker)) {
            tracing::warn!(
                "worker {} turns again, after {:.1} s at least",
                known.worker,
                known.silence.as_secs_f64()
            );
        }
        self.stuck = stuck;
    }
}
