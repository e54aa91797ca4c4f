//! How a call of gRPC ends: by what its backend says, or by what Ringate does where its response cannot go on.

use super::client_stream::CallEnd;
use super::grpc_web::{self, HasContent};
use super::head_lines;
use super::stage::ResponseStage;
use super::state::Exchange;
use super::trailer_filter::TrailerFilter;
use crate::http::grpc::{self, Call, Messages};
use crate::http::grpc_web::GrpcWeb;
use crate::http::{BodyLength, ResponseHead, Trailers, put_line};
use crate::proxy::failure::Failure;

impl Exchange<'_> {
    /// How the client's call of gRPC-Web is answered, if it is one that its route translates.
    pub(super) fn grpc_web(&self) -> Option<GrpcWeb> {
        match self.order.grpc {
            Some(Call::Web(web)) => Some(web),
            Some(Call::Native) | None => None,
        }
    }

    /// The head of a final response says whether trailers will end it, or has the code itself.
    pub(super) fn note_call(&self, head: &ResponseHead<'_, '_>) {
        let Some(call) = self.order.grpc else { return };
        self.observed.grpc_status.set(head.fields.get("grpc-status").and_then(grpc::code));
        let has_end = match (call, grpc_web::translates(head)) {
            // Content that is cut short of its Content-Length has no end.
            (Call::Native, Some(HasContent::Yes)) => head.body == BodyLength::Unknown,
            (Call::Web(_), Some(HasContent::Yes)) => true,
            (_, Some(HasContent::No) | None) => false,
        };
        self.messages.set(has_end.then(Messages::default));
    }

    /// The code of a call that was not in the response's head.
    pub(super) fn note_trailers(&self, trailers: Trailers<'_>) {
        if self.order.grpc.is_none() || trailers.is_empty() {
            return;
        }
        let mut fields = trailers.fields();
        let status = fields.find(|(name, _)| name.eq_ignore_ascii_case(b"grpc-status"));
        if let Some((_, code)) = status {
            self.observed.grpc_status.set(grpc::code(code));
        }
    }

    /// The code with which a call ends that failed within its response. `None`: the response is cut instead, as it is none of
    /// gRPC, or its client has left or takes nothing.
    ///
    /// A message that is not whole stays so, whatever follows: clients of gRPC report the code, or an error of their own. Not so
    /// in gRPC-Web, where trailers are content and would be taken for the rest of the message.
    pub(super) fn code_within(&self, failure: &Failure) -> Option<u8> {
        let ResponseStage::Begun { writing, .. } = self.response.get() else { return None };
        let (call, messages) = (self.order.grpc?, self.messages.get()?);
        let has_end = match call {
            Call::Web(_) => !writing && messages.is_between(),
            Call::Native => !writing || !matches!(failure, Failure::ClientTimeout | Failure::ClientTooSlow),
        };
        if has_end { failure.grpc_status_within() } else { None }
    }

    /// What it means that an attempt failed: once a call has had its time, servers of gRPC reset its stream. A backend's time for
    /// the call begins later than ours.
    pub(super) fn judged(&self, failure: Failure) -> Failure {
        let is_over = self.order.time.is_some_and(|time| self.observed.duration() >= time);
        if is_over && failure.is_cancelled() { Failure::CallTimeout } else { failure }
    }

    /// The end of a call that failed within its response, counted. `None`: see [`code_within`](Self::code_within).
    pub(crate) fn call_end(&self, failure: &Failure) -> Option<CallEnd> {
        let (code, call) = (self.code_within(failure)?, self.order.grpc?);
        let mut all = Vec::new();
        head_lines::put_grpc_within(failure.status().unwrap_or(502), code, &mut all);
        let (view, listener) = self.view;
        if let Some(error) = failure.proxy_error().filter(|_| view.config.listeners[listener].proxy_status) {
            put_line("proxy-status", format!("ringate; error={error}").as_bytes(), &mut all);
        }
        let mut lines = Vec::new();
        TrailerFilter::of_response(None, (self.response_rules(), self.observed.status.get()), false)
            .keep(Trailers::of(&all), &mut lines);
        let counters = &self.worker.counters;
        counters.grpc_calls_ended.add(1);
        counters.timeouts.add(u64::from(failure.is_timeout()));
        self.observed.bytes.set(self.observed.bytes.get() + lines.len() as u64);
        Some(CallEnd { call, lines })
    }
}
