//! `POST /v1/upgrade` and `POST /v1/drain`: another process takes this one's place, or none does.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Control;
use super::body::Optional;
use super::problem::Problem;
use super::reload::blocking;
use crate::base::limits::{MAX_UPGRADE_PATIENCE, UPGRADE_PATIENCE};
use crate::server::upgrade::{UpgradeError, Upgraded};

/// How an upgrade is made.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upgrade {
    /// How long the new process may take until it serves; left out: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_seconds: Option<u64>,
}

/// How a drain is made.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drain {
    /// The admin server closes its addresses, if this process drains already: a process that is started anew binds them.
    #[serde(default)]
    pub(crate) release: bool,
}

#[derive(Serialize)]
pub(super) struct Draining {
    connections_open: u64,
}

pub(super) async fn upgrade(
    State(control): State<Control>,
    Optional(Upgrade { timeout_seconds }): Optional<Upgrade>,
) -> Result<Json<Upgraded>, Problem> {
    let patience = timeout_seconds.map_or(UPGRADE_PATIENCE, Duration::from_secs);
    if patience.is_zero() || patience > MAX_UPGRADE_PATIENCE {
        let detail = format!("`timeout_seconds` is a number from 1 to {}", MAX_UPGRADE_PATIENCE.as_secs());
        let title = "the body is not what is expected here";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body", title, detail));
    }
    let lifecycle = control.lifecycle.clone();
    let upgrade = move |deployment: &_| Ok(lifecycle.upgrade(deployment, patience, "admin API")?);
    Ok(Json(blocking(&control, upgrade).await?))
}

pub(super) async fn drain(
    State(control): State<Control>,
    Optional(Drain { release }): Optional<Drain>,
) -> (StatusCode, Json<Draining>) {
    if release && !control.server.is_accepting() {
        control.lifecycle.release_admin();
    }
    control.lifecycle.drain.notify_one();
    (StatusCode::ACCEPTED, Json(Draining { connections_open: control.server.connections_open() }))
}

impl From<UpgradeError> for Problem {
    fn from(error: UpgradeError) -> Self {
        let (status, kind, title) = match &error {
            UpgradeError::Draining => (StatusCode::CONFLICT, "draining", "ringate is draining"),
            UpgradeError::UnderWay => (StatusCode::CONFLICT, "upgrading", "another upgrade is under way"),
            UpgradeError::Unsupported => {
                (StatusCode::CONFLICT, "unsupported", "this process cannot be upgraded")
            }
            UpgradeError::Failed(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "upgrade", "the new process does not serve, this one does")
            }
        };
        Self::new(status, kind, title, error.to_string())
    }
}
