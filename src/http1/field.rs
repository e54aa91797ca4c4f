//! The fields that frame a message and its connection in HTTP/1.

use super::Framing;
use super::error::{FramingError, SyntaxError};
use crate::http::{Field, KnownField, Version, is_tchar, is_token, is_value_byte, list, trim};

/// Most options in all `Connection` fields of a head. Each costs a comparison per field.
const MAX_CONNECTION_OPTIONS: u8 = 16;

/// The content of the `Connection` fields of a head (RFC 9110 §7.6.1).
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
    pub(super) fn note<E>(&mut self, field: KnownField, value: &'b [u8]) -> Result<(), E>
    where
        E: From<SyntaxError> + From<FramingError>,
    {
        match field {
            KnownField::ContentLength => {
                if self.length.is_some() {
                    return Err(FramingError::LengthRepeated.into());
                }
                self.length = Some(content_length(value)?);
            }
            KnownField::TransferEncoding => {
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
            KnownField::Connection => self.connection.note(value)?,
            KnownField::Upgrade => {
                self.upgrade = Some(value);
                self.upgrades += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// The framing by the fields; `None` if they have none.
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

    /// The one protocol that is both in Upgrade and in Connection.
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

/// Refuses lines that end in a bare LF, which httparse takes.
///
/// `head` is the head from its first line to its last byte and `headers` point into it. A name stands
/// at the start of a line, so the two bytes before each name, and the last four, tell of every line.
#[inline]
pub(super) fn check_line_ends(head: &[u8], headers: &[Field<'_>]) -> Result<(), SyntaxError> {
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
