//! Slow start: the weight of an endpoint that is new, or back, rises to its whole over `slow_start`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What weights are multiplied with, so that a part of the weight 1 is a whole number.
pub(crate) const WHOLE: u32 = 1024;

/// Of when a worker's knowledge of the endpoints' weights is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeenWeights {
    /// See [`changes`](super::endpoint::changes). 0 before the first look.
    pub(crate) changes: u64,
    /// The tick of the look.
    pub(crate) tick: u64,
    /// Some weight rises.
    pub(crate) rises: bool,
    /// All weights but those of 0 are the same.
    pub(crate) even: bool,
}

/// When an endpoint became new, or came back.
#[derive(Debug, Default)]
pub(crate) struct WarmUp {
    /// Milliseconds since the process's first look at the clock, and 1; 0: never.
    since: AtomicU64,
}

impl WarmUp {
    /// It is new, or back, now.
    pub(crate) fn begin(&self) {
        self.since.store(millis() + 1, Relaxed);
    }

    /// Its share of `weight`, in parts of [`WHOLE`], and whether it is still rising, where that lasts for `length`. At least
    /// one part of a hundred: an endpoint without requests would not warm up.
    pub(crate) fn share(&self, weight: u32, length: Duration) -> (u32, bool) {
        let since = self.since.load(Relaxed);
        if since == 0 || length.is_zero() {
            return (weight.saturating_mul(WHOLE), false);
        }
        share(weight, (millis() + 1).saturating_sub(since), length)
    }
}

fn share(weight: u32, elapsed: u64, length: Duration) -> (u32, bool) {
    let whole = weight.saturating_mul(WHOLE);
    let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
    if elapsed >= length || weight == 0 {
        return (whole, false);
    }
    let part = u128::from(whole) * u128::from(elapsed) / u128::from(length);
    (u32::try_from(part).unwrap_or(whole).max(whole / 100), true)
}

fn millis() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    u64::try_from(FIRST.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_rises_in_proportion_to_the_time() {
        let length = Duration::from_secs(30);
        assert_eq!(share(10, 0, length), (102, true), "a hundredth, lest it never warm up");
        assert_eq!(share(10, 3_000, length), (1_024, true));
        assert_eq!(share(10, 15_000, length), (5_120, true));
        assert_eq!(share(10, 29_999, length), (10_239, true));
        assert_eq!(share(10, 30_000, length), (10_240, false));
        assert_eq!(share(0, 15_000, length), (0, false), "it has no weight at all");
        assert_eq!(share(1000, u64::MAX, length), (1_024_000, false));
    }

    #[test]
    fn only_what_is_new_or_back_warms_up() {
        let warm_up = WarmUp::default();
        assert_eq!(warm_up.share(3, Duration::from_secs(30)), (3 * WHOLE, false));
        warm_up.begin();
        assert_eq!(warm_up.share(3, Duration::ZERO), (3 * WHOLE, false), "without slow_start");
        let (share, rises) = warm_up.share(3, Duration::from_secs(3600));
        assert!(share < WHOLE && rises, "{share}");
    }
}
