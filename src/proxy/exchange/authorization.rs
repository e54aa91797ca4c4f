//! `auth.forward`: the service is asked, as a request of Ringate's own while the client's request waits.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use super::own_request::{Effort, OwnRequest, Receive};
use super::request_key;
use crate::base::counters::{Count, Counters};
use crate::base::limits::Limits;
use crate::base::meter::Served;
use crate::base::sample::sampled;
use crate::http::{BodyLength, OutgoingRequest, RequestContext, ResponseHead, put_line, remove_lines};
use crate::proxy::failure::Failure;
use crate::proxy::rules::RequestView;
use crate::proxy::rules::auth::{ForwardAnswer, ForwardCheck, ForwardVerdict, OnFailure};
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::trace::Trace;
use crate::proxy::trace::context::is_context;
use crate::proxy::upstream::outlier_detection::Fault;
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::request_key::RequestKey;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// A request that a service is to be asked about.
#[derive(Debug)]
pub(crate) struct Authorization {
    check: Box<ForwardCheck>,
    key: RequestKey,
}

/// What came of it.
pub(crate) struct Asked {
    pub(crate) verdict: ForwardVerdict,
    /// The service's status; empty: it gave no answer.
    pub(crate) status: String,
    /// How long it took.
    pub(crate) milliseconds: String,
}

/// Why there is no answer that decides.
struct NoAnswer {
    cause: String,
    error: &'static str,
    counter: fn(&Counters) -> &Count,
}

impl Receive for ForwardAnswer<'_> {
    fn head(&mut self, head: &ResponseHead<'_, '_>) {
        Self::head(self, head);
    }

    fn body(&mut self, part: &[u8]) -> bool {
        Self::body(self, part)
    }
}

impl Authorization {
    pub(super) fn new(check: Box<ForwardCheck>, view: &View, asked: &RequestView<'_, '_, '_>) -> Box<Self> {
        let key = request_key::of(&view.pools[check.rule.upstream].upstream, asked);
        Box::new(Self { check, key })
    }

    /// Asks the service.
    pub(super) async fn run(
        self: Box<Self>,
        (view, limits): (&View, &Limits),
        worker: &Worker,
        client: &StreamPeer,
        mut trace: Option<&mut Trace>,
    ) -> Asked {
        let ForwardCheck { rule, mut lines } = *self.check;
        let pool = &view.pools[rule.upstream];
        trace_lines(worker, trace.as_deref_mut(), &mut lines);
        let body = if rule.method == "POST" { BodyLength::Known(0) } else { BodyLength::None };
        let head = OutgoingRequest::own((rule.method, &rule.target), pool.authority(), &lines, body);
        let request = OwnRequest {
            pool,
            head: &head,
            content: b"",
            context: RequestContext { head: rule.method == "HEAD", upgrade: None },
            key: self.key,
            host: None,
            // The question changes nothing, whatever the method is.
            idempotent: true,
            authenticates: false,
            limits,
            effort: Effort::Client(client),
            sent_to: Cell::default(),
        };
        let (begun, since) = (Instant::now(), worker.wheel.now());
        let (deadline, whole) = (worker.wheel.deadline(), worker.wheel.deadline());
        let mut answer = rule.answer();
        whole.set(rule.timeout);
        let ran = whole.race(pin!(request.run(worker, &deadline, &mut answer))).await;
        let sent_to = request.sent_to.get();
        if let (Err(_), Some((endpoint, "1.1" | "2"))) = (&ran, sent_to) {
            pool.failed(endpoint, Fault::Timeout, since);
        }
        let result = judge(ran.ok(), &answer);
        let took = begun.elapsed();
        let status = answer.status;
        measure(pool, sent_to, (status, head.size(), answer.received, took), result.is_err());
        record(trace, (pool, sent_to), (rule.method, &rule.target), status, result.as_ref().err());
        let verdict = match result {
            Ok(()) => {
                let verdict = answer.verdict();
                match &verdict {
                    ForwardVerdict::Passes { .. } => worker.counters.auth_forward_allowed.add(1),
                    ForwardVerdict::Refused(_) => worker.counters.auth_forward_denied.add(1),
                }
                verdict
            }
            Err(NoAnswer { cause, error, counter }) => {
                counter(&worker.counters).add(1);
                let then = match rule.on_failure {
                    OnFailure::Allow => {
                        worker.counters.auth_forward_passed.add(1);
                        "the request passes without its answer (on_failure = \"allow\")"
                    }
                    OnFailure::Deny => "the request is refused with 503",
                };
                let of = &pool.upstream.name;
                sampled!(warn, Exchange of of, { upstream = of, }, "the authorization service failed: {cause}; {then}");
                rule.failed(format!("the authorization service failed: {cause}"), error)
            }
        };
        Asked {
            verdict,
            status: if status > 0 { status.to_string() } else { String::new() },
            milliseconds: format!("{:.3}", took.as_secs_f64() * 1000.0),
        }
    }
}

/// Whether the service has answered. `ran`: how the request for it ended; `None`: not in time.
fn judge(ran: Option<Result<(), Failure>>, answer: &ForwardAnswer<'_>) -> Result<(), NoAnswer> {
    match ran {
        None => Err(NoAnswer {
            cause: "it did not answer within auth.forward.timeout".to_owned(),
            error: "http_response_timeout",
            counter: |it| &it.auth_forward_timeouts,
        }),
        Some(Ok(())) => answer.check().map_err(|(cause, error)| NoAnswer {
            cause,
            error,
            counter: |it| &it.auth_forward_errors,
        }),
        Some(Err(failure)) => {
            let counter: fn(&Counters) -> &Count = match &failure {
                failure if failure.is_timeout() => |it| &it.auth_forward_timeouts,
                Failure::Response(_) | Failure::ResponseBody(_) | Failure::Http2(_) => {
                    |it| &it.auth_forward_invalid
                }
                _ => |it| &it.auth_forward_unreachable,
            };
            let error = failure.proxy_error().unwrap_or("proxy_internal_error");
            Err(NoAnswer { cause: failure.to_string(), error, counter })
        }
    }
}

/// Gives the request to the service a span of its own.
fn trace_lines(worker: &Worker, trace: Option<&mut Trace>, lines: &mut Vec<u8>) {
    let (Some(trace), Some(tracer)) = (trace, &worker.traces) else { return };
    let keeps_state = trace.parent.is_some();
    remove_lines(lines, |name| {
        is_context(name) && !(keeps_state && name.eq_ignore_ascii_case(b"tracestate"))
    });
    put_line("traceparent", trace.attempt(tracer.span()).as_bytes(), lines);
}

/// Ends that span.
fn record(
    trace: Option<&mut Trace>,
    (pool, sent_to): (&Pool, Option<(usize, &'static str)>),
    (method, target): (&'static str, &str),
    status: u16,
    failed: Option<&NoAnswer>,
) {
    let Some(attempt) = trace.and_then(Trace::current) else { return };
    let path = target.split('?').next().unwrap_or_default();
    attempt.own = Some((method, path.to_owned()));
    attempt.ended = Some(SystemTime::now());
    attempt.upstream.clone_from(&pool.upstream.name);
    attempt.tls = pool.upstream.tls.is_some();
    attempt.status = status;
    attempt.error = failed.map(|failed| failed.error);
    attempt.reason = failed.map(|failed| failed.cause.clone());
    let Some((endpoint, version)) = sent_to else { return };
    attempt.version = Some(version).filter(|version| !version.is_empty());
    if let Some(endpoint) = pool.upstream.endpoints.get(endpoint) {
        attempt.endpoint.clone_from(&endpoint.name);
        attempt.address = endpoint.address.as_ref().map(ToString::to_string).unwrap_or_default();
    }
}

/// Counts it at its upstream and its endpoint.
fn measure(
    pool: &Pool,
    sent_to: Option<(usize, &'static str)>,
    (status, sent, received, duration): (u16, usize, usize, Duration),
    failed: bool,
) {
    let served = Served {
        status,
        request_bytes: sent as u64,
        response_bytes: received as u64,
        duration,
        first_byte: (status > 0).then_some(duration),
        exemplar: None,
    };
    pool.meter.add(status, &served);
    if let Some((endpoint, _)) = sent_to {
        pool.ended(endpoint, status, &served, failed);
    }
}
