//! What every call of `/v1` passes: which client may change, whether a change is of the state that its client has read
//! (RFC 9110 §13), and the audit log.
//!
//! ```text
//! read    ─► answer ─► ETag "STATE-CONTENT" ─► 304 where the client has that content
//! change  ─► 403 without the right ─► 412 where STATE is another one ─► done ─► audit log ─► answer with ETag "STATE"
//! ```
//!
//! STATE is the version of what calls can change, CONTENT that of the whole answer, which also has what runs: a counter that
//! has moved makes no change stale.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::Control;
use super::caller::{Caller, Role};
use super::problem::Problem;
use super::reload::blocking;
use super::subject::{self, Subject};
use crate::server::audit::Entry;

/// Longest answer that is tagged, in bytes.
const MOST_BYTES: usize = 64 << 20;
/// How long an answer waits for its line in the audit log.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held by a change with a condition, one for each subject: what was compared must still be so when it is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions(Arc<Mutex<HashMap<Subject, Arc<tokio::sync::Mutex<()>>>>>);

impl Conditions {
    async fn take(&self, subject: &Subject) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(all.entry(subject.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

/// What a call has made, in the extensions of its response: the audit log has that in the place of the list it was added to.
#[derive(Clone, Debug)]
pub(super) struct Made(pub(super) Subject);

pub(super) async fn follow(State(control): State<Control>, request: Request, next: Next) -> Response {
    let subject = Subject::of(request.uri().path());
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return match subject {
            Some(subject) => read(&control, subject, request, next).await,
            None => next.run(request).await,
        };
    }
    // It is finished, and written down, also if its client leaves.
    let change = tokio::spawn(change(control, subject, request, next));
    change.await.unwrap_or_else(|_| Problem::internal("the task panicked: see the log").into_response())
}

async fn read(control: &Control, subject: Subject, request: Request, next: Next) -> Response {
    let known = tags(request.headers(), header::IF_NONE_MATCH);
    let response = next.run(request).await;
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MOST_BYTES).await else {
        return Problem::internal("the answer is too long").into_response();
    };
    let state = blocking(control, move |deployment| Ok(subject.state(deployment))).await;
    if let Ok(Some(state)) = state {
        let tag = format!("\"{}-{}\"", state.version, subject::hex(&bytes));
        let is_known = known.iter().any(|known| known == "*" || known.trim_start_matches("W/") == tag);
        if let Ok(value) = HeaderValue::from_str(&tag) {
            parts.headers.insert(header::ETAG, value);
        }
        if is_known {
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers.remove(header::CONTENT_TYPE);
            return Response::from_parts(parts, Body::empty());
        }
    }
    Response::from_parts(parts, Body::from(bytes))
}

async fn change(control: Control, subject: Option<Subject>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().copied();
    let mut entry = entry(&request, subject.as_ref(), caller);
    let wanted = tags(request.headers(), header::IF_MATCH);
    let _held = match &subject {
        Some(subject) if !wanted.is_empty() => Some(control.conditions.take(subject).await),
        _ => None,
    };
    let before = state(&control, subject.as_ref()).await;
    let mut response = match refusal(caller, &wanted, before.as_ref()) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let subject = response.extensions().get::<Made>().map(|made| made.0.clone()).or(subject);
    let after = state(&control, subject.as_ref()).await;
    if response.status().is_success()
        && let Some(after) = &after
        && let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", after.version))
    {
        response.headers_mut().insert(header::ETAG, value);
    }
    if let (Some(audit), Some(mut entry)) = (&control.deployment.audit, entry.take()) {
        if response.extensions().get::<Made>().is_some()
            && let Some(subject) = &subject
        {
            entry.subject = subject.words();
        } else {
            entry.before = before.map_or(Value::Null, |state| state.shown);
        }
        entry.after = after.map_or(Value::Null, |state| state.shown);
        (entry.status, entry.outcome) = (Some(response.status().as_u16()), outcome(response.status()));
        entry.reason = response.extensions().get::<Problem>().map(|problem| problem.detail.clone());
        let _ = tokio::time::timeout(PATIENCE, audit.note(entry)).await;
    }
    response
}

async fn state(control: &Control, subject: Option<&Subject>) -> Option<subject::State> {
    let subject = subject?.clone();
    blocking(control, move |deployment| Ok(subject.state(deployment))).await.ok().flatten()
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "done",
        500.. => "failed",
        _ => "refused",
    }
}

/// The line of a request in the audit log. `None`: it changes nothing.
fn entry(request: &Request, subject: Option<&Subject>, caller: Option<Caller>) -> Option<Entry> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let changes = path != "/v1/plan" && !path.ends_with("/probe") && !is_dry(query);
    let who = caller.map_or(Value::Null, |caller| caller.describe());
    let words = subject.map_or_else(|| path.trim_start_matches("/v1/").to_owned(), Subject::words);
    changes.then(|| Entry::new(who, format!("{} {path}", request.method()), words))
}

/// Whether a change is only planned.
pub(super) fn is_dry(query: &str) -> bool {
    query.split('&').any(|pair| pair == "dry_run=true" || pair == "dry_run=1" || pair == "dry_run")
}

fn refusal(caller: Option<Caller>, wanted: &[String], now: Option<&subject::State>) -> Option<Problem> {
    if caller.is_none_or(|caller| caller.role != Role::Full) {
        let detail =
            "the token of `admin.read_only_token_file` reads; a change needs the one of `admin.token_file`";
        return Some(Problem::new(
            StatusCode::FORBIDDEN,
            "read-only",
            "this token may change nothing",
            detail,
        ));
    }
    let matches = |tag: &String| {
        let Some(now) = now else { return false };
        let version = tag.trim_matches('"').split('-').next();
        tag == "*" || (tag.starts_with('"') && version == Some(&*now.version))
    };
    if wanted.is_empty() || wanted.iter().any(matches) {
        return None;
    }
    let detail = match now {
        Some(_) => {
            "it has changed since it was read: read it again, and repeat the change if it still makes sense"
        }
        None => "there is no such thing, or it has no ETag: leave If-Match out",
    };
    let title = "the state is not the one that the change is meant for";
    Some(Problem::new(StatusCode::PRECONDITION_FAILED, "stale", title, detail))
}

/// The entity tags of a field, as they are written (RFC 9110 §8.8.3). They have no comma in them here.
fn tags(fields: &HeaderMap, name: header::HeaderName) -> Vec<String> {
    let values = fields.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let tags = values.flat_map(|value| value.split(',')).map(str::trim).filter(|tag| !tag.is_empty());
    tags.map(str::to_owned).collect()
}
