//! W3C Trace Context: `traceparent` as it is received, passed on and made.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use crate::http::{RequestHead, is_same_name};

/// `00-<trace id>-<parent id>-<flags>`
const LEN: usize = 55;

/// The valid `traceparent` of a request (W3C Trace Context §3.2), if it has one, and one only.
pub(crate) fn valid<'b>(head: &RequestHead<'_, 'b>) -> Option<&'b [u8]> {
    let mut all = head.fields.all("traceparent");
    let value = all.next()?;
    (all.next().is_none() && is_valid(value)).then_some(value)
}

fn is_valid(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|&byte| byte == b'0');
    let Some((known, later)) = value.split_at_checked(LEN) else { return false };
    let dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
    let (version, trace, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
    // A later version may say more behind another dash (§3.2.4).
    let length = if version == b"00" { later.is_empty() } else { later.is_empty() || later[0] == b'-' };
    dashes
        && length
        && version != b"ff"
        && [version, trace, parent, flags].into_iter().all(hex)
        && !zero(trace)
        && !zero(parent)
}

/// Most entries of a `tracestate` (§3.3.1.1).
const ENTRIES: usize = 32;

/// The `tracestate` of a request (§3.3) as one list, of all of its lines. Empty: there is none, or it is not valid, so that it is
/// not to be passed on.
pub(crate) fn state(head: &RequestHead<'_, '_>) -> String {
    let mut list: Vec<&str> = Vec::new();
    for line in head.fields.all("tracestate") {
        for entry in line.split(|&byte| byte == b',').map(|entry| entry.trim_ascii()) {
            match std::str::from_utf8(entry) {
                Ok("") => {}
                Ok(entry) if is_entry(entry) && list.len() < ENTRIES => list.push(entry),
                _ => return String::new(),
            }
        }
    }
    list.join(",")
}

/// `KEY=VALUE` (§3.3.1.2, §3.3.1.3).
fn is_entry(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else { return false };
    let key_byte = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let part = |part: &str, most: usize| {
        let first = part.bytes().next();
        part.len() <= most
            && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && part.bytes().all(key_byte)
    };
    let is_key = match key.split_once('@') {
        Some((tenant, system)) => part(tenant, 241) && part(system, 14),
        None => part(key, 256),
    };
    is_key
        && (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

/// What a valid `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    /// The trace's id.
    pub(crate) trace: u128,
    /// The id of the span that sent the request.
    pub(crate) span: u64,
    /// Whether that span is recorded (§3.2.2.5.1).
    pub(crate) sampled: bool,
}

impl Parent {
    /// That of a request, if it has a valid `traceparent`.
    pub(crate) fn of(head: &RequestHead<'_, '_>) -> Option<Self> {
        let text = std::str::from_utf8(valid(head)?).ok()?;
        let trace = u128::from_str_radix(text.get(3..35)?, 16).ok()?;
        let span = u64::from_str_radix(text.get(36..52)?, 16).ok()?;
        let flags = u8::from_str_radix(text.get(53..55)?, 16).ok()?;
        Some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// The `traceparent` of a span that is recorded.
pub(crate) fn written(trace: u128, span: u64) -> String {
    format!("00-{trace:032x}-{span:016x}-01")
}

/// The id of the trace that a request of this id begins: the same that [`make`] gives it.
pub(crate) fn id_of(id: &str) -> Option<u128> {
    let made = make(id, true)?;
    u128::from_str_radix(std::str::from_utf8(&made[3..35]).ok()?, 16).ok()
}

/// Whether a field is about the trace context.
pub(crate) fn is_context(name: &[u8]) -> bool {
    is_same_name(name, b"traceparent") || is_same_name(name, b"tracestate")
}

/// A new `traceparent` for a request of this id. Its 32 hexadecimal digits become the trace's; an id of another
/// form has a digest. `sampled` is what others are to do with it.
pub(crate) fn make(id: &str, sampled: bool) -> Option<[u8; LEN]> {
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-01";
    let digest = digest(&SHA256, id.as_bytes());
    let (trace, rest) = digest.as_ref().split_at(16);
    HEXLOWER.encode_mut(trace, &mut value[3..35]);
    HEXLOWER.encode_mut(&rest[..8], &mut value[36..52]);
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if id.len() == 32 && id.bytes().all(hex) {
        value[3..35].copy_from_slice(id.as_bytes());
    }
    value[54] = if sampled { b'1' } else { b'0' };
    is_valid(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_standard_allows_is_valid() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_valid(good.as_bytes()));
        assert!(is_valid(b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what"));
        for bad in [
            "",
            "00",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        for good in ["a=1", "0a/b*-_=x y", "tenant@system=!", &format!("{}=1", "k".repeat(256))] {
            assert!(is_entry(good), "{good}");
        }
        let long = [format!("{}=1", "k".repeat(257)), format!("a={}", "v".repeat(257))];
        for bad in [
            "a", "=1", "a=", "A=1", "a b=1", "a=1=2", "a@b@c=1", "@a=1", "a=\t", "a=\u{e4}", &long[0],
            &long[1],
        ] {
            assert!(!is_entry(bad), "{bad}");
        }
        let made = make("0123456789abcdef0123456789abcdef", true).unwrap();
        assert!(made.starts_with(b"00-0123456789abcdef0123456789abcdef-") && made.ends_with(b"-01"));
        assert_ne!(make("short", true), make("other", true));
        assert!(make("short", false).unwrap().ends_with(b"-00"));
        assert_eq!(
            id_of("0123456789abcdef0123456789abcdef"),
            Some(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)
        );
    }
}
