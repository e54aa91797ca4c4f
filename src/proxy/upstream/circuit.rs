//! Circuit bounds of an upstream and of each of its endpoints: requests, connections that are being made, and connections,
//! over all workers.
//!
//! A count is kept only where a bound is set: without one, no line of memory is shared for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::plan::CircuitLimits;
use crate::proxy::failure::Bound;

/// The bounds of an upstream with its counts, which outlive a reload. The counts of its endpoints are in their states.
#[derive(Clone, Debug)]
pub(crate) struct Circuit {
    limits: CircuitLimits,
    per_endpoint: CircuitLimits,
    counts: Arc<CircuitCounts>,
    refused: Arc<[AtomicU64; Bound::ALL.len()]>,
}

/// What is under way of what is bounded, at an upstream or at an endpoint.
#[derive(Debug, Default)]
pub(crate) struct CircuitCounts {
    now: [AtomicU64; 3],
}

/// One of what is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Arc<CircuitCounts>,
    of: usize,
}

/// A connection, counted at its upstream and at its endpoint where these are bounded, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct CountedConnection {
    pub(crate) _of_upstream: Option<Counted>,
    pub(crate) _of_endpoint: Option<Counted>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.now[self.of].fetch_sub(1, Relaxed);
    }
}

impl CircuitCounts {
    /// What is counted now.
    pub(crate) fn now(&self, of: Bound) -> u64 {
        self.now[place(of)].load(Relaxed)
    }
}

impl Circuit {
    /// These bounds, with the counts of `last`.
    pub(crate) fn new(limits: &CircuitLimits, per_endpoint: &CircuitLimits, last: Option<&Self>) -> Self {
        let counts = last.map(|last| Arc::clone(&last.counts)).unwrap_or_default();
        let refused = last.map(|last| Arc::clone(&last.refused)).unwrap_or_default();
        Self { limits: limits.clone(), per_endpoint: per_endpoint.clone(), counts, refused }
    }

    /// The bound; 0: there is none.
    #[inline]
    pub(crate) fn most(&self, of: Bound) -> u64 {
        let limits = if of.is_of_endpoint() { &self.per_endpoint } else { &self.limits };
        match of {
            Bound::Requests | Bound::EndpointRequests => limits.requests,
            Bound::Pending | Bound::EndpointPending => limits.pending,
            Bound::Connections | Bound::EndpointConnections => limits.connections,
        }
    }

    /// Counts one more at the upstream; `None` where nothing bounds it.
    ///
    /// # Errors
    /// There are as many as may be.
    #[inline]
    pub(crate) fn take(&self, of: Bound) -> Result<Option<Counted>, Bound> {
        self.take_at(&self.counts, of)
    }

    /// Counts one more at the endpoint that has these counts; `None` where nothing bounds it.
    ///
    /// # Errors
    /// There are as many as may be.
    #[inline]
    pub(crate) fn take_at(&self, counts: &Arc<CircuitCounts>, of: Bound) -> Result<Option<Counted>, Bound> {
        let most = self.most(of);
        if most == 0 {
            return Ok(None);
        }
        let (more, at) = (|count| (count < most).then_some(count + 1), place(of));
        if counts.now[at].fetch_update(Relaxed, Relaxed, more).is_err() {
            return Err(of);
        }
        Ok(Some(Counted { counts: Arc::clone(counts), of: at }))
    }

    /// Whether endpoints have any bound.
    #[inline]
    pub(crate) fn bounds_endpoints(&self) -> bool {
        self.per_endpoint != CircuitLimits::default()
    }

    /// Whether the endpoint that has these counts has room for one more.
    pub(crate) fn has_room_at(&self, counts: &CircuitCounts, of: Bound) -> bool {
        let most = self.most(of);
        most == 0 || counts.now(of) < most
    }

    /// Counts a refusal for this bound.
    pub(crate) fn refuse(&self, of: Bound) {
        self.refused[of as usize].fetch_add(1, Relaxed);
    }

    /// What is counted now at the upstream.
    pub(crate) fn now(&self, of: Bound) -> u64 {
        self.counts.now(of)
    }

    /// How often this bound refused a request.
    pub(crate) fn refused(&self, of: Bound) -> u64 {
        self.refused[of as usize].load(Relaxed)
    }
}

/// Where what the bound is for is counted.
fn place(of: Bound) -> usize {
    match of {
        Bound::Requests | Bound::EndpointRequests => 0,
        Bound::Pending | Bound::EndpointPending => 1,
        Bound::Connections | Bound::EndpointConnections => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_until_something_ends_and_across_a_reload() {
        let limits = CircuitLimits { requests: 2, ..CircuitLimits::default() };
        let none = CircuitLimits::default();
        let circuit = Circuit::new(&limits, &none, None);
        let first = circuit.take(Bound::Requests).unwrap();
        let _second = circuit.take(Bound::Requests).unwrap();
        assert_eq!(circuit.take(Bound::Requests).unwrap_err(), Bound::Requests);
        assert!(circuit.take(Bound::Pending).unwrap().is_none(), "it has no bound");
        let reloaded = Circuit::new(&CircuitLimits { requests: 1, ..limits }, &none, Some(&circuit));
        drop(first);
        assert!(reloaded.take(Bound::Requests).is_err(), "the second one goes on");
        reloaded.refuse(Bound::Requests);
        assert_eq!((circuit.now(Bound::Requests), circuit.refused(Bound::Requests)), (1, 1));
    }

    #[test]
    fn each_endpoint_has_counts_of_its_own() {
        let limits = CircuitLimits { connections: 1, ..CircuitLimits::default() };
        let circuit = Circuit::new(&CircuitLimits::default(), &limits, None);
        let [one, other] = [(); 2].map(|()| Arc::<CircuitCounts>::default());
        let of = Bound::EndpointConnections;
        let held = circuit.take_at(&one, of).unwrap();
        assert_eq!(circuit.take_at(&one, of).unwrap_err(), of);
        assert!(!circuit.has_room_at(&one, of) && circuit.has_room_at(&other, of));
        assert!(circuit.take_at(&other, of).unwrap().is_some());
        drop(held);
        assert!(circuit.has_room_at(&one, of));
        assert!(circuit.bounds_endpoints() && circuit.take(Bound::Connections).unwrap().is_none());
    }
}
