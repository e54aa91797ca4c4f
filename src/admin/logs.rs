//! `GET /v1/logs`: the last warnings and errors of the log.

use axum::Json;

use crate::io::recent::{self, Recent};

/// The oldest first.
pub(super) async fn logs() -> Json<Vec<Recent>> {
    Json(recent::all())
}
