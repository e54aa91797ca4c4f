//! Response heads (RFC 9112 §4).

use super::error::ResponseError;
use super::field::{Connection, Field, MessageFields, check_line_ends, diagnose};
use super::{Framing, HeadLimits, HeaderSlots, Method, Parsed, RequestHead, Version};

/// What must be known of a request to understand its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The method was HEAD: the response has no body, whatever its fields say.
    pub head: bool,
    /// What upgrade was asked for: to that a 101 may come.
    pub upgrade: Option<Upgrade>,
}

/// The protocol that a request asked to change to, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// `websocket` (RFC 6455).
    WebSocket,
    /// Any other. They are not told apart.
    Other,
}

impl Upgrade {
    fn of(protocol: &str) -> Self {
        if protocol.eq_ignore_ascii_case("websocket") { Self::WebSocket } else { Self::Other }
    }
}

impl From<&RequestHead<'_, '_>> for RequestContext {
    fn from(head: &RequestHead<'_, '_>) -> Self {
        Self { head: head.method == Method::Head, upgrade: head.upgrade.map(Upgrade::of) }
    }
}

/// A response head that was understood in full. It borrows the buffer (`'b`) and the slots (`'h`).
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'h, 'b> {
    /// Bytes of the head in the buffer.
    pub len: usize,
    /// The backend's version.
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// Perhaps empty; empty also if it was not ASCII.
    pub reason: &'b str,
    /// Of the body. `None` for 1xx, 204 and 304 and in answer to HEAD.
    pub framing: Framing,
    /// Content-Length as sent, also where it does not frame a body (HEAD, 304).
    pub content_length: Option<u64>,
    /// Whether the backend's connection may serve another request. False after 101, and where a body that
    /// cannot be might follow (1xx or 204 with a length).
    pub keep_alive: bool,
    /// The protocol changed to; always there with a 101, never otherwise.
    pub upgrade: Option<&'b str>,
    /// All fields, as received.
    pub headers: &'h [httparse::Header<'b>],
    pub(super) connection: Connection,
    /// The head itself.
    pub(super) bytes: &'b [u8],
}

impl ResponseHead<'_, '_> {
    /// Whether another head follows for the same request: 1xx but for 101.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// The fields that Connection names, as a value of it, where trailers may come that they hold for as well
    /// (RFC 9110 §7.6.1).
    pub fn named_trailers(&self) -> Option<Box<[u8]>> {
        self.connection.for_trailers(self.headers, self.framing)
    }
}

/// Parses a response head from the start of `buf`, which holds all that was received of it so far.
///
/// # Errors
/// The first violation found: the backend's fault. Its connection cannot be used again.
pub fn parse_response<'h, 'b>(
    buf: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    limits: &HeadLimits,
    to: &RequestContext,
) -> Result<Parsed<ResponseHead<'h, 'b>>, ResponseError> {
    let full = buf.len() >= limits.head_bytes;
    let window = if full { &buf[..limits.head_bytes] } else { buf };
    // httparse passes over blank lines, which only a request may have before it.
    if window.first().is_some_and(|&byte| byte != b'H') {
        return Err(ResponseError::BadStatusLine);
    }
    let fields = limits.headers.min(slots.len());
    let mut raw = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut raw,
        window,
        &mut slots[..fields],
    );
    match parsed {
        Ok(httparse::Status::Complete(len)) => understand(&window[..len], raw, to).map(Parsed::Complete),
        Ok(httparse::Status::Partial) if !full => Ok(Parsed::Partial),
        Ok(httparse::Status::Partial) => Err(ResponseError::HeadTooLong),
        Err(error) => Err(refusal(error, window)),
    }
}

fn understand<'h, 'b>(
    head: &'b [u8],
    raw: httparse::Response<'h, 'b>,
    to: &RequestContext,
) -> Result<ResponseHead<'h, 'b>, ResponseError> {
    let headers: &'h [httparse::Header<'b>] = raw.headers;
    check_line_ends(head, headers)?;
    let version = if raw.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let status = raw.code.filter(|&status| status >= 100).ok_or(ResponseError::BadStatusLine)?;

    let mut fields = MessageFields::default();
    for header in headers {
        fields.note::<ResponseError>(Field::of(header.name), header.value)?;
    }
    let declared = fields.framing(version)?;
    let upgrade = if status == 101 { Some(accepted_upgrade(&fields, to)?) } else { None };

    let never_a_body = status < 200 || status == 204;
    let framing = if never_a_body || status == 304 || to.head {
        Framing::None
    } else {
        declared.unwrap_or(Framing::UntilClose)
    };
    let body_feared = never_a_body && !matches!(declared, None | Some(Framing::Length(0)));
    let reusable = framing != Framing::UntilClose && !body_feared && upgrade.is_none();
    Ok(ResponseHead {
        len: head.len(),
        version,
        status,
        reason: raw.reason.unwrap_or(""),
        framing,
        content_length: fields.length,
        keep_alive: reusable && fields.connection.persists(version),
        upgrade,
        headers,
        connection: fields.connection,
        bytes: head,
    })
}

fn accepted_upgrade<'b>(fields: &MessageFields<'b>, to: &RequestContext) -> Result<&'b str, ResponseError> {
    let asked = to.upgrade.ok_or(ResponseError::UpgradeNotAsked)?;
    let protocol = fields.upgrade().ok_or(ResponseError::BadUpgrade)?;
    // RFC 9110 §7.8: only to what the client indicated.
    if Upgrade::of(protocol) == asked { Ok(protocol) } else { Err(ResponseError::UpgradeNotAsked) }
}

#[cold]
fn refusal(error: httparse::Error, head: &[u8]) -> ResponseError {
    match error {
        httparse::Error::TooManyHeaders => ResponseError::TooManyFields,
        httparse::Error::Version if matches!(head, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', ..]) => {
            ResponseError::VersionUnsupported
        }
        httparse::Error::Version | httparse::Error::Status | httparse::Error::Token => {
            ResponseError::BadStatusLine
        }
        error => ResponseError::Syntax(diagnose(error, head)),
    }
}
