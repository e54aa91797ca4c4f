//! `[[route]]`, and how routes refer to listeners and upstreams.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::base::address::UNIX;
use crate::config::file::{Errors, Section, Value};
use crate::config::names;
use crate::config::plan::{At, Destination, Listener, Protocol, Route, Upstream};
use crate::config::suggest::{nearest, quoted};
use crate::config::units::Wrong;
use crate::http::BackendHttp;
use crate::proxy_protocol::Version;
use crate::route::{HostPattern, PathPattern};

use super::clients::RuleKeys;
use super::edits::{self, RewriteKeys};
use super::rules::{Folders, RuleValues};
use super::{conditions, destination, limits, log};

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
    if !root.misspells_missing("route") {
        covered(root.errors(), listeners, &routes);
    }
    datagrams(root.errors(), listeners, &routes, upstreams.unwrap_or_default());
    calls(root.errors(), &routes, upstreams.unwrap_or_default());
    routes
}

/// Every listener has a route, and a tcp listener has only one.
fn covered(errors: &Errors, listeners: &[Listener], routes: &[Route]) {
    let (mut used, mut names) = (HashSet::new(), HashMap::new());
    for route in routes {
        for index in &route.listeners {
            let listener = &listeners[*index];
            let name = route.sni.as_ref().map(|sni| &sni.value);
            used.insert(*index);
            if listener.protocol != Protocol::Http
                && let Some(other) = names.insert((*index, name), route.span.start)
            {
                let (protocol, other) = (listener.protocol.word(), errors.borrow().place(other));
                let title = format!(
                    "`route`: the {protocol} listener `{}` already has such a route, at {other}",
                    *listener.name
                );
                let help = match listener.protocol {
                    Protocol::Udp => "a udp listener has one route; take one of the routes out",
                    _ => "its connections are distinguished by `sni` only; take one of the routes out",
                };
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
        if alone && !name.is_empty() && !used.contains(&index) {
            let help = format!("add [[route]] with `listener = \"{name}\"` and an `upstream`");
            let title = format!("no route uses the listener `{name}`");
            errors.borrow_mut().error(listener.name.span.clone(), title, Some(help));
        }
    }
}

/// What the upstream of a udp listener can't have.
fn datagrams(errors: &Errors, listeners: &[Listener], routes: &[Route], upstreams: &[Upstream]) {
    let is_udp = |index: &usize| listeners[*index].protocol == Protocol::Udp;
    for route in routes.iter().filter(|route| route.listeners.iter().any(is_udp)) {
        for upstream in route.upstreams().filter_map(|index| upstreams.get(index)) {
            let name = upstream.name.as_str();
            let (title, help) = if upstream.tls.is_some() {
                (
                    format!("`{name}` has TLS, and datagrams are relayed as they are"),
                    "use an upstream without `tls`",
                )
            } else if upstream.proxy_protocol == Some(Version::V1) {
                (format!("`{name}` has PROXY headers of version 1, which is for TCP alone"), "write \"v2\"")
            } else if upstream.endpoints.iter().any(|at| at.address.starts_with(UNIX)) {
                (
                    format!("`{name}` has an endpoint on a Unix socket, and its listener is udp"),
                    "use another upstream",
                )
            } else if upstream.max_per_endpoint > 0 {
                (
                    format!("`pool.max_per_endpoint` of `{name}` is not supported yet for udp listeners"),
                    "bound the sessions by `limits.udp_sessions`",
                )
            } else {
                continue;
            };
            errors.borrow_mut().error(
                route.span.clone(),
                format!("`route.upstream`: {title}"),
                Some(help.into()),
            );
        }
    }
}

/// Calls of gRPC need HTTP/2.
fn calls(errors: &Errors, routes: &[Route], upstreams: &[Upstream]) {
    for route in routes.iter().filter(|route| route.grpc_web) {
        for upstream in route.upstreams().filter_map(|index| upstreams.get(index)) {
            if upstream.http.value == BackendHttp::Http11 {
                let name = upstream.name.as_str();
                let title = format!("`route.grpc_web` needs HTTP/2, and the upstream `{name}` has HTTP/1.1");
                let help = format!("write `http = \"2\"` in [upstream.{name}]");
                errors.borrow_mut().error(route.span.clone(), title, Some(help));
            }
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
    let sni = section.get("sni");
    let plain = [
        "host",
        "path",
        "methods",
        "match",
        "headers",
        "timeouts",
        "encoded_slashes",
        "merge_slashes",
        "grpc_web",
        "limits",
        "access_log",
    ]
    .map(|key| section.get(key));
    let rewrite = RewriteKeys::of(&mut section);
    let certificate = RuleKeys::of(&mut section);
    let rules = RuleValues::of(&mut section);
    let destination = destination::Keys::of(&mut section);
    let path = plain[1].as_ref().and_then(|value| value.parse("\"/orders\"", names::path_pattern));
    let path = path.unwrap_or(At { value: PathPattern::Prefix("/".into()), span: 0..0 });
    let to = destination.read(&mut section, upstreams, path.path(), folders.config);
    let http = || {
        let plain = plain.iter().flatten().chain(rewrite.values());
        plain.chain(certificate.values()).chain(destination.values()).chain(rules.present())
    };
    let listeners = match on {
        Some(value) => named(&value, listeners),
        None => implied(&section, http().next().is_some(), sni.is_some(), listeners),
    };
    fits(&listeners, http(), sni.as_ref());
    rewrite.fits(&path.value);
    let [host, _, methods, conditions, headers, timeouts, slashes, merge, web, bounds, access] =
        plain.each_ref().map(Option::as_ref);
    let (request_headers, response_headers, conditional_headers) = edits::headers(headers);
    let (response_timeout, idle_timeout) = timeouts.map(timeouts_of).unwrap_or_default();
    let route = Route {
        hosts: host.map(hosts_of).unwrap_or_default(),
        methods: methods.and_then(methods_of).or_else(|| match to {
            Destination::Portal(ref portal) => {
                let form = portal.requests.is_some().then_some("POST");
                Some(["GET", "HEAD"].into_iter().chain(form).map(str::to_owned).collect())
            }
            _ => None,
        }),
        sni: sni.and_then(|value| value.parse("\"db.example.com\"", server_name)),
        conditions: conditions.map(conditions::of).unwrap_or_default(),
        to,
        request_headers,
        response_headers,
        conditional_headers,
        response_timeout,
        idle_timeout,
        client_certificate: certificate.read(&listeners),
        rewrite: rewrite.read(&path.value),
        rewrite_responses: rewrite.responses(),
        path,
        encoded_slashes: slashes
            .and_then(|value| value.choice(&[("refuse", false), ("pass", true)]))
            .unwrap_or(false),
        merge_slashes: merge.and_then(Value::boolean).unwrap_or(true),
        grpc_web: web.and_then(Value::boolean).unwrap_or(false),
        limits: bounds.map(limits::route).unwrap_or_default(),
        access_log: access.and_then(log::of_route),
        rules: rules.read(folders, upstreams),
        span: section.span.clone(),
        listeners: listeners.into_iter().map(|(index, _)| index).collect(),
    };
    section.finish();
    route
}

/// Keys of HTTP need an http listener; `sni` needs a tcp one that does not open TLS itself.
fn fits<'v, 'a: 'v>(
    listeners: &[(usize, &Listener)],
    http: impl Iterator<Item = &'v Value<'a>>,
    sni: Option<&Value<'_>>,
) {
    if let Some((_, other)) = listeners.iter().find(|(_, listener)| listener.protocol != Protocol::Http) {
        let (name, protocol) = (other.name.as_str(), other.protocol.word());
        for value in http {
            let title = format!("`{}` needs an http listener, and `{name}` is {protocol}", value.name);
            value.key_error(title, "leave it out");
        }
    }
    let Some(sni) = sni else { return };
    for (_, listener) in listeners {
        let name = listener.name.as_str();
        if listener.protocol == Protocol::Http {
            let title = format!("`{}` needs a tcp listener, and `{name}` is http", sni.name);
            sni.key_error(title, "use `host`: the name in the request");
        } else if listener.protocol == Protocol::Udp {
            let title = format!("`{}` needs a tcp listener, and `{name}` is udp", sni.name);
            sni.key_error(title, "leave it out: server names of QUIC are not supported yet");
        } else if listener.tls.is_some() {
            let title =
                format!("`{}` is for TLS that is not opened here, and `{name}` has a `tls` table", sni.name);
            sni.key_error(title, "take one of the two out");
        }
    }
}

/// A server name of a TLS client, or all names below one. SNI never has addresses (RFC 6066 §3).
fn server_name(text: &str) -> Result<HostPattern, Wrong> {
    let pattern = names::host_pattern(text)?;
    let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = &pattern;
    if name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err(Wrong::new(format!(
            "{} is an address, which no TLS client sends as a server name",
            quoted(text)
        ))
        .help("leave `sni` out"));
    }
    Ok(pattern)
}

/// `timeouts.response` and `timeouts.idle`.
fn timeouts_of(value: &Value<'_>) -> (Option<Duration>, Option<Duration>) {
    let Some(mut section) = value.section() else { return (None, None) };
    let [response, idle] =
        ["response", "idle"].map(|key| section.get(key).and_then(|value| value.duration(false)));
    section.finish();
    (response, idle)
}

/// One host or several.
pub(super) fn hosts_of(value: &Value<'_>) -> Vec<At<HostPattern>> {
    let example = "\"api.example.com\"";
    let entries = value.one_or_more(example).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.parse(example, names::host_pattern)).collect()
}

pub(super) fn methods_of(value: &Value<'_>) -> Option<Vec<String>> {
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
            // A listener whose own name is wrong may be meant.
            None if listeners.iter().any(|listener| listener.name.is_empty()) => {}
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
                entry.error(&title, Some("write one route for each protocol".into()));
            }
            Some(one) => found.push(one),
        }
    }
    if found.len() == entries.len() { found } else { Vec::new() }
}

/// The listener of a route without `listener`: the only one, or the only one of the protocol that the route needs.
fn implied<'l>(
    section: &Section<'_>,
    http: bool,
    sni: bool,
    listeners: &'l [Listener],
) -> Vec<(usize, &'l Listener)> {
    let fits = |listener: &Listener| match listener.protocol {
        _ if listeners.len() == 1 => true,
        Protocol::Http => !sni || http,
        Protocol::Tcp => !http,
        Protocol::Udp => !http && !sni,
    };
    let candidates: Vec<_> = listeners.iter().enumerate().filter(|(_, listener)| fits(listener)).collect();
    if candidates.len() > 1 {
        let names: Vec<String> =
            candidates.iter().map(|(_, listener)| format!("\"{}\"", *listener.name)).collect();
        let help = format!("add `listener = [{}]`, or one of them", names.join(", "));
        section.error("`route.listener` is missing, and there are several listeners", Some(help));
        return Vec::new();
    }
    if candidates.is_empty() && !listeners.is_empty() {
        section.error("`route.listener` is missing, and there is no listener of its protocol", None);
    }
    candidates
}

pub(super) fn unknown(value: &Value<'_>, kind: &str, name: &str, near: Option<&str>, otherwise: &str) {
    let help = near.map_or_else(|| otherwise.to_owned(), |near| format!("did you mean \"{near}\"?"));
    value.error(&format!("there is no {kind} called `{name}`"), Some(help));
}
