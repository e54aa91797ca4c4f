//! `GET /v1/logs` and `GET /v1/failures`: the last warnings and errors of the log, and the last requests and connections that
//! failed.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::Control;
use crate::base::failures::FailureRecord;
use crate::certs::Timestamp;
use crate::io::recent::{self, Recent};

/// The calls.
pub(super) fn routes() -> Router<Control> {
    Router::new().route("/v1/failures", get(failures)).route("/v1/logs", get(logs))
}

/// The oldest first.
async fn logs() -> Json<Vec<Recent>> {
    Json(recent::all())
}

/// A request or a tcp connection that failed. No header, no query and no content of it is kept.
#[derive(Debug, Serialize)]
struct Failure {
    at: Timestamp,
    /// To the millisecond, since 1970.
    at_ms: u64,
    listener: String,
    /// The route's id; none if the request was refused before one was found.
    route: Option<String>,
    /// Where it was sent, if anywhere.
    upstream: Option<String>,
    endpoint: Option<String>,
    /// The answer's; none if there was none.
    status: Option<u16>,
    /// Of RFC 9209 §2.3, or `backend_status`, `client_disconnected`.
    r#type: String,
    /// `client`: the request, or its client, is at fault. `backend`: the backend, or the way to it.
    fault: &'static str,
    reason: String,
    duration_ms: f64,
    request_id: Option<String>,
}

/// Those of all workers, the oldest first.
async fn failures(State(control): State<Control>) -> Json<Vec<Failure>> {
    let mut all: Vec<FailureRecord> =
        control.server.counters.iter().flat_map(|counters| counters.failures.read()).collect();
    all.sort_by_key(|record| record.at);
    Json(all.into_iter().map(Failure::from).collect())
}

impl From<FailureRecord> for Failure {
    fn from(record: FailureRecord) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let since = record.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            at: record.at.into(),
            at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            listener: record.listener,
            route: some(record.route),
            upstream: some(record.upstream),
            endpoint: some(record.endpoint),
            status: Some(record.status).filter(|status| *status > 0),
            r#type: record.kind,
            fault: if record.clients { "client" } else { "backend" },
            reason: record.reason,
            duration_ms: milliseconds(record.duration),
            request_id: some(record.id),
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
