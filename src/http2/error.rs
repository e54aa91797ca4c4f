//! What can be wrong with what a peer sends, a variant per violation, and what each of them costs.

use std::fmt;

/// An error code of RST_STREAM and GOAWAY (RFC 9113 §7). Codes without a name here are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// NO_ERROR
    pub const NO_ERROR: Self = Self(0x0);
    /// PROTOCOL_ERROR
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// INTERNAL_ERROR
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// FLOW_CONTROL_ERROR
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS_TIMEOUT
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// STREAM_CLOSED
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// FRAME_SIZE_ERROR
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// REFUSED_STREAM: the request was not processed and may be sent again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// CANCEL
    pub const CANCEL: Self = Self(0x8);
    /// COMPRESSION_ERROR
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// CONNECT_ERROR
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// ENHANCE_YOUR_CALM
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// INADEQUATE_SECURITY
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// HTTP_1_1_REQUIRED
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The name in the RFC's registry, `None` for a code that is not in it.
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        usize::try_from(self.0).ok().and_then(|code| NAMES.get(code)).copied()
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// What a violation ends (RFC 9113 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The connection, by GOAWAY.
    Connection,
    /// One stream, by RST_STREAM.
    Stream,
}

/// A header block that cannot be decoded (RFC 7541). The compression state of both sides differs from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpackError {
    /// The block ends within a representation.
    Truncated,
    /// An integer beyond 2^32 - 1, or with more bytes than such a number needs (§5.1).
    IntegerTooLarge,
    /// Index 0 (§6.1).
    IndexZero,
    /// An index beyond both tables (§2.3.3).
    IndexUnknown,
    /// A table size above what SETTINGS_HEADER_TABLE_SIZE allows (§6.3).
    TableSizeTooLarge,
    /// A table size update behind the first field, or the third one of a block (§4.2).
    TableSizeMisplaced,
    /// SETTINGS_HEADER_TABLE_SIZE was lowered, and the next block does not begin with a table size update (§4.2).
    TableSizeMissing,
    /// A string with the EOS symbol in it (§5.2).
    HuffmanEos,
    /// Padding of more than 7 bits, or not of ones (§5.2).
    HuffmanPadding,
}

impl HpackError {
    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "header block ends within a field",
            Self::IntegerTooLarge => "integer too large in a header block",
            Self::IndexZero => "header index 0",
            Self::IndexUnknown => "header index beyond the tables",
            Self::TableSizeTooLarge => "header table size above its setting",
            Self::TableSizeMisplaced => "header table size update in a wrong place",
            Self::TableSizeMissing => "header table size not lowered to its setting",
            Self::HuffmanEos => "EOS in a Huffman string",
            Self::HuffmanPadding => "invalid padding of a Huffman string",
        }
    }
}

/// A message that is not well-formed (RFC 9113 §8.1.1): nothing of it may be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A field name with an upper-case letter (§8.2.1).
    NameUpperCase,
    /// A field name that is not a token.
    NameInvalid,
    /// A field value with CR, LF, NUL or another control character.
    ValueInvalid,
    /// A field value with white space at either end (§8.2.1).
    ValueSpace,
    /// Connection, Proxy-Connection, Keep-Alive, Transfer-Encoding or Upgrade (§8.2.2).
    ConnectionSpecific,
    /// TE with another value than `trailers` (§8.2.2).
    Te,
    /// A pseudo-field behind a field (§8.3).
    PseudoLate,
    /// A pseudo-field that is not defined, or not for this kind of message (§8.3).
    PseudoUnknown,
    /// A pseudo-field twice (§8.3).
    PseudoRepeated,
    /// A required pseudo-field is missing (§8.3.1, §8.3.2).
    PseudoMissing,
    /// A pseudo-field in a trailer section (§8.1).
    PseudoInTrailers,
    /// `:path` or `:scheme` in a CONNECT, or `:protocol` in another request (§8.5, RFC 8441 §4).
    PseudoForbidden,
    /// Extended CONNECT without SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
    ConnectProtocol,
    /// `:method` is not a token.
    Method,
    /// `:scheme` is not a scheme.
    Scheme,
    /// `:path` is empty, does not begin with `/`, or holds a byte that no target may hold.
    Path,
    /// `:authority` or Host is not `host[:port]`.
    Authority,
    /// Neither `:authority` nor Host.
    AuthorityMissing,
    /// Host twice.
    HostRepeated,
    /// Host and `:authority` differ (§8.3.1).
    HostDiffers,
    /// `:status` is not three digits from 100 on.
    Status,
    /// 101 (§8.6).
    SwitchingProtocols,
    /// An interim response that ends its stream (§8.1).
    InterimEnds,
    /// More interim responses than [`MAX_INTERIM_RESPONSES`](crate::base::limits::MAX_INTERIM_RESPONSES).
    TooManyInterim,
    /// Content-Length twice, alike or not.
    LengthRepeated,
    /// A Content-Length that is not one number.
    LengthInvalid,
    /// More DATA than Content-Length, or DATA where the message has no content (§8.1.1).
    LengthExceeded,
    /// Less DATA than Content-Length (§8.1.1).
    LengthShort,
    /// `content_length` and the like, which some backends take for the field itself.
    LookAlike,
    /// DATA before the head.
    DataBeforeHead,
    /// A second HEADERS without END_STREAM (§8.1).
    TrailersNotLast,
}

impl Malformed {
    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NameUpperCase => "upper case in a field name",
            Self::NameInvalid => "field name is not a token",
            Self::ValueInvalid => "control character in a field value",
            Self::ValueSpace => "white space at an end of a field value",
            Self::ConnectionSpecific => "connection-specific field",
            Self::Te => "TE other than trailers",
            Self::PseudoLate => "pseudo-field behind a field",
            Self::PseudoUnknown => "unknown pseudo-field",
            Self::PseudoRepeated => "pseudo-field repeated",
            Self::PseudoMissing => "pseudo-field missing",
            Self::PseudoInTrailers => "pseudo-field in trailers",
            Self::PseudoForbidden => "pseudo-field that the method excludes",
            Self::ConnectProtocol => "extended CONNECT that was not offered",
            Self::Method => "method is not a token",
            Self::Scheme => "invalid scheme",
            Self::Path => "invalid path",
            Self::Authority => "invalid authority",
            Self::AuthorityMissing => "authority missing",
            Self::HostRepeated => "Host repeated",
            Self::HostDiffers => "Host differs from the authority",
            Self::Status => "invalid status",
            Self::SwitchingProtocols => "101 in HTTP/2",
            Self::InterimEnds => "interim response ends the stream",
            Self::TooManyInterim => "too many interim responses",
            Self::LengthRepeated => "Content-Length repeated",
            Self::LengthInvalid => "Content-Length is not a number",
            Self::LengthExceeded => "more content than Content-Length",
            Self::LengthShort => "less content than Content-Length",
            Self::LookAlike => "a field that some take for Content-Length or Transfer-Encoding",
            Self::DataBeforeHead => "DATA before the head",
            Self::TrailersNotLast => "trailers do not end the stream",
        }
    }
}

/// A bound against a peer that makes work without use. Each has its figures in [`Floods`](super::Floods).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Streams that the peer opened and reset: rapid reset, CVE-2023-44487.
    ResetsReceived,
    /// Streams that the peer made us reset: MadeYouReset, CVE-2025-8671.
    ResetsProvoked,
    /// Streams beyond SETTINGS_MAX_CONCURRENT_STREAMS, or opened during a shutdown.
    StreamsRefused,
    /// SETTINGS, and GOAWAY: CVE-2019-9515.
    Settings,
    /// PING: CVE-2019-9512.
    Pings,
    /// DATA without content: CVE-2019-9518.
    EmptyData,
    /// WINDOW_UPDATE.
    WindowUpdates,
    /// PRIORITY and PRIORITY_UPDATE: CVE-2019-9513.
    Priorities,
    /// Frames on streams that are closed.
    ClosedStreams,
    /// Frames of unknown types.
    UnknownFrames,
    /// Heads beyond the header list's bound.
    HeadsTooLarge,
    /// Entries that leave the table of header compression, and changes of its size.
    Table,
    /// CONTINUATION frames of one header block: CVE-2024-27316 and its like.
    Continuations,
    /// Bytes of one header block, encoded or decoded: HPACK bombs, CVE-2016-6581.
    HeaderBlock,
}

impl Flood {
    /// The bound that was met, in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ResetsReceived => "too many streams reset",
            Self::ResetsProvoked => "too many stream errors",
            Self::StreamsRefused => "too many streams beyond the limit",
            Self::Settings => "too many SETTINGS frames",
            Self::Pings => "too many PING frames",
            Self::EmptyData => "too many empty DATA frames",
            Self::WindowUpdates => "too many WINDOW_UPDATE frames",
            Self::Priorities => "too many PRIORITY frames",
            Self::ClosedStreams => "too many frames on closed streams",
            Self::UnknownFrames => "too many frames of unknown types",
            Self::HeadsTooLarge => "too many heads that are too large",
            Self::Table => "too many entries put into the table of header compression and evicted",
            Self::Continuations => "too many CONTINUATION frames",
            Self::HeaderBlock => "header block too long",
        }
    }
}

/// What a peer did that RFC 9113, RFC 7541, RFC 8441 or RFC 9218 forbids, or that a bound of ours ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The connection does not begin with the client's preface (§3.4).
    Preface,
    /// The first frame is not SETTINGS (§3.4).
    SettingsNotFirst,
    /// A frame longer than SETTINGS_MAX_FRAME_SIZE (§4.2).
    FrameTooLong,
    /// A frame whose length its type does not allow (§6.4, §6.5, §6.7, §6.8, §6.9).
    FrameLength,
    /// A frame on stream 0 whose type needs a stream.
    StreamZero,
    /// A frame on a stream whose type is for the connection.
    StreamNotZero,
    /// Padding as long as its frame, or longer (§6.1, §6.2).
    Padding,
    /// A stream id of the wrong parity (§5.1.1).
    StreamParity,
    /// A new stream with an id below one that is in use already (§5.1.1).
    StreamOrder,
    /// A frame on an idle stream whose type does not open one (§5.1).
    StreamIdle,
    /// Another frame within a header block (§6.2, §6.10).
    BlockInterrupted,
    /// CONTINUATION outside of a header block (§6.10).
    ContinuationUnexpected,
    /// The header block cannot be decoded (§4.3).
    Hpack(HpackError),
    /// SETTINGS with ACK that answers none of ours.
    SettingsAckUnexpected,
    /// SETTINGS_ENABLE_PUSH other than 0 and 1, or 1 from a server (§6.5.2).
    SettingEnablePush,
    /// SETTINGS_INITIAL_WINDOW_SIZE above 2^31 - 1 (§6.5.2).
    SettingInitialWindow,
    /// SETTINGS_MAX_FRAME_SIZE below 2^14 or above 2^24 - 1 (§6.5.2).
    SettingMaxFrame,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL other than 0 and 1, or back from 1 to 0 (RFC 8441 §3).
    SettingConnectProtocol,
    /// SETTINGS_NO_RFC7540_PRIORITIES other than 0 and 1 (RFC 9218 §2.1).
    SettingNoPriorities,
    /// PUSH_PROMISE, which no client may send and this one refuses (§8.4).
    PushPromise,
    /// GOAWAY with a higher last stream than the one before (§6.8).
    GoAwayIncreased,
    /// PRIORITY_UPDATE to a client, or for a stream that no client opens (RFC 9218 §7.1).
    PriorityUpdate,
    /// WINDOW_UPDATE of 0 for the connection (§6.9).
    ConnectionWindowZero,
    /// The connection's window grows beyond 2^31 - 1 (§6.9.1).
    ConnectionWindowOverflow,
    /// More DATA than the connection's window allows (§6.9.1).
    ConnectionWindowExceeded,
    /// SETTINGS_INITIAL_WINDOW_SIZE makes a stream's window grow beyond 2^31 - 1 (§6.9.2).
    SettingsWindowOverflow,
    /// HEADERS on a stream that both sides have ended (§5.1).
    StreamClosed,
    /// A bound against floods was met.
    Flood(Flood),

    /// HEADERS or DATA behind END_STREAM (§5.1).
    StreamEnded,
    /// WINDOW_UPDATE of 0 for a stream (§6.9).
    StreamWindowZero,
    /// A stream's window grows beyond 2^31 - 1 (§6.9.1).
    StreamWindowOverflow,
    /// More DATA than the stream's window allows (§6.9.1).
    StreamWindowExceeded,
    /// PRIORITY of another length than 5 (§6.3).
    PriorityLength,
    /// A stream that depends on itself (RFC 7540 §5.3.1).
    SelfDependency,
    /// A stream beyond SETTINGS_MAX_CONCURRENT_STREAMS (§5.1.2).
    StreamLimit,
    /// A stream opened behind the last one that GOAWAY named (§6.8).
    GoingAway,
    /// A response's head or a trailer section beyond the header list's bound (§10.5.1).
    HeaderListTooLarge,
    /// The message is malformed (§8.1.1).
    Malformed(Malformed),
}

impl Violation {
    /// The error code to send, and what it ends. The one place where violations get their price.
    pub fn verdict(self) -> (ErrorCode, Scope) {
        use Scope::{Connection, Stream};
        match self {
            Self::Preface
            | Self::SettingsNotFirst
            | Self::StreamZero
            | Self::StreamNotZero
            | Self::Padding
            | Self::StreamParity
            | Self::StreamOrder
            | Self::StreamIdle
            | Self::BlockInterrupted
            | Self::ContinuationUnexpected
            | Self::SettingsAckUnexpected
            | Self::SettingEnablePush
            | Self::SettingMaxFrame
            | Self::SettingConnectProtocol
            | Self::SettingNoPriorities
            | Self::PushPromise
            | Self::GoAwayIncreased
            | Self::PriorityUpdate
            | Self::ConnectionWindowZero => (ErrorCode::PROTOCOL_ERROR, Connection),
            Self::FrameTooLong | Self::FrameLength => (ErrorCode::FRAME_SIZE_ERROR, Connection),
            Self::Hpack(_) => (ErrorCode::COMPRESSION_ERROR, Connection),
            Self::SettingInitialWindow
            | Self::ConnectionWindowOverflow
            | Self::ConnectionWindowExceeded
            | Self::SettingsWindowOverflow => (ErrorCode::FLOW_CONTROL_ERROR, Connection),
            Self::StreamClosed => (ErrorCode::STREAM_CLOSED, Connection),
            Self::Flood(_) => (ErrorCode::ENHANCE_YOUR_CALM, Connection),
            Self::StreamEnded => (ErrorCode::STREAM_CLOSED, Stream),
            Self::StreamWindowOverflow | Self::StreamWindowExceeded => {
                (ErrorCode::FLOW_CONTROL_ERROR, Stream)
            }
            Self::PriorityLength => (ErrorCode::FRAME_SIZE_ERROR, Stream),
            Self::StreamLimit | Self::GoingAway => (ErrorCode::REFUSED_STREAM, Stream),
            Self::HeaderListTooLarge => (ErrorCode::ENHANCE_YOUR_CALM, Stream),
            Self::StreamWindowZero | Self::SelfDependency | Self::Malformed(_) => {
                (ErrorCode::PROTOCOL_ERROR, Stream)
            }
        }
    }

    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Preface => "not the HTTP/2 connection preface",
            Self::SettingsNotFirst => "first frame is not SETTINGS",
            Self::FrameTooLong => "frame longer than SETTINGS_MAX_FRAME_SIZE",
            Self::FrameLength => "frame length does not fit its type",
            Self::StreamZero => "frame needs a stream",
            Self::StreamNotZero => "frame of the connection on a stream",
            Self::Padding => "padding longer than its frame",
            Self::StreamParity => "stream id of the wrong parity",
            Self::StreamOrder => "stream id below one in use",
            Self::StreamIdle => "frame on an idle stream",
            Self::BlockInterrupted => "frame within a header block",
            Self::ContinuationUnexpected => "CONTINUATION outside of a header block",
            Self::Hpack(error) => error.reason(),
            Self::SettingsAckUnexpected => "SETTINGS acknowledged that were not sent",
            Self::SettingEnablePush => "invalid SETTINGS_ENABLE_PUSH",
            Self::SettingInitialWindow => "invalid SETTINGS_INITIAL_WINDOW_SIZE",
            Self::SettingMaxFrame => "invalid SETTINGS_MAX_FRAME_SIZE",
            Self::SettingConnectProtocol => "invalid SETTINGS_ENABLE_CONNECT_PROTOCOL",
            Self::SettingNoPriorities => "invalid SETTINGS_NO_RFC7540_PRIORITIES",
            Self::PushPromise => "PUSH_PROMISE that is not allowed",
            Self::GoAwayIncreased => "GOAWAY with a higher last stream than before",
            Self::PriorityUpdate => "PRIORITY_UPDATE that is not allowed",
            Self::ConnectionWindowZero | Self::StreamWindowZero => "WINDOW_UPDATE of 0",
            Self::ConnectionWindowOverflow | Self::StreamWindowOverflow | Self::SettingsWindowOverflow => {
                "window beyond 2^31 - 1"
            }
            Self::ConnectionWindowExceeded | Self::StreamWindowExceeded => "DATA beyond the window",
            Self::StreamClosed => "frame on a closed stream",
            Self::Flood(flood) => flood.reason(),
            Self::StreamEnded => "frame behind END_STREAM",
            Self::PriorityLength => "PRIORITY of a wrong length",
            Self::SelfDependency => "stream depends on itself",
            Self::StreamLimit => "too many concurrent streams",
            Self::GoingAway => "stream opened during shutdown",
            Self::HeaderListTooLarge => "header list too large",
            Self::Malformed(error) => error.reason(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Violation {}

impl From<HpackError> for Violation {
    fn from(error: HpackError) -> Self {
        Self::Hpack(error)
    }
}

impl From<Malformed> for Violation {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// Why something cannot be sent. Nothing was written, and the connection continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The stream is closed or was reset, or the connection has failed.
    Closed,
    /// The stream's state does not allow it: DATA before the head, or anything behind END_STREAM.
    State,
    /// A field name or value that HTTP/2 cannot carry.
    Field,
    /// The head is larger than the peer's SETTINGS_MAX_HEADER_LIST_SIZE.
    HeaderListTooLarge,
    /// The peer takes no further stream at the moment (§5.1.2).
    StreamLimit,
    /// The connection is going away: a new stream needs another one (§6.8).
    GoingAway,
    /// All stream ids are used up: a new stream needs another connection (§5.1.1).
    StreamIds,
    /// The peer does not serve extended CONNECT (RFC 8441 §3).
    ConnectProtocol,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "stream closed",
            Self::State => "not allowed in the stream's state",
            Self::Field => "field cannot be sent over HTTP/2",
            Self::HeaderListTooLarge => "head larger than the peer's SETTINGS_MAX_HEADER_LIST_SIZE",
            Self::StreamLimit => "the peer's stream limit is reached",
            Self::GoingAway => "connection is going away",
            Self::StreamIds => "stream ids used up",
            Self::ConnectProtocol => "the peer does not serve extended CONNECT",
        })
    }
}

impl std::error::Error for SendError {}
