//! Preconditions and ranges (RFC 9110 §13, §14), whatever a request has of them: each response is the one that an oracle gives,
//! which knows the meaning of the fields and not their text.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

const CONTENT: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const LENGTH: u64 = CONTENT.len() as u64;

/// What a request says of the file that it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Own,
    WeakOwn,
    Other,
}

#[derive(Clone, Debug)]
enum Tags {
    Any,
    List(Vec<Tag>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Date {
    Before,
    Same,
    After,
    Malformed,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Tag(Tag),
    Date(Date),
}

#[derive(Clone, Copy, Debug)]
enum Spec {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

#[derive(Clone, Debug)]
struct Request {
    is_head: bool,
    if_match: Option<Tags>,
    if_unmodified_since: Option<Date>,
    if_none_match: Option<Tags>,
    if_modified_since: Option<Date>,
    if_range: Option<Condition>,
    range: Option<Vec<Spec>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Failed,
    NotModified,
    Unsatisfiable,
    Whole,
    /// First and last position of each part.
    Parts(Vec<(u64, u64)>),
}

impl Tag {
    fn text(self, own: &str) -> String {
        match self {
            Self::Own => own.to_owned(),
            Self::WeakOwn => format!("W/{own}"),
            Self::Other => "\"other, \"".to_owned(),
        }
    }
}

impl Tags {
    fn has(&self, tags: &[Tag]) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => list.iter().any(|tag| tags.contains(tag)),
        }
    }

    fn text(&self, own: &str) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::List(list) => list.iter().map(|tag| tag.text(own)).collect::<Vec<_>>().join(" ,"),
        }
    }
}

impl Date {
    fn text(self) -> &'static str {
        match self {
            Self::Before => "Sun, 06 Nov 1994 08:49:36 GMT",
            Self::Same => "Sunday, 06-Nov-94 08:49:37 GMT",
            Self::After => "Sun Nov  6 08:49:38 1994",
            Self::Malformed => "Sun, 06 Nov 1994",
        }
    }
}

impl Spec {
    /// The positions of the file that it names. `None`: it breaks the grammar.
    fn positions(self) -> Option<Vec<u64>> {
        let all = 0..LENGTH;
        match self {
            Self::Between(first, last) if last < first => None,
            Self::Between(first, last) => Some(all.filter(|at| (first..=last).contains(at)).collect()),
            Self::From(first) => Some(all.filter(|at| *at >= first).collect()),
            Self::Last(count) => Some(all.filter(|at| LENGTH - at <= count).collect()),
        }
    }

    fn text(self) -> String {
        match self {
            Self::From(first) => format!("{first}-"),
            Self::Between(first, last) => format!("{first}-{last}"),
            Self::Last(count) => format!("-{count}"),
        }
    }
}

impl Request {
    fn expected(&self) -> Expected {
        let fails = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => !tags.has(&[Tag::Own]),
            (None, date) => date == Some(Date::Before),
        };
        let is_known = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => tags.has(&[Tag::Own, Tag::WeakOwn]),
            (None, date) => matches!(date, Some(Date::Same | Date::After)),
        };
        let is_same =
            matches!(self.if_range, None | Some(Condition::Tag(Tag::Own) | Condition::Date(Date::Same)));
        match &self.range {
            _ if fails => Expected::Failed,
            _ if is_known => Expected::NotModified,
            Some(specs) if is_same && !self.is_head => Self::selected(specs),
            _ => Expected::Whole,
        }
    }

    fn selected(specs: &[Spec]) -> Expected {
        let Some(mut parts) = specs.iter().map(|spec| spec.positions()).collect::<Option<Vec<_>>>() else {
            return Expected::Whole;
        };
        parts.retain(|part| !part.is_empty());
        match parts.iter().map(Vec::len).sum::<usize>() as u64 {
            0 => Expected::Unsatisfiable,
            total if total > LENGTH => Expected::Whole,
            _ => Expected::Parts(parts.iter().map(|part| (part[0], part[part.len() - 1])).collect()),
        }
    }

    fn fields(&self, own: &str) -> String {
        let if_range = self.if_range.map(|condition| match condition {
            Condition::Tag(tag) => tag.text(own),
            Condition::Date(date) => date.text().to_owned(),
        });
        let specs = |specs: &Vec<Spec>| specs.iter().map(|spec| spec.text()).collect::<Vec<_>>().join(", ");
        let fields = [
            ("If-None-Match", self.if_none_match.as_ref().map(|tags| tags.text(own))),
            ("Range", self.range.as_ref().map(|range| format!("bytes={}", specs(range)))),
            ("If-Modified-Since", self.if_modified_since.map(|date| date.text().to_owned())),
            ("If-Match", self.if_match.as_ref().map(|tags| tags.text(own))),
            ("If-Range", if_range),
            ("If-Unmodified-Since", self.if_unmodified_since.map(|date| date.text().to_owned())),
        ];
        let lines = fields.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}\r\n", value?)));
        lines.collect()
    }
}

fn requests() -> impl Strategy<Value = Request> {
    let tag = || prop_oneof![Just(Tag::Own), Just(Tag::WeakOwn), Just(Tag::Other)];
    let tags = move || prop_oneof![1 => Just(Tags::Any), 4 => vec(tag(), 1..4).prop_map(Tags::List)];
    let date = || prop_oneof![Just(Date::Before), Just(Date::Same), Just(Date::After), Just(Date::Malformed)];
    let if_range = prop_oneof![tag().prop_map(Condition::Tag), date().prop_map(Condition::Date)];
    let at = || prop_oneof![4 => 0..LENGTH + 4, 1 => Just(u64::MAX)];
    let spec = prop_oneof![
        at().prop_map(Spec::From),
        at().prop_map(Spec::Last),
        (at(), at()).prop_map(|(first, last)| Spec::Between(first, last)),
        (0..LENGTH, 0u64..4).prop_map(|(first, more)| Spec::Between(first, first + more)),
        (0..LENGTH, 0u64..4).prop_map(|(first, more)| Spec::Between(first, first + more)),
    ];
    // Most requests have few conditions, or none would come as far as the range.
    let rarely = |strategy| proptest::option::weighted(0.2, strategy);
    let preconditions = (rarely(tags()), proptest::option::weighted(0.2, date()), rarely(tags()));
    let ranges = (
        proptest::option::weighted(0.2, date()),
        proptest::option::weighted(0.4, if_range),
        proptest::option::weighted(0.8, vec(spec, 1..5)),
    );
    (proptest::bool::weighted(0.1), preconditions, ranges).prop_map(|(is_head, preconditions, ranges)| {
        let (if_match, if_unmodified_since, if_none_match) = preconditions;
        let (if_modified_since, if_range, range) = ranges;
        Request { is_head, if_match, if_unmodified_since, if_none_match, if_modified_since, if_range, range }
    })
}

fn bytes((first, last): (u64, u64)) -> &'static [u8] {
    &CONTENT[first as usize..=last as usize]
}

/// The content of a response with these parts, by its Content-Type.
fn multipart(media_type: &str, parts: &[(u64, u64)]) -> Vec<u8> {
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut content = Vec::new();
    for part in parts {
        let range = format!("{}-{}/{LENGTH}", part.0, part.1);
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}\r\n\r\n"
        );
        content.extend_from_slice(head.as_bytes());
        content.extend_from_slice(bytes(*part));
    }
    content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    content
}

fn assert_is(expected: &Expected, is_head: bool, response: &Response) {
    let range = response.header("Content-Range");
    let (status, content, range_is_right) = match expected {
        Expected::Failed => (412, None, range.is_none()),
        Expected::NotModified => (304, Some(Vec::new()), range.is_none()),
        Expected::Unsatisfiable => (416, None, range == Some("bytes */26")),
        Expected::Whole if is_head => (200, Some(Vec::new()), range.is_none()),
        Expected::Whole => (200, Some(CONTENT.to_vec()), range.is_none()),
        Expected::Parts(parts) => match parts[..] {
            [part @ (first, last)] => {
                let right = range == Some(&*format!("bytes {first}-{last}/{LENGTH}"));
                (206, Some(bytes(part).to_vec()), right)
            }
            _ => (206, Some(multipart(response.header("Content-Type").unwrap(), parts)), range.is_none()),
        },
    };
    assert_eq!(response.status, status);
    assert!(range_is_right, "{range:?}");
    if let Some(content) = content {
        assert_eq!(response.body.escape_ascii().to_string(), content.escape_ascii().to_string());
    }
}

#[test]
fn any_preconditions_and_ranges_have_their_meaning() {
    let dir = site();
    put(&dir.path().join("site/letters.txt"), CONTENT);
    let ringate = serving(dir.path(), "").start();
    let mut client = ringate.client();
    let own = ask(&mut client, "GET", "/letters.txt", "").header("ETag").unwrap().to_owned();
    let mut seen = std::collections::HashSet::new();
    let client = std::cell::RefCell::new(client);
    let mut runner = TestRunner::new(Config { cases: 1000, failure_persistence: None, ..Config::default() });
    let seen_by = std::cell::RefCell::new(&mut seen);
    let ran = runner.run(&requests(), |request| {
        let method = if request.is_head { "HEAD" } else { "GET" };
        let response = ask(&mut client.borrow_mut(), method, "/letters.txt", &request.fields(&own));
        assert_is(&request.expected(), request.is_head, &response);
        seen_by.borrow_mut().insert(response.status);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(seen, [200, 206, 304, 412, 416].into());
}
