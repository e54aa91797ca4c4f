//! The fields behind a body.

use super::{KnownField, copy_lines, is_same_name, read_lines, says_client};

/// The fields of a trailer section (RFC 9110 §6.5) that may be passed on, in the form in which lines of fields are kept:
/// `name: value` and CRLF. A codec makes it of the section that it has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trailers<'b> {
    lines: &'b [u8],
}

impl<'b> Trailers<'b> {
    /// Of lines that were checked where they were read.
    pub fn of(lines: &'b [u8]) -> Self {
        Self { lines }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.lines.is_empty()
    }

    /// All of them, as lines.
    pub fn lines(self) -> &'b [u8] {
        self.lines
    }

    /// Their names and values.
    pub fn fields(self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        read_lines(self.lines)
    }

    /// Appends those whose names are not `removed`, as lines.
    pub fn copy(self, removed: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
        copy_lines(self.lines, removed, out);
    }
}

/// Whether a field of this name may come after the body: not if a recipient needed it before (RFC 9110 §6.5.1).
pub(crate) fn may_trail(name: &str) -> bool {
    const BEFORE_THE_BODY: [&str; 27] = [
        "age",
        "authorization",
        "cache-control",
        "client-cert",
        "client-cert-chain",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "location",
        "max-forwards",
        "pragma",
        "range",
        "retry-after",
        "set-cookie",
        "set-cookie2",
        "status",
        "vary",
        "warning",
        "www-authenticate",
    ];
    KnownField::of(name) == KnownField::Other
        && !says_client(name)
        && !BEFORE_THE_BODY.iter().any(|known| is_same_name(name.as_bytes(), known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_read_and_copied_without_those_that_are_removed() {
        let trailers = Trailers::of(b"Digest: x\r\nGrpc-Status: 0\r\n");
        let fields: Vec<_> = trailers.fields().collect();
        assert_eq!(fields, [(&b"Digest"[..], &b"x"[..]), (b"Grpc-Status", b"0")]);
        let mut copied = Vec::new();
        trailers.copy(|name| name == b"Digest", &mut copied);
        assert_eq!(Trailers::of(&copied).lines(), b"Grpc-Status: 0\r\n");
        assert!(Trailers::default().is_empty() && !trailers.is_empty());
    }
}
