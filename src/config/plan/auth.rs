//! `route.auth`: the proof of identity that a client must give.

use std::path::PathBuf;
use std::time::Duration;

use super::{AnyOr, At};
use crate::auth::jwt::{TokenPolicy, TokenSource};

/// `auth` of a `[[route]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// `auth.basic`
    pub basic: Option<BasicAuth>,
    /// `auth.jwt`
    pub jwt: Option<TokenAuth>,
    /// `auth.forward`
    pub forward: Option<ForwardAuth>,
}

/// `auth.forward`: a service that is asked about each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    /// `upstream`, as an index into [`Plan::upstreams`](super::Plan::upstreams).
    pub upstream: usize,
    /// `path`, perhaps with a query.
    pub path: String,
    /// `method`
    pub method: AskMethod,
    /// `request_headers`: the client's fields that the service gets.
    pub request_headers: AnyOr<String>,
    /// `response_headers`: the service's fields that the backend gets.
    pub response_headers: Vec<String>,
    /// `refusal_headers`: the service's fields that the client gets with a refusal.
    pub refusal_headers: Vec<String>,
    /// `success_headers`: the service's fields that the client gets with the backend's response.
    pub success_headers: Vec<String>,
    /// `timeout`: of the whole answer.
    pub timeout: Duration,
    /// `body_bytes`: of a refusal, at most.
    pub body_bytes: usize,
    /// `on_failure`
    pub on_failure: OnFailure,
}

/// `auth.forward.method`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AskMethod {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST, with an empty body
    Post,
}

/// `auth.forward.on_failure`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The request is refused: 503.
    #[default]
    Deny,
    /// It passes.
    Allow,
}

/// `auth.basic`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// `file`: users with the hashes of their passwords.
    pub file: At<PathBuf>,
    /// `realm`
    pub realm: String,
    /// `forward`: the field that gives the backend the user's name.
    pub forward: Option<String>,
    /// `forward_authorization`: whether the password goes on to the backend.
    pub forward_authorization: bool,
}

/// `auth.jwt`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAuth {
    /// `jwks`
    pub keys: At<KeySource>,
    /// `issuer`, `audience`, `algorithms`, `leeway`, `claims`
    pub policy: TokenPolicy,
    /// `token`
    pub source: TokenSource,
    /// `forward`: fields for the backend, each with the claim that is its value.
    pub forward: Vec<(String, String)>,
    /// `forward_token`: whether the token goes on to the backend.
    pub forward_token: bool,
}

/// Where the keys of an issuer are. Routes with the same share them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySource {
    /// The file, or the URL.
    pub at: KeyLocation,
    /// Whether shared secrets count.
    pub secrets: bool,
}

/// `auth.jwt.jwks`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyLocation {
    /// A file. It is read again when it changes.
    File(PathBuf),
    /// An https URL.
    Url {
        /// The URL.
        url: String,
        /// `trust`: what its server's certificate is checked against; empty: the system's CAs.
        trust: Vec<String>,
        /// `refresh`: how often it is fetched.
        refresh: Duration,
    },
}
