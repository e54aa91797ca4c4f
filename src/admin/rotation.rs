//! `/v1/certificates/{name}/trial · activate · rollback · retire · rotation`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Control;
use super::body::Optional;
use super::problem::Problem;
use super::reload::{blocking, queued};
use crate::certs::command::{Activate, CommandError, Retire, Rollback};
use crate::server::Deployment;
use crate::server::rotation::{Activated, LockedCertificate, Rotation, RotationError, Trial};

/// The generation that was ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Its number.
    pub retired: u64,
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        let error = match error {
            RotationError::Store(error) => return CommandError::Store(error).into(),
            error => error,
        };
        let detail = error.to_string();
        let (status, kind, title) = match &error {
            RotationError::Store(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "store", "the certificate store failed")
            }
            RotationError::Unusable(..) | RotationError::NoKey(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "certificate", "the certificate can't be presented")
            }
            RotationError::NothingStaged(_) | RotationError::NoPrevious(_) => {
                (StatusCode::CONFLICT, "state", "the certificate is in another state")
            }
            RotationError::NotTried(..) | RotationError::NotPassed(..) | RotationError::NotAsked(..) => {
                (StatusCode::CONFLICT, "trial", "no trial has passed")
            }
            RotationError::StillNeeded(..) => {
                (StatusCode::CONFLICT, "needed", "the generation is still needed")
            }
            RotationError::Replaced => (StatusCode::CONFLICT, "draining", "ringate is draining"),
        };
        Self::new(status, kind, title, detail)
    }
}

type Named = Result<Path<String>, PathRejection>;

async fn with_turn<T: Send + 'static>(
    control: &Control,
    name: Named,
    work: impl FnOnce(&LockedCertificate<'_>) -> Result<T, RotationError> + Send + 'static,
) -> Result<Json<T>, Problem> {
    let Path(name) = name?;
    blocking(control, move |deployment| Ok(deployment.turn(&name, work)?)).await.map(Json)
}

pub(super) async fn trial(State(control): State<Control>, name: Named) -> Result<Json<Trial>, Problem> {
    let Path(name) = name?;
    let trial =
        move |deployment: &Deployment| Ok(deployment.certificate(&name, |certificate| certificate.trial())?);
    queued(&control, &control.trials, trial).await.map(Json)
}

pub(super) async fn activate(
    State(control): State<Control>,
    name: Named,
    Optional(Activate { generation, force, .. }): Optional<Activate>,
) -> Result<Json<Activated>, Problem> {
    let done = with_turn(&control, name, move |turn| turn.activate(generation, force)).await?;
    tracing::info!(certificate = done.certificate, "generation {} is active", done.generation);
    Ok(done)
}

pub(super) async fn rollback(
    State(control): State<Control>,
    name: Named,
    Optional(Rollback { .. }): Optional<Rollback>,
) -> Result<Json<Activated>, Problem> {
    let done = with_turn(&control, name, |turn| turn.rollback()).await?;
    tracing::info!(certificate = done.certificate, "rolled back: generation {} is active", done.generation);
    Ok(done)
}

pub(super) async fn retire(
    State(control): State<Control>,
    name: Named,
    Optional(Retire { force, .. }): Optional<Retire>,
) -> Result<Json<Ended>, Problem> {
    with_turn(&control, name, move |turn| turn.retire(force).map(|retired| Ended { retired })).await
}

/// `null`: nothing that runs uses it.
pub(super) async fn rotation(
    State(control): State<Control>,
    name: Named,
) -> Result<Json<Option<Rotation>>, Problem> {
    let Path(name) = name?;
    let report = move |deployment: &Deployment| {
        let report = deployment.certificate(&name, |certificate| {
            certificate.store.describe(certificate.name, certificate.now)?;
            Ok(certificate.report())
        });
        Ok(report?)
    };
    blocking(&control, report).await.map(Json)
}
