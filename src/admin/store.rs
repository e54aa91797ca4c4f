//! `/v1/certificates`: generate, import, list, show, describe, delete, stage; the public part. No answer holds a key.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use serde_json::Value;

use super::Control;
use super::body::Body;
use super::change::Made;
use super::problem::Problem;
use super::reload::{blocking, queued};
use super::subject::Subject;
use crate::certs::command::{
    CommandError, Delete, Deleted, Describe, ErrorKind, Export, Generate, Import, List, Listed,
    Made as MadeCertificate, Part, Request, Show, Shown, Sign, SignedCertificate, Stage,
};
use crate::config::plan::CertificateRef;
use crate::server::Deployment;
use crate::server::events::{CertificateChange, Event};

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let (status, kind, title) = match error.kind() {
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not-found", "there is no such certificate"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "state", "things are in another state"),
            ErrorKind::Invalid => {
                (StatusCode::UNPROCESSABLE_ENTITY, "certificate", "what was given can't be used")
            }
            ErrorKind::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "store", "the certificate store failed"),
        };
        Self::new(status, kind, title, error.to_string())
    }
}

type Named = Result<Path<String>, PathRejection>;

/// Runs a request beside the control thread.
async fn run<R: Request + Send + 'static>(
    control: &Control,
    run: fn(&Deployment, R) -> Result<R::Answer, CommandError>,
    request: R,
) -> Result<Json<R::Answer>, Problem>
where
    R::Answer: Send + 'static,
{
    blocking(control, move |deployment| Ok(run(deployment, request)?)).await.map(Json)
}

/// The same for what makes keys or opens locked ones.
async fn make<R: Request + Send + 'static>(control: &Control, request: R) -> Result<Json<R::Answer>, Problem>
where
    R::Answer: Send + 'static,
{
    queued(control, &control.making, move |deployment| Ok(deployment.make(request)?)).await.map(Json)
}

pub(super) async fn list(State(control): State<Control>) -> Result<Json<Listed>, Problem> {
    run(&control, Deployment::command, List {}).await
}

pub(super) async fn generate(
    State(control): State<Control>,
    Body(request): Body<Generate>,
) -> Result<impl IntoResponse, Problem> {
    let made = make(&control, request).await?;
    tracing::info!(certificate = made.id, "generated: generation {}", made.generation);
    tell(&control, &made.id, CertificateChange::Created { generation: made.generation });
    let subject = Subject::Certificate(made.id.clone());
    Ok((StatusCode::CREATED, Extension(Made(subject)), named(&made)?))
}

pub(super) async fn import(
    State(control): State<Control>,
    Body(request): Body<Import>,
) -> Result<impl IntoResponse, Problem> {
    let made = make(&control, request).await?;
    tracing::info!(certificate = made.id, "imported: generation {}", made.generation);
    tell(&control, &made.id, CertificateChange::Created { generation: made.generation });
    let subject = Subject::Certificate(made.id.clone());
    Ok((StatusCode::CREATED, Extension(Made(subject)), named(&made)?))
}

pub(super) async fn show(State(control): State<Control>, name: Named) -> Result<Json<Shown>, Problem> {
    let Path(name) = name?;
    let Json(mut shown) = run(&control, Deployment::command, Show { name }).await?;
    let named = CertificateRef::Store(shown.certificate.name.clone());
    let deployment = &control.deployment;
    let stapled =
        deployment.current().made.identity(&named).and_then(|cell| deployment.stapling.of(&cell.load()));
    shown.ocsp = stapled.and_then(|stapled| serde_json::to_value(stapled).ok());
    Ok(Json(shown))
}

pub(super) async fn describe(
    State(control): State<Control>,
    name: Named,
    Body(request): Body<Describe>,
) -> Result<Json<Shown>, Problem> {
    let Path(name) = name?;
    let shown = run(&control, Deployment::command, Describe { name, ..request }).await?;
    tracing::info!(certificate = shown.certificate.name, "described anew");
    tell(&control, &shown.certificate.name, CertificateChange::Described);
    Ok(shown)
}

pub(super) async fn delete(State(control): State<Control>, name: Named) -> Result<Json<Deleted>, Problem> {
    let Path(name) = name?;
    let deleted = run(&control, Deployment::delete, Delete { name }).await?;
    tracing::info!(certificate = deleted.deleted, "deleted, with its keys");
    tell(&control, &deleted.deleted, CertificateChange::Deleted);
    Ok(deleted)
}

pub(super) async fn stage(
    State(control): State<Control>,
    name: Named,
    Body(request): Body<Stage>,
) -> Result<Json<Value>, Problem> {
    let Path(name) = name?;
    let made = make(&control, Stage { name, ..request }).await?;
    tracing::info!(certificate = made.id, "generation {} is staged", made.generation);
    tell(&control, &made.id, CertificateChange::Staged { generation: made.generation });
    named(&made)
}

fn tell(control: &Control, name: &str, what: CertificateChange) {
    control.deployment.events.send(&Event::certificate(name, what));
}

pub(super) async fn sign(
    State(control): State<Control>,
    name: Named,
    Body(request): Body<Sign>,
) -> Result<Json<SignedCertificate>, Problem> {
    let Path(name) = name?;
    let signed = make(&control, Sign { ca: name, ..request }).await?;
    tracing::info!(certificate = signed.ca, "has signed {}", signed.facts.subject);
    Ok(signed)
}

/// What was made, also under the names that the other calls have for it: `name` for `id`, `not_after` for `expires`.
fn named(made: &MadeCertificate) -> Result<Json<Value>, Problem> {
    let mut value = serde_json::to_value(made).map_err(|error| Problem::internal(error.to_string()))?;
    value["name"] = value["id"].clone();
    value["not_after"] = value["expires"].clone();
    Ok(Json(value))
}

/// `?part=staged&der=true`: which part is given, and whether in DER.
fn which(query: &str) -> Result<(Part, bool), Problem> {
    let (mut part, mut der) = (Part::Active, false);
    for field in query.split('&').filter(|field| !field.is_empty()) {
        match field {
            "part=active" => part = Part::Active,
            "part=staged" => part = Part::Staged,
            "part=previous" => part = Part::Previous,
            "part=request" => part = Part::Request,
            "der=true" => der = true,
            "der=false" => der = false,
            _ => {
                let detail = "`part=` is active, staged, previous or request, and `der=` true or false";
                return Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "query",
                    "the query can't be read",
                    detail,
                ));
            }
        }
    }
    Ok((part, der))
}

pub(super) async fn pem(
    State(control): State<Control>,
    name: Named,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let Path(name) = name?;
    let (part, der) = which(query.as_deref().unwrap_or_default())?;
    let exported = run(&control, Deployment::command, Export { name, part, der }).await?.0;
    let media_type = match (der, part) {
        (false, _) => "application/x-pem-file",
        (true, Part::Request) => "application/pkcs10",
        (true, _) => "application/pkix-cert",
    };
    Ok(([(header::CONTENT_TYPE, media_type)], exported.content.bytes().to_vec()).into_response())
}
