//! The states of a stream (RFC 9113 §5.1), with the parts of the message that each direction has passed (§8.1).
//!
//! ```text
//!                      ┌────────┐
//!                      │  idle  │  no stream is kept for it
//!                      └───┬────┘
//!            HEADERS sent  │  HEADERS received
//!                      ┌───▼────┐
//!   END_STREAM received│        │END_STREAM sent
//!             ┌────────┤  open  ├────────┐
//!             │        │        │        │
//!  ┌──────────▼──┐     └───┬────┘    ┌───▼─────────┐
//!  │ half-closed │         │         │ half-closed │
//!  │  (remote)   │     RST_STREAM    │   (local)   │
//!  └──────────┬──┘         │         └───┬─────────┘
//!             │        ┌───▼────┐        │
//!             └───────►│ closed │◄───────┘
//!  END_STREAM sent,    └────────┘    END_STREAM received,
//!  or RST_STREAM                     or RST_STREAM
//! ```
//!
//! The reserved states belong to server push, which neither role here takes part in.

use super::error::{Malformed, SendError, Violation};

/// What a direction that is open carries next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// HEADERS with the message's head, or an interim response.
    Head,
    /// DATA, or HEADERS with trailers.
    Body,
}

/// A stream's state. A transition takes the state, and returns the next one or what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open { local: Part, remote: Part },
    HalfClosedLocal { remote: Part },
    HalfClosedRemote { local: Part },
    Closed,
}

/// What a HEADERS frame is in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Head,
    Trailers,
}

impl State {
    /// The part that the peer sends next.
    fn remote(self) -> Result<Part, Violation> {
        match self {
            Self::Open { remote, .. } | Self::HalfClosedLocal { remote } => Ok(remote),
            Self::HalfClosedRemote { .. } | Self::Closed => Err(Violation::StreamEnded),
        }
    }

    /// The part that we send next.
    fn local(self) -> Result<Part, SendError> {
        match self {
            Self::Open { local, .. } | Self::HalfClosedRemote { local } => Ok(local),
            Self::HalfClosedLocal { .. } => Err(SendError::State),
            Self::Closed => Err(SendError::Closed),
        }
    }

    fn with_remote(self, remote: Part) -> Self {
        match self {
            Self::Open { local, .. } => Self::Open { local, remote },
            Self::HalfClosedLocal { .. } => Self::HalfClosedLocal { remote },
            ended => ended,
        }
    }

    fn with_local(self, local: Part) -> Self {
        match self {
            Self::Open { remote, .. } => Self::Open { local, remote },
            Self::HalfClosedRemote { .. } => Self::HalfClosedRemote { local },
            ended => ended,
        }
    }

    /// The peer's END_STREAM.
    pub(super) fn end_remote(self) -> Self {
        match self {
            Self::Open { local, .. } => Self::HalfClosedRemote { local },
            Self::HalfClosedLocal { .. } | Self::Closed => Self::Closed,
            half @ Self::HalfClosedRemote { .. } => half,
        }
    }

    /// Our END_STREAM.
    fn end_local(self) -> Self {
        match self {
            Self::Open { remote, .. } => Self::HalfClosedLocal { remote },
            Self::HalfClosedRemote { .. } | Self::Closed => Self::Closed,
            half @ Self::HalfClosedLocal { .. } => half,
        }
    }

    /// What HEADERS from the peer are here.
    pub(super) fn section(self, end_stream: bool) -> Result<Section, Violation> {
        match self.remote()? {
            Part::Head => Ok(Section::Head),
            Part::Body if end_stream => Ok(Section::Trailers),
            Part::Body => Err(Malformed::TrailersNotLast.into()),
        }
    }

    /// The peer's head. An interim response leaves the state as it is.
    pub(super) fn receive_head(self, interim: bool, end_stream: bool) -> Self {
        match (interim, end_stream) {
            (_, true) => self.end_remote(),
            (true, false) => self,
            (false, false) => self.with_remote(Part::Body),
        }
    }

    /// Whether DATA may be received now.
    pub(super) fn receive_data(self) -> Result<(), Violation> {
        match self.remote()? {
            Part::Head => Err(Malformed::DataBeforeHead.into()),
            Part::Body => Ok(()),
        }
    }

    /// Our head.
    pub(super) fn send_head(self, interim: bool, end_stream: bool) -> Result<Self, SendError> {
        match self.local()? {
            Part::Body => Err(SendError::State),
            Part::Head if end_stream => Ok(self.end_local()),
            Part::Head if interim => Ok(self),
            Part::Head => Ok(self.with_local(Part::Body)),
        }
    }

    /// Our DATA or trailers.
    pub(super) fn send_body(self, end_stream: bool) -> Result<Self, SendError> {
        match self.local()? {
            Part::Head => Err(SendError::State),
            Part::Body if end_stream => Ok(self.end_local()),
            Part::Body => Ok(self),
        }
    }

    /// Whether the peer has ended its direction.
    pub(super) fn is_remote_ended(self) -> bool {
        matches!(self, Self::HalfClosedRemote { .. } | Self::Closed)
    }

    /// Whether we have ended our direction.
    pub(super) fn is_local_ended(self) -> bool {
        matches!(self, Self::HalfClosedLocal { .. } | Self::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: State = State::Open { local: Part::Head, remote: Part::Head };

    #[test]
    fn a_request_and_its_response_pass_the_states_in_order() {
        let served = OPEN.receive_head(false, false);
        assert_eq!(served.section(true), Ok(Section::Trailers));
        assert_eq!(served.section(false), Err(Malformed::TrailersNotLast.into()));
        assert_eq!(served.receive_data(), Ok(()));
        let ended = served.end_remote();
        assert_eq!(ended, State::HalfClosedRemote { local: Part::Head });
        assert_eq!(ended.receive_data(), Err(Violation::StreamEnded));
        assert_eq!(ended.send_body(true), Err(SendError::State));
        let ended = ended.send_head(true, false).unwrap().send_head(false, false).unwrap();
        assert_eq!(ended.send_head(false, true), Err(SendError::State));
        let ended = ended.send_body(false).unwrap().send_body(true).unwrap();
        assert_eq!((ended, ended.send_body(true)), (State::Closed, Err(SendError::Closed)));
    }

    #[test]
    fn a_response_may_end_before_its_request() {
        let early = OPEN.receive_head(false, false).send_head(false, true).unwrap();
        assert_eq!(early, State::HalfClosedLocal { remote: Part::Body });
        assert_eq!(early.send_body(false), Err(SendError::State));
        assert_eq!(early.receive_data(), Ok(()));
        assert_eq!(early.end_remote(), State::Closed);
    }

    #[test]
    fn an_interim_response_changes_nothing() {
        let asked = State::HalfClosedLocal { remote: Part::Head };
        assert_eq!(asked.receive_head(true, false), asked);
        assert_eq!(asked.receive_data(), Err(Malformed::DataBeforeHead.into()));
    }
}
