//! The pace of a response (`limits.response_rate`): so many bytes a second, after an optional burst.
//!
//! Bytes are counted as they are written, so whole buffers pass at once and a pause follows; over the response the rate is
//! exact. A pause is a deadline of the worker's wheel: nothing runs meanwhile, and nothing is read from the backend.

use std::future::poll_fn;
use std::time::Duration;

use crate::config::plan::ResponseRate;
use crate::io::deadline::TICK;
use crate::io::{Deadline, Wheel};

/// The pace of one response.
#[derive(Debug)]
pub(crate) struct Throttle {
    rate: ResponseRate,
    wheel: Wheel,
    pause: Deadline,
    /// The tick at which its first bytes were sent.
    begun: u64,
}

impl Throttle {
    /// Of a response that begins now.
    pub(crate) fn new(rate: ResponseRate, wheel: &Wheel) -> Box<Self> {
        Box::new(Self { rate, wheel: wheel.clone(), pause: wheel.deadline(), begun: wheel.now() })
    }

    /// How many bytes may be moved at once, behind `sent`: the rest of the burst, or as many as fit into a quarter of a
    /// second.
    pub(crate) fn portion(&self, sent: u64) -> u64 {
        self.rate.burst.saturating_sub(sent).max(self.rate.bytes / 4)
    }

    /// The time until no more than `sent` bytes may have been sent; `None`: it has come.
    pub(crate) fn ahead(&self, sent: u64) -> Option<Duration> {
        let ticks = u32::try_from(self.wheel.now().saturating_sub(self.begun)).unwrap_or(u32::MAX);
        ahead(self.rate, sent, TICK.saturating_mul(ticks))
    }

    /// Waits.
    pub(crate) async fn wait(&self, pause: Duration) {
        self.pause.set(pause);
        poll_fn(|cx| self.pause.poll_fired(cx)).await;
    }
}

/// How long after `elapsed` a response may have so many bytes.
fn ahead(rate: ResponseRate, sent: u64, elapsed: Duration) -> Option<Duration> {
    let counted = sent.saturating_sub(rate.burst);
    let micros = u128::from(counted) * 1_000_000 / u128::from(rate.bytes.max(1));
    let due = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    due.checked_sub(elapsed).filter(|left| *left >= Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_the_burst_take_their_time() {
        let rate = ResponseRate { bytes: 1000, burst: 500 };
        let at = |sent, millis| ahead(rate, sent, Duration::from_millis(millis));
        assert_eq!(at(500, 0), None);
        assert_eq!(at(1500, 0), Some(Duration::from_secs(1)));
        assert_eq!(at(1500, 400), Some(Duration::from_millis(600)));
        assert_eq!(at(1500, 1000), None);
        assert_eq!(at(1500, 5000), None);
        assert!(at(u64::MAX, 0).is_some());
    }
}
