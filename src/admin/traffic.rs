//! Metrics of listeners, routes, upstreams and endpoints: requests, responses, bytes and durations.
//!
//! Labels are names of the config, whatever clients send.

use super::endpoint_metrics;
use super::exposition::{Text, label};
use crate::base::histogram::{Histogram, HistogramSum};
use crate::base::limits::MAX_UPSTREAM_HISTOGRAMS;
use crate::base::meter::{CLASSES, ListenerCells, PerWorker, RouteCells, Traffic, TrafficSum, UpstreamCells};
use crate::proxy::snapshot::{OTHER, RuntimeConfig, Traffic as Protocol};
use crate::proxy::upstream::load::UseTotals;

/// The label of requests that no route is known for.
const UNROUTED: &str = "none";

/// What is counted of something, by its labels.
type Counted<T> = Vec<(String, T)>;

/// The meaning of the four families, by what they are of.
struct Words {
    /// What comes before the family's own name: `route`.
    of: &'static str,
    requests: Option<&'static str>,
    responses: &'static str,
    request_bytes: &'static str,
    response_bytes: &'static str,
}

const ROUTES: Words = Words {
    of: "route",
    requests: Some(
        "Requests that have ended, by listener and route; `none`: of requests that no route is known for.",
    ),
    responses: "Final responses to clients by route and class, Ringate's own included.",
    request_bytes: "Bytes received of requests, heads included, by route.",
    response_bytes: "Bytes sent of responses, heads included, by route.",
};

const UPSTREAMS: Words = Words {
    of: "upstream",
    requests: Some("Requests and tcp connections of the upstream that have ended."),
    responses: "Final responses of the upstream that were passed on, by class.",
    request_bytes: "Bytes received of requests for the upstream, heads included, and of tcp connections.",
    response_bytes: "Bytes sent to clients of the upstream's responses, heads included, and of tcp connections.",
};

const ENDPOINTS: Words = Words {
    of: "endpoint",
    // It counts them when they begin: `endpoint_metrics::uses`.
    requests: None,
    responses: "Final responses of the endpoint that were passed on, by class.",
    request_bytes: "Bytes received of requests for the endpoint, heads included, and of tcp connections.",
    response_bytes: "Bytes sent to clients of the endpoint's responses, heads included, and of tcp connections.",
};

/// Adds all of them.
pub(super) fn metrics(running: &RuntimeConfig, text: &mut Text) {
    merged(running, text);
    routes(running, text);
    upstreams(running, text);
    endpoints(running, text);
    let tls = running.listeners.iter().filter(|listener| listener.tls.is_some());
    let handshakes = tls.map(|listener| {
        let sum = durations(&listener.meter, |cells: &ListenerCells| &cells.handshake);
        (label("listener", &listener.name), sum)
    });
    let help = "TLS handshakes with clients, from the connection's first byte to the handshake's end.";
    text.durations("listener_tls_handshake_duration_seconds", help, handshakes);
}

/// What is beyond the bounds of series.
#[allow(clippy::cast_precision_loss)] // there are few
fn merged(running: &RuntimeConfig, text: &mut Text) {
    let routes = running.listeners.iter().flat_map(|listener| match &listener.traffic {
        Protocol::Http { routes, .. } => routes.as_slice(),
        _ => &[],
    });
    let routes = routes.filter(|route| *route.meter.label == *OTHER).count();
    let upstreams = running.upstreams.len().saturating_sub(MAX_UPSTREAM_HISTOGRAMS);
    let samples =
        [("routes", routes), ("upstreams", upstreams)].map(|(of, count)| (label("of", of), count as f64));
    let help = "Routes that are counted together as `other`, and upstreams without histograms: beyond the bound of 1000 each.";
    text.family("gauge", "metrics_merged", help, samples);
}

fn routes(running: &RuntimeConfig, text: &mut Text) {
    let mut all: Counted<&PerWorker<RouteCells>> = Vec::new();
    for listener in &running.listeners {
        let Protocol::Http { routes, .. } = &listener.traffic else { continue };
        let labels = |route: &str| format!("{},{}", label("listener", &listener.name), label("route", route));
        all.push((labels(UNROUTED), &listener.unrouted));
        for route in routes {
            // Routes of the same label are counted together.
            let known =
                |(_, cells): &(String, &PerWorker<RouteCells>)| std::ptr::eq(*cells, &route.meter.cells);
            if !all.iter().any(known) {
                all.push((labels(&route.meter.label), &route.meter.cells));
            }
        }
    }
    let sums = all.iter().map(|(labels, cells)| (labels.clone(), sum(cells, |cells| &cells.traffic)));
    families(&ROUTES, sums.collect(), text);
    let each = |of: fn(&RouteCells) -> &Histogram| -> Counted<HistogramSum> {
        all.iter().map(|(labels, cells)| (labels.clone(), durations(cells, of))).collect()
    };
    let help = "From a request's head to its response's end, by listener and route.";
    text.durations("route_request_duration_seconds", help, each(|cells| &cells.duration));
    let help = "From a request's head to its response's head from a backend, by listener and route.";
    text.durations("route_first_byte_duration_seconds", help, each(|cells| &cells.first_byte));
}

#[allow(clippy::cast_precision_loss)] // counts beyond 2^53 lose their last digits, as in Prometheus itself
fn upstreams(running: &RuntimeConfig, text: &mut Text) {
    let named = |upstream: &str| label("upstream", upstream);
    let all = || running.upstreams.iter().map(|upstream| (named(&upstream.name), &*upstream.meter));
    families(&UPSTREAMS, all().map(|(labels, cells)| (labels, sum(cells, |it| &it.traffic))).collect(), text);
    let bounded = || all().take(MAX_UPSTREAM_HISTOGRAMS);
    let mut histogram = |name: &str, help: &str, of: fn(&UpstreamCells) -> &Histogram| {
        text.durations(
            &format!("upstream_{name}_duration_seconds"),
            help,
            bounded().map(|(labels, cells)| (labels, durations(cells, of))),
        );
    };
    let help = "From a request's head to its response's end; of a tcp connection, its life.";
    histogram("request", help, |cells| &cells.duration);
    let help = "From a request's head to its response's head from the upstream.";
    histogram("first_byte", help, |cells| &cells.first_byte);
    let help = "The time that TCP took for new connections to the upstream.";
    histogram("connect", help, |cells| &cells.connect);
    let help = "The time that TLS handshakes of new connections to the upstream took.";
    histogram("tls_handshake", help, |cells| &cells.handshake);
    let help = "The wait of requests for which no endpoint had room (`pool.max_per_endpoint`).";
    histogram("queue", help, |cells| &cells.queue);
    let connections = all().flat_map(|(labels, cells)| {
        let (mut made, mut reused) = (0, 0);
        cells.each(|cells| {
            made += cells.connections.get();
            reused += cells.reuses.get();
        });
        [("new", made), ("reused", reused)]
            .map(|(state, count)| (format!("{labels},{}", label("state", state)), count as f64))
    });
    let help = "Connections that requests to the upstream had: new ones, and those that were reused. Their ratio is the pool's.";
    text.family("counter", "upstream_connections_total", help, connections);
}

fn endpoints(running: &RuntimeConfig, text: &mut Text) {
    let endpoints = running.upstreams.iter().flat_map(|upstream| {
        upstream.endpoints.iter().map(move |endpoint| {
            let labels =
                format!("{},{}", label("upstream", &upstream.name), endpoint_metrics::labels(endpoint));
            let UseTotals { traffic, .. } = endpoint.state.used.totals();
            (labels, traffic)
        })
    });
    families(&ENDPOINTS, endpoints.collect(), text);
}

#[allow(clippy::cast_precision_loss)] // as above
fn families(words: &Words, all: Counted<TrafficSum>, text: &mut Text) {
    let of = words.of;
    let mut family = |name: &str, help: &str, count: fn(&TrafficSum) -> u64| {
        let samples = all.iter().map(|(labels, sum)| (labels.clone(), count(sum) as f64));
        text.family("counter", &format!("{of}_{name}_total"), help, samples);
    };
    if let Some(help) = words.requests {
        family("requests", help, |sum| sum.requests);
    }
    family("request_bytes", words.request_bytes, |sum| sum.request_bytes);
    family("response_bytes", words.response_bytes, |sum| sum.response_bytes);
    let classes = all.iter().flat_map(|(labels, sum)| {
        let each = CLASSES.iter().zip(sum.classes);
        each.map(move |(class, count)| (format!("{labels},{}", label("class", class)), count as f64))
    });
    text.family("counter", &format!("{of}_responses_total"), words.responses, classes);
}

fn sum<T: Default>(cells: &PerWorker<T>, of: fn(&T) -> &Traffic) -> TrafficSum {
    let mut sum = TrafficSum::default();
    cells.each(|cells| sum.add(of(cells)));
    sum
}

fn durations<T: Default>(cells: &PerWorker<T>, of: fn(&T) -> &Histogram) -> HistogramSum {
    let mut sum = HistogramSum::default();
    cells.each(|cells| sum.add(of(cells)));
    sum
}
