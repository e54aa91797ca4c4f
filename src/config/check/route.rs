//! `[[route]]`, and how routes refer to listeners and upstreams.

use std::collections::HashSet;

use crate::config::file::{Errors, OnlyDefault, Section, Value};
use crate::config::names;
use crate::config::plan::{At, Listener, PathPattern, Protocol, Route, Upstream};
use crate::config::suggest::nearest;

use super::destination;
use super::rules::{Folders, RuleValues};

/// The routes; `upstreams` is `None` where they could not be read.
pub(super) fn routes(
    root: &mut Section<'_>,
    listeners: &[Listener],
    upstreams: Option<&[Upstream]>,
    folders: Folders<'_>,
) -> Vec<Route> {
    let sections = match root.get("route") {
        Some(value) => value.sections(),
        None => Some(Vec::new()),
    };
    let Some(sections) = sections else { return Vec::new() };
    let routes: Vec<Route> =
        sections.into_iter().map(|section| route(section, listeners, upstreams, folders)).collect();
    covered(root.errors(), listeners, &routes);
    routes
}

/// Every listener has a route, and a tcp listener has only one.
fn covered(errors: &Errors, listeners: &[Listener], routes: &[Route]) {
    let mut used = HashSet::new();
    for route in routes {
        for index in &route.listeners {
            let listener = &listeners[*index];
            if !used.insert(*index) && listener.protocol == Protocol::Tcp {
                let title = format!("`route`: the tcp listener `{}` already has a route", *listener.name);
                let help = "all its connections go to one upstream; take one of the routes out";
                errors.borrow_mut().error(route.span.clone(), title, Some(help.into()));
            }
        }
    }
    // A route whose listener is not clear may be meant for any of them.
    if routes.iter().any(|route| route.listeners.is_empty()) {
        return;
    }
    for (index, listener) in listeners.iter().enumerate() {
        let name = listener.name.value.as_str();
        let alone = listeners.iter().filter(|other| other.name.value == name).count() == 1;
        if alone && !used.contains(&index) {
            let help = format!("add [[route]] with `listener = \"{name}\"` and an `upstream`");
            let title = format!("no route uses the listener `{name}`");
            errors.borrow_mut().error(listener.name.span.clone(), title, Some(help));
        }
    }
}

fn route(
    mut section: Section<'_>,
    listeners: &[Listener],
    upstreams: Option<&[Upstream]>,
    folders: Folders<'_>,
) -> Route {
    let on = section.get("listener");
    let http = ["host", "path", "methods", "strip_prefix"].map(|key| section.get(key));
    let [host, path, methods, strip_prefix] = http.each_ref().map(Option::as_ref);
    let host = host.and_then(|value| value.parse("\"api.example.com\"", names::host_pattern));
    let path = path.and_then(|value| value.parse("\"/orders\"", names::path_pattern));
    let path = path.unwrap_or(At { value: PathPattern::Prefix("/".into()), span: 0..0 });
    let methods = methods.and_then(methods_of);
    let strip_prefix = strip_prefix.and_then(Value::boolean).unwrap_or(false);
    let respond = section.get("respond");
    let to = destination::of(&mut section, respond.as_ref(), upstreams);
    let rules = RuleValues::of(&mut section);
    section.not_yet("sni", OnlyDefault::None);
    section.not_yet("headers", OnlyDefault::None);
    let listeners = match on {
        Some(value) => named(&value, listeners),
        None => {
            let mut values = http.iter().chain([&respond]).flatten().chain(rules.present());
            implied(&section, values.next().is_some(), listeners)
        }
    };
    if let Some(tcp) = listeners.iter().find(|(_, listener)| listener.protocol == Protocol::Tcp) {
        for value in http.iter().chain([&respond]).flatten().chain(rules.present()) {
            let title = format!("`{}` needs an http listener, and `{}` is tcp", value.name, *tcp.1.name);
            section.errors().borrow_mut().error(value.key_span.clone(), title, Some("leave it out".into()));
        }
    }
    let span = section.span.clone();
    section.finish();
    let listeners = listeners.into_iter().map(|(index, _)| index).collect();
    let rules = rules.read(folders);
    Route { listeners, host, path, methods, to, strip_prefix, rules, span }
}

fn methods_of(value: &Value<'_>) -> Option<Vec<String>> {
    let mut methods = Vec::new();
    for entry in value.list("[\"GET\", \"POST\"]")? {
        methods.extend(entry.parse("\"GET\"", names::method).map(|method| method.value));
    }
    Some(methods)
}

/// The listeners that a route names; none if any of them is wrong, as then it is not clear what is meant.
fn named<'l>(value: &Value<'_>, listeners: &'l [Listener]) -> Vec<(usize, &'l Listener)> {
    if listeners.is_empty() {
        return Vec::new(); // which is an error already
    }
    let entries = value.one_or_more("\"public\"").unwrap_or_default();
    let mut found: Vec<(usize, &Listener)> = Vec::new();
    for entry in &entries {
        let Some(name) = entry.text("\"public\"") else { continue };
        match listeners.iter().enumerate().find(|(_, listener)| listener.name.value == name.value) {
            None => {
                let near = nearest(name.value, listeners.iter().map(|listener| listener.name.as_str()));
                unknown(entry, "listener", name.value, near, "name one of the [[listener]] sections");
            }
            Some((index, _)) if found.iter().any(|(other, _)| *other == index) => {
                entry.error(&format!("`{}` is named twice", name.value), None);
            }
            Some((_, listener))
                if found.first().is_some_and(|(_, one)| one.protocol != listener.protocol) =>
            {
                let title =
                    format!("`{}` does not speak the same protocol as `{}`", name.value, *found[0].1.name);
                entry.error(&title, Some("write one route for http and one for tcp".into()));
            }
            Some(one) => found.push(one),
        }
    }
    if found.len() == entries.len() { found } else { Vec::new() }
}

/// The listener of a route that names none: the only one, or the only http one where the route looks at HTTP.
fn implied<'l>(section: &Section<'_>, http: bool, listeners: &'l [Listener]) -> Vec<(usize, &'l Listener)> {
    let fits = |listener: &Listener| listeners.len() == 1 || !http || listener.protocol == Protocol::Http;
    let candidates: Vec<_> = listeners.iter().enumerate().filter(|(_, listener)| fits(listener)).collect();
    if candidates.len() > 1 {
        let names: Vec<String> =
            candidates.iter().map(|(_, listener)| format!("\"{}\"", *listener.name)).collect();
        let help = format!("add `listener = [{}]`, or one of them", names.join(", "));
        section.error("`route.listener` is missing, and there are several listeners", Some(help));
        return Vec::new();
    }
    if candidates.is_empty() && !listeners.is_empty() {
        section.error("`route.listener` is missing, and there is no http listener", None);
    }
    candidates
}

pub(super) fn unknown(value: &Value<'_>, kind: &str, name: &str, near: Option<&str>, otherwise: &str) {
    let help = near.map_or_else(|| otherwise.to_owned(), |near| format!("did you mean \"{near}\"?"));
    value.error(&format!("there is no {kind} called `{name}`"), Some(help));
}
