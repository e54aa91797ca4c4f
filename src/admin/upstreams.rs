//! `PATCH /v1/upstreams/{name}` and `/v1/upstreams/{name}/environments/{env}`, `POST /v1/upstreams/{name}/probe`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Control;
use super::body::{Body, Optional};
use super::problem::Problem;
use super::reload::{Outcome, blocking, queued};
use super::sections::{self, Manner};
use crate::config::{Sources, edit};
use crate::server::Deployment;
use crate::server::probe::{Report, Target, probe_all};

type Named<T> = Result<Path<T>, PathRejection>;

pub(super) async fn patch(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    name: Named<String>,
    Body(changes): Body<Map<String, Value>>,
) -> Result<Json<Outcome>, Problem> {
    let Path(name) = name?;
    change(&control, query, name, None, changes).await
}

pub(super) async fn patch_environment(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    names: Named<(String, String)>,
    Body(changes): Body<Map<String, Value>>,
) -> Result<Json<Outcome>, Problem> {
    let Path((name, environment)) = names?;
    change(&control, query, name, Some(environment), changes).await
}

async fn change(
    control: &Control,
    query: Option<String>,
    name: String,
    environment: Option<String>,
    changes: Map<String, Value>,
) -> Result<Json<Outcome>, Problem> {
    let manner = Manner::of(query.as_deref())?;
    let changed = blocking(control, move |deployment| {
        let edit = |text: &Sources| edit::upstream(text, &name, environment.as_deref(), &changes);
        sections::apply(deployment, manner, &format!("change of the upstream {name}"), edit)
    });
    Ok(Json(changed.await?))
}

/// What is probed of an upstream.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Look {
    /// As traffic of this environment finds it.
    environment: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Probed {
    /// Whether traffic would flow to every endpoint.
    ok: bool,
    /// Each of them.
    endpoints: Vec<Report>,
}

/// Makes a handshake with every endpoint now.
pub(super) async fn probe(
    State(control): State<Control>,
    name: Named<String>,
    Optional(Look { environment }): Optional<Look>,
) -> Result<Json<Probed>, Problem> {
    let Path(name) = name?;
    let look = move |deployment: &Deployment| {
        let endpoints = probe_all(&targets(deployment, &name, environment.as_deref())?);
        Ok(Probed { ok: endpoints.iter().all(|report| report.ok), endpoints })
    };
    queued(&control, &control.trials, look).await.map(Json)
}

fn targets(deployment: &Deployment, name: &str, environment: Option<&str>) -> Result<Vec<Target>, Problem> {
    let unknown =
        |title: &str, detail: String| Problem::new(StatusCode::NOT_FOUND, "not-found", title, detail);
    let current = deployment.current();
    let plan = &current.plan;
    let known: Vec<&str> = plan.upstreams.iter().map(|upstream| &*upstream.name.value).collect();
    let Some(index) = known.iter().position(|known| *known == name) else {
        let detail = format!("there is no upstream {name:?}; there is {}", known.join(", "));
        return Err(unknown("there is no such upstream", detail));
    };
    if let Some(environment) = environment.filter(|environment| !plan.environments().contains(environment)) {
        let known = plan.environments().join(", ");
        let detail = format!("there is no environment {environment:?}; there is {known}");
        return Err(unknown("there is no such environment", detail));
    }
    let index = plan.in_environment(index, environment);
    let targets = Target::of_upstream(&current.running.upstreams[index], plan.speaks_http(index), None);
    Ok(if plan.speaks_udp(index) { targets.into_iter().map(Target::over_udp).collect() } else { targets })
}
