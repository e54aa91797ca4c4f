//! Requests and responses as they mean something: without framing, and without the connection that they came by.

use super::Fields;

/// The version of a message. Others are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As it is written in a log, and those of HTTP/1 in a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// Which versions of HTTP are spoken with backends: `upstream.http`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendHttp {
    /// HTTP/1.1, without ALPN.
    #[default]
    Http11,
    /// HTTP/2: ALPN offers `h2` alone; on plain connections by prior knowledge (RFC 9113 §3.3).
    Http2,
    /// Over TLS, what the backend chooses by ALPN, `h2` first; on plain connections HTTP/1.1.
    Auto,
}

impl BackendHttp {
    /// What ALPN offers, best first.
    pub(crate) fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http11 => Vec::new(),
            Self::Http2 => vec![ALPN_HTTP2.to_vec()],
            Self::Auto => vec![ALPN_HTTP2.to_vec(), ALPN_HTTP11.to_vec()],
        }
    }
}

/// The ALPN name of HTTP/2 over TLS (RFC 9113 §3.2).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
/// The ALPN name of HTTP/1.1 (RFC 7301 §6).
const ALPN_HTTP11: &[u8] = b"http/1.1";

/// What is known of a body's length before it is read, however it is framed (RFC 9110 §8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// So many bytes.
    Known(u64),
    /// Only its end shows its length. Trailers may follow.
    Unknown,
}

/// A request method (RFC 9110 §9). Names are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'b> {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// PATCH
    Patch,
    /// TRACE, which no head that parsed has
    Trace,
    /// CONNECT, which no head that parsed has
    Connect,
    /// Another token
    Other(&'b str),
}

impl<'b> Method<'b> {
    /// The method of this name.
    pub(crate) fn of(name: &'b str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "PATCH" => Self::Patch,
            "TRACE" => Self::Trace,
            "CONNECT" => Self::Connect,
            _ => Self::Other(name),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &'b str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            Self::Other(name) => name,
        }
    }

    /// Whether it requests no change (RFC 9110 §9.2.1). False for methods that are not known.
    pub fn is_safe(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether doing it twice is as doing it once (RFC 9110 §9.2.2). False for methods that are not known.
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

/// What a request is for, without its authority: that is in [`RequestHead::host`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// Begins with `/`, or is `*` for an OPTIONS of the server as such. As received: not decoded.
    pub path: &'b str,
    /// What follows the first `?`.
    pub query: Option<&'b str>,
}

impl<'b> Target<'b> {
    /// A path with its query. An empty path is `/` (RFC 9110 §4.2.3).
    pub(crate) fn split(path_and_query: &'b str) -> Self {
        let (path, query) = match path_and_query.bytes().position(|byte| byte == b'?') {
            Some(end) => (&path_and_query[..end], Some(&path_and_query[end + 1..])),
            None => (path_and_query, None),
        };
        Self { path: if path.is_empty() { "/" } else { path }, query }
    }
}

/// A request's head. It borrows the bytes that it was read from (`'b`) and the list of its fields (`'h`).
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'h, 'b> {
    /// Neither TRACE nor CONNECT.
    pub method: Method<'b>,
    /// Path and query.
    pub target: Target<'b>,
    /// The client's version.
    pub version: Version,
    /// `host[:port]` of the target, or else of Host. Only HTTP/1.0 may leave it out.
    pub host: Option<&'b str>,
    /// Of the body.
    pub body: BodyLength,
    /// Whether the client waits for a 100 before it sends the body. False where there is no body.
    pub expect_continue: bool,
    /// The protocol to change to once the request's body is over: one. Another Upgrade is passed over, as RFC 9110
    /// §7.8 allows.
    pub upgrade: Option<&'b str>,
    /// How often an OPTIONS may still be passed on (RFC 9110 §7.6.2). At 0 the recipient answers itself. `None` for
    /// other methods.
    pub max_forwards: Option<u32>,
    /// All fields, as received.
    pub fields: Fields<'h, 'b>,
}

impl RequestHead<'_, '_> {
    /// The fields that Connection lists, as a value of it, where trailers may come that they hold for as well
    /// (RFC 9110 §7.6.1).
    pub fn named_trailers(&self) -> Option<Box<[u8]>> {
        if self.body == BodyLength::Unknown { self.fields.listed() } else { None }
    }
}

/// A response's head. It borrows the bytes that it was read from (`'b`) and the list of its fields (`'h`).
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'h, 'b> {
    /// The backend's version.
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// Perhaps empty; empty also if it was not ASCII.
    pub reason: &'b str,
    /// Of the body. `None` for 1xx, 204 and 304 and in answer to HEAD.
    pub body: BodyLength,
    /// Content-Length as sent, also where it is not the length of a body (HEAD, 304).
    pub content_length: Option<u64>,
    /// The protocol changed to; always there with a 101, never otherwise.
    pub upgrade: Option<&'b str>,
    /// All fields, as received.
    pub fields: Fields<'h, 'b>,
}

impl ResponseHead<'_, '_> {
    /// Whether another head follows for the same request: 1xx but for 101.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// See [`RequestHead::named_trailers`].
    pub fn named_trailers(&self) -> Option<Box<[u8]>> {
        if self.body == BodyLength::Unknown { self.fields.listed() } else { None }
    }
}

/// What must be known of a request to understand its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The method was HEAD: the response has no body, whatever its fields are.
    pub head: bool,
    /// The requested upgrade, to which a 101 may answer.
    pub upgrade: Option<Upgrade>,
}

/// The protocol that a request wants to change to, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// `websocket` (RFC 6455).
    WebSocket,
    /// Any other. They are not distinguished.
    Other,
}

impl Upgrade {
    /// The protocol of this name.
    pub(crate) fn of(protocol: &str) -> Self {
        if protocol.eq_ignore_ascii_case("websocket") { Self::WebSocket } else { Self::Other }
    }
}

impl From<&RequestHead<'_, '_>> for RequestContext {
    fn from(head: &RequestHead<'_, '_>) -> Self {
        Self { head: head.method == Method::Head, upgrade: head.upgrade.map(Upgrade::of) }
    }
}

/// The body of a response that Ringate makes itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    /// `Content-Type`, checked where it was made.
    pub media_type: &'a str,
    /// What Content-Length counts.
    pub bytes: &'a [u8],
}
