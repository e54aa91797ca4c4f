//! The problem documents of the admin API (RFC 9457).

use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::base::text::without_keys;
use crate::config::edit::EditError;
use crate::config::{Diagnostics, Level};
use crate::server::write::WriteError;
use crate::server::{LoadError, Refused};

/// A problem, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// Which kind, a URI reference.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The response's status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// What is wrong with the config, and where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Place>,
}

/// Something wrong or doubtful in the config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// `error` or `warning`.
    pub level: String,
    /// The file, as the config or its `include` names it.
    #[serde(default)]
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong; names the key.
    pub message: String,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    /// `kind` is the last part of the type: `config`, `conflict` …
    pub(crate) fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/v1/problems/{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: without_keys(&detail.into()).into_owned(),
            errors: Vec::new(),
        }
    }

    /// Something of the process itself failed.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "ringate failed", detail)
    }
}

/// The entries, for machines.
pub(super) fn places(problems: &Diagnostics) -> Vec<Place> {
    let entries = problems.iter().map(|entry| Place {
        level: match entry.level {
            Level::Error => "error".to_owned(),
            Level::Warning => "warning".to_owned(),
        },
        file: entry.file.to_owned(),
        line: entry.line,
        column: entry.column,
        message: without_keys(entry.message).into_owned(),
        help: entry.help.map(str::to_owned),
    });
    entries.collect()
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        let detail = error.to_string();
        let title = "the config does not hold, what ran before runs on";
        let errors = match &error {
            LoadError::Unreadable { .. } => Vec::new(),
            LoadError::Wrong(problems) => places(problems),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "config", title, detail) }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Config(error) => error.into(),
            Refused::Draining => Self::new(StatusCode::CONFLICT, "draining", "ringate is draining", detail),
            Refused::Edit(EditError::NoUpstream { .. }) => {
                Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such upstream", detail)
            }
            Refused::Edit(EditError::NoEndpoint { .. }) => {
                Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such endpoint", detail)
            }
            Refused::Edit(EditError::Missing { .. }) => {
                Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such section", detail)
            }
            Refused::Edit(EditError::Exists { .. }) => {
                Self::new(StatusCode::CONFLICT, "exists", "the section exists already", detail)
            }
            Refused::Edit(EditError::EndpointExists { .. }) => {
                Self::new(StatusCode::CONFLICT, "exists", "the endpoint exists already", detail)
            }
            Refused::Edit(EditError::ByHand { .. }) => {
                Self::new(StatusCode::CONFLICT, "by-hand", "this was not registered as an API", detail)
            }
            Refused::Edit(EditError::LastEndpoint { .. }) => {
                Self::new(StatusCode::CONFLICT, "last", "the upstream has no other endpoint", detail)
            }
            Refused::Edit(_) => {
                let title = "the config file can't be changed so";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "edit", title, detail)
            }
            Refused::Write(WriteError::Changed) => {
                Self::new(StatusCode::CONFLICT, "changed", "the config file is being changed", detail)
            }
            Refused::Write(WriteError::Io { .. }) => {
                Self::internal(format!("the config file can't be written: {detail}"))
            }
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), "path", "the path can't be read", rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        // For the audit log.
        response.extensions_mut().insert(self);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
