//! Whether a field list is a well-formed message (RFC 9113 §8), and what of it matters to the codec.
//!
//! What HTTP/1.1 refuses is refused here as well: what passes may be translated to any version.

use super::error::Malformed;
use super::fields::{Field, FieldList};
use super::hpack::StaticName;
use super::priority::Priority;
use crate::http::{is_same_name, is_tchar, is_token, is_value_byte, parse_authority};

/// A request's pseudo-fields (§8.3.1, RFC 8441 §4). To be sent, they have to be well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine<'b> {
    /// `:method`
    pub method: &'b str,
    /// `:scheme`; `None` for CONNECT.
    pub scheme: Option<&'b str>,
    /// `:authority`, or else Host.
    pub authority: &'b str,
    /// `:path`; `None` for CONNECT.
    pub path: Option<&'b str>,
    /// `:protocol` of an extended CONNECT.
    pub protocol: Option<&'b str>,
}

/// What the codec needs to know of a well-formed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestFacts {
    pub(super) content_length: Option<u64>,
    /// `None`: nothing was signalled.
    pub(super) priority: Option<Priority>,
}

/// What the codec needs to know of a well-formed response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResponseFacts {
    pub(super) status: u16,
    pub(super) content_length: Option<u64>,
}

/// What a byte is in a field name.
static NAME_BYTES: [NameByte; 256] = name_bytes();

#[derive(Clone, Copy, PartialEq, Eq)]
enum NameByte {
    Valid,
    UpperCase,
    Invalid,
}

const fn name_bytes() -> [NameByte; 256] {
    let mut bytes = [NameByte::Invalid; 256];
    let mut byte = 0;
    while byte < 256 {
        let code = byte as u8;
        if code.is_ascii_uppercase() {
            bytes[byte] = NameByte::UpperCase;
        } else if code.is_ascii_lowercase()
            || code.is_ascii_digit()
            || matches!(code, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        {
            bytes[byte] = NameByte::Valid;
        }
        byte += 1;
    }
    bytes
}

/// Checks a name that is not a pseudo-field's (§8.2.1).
fn check_name(name: &[u8]) -> Result<(), Malformed> {
    let of = |byte: &u8| NAME_BYTES[usize::from(*byte)];
    match name.iter().map(of).find(|byte| *byte != NameByte::Valid) {
        None if !name.is_empty() => Ok(()),
        Some(NameByte::UpperCase) => Err(Malformed::NameUpperCase),
        _ => Err(Malformed::NameInvalid),
    }
}

/// Checks a value (§8.2.1).
pub(super) fn check_value(value: &[u8]) -> Result<(), Malformed> {
    // Without an early exit, so that it is done many bytes at a time.
    if !value.iter().fold(true, |valid, &byte| valid & is_value_byte(byte)) {
        return Err(Malformed::ValueInvalid);
    }
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => Err(Malformed::ValueSpace),
        _ => Ok(()),
    }
}

/// Whether a field is for one HTTP/1 connection and has no place in HTTP/2 (§8.2.2).
pub(super) fn is_connection_specific(name: &[u8]) -> bool {
    match name.len() {
        7 => name.eq_ignore_ascii_case(b"upgrade"),
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

/// What is found in the fields behind the pseudo-fields.
#[derive(Default)]
struct Regular {
    content_length: Option<u64>,
    priority: Option<Option<Priority>>,
    cookies: u32,
}

impl Regular {
    /// Checks one field.
    fn take(&mut self, field: Field<'_>, static_name: StaticName) -> Result<(), Malformed> {
        let Field { name, value, .. } = field;
        if name.first() == Some(&b':') {
            return Err(Malformed::PseudoLate);
        }
        if static_name.text().is_none() {
            check_name(name)?;
        }
        check_value(value)?;
        match name.len() {
            2 if name == b"te" && !value.eq_ignore_ascii_case(b"trailers") => Err(Malformed::Te),
            6 if name == b"cookie" => {
                self.cookies += 1;
                Ok(())
            }
            8 if name == b"priority" => {
                // Several lines are one list (RFC 9110 §5.3); the last one is taken of them.
                self.priority = Some(Priority::parse(value));
                Ok(())
            }
            14 if name == b"content-length" => {
                if self.content_length.is_some() {
                    return Err(Malformed::LengthRepeated);
                }
                self.content_length = Some(content_length(value)?);
                Ok(())
            }
            _ if is_connection_specific(name) => Err(Malformed::ConnectionSpecific),
            14 if is_same_name(name, b"content-length") => Err(Malformed::LookAlike),
            17 if is_same_name(name, b"transfer-encoding") => Err(Malformed::LookAlike),
            _ => Ok(()),
        }
    }
}

/// Digits alone, at most `i64::MAX`: peers with signed lengths must read the same number.
fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    let number = value.iter().fold(0u64, |length, digit| {
        length.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')))
    });
    if digits && number <= i64::MAX as u64 { Ok(number) } else { Err(Malformed::LengthInvalid) }
}

/// Puts `value` into a pseudo-field that must not be there yet.
fn once<'b>(place: &mut Option<&'b [u8]>, value: &'b [u8]) -> Result<(), Malformed> {
    if place.replace(value).is_some() { Err(Malformed::PseudoRepeated) } else { Ok(()) }
}

/// Pseudo-fields of a request as received.
#[derive(Default)]
struct Pseudo<'b> {
    method: Option<&'b [u8]>,
    scheme: Option<&'b [u8]>,
    authority: Option<&'b [u8]>,
    path: Option<&'b [u8]>,
    protocol: Option<&'b [u8]>,
}

impl<'b> Pseudo<'b> {
    /// Those at the beginning of the list, and their number.
    fn read(fields: impl Iterator<Item = Field<'b>>) -> Result<(Self, usize), Malformed> {
        let (mut pseudo, mut count) = (Self::default(), 0);
        for field in fields.take_while(|field| field.name.first() == Some(&b':')) {
            let place = match field.name {
                b":method" => &mut pseudo.method,
                b":scheme" => &mut pseudo.scheme,
                b":authority" => &mut pseudo.authority,
                b":path" => &mut pseudo.path,
                b":protocol" => &mut pseudo.protocol,
                _ => return Err(Malformed::PseudoUnknown),
            };
            once(place, field.value)?;
            count += 1;
        }
        Ok((pseudo, count))
    }

    fn check(&self, connect_protocol: bool) -> Result<(), Malformed> {
        let method = self.method.ok_or(Malformed::PseudoMissing)?;
        if !is_token(method) {
            return Err(Malformed::Method);
        }
        let connect = method == b"CONNECT";
        match self.protocol {
            Some(_) if !connect => return Err(Malformed::PseudoForbidden),
            Some(_) if !connect_protocol => return Err(Malformed::ConnectProtocol),
            Some(protocol) if !is_token(protocol) => return Err(Malformed::ConnectProtocol),
            None if connect => {
                let whole = self.scheme.is_none() && self.path.is_none();
                return if whole { Ok(()) } else { Err(Malformed::PseudoForbidden) };
            }
            _ => {}
        }
        let scheme = self.scheme.ok_or(Malformed::PseudoMissing)?;
        let tail = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        if !scheme.first().is_some_and(u8::is_ascii_alphabetic) || !scheme.iter().all(tail) {
            return Err(Malformed::Scheme);
        }
        let path = self.path.ok_or(Malformed::PseudoMissing)?;
        let is_visible = |&byte: &u8| matches!(byte, b'!'..=b'~') && byte != b'#';
        let asterisk = path == b"*" && method == b"OPTIONS";
        if !asterisk && path.first() != Some(&b'/') || !path.iter().all(is_visible) {
            return Err(Malformed::Path);
        }
        Ok(())
    }
}

/// Checks a request's head (§8.3.1). `connect_protocol`: we offer extended CONNECT.
pub(super) fn check_request(
    fields: &mut FieldList,
    connect_protocol: bool,
) -> Result<RequestFacts, Malformed> {
    let (pseudo, count) = Pseudo::read(fields.all())?;
    let mut regular = Regular::default();
    let mut host = None;
    for (field, static_name) in fields.all_named().skip(count) {
        regular.take(field, static_name)?;
        if field.name == b"host" && host.replace(field.value).is_some() {
            return Err(Malformed::HostRepeated);
        }
    }
    pseudo.check(connect_protocol)?;
    match (pseudo.authority, host) {
        (None, None) => return Err(Malformed::AuthorityMissing),
        (Some(one), Some(other)) if !one.eq_ignore_ascii_case(other) => return Err(Malformed::HostDiffers),
        (Some(authority), _) | (None, Some(authority)) => {
            parse_authority(authority).ok_or(Malformed::Authority)?;
        }
    }
    if pseudo.method == Some(b"CONNECT") && pseudo.authority.is_none() {
        return Err(Malformed::PseudoMissing);
    }
    let facts = RequestFacts {
        content_length: regular.content_length,
        priority: regular.priority.map(Option::unwrap_or_default),
    };
    fields.set_pseudo(count);
    if regular.cookies > 1 {
        fields.join_cookies();
    }
    Ok(facts)
}

/// The status that three digits are, from 100 to 999.
fn status_of(digits: &[u8]) -> Option<u16> {
    let &[a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = digits else { return None };
    let digit = |byte: u8| u16::from(byte - b'0');
    Some(digit(a) * 100 + digit(b) * 10 + digit(c))
}

/// Checks a response's head (§8.3.2).
pub(super) fn check_response(fields: &mut FieldList) -> Result<ResponseFacts, Malformed> {
    let (mut status, mut count) = (None, 0);
    for field in fields.all().take_while(|field| field.name.first() == Some(&b':')) {
        if field.name != b":status" {
            return Err(Malformed::PseudoUnknown);
        }
        once(&mut status, field.value)?;
        count += 1;
    }
    let mut regular = Regular::default();
    for (field, static_name) in fields.all_named().skip(count) {
        regular.take(field, static_name)?;
    }
    let status = match status_of(status.ok_or(Malformed::PseudoMissing)?) {
        Some(101) => return Err(Malformed::SwitchingProtocols),
        status => status.ok_or(Malformed::Status)?,
    };
    fields.set_pseudo(count);
    Ok(ResponseFacts { status, content_length: regular.content_length })
}

/// Checks a trailer section (§8.1).
pub(super) fn check_trailers(fields: &FieldList) -> Result<(), Malformed> {
    let mut regular = Regular::default();
    for (field, static_name) in fields.all_named() {
        if field.name.first() == Some(&b':') {
            return Err(Malformed::PseudoInTrailers);
        }
        regular.take(field, static_name)?;
    }
    Ok(())
}

/// Whether a field may be sent. Names may have upper case, which the encoder folds.
pub(super) fn is_sendable(field: &Field<'_>) -> bool {
    let is_name = !field.name.is_empty() && field.name.iter().all(|&byte| is_tchar(byte));
    is_name && check_value(field.value).is_ok()
}

/// Whether a field is for one HTTP/1 connection only, so that it is left out.
pub(super) fn is_left_out(field: &Field<'_>) -> bool {
    let te = field.name.eq_ignore_ascii_case(b"te") && !field.value.eq_ignore_ascii_case(b"trailers");
    te || is_connection_specific(field.name)
}

impl FieldList {
    /// The pseudo-fields of a request that was found well-formed; `None` if this list is something else.
    pub fn request_line(&self) -> Option<RequestLine<'_>> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let (pseudo, _) = Pseudo::read(self.all()).ok()?;
        let authority = pseudo.authority.or_else(|| self.get(b"host"))?;
        Some(RequestLine {
            method: text(pseudo.method?)?,
            scheme: pseudo.scheme.and_then(text),
            authority: text(authority)?,
            path: pseudo.path.and_then(text),
            protocol: pseudo.protocol.and_then(text),
        })
    }

    /// The status of a response that was found well-formed; `None` if this list is something else.
    pub fn status(&self) -> Option<u16> {
        status_of(self.get(b":status")?)
    }
}
