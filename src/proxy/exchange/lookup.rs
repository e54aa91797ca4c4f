//! The route of a request: by its path in the normal form, or in one that a route lets pass.

use std::borrow::Cow;

use crate::http::{Method, RequestHead};
use crate::proxy::failure::Failure;
use crate::proxy::rules::cors;
use crate::proxy::snapshot::{Route, Traffic};
use crate::route::{self, Match, PathError, Table, keep_empty_parts, keep_slashes, normalise_path};

/// The path of a request in its normal form, and its route with its index.
pub(super) fn routed<'t, 'b>(
    traffic: &'t Traffic,
    head: &RequestHead<'_, 'b>,
    client: &str,
) -> Result<(Cow<'b, str>, (usize, &'t Route)), Failure> {
    match normalise_path(head.target.path) {
        Ok(path) => {
            let found = find(traffic, (head, client), &path)?;
            Ok((path, found))
        }
        Err(error) => find_slashed(traffic, (head, client), error),
    }
}

/// The route, with its index, of a request whose path is `path` in its normalised form.
fn find<'t>(
    traffic: &'t Traffic,
    (head, client): (&RequestHead<'_, '_>, &str),
    path: &str,
) -> Result<(usize, &'t Route), Failure> {
    let Traffic::Http { table, routes } = traffic else {
        return Err(Failure::NoRoute);
    };
    let method = head.method.as_str();
    let (host, query, headers) = (head.host, head.target.query, &head.fields);
    let asked = route::RouteQuery { host, path, query, method, client, headers, announced: None };
    let preflight = (head.method == Method::Options).then(|| cors::preflight_of(head)).flatten();
    if let Some((method, fields)) = preflight {
        return find_for_preflight(table, routes, &asked, (method, fields));
    }
    match table.find(&asked) {
        Match::Route(index) => Ok((index, &routes[index])),
        Match::MethodNotAllowed { allow } => Err(Failure::MethodNotAllowed(allow)),
        Match::NotFound => Err(Failure::NoRoute),
    }
}

/// The route of a path that was refused, if it has encoded slashes and a route that lets them pass: the route that the path
/// matches with these slashes decoded, so that a path cannot reach a backend by another route.
#[cold]
fn find_slashed<'t, 'b>(
    traffic: &'t Traffic,
    (head, client): (&RequestHead<'_, 'b>, &str),
    error: PathError,
) -> Result<(Cow<'b, str>, (usize, &'t Route)), Failure> {
    let refused = || Failure::AmbiguousPath(error);
    if error != PathError::HiddenSeparator {
        return Err(refused());
    }
    let slashed = keep_slashes(head.target.path).map_err(|_| refused())?;
    let (index, route) = find(traffic, (head, client), &slashed.kept).map_err(|_| refused())?;
    let (same, _) = find(traffic, (head, client), &slashed.decoded).map_err(|_| refused())?;
    if !route.encoded_slashes || same != index {
        return Err(refused());
    }
    Ok((slashed.kept.into(), (index, route)))
}

/// The path with its empty parts, if it matches the same route in that form and differs only by them.
#[cold]
pub(super) fn apart(
    traffic: &Traffic,
    (head, client): (&RequestHead<'_, '_>, &str),
    merged: &str,
    route: usize,
) -> Option<String> {
    let path = keep_empty_parts(head.target.path, merged)?;
    let (index, _) = find(traffic, (head, client), &path).ok()?;
    (index == route).then_some(path)
}

/// The route of a preflight: that of the announced request, if it has a policy. If it has none, its backend may have one, or
/// any route that takes OPTIONS; but the policy of another route does not apply.
fn find_for_preflight<'t>(
    table: &Table,
    routes: &'t [Route],
    asked: &route::RouteQuery<'_>,
    (method, fields): (&str, &[u8]),
) -> Result<(usize, &'t Route), Failure> {
    let has_policy = |index: usize| routes[index].rules.as_ref().is_some_and(|rules| rules.cors.is_some());
    let meant = match table.find(&route::RouteQuery { method, announced: Some(fields), ..*asked }) {
        Match::Route(index) => Some(index),
        _ => None,
    };
    if let Some(index) = meant.filter(|index| has_policy(*index)) {
        return Ok((index, &routes[index]));
    }
    match table.find(asked) {
        Match::Route(index) if has_policy(index) && meant.is_some() => Err(Failure::NoCors),
        Match::Route(index) => Ok((index, &routes[index])),
        Match::MethodNotAllowed { allow } => Err(Failure::MethodNotAllowed(allow)),
        Match::NotFound => Err(Failure::NoRoute),
    }
}
