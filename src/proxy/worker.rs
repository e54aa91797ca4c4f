//! What one worker owns: its counters, its clock, its log, its ids. It knows none of the modules that use it.

use std::cell::Cell;
use std::sync::Arc;

use super::access::{self, Record};
use super::client::ClientFacts;
use super::client_binding::ClientIds;
use super::failure::Failure;
use super::head_buffers::HeadBuffers;
use super::identity_connections::TrackedConnections;
use super::request_id::RequestIds;
use super::trace::{self, Tracer};
use crate::base::counters::Counters;
use crate::base::failures::Failed;
use crate::base::tally::Tally;
use crate::http::grpc;
use crate::io::Wheel;

/// A worker's own things. No other thread touches them, so nothing in it is locked.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub(crate) number: usize,
    /// Written here, summed elsewhere.
    pub counters: Arc<Counters>,
    /// All deadlines of this worker.
    pub wheel: Wheel,
    /// Set when the worker drains.
    pub draining: Cell<bool>,
    /// Where access-log lines go, if anywhere.
    pub(crate) access: Option<access::Sink>,
    /// Where traces go, if they go anywhere.
    pub(crate) traces: Option<Tracer>,
    /// What is open, counted with all other workers.
    pub(crate) tally: Arc<Tally>,
    /// Its backend connections that were made with a client identity.
    pub(crate) tracked: TrackedConnections,
    pub(crate) ids: RequestIds,
    pub(crate) clients: ClientIds,
    /// Memory for heads that are being encoded.
    pub(crate) heads: HeadBuffers,
}

impl Worker {
    /// The things of worker `number`, from 0. `ids` is what its request ids begin with.
    pub fn new(
        number: usize,
        counters: Arc<Counters>,
        (access, traces): (Option<access::Seed>, Option<trace::Seed>),
        tally: Arc<Tally>,
        ids: u64,
    ) -> Self {
        Self {
            number,
            counters,
            wheel: Wheel::new(),
            draining: Cell::new(false),
            access: access.map(access::Seed::sink),
            traces: traces.map(trace::Seed::tracer),
            tally,
            tracked: TrackedConnections::default(),
            ids: RequestIds::new(ids),
            clients: ClientIds::default(),
            heads: HeadBuffers::default(),
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
    /// `record` is its line, where one was begun, `id` its id; `bytes` counts those of the reply, and `grpc` is there if that
    /// is for a call of gRPC.
    pub(crate) fn log_refusal(
        &self,
        listener: &str,
        client: &ClientFacts,
        failure: &Failure,
        (record, id): (Option<Box<Record>>, Option<&str>),
        (bytes, grpc): (usize, Option<grpc::Call>),
    ) {
        self.count_bound(failure);
        if failure.is_failure() {
            self.counters.failures.note(&Failed {
                clients: failure.is_clients(),
                id: id.unwrap_or_default(),
                status: failure.status().unwrap_or(0),
                ..Failed::at(listener, failure.kind(), failure)
            });
        }
        tracing::debug!(client = %client.address, "request refused: {failure}");
        if let Some(sink) = &self.access {
            let record = record.unwrap_or_else(|| sink.begin(listener, client, None, None));
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
                error: failure.proxy_error(),
                grpc_status: grpc.and_then(|_| failure.grpc_status()).map(u32::from),
            };
            sink.end(record, &outcome);
        }
    }
}
