//! What is answered. Everything here is public: chains, facts, numbers.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Blob, Part, Use};
use crate::certs::inspect::Facts;
use crate::certs::store::{Activation, Description, Rollback, StoreError};
use crate::certs::time::Timestamp;

/// The place of a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// In use from now on.
    Active,
    /// Waits to be tried and activated.
    Staged,
    /// A request that waits for its certificate.
    Requested,
}

/// What generate, import and stage made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    /// The certificate's name, under which the API has it, too.
    pub id: String,
    /// The new generation's number.
    pub generation: u32,
    /// Its place.
    pub state: Standing,
    /// Its subject.
    pub subject: String,
    /// When it was made.
    pub created: Timestamp,
    /// The last second it is valid; none for a request.
    pub expires: Option<Timestamp>,
    /// The staged generation that it replaced, and that was never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u32>,
    /// The public chain, or the request for the CA.
    pub pem: String,
    /// What the certificate cannot be used for, and how it differs from what was brought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Every certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// By name.
    pub certificates: Vec<Summary>,
}

/// One line of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The certificate's name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The active generation.
    pub active: Option<u32>,
    /// The generation that waits to be activated.
    pub staged: Option<u32>,
    /// The generation that a rollback brings back.
    #[serde(default)]
    pub previous: Option<u32>,
    /// Whether a request waits for its certificate.
    #[serde(default)]
    pub requested: bool,
    /// The active generation's subject; the staged one's, or the request's, while nothing is active.
    pub subject: Option<String>,
    /// Its alternative names.
    #[serde(default)]
    pub sans: Vec<String>,
    /// Its key.
    pub key_type: Option<String>,
    /// Whether its private key is there.
    #[serde(default)]
    pub has_key: bool,
    /// The last second it is valid.
    pub not_after: Option<Timestamp>,
    /// Whole days until then.
    pub days_left: Option<i64>,
    /// Whether its end is near (30 days, or the last third of a shorter validity), or past.
    #[serde(default)]
    pub ends_soon: bool,
    /// What uses it.
    #[serde(default)]
    pub used_by: Vec<Use>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Summary {
    pub(super) fn of(description: &Description, used_by: Vec<Use>, now: SystemTime) -> Self {
        let main = description.main();
        let facts = main.and_then(|main| main.facts());
        let request = description.request.as_ref();
        let subject = main.map(|main| main.subject().to_owned());
        Self {
            name: description.name.clone(),
            description: description.description.clone(),
            active: description.active,
            staged: description.staged,
            previous: description.previous,
            requested: request.is_some(),
            subject: subject.or_else(|| request.map(|request| request.subject.clone())),
            sans: facts.map(|facts| facts.sans.clone()).unwrap_or_default(),
            key_type: facts.map(|facts| facts.key_type.clone()),
            has_key: main.is_some_and(|main| main.has_key()),
            not_after: main.map(|main| main.not_after()),
            days_left: main.and_then(|main| main.days_left()),
            ends_soon: facts.is_some_and(|facts| facts.ends_soon(now)),
            used_by,
            problem: main.and_then(|main| main.problem()).map(str::to_owned),
        }
    }

    pub(super) fn broken(name: String, error: &StoreError) -> Self {
        Self {
            name,
            description: String::new(),
            active: None,
            staged: None,
            previous: None,
            requested: false,
            subject: None,
            sans: Vec::new(),
            key_type: None,
            has_key: false,
            not_after: None,
            days_left: None,
            ends_soon: false,
            used_by: Vec::new(),
            problem: Some(error.to_string()),
        }
    }
}

/// All that is known of a certificate, and what uses it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// What the store knows.
    #[serde(flatten)]
    pub certificate: Description,
    /// What uses it.
    pub used_by: Vec<Use>,
    /// The active generation's chain; the staged one's while nothing is active.
    pub pem: Option<String>,
    /// The OCSP response that a running instance staples to it, if it is to staple one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<Value>,
}

/// The public part of a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Exported {
    /// The certificate's name.
    pub name: String,
    /// Which part.
    pub part: Part,
    /// PEM, or DER.
    pub content: Blob,
}

/// What was deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deleted {
    /// The certificate's name.
    pub deleted: String,
}

/// What an activation did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Activated {
    /// The certificate's name.
    pub name: String,
    /// The generations.
    #[serde(flatten)]
    pub activation: Activation,
    /// Whether no trial spoke for it.
    pub forced: bool,
    /// Whether a running instance presents it from now on; false where nothing that runs uses it.
    pub live: bool,
}

/// What a rollback did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RolledBack {
    /// The certificate's name.
    pub name: String,
    /// The generations.
    #[serde(flatten)]
    pub rollback: Rollback,
    /// Whether a running instance presents it from now on; false where nothing that runs uses it.
    pub live: bool,
}

/// What was ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Retired {
    /// The certificate's name.
    pub name: String,
    /// The generation that was the previous one.
    pub retired: u32,
}

/// A certificate that a CA of the store has signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SignedCertificate {
    /// The CA.
    pub ca: String,
    /// Its content.
    #[serde(flatten)]
    pub facts: Facts,
    /// The certificate with its chain, PEM.
    pub pem: String,
}
