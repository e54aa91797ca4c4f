//! What a request must have beside host, path and method: header fields and query parameters.

use std::borrow::Cow;
use std::fmt;

use super::clause::Clause;
use super::regex::Pattern;
use crate::http::{Field, is_same_name};

/// The parts of a request that conditions are about.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'r> {
    /// `name[:port]`, if it names one. Compared without its port, case and final dot.
    pub host: Option<&'r str>,
    /// Normalised.
    pub path: &'r str,
    /// Without its `?`.
    pub query: Option<&'r str>,
    /// In capitals.
    pub method: &'r str,
    /// The client's address.
    pub client: &'r str,
    /// All header fields.
    pub headers: &'r [Field<'r>],
    /// Of a preflight (Fetch standard, §3.2): the fields that the request itself will have, as it names them.
    /// Conditions are then checked for that request.
    pub announced: Option<&'r [u8]>,
}

/// Fields that browsers send without announcing them.
const UNANNOUNCED: [&str; 6] =
    ["accept", "accept-language", "content-language", "content-type", "range", "cookie"];

/// Whether the request that a preflight announces has a field.
enum Announced {
    /// It has: the preflight lists it.
    Listed,
    /// Browsers do not list it.
    Unknown,
    /// It is not listed.
    No,
}

impl Announced {
    fn of(announced: Option<&[u8]>, name: &str) -> Self {
        let Some(announced) = announced else { return Self::No };
        let is = |other: &[u8]| other.eq_ignore_ascii_case(name.as_bytes());
        if announced.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).any(is) {
            Self::Listed
        } else if UNANNOUNCED.iter().any(|known| is(known.as_bytes())) {
            Self::Unknown
        } else {
            Self::No
        }
    }
}

/// Which part of a request a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A header field. Names are compared without case.
    Header,
    /// A query parameter, by its decoded name.
    Query,
    /// A cookie. Its name is compared with case.
    Cookie,
}

/// What a header field or query parameter must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Present, with this value in each occurrence.
    Value(Box<str>),
    /// Present, with any value.
    Present,
    /// Not present.
    Absent,
    /// Present, and each occurrence begins with this.
    Prefix(Box<str>),
    /// Present, and each occurrence ends with this.
    Suffix(Box<str>),
    /// Present, and each occurrence has this in it.
    Contains(Box<str>),
    /// Present, and a part of each occurrence matches this.
    Matches(Pattern),
}

/// What a request has of a part that it gives several times, with values of which some are as expected and some are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mixed {
    /// It is not as expected: each occurrence must be. A route is chosen by what is certain.
    Unmet,
    /// It may be or not, as a backend may read any of them: also a field whose name is the same to CGI. What is refused must
    /// not come by in such a disguise.
    Unknown,
}

/// One condition of `route.match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The part of the request.
    pub part: Part,
    /// The name of the field or parameter.
    pub name: Box<str>,
    /// What its value must be.
    pub expected: Expected,
}

impl fmt::Display for Condition {
    /// `x-canary: 1`, `?page=2`; `no x-canary` if it must be absent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, separator) = match self.part {
            Part::Header => ("", ": "),
            Part::Query => ("?", "="),
            Part::Cookie => ("cookie ", "="),
        };
        let name = &self.name;
        match &self.expected {
            Expected::Value(value) => write!(f, "{mark}{name}{separator}{value}"),
            Expected::Present => write!(f, "{mark}{name}"),
            Expected::Absent => write!(f, "no {mark}{name}"),
            Expected::Prefix(text) => write!(f, "{mark}{name}{separator}{text}…"),
            Expected::Suffix(text) => write!(f, "{mark}{name}{separator}…{text}"),
            Expected::Contains(text) => write!(f, "{mark}{name}{separator}…{text}…"),
            Expected::Matches(pattern) => write!(f, "{mark}{name}{separator}{pattern}"),
        }
    }
}

impl Condition {
    /// Whether a request meets it; `None`: its value is not known yet, or it is [`Mixed::Unknown`].
    pub(super) fn verdict(&self, asked: &RouteQuery<'_>, mixed: Mixed) -> Option<bool> {
        match self.part {
            Part::Header | Part::Cookie => {
                let field = if self.part == Part::Cookie { "cookie" } else { &*self.name };
                match (Announced::of(asked.announced, field), &self.expected) {
                    (Announced::No, _) => {}
                    (Announced::Listed, Expected::Absent) if self.part == Part::Header => return Some(false),
                    (Announced::Listed, Expected::Present) if self.part == Part::Header => return Some(true),
                    _ => return None,
                }
                let is_it = |header: &&Field<'_>| header.name.eq_ignore_ascii_case(field);
                if self.part == Part::Cookie {
                    let values = all_cookies(asked.headers, &self.name);
                    return self.judge(values.map(|value| (true, self.expected.is_met(value))), mixed);
                }
                let met = |header: &Field<'_>| self.expected.is_met(header.value.trim_ascii());
                match mixed {
                    Mixed::Unmet => {
                        self.judge(asked.headers.iter().filter(is_it).map(|it| (true, met(it))), mixed)
                    }
                    Mixed::Unknown => {
                        let similar = |header: &&Field<'_>| is_similar(header, field);
                        let named = asked.headers.iter().filter(similar);
                        self.judge(named.map(|header| (is_it(&header), met(header))), mixed)
                    }
                }
            }
            Part::Query => {
                let met = |value: &str| match &self.expected {
                    Expected::Value(expected) => decoded(value).eq(expected.bytes()),
                    Expected::Present | Expected::Absent => true,
                    expected => expected.is_met(&decoded(value).collect::<Vec<u8>>()),
                };
                let values = parameters(asked.query.unwrap_or_default(), &self.name);
                self.judge(values.map(|value| (true, met(value))), mixed)
            }
        }
    }

    /// `found` has, for each occurrence, whether its name is the one that was asked for, and whether it has the value.
    fn judge(&self, found: impl Iterator<Item = (bool, bool)>, mixed: Mixed) -> Option<bool> {
        let (mut is_there, mut any, mut all) = (false, false, true);
        for (is_it, is_met) in found {
            (is_there, any, all) = (is_there | is_it, any | is_met, all & is_met);
        }
        let verdict = match mixed {
            Mixed::Unmet => Some(is_there && all),
            Mixed::Unknown if is_there && all => Some(true),
            Mixed::Unknown => (!any).then_some(false),
        };
        verdict.map(|is_met| is_met != (self.expected == Expected::Absent))
    }

    /// Whether no request can meet both.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        let same_name = match self.part {
            Part::Header => self.name.eq_ignore_ascii_case(&other.name),
            Part::Query | Part::Cookie => self.name == other.name,
        };
        let exclusive = match (&self.expected, &other.expected) {
            (Expected::Value(one), Expected::Value(two)) => one != two,
            (Expected::Absent, other) => *other != Expected::Absent,
            (one, Expected::Absent) => *one != Expected::Absent,
            _ => false,
        };
        self.part == other.part && same_name && exclusive
    }
}

impl Expected {
    /// Whether one value is as expected.
    pub(super) fn is_met(&self, value: &[u8]) -> bool {
        match self {
            Self::Value(expected) => value == expected.as_bytes(),
            Self::Present | Self::Absent => true,
            Self::Prefix(start) => value.starts_with(start.as_bytes()),
            Self::Suffix(end) => value.ends_with(end.as_bytes()),
            Self::Contains(part) => value.windows(part.len()).any(|window| window == part.as_bytes()),
            Self::Matches(pattern) => pattern.matches(value),
        }
    }
}

/// Whether a field has this name, or one that is the same to CGI.
pub(super) fn is_similar(field: &Field<'_>, name: &str) -> bool {
    is_same_name(field.name.as_bytes(), name.as_bytes())
}

/// The values of the cookies of this name in a field (RFC 6265 §5.4).
fn cookies<'v>(field: &'v [u8], name: &str) -> impl Iterator<Item = &'v [u8]> {
    let pairs = field.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(move |pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The values of the parameters of this name in a query, as they were written.
fn parameters<'q>(query: &'q str, name: &str) -> impl Iterator<Item = &'q str> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(key, _)| decoded(key).eq(name.bytes())).map(|(_, value)| value)
}

/// All cookies of this name, as they come.
pub(super) fn all_cookies<'f>(fields: &[Field<'f>], name: &str) -> impl Iterator<Item = &'f [u8]> {
    let fields = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("cookie"));
    fields.flat_map(move |field| cookies(field.value, name))
}

/// The first cookie of this name.
pub(crate) fn cookie<'f>(fields: &[Field<'f>], name: &str) -> Option<&'f [u8]> {
    all_cookies(fields, name).next()
}

/// All query parameters of this name, decoded.
pub(super) fn all_parameters<'q>(query: &'q str, name: &str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    parameters(query, name).map(|value| match value.contains(['%', '+']) {
        true => Cow::Owned(decoded(value).collect()),
        false => Cow::Borrowed(value.as_bytes()),
    })
}

/// The first query parameter of this name, decoded.
pub(crate) fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, [u8]>> {
    all_parameters(query?, name).next()
}

/// A form-encoded name or value, byte by byte: `+` is a space, what is wrongly encoded stays as it is.
fn decoded(text: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        match (first, after) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    Some(high << 4 | low)
                }
                _ => Some(first),
            },
            _ => Some(first),
        }
    })
}

/// The routes of one path and method, by the number of their conditions.
#[derive(Debug, Default)]
pub(super) struct Candidates(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    conditions: Box<[Clause]>,
    id: usize,
}

impl Candidate {
    /// Header fields count before all else.
    fn rank(&self) -> (usize, usize) {
        let headers = self.conditions.iter().filter(|condition| condition.is_on_header()).count();
        (headers, self.conditions.len() - headers)
    }

    /// Whether one request can be known to meet this and `other`, which asks for as much.
    fn meets(&self, other: &Self) -> bool {
        let exclusive =
            || self.conditions.iter().any(|one| other.conditions.iter().any(|two| one.excludes(two)));
        let plain = |it: &Self| it.conditions.iter().all(Clause::is_plain);
        self.rank() == other.rank() && plain(self) && plain(other) && !exclusive()
    }

    /// Whether it has all requests that meet both of these: it asks for nothing that neither of them asks for, and for more than each.
    fn goes_before(&self, one: &Self, other: &Self) -> bool {
        let is_asked = |condition| one.conditions.contains(condition) || other.conditions.contains(condition);
        self.rank() > one.rank() && self.conditions.iter().all(is_asked)
    }
}

impl Candidates {
    /// Adds a route. Of routes with as many conditions that can hold for the same requests, the one that was added first is
    /// found, if one of them has patterns. Of others see [`Self::conflict`].
    ///
    /// # Errors
    /// The id of one that has the same conditions.
    pub(super) fn add(&mut self, conditions: &[Clause], id: usize) -> Result<(), usize> {
        let new = Candidate { conditions: conditions.into(), id };
        match self.0.iter().find(|other| other.conditions == new.conditions) {
            Some(same) if same.id == id => return Ok(()), // a method or host that is listed twice
            Some(other) => return Err(other.id),
            None => {}
        }
        let at = self.0.partition_point(|other| other.rank() >= new.rank());
        self.0.insert(at, new);
        Ok(())
    }

    /// The ids of two routes that have as many conditions, all of them plain, and hold for the same requests, where no route with
    /// more conditions has these: the earlier one first. Asked once all routes are added.
    pub(super) fn conflict(&self) -> Option<(usize, usize)> {
        let undecided = |one: &Candidate, other: &Candidate| {
            one.meets(other) && !self.0.iter().any(|third| third.goes_before(one, other))
        };
        self.0.iter().enumerate().find_map(|(at, second)| {
            let first = self.0[..at].iter().find(|first| undecided(first, second))?;
            Some((first.id, second.id))
        })
    }

    /// The first whose conditions all hold.
    #[inline]
    pub(super) fn find(&self, asked: &RouteQuery<'_>) -> Option<usize> {
        let holds =
            |candidate: &&Candidate| candidate.conditions.iter().all(|condition| condition.holds(asked));
        self.0.iter().find(holds).map(|candidate| candidate.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(part: Part, name: &str, expected: Expected) -> Condition {
        Condition { part, name: name.into(), expected }
    }

    fn value(value: &str) -> Expected {
        Expected::Value(value.into())
    }

    fn asked<'r>(query: Option<&'r str>, headers: &'r [Field<'r>]) -> RouteQuery<'r> {
        RouteQuery { host: None, path: "/", query, method: "GET", client: "", headers, announced: None }
    }

    impl Condition {
        fn holds(&self, asked: &RouteQuery<'_>) -> bool {
            self.verdict(asked, Mixed::Unmet).expect("all is known")
        }
    }

    #[test]
    fn values_may_be_patterns_and_cookies_are_found() {
        let field = |name, value: &'static str| Field { name, value: value.as_bytes() };
        let headers = [
            field("cookie", "a=1; lang=de-AT"),
            field("Cookie", "b=x=y"),
            field("user-agent", "Big Bot/1.0"),
        ];
        let asked = asked(Some("v=a%20b"), &headers);
        let pattern = |text: &str| Expected::Matches(Pattern::new(text, false).expect("a pattern"));
        for (part, name, expected, holds) in [
            (Part::Cookie, "lang", Expected::Prefix("de".into()), true),
            (Part::Cookie, "lang", value("de"), false),
            (Part::Cookie, "Lang", Expected::Present, false),
            (Part::Cookie, "b", value("x=y"), true),
            (Part::Cookie, "x", Expected::Absent, true),
            (Part::Header, "User-Agent", Expected::Contains("Bot".into()), true),
            (Part::Header, "User-Agent", Expected::Suffix("1.1".into()), false),
            (Part::Header, "User-Agent", pattern(r"Bot/\d"), true),
            (Part::Header, "x", pattern(""), false),
            (Part::Query, "v", pattern("^a b$"), true),
        ] {
            let condition = condition(part, name, expected);
            assert_eq!(condition.holds(&asked), holds, "{condition}");
        }
    }

    #[test]
    fn a_field_must_have_the_value_wherever_it_is() {
        let field = |name, value: &'static str| Field { name, value: value.as_bytes() };
        let beta = condition(Part::Header, "x-beta", value("1"));
        let present = condition(Part::Header, "X-Beta", Expected::Present);
        let absent = condition(Part::Header, "x-beta", Expected::Absent);
        for (headers, holds) in [
            (&[][..], [false, false, true]),
            (&[field("X-BETA", "1")], [true, true, false]),
            (&[field("x-beta", "1 ")], [true, true, false]),
            (&[field("x-beta", "2")], [false, true, false]),
            (&[field("x-beta", "")], [false, true, false]),
            (&[field("x-beta", "1"), field("x-beta", "1")], [true, true, false]),
            (&[field("x-beta", "1"), field("x-beta", "2")], [false, true, false]),
            (&[field("x-betas", "1")], [false, false, true]),
        ] {
            let asked = asked(None, headers);
            let found = [&beta, &present, &absent].map(|condition| condition.holds(&asked));
            assert_eq!(found, holds, "{headers:?}");
        }
    }

    #[test]
    fn what_several_values_come_to_is_not_known_where_a_backend_may_read_any() {
        let field = |name, value: &'static str| Field { name, value: value.as_bytes() };
        let one = condition(Part::Header, "x-a", value("1"));
        let present = condition(Part::Header, "x-a", Expected::Present);
        let absent = condition(Part::Header, "x-a", Expected::Absent);
        let (yes, no) = (Some(true), Some(false));
        for (headers, verdicts) in [
            (&[][..], [no, no, yes]),
            (&[field("X-A", "1")], [yes, yes, no]),
            (&[field("X-A", "2")], [no, yes, no]),
            (&[field("x-a", "1"), field("x-a", "2")], [None, yes, no]),
            (&[field("x-a", "2"), field("x-a", "3")], [no, yes, no]),
            (&[field("x_a", "1")], [None, None, None]),
            (&[field("x_a", "2")], [no, None, None]),
            (&[field("x-a", "2"), field("X.A", "1")], [None, yes, no]),
        ] {
            let asked = asked(None, headers);
            let found = [&one, &present, &absent].map(|condition| condition.verdict(&asked, Mixed::Unknown));
            assert_eq!(found, verdicts, "{headers:?}");
        }
        let debug = condition(Part::Query, "debug", value("1"));
        assert_eq!(debug.verdict(&asked(Some("debug=1&debug=2"), &[]), Mixed::Unknown), None);
        assert_eq!(debug.verdict(&asked(Some("debug=2&x=1"), &[]), Mixed::Unknown), no);
        let session = condition(Part::Cookie, "c", value("1"));
        assert_eq!(session.verdict(&asked(None, &[field("cookie", "c=1; c=2")]), Mixed::Unknown), None);
    }

    #[test]
    fn parameters_are_compared_decoded() {
        let name = condition(Part::Query, "a b", value("1&2"));
        for (query, holds) in [
            ("a+b=1%262", true),
            ("x=y&a%20b=1%262", true),
            ("a+b=1&2", false),
            ("a+b=1%262&a+b=1%262", true),
            ("a+b=1%262&a+b=3", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(name.holds(&asked(Some(query), &[])), holds, "{query}");
        }
        let flag = condition(Part::Query, "debug", Expected::Present);
        for (query, holds) in
            [("debug", true), ("debug=", true), ("&&debug=0", true), ("debugs", false), ("x=debug", false)]
        {
            assert_eq!(flag.holds(&asked(Some(query), &[])), holds, "{query}");
        }
        let odd = condition(Part::Query, "%zz%2", Expected::Present);
        assert!(odd.holds(&asked(Some("%zz%2=1"), &[])));
        assert!(!flag.holds(&asked(None, &[])));
    }

    #[test]
    fn routes_that_one_request_could_meet_conflict_where_they_ask_for_as_much() {
        let header = |name: &str, expected| Clause::Is(condition(Part::Header, name, expected));
        let of = |all: &[(&[Clause], usize)]| {
            let mut candidates = Candidates::default();
            all.iter().for_each(|(conditions, id)| assert_eq!(candidates.add(conditions, *id), Ok(())));
            candidates.conflict()
        };
        let (a, b) = (header("a", value("1")), header("b", value("1")));
        let present = header("a", Expected::Present);
        assert_eq!(of(&[(&[], 0), (std::slice::from_ref(&a), 2), (&[present], 5)]), Some((2, 5)));
        assert_eq!(of(&[(std::slice::from_ref(&a), 2), (std::slice::from_ref(&b), 6)]), Some((2, 6)));
        // A third one has what meets both, wherever it stands.
        let both = [b.clone(), a.clone()];
        let more = [b.clone(), a.clone(), header("c", value("1"))];
        for third in [0, 1, 2] {
            let mut all: Vec<(&[Clause], usize)> =
                vec![(std::slice::from_ref(&a), 2), (std::slice::from_ref(&b), 6)];
            all.insert(third, (&both, 7));
            assert_eq!(of(&all), None);
            all[third] = (&more, 7);
            assert_eq!(of(&all), Some((2, 6)), "it asks for more than both");
        }
        let mut candidates = Candidates::default();
        assert_eq!(candidates.add(&[], 0), Ok(()));
        assert_eq!(candidates.add(&[], 1), Err(0));
        assert_eq!(candidates.add(&[header("a", value("1"))], 2), Ok(()));
        assert_eq!(candidates.add(&[header("A", value("2"))], 3), Ok(()));
        assert_eq!(candidates.add(&[header("a", Expected::Absent)], 4), Ok(()));
        assert_eq!(candidates.add(&[header("b", value("1")), header("a", value("1"))], 7), Ok(()));
        assert_eq!(candidates.add(&[Clause::Is(condition(Part::Query, "b", value("1")))], 8), Ok(()));
        // Of patterns it is not known whether one request can meet both: the first one counts.
        let starts = |text: &str| header("c", Expected::Prefix(text.into()));
        assert_eq!(candidates.add(&[starts("1")], 9), Ok(()));
        assert_eq!(candidates.add(&[starts("12")], 10), Ok(()));
        assert_eq!(candidates.add(&[starts("1")], 11), Err(9));
        let both = [Field { name: "c", value: b"123" }];
        assert_eq!(
            candidates.find(&asked(None, &both)),
            Some(4),
            "a condition that something is absent is one, too"
        );
        let fields = [("a", "1"), ("b", "1")].map(|(name, value)| Field { name, value: value.as_bytes() });
        assert_eq!(candidates.find(&asked(None, &fields)), Some(7));
        assert_eq!(candidates.find(&asked(Some("b=1"), &fields[..1])), Some(2));
        assert_eq!(candidates.find(&asked(Some("b=1"), &[])), Some(4));
    }
}
