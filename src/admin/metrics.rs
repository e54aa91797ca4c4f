//! `GET /metrics`: what is counted, for Prometheus.
//!
//! Labels hold names from the config alone: what a client or a backend sends never makes a new time series.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::exposition::{Format, Text, label};
use super::reload::blocking;
use super::{Control, certificates, discovery, endpoint_metrics, listeners, process, traffic, verification};
use crate::base::counters::{MEANINGS, RENAMED, under_old_names};
use crate::base::latency::LatencySum;
use crate::io::log;
use crate::server::{Deployment, Server};

pub(super) async fn metrics(State(control): State<Control>, headers: HeaderMap) -> Response {
    let format = Format::of(&headers);
    // The store's records are on the disk.
    match blocking(&control, move |deployment| Ok(render(deployment, format))).await {
        Ok(text) => {
            let fields = [(header::CONTENT_TYPE, format.media_type()), (header::VARY, "Accept")];
            (fields, text).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// The histogram of response times of the whole process.
fn latency(server: &Server, text: &mut Text) {
    let mut sum = LatencySum::default();
    server.counters.iter().for_each(|counters| sum.add(&counters.latency));
    let help = "Time from a request's head to its response's head from a backend.";
    let name = "ringate_response_seconds";
    text.histogram(name, help, |out| {
        for (bound, count) in sum.octaves() {
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let (count, seconds) = (sum.count(), sum.seconds());
        let _ =
            writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {seconds}\n{name}_count {count}");
    });
}

/// Requests and connections that were turned away, by what bounds them: the counters of the same names, as one family.
#[allow(clippy::cast_precision_loss)] // as in `render`
fn limited(totals: &[(&'static str, u64)], text: &mut Text) {
    let others = [
        ("requests_limited", "rate_limit"),
        ("refused_endpoints_down", "endpoints_down"),
        ("retries_refused", "retry_budget"),
        ("connections_displaced", "descriptors"),
    ];
    let samples = totals.iter().filter_map(|(name, count)| {
        let other = others.iter().find(|(counter, _)| counter == name).map(|(_, reason)| *reason);
        let reason = name.strip_prefix("limit_").or(other)?;
        Some((label("reason", reason), *count as f64))
    });
    let help = "Requests, retries and connections that were refused or ended for a bound, by the bound.";
    text.family("counter", "limited_total", help, samples);
}

/// Credentials by definition and state, and how many end soon. Names of consumers are no labels: there may be many.
#[allow(clippy::cast_precision_loss)] // there are 100,000 at most, and a time has 31 bits
fn credentials(deployment: &Deployment, text: &mut Text) {
    let current = deployment.current();
    if current.plan.credentials.is_empty() {
        return;
    }
    let counts = current.made.consumers.counts();
    let samples = counts.iter().map(|((definition, state), count)| {
        let labels = format!("{},{}", label("definition", definition), label("state", state.word()));
        (labels, *count as f64)
    });
    text.family("gauge", "credentials", "Credentials of consumers, by definition and state.", samples);
    let ends = current.made.consumers.first_ends().into_iter();
    let ends = ends.map(|(definition, end)| (label("definition", &definition), end.unix() as f64));
    let help = "When the first credential in force of the definition ends, in seconds since 1970.";
    text.family("gauge", "credential_first_not_after_seconds", help, ends);
    let endings = current.made.consumers.endings(&current.plan);
    let soon = endings.iter().filter(|ending| ending.days_left >= 0).count();
    let help =
        "Credentials that end soon: within store.renew_before, or in the last third of a shorter validity.";
    text.one("gauge", "credentials_ending", help, soon as f64);
}

#[allow(clippy::cast_precision_loss)] // a counter beyond 2^53 loses its last digits, as in Prometheus itself
fn render(deployment: &Deployment, format: Format) -> String {
    let server = &deployment.server;
    let mut text = Text::new(format);
    let totals = server.totals();
    for &(name, value) in &totals {
        let meaning = MEANINGS.iter().find(|(known, _)| *known == name).map_or("", |(_, meaning)| meaning);
        let (kind, suffix) = if name.ends_with("_open") { ("gauge", "") } else { ("counter", "_total") };
        text.one(kind, &format!("{name}{suffix}"), meaning, value as f64);
    }
    for ((new, _), (old, value)) in RENAMED.iter().zip(under_old_names(&totals)) {
        let help = format!("Deprecated, removed in the next version: use ringate_{new}_total.");
        text.one("counter", &format!("{old}_total"), &help, value as f64);
    }
    limited(&totals, &mut text);
    latency(server, &mut text);
    let (watching, dropped) = deployment.events.counts();
    text.one("gauge", "event_streams_open", "Clients that read /v1/events.", watching as f64);
    let help = "Clients of /v1/events that were dropped, as they did not read in time.";
    text.one("counter", "event_streams_dropped_total", help, dropped as f64);
    if let Some(audit) = &deployment.audit {
        let help = "Changes that could not be written into the audit log.";
        text.one("counter", "audit_failures_total", help, audit.failed() as f64);
    }
    if let Some(traces) = &server.traces {
        let (sent, failed) = (&traces.counts.sent, &traces.counts.failed);
        let help = "Spans that the collector has taken (`telemetry.otlp`).";
        text.one("counter", "spans_sent_total", help, sent.load(Ordering::Relaxed) as f64);
        let help = "Spans that were dropped, as the collector did not take them.";
        text.one("counter", "spans_failed_total", help, failed.load(Ordering::Relaxed) as f64);
    }
    let version = label("version", env!("CARGO_PKG_VERSION"));
    let driver = label("driver", server.backend.name());
    text.family("gauge", "build_info", "Which program this is.", [(format!("{version},{driver}"), 1.0)]);
    text.one("gauge", "workers", "Workers that run.", server.workers_left() as f64);
    text.one("gauge", "uptime_seconds", "Time since the start.", server.started.elapsed().as_secs_f64());
    let ready = f64::from(u8::from(server.is_ready()));
    text.one("gauge", "ready", "Whether new connections are accepted, and every worker turns.", ready);
    let help = "Workers that have made no turn for more than a second.";
    text.one("gauge", "workers_stuck", help, server.stuck().len() as f64);
    let silences = server
        .silences()
        .enumerate()
        .filter_map(|(worker, silence)| Some((label("worker", &worker.to_string()), silence?.as_secs_f64())));
    let help = "Time since a worker's last turn. A worker turns every 0.2 s, however little it has to do.";
    text.family("gauge", "worker_last_turn_seconds", help, silences);
    let help = "Lines of the log dropped because standard error did not take them.";
    text.one("counter", "log_lines_dropped_total", help, log::dropped() as f64);
    let current = deployment.current();
    let help = "The config that runs, counted from 1 at the start.";
    text.one("gauge", "config_version", help, current.running.version as f64);
    let help = "Configs that were refused, by reload or change.";
    text.one("counter", "config_refused_total", help, deployment.refused.load(Ordering::Relaxed) as f64);
    let failed = deployment.refreshes_failed.load(Ordering::Relaxed);
    let help = "Reads of trust files and revocation lists that met one which is not in force as it is.";
    text.one("counter", "revocation_list_refreshes_failed_total", help, failed as f64);
    let help = "Faults of trust files and revocation lists now; `ringate status` lists them.";
    text.one("gauge", "trust_faults", help, deployment.trust_faults().len() as f64);
    credentials(deployment, &mut text);
    certificates::metrics(deployment, &mut text);
    listeners::metrics(&server.snapshot.load(), &mut text);
    discovery::metrics(deployment, &mut text);
    verification::metrics(deployment, &mut text);
    let running = server.snapshot.load();
    endpoint_metrics::metrics(&running, &mut text);
    traffic::metrics(&running, &mut text);
    process::workers(server, &mut text);
    process::metrics(server, &mut text);
    text.end()
}
