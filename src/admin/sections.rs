//! `POST`, `PATCH` and `DELETE` of upstreams, routes and listeners: sections of the config file, planned first where that is
//! wanted, tried where trust changes, written with all else kept, and applied at once.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Control;
use super::body::Body;
use super::change::{Made, is_dry};
use super::problem::Problem;
use super::reload::{Outcome, blocking, log};
use super::subject::Subject;
use crate::config::Sources;
use crate::config::edit::{self, EditError, Place, TableChange};
use crate::server::probe::Report;
use crate::server::{Deployment, load, routes, trust_trial};

type Named = Result<Path<String>, PathRejection>;
type Keys = Map<String, Value>;

/// How a change is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// It is planned, and not made.
    pub(super) dry_run: bool,
    /// It is made although a backend is not verified.
    pub(super) force: bool,
}

impl Manner {
    /// `?dry_run=true&force=true`
    ///
    /// # Errors
    /// The query has something else.
    pub(super) fn of(query: Option<&str>) -> Result<Self, Problem> {
        let query = query.unwrap_or_default();
        let known = [
            "dry_run=true",
            "dry_run=1",
            "dry_run",
            "dry_run=false",
            "force=true",
            "force=1",
            "force",
            "force=false",
        ];
        if query.split('&').any(|pair| !pair.is_empty() && !known.contains(&pair)) {
            let detail = "a change has `dry_run=true` and `force=true`, and nothing else";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "query", "the query can't be read", detail));
        }
        let force = query.split('&').any(|pair| matches!(pair, "force=true" | "force=1" | "force"));
        Ok(Self { dry_run: is_dry(query), force })
    }
}

/// Makes a change of the config file, or plans it. Blocks.
///
/// # Errors
/// It does not hold, or a backend is not verified any more; nothing has changed then.
pub(super) fn apply(
    deployment: &Deployment,
    manner: Manner,
    what: &str,
    change: impl Fn(&Sources) -> Result<Sources, EditError>,
) -> Result<Outcome, Problem> {
    let (edited, next) = deployment.preview(&change)?;
    if !manner.force {
        let reports = trust_trial::reports(&deployment.current(), &next);
        refuse_unverified(&reports, "the upstream's trust is not changed")?;
    }
    if manner.dry_run {
        return Ok(deployment.review(Some(&edited))?.into());
    }
    drop(next);
    let changed = deployment.edit(change)?;
    log(deployment, &changed, &format!("admin API, {what}"));
    Ok(changed.into())
}

/// # Errors
/// A backend is not reached, or not verified: each with its reason.
pub(super) fn refuse_unverified(reports: &[Report], what: &str) -> Result<(), Problem> {
    let failed: Vec<&Report> = reports.iter().filter(|report| !trust_trial::is_verified(report)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let against = failed.iter().map(|report| {
        let reason = report.problem.as_deref().unwrap_or("it was not verified");
        format!("{}: {reason}", report.label())
    });
    let against: Vec<String> = against.collect();
    let mut remedies: Vec<&str> = failed.iter().map(|report| remedy(report)).collect();
    remedies.sort_unstable();
    remedies.dedup();
    let detail = format!("{}. {what}: {}, or repeat it with force", against.join("; "), remedies.join(", "));
    let title = match failed.iter().any(|report| report.reached) {
        true => "a backend is not verified so",
        false => "a backend is not reached",
    };
    Err(Problem::new(StatusCode::CONFLICT, "trial", title, detail))
}

/// What to do about a backend that is not verified.
fn remedy(report: &Report) -> &'static str {
    match (report.reached, report.chain.is_empty()) {
        (false, _) => "start the backend or correct its address",
        (true, true) => "see whether it speaks TLS at that port",
        (true, false) => "correct `tls.trust` or `tls.server_name`",
    }
}

/// The same for a handler.
async fn changed(
    control: &Control,
    query: Option<String>,
    what: String,
    change: impl Fn(&Deployment, &Sources) -> Result<Sources, EditError> + Send + 'static,
) -> Result<(Manner, Outcome), Problem> {
    let manner = Manner::of(query.as_deref())?;
    let work =
        move |deployment: &Deployment| apply(deployment, manner, &what, |text| change(deployment, text));
    Ok((manner, blocking(control, work).await?))
}

/// The answer to something new.
fn made((manner, outcome): (Manner, Outcome), subject: Subject) -> Response {
    if manner.dry_run {
        return Json(outcome).into_response();
    }
    (StatusCode::CREATED, Extension(Made(subject)), Json(outcome)).into_response()
}

/// The name in the keys of something new.
fn name_of(keys: &mut Keys, take: bool) -> Result<String, Problem> {
    let name = if take { keys.remove("name") } else { keys.get("name").cloned() };
    match name {
        Some(Value::String(name)) if !name.is_empty() => Ok(name),
        _ => {
            let detail = "give it a `name`, beside its keys as in the config file";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body", "the name is missing", detail))
        }
    }
}

pub(super) async fn add_upstream(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    Body(mut keys): Body<Keys>,
) -> Result<Response, Problem> {
    let name = name_of(&mut keys, true)?;
    let place = Place::Upstream(name.clone());
    let subject = Subject::Config(place.clone());
    let change = move |_: &Deployment, text: &Sources| edit::table(text, &place, TableChange::Add(&keys));
    Ok(made(changed(&control, query, format!("new upstream {name}"), change).await?, subject))
}

pub(super) async fn remove_upstream(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    name: Named,
) -> Result<Json<Outcome>, Problem> {
    let Path(name) = name?;
    let place = Place::Upstream(name.clone());
    let change = move |_: &Deployment, text: &Sources| edit::table(text, &place, TableChange::Remove);
    Ok(Json(changed(&control, query, format!("the upstream {name} is removed"), change).await?.1))
}

pub(super) async fn add_route(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    Body(keys): Body<Keys>,
) -> Result<Response, Problem> {
    let change =
        move |_: &Deployment, text: &Sources| edit::table(text, &Place::Route(0), TableChange::Add(&keys));
    let done = changed(&control, query, "new route".to_owned(), change).await?;
    let plan = control.deployment.plan();
    let mut ids = routes::ids(&plan);
    // Routes of included files stand behind it.
    let own = load::read(control.deployment.file()).map_or(0, |sources| edit::own_routes(&sources));
    ids.truncate(if own == 0 { ids.len() } else { own });
    let id = ids.pop().unwrap_or_default();
    let mut response = made(done, Subject::Route(id.clone()));
    if response.status() == StatusCode::CREATED
        && let Ok(place) = format!("/v1/routes/{id}").parse()
    {
        response.headers_mut().insert(axum::http::header::LOCATION, place);
    }
    Ok(response)
}

/// Where a route stands in the text, which may be another one than what runs.
fn route_in(text: &Sources, id: &str) -> Result<Place, EditError> {
    let missing = || EditError::Missing { what: format!("the route `{id}`") };
    let plan = load::parse(text).map_err(|error| EditError::Syntax(error.to_string()))?;
    routes::position(&plan, id).map(Place::Route).ok_or_else(missing)
}

pub(super) async fn change_route(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    id: Named,
    Body(keys): Body<Keys>,
) -> Result<Json<Outcome>, Problem> {
    let Path(id) = id?;
    let what = format!("change of the route {id}");
    let change = move |_: &Deployment, text: &Sources| {
        edit::table(text, &route_in(text, &id)?, TableChange::Merge(&keys))
    };
    Ok(Json(changed(&control, query, what, change).await?.1))
}

pub(super) async fn remove_route(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    id: Named,
) -> Result<Json<Outcome>, Problem> {
    let Path(id) = id?;
    let what = format!("the route {id} is removed");
    let change =
        move |_: &Deployment, text: &Sources| edit::table(text, &route_in(text, &id)?, TableChange::Remove);
    Ok(Json(changed(&control, query, what, change).await?.1))
}

/// A listener may come with its first `routes`, as it needs one.
pub(super) async fn add_listener(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    Body(mut keys): Body<Keys>,
) -> Result<Response, Problem> {
    let name = name_of(&mut keys, false)?;
    let unreadable = || {
        let detail = "`routes` is a list of routes, each with its keys as in the config file";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body", "the routes can't be read", detail)
    };
    let mut with = Vec::new();
    match keys.remove("routes") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for route in list {
                let Value::Object(mut route) = route else { return Err(unreadable()) };
                route.entry("listener").or_insert_with(|| name.clone().into());
                with.push(route);
            }
        }
        Some(_) => return Err(unreadable()),
    }
    let place = Place::Listener(name.clone());
    let subject = Subject::Config(place.clone());
    let change = move |_: &Deployment, text: &Sources| {
        let text = edit::table(&with_listeners(text)?, &place, TableChange::Add(&keys))?;
        with.iter()
            .try_fold(text, |text, route| edit::table(&text, &Place::Route(0), TableChange::Add(route)))
    };
    Ok(made(changed(&control, query, format!("new listener {name}"), change).await?, subject))
}

/// The text with the listeners of each route named: one that names none means the only one, and that it is no longer.
fn with_listeners(text: &Sources) -> Result<Sources, EditError> {
    let Ok(plan) = load::parse(text) else { return Ok(text.clone()) };
    let list = edit::section(text, &Place::Routes);
    let all = list.as_ref().and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let mut silent = all.iter().enumerate().filter(|(_, route)| route.get("listener").is_none());
    silent.try_fold(text.clone(), |text, (at, _)| {
        let Some(listener) = plan.routes.get(at).and_then(|route| route.listeners.first()) else {
            return Ok(text);
        };
        let name = plan.listeners[*listener].name.value.clone();
        let keys = Map::from_iter([("listener".to_owned(), name.into())]);
        edit::table(&text, &Place::Route(at), TableChange::Merge(&keys))
    })
}

pub(super) async fn change_listener(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    name: Named,
    Body(keys): Body<Keys>,
) -> Result<Json<Outcome>, Problem> {
    let Path(name) = name?;
    let what = format!("change of the listener {name}");
    let place = Place::Listener(name);
    let change = move |_: &Deployment, text: &Sources| edit::table(text, &place, TableChange::Merge(&keys));
    Ok(Json(changed(&control, query, what, change).await?.1))
}

/// The routes that are for this listener alone are removed with it.
pub(super) async fn remove_listener(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    name: Named,
) -> Result<Json<Outcome>, Problem> {
    let Path(name) = name?;
    let what = format!("the listener {name} is removed");
    let change = move |_: &Deployment, text: &Sources| without_listener(text, &name);
    Ok(Json(changed(&control, query, what, change).await?.1))
}

fn without_listener(text: &Sources, wanted: &str) -> Result<Sources, EditError> {
    let place = Place::Listener(wanted.to_owned());
    let own = edit::section(text, &place);
    let name = own.as_ref().and_then(|own| own.get("name")?.as_str()).unwrap_or(wanted).to_owned();
    let mut text = edit::table(text, &place, TableChange::Remove)?;
    let list = edit::section(&text, &Place::Routes);
    let routes = list.as_ref().and_then(toml::Value::as_array).cloned().unwrap_or_default();
    // From the last on: the numbers of those before stay.
    for (at, route) in routes.iter().enumerate().rev() {
        let change = match route.get("listener") {
            Some(toml::Value::String(one)) if *one == name => None,
            Some(toml::Value::Array(all)) if all.iter().any(|one| one.as_str() == Some(&name)) => {
                let others = all.iter().filter_map(toml::Value::as_str).filter(|one| *one != name);
                let others: Vec<Value> = others.map(Value::from).collect();
                (!others.is_empty()).then(|| Map::from_iter([("listener".to_owned(), Value::Array(others))]))
            }
            _ => continue,
        };
        let change = change.as_ref().map_or(TableChange::Remove, TableChange::Merge);
        text = edit::table(&text, &Place::Route(at), change)?;
    }
    Ok(text)
}
