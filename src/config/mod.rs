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

pub(crate) mod access;
pub(crate) mod backend_url;
mod check;
pub(crate) mod diagnostics;
pub(crate) mod edit;
mod endpoint_list;
mod file;
mod foreign;
mod foreign_variables;
pub(crate) mod import;
mod keys;
mod map_text;
mod merge;
mod names;
pub(crate) mod openapi;
pub(crate) mod plan;
mod references;
pub(crate) mod sources;
mod suggest;
mod syntax;
mod unclosed;
pub(crate) mod units;

#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod tests;

#[allow(unreachable_pub)] // for internals
pub use diagnostics::Diagnostics;
pub(crate) use diagnostics::{Diagnostic, Level};
pub(crate) use endpoint_list::endpoint_list;
pub(crate) use plan::Plan;
pub(crate) use sources::{Alone, Outside, Sources};

/// Reads and checks a config of one file, without what is outside of it.
///
/// `name` is shown in messages: the path as the user gave it. `dir` is the folder that
/// relative paths are resolved against: the config file's own.
///
/// # Errors
///
/// All that is wrong with the text. A text that is no TOML has only its syntax errors
/// reported; otherwise unknown keys, wrong types and wrong values are reported together.
#[allow(unreachable_pub)] // for internals
pub fn parse(name: &str, text: &str, dir: &Path) -> Result<Plan, Diagnostics> {
    let path = dir.join(Path::new(name).file_name().unwrap_or_default());
    parse_all(&Sources::gather(name, &path, text, &Alone), dir, &Alone)
}

/// Reads and checks a config of any number of files. References in them are replaced by what `outside` has.
///
/// # Errors
///
/// All that is wrong with the texts, as for [`parse`]; an include or a reference that fails; a name that stands in two files.
pub(crate) fn parse_all(sources: &Sources, dir: &Path, outside: &dyn Outside) -> Result<Plan, Diagnostics> {
    read(sources, outside, None, |root| check::plan(root, dir))
}

/// `[admin]` alone: what else is in the texts may be wrong.
///
/// # Errors
///
/// What is wrong with that section, or with the first text as TOML.
pub(crate) fn admin(
    sources: &Sources,
    dir: &Path,
    outside: &dyn Outside,
) -> Result<Option<plan::Admin>, Diagnostics> {
    read(sources, outside, Some("admin"), |root| check::admin_of(root, dir))
}

pub(crate) use keys::explain::Explained;

/// What is known of a key.
///
/// # Errors
/// There is no such key; the nearest ones.
pub(crate) fn explain(key: &str) -> Result<Explained, Vec<String>> {
    keys::explain::explain(key)
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

/// What `check` makes of the root, unless it finds something wrong, or a text is no TOML.
fn read<T>(
    sources: &Sources,
    outside: &dyn Outside,
    only: Option<&str>,
    check: impl FnOnce(file::Section<'_>) -> T,
) -> Result<T, Diagnostics> {
    let (root, errors) = merge::merged(sources, outside, only)?;
    let errors = RefCell::new(errors);
    let checked = check(file::Section::root(&root, &errors));
    errors.into_inner().into_result().map(|()| checked)
}

/// Parts of a valid config that its writer may not have meant: upstreams that no route uses, environments that
/// no listener is in, listeners whose environment has nearly the name of another one, refusals that routes of a host
/// stand before, upstreams of which every endpoint is drained.
#[allow(unreachable_pub)] // for internals
pub fn warnings(name: &str, text: &str, plan: &Plan) -> Diagnostics {
    warnings_of(&Sources::single(name, Path::new(name), text), plan)
}

/// The same for a config of any number of files.
pub(crate) fn warnings_of(sources: &Sources, plan: &Plan) -> Diagnostics {
    let mut found = Diagnostics::of(sources);
    for old in &plan.old_keys {
        found.warning(old.span.clone(), old.title.clone(), old.help.clone());
    }
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
        let asked = plan.routes.iter().filter_map(|route| route.rules.auth.forward.as_ref());
        let asked = asked.map(|forward| forward.upstream);
        let mut routed = plan.routes.iter().flat_map(plan::Route::upstreams).chain(asked);
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
            || rules.auth != plan::Auth::default()
            || route.client_certificate.is_some()
    };
    let part = |path: &PathPattern| path.path().trim_end_matches('/').to_owned();
    let below = |path: &str, prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_plain =
        |route: &&plan::Route| matches!(route.path.value, PathPattern::Exact(_) | PathPattern::Prefix(_));
    for route in plan.routes.iter().filter(is_plain).filter(|route| route.hosts.is_empty() && refuses(route))
    {
        let path = part(&route.path.value);
        let before = plan.routes.iter().filter(is_plain).find(|other| {
            let meets = |other_path: &str| match (&other.path.value, &route.path.value) {
                (PathPattern::Exact(_), PathPattern::Exact(_)) => path == other_path,
                (PathPattern::Prefix(_), PathPattern::Exact(_)) => below(&path, other_path),
                (PathPattern::Exact(_), PathPattern::Prefix(_)) => below(other_path, &path),
                _ => below(&path, other_path) || below(other_path, &path),
            };
            let shared = other.listeners.iter().any(|listener| route.listeners.contains(listener));
            !other.hosts.is_empty() && !refuses(other) && shared && meets(&part(&other.path.value))
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
