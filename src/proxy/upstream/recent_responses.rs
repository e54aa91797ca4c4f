//! What one worker knows of the recent responses of an endpoint.

use std::cell::Cell;

use crate::base::limits::{ERROR_RATE_RESPONSES, ERROR_RATE_WINDOW};
use crate::io::deadline::ticks;

/// Responses after which older ones count half.
const MOST_RESPONSES: u32 = 2 * ERROR_RATE_RESPONSES;

/// What a worker knows of the recent responses of one endpoint. Ticks are those of its wheel.
#[derive(Debug, Default)]
pub(crate) struct RecentResponses {
    /// The tick after that of the last one that was not slow; 0: there was none.
    pub(crate) quick: Cell<u64>,
    /// When the window began.
    began: Cell<u64>,
    pub(crate) responses: Cell<u32>,
    pub(crate) errors: Cell<u32>,
}

impl RecentResponses {
    /// Counts a response at the tick `now`.
    pub(crate) fn count(&self, now: u64, is_error: bool) {
        if now >= self.began.get() + ticks(ERROR_RATE_WINDOW) {
            self.began.set(now);
            self.responses.set(0);
            self.errors.set(0);
        }
        self.responses.set(self.responses.get() + 1);
        self.errors.set(self.errors.get() + u32::from(is_error));
        // Half of what is known weighs as much as what comes next: under much traffic, errors that begin are noticed within a
        // few hundred responses, and not only once they outweigh those of the whole window.
        if self.responses.get() >= MOST_RESPONSES {
            self.responses.set(self.responses.get() / 2);
            self.errors.set(self.errors.get() / 2);
        }
    }

    /// Errors in percent of the responses of the window.
    pub(crate) fn rate(&self) -> Option<u32> {
        let (errors, responses) = (u64::from(self.errors.get()), u64::from(self.responses.get()));
        (responses > 0).then(|| (errors * 100 / responses) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_begin_after_many_good_responses_are_noticed_soon() {
        let recent = RecentResponses::default();
        for _ in 0..10_000 {
            recent.count(1, false);
        }
        assert_eq!(recent.rate(), Some(0));
        let noticed = (1..1000).find(|number| {
            recent.count(1, number % 2 == 0);
            recent.rate().unwrap() >= 30
        });
        assert!(noticed.is_some_and(|responses| responses < 300), "{noticed:?}");
        assert!(recent.responses.get() >= ERROR_RATE_RESPONSES, "the rate counts");
    }
}
