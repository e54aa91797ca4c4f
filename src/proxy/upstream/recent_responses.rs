//! What one worker knows of the recent responses of an endpoint.

use std::cell::Cell;

use crate::base::limits::ERROR_RATE_WINDOW;
use crate::io::deadline::ticks;

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
    }

    /// Errors in percent of the responses of the window.
    pub(crate) fn rate(&self) -> Option<u32> {
        let (errors, responses) = (u64::from(self.errors.get()), u64::from(self.responses.get()));
        (responses > 0).then(|| (errors * 100 / responses) as u32)
    }
}
