//! Which certificate is presented to which upstream, per environment: `POST /v1/certificates/{name}/associate` and
//! `/dissociate`, `POST /v1/upstreams/{name}/promote`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Control;
use super::body::Body;
use super::problem::Problem;
use super::reload::{Outcome, queued};
use super::sections::{Manner, apply};
use crate::config::Plan;
use crate::config::Sources;
use crate::config::edit::{self, EditError, Place};
use crate::config::plan::CertificateRef;
use crate::server::Deployment;
use crate::server::probe::{Report, Target, probe_all};

type Named = Result<Path<String>, PathRejection>;

/// The upstreams that a certificate is presented to, or is not any more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Associate {
    /// Their names.
    pub upstreams: Vec<String>,
    /// For traffic of this environment alone; left out: for all that have no choice of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// What was associated, or promoted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Associated {
    /// What has changed.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The certificate of each upstream before: with it the change is undone.
    pub before: Map<String, Value>,
    /// What each endpoint thinks of it now; empty for a plan.
    pub endpoints: Vec<Report>,
}

/// From one environment to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promote {
    /// The environment whose TLS settings are taken over.
    pub from: String,
    /// The environment that gets them.
    pub to: String,
    /// The certificate that is presented there; left out: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

pub(super) async fn associate(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    name: Named,
    Body(wanted): Body<Associate>,
) -> Result<Json<Associated>, Problem> {
    let Path(name) = name?;
    let certificate = json!(name);
    let what = format!("the certificate {name} is associated");
    change(&control, query, wanted, move |_, _| Ok(certificate.clone()), what).await
}

pub(super) async fn dissociate(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    name: Named,
    Body(wanted): Body<Associate>,
) -> Result<Json<Associated>, Problem> {
    let Path(name) = name?;
    let plan = control.deployment.plan();
    for upstream in &wanted.upstreams {
        let its = certificate_of(&plan, find(&plan, upstream, wanted.environment.as_deref())?);
        if its != json!(name) {
            let detail = format!("the certificate {name:?} is not associated with the upstream {upstream:?}");
            return Err(Problem::new(StatusCode::CONFLICT, "state", "there is nothing to take back", detail));
        }
    }
    let environment = wanted.environment.clone();
    let what = format!("the certificate {name} is not associated any more");
    // Where the environment has it from the default, leaving the key out would leave it presented.
    let certificate = move |plan: &Plan, upstream: &str| {
        let is_inherited =
            environment.is_some() && certificate_of(plan, find(plan, upstream, None)?) == json!(name);
        Ok(if is_inherited { Value::Bool(false) } else { Value::Null })
    };
    change(&control, query, wanted, certificate, what).await
}

async fn change(
    control: &Control,
    query: Option<String>,
    wanted: Associate,
    certificate: impl Fn(&Plan, &str) -> Result<Value, Problem> + Send + 'static,
    what: String,
) -> Result<Json<Associated>, Problem> {
    let manner = Manner::of(query.as_deref())?;
    if wanted.upstreams.is_empty() {
        let detail = "give `upstreams`, a list of names";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body", "no upstream is named", detail));
    }
    let work = move |deployment: &Deployment| {
        let environment = wanted.environment.as_deref();
        let plan = deployment.plan();
        let before = before(&plan, &wanted.upstreams, environment)?;
        let mut changes = Vec::new();
        for name in &wanted.upstreams {
            let tls = json!({ "certificate": certificate(&plan, name)? });
            changes.push((name, Map::from_iter([("tls".to_owned(), tls)])));
        }
        let outcome = apply(deployment, manner, &what, |text: &Sources| {
            let mut changes = changes.iter();
            changes
                .try_fold(text.clone(), |text, (name, keys)| edit::upstream(&text, name, environment, keys))
        })?;
        let endpoints =
            if manner.dry_run { Vec::new() } else { asked(deployment, &wanted.upstreams, environment) };
        Ok(Associated { outcome, before, endpoints })
    };
    queued(control, &control.trials, work).await.map(Json)
}

/// The certificates of upstreams, all of which have TLS.
fn before(plan: &Plan, names: &[String], environment: Option<&str>) -> Result<Map<String, Value>, Problem> {
    let each = names.iter().map(|name| {
        let index = find(plan, name, environment)?;
        if plan.upstreams[index].tls.is_none() {
            let detail = format!("the upstream {name:?} has no TLS: add `tls = {{}}` to it first");
            let title = "a certificate is presented over TLS alone";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no-tls", title, detail));
        }
        Ok((name.clone(), certificate_of(plan, index)))
    });
    each.collect()
}

/// An upstream as an environment has it.
fn find(plan: &Plan, name: &str, environment: Option<&str>) -> Result<usize, Problem> {
    let base = plan
        .upstreams
        .iter()
        .position(|upstream| upstream.environment.is_none() && upstream.name.value == name);
    let Some(base) = base else {
        let known: Vec<&str> = plan.upstreams.iter().map(|upstream| &*upstream.name.value).collect();
        let detail = format!("there is no upstream {name:?}; there is {}", known.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", "there is no such upstream", detail));
    };
    Ok(plan.in_environment(base, environment))
}

/// The name or file of the certificate that an upstream is presented; null for none.
fn certificate_of(plan: &Plan, index: usize) -> Value {
    match plan.upstreams[index].tls.as_ref().and_then(|tls| tls.certificate.as_ref()).map(|at| &at.value) {
        None => Value::Null,
        Some(CertificateRef::Store(name)) => json!(name),
        Some(CertificateRef::File(path)) => json!(path),
        Some(CertificateRef::Pair { cert, key }) => json!({ "cert": cert, "key": key }),
        Some(CertificateRef::Locked { cert, .. }) => json!({ "cert": cert }),
    }
}

/// What the endpoints think of the certificate that they are presented now.
fn asked(deployment: &Deployment, names: &[String], environment: Option<&str>) -> Vec<Report> {
    let current = deployment.current();
    let indices = names.iter().filter_map(|name| find(&current.plan, name, environment).ok());
    let targets = indices.flat_map(|index| {
        Target::of_upstream(&current.running.upstreams[index], current.plan.speaks_http(index), None)
    });
    probe_all(&targets.collect::<Vec<_>>())
}

pub(super) async fn promote(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    name: Named,
    Body(wanted): Body<Promote>,
) -> Result<Json<Associated>, Problem> {
    let Path(name) = name?;
    let manner = Manner::of(query.as_deref())?;
    let work = move |deployment: &Deployment| {
        let plan = deployment.plan();
        let names = [name.clone()];
        before(&plan, &names, Some(&wanted.from))?;
        let before = before(&plan, &names, Some(&wanted.to))?;
        for environment in [&wanted.from, &wanted.to] {
            if !plan.environments().contains(&&**environment) {
                let known = plan.environments().join(", ");
                let detail = format!("there is no environment {environment:?}; there is {known}");
                return Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "not-found",
                    "there is no such environment",
                    detail,
                ));
            }
        }
        let from = certificate_of(&plan, find(&plan, &name, Some(&wanted.from))?);
        // None there is none here, also where the default has one.
        let from = if from.is_null() { Value::Bool(false) } else { from };
        let certificate = wanted.certificate.clone().map_or(from, Value::String);
        let what = format!("the upstream {name} is promoted from {} to {}", wanted.from, wanted.to);
        let outcome = apply(deployment, manner, &what, |text| promoted(text, &name, &wanted, &certificate))?;
        let endpoints = if manner.dry_run { Vec::new() } else { asked(deployment, &names, Some(&wanted.to)) };
        Ok(Associated { outcome, before, endpoints })
    };
    queued(&control, &control.trials, work).await.map(Json)
}

/// The text where the environment `to` has the TLS keys of `from`, and the certificate. Its endpoints stay its own.
fn promoted(text: &Sources, name: &str, wanted: &Promote, certificate: &Value) -> Result<Sources, EditError> {
    let section = edit::section(text, &Place::Upstream(name.to_owned()));
    let of = |environment: &str| -> Map<String, Value> {
        let overlay = section.as_ref().and_then(|own| own.get("environment")?.get(environment)?.get("tls"));
        let value = overlay.and_then(|tls| serde_json::to_value(tls).ok());
        value.and_then(|value| value.as_object().cloned()).unwrap_or_default()
    };
    let mut tls = of(&wanted.from);
    // What `from` does not choose is not chosen by `to` either.
    for key in of(&wanted.to).keys() {
        tls.entry(key.clone()).or_insert(Value::Null);
    }
    tls.insert("certificate".to_owned(), certificate.clone());
    let keys = Map::from_iter([("tls".to_owned(), Value::Object(tls))]);
    edit::upstream(text, name, Some(&wanted.to), &keys)
}
