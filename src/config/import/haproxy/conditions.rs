//! ACLs and conditions: what of a request they match, as far as a route can.

use std::collections::HashMap;

use super::super::draft::{Section, part, quoted, texts};
use super::super::report::Line;
use super::HaProxy;
use super::criteria::{has_port, test};
use super::maps::{Listed, LookedUp};
use super::parse::Item;
use super::samples::Samples;

/// What a route can ask of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Host(String),
    /// `path` of a route.
    Path(String),
    /// The same beside a path that the route has.
    AlsoPath(String),
    /// The host is this name, is below it, or has it in its middle.
    Domain(String),
    Method(String),
    /// A field, a parameter of the query or a cookie, by its name.
    Value(Of, String, Like),
    /// What a file has for a sample, and what that must be, as TOML.
    LookedUp(LookedUp, String),
    /// What a list has of a part of the request.
    Listed(Listed),
    /// A value of a map of Ringate, as TOML.
    Map(String, String),
    Sni(String),
    /// The server name that TLS with the listener has.
    ServerName(String),
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
    /// The response's status is within these two.
    Status(u16, u16),
    /// A login of a `userlist`, of its users in one of these groups if there are any.
    Login(String, Vec<String>),
    /// Every request.
    Always,
}

/// What has values by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Header,
    Query,
    Cookie,
}

impl Of {
    /// Their key.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Header => "headers",
            Self::Query => "query",
            Self::Cookie => "cookies",
        }
    }

    /// Whether two names are the same.
    pub(super) fn is_same(self, one: &str, other: &str) -> bool {
        match self {
            Self::Header => one.eq_ignore_ascii_case(other),
            Self::Query | Self::Cookie => one == other,
        }
    }
}

/// What a value is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Like {
    Is(String),
    Present,
    /// By a key: `prefix`, `suffix`, `contains`, `regex`.
    By(&'static str, String),
}

impl Like {
    /// As the value of a key of `match`.
    pub(super) fn toml(&self) -> String {
        match self {
            Self::Is(value) => format!("{{ value = {} }}", quoted(value)),
            Self::Present => "{ present = true }".to_owned(),
            Self::By(key, value) => format!("{{ {key} = {} }}", quoted(value)),
        }
    }
}

/// A value that must be so, as a key of a table of conditions.
pub(super) fn value_key(of: Of, name: &str, like: &Like) -> String {
    format!("{} = {{ {} = {} }}", of.key(), part(name), like.toml())
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
pub(super) type Alternatives = Vec<Test>;

/// The ACLs of a section by name. An ACL of several lines holds if one of them does.
#[derive(Default)]
pub(super) struct Acls {
    known: HashMap<String, Vec<Result<Alternatives, String>>>,
    lines: HashMap<String, Vec<Line>>,
    /// The criteria of each, as they are written.
    criteria: HashMap<String, Vec<String>>,
    /// Lines that compare a host with its port.
    with_port: Vec<Line>,
    /// The values of files that conditions name by `-f`.
    files: Files,
    notes: HashMap<Line, &'static str>,
}

/// Values by the name of the file that lists them.
pub(super) type Files = HashMap<String, Vec<String>>;

/// What tests have otherwise than HAProxy's.
pub(super) fn note(words: &[&str]) -> Option<&'static str> {
    let has = |name: &str| words.iter().any(|word| word.contains(name));
    match () {
        () if has("hdr_dom(") => Some("the name and all below it; HAProxy also finds it within longer names"),
        () if has("ssl_fc_sni") => {
            Some("an http listener asks for the host: clients may name another one in TLS")
        }
        () => None,
    }
}

/// Most alternatives of one condition.
pub(super) const MAX_ALTERNATIVES: usize = 200;

impl HaProxy<'_, '_> {
    /// The ACLs of a section, with the files that its conditions name.
    pub(super) fn acls(&self, items: &[&Item], samples: &Samples) -> Acls {
        let mut files = Files::new();
        for words in items.iter().flat_map(|item| item.words.windows(2)).filter(|words| words[0] == "-f") {
            if let Ok(text) = self.outside.read(&self.folder.join(&words[1])) {
                let lines =
                    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                files.insert(words[1].clone(), lines.map(str::to_owned).collect());
            }
        }
        Acls::of(items, files, samples)
    }
}

impl Acls {
    fn of(items: &[&Item], files: Files, samples: &Samples) -> Self {
        let mut acls = Self { files, ..Self::default() };
        for item in items.iter().filter(|item| item.word(0) == "acl") {
            let name = item.word(1).to_owned();
            acls.criteria.entry(name.clone()).or_default().push(item.word(2).to_owned());
            let (item, lines) = samples.resolve(item);
            acls.lines.entry(name.clone()).or_default().extend(lines);
            let found = test(&item.from(2), &acls.files);
            acls.known.entry(name.clone()).or_default().push(found);
            acls.lines.entry(name).or_default().push(item.line);
            acls.with_port.extend(has_port(&item.from(2)).then_some(item.line));
            acls.notes.extend(note(&item.from(2)).map(|note| (item.line, note)));
        }
        acls
    }

    /// What an ACL on this line has otherwise.
    pub(super) fn note(&self, line: Line) -> Option<&'static str> {
        self.notes.get(&line).copied()
    }

    /// The lines of the ACLs that a condition names.
    pub(super) fn lines(&self, words: &[&str]) -> Vec<Line> {
        let names = words.iter().map(|word| word.trim_start_matches('!'));
        names.filter_map(|name| self.lines.get(name)).flatten().copied().collect()
    }

    /// The first criterion of a condition, as it is written, for which this does not hold.
    pub(super) fn first_criterion(&self, words: &[&str], unless: impl Fn(&str) -> bool) -> Option<String> {
        let mut found = Vec::new();
        for test in
            words.iter().skip(1).copied().collect::<Vec<_>>().split(|word| matches!(*word, "||" | "or"))
        {
            for test in tests_of(test) {
                let test = test.iter().copied().filter(|word| *word != "!").collect::<Vec<_>>();
                match test[..] {
                    ["{" | "!{", criterion, ..] => found.push(criterion.to_owned()),
                    [name, ..] => {
                        let name = name.trim_start_matches('!');
                        found.extend(self.criteria.get(name).into_iter().flatten().cloned());
                    }
                    [] => {}
                }
            }
        }
        found.into_iter().find(|criterion| !unless(criterion))
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

    /// The condition, or what a route can ask of it.
    pub(super) fn known(&self, words: &[&str]) -> Vec<Conjunction> {
        self.condition(words).unwrap_or_else(|_| self.known_part(words))
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
                    let found = test(&words[at..at + end], &self.files)?;
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

/// What must not hold, as a table of `match.not`.
fn opposite(test: &Test) -> Option<String> {
    Some(match test {
        Test::Host(host) => format!("{{ host = {} }}", quoted(host)),
        Test::Path(path) => format!("{{ path = {} }}", quoted(path)),
        Test::Source(networks) => format!("{{ client = {} }}", texts(networks)),
        Test::Method(method) => format!("{{ methods = [{}] }}", quoted(method)),
        Test::Value(of, name, like) => format!("{{ {} }}", value_key(*of, name, like)),
        Test::Map(name, expected) => format!("{{ maps = {{ {} = {expected} }} }}", part(name)),
        _ => return None,
    })
}

/// A condition beside others of its kind.
fn also(route: &mut Section, asked: &str, line: Line) {
    route.push_essential("match.all", format!("{{ {asked} }}"), line);
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
            (Test::Value(of, name, like), false) => {
                let key = format!("match.{}.{}", of.key(), part(name));
                let value = match like {
                    Like::Is(value) if !value.contains('*') => quoted(value),
                    like => like.toml(),
                };
                match route.has(&key) {
                    false => route.essential(&key, value, line),
                    true => also(route, &value_key(*of, name, like), line),
                }
            }
            (Test::Map(name, expected), false) => {
                let key = format!("match.maps.{}", part(name));
                match route.has(&key) {
                    false => route.essential(&key, expected.as_str(), line),
                    true => also(route, &format!("maps = {{ {} = {expected} }}", part(name)), line),
                }
            }
            (Test::AlsoPath(path), false) => also(route, &format!("path = {}", quoted(path)), line),
            (Test::Source(networks), false) if !route.has("match.client") => {
                route.essential("match.client", texts(networks), line);
            }
            (test, true) => route.push_essential("match.not", opposite(test)?, line),
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
