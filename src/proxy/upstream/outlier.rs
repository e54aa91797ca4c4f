//! Passive health of one endpoint, as all workers share it: when it is tried last, and when it is tried again.
//!
//! ```text
//!           a connection fails
//!         ┌──────────────────────────► Held off ──────────┐
//!         │                                               │ the time is over: one request at a time
//!      Usable                                             ▼
//!         │ failures in a row, errors, stalls           Trial ──► failed: again, for twice the time
//!         └──────────────────────────► Ejected ──────────┘│
//!      Usable ◄────────────────────────────────────────────┘ connected (held off), a response (ejected)
//! ```
//!
//! The trial of an ejected endpoint is a request that can be sent again, so that none is lost to it. If none has come for as
//! long as the ejection took, any request is.
//!
//! An endpoint that is usable is one load of a zero. Nothing is written as long as its outcomes are good.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::limits::{HOLD_OFF, MAX_HOLD_OFF};
use crate::base::published::Published;
use crate::proxy::upstream::request_key::Repeat;

/// No connection could be made.
const HELD_OFF: u64 = 1;
/// It failed otherwise.
const EJECTED: u64 = 1 << 1;
/// A request finds out whether it is back.
const TRIAL: u64 = 1 << 2;
/// Where the time begins, in milliseconds of [`clock`](crate::base::clock).
const UNTIL: u32 = 8;

/// What all workers share of one endpoint's passive health. It has a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct OutlierState {
    /// 0: usable. Else the reason, and until when.
    hold: AtomicU64,
    /// Failures since the last response.
    failures: AtomicU32,
    /// Responses of the 5xx class since the last other one.
    errors: AtomicU32,
    hold_offs: Backoff,
    ejections: Backoff,
    /// How often it was ejected.
    total: AtomicU64,
    last: Published<Option<Ejection>>,
}

/// Why an endpoint was ejected last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ejection {
    /// When.
    pub(crate) at: SystemTime,
    /// For how long.
    pub(crate) time: Duration,
    /// Why, in words.
    pub(crate) reason: String,
}

/// What is known, as a successor gets it. Times are milliseconds from now on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OutlierRecord {
    held_off: bool,
    ejected: bool,
    left: u64,
    failures: u32,
    errors: u32,
    hold_offs: BackoffRecord,
    ejections: BackoffRecord,
    total: u64,
    last: Option<Ejection>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BackoffRecord {
    rounds: u32,
    left: u64,
    last: u64,
}

/// What a failure comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is counted.
    Counted,
    /// The endpoint is to be ejected.
    Due,
}

impl Default for OutlierState {
    fn default() -> Self {
        Self {
            hold: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            errors: AtomicU32::new(0),
            hold_offs: Backoff::default(),
            ejections: Backoff::default(),
            total: AtomicU64::new(0),
            last: Published::new(None),
        }
    }
}

impl OutlierState {
    /// Whether such a request may go to it at will. `now`, in milliseconds, is only asked for where it matters.
    #[inline]
    pub(crate) fn is_usable(&self, now: impl FnOnce() -> u64, repeat: Repeat) -> bool {
        let hold = self.hold.load(Relaxed);
        hold == 0 || self.trial_is_due(hold, now(), repeat)
    }

    /// Whether such a request finds out whether it is back. Where no connection could be made, any request does: nothing
    /// of it has left before one is.
    fn trial_is_due(&self, hold: u64, now: u64, repeat: Repeat) -> bool {
        let others_first = hold & EJECTED != 0 && repeat == Repeat::Never;
        let patience = if others_first { self.ejections.last.load(Relaxed) } else { 0 };
        (hold >> UNTIL).saturating_add(patience) <= now
    }

    /// Whether it is tried last, or a request to it is a trial.
    pub(crate) fn is_held(&self) -> bool {
        self.hold.load(Relaxed) != 0
    }

    /// Whether it is ejected, a trial included.
    pub(crate) fn is_ejected(&self) -> bool {
        self.hold.load(Relaxed) & EJECTED != 0
    }

    /// How often it was ejected.
    pub(crate) fn ejections(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// The last ejection, whether or not it is over.
    pub(crate) fn last(&self) -> std::sync::Arc<Option<Ejection>> {
        self.last.load()
    }

    /// What is known. A trial that is under way is left out: the next request is one.
    pub(crate) fn record(&self, now: u64) -> OutlierRecord {
        let hold = self.hold.load(Relaxed);
        let left = if hold & TRIAL == 0 { (hold >> UNTIL).saturating_sub(now) } else { 0 };
        OutlierRecord {
            held_off: hold & HELD_OFF != 0,
            ejected: hold & EJECTED != 0,
            left,
            failures: self.failures.load(Relaxed),
            errors: self.errors.load(Relaxed),
            hold_offs: self.hold_offs.record(now),
            ejections: self.ejections.record(now),
            total: self.total.load(Relaxed),
            last: self.last.load().as_ref().clone(),
        }
    }

    /// Goes on from what another process knew.
    pub(crate) fn restore(&self, record: &OutlierRecord, now: u64) {
        let reason = if record.held_off { HELD_OFF } else { 0 } | if record.ejected { EJECTED } else { 0 };
        let until = now.saturating_add(record.left).min(u64::MAX >> (UNTIL + 1));
        self.hold.store(if reason == 0 { 0 } else { reason | until << UNTIL }, Relaxed);
        self.failures.store(record.failures, Relaxed);
        self.errors.store(record.errors, Relaxed);
        self.hold_offs.restore(&record.hold_offs, now);
        self.ejections.restore(&record.ejections, now);
        self.total.store(record.total, Relaxed);
        self.last.store(record.last.clone().into());
    }

    /// A request goes to it. If its time is over, others keep off for `time`, in which that request finds out whether it
    /// is back. Whether this is such a trial.
    pub(crate) fn begin_trial(&self, now: u64, time: Duration) -> bool {
        let hold = self.hold.load(Relaxed);
        if hold == 0 || hold >> UNTIL > now {
            return false;
        }
        let trial = (hold & (HELD_OFF | EJECTED)) | TRIAL | (now + millis(time)) << UNTIL;
        self.hold.compare_exchange(hold, trial, Relaxed, Relaxed).is_ok()
    }

    /// Its trial has found out nothing: another one may follow at once.
    pub(crate) fn end_trial(&self, now: u64) {
        let ended = |hold: u64| (hold & TRIAL != 0).then_some((hold & (HELD_OFF | EJECTED)) | now << UNTIL);
        let _ = self.hold.fetch_update(Relaxed, Relaxed, ended);
    }

    /// No connection could be made. It is tried last for a while, for twice as long as before if this was a trial.
    pub(crate) fn connection_failed(&self, now: u64) {
        let hold = self.hold.load(Relaxed);
        if hold != 0 && hold & TRIAL == 0 && hold >> UNTIL > now {
            return;
        }
        let time = self.hold_offs.next(now, HOLD_OFF, MAX_HOLD_OFF);
        let held = (hold & EJECTED) | HELD_OFF | (now + millis(time)) << UNTIL;
        let _ = self.hold.compare_exchange(hold, held, Relaxed, Relaxed);
    }

    /// A connection was made.
    #[inline]
    pub(crate) fn connected(&self) {
        let hold = self.hold.load(Relaxed);
        if hold & HELD_OFF != 0 {
            // What it was ejected for is found out by the request that has the connection.
            let rest = if hold & EJECTED == 0 { 0 } else { (hold & !HELD_OFF) | TRIAL };
            let _ = self.hold.compare_exchange(hold, rest, Relaxed, Relaxed);
        }
    }

    /// It gave a response in time that is no error. Whether it was ejected until now.
    #[inline]
    pub(crate) fn answered(&self, now: impl FnOnce() -> u64) -> bool {
        for count in [&self.failures, &self.errors] {
            if count.load(Relaxed) != 0 {
                count.store(0, Relaxed);
            }
        }
        let hold = self.hold.load(Relaxed);
        if hold == 0 {
            return false;
        }
        // A response to what was sent before it was ejected says nothing new.
        let is_proof = hold & EJECTED == 0 || hold & TRIAL != 0 || hold >> UNTIL <= now();
        is_proof && self.hold.compare_exchange(hold, 0, Relaxed, Relaxed).is_ok() && hold & EJECTED != 0
    }

    /// A failure; `threshold` in a row are too many, as one is in a trial.
    pub(crate) fn failed(&self, now: u64, threshold: u32) -> Verdict {
        self.counted(&self.failures, now, threshold)
    }

    /// A response of the 5xx class; `threshold` in a row are too many, as one is in a trial.
    pub(crate) fn erred(&self, now: u64, threshold: u32) -> Verdict {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        self.counted(&self.errors, now, threshold)
    }

    fn counted(&self, count: &AtomicU32, now: u64, threshold: u32) -> Verdict {
        let hold = self.hold.load(Relaxed);
        if hold & EJECTED != 0 {
            let is_trial = hold & TRIAL != 0 || hold >> UNTIL <= now;
            return if is_trial { Verdict::Due } else { Verdict::Counted };
        }
        let failures = count.fetch_add(1, Relaxed).saturating_add(1);
        if threshold > 0 && failures >= threshold { Verdict::Due } else { Verdict::Counted }
    }

    /// It is ejected for `base`, twice as long each time that follows soon, `most` at most. For how long; `None`: another
    /// worker has done so just now.
    pub(crate) fn eject(&self, now: u64, base: Duration, most: Duration, reason: String) -> Option<Duration> {
        let hold = self.hold.load(Relaxed);
        if hold & EJECTED != 0 && hold & TRIAL == 0 && hold >> UNTIL > now {
            return None;
        }
        let claimed = EJECTED | (now + millis(base)) << UNTIL;
        self.hold.compare_exchange(hold, claimed, Relaxed, Relaxed).ok()?;
        let time = self.ejections.next(now, base, most);
        self.hold.store(EJECTED | (now + millis(time)) << UNTIL, Relaxed);
        self.failures.store(0, Relaxed);
        self.errors.store(0, Relaxed);
        self.total.fetch_add(1, Relaxed);
        self.last.store(Some(Ejection { at: SystemTime::now(), time, reason }).into());
        Some(time)
    }
}

/// Times that double, and begin anew after a time without trouble that is as long as the last one.
#[derive(Debug, Default)]
struct Backoff {
    rounds: AtomicU32,
    /// When the last time is over, in milliseconds, and how long it was.
    until: AtomicU64,
    last: AtomicU64,
}

impl Backoff {
    fn record(&self, now: u64) -> BackoffRecord {
        let left = self.until.load(Relaxed).saturating_sub(now);
        BackoffRecord { rounds: self.rounds.load(Relaxed), left, last: self.last.load(Relaxed) }
    }

    fn restore(&self, record: &BackoffRecord, now: u64) {
        self.rounds.store(record.rounds, Relaxed);
        self.until.store(now.saturating_add(record.left), Relaxed);
        self.last.store(record.last, Relaxed);
    }

    fn next(&self, now: u64, base: Duration, most: Duration) -> Duration {
        // A trial may take as long as a request has.
        let trouble = self.last.load(Relaxed).max(10_000);
        let calm = self.until.load(Relaxed).saturating_add(trouble);
        let rounds = if now > calm { 0 } else { self.rounds.load(Relaxed) };
        let time = base.saturating_mul(1 << rounds.min(16)).min(most.max(base));
        self.rounds.store(rounds.saturating_add(1), Relaxed);
        self.until.store(now + millis(time), Relaxed);
        self.last.store(millis(time), Relaxed);
        time
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> (UNTIL + 1)).min(u64::MAX >> (UNTIL + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(30);
    const MOST: Duration = Duration::from_secs(100);
    const SECOND: u64 = 1000;

    fn usable(state: &OutlierState, now: u64) -> bool {
        state.is_usable(|| now, Repeat::Held)
    }

    fn eject(state: &OutlierState, now: u64) -> Option<Duration> {
        state.eject(now, BASE, MOST, "for a test".to_owned())
    }

    #[test]
    fn a_failed_connection_holds_off_for_times_that_double_until_one_is_made() {
        let state = OutlierState::default();
        let mut now = 0;
        for seconds in [1, 2, 4, 8, 8] {
            state.connection_failed(now);
            // Others that were under way add nothing.
            state.connection_failed(now);
            assert!(!usable(&state, now + seconds * SECOND - 1));
            now += seconds * SECOND;
            assert!(usable(&state, now));
            assert!(state.begin_trial(now, BASE), "the first one");
            assert!(!state.begin_trial(now, BASE) && !usable(&state, now), "others keep off meanwhile");
        }
        state.end_trial(now);
        assert!(state.begin_trial(now, BASE), "the last one has found out nothing");
        state.connected();
        assert!(usable(&state, now) && !state.begin_trial(now, BASE));
        // Soon after that it is the next time, later the first one again.
        state.connection_failed(now + SECOND);
        assert!(!usable(&state, now + 9 * SECOND - 1));
        state.connected();
        state.connection_failed(now + 60 * SECOND);
        assert!(usable(&state, now + 61 * SECOND));
    }

    #[test]
    fn failures_in_a_row_eject_until_a_trial_is_answered() {
        let state = OutlierState::default();
        assert_eq!([0; 4].map(|now| state.failed(now, 5)), [Verdict::Counted; 4]);
        assert!(!state.answered(|| 0));
        assert_eq!([0; 4].map(|now| state.failed(now, 5)), [Verdict::Counted; 4]);
        assert_eq!(state.failed(0, 5), Verdict::Due);
        assert_eq!(eject(&state, 0), Some(BASE));
        assert_eq!(eject(&state, 1), None, "once");
        assert_eq!(state.failed(1, 5), Verdict::Counted, "it was under way");
        assert!(!state.answered(|| 2) && !usable(&state, 29 * SECOND), "that, too");
        let mut now = 30 * SECOND;
        for time in [60, 100, 100] {
            assert!(state.begin_trial(now, BASE));
            state.connected();
            assert!(!usable(&state, now), "a connection is no response");
            assert_eq!(state.failed(now, 5), Verdict::Due);
            assert_eq!(eject(&state, now), Some(Duration::from_secs(time)));
            now += time * SECOND;
        }
        assert!(state.begin_trial(now, BASE) && state.answered(|| now));
        assert!(usable(&state, now) && !state.is_ejected());
        assert_eq!(state.ejections(), 4);
    }

    #[test]
    fn a_request_that_cannot_be_sent_again_is_a_trial_only_if_no_other_was() {
        let state = OutlierState::default();
        let usable = |now| state.is_usable(|| now, Repeat::Never);
        // Nothing of it is lost where no connection is made.
        state.connection_failed(0);
        assert!(!usable(SECOND - 1) && usable(SECOND));
        state.connected();
        let mut now = 10 * SECOND;
        for time in [30, 60] {
            assert_eq!(eject(&state, now), Some(Duration::from_secs(time)));
            now += time * SECOND;
            assert!(state.is_usable(|| now, Repeat::Held) && !usable(now));
            assert!(!usable(now + time * SECOND - 1) && usable(now + time * SECOND));
            now += time * SECOND;
            assert!(state.begin_trial(now, BASE) && !usable(now));
        }
        assert!(state.answered(|| now) && usable(now));
    }

    #[test]
    fn a_trial_that_cannot_connect_stays_ejected() {
        let state = OutlierState::default();
        eject(&state, 0);
        assert!(state.begin_trial(30 * SECOND, BASE));
        state.connection_failed(30 * SECOND);
        assert!(!usable(&state, 30 * SECOND + 1) && state.is_ejected());
        assert!(state.begin_trial(31 * SECOND, BASE));
        state.connected();
        assert!(!usable(&state, 31 * SECOND));
        assert!(state.answered(|| 31 * SECOND) && usable(&state, 31 * SECOND));
    }

    #[test]
    fn a_successor_knows_what_is_ejected_and_for_how_long() {
        let (state, next) = (OutlierState::default(), OutlierState::default());
        assert_eq!(eject(&state, 100 * SECOND), Some(BASE));
        next.restore(&state.record(110 * SECOND), SECOND);
        assert!(next.is_ejected() && !usable(&next, 20 * SECOND) && usable(&next, 21 * SECOND));
        assert_eq!(next.ejections(), 1);
        assert!(next.begin_trial(21 * SECOND, BASE));
        assert_eq!(eject(&next, 21 * SECOND), Some(BASE * 2), "the times go on doubling");
        let third = OutlierState::default();
        third.restore(&OutlierState::default().record(5), 7);
        assert!(usable(&third, 7) && !third.is_held());
    }

    #[test]
    fn errors_in_a_row_are_counted_apart_from_failures() {
        let state = OutlierState::default();
        state.failed(0, 2);
        assert_eq!(state.erred(0, 2), Verdict::Counted);
        assert_eq!(state.failed(0, 2), Verdict::Counted, "a response came between the two");
        assert_eq!(state.erred(0, 2), Verdict::Due);
        assert_eq!(
            (0..9).map(|_| state.erred(0, 0)).max_by_key(|it| *it == Verdict::Due),
            Some(Verdict::Counted)
        );
    }
}
