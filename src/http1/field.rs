//! Header fields that this module understands, and what requests and responses share about them.

use super::error::{FramingError, SyntaxError};
use super::{Framing, Version};
pub(crate) use crate::base::field_name::is_same_name;

/// Most options in all `Connection` fields of a head. Each costs a comparison per field.
const MAX_CONNECTION_OPTIONS: u8 = 16;

/// The fields with a meaning here, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Expect,
    Upgrade,
    Trailer,
    MaxForwards,
    /// Content-Length or Transfer-Encoding with another character in the place of its hyphen.
    LookAlike,
    /// Meant for the next hop alone, and of no interest to it here.
    HopByHop,
    Other,
}

impl Field {
    /// Which one a name is, which must be a token. Lengths are compared first, so most names cost one comparison of numbers.
    #[inline]
    pub(super) fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        match name.len() {
            2 if is(bytes, b"te") => Self::HopByHop,
            4 if is(bytes, b"host") => Self::Host,
            5 if is(bytes, b"proxy") => Self::HopByHop, // CGI programs would take it for $HTTP_PROXY
            6 if is(bytes, b"expect") => Self::Expect,
            7 if is(bytes, b"upgrade") => Self::Upgrade,
            7 if is(bytes, b"trailer") => Self::Trailer,
            10 if is(bytes, b"connection") => Self::Connection,
            10 if is_same_name(bytes, b"keep-alive") => Self::HopByHop,
            12 if is(bytes, b"max-forwards") => Self::MaxForwards,
            14 if is(bytes, b"content-length") => Self::ContentLength,
            14 if is_same_name(bytes, b"http2-settings") => Self::HopByHop,
            14 if is_same_name(bytes, b"content-length") => Self::LookAlike,
            16 if is_same_name(bytes, b"proxy-connection") => Self::HopByHop,
            17 if is(bytes, b"transfer-encoding") => Self::TransferEncoding,
            17 if is_same_name(bytes, b"transfer-encoding") => Self::LookAlike,
            18 if is_same_name(bytes, b"proxy-authenticate") => Self::HopByHop,
            19 if is_same_name(bytes, b"proxy-authorization") => Self::HopByHop,
            25 if is_same_name(bytes, b"proxy-authentication-info") => Self::HopByHop,
            _ => Self::Other,
        }
    }
}

/// Whether a token is `known`, which is in lower case, in any case.
///
/// Of a token's bytes, only a letter becomes a letter, a digit or a hyphen by the bit that tells its cases apart. All are
/// compared, without a branch for each: the compiler makes a few words of them.
#[inline]
fn is<const N: usize>(token: &[u8], known: &[u8; N]) -> bool {
    let Ok(token) = <&[u8; N]>::try_from(token) else { return false };
    token.iter().zip(known).fold(0, |differ, (byte, known)| differ | (byte | 0x20) ^ known) == 0
}

/// Whether a request field of this name is Ringate's to set, so that a client's is dropped, also
/// where it is only like one: `X_Forwarded_For`.
#[inline]
pub(super) fn is_ours(name: &str) -> bool {
    match name.as_bytes() {
        bytes @ [b'x' | b'X', mark, ..] if !mark.is_ascii_alphanumeric() => {
            is_same_name(bytes, b"x-real-ip")
                || is_same_name(bytes, b"x-request-id")
                || bytes.get(..12).is_some_and(|start| is_same_name(start, b"x-forwarded-"))
        }
        [b'f' | b'F', ..] => name.eq_ignore_ascii_case("forwarded"),
        _ => false,
    }
}

/// What the `Connection` fields of a head say (RFC 9110 §7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Other options were listed: the fields of those names end here.
    pub(super) names_fields: bool,
    options: u8,
}

impl Connection {
    fn note(&mut self, value: &[u8]) -> Result<(), SyntaxError> {
        for option in list(value) {
            match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ if option.iter().all(|&byte| is_tchar(byte)) => self.names_fields = true,
                _ => return Err(SyntaxError::BadConnection),
            }
            self.options += 1;
            if self.options > MAX_CONNECTION_OPTIONS {
                return Err(SyntaxError::TooManyOptions);
            }
        }
        Ok(())
    }

    /// Whether the sender lets the connection live on (RFC 9112 §9.3).
    pub(super) fn persists(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Whether `name` is listed, so that the field of that name is for this hop alone. Asked of
    /// fields that are copied only: framing, Host and Expect are written from what was understood.
    #[inline]
    pub(super) fn names(self, headers: &[httparse::Header<'_>], name: &str) -> bool {
        self.names_fields && listed(headers, name)
    }

    /// All values of the head's Connection fields as one, if they name fields of a body that may have trailers.
    pub(super) fn for_trailers(
        self,
        headers: &[httparse::Header<'_>],
        framing: Framing,
    ) -> Option<Box<[u8]>> {
        (self.names_fields && framing == Framing::Chunked).then(|| joined(headers))
    }
}

#[cold]
fn joined(headers: &[httparse::Header<'_>]) -> Box<[u8]> {
    let all = headers.iter().filter(|header| Field::of(header.name) == Field::Connection);
    all.map(|header| header.value).collect::<Vec<_>>().join(&b',').into()
}

#[cold]
fn listed(headers: &[httparse::Header<'_>], name: &str) -> bool {
    headers
        .iter()
        .filter(|header| Field::of(header.name) == Field::Connection)
        .any(|header| lists(header.value, name.as_bytes()))
}

/// Whether a value of Connection lists the field of this name.
pub fn lists(value: &[u8], name: &[u8]) -> bool {
    list(value).any(|option| is_same_name(option, name))
}

/// What has been read so far of the fields that frame a message.
#[derive(Debug, Default)]
pub(super) struct MessageFields<'b> {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    /// A coding that is not known here.
    unknown: bool,
    pub(super) connection: Connection,
    upgrade: Option<&'b [u8]>,
    upgrades: usize,
}

impl<'b> MessageFields<'b> {
    /// Takes in one of the fields that this type keeps; others are passed over.
    pub(super) fn note<E>(&mut self, field: Field, value: &'b [u8]) -> Result<(), E>
    where
        E: From<SyntaxError> + From<FramingError>,
    {
        match field {
            Field::ContentLength => {
                if self.length.is_some() {
                    return Err(FramingError::LengthRepeated.into());
                }
                self.length = Some(content_length(value)?);
            }
            Field::TransferEncoding => {
                if self.chunked {
                    return Err(FramingError::CodingRepeated.into());
                }
                if self.unknown {
                    return Err(FramingError::CodingUnsupported.into());
                }
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
                self.unknown = !self.chunked;
                if self.unknown && !is_unknown_coding(value) {
                    return Err(FramingError::CodingUnsupported.into());
                }
            }
            Field::Connection => self.connection.note(value)?,
            Field::Upgrade => {
                self.upgrade = Some(value);
                self.upgrades += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// The framing that the fields ask for; `None` if they ask for none.
    pub(super) fn framing(&self, version: Version) -> Result<Option<Framing>, FramingError> {
        match (self.chunked, self.length) {
            (false, None) if self.unknown && version == Version::Http11 => Err(FramingError::CodingUnknown),
            (false, _) if self.unknown => Err(FramingError::CodingUnsupported),
            (true, Some(_)) => Err(FramingError::CodingAndLength),
            (true, None) if version == Version::Http10 => Err(FramingError::CodingInHttp10),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, Some(length)) => Ok(Some(Framing::Length(length))),
            (false, None) => Ok(None),
        }
    }

    /// The one protocol that both Upgrade and Connection speak of.
    ///
    /// HTTP and TLS themselves are none: a backend that changed to them would be talking with the
    /// client past every rule of this proxy.
    pub(super) fn upgrade(&self) -> Option<&'b str> {
        if !self.connection.upgrade || self.upgrades != 1 {
            return None;
        }
        let protocol = std::str::from_utf8(self.upgrade?).ok()?;
        let name = match protocol.split_once('/') {
            Some((name, version)) if is_token(version.as_bytes()) => name,
            Some(_) => return None,
            None => protocol,
        };
        let refused = ["h2c", "h2", "http", "tls"].iter().any(|known| name.eq_ignore_ascii_case(known));
        (is_token(name.as_bytes()) && !refused).then_some(protocol)
    }
}

/// Whether what is wrong with a Transfer-Encoding is only that it has codings which are not known here: they are
/// well-formed, and the chunked one, where it is among them, is the last and without parameters (RFC 9112 §6.1).
#[cold]
fn is_unknown_coding(value: &[u8]) -> bool {
    let name = |coding: &[u8]| trim(coding.split(|&byte| byte == b';').next().unwrap_or_default()).to_vec();
    let codings: Vec<_> = value.split(|&byte| byte == b',').map(trim).collect();
    let others = match codings.split_last() {
        Some((last, before)) if last.eq_ignore_ascii_case(b"chunked") => before,
        _ => &codings[..],
    };
    let unknown = |coding: &&[u8]| {
        let name = name(coding);
        is_token(&name) && !name.eq_ignore_ascii_case(b"chunked")
    };
    others.iter().all(unknown)
}

/// Digits alone, at most `i64::MAX`: peers with signed lengths must read the same number.
fn content_length(value: &[u8]) -> Result<u64, FramingError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::LengthInvalid);
    }
    if value.len() > 19 {
        return Err(FramingError::LengthTooLarge);
    }
    // Nineteen digits always fit an unsigned number.
    let length = value.iter().fold(0, |length: u64, digit| length * 10 + u64::from(digit - b'0'));
    if length > i64::MAX.unsigned_abs() { Err(FramingError::LengthTooLarge) } else { Ok(length) }
}

/// The elements of a comma-separated list, without the empty ones (RFC 9110 §5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// Without the spaces and tabs around it.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether it is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

/// RFC 9110 §5.6.2
#[inline]
pub(super) fn is_tchar(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
        | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// A byte that a field value may hold (RFC 9110 §5.5).
#[inline]
pub(super) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Refuses lines that end in a bare LF, which httparse takes.
///
/// `head` is the head from its first line to its last byte and `headers` point into it. A name stands
/// at the start of a line, so the two bytes before each name, and the last four, tell of every line.
#[inline]
pub(super) fn check_line_ends(head: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), SyntaxError> {
    let start = head.as_ptr().addr();
    let exact = headers.iter().all(|header| {
        let line = header.name.as_ptr().addr() - start;
        line >= 2 && head[line - 2] == b'\r'
    });
    if exact && head.ends_with(b"\r\n\r\n") { Ok(()) } else { Err(SyntaxError::BareLf) }
}

/// What is wrong with the first faulty field line, once httparse has found one. Depends on no byte
/// after the fault, so that it says the same however the head came in.
#[cold]
pub(super) fn diagnose(error: httparse::Error, head: &[u8]) -> SyntaxError {
    match error {
        httparse::Error::HeaderName => head
            .split_inclusive(|&byte| byte == b'\n')
            .skip(1)
            .find_map(faulty_name)
            .unwrap_or(SyntaxError::BadName),
        httparse::Error::HeaderValue => head
            .iter()
            .zip(head.iter().skip(1))
            .find_map(|pair| match pair {
                (b'\r', b'\n') | (b'\n', _) => None,
                (b'\r', _) => Some(SyntaxError::BareCr),
                (&byte, _) if !is_value_byte(byte) => Some(SyntaxError::Control),
                _ => None,
            })
            .unwrap_or(SyntaxError::Control),
        _ => SyntaxError::LineEnd,
    }
}

fn faulty_name(line: &[u8]) -> Option<SyntaxError> {
    let end = line.iter().position(|&byte| !is_tchar(byte))?;
    match (end, line[end]) {
        (0, b' ' | b'\t') => Some(SyntaxError::ObsFold),
        (0, b':') => Some(SyntaxError::EmptyName),
        (_, b':') => None,
        (_, b' ' | b'\t') => Some(SyntaxError::SpaceBeforeColon),
        _ => Some(SyntaxError::BadName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_known_in_any_case_and_no_other_token_is() {
        let known = b"http2-settings";
        for at in 0..known.len() {
            for byte in (0..=u8::MAX).filter(|&byte| is_tchar(byte)) {
                let mut token = *known;
                token[at] = byte;
                assert_eq!(is(&token, known), token.eq_ignore_ascii_case(known), "{}", token.escape_ascii());
            }
        }
        assert!(!is(b"http2-setting", known) && !is(b"http2-settings-", known));
    }
}
