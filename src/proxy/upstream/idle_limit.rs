//! How long an endpoint keeps idle connections, as one worker learns it: by `Keep-Alive: timeout=` of its responses, and
//! by the ages at which it closes connections. One that is about to be closed is not used again.

use std::cell::Cell;
use std::time::Duration;

use crate::base::limits::{CAREFUL_REUSE, KEEP_ALIVE_MARGIN};
use crate::io::deadline::ticks;

/// Closes beyond every age that a connection has survived, until they count as the endpoint's idle time.
const CLOSES: u32 = 3;
/// Ticks below which an age teaches nothing: a restart closes all connections.
const LEAST: u64 = 10;

/// See the module. Ages and times are ticks of the worker's wheel.
#[derive(Debug, Default)]
pub(crate) struct IdleLimit {
    /// `Keep-Alive: timeout=` of the last response that had one, plus one; 0: none did.
    declared: Cell<u64>,
    /// The oldest age at which an idle connection was found open.
    survived: Cell<u64>,
    /// Connections that were closed at a higher age than that.
    closes: Cell<u32>,
    /// Until when requests that may not be repeated have connections of their own.
    careful_until: Cell<u64>,
}

impl IdleLimit {
    /// A response says after how many seconds its connection is closed.
    pub(crate) fn declare(&self, seconds: u32) {
        self.declared.set(ticks(Duration::from_secs(u64::from(seconds))) + 1);
    }

    /// An idle connection of this age was open.
    pub(crate) fn survived(&self, age: u64) {
        if age > self.survived.get() {
            self.survived.set(age);
            self.closes.set(0);
        }
    }

    /// An idle connection was closed by the endpoint at this age or before.
    pub(crate) fn closed(&self, age: u64) {
        if age >= self.survived.get() && self.survived.get() >= LEAST {
            self.closes.set(self.closes.get().saturating_add(1));
        }
    }

    /// The age from which on a connection is not used again; `None`: nothing is known.
    pub(crate) fn limit(&self) -> Option<u64> {
        let declared = self.declared.get().checked_sub(1);
        let learned = (self.closes.get() >= CLOSES).then(|| self.survived.get());
        let least = declared.into_iter().chain(learned).min()?;
        Some(least - ticks(KEEP_ALIVE_MARGIN).min(least / 2))
    }

    /// A request was lost at the tick `now` as its endpoint closed its connection just then.
    pub(crate) fn lost(&self, now: u64) {
        self.careful_until.set(now + ticks(CAREFUL_REUSE));
    }

    /// Whether a request that may not be repeated goes on a new connection.
    pub(crate) fn is_careful(&self, now: u64) -> bool {
        now < self.careful_until.get()
    }
}

/// The seconds of `timeout` in a Keep-Alive field (RFC 2068 §19.7.1.1).
pub(crate) fn timeout_of(field: &[u8]) -> Option<u32> {
    let parameters = field.split(|byte| matches!(byte, b',' | b';')).map(<[u8]>::trim_ascii);
    let named =
        |parameter: &&[u8]| parameter.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"timeout="));
    let digits = std::str::from_utf8(parameters.into_iter().find(named)?.get(8..)?).ok()?;
    digits.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 20;

    #[test]
    fn what_is_declared_is_kept_with_a_margin() {
        let idle = IdleLimit::default();
        assert_eq!(idle.limit(), None);
        for (seconds, limit) in [(5, 4 * SECOND), (1, SECOND / 2), (0, 0), (75, 74 * SECOND)] {
            idle.declare(seconds);
            assert_eq!(idle.limit(), Some(limit), "{seconds}");
        }
    }

    #[test]
    fn closes_teach_where_no_connection_got_as_old() {
        let idle = IdleLimit::default();
        (0..9).for_each(|_| idle.closed(3 * SECOND));
        assert_eq!(idle.limit(), None, "a restart, before anything is known");
        idle.survived(4 * SECOND);
        (0..9).for_each(|_| idle.closed(2 * SECOND));
        assert_eq!(idle.limit(), None, "others get older");
        (0..2).for_each(|_| idle.closed(5 * SECOND));
        assert_eq!(idle.limit(), None);
        idle.closed(5 * SECOND);
        assert_eq!(idle.limit(), Some(3 * SECOND));
        idle.survived(6 * SECOND);
        assert_eq!(idle.limit(), None, "that was wrong");
    }

    #[test]
    fn after_a_loss_reuse_is_careful_for_a_time() {
        let idle = IdleLimit::default();
        assert!(!idle.is_careful(0));
        idle.lost(5);
        assert!(idle.is_careful(5 + 59 * SECOND) && !idle.is_careful(5 + 61 * SECOND));
    }

    #[test]
    fn the_timeout_of_a_field_is_found() {
        for (field, timeout) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100, Timeout=\"15\"", Some(15)),
            ("max=100", None),
            ("timeout=-1", None),
            ("timeout=99999999999", None),
            ("", None),
        ] {
            assert_eq!(timeout_of(field.as_bytes()), timeout, "{field}");
        }
    }
}
