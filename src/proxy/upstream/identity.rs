//! Which generation of the identity an endpoint gets, and what is done when it refuses the active one.
//!
//! ```text
//!              refused: the request is sent again on the previous generation
//!   active ───────────────────────────────────────────────────────────────► previous first
//!      ▲                                                                        │
//!      └──── accepted, or another generation was activated ◄── tried again ◄────┘ every RETRY_TICKS, by one request
//! ```
//!
//! A TLS 1.2 server refuses within the handshake, where nothing has been sent: another connection is made. A TLS 1.3 server
//! verifies after it, when the request may be on its way. Its alert about our certificate before any byte of a response
//! proves that it read none of it, so any request that is complete in memory is sent again. A request that is not (a long
//! upload, a relay) waits for the first sign of consent before its first byte is sent.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::SystemTime;

use crate::base::uses::Place;
use crate::tls::Identity;

/// Ticks after which an endpoint that refused the active generation is offered it again.
pub(crate) const RETRY_TICKS: u64 = 100;

/// What one worker knows of how one endpoint takes the identity. All of it is kept by [`Identity::serial`], 0 for
/// none: two identities may have the same number.
#[derive(Debug, Default)]
pub(crate) struct EndpointIdentity {
    pub(crate) refusal: Cell<Option<Refusal>>,
    /// The identity that it took last.
    pub(crate) accepted: Cell<u64>,
    /// Where its uses are noted, by identity: the active one's, the previous one's.
    pub(crate) places: RefCell<Vec<(u64, Arc<Place>)>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) identity: u64,
    /// Its number, for the log.
    pub(crate) generation: u64,
    /// The tick from which on it is tried again.
    pub(crate) again: u64,
}

/// What a connection presents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// The identity.
    pub(crate) identity: Option<Arc<Identity>>,
    /// It is the previous generation, in place of the active one.
    pub(crate) rescue: bool,
}

impl Choice {
    /// Its serial; 0 without an identity.
    pub(crate) fn serial(&self) -> u64 {
        serial(self.identity.as_ref())
    }

    /// What to try if this is refused.
    pub(crate) fn other(&self, current: &Arc<Identity>) -> Option<Self> {
        if self.rescue {
            return Some(Self { identity: Some(Arc::clone(current)), rescue: false });
        }
        usable_previous(current).map(|previous| Self { identity: Some(previous), rescue: true })
    }
}

/// An identity's serial; 0 without one.
pub(crate) fn serial(identity: Option<&Arc<Identity>>) -> u64 {
    identity.map_or(0, |identity| identity.serial())
}

/// The previous generation, while it is valid.
pub(crate) fn usable_previous(current: &Identity) -> Option<Arc<Identity>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    current.previous().filter(|previous| u64::try_from(previous.not_after()).is_ok_and(|end| now <= end))
}

impl EndpointIdentity {
    /// Whether an idle connection with the identity of this serial may serve the next request. One that the endpoint may be offered
    /// the active generation with again finds none.
    pub(crate) fn suits(&self, current: Option<&Arc<Identity>>, own: u64, now: u64) -> bool {
        match (self.refusal_of(current), current) {
            (Some(refusal), Some(current)) if now < refusal.again => {
                usable_previous(current).map_or(current.serial(), |previous| previous.serial()) == own
            }
            _ => serial(current) == own,
        }
    }

    /// Whether an idle connection with the identity of this serial may still serve some request.
    pub(crate) fn keeps(&self, current: Option<&Arc<Identity>>, own: u64) -> bool {
        serial(current) == own
            || (self.refusal_of(current).is_some()
                && current
                    .and_then(|current| usable_previous(current))
                    .is_some_and(|previous| previous.serial() == own))
    }

    /// What the next connection presents.
    pub(crate) fn choose(&self, current: Option<&Arc<Identity>>, now: u64) -> Choice {
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

    pub(crate) fn refusal_of(&self, current: Option<&Arc<Identity>>) -> Option<Refusal> {
        let refusal = self.refusal.get()?;
        current.is_some_and(|current| current.serial() == refusal.identity).then_some(refusal)
    }

    /// Whether it took the identity of this serial before.
    pub(crate) fn has_accepted(&self, identity: u64) -> bool {
        self.accepted.get() == identity
    }

    pub(crate) fn place(&self, identity: &Identity, upstream: &str, endpoint: &str) -> Arc<Place> {
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
