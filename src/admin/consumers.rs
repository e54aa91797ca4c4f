//! `/v1/consumers`, `/v1/credentials`, `/v1/credential-definitions`: orders of [`certs::consumers`](crate::certs::consumers).
//!
//! A key is in the answer of the call that makes it, and in no other; that answer must not be kept by a cache.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::Control;
use super::body::{Body, Optional};
use super::change::Made;
use super::problem::Problem;
use super::reload::{blocking, queued};
use super::subject::Subject;
use crate::certs::command::ErrorKind;
use crate::certs::consumers::order::{
    AddConsumer, ChangeConsumer, CredentialInfo, Filter, Issue, Reason, Renew, Request,
};
use crate::certs::consumers::{Answer, ConsumerError, Order, Standing};

impl From<ConsumerError> for Problem {
    fn from(error: ConsumerError) -> Self {
        let (status, kind, title) = match error.kind() {
            _ if matches!(error, ConsumerError::Replaced) => {
                (StatusCode::CONFLICT, "draining", "ringate is draining")
            }
            ErrorKind::NotFound => {
                (StatusCode::NOT_FOUND, "not-found", "there is no such consumer, credential or definition")
            }
            ErrorKind::Conflict => (StatusCode::CONFLICT, "state", "things are in another state"),
            ErrorKind::Invalid => {
                (StatusCode::UNPROCESSABLE_ENTITY, "credential", "what was given can't be used")
            }
            ErrorKind::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "store", "the certificate store failed"),
        };
        Self::new(status, kind, title, error.to_string())
    }
}

type Named = Result<Path<String>, PathRejection>;
type Answered = Result<Response, Problem>;

/// The calls.
pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/v1/consumers", get(consumers).post(add))
        .route("/v1/consumers/{name}", get(consumer).patch(change).delete(delete_consumer))
        .route("/v1/credential-definitions", get(definitions))
        .route("/v1/credentials", get(list).post(request))
        .route("/v1/credentials/{name}", get(credential).delete(delete))
        .route("/v1/credentials/{name}/approve", post(approve))
        .route("/v1/credentials/{name}/deny", post(deny))
        .route("/v1/credentials/{name}/issue", post(issue))
        .route("/v1/credentials/{name}/suspend", post(suspend))
        .route("/v1/credentials/{name}/resume", post(resume))
        .route("/v1/credentials/{name}/renew", post(renew))
        .route("/v1/credentials/{name}/revoke", post(revoke))
}

/// Carries an order out beside the control thread.
async fn run(control: &Control, order: Order) -> Answered {
    run_as(control, order, StatusCode::OK).await
}

/// The same; `status` is that of success.
async fn run_as(control: &Control, order: Order, status: StatusCode) -> Answered {
    let log = order.changes();
    let answer = blocking(control, move |deployment| Ok(deployment.consumers(order)?)).await?;
    Ok(respond(control, &answer, log, status))
}

/// The same for what signs certificates, one after the other.
async fn make(control: &Control, order: Order, status: StatusCode) -> Answered {
    let answer = queued(control, &control.making, move |deployment| Ok(deployment.consumers(order)?)).await?;
    Ok(respond(control, &answer, true, status))
}

fn respond(control: &Control, answer: &Answer, log: bool, status: StatusCode) -> Response {
    if log {
        note(control, answer);
    }
    let mut response = (status, Json(answer)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let made = match answer {
        Answer::Consumer(consumer) => Some(Subject::Consumer(consumer.name.clone())),
        Answer::Issued(issued) => Some(Subject::Credential(issued.credential.name.clone())),
        _ => None,
    };
    if let Some(subject) = made.filter(|_| status == StatusCode::CREATED) {
        response.extensions_mut().insert(Made(subject));
    }
    response
}

/// Logs a change, and lets those know that watch: names and states alone.
fn note(control: &Control, answer: &Answer) {
    let turned = |it: &CredentialInfo| {
        tracing::info!(credential = it.name, consumer = it.consumer, "it is {}", it.state);
        control.deployment.tell_credential(it);
    };
    match answer {
        Answer::Consumer(consumer) => tracing::info!(consumer = consumer.name, "written"),
        Answer::Deleted { deleted, credentials } if credentials.is_empty() => {
            tracing::info!("deleted: {deleted}");
        }
        Answer::Deleted { deleted, credentials } => {
            tracing::info!("deleted: {deleted} with {} credentials", credentials.len());
        }
        Answer::Credential(it) => turned(it),
        Answer::Issued(issued) => turned(&issued.credential),
        Answer::Consumers { .. } | Answer::Definitions { .. } | Answer::Credentials { .. } => {}
    }
}

pub(super) async fn consumers(State(control): State<Control>) -> Answered {
    run(&control, Order::ListConsumers).await
}

pub(super) async fn add(State(control): State<Control>, Body(order): Body<AddConsumer>) -> Answered {
    run_as(&control, Order::AddConsumer(order), StatusCode::CREATED).await
}

pub(super) async fn consumer(State(control): State<Control>, name: Named) -> Answered {
    let Path(name) = name?;
    run(&control, Order::ShowConsumer(name)).await
}

pub(super) async fn change(
    State(control): State<Control>,
    name: Named,
    Body(order): Body<ChangeConsumer>,
) -> Answered {
    let Path(name) = name?;
    run(&control, Order::ChangeConsumer(name, order)).await
}

/// `?force=true`: also while credentials are in force.
pub(super) async fn delete_consumer(
    State(control): State<Control>,
    name: Named,
    RawQuery(query): RawQuery,
) -> Answered {
    let Path(name) = name?;
    let force = match query.as_deref().unwrap_or_default() {
        "" | "force=false" => false,
        "force=true" => true,
        _ => return Err(unread("`force=` is true or false")),
    };
    run(&control, Order::DeleteConsumer { name, force }).await
}

pub(super) async fn definitions(State(control): State<Control>) -> Answered {
    run(&control, Order::ListDefinitions).await
}

/// `?consumer=NAME&definition=NAME&state=STATE`
pub(super) async fn list(State(control): State<Control>, RawQuery(query): RawQuery) -> Answered {
    let mut filter = Filter::default();
    for field in query.as_deref().unwrap_or_default().split('&').filter(|field| !field.is_empty()) {
        match field.split_once('=') {
            Some(("consumer", name)) => filter.consumer = Some(name.to_owned()),
            Some(("definition", name)) => filter.definition = Some(name.to_owned()),
            Some(("state", word)) => {
                let state = Standing::ALL.into_iter().find(|state| state.word() == word);
                let words = Standing::ALL.map(Standing::word).join(", ");
                filter.state = Some(state.ok_or_else(|| unread(&format!("`state=` is one of {words}")))?);
            }
            _ => return Err(unread("the fields are `consumer=`, `definition=` and `state=`")),
        }
    }
    run(&control, Order::List(filter)).await
}

fn unread(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "query", "the query can't be read", detail)
}

pub(super) async fn request(State(control): State<Control>, Body(order): Body<Request>) -> Answered {
    make(&control, Order::Request(order), StatusCode::CREATED).await
}

pub(super) async fn credential(State(control): State<Control>, name: Named) -> Answered {
    let Path(name) = name?;
    run(&control, Order::Show(name)).await
}

pub(super) async fn delete(State(control): State<Control>, name: Named) -> Answered {
    let Path(name) = name?;
    run(&control, Order::Delete(name)).await
}

pub(super) async fn approve(State(control): State<Control>, name: Named) -> Answered {
    let Path(name) = name?;
    run(&control, Order::Approve(name)).await
}

pub(super) async fn deny(
    State(control): State<Control>,
    name: Named,
    Optional(reason): Optional<Reason>,
) -> Answered {
    let Path(name) = name?;
    run(&control, Order::Deny(name, reason)).await
}

pub(super) async fn issue(
    State(control): State<Control>,
    name: Named,
    Optional(order): Optional<Issue>,
) -> Answered {
    let Path(name) = name?;
    make(&control, Order::Issue(name, order), StatusCode::OK).await
}

pub(super) async fn suspend(
    State(control): State<Control>,
    name: Named,
    Optional(reason): Optional<Reason>,
) -> Answered {
    let Path(name) = name?;
    run(&control, Order::Suspend(name, reason)).await
}

pub(super) async fn resume(State(control): State<Control>, name: Named) -> Answered {
    let Path(name) = name?;
    run(&control, Order::Resume(name)).await
}

pub(super) async fn renew(
    State(control): State<Control>,
    name: Named,
    Optional(order): Optional<Renew>,
) -> Answered {
    let Path(name) = name?;
    make(&control, Order::Renew(name, order), StatusCode::OK).await
}

pub(super) async fn revoke(
    State(control): State<Control>,
    name: Named,
    Optional(reason): Optional<Reason>,
) -> Answered {
    let Path(name) = name?;
    run(&control, Order::Revoke(name, reason)).await
}
