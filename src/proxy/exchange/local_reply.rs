//! Answers of Ringate's own to requests that were understood: fixed responses, and what rules refuse.
//!
//! The client's connection lives on where all of the request is there already; otherwise its end follows, as
//! the rest of the body is not worth reading.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::client_stream::{ClientStream, EncodedReply, ResponseWriter};
use super::file_response::FileResponse;
use super::portal_form::PortalForm;
use crate::base::failures::Failed;
use crate::base::limits::Limits;
use crate::base::meter::Served;
use crate::config::plan::ResponseRate;
use crate::http::{Content, Method, RequestHead, Version, grpc};
use crate::http1::Envelope;
use crate::io::{Buffer, Deadline};
use crate::proxy::access::{self, Record};
use crate::proxy::client::ClientFacts;
use crate::proxy::destination::files::FileRequest;
use crate::proxy::error_pages::{self, ErrorFormat, Pages};
use crate::proxy::exchange::next::{IsLast, Next};
use crate::proxy::reply::Reply;
use crate::proxy::reply::ReplyBody;
use crate::proxy::rules::{self, ResponseRules};
use crate::proxy::trace::{Finished, Trace};
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// A reply with what must be known of its request.
#[derive(Debug)]
pub(crate) struct LocalReply {
    /// Its content.
    pub reply: Reply,
    /// What the rules do with it: the listener's, and the route's if one was found.
    pub pending: Option<Box<ResponseRules>>,
    /// The head of its request in the client's buffer, and the framing of the body behind that.
    pub(crate) envelope: Envelope,
    head_only: bool,
    /// Whether the connection may live on, as far as its client and its bounds go.
    pub(crate) keep_alive: bool,
    /// Its request is a call of gRPC.
    grpc: Option<grpc::Call>,
    logged: Option<Box<Record>>,
    pages: Option<(Arc<Pages>, ErrorFormat)>,
    /// The route of the request by its index, if it has one, and the bytes of its head.
    route: Option<u32>,
    head_bytes: u32,
    /// What is recorded of the request, if it is.
    trace: Option<Box<Trace>>,
    /// How long its request has waited for checks.
    waited: Duration,
    /// What the reply is made from, once the content of the request was read.
    form: Option<Box<PortalForm>>,
    /// The file that takes the place of the reply, if it is there.
    file: Option<FileRequest>,
    /// The id of the request, where a failure may show only when the reply is made.
    id: Vec<u8>,
}

/// What makes the reply in place of the one that was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MadeBy {
    Form,
    File,
}

impl LocalReply {
    /// The answer to this request.
    pub(crate) fn new(
        reply: Reply,
        pending: Option<Box<ResponseRules>>,
        (head, envelope): (&RequestHead<'_, '_>, Envelope),
        grpc: Option<grpc::Call>,
        logged: Option<Box<Record>>,
    ) -> Self {
        Self {
            reply,
            pending,
            envelope,
            head_only: head.method == Method::Head,
            keep_alive: envelope.keep_alive && head.version != Version::Http10,
            grpc,
            logged,
            pages: None,
            route: None,
            head_bytes: 0,
            trace: None,
            waited: Duration::ZERO,
            form: None,
            file: None,
            id: Vec::new(),
        }
    }

    /// The same with what is counted and recorded of its request.
    pub(crate) fn measured(
        mut self,
        (route, head_bytes): (Option<u32>, u32),
        trace: Option<Box<Trace>>,
        waited: Duration,
    ) -> Self {
        (self.route, self.head_bytes, self.trace, self.waited) = (route, head_bytes, trace, waited);
        self
    }

    /// The same with the pages of its listener, for what is said in standard words.
    pub(crate) fn with_pages(mut self, pages: Option<&Arc<Pages>>, format: Option<ErrorFormat>) -> Self {
        self.pages = pages.cloned().zip(format);
        self
    }

    /// The same with the id of its request, in `memory`.
    pub(crate) fn with_id(mut self, id: &str, mut memory: Vec<u8>) -> Self {
        memory.extend_from_slice(id.as_bytes());
        self.id = memory;
        self
    }

    /// The answer to a form, which takes the place of the reply.
    pub(crate) fn with_form(mut self, form: PortalForm) -> Self {
        self.form = Some(Box::new(form));
        self
    }

    /// A file, which takes the place of the reply, or the response why it is not sent.
    pub(crate) fn with_file(mut self, request: FileRequest) -> Self {
        self.file = Some(request);
        self
    }

    /// Sends it, and returns what the client's connection does next. `buffer` holds the request, and is returned
    /// without it.
    pub(crate) async fn send(
        mut self,
        (worker, is_last, facts, seen): (&Worker, IsLast<'_>, &ClientFacts, (&View, usize)),
        client: &mut ClientStream<'_>,
        deadline: &Deadline,
        limits: &Limits,
        mut buffer: Buffer,
    ) -> (Next, Buffer) {
        let (patience, mut made_by) = (limits.body_timeout, None);
        let whole = match self.form.take() {
            None => {
                let taken = client.take_first(&mut buffer).ok();
                taken.and_then(|part| part.done.then_some(part.consumed))
            }
            Some(form) => {
                let answered = Box::pin(form.answer(client, deadline, patience, buffer)).await;
                (self.reply, buffer) = (answered.reply, answered.buffer);
                made_by = Some(MadeBy::Form);
                answered.whole.then_some(0)
            }
        };
        let keep = self.keep_alive
            && whole.is_some_and(|whole| {
                let ahead = || buffer.len() > whole || client.has_arrived();
                !is_last(&ahead)
            });
        if let Some(request) = self.file.take() {
            let (version, rate) = (request.version, request.rate);
            match request.answer(&worker.heads) {
                Ok(answer) => {
                    let response = self.into_file_response((worker, facts, seen), whole, rate);
                    let to = (client, deadline, limits);
                    return pin!(response.send(answer, version, to, keep, buffer)).await;
                }
                Err(reply) => (self.reply, made_by) = (reply, Some(MadeBy::File)),
            }
        }
        if let Some(made_by) = made_by {
            self.keep_failure(made_by, worker, seen);
        }
        worker.heads.give(std::mem::take(&mut self.id));
        let (_, mut writer) = client.split();
        let wire = self.encode(&writer, !keep);
        worker.counters.requests_answered.add(1);
        worker.count_status(self.reply.status);
        self.count_cause(worker, facts);
        let (view, listener) = seen;
        view.meters[listener].route(self.route).add(&Served {
            status: self.reply.status,
            request_bytes: whole.map_or(u64::from(self.head_bytes), |whole| whole as u64),
            response_bytes: wire.len() as u64,
            duration: self.waited,
            ..Served::default()
        });
        if let (Some(trace), Some(tracer)) = (self.trace.take(), &worker.traces) {
            let reason = self.reply.cause.as_ref().map(ToString::to_string);
            let (status, error) = (self.reply.status, self.reply.error);
            let finished = Finished { status, reason, error, ..Finished::default() };
            tracer.answered(trace, finished);
        }
        self.log(worker, wire.len());
        deadline.set(patience);
        let sent = deadline.race(pin!(writer.write_local(&wire))).await;
        match (sent, whole) {
            (Ok(Ok(())), Some(whole)) if keep => {
                buffer.consume(whole);
                (Next::Idle, buffer)
            }
            (Ok(Ok(())), _) => (Next::Linger, buffer),
            _ => (Next::Abort, buffer),
        }
    }

    /// Counts a refusal by its reason.
    fn count_cause(&self, worker: &Worker, facts: &ClientFacts) {
        let Some(cause) = &self.reply.cause else { return };
        match self.reply.status {
            401 => worker.counters.requests_unauthorized.add(1),
            429 => worker.counters.requests_limited.add(1),
            _ => {}
        }
        if let Some(counter) = self.reply.counter {
            counter(&worker.counters).add(1);
        }
        tracing::debug!(client = %facts.address, status = self.reply.status, "{cause}");
    }

    /// Keeps a reply that is a failure for those that look at failures. A file that is not there is none of ours.
    fn keep_failure(&self, made_by: MadeBy, worker: &Worker, (view, listener): (&View, usize)) {
        let status = self.reply.status;
        let least = if made_by == MadeBy::Form { 400 } else { 500 };
        let Some(cause) = self.reply.cause.as_deref().filter(|_| status >= least) else { return };
        let (listener, clients) = (&view.config.listeners[listener], status < 500);
        let kind = if clients { "http_request_denied" } else { "proxy_internal_error" };
        worker.counters.failures.note(&Failed {
            clients,
            route: listener.route_id(self.route),
            id: std::str::from_utf8(&self.id).unwrap_or_default(),
            status,
            duration: self.waited,
            ..Failed::at(&listener.name, kind, &cause)
        });
    }

    /// What is known of the request, for a response with a file. `whole`: its bytes in the client's buffer, if all is there.
    fn into_file_response<'a>(
        self,
        at: (&'a Worker, &'a ClientFacts, (&'a View, usize)),
        whole: Option<usize>,
        rate: Option<ResponseRate>,
    ) -> FileResponse<'a> {
        let request = (whole, self.head_bytes, self.route, self.id);
        FileResponse::new(at, request, (self.pending, rate), (self.logged, self.trace), self.waited)
    }

    /// Head and body as they go out.
    fn encode(&self, writer: &ResponseWriter<'_>, close: bool) -> EncodedReply {
        let mut status = self.reply.status;
        let rendered;
        let mut fields = Cow::Borrowed(&self.reply.fields[..]);
        let content = match &self.reply.body {
            ReplyBody::None => None,
            ReplyBody::Standard => {
                let (pages, format) = self.pages.as_ref().map(|(pages, format)| (&**pages, *format)).unzip();
                rendered = error_pages::render(status, pages, format);
                // One of gRPC has its own status.
                status = if self.grpc.is_some() { status } else { rendered.status };
                fields.to_mut().extend_from_slice(rendered.fields.as_bytes());
                Some(Content { media_type: &rendered.media_type, bytes: rendered.body.as_bytes() })
            }
            ReplyBody::Own { media_type, bytes } => Some(Content { media_type, bytes }),
        };
        let call = self.grpc.zip(self.grpc_status());
        // A call's reply is 200, whatever it is in gRPC.
        let sent = if call.is_some() { 200 } else { status };
        rules::edit_reply(self.pending.as_deref(), sent, |edit| {
            if let Some((call, code)) = call {
                return writer.encode_grpc((status, code), call, &fields, close, edit);
            }
            writer.encode_local(status, (&fields, content), (close, self.head_only), edit)
        })
    }

    /// The code of gRPC, of a reply that is no success to a client of that.
    fn grpc_status(&self) -> Option<u8> {
        let status = self.reply.status;
        self.grpc.filter(|_| !(200..300).contains(&status)).map(|_| grpc::status_of_http(status))
    }

    fn log(&mut self, worker: &Worker, bytes: usize) {
        let (Some(sink), Some(record)) = (&worker.access, self.logged.take()) else {
            return;
        };
        let outcome = access::Outcome {
            status: self.reply.status,
            bytes: bytes as u64,
            duration: self.waited,
            first_byte: Some(self.waited),
            upstream: None,
            endpoint: None,
            tries: 0,
            relay: None,
            failure: self.reply.cause.as_ref().map(|cause| cause as &dyn std::fmt::Display),
            error: self.reply.error,
            grpc_status: self.grpc_status().map(u32::from),
        };
        sink.end(record, &outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::exchange::state::Exchange;

    /// A connection that is busy has room for an exchange, so that a reply, or a file, costs nothing more.
    #[test]
    fn a_reply_is_no_larger_than_an_exchange() {
        fn never<T>() -> T {
            unreachable!("it is not called")
        }
        fn size<F: Future>(_: impl FnOnce() -> F) -> usize {
            size_of::<F>()
        }
        let reply = size(|| never::<LocalReply>().send(never(), never(), never(), never(), never()));
        let exchange = size(|| never::<&mut Exchange<'_>>().run(never(), never(), never()));
        assert!(reply <= exchange, "{reply} and {exchange}");
        assert!(size_of::<LocalReply>() <= 512, "{}", size_of::<LocalReply>());
    }
}
