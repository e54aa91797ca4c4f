//! Responses to requests that are not served.

use crate::base::meter::Served;
use crate::http::Content;
use crate::proxy::client::ClientFacts;
use crate::proxy::error_pages::{self, ErrorContext};
use crate::proxy::exchange::client_stream::{EncodedReply, ResponseWriter};
use crate::proxy::exchange::route::Refused;
use crate::proxy::failure::Failure;
use crate::proxy::rules::{self, ResponseRules};
use crate::proxy::snapshot::Listener;
use crate::proxy::trace::Finished;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// The same with an id, where a page may show one: a request that was not understood was given none.
pub(super) fn named(context: ErrorContext, worker: &Worker) -> ErrorContext {
    ErrorContext {
        format: context.format.map(|format| format.with_id(worker.ids.next().as_str())),
        ..context
    }
}

impl Refused {
    /// The response to it, counted and in the access log.
    pub(super) fn reply(
        self,
        (worker, view, listener): (&Worker, &View, usize),
        writer: &ResponseWriter<'_>,
        client: &ClientFacts,
    ) -> (Failure, Option<EncodedReply>) {
        let Self { failure, context, logged, id, rules, route, head_bytes, trace } = self;
        let of = &view.config.listeners[listener];
        let context = context.unwrap_or_default();
        let reply = refusal(writer, &failure, context, of, rules.as_deref());
        let bytes = reply.as_ref().map_or(0, EncodedReply::len);
        view.meters[listener].route(route).add(&Served {
            status: failure.status().unwrap_or(0),
            request_bytes: u64::from(head_bytes),
            response_bytes: bytes as u64,
            ..Served::default()
        });
        if let (Some(trace), Some(tracer)) = (trace, &worker.traces) {
            let (status, error) = (failure.status().unwrap_or(0), failure.proxy_error());
            let reason = Some(failure.to_string());
            tracer.answered(trace, Finished { status, error, reason, ..Finished::default() });
        }
        let line = (logged, id.as_deref());
        worker.log_refusal(&of.name, client, &failure, line, (bytes, context.grpc));
        (failure, reply)
    }
}

/// The response to a failure, head and body; `None` where the connection is just closed.
pub(super) fn refusal(
    writer: &ResponseWriter<'_>,
    failure: &Failure,
    context: ErrorContext,
    listener: &Listener,
    rules: Option<&ResponseRules>,
) -> Option<EncodedReply> {
    let status = failure.status()?;
    let pages = listener.pages_of(context.route).map(|pages| &**pages);
    let body = error_pages::render(status, pages, context.format);
    let mut fields = body.fields.into_owned();
    if let Failure::MethodNotAllowed(allow) = failure {
        fields.push_str(&format!("Allow: {allow}\r\n"));
    }
    if let Some(error) = failure.proxy_error().filter(|_| listener.proxy_status) {
        fields.push_str(&format!("Proxy-Status: ringate; error={error}\r\n"));
    }
    if let Some(seconds) = failure.retry_after() {
        fields.push_str(&format!("Retry-After: {seconds}\r\n"));
    }
    if let Some((call, code)) = context.grpc.zip(failure.grpc_status()) {
        return Some(rules::edit_reply(rules, 200, |edit| {
            writer.encode_grpc((status, code), call, fields.as_bytes(), true, edit)
        }));
    }
    let content = Content { media_type: &body.media_type, bytes: body.body.as_bytes() };
    Some(rules::edit_reply(rules, body.status, |edit| {
        let content = (fields.as_bytes(), Some(content));
        writer.encode_local(body.status, content, (true, context.head_only), edit)
    }))
}
