//! Exchanges at an endpoint, over all workers, without a cache line that workers fight for.
//!
//! Each worker counts in a cell of its own ([`EndpointUse`]) that no other worker writes. A reader adds the cells up. The
//! balancer of a worker knows its own count at every moment; what the others have it reads again every few requests
//! ([`Refresh`]), so that a request costs at most a few reads of other workers' lines, however many workers there are.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::base::counters::Count;
use crate::base::meter::{Served, Traffic, TrafficSum};
use crate::proxy::upstream::circuit::Counted;

/// Reads of other workers' cells that one choice may cost on average, for each endpoint.
const READS: usize = 4;

/// What all workers share of the use of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct EndpointUse {
    cells: ArcSwap<Vec<Arc<UseCell>>>,
    /// What was counted in cells which are gone. The lock is taken when a snapshot comes or goes and by the
    /// control plane, so that no reader counts a cell twice or not at all.
    past: Mutex<UseTotals>,
}

/// What an endpoint has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UseTotals {
    /// Requests, or tcp connections, that have had a connection to it, repeated ones each time.
    pub(crate) requests: u64,
    /// Responses whose head came in time.
    pub(crate) responses: u64,
    /// Responses of the 5xx class, and exchanges that failed at it.
    pub(crate) errors: u64,
    /// The sum of the times from a request's head to its response's, in microseconds.
    pub(crate) micros: u64,
    /// Exchanges that have ended there.
    pub(crate) traffic: TrafficSum,
}

/// The counts of one worker.
#[derive(Debug, Default)]
#[repr(align(128))] // a cache line pair of its own, so that workers never share one
struct UseCell {
    in_flight: Count,
    requests: Count,
    responses: Count,
    errors: Count,
    micros: Count,
    traffic: Traffic,
}

impl UseCell {
    fn totals(&self) -> UseTotals {
        let mut traffic = TrafficSum::default();
        traffic.add(&self.traffic);
        UseTotals {
            traffic,
            requests: self.requests.get(),
            responses: self.responses.get(),
            errors: self.errors.get(),
            micros: self.micros.get(),
        }
    }
}

impl std::ops::AddAssign for UseTotals {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.responses += other.responses;
        self.errors += other.errors;
        self.micros = self.micros.wrapping_add(other.micros);
        self.traffic.merge(&other.traffic);
    }
}

/// A worker's part of an [`EndpointUse`].
#[derive(Debug)]
pub(crate) struct WorkerUse {
    shared: Arc<EndpointUse>,
    own: Arc<UseCell>,
    /// What the others' cells had when they were read last.
    others: Cell<u64>,
}

impl EndpointUse {
    /// Exchanges at this moment: connections being made for one, requests, tunnels and relays.
    pub(crate) fn in_flight(&self) -> u64 {
        self.cells.load().iter().map(|cell| cell.in_flight.get()).sum()
    }

    /// Requests, or tcp connections, that have had a connection to the endpoint, repeated ones each time.
    pub(crate) fn requests(&self) -> u64 {
        self.totals().requests
    }

    /// All that was counted, over all workers.
    pub(crate) fn totals(&self) -> UseTotals {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = *past;
        self.cells.load().iter().for_each(|cell| totals += cell.totals());
        totals
    }

    /// A worker's part.
    pub(crate) fn join(self: &Arc<Self>) -> WorkerUse {
        let own = Arc::new(UseCell::default());
        self.cells.rcu(|cells| {
            let mut cells = Vec::clone(cells);
            cells.push(Arc::clone(&own));
            cells
        });
        WorkerUse { shared: Arc::clone(self), own, others: Cell::new(0) }
    }
}

impl WorkerUse {
    /// Exchanges over all workers, those of others as they were read last.
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        self.own.in_flight.get() + self.others.get()
    }

    /// Exchanges of this worker.
    #[inline]
    pub(crate) fn own(&self) -> u64 {
        self.own.in_flight.get()
    }

    /// An exchange at it has ended: the status of the endpoint, 0 for none, and whether the endpoint is at fault.
    #[inline]
    pub(crate) fn ended(&self, status: u16, served: &Served, is_error: bool) {
        self.own.traffic.add(status, served.request_bytes, served.response_bytes);
        if let Some(took) = served.first_byte {
            self.own.responses.add(1);
            self.own.micros.add(u64::try_from(took.as_micros()).unwrap_or(0));
        }
        if is_error {
            self.own.errors.add(1);
        }
    }

    /// Whether no other worker has a part.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.workers() == 1
    }

    /// Reads what the others have.
    pub(crate) fn look(&self) {
        let cells = self.shared.cells.load();
        let others = cells.iter().filter(|cell| !Arc::ptr_eq(cell, &self.own));
        self.others.set(others.map(|cell| cell.in_flight.get()).sum());
    }

    /// Workers that have a part.
    pub(crate) fn workers(&self) -> usize {
        self.shared.cells.load().len()
    }
}

impl Drop for WorkerUse {
    fn drop(&mut self) {
        let mut past = self.shared.past.lock().unwrap_or_else(PoisonError::into_inner);
        let others = |cells: &Arc<Vec<Arc<UseCell>>>| {
            cells.iter().filter(|cell| !Arc::ptr_eq(cell, &self.own)).cloned().collect::<Vec<_>>()
        };
        self.shared.cells.rcu(others);
        *past += self.own.totals();
    }
}

/// An exchange at an endpoint, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    at: Rc<WorkerUse>,
    /// Its count among the endpoint's requests, where these are bounded.
    _counted: Option<Counted>,
}

impl InFlight {
    /// The same with its count among the requests that the endpoint's bound counts.
    pub(crate) fn bounded(mut self, counted: Option<Counted>) -> Self {
        self._counted = counted;
        self
    }

    /// One that begins now, with the choice of the endpoint: also a connection that is being made is load.
    pub(crate) fn begin(at: &Rc<WorkerUse>) -> Self {
        at.own.in_flight.add(1);
        Self { at: Rc::clone(at), _counted: None }
    }

    /// It has a connection.
    pub(crate) fn connected(self) -> Self {
        self.at.own.requests.add(1);
        self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.at.own.in_flight.sub(1);
    }
}

/// When a worker reads the others' cells again.
#[derive(Debug, Default)]
pub(crate) struct Refresh {
    /// Choices until then.
    left: Cell<usize>,
    /// The tick of the last time.
    at: Cell<u64>,
}

impl Refresh {
    /// A choice is made at the tick `now`: reads the cells of `uses`, if it is time. The tick bounds the age of what is
    /// known where choices are rare.
    #[inline]
    pub(crate) fn step<'a>(&self, now: u64, uses: impl Iterator<Item = &'a WorkerUse>) {
        let left = self.left.get();
        if left > 0 && self.at.get() == now {
            self.left.set(left - 1);
            return;
        }
        let mut workers = 0;
        for each in uses {
            each.look();
            workers = workers.max(each.workers());
        }
        self.left.set(workers.saturating_sub(2) / READS);
        self.at.set(now);
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;

    #[test]
    fn workers_count_for_themselves_and_see_the_sum() {
        let shared = Arc::new(EndpointUse::default());
        let [one, other] = [Rc::new(shared.join()), Rc::new(shared.join())];
        let first = InFlight::begin(&one);
        let _second = InFlight::begin(&one);
        let third = InFlight::begin(&other).connected();
        assert_eq!((one.load(), other.load(), shared.in_flight()), (2, 1, 3));
        let refresh = Refresh::default();
        refresh.step(1, std::iter::once(&*one));
        assert_eq!(one.load(), 3);
        drop(first);
        assert_eq!((one.load(), shared.in_flight()), (2, 2));
        drop((third, other));
        assert_eq!((shared.in_flight(), shared.requests()), (1, 1), "its requests are counted on");
        refresh.step(1, std::iter::once(&*one));
        assert_eq!(one.load(), 1);
    }

    #[test]
    fn many_workers_are_read_less_often() {
        let shared = Arc::new(EndpointUse::default());
        let all: Vec<_> = (0..66).map(|_| Rc::new(shared.join())).collect();
        let refresh = Refresh::default();
        let (mut reads, mut held) = (0, Vec::new());
        for _ in 0..17 * 10 {
            // Seen by a worker only if it has read again.
            held.push(InFlight::begin(&all[1]));
            let before = all[0].load();
            refresh.step(7, std::iter::once(&*all[0]));
            reads += usize::from(all[0].load() != before);
        }
        assert_eq!(reads, 10);
        let before = all[0].load();
        held.push(InFlight::begin(&all[1]));
        refresh.step(8, std::iter::once(&*all[0]));
        assert_ne!(all[0].load(), before, "a tick has passed");
    }

    /// What counting and choosing cost with two workers at once. Printed, not judged:
    /// `cargo test --release --lib load::tests::cost -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn cost() {
        const ROUNDS: u32 = 5_000_000;
        let shared: Vec<_> = (0..3).map(|_| Arc::new(EndpointUse::default())).collect();
        let run = |threads: usize, looks: bool| {
            let begun = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        let uses: Vec<_> = shared.iter().map(|shared| Rc::new(shared.join())).collect();
                        let refresh = Refresh::default();
                        for round in 0..ROUNDS {
                            if looks {
                                refresh.step(u64::from(round / 4096), uses.iter().map(|each| &**each));
                            }
                            let least = uses.iter().min_by_key(|each| each.load()).unwrap_or(&uses[0]);
                            black_box(InFlight::begin(least).connected());
                        }
                    });
                }
            });
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
        };
        for (threads, looks) in [(1, false), (1, true), (2, false), (2, true)] {
            println!("{threads} threads, others read: {looks}: {:.1} ns a request", run(threads, looks));
        }
    }
}
