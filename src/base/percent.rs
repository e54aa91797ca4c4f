//! Percent-encoding (RFC 3986 §2.1).

use std::fmt::Write as _;

/// A text in which each byte that is not `plain` is encoded. What is plain is ASCII.
pub(crate) fn percent_encoded(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() && plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
