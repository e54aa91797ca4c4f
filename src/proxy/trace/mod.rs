//! Traces of requests: which are recorded, what is recorded, and the way to the thread that sends it.
//!
//! ```text
//! head ─► Tracer::begin: not sampled, or a Trace
//!            │ Trace::attempt … end_attempt: a client span for each time that the request is sent
//! Tracer::end(trace) ─► this worker's ring ─► the exporter's thread (server/telemetry) ─► OTLP
//! ```
//!
//! A request that is not sampled costs a look at one field of its head. Nothing waits: where the ring is full, the trace is
//! dropped and counted.

pub(crate) mod context;
mod span;
mod tracer;

pub(crate) use span::{Attempt, Finished, Trace, with_context};
pub(crate) use tracer::{Seed, Tracer};
