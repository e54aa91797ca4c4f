//! Floor 4: the admin server, on the control thread. JSON over HTTP, Prometheus text, and the console.
//!
//! A Unix socket is guarded by its file's permissions (0600); TCP by a bearer token, compared in
//! constant time. `/healthz`, `/readyz` and the page itself are open: they give nothing away.
//!
//! | module | does |
//! | --- | --- |
//! | `socket`, `serve`, `guard` | its addresses, which clients are admitted, the bounds of its load |
//! | `caller`, `session` | which client it is, and what it may do; a browser's sign-in |
//! | `headers` | what protects it from a browser's other pages |
//! | `change`, `subject` | ETag and If-Match, the right to change, the audit log |
//! | `api` | what runs |
//! | `reload`, `upstreams`, `endpoints`, `sections`, `apis` | a new config, a changed one |
//! | `store`, `rotation`, `certificates` | the certificate store; a certificate's generations; those in use |
//! | `events`, `figures` | a stream of what happens, and of figures once a second |
//! | `consumers` | consumers and their credentials |
//! | `upgrade`, `takeover` | another process in the place of this one; the addresses of one that drains |
//! | `metrics`, `exposition`, `traffic`, `endpoint_metrics`, `process` | counts for Prometheus |
//! | `body`, `problem` | JSON in, problems (RFC 9457) out |
//! | `queue` | the wait for what takes long |
//!
//! What blocks (disk, name servers) runs beside the control thread: `reload::blocking`.

mod api;
mod apis;
mod association;
mod backends;
mod body;
mod caller;
mod certificates;
mod change;
mod consumers;
mod discovery;
mod endpoint_metrics;
mod endpoints;
mod events;
mod exposition;
mod figures;
mod guard;
mod headers;
mod invoke;
mod listeners;
mod logs;
mod metrics;
mod problem;
mod process;
mod queue;
mod reload;
mod rotation;
mod sections;
mod serve;
mod session;
mod socket;
mod store;
mod subject;
mod takeover;
mod traffic;
mod upgrade;
mod upstreams;
mod verification;

pub(crate) use apis::{Api, Registered};
pub(crate) use association::{Associate, Associated, Promote};
pub(crate) use problem::Problem;
pub(crate) use reload::{Candidate, Outcome, reload_by_signal};
pub(crate) use rotation::Ended;
pub(crate) use socket::{AdminSockets, bind, check};
pub(crate) use upgrade::Upgrade;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::limits::{ADMIN_BODY_BYTES, ADMIN_MAKING, ADMIN_TRIALS};
use crate::server::lifecycle::Lifecycle;
use crate::server::{Deployment, Server};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};

/// What the admin server works on.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    /// What runs.
    pub deployment: Arc<Deployment>,
    /// Its workers.
    pub server: Arc<Server>,
    /// What ends or replaces this process.
    pub lifecycle: Arc<Lifecycle>,
    /// Of a TCP address; a Unix socket has none.
    tokens: Option<Arc<caller::Tokens>>,
    sessions: session::Sessions,
    conditions: change::Conditions,
    /// Of clients that may give orders.
    rate: guard::Rate,
    /// Of all others.
    strangers: guard::Rate,
    making: queue::Queue,
    trials: queue::Queue,
}

impl Control {
    /// Of a process that has not begun to drain.
    pub(crate) fn new(deployment: Arc<Deployment>, lifecycle: Arc<Lifecycle>) -> Self {
        let server = Arc::clone(&deployment.server);
        Self {
            server,
            deployment,
            lifecycle,
            tokens: None,
            sessions: session::Sessions::default(),
            conditions: change::Conditions::default(),
            rate: guard::Rate::new(),
            strangers: guard::Rate::new(),
            making: queue::Queue::new(ADMIN_MAKING),
            trials: queue::Queue::new(ADMIN_TRIALS),
        }
    }
}

fn router(control: Control) -> Router {
    let metrics = || Router::new().route("/metrics", get(metrics::metrics));
    let open_metrics = control.deployment.plan().admin.as_ref().is_some_and(|admin| admin.open_metrics);
    let guarded = Router::new()
        .route("/v1/status", get(api::status))
        .route("/v1/apis", post(apis::add))
        .route("/v1/apis/{name}", delete(apis::remove))
        .route("/v1/listeners", get(api::listeners).post(sections::add_listener))
        .route(
            "/v1/listeners/{name}",
            get(api::listener).patch(sections::change_listener).delete(sections::remove_listener),
        )
        .route("/v1/listeners/{name}/tls-failures", get(api::failures))
        .route("/v1/routes", get(api::routes).post(sections::add_route))
        .route(
            "/v1/routes/{id}",
            get(api::route).patch(sections::change_route).delete(sections::remove_route),
        )
        .route("/v1/upstreams", get(api::upstreams).post(sections::add_upstream))
        .route(
            "/v1/upstreams/{name}",
            get(api::upstream).patch(upstreams::patch).delete(sections::remove_upstream),
        )
        .route("/v1/upstreams/{name}/endpoints", get(endpoints::list).post(endpoints::add))
        .route("/v1/upstreams/{name}/endpoints/{address}", patch(endpoints::change).delete(endpoints::remove))
        .route("/v1/upstreams/{name}/promote", post(association::promote))
        .route("/v1/upstreams/{name}/probe", post(upstreams::probe))
        .route("/v1/upstreams/{name}/environments/{environment}", patch(upstreams::patch_environment))
        .route("/v1/events", get(events::events))
        .route("/v1/reload", post(reload::post_reload))
        .route("/v1/plan", post(reload::post_plan))
        .route("/v1/invoke", post(invoke::invoke))
        .merge(logs::routes())
        .route("/v1/drain", post(upgrade::drain))
        .route("/v1/upgrade", post(upgrade::upgrade))
        .route("/v1/certificates", get(store::list).post(store::generate))
        .route("/v1/certificates/import", post(store::import))
        .route("/v1/certificates/{name}", get(store::show).patch(store::describe).delete(store::delete))
        .route("/v1/certificates/{name}/pem", get(store::pem))
        .route("/v1/certificates/{name}/stage", post(store::stage))
        .route("/v1/certificates/{name}/trial", post(rotation::trial))
        .route("/v1/certificates/{name}/activate", post(rotation::activate))
        .route("/v1/certificates/{name}/rollback", post(rotation::rollback))
        .route("/v1/certificates/{name}/retire", post(rotation::retire))
        .route("/v1/certificates/{name}/associate", post(association::associate))
        .route("/v1/certificates/{name}/dissociate", post(association::dissociate))
        .route("/v1/certificates/{name}/rotation", get(rotation::rotation))
        .route("/v1/certificates/{name}/sign", post(store::sign))
        .merge(consumers::routes())
        .route("/v1/openapi.json", get(api::openapi))
        .merge(if open_metrics { Router::new() } else { metrics() })
        .layer(from_fn_with_state(control.clone(), change::follow))
        .route("/v1/session", get(session::show))
        .layer(from_fn(guard::authorize))
        .route("/v1/session", post(session::sign_in).delete(session::sign_out));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/", get(api::page))
        .merge(guarded)
        .merge(if open_metrics { metrics() } else { Router::new() })
        .fallback(|| async {
            let detail = "the calls are listed in /v1/openapi.json";
            Problem::new(StatusCode::NOT_FOUND, "not-found", "there is no such call", detail)
        })
        .method_not_allowed_fallback(|| async {
            let detail = "the Allow field lists the methods of this path";
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this path does not have this method",
                detail,
            )
        })
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES))
        .layer(from_fn_with_state(control.clone(), headers::check_host))
        .layer(from_fn_with_state(control.clone(), guard::bound))
        .layer(from_fn(headers::protect))
        .with_state(control)
}

async fn ready(State(control): State<Control>) -> Response {
    if !control.server.ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    match control.server.stuck()[..] {
        [] => "ready\n".into_response(),
        [stuck, ..] => (StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")).into_response(),
    }
}
