//! New connections of a pool: to the next endpoint where one cannot be reached, with the generation of the client
//! identity that the endpoint takes.

use std::ops::Range;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rustls::AlertDescription;

use super::admission::Permit;
use super::certificate_verdict::CertificateVerdict;
use super::circuit::{Counted, CountedConnection};
use super::connect::{DialOptions, NewConnection};
use super::connection::{ConnectionFacts, UpstreamConnection};
use super::identity::{Choice, RETRY_TICKS, Refusal, serial, usable_previous};
use super::load::InFlight;
use super::pool::{ConnectRequest, Pool};
use crate::base::clock;
use crate::base::sample::sampled;
use crate::io::deadline::TICK;
use crate::io::tls::TlsError;
use crate::io::{Buffer, Deadline, ReadCancel, StreamError, is_canceled};
use crate::proxy::client_binding::{ClientBinding, HoldsDedicated};
use crate::proxy::failure::{Bound, ConnectError, Failure};
use crate::proxy::worker::Worker;
use crate::proxy_protocol::{self, Subject};
use crate::tls::error::{alert_text, concerns_our_certificate};
use crate::tls::{HandshakeError, Identity, RecordError};

/// Ticks for which the first sign of consent is waited for. Silence is consent.
const VERDICT_TICKS: u32 = 10;

/// How often a connection is made anew because another generation was activated meanwhile.
const ROUNDS: usize = 3;

impl Pool {
    /// A new connection, to `first` or, where that can't be reached, to the next one for which leave is given.
    pub async fn connect(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        call: ConnectRequest<'_>,
        first: usize,
        permit: Option<&Permit>,
    ) -> Result<Box<UpstreamConnection>, ConnectError> {
        let ConnectRequest { host, whole, client, failed, key, http } = call;
        let subject = client.map_or(Subject::Local, ClientBinding::subject);
        let header = self.upstream.proxy_protocol.map(|version| proxy_protocol::encode(version, subject));
        let client = client.filter(|_| header.is_some());
        let mut refused = None;
        permit.inspect(|permit| permit.begin());
        let _pending = self.upstream.circuit.take(Bound::Pending).map_err(ConnectError::Limit)?;
        for endpoint in self.in_order(first, key, failed) {
            if permit.is_some_and(|permit| !permit.move_to(endpoint)) {
                continue;
            }
            let server_name = self.server_name(endpoint, host)?;
            let wanted = DialOptions { name: server_name.as_ref(), whole, header: header.as_deref(), http };
            let (request, pending, counted) = match self.count_at(endpoint) {
                Ok(counted) => counted,
                // Another endpoint may have room.
                Err(error) if self.upstream.circuit.bounds_endpoints() => {
                    refused.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.begin_trial(endpoint);
            let in_flight = InFlight::begin(&self.endpoints[endpoint].used).bounded(request);
            let outlier = &self.upstream.endpoints[endpoint].state.outlier;
            let presented = self.present(worker, deadline, endpoint, wanted).await;
            drop(pending);
            match presented {
                Ok(dialed) => {
                    outlier.connected();
                    self.upstream.endpoints[endpoint].state.answered();
                    let client = client.map(|client| {
                        let holder = Rc::downgrade(&self.endpoints[endpoint]);
                        client.is_known_to(&(holder as Weak<dyn HoldsDedicated>));
                        client.id()
                    });
                    let mut backend =
                        UpstreamConnection::fresh(worker, (endpoint, counted), server_name, client, dialed);
                    backend.in_flight = Some(in_flight.connected());
                    return Ok(backend);
                }
                Err(error) => {
                    self.report_failure(worker, endpoint, &error);
                    if matches!(error, ConnectError::NoDescriptor) {
                        // That proves nothing about the endpoint, and another one would not help.
                        outlier.end_trial(clock::millis());
                        return Err(error);
                    }
                    if self.is_about_the_host(host, &error) {
                        outlier.end_trial(clock::millis());
                    } else if !matches!(error, ConnectError::Unresolved) {
                        outlier.connection_failed(clock::millis());
                        self.upstream.endpoints[endpoint].state.health.down(&error);
                    }
                    refused = Some(error);
                }
            }
        }
        Err(refused.unwrap_or(ConnectError::ServerName))
    }

    /// Counts a request, a connection that is being made for it and the connection itself, where that is bounded.
    #[allow(clippy::type_complexity)] // each lives for another time
    fn count_at(
        &self,
        endpoint: usize,
    ) -> Result<(Option<Counted>, Option<Counted>, CountedConnection), ConnectError> {
        let (circuit, counts) = (&self.upstream.circuit, &self.upstream.endpoints[endpoint].state.circuit);
        let [request, pending] = [Bound::EndpointRequests, Bound::EndpointPending]
            .map(|of| circuit.take_at(counts, of).map_err(ConnectError::Limit));
        Ok((request?, pending?, self.count_connection(endpoint)?))
    }

    /// Counts and logs that no connection to `endpoint` could be made.
    pub(crate) fn report_failure(&self, worker: &Worker, endpoint: usize, error: &ConnectError) {
        worker.counters.backend_connect_failures.add(1);
        sampled!(
            warn,
            Connect of &self.upstream.name,
            {
                upstream = self.upstream.name,
                endpoint = self.upstream.endpoints[endpoint].label,
                reason = error.reason().map(tracing::field::display),
            },
            "{error}{}",
            error.advice()
        );
    }

    /// Counts a connection to the endpoint that is about to be made. Where there are as many as may be, an idle one of this
    /// worker, or one that any worker may take, ends for it.
    pub(crate) fn count_connection(&self, endpoint: usize) -> Result<CountedConnection, ConnectError> {
        let (circuit, counts) = (&self.upstream.circuit, &self.upstream.endpoints[endpoint].state.circuit);
        let of_endpoint = circuit.take_at(counts, Bound::EndpointConnections).or_else(|bound| {
            self.give_up_idle(endpoint..endpoint + 1);
            circuit.take_at(counts, bound).map_err(ConnectError::Limit)
        })?;
        let of_upstream = circuit.take(Bound::Connections).or_else(|bound| {
            self.give_up_idle(0..self.endpoints.len());
            circuit.take(bound).map_err(ConnectError::Limit)
        })?;
        Ok(CountedConnection { _of_upstream: of_upstream, _of_endpoint: of_endpoint })
    }

    /// Closes the connection that this worker has kept idle at these endpoints for longest or, if it has none, one that any
    /// worker may take.
    fn give_up_idle(&self, of: Range<usize>) {
        let idle = self.endpoints[of.clone()].iter().filter(|endpoint| !endpoint.idle.borrow().is_empty());
        let oldest = idle.min_by_key(|endpoint| endpoint.idle.borrow().first().map(|idle| idle.since()));
        match oldest.map(|endpoint| endpoint.idle.borrow_mut().remove(0)) {
            Some(given_up) => drop(given_up),
            None if self.endpoints[of.clone()].iter().any(|endpoint| endpoint.http2.give_up_one()) => {}
            None => {
                let mut shared = self.upstream.endpoints[of].iter().map(|it| &it.state.shared_idle);
                drop(shared.find_map(|idle| idle.take(|_| true)));
            }
        }
    }

    /// A connection to one endpoint, with the generation that it takes. Where the request can't be sent again, the
    /// endpoint's consent is waited for.
    pub(crate) async fn present(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        endpoint: usize,
        wanted: DialOptions<'_>,
    ) -> Result<NewConnection, ConnectError> {
        let state = self.identity_state(endpoint);
        let mut round = 1;
        loop {
            let current = self.current();
            let choice = state.choose(current.as_ref(), worker.wheel.now());
            let dialed = self.present_or_other(worker, deadline, endpoint, wanted, &choice).await?;
            let active = serial(self.current().as_ref());
            // What was activated while this one was made is what the request gets.
            if round == ROUNDS || serial(current.as_ref()) == active {
                return Ok(dialed);
            }
            round += 1;
        }
    }

    async fn present_or_other(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        endpoint: usize,
        wanted: DialOptions<'_>,
        choice: &Choice,
    ) -> Result<NewConnection, ConnectError> {
        let error = match self.present_one(worker, deadline, endpoint, wanted, choice).await {
            Ok(dialed) => return Ok(dialed),
            Err(error) => error,
        };
        let current = self.current();
        let other = match &current {
            Some(current) if may_be_refusal(&error) => choice.other(current),
            _ => None,
        };
        let Some(other) = other else { return Err(error) };
        match Box::pin(self.present_one(worker, deadline, endpoint, wanted, &other)).await {
            Ok(dialed) => {
                if other.rescue {
                    self.note_refusal(worker, endpoint, choice.identity.as_ref(), &error);
                }
                Ok(dialed)
            }
            // It was not the certificate: the first error has the reason.
            Err(_) => Err(error),
        }
    }

    async fn present_one(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        endpoint: usize,
        wanted: DialOptions<'_>,
        choice: &Choice,
    ) -> Result<NewConnection, ConnectError> {
        let state = self.identity_state(endpoint);
        let dialer = self.dialer(endpoint);
        let of = (&*self.upstream, &*self.meter);
        let mut dialed = dialer.dial(worker, deadline, of, endpoint, wanted, choice).await?;
        let (Some(identity), Some(name)) = (&choice.identity, wanted.name) else {
            return Ok(dialed);
        };
        let (upstream, address) = (&self.upstream.name, &self.upstream.endpoints[endpoint].label);
        if let CertificateVerdict::Pending { presented: true, fallback } = &mut dialed.verdict {
            *fallback = !choice.rescue && usable_previous(identity).is_some();
        }
        let fallback = dialed.verdict.has_fallback();
        let mut accepted = dialed.verdict.is_presented() && !dialed.verdict.is_pending();
        if fallback && !wanted.whole && !state.has_accepted(choice.serial()) {
            let consents = || dialer.holds_session(name, choice.rescue);
            if await_consent(worker, &mut dialed, consents).await? {
                dialed.verdict.settle();
            }
            // Silence is consent, but proves nothing: the connection may still end over the certificate.
            accepted = true;
        }
        if dialed.verdict.is_presented() {
            let place = state.place(identity, upstream, address);
            dialed.hold =
                Some(worker.tracked.hold(dialed.stream.reader.peer(), identity, &place, choice.rescue));
            if choice.rescue {
                place.rescue();
                worker.counters.client_certificate_fallbacks.add(1);
            }
        }
        if accepted {
            self.accepted(endpoint, choice.serial());
        }
        Ok(dialed)
    }

    /// Whether a request that failed on `backend` may go again on the previous generation, because the
    /// backend refused the active one. If so, that is what the next connection presents.
    ///
    /// No byte of a response may have arrived, and the request must be complete in memory.
    pub(crate) fn rescue(
        &self,
        worker: &Worker,
        backend: &ConnectionFacts<'_>,
        failure: &Failure,
        idempotent: bool,
    ) -> bool {
        if !backend.verdict.has_fallback() {
            return false;
        }
        let Failure::BackendGone(error) = failure else { return false };
        let proven =
            matches!(error, Some(StreamError::Tls(RecordError::PeerAlert(alert))) if ends_handshake(*alert));
        // Some servers close without an alert: that may be a refusal, but it proves nothing.
        let suspected = idempotent && !self.identity_state(backend.endpoint).has_accepted(backend.identity);
        if !proven && !suspected {
            return false;
        }
        let Some(current) = self.current().filter(|current| current.serial() == backend.identity) else {
            // Another one was activated meanwhile: that is tried.
            return true;
        };
        self.note_refusal(worker, backend.endpoint, Some(&current), failure);
        true
    }

    fn note_refusal(
        &self,
        worker: &Worker,
        endpoint: usize,
        identity: Option<&Arc<Identity>>,
        why: &dyn std::fmt::Display,
    ) {
        let Some(identity) = identity else { return };
        let state = self.identity_state(endpoint);
        let again = worker.wheel.now() + RETRY_TICKS;
        let generation = identity.generation();
        let known = state.refusal_of(Some(identity)).is_some();
        state.refusal.set(Some(Refusal { identity: identity.serial(), generation, again }));
        let (upstream, address) = (&*self.upstream.name, &*self.upstream.endpoints[endpoint].label);
        state.place(identity, upstream, address).refuse();
        worker.counters.identity_refusals.add(1);
        if known {
            tracing::debug!(upstream, endpoint = address, "still refuses {identity:?}: {why}");
        } else {
            tracing::warn!(
                upstream,
                endpoint = address,
                "refused generation {generation} of the client certificate {}; the previous generation is used for it: {why}",
                identity.name()
            );
        }
    }
}

/// Whether an alert, before any byte of a response on a new connection, proves that the server's side of the handshake
/// did not end well, so that it read nothing of what was sent behind ours. Beside those that name our certificate, a
/// signature in its chain that does not verify: an authority that was replaced under its old name.
fn ends_handshake(alert: AlertDescription) -> bool {
    concerns_our_certificate(alert)
        || matches!(alert, AlertDescription::DecryptError | AlertDescription::HandshakeFailure)
}

/// Whether a connection may have failed because of our certificate. In a handshake nothing has been sent yet, so
/// that trying with another one does no harm; if that fares better, it was.
fn may_be_refusal(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Tls(
            TlsError::Closed | TlsError::Io(_) | TlsError::Handshake(HandshakeError::PeerAlert(_)),
            _
        ) | ConnectError::Refused(_)
    )
}

/// Waits for the server's judgement on our certificate, before anything is sent that can't be sent again. False: there was
/// no sign of it.
async fn await_consent(
    worker: &Worker,
    dialed: &mut NewConnection,
    consents: impl Fn() -> bool,
) -> Result<bool, ConnectError> {
    let mut buffer = dialed.early.take().unwrap_or_else(Buffer::small);
    let deadline = worker.wheel.deadline();
    let mut off = ReadCancel::default();
    for _ in 0..VERDICT_TICKS {
        if consents() || !buffer.is_empty() {
            break;
        }
        let (handle, peer) = (off.handle(), dialed.stream.reader.peer());
        deadline.set(TICK);
        let (result, filled) = {
            let filling = pin!(dialed.stream.reader.fill_cancelable(buffer, handle));
            deadline.watch(filling, || off.call_off(&peer)).await
        };
        buffer = filled;
        match result {
            Ok(0) => return Err(ConnectError::Refused("it closed the connection after the handshake")),
            Ok(_) => break,
            Err(StreamError::Tls(RecordError::PeerAlert(alert))) => {
                return Err(ConnectError::Refused(alert_text(alert)));
            }
            Err(StreamError::Io(error)) if is_canceled(&error) => {}
            Err(StreamError::Io(_)) => return Err(ConnectError::Refused("it reset the connection")),
            Err(_) => return Err(ConnectError::Refused("its records are broken")),
        }
    }
    let consented = consents() || !buffer.is_empty();
    dialed.early = (!buffer.is_idle() || !buffer.is_empty()).then_some(buffer);
    Ok(consented)
}
