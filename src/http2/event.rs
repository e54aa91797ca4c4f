//! What a connection reports to its caller.

use std::fmt;
use std::ops::Range;

use super::error::{ErrorCode, SendError, Violation};

/// A stream's id (RFC 9113 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) u32);

impl StreamId {
    /// The id with this number, which may be of no stream.
    pub fn new(id: u32) -> Self {
        Self(id)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What became of the bytes that were handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// So many bytes at the beginning were used up.
    pub consumed: usize,
    /// What they brought. `None`: the rest of the input is part of a frame that is not whole yet.
    pub event: Option<Event>,
}

/// What a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// A request: a new stream.
    Request,
    /// An interim (1xx) response: another head follows.
    Interim,
    /// The final response.
    Response,
}

/// Why a stream ended before its time. It is closed, and nothing can be sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// The peer's RST_STREAM.
    Peer(ErrorCode),
    /// An error of the peer: RST_STREAM was written.
    Violation(Violation),
    /// The peer's GOAWAY: it did not process the request, which may be sent again on another connection (§6.8).
    NotProcessed,
}

/// Why a stream can be used no further, for those that read and write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// It was reset.
    Reset(ResetCause),
    /// Its connection has failed by an error of the peer.
    Failed(Violation),
    /// Its connection was closed or lost.
    Lost,
    /// It cannot be sent what it was given.
    Send(SendError),
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(ResetCause::Peer(code)) => write!(f, "the peer reset the stream: {code:?}"),
            Self::Reset(ResetCause::Violation(violation)) => violation.fmt(f),
            Self::Reset(ResetCause::NotProcessed) => {
                f.write_str("the peer ended the connection before it processed the request (GOAWAY)")
            }
            Self::Failed(violation) => write!(f, "the connection failed: {violation}"),
            Self::Lost => f.write_str("the connection was closed"),
            Self::Send(error) => error.fmt(f),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A head: its fields are in the field list that was lent, until the next call.
    Head {
        /// A new one for a request.
        stream: StreamId,
        /// What it is the head of.
        kind: HeadKind,
        /// The message has neither content nor trailers.
        end_stream: bool,
    },
    /// A request's head beyond the bounds of its field list, which is not complete. The stream is open, for a response with
    /// status 431.
    HeadTooLarge {
        /// A new stream.
        stream: StreamId,
        /// The message has neither content nor trailers.
        end_stream: bool,
    },
    /// Content. Each byte is owed to [`Connection::consume`](super::Connection::consume).
    Data {
        /// Whose.
        stream: StreamId,
        /// Where it is in the input of this call. It may be empty where `end_stream` is set.
        data: Range<usize>,
        /// It is the end of the message.
        end_stream: bool,
    },
    /// A trailer section: its fields are in the field list that was lent, until the next call. It ends the message.
    Trailers {
        /// Whose.
        stream: StreamId,
    },
    /// A stream ended before its time.
    Reset {
        /// Which one.
        stream: StreamId,
        /// Why.
        cause: ResetCause,
    },
    /// A stream error on a stream that the caller does not know: a request that is malformed or beyond a limit, or a frame on
    /// a closed stream. RST_STREAM was written. Nothing is to be done but to count it.
    Refused {
        /// Which one.
        stream: StreamId,
        /// What is wrong.
        violation: Violation,
    },
    /// A window that was shut is open.
    WindowAvailable {
        /// Whose; `None`: the connection's.
        stream: Option<StreamId>,
    },
    /// The peer changed its settings.
    Settings,
    /// The client changed a response's priority.
    Priority {
        /// Whose.
        stream: StreamId,
    },
    /// The peer answered our PING.
    Pong {
        /// What the PING carried.
        payload: [u8; 8],
    },
    /// The peer takes no new streams. Those above `last` follow as [`ResetCause::NotProcessed`].
    GoAway {
        /// The highest id that it has processed or may still process.
        last: StreamId,
        /// Why.
        code: ErrorCode,
    },
}
