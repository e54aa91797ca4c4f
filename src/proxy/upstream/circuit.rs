//! Circuit bounds of an upstream: requests, connections that are being made, and connections, over all workers.
//!
//! A count is kept only where a bound is set: without one, no line of memory is shared for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::plan::CircuitLimits;
use crate::proxy::failure::Bound;

/// The bounds of an upstream with their counts, which outlive a reload.
#[derive(Clone, Debug)]
pub(crate) struct Circuit {
    limits: CircuitLimits,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    now: [AtomicU64; 3],
    refused: [AtomicU64; 3],
}

/// One of what is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Arc<Counts>,
    of: Bound,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.now[self.of as usize].fetch_sub(1, Relaxed);
    }
}

impl Circuit {
    /// These bounds, with the counts of `last`.
    pub(crate) fn new(limits: &CircuitLimits, last: Option<&Self>) -> Self {
        let counts = last.map(|last| Arc::clone(&last.counts)).unwrap_or_default();
        Self { limits: limits.clone(), counts }
    }

    /// The bound; 0: there is none.
    pub(crate) fn most(&self, of: Bound) -> u64 {
        match of {
            Bound::Requests => self.limits.requests,
            Bound::Pending => self.limits.pending,
            Bound::Connections => self.limits.connections,
        }
    }

    /// Counts one more; `None` where nothing bounds it.
    ///
    /// # Errors
    /// There are as many as may be.
    #[inline]
    pub(crate) fn take(&self, of: Bound) -> Result<Option<Counted>, Bound> {
        let most = self.most(of);
        if most == 0 {
            return Ok(None);
        }
        let more = |count| (count < most).then_some(count + 1);
        if self.counts.now[of as usize].fetch_update(Relaxed, Relaxed, more).is_err() {
            return Err(of);
        }
        Ok(Some(Counted { counts: Arc::clone(&self.counts), of }))
    }

    /// Counts a refusal for this bound.
    pub(crate) fn refuse(&self, of: Bound) {
        self.counts.refused[of as usize].fetch_add(1, Relaxed);
    }

    /// What is counted now of what is bounded, and how often that was refused.
    pub(crate) fn read(&self, of: Bound) -> (u64, u64) {
        let at = of as usize;
        (self.counts.now[at].load(Relaxed), self.counts.refused[at].load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_until_something_ends_and_across_a_reload() {
        let limits = CircuitLimits { requests: 2, ..CircuitLimits::default() };
        let circuit = Circuit::new(&limits, None);
        let first = circuit.take(Bound::Requests).unwrap();
        let _second = circuit.take(Bound::Requests).unwrap();
        assert_eq!(circuit.take(Bound::Requests).unwrap_err(), Bound::Requests);
        assert!(circuit.take(Bound::Pending).unwrap().is_none(), "it has no bound");
        let reloaded = Circuit::new(&CircuitLimits { requests: 1, ..limits }, Some(&circuit));
        drop(first);
        assert!(reloaded.take(Bound::Requests).is_err(), "the second one goes on");
        reloaded.refuse(Bound::Requests);
        assert_eq!(circuit.read(Bound::Requests), (1, 1));
    }
}
