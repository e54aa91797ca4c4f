//! `route.match`: what a request must have beside host, path and method.

use crate::config::access;
use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::Refusal;
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::route::{Clause, Condition, Expected, MapRef, Part, PathPattern, normalise_path};

use super::addresses;

/// All of `match`.
pub(super) fn of(value: &Value<'_>) -> Vec<Clause> {
    let Some(mut section) = value.section() else { return Vec::new() };
    let clauses = all_of(&mut section);
    section.finish();
    clauses
}

/// `refuse` of a route or a listener.
pub(super) fn refusals(value: &Value<'_>) -> Vec<Refusal> {
    let entries = value.list("[{ path = \"/internal\", status = 404 }]").unwrap_or_default();
    entries.iter().filter_map(refusal).collect()
}

fn refusal(value: &Value<'_>) -> Option<Refusal> {
    let mut section = value.section()?;
    let status = section.get("status");
    let has_status = status.is_some();
    let is_bare = section.all().len() == usize::from(has_status);
    let status = status.and_then(|value| value.number(400..=599)).unwrap_or(403);
    let clauses = of_request(&mut section);
    section.finish();
    if is_bare {
        let help = "write one, such as `methods = [\"PUT\"]`; `path = \"/\"` is every request's";
        value.error("it has no condition, and would refuse every request", Some(help.into()));
    }
    // What is wrong in a condition is an error already: it must not make the rest refuse more.
    let status = u16::try_from(status).ok()?;
    (!clauses.is_empty()).then_some(Refusal { when: Clause::All(clauses), status })
}

/// All that a table asks of a request, its line as well.
pub(super) fn of_request(section: &mut Section<'_>) -> Vec<Clause> {
    let mut clauses = all_of(section);
    clauses.extend(of_line(section));
    clauses
}

/// The conditions of a table, and those of `any`, `all` and `not`.
fn all_of(section: &mut Section<'_>) -> Vec<Clause> {
    let mut clauses = fields(section);
    let [any, all, not] = ["any", "all", "not"].map(|key| section.get(key));
    if let Some(any) = any.as_ref().map(several).filter(|any| !any.is_empty()) {
        clauses.push(Clause::Any(any));
    }
    clauses.extend(all.as_ref().map(several).unwrap_or_default());
    if let Some(not) = &not {
        let nots = if not.is_table() { one(not).into_iter().collect() } else { several(not) };
        clauses.extend(nots.into_iter().map(|clause| Clause::Not(Box::new(clause))));
    }
    clauses
}

/// A list of tables, each of which holds or does not.
fn several(value: &Value<'_>) -> Vec<Clause> {
    let entries = value.list("[{ headers = { X-A = \"1\" } }]").unwrap_or_default();
    entries.iter().filter_map(one).collect()
}

/// A table, all of which must hold.
fn one(value: &Value<'_>) -> Option<Clause> {
    let mut section = value.section()?;
    let is_empty = section.all().is_empty();
    let mut clauses = fields(&mut section);
    clauses.extend(of_line(&mut section));
    section.finish();
    if is_empty {
        value.error("it has no condition", Some("write one, such as `headers = { X-A = \"1\" }`".into()));
    }
    match clauses.len() {
        0 => None,
        1 => clauses.pop(),
        _ => Some(Clause::All(clauses)),
    }
}

/// `methods`, `host` and `path`.
fn of_line(section: &mut Section<'_>) -> Vec<Clause> {
    let mut clauses = Vec::new();
    if let Some(methods) = section.get("methods").and_then(|value| super::route::methods_of(&value)) {
        clauses.push(Clause::Method(methods));
    }
    if let Some(value) = section.get("host") {
        let hosts = super::route::hosts_of(&value).into_iter().map(|at| at.value).collect::<Vec<_>>();
        clauses.extend((!hosts.is_empty()).then_some(Clause::Host(hosts)));
    }
    if let Some(value) = section.get("path") {
        let entries = value.one_or_more("\"/admin\"").unwrap_or_default();
        let read = |entry: &Value<'_>| entry.parse("\"/admin\"", path_of_condition);
        let paths: Vec<_> = entries.iter().filter_map(read).map(|at| at.value).collect();
        clauses.extend((!paths.is_empty()).then_some(Clause::Path(paths)));
    }
    clauses
}

/// A path that a request can have: one that is not in the normalised form would never match, and refuse nothing.
fn path_of_condition(text: &str) -> Result<PathPattern, Wrong> {
    let pattern = names::path_pattern(text)?;
    let (PathPattern::Prefix(path) | PathPattern::Exact(path)) = &pattern else { return Ok(pattern) };
    match normalise_path(path) {
        Ok(normal) if normal == *path => Ok(pattern),
        Ok(normal) => {
            let mark = if matches!(pattern, PathPattern::Exact(_)) { "=" } else { "" };
            let wrong = Wrong::new(format!("no request has the path {}", quoted(path)));
            Err(wrong.help(format!("paths are matched in their normalised form: \"{mark}{normal}\"")))
        }
        Err(error) => Err(Wrong::new(format!("no request has the path {}: {error}", quoted(path)))),
    }
}

/// `headers`, `query`, `cookies` and `client`.
fn fields(section: &mut Section<'_>) -> Vec<Clause> {
    let mut clauses = Vec::new();
    for (part, key) in [(Part::Header, "headers"), (Part::Query, "query"), (Part::Cookie, "cookies")] {
        for (name, value) in section.section(key).map(|section| section.all()).unwrap_or_default() {
            if let Err(Wrong { title, help }) = check_name(part, name.value) {
                value.error(&title, help);
            }
            let name = name.value.into();
            clauses.extend(expected(&value).map(|expected| Clause::Is(Condition { part, name, expected })));
        }
    }
    for (name, value) in section.section("maps").map(|section| section.all()).unwrap_or_default() {
        if let Err(Wrong { title, help }) = names::name(name.value) {
            value.error(&title, help);
        }
        clauses.extend(expected(&value).map(|expected| Clause::Map(MapRef::new(name.value), expected)));
    }
    if let Some(value) = section.get("client") {
        let networks = addresses::networks(&value.list("[\"10.0.0.0/8\"]").unwrap_or_default());
        clauses.extend((!networks.is_empty()).then_some(Clause::Client(networks)));
    }
    clauses
}

fn check_name(part: Part, name: &str) -> Result<(), Wrong> {
    match part {
        Part::Query => return Ok(()),
        Part::Cookie => return access::header(name).map(drop),
        Part::Header => {}
    }
    match &*access::header(name)? {
        "host" => {
            Err(Wrong::new("a request's host is matched by `route.host`").help("add `host = \"…\"` instead"))
        }
        _ => Ok(()),
    }
}

/// A value, or a table with one of `value`, `present`, `prefix`, `suffix`, `contains` and `regex`.
fn expected(value: &Value<'_>) -> Option<Expected> {
    if value.is_table() {
        return in_table(value);
    }
    let form = "\"2\" or a table { present = true }";
    let plain = |text| {
        let text = names::field_value(text)?;
        if text.contains('*') {
            let wrong = Wrong::new(format!("{} is no pattern: values are compared whole", quoted(text)));
            let help = format!(
                "write {{ value = {} }} if the `*` is part of the value, {{ present = true }} for any, or {{ prefix = … }}, \
                 {{ suffix = … }}, {{ contains = … }} or {{ regex = … }}",
                quoted(text)
            );
            return Err(wrong.help(help));
        }
        Ok(text)
    };
    value.parse(form, plain).map(|value| Expected::Value(value.value.into()))
}

fn in_table(value: &Value<'_>) -> Option<Expected> {
    let mut section: Section<'_> = value.section()?;
    let texts = ["value", "prefix", "suffix", "contains", "regex"].map(|key| section.get(key));
    let present = match texts.iter().flatten().next() {
        Some(_) => section.get("present"),
        None => section.require("present", "true"),
    };
    section.finish();
    let mut given = texts.iter().flatten().chain(&present);
    let first = given.next();
    for second in given {
        let first = first.map_or("", |first| &first.name);
        let title = format!("`{first}` and `{}` exclude each other", second.name);
        second.key_error(title, "take one of the two out");
    }
    let [exact, prefix, suffix, contains, regex] = texts;
    if let Some(exact) = exact {
        return exact.parse("\"2\"", names::field_value).map(|value| Expected::Value(value.value.into()));
    }
    if let Some(regex) = regex {
        let parsed = regex.parse("\"^v[0-9]+$\"", |text| names::regex(text, false));
        return parsed.map(|at| Expected::Matches(at.value));
    }
    part(prefix, Expected::Prefix)
        .or_else(|| part(suffix, Expected::Suffix))
        .or_else(|| part(contains, Expected::Contains))
        .or_else(|| {
            let present = present?.boolean()?;
            Some(if present { Expected::Present } else { Expected::Absent })
        })
}

/// Part of a value, which is not empty.
fn part(value: Option<Value<'_>>, made: fn(Box<str>) -> Expected) -> Option<Expected> {
    let read = value?.parse("\"2\"", |text| match names::field_value(text)? {
        "" => Err(Wrong::new("it is empty, and would match anything")),
        text => Ok(text),
    })?;
    Some(made(read.value.into()))
}
