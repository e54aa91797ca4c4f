//! Version 1: a line of text.

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, Header, HeaderError, Parsed, begins};

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
    // What follows UNKNOWN is ignored (proxy-protocol.txt §2.1).
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(Parsed::Complete(Header { len, addresses: None }));
    }
    let addresses = addresses(rest).ok_or(HeaderError::Line)?;
    Ok(Parsed::Complete(Header { len, addresses: Some(addresses) }))
}

/// The addresses of a line: five words with one space between them, ports without a sign or a leading zero.
fn addresses(rest: &[u8]) -> Option<Addresses> {
    let mut words = std::str::from_utf8(rest).ok()?.split(' ');
    let family = words.next()?;
    let [source, destination, from, to] = [(); 4].map(|()| words.next());
    if words.next().is_some() {
        return None;
    }
    let address = |word: &str| match family {
        "TCP4" => word.parse().ok().map(IpAddr::V4),
        "TCP6" => word.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    Some(Addresses {
        source: SocketAddr::new(address(source?)?, port(from?)?),
        destination: SocketAddr::new(address(destination?)?, port(to?)?),
    })
}

fn port(word: &str) -> Option<u16> {
    let strict = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| strict)
}
