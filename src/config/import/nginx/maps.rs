//! `map` of `http`: values by one variable of the request.

use std::collections::BTreeMap;

use super::super::draft::{part, quoted};
use super::Nginx;
use super::parse::Directive;
use super::variables::name_in;
use crate::base::percent::percent_encoded;

/// The variables of maps.
#[derive(Debug, Default)]
pub(super) struct Maps(BTreeMap<String, Values>);

/// What is known of the values of a map.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// Each of them once, in their order.
    pub(super) all: Vec<String>,
    /// That of what has no key.
    pub(super) default: Option<String>,
    /// Each is empty, or a path without a query.
    pub(super) are_paths: bool,
    /// One is `0`, which `if` takes for nothing.
    pub(super) has_zero: bool,
    /// None is missing: all of its lines could be written.
    pub(super) is_whole: bool,
}

impl Values {
    fn of<'v>(values: impl Iterator<Item = &'v str>, default: Option<&str>, is_whole: bool) -> Self {
        let mut all: Vec<String> = Vec::new();
        for value in values {
            if !all.iter().any(|known| known == value) {
                all.push(value.to_owned());
            }
        }
        let every = || all.iter().map(String::as_str).chain(default);
        let is_path = |value: &str| value.is_empty() || value.starts_with('/') && !value.contains(['?', '#']);
        Self {
            are_paths: every().all(is_path),
            has_zero: every().any(|value| value == "0"),
            is_whole,
            default: default.map(str::to_owned),
            all,
        }
    }
}

impl Maps {
    /// Maps with these values.
    #[cfg(test)]
    pub(super) fn of(maps: &[(&str, &[&str])]) -> Self {
        let of = |(name, values): &(&str, &[&str])| {
            ((*name).to_owned(), Values::of(values.iter().copied(), None, true))
        };
        Self(maps.iter().map(of).collect())
    }

    /// A map with these values, and `default` for what has no key. If it is not whole, lines of it could not be written.
    pub(super) fn add<'v>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = &'v str>,
        default: Option<&str>,
        is_whole: bool,
    ) {
        self.0.insert(name.to_owned(), Values::of(values, default, is_whole));
    }

    /// What is known of the values of the map of this name; `None`: there is none.
    pub(super) fn values(&self, name: &str) -> Option<&Values> {
        self.0.get(name)
    }

    /// The map whose variable a text is.
    pub(super) fn variable<'v>(&self, text: &'v str) -> Option<(&'v str, &Values)> {
        let (name, after) = name_in(text.strip_prefix('$')?);
        self.values(name).filter(|_| after.is_empty()).map(|values| (name, values))
    }

    /// A text with Ringate's variables in the place of its own. `None`: it has others than those of maps.
    pub(super) fn template(&self, text: &str) -> Option<String> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            let (name, after) = name_in(after);
            self.values(name)?;
            out.push_str(&format!("{before}{{map.{name}}}"));
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }
}

impl<'d> Nginx<'_, 'd> {
    /// A map, whose variable may then stand in values.
    pub(super) fn map(&mut self, directive: &'d Directive) {
        let Some(name) = directive.arg(1).strip_prefix('$').filter(|name| !name.is_empty()) else { return };
        let Some(input) = input(directive.arg(0)) else {
            let why = "a map looks up the host, the path, the URI, the method, the client's address, a field, a cookie or a query parameter";
            return self.report.missing(directive.line, why, Some("map.from"));
        };
        let of_path = input == "{request.path}";
        let named = |flag: &str| directive.inner().iter().any(|inner| inner.name == flag);
        let hostnames = named("hostnames");
        let (mut entries, mut default, mut has_pattern, mut is_whole) = (Vec::new(), None, false, true);
        for inner in directive.inner() {
            let (key, value) = (inner.name.as_str(), inner.arg(0));
            match key {
                "hostnames" | "volatile" if inner.args.is_empty() => {
                    self.report.needless(inner.line, "keys with a `*` are known as such");
                    continue;
                }
                _ if value.contains('$') => {
                    self.report.missing(inner.line, "a value of a map has no variables", Some("map.entries"));
                    is_whole = false;
                    continue;
                }
                "default" => default = Some((value, inner.line)),
                key if key.starts_with('~') => {
                    has_pattern = true;
                    entries.push((key.to_owned(), value));
                }
                key if hostnames && key.starts_with('.') => {
                    entries.push((key[1..].to_owned(), value));
                    entries.push((format!("*{key}"), value));
                }
                key if !hostnames && (key.starts_with('*') || key.ends_with('*')) => {
                    self.report.missing(inner.line, "a key with a `*` is a pattern", Some("map.entries"));
                    is_whole = false;
                    continue;
                }
                key => {
                    let key = key.strip_prefix('\\').unwrap_or(key);
                    entries.push((if of_path { encoded(key) } else { key.to_owned() }, value));
                }
            }
            self.report.done(inner.line);
        }
        let line = directive.line;
        let values = entries.iter().map(|(_, value)| *value);
        self.maps.add(name, values, default.map(|(value, _)| value), is_whole);
        let section = self.draft.process(&format!("map.{}", part(name)), line);
        section.set("from", quoted(input.as_str()), line);
        let entries: Vec<String> =
            entries.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
        section.set("entries", format!("{{ {} }}", entries.join(", ")), line);
        if let Some((value, line)) = default {
            section.text("default", value, line);
        }
        // nginx compares whole texts without regard to case, expressions as they say.
        if !has_pattern {
            section.set("any_case", "true", line);
            self.report.done(line);
        } else {
            self.report.note(line, "its whole texts are compared with regard to case, as it has expressions");
        }
    }
}

/// The variable that a map looks up, with its braces.
fn input(variable: &str) -> Option<String> {
    let name = match variable.strip_prefix('$')? {
        "host" | "http_host" => "request.host".to_owned(),
        "uri" | "document_uri" => "request.path".to_owned(),
        "request_uri" => "request.target".to_owned(),
        "request_method" => "request.method".to_owned(),
        "remote_addr" => "client.address".to_owned(),
        other => {
            let of = |prefix: &str| other.strip_prefix(prefix).filter(|rest| !rest.is_empty());
            of("http_")
                .map(|field| format!("request.header.{}", field.replace('_', "-")))
                .or_else(|| of("cookie_").map(|cookie| format!("request.cookie.{cookie}")))
                .or_else(|| of("arg_").map(|name| format!("request.query.{name}")))?
        }
    };
    Some(format!("{{{name}}}"))
}

/// A path as it is sent: nginx compares decoded ones.
fn encoded(path: &str) -> String {
    percent_encoded(path, |byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte))
}
