//! Server-Timing: what Ringate has measured of an exchange, for its client (W3C Server Timing §2).

use std::io::Write as _;
use std::time::Duration;

use super::state::Exchange;
use crate::http::{HeadEdit, ResponseHead};

impl Exchange<'_> {
    /// Whether clients get such a field.
    fn has_server_timing(&self) -> bool {
        let (view, listener) = self.view;
        view.config.listeners[listener].server_timing
    }

    /// Whether the wait for an endpoint is measured.
    pub(super) fn times_queue(&self) -> bool {
        self.has_server_timing() && self.order.pool.upstream.limiter.is_some()
    }

    /// Hands `write` what is changed of a response's head, with the field behind what is added, if clients get one.
    pub(super) fn with_server_timing<R>(
        &self,
        head: &ResponseHead<'_, '_>,
        edit: &HeadEdit<'_>,
        write: impl FnOnce(&HeadEdit<'_>) -> R,
    ) -> R {
        if head.is_interim() || !self.has_server_timing() {
            return write(edit);
        }
        let mut added = self.worker.heads.take();
        added.extend_from_slice(edit.added);
        added.extend_from_slice(b"Server-Timing: ");
        let observed = &self.observed;
        let measured = [("queue", observed.queued.get()), ("connect", observed.connected.get())];
        for (name, took) in measured.into_iter().filter_map(|(name, took)| Some((name, took?))) {
            put(name, took, &mut added);
            added.extend_from_slice(b", ");
        }
        put("ttfb", observed.duration(), &mut added);
        added.extend_from_slice(b"\r\n");
        let result = write(&HeadEdit { removed: edit.removed, added: &added });
        self.worker.heads.give(added);
        result
    }
}

/// Appends a metric with its duration in milliseconds.
fn put(name: &str, took: Duration, out: &mut Vec<u8>) {
    let micros = took.as_micros();
    // A vector takes all that is written.
    let _ = write!(out, "{name};dur={}.{:03}", micros / 1000, micros % 1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_milliseconds_with_three_decimals() {
        let mut out = Vec::new();
        put("ttfb", Duration::from_micros(12_034), &mut out);
        assert_eq!(out, b"ttfb;dur=12.034");
    }
}
