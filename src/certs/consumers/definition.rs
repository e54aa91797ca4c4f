//! `[credentials.NAME]`: a kind of credential that consumers can ask for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A kind of credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name in the config.
    pub name: String,
    /// `title`: for people. Default: the name.
    pub title: String,
    /// `api_key`: a key is issued.
    pub api_key: bool,
    /// `mtls`: a client certificate belongs to it. With a key: the key counts only together with the certificate.
    pub mtls: bool,
    /// `javascript_origins`: its consumer may name origins, which are its CORS policy.
    pub javascript_origins: bool,
    /// `expiry`: how long it is valid. `None`: until it is revoked.
    pub expiry: Option<Duration>,
    /// `suspendable`. Default true.
    pub suspendable: bool,
    /// `approval`
    pub approval: Approval,
    /// `issuer`: the CA of the store that signs certificates requested by CSR. `None`: consumers bring their own.
    pub issuer: Option<String>,
}

/// `approval` of a definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// A person approves each request.
    #[default]
    Manual,
    /// A request is issued at once.
    Automatic,
}

impl Approval {
    /// As it is written.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic => "automatic",
        }
    }
}
