//! What every request passes: the bound on their rate, the bearer token, the time it may take.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Control;
use super::caller::{Caller, Peer};
use super::problem::Problem;
use super::serve::Place;
use crate::base::limits::{ADMIN_BURST, ADMIN_REQUESTS_PER_SECOND, ADMIN_TIMEOUT};

/// A token bucket for many clients together.
#[derive(Clone, Debug)]
pub(super) struct Rate(Arc<Mutex<(f64, Instant)>>);

impl Rate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new((f64::from(ADMIN_BURST), Instant::now()))))
    }

    fn take(&self) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (tokens, last) = *bucket;
        let refilled = tokens + (now - last).as_secs_f64() * f64::from(ADMIN_REQUESTS_PER_SECOND);
        let refilled = refilled.min(f64::from(ADMIN_BURST));
        let enough = refilled >= 1.0;
        *bucket = (if enough { refilled - 1.0 } else { refilled }, now);
        enough
    }
}

/// Bounds the rate of requests and their duration. A request without the token uses nothing of the bounds for those with it.
/// From here on the request has its [`Caller`], if that has proven itself.
pub(super) async fn bound(State(control): State<Control>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Unix { uid: None, pid: None });
    let caller = Caller::of(&control, &request, peer);
    let authorized = caller.is_some();
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let place = request.extensions().get::<Arc<Place>>();
    let _under_way = place.map(Place::begin);
    if authorized && let Some(place) = place {
        place.prove();
    }
    // A health check must not be refused because of the load of others.
    let is_health = matches!(request.uri().path(), "/healthz" | "/readyz");
    let rate = if authorized { &control.rate } else { &control.strangers };
    if !is_health && !rate.take() {
        let detail = format!("at most {ADMIN_REQUESTS_PER_SECOND} a second are served");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate", "too many requests", detail);
        return problem.into_response();
    }
    match tokio::time::timeout(ADMIN_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the work continues without its client; /v1/status shows its effect";
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "this takes too long", detail)
                .into_response()
        }
    }
}

/// Lets a request through if its client has proven itself.
pub(super) async fn authorize(request: Request, next: Next) -> Response {
    if request.extensions().get::<Caller>().is_some() {
        return next.run(request).await;
    }
    let detail = "send `Authorization: Bearer TOKEN` with the token in the file of `admin.token_file`";
    let mut response =
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "a bearer token is needed", detail)
            .into_response();
    let fields = response.headers_mut();
    fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    // The connection is for another host.
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
