//! What is known of one exchange while it lasts.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::client_watch::DisconnectWatch;
use super::held_upload::HeldUpload;
use super::next::IsLast;
use super::observed::Observed;
use super::request_copy::Collecting;
use super::retry_policy::Attempts;
use super::route::Forward;
use super::stage::{BodyStage, Phase, ResponseStage, UploadStage};
use super::throttle::Throttle;
use crate::base::failures::Failed;
use crate::base::limits::Limits;
use crate::base::meter::Served;
use crate::base::sample::sampled;
use crate::config::plan::RouteLimits;
use crate::http::grpc::{Call, Messages};
use crate::http::grpc_web::{Decoder, GrpcWeb};
use crate::http::read_lines;
use crate::io::{Buffer, Deadline};
use crate::proxy::access;
use crate::proxy::client::ClientFacts;
use crate::proxy::error_pages::ErrorContext;
use crate::proxy::exchange::body::Part;
use crate::proxy::failure::Failure;
use crate::proxy::rules::ResponseRules;
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::upstream::circuit::Counted;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// Where a request has failed. Empty, and without memory of its own, as long as nothing does.
#[derive(Default)]
pub(crate) struct Failover {
    /// The split's upstreams that could not answer it.
    pub(crate) upstreams: Vec<usize>,
    /// Endpoints of the present upstream that closed a new connection without an answer, once for each time.
    pub(crate) endpoints: Vec<usize>,
    /// How often it was sent again that a backend had not processed it.
    pub(crate) unprocessed: u32,
    /// A backend wants it by HTTP/1.1.
    pub(crate) http1: bool,
}

/// Runs an exchange, or what else has a request's time, to its end; or until that time is over.
///
/// # Errors
/// Its own, or that.
pub(crate) async fn within<T>(
    worker: &Worker,
    time: Option<Duration>,
    mut run: Pin<&mut impl Future<Output = Result<T, Failure>>>,
) -> Result<T, Failure> {
    let Some(time) = time else { return run.await };
    let deadline = worker.wheel.deadline();
    deadline.set(time);
    deadline.race(run.as_mut()).await.unwrap_or(Err(Failure::CallTimeout))
}

/// One request and its response.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    /// Whether a response that begins now is the last of its client's connection, as far as the listener knows.
    pub(crate) is_last: IsLast<'a>,
    pub(crate) client: &'a ClientFacts,
    pub(crate) limits: &'a Limits,
    /// What it was routed by, and its listener in there.
    pub(crate) view: (&'a View, usize),
    pub(crate) order: &'a mut Forward,
    pub(crate) attempts: Attempts,
    pub(crate) tried: Failover,
    /// The request while its response is waited for, where a slow backend loses it to another one.
    pub(crate) spare: Cell<Spare>,
    /// Whether the attempt counts as one whose endpoint is slow.
    pub(crate) slow: Cell<bool>,
    /// Whether the attempt was given up, as its endpoint is ejected and others are not.
    pub(crate) given_up: Cell<bool>,
    /// A copy of the request for another upstream, while its body passes by.
    pub(crate) copy: Option<Box<Collecting>>,
    /// What was sent of the body to a backend of HTTP/2, for as long as it may be sent again.
    pub(crate) held: HeldUpload,
    /// What decodes the request's body, where it is of gRPC-Web in the text form.
    pub(crate) decoder: Option<RefCell<Decoder>>,
    /// Its count among the upstream's requests, where these are bounded.
    pub(crate) counted: Option<Counted>,
    /// How far the request is, and how far the response.
    pub(crate) upload: Cell<UploadStage>,
    pub(crate) response: Cell<ResponseStage>,
    /// What the deadline bounds.
    pub(crate) phase: Cell<Phase>,
    pub(crate) disconnects: DisconnectWatch,
    pub(crate) observed: Observed,
    /// Its response is one of gRPC that trailers end: how far it is among its messages, where that is kept.
    pub(crate) messages: Cell<Option<Messages>>,
}

/// What is kept of a request that was sent whole while its response is waited for.
#[derive(Debug, Default)]
pub(crate) enum Spare {
    /// It is not there.
    #[default]
    Nothing,
    /// Its content, or what the client sent behind it.
    Held(Buffer),
    /// It has no content, so it needs no buffer to be sent again.
    Empty,
}

impl Spare {
    /// Of the request whose first part is in `buffer`. One that holds nothing is given to others.
    pub(crate) fn of(buffer: Buffer, first: &Part) -> Self {
        let is_bare = first.done && first.data() == 0;
        let holds_more = buffer.len() > first.consumed || buffer.raw_len() > 0;
        if is_bare && !holds_more { Self::Empty } else { Self::Held(buffer) }
    }

    /// The buffer with the request; of one that needs none a new one, whose end is then its `first` part.
    pub(crate) fn into_buffer(self, first: &mut Part) -> Option<Buffer> {
        match self {
            Self::Held(buffer) => Some(buffer),
            Self::Nothing => None,
            Self::Empty => {
                let buffer = Buffer::small();
                *first = Part::end(&buffer);
                Some(buffer)
            }
        }
    }
}

/// What a response left behind.
pub(crate) struct Outcome {
    /// The backend's connection may be used again.
    pub(crate) backend: bool,
    /// The client's connection may be used again.
    pub(crate) client: bool,
    /// Both become a tunnel; what the backend already sent of it.
    pub(crate) tunnel: Option<Buffer>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        worker: &'a Rc<Worker>,
        is_last: IsLast<'a>,
        view: (&'a View, usize),
        (peer, client): (StreamPeer, &'a ClientFacts),
        order: &'a mut Forward,
    ) -> Self {
        let is_text = matches!(order.grpc, Some(Call::Web(GrpcWeb { text_request: true, .. })));
        let decoder = is_text.then(RefCell::default);
        let waited = order.pending.as_ref().map_or(Duration::ZERO, |pending| pending.waited());
        Self {
            worker,
            is_last,
            client,
            limits: &view.0.config.listeners[view.1].limits,
            view,
            order,
            attempts: Attempts::default(),
            tried: Failover::default(),
            spare: Cell::new(Spare::Nothing),
            slow: Cell::new(false),
            given_up: Cell::new(false),
            copy: None,
            held: HeldUpload::default(),
            decoder,
            counted: None,
            upload: Cell::new(UploadStage::First),
            response: Cell::new(ResponseStage::Silent),
            phase: Cell::new(Phase::BackendWrite),
            disconnects: DisconnectWatch::new(peer),
            observed: Observed::begin(waited),
            messages: Cell::new(None),
        }
    }

    /// Whether any byte of a final response was sent to the client: then a failure can get no response any more.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.response.get(), ResponseStage::Begun { .. })
    }

    /// Whether its response's body ends with the connection, so that one that is cut must not end in order.
    pub(crate) fn is_unframed(&self) -> bool {
        matches!(self.response.get(), ResponseStage::Begun { framed: false, .. })
    }

    /// Whether the backend has taken all of the request.
    pub(crate) fn is_sent(&self) -> bool {
        matches!(self.upload.get(), UploadStage::Sent { .. })
    }

    /// The stage of the request's body.
    pub(crate) fn upload_stage(&self) -> BodyStage<'_> {
        BodyStage::Upload(&self.upload)
    }

    /// The stage of the response's body.
    pub(crate) fn download_stage(&self) -> BodyStage<'_> {
        BodyStage::Download(&self.response)
    }

    /// Whether any byte of a response has arrived from the backend.
    pub(crate) fn is_heard(&self) -> bool {
        self.response.get() != ResponseStage::Silent
    }

    /// Bytes of a response came from the backend.
    pub(crate) fn hear(&self) {
        if self.response.get() == ResponseStage::Silent {
            self.response.set(ResponseStage::Heard);
        }
    }

    /// The final response is sent to the client from here on. `framed`: the message itself marks where
    /// its body ends.
    pub(crate) fn answer(&self, framed: bool) {
        self.response.set(ResponseStage::Begun { framed, writing: true });
    }

    /// How the client gets the response to a failure.
    pub(crate) fn error_context(&self) -> ErrorContext {
        let (head_only, format) = (self.order.context.head, self.order.error_format);
        ErrorContext { head_only, format, grpc: self.order.grpc, route: self.order.route }
    }

    /// The time for all of it, if its client gives it one.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.order.time
    }

    /// What rules do with a response of Ringate's own.
    pub(crate) fn response_rules(&self) -> Option<&ResponseRules> {
        self.order.pending.as_deref()
    }

    /// Most bytes that the request's body may have.
    pub(crate) fn body_bound(&self) -> u64 {
        let of_route = self.route_limits().and_then(|limits| limits.body_bytes);
        match of_route.unwrap_or(self.limits.body_bytes) {
            0 => u64::MAX,
            bound => bound,
        }
    }

    /// The pace of the response, if its route has one.
    pub(crate) fn throttle(&self) -> Option<Box<Throttle>> {
        let rate = self.route_limits()?.response?;
        Some(Throttle::new(rate, &self.worker.wheel))
    }

    /// What its route bounds, if it has one.
    pub(crate) fn route_limits(&self) -> Option<&RouteLimits> {
        let (view, listener) = self.view;
        Some(&view.config.listeners[listener].route(self.order.route)?.limits)
    }

    pub(crate) fn wait(&self, deadline: &Deadline, phase: Phase, patience: Duration) {
        self.phase.set(phase);
        self.disconnects.set(self.worker, deadline, phase, patience);
    }

    /// Ends the exchange: its counts, its trace, its line in the access log, and a line in the log if it failed.
    /// `told`: bytes of the error response, before anything of a response was sent.
    pub(crate) fn log(&mut self, failure: Option<&Failure>, told: usize) {
        self.keep_failure(failure);
        self.worker.heads.give(self.order.head.take_memory());
        self.held.release(&self.worker.heads);
        let mut served = self.served(failure, told);
        served.exemplar = self.exemplar(&served);
        if let Some(failure) = failure {
            self.report(failure);
        }
        self.measure(failure, &served);
        self.end_trace(failure, &served);
        self.write_line(failure, &served, told);
    }

    /// What the log calls the endpoint.
    fn endpoint(&self) -> Option<&str> {
        let endpoint = self.order.pool.upstream.endpoints.get(self.observed.endpoint.get()?)?;
        Some(&endpoint.label)
    }

    /// Counts and logs a failure.
    fn report(&self, failure: &Failure) {
        let (client, upstream) = (self.client, &self.order.pool.upstream);
        self.worker.count_bound(failure);
        if let Some(bound) = failure.circuit() {
            upstream.circuit.refuse(bound);
        }
        let endpoint = self.endpoint().unwrap_or("-");
        if failure.is_clients() || failure.is_logged() || failure.retry_after().is_some() {
            // Refusals that protect others may be many: they are counted, not logged.
            tracing::debug!(client = %client.address, upstream = upstream.name, endpoint, "{failure}");
        } else {
            let of = &upstream.name;
            sampled!(warn, Exchange of of, { client = %client.address, upstream = of, endpoint, }, "{failure}");
        }
    }

    /// Writes its line of the access log, if there is one.
    fn write_line(&self, failure: Option<&Failure>, served: &Served, told: usize) {
        let (Some(sink), Some(record)) = (&self.worker.access, self.order.logged.take()) else { return };
        let outcome = access::Outcome {
            status: served.status,
            bytes: served.response_bytes,
            duration: served.duration,
            first_byte: if told > 0 { Some(served.duration) } else { served.first_byte },
            upstream: Some(&self.order.pool.upstream.name),
            endpoint: self.endpoint(),
            tries: self.attempts.sent(),
            relay: self.observed.relayed.get(),
            failure: failure.map(|failure| failure as &dyn std::fmt::Display),
            error: failure.and_then(Failure::proxy_error),
            grpc_status: self.grpc_status(failure),
        };
        sink.end(record, &outcome);
    }

    /// The code that a call of gRPC ended with, as its client sees it.
    fn grpc_status(&self, failure: Option<&Failure>) -> Option<u32> {
        match failure {
            Some(failure) if !self.is_answered() => {
                self.order.grpc.and_then(|_| failure.grpc_status()).map(u32::from)
            }
            Some(failure) => self.code_within(failure).map(u32::from),
            None => self.observed.grpc_status.get(),
        }
    }

    /// Keeps what has failed for those that look at failures: also what the backend itself calls an error.
    fn keep_failure(&self, failure: Option<&Failure>) {
        let answered = self.observed.status.get();
        let status = match failure {
            Some(failure) if !self.is_answered() => failure.status().unwrap_or(0),
            _ => answered,
        };
        let (clients, kind, reason): (_, _, &dyn std::fmt::Display) = match failure {
            Some(failure) if failure.is_failure() => (failure.is_clients(), failure.kind(), failure),
            None if answered >= 500 => (false, "backend_status", &"the backend answered with an error"),
            _ => return,
        };
        let (view, listener) = self.view;
        let listener = &view.config.listeners[listener];
        let upstream = &self.order.pool.upstream;
        let endpoint = self.observed.endpoint.get().and_then(|index| upstream.endpoints.get(index));
        let id =
            read_lines(self.order.head.fields()).find(|(name, _)| name.eq_ignore_ascii_case(b"x-request-id"));
        self.worker.counters.failures.note(&Failed {
            clients,
            listener: &listener.name,
            route: listener.route_id(self.order.route),
            upstream: &upstream.name,
            endpoint: endpoint.map_or("", |endpoint| endpoint.label.as_str()),
            kind,
            id: id.and_then(|(_, id)| std::str::from_utf8(id).ok()).unwrap_or_default(),
            reason,
            status,
            duration: self.observed.duration(),
        });
    }

    /// What became of it.
    fn served(&self, failure: Option<&Failure>, told: usize) -> Served {
        let observed = &self.observed;
        let status = match failure {
            Some(failure) if !self.is_answered() => failure.status().unwrap_or(0),
            _ => observed.status.get(),
        };
        Served {
            status,
            request_bytes: observed.received.get(),
            response_bytes: observed.bytes.get() + told as u64,
            duration: observed.duration(),
            first_byte: observed.first_byte(),
            exemplar: None,
        }
    }

    /// Counts it at its route, its upstream and its endpoint.
    fn measure(&self, failure: Option<&Failure>, served: &Served) {
        let observed = &self.observed;
        if let Some(took) = served.first_byte {
            self.worker.counters.latency.add(took);
        }
        // A tunnel's bytes, which logs have apart.
        let (up, down) = observed.relayed.get().map_or((0, 0), |relayed| (relayed.up, relayed.down));
        let request_bytes = served.request_bytes + up;
        let served = &Served { request_bytes, response_bytes: served.response_bytes + down, ..*served };
        let (view, listener) = self.view;
        view.meters[listener].route(self.order.route).add(served);
        let (pool, status) = (&self.order.pool, observed.status.get());
        pool.meter.add(status, served);
        if let Some(endpoint) = observed.endpoint.get() {
            let is_error = status >= 500 || failure.is_some_and(|failure| !failure.is_clients());
            pool.ended(endpoint, status, served, is_error);
        }
    }
}
