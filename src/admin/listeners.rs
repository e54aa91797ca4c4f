//! What udp listeners have relayed, and TLS handshakes with clients that failed: in status and metrics.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::exposition::{Text, label};
use crate::certs::Timestamp;
use crate::proxy::client_failures::ClientFailure;
use crate::proxy::snapshot::{Listener, RuntimeConfig, Traffic};
use crate::tls::{Offered, alert_name};

/// Counts of a udp listener since the start, over all workers.
#[derive(Serialize)]
pub(super) struct Datagrams {
    sessions: u64,
    sessions_open: u64,
    datagrams_up: u64,
    datagrams_down: u64,
    bytes_up: u64,
    bytes_down: u64,
    dropped: u64,
}

impl Datagrams {
    /// `None` for a listener of another protocol.
    pub(super) fn of(listener: &Listener) -> Option<Self> {
        let Traffic::Udp(udp) = &listener.traffic else { return None };
        let counts = &udp.counts;
        Some(Self {
            sessions: counts.sessions.load(Relaxed),
            sessions_open: counts.open.load(Relaxed),
            datagrams_up: counts.datagrams_up.load(Relaxed),
            datagrams_down: counts.datagrams_down.load(Relaxed),
            bytes_up: counts.bytes_up.load(Relaxed),
            bytes_down: counts.bytes_down.load(Relaxed),
            dropped: counts.dropped.load(Relaxed),
        })
    }
}

/// Failed TLS handshakes with the clients of a listener, since the start.
#[derive(Serialize)]
pub(super) struct Failures {
    /// All of them, by reason.
    counts: Vec<Count>,
    /// The last ones, the newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    recent: Option<Vec<Failure>>,
    /// The last one.
    last: Option<Failure>,
}

#[derive(Serialize)]
struct Count {
    reason: &'static str,
    alert: Option<&'static str>,
    count: u64,
}

/// A client whose handshake failed.
#[derive(Serialize)]
struct Failure {
    at: Timestamp,
    client: String,
    reason: &'static str,
    text: String,
    /// The alert that the client sent.
    alert_received: Option<&'static str>,
    /// The alert that the client was sent.
    alert_sent: Option<&'static str>,
    /// Of its ClientHello, if that arrived.
    server_name: Option<String>,
    versions: Vec<String>,
    /// What it presented.
    certificate: Option<Presented>,
}

#[derive(Serialize)]
struct Presented {
    subject: String,
    issuer: String,
    serial: String,
    sha256: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Failures {
    /// `None` for a listener without TLS. `all`: with each record that is kept.
    pub(super) fn of(listener: &Listener, all: bool) -> Option<Self> {
        listener.tls.as_ref()?;
        let counts = listener.failures.counts().into_iter().map(|(reason, count)| Count {
            reason: reason.label(),
            alert: reason.alert().map(alert_name),
            count,
        });
        let kept = listener.failures.recent();
        let recent = all.then(|| kept.iter().map(|failure| Failure::of(failure)).collect());
        let last = kept.first().map(|failure| Failure::of(failure));
        Some(Self { counts: counts.collect(), recent, last })
    }
}

impl Failure {
    fn of(failure: &ClientFailure) -> Self {
        let offered = failure.offered.as_ref();
        let certificate = failure.facts().map(|facts| Presented {
            subject: facts.subject,
            issuer: facts.issuer,
            serial: facts.serial,
            sha256: facts.sha256,
            not_before: facts.not_before,
            not_after: facts.not_after,
        });
        Self {
            at: failure.at.into(),
            client: failure.client.to_string(),
            reason: failure.reason.label(),
            text: failure.text.clone(),
            alert_received: failure.reason.alert().map(alert_name),
            alert_sent: failure.alert_sent.map(alert_name),
            server_name: offered.and_then(|offered| offered.server_name.clone()),
            versions: offered.map(Offered::version_names).unwrap_or_default(),
            certificate,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // as in `metrics::render`
fn failures(running: &RuntimeConfig, text: &mut Text) {
    let tls = || running.listeners.iter().filter(|listener| listener.tls.is_some());
    let samples = tls().flat_map(|listener| {
        listener.failures.counts().into_iter().map(|(reason, count)| {
            let alert = label("alert", reason.alert().map_or("", alert_name));
            let (listener, reason) = (label("listener", &listener.name), label("reason", reason.label()));
            (format!("{listener},{reason},{alert}"), count as f64)
        })
    });
    let help = "TLS handshakes with clients that failed, by reason, and by alert where the client sent one.";
    text.family("counter", "listener_tls_failures_total", help, samples);
    let samples = tls().map(|it| (label("listener", &it.name), it.failures.left_out() as f64));
    let help =
        "Failed TLS handshakes with clients that were counted without a record, as the records were read.";
    text.family("counter", "listener_tls_failure_records_dropped_total", help, samples);
}

#[allow(clippy::cast_precision_loss)] // as in `metrics::render`
pub(super) fn metrics(running: &RuntimeConfig, text: &mut Text) {
    failures(running, text);
    let listeners = running.listeners.iter();
    let all: Vec<(String, Datagrams)> = listeners
        .filter_map(|listener| Some((label("listener", &listener.name), Datagrams::of(listener)?)))
        .collect();
    if all.is_empty() {
        return;
    }
    type Read = fn(&Datagrams) -> u64;
    let families: [(&str, &str, &str, Read); 7] = [
        ("counter", "sessions_total", "Sessions begun, by listener.", |of| of.sessions),
        ("gauge", "sessions_open", "Sessions that are open now, by listener.", |of| of.sessions_open),
        ("counter", "datagrams_up_total", "Datagrams sent to backends, by listener.", |of| of.datagrams_up),
        ("counter", "datagrams_down_total", "Datagrams received from backends, by listener.", |of| {
            of.datagrams_down
        }),
        ("counter", "bytes_up_total", "Bytes of payload sent to backends, by listener.", |of| of.bytes_up),
        ("counter", "bytes_down_total", "Bytes of payload received from backends, by listener.", |of| {
            of.bytes_down
        }),
        ("counter", "dropped_total", "Datagrams dropped for whatever reason, by listener.", |of| of.dropped),
    ];
    for (kind, name, help, count) in families {
        let samples = all.iter().map(|(label, of)| (label.clone(), count(of) as f64));
        text.family(kind, &format!("listener_udp_{name}"), help, samples);
    }
}
