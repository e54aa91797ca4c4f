//! ACLs and conditions: what of a request they match, as far as a route can.

use std::collections::HashMap;

use super::super::draft::{Section, part, quoted, texts};
use super::super::report::Line;
use super::super::values::{self, Simple};
use super::maps::{LookedUp, looked_up};
use super::parse::Item;
use super::rules::escaped;
use crate::config::names;

/// What a route can ask of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Host(String),
    /// `path` of a route.
    Path(String),
    Method(String),
    /// A field with a value, or `None`: that it is there.
    Header(String, Option<String>),
    /// A field whose value is like this, by a key of `match.headers`.
    HeaderLike(String, &'static str, String),
    Query(String, Option<String>),
    /// What a file has for a sample, and what that must be, as TOML.
    LookedUp(LookedUp, String),
    /// The same of a map of Ringate.
    Map(String, String),
    Sni(String),
    /// Client addresses.
    Source(Vec<String>),
    /// The connection of the client has TLS.
    Tls,
    /// The client has a verified certificate.
    Certificate,
    /// Requests of a client's address in a time are more than so many.
    Rate(u64),
    /// Connections of a client's address are more than so many.
    Connections(u64),
    /// A login of `userlist`.
    Login,
    /// Every request.
    Always,
}

/// A test, or its opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) test: Test,
    pub(super) negated: bool,
}

/// Tests that must all hold.
pub(super) type Conjunction = Vec<Literal>;

/// Alternatives of one test: one for each value.
type Alternatives = Vec<Test>;

/// The ACLs of a section by name. An ACL of several lines holds if one of them does.
#[derive(Default)]
pub(super) struct Acls {
    known: HashMap<String, Vec<Result<Alternatives, String>>>,
    lines: HashMap<String, Vec<Line>>,
    /// Lines that compare a host with its port.
    with_port: Vec<Line>,
}

/// Most alternatives of one condition.
const MAX_ALTERNATIVES: usize = 200;

impl Acls {
    pub(super) fn of(items: &[Item]) -> Self {
        let mut acls = Self::default();
        for item in items.iter().filter(|item| item.word(0) == "acl") {
            let name = item.word(1).to_owned();
            acls.known.entry(name.clone()).or_default().push(test(&item.from(2)));
            acls.lines.entry(name).or_default().push(item.line);
            acls.with_port.extend(has_port(&item.from(2)).then_some(item.line));
        }
        acls
    }

    /// The lines of the ACLs that a condition names.
    pub(super) fn lines(&self, words: &[&str]) -> Vec<Line> {
        let names = words.iter().map(|word| word.trim_start_matches('!'));
        names.filter_map(|name| self.lines.get(name)).flatten().copied().collect()
    }

    /// The lines on which a condition compares a host with its port: its own, `line`, or those of ACLs.
    pub(super) fn with_port(&self, words: &[&str], line: Line) -> Vec<Line> {
        let own = has_port(words).then_some(line);
        let of_acls = self.lines(words).into_iter().filter(|line| self.with_port.contains(line));
        own.into_iter().chain(of_acls).collect()
    }

    /// `if …` or `unless …` as alternatives, of which one must hold. No condition: the one that always holds.
    ///
    /// # Errors
    /// Part of it can't be asked by a route; why.
    pub(super) fn condition(&self, words: &[&str]) -> Result<Vec<Conjunction>, String> {
        let Some((keyword, rest)) = words.split_first() else { return Ok(vec![Vec::new()]) };
        let unless = *keyword == "unless";
        let mut all = Vec::new();
        for alternative in rest.split(|word| *word == "||" || *word == "or") {
            all.extend(self.conjunction(alternative)?);
            if all.len() > MAX_ALTERNATIVES {
                return Err("the condition has too many alternatives".to_owned());
            }
        }
        if !unless {
            return Ok(all);
        }
        // The opposite of one test; of more, a route would have to ask for one of several opposites.
        match &all[..] {
            [one] if one.len() == 1 => {
                Ok(vec![vec![Literal { test: one[0].test.clone(), negated: !one[0].negated }]])
            }
            _ if all.iter().all(|one| one.len() == 1) => Ok(vec![
                all.iter()
                    .map(|one| Literal { test: one[0].test.clone(), negated: !one[0].negated })
                    .collect(),
            ]),
            _ => Err("the opposite of several tests can't be asked by a route".to_owned()),
        }
    }

    /// What a route can ask of a condition of which it can't ask all: whatever meets the condition meets one of these, too.
    pub(super) fn known_part(&self, words: &[&str]) -> Vec<Conjunction> {
        let everything = || vec![Conjunction::new()];
        let Some((&"if", rest)) = words.split_first() else { return everything() };
        let mut all = Vec::new();
        for alternative in rest.split(|word| *word == "||" || *word == "or") {
            let mut known: Vec<Conjunction> = everything();
            for test in tests_of(alternative) {
                let with = |one: &Conjunction, more: &Conjunction| one.iter().chain(more).cloned().collect();
                if let Ok(more) = self.conjunction(test) {
                    known =
                        known.iter().flat_map(|one| more.iter().map(move |more| with(one, more))).collect();
                }
            }
            all.extend(known);
            if all.len() > MAX_ALTERNATIVES {
                return everything();
            }
        }
        all
    }

    fn conjunction(&self, words: &[&str]) -> Result<Vec<Conjunction>, String> {
        let mut all: Vec<Conjunction> = vec![Vec::new()];
        let mut at = 0;
        let mut negated = false;
        while at < words.len() {
            let word = words[at];
            at += 1;
            let tests: Alternatives = match word {
                "!" => {
                    negated = !negated;
                    continue;
                }
                "{" | "!{" => {
                    negated ^= word.starts_with('!');
                    let end =
                        words[at..].iter().position(|word| *word == "}").ok_or("a brace is not closed")?;
                    let found = test(&words[at..at + end])?;
                    at += end + 1;
                    found
                }
                word => {
                    let name = word.trim_start_matches('!');
                    negated ^= name.len() != word.len();
                    self.named(name)?
                }
            };
            // None of several values: each of them is not so.
            let literals = tests.into_iter().map(|test| Literal { test, negated });
            all = match negated {
                true => {
                    let literals: Vec<Literal> = literals.collect();
                    all.into_iter().map(|one| one.into_iter().chain(literals.clone()).collect()).collect()
                }
                false => {
                    let literals: Vec<Literal> = literals.collect();
                    let with = |one: &Conjunction| -> Vec<Conjunction> {
                        literals
                            .iter()
                            .map(|literal| one.iter().cloned().chain([literal.clone()]).collect())
                            .collect()
                    };
                    all.iter().flat_map(with).collect()
                }
            };
            negated = false;
        }
        Ok(all)
    }

    fn named(&self, name: &str) -> Result<Alternatives, String> {
        match name {
            "TRUE" | "HTTP" => return Ok(vec![Test::Always]),
            "METH_GET" => return Ok(vec![Test::Method("GET".into()), Test::Method("HEAD".into())]),
            "METH_HEAD" => return Ok(vec![Test::Method("HEAD".into())]),
            "METH_POST" => return Ok(vec![Test::Method("POST".into())]),
            "METH_OPTIONS" => return Ok(vec![Test::Method("OPTIONS".into())]),
            "LOCALHOST" => return Ok(vec![Test::Source(vec!["127.0.0.0/8".into(), "::1".into()])]),
            _ => {}
        }
        let found = self.known.get(name).ok_or_else(|| format!("there is no ACL {name}"))?;
        let mut all = Vec::new();
        for one in found {
            match (one.as_ref().map_err(Clone::clone)?.as_slice(), &mut all[..]) {
                ([Test::Source(more)], [Test::Source(known)]) => known.extend(more.iter().cloned()),
                (more, _) => all.extend(more.iter().cloned()),
            }
        }
        Ok(all)
    }
}

/// The words of each test of an alternative, with its negation.
fn tests_of<'w, 'a>(words: &'w [&'a str]) -> Vec<&'w [&'a str]> {
    let (mut found, mut begin, mut at) = (Vec::new(), 0, 0);
    while at < words.len() {
        let word = words[at];
        at += 1;
        if word == "!" {
            continue;
        }
        if word == "{" || word == "!{" {
            at = words[at..].iter().position(|word| *word == "}").map_or(words.len(), |end| at + end + 1);
        }
        found.push(&words[begin..at]);
        begin = at;
    }
    found
}

/// A criterion with its flags and values.
fn test(words: &[&str]) -> Result<Alternatives, String> {
    let Some((criterion, rest)) = words.split_first() else { return Err("a test is missing".to_owned()) };
    let (mut values, mut method, mut fold) = (Vec::new(), None, false);
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            "-i" => fold = true,
            "-m" => {
                at += 1;
                method = rest.get(at).copied();
            }
            "-f" => return Err("patterns of a file are not read".to_owned()),
            "-M" | "-n" | "-u" | "--" => {}
            value => values.push(value),
        }
        at += 1;
    }
    let (name, argument) = match criterion.split_once('(') {
        Some((name, rest)) => (name, rest.trim_end_matches(')').split(',').next().unwrap_or_default()),
        None => (*criterion, ""),
    };
    let (name, method) = match name.rsplit_once('_') {
        // `path_beg` is `path -m beg`.
        Some((base, suffix @ ("beg" | "end" | "reg" | "sub" | "dir" | "dom" | "len" | "cnt")))
            if method.is_none() =>
        {
            (base, Some(suffix))
        }
        _ => (name, method),
    };
    let each = |make: &dyn Fn(&str) -> Result<Test, String>| values.iter().map(|value| make(value)).collect();
    let unknown = || Err(format!("{criterion} is nothing that a route can ask"));
    if let Some(sample) = looked_up(criterion) {
        return of_map(&sample, method, &values, fold).unwrap_or_else(unknown);
    }
    match (name, argument) {
        ("path", "") | ("capture.req.uri" | "url", "") => each(&|value| {
            path(method.unwrap_or("str"), value, fold)
                .ok_or_else(|| format!("{criterion} {value} is no path or prefix"))
        }),
        ("hdr" | "req.hdr" | "req.fhdr" | "fhdr", field) if field.eq_ignore_ascii_case("host") => {
            each(&|value| {
                host(method.unwrap_or("str"), value)
                    .ok_or_else(|| format!("{criterion} {value} is neither a name nor `*.name`"))
            })
        }
        ("hdr" | "req.hdr" | "req.fhdr" | "fhdr", field) if !field.is_empty() => match method {
            None | Some("str") if !fold => {
                each(&|value| Ok(Test::Header(field.to_owned(), Some(value.to_owned()))))
            }
            None | Some("str" | "beg" | "end" | "sub" | "reg") => each(&|value| {
                header_like(field, method.unwrap_or("str"), value, fold)
                    .ok_or_else(|| format!("{criterion} {value} is no expression of Ringate's"))
            }),
            Some("found") => Ok(vec![Test::Header(field.to_owned(), None)]),
            Some("cnt") if values == ["gt", "0"] || values == ["ge", "1"] => {
                Ok(vec![Test::Header(field.to_owned(), None)])
            }
            _ => unknown(),
        },
        ("url_param" | "urlp", field) if !field.is_empty() => match method {
            Some("found") => Ok(vec![Test::Query(field.to_owned(), None)]),
            None | Some("str") => each(&|value| Ok(Test::Query(field.to_owned(), Some(value.to_owned())))),
            _ => unknown(),
        },
        ("method", "") => each(&|value| Ok(Test::Method(value.to_owned()))),
        ("src", "") if method.is_none() || method == Some("ip") => {
            Ok(vec![Test::Source(values.iter().map(|value| (*value).to_owned()).collect())])
        }
        _ => match of_connection(name, method, &values) {
            Some(tests) => tests,
            None => unknown(),
        },
    }
}

/// Whether words compare a host with its port.
fn has_port(words: &[&str]) -> bool {
    let is_host = |word: &str| {
        let word = word.to_ascii_lowercase();
        ["hdr(host)", "req.hdr(host)", "req.fhdr(host)"].contains(&word.as_str())
    };
    let is_ported = |word: &&str| word.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let mut within = words.split(|word| matches!(*word, "{" | "}" | "!{"));
    within.any(|words| words.first().is_some_and(|word| is_host(word)) && words.iter().any(is_ported))
}

/// A test of what a file has for a sample.
fn of_map(
    sample: &LookedUp,
    method: Option<&str>,
    values: &[&str],
    fold: bool,
) -> Option<Result<Alternatives, String>> {
    let test = |expected: String| Test::LookedUp(sample.clone(), expected);
    let each =
        |make: &dyn Fn(&str) -> String| Some(Ok(values.iter().map(|value| test(make(value))).collect()));
    let regex = |text: String| format!("{{ regex = {} }}", quoted(&format!("(?i){text}")));
    match method {
        Some("found") if sample.default.is_empty() => Some(Ok(vec![test("{ present = true }".to_owned())])),
        // What is not in the file has a value as well.
        Some("found") => Some(Ok(vec![Test::Always])),
        None | Some("str") if fold => each(&|value| regex(format!("^{}$", escaped(value)))),
        None | Some("str") => each(&|value| format!("{{ value = {} }}", quoted(value))),
        Some("beg") if !fold => each(&|value| format!("{{ prefix = {} }}", quoted(value))),
        Some("end") if !fold => each(&|value| format!("{{ suffix = {} }}", quoted(value))),
        Some("sub") if !fold => each(&|value| format!("{{ contains = {} }}", quoted(value))),
        _ => None,
    }
}

/// A value that is not compared whole, or without regard to case.
fn header_like(field: &str, method: &str, value: &str, fold: bool) -> Option<Test> {
    let plain = match method {
        "beg" => Some("prefix"),
        "end" => Some("suffix"),
        "sub" => Some("contains"),
        _ => None,
    };
    if let Some(key) = plain.filter(|_| !fold && !value.is_empty()) {
        return Some(Test::HeaderLike(field.to_owned(), key, value.to_owned()));
    }
    let literal = escaped(value);
    let regex = match method {
        "beg" => format!("^{literal}"),
        "end" => format!("{literal}$"),
        "sub" => literal,
        "reg" => value.to_owned(),
        _ => format!("^{literal}$"),
    };
    let regex = format!("{}{regex}", if fold { "(?i)" } else { "" });
    is_regex(&regex).then(|| Test::HeaderLike(field.to_owned(), "regex", regex))
}

/// Whether Ringate takes it for a regular expression: one of HAProxy may look around, or back.
fn is_regex(text: &str) -> bool {
    names::path_pattern(&format!("~ {text}")).is_ok()
}

/// Tests of the client's connection and of its counters.
fn of_connection(name: &str, method: Option<&str>, values: &[&str]) -> Option<Result<Alternatives, String>> {
    Some(Ok(vec![match name {
        "ssl_fc" => Test::Tls,
        "ssl_c_used" => Test::Certificate,
        "ssl_c_verify" if values == ["0"] => Test::Certificate,
        "req_ssl_sni" | "req.ssl_sni" | "ssl_fc_sni" => {
            let names: Option<Alternatives> = match method {
                None | Some("str") => {
                    Some(values.iter().map(|value| Test::Sni(value.to_ascii_lowercase())).collect())
                }
                Some("end") => values
                    .iter()
                    .map(|value| Some(Test::Sni(format!("*.{}", value.strip_prefix('.')?))))
                    .collect(),
                _ => None,
            };
            return Some(names.ok_or_else(|| "a server name is whole, or ends at a dot".to_owned()));
        }
        "sc_http_req_rate" | "sc0_http_req_rate" | "src_http_req_rate" => Test::Rate(more_than(values)?),
        "sc_conn_cur" | "sc0_conn_cur" | "src_conn_cur" => Test::Connections(more_than(values)?),
        "http_auth" | "http_auth_group" => Test::Login,
        "always_true" => Test::Always,
        _ => return None,
    }]))
}

/// `gt N`, `ge N`.
fn more_than(values: &[&str]) -> Option<u64> {
    match values {
        ["gt", most] => most.parse().ok(),
        ["ge", most] => most.parse::<u64>().ok()?.checked_sub(1),
        _ => None,
    }
}

fn path(method: &str, value: &str, fold: bool) -> Option<Test> {
    let any_case = if fold { "(?i)" } else { "" };
    match method {
        "str" if value.starts_with('/') && !fold => Some(Test::Path(format!("={value}"))),
        "str" if value.starts_with('/') => Some(Test::Path(format!("~ (?i)^{}$", escaped(value)))),
        "beg" | "dir" if value == "/" => Some(Test::Path("/".to_owned())),
        "beg" if value.starts_with('/') => Some(Test::Path(format!("~ {any_case}^{}", escaped(value)))),
        "dir" if !value.trim_matches('/').is_empty() => {
            Some(Test::Path(format!("~ {any_case}/{}(/|$)", escaped(value.trim_matches('/')))))
        }
        "end" => {
            let escaped = escaped(value);
            Some(Test::Path(format!("~ {any_case}{escaped}$")))
        }
        "reg" => Some(match values::simple(value).filter(|_| !fold) {
            Some(Simple::Exact(path)) => Test::Path(format!("={path}")),
            _ => {
                let regex = format!("{any_case}{value}");
                is_regex(&regex).then(|| Test::Path(format!("~ {regex}")))?
            }
        }),
        _ => None,
    }
}

fn host(method: &str, value: &str) -> Option<Test> {
    let value = value.to_ascii_lowercase();
    match method {
        "str" => Some(Test::Host(value.split(':').next().unwrap_or_default().to_owned())),
        "end" => value.strip_prefix('.').map(|rest| Test::Host(format!("*.{rest}"))),
        _ => None,
    }
}

fn header_key(name: &str) -> String {
    format!("match.headers.{}", part(name))
}

/// What must not hold, as a table of `match.not`.
fn opposite(test: &Test) -> Option<String> {
    let expected = |value: &Option<String>| match value {
        Some(value) => format!("{{ value = {} }}", quoted(value)),
        None => "{ present = true }".to_owned(),
    };
    Some(match test {
        Test::Method(method) => format!("{{ methods = [{}] }}", quoted(method)),
        Test::Header(name, value) => format!("{{ headers = {{ {} = {} }} }}", part(name), expected(value)),
        Test::HeaderLike(name, key, value) => {
            format!("{{ headers = {{ {} = {{ {key} = {} }} }} }}", part(name), quoted(value))
        }
        Test::Query(name, value) => format!("{{ query = {{ {} = {} }} }}", part(name), expected(value)),
        Test::Map(name, expected) => format!("{{ maps = {{ {} = {expected} }} }}", part(name)),
        _ => return None,
    })
}

/// Writes what a conjunction asks into a route. `None`: part of it can't be asked so.
pub(super) fn write(conjunction: &[Literal], route: &mut Section, line: Line) -> Option<()> {
    let mut methods = Vec::new();
    for literal in conjunction {
        match (&literal.test, literal.negated) {
            (Test::Always, false) => {}
            (Test::Host(host), false) if !route.has("host") => route.essential("host", quoted(host), line),
            (Test::Path(path), false) if !route.has("path") => {
                if path != "/" {
                    route.essential("path", quoted(path), line);
                }
            }
            (Test::Method(method), false) => methods.push(method.clone()),
            (Test::Header(name, Some(value)), false) if !route.has(&header_key(name)) => {
                route.essential(&header_key(name), quoted(value), line);
            }
            (Test::Header(name, None), false) if !route.has(&header_key(name)) => {
                route.essential(&header_key(name), "{ present = true }", line);
            }
            (Test::Query(name, Some(value)), false) => {
                route.essential(&format!("match.query.{}", part(name)), quoted(value), line);
            }
            (Test::Query(name, None), false) => {
                route.essential(&format!("match.query.{}", part(name)), "{ present = true }", line);
            }
            (Test::HeaderLike(name, key, value), false) if !route.has(&header_key(name)) => {
                route.essential(&header_key(name), format!("{{ {key} = {} }}", quoted(value)), line);
            }
            (Test::Map(name, expected), false) => {
                let key = format!("match.maps.{}", part(name));
                match route.has(&key) {
                    false => route.essential(&key, expected.as_str(), line),
                    true => {
                        let more = format!("{{ maps = {{ {} = {expected} }} }}", part(name));
                        route.push_essential("match.all", more, line);
                    }
                }
            }
            (
                Test::Method(_) | Test::Header(..) | Test::HeaderLike(..) | Test::Query(..) | Test::Map(..),
                true,
            ) => {
                route.push_essential("match.not", opposite(&literal.test)?, line);
            }
            (Test::Sni(name), false) if !route.has("sni") => route.essential("sni", quoted(name), line),
            _ => return None,
        }
    }
    match methods.len() {
        0 => {}
        1 => route.essential("methods", texts(&methods), line),
        _ => return None,
    }
    Some(())
}
