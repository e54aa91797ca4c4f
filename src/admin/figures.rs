//! Figures once a second, and endpoints in another state than before: what `/v1/events` has besides what is sent there.
//!
//! Nothing is read while no client reads events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::backends::state;
use crate::base::latency::LatencySum;
use crate::base::limits::ADMIN_FIGURE_ENDPOINTS;
use crate::certs::Timestamp;
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::proxy::upstream::load::UseTotals;
use crate::server::Deployment;
use crate::server::events::{Event, HealthEvent};

/// How often figures are sent.
const EACH: Duration = Duration::from_secs(1);

/// Sends figures for as long as it is polled.
pub(super) async fn run(deployment: Arc<Deployment>) {
    let mut turns = interval(EACH);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch: Option<Watch> = None;
    loop {
        turns.tick().await;
        if !deployment.events.is_watched() {
            watch = None;
            continue;
        }
        match &mut watch {
            None => watch = Some(Watch::begin(&deployment)),
            Some(watch) => watch.turn(&deployment),
        }
    }
}

/// Of one second, of the whole process.
#[derive(Serialize)]
struct Figures {
    at: Timestamp,
    /// The time that the rates are of.
    seconds: f64,
    /// All since the start; what follows `per_second` is of the last second.
    requests: u64,
    requests_per_second: f64,
    /// Responses a second, by class.
    responses_per_second: Classes,
    /// Responses of the 5xx class, and exchanges that ended before their response did, a second.
    errors_per_second: f64,
    connections_open: u64,
    connections_accepted_per_second: f64,
    backend_connections_per_second: f64,
    handshakes_per_second: Handshakes,
    latency: Latency,
    workers: Vec<WorkerFigures>,
    upstreams: Vec<UpstreamFigures>,
}

#[derive(Serialize)]
struct Classes {
    #[serde(rename = "2xx")]
    ok: f64,
    #[serde(rename = "3xx")]
    redirects: f64,
    #[serde(rename = "4xx")]
    client_errors: f64,
    #[serde(rename = "5xx")]
    server_errors: f64,
}

#[derive(Serialize)]
struct Handshakes {
    clients: f64,
    backends: f64,
    failed: f64,
}

/// From a request's head to its response's, of the last second, in milliseconds. Null: there was no response.
#[derive(Serialize)]
struct Latency {
    responses: u64,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Serialize)]
struct WorkerFigures {
    cpu: usize,
    requests_per_second: f64,
    connections_open: u64,
    p99_ms: Option<f64>,
    stuck: bool,
}

#[derive(Serialize)]
struct UpstreamFigures {
    name: String,
    #[serde(flatten)]
    total: UseFigures,
    /// Endpoints that can be used, and all.
    up: usize,
    of: usize,
    /// Left out where the process has too many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<EndpointFigures>,
}

#[derive(Serialize)]
struct EndpointFigures {
    endpoint: String,
    address: Option<String>,
    state: &'static str,
    #[serde(flatten)]
    figures: UseFigures,
}

#[derive(Serialize)]
struct UseFigures {
    requests: u64,
    requests_per_second: f64,
    errors_per_second: f64,
    in_flight: u64,
    /// The mean of the last second's; null: there was no response.
    latency_ms: Option<f64>,
}

/// What was read a second ago.
struct Watch {
    at: Instant,
    totals: Vec<(&'static str, u64)>,
    workers: Vec<(u64, LatencySum)>,
    /// By the endpoint's id.
    uses: HashMap<u64, UseTotals>,
    states: HashMap<u64, Seen>,
}

/// An endpoint's state as it was sent last.
struct Seen {
    upstream: String,
    endpoint: String,
    address: Option<String>,
    state: &'static str,
}

impl Watch {
    fn begin(deployment: &Deployment) -> Self {
        let upstreams = &deployment.server.snapshot.load().upstreams;
        Self {
            at: Instant::now(),
            totals: deployment.server.totals(),
            workers: workers(deployment),
            uses: each(upstreams).map(|(_, it)| (it.state.id(), it.state.used.totals())).collect(),
            states: each(upstreams).map(|(of, it)| (it.state.id(), Seen::of(of, it))).collect(),
        }
    }

    fn turn(&mut self, deployment: &Deployment) {
        let next = Self::begin(deployment);
        let upstreams = &deployment.server.snapshot.load().upstreams;
        self.compare(&next, deployment, upstreams);
        let figures = self.figures(&next, deployment, upstreams);
        if let Ok(value) = serde_json::to_value(figures) {
            deployment.events.send(&Event::Figures(value));
        }
        *self = next;
    }

    /// Sends the endpoints whose state is another one.
    fn compare(&self, next: &Self, deployment: &Deployment, upstreams: &[Arc<Upstream>]) {
        for (_, endpoint) in each(upstreams) {
            let id = endpoint.state.id();
            let Some(seen) = next.states.get(&id) else { continue };
            let was = self.states.get(&id).map(|seen| seen.state);
            if was != Some(seen.state) {
                let reason = super::backends::Address::of(endpoint).reason;
                deployment.events.send(&seen.event(seen.state, was, reason));
            }
        }
        for (_, seen) in self.states.iter().filter(|(id, _)| !next.states.contains_key(id)) {
            deployment.events.send(&seen.event("removed", Some(seen.state), None));
        }
    }

    fn figures(&self, next: &Self, deployment: &Deployment, upstreams: &[Arc<Upstream>]) -> Figures {
        let seconds = (next.at - self.at).as_secs_f64().max(0.001);
        let find = |totals: &[(&'static str, u64)], name: &str| {
            totals.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
        };
        let rate = |name| per_second(find(&next.totals, name), find(&self.totals, name), seconds);
        let sum = |all: &[(u64, LatencySum)]| {
            let mut sum = LatencySum::default();
            all.iter().for_each(|(_, one)| sum.merge(one));
            sum
        };
        let latency = sum(&next.workers).since(&sum(&self.workers));
        let with_rows = each(upstreams).count() <= ADMIN_FIGURE_ENDPOINTS;
        let of_upstreams = upstreams.iter().map(|upstream| self.upstream(next, upstream, seconds, with_rows));
        Figures {
            at: SystemTime::now().into(),
            seconds,
            requests: find(&next.totals, "requests"),
            requests_per_second: rate("requests"),
            responses_per_second: Classes {
                ok: rate("responses_2xx"),
                redirects: rate("responses_3xx"),
                client_errors: rate("responses_4xx"),
                server_errors: rate("responses_5xx"),
            },
            errors_per_second: rate("responses_5xx") + rate("exchanges_aborted") + rate("grpc_calls_ended"),
            connections_open: find(&next.totals, "connections_open"),
            connections_accepted_per_second: rate("connections_accepted"),
            backend_connections_per_second: rate("backend_connections"),
            handshakes_per_second: Handshakes {
                clients: rate("client_handshakes"),
                backends: rate("backend_handshakes"),
                failed: rate("client_handshake_failures") + rate("backend_handshake_failures"),
            },
            latency: Latency {
                responses: latency.count(),
                p50_ms: latency.quantile(0.5),
                p90_ms: latency.quantile(0.9),
                p99_ms: latency.quantile(0.99),
            },
            workers: self.workers(next, deployment, seconds),
            upstreams: of_upstreams.collect(),
        }
    }

    fn workers(&self, next: &Self, deployment: &Deployment, seconds: f64) -> Vec<WorkerFigures> {
        let stuck = deployment.server.stuck();
        let server = &deployment.server;
        let each = server.cpus.iter().zip(&server.counters).zip(next.workers.iter().zip(&self.workers));
        let figures = each.enumerate().map(|(index, ((&cpu, counters), (now, before)))| WorkerFigures {
            cpu,
            requests_per_second: per_second(now.0, before.0, seconds),
            connections_open: counters.connections_open.get(),
            p99_ms: now.1.since(&before.1).quantile(0.99),
            stuck: stuck.iter().any(|stuck| stuck.worker == index),
        });
        figures.collect()
    }

    fn upstream(&self, next: &Self, upstream: &Upstream, seconds: f64, with_rows: bool) -> UpstreamFigures {
        let (mut now, mut before, mut in_flight) = (UseTotals::default(), UseTotals::default(), 0);
        let mut endpoints = Vec::new();
        for endpoint in &upstream.endpoints {
            let id = endpoint.state.id();
            let its = next.uses.get(&id).copied().unwrap_or_default();
            let was = self.uses.get(&id).copied().unwrap_or_default();
            let under_way = endpoint.state.used.in_flight();
            now += its;
            before += was;
            in_flight += under_way;
            if with_rows {
                endpoints.push(EndpointFigures {
                    endpoint: endpoint.name.clone(),
                    address: endpoint.address.as_ref().map(ToString::to_string),
                    state: word(endpoint),
                    figures: UseFigures::of(its, was, under_way, seconds),
                });
            }
        }
        UpstreamFigures {
            name: upstream.name.clone(),
            total: UseFigures::of(now, before, in_flight, seconds),
            up: upstream.endpoints.iter().filter(|it| matches!(word(it), "up" | "unknown")).count(),
            of: upstream.endpoints.len(),
            endpoints,
        }
    }
}

impl UseFigures {
    #[allow(clippy::cast_precision_loss)] // of one second
    fn of(now: UseTotals, before: UseTotals, in_flight: u64, seconds: f64) -> Self {
        let responses = now.responses.saturating_sub(before.responses);
        let micros = now.micros.wrapping_sub(before.micros);
        Self {
            requests: now.requests,
            requests_per_second: per_second(now.requests, before.requests, seconds),
            errors_per_second: per_second(now.errors, before.errors, seconds),
            in_flight,
            latency_ms: (responses > 0).then(|| rounded(micros as f64 / responses as f64 / 1000.0)),
        }
    }
}

impl Seen {
    fn of(upstream: &Upstream, endpoint: &Endpoint) -> Self {
        Self {
            upstream: upstream.name.clone(),
            endpoint: endpoint.name.clone(),
            address: endpoint.address.as_ref().map(ToString::to_string),
            state: word(endpoint),
        }
    }

    fn event(&self, state: &'static str, was: Option<&'static str>, reason: Option<String>) -> Event {
        Event::Health(HealthEvent {
            at: SystemTime::now().into(),
            upstream: self.upstream.clone(),
            endpoint: self.endpoint.clone(),
            address: self.address.clone(),
            state,
            was,
            reason,
        })
    }
}

/// The state of an endpoint in a word.
fn word(endpoint: &Endpoint) -> &'static str {
    if endpoint.drain { "drained" } else { state(endpoint) }
}

fn each(upstreams: &[Arc<Upstream>]) -> impl Iterator<Item = (&Upstream, &Endpoint)> {
    upstreams.iter().flat_map(|upstream| upstream.endpoints.iter().map(move |it| (&**upstream, it)))
}

fn workers(deployment: &Deployment) -> Vec<(u64, LatencySum)> {
    let each = deployment.server.counters.iter().map(|counters| {
        let mut sum = LatencySum::default();
        sum.add(&counters.latency);
        (counters.requests.get(), sum)
    });
    each.collect()
}

#[allow(clippy::cast_precision_loss)] // of one second
fn per_second(now: u64, before: u64, seconds: f64) -> f64 {
    rounded(now.saturating_sub(before) as f64 / seconds)
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
