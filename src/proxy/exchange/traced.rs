//! What of an exchange is recorded as a trace.

use std::time::{SystemTime, UNIX_EPOCH};

use super::state::Exchange;
use crate::base::histogram::Exemplar;
use crate::base::meter::Served;
use crate::proxy::failure::Failure;
use crate::proxy::trace::Finished;
use crate::proxy::upstream::stream::UpstreamStream;

impl Exchange<'_> {
    /// The request is about to be sent, or sent again.
    pub(crate) fn begin_attempt(&mut self) {
        let (Some(trace), Some(tracer)) = (&mut self.order.trace, &self.worker.traces) else { return };
        let context = trace.attempt(tracer.span());
        self.order.head.replace_last("traceparent", &context);
    }

    /// There is a connection for it.
    pub(crate) fn attempt_connected(&mut self, backend: &UpstreamStream) {
        let Some(attempt) = self.order.trace.as_mut().and_then(|trace| trace.current()) else { return };
        attempt.version = Some(match backend {
            UpstreamStream::H1(_) => "1.1",
            UpstreamStream::H2(_) => "2",
        });
    }

    /// The attempt that lasts has ended.
    pub(crate) fn end_attempt(&mut self, failure: Option<&Failure>) {
        let Some(attempt) = self.order.trace.as_mut().and_then(|trace| trace.current()) else { return };
        let upstream = &self.order.pool.upstream;
        let endpoint = self.observed.endpoint.get().and_then(|index| upstream.endpoints.get(index));
        attempt.ended = Some(SystemTime::now());
        attempt.upstream.clone_from(&upstream.name);
        attempt.tls = upstream.tls.is_some();
        if let Some(endpoint) = endpoint {
            attempt.endpoint.clone_from(&endpoint.name);
            attempt.address = endpoint.address.as_ref().map(ToString::to_string).unwrap_or_default();
        }
        attempt.status = match failure {
            Some(Failure::Unwanted(status)) => *status,
            _ => self.observed.status.get(),
        };
        attempt.error = failure.and_then(Failure::proxy_error);
        attempt.reason = failure.map(ToString::to_string);
    }

    /// Its trace as an exemplar of what it took.
    pub(super) fn exemplar(&self, served: &Served) -> Option<Exemplar> {
        let trace = self.order.trace.as_ref()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Exemplar::new(trace.id, served.duration, u64::try_from(now.as_millis()).unwrap_or(0)))
    }

    /// Hands its trace on.
    pub(super) fn end_trace(&mut self, failure: Option<&Failure>, served: &Served) {
        self.end_attempt(failure);
        let (Some(mut trace), Some(tracer)) = (self.order.trace.take(), &self.worker.traces) else { return };
        trace.finished = Finished {
            status: served.status,
            duration: served.duration,
            error: failure.and_then(Failure::proxy_error),
            reason: failure.map(ToString::to_string),
        };
        tracer.end(trace);
    }
}
