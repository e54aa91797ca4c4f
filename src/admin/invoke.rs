//! `POST /v1/invoke`: one request to a backend of a route or an upstream, with a certificate of choice, and all of its answer.
//! By a route, it is what the route makes of it: rewritten, with the fields that listener and route set, add or remove.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Map;

use super::Control;
use super::body::Body;
use super::problem::Problem;
use super::reload::queued;
use crate::base::address::endpoint_authority;
use crate::config::plan::Route;
use crate::http::{is_token, is_value_byte};
use crate::route::HostPattern;
use crate::server::deployment::Current;
use crate::server::probe::{Call, Invoked, Target, invoke as call};
use crate::server::through_route::through;
use crate::server::{Deployment, routes};

/// Fields that a request has anyway, or that would change what it is.
const OWN: [&str; 6] = ["host", "connection", "content-length", "transfer-encoding", "upgrade", "te"];

/// A request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invoke {
    /// The route, by its id or number; its first upstream is called.
    route: Option<String>,
    /// Or the upstream.
    upstream: Option<String>,
    /// As traffic of this environment finds it.
    environment: Option<String>,
    /// One of its endpoints, by name or address; left out: the first.
    endpoint: Option<String>,
    /// Default GET.
    method: Option<String>,
    /// The path with its query: of an upstream as the backend gets it, `/` by default; of a route as a client sends it, by
    /// default the route's own.
    path: Option<String>,
    /// Default: the route's, if it has one name, or the endpoint's.
    host: Option<String>,
    /// Further fields.
    #[serde(default)]
    headers: Map<String, serde_json::Value>,
    /// The content.
    #[serde(default)]
    body: String,
    /// A certificate of the store, in the place of the upstream's.
    certificate: Option<String>,
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invoke", "this request can't be made", detail)
}

pub(super) async fn invoke(
    State(control): State<Control>,
    Body(wanted): Body<Invoke>,
) -> Result<Json<Invoked>, Problem> {
    let work = move |deployment: &Deployment| {
        let current = deployment.current();
        let (target, route) = target(deployment, &current, &wanted)?;
        let route = route.map(|at| (at, &current.plan.routes[at]));
        let mut request = request(&wanted, &target, route.map(|(_, route)| route))?;
        if let Some((at, _)) = route {
            let of = (&*current.plan, &*current.running);
            request = through(of, at, wanted.environment.as_deref(), request).map_err(wrong)?;
        }
        Ok(call(&target, &request))
    };
    queued(&control, &control.trials, work).await.map(Json)
}

/// The backend, and where the route stands that is meant, if one is.
fn target(
    deployment: &Deployment,
    current: &Current,
    wanted: &Invoke,
) -> Result<(Target, Option<usize>), Problem> {
    let plan = &current.plan;
    let missing = |what: &str, name: &str| {
        let title = format!("there is no such {what}");
        Problem::new(StatusCode::NOT_FOUND, "not-found", &title, format!("there is no {what} {name:?}"))
    };
    let mut by = None;
    let base = match (&wanted.route, &wanted.upstream) {
        (Some(route), None) => {
            let at = routes::position(plan, route).ok_or_else(|| missing("route", route))?;
            by = Some(at);
            let first = plan.routes[at].upstreams().next();
            first.ok_or_else(|| wrong("this route answers by itself: no backend is called"))?
        }
        (None, Some(name)) => {
            let found = plan.upstreams.iter().position(|upstream| upstream.name.value == *name);
            found.ok_or_else(|| missing("upstream", name))?
        }
        _ => return Err(wrong("give either `route` or `upstream`")),
    };
    let index = plan.in_environment(base, wanted.environment.as_deref());
    if plan.speaks_udp(index) {
        return Err(wrong("the upstream is of udp listeners, which carry no requests"));
    }
    let identity = match &wanted.certificate {
        None => None,
        Some(name) => Some(deployment.certificate(name, |certificate| certificate.active())?),
    };
    let targets = Target::of_upstream(&current.running.upstreams[index], false, identity.as_ref());
    let is_it = |target: &Target| match &wanted.endpoint {
        None => target.address.is_some(),
        Some(name) => {
            let address = target.address.as_ref().map(ToString::to_string);
            target.endpoint == *name || address.as_ref() == Some(name)
        }
    };
    let name = wanted.endpoint.as_deref().unwrap_or("with an address");
    let target = targets.into_iter().find(is_it).ok_or_else(|| missing("endpoint", name))?;
    Ok((target, by))
}

/// The request, in which nothing can end its line or its field.
fn request(wanted: &Invoke, target: &Target, route: Option<&Route>) -> Result<Call, Problem> {
    let method = wanted.method.clone().unwrap_or_else(|| "GET".to_owned());
    if !is_token(method.as_bytes()) || method == "CONNECT" {
        return Err(wrong("`method` is a method in capitals, and not CONNECT"));
    }
    let own = route.map_or("/", |route| route.path.value.path());
    let path = wanted.path.clone().unwrap_or_else(|| own.to_owned());
    if !path.starts_with('/') || !path.bytes().all(|byte| matches!(byte, b'!'..=b'~')) || path.contains('#') {
        return Err(wrong(
            "`path` begins with a slash, and has neither spaces nor other characters that are to be percent-encoded",
        ));
    }
    let named = route.and_then(|route| match route.hosts.first().map(|at| &at.value) {
        Some(HostPattern::Exact(name)) => Some(name.as_str()),
        _ => None,
    });
    let own = named.unwrap_or_else(|| endpoint_authority(&target.endpoint));
    let host = wanted.host.clone().unwrap_or_else(|| own.to_owned());
    if host.is_empty() || !host.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
        return Err(wrong("`host` is a name or an address, with or without a port"));
    }
    let mut fields =
        vec![("User-Agent".to_owned(), concat!("ringate-invoke/", env!("CARGO_PKG_VERSION")).to_owned())];
    for (name, value) in &wanted.headers {
        let Some(value) = value.as_str() else { return Err(wrong("the values of `headers` are texts")) };
        if !is_token(name.as_bytes()) || !value.bytes().all(is_value_byte) {
            return Err(wrong("`headers` has a name or a value that no header field can have"));
        }
        if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Err(wrong(format!("`{name}` is set by Ringate: leave it out, or use `host`")));
        }
        fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        fields.push((name.clone(), value.to_owned()));
    }
    Ok(Call { method, target: path, host, fields, body: wanted.body.clone().into_bytes() })
}
