//! What one worker owns: its counters, its clock, its log, its ids. It knows none of the modules that use it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::access;
use super::client::ClientFacts;
use super::client_binding::ClientIds;
use super::failure::Failure;
use super::identity_connections::TrackedConnections;
use super::request_id::RequestIds;
use crate::base::counters::Counters;
use crate::base::tally::Tally;
use crate::io::Wheel;

/// A worker's own things. No other thread touches them, so nothing in it is locked.
#[derive(Debug)]
pub struct Worker {
    /// Written here, summed elsewhere.
    pub counters: Arc<Counters>,
    /// All deadlines of this worker.
    pub wheel: Wheel,
    /// Set when the worker drains.
    pub draining: Cell<bool>,
    /// Where access-log lines go, if anywhere.
    pub(crate) access: Option<access::Sink>,
    /// What is open, counted with all other workers.
    pub(crate) tally: Arc<Tally>,
    /// Its backend connections that were made with a client identity.
    pub(crate) tracked: TrackedConnections,
    pub(crate) ids: RequestIds,
    pub(crate) clients: ClientIds,
    /// Heads are encoded here, then moved in front of the body they belong to. All connections of the worker share it:
    /// after an await it holds another connection's head.
    pub(crate) scratch: RefCell<Vec<u8>>,
}

impl Worker {
    /// A worker's own things. `ids` is what its request ids begin with.
    pub fn new(counters: Arc<Counters>, access: Option<access::Seed>, tally: Arc<Tally>, ids: u64) -> Self {
        Self {
            counters,
            wheel: Wheel::new(),
            draining: Cell::new(false),
            access: access.map(access::Seed::sink),
            tally,
            tracked: TrackedConnections::default(),
            ids: RequestIds::new(ids),
            clients: ClientIds::default(),
            scratch: RefCell::new(Vec::with_capacity(4096)),
        }
    }

    pub(crate) fn count_status(&self, status: u16) {
        let counters = &self.counters;
        match status {
            100..=199 => counters.responses_1xx.add(1),
            200..=299 => counters.responses_2xx.add(1),
            300..=399 => counters.responses_3xx.add(1),
            400..=499 => counters.responses_4xx.add(1),
            _ => counters.responses_5xx.add(1),
        }
    }

    /// Counts the bound that a failure met, if it met one.
    pub(crate) fn count_bound(&self, failure: &Failure) {
        if let Some(count) = failure.bound(&self.counters) {
            count.add(1);
        }
    }

    /// A request that was refused before it was routed, in the access log.
    /// `bytes`: of the reply.
    pub(crate) fn log_refusal(&self, listener: &str, client: &ClientFacts, failure: &Failure, bytes: usize) {
        self.count_bound(failure);
        tracing::debug!(client = %client.address, "request refused: {failure}");
        if let Some(sink) = &self.access {
            let record = sink.take().or_else(|| {
                sink.begin(listener, client, None, None);
                sink.take()
            });
            let outcome = access::Outcome {
                status: failure.status().unwrap_or(0),
                bytes: bytes as u64,
                duration: std::time::Duration::ZERO,
                first_byte: (bytes > 0).then_some(std::time::Duration::ZERO),
                upstream: None,
                endpoint: None,
                tries: 0,
                relay: None,
                failure: Some(failure),
            };
            if let Some(record) = record {
                sink.end(record, &outcome);
            }
        }
    }
}
