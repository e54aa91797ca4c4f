//! What is counted of a route, of an upstream and of a listener: a cell for each worker, which that worker alone writes,
//! and whose sum the reader makes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::count::Count;
use super::histogram::{Exemplar, Histogram};

/// One `T` for each worker. The lock is taken when a worker takes up a snapshot, and by readers; never for a request.
#[derive(Debug)]
pub(crate) struct PerWorker<T> {
    cells: Mutex<Vec<Arc<T>>>,
}

impl<T> Default for PerWorker<T> {
    fn default() -> Self {
        Self { cells: Mutex::default() }
    }
}

impl<T: Default> PerWorker<T> {
    /// The cell of a worker, by its number: the same one each time.
    pub(crate) fn of(&self, worker: usize) -> Arc<T> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        while cells.len() <= worker {
            cells.push(Arc::default());
        }
        Arc::clone(&cells[worker])
    }

    /// Hands `read` each worker's cell.
    pub(crate) fn each(&self, read: impl FnMut(&T)) {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|cell| &**cell).for_each(read);
    }
}

/// Classes of status codes, 1xx to 5xx.
pub(crate) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests with their responses.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Requests that have ended.
    pub(crate) requests: Count,
    /// Final responses by class, in the order of [`CLASSES`].
    pub(crate) classes: [Count; 5],
    /// Bytes of requests, heads included.
    pub(crate) request_bytes: Count,
    /// Bytes of responses, heads included.
    pub(crate) response_bytes: Count,
}

/// The sum of several [`Traffic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrafficSum {
    /// See [`Traffic`].
    pub(crate) requests: u64,
    /// See [`Traffic`].
    pub(crate) classes: [u64; 5],
    /// See [`Traffic`].
    pub(crate) request_bytes: u64,
    /// See [`Traffic`].
    pub(crate) response_bytes: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// The status that the client got; 0 for none.
    pub(crate) status: u16,
    /// Bytes of the request, its head included.
    pub(crate) request_bytes: u64,
    /// Bytes of the response, its head included.
    pub(crate) response_bytes: u64,
    /// From the request's head to the response's end.
    pub(crate) duration: Duration,
    /// From the request's head to the response's head from a backend, if there was one.
    pub(crate) first_byte: Option<Duration>,
    /// Its trace.
    pub(crate) exemplar: Option<Exemplar>,
}

/// What a worker counts of a route.
#[derive(Debug, Default)]
#[repr(align(128))] // a cache line pair of its own, so that workers never share one
pub(crate) struct RouteCells {
    /// Its requests.
    pub(crate) traffic: Traffic,
    /// From a request's head to its response's end.
    pub(crate) duration: Histogram,
    /// From a request's head to its response's head from a backend.
    pub(crate) first_byte: Histogram,
}

/// What a worker counts of an upstream.
#[derive(Debug, Default)]
#[repr(align(128))] // as above
pub(crate) struct UpstreamCells {
    /// Its requests, and its tcp connections.
    pub(crate) traffic: Traffic,
    /// From a request's head to its response's end.
    pub(crate) duration: Histogram,
    /// From a request's head to its response's head.
    pub(crate) first_byte: Histogram,
    /// TCP, for a new connection.
    pub(crate) connect: Histogram,
    /// The TLS handshake of a new connection.
    pub(crate) handshake: Histogram,
    /// The wait for an endpoint with room, of requests that had to wait.
    pub(crate) queue: Histogram,
    /// Connections that were made.
    pub(crate) connections: Count,
    /// Requests that got an idle connection, or a stream of an open one.
    pub(crate) reuses: Count,
}

/// What a worker counts of a listener.
#[derive(Debug, Default)]
#[repr(align(128))] // as above
pub(crate) struct ListenerCells {
    /// TLS handshakes with clients that were finished.
    pub(crate) handshake: Histogram,
}

impl Traffic {
    /// Counts a request that has ended. Called by the owning worker only.
    #[inline]
    pub(crate) fn add(&self, status: u16, request_bytes: u64, response_bytes: u64) {
        self.requests.add(1);
        if let Some(class) = self.classes.get(usize::from(status / 100).wrapping_sub(1)) {
            class.add(1);
        }
        self.request_bytes.add(request_bytes);
        self.response_bytes.add(response_bytes);
    }
}

impl TrafficSum {
    /// Adds what a worker has counted.
    pub(crate) fn add(&mut self, counts: &Traffic) {
        self.requests += counts.requests.get();
        for (sum, count) in self.classes.iter_mut().zip(&counts.classes) {
            *sum += count.get();
        }
        self.request_bytes = self.request_bytes.wrapping_add(counts.request_bytes.get());
        self.response_bytes = self.response_bytes.wrapping_add(counts.response_bytes.get());
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        for (sum, count) in self.classes.iter_mut().zip(other.classes) {
            *sum += count;
        }
        self.request_bytes = self.request_bytes.wrapping_add(other.request_bytes);
        self.response_bytes = self.response_bytes.wrapping_add(other.response_bytes);
    }
}

impl RouteCells {
    /// Counts a request that has ended. Called by the owning worker only.
    #[inline]
    pub(crate) fn add(&self, served: &Served) {
        self.traffic.add(served.status, served.request_bytes, served.response_bytes);
        self.duration.add(served.duration);
        if let Some(took) = served.first_byte {
            self.first_byte.add(took);
        }
        if let Some(exemplar) = &served.exemplar {
            self.duration.keep(exemplar);
        }
    }
}

impl UpstreamCells {
    /// Counts a request that has ended; `status` is the upstream's, 0 for none. Called by the owning worker only.
    #[inline]
    pub(crate) fn add(&self, status: u16, served: &Served) {
        self.traffic.add(status, served.request_bytes, served.response_bytes);
        self.duration.add(served.duration);
        if let Some(took) = served.first_byte {
            self.first_byte.add(took);
        }
        if let Some(exemplar) = &served.exemplar {
            self.duration.keep(exemplar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_one_cell_and_readers_see_all() {
        let shared = PerWorker::<RouteCells>::default();
        let (second, first) = (shared.of(1), shared.of(0));
        assert!(Arc::ptr_eq(&second, &shared.of(1)) && !Arc::ptr_eq(&first, &second));
        for (cells, status) in [(&first, 204), (&second, 599), (&second, 0), (&second, 700)] {
            cells.add(&Served { status, request_bytes: 10, response_bytes: 20, ..Served::default() });
        }
        let mut sum = TrafficSum::default();
        shared.each(|cells| sum.add(&cells.traffic));
        let expected =
            TrafficSum { requests: 4, classes: [0, 1, 0, 0, 1], request_bytes: 40, response_bytes: 80 };
        assert_eq!(sum, expected);
    }
}
