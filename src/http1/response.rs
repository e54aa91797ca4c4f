//! Response heads (RFC 9112 §4).

use super::error::ResponseError;
use super::field::{MessageFields, check_line_ends, diagnose};
use super::{Framing, HeadLimits, HeaderSlots, Parsed, Received};
use crate::http::{Field, Fields, KnownField, RequestContext, ResponseHead, Upgrade, Version};

/// Parses a response head from the start of `buf`, which holds all that was received of it so far.
///
/// # Errors
/// The first violation found: the backend's fault. Its connection cannot be used again.
pub fn parse_response<'h, 'b>(
    buf: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    limits: &HeadLimits,
    to: &RequestContext,
) -> Result<Parsed<Received<ResponseHead<'h, 'b>>>, ResponseError> {
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
) -> Result<Received<ResponseHead<'h, 'b>>, ResponseError> {
    let headers: &'h [Field<'b>] = raw.headers;
    check_line_ends(head, headers)?;
    let version = if raw.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let status = raw.code.filter(|&status| status >= 100).ok_or(ResponseError::BadStatusLine)?;

    let mut fields = MessageFields::default();
    for header in headers {
        fields.note::<ResponseError>(KnownField::of(header.name), header.value)?;
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
    let keep_alive = reusable && fields.connection.persists(version);
    let head = ResponseHead {
        version,
        status,
        reason: raw.reason.unwrap_or(""),
        body: framing.into(),
        content_length: fields.length,
        upgrade,
        fields: Fields::new(headers, head, fields.connection.names_fields),
    };
    Ok(Received { len: head.fields.block().len(), framing, keep_alive, head })
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
