//! What can be wrong with a head, a variant per violation.

use std::fmt;

/// A violation of the grammar that requests and responses share (RFC 9112 §2.2 and §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// The start line, or the head, does not end in CR LF.
    LineEnd,
    /// A CR without its LF.
    BareCr,
    /// An LF without its CR.
    BareLf,
    /// A NUL or another control character in a field value.
    Control,
    /// A line that begins with white space (obsolete line folding).
    ObsFold,
    /// A line that begins with a colon.
    EmptyName,
    /// White space between a field's name and its colon.
    SpaceBeforeColon,
    /// A field name that is not a token, or has no colon.
    BadName,
    /// `Connection` lists something that is not a token.
    BadConnection,
    /// `Connection` lists more options than is useful.
    TooManyOptions,
}

impl SyntaxError {
    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::LineEnd => "line does not end in CR LF",
            Self::BareCr => "CR without LF",
            Self::BareLf => "LF without CR",
            Self::Control => "control character in a field value",
            Self::ObsFold => "folded field line",
            Self::EmptyName => "empty field name",
            Self::SpaceBeforeColon => "white space before the colon of a field",
            Self::BadName => "field name is not a token",
            Self::BadConnection => "Connection lists something that is not a token",
            Self::TooManyOptions => "Connection lists too many options",
        }
    }
}

/// A body length that cannot be known for sure (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// More than one Content-Length, alike or not.
    LengthRepeated,
    /// A Content-Length that is not digits alone; a list is none.
    LengthInvalid,
    /// A Content-Length beyond what a signed 64-bit number holds.
    LengthTooLarge,
    /// More than one Transfer-Encoding.
    CodingRepeated,
    /// A Transfer-Encoding that is not exactly `chunked`, and malformed or without a certain end.
    CodingUnsupported,
    /// A Transfer-Encoding with a coding that is not known here.
    CodingUnknown,
    /// Content-Length and Transfer-Encoding in one message.
    CodingAndLength,
    /// Transfer-Encoding in HTTP/1.0, which has none.
    CodingInHttp10,
    /// `Content_Length` and the like, which some backends take for the field itself.
    LookAlike,
}

impl FramingError {
    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::LengthRepeated => "Content-Length repeated",
            Self::LengthInvalid => "Content-Length is not a number",
            Self::LengthTooLarge => "Content-Length too large",
            Self::CodingRepeated => "Transfer-Encoding repeated",
            Self::CodingUnsupported | Self::CodingUnknown => "Transfer-Encoding is not exactly chunked",
            Self::CodingAndLength => "both Transfer-Encoding and Content-Length",
            Self::CodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::LookAlike => "a field that some take for Content-Length or Transfer-Encoding",
        }
    }
}

/// Why a request head is refused: the client's fault, each of them. The connection closes after the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The grammar of lines and fields is broken.
    Syntax(SyntaxError),
    /// The body's length is not certain.
    Framing(FramingError),
    /// More blank lines before the request than RFC 9112 §2.2 has in mind.
    BlankLines,
    /// The method is not a token.
    BadMethod,
    /// CONNECT or TRACE, which are not served for any target (RFC 9110 §9.1).
    MethodRefused,
    /// The target is of no known form, or holds a byte that no target may hold.
    BadTarget,
    /// The target is longer than its limit.
    TargetTooLong,
    /// The authority names a user.
    UserInfo,
    /// What follows the target is no HTTP version.
    BadVersion,
    /// A version other than 1.0 and 1.1.
    VersionUnsupported,
    /// The head is longer than its limit.
    HeadTooLong,
    /// The head has more fields than its limit.
    TooManyFields,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// Host, or the target's authority, is not `host[:port]`.
    BadHost,
    /// Expect holds something other than `100-continue`.
    ExpectationUnknown,
    /// An OPTIONS whose Max-Forwards is not one number.
    BadMaxForwards,
}

impl RequestError {
    /// The status of the reply.
    pub fn status(self) -> u16 {
        match self {
            Self::Framing(FramingError::CodingUnknown) => 501,
            Self::Syntax(_)
            | Self::Framing(_)
            | Self::BlankLines
            | Self::BadMethod
            | Self::BadTarget
            | Self::UserInfo
            | Self::BadVersion
            | Self::HostMissing
            | Self::HostRepeated
            | Self::BadHost
            | Self::BadMaxForwards => 400,
            Self::TargetTooLong => 414,
            Self::ExpectationUnknown => 417,
            Self::HeadTooLong | Self::TooManyFields => 431,
            Self::MethodRefused => 501,
            Self::VersionUnsupported => 505,
        }
    }

    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Syntax(error) => error.reason(),
            Self::Framing(error) => error.reason(),
            Self::BlankLines => "too many blank lines before the request",
            Self::BadMethod => "method is not a token",
            Self::MethodRefused => "CONNECT and TRACE are not served",
            Self::BadTarget => "invalid request target",
            Self::TargetTooLong => "request target too long",
            Self::UserInfo => "user information in the authority",
            Self::BadVersion => "not an HTTP version",
            Self::VersionUnsupported => "HTTP version not supported",
            Self::HeadTooLong => "request head too long",
            Self::TooManyFields => "too many header fields",
            Self::HostMissing => "Host missing",
            Self::HostRepeated => "Host repeated",
            Self::BadHost => "invalid host",
            Self::ExpectationUnknown => "expectation other than 100-continue",
            Self::BadMaxForwards => "Max-Forwards is not one number",
        }
    }
}

/// Why a response head is refused: the backend's fault, each of them. The client gets a 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The grammar of lines and fields is broken.
    Syntax(SyntaxError),
    /// The body's length is not certain.
    Framing(FramingError),
    /// The first line is no status line.
    BadStatusLine,
    /// A version other than 1.0 and 1.1.
    VersionUnsupported,
    /// The head is longer than its limit.
    HeadTooLong,
    /// The head has more fields than its limit.
    TooManyFields,
    /// More interim (1xx) responses than is useful.
    TooManyInterim,
    /// 101 to a protocol, or at all, that was not requested.
    UpgradeNotAsked,
    /// 101 without exactly one protocol in Upgrade and Connection.
    BadUpgrade,
    /// An HTTP/2 client cannot be sent its head.
    Untranslatable,
    /// A success without the change of protocol that an extended CONNECT asks for.
    UpgradeDeclined,
}

impl ResponseError {
    /// The violation in words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Syntax(error) => error.reason(),
            Self::Framing(error) => error.reason(),
            Self::BadStatusLine => "not an HTTP status line",
            Self::VersionUnsupported => "HTTP version not supported",
            Self::HeadTooLong => "response head too long",
            Self::TooManyFields => "too many header fields",
            Self::TooManyInterim => "too many interim responses",
            Self::UpgradeNotAsked => "101 that was not asked for",
            Self::BadUpgrade => "101 without one protocol in Upgrade",
            Self::Untranslatable => "a head that an HTTP/2 client cannot be sent",
            Self::UpgradeDeclined => "a success without the change of protocol that was asked for",
        }
    }
}

macro_rules! from_parts {
    ($($error:ident),*) => {$(
        impl From<SyntaxError> for $error {
            fn from(error: SyntaxError) -> Self {
                Self::Syntax(error)
            }
        }

        impl From<FramingError> for $error {
            fn from(error: FramingError) -> Self {
                Self::Framing(error)
            }
        }
    )*};
}

macro_rules! reason_is_display {
    ($($error:ident),*) => {$(
        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.reason())
            }
        }

        impl std::error::Error for $error {}
    )*};
}

from_parts!(RequestError, ResponseError);
reason_is_display!(SyntaxError, FramingError, RequestError, ResponseError);
