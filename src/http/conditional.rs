//! Conditional requests (RFC 9110 §13): whether a representation is sent, by what the client has or believes of it.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

/// Fields of a request that are its preconditions, or that depend on them, in lower case.
pub(crate) const FIELDS: [&str; 6] =
    ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

/// What is known of the representation that would be sent.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Its strong entity tag, with the quotes.
    pub tag: &'a [u8],
    /// Last-Modified, in whole seconds since 1970.
    pub modified: u64,
}

/// What becomes of a GET or HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The representation is sent: of a GET, what this Range selects of it, if there is one.
    Send(Option<&'a [u8]>),
    /// The client has it (304).
    NotModified,
    /// It is not the one that the client means (412).
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD in the order of §13.2.2. `fields`: names and values of the request; others
/// than [`FIELDS`] are passed over.
pub fn evaluate<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    validators: Validators<'_>,
) -> Verdict<'a> {
    let all = |name: &'static str| {
        let named = fields.clone().filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| value)
    };
    // Fields that have one value are passed over where they have more.
    let one = |name| {
        let mut values = all(name);
        values.next().filter(|_| values.next().is_none())
    };
    let matches = |name, compare| all(name).any(|value| lists(value, validators.tag, compare));
    if all("if-match").next().is_some() {
        if !matches("if-match", Compare::Strong) {
            return Verdict::Failed;
        }
    } else if one("if-unmodified-since").and_then(seconds).is_some_and(|date| validators.modified > date) {
        return Verdict::Failed;
    }
    if all("if-none-match").next().is_some() {
        if matches("if-none-match", Compare::Weak) {
            return Verdict::NotModified;
        }
    } else if one("if-modified-since").and_then(seconds).is_some_and(|date| validators.modified <= date) {
        return Verdict::NotModified;
    }
    let range = one("range");
    let holds = match one("if-range") {
        None => all("if-range").next().is_none(),
        Some(tag) if tag.starts_with(b"\"") || tag.starts_with(b"W/") => tag == validators.tag,
        Some(date) => seconds(date) == Some(validators.modified),
    };
    Verdict::Send(range.filter(|_| holds))
}

/// How two entity tags are compared (§8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    /// They are the same, and neither is weak.
    Strong,
    /// They are the same but for that.
    Weak,
}

/// Whether a list of entity tags, or `*`, has the strong tag `own`. A list that breaks its grammar counts up to there.
fn lists(value: &[u8], own: &[u8], compare: Compare) -> bool {
    let mut rest = value.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        rest = rest.trim_ascii_start();
        if let Some(behind) = rest.strip_prefix(b",") {
            rest = behind;
            continue;
        }
        let weak = rest.starts_with(b"W/");
        let tag = if weak { &rest[2..] } else { rest };
        if !tag.starts_with(b"\"") {
            return false;
        }
        // A comma may be part of a tag, a quote is not.
        let Some(end) = tag[1..].iter().position(|&byte| byte == b'"').map(|end| end + 2) else {
            return false;
        };
        if &tag[..end] == own && (compare == Compare::Weak || !weak) {
            return true;
        }
        rest = &tag[end..];
    }
}

/// A date in any of the forms of §5.6.7, in seconds since 1970. `None`: it is none, or before that.
fn seconds(value: &[u8]) -> Option<u64> {
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The value of Last-Modified; `None` behind the year 9999, which the form can't have.
pub(crate) fn http_date(seconds: u64) -> Option<HttpDate> {
    const END: u64 = 253_402_300_800;
    (seconds < END).then(|| HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// The strong entity tag of a file: its time in nanoseconds and its length. Servers with copies of the same file agree on it, as
/// they would not with the file's inode in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntityTag {
    text: [u8; Self::LONGEST],
    length: usize,
}

impl EntityTag {
    /// Two quotes, a dot and a dash, and the longest of each number.
    const LONGEST: usize = 4 + 16 + 8 + 16;

    /// Of a file of this time, in seconds since 1970 and nanoseconds, and of this length.
    pub(crate) fn of((seconds, nanoseconds): (u64, u32), length: u64) -> Self {
        let mut text = [0; Self::LONGEST];
        let mut rest = &mut text[..];
        let written = write!(rest, "\"{seconds:x}.{nanoseconds:x}-{length:x}\"");
        debug_assert!(written.is_ok(), "the longest tag has room");
        let length = Self::LONGEST - rest.len();
        Self { text, length }
    }

    /// The tag, with its quotes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";

    fn verdict<'a>(fields: &'a [(&'a str, &'a str)]) -> Verdict<'a> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        evaluate(fields, Validators { tag: b"\"t\"", modified: 784_111_777 })
    }

    #[test]
    fn the_date_is_that_of_the_examples() {
        let text = |seconds| http_date(seconds).map(|date| date.to_string());
        assert_eq!(text(784_111_777).as_deref(), Some(THEN));
        assert_eq!(text(0).as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(text(253_402_300_799).as_deref(), Some("Fri, 31 Dec 9999 23:59:59 GMT"));
        assert_eq!((http_date(253_402_300_800), http_date(u64::MAX)), (None, None));
        for date in [THEN, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(seconds(date.as_bytes()), Some(784_111_777), "{date}");
        }
        assert_eq!(seconds(b"Sun, 06 Nov 1994"), None);
    }

    #[test]
    fn preconditions_hold_in_their_order() {
        use Verdict::*;
        for (fields, expected) in [
            (&[][..], Send(None)),
            (&[("If-None-Match", "\"t\"")], NotModified),
            (&[("If-None-Match", "W/\"t\"")], NotModified),
            (&[("If-None-Match", "\"a\", \"t\"")], NotModified),
            (&[("If-None-Match", "\"a\""), ("If-None-Match", "\"t\"")], NotModified),
            (&[("If-None-Match", "*")], NotModified),
            (&[("If-None-Match", "\"a,\"t\"")], Send(None)),
            (&[("If-None-Match", "\"a,b\",,\"t\"")], NotModified),
            (&[("If-None-Match", "t")], Send(None)),
            (&[("If-None-Match", "\"t")], Send(None)),
            (&[("If-None-Match", "\"a\""), ("If-Modified-Since", THEN)], Send(None)),
            (&[("If-Modified-Since", THEN)], NotModified),
            (&[("If-Modified-Since", AFTER)], NotModified),
            (&[("If-Modified-Since", BEFORE)], Send(None)),
            (&[("If-Modified-Since", "yesterday")], Send(None)),
            (&[("If-Modified-Since", THEN), ("If-Modified-Since", AFTER)], Send(None)),
            (&[("If-Match", "\"t\"")], Send(None)),
            (&[("If-Match", "*")], Send(None)),
            (&[("If-Match", "W/\"t\"")], Failed),
            (&[("If-Match", "\"a\"")], Failed),
            (&[("If-Match", "")], Failed),
            (&[("If-Match", "\"t\""), ("If-Unmodified-Since", BEFORE)], Send(None)),
            (&[("If-Match", "\"a\""), ("If-None-Match", "\"t\"")], Failed),
            (&[("If-Match", "\"t\""), ("If-None-Match", "\"t\"")], NotModified),
            (&[("If-Unmodified-Since", THEN)], Send(None)),
            (&[("If-Unmodified-Since", BEFORE)], Failed),
            (&[("If-Unmodified-Since", "never")], Send(None)),
            (&[("Range", "bytes=0-0")], Send(Some(b"bytes=0-0"))),
            (&[("range", "x"), ("if-range", "\"t\"")], Send(Some(b"x"))),
            (&[("Range", "x"), ("If-Range", "W/\"t\"")], Send(None)),
            (&[("Range", "x"), ("If-Range", "\"a\"")], Send(None)),
            (&[("Range", "x"), ("If-Range", THEN)], Send(Some(b"x"))),
            (&[("Range", "x"), ("If-Range", AFTER)], Send(None)),
            (&[("Range", "x"), ("If-Range", "soon")], Send(None)),
            (&[("Range", "x"), ("If-Range", "\"t\""), ("If-Range", "\"t\"")], Send(None)),
            (&[("Range", "x"), ("Range", "y")], Send(None)),
            (&[("Range", "x"), ("If-None-Match", "\"t\"")], NotModified),
        ] {
            assert_eq!(verdict(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_tag_is_one_by_the_grammar() {
        let tag = |modified, length| {
            let tag = EntityTag::of(modified, length);
            String::from_utf8(tag.as_bytes().to_vec()).unwrap()
        };
        assert_eq!(tag((784_111_777, 999_999_999), u64::MAX), "\"2ebc98a1.3b9ac9ff-ffffffffffffffff\"");
        assert_eq!(tag((u64::MAX, u32::MAX), u64::MAX).len(), EntityTag::LONGEST);
        assert_ne!(tag((1, 0), 2), tag((1, 1), 2));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_no_other_tag_matches(value in "[\"W/,t* ]{0,12}|\\PC{0,12}") {
            let _ = verdict(&[("If-Match", &value), ("If-None-Match", &value), ("If-Range", &value)]);
            let _ = verdict(&[("If-Modified-Since", &value), ("If-Unmodified-Since", &value), ("Range", &value)]);
            if !value.contains("\"t\"") && value.trim() != "*" {
                let fields = [("If-None-Match", &*value)];
                prop_assert_eq!(verdict(&fields), Verdict::Send(None));
            }
        }

        #[test]
        fn a_list_that_has_the_tag_matches(before in prop::collection::vec("(W/)?\"[a-s,]{0,4}\"", 0..4)) {
            let list = before.iter().map(String::as_str).chain(["W/\"t\""]).collect::<Vec<_>>().join(" , ");
            for (name, expected) in [("If-None-Match", Verdict::NotModified), ("If-Match", Verdict::Failed)] {
                let fields = [(name, &*list)];
                prop_assert_eq!(verdict(&fields), expected);
            }
        }
    }
}
