//! `POST /v1/reload` and `POST /v1/plan`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::{Deserialize, Serialize};

use super::Control;
use super::body::Optional;
use super::problem::{Place, Problem, places};
use super::queue::Queue;
use super::sections::{Manner, refuse_unverified};
use crate::base::text::without_keys;
use crate::server::audit::Entry;
use crate::server::events::{ConfigEvent, Event};
use crate::server::{Changes, Deployment, Refused, Reloaded, load, trust_trial};

/// What a reload did, or would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Counts the configs that this process has run, from 1.
    pub version: u64,
    /// What changes, what stays.
    #[serde(flatten)]
    pub changes: Changes,
    /// What the config's writer may not have intended.
    pub warnings: Vec<Place>,
}

/// A config to be checked.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Candidate {
    /// The config's text, as if it were in the running config's file; left out: the content of that file.
    pub config: Option<String>,
}

impl From<Reloaded> for Outcome {
    fn from(reloaded: Reloaded) -> Self {
        let Reloaded { version, changes, problems } = reloaded;
        Self { version, changes, warnings: places(&problems) }
    }
}

/// What a signal has called the reload.
const SIGNAL: &str = "SIGHUP";
/// The same of a call.
const API: &str = "admin API";

/// Reloads for a signal, as `POST /v1/reload` does without force, and logs it. Blocks. False: it was refused.
pub(crate) fn reload_by_signal(deployment: &Deployment) -> bool {
    let result = match try_trust(deployment, SIGNAL) {
        Ok(()) => reload(deployment, SIGNAL).map_err(|refused| refused.to_string()),
        Err(problem) => Err(problem.detail),
    };
    if let Some(audit) = &deployment.audit {
        let mut entry = Entry::new(serde_json::json!({ "by": "signal" }), SIGNAL, "config");
        match &result {
            Ok(reloaded) => entry.after = serde_json::json!({ "version": reloaded.version }),
            Err(refused) => (entry.outcome, entry.reason) = ("refused", Some(refused.clone())),
        }
        drop(audit.note(entry));
    }
    result.is_ok()
}

/// Reloads, and logs it. Blocks.
///
/// # Errors
/// See [`Refused`]; that is in the log, too.
fn reload(deployment: &Deployment, asked_by: &str) -> Result<Reloaded, Refused> {
    let result = deployment.reload();
    match &result {
        Ok(reloaded) => log(deployment, reloaded, asked_by),
        Err(refused) => {
            tracing::error!("reload ({asked_by}) refused, what ran before runs on:\n{refused}");
            let version = deployment.current().running.version;
            tell(deployment, "refused", asked_by, version, &refused.to_string());
        }
    }
    result
}

fn tell(deployment: &Deployment, outcome: &'static str, by: &str, version: u64, detail: &str) {
    let at = SystemTime::now().into();
    let detail = without_keys(detail).into_owned();
    deployment.events.send(&Event::Config(ConfigEvent { at, outcome, by: by.to_owned(), version, detail }));
}

/// Listeners and upstreams whose changes are logged key by key.
const DETAILS: usize = 10;

/// Logs what was changed.
pub(super) fn log(deployment: &Deployment, reloaded: &Reloaded, asked_by: &str) {
    for warning in reloaded.problems.iter() {
        tracing::warn!("{}:{}: {}", warning.file, warning.line, warning.message);
    }
    let changes = &reloaded.changes;
    tracing::info!("reloaded ({asked_by}): version {}, {}", reloaded.version, changes.summary());
    for (what, details) in changes.details.iter().take(DETAILS) {
        tracing::info!("changed: {what}: {}", details.join("; "));
    }
    tell(deployment, "applied", asked_by, reloaded.version, &changes.summary());
    if !changes.needs_restart.is_empty() {
        tracing::warn!("changed, but not before a restart: {}", changes.needs_restart.join(", "));
    }
}

/// Runs what blocks beside the control thread.
pub(super) async fn blocking<T: Send + 'static>(
    control: &Control,
    work: impl FnOnce(&Deployment) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let deployment = Arc::clone(&control.deployment);
    let done = tokio::task::spawn_blocking(move || work(&deployment)).await;
    done.unwrap_or_else(|_| Err(Problem::internal("the task panicked: see the log")))
}

/// The same for work that takes long, one at a time: threads are left for a reload or a rollback, however often it is requested.
pub(super) async fn queued<T: Send + 'static>(
    control: &Control,
    queue: &Queue,
    work: impl FnOnce(&Deployment) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let seat = queue.sit().await?;
    let work = move |deployment: &Deployment| {
        let _seat = seat;
        work(deployment)
    };
    blocking(control, work).await
}

pub(super) async fn post_reload(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
) -> Result<Json<Outcome>, Problem> {
    let manner = Manner::of(query.as_deref())?;
    let work = move |deployment: &Deployment| {
        if manner.dry_run {
            return Ok(deployment.review(None)?);
        }
        if !manner.force {
            try_trust(deployment, API)?;
        }
        Ok(reload(deployment, API)?)
    };
    Ok(Json(blocking(&control, work).await?.into()))
}

/// Tries what the file's backends would be verified against, where that is other than what runs.
///
/// # Errors
/// A backend is not verified so: nothing is reloaded.
fn try_trust(deployment: &Deployment, asked_by: &str) -> Result<(), Problem> {
    let file = deployment.file();
    // What does not hold is the reload's to report.
    let Some(plan) = load::read(file).and_then(|sources| load::parse(&sources)).ok() else { return Ok(()) };
    let current = deployment.current();
    if !trust_trial::is_due(&current.plan, &plan) {
        return Ok(());
    }
    let Ok((_, next)) = deployment.preview(|sources| Ok(sources.clone())) else { return Ok(()) };
    let reports = trust_trial::reports(&current, &next);
    refuse_unverified(&reports, "nothing is reloaded").inspect_err(|problem| {
        let reason = &problem.detail;
        deployment.note_refused(reason);
        let force = if asked_by == SIGNAL { " (`ringate reload --force`)" } else { "" };
        tracing::error!("reload ({asked_by}) refused, what ran before runs on: {reason}{force}");
        tell(deployment, "refused", asked_by, current.running.version, reason);
    })
}

pub(super) async fn post_plan(
    State(control): State<Control>,
    Optional(candidate): Optional<Candidate>,
) -> Result<Json<Outcome>, Problem> {
    let review = move |deployment: &Deployment| {
        Ok(deployment.review(
            candidate.config.as_deref().map(|text| load::with_text(deployment.file(), text)).as_ref(),
        )?)
    };
    Ok(Json(blocking(&control, review).await?.into()))
}
