//! `/v1/certificates/{name}/trial · activate · rollback · retire · rotation`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Control;
use super::body::Optional;
use super::problem::Problem;
use super::reload::blocking;
use crate::certs::StoreError;
use crate::certs::store::StateError;
use crate::server::rotation::{Activated, Room, Rotation, RotationError, Trial};

/// What an activation or a retirement may be told.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Force {
    /// Although no trial passed, or although it is still needed.
    #[serde(default)]
    pub force: bool,
}

/// The generation that was ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Retired {
    /// Its number.
    pub retired: u64,
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        let detail = error.to_string();
        let (status, kind, title) = match &error {
            RotationError::Store(StoreError::NotFound { .. }) => {
                (StatusCode::NOT_FOUND, "not-found", "there is no such certificate")
            }
            RotationError::Store(StoreError::InvalidName { .. } | StoreError::ReservedName { .. }) => {
                (StatusCode::BAD_REQUEST, "name", "this can't be a certificate's name")
            }
            RotationError::Store(StoreError::State(
                StateError::NothingStaged { .. }
                | StateError::NothingPrevious { .. }
                | StateError::OtherStaged { .. },
            )) => (StatusCode::CONFLICT, "state", "the certificate is in another state"),
            RotationError::Store(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "store", "the certificate store failed")
            }
            RotationError::Unusable(..) | RotationError::NoKey(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "certificate", "the certificate can't be presented")
            }
            RotationError::NothingStaged(_) | RotationError::NoPrevious(_) => {
                (StatusCode::CONFLICT, "state", "the certificate is in another state")
            }
            RotationError::NotTried(..) | RotationError::NotPassed(..) => {
                (StatusCode::CONFLICT, "trial", "no trial has passed")
            }
            RotationError::StillNeeded(..) => {
                (StatusCode::CONFLICT, "needed", "the generation is still needed")
            }
        };
        Self::new(status, kind, title, detail)
    }
}

type Named = Result<Path<String>, PathRejection>;

async fn with_room<T: Send + 'static>(
    control: &Control,
    name: Named,
    work: impl FnOnce(&Room<'_>) -> Result<T, RotationError> + Send + 'static,
) -> Result<T, Problem> {
    let Path(name) = name?;
    blocking(control, move |deployment| Ok(deployment.room(&name, work)?)).await
}

pub(super) async fn trial(State(control): State<Control>, name: Named) -> Result<Json<Trial>, Problem> {
    with_room(&control, name, |room| room.trial()).await.map(Json)
}

pub(super) async fn activate(
    State(control): State<Control>,
    name: Named,
    Optional(Force { force }): Optional<Force>,
) -> Result<Json<Activated>, Problem> {
    with_room(&control, name, move |room| room.activate(force)).await.map(Json)
}

pub(super) async fn rollback(
    State(control): State<Control>,
    name: Named,
) -> Result<Json<Activated>, Problem> {
    with_room(&control, name, |room| room.rollback()).await.map(Json)
}

pub(super) async fn retire(
    State(control): State<Control>,
    name: Named,
    Optional(Force { force }): Optional<Force>,
) -> Result<Json<Retired>, Problem> {
    with_room(&control, name, move |room| room.retire(force)).await.map(|retired| Json(Retired { retired }))
}

/// `null`: nothing that runs uses it.
pub(super) async fn rotation(
    State(control): State<Control>,
    name: Named,
) -> Result<Json<Option<Rotation>>, Problem> {
    with_room(&control, name, |room| {
        room.store.describe(room.name, room.now)?;
        Ok(room.report())
    })
    .await
    .map(Json)
}
