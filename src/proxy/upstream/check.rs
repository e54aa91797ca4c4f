//! What active checks have found of one endpoint. The checker alone writes; workers load one flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::published::Published;

/// See the module.
#[derive(Debug)]
pub(crate) struct CheckState {
    /// Whether it is down, as the checks say.
    down: AtomicBool,
    /// Checks in a row that ended like the last one, and how many were made at all.
    in_a_row: AtomicU32,
    passed: AtomicU64,
    failed: AtomicU64,
    last: Published<Option<CheckResult>>,
}

/// One check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CheckResult {
    /// When it ended.
    pub(crate) at: SystemTime,
    /// How long it took.
    pub(crate) took: Duration,
    /// Why it failed, if it did.
    pub(crate) fault: Option<String>,
    /// Since when the endpoint is up or down.
    pub(crate) since: SystemTime,
}

/// What is known, as a successor gets it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckRecord {
    down: bool,
    in_a_row: u32,
    passed: u64,
    failed: u64,
    last: Option<CheckResult>,
}

/// What a check has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// It was the first one, and passed.
    First,
    /// The endpoint is down now.
    Fell,
    /// It is up again.
    Rose,
}

impl Default for CheckState {
    fn default() -> Self {
        Self {
            down: AtomicBool::new(false),
            in_a_row: AtomicU32::new(0),
            passed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last: Published::new(None),
        }
    }
}

impl CheckState {
    /// Whether it is down, as its checks say.
    #[inline]
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    /// The last check.
    pub(crate) fn last(&self) -> Arc<Option<CheckResult>> {
        self.last.load()
    }

    /// Checks that passed, and that failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.passed.load(Relaxed), self.failed.load(Relaxed))
    }

    /// What is known.
    pub(crate) fn record(&self) -> CheckRecord {
        let (passed, failed) = self.counts();
        let last = self.last.load().as_ref().clone();
        CheckRecord { down: self.is_down(), in_a_row: self.in_a_row.load(Relaxed), passed, failed, last }
    }

    /// Goes on from what another process knew.
    pub(crate) fn restore(&self, record: &CheckRecord) {
        self.in_a_row.store(record.in_a_row, Relaxed);
        self.passed.store(record.passed, Relaxed);
        self.failed.store(record.failed, Relaxed);
        self.last.store(record.last.clone().into());
        self.down.store(record.down && record.last.is_some(), Relaxed);
    }

    /// It is not checked any more: nothing is known of it.
    pub(crate) fn forget(&self) {
        if self.last.load().is_some() {
            self.down.store(false, Relaxed);
            self.in_a_row.store(0, Relaxed);
            self.last.store(None.into());
        }
    }

    /// Takes down a check. The first one decides at once: until then the endpoint counts as usable, and nothing else is
    /// known of it.
    pub(crate) fn note(&self, took: Duration, fault: Option<String>, fall: u32, rise: u32) -> Change {
        let last = self.last.load();
        let last = last.as_ref().as_ref();
        let (was_down, passes) = (self.is_down(), fault.is_none());
        let is_like_last = last.is_some_and(|last| last.fault.is_none() == passes);
        let in_a_row = if is_like_last { self.in_a_row.load(Relaxed).saturating_add(1) } else { 1 };
        self.in_a_row.store(in_a_row, Relaxed);
        let count = if passes { &self.passed } else { &self.failed };
        count.fetch_add(1, Relaxed);
        let change = match (was_down, passes) {
            (false, false) if last.is_none() || in_a_row >= fall => Change::Fell,
            (true, true) if in_a_row >= rise => Change::Rose,
            (false, true) if last.is_none() => Change::First,
            _ => Change::None,
        };
        let at = SystemTime::now();
        let since = if change == Change::None { last.map_or(at, |last| last.since) } else { at };
        self.last.store(Some(CheckResult { at, took, fault, since }).into());
        match change {
            Change::Fell => self.down.store(true, Relaxed),
            Change::Rose => self.down.store(false, Relaxed),
            Change::First | Change::None => {}
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: &CheckState, passes: bool) -> Change {
        state.note(Duration::ZERO, (!passes).then(|| "no".to_owned()), 3, 2)
    }

    #[test]
    fn the_first_check_decides_and_then_fall_and_rise_do() {
        let state = CheckState::default();
        assert_eq!(check(&state, true), Change::First);
        let changes = |checks: &[bool]| checks.iter().map(|it| check(&state, *it)).collect::<Vec<_>>();
        use Change::{Fell, None, Rose};
        assert_eq!(changes(&[false, false, true, false, false]), [None; 5]);
        assert_eq!(changes(&[false, false]), [Fell, None]);
        assert!(state.is_down());
        assert_eq!(changes(&[true, false, true, true]), [None, None, None, Rose]);
        assert!(!state.is_down());
        assert_eq!(state.counts(), (5, 7));
        let state = CheckState::default();
        assert_eq!(check(&state, false), Fell);
        state.forget();
        assert!(!state.is_down() && state.last().is_none());
    }
}
