//! What an intermediary has to know of gRPC over HTTP/2 (the gRPC project's PROTOCOL-HTTP2 and http-grpc-status-mapping).

use std::time::Duration;

use super::grpc_web::GrpcWeb;
use super::{Method, RequestHead, Version};

/// A call of gRPC by how its client learns how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// By HTTP/2, from trailers.
    Native,
    /// From the content, as gRPC-Web has it, and its route translates that.
    Web(GrpcWeb),
}

impl Call {
    /// That of a request by HTTP/2 with the Content-Type of gRPC. `None`: it is none.
    pub(crate) fn of(head: &RequestHead<'_, '_>) -> Option<Self> {
        let may_be = head.version == Version::Http2 && head.method == Method::Post;
        let is_call = may_be && head.fields.get("content-type").is_some_and(is_grpc);
        is_call.then_some(Self::Native)
    }

    /// That of a request whose route translates gRPC-Web.
    pub(crate) fn of_web(head: &RequestHead<'_, '_>) -> Option<Self> {
        if head.method != Method::Post { None } else { GrpcWeb::of(head).map(Self::Web) }
    }

    /// The Content-Type of a response without messages.
    pub(crate) fn response_type(self) -> Vec<u8> {
        match self {
            Self::Native => b"application/grpc".to_vec(),
            Self::Web(web) => web.response_type(b""),
        }
    }
}

/// The code of a call whose deadline is over.
pub(crate) const DEADLINE_EXCEEDED: u8 = 4;
/// The code of a call whose backend broke the rules.
pub(crate) const INTERNAL: u8 = 13;
/// The code of a call whose backend cannot be reached, or has gone.
pub(crate) const UNAVAILABLE: u8 = 14;

/// Names of codes in config, and the codes.
const CODES: [(&str, u8); 5] = [
    ("cancelled", 1),
    ("deadline-exceeded", 4),
    ("resource-exhausted", 8),
    ("internal", 13),
    ("unavailable", 14),
];

/// Whether a Content-Type is that of gRPC: `application/grpc`, with any coding of messages, but not gRPC-Web.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let Some((name, rest)) = content_type.split_at_checked(NAME.len()) else { return false };
    name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The `grpc-status` that stands for an HTTP status.
pub(crate) fn status_of_http(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The `grpc-status` that stands for the error code of HTTP/2 with which a server reset the stream of a call (PROTOCOL-HTTP2,
/// Errors).
pub(crate) fn status_of_reset(code: u32) -> u8 {
    const REFUSED_STREAM: u32 = 7;
    const CANCEL: u32 = 8;
    const ENHANCE_YOUR_CALM: u32 = 11;
    const INADEQUATE_SECURITY: u32 = 12;
    match code {
        REFUSED_STREAM => UNAVAILABLE,
        CANCEL => 1,
        ENHANCE_YOUR_CALM => 8,
        INADEQUATE_SECURITY => 7,
        _ => INTERNAL,
    }
}

/// How far content is among the messages in it (PROTOCOL-HTTP2, Length-Prefixed-Message).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Messages {
    /// The bytes of a message's prefix that are there: a flag and four bytes with its length.
    prefix: [u8; PREFIX],
    known: u8,
    /// Bytes of a message that are still to come.
    left: u32,
}

/// Bytes in front of a message.
const PREFIX: usize = 5;

impl Messages {
    /// Passes over more of the content.
    pub(crate) fn pass(&mut self, mut content: &[u8]) {
        while !content.is_empty() {
            if self.left > 0 {
                let length = content.len().min(self.left as usize);
                self.left -= length as u32;
                content = &content[length..];
                continue;
            }
            let known = usize::from(self.known);
            let length = content.len().min(PREFIX - known);
            self.prefix[known..known + length].copy_from_slice(&content[..length]);
            content = &content[length..];
            self.known += length as u8;
            if usize::from(self.known) == PREFIX {
                let [_, length @ ..] = self.prefix;
                (self.known, self.left) = (0, u32::from_be_bytes(length));
            }
        }
    }

    /// Whether the content ends with a whole message, or has none.
    pub(crate) fn is_between(self) -> bool {
        self.known == 0 && self.left == 0
    }
}

/// The time of a `grpc-timeout`: at most 8 digits and a unit. `None`: it is none.
pub(crate) fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The code that a `grpc-status` has. `None`: it is no number.
pub(crate) fn code(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The code that config calls so, among those for which a call may be tried again.
pub(crate) fn code_named(name: &str) -> Option<u8> {
    CODES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_of_grpc_are_known_and_no_others() {
        for of in ["application/grpc", "application/grpc+proto", "Application/gRPC; x=1"] {
            assert!(is_grpc(of.as_bytes()), "{of}");
        }
        for other in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is_grpc(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn timeouts_are_read() {
        for (value, millis) in [("1S", 1000), ("250m", 250), ("2M", 120_000), ("1H", 3_600_000), ("1500u", 1)]
        {
            assert_eq!(timeout(value.as_bytes()).unwrap().as_millis(), millis, "{value}");
        }
        assert_eq!(timeout(b"99999999H").unwrap().as_secs(), 99_999_999 * 3600);
        for none in ["", "1", "S", "123456789S", "-1S", "1 S", "1s", "1.5S"] {
            assert_eq!(timeout(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn the_place_among_messages_is_known_however_they_are_cut() {
        let messages = [&b"\0\0\0\0\x05first"[..], b"\0\0\0\0\0", b"\x01\0\0\x01\x01", &[7; 257]].concat();
        let ends = [0, 10, 15, messages.len()];
        for size in [1, 2, 3, 5, 7, 100, 1000] {
            let (mut place, mut passed) = (Messages::default(), 0);
            for part in messages.chunks(size) {
                assert_eq!(place.is_between(), ends.contains(&passed), "{size}: {passed}");
                place.pass(part);
                passed += part.len();
            }
            assert!(place.is_between());
        }
        let mut longest = Messages::default();
        longest.pass(b"\0\xff\xff\xff\xff");
        longest.pass(&[0; 1000]);
        assert!(!longest.is_between());
    }

    #[test]
    fn statuses_follow_the_table() {
        let resets = [0, 1, 2, 5, 7, 8, 11, 12, 13, 99].map(status_of_reset);
        assert_eq!(resets, [13, 13, 13, 13, 14, 1, 8, 7, 13, 13]);
        let codes = [400, 401, 403, 404, 429, 502, 503, 504, 500, 408].map(status_of_http);
        assert_eq!(codes, [13, 16, 7, 12, 14, 14, 14, 14, 2, 2]);
    }
}
