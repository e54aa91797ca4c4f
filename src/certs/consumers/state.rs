//! The life of a credential. A transition consumes the state.
//!
//! ```text
//!              approve             issue              suspend
//! requested ───────────► approved ────────► active ◄──────────► suspended
//!     │ deny                 │ deny           │ │    resume         │
//!     ▼                      ▼                │ │ renew             │
//!   denied ◄─────────────────┘         revoke ▼ ▼                   ▼ revoke
//!                                          revoked ◄────────────────┘
//! ```
//!
//! An active or suspended credential is expired from its `expires` on, without any change of what is kept; `renew` gives it a
//! later end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::certs::time::Timestamp;

/// The state as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum State {
    /// It waits for a decision.
    Requested {
        /// Since when.
        since: Timestamp,
    },
    /// It may be issued.
    Approved {
        /// Since when.
        since: Timestamp,
    },
    /// It was refused.
    Denied {
        /// Since when.
        since: Timestamp,
        /// Why, for the consumer; perhaps empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// It is in force until it expires.
    Active {
        /// Since when.
        since: Timestamp,
        /// When it was issued.
        issued: Timestamp,
        /// From when on it is expired; `None`: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// It is not in force for a while.
    Suspended {
        /// Since when.
        since: Timestamp,
        /// Why; perhaps empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// When it was issued.
        issued: Timestamp,
        /// From when on it is expired, suspended or not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// It has ended for good.
    Revoked {
        /// Since when.
        since: Timestamp,
        /// Why; perhaps empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
}

/// The validity of an issued credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// When it was issued.
    pub issued: Timestamp,
    /// From when on it is expired; `None`: never.
    pub expires: Option<Timestamp>,
}

/// What a credential is at a moment: its state, or that it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    Requested,
    Approved,
    Denied,
    Active,
    Suspended,
    Expired,
    Revoked,
}

impl Standing {
    pub(crate) const ALL: [Self; 7] = [
        Self::Requested,
        Self::Approved,
        Self::Denied,
        Self::Active,
        Self::Suspended,
        Self::Expired,
        Self::Revoked,
    ];

    /// As it is written.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A state from which the transition is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotFrom(pub Standing);

impl State {
    /// What it is at `now`.
    pub(crate) fn standing(&self, now: Timestamp) -> Standing {
        let expired = |expires: &Option<Timestamp>| expires.is_some_and(|expires| expires <= now);
        match self {
            Self::Requested { .. } => Standing::Requested,
            Self::Approved { .. } => Standing::Approved,
            Self::Denied { .. } => Standing::Denied,
            Self::Active { expires, .. } | Self::Suspended { expires, .. } if expired(expires) => {
                Standing::Expired
            }
            Self::Active { .. } => Standing::Active,
            Self::Suspended { .. } => Standing::Suspended,
            Self::Revoked { .. } => Standing::Revoked,
        }
    }

    /// Since when it is in this state.
    pub(crate) fn since(&self) -> Timestamp {
        match self {
            Self::Requested { since }
            | Self::Approved { since }
            | Self::Denied { since, .. }
            | Self::Active { since, .. }
            | Self::Suspended { since, .. }
            | Self::Revoked { since, .. } => *since,
        }
    }

    /// The validity of what was issued and not revoked.
    pub(crate) fn term(&self) -> Option<Term> {
        match self {
            Self::Active { issued, expires, .. } | Self::Suspended { issued, expires, .. } => {
                Some(Term { issued: *issued, expires: *expires })
            }
            Self::Requested { .. } | Self::Approved { .. } | Self::Denied { .. } | Self::Revoked { .. } => {
                None
            }
        }
    }

    /// Why it is denied, suspended or revoked; perhaps empty.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Denied { reason, .. } | Self::Suspended { reason, .. } | Self::Revoked { reason, .. } => {
                reason
            }
            Self::Requested { .. } | Self::Approved { .. } | Self::Active { .. } => "",
        }
    }

    /// A request is approved.
    pub(crate) fn approve(self, now: Timestamp) -> Result<Self, NotFrom> {
        match self {
            Self::Requested { .. } => Ok(Self::Approved { since: now }),
            other => Err(NotFrom(other.standing(now))),
        }
    }

    /// A request is refused, also one that was approved and not issued yet.
    pub(crate) fn deny(self, reason: String, now: Timestamp) -> Result<Self, NotFrom> {
        match self {
            Self::Requested { .. } | Self::Approved { .. } => Ok(Self::Denied { since: now, reason }),
            other => Err(NotFrom(other.standing(now))),
        }
    }

    /// What was approved is in force.
    pub(crate) fn issue(self, expires: Option<Timestamp>, now: Timestamp) -> Result<Self, NotFrom> {
        match self {
            Self::Approved { .. } => Ok(Self::Active { since: now, issued: now, expires }),
            other => Err(NotFrom(other.standing(now))),
        }
    }

    /// What is active is out of force for a while.
    pub(crate) fn suspend(self, reason: String, now: Timestamp) -> Result<Self, NotFrom> {
        match (self.standing(now), self) {
            (Standing::Active, Self::Active { issued, expires, .. }) => {
                Ok(Self::Suspended { since: now, reason, issued, expires })
            }
            (standing, _) => Err(NotFrom(standing)),
        }
    }

    /// What was suspended is in force again.
    pub(crate) fn resume(self, now: Timestamp) -> Result<Self, NotFrom> {
        match (self.standing(now), self) {
            (Standing::Suspended, Self::Suspended { issued, expires, .. }) => {
                Ok(Self::Active { since: now, issued, expires })
            }
            (standing, _) => Err(NotFrom(standing)),
        }
    }

    /// What was issued gets another end. What is suspended stays so.
    pub(crate) fn renew(self, expires: Option<Timestamp>, now: Timestamp) -> Result<Self, NotFrom> {
        match self {
            Self::Active { since, issued, .. } => Ok(Self::Active { since, issued, expires }),
            Self::Suspended { since, reason, issued, .. } => {
                Ok(Self::Suspended { since, reason, issued, expires })
            }
            other => Err(NotFrom(other.standing(now))),
        }
    }

    /// It ends for good.
    pub(crate) fn revoke(self, reason: String, now: Timestamp) -> Result<Self, NotFrom> {
        match self {
            Self::Active { .. } | Self::Suspended { .. } | Self::Approved { .. } => {
                Ok(Self::Revoked { since: now, reason })
            }
            other => Err(NotFrom(other.standing(now))),
        }
    }
}
