//! From an order to a backend's connection, and what follows when that fails: the next endpoint, the next upstream of
//! a split, the request once more.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::client_stream::ClientStream;
use super::stage::{Phase, ResponseStage, UploadStage};
use crate::base::limits::{HTTP2_UNPROCESSED_REPEATS, MAX_REPEATED_BYTES};
use crate::http::{BackendHttp, BodyLength, ResponseHead, Upgrade};
use crate::http2::{ErrorCode, ResetCause, SendError, StreamEnd};
use crate::io::StreamError;
use crate::io::stream::Keep;
use crate::io::{Buffer, Deadline};
use crate::proxy::client_binding::ProxiedOrigin;
use crate::proxy::exchange::body::Part;
use crate::proxy::exchange::retry_policy::Cause;
use crate::proxy::exchange::retrying;
use crate::proxy::exchange::state::Exchange;
use crate::proxy::failure::{Bound, ConnectError, Failure};
use crate::proxy::snapshot::{Destination, Traffic};
use crate::proxy::upstream::admission::{self, AdmissionRequest, Permit};
use crate::proxy::upstream::idle_limit;
use crate::proxy::upstream::outlier_detection::Fault;
use crate::proxy::upstream::pool::ConnectRequest;
use crate::proxy::upstream::request_key::Repeat;
use crate::proxy::upstream::stream::UpstreamStream;

/// The destination of a request that is sent once more.
pub(crate) enum Once {
    /// To this endpoint, on a new connection.
    Anew(usize),
    /// To this endpoint, on any connection.
    More(usize),
    /// To any endpoint that has room, of the upstream that the order is for by now.
    Afresh,
}

impl Exchange<'_> {
    /// Leave to go to an endpoint, and a connection to it. Where one can't be reached, nothing has left: it is waited
    /// for room at the others, and an upstream of a split gives way to the next one.
    pub(crate) async fn open(
        &mut self,
        deadline: &Deadline,
        first: &Part,
        held: &mut Option<Buffer>,
    ) -> Result<(Option<Permit>, UpstreamStream), Failure> {
        // The tick of the worker's wheel since which it looks for a connection.
        let since = self.worker.wheel.now();
        let is_held = first.done && self.order.idempotent;
        self.order.key.repeat = if is_held { Repeat::Held } else { Repeat::Never };
        loop {
            // The upstream may be another one than before.
            self.counted = None;
            let counted = self.order.pool.upstream.circuit.take(Bound::Requests);
            self.counted = counted.map_err(|bound| Failure::Connect(ConnectError::Limit(bound)))?;
            let pool = &self.order.pool;
            let key = self.order.key;
            let ask = AdmissionRequest {
                client: &self.disconnects.client,
                since,
                avoided: &self.tried.endpoints,
                key,
            };
            let admitted = admission::admit(self.worker, pool, deadline, ask, held, first.range());
            let permit = admitted.await?;
            let endpoint = permit.as_ref().map(Permit::endpoint).or_else(|| pool.pick_with_room(key));
            let reused = match endpoint {
                Some(endpoint) => {
                    pool.begin_trial(endpoint);
                    match !self.order.idempotent && pool.is_careful(endpoint) {
                        true => Err(Some(endpoint)),
                        false => pool.check_out(self.worker, endpoint, self.call(first)).map_err(Some),
                    }
                }
                None => Err(None),
            };
            let reached = match reused {
                Ok(backend) => Ok(backend),
                Err(Some(endpoint)) => {
                    Box::pin(self.connect(deadline, endpoint, first, permit.as_ref())).await
                }
                Err(None) => Err(Failure::Connect(ConnectError::NoEndpoint)),
            };
            match reached {
                Ok(backend) => {
                    if self.retries_are_on() {
                        self.order.pool.budget.count(self.worker.wheel.now());
                    }
                    return Ok((permit, backend));
                }
                Err(failure) if self.is_open_to(&failure, permit.as_ref(), since) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Whether a request for which there was no connection may go elsewhere.
    fn is_open_to(&mut self, failure: &Failure, permit: Option<&Permit>, since: u64) -> bool {
        match failure {
            Failure::Connect(ConnectError::ServerName | ConnectError::NoDescriptor) => false,
            Failure::Connect(_) => {
                permit.is_some_and(|it| it.may_wait(self.worker, since)) || self.is_elsewhere()
            }
            _ => false,
        }
    }

    /// Whether the rest of a short body is waited for, so that the request may be sent twice. `len`: bytes at hand.
    pub(crate) fn gathers(&self, len: usize) -> bool {
        let BodyLength::Known(length) = self.order.head.body else { return false };
        let whole = length.saturating_add(self.order.envelope.len as u64);
        let short = (len as u64) < whole && whole <= MAX_REPEATED_BYTES;
        short && self.order.idempotent && !self.order.expects && self.retries_are_on()
    }

    /// Reads on until the body is whole, for `limits.body_timeout` at most.
    pub(crate) async fn gather(
        &self,
        client: &mut ClientStream<'_>,
        deadline: &Deadline,
        mut buffer: Buffer,
    ) -> Result<Buffer, Failure> {
        deadline.set(self.limits.body_timeout);
        while self.gathers(buffer.len()) {
            let filling = pin!(client.fill(buffer));
            let filled = deadline.race(filling).await.map_err(|_| Failure::ClientTimeout)?;
            match filled {
                (Ok(1..), filled) => buffer = filled,
                _ => return Err(Failure::ClientGone),
            }
        }
        Ok(buffer)
    }

    /// A connection for the request in `kept` to be sent once more: as was decided or, where that can't be reached,
    /// wherever else the request may go.
    pub(crate) async fn open_again(
        &mut self,
        deadline: &Deadline,
        once: Once,
        first: &Part,
        permit: &mut Option<Permit>,
        kept: Buffer,
    ) -> Result<(UpstreamStream, Buffer), Failure> {
        self.upload.set(UploadStage::First);
        self.response.set(ResponseStage::Silent);
        if !matches!(once, Once::Afresh) {
            let failure = match self.reopen(deadline, once, first, permit.as_ref()).await {
                Ok(backend) => return Ok((backend, kept)),
                Err(failure) => failure,
            };
            let now = self.worker.wheel.now();
            let in_time = self.attempts.left(now).is_none_or(|left| !left.is_zero());
            if !in_time || !self.is_open_to(&failure, permit.as_ref(), now) {
                return Err(failure);
            }
        }
        drop(permit.take());
        let mut held = Some(kept);
        let (leave, backend) = Box::pin(self.open(deadline, first, &mut held)).await?;
        *permit = leave;
        Ok((backend, held.unwrap_or_else(Buffer::small)))
    }

    async fn reopen(
        &self,
        deadline: &Deadline,
        once: Once,
        first: &Part,
        permit: Option<&Permit>,
    ) -> Result<UpstreamStream, Failure> {
        let endpoint = match once {
            Once::Anew(endpoint) => endpoint,
            Once::Afresh => {
                let picked = self.order.pool.pick(self.order.key);
                picked.ok_or(Failure::Connect(ConnectError::NoEndpoint))?
            }
            Once::More(endpoint) => {
                match self.order.pool.check_out(self.worker, endpoint, self.call(first)) {
                    Ok(backend) => return Ok(backend),
                    Err(endpoint) => endpoint,
                }
            }
        };
        self.connect(deadline, endpoint, first, permit).await
    }

    /// The request for a connection to the current upstream.
    fn call(&self, first: &Part) -> ConnectRequest<'_> {
        let proxied = self.order.pool.upstream.proxy_protocol;
        let client = proxied.map(|_| {
            self.client.own(
                &self.worker.clients,
                ProxiedOrigin::default(),
                self.disconnects.client.connection(),
            )
        });
        ConnectRequest {
            host: self.order.host.as_deref(),
            whole: first.done,
            client,
            failed: &self.tried.endpoints,
            key: self.order.key,
            http: self.backend_http(),
        }
    }

    /// Which versions of HTTP the connection may have. Protocols but WebSocket and credentials that are bound to a connection
    /// need HTTP/1.1, where the backend may have that.
    fn backend_http(&self) -> BackendHttp {
        let http = self.order.pool.upstream.http;
        let other = self.order.context.upgrade == Some(Upgrade::Other);
        let needs_http1 = other || self.order.authenticates || self.tried.http1;
        if http == BackendHttp::Auto && needs_http1 { BackendHttp::Http11 } else { http }
    }

    /// Whether nothing of the request was sent, so that its first part is still at hand.
    pub(crate) fn is_unsent(&self, failure: &Failure) -> bool {
        failure.is_unsent() && self.upload.get() == UploadStage::First
    }

    /// A new connection, within what is left of the time for all attempts.
    async fn connect(
        &self,
        deadline: &Deadline,
        endpoint: usize,
        first: &Part,
        permit: Option<&Permit>,
    ) -> Result<UpstreamStream, Failure> {
        let pool = &self.order.pool;
        // The log names it also where no connection is made.
        self.observed.endpoint.set(Some(endpoint));
        let connecting = pool.open_stream(self.worker, deadline, self.call(first), endpoint, permit);
        let mut connecting = pin!(connecting);
        let Some(left) = self.attempts.left(self.worker.wheel.now()) else {
            return connecting.await.map_err(Failure::Connect);
        };
        let overall = self.worker.wheel.deadline();
        overall.set(left);
        match overall.race(connecting.as_mut()).await {
            Ok(connected) => connected.map_err(Failure::Connect),
            Err(_) => Err(Failure::BackendTimeout),
        }
    }

    /// Whether the route has another upstream for a request that this one could not answer; then the order is for that.
    fn is_elsewhere(&mut self) -> bool {
        let Some(index) = self.order.split else { return false };
        let (view, listener) = self.view;
        let Traffic::Http { routes, .. } = &view.config.listeners[listener].traffic else { return false };
        let index = index as usize;
        let Destination::Split(split) = &routes[index].to else { return false };
        let is_this = |upstream: &usize| Rc::ptr_eq(&view.pools[*upstream], &self.order.pool);
        self.tried.upstreams.extend(split.upstreams().find(is_this));
        let untried = |upstream: usize| !self.tried.upstreams.contains(&upstream);
        let repeat = self.order.key.repeat;
        let answers = |upstream: usize| untried(upstream) && !view.pools[upstream].is_shunned(repeat);
        let point = self.order.point;
        let next = split.pick_where(point, answers).or_else(|| split.pick_where(point, untried));
        let Some(next) = next else { return false };
        self.worker.counters.split_failovers.add(1);
        self.observed.endpoint.set(None);
        self.order.go_to(&view.pools[next], &routes[index]);
        self.tried.endpoints.clear();
        true
    }

    /// Whether a request that failed on `backend` is sent once more, and where. All of it is at hand, and the client
    /// has heard nothing.
    pub(crate) fn again(
        &mut self,
        backend: &UpstreamStream,
        failure: &Failure,
        permit: Option<&Permit>,
    ) -> Option<Once> {
        let idempotent = self.order.idempotent;
        let silent = !self.is_heard();
        let closed = silent && matches!(failure, Failure::BackendGone(_));
        let given_up = self.given_up.take();
        let without = matches!(failure, Failure::Unsendable(SendError::ConnectProtocol));
        if without && self.order.pool.upstream.http == BackendHttp::Auto {
            self.tried.http1 = true;
            return Some(Once::More(backend.endpoint()));
        }
        if failure.is_unprocessed() && silent {
            return self.send_elsewhere(backend, failure, permit);
        }
        // Its pooled connection was closed by the backend just then.
        if closed && backend.is_reused() && idempotent && failure.is_about_connection() {
            self.worker.counters.stale_retries.add(1);
            return Some(Once::Anew(backend.endpoint()));
        }
        // The backend refused our certificate and has read nothing.
        if silent && self.order.pool.rescue(self.worker, &backend.facts(), failure, idempotent) {
            return Some(Once::Anew(backend.endpoint()));
        }
        if closed || given_up {
            self.tried.endpoints.push(backend.endpoint());
        }
        let wanted = match failure {
            // Judged when it came.
            Failure::Unwanted(_) => true,
            Failure::BackendGone(_) => silent && self.may_retry(Cause::Reset),
            Failure::BackendTimeout if !given_up => silent && self.may_retry(Cause::Timeout),
            _ => false,
        };
        let pool = Rc::clone(&self.order.pool);
        let once = if wanted {
            Some(Once::More(pool.next(backend.endpoint(), self.order.key, has_room_of(permit))))
        } else if closed || given_up {
            self.fail_over(permit)
        } else {
            None
        };
        if once.is_some()
            && let Some(reason) = pool.reason(&backend.facts(), self.is_heard(), failure)
        {
            pool.record_failure(&backend.facts(), reason);
        }
        once
    }

    /// The destination of a request that its backend has not processed, and says so: by GOAWAY another connection, by
    /// REFUSED_STREAM another endpoint, if there is one.
    fn send_elsewhere(
        &mut self,
        backend: &UpstreamStream,
        failure: &Failure,
        permit: Option<&Permit>,
    ) -> Option<Once> {
        if self.tried.unprocessed >= HTTP2_UNPROCESSED_REPEATS {
            return None;
        }
        self.tried.unprocessed += 1;
        self.tried.http1 |= failure.asks_for_http1();
        self.worker.counters.http2_unprocessed_retries.add(1);
        let (endpoint, key) = (backend.endpoint(), self.order.key);
        let refused = StreamEnd::Reset(ResetCause::Peer(ErrorCode::REFUSED_STREAM));
        let is_refused =
            matches!(failure, Failure::BackendGone(Some(StreamError::Http2(end))) if *end == refused);
        let next =
            if is_refused { self.order.pool.next(endpoint, key, has_room_of(permit)) } else { endpoint };
        Some(Once::More(next))
    }

    /// The destination of a request whose endpoint closed a new connection without an answer. An idempotent one is sent to each
    /// other endpoint once, and then to the other upstreams of its split, as long as there is time.
    fn fail_over(&mut self, permit: Option<&Permit>) -> Option<Once> {
        let (pool, now) = (&self.order.pool, self.worker.wheel.now());
        let may = self.order.idempotent && !self.is_answered() && pool.upstream.retries.failover;
        if !may || !self.attempts.may_fail_over(now, self.order.response_timeout) {
            return None;
        }
        let failed = &self.tried.endpoints;
        let once = match pool.next_untried(failed, self.order.key, has_room_of(permit)) {
            Some(endpoint) => Once::Anew(endpoint),
            // Those that are left have no room: it waits for that in the queue.
            None if permit.is_some() && failed.len() < pool.upstream.endpoints.len() => Once::Afresh,
            None => self.is_elsewhere().then_some(Once::Afresh)?,
        };
        self.worker.counters.failovers.add(1);
        Some(once)
    }

    /// Whether the upstream's retries cover this, and its budget has room.
    pub(crate) fn may_retry(&self, cause: Cause) -> bool {
        let may = self.retries_are_on() && !self.is_answered();
        may && retrying::may_retry(self.worker, &self.order.pool, &self.attempts, cause)
    }

    pub(crate) fn retries_are_on(&self) -> bool {
        self.order.pool.upstream.retries.attempts > 1
    }

    /// The head of a final response tells how its endpoint does.
    pub(crate) fn judge(&self, head: &ResponseHead<'_, '_>) {
        let Some(endpoint) = self.observed.endpoint.get() else { return };
        if let Some(seconds) = head.fields.get("keep-alive").and_then(idle_limit::timeout_of) {
            self.order.pool.endpoints[endpoint].idle_limit.declare(seconds);
        }
        // What comes while the request is still on its way is no slow response.
        let since = if self.is_sent() { self.disconnects.since() } else { self.worker.wheel.now() };
        self.order.pool.responded(endpoint, head.status, since, self.slow.take());
    }

    /// A failed attempt tells how its endpoint does.
    pub(crate) fn note_failure(&self, backend: &UpstreamStream, failure: &Failure) {
        let slow = self.slow.take();
        let silent = !self.is_heard();
        if silent {
            self.order.pool.note_unanswered(backend, failure);
        }
        let fault = match failure {
            _ if failure.is_unprocessed() => return,
            Failure::BackendGone(_) if silent && !backend.is_reused() => Fault::Reset,
            // A slow response has been counted.
            Failure::BackendTimeout if silent && !self.given_up.get() && !slow => Fault::Timeout,
            Failure::Response(_) | Failure::Http2(_) => Fault::Invalid,
            _ => return,
        };
        self.order.pool.failed(backend.endpoint(), fault, self.disconnects.since());
    }

    /// Whether a request whose response is waited for goes elsewhere: it may be repeated, and its endpoint is ejected.
    /// If it waits for too long, that counts, too.
    pub(crate) fn gives_up(&self, endpoint: usize, whole: bool) -> bool {
        let pool = &self.order.pool;
        if self.is_heard() || !self.is_sent() {
            return false;
        }
        if !self.slow.get() && pool.slow(endpoint, self.disconnects.since()) {
            self.slow.set(true);
        }
        let may = whole && self.order.idempotent && pool.upstream.retries.failover;
        let gives_up = may && self.slow.get() && pool.is_better_elsewhere(endpoint, &self.tried.endpoints);
        self.given_up.set(gives_up);
        gives_up
    }

    /// Whose fault an expired deadline is.
    pub(crate) fn too_slow(&self) -> Failure {
        match self.phase.get() {
            Phase::ClientBody | Phase::ClientWrite => Failure::ClientTimeout,
            Phase::BackendWrite | Phase::BackendHead | Phase::BackendBody => Failure::BackendTimeout,
        }
    }

    /// Whether a request that was written is kept to be sent again.
    pub(crate) fn keep(&self, backend: &UpstreamStream, whole: bool) -> Keep {
        let again = self.order.idempotent || backend.verdict().has_fallback();
        if whole && again { Keep::Content } else { Keep::Nothing }
    }

    /// How long an attempt may take to the response's head.
    pub(crate) fn begin(&self, whole: bool) -> Duration {
        let policy = &self.order.pool.upstream.retries;
        let repeatable = (whole, self.order.idempotent);
        self.attempts.begin(policy, self.worker.wheel.now(), self.order.response_timeout, repeatable)
    }
    /// What is left of that once the request is written: all attempts together have the time of one.
    pub(crate) fn remaining(&self, patience: Duration, whole: bool) -> Duration {
        let left = self.attempts.left(self.worker.wheel.now()).filter(|_| whole && self.retries_are_on());
        left.map_or(patience, |left| left.min(patience))
    }
}

/// Whether there is room at an endpoint for the exchange that has `permit`. If so, the permit is for that one by now.
fn has_room_of(permit: Option<&Permit>) -> impl Fn(usize) -> bool {
    move |endpoint| permit.is_none_or(|permit| permit.move_to(endpoint))
}
