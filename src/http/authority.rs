//! `host[:port]`, as in Host and in absolute-form targets (RFC 9110 §7.2, RFC 3986 §3.2).

use std::net::Ipv6Addr;

/// Longest host name in bytes; DNS knows none longer.
const MAX_NAME_BYTES: usize = 255;

/// `host` of `host[:port]`. An IPv6 address keeps its brackets.
#[inline]
pub(crate) fn host_name(authority: &str) -> &str {
    let end = if authority.starts_with('[') {
        authority.bytes().position(|byte| byte == b']').map(|bracket| bracket + 1)
    } else {
        authority.bytes().position(|byte| byte == b':')
    };
    &authority[..end.unwrap_or(authority.len())]
}

/// The authority, if it is one that no two readers can take differently.
///
/// Stricter than RFC 3986: a name is of letters, digits, `-`, `_` and single dots; percent-encoding,
/// sub-delimiters, IPvFuture, zone identifiers and an empty port are refused.
pub(crate) fn parse_authority(bytes: &[u8]) -> Option<&str> {
    let authority = std::str::from_utf8(bytes).ok()?;
    let name = host_name(authority);
    (is_name(name) && is_port(&authority[name.len()..])).then_some(authority)
}

fn is_name(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let mut after_dot = true;
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => after_dot = false,
            b'.' if !after_dot => after_dot = true,
            _ => return false,
        }
    }
    !name.is_empty() && name.len() <= MAX_NAME_BYTES
}

/// Nothing, or a colon and a port.
fn is_port(rest: &str) -> bool {
    match rest.strip_prefix(':') {
        None => rest.is_empty(),
        Some(port) => {
            port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_authority_is_what_stands_before_the_port() {
        for (authority, name) in [
            ("example.com", "example.com"),
            ("example.com:8080", "example.com"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host_name(authority), name);
        }
    }

    #[test]
    fn plain_authorities_are_taken() {
        for authority in [
            "a",
            "example.com",
            "EXAMPLE.com.",
            "a_b-c.d:0",
            "10.0.0.1:65535",
            "[::1]",
            "[2001:db8::1]:443",
            "[::ffff:1.2.3.4]:80",
        ] {
            assert_eq!(parse_authority(authority.as_bytes()), Some(authority));
        }
        assert!(parse_authority("a".repeat(255).as_bytes()).is_some());
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        for authority in [
            "",
            ":80",
            "a:",
            "a:b",
            "a:65536",
            "a:000080",
            "a:+1",
            "a:1:2",
            ".",
            "..",
            ".a",
            "a..b",
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "a%41",
            "a\\b",
            "a?b",
            "a#b",
            "*",
            "a;b",
            "ä.de",
            "::1",
            "[]",
            "[::1",
            "[::1]a",
            "[::1]:",
            "[::1%eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "a[::1]",
            "a\0b",
            "a\tb",
            "~a",
            "a!b",
            "a'b",
            "(a)",
        ] {
            assert_eq!(parse_authority(authority.as_bytes()), None, "{authority:?}");
        }
        assert!(parse_authority("a".repeat(256).as_bytes()).is_none());
        assert!(parse_authority(b"\xff").is_none());
    }
}
