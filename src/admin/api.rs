//! `GET /v1/status` and what is in it: what runs.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;

use super::caller::Caller;
use super::certificates::{self, InUse};
use super::discovery::Discovery;
use super::problem::Problem;
use super::subject::Subject;
use super::{Control, backends, headers, listeners, reload, verification};
use crate::base::counters::under_old_names;
use crate::certs::Timestamp;
use crate::config::Plan;
use crate::config::edit::Place;
use crate::config::plan::Destination;
use crate::io::log;
use crate::proxy::failure::Bound;
use crate::proxy::snapshot::RuntimeConfig;
use crate::proxy::upstream::config;
use crate::proxy_protocol::{Accept, Version};
use crate::server::renewal::ends;
use crate::server::{self, Deployment, changes};

#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    driver: &'static str,
    workers: Vec<Worker>,
    uptime_seconds: u64,
    draining: bool,
    config: Config,
    listeners: Vec<Listener>,
    upstreams: Vec<Upstream>,
    certificates: Vec<InUse>,
    /// Certificates that end soon, ours and those of backends, with the listeners and routes that depend on them.
    warnings: Vec<String>,
    totals: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Worker {
    cpu: usize,
    connections_open: u64,
    requests: u64,
    /// It has made no turn for more than a second.
    stuck: bool,
}

#[derive(Serialize)]
struct Config {
    file: String,
    /// Counted from 1 at the start.
    version: u64,
    /// Configs that were refused since the start.
    refused: u64,
    /// The last reload, if it was refused.
    last_refused: Option<LastRefused>,
}

/// A reload that changed nothing.
#[derive(Serialize)]
struct LastRefused {
    at: Timestamp,
    /// What was wrong, as `ringate check` shows it.
    reason: String,
}

#[derive(Serialize)]
pub(super) struct Listener {
    name: String,
    addresses: Vec<String>,
    protocol: &'static str,
    tls: bool,
    /// `"off"`, or which PROXY headers its connections must begin with.
    proxy_protocol: &'static str,
    environment: Option<String>,
    /// What a udp listener has relayed.
    udp: Option<listeners::Datagrams>,
    /// TLS handshakes with clients that failed.
    tls_failures: Option<listeners::Failures>,
}

#[derive(Serialize)]
pub(super) struct Route {
    /// Its name in `/v1/routes/{id}`, made of what it matches.
    id: String,
    /// What it matches, in words.
    matches: String,
    listeners: Vec<String>,
    /// Empty where it answers by itself.
    upstreams: Vec<String>,
    /// The status of the answer that it gives by itself.
    respond: Option<u16>,
}

#[derive(Serialize)]
pub(super) struct Upstream {
    /// `orders`, or `orders@production` for an overlay.
    name: String,
    environment: Option<String>,
    endpoints: Vec<String>,
    /// What these resolved to.
    addresses: Vec<backends::Address>,
    /// Those of the endpoints that are kept up to date.
    discovery: Vec<Discovery>,
    tls: bool,
    /// `"off"`, or the PROXY header that its connections begin with.
    proxy_protocol: &'static str,
    client_certificate: Option<String>,
    backend_tls: Option<backends::Tls>,
    /// Whether its backends are verified, and until when; none without TLS.
    verification: Option<verification::Verification>,
    /// Requests sent again, and those that were not for want of budget.
    retries: u64,
    retries_refused: u64,
    /// What is under way of what `limits` bounds (at the busiest endpoint, of what each bounds), and how often that was
    /// refused.
    limits: Vec<Limit>,
}

#[derive(Serialize)]
struct Limit {
    limit: &'static str,
    now: u64,
    refused: u64,
}

fn listeners_of(running: &RuntimeConfig, plan: &Plan) -> Vec<Listener> {
    let listeners = running.listeners.iter().zip(&plan.listeners).map(|(listener, planned)| Listener {
        name: listener.name.clone(),
        addresses: listener.addresses.iter().map(ToString::to_string).collect(),
        protocol: planned.protocol.word(),
        tls: listener.tls.is_some(),
        proxy_protocol: planned.proxy_protocol.map_or("off", Accept::word),
        environment: planned.environment.as_ref().map(|at| at.value.clone()),
        udp: listeners::Datagrams::of(listener),
        tls_failures: listeners::Failures::of(listener, false),
    });
    listeners.collect()
}

fn upstreams_of(deployment: &Deployment, running: &RuntimeConfig, plan: &Plan) -> Vec<Upstream> {
    let sources = deployment.sources();
    let upstreams = running.upstreams.iter().zip(&plan.upstreams).map(|(upstream, planned)| {
        let identity = upstream.tls.as_ref().and_then(|tls| tls.identity.as_ref());
        Upstream {
            name: upstream.name.clone(),
            environment: planned.environment.as_ref().map(|at| at.value.clone()),
            endpoints: planned.endpoints.iter().map(|at| at.address.clone()).collect(),
            addresses: backends::Address::all(upstream),
            discovery: Discovery::all(planned, &sources),
            tls: upstream.tls.is_some(),
            proxy_protocol: planned.proxy_protocol.map_or("off", Version::word),
            client_certificate: identity.map(|identity| identity.load().name().to_owned()),
            backend_tls: backends::Tls::of(upstream),
            verification: verification::Verification::of(deployment, upstream),
            retries: upstream.retried.sent.load(Ordering::Relaxed),
            retries_refused: upstream.retried.refused.load(Ordering::Relaxed),
            limits: limits_of(upstream),
        }
    });
    upstreams.collect()
}

/// Of the bounds that are set.
fn limits_of(upstream: &config::Upstream) -> Vec<Limit> {
    let set = Bound::ALL.into_iter().filter(|bound| upstream.circuit.most(*bound) > 0);
    let limits = set.map(|bound| {
        let at_endpoint = upstream.endpoints.iter().map(|endpoint| endpoint.state.circuit.now(bound)).max();
        let at_endpoint = at_endpoint.filter(|_| bound.is_of_endpoint());
        let now = at_endpoint.unwrap_or_else(|| upstream.circuit.now(bound));
        Limit { limit: bound.name(), now, refused: upstream.circuit.refused(bound) }
    });
    limits.collect()
}

fn routes_of(plan: &Plan) -> Vec<Route> {
    let routes = plan.routes.iter().zip(server::routes::ids(plan)).map(|(route, id)| Route {
        id,
        matches: changes::matches(plan, route),
        listeners: route.listeners.iter().map(|index| plan.listeners[*index].name.value.clone()).collect(),
        upstreams: route.upstreams().map(|index| plan.upstreams[index].name.value.clone()).collect(),
        respond: match &route.to {
            Destination::Respond(respond) => Some(respond.status),
            Destination::Redirect(redirect) => Some(redirect.status),
            Destination::Portal(_) | Destination::Files(_) => Some(200),
            Destination::Upstreams(_) => None,
        },
    });
    routes.collect()
}

fn status_of(deployment: &Deployment) -> Status {
    let server = &deployment.server;
    let current = deployment.current();
    let (running, plan) = (&current.running, &current.plan);
    let stuck = server.stuck();
    let workers =
        server.cpus.iter().zip(&server.counters).enumerate().map(|(index, (&cpu, counters))| Worker {
            cpu,
            connections_open: counters.connections_open.get(),
            requests: counters.requests.get(),
            stuck: stuck.iter().any(|stuck| stuck.worker == index),
        });
    let totals = server.totals();
    let old = under_old_names(&totals);
    let totals = totals.into_iter().chain([("log_lines_dropped", log::dropped())]).chain(old);
    Status {
        version: env!("CARGO_PKG_VERSION"),
        driver: server.backend.name(),
        workers: workers.collect(),
        uptime_seconds: server.started.elapsed().as_secs(),
        draining: !server.ready.load(Ordering::Relaxed),
        config: Config {
            file: deployment.file().display().to_string(),
            version: running.version,
            refused: deployment.refused.load(Ordering::Relaxed),
            last_refused: deployment.last_refused().map(|(at, reason)| LastRefused { at: at.into(), reason }),
        },
        listeners: listeners_of(running, plan),
        upstreams: upstreams_of(deployment, running, plan),
        certificates: certificates::in_use(deployment),
        warnings: ends::endings(deployment)
            .iter()
            .map(|ending| format!("certificate {} {ending}", ending.certificate))
            .chain(deployment.trust_faults())
            .chain(deployment.credential_warnings())
            .collect(),
        totals: totals.map(|(name, value)| (name.to_owned(), value.into())).collect(),
    }
}

pub(super) async fn status(State(control): State<Control>) -> Json<Status> {
    Json(status_of(&control.deployment))
}

pub(super) async fn listeners(State(control): State<Control>) -> Json<Vec<Listener>> {
    let current = control.deployment.current();
    Json(listeners_of(&current.running, &current.plan))
}

pub(super) async fn routes(State(control): State<Control>) -> Json<Vec<Route>> {
    Json(routes_of(&control.deployment.plan()))
}

pub(super) async fn upstreams(State(control): State<Control>) -> Json<Vec<Upstream>> {
    let current = control.deployment.current();
    Json(upstreams_of(&control.deployment, &current.running, &current.plan))
}

/// One upstream, or an overlay: `NAME@ENVIRONMENT`.
#[derive(Serialize)]
pub(super) struct Shown<T> {
    #[serde(flatten)]
    runs: T,
    /// Its keys in the config file, without secrets.
    config: serde_json::Value,
}

/// What runs, with its keys in the config file.
async fn with_config<T>(control: &Control, subject: Subject, runs: T) -> Result<Json<Shown<T>>, Problem> {
    let state = reload::blocking(control, move |deployment| Ok(subject.state(deployment))).await?;
    Ok(Json(Shown { runs, config: state.map(|state| state.shown).unwrap_or_default() }))
}

fn missing(what: &str, name: &str, known: impl Iterator<Item = String>) -> Problem {
    let known: Vec<String> = known.collect();
    let detail = format!("there is no {what} {name:?}; there is {}", known.join(", "));
    Problem::new(StatusCode::NOT_FOUND, "not-found", &format!("there is no such {what}"), detail)
}

pub(super) async fn upstream(
    State(control): State<Control>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Shown<Upstream>>, Problem> {
    let Path(name) = name?;
    let current = control.deployment.current();
    let all = upstreams_of(&control.deployment, &current.running, &current.plan);
    let names: Vec<String> = all.iter().map(|upstream| upstream.name.clone()).collect();
    let found = all.into_iter().find(|upstream| upstream.name == name);
    let found = found.ok_or_else(|| missing("upstream", &name, names.into_iter()))?;
    let base = name.split('@').next().unwrap_or_default().to_owned();
    with_config(&control, Subject::Config(Place::Upstream(base)), found).await
}

pub(super) async fn listener(
    State(control): State<Control>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Shown<Listener>>, Problem> {
    let Path(name) = name?;
    let current = control.deployment.current();
    let all = listeners_of(&current.running, &current.plan);
    let names: Vec<String> = all.iter().map(|listener| listener.name.clone()).collect();
    let is_it = |listener: &Listener| listener.name == name || listener.addresses.contains(&name);
    let found = all.into_iter().find(is_it).ok_or_else(|| missing("listener", &name, names.into_iter()))?;
    let subject = Subject::Config(Place::Listener(found.name.clone()));
    with_config(&control, subject, found).await
}

/// The last failed TLS handshakes with a listener's clients.
pub(super) async fn failures(
    State(control): State<Control>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Option<listeners::Failures>>, Problem> {
    let Path(name) = name?;
    let running = control.server.snapshot.load();
    let names = running.listeners.iter().map(|listener| listener.name.clone());
    let found = running.listeners.iter().find(|listener| listener.name == name);
    let found = found.ok_or_else(|| missing("listener", &name, names))?;
    Ok(Json(listeners::Failures::of(found, true)))
}

pub(super) async fn route(
    State(control): State<Control>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Shown<Route>>, Problem> {
    let Path(name) = name?;
    let plan = control.deployment.plan();
    let ids = server::routes::ids(&plan);
    let at =
        server::routes::position(&plan, &name).ok_or_else(|| missing("route", &name, ids.into_iter()))?;
    let found = routes_of(&plan).swap_remove(at);
    with_config(&control, Subject::Config(Place::Route(at)), found).await
}

/// The description of all calls, by which the tests call them.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// The console. It says what its client may do: without a right, the first thing to do is to sign in.
pub(super) async fn page(caller: Option<Extension<Caller>>) -> Response {
    let role = caller.map(|Extension(caller)| caller.role);
    ([(header::CONTENT_SECURITY_POLICY, headers::page_policy())], Html(headers::page(role))).into_response()
}
