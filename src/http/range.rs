//! Range requests (RFC 9110 §14): which bytes of a representation a client asks for, and how several parts are written.

use std::fmt;
use std::ops::Range;

use crate::base::limits::MAX_RANGES;

/// What is sent of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: there is no range, or the field is passed over.
    Whole,
    /// This part (206).
    One(Range<u64>),
    /// These parts, in the order that they were asked for (206, `multipart/byteranges`). At least two.
    Several(Vec<Range<u64>>),
    /// None of what was asked for is in it (416).
    Unsatisfiable,
}

/// What the value of a Range field selects of `length` bytes.
///
/// A value of another unit or without the grammar of §14.1.1 is passed over, and so is one of more than [`MAX_RANGES`] ranges, or
/// whose ranges together are longer than the representation: they overlap, or nothing is saved by them (§14.2, §17.15).
pub fn select(value: &[u8], length: u64) -> Selection {
    let Some(set) = strip_unit(value) else { return Selection::Whole };
    // Most requests ask for one range, for which nothing is allocated.
    let (mut first, mut more): (_, Vec<Range<u64>>) = (None, Vec::new());
    let (mut count, mut total) = (0, 0u128);
    for spec in set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
        count += 1;
        let Some(range) = parse(spec, length) else { return Selection::Whole };
        if count > MAX_RANGES {
            return Selection::Whole;
        }
        match range {
            // Its only bytes are all there are: nothing.
            Some(range) if range.is_empty() => return Selection::Whole,
            Some(range) => {
                total += u128::from(range.end - range.start);
                match first {
                    None => first = Some(range),
                    Some(_) => more.push(range),
                }
            }
            None => {}
        }
    }
    match first {
        _ if count == 0 => Selection::Whole,
        None => Selection::Unsatisfiable,
        Some(only) if more.is_empty() => Selection::One(only),
        _ if total > u128::from(length) => Selection::Whole,
        Some(first) => {
            more.insert(0, first);
            Selection::Several(more)
        }
    }
}

/// What follows `bytes=`. Names of units are case-insensitive (§14.1).
fn strip_unit(value: &[u8]) -> Option<&[u8]> {
    const UNIT: &[u8] = b"bytes=";
    let (unit, set) = value.split_at_checked(UNIT.len())?;
    unit.eq_ignore_ascii_case(UNIT).then_some(set)
}

/// The bytes of one range; within, `None` if it is behind the end. `None`: this is no range.
///
/// A range of an empty representation that would begin at its start is empty.
fn parse(spec: &[u8], length: u64) -> Option<Option<Range<u64>>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let suffix = number(last)?;
        return Some((suffix > 0).then(|| length.saturating_sub(suffix)..length));
    }
    let first = number(first)?;
    let end = match last {
        b"" => length,
        _ => {
            let last = number(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(length)
        }
    };
    let inside = first < length || first == 0;
    Some(inside.then_some(first..end))
}

/// Decimal digits. What is larger than a number here is behind any end.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// The value of Content-Range for a part (§14.4).
pub(crate) fn content_range(part: &Range<u64>, length: u64) -> impl fmt::Display + use<> {
    let (first, last) = (part.start, part.end - 1);
    fmt::from_fn(move |f| write!(f, "bytes {first}-{last}/{length}"))
}

/// The same where no part is sent (416).
pub(crate) fn unsatisfied(length: u64) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "bytes */{length}"))
}

/// Several parts as one body (§14.6): what is written around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    boundary: String,
    /// Delimiter and fields of each part, one behind the other.
    text: Vec<u8>,
    /// Each part, with the end of its delimiter and fields in `text`.
    parts: Vec<(usize, Range<u64>)>,
}

impl Multipart {
    /// Of these parts of `length` bytes. `number` makes the boundary: one that the content will hardly have.
    pub fn new(parts: Vec<Range<u64>>, length: u64, media_type: impl fmt::Display, number: u64) -> Self {
        let boundary = format!("ringate-{number:016x}");
        let mut text = Vec::new();
        let parts = parts
            .into_iter()
            .map(|part| {
                let range = content_range(&part, length);
                let head = format!(
                    "\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n"
                );
                text.extend_from_slice(head.as_bytes());
                (text.len(), part)
            })
            .collect();
        text.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Self { boundary, text, parts }
    }

    /// The value of Content-Type.
    pub(crate) fn media_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// Bytes of the whole body.
    pub fn length(&self) -> u64 {
        let parts: u64 = self.parts.iter().map(|(_, part)| part.end - part.start).sum();
        self.text.len() as u64 + parts
    }

    /// The text, and the parts with where the text before each ends; what is left of it goes behind the last.
    pub fn into_parts(self) -> (Vec<u8>, Vec<(usize, Range<u64>)>) {
        (self.text, self.parts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_select_what_the_grammar_says() {
        use Selection::*;
        for (value, length, selected) in [
            ("bytes=0-0", 10, One(0..1)),
            ("bytes=0-9", 10, One(0..10)),
            ("bytes=0-", 10, One(0..10)),
            ("bytes=9-", 10, One(9..10)),
            ("bytes=9-100", 10, One(9..10)),
            ("bytes=-1", 10, One(9..10)),
            ("bytes=-100", 10, One(0..10)),
            ("BYTES=0-0", 10, One(0..1)),
            ("bytes= 0-0 , ", 10, One(0..1)),
            ("bytes=10-,0-0", 10, One(0..1)),
            ("bytes=0-99999999999999999999999", 10, One(0..10)),
            ("bytes=0-0,9-9", 10, Several(vec![0..1, 9..10])),
            ("bytes=-1,\t0-0", 10, Several(vec![9..10, 0..1])),
            ("bytes=0-4,5-9", 10, Several(vec![0..5, 5..10])),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=10-11,-0", 10, Unsatisfiable),
            ("bytes=1-", 0, Unsatisfiable),
            // An empty file has no byte that a Content-Range could name.
            ("bytes=0-", 0, Whole),
            ("bytes=-5", 0, Whole),
            ("bytes=0-9,0-0", 10, Whole),
            ("bytes=0-,0-,0-", 10, Whole),
            ("bytes=1-0", 10, Whole),
            ("bytes=0-0,1-0", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=,", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=0", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=0 -1", 10, Whole),
            ("bytes=0--1", 10, Whole),
            ("bytes 0-0", 10, Whole),
            ("items=0-0", 10, Whole),
            ("", 10, Whole),
        ] {
            assert_eq!(select(value.as_bytes(), length), selected, "{value} of {length}");
        }
        let many = |count: usize| format!("bytes={}", "0-0,".repeat(count));
        assert!(
            matches!(select(many(MAX_RANGES).as_bytes(), 1000), Several(parts) if parts.len() == MAX_RANGES)
        );
        assert_eq!(select(many(MAX_RANGES + 1).as_bytes(), 1000), Whole);
    }

    #[test]
    fn several_parts_have_their_fields_and_one_end() {
        let body = Multipart::new(vec![0..2, 4..5], 9, "text/plain", 0xab);
        assert_eq!(body.media_type(), "multipart/byteranges; boundary=ringate-00000000000000ab");
        let length = body.length();
        let (text, parts) = body.into_parts();
        let mut whole = Vec::new();
        let mut from = 0;
        for (to, part) in parts {
            whole.extend_from_slice(&text[from..to]);
            whole.extend_from_slice(&b"012345678"[part.start as usize..part.end as usize]);
            from = to;
        }
        whole.extend_from_slice(&text[from..]);
        assert_eq!(
            String::from_utf8(whole.clone()).unwrap(),
            "\r\n--ringate-00000000000000ab\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/9\r\n\r\n01\
             \r\n--ringate-00000000000000ab\r\nContent-Type: text/plain\r\nContent-Range: bytes 4-4/9\r\n\r\n4\
             \r\n--ringate-00000000000000ab--\r\n"
        );
        assert_eq!(length, whole.len() as u64);
    }

    proptest! {
        #[test]
        fn no_value_selects_what_is_not_there(
            value in prop_oneof!["bytes=[-0-9, ]{0,24}", "\\PC{0,20}", "bytes=([0-9]{0,3}-[0-9]{0,3},){0,40}"],
            length in prop_oneof![0u64..20, 0u64..2000, Just(u64::MAX)],
        ) {
            let parts = match select(value.as_bytes(), length) {
                Selection::Whole | Selection::Unsatisfiable => return Ok(()),
                Selection::One(part) => vec![part],
                Selection::Several(parts) => {
                    prop_assert!((2..=MAX_RANGES).contains(&parts.len()));
                    parts
                }
            };
            let mut total = 0;
            for part in parts {
                prop_assert!(part.start < part.end && part.end <= length, "{part:?} of {length}");
                total += part.end - part.start;
            }
            prop_assert!(total <= length);
        }

        #[test]
        fn a_range_is_read_back(first in 0u64..1000, more in 0u64..1000, length in 1u64..1000) {
            let selected = select(format!("bytes={first}-{}", first + more).as_bytes(), length);
            let expected = if first < length {
                Selection::One(first..(first + more + 1).min(length))
            } else {
                Selection::Unsatisfiable
            };
            prop_assert_eq!(selected, expected);
        }
    }
}
