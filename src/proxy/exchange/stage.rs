//! How far an exchange is: its request on the way to the backend, its response on the way to the client.

use std::cell::Cell;

/// What an exchange waits for, so that an expired deadline shows which side was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Bytes of the request's body.
    ClientBody,
    /// The backend to take the request.
    BackendWrite,
    /// The head of the response.
    BackendHead,
    /// Bytes of the response's body.
    BackendBody,
    /// The client to take the response.
    ClientWrite,
}

/// How far the request of an exchange is.
///
/// ```text
///   ┌───────────── the request is sent once more ────────────┐
///   ▼                                                        │
/// First ──────────── its body was at hand ──────────────► Sent, Refused
///   │                                                        ▲
///   ├──► Reading ◄──► Writing ──────── to its end ───────────┤
///   │       ▲                                                │
///   └──► Expecting: a 100, or the body without one ──────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadStage {
    /// Its head and what is at hand of its body go to the backend.
    First,
    /// The client waits for a 100 before it sends the body.
    Expecting,
    /// The next part of its body is to arrive from the client.
    Reading,
    /// A part of its body goes to the backend.
    Writing,
    /// The backend has taken all of it.
    Sent {
        /// Whether the client had sent more by then.
        ahead: bool,
    },
    /// The backend has not taken all of it, and may say why.
    Refused,
}

/// How far the response of an exchange is.
///
/// ```text
/// Silent ──► Heard ──► Begun: a failure cuts the response
///    ▲         │
///    └─────────┘ the request is sent once more
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseStage {
    /// Nothing has come from the backend: the request may be sent again.
    Silent,
    /// Something has come, and nothing of a final response has gone to the client: a failure is still answered.
    Heard,
    /// The final response goes to the client.
    Begun {
        /// Whether the message itself tells where its body ends; if not, the connection's end does.
        framed: bool,
        /// Whether the client has yet to take a part of it; if not, the next part is to arrive from the backend.
        writing: bool,
    },
}

/// The stage of a body that is on its way, whatever the other one does beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyStage<'a> {
    /// A request's.
    Upload(&'a Cell<UploadStage>),
    /// A response's.
    Download(&'a Cell<ResponseStage>),
}

impl BodyStage<'_> {
    /// The body waits for this.
    pub(crate) fn enter(self, phase: Phase) {
        match self {
            Self::Upload(stage) => stage.set(match phase {
                Phase::BackendHead => UploadStage::Expecting,
                Phase::ClientBody => UploadStage::Reading,
                Phase::BackendWrite | Phase::BackendBody | Phase::ClientWrite => UploadStage::Writing,
            }),
            Self::Download(stage) => {
                if let ResponseStage::Begun { framed, .. } = stage.get() {
                    stage.set(ResponseStage::Begun { framed, writing: phase == Phase::ClientWrite });
                }
            }
        }
    }

    /// What the body waits for.
    pub(crate) fn phase(self) -> Phase {
        match self {
            Self::Upload(stage) => match stage.get() {
                UploadStage::Reading => Phase::ClientBody,
                UploadStage::First | UploadStage::Writing => Phase::BackendWrite,
                UploadStage::Expecting | UploadStage::Sent { .. } | UploadStage::Refused => {
                    Phase::BackendHead
                }
            },
            Self::Download(stage) => match stage.get() {
                ResponseStage::Begun { writing: true, .. } => Phase::ClientWrite,
                _ => Phase::BackendBody,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_waits_for_what_its_stage_says() {
        let upload = Cell::new(UploadStage::First);
        let body = BodyStage::Upload(&upload);
        assert_eq!(body.phase(), Phase::BackendWrite);
        for (phase, stage) in [
            (Phase::BackendHead, UploadStage::Expecting),
            (Phase::ClientBody, UploadStage::Reading),
            (Phase::BackendWrite, UploadStage::Writing),
        ] {
            body.enter(phase);
            assert_eq!((upload.get(), body.phase()), (stage, phase));
        }
        let response = Cell::new(ResponseStage::Heard);
        let body = BodyStage::Download(&response);
        body.enter(Phase::ClientWrite);
        assert_eq!((response.get(), body.phase()), (ResponseStage::Heard, Phase::BackendBody));
        response.set(ResponseStage::Begun { framed: false, writing: true });
        for (phase, writing) in [(Phase::BackendBody, false), (Phase::ClientWrite, true)] {
            assert_ne!(body.phase(), phase);
            body.enter(phase);
            assert_eq!(
                (response.get(), body.phase()),
                (ResponseStage::Begun { framed: false, writing }, phase)
            );
        }
    }
}
