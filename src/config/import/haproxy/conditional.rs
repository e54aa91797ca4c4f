//! Conditions of rules on header fields, as the tables of `headers.when`.
//!
//! A table has one condition of each kind, `any`, `all` and `not`, of which each has tables without such. A condition of
//! HAProxy's is alternatives of tests, or the opposite of those:
//!
//! ```text
//! if a b || a c      ─► a, any = [{ b }, { c }]
//! unless a b || c    ─► not = [{ a, b }, { c }]
//! ```

use std::collections::BTreeSet;

use super::super::draft::{list, part, quoted, texts};
use super::conditions::{Conjunction, Like, Literal, Of, Test};
use super::deny::keys;
use super::rules::decided;

/// The statuses that `status` can name.
const STATUSES: std::ops::RangeInclusive<u16> = 200..=599;

/// What must hold of a request and its response: one of the alternatives, or none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct When {
    pub(super) alternatives: Vec<Conjunction>,
    pub(super) unless: bool,
}

/// A condition on one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Never,
    Always,
    /// The conditions of tables, of which those of one hold, and perhaps those of several.
    Tables(Vec<String>),
    /// It can't be asked.
    Lost,
}

impl When {
    /// As a listener with or without TLS asks it.
    pub(super) fn on(&self, tls: bool) -> Asked {
        let found: Vec<Conjunction> =
            self.alternatives.iter().filter_map(|tests| decided(tests, tls, true)).collect();
        match (found.iter().any(Vec::is_empty), self.unless) {
            (true, false) => return Asked::Always,
            (true, true) => return Asked::Never,
            (false, unless) if found.is_empty() => return if unless { Asked::Always } else { Asked::Never },
            _ => {}
        }
        let several = || found.iter().map(|one| table(std::slice::from_ref(one))).collect::<Option<Vec<_>>>();
        let tables = match self.unless {
            true => opposite(&found).map(|one| vec![one]),
            false => table(&found).map(|one| vec![one]).or_else(several),
        };
        tables.map_or(Asked::Lost, Asked::Tables)
    }

    /// Whether it asks for a field of requests for which this holds.
    pub(super) fn asks_field(&self, is: impl Fn(&str) -> bool) -> bool {
        let is_it = |test: &Test| match test {
            Test::Value(Of::Header, name, _) => is(name),
            Test::Value(Of::Cookie, ..) => is("cookie"),
            Test::Host(_) | Test::ServerName(_) => is("host"),
            _ => false,
        };
        self.alternatives.iter().flatten().any(|literal| is_it(&literal.test))
    }

    /// Whether it compares fields.
    pub(super) fn compares_fields(&self) -> bool {
        let mut all = self.alternatives.iter().flatten();
        all.any(|literal| matches!(&literal.test, Test::Value(Of::Header, _, like) if *like != Like::Present))
    }
}

/// The conditions of a table that one of the alternatives meets. `None`: one table can't ask them.
fn table(alternatives: &[Conjunction]) -> Option<String> {
    let (first, others) = alternatives.split_first()?;
    let is_common = |literal: &&Literal| others.iter().all(|one| one.contains(literal));
    let common: Conjunction = first.iter().filter(is_common).cloned().collect();
    let rest: Vec<Conjunction> = alternatives
        .iter()
        .map(|one| one.iter().filter(|literal| !common.contains(literal)).cloned().collect())
        .collect();
    let mut table = Table::default();
    common.iter().try_for_each(|literal| table.add(literal))?;
    // An alternative that has nothing else holds wherever the others do.
    if !rest.iter().any(Vec::is_empty) {
        table.one_of(&rest)?;
    }
    table.written()
}

/// The conditions of a table that none of the alternatives meets.
fn opposite(alternatives: &[Conjunction]) -> Option<String> {
    let mut table = Table::default();
    for one in alternatives {
        match &one[..] {
            [literal] => {
                let negated = !literal.negated;
                table.add(&Literal { test: literal.test.clone(), negated })?;
            }
            several => table.not.push(inner(several)?),
        }
    }
    table.written()
}

/// A table of `any`, `all` or `not`.
fn inner(tests: &[Literal]) -> Option<String> {
    let mut keys = Keys::default();
    for literal in tests {
        match (&literal.test, literal.negated) {
            (test, false) => keys.add(test)?.ok()?,
            (Test::Value(of, name, Like::Present), true) => {
                keys.put(of.key(), name, "{ present = false }").ok()?
            }
            (_, true) => return None,
        }
    }
    Some(format!("{{ {} }}", keys.written().join(", ")))
}

/// Keys of a table, of which those with names may have several.
#[derive(Debug, Default)]
struct Keys {
    found: Vec<Key>,
}

/// A key with its value, or with its names and theirs.
#[derive(Debug)]
struct Key {
    key: String,
    value: String,
    names: Vec<(String, String)>,
}

impl Key {
    fn new(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_owned(), names: Vec::new() }
    }
}

impl Keys {
    /// Adds what a test asks. `Err`: its key is there already, and this is what it would be. `None`: no key asks that.
    fn add(&mut self, test: &Test) -> Option<Result<(), String>> {
        let written = keys(test)?;
        Some(match test {
            Test::Value(of, name, like) => self.put(of.key(), name, &like.toml()),
            Test::Map(name, expected) => self.put("maps", name, expected),
            _ => {
                let (key, value) = written.split_once(" = ")?;
                if self.has(key) {
                    return Some(Err(written));
                }
                self.found.push(Key::new(key, value));
                Ok(())
            }
        })
    }

    fn put(&mut self, key: &str, name: &str, value: &str) -> Result<(), String> {
        let at = match self.found.iter().position(|known| known.key == key) {
            Some(at) => at,
            None => {
                self.found.push(Key::new(key, ""));
                self.found.len() - 1
            }
        };
        let names = &mut self.found[at].names;
        if names.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(format!("{key} = {{ {} = {value} }}", part(name)));
        }
        names.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn has(&self, key: &str) -> bool {
        self.found.iter().any(|known| known.key == key)
    }

    fn written(&self) -> Vec<String> {
        let one = |Key { key, value, names }: &Key| {
            let names: Vec<String> =
                names.iter().map(|(name, value)| format!("{} = {value}", part(name))).collect();
            match &names[..] {
                [] => format!("{key} = {value}"),
                names => format!("{key} = {{ {} }}", names.join(", ")),
            }
        };
        self.found.iter().map(one).collect()
    }
}

/// A table of `headers.when` while it is written.
#[derive(Debug, Default)]
struct Table {
    keys: Keys,
    statuses: Option<BTreeSet<u16>>,
    any: Vec<String>,
    all: Vec<String>,
    not: Vec<String>,
}

impl Table {
    /// Adds a test that must hold. `None`: it can't be asked.
    fn add(&mut self, literal: &Literal) -> Option<()> {
        match (&literal.test, literal.negated) {
            (Test::Status(first, last), negated) => {
                let wanted = STATUSES.filter(|status| (first..=last).contains(&status) != negated);
                self.only(wanted.collect());
            }
            (test, true) => self.not.push(format!("{{ {} }}", keys(test)?)),
            (test, false) => {
                if let Err(more) = self.keys.add(test)? {
                    self.all.push(format!("{{ {more} }}"));
                }
            }
        }
        Some(())
    }

    fn only(&mut self, wanted: BTreeSet<u16>) {
        self.statuses = Some(match &self.statuses {
            Some(known) => known.intersection(&wanted).copied().collect(),
            None => wanted,
        });
    }

    /// Adds alternatives of which one must hold.
    fn one_of(&mut self, alternatives: &[Conjunction]) -> Option<()> {
        let singles: Option<Vec<&Literal>> = alternatives
            .iter()
            .map(|one| if let [literal] = &one[..] { Some(literal) } else { None })
            .collect();
        if let Some(singles) = singles {
            if singles.iter().all(|literal| matches!(literal.test, Test::Status(..))) {
                let mut wanted = BTreeSet::new();
                for literal in singles {
                    let mut one = Self::default();
                    one.add(literal)?;
                    wanted.extend(one.statuses.unwrap_or_default());
                }
                self.only(wanted);
                return Some(());
            }
            if let Some((key, value)) = listed(&singles).filter(|(key, _)| !self.keys.has(key)) {
                self.keys.found.push(Key::new(key, &value));
                return Some(());
            }
        }
        self.any = alternatives.iter().map(|one| inner(one)).collect::<Option<_>>()?;
        Some(())
    }

    /// All of it. `None`: no response has such a status, or there is nothing.
    fn written(&self) -> Option<String> {
        let mut parts = self.keys.written();
        for (key, tables) in [("any", &self.any), ("all", &self.all), ("not", &self.not)] {
            match &tables[..] {
                [] => {}
                [one] if key == "not" => parts.push(format!("not = {one}")),
                several => parts.push(format!("{key} = {}", list(several))),
            }
        }
        if let Some(statuses) = &self.statuses {
            parts.push(format!("status = {}", texts(&ranges(statuses)?)));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// Values of one key of which one must be the request's, as a list.
fn listed(singles: &[&Literal]) -> Option<(&'static str, String)> {
    let of = |literal: &Literal| match (&literal.test, literal.negated) {
        (Test::Host(host), false) => Some(("host", host.clone())),
        (Test::Path(path), false) => Some(("path", path.clone())),
        (Test::Method(method), false) => Some(("methods", method.clone())),
        _ => None,
    };
    let all = singles.iter().map(|literal| of(literal)).collect::<Option<Vec<_>>>()?;
    let key = all.first()?.0;
    let values: Vec<String> = all.iter().map(|(_, value)| quoted(value)).collect();
    all.iter().all(|(other, _)| *other == key).then(|| (key, list(&values)))
}

/// `404`, `5xx`, `502-504`
fn ranges(statuses: &BTreeSet<u16>) -> Option<Vec<String>> {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for status in statuses {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == *status => *last = *status,
            _ => found.push((*status, *status)),
        }
    }
    let text = |(first, last): (u16, u16)| match () {
        () if first == last => first.to_string(),
        () if first % 100 == 0 && last == first + 99 => format!("{}xx", first / 100),
        () => format!("{first}-{last}"),
    };
    (!found.is_empty()).then(|| found.into_iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Literal {
        let (text, negated) = text.strip_prefix('!').map_or((text, false), |rest| (rest, true));
        let (kind, value) = text.split_once('=').unwrap_or((text, ""));
        let test = match kind {
            "path" => Test::Path(value.to_owned()),
            "host" => Test::Host(value.to_owned()),
            "method" => Test::Method(value.to_owned()),
            "status" => {
                let (first, last) = value.split_once('-').unwrap_or((value, value));
                Test::Status(first.parse().unwrap(), last.parse().unwrap())
            }
            "tls" => Test::Tls,
            "login" => Test::Login("staff".into(), Vec::new()),
            field => Test::Value(Of::Header, field.to_owned(), Like::Is(value.to_owned())),
        };
        Literal { test, negated }
    }

    fn asked(text: &str) -> Asked {
        let (keyword, rest) = text.split_once(' ').unwrap();
        let alternatives = rest.split(" or ").map(|one| one.split(' ').map(literal).collect()).collect();
        When { alternatives, unless: keyword == "unless" }.on(true)
    }

    #[test]
    fn conditions_are_written_in_one_table_where_that_can_be() {
        for (condition, table) in [
            ("if path=/a", r#"path = "/a""#),
            ("if path=/a method=GET", r#"path = "/a", methods = ["GET"]"#),
            ("if path=/a path=/b", r#"path = "/a", all = [{ path = "/b" }]"#),
            ("if path=/a !method=GET", r#"path = "/a", not = { methods = ["GET"] }"#),
            ("if path=/a or path=/b", r#"path = ["/a", "/b"]"#),
            ("if path=/a method=GET or path=/a method=HEAD", r#"path = "/a", methods = ["GET", "HEAD"]"#),
            ("if path=/a or x-a=1", r#"any = [{ path = "/a" }, { headers = { x-a = { value = "1" } } }]"#),
            (
                "if x-a=1 x-b=2 or host=h",
                r#"any = [{ headers = { x-a = { value = "1" }, x-b = { value = "2" } } }, { host = "h" }]"#,
            ),
            ("if path=/a or path=/a x-a=1", r#"path = "/a""#),
            ("unless path=/a", r#"not = { path = "/a" }"#),
            ("unless !path=/a", r#"path = "/a""#),
            (
                "unless path=/a method=GET or host=h",
                r#"not = [{ path = "/a", methods = ["GET"] }, { host = "h" }]"#,
            ),
            ("if status=404", r#"status = ["404"]"#),
            ("if status=200-299 or status=500-599", r#"status = ["2xx", "5xx"]"#),
            ("if path=/a !status=404", r#"path = "/a", status = ["200-403", "405-599"]"#),
            ("if status=200-599 !status=300-599", r#"status = ["2xx"]"#),
            ("unless status=200-399", r#"status = ["400-599"]"#),
            ("if tls path=/a", r#"path = "/a""#),
            ("if !tls or path=/a", r#"path = "/a""#),
        ] {
            assert_eq!(asked(condition), Asked::Tables(vec![table.to_owned()]), "{condition}");
        }
    }

    #[test]
    fn others_have_several_tables_or_none() {
        for (condition, found) in [
            ("if tls", Asked::Always),
            ("if !tls", Asked::Never),
            ("unless tls", Asked::Never),
            ("unless !tls", Asked::Always),
            ("if login", Asked::Lost),
            ("if path=/a or login", Asked::Lost),
            ("unless path=/a !method=GET", Asked::Lost),
            ("if status=404 status=405", Asked::Lost),
        ] {
            assert_eq!(asked(condition), found, "{condition}");
        }
        let several = |all: &[&str]| Asked::Tables(all.iter().map(|one| (*one).to_owned()).collect());
        let found = asked("if path=/a !method=GET or host=h");
        assert_eq!(found, several(&[r#"path = "/a", not = { methods = ["GET"] }"#, r#"host = "h""#]));
        let found = asked("if path=/a or status=404");
        assert_eq!(found, several(&[r#"path = "/a""#, r#"status = ["404"]"#]));
    }
}
