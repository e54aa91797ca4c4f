//! `route.auth`: the proof of identity that a client must give.

use std::path::PathBuf;
use std::time::Duration;

use super::At;
use crate::auth::jwt::{TokenPolicy, TokenSource};

/// `auth` of a `[[route]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// `auth.basic`
    pub basic: Option<BasicAuth>,
    /// `auth.jwt`
    pub jwt: Option<TokenAuth>,
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
