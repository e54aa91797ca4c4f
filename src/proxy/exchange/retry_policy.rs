//! Whether a request that failed at one backend is tried again: pure, from what is known of the attempts so far.
//!
//! ```text
//! attempt ──► reset, too slow, unwanted status ──► permitted? idempotent? at hand? attempts, time, budget left?
//!    ▲                                                 │ yes                    │ no
//!    └──────────────── next endpoint ◄─────────────────┘                        └──► error response
//! ```
//!
//! Not of these: an endpoint that can't be connected to (nothing has left, the next one is tried), a pooled
//! connection that its backend closed just then (RFC 9112 §9.3.1), and an endpoint that closes a new connection
//! without an answer (an idempotent request goes to each other endpoint once).

use std::cell::Cell;
use std::time::Duration;

use crate::config::plan::Retries;
use crate::io::deadline::{TICK, ticks};
use crate::proxy::upstream::retry_budget::Budget;

/// How an attempt failed, where another one may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The backend closed before any byte of a response.
    Reset,
    /// No head came in time.
    Timeout,
    /// A final response with this status.
    Status(u16),
    /// A response of gRPC without messages, with this code.
    Grpc(u8),
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The request is sent again.
    Again,
    /// The client gets the error response.
    Final,
    /// It would be sent again, had the upstream not had as many retries as it may.
    OverBudget,
}

/// The attempts of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// How often the request was sent, for whatever reason.
    sent: Cell<u32>,
    /// How often that was a retry.
    retries: Cell<u32>,
    /// The tick at which the time for the response's head is over, all attempts together; 0: it has not begun.
    due: Cell<u64>,
    /// Whether all of the request is still here and may be sent twice (RFC 9110 §9.2.2).
    repeatable: Cell<bool>,
    /// Whether all of it is still here.
    whole: Cell<bool>,
}

impl Attempts {
    /// How often the request was sent.
    pub(crate) fn sent(&self) -> u32 {
        self.sent.get()
    }

    /// An attempt begins at the tick `now`: how long it may take to the response's head, of `whole` for all attempts.
    /// `at_hand`: all of the request is, and whether it is idempotent, too.
    pub(crate) fn begin(
        &self,
        policy: &Retries,
        now: u64,
        whole: Duration,
        (at_hand, idempotent): (bool, bool),
    ) -> Duration {
        let repeatable = at_hand && idempotent;
        self.whole.set(at_hand);
        self.sent.set(self.sent.get() + 1);
        if policy.attempts == 1 {
            return self.left(now).unwrap_or(whole);
        }
        self.repeatable.set(repeatable);
        if self.due.get() == 0 {
            self.due.set(now + ticks(whole));
        }
        let left = self.left(now).unwrap_or_default();
        let last = self.retries.get() + 1 >= policy.attempts;
        if !policy.timeout || last || !repeatable {
            return left;
        }
        left.min(policy.attempt_timeout.unwrap_or(whole / policy.attempts))
    }

    /// What is left of the time for the response's head; `None` if it has not begun to count.
    pub(crate) fn left(&self, now: u64) -> Option<Duration> {
        let due = self.due.get();
        let left = || u32::try_from(due.saturating_sub(now)).unwrap_or(u32::MAX);
        (due > 0).then(|| TICK.saturating_mul(left()))
    }

    /// Whether there is time at the tick `now` for the request to go to another endpoint, as its own closed without an
    /// answer. All such attempts together have the time of one, `whole`, from the first of these closes on.
    pub(crate) fn may_fail_over(&self, now: u64, whole: Duration) -> bool {
        if self.due.get() == 0 {
            self.due.set(now + ticks(whole));
        }
        self.due.get() > now
    }

    /// Whether the request is sent again; takes from the budget if so.
    pub(crate) fn judge(&self, policy: &Retries, cause: Cause, budget: &Budget, now: u64) -> Verdict {
        // The code says that the call may be repeated.
        let repeatable = self.repeatable.get() || matches!(cause, Cause::Grpc(_)) && self.whole.get();
        if policy.attempts == 1 || !repeatable || !policy.covers(cause) {
            return Verdict::Final;
        }
        if self.retries.get() + 1 >= policy.attempts || self.due.get() <= now {
            return Verdict::Final;
        }
        if !budget.take(policy.budget, now) {
            return Verdict::OverBudget;
        }
        self.retries.set(self.retries.get() + 1);
        Verdict::Again
    }
}

impl Retries {
    fn covers(&self, cause: Cause) -> bool {
        match cause {
            Cause::Reset => self.reset,
            Cause::Timeout => self.timeout,
            Cause::Status(status) => self.statuses.contains(&status),
            Cause::Grpc(code) => self.grpc.contains(&code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Retries {
        Retries {
            attempts: 3,
            reset: true,
            timeout: true,
            statuses: vec![503],
            budget: 20,
            ..Retries::default()
        }
    }

    const WHOLE: Duration = Duration::from_secs(3);

    #[test]
    fn attempts_end_and_share_the_time_that_one_would_have() {
        let (policy, attempts, budget) = (policy(), Attempts::default(), Budget::default());
        assert_eq!(attempts.left(7), None);
        assert_eq!(attempts.begin(&policy, 100, WHOLE, (true, true)), Duration::from_secs(1));
        assert_eq!(attempts.judge(&policy, Cause::Timeout, &budget, 120), Verdict::Again);
        assert_eq!(attempts.left(120), Some(Duration::from_secs(2)));
        assert_eq!(attempts.begin(&policy, 130, WHOLE, (true, true)), Duration::from_secs(1));
        assert_eq!(attempts.judge(&policy, Cause::Status(503), &budget, 131), Verdict::Again);
        assert_eq!(
            attempts.begin(&policy, 131, WHOLE, (true, true)),
            Duration::from_millis(29 * 50),
            "all that is left"
        );
        assert_eq!(attempts.judge(&policy, Cause::Reset, &budget, 131), Verdict::Final);
        assert_eq!(attempts.sent(), 3);
    }

    #[test]
    fn nothing_is_repeated_that_may_not_be() {
        let (policy, budget) = (policy(), Budget::default());
        let off = Retries::default();
        for (policy, repeatable, cause, now) in [
            (&policy, false, Cause::Reset, 1),
            (&policy, true, Cause::Status(502), 1),
            (&policy, true, Cause::Grpc(14), 1),
            (&policy, true, Cause::Reset, 60),
            (&off, true, Cause::Reset, 1),
            (&Retries { reset: false, ..policy.clone() }, true, Cause::Reset, 1),
        ] {
            let attempts = Attempts::default();
            attempts.begin(policy, 0, WHOLE, (true, repeatable));
            assert_eq!(attempts.judge(policy, cause, &budget, now), Verdict::Final, "{cause:?} {now}");
        }
        let attempts = Attempts::default();
        assert_eq!(attempts.begin(&off, 5, WHOLE, (true, true)), WHOLE);
        assert_eq!(
            attempts.begin(&off, 50, WHOLE, (true, true)),
            WHOLE,
            "a stale connection's retry has all of its time"
        );
        let attempts = Attempts::default();
        attempts.begin(&off, 5, WHOLE, (true, true));
        assert!(attempts.may_fail_over(100, WHOLE));
        assert_eq!(
            attempts.begin(&off, 120, WHOLE, (true, true)),
            WHOLE - TICK * 20,
            "repeats share the time of one"
        );
        assert!(attempts.may_fail_over(159, WHOLE) && !attempts.may_fail_over(160, WHOLE));
        let attempts = Attempts::default();
        assert_eq!(
            attempts.begin(&policy, 5, WHOLE, (true, false)),
            WHOLE,
            "no share where there is no second attempt"
        );
    }
}
