//! The config: file (as written) → plan (checked).
//!
//! This floor is pure: text in, [`Plan`] or [`Diagnostics`] out. What needs the
//! disk (certificates) or the machine (addresses, CPUs) is checked by `server`
//! when it builds a snapshot; the plan keeps each value's place in the file, so
//! that those errors point at the line as well.
//!
//! `file` walks the TOML and knows each value's place, `check` gives the values
//! their meaning, `keys` is the table of all keys, `units` and `names` know how single values are written.

use std::cell::RefCell;
use std::path::Path;

use toml::de::DeTable;

pub(crate) mod access;
pub(crate) mod backend_url;
mod check;
pub(crate) mod diagnostics;
pub(crate) mod edit;
mod endpoint_list;
mod file;
mod foreign;
mod keys;
mod names;
pub(crate) mod openapi;
pub(crate) mod plan;
mod suggest;
mod unclosed;
pub(crate) mod units;

#[cfg(test)]
mod tests;

#[allow(unreachable_pub)] // for internals
pub use diagnostics::Diagnostics;
pub(crate) use diagnostics::{Diagnostic, Level};
pub(crate) use endpoint_list::endpoint_list;
pub(crate) use plan::Plan;

/// Reads and checks a config.
///
/// `name` is shown in messages: the path as the user gave it. `dir` is the folder that
/// relative paths are resolved against: the config file's own.
///
/// # Errors
///
/// All that is wrong with the text. A text that is no TOML has only its syntax errors
/// reported; otherwise unknown keys, wrong types and wrong values are reported together.
pub fn parse(name: &str, text: &str, dir: &Path) -> Result<Plan, Diagnostics> {
    read(name, text, |root| check::plan(root, dir))
}

/// `[admin]` alone: what else is in the text may be wrong.
///
/// # Errors
///
/// What is wrong with that section, or with the text as TOML.
pub(crate) fn admin(name: &str, text: &str, dir: &Path) -> Result<Option<plan::Admin>, Diagnostics> {
    read(name, text, |root| check::admin_of(root, dir))
}

/// The JSON Schema of the config, for editors.
pub(crate) fn schema() -> serde_json::Value {
    keys::schema::schema()
}

/// `config/reference.toml`: every key with its default.
pub(crate) fn reference() -> String {
    keys::reference::reference()
}

/// `docs/configuration.md`: every key in tables.
pub(crate) fn configuration_page() -> String {
    keys::markdown::page()
}

/// What is wrong with a config by its JSON Schema.
#[cfg(test)]
pub(crate) fn schema_errors(text: &str) -> Vec<String> {
    keys::tests::schema_errors(text)
}

/// What `check` makes of the text's root, unless it finds something wrong, or the text is no TOML.
fn read<T>(name: &str, text: &str, check: impl FnOnce(file::Section<'_>) -> T) -> Result<T, Diagnostics> {
    let errors = RefCell::new(Diagnostics::new(name, text));
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let mut errors = errors.into_inner();
        file::syntax_errors(&mut errors, text, &syntax);
        return Err(errors);
    }
    let checked = check(file::Section::root(document.get_ref(), &errors));
    errors.into_inner().into_result().map(|()| checked)
}

/// Parts of a valid config that its writer may not have meant: upstreams that no route uses, environments that
/// no listener is in, listeners whose environment has nearly the name of another one, refusals that routes of a host
/// stand before, upstreams of which every endpoint is drained.
pub fn warnings(name: &str, text: &str, plan: &Plan) -> Diagnostics {
    let mut found = Diagnostics::new(name, text);
    let overlays = || plan.upstreams.iter().filter_map(|upstream| upstream.environment.as_ref());
    for environment in plan.listeners.iter().filter_map(|listener| listener.environment.as_ref()) {
        let near = suggest::nearest(environment, overlays().map(|at| at.as_str()));
        if let Some(near) = near.filter(|near| *near != environment.as_str()) {
            let title = format!("no upstream has an overlay for the environment `{}`", **environment);
            if !overlays().any(|overlay| overlay == environment) {
                found.warning(environment.span.clone(), title, Some(format!("did you mean \"{near}\"?")));
            }
        }
    }
    for (index, upstream) in plan.upstreams.iter().enumerate() {
        if upstream.endpoints.iter().all(|endpoint| endpoint.drain) {
            let title = format!("every endpoint of `{}` is drained", *upstream.name);
            let help = "its requests are answered with 503, but for those of sticky sessions";
            found.warning(upstream.name.span.clone(), title, Some(help.to_owned()));
        }
        if let Some(environment) = &upstream.environment {
            let used = plan.listeners.iter().filter_map(|listener| listener.environment.as_ref());
            if !used.clone().any(|used| used == environment) {
                let title = format!("no listener is in the environment `{}`", **environment);
                let near = suggest::nearest(environment, used.map(|used| used.as_str()));
                let help = near.map(|near| format!("did you mean `{near}`?"));
                found.warning(environment.span.clone(), title, help);
            }
            continue;
        }
        let mirrors = plan.upstreams.iter().filter_map(|other| other.mirror.as_ref());
        let is_mirror =
            mirrors.map(|mirror| &mirror.upstream).any(|to| to.split('@').next() == Some(&**upstream.name));
        let mut routed = plan.routes.iter().flat_map(plan::Route::upstreams);
        if !is_mirror && !routed.any(|used| used == index) {
            let title = format!("no route uses the upstream `{}`", *upstream.name);
            found.warning(upstream.name.span.clone(), title, None);
        }
    }
    shadowed(plan, &mut found);
    found
}

/// Refusals without `host` that requests pass by way of a route with one: a host counts before a path.
fn shadowed(plan: &Plan, found: &mut Diagnostics) {
    use crate::route::PathPattern;
    use plan::Destination;
    let refuses = |route: &plan::Route| {
        let answer =
            matches!(&route.to, Destination::Respond(respond) if (400..=499).contains(&respond.status));
        let rules = &route.rules;
        answer
            || !rules.permitted.is_empty()
            || rules.api_keys.is_some()
            || route.client_certificate.is_some()
    };
    let part = |path: &PathPattern| path.path().trim_end_matches('/').to_owned();
    let below = |path: &str, prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for route in plan.routes.iter().filter(|route| route.host.is_none() && refuses(route)) {
        let path = part(&route.path.value);
        let before = plan.routes.iter().find(|other| {
            let meets = |other_path: &str| match (&other.path.value, &route.path.value) {
                (PathPattern::Exact(_), PathPattern::Exact(_)) => path == other_path,
                (PathPattern::Prefix(_), PathPattern::Exact(_)) => below(&path, other_path),
                (PathPattern::Exact(_), PathPattern::Prefix(_)) => below(other_path, &path),
                _ => below(&path, other_path) || below(other_path, &path),
            };
            let shared = other.listeners.iter().any(|listener| route.listeners.contains(listener));
            other.host.is_some() && !refuses(other) && shared && meets(&part(&other.path.value))
        });
        // `/` without a host is what is left over, and meant to be.
        if let Some(before) = before.filter(|_| !path.is_empty()) {
            let title =
                format!("this refusal does not hold for requests that the route `{}` takes", before.place());
            let help = "a route with `host` goes before one without, whatever their paths: \
                repeat the refusal for that host, or use `allow` and `deny` of the listener, which hold before routes";
            found.warning(route.span.clone(), title, Some(help.to_owned()));
        }
    }
}
