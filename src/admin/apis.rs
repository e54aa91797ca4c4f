//! `/v1/apis`: an upstream with its routes, registered in one step: its backends are reached and verified before anything is
//! written.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Control;
use super::body::Body;
use super::change::Made;
use super::problem::Problem;
use super::reload::{Outcome, queued};
use super::sections::{Manner, apply, refuse_unverified};
use super::subject::Subject;
use crate::config::Sources;
use crate::config::backend_url::BackendUrl;
use crate::config::edit::{self, EditError, Place, TableChange};
use crate::server::probe::Report;
use crate::server::{Deployment, load, routes, trust_trial};

type Keys = Map<String, Value>;

/// An API that is registered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    /// The upstream's name.
    pub name: String,
    /// Its backends: `https://HOST[:PORT][/BASE]`. They have one scheme and one base path.
    pub backends: Vec<String>,
    /// Keys of the upstream besides, as in the config file: `{"tls": {"trust": ["ca.pem"]}}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub upstream: Keys,
    /// Its routes, each with its keys as in the config file; without any, one for the base path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Keys>,
}

/// What was registered, or would be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Registered {
    /// What has changed.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The upstream.
    pub name: String,
    /// The ids of its routes.
    pub route_ids: Vec<String>,
    /// What each backend presented.
    pub endpoints: Vec<Report>,
}

/// Registers an API.
pub(super) async fn add(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    Body(api): Body<Api>,
) -> Result<Response, Problem> {
    let manner = Manner::of(query.as_deref())?;
    let subject = Subject::Config(Place::Upstream(api.name.clone()));
    let work = move |deployment: &Deployment| register(deployment, manner, &api);
    let registered = queued(&control, &control.trials, work).await?;
    if manner.dry_run {
        return Ok(Json(registered).into_response());
    }
    Ok((StatusCode::CREATED, Extension(Made(subject)), Json(registered)).into_response())
}

fn register(deployment: &Deployment, manner: Manner, api: &Api) -> Result<Registered, Problem> {
    let wrong = |detail: String| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "backend", "the backend can't be used", detail)
    };
    let backends: Result<Vec<BackendUrl>, String> =
        api.backends.iter().map(|url| BackendUrl::parse(url)).collect();
    let backends = backends.map_err(wrong)?;
    let Some(first) = backends.first() else { return Err(wrong("an API needs a backend".to_owned())) };
    if backends.iter().any(|other| (other.https, &other.base) != (first.https, &first.base)) {
        return Err(wrong(
            "the backends differ in scheme or path: register them as APIs of their own".to_owned(),
        ));
    }
    let upstream = keys_of_upstream(&backends, first, &api.upstream).map_err(wrong)?;
    let all = with_base(first, &api.name, &api.routes);
    let place = Place::Upstream(api.name.clone());
    let change = |text: &Sources| -> Result<Sources, EditError> {
        let text = edit::table(text, &place, TableChange::Register(&upstream))?;
        let add = |text: Sources, route| edit::table(&text, &Place::Route(0), TableChange::Register(route));
        all.iter().try_fold(text, add)
    };
    let (_, next) = deployment.preview(change)?;
    let index = next.plan.upstreams.iter().position(|upstream| upstream.name.value == api.name);
    let endpoints = index.map(|index| trust_trial::of_upstream(&next, index)).unwrap_or_default();
    drop(next);
    if !manner.force {
        refuse_unverified(&endpoints, "The API is not registered")?;
    }
    let outcome = apply(deployment, manner, &format!("new API {}", api.name), change)?;
    let mut ids = routes::ids(&deployment.plan());
    // Routes of included files stand behind them.
    let own = load::read(deployment.file()).map_or(0, |sources| edit::own_routes(&sources));
    ids.truncate(if own == 0 { ids.len() } else { own });
    let route_ids =
        if manner.dry_run { Vec::new() } else { ids[ids.len().saturating_sub(all.len())..].to_vec() };
    Ok(Registered { outcome, name: api.name.clone(), route_ids, endpoints })
}

/// # Errors
/// The backends have different names, so that it is not clear which one is to be verified; in words.
fn keys_of_upstream(backends: &[BackendUrl], first: &BackendUrl, besides: &Keys) -> Result<Keys, String> {
    let mut keys = besides.clone();
    let endpoints: Vec<Value> = backends.iter().map(|backend| backend.endpoint.clone().into()).collect();
    keys.entry("endpoints").or_insert(Value::Array(endpoints));
    if !first.https {
        return Ok(keys);
    }
    // Without a name, the one of each request would be verified.
    let tls = keys.entry("tls").or_insert_with(|| Value::Object(Map::new()));
    if let Some(tls) = tls.as_object_mut().filter(|tls| !tls.contains_key("server_name")) {
        if let Some(other) = backends.iter().find(|backend| backend.host() != first.host()) {
            let (one, other) = (first.host(), other.host());
            return Err(format!(
                "the backends have the names {one} and {other}: say which one their certificates have (tls.server_name)"
            ));
        }
        tls.insert("server_name".to_owned(), first.host().into());
    }
    Ok(keys)
}

/// The routes, which lead to the upstream. Where the backend's base is another path, it takes the place of what a route matched.
fn with_base(backend: &BackendUrl, name: &str, wanted: &[Keys]) -> Vec<Keys> {
    let mut all = wanted.to_vec();
    if all.is_empty() {
        all.push(Map::new());
    }
    for route in &mut all {
        let path = route.get("path").and_then(Value::as_str).map(str::to_owned);
        match (path, backend.base.as_str()) {
            (None, "/") => {}
            (None, base) => drop(route.insert("path".to_owned(), base.into())),
            (Some(path), base) => {
                let plain = path.trim_start_matches('=');
                let is_below = base == "/" || plain == base || plain.starts_with(&format!("{base}/"));
                if !is_below {
                    let key = if path.starts_with('=') { "rewrite" } else { "rewrite_prefix" };
                    route.entry(key).or_insert(base.into());
                }
            }
        }
        route.entry("upstream").or_insert(name.into());
    }
    all
}

/// Removes an API that was registered: the upstream, and the routes that lead to it alone. By force also what was not.
pub(super) async fn remove(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Outcome>, Problem> {
    let Path(name) = name?;
    let manner = Manner::of(query.as_deref())?;
    let work = move |deployment: &Deployment| {
        let without = |text: &Sources| without_api(text, &name, manner.force);
        apply(deployment, manner, &format!("the API {name} is removed"), without)
    };
    super::reload::blocking(&control, work).await.map(Json)
}

fn without_api(before: &Sources, name: &str, force: bool) -> Result<Sources, EditError> {
    let place = Place::Upstream(name.to_owned());
    let mut text = edit::table(before, &place, TableChange::Remove)?;
    let list = edit::section(before, &Place::Routes);
    let all = list.as_ref().and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let leads = |route: &toml::Value| route.get("upstream").and_then(toml::Value::as_str) == Some(name);
    let routes: Vec<Place> = (0..all.len()).filter(|at| leads(&all[*at])).map(Place::Route).collect();
    let registered = edit::is_registered(before, &place);
    let by_hand = |route: &&Place| !registered || !edit::is_registered(before, route);
    let foreign = routes.iter().filter(by_hand).count();
    let may = force || registered && foreign == 0;
    if !may {
        return Err(EditError::ByHand { upstream: name.to_owned(), routes: foreign, registered });
    }
    // From the last on: the numbers of those before stay.
    for route in routes.iter().rev() {
        text = edit::table(&text, route, TableChange::Remove)?;
    }
    Ok(text)
}
