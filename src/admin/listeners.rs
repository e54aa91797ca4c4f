//! What udp listeners have relayed, in status and metrics.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::metrics::{Text, label};
use crate::proxy::snapshot::{Listener, RuntimeConfig, Traffic};

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

#[allow(clippy::cast_precision_loss)] // as in `metrics::render`
pub(super) fn metrics(running: &RuntimeConfig, text: &mut Text) {
    let listeners = running.listeners.iter();
    let all: Vec<(String, Datagrams)> = listeners
        .filter_map(|listener| Some((label("listener", &listener.name), Datagrams::of(listener)?)))
        .collect();
    if all.is_empty() {
        return;
    }
    type Count = fn(&Datagrams) -> u64;
    let families: [(&str, &str, &str, Count); 7] = [
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
