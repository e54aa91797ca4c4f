//! What the admin server answers.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;

use super::Control;
use super::certificates::{self, InUse};
use crate::server::Deployment;

#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    driver: &'static str,
    workers: Vec<Worker>,
    uptime_seconds: u64,
    draining: bool,
    listeners: Vec<Listener>,
    upstreams: Vec<Upstream>,
    certificates: Vec<InUse>,
    totals: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Worker {
    cpu: usize,
    connections_open: u64,
    requests: u64,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    addresses: Vec<String>,
    tls: bool,
}

#[derive(Serialize)]
struct Upstream {
    name: String,
    endpoints: Vec<String>,
    tls: bool,
    client_certificate: Option<String>,
}

impl Status {
    fn of(deployment: &Deployment) -> Self {
        let server = &deployment.server;
        let running = server.snapshot.load();
        let workers = server.cpus.iter().zip(&server.counters).map(|(&cpu, counters)| Worker {
            cpu,
            connections_open: counters.connections_open.get(),
            requests: counters.requests.get(),
        });
        let listeners = running.listeners.iter().map(|listener| Listener {
            name: listener.name.clone(),
            addresses: listener.addresses.iter().map(ToString::to_string).collect(),
            tls: listener.tls.is_some(),
        });
        let upstreams = running.upstreams.iter().map(|upstream| Upstream {
            name: upstream.name.clone(),
            endpoints: upstream.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
            tls: upstream.tls.is_some(),
            client_certificate: upstream
                .tls
                .as_ref()
                .and_then(|tls| tls.identity.as_ref())
                .map(|identity| identity.load().name().to_owned()),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            driver: server.backend.name(),
            workers: workers.collect(),
            uptime_seconds: server.started.elapsed().as_secs(),
            draining: !server.ready.load(std::sync::atomic::Ordering::Relaxed),
            listeners: listeners.collect(),
            upstreams: upstreams.collect(),
            certificates: certificates::in_use(deployment),
            totals: server
                .totals()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        }
    }
}

pub(super) async fn status(State(control): State<Control>) -> Json<Status> {
    Json(Status::of(&control.deployment))
}

pub(super) async fn drain(State(control): State<Control>) -> StatusCode {
    control.drain.notify_one();
    StatusCode::ACCEPTED
}

/// Prometheus' text format, version 0.0.4.
pub(super) async fn metrics(State(control): State<Control>) -> Response {
    let mut text = String::new();
    for (name, value) in control.server.totals() {
        let (kind, suffix) = if name.ends_with("_open") { ("gauge", "") } else { ("counter", "_total") };
        let _ = writeln!(text, "# TYPE ringate_{name}{suffix} {kind}\nringate_{name}{suffix} {value}");
    }
    certificates::metrics(&control.deployment, &mut text);
    let _ = writeln!(text, "# TYPE ringate_workers gauge\nringate_workers {}", control.server.workers_left());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// The page, which asks `/v1/status` with the token behind its `#`.
pub(super) async fn page() -> Html<&'static str> {
    Html(include_str!("console.html"))
}
