//! Which requests are recorded, and the worker's end of the way to the exporter.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use rtrb::Producer;

use super::context::{self, Parent};
use super::span::{Finished, Trace};
use crate::base::counters::Counters;
use crate::http::RequestHead;
use crate::proxy::client::ClientFacts;
use crate::proxy::request_id::RequestId;

/// 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A worker's end, on its way to the worker's thread.
#[derive(Debug)]
pub struct Seed {
    pub(crate) ring: Producer<Box<Trace>>,
    /// The share of requests that are recorded, in millionths, of those without a parent.
    pub(crate) millionths: u32,
    /// What its span ids begin with.
    pub(crate) ids: u64,
    pub(crate) counters: Arc<Counters>,
}

/// A worker's end.
#[derive(Debug)]
pub(crate) struct Tracer {
    ring: RefCell<Producer<Box<Trace>>>,
    millionths: u32,
    ids: Cell<u64>,
    counters: Arc<Counters>,
}

impl Seed {
    /// The end itself. Called on the worker's thread.
    pub(crate) fn tracer(self) -> Tracer {
        let Self { ring, millionths, ids, counters } = self;
        Tracer { ring: ring.into(), millionths, ids: ids.into(), counters }
    }
}

impl Tracer {
    /// A request that is recorded; `None`: it is not. A client's decision holds; without one, the configured share of requests is recorded.
    pub(crate) fn begin(
        &self,
        head: &RequestHead<'_, '_>,
        id: &RequestId,
        (listener, client, text): (&str, &ClientFacts, &str),
    ) -> Option<Box<Trace>> {
        let parent = Parent::of(head);
        let sampled = match parent {
            Some(parent) => parent.sampled,
            None => is_within(id.point, self.millionths),
        };
        if !sampled {
            return None;
        }
        let trace = match parent {
            Some(parent) => parent.trace,
            None => context::id_of(text)?,
        };
        Some(Trace::begin((trace, self.span(), self.span()), parent, head, (listener, client, text)))
    }

    /// The id of a new span: of a sequence that repeats after 2⁶⁴ (splitmix64), never 0.
    pub(crate) fn span(&self) -> u64 {
        let state = self.ids.get().wrapping_add(GOLDEN);
        self.ids.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31).max(1)
    }

    /// Ends the trace of a request that Ringate answers itself, and hands it on.
    pub(crate) fn answered(&self, mut trace: Box<Trace>, finished: Finished) {
        let duration = trace.begun.elapsed().unwrap_or_default();
        trace.finished = Finished { duration, ..finished };
        self.end(trace);
    }

    /// Hands a trace on. Never waits.
    pub(crate) fn end(&self, trace: Box<Trace>) {
        let spans = 1 + trace.attempts.len() as u64;
        match self.ring.borrow_mut().push(trace) {
            Ok(()) => self.counters.traces_recorded.add(1),
            Err(_) => self.counters.spans_dropped.add(spans),
        }
    }
}

/// Whether a fraction of 2⁶⁴ is below a share in millionths.
fn is_within(point: u64, millionths: u32) -> bool {
    u128::from(point) * 1_000_000 < u128::from(millionths) << 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::request_id::RequestIds;

    #[test]
    fn the_share_holds_over_any_row_of_requests() {
        let ids = RequestIds::new(7);
        let points: Vec<u64> = (0..10_000).map(|_| ids.next().point).collect();
        for (millionths, expected) in [(0, 0), (10_000, 100), (500_000, 5000), (1_000_000, 10_000)] {
            let found = points.iter().filter(|point| is_within(**point, millionths)).count();
            assert!(found.abs_diff(expected) <= 3, "{millionths}: {found}");
        }
    }

    #[test]
    fn span_ids_differ() {
        let (ring, _end) = rtrb::RingBuffer::new(1);
        let tracer = Seed { ring, millionths: 0, ids: 0, counters: Arc::default() }.tracer();
        let all: std::collections::HashSet<u64> = (0..1000).map(|_| tracer.span()).collect();
        assert!(all.len() == 1000 && !all.contains(&0));
    }
}
