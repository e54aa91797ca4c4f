//! `[map.NAME]`, and the places that name a map.

use std::path::Path;

use crate::config::access::{self, Piece, Variable};
use crate::config::file::{Errors, Section, Value};
use crate::config::names;
use crate::config::plan::{At, ConditionalEdits, Destination, Entries, HeaderEdits, Map, Plan};
use crate::config::suggest::{nearest, quoted};
use crate::config::units::Wrong;
use crate::route::{Clause, Input, MapTable};

use super::path;

/// The maps, by name.
pub(super) fn maps(root: &mut Section<'_>, dir: &Path) -> Vec<Map> {
    let Some(value) = root.get("map") else { return Vec::new() };
    if !value.is_table() {
        value.wrong_type("tables", Some("a map has a name: write [map.NAME]".into()));
        return Vec::new();
    }
    let Some(section) = value.section() else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in section.all() {
        if let Err(Wrong { title, help }) = names::name(key.value) {
            root.errors().borrow_mut().error(key.span.clone(), format!("`map`: {title}"), help);
        }
        if !value.is_table() {
            let help = format!("a map has a name: write [map.NAME] above `{}`", key.value);
            value.wrong_type("a table", Some(help));
        } else if let Some(section) = value.section() {
            found.extend(map(key, section, dir));
        }
    }
    found
}

fn map(name: At<&str>, mut section: Section<'_>, dir: &Path) -> Option<Map> {
    let example = "\"{request.host}\"";
    let input = section.require("from", example).and_then(|value| value.parse(example, input));
    let any_case = section.get("any_case").and_then(|value| value.boolean()).unwrap_or(false);
    let default = section.get("default").and_then(|value| value.parse("\"none\"", names::field_value));
    let default = default.map(|at| at.value.to_owned()).unwrap_or_default();
    let (here, file) = (section.get("entries"), section.get("file"));
    if let (Some(_), Some(file)) = (&here, &file) {
        file.key_error("`entries` and `file` exclude each other".to_owned(), "take one of the two out");
    }
    if here.is_none() && file.is_none() {
        section.error("it has no entries", Some("add `entries` or `file`".into()));
    }
    let input = input.map(|at| at.value);
    let entries = match (here, file) {
        (Some(value), _) => Some(Entries::Here(entries(&value, input.as_ref(), any_case))),
        (None, Some(file)) => path(&file, dir, "\"tenants.map\"").map(Entries::File),
        (None, None) => None,
    };
    section.finish();
    let name = At { value: name.value.to_owned(), span: name.span };
    Some(Map { name, input: input?, entries: entries?, default, any_case })
}

/// What is looked up: one variable.
fn input(text: &str) -> Result<Input, Wrong> {
    let wrong = || {
        Wrong::new(format!("{} is nothing that a map can look up", quoted(text))).help(
            "write one of {request.host}, {request.path}, {request.target}, {request.method}, {client.address}, {request.header.NAME}, \
             {request.cookie.NAME} and {request.query.NAME}, and nothing beside it",
        )
    };
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    Ok(match access::variable_of(name, is_input)? {
        Variable::Host => Input::Host,
        Variable::Path => Input::Path,
        Variable::Target => Input::Target,
        Variable::Method => Input::Method,
        Variable::ClientAddress => Input::Client,
        Variable::RequestHeader(name) => Input::Header(name.into()),
        Variable::RequestCookie(name) => Input::Cookie(name.into()),
        Variable::RequestParameter(name) => Input::Parameter(name.into()),
        _ => return Err(wrong()),
    })
}

/// Whether a map can look a variable up.
fn is_input(variable: &Variable) -> bool {
    use Variable::{
        ClientAddress, Host, Method, Path, RequestCookie, RequestHeader, RequestParameter, Target,
    };
    matches!(
        variable,
        Host | Path
            | Target
            | Method
            | ClientAddress
            | RequestHeader(_)
            | RequestCookie(_)
            | RequestParameter(_)
    )
}

fn entries(value: &Value<'_>, input: Option<&Input>, any_case: bool) -> Vec<(String, String)> {
    let Some(section) = value.section() else { return Vec::new() };
    let mut table = input.map(|input| MapTable::new(input, any_case));
    let mut found = Vec::new();
    let mut all = section.all();
    all.sort_by_key(|(name, _)| name.span.start);
    for (key, value) in all {
        let Some(text) = value.text("\"alpha\"") else { continue };
        if let Some(Err(why)) = table.as_mut().map(|table| table.add(key.value, text.value)) {
            value.error(&format!("the key {}: {why}", quoted(key.value)), None);
        }
        found.push((key.value.to_owned(), text.value.to_owned()));
    }
    found
}

/// Every map that is named somewhere is there.
pub(super) fn resolve(plan: &Plan, errors: &Errors) {
    let unknown = |name: &str, span: std::ops::Range<usize>| {
        if plan.maps.iter().any(|map| map.name.value == name) {
            return;
        }
        let near = nearest(name, plan.maps.iter().map(|map| map.name.as_str()));
        let help = near.map_or_else(|| format!("add [map.{name}]"), |near| format!("did you mean `{near}`?"));
        errors.borrow_mut().error(span, format!("there is no map called `{name}`"), Some(help));
    };
    let of_pieces = |pieces: &[Piece], span: &std::ops::Range<usize>| {
        for piece in pieces {
            if let Piece::Value(Variable::Map(map)) = piece {
                unknown(map.name(), span.clone());
            }
        }
    };
    let of_edits = |edits: &HeaderEdits, span: &std::ops::Range<usize>| {
        edits.set.iter().chain(&edits.add).for_each(|(_, value)| of_pieces(value, span));
    };
    let of_clause = |clause: &Clause, span: &std::ops::Range<usize>| {
        clause.visit_maps(&mut |map| unknown(map.name(), span.clone()));
    };
    let of_conditional = |one: &ConditionalEdits, span: &std::ops::Range<usize>| {
        one.when.iter().for_each(|when| of_clause(when, span));
        [&one.request, &one.response].into_iter().for_each(|it| of_edits(it, span));
    };
    for listener in &plan.listeners {
        let span = &listener.name.span;
        [&listener.request_headers, &listener.response_headers].into_iter().for_each(|it| of_edits(it, span));
        listener.conditional_headers.iter().for_each(|it| of_conditional(it, span));
        listener.refusals.iter().for_each(|refusal| of_clause(&refusal.when, span));
    }
    for route in &plan.routes {
        let span = &route.span;
        [&route.request_headers, &route.response_headers].into_iter().for_each(|it| of_edits(it, span));
        route.conditional_headers.iter().for_each(|it| of_conditional(it, span));
        route.rules.refusals.iter().for_each(|refusal| of_clause(&refusal.when, span));
        route.conditions.iter().for_each(|clause| of_clause(clause, span));
        route.rewrite.maps().for_each(|map| unknown(map.name(), span.clone()));
        if let Destination::Redirect(redirect) = &route.to {
            redirect.maps().for_each(|map| unknown(map.name(), span.clone()));
        }
    }
    let start = 0..0;
    of_pieces(&plan.log.access_format.pieces, &start);
    plan.log.named.iter().for_each(|named| of_pieces(&named.format.pieces, &start));
}
