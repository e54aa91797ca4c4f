//! Version 1: a line of text.

use super::{Header, HeaderError, Parsed, addresses, begins};

/// The longest line with its end, in bytes (proxy-protocol.txt §2.1).
pub(super) const MAX_LINE: usize = 107;
const PREFIX: &[u8] = b"PROXY ";

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if !begins(bytes, PREFIX) {
        return Err(HeaderError::Absent);
    }
    let bytes = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if bytes.len() == MAX_LINE { Err(HeaderError::TooLong) } else { Ok(Parsed::Partial) };
    };
    match (bytes[end], bytes.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if bytes.len() < MAX_LINE => return Ok(Parsed::Partial),
        (b'\r', None) => return Err(HeaderError::TooLong),
        _ => return Err(HeaderError::Line),
    }
    let len = end + 2;
    let rest = &bytes[PREFIX.len()..end];
    // What follows UNKNOWN is for nobody.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(Parsed::Complete(Header { len, addresses: None }));
    }
    if !is_strict(rest) {
        return Err(HeaderError::Line);
    }
    let addresses = addresses(&bytes[..len], HeaderError::Line)?;
    Ok(Parsed::Complete(Header { len, addresses }))
}

/// Whether a line has its five words with one space between them, of the bytes that such words are of, and ports
/// without a sign or a zero that is not needed.
fn is_strict(rest: &[u8]) -> bool {
    let words: Vec<&[u8]> = rest.split(|byte| *byte == b' ').collect();
    let [family, source, destination, from, to] = words[..] else { return false };
    let of_address = |byte: &u8| match family {
        b"TCP4" => byte.is_ascii_digit() || *byte == b'.',
        b"TCP6" => byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'),
        _ => false,
    };
    let is_address = |word: &[u8]| !word.is_empty() && word.iter().all(of_address);
    let is_port = |word: &[u8]| {
        word.iter().all(u8::is_ascii_digit)
            && (1..=5).contains(&word.len())
            && (word == b"0" || word[0] != b'0')
    };
    is_address(source) && is_address(destination) && is_port(from) && is_port(to)
}
