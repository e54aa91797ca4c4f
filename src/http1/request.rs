//! Request heads (RFC 9112 §3).

use super::authority::parse_authority;
use super::error::{FramingError, RequestError, SyntaxError};
use super::field::{Connection, Field, MessageFields, check_line_ends, diagnose, is_tchar};
use super::{Framing, HeadLimits, HeaderSlots, Parsed, Version};

/// Most blank lines that may stand before a request (RFC 9112 §2.2 asks for at least one).
const MAX_BLANK_LINES: usize = 4;

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
    fn new(name: &'b str) -> Self {
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

    /// Whether it asks for no change (RFC 9110 §9.2.1). False for methods that are not known.
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
    /// A target and its authority, if the form it has names one (RFC 9112 §3.2).
    fn parse(target: &'b str, method: Method<'_>) -> Result<(Self, Option<&'b str>), RequestError> {
        // Without an early exit, so that it is done many bytes at a time.
        if target.bytes().fold(false, |bad, byte| bad | !matches!(byte, b'!'..=b'~') | (byte == b'#')) {
            return Err(RequestError::BadTarget);
        }
        if target.starts_with('/') {
            return Ok((Self::split(target), None));
        }
        if target == "*" && method == Method::Options {
            return Ok((Self { path: "*", query: None }, None));
        }
        Self::absolute(target, method)
    }

    fn absolute(target: &'b str, method: Method<'_>) -> Result<(Self, Option<&'b str>), RequestError> {
        let rest = ["http://", "https://"]
            .iter()
            .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
            .map(|scheme| &target[scheme.len()..])
            .ok_or(RequestError::BadTarget)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(RequestError::UserInfo);
        }
        let authority = parse_authority(authority.as_bytes()).ok_or(RequestError::BadHost)?;
        let target = match path {
            // RFC 9112 §3.2.4: no path at all is how a client says `*` to a proxy.
            "" if method == Method::Options => Self { path: "*", query: None },
            _ => Self::split(path),
        };
        Ok((target, Some(authority)))
    }

    fn split(path_and_query: &'b str) -> Self {
        let (path, query) = match path_and_query.bytes().position(|byte| byte == b'?') {
            Some(end) => (&path_and_query[..end], Some(&path_and_query[end + 1..])),
            None => (path_and_query, None),
        };
        Self { path: if path.is_empty() { "/" } else { path }, query }
    }
}

/// A request head that was understood in full. It borrows the buffer (`'b`) and the slots (`'h`).
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'h, 'b> {
    /// Bytes of the head in the buffer, from the blank lines before it to the empty line after it.
    pub len: usize,
    /// Neither TRACE nor CONNECT.
    pub method: Method<'b>,
    /// Path and query.
    pub target: Target<'b>,
    /// The client's version.
    pub version: Version,
    /// `host[:port]` from the target, or else from Host. Only HTTP/1.0 may leave it out.
    pub host: Option<&'b str>,
    /// Of the body; never `UntilClose`.
    pub framing: Framing,
    /// Whether the client lets the connection live on after this exchange.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body. False where there is no body.
    pub expect_continue: bool,
    /// The protocol to change to once the request's body is over: one, asked for by HTTP/1.1, in Upgrade and
    /// Connection. Another Upgrade is passed over, as RFC 9110 §7.8 allows.
    pub upgrade: Option<&'b str>,
    /// How often an OPTIONS may still be passed on (RFC 9110 §7.6.2). At 0 the recipient answers itself. Of other
    /// methods it is not asked.
    pub max_forwards: Option<u32>,
    /// All fields, as received.
    pub headers: &'h [httparse::Header<'b>],
    pub(super) connection: Connection,
    /// The head itself, without blank lines before it.
    pub(super) bytes: &'b [u8],
}

impl RequestHead<'_, '_> {
    /// The fields that Connection names, as a value of it, where trailers may come that they hold for as well
    /// (RFC 9110 §7.6.1).
    pub fn named_trailers(&self) -> Option<Box<[u8]>> {
        self.connection.for_trailers(self.headers, self.framing)
    }
}

/// Parses a request head from the start of `buf`.
///
/// `buf` holds all that was received of it so far. However the bytes come in, the outcome is the same.
///
/// # Errors
/// The first violation found. The connection cannot be used for another request.
pub fn parse_request<'h, 'b>(
    buf: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    limits: &HeadLimits,
) -> Result<Parsed<RequestHead<'h, 'b>>, RequestError> {
    let full = buf.len() >= limits.head_bytes;
    let window = if full { &buf[..limits.head_bytes] } else { buf };
    let blank = blank_lines(window)?;
    let head = &window[blank..];
    let fields = limits.headers.min(slots.len());
    let mut raw = httparse::Request::new(&mut []);
    match raw.parse_with_uninit_headers(head, &mut slots[..fields]) {
        Ok(httparse::Status::Complete(len)) => {
            let mut request = understand(&head[..len], raw, limits)?;
            request.len += blank;
            Ok(Parsed::Complete(request))
        }
        Ok(httparse::Status::Partial) if !full => Ok(Parsed::Partial),
        Ok(httparse::Status::Partial) => Err(match (raw.method, raw.path) {
            (Some(_), None) => RequestError::TargetTooLong,
            _ => RequestError::HeadTooLong,
        }),
        Err(error) => Err(refusal(error, head)),
    }
}

/// The length of the empty lines at the start, of which the last may be half there.
fn blank_lines(window: &[u8]) -> Result<usize, RequestError> {
    let mut at = 0;
    loop {
        match &window[at..] {
            [b'\n', ..] => return Err(SyntaxError::BareLf.into()),
            [b'\r', b'\n', ..] if at == 2 * MAX_BLANK_LINES => return Err(RequestError::BlankLines),
            [b'\r', b'\n', ..] => at += 2,
            [b'\r', _, ..] => return Err(SyntaxError::BareCr.into()),
            _ => return Ok(at),
        }
    }
}

fn understand<'h, 'b>(
    head: &'b [u8],
    raw: httparse::Request<'h, 'b>,
    limits: &HeadLimits,
) -> Result<RequestHead<'h, 'b>, RequestError> {
    let headers: &'h [httparse::Header<'b>] = raw.headers;
    check_line_ends(head, headers)?;
    let method = Method::new(raw.method.ok_or(RequestError::BadMethod)?);
    let target = raw.path.ok_or(RequestError::BadTarget)?;
    if target.len() > limits.target_bytes {
        return Err(RequestError::TargetTooLong);
    }
    if matches!(method, Method::Connect | Method::Trace) {
        return Err(RequestError::MethodRefused);
    }
    let version = if raw.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let (target, authority) = Target::parse(target, method)?;

    let mut fields = MessageFields::default();
    let mut host = None;
    let mut expects = false;
    let mut max_forwards = None;
    for header in headers {
        match Field::of(header.name) {
            Field::Host if host.is_some() => return Err(RequestError::HostRepeated),
            Field::Host => host = Some(parse_authority(header.value).ok_or(RequestError::BadHost)?),
            Field::Expect if expects || !header.value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(RequestError::ExpectationUnknown);
            }
            Field::Expect => expects = true,
            Field::Other => {}
            Field::LookAlike => return Err(FramingError::LookAlike.into()),
            Field::MaxForwards if method != Method::Options => {}
            Field::MaxForwards if max_forwards.is_some() => return Err(RequestError::BadMaxForwards),
            Field::MaxForwards => max_forwards = Some(count(header.value)?),
            field => fields.note::<RequestError>(field, header.value)?,
        }
    }
    let modern = version == Version::Http11;
    if modern && host.is_none() {
        return Err(RequestError::HostMissing);
    }
    let framing = fields.framing(version)?.unwrap_or(Framing::None);
    let empty = matches!(framing, Framing::None | Framing::Length(0));
    Ok(RequestHead {
        len: head.len(),
        method,
        target,
        version,
        host: authority.or(host),
        framing,
        keep_alive: fields.connection.persists(version),
        expect_continue: expects && modern && !empty,
        upgrade: if modern { fields.upgrade() } else { None },
        max_forwards,
        headers,
        connection: fields.connection,
        bytes: head,
    })
}

/// Max-Forwards. As RFC 9110 §7.6.2 allows, a number beyond ours is taken for the largest of ours.
#[cold]
fn count(value: &[u8]) -> Result<u32, RequestError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(RequestError::BadMaxForwards);
    }
    let digit = |count: u32, digit: &u8| count.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    Ok(value.iter().fold(0, digit))
}

/// Whether these bytes, which may be the beginning of a head, are those of a HEAD request: no reply to them has a body.
pub(crate) fn is_head_request(received: &[u8]) -> bool {
    let start = received.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(received.len());
    received[start..].starts_with(b"HEAD ")
}

/// What httparse's verdict means. Depends on no byte after the faulty one.
#[cold]
fn refusal(error: httparse::Error, head: &[u8]) -> RequestError {
    match error {
        httparse::Error::TooManyHeaders => RequestError::TooManyFields,
        httparse::Error::Token => match head.iter().position(|&byte| !is_tchar(byte)) {
            Some(end) if end > 0 && head[end] == b' ' => RequestError::BadTarget,
            _ => RequestError::BadMethod,
        },
        httparse::Error::Version => match head.splitn(3, |&byte| byte == b' ').nth(2) {
            Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', ..]) => RequestError::VersionUnsupported,
            _ => RequestError::BadVersion,
        },
        error => RequestError::Syntax(diagnose(error, head)),
    }
}
