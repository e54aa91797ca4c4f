//! Metrics of upstreams and their endpoints besides their traffic: health, bounds, retries, mirrors, TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::backends::state;
use super::exposition::{Text, label};
use crate::certs::Facts;
use crate::proxy::failure::Bound;
use crate::proxy::snapshot::RuntimeConfig;
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::proxy::upstream::load::EndpointUse;
use crate::proxy::upstream::mirror::{MirrorCounts, Skipped};
use crate::tls::alert_name;

/// Adds the metrics that have an upstream and an endpoint.
pub(super) fn metrics(running: &RuntimeConfig, text: &mut Text) {
    health(running, text);
    ejections(running, text);
    uses(running, text);
    circuits(running, text);
    checks(running, text);
    retries(running, text);
    mirrors(running, text);
    tls(running, text);
}

/// The labels of an endpoint: its name and, where that is another text, its address.
pub(super) fn labels(endpoint: &Endpoint) -> String {
    let name = label("endpoint", &endpoint.name);
    let address = endpoint.address.as_ref().map_or_else(String::new, ToString::to_string);
    if address == endpoint.name { name } else { format!("{name},{}", label("address", &address)) }
}

fn of(upstream: &Upstream) -> String {
    label("upstream", &upstream.name)
}

/// Each endpoint with its labels.
fn each<'r>(
    upstreams: impl IntoIterator<Item = &'r Arc<Upstream>>,
) -> impl Iterator<Item = (String, &'r Endpoint)> {
    upstreams.into_iter().flat_map(|upstream| {
        let endpoints = upstream.endpoints.iter();
        endpoints.map(move |endpoint| (format!("{},{}", of(upstream), labels(endpoint)), endpoint))
    })
}

#[allow(clippy::cast_precision_loss)] // counts beyond 2^53 lose their last digits, as in Prometheus itself
fn count(of: &AtomicU64) -> f64 {
    of.load(Ordering::Relaxed) as f64
}

/// What is known of each endpoint, and how many endpoints of each upstream are in which state.
#[allow(clippy::cast_precision_loss)] // there are few
fn health(running: &RuntimeConfig, text: &mut Text) {
    let known = each(&running.upstreams).filter(|(_, endpoint)| state(endpoint) != "unknown");
    let samples = known.map(|(labels, endpoint)| (labels, f64::from(u8::from(state(endpoint) == "up"))));
    let help = "Whether the endpoint could be used, as a worker found last; no sample before the first use.";
    text.family("gauge", "endpoint_up", help, samples);
    let samples = running.upstreams.iter().flat_map(|upstream| {
        ["up", "down", "ejected", "unknown"].map(|wanted| {
            let count = upstream.endpoints.iter().filter(|endpoint| state(endpoint) == wanted).count();
            (format!("{},{}", of(upstream), label("state", wanted)), count as f64)
        })
    });
    text.family("gauge", "upstream_endpoints", "Endpoints of the upstream, by state.", samples);
}

/// Health checks of each endpoint that has some.
#[allow(clippy::cast_precision_loss)] // as above
fn checks(running: &RuntimeConfig, text: &mut Text) {
    let checked = running.upstreams.iter().filter(|upstream| upstream.health.is_some());
    let samples = each(checked).flat_map(|(labels, endpoint)| {
        let (passed, failed) = endpoint.state.check.counts();
        [("passed", passed), ("failed", failed)]
            .map(|(result, count)| (format!("{labels},{}", label("result", result)), count as f64))
    });
    text.family("counter", "endpoint_checks_total", "Health checks of the endpoint, by result.", samples);
}

/// What is counted for the circuit bounds of each upstream.
#[allow(clippy::cast_precision_loss)] // as above
fn circuits(running: &RuntimeConfig, text: &mut Text) {
    let samples = running.upstreams.iter().flat_map(|upstream| {
        Bound::ALL.map(|bound| {
            let labels = format!("{},{}", of(upstream), label("limit", bound.name()));
            (labels, upstream.circuit.refused(bound) as f64)
        })
    });
    let help = "Requests refused for `limits` of the upstream.";
    text.family("counter", "upstream_limit_refused_total", help, samples);
}

/// Copies of requests of each upstream that has some.
#[allow(clippy::cast_precision_loss)] // as above
fn mirrors(running: &RuntimeConfig, text: &mut Text) {
    let all = || {
        running.upstreams.iter().filter_map(|upstream| {
            let mirror = upstream.mirror.as_ref()?;
            Some((format!("{},{}", of(upstream), label("mirror", &mirror.upstream)), mirror))
        })
    };
    let mut family = |kind: &str, name: &str, help: &str, counts: fn(&MirrorCounts) -> &AtomicU64| {
        text.family(kind, name, help, all().map(|(labels, mirror)| (labels, count(counts(&mirror.counts)))));
    };
    let help = "Copies of the upstream's requests that got a response (`mirror`).";
    family("counter", "mirrored_requests_total", help, |counts| &counts.sent);
    let help = "Copies of the upstream's requests that got no response.";
    family("counter", "mirror_failures_total", help, |counts| &counts.failed);
    let help = "Copies of the upstream's requests that are held or under way.";
    family("gauge", "mirror_in_flight", help, |counts| &counts.in_flight);
    let samples = all().flat_map(|(labels, mirror)| {
        Skipped::ALL.map(|reason| {
            (format!("{labels},{}", label("reason", reason.name())), mirror.counts.skipped(reason) as f64)
        })
    });
    let help = "Requests without the copy that they were to have, by reason.";
    text.family("counter", "mirror_skipped_total", help, samples);
}

/// How often each endpoint was ejected.
#[allow(clippy::cast_precision_loss)] // as above
fn ejections(running: &RuntimeConfig, text: &mut Text) {
    let samples = each(&running.upstreams)
        .map(|(labels, endpoint)| (labels, endpoint.state.outlier.ejections() as f64));
    text.family("counter", "endpoint_ejections_total", "Ejections of the endpoint (`outliers`).", samples);
}

/// How many exchanges each endpoint has, and has had.
#[allow(clippy::cast_precision_loss)] // as above
fn uses(running: &RuntimeConfig, text: &mut Text) {
    let mut family = |kind: &str, name: &str, help: &str, count: fn(&EndpointUse) -> u64| {
        let samples =
            each(&running.upstreams).map(|(labels, endpoint)| (labels, count(&endpoint.state.used) as f64));
        text.family(kind, name, help, samples);
    };
    let help = "Exchanges and tcp connections at the endpoint now, over all workers.";
    family("gauge", "endpoint_in_flight", help, EndpointUse::in_flight);
    let help = "Requests and tcp connections that went to the endpoint, repeated ones each time.";
    family("counter", "endpoint_requests_total", help, EndpointUse::requests);
    let help = "Responses of the 5xx class of the endpoint, and exchanges that failed at it.";
    family("counter", "endpoint_errors_total", help, |used| used.totals().errors);
    let times = each(&running.upstreams).map(|(labels, endpoint)| {
        let totals = endpoint.state.used.totals();
        (labels, totals.responses, totals.micros as f64 / 1e6)
    });
    let help = "From a request's head to its response's head from the endpoint: how many responses, and the sum of their times.";
    text.sums("endpoint_first_byte_duration_seconds", help, times);
}

fn retries(running: &RuntimeConfig, text: &mut Text) {
    let mut family = |name: &str, help: &str, of_upstream: fn(&Upstream) -> &AtomicU64| {
        let with = running.upstreams.iter().filter(|upstream| upstream.retries.attempts > 1);
        let samples = with.map(|upstream| (of(upstream), count(of_upstream(upstream))));
        text.family("counter", name, help, samples);
    };
    family("upstream_retries_total", "Requests sent again.", |upstream| &upstream.retried.sent);
    let help = "Requests not sent again for want of budget.";
    family("upstream_retries_refused_total", help, |upstream| &upstream.retried.refused);
}

#[allow(clippy::cast_precision_loss)] // a time in seconds has 31 bits
fn tls(running: &RuntimeConfig, text: &mut Text) {
    let with_tls = || running.upstreams.iter().filter(|upstream| upstream.tls.is_some());
    let unverified = with_tls().filter_map(|upstream| {
        let tls = upstream.tls.as_ref()?;
        Some((of(upstream), f64::from(u8::from(!tls.verifies))))
    });
    text.family("gauge", "backend_tls_unverified", "1: insecure_skip_verify is set.", unverified);
    let failures = each(with_tls()).flat_map(|(labels, endpoint)| {
        endpoint.state.tls.failures().into_iter().map(move |(reason, count)| {
            let alert = label("alert", reason.alert().map_or("", alert_name));
            (format!("{labels},{},{alert}", label("reason", reason.label())), count as f64)
        })
    });
    let help = "TLS handshakes with the endpoint that failed, by reason and alert.";
    text.family("counter", "backend_tls_failures_total", help, failures);
    let ends = each(with_tls()).filter_map(|(labels, endpoint)| {
        let last = endpoint.state.tls.last();
        let chain = last.as_ref().as_ref().and_then(|last| last.facts.peer_certificates.as_deref());
        let leaf = chain.and_then(<[_]>::first).and_then(|der| Facts::from_der(der).ok())?;
        let end = SystemTime::from(leaf.not_after);
        Some((labels, end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as f64))
    });
    let help = "When the certificate that was seen last ends, in seconds since 1970.";
    text.family("gauge", "backend_certificate_expires_seconds", help, ends);
}
