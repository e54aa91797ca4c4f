//! `PATCH /v1/upstreams/{name}` and `/v1/upstreams/{name}/environments/{env}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::{Map, Value};

use super::Control;
use super::body::Body;
use super::problem::Problem;
use super::reload::{Outcome, blocking, log};
use crate::config::edit;

type Named<T> = Result<Path<T>, PathRejection>;

pub(super) async fn patch(
    State(control): State<Control>,
    name: Named<String>,
    Body(changes): Body<Map<String, Value>>,
) -> Result<Json<Outcome>, Problem> {
    let Path(name) = name?;
    change(&control, name, None, changes).await
}

pub(super) async fn patch_environment(
    State(control): State<Control>,
    names: Named<(String, String)>,
    Body(changes): Body<Map<String, Value>>,
) -> Result<Json<Outcome>, Problem> {
    let Path((name, environment)) = names?;
    change(&control, name, Some(environment), changes).await
}

async fn change(
    control: &Control,
    name: String,
    environment: Option<String>,
    changes: Map<String, Value>,
) -> Result<Json<Outcome>, Problem> {
    let changed = blocking(control, move |deployment| {
        let edit = |text: &str| edit::upstream(text, &name, environment.as_deref(), &changes);
        let changed = deployment.edit(edit)?;
        log(deployment, &changed, &format!("admin API, change of the upstream {name}"));
        Ok(changed)
    });
    Ok(Json(changed.await?.into()))
}
