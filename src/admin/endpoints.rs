//! `/v1/upstreams/{name}/endpoints`: the endpoints of an upstream are listed, added, drained, weighted and removed.
//!
//! Each change is written to the config file and applied at once, as by a reload.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::Control;
use super::backends::Address;
use super::body::Body;
use super::problem::Problem;
use super::reload::{Outcome, blocking, log};
use crate::config::edit::{self, EditError, EndpointChange, EndpointKeys};
use crate::server::discovery::Source;
use crate::server::{Deployment, Refused, load};

type Named<T> = Result<Path<T>, PathRejection>;

/// An endpoint that is added.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Added {
    /// As in the config: `HOST:PORT`, `unix:PATH`, `dns:NAME:PORT`, `srv:NAME` or `file:PATH`.
    address: String,
    weight: Option<u32>,
    backup: Option<bool>,
    drain: Option<bool>,
}

/// What changes of an endpoint; what is left out stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changed {
    weight: Option<u32>,
    backup: Option<bool>,
    drain: Option<bool>,
}

/// The endpoints of an upstream as they run, each address of a name for itself.
pub(super) async fn list(
    State(control): State<Control>,
    name: Named<String>,
) -> Result<Json<Vec<Address>>, Problem> {
    let Path(name) = name?;
    let current = control.deployment.current();
    let found = current.running.upstreams.iter().find(|upstream| upstream.name == name);
    found.map(|upstream| Json(Address::all(upstream))).ok_or_else(|| {
        let known: Vec<&str> = current.running.upstreams.iter().map(|upstream| &*upstream.name).collect();
        let detail = format!("there is no upstream {name:?}; there is {}", known.join(", "));
        Problem::new(StatusCode::NOT_FOUND, "not-found", "there is no such upstream", detail)
    })
}

pub(super) async fn add(
    State(control): State<Control>,
    name: Named<String>,
    Body(Added { address, weight, backup, drain }): Body<Added>,
) -> Result<Json<Outcome>, Problem> {
    let Path(name) = name?;
    apply(&control, name, address, EndpointChange::Add(EndpointKeys { weight, backup, drain })).await
}

pub(super) async fn change(
    State(control): State<Control>,
    names: Named<(String, String)>,
    Body(Changed { weight, backup, drain }): Body<Changed>,
) -> Result<Json<Outcome>, Problem> {
    let Path((name, address)) = names?;
    apply(&control, name, address, EndpointChange::Set(EndpointKeys { weight, backup, drain })).await
}

pub(super) async fn remove(
    State(control): State<Control>,
    names: Named<(String, String)>,
) -> Result<Json<Outcome>, Problem> {
    let Path((name, address)) = names?;
    apply(&control, name, address, EndpointChange::Remove).await
}

async fn apply(
    control: &Control,
    name: String,
    address: String,
    change: EndpointChange,
) -> Result<Json<Outcome>, Problem> {
    let changed = blocking(control, move |deployment| {
        let folder = load::folder(deployment.file()).to_owned();
        let changed = deployment.edit(|text| edit::endpoint(text, &folder, &name, &address, change));
        let changed = changed.map_err(|refused| explain(deployment, &name, refused))?;
        log(deployment, &changed, &format!("admin API, an endpoint of the upstream {name}"));
        Ok(changed)
    });
    Ok(Json(changed.await?.into()))
}

/// The problem. An endpoint that runs and is not in the file comes from an entry there.
fn explain(deployment: &Deployment, upstream: &str, refused: Refused) -> Problem {
    if let Refused::Edit(EditError::NoEndpoint { address, .. }) = &refused
        && let Some(entry) = entry_of(deployment, upstream, address)
    {
        let title = "the endpoint comes from another entry of the config";
        let detail = format!(
            "`{address}` is one of the endpoints that `{entry}` stands for: change `{entry}`, which changes all of them"
        );
        return Problem::new(StatusCode::CONFLICT, "not-own", title, detail);
    }
    refused.into()
}

/// The entry in the config of which `address` is an endpoint: a source, or a name with that address.
fn entry_of(deployment: &Deployment, upstream: &str, address: &str) -> Option<String> {
    let current = deployment.current();
    let planned = current.plan.upstreams.iter().find(|planned| *planned.name == upstream)?;
    let sources = deployment.sources();
    let named = planned.endpoints.iter().filter_map(|at| Some((&at.address, Source::of(&at.address)?)));
    let finds = |source: &Source| {
        let known = sources.iter().find(|(known, _)| known == source);
        known.is_some_and(|(_, known)| {
            known.targets.iter().any(|it| it.name == address || it.address.to_string() == address)
        })
    };
    if let Some((entry, _)) = named.into_iter().find(|(_, source)| finds(source)) {
        return Some(entry.clone());
    }
    let running = current.running.upstreams.iter().find(|running| running.name == upstream)?;
    let is_it = |its: &str| its == address;
    let found = running.endpoints.iter().find(|endpoint| {
        is_it(&endpoint.label) || endpoint.address.as_ref().is_some_and(|its| is_it(&its.to_string()))
    })?;
    Some(found.name.clone())
}
