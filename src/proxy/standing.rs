//! Which generation of the identity an endpoint gets, and what is done when it refuses the active one.
//!
//! ```text
//!              refused: the request goes again on the previous generation
//!   active ───────────────────────────────────────────────────────────────► previous first
//!      ▲                                                                        │
//!      └──── accepted, or another generation was activated ◄── tried again ◄────┘ every RETRY_TICKS, by one request
//! ```
//!
//! A TLS 1.2 server refuses within the handshake, where nothing has been sent: another connection is made. A
//! TLS 1.3 server judges after it, when the request may be on its way. Its alert about our certificate before any
//! byte of a response proves that it read none of it, so any request that is still at hand goes again. One
//! that is not (a long upload, a relay) waits for the first sign of consent before its first byte is sent.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::AlertDescription;

use super::Local;
use super::dial::{Dialed, Wanted};
use super::failure::{ConnectError, Failure};
use super::pool::{Backend, Pool};
use crate::base::uses::Place;
use crate::io::deadline::TICK;
use crate::io::tls::TlsError;
use crate::io::{Buffer, CallOff, Deadline, StreamError, is_canceled};
use crate::tls::error::{alert_text, concerns_our_certificate};
use crate::tls::{HandshakeError, Identity, RecordError};

/// Ticks after which an endpoint that refused the active generation is offered it again.
const RETRY_TICKS: u64 = 100;
/// Ticks for which the first sign of consent is waited for. Silence is consent.
const VERDICT_TICKS: u32 = 10;
/// How often a connection is made anew because another generation was activated meanwhile.
const ROUNDS: usize = 3;

/// What one worker knows of how one endpoint takes the identity. All of it is kept by [`Identity::serial`], 0 for
/// none: two identities may have the same number.
#[derive(Debug, Default)]
pub(super) struct Standing {
    refusal: Cell<Option<Refusal>>,
    /// The identity that it took last.
    accepted: Cell<u64>,
    /// Where its uses are noted, by identity: the active one's, the previous one's.
    places: RefCell<Vec<(u64, Arc<Place>)>>,
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    identity: u64,
    /// Its number, for the log.
    generation: u64,
    /// The tick from which on it is tried again.
    again: u64,
}

/// What a connection presents.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// The identity.
    pub(super) identity: Option<Arc<Identity>>,
    /// It is the previous generation, in place of the active one.
    pub(super) rescue: bool,
}

impl Choice {
    /// Its serial; 0 without an identity.
    pub(super) fn serial(&self) -> u64 {
        serial(self.identity.as_ref())
    }

    /// What to try if this is refused.
    fn other(&self, current: &Arc<Identity>) -> Option<Self> {
        if self.rescue {
            return Some(Self { identity: Some(Arc::clone(current)), rescue: false });
        }
        usable_previous(current).map(|previous| Self { identity: Some(previous), rescue: true })
    }
}

/// An identity's serial; 0 without one.
fn serial(identity: Option<&Arc<Identity>>) -> u64 {
    identity.map_or(0, |identity| identity.serial())
}

/// The previous generation, while it is valid.
fn usable_previous(current: &Identity) -> Option<Arc<Identity>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    current.previous().filter(|previous| u64::try_from(previous.not_after()).is_ok_and(|end| now <= end))
}

impl Standing {
    /// Whether an idle connection with the identity of this serial may serve the next request. One that the endpoint may be offered
    /// the active generation with again finds none.
    pub(super) fn suits(&self, current: Option<&Arc<Identity>>, own: u64, now: u64) -> bool {
        match (self.refusal_of(current), current) {
            (Some(refusal), Some(current)) if now < refusal.again => {
                usable_previous(current).map_or(current.serial(), |previous| previous.serial()) == own
            }
            _ => serial(current) == own,
        }
    }

    /// Whether an idle connection with the identity of this serial may still serve some request.
    pub(super) fn keeps(&self, current: Option<&Arc<Identity>>, own: u64) -> bool {
        serial(current) == own
            || (self.refusal_of(current).is_some()
                && current
                    .and_then(|current| usable_previous(current))
                    .is_some_and(|previous| previous.serial() == own))
    }

    /// What the next connection presents.
    fn choose(&self, current: Option<&Arc<Identity>>, now: u64) -> Choice {
        let active = Choice { identity: current.cloned(), rescue: false };
        let (Some(refusal), Some(current)) = (self.refusal_of(current), current) else {
            return active;
        };
        if now >= refusal.again {
            // One request tries; the others go on with the previous generation meanwhile.
            self.refusal.set(Some(Refusal { again: now + RETRY_TICKS, ..refusal }));
            return active;
        }
        active.other(current).unwrap_or(active)
    }

    fn refusal_of(&self, current: Option<&Arc<Identity>>) -> Option<Refusal> {
        let refusal = self.refusal.get()?;
        current.is_some_and(|current| current.serial() == refusal.identity).then_some(refusal)
    }

    /// Whether it took the identity of this serial before.
    fn has_accepted(&self, identity: u64) -> bool {
        self.accepted.get() == identity
    }

    fn place(&self, identity: &Identity, upstream: &str, endpoint: &str) -> Arc<Place> {
        let mut places = self.places.borrow_mut();
        if let Some((_, place)) = places.iter().find(|(known, _)| *known == identity.serial()) {
            return Arc::clone(place);
        }
        let place = identity.uses().place(upstream, endpoint);
        if places.len() > 1 {
            places.remove(0);
        }
        places.push((identity.serial(), Arc::clone(&place)));
        place
    }
}

impl Pool {
    /// A connection to one endpoint, with the generation that it takes. Where the request can't be sent again, the
    /// endpoint's consent is waited for.
    pub(super) async fn present(
        &self,
        local: &Local,
        deadline: &Deadline,
        endpoint: usize,
        wanted: Wanted<'_>,
    ) -> Result<Dialed, ConnectError> {
        let standing = self.standing(endpoint);
        let mut round = 1;
        loop {
            let current = self.current();
            let choice = standing.choose(current.as_ref(), local.wheel.now());
            let dialed = self.present_or_other(local, deadline, endpoint, wanted, &choice).await?;
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
        local: &Local,
        deadline: &Deadline,
        endpoint: usize,
        wanted: Wanted<'_>,
        choice: &Choice,
    ) -> Result<Dialed, ConnectError> {
        let error = match self.present_one(local, deadline, endpoint, wanted, choice).await {
            Ok(dialed) => return Ok(dialed),
            Err(error) => error,
        };
        let current = self.current();
        let other = match &current {
            Some(current) if may_be_refusal(&error) => choice.other(current),
            _ => None,
        };
        let Some(other) = other else { return Err(error) };
        match Box::pin(self.present_one(local, deadline, endpoint, wanted, &other)).await {
            Ok(dialed) => {
                if other.rescue {
                    self.note_refusal(local, endpoint, choice.identity.as_ref(), &error);
                }
                Ok(dialed)
            }
            // It was not the certificate: the first error says what it is.
            Err(_) => Err(error),
        }
    }

    async fn present_one(
        &self,
        local: &Local,
        deadline: &Deadline,
        endpoint: usize,
        wanted: Wanted<'_>,
        choice: &Choice,
    ) -> Result<Dialed, ConnectError> {
        let standing = self.standing(endpoint);
        let dialer = self.dialer(endpoint);
        let mut dialed = dialer.dial(local, deadline, &self.upstream, endpoint, wanted, choice).await?;
        let (Some(identity), Some(name)) = (&choice.identity, wanted.name) else {
            return Ok(dialed);
        };
        let (upstream, address) = (&self.upstream.name, &self.upstream.endpoints[endpoint].label);
        dialed.contested = dialed.unproven && !choice.rescue && usable_previous(identity).is_some();
        if dialed.contested && !wanted.whole && !standing.has_accepted(choice.serial()) {
            let consents = || dialer.holds_session(name, choice.rescue);
            verdict(local, &mut dialed, consents).await?;
            dialed.unproven = false;
        }
        if dialed.presented {
            let place = standing.place(identity, upstream, address);
            dialed.hold =
                Some(local.backends.hold(dialed.stream.reader.fd(), identity, &place, choice.rescue));
            if choice.rescue {
                place.rescue();
                local.counters.identity_rescues.add(1);
            }
        }
        if !dialed.unproven && dialed.presented {
            self.accepted(endpoint, choice.serial());
        }
        Ok(dialed)
    }

    /// Notes that the endpoint took the identity of this serial.
    pub(super) fn accepted(&self, endpoint: usize, identity: u64) {
        let standing = self.standing(endpoint);
        let fresh = standing.accepted.replace(identity) != identity;
        if let Some((_, place)) = standing.places.borrow().iter().find(|(known, _)| *known == identity) {
            place.accept();
        }
        if let Some(refusal) = standing.refusal.get().filter(|refusal| refusal.identity == identity) {
            standing.refusal.set(None);
            tracing::info!(
                upstream = self.upstream.name,
                endpoint = self.upstream.endpoints[endpoint].label,
                "takes generation {} of the client certificate now",
                refusal.generation
            );
        } else if fresh {
            tracing::debug!(upstream = self.upstream.name, endpoint, "client certificate accepted");
        }
    }

    /// Whether a request that failed on `backend` may go again on the previous generation, because the
    /// backend refused the active one. If so, that is what the next connection presents.
    ///
    /// Not a byte of a response may have come, and the request must be at hand.
    pub(super) fn rescue(
        &self,
        local: &Local,
        backend: &Backend,
        failure: &Failure,
        idempotent: bool,
    ) -> bool {
        if !backend.is_contested() {
            return false;
        }
        let Failure::BackendGone(error) = failure else { return false };
        let proven =
            matches!(error, Some(StreamError::Tls(RecordError::PeerAlert(alert))) if ends_handshake(*alert));
        // Some servers close without an alert: that may be a refusal, but it proves nothing.
        let suspected = idempotent && !self.standing(backend.endpoint).has_accepted(backend.identity());
        if !proven && !suspected {
            return false;
        }
        let Some(current) = self.current().filter(|current| current.serial() == backend.identity()) else {
            // Another one was activated meanwhile: that is tried.
            return true;
        };
        self.note_refusal(local, backend.endpoint, Some(&current), failure);
        true
    }

    fn note_refusal(
        &self,
        local: &Local,
        endpoint: usize,
        identity: Option<&Arc<Identity>>,
        why: &dyn std::fmt::Display,
    ) {
        let Some(identity) = identity else { return };
        let standing = self.standing(endpoint);
        let again = local.wheel.now() + RETRY_TICKS;
        let generation = identity.generation();
        let known = standing.refusal_of(Some(identity)).is_some();
        standing.refusal.set(Some(Refusal { identity: identity.serial(), generation, again }));
        let (upstream, address) = (&*self.upstream.name, &*self.upstream.endpoints[endpoint].label);
        standing.place(identity, upstream, address).refuse();
        local.counters.identity_refusals.add(1);
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

/// Waits for the server's judgement on our certificate, before anything is sent that can't be sent again.
async fn verdict(
    local: &Local,
    dialed: &mut Dialed,
    consents: impl Fn() -> bool,
) -> Result<(), ConnectError> {
    let mut buffer = dialed.early.take().unwrap_or_else(Buffer::small);
    let deadline = local.wheel.deadline();
    let mut off = CallOff::default();
    for _ in 0..VERDICT_TICKS {
        if consents() || !buffer.is_empty() {
            break;
        }
        let (handle, fd) = (off.handle(), dialed.stream.reader.fd());
        deadline.set(TICK);
        let (result, filled) = {
            let filling = pin!(dialed.stream.reader.fill_cancelable(buffer, handle));
            deadline.watch(filling, || off.call_off(fd)).await
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
    dialed.early = (!buffer.is_idle() || !buffer.is_empty()).then_some(buffer);
    Ok(())
}
