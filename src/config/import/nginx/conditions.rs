//! `if` of servers and locations. One that refuses requests becomes `refuse` of the routes below it, another answer a route of its
//! own. If a refusal can't be written, its place passes nothing on.

use super::super::draft::{Section, list, part, quoted, texts};
use super::super::expressions;
use super::super::report::Line;
use super::location::{CLOSES, Place};
use super::maps::Maps;
use super::parse::Directive;
use super::{Nginx, Scope};

/// What a variable of nginx's is among the keys of `match`.
enum Subject {
    /// A key with the name of a field, a parameter, a cookie or a map.
    Value(&'static str, String),
    Method,
    Client,
    /// The path, which only a refusal can ask.
    Path,
    /// The host, which only a refusal can ask.
    Host,
}

/// What becomes of the `if`s of a place.
#[derive(Default)]
pub(super) struct Ifs {
    /// Answers, each with the number of refusals that stand above it.
    routes: Vec<(Section, usize)>,
    /// Keys of routes, as TOML, that refuse requests.
    refusals: Vec<(&'static str, String, Line)>,
    /// One that refuses requests and could not be written.
    pub(super) lost: Option<Line>,
}

impl Ifs {
    /// The routes of a location, those of its `if`s first.
    pub(super) fn within(self, routes: Vec<Section>) -> Vec<Section> {
        let (mut answers, refused) = self.refused(routes);
        answers.extend(refused);
        answers
    }

    /// The same of a server: what it answers before it looks for a location holds for all of its locations.
    pub(super) fn before(self, routes: Vec<Section>, plain: &[&str]) -> Vec<Section> {
        let (answers, refused) = self.refused(routes);
        guarded(answers, refused, plain)
    }

    /// Answers and routes with the refusals that go before them.
    fn refused(self, mut routes: Vec<Section>) -> (Vec<Section>, Vec<Section>) {
        let write = |route: &mut Section, count: usize| {
            for (key, value, line) in &self.refusals[..count] {
                match *key {
                    "refuse" => {
                        // It may be about the path, of which it would see one reading.
                        route.remove("encoded_slashes");
                        route.push_essential(key, value.as_str(), *line);
                    }
                    key => route.essential(key, value.as_str(), *line),
                }
            }
        };
        routes.iter_mut().for_each(|route| write(route, self.refusals.len()));
        let answers = self.routes.into_iter().map(|(mut route, count)| {
            write(&mut route, count);
            route
        });
        (answers.collect(), routes)
    }
}

impl<'d> Nginx<'_, 'd> {
    /// `if (…) { return …; }`.
    pub(super) fn conditions(&mut self, place: &Place<'d>, plain: &[&str]) -> Ifs {
        let mut ifs = Ifs::default();
        for directive in place.block.inner().iter().filter(|directive| directive.name == "if") {
            let refuses = directive.inner().iter().any(is_refusal);
            if refuses && self.asks_part(directive) {
                ifs.lost = Some(directive.line);
                continue;
            }
            if let Some((key, value)) = self.refusal(directive) {
                ifs.refusals.push((key, value, directive.line));
                continue;
            }
            match self.condition(place, directive, plain) {
                Some(route) => ifs.routes.push((route, ifs.refusals.len())),
                None if refuses => ifs.lost = Some(directive.line),
                None => {}
            }
        }
        ifs
    }

    /// Whether an `if` asks a map of which lines are missing.
    fn asks_part(&self, directive: &Directive) -> bool {
        let words = words(&directive.args);
        let found = words.first().and_then(|variable| self.maps.variable(variable));
        found.is_some_and(|(_, values)| !values.is_whole)
    }

    /// One that refuses requests, as a key of the routes that it is about.
    fn refusal(&mut self, directive: &'d Directive) -> Option<(&'static str, String)> {
        let [inner] = directive.inner() else { return None };
        let status = inner.arg(0).parse::<u16>().ok().filter(|status| (400..=599).contains(status))?;
        if inner.name != "return" || inner.args.len() > 1 {
            return None;
        }
        let words = words(&directive.args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let ["$ssl_client_verify", "!=", "SUCCESS"] = words[..] {
            match status {
                403 => self.report.done(inner.line),
                _ => self.report.note(inner.line, "a client without a certificate gets 403"),
            }
            self.report.done(directive.line);
            return Some(("require_client_certificate", "true".to_owned()));
        }
        let (variable, operator, value) = match words[..] {
            [variable, operator, value] => (variable, operator, value),
            [variable] => (variable, "~", TRUE),
            _ => return None,
        };
        let subject = subject(variable, &self.maps)?;
        let entry = match entry(&subject, operator, value) {
            Some(entry) => entry,
            // What it looks at around a match can't be asked.
            None => {
                let wider = expressions::wider(value).filter(|_| matches!(operator, "~" | "~*"))?;
                let why =
                    "without what its expression looks at around a match: it also refuses what nginx exempts";
                self.report.note(directive.line, why);
                entry(&subject, operator, &wider)?
            }
        };
        if matches!(subject, Subject::Path) && variable == "$request_uri" {
            self.report
                .note(directive.line, "the path is compared in its normalised form, without the query");
        }
        self.report.done(directive.line);
        let status = match status {
            444 => {
                self.report.note(inner.line, CLOSES);
                403
            }
            status => status,
        };
        self.report.done(inner.line);
        Some(("refuse", format!("{{ {entry}, status = {status} }}")))
    }

    fn condition(&mut self, place: &Place<'d>, directive: &'d Directive, plain: &[&str]) -> Option<Section> {
        let (inner, fields) = directive.inner().split_last()?;
        if fields.iter().any(|field| field.name != "add_header") {
            return None;
        }
        let mut route = place.route();
        let words = words(&directive.args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["$scheme", "=" | "!=", scheme]
                if !plain.is_empty() && (words[1] == "=") == (scheme == "http") =>
            {
                route.set("only", quoted(&plain.join(" ")), directive.line);
            }
            ["$host" | "$http_host", "=", host] => route.essential("host", quoted(host), directive.line),
            [variable, operator, value] => {
                let (key, value) = matching(&subject(variable, &self.maps)?, operator, value)?;
                route.essential(&key, value, directive.line);
            }
            // Neither empty nor 0.
            [variable] => match self.maps.variable(variable) {
                Some((name, values)) if !values.has_zero => {
                    route.essential(
                        &format!("match.maps.{}", part(name)),
                        "{ present = true }",
                        directive.line,
                    );
                }
                _ => {
                    let (key, value) = matching(&subject(variable, &self.maps)?, "~", TRUE)?;
                    route.essential(&key, value, directive.line);
                }
            },
            _ => return None,
        }
        let answered = match inner.name.as_str() {
            "return" => self.answer(&mut route, place, inner),
            "rewrite" => self.permanent(&mut route, place, inner),
            _ => false,
        };
        if answered {
            self.report.done(directive.line);
            self.response_headers(&mut route, &place.scope.within(directive.inner()));
        }
        answered.then_some(route)
    }
}

/// What an `if` compares, as conditions of a table, and whether that must not hold.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    asked: String,
    is_not: bool,
}

impl Comparison {
    pub(super) fn opposite(&self) -> Self {
        Self { asked: self.asked.clone(), is_not: !self.is_not }
    }
}

/// The conditions of a table that ask all of these.
pub(super) fn all_of(comparisons: &[Comparison]) -> String {
    let of = |is_not: bool| {
        let those = comparisons.iter().filter(move |it| it.is_not == is_not);
        those.map(|it| it.asked.as_str()).collect::<Vec<_>>()
    };
    let tables = |asked: &[&str]| list(&asked.iter().map(|one| format!("{{ {one} }}")).collect::<Vec<_>>());
    let mut parts = Vec::new();
    match &of(false)[..] {
        [] => {}
        [one] => parts.push((*one).to_owned()),
        several => parts.push(format!("all = {}", tables(several))),
    }
    match &of(true)[..] {
        [] => {}
        [one] => parts.push(format!("not = {{ {one} }}")),
        several => parts.push(format!("not = {}", tables(several))),
    }
    parts.join(", ")
}

impl<'d> Nginx<'_, 'd> {
    /// The `if`s of a location that add fields and do nothing else, with what they compare where that can be asked.
    pub(super) fn ifs_of_fields(&mut self, scope: &Scope<'d>) -> Vec<(Comparison, &'d Directive)> {
        let mut found = Vec::new();
        for directive in scope.levels.last().into_iter().flat_map(|level| level.iter()) {
            let adds = directive.inner().iter().all(|inner| inner.name == "add_header");
            if directive.name != "if" || directive.inner().is_empty() || !adds || self.asks_part(directive) {
                continue;
            }
            let words = words(&directive.args);
            let (variable, operator, value) = match &words[..] {
                [variable, operator, value] => (variable.as_str(), operator.as_str(), value.as_str()),
                [variable] => (variable.as_str(), "~", TRUE),
                _ => continue,
            };
            let subject = subject(variable, &self.maps);
            let Some((keys, is_not)) = subject.and_then(|subject| asked(&subject, operator, value)) else {
                continue;
            };
            if variable == "$request_uri" {
                let note = "the path is compared in its normalised form, without the query";
                self.report.note(directive.line, note);
            }
            found.push((Comparison { asked: nested(&keys), is_not }, directive));
        }
        found
    }
}

/// Neither empty nor 0.
const TRUE: &str = "^([^0]|0.)";

/// The words within the parentheses.
fn words(args: &[String]) -> Vec<String> {
    let mut words = args.to_vec();
    if let Some(first) = words.first_mut() {
        *first = first.strip_prefix('(').unwrap_or(first).to_owned();
    }
    if let Some(last) = words.last_mut() {
        *last = last.strip_suffix(')').unwrap_or(last).to_owned();
    }
    words.retain(|word| !word.is_empty());
    // `($http_x = "")`
    if words.len() == 2 && matches!(words[1].as_str(), "=" | "!=") {
        words.push(String::new());
    }
    words
}

fn subject(variable: &str, maps: &Maps) -> Option<Subject> {
    let named = |key, name: &str| Some(Subject::Value(key, name.to_owned()));
    if let Some((name, _)) = maps.variable(variable) {
        return named("maps", name);
    }
    let variable = variable.strip_prefix('$')?;
    match variable.split_once('_') {
        _ if matches!(variable, "uri" | "document_uri" | "request_uri") => Some(Subject::Path),
        // A route has a key of its own for it.
        _ if matches!(variable, "host" | "http_host") => Some(Subject::Host),
        Some(("http", field)) => named("headers", &field.replace('_', "-")),
        Some(("arg", name)) => named("query", name),
        Some(("cookie", name)) => named("cookies", name),
        Some(("request", "method")) => Some(Subject::Method),
        Some(("remote", "addr")) => Some(Subject::Client),
        _ => None,
    }
}

/// The key of a route, and its value, for a comparison. `None`: it can't be written.
fn matching(subject: &Subject, operator: &str, value: &str) -> Option<(String, String)> {
    if matches!(subject, Subject::Path | Subject::Host) {
        return None;
    }
    let (keys, is_not) = asked(subject, operator, value)?;
    Some(match is_not {
        true => ("match.not".to_owned(), format!("[{{ {} }}]", nested(&keys))),
        false => match &keys[..] {
            [only, value] if matches!(only.as_str(), "methods") => ("methods".to_owned(), value.clone()),
            [key, value] => (format!("match.{key}"), value.clone()),
            [key, name, value] => (format!("match.{key}.{name}"), value.clone()),
            _ => return None,
        },
    })
}

/// The conditions of an entry of `refuse`. `None`: they can't be written.
fn entry(subject: &Subject, operator: &str, value: &str) -> Option<String> {
    let (keys, is_not) = asked(subject, operator, value)?;
    let asked = nested(&keys);
    Some(if is_not { format!("not = {{ {asked} }}") } else { asked })
}

/// Keys, each below the one before, and the value at their end, as inline TOML.
fn nested(keys: &[String]) -> String {
    match keys {
        [key, name, value] => format!("{key} = {{ {name} = {value} }}"),
        keys => keys.join(" = "),
    }
}

/// Keys and a value for what a comparison asks, and whether it must not hold.
fn asked(subject: &Subject, operator: &str, value: &str) -> Option<(Vec<String>, bool)> {
    let (operator, is_not) = match operator.strip_prefix('!') {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let keys = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<String>>();
    let fold = if operator == "~*" { "(?i)" } else { "" };
    Some(match subject {
        Subject::Client if operator == "=" => (keys(&["client", &texts(&[value])]), is_not),
        Subject::Client => return None,
        Subject::Method => (keys(&["methods", &texts(&methods(operator, value)?)]), is_not),
        Subject::Path => {
            let path = match operator {
                "=" if value.starts_with('/') => format!("={value}"),
                // The query is no part of it.
                "~" | "~*" if !value.contains("\\?") => format!("~ {fold}{}", expressions::same(value)?),
                _ => return None,
            };
            (keys(&["path", &quoted(&path)]), is_not)
        }
        Subject::Host => (keys(&["host", &texts(&hosts(operator, value)?)]), is_not),
        // nginx takes what is not there for an empty text.
        Subject::Value(key, name) => match operator {
            "=" if value.is_empty() => (keys(&[key, &part(name), "{ regex = \".\" }"]), !is_not),
            "=" if value.contains('*') => {
                (keys(&[key, &part(name), &format!("{{ value = {} }}", quoted(value))]), is_not)
            }
            "=" => (keys(&[key, &part(name), &quoted(value)]), is_not),
            "~" | "~*" => {
                let expression = format!("{fold}{}", expressions::same(value)?);
                if regex::Regex::new(&expression).ok()?.is_match("") {
                    return None;
                }
                (keys(&[key, &part(name), &format!("{{ regex = {} }}", quoted(&expression))]), is_not)
            }
            _ => return None,
        },
    })
}

/// The words of `^(a|b)$`.
fn listed(expression: &str) -> Option<std::str::Split<'_, char>> {
    let inner = expression.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$"))?;
    Some(inner.strip_prefix("?:").unwrap_or(inner).split('|'))
}

/// The methods that a comparison names.
fn methods<'v>(operator: &str, value: &'v str) -> Option<Vec<&'v str>> {
    let found: Vec<&str> = match operator {
        "=" => vec![value],
        "~" => listed(value)?.collect(),
        _ => return None,
    };
    let is_plain = |method: &&str| {
        !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
    };
    found.iter().all(is_plain).then_some(found)
}

/// The hosts that a comparison names.
fn hosts(operator: &str, value: &str) -> Option<Vec<String>> {
    let found: Vec<String> = match operator {
        "=" => vec![value.to_ascii_lowercase()],
        "~" | "~*" => listed(value)?.map(|host| host.replace('\\', "").to_ascii_lowercase()).collect(),
        _ => return None,
    };
    let is_name = |host: &String| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    found.iter().all(is_name).then_some(found)
}

/// Whether a directive within `if` refuses a request.
fn is_refusal(directive: &Directive) -> bool {
    directive.name == "return" && directive.arg(0).parse::<u16>().is_ok_and(|code| code >= 400)
}

/// Whether a route is for some of the requests of its path.
pub(super) fn is_conditional(route: &Section) -> bool {
    ["host", "only", "match", "methods"].iter().any(|key| route.has(key))
}

/// What a server answers before it looks for a location holds for all of its locations: such a route is repeated for each path,
/// since a path goes before conditions. `plain` are its listeners without TLS.
fn guarded(guards: Vec<Section>, mut routes: Vec<Section>, plain: &[&str]) -> Vec<Section> {
    let mut paths: Vec<String> =
        routes.iter().filter_map(|route| route.get("path")).map(str::to_owned).collect();
    paths.dedup();
    let mut all = Vec::new();
    for guard in guards {
        let by_scheme = !["host", "match", "methods"].iter().any(|key| guard.has(key));
        if by_scheme && guard.has("only") && !guard.has("path") {
            // It has all requests of those listeners.
            routes.iter_mut().for_each(|route| route.keep_from(plain));
            all.push(guard);
            continue;
        }
        for path in paths.iter().filter(|_| !guard.has("path")) {
            let mut copy = guard.clone();
            copy.essential("path", path.as_str(), guard.line());
            all.push(copy);
        }
        all.push(guard);
    }
    all.append(&mut routes);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_become_conditions() {
        let maps = Maps::of(&[("kind", &["a", "0"])]);
        let of = |variable: &str, operator: &str, value: &str| {
            matching(&subject(variable, &maps)?, operator, value)
                .map(|(key, value)| format!("{key} = {value}"))
        };
        for (variable, operator, value, expected) in [
            ("$http_x_beta", "=", "1", "match.headers.x-beta = \"1\""),
            ("$http_x", "=", "", "match.not = [{ headers = { x = { regex = \".\" } } }]"),
            ("$http_x", "!=", "", "match.headers.x = { regex = \".\" }"),
            ("$arg_a", "!=", "b", "match.not = [{ query = { a = \"b\" } }]"),
            ("$cookie_a", "~*", "b|c", "match.cookies.a = { regex = \"(?i)b|c\" }"),
            ("$http_user_agent", "!~", "x", "match.not = [{ headers = { user-agent = { regex = \"x\" } } }]"),
            ("$request_method", "!~", "^(GET|HEAD)$", "match.not = [{ methods = [\"GET\", \"HEAD\"] }]"),
            ("$kind", "=", "a", "match.maps.kind = \"a\""),
            ("${kind}", "!=", "", "match.maps.kind = { regex = \".\" }"),
            ("$remote_addr", "=", "10.0.0.1", "match.client = [\"10.0.0.1\"]"),
        ] {
            assert_eq!(of(variable, operator, value).as_deref(), Some(expected));
        }
        for (variable, operator, value) in [
            ("$bad", "=", "1"),
            ("$http_x", "~", "a*"),
            ("$http_x", "~", "(?=a)"),
            ("$request_method", "~", "P"),
            ("$remote_addr", "~", "^10"),
            ("$http_x", "-f", "a"),
            ("$uri", "=", "/a"),
        ] {
            assert_eq!(of(variable, operator, value), None, "{variable} {operator} {value}");
        }
        let words = |text: &[&str]| words(&text.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(words(&["($http_a", "~", "(a)(b)", ")"]), ["$http_a", "~", "(a)(b)"]);
        assert_eq!(words(&["(", "$a", "=", "b)"]), ["$a", "=", "b"]);
        assert_eq!(words(&["($a", "=", ")"]), ["$a", "=", ""]);
    }

    #[test]
    fn refusals_ask_for_paths_and_hosts_too() {
        let maps = Maps::default();
        let of = |variable: &str, operator: &str, value: &str| {
            entry(&subject(&format!("${variable}"), &maps)?, operator, value)
        };
        for (variable, operator, value, expected) in [
            ("request_uri", "~*", "/wp-(login|admin)", "path = \"~ (?i)/wp-(login|admin)\""),
            ("uri", "!=", "/a", "not = { path = \"=/a\" }"),
            (
                "host",
                "!~*",
                "^(a\\.example|www.a.example)$",
                "not = { host = [\"a.example\", \"www.a.example\"] }",
            ),
            ("http_x", "~", "^a*b", "headers = { x = { regex = \"^a*b\" } }"),
            ("remote_addr", "!=", "10.0.0.1", "not = { client = [\"10.0.0.1\"] }"),
        ] {
            assert_eq!(of(variable, operator, value).as_deref(), Some(expected));
        }
        for (variable, operator, value) in
            [("host", "~", "^.*\\.b$"), ("uri", "~", "/a(?=b)"), ("request_uri", "~", "/a\\?b")]
        {
            assert_eq!(of(variable, operator, value), None, "{variable} {operator} {value}");
        }
    }
}
