//! Request heads (RFC 9112 §3).

use super::error::{FramingError, RequestError, SyntaxError};
use super::field::{MessageFields, check_line_ends, diagnose};
use super::{Framing, HeadLimits, HeaderSlots, Parsed, Received};
use crate::http::{
    Field, Fields, KnownField, Method, RequestHead, Target, Version, is_tchar, parse_authority,
};

/// Most blank lines before a request (RFC 9112 §2.2 requires at least one).
const MAX_BLANK_LINES: usize = 4;

/// A target and its authority, if the form it has names one (RFC 9112 §3.2).
fn parse_target<'b>(
    target: &'b str,
    method: Method<'_>,
) -> Result<(Target<'b>, Option<&'b str>), RequestError> {
    // Without an early exit, so that it is done many bytes at a time.
    if target.bytes().fold(false, |bad, byte| bad | !matches!(byte, b'!'..=b'~') | (byte == b'#')) {
        return Err(RequestError::BadTarget);
    }
    if target.starts_with('/') {
        return Ok((Target::split(target), None));
    }
    if target == "*" && method == Method::Options {
        return Ok((Target { path: "*", query: None }, None));
    }
    parse_absolute(target, method)
}

fn parse_absolute<'b>(
    target: &'b str,
    method: Method<'_>,
) -> Result<(Target<'b>, Option<&'b str>), RequestError> {
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
        // RFC 9112 §3.2.4: a client sends no path at all for `*` through a proxy.
        "" if method == Method::Options => Target { path: "*", query: None },
        _ => Target::split(path),
    };
    Ok((target, Some(authority)))
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
) -> Result<Parsed<Received<RequestHead<'h, 'b>>>, RequestError> {
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
) -> Result<Received<RequestHead<'h, 'b>>, RequestError> {
    let headers: &'h [Field<'b>] = raw.headers;
    check_line_ends(head, headers)?;
    let method = Method::of(raw.method.ok_or(RequestError::BadMethod)?);
    let target = raw.path.ok_or(RequestError::BadTarget)?;
    if target.len() > limits.target_bytes {
        return Err(RequestError::TargetTooLong);
    }
    if matches!(method, Method::Connect | Method::Trace) {
        return Err(RequestError::MethodRefused);
    }
    let version = if raw.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let (target, authority) = parse_target(target, method)?;

    let mut fields = MessageFields::default();
    let mut host = None;
    let mut expects = false;
    let mut max_forwards = None;
    for header in headers {
        match KnownField::of(header.name) {
            KnownField::Host if host.is_some() => return Err(RequestError::HostRepeated),
            KnownField::Host => host = Some(parse_authority(header.value).ok_or(RequestError::BadHost)?),
            KnownField::Expect if expects || !header.value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(RequestError::ExpectationUnknown);
            }
            KnownField::Expect => expects = true,
            KnownField::Other => {}
            KnownField::LookAlike => return Err(FramingError::LookAlike.into()),
            KnownField::MaxForwards if method != Method::Options => {}
            KnownField::MaxForwards if max_forwards.is_some() => return Err(RequestError::BadMaxForwards),
            KnownField::MaxForwards => max_forwards = Some(count(header.value)?),
            field => fields.note::<RequestError>(field, header.value)?,
        }
    }
    let modern = version == Version::Http11;
    if modern && host.is_none() {
        return Err(RequestError::HostMissing);
    }
    let framing = fields.framing(version)?.unwrap_or(Framing::None);
    let empty = matches!(framing, Framing::None | Framing::Length(0));
    let head = RequestHead {
        method,
        target,
        version,
        host: authority.or(host),
        body: framing.into(),
        expect_continue: expects && modern && !empty,
        upgrade: if modern { fields.upgrade() } else { None },
        max_forwards,
        fields: Fields::new(headers, head, fields.connection.names_fields),
    };
    let keep_alive = fields.connection.persists(version);
    Ok(Received { len: head.fields.block().len(), framing, keep_alive, head })
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
