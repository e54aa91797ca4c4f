//! What can be asked for about consumers and credentials, and the answers. The command line and the admin API use the same
//! types; an [`Order`] is carried out by a [`Desk`](super::Desk).
//!
//! No answer but that of an issue or a renewal has a key, and that is the only time it can be seen.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::credential::{CertificateNames, CertificateOrigin, Consumer, Credential};
use super::definition::Definition;
use super::state::Standing;
use crate::certs::time::Timestamp;

/// Something to do with consumers and their credentials.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// A consumer is added.
    AddConsumer(AddConsumer),
    /// Title or contact of a consumer are changed.
    ChangeConsumer(String, ChangeConsumer),
    /// All consumers, by name.
    ListConsumers,
    /// One consumer with its credentials.
    ShowConsumer(String),
    /// A consumer is deleted with its credentials. `force`: also while some are in force.
    DeleteConsumer {
        /// Its name.
        name: String,
        /// See above.
        force: bool,
    },
    /// The kinds of credentials that can be requested.
    ListDefinitions,
    /// A credential is requested.
    Request(Request),
    /// All credentials that a filter lets pass, by name.
    List(Filter),
    /// One credential.
    Show(String),
    /// A request is approved.
    Approve(String),
    /// A request is refused.
    Deny(String, Reason),
    /// What was approved is issued.
    Issue(String, Issue),
    /// Out of force for a while.
    Suspend(String, Reason),
    /// In force again.
    Resume(String),
    /// A later end, and perhaps a new key or certificate.
    Renew(String, Renew),
    /// Ended for good.
    Revoke(String, Reason),
    /// The record of a credential that is not in force is deleted.
    Delete(String),
}

impl Order {
    /// Whether it changes anything.
    pub(crate) fn changes(&self) -> bool {
        !matches!(
            self,
            Self::ListConsumers
                | Self::ShowConsumer(_)
                | Self::ListDefinitions
                | Self::List(_)
                | Self::Show(_)
        )
    }
}

/// A new consumer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddConsumer {
    /// `[a-z0-9][a-z0-9._-]*`, at most 64 characters.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub title: String,
    /// An address to write to.
    #[serde(default)]
    pub contact: String,
}

/// What changes of a consumer; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeConsumer {
    /// For people.
    pub title: Option<String>,
    /// An address to write to.
    pub contact: Option<String>,
}

/// A request for a credential.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// For which consumer.
    pub consumer: String,
    /// Of which kind: the name of a `[credentials.NAME]`.
    pub definition: String,
    /// Its name; left out: made of consumer and definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Pages that may use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// A request (PKCS#10, PEM) for the definition's CA to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// The consumer's own certificate, PEM, which is recognised by its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The names by which the consumer's own certificates are recognised, in the place of one certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<CertificateNames>,
}

/// Which credentials are listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Those of this consumer.
    pub consumer: Option<String>,
    /// Those of this definition.
    pub definition: Option<String>,
    /// Those in this state.
    pub state: Option<Standing>,
}

/// Why something ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// In words; perhaps empty.
    #[serde(default)]
    pub reason: String,
}

/// What an approved credential is issued with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issue {
    /// A CSR in the place of the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// The consumer's own certificate, in the place of the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// What a renewal renews besides the end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renew {
    /// Make a new key.
    #[serde(default)]
    pub new_key: bool,
    /// A CSR for a new certificate; left out: the one of before is signed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// The consumer's new own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// For how many seconds the key and the certificate of before count beside the new ones. Default 0.
    #[serde(default)]
    pub overlap_seconds: u64,
}

/// The answer to an order.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Consumer(ConsumerInfo),
    Consumers { consumers: Vec<ConsumerInfo> },
    Deleted { deleted: String, credentials: Vec<String> },
    Definitions { definitions: Vec<DefinitionInfo> },
    Credential(Box<CredentialInfo>),
    Credentials { credentials: Vec<CredentialInfo> },
    Issued(Box<Issued>),
}

/// A consumer, as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ConsumerInfo {
    /// The name once more, as answers about certificates have it.
    pub id: String,
    pub name: String,
    pub title: String,
    pub contact: String,
    pub created: Timestamp,
    /// A request by the page for consumers has added it: title and contact are a stranger's words.
    #[serde(default)]
    pub portal: bool,
    /// Its credentials: names, kinds and states.
    pub credentials: Vec<CredentialSummary>,
}

/// A credential in a list of its consumer's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CredentialSummary {
    pub name: String,
    pub definition: String,
    pub state: Standing,
    pub expires: Option<Timestamp>,
}

/// A definition, as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DefinitionInfo {
    pub name: String,
    pub title: String,
    pub api_key: bool,
    pub mtls: bool,
    pub javascript_origins: bool,
    /// The validity in seconds; none: no end.
    pub expiry_seconds: Option<u64>,
    pub suspendable: bool,
    pub approval: String,
    pub issuer: Option<String>,
}

/// A credential, as it is shown: no key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CredentialInfo {
    /// The name once more, as answers about certificates have it.
    pub id: String,
    /// The name, which the calls take.
    pub name: String,
    pub consumer: String,
    pub definition: String,
    pub description: String,
    pub state: Standing,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Why it is denied, suspended or revoked; perhaps empty.
    pub reason: String,
    pub created: Timestamp,
    pub issued: Option<Timestamp>,
    pub expires: Option<Timestamp>,
    /// Whole days until then; negative: it has expired.
    pub days_left: Option<i64>,
    pub origins: Vec<String>,
    /// Whether a key belongs to it, and since when.
    pub api_key: Option<Timestamp>,
    /// Whether a CSR waits, or was signed.
    pub csr: bool,
    /// The certificates that count, the last one first.
    pub certificates: Vec<CertificateInfo>,
    pub names: Option<CertificateNames>,
    /// It was requested by the page for consumers: its key is for the holder of the request's code.
    #[serde(default)]
    pub portal: bool,
    /// Whether the config still has its definition.
    pub defined: bool,
    /// Whether it may be suspended.
    pub suspendable: bool,
}

/// A certificate of a credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CertificateInfo {
    pub sha256: String,
    pub subject: String,
    pub not_after: Timestamp,
    pub from: CertificateOrigin,
    /// From when on it does not count, if another one took its place.
    pub until: Option<Timestamp>,
    /// The certificate with its chain; empty for those before the last one.
    pub pem: String,
}

/// A credential with what was just made for it. The key is not kept, and is in no other answer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Issued {
    #[serde(flatten)]
    pub credential: CredentialInfo,
    /// The API key, shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The certificate with its chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What the consumer should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("credential", &self.credential.name).finish_non_exhaustive()
    }
}

impl DefinitionInfo {
    pub(super) fn of(definition: &Definition) -> Self {
        Self {
            name: definition.name.clone(),
            title: definition.title.clone(),
            api_key: definition.api_key,
            mtls: definition.mtls,
            javascript_origins: definition.javascript_origins,
            expiry_seconds: definition.expiry.as_ref().map(Duration::as_secs),
            suspendable: definition.suspendable,
            approval: definition.approval.word().to_owned(),
            issuer: definition.issuer.clone(),
        }
    }
}

impl CredentialSummary {
    fn of(credential: &Credential, now: Timestamp) -> Self {
        Self {
            name: credential.name.clone(),
            definition: credential.definition.clone(),
            state: credential.state.standing(now),
            expires: credential.state.term().and_then(|term| term.expires),
        }
    }
}

impl ConsumerInfo {
    pub(super) fn of<'c>(
        consumer: &Consumer,
        credentials: impl Iterator<Item = &'c Credential>,
        now: Timestamp,
    ) -> Self {
        Self {
            id: consumer.name.clone(),
            name: consumer.name.clone(),
            title: consumer.title.clone(),
            contact: consumer.contact.clone(),
            created: consumer.created,
            portal: consumer.portal,
            credentials: credentials.map(|credential| CredentialSummary::of(credential, now)).collect(),
        }
    }
}

impl CredentialInfo {
    pub(super) fn of(credential: &Credential, definition: Option<&Definition>, now: Timestamp) -> Self {
        let term = credential.state.term();
        let counts = |until: &Option<Timestamp>| until.is_none_or(|until| until > now);
        let certificates = credential.certificate.iter().rev().filter(|it| counts(&it.until));
        let expires = term.and_then(|term| term.expires);
        Self {
            id: credential.name.clone(),
            name: credential.name.clone(),
            consumer: credential.consumer.clone(),
            definition: credential.definition.clone(),
            description: credential.description.clone(),
            state: credential.state.standing(now),
            since: credential.state.since(),
            reason: credential.state.reason().to_owned(),
            created: credential.created,
            issued: term.map(|term| term.issued),
            expires,
            days_left: expires.map(|expires| expires.days_from(SystemTime::from(now))),
            origins: credential.origins.clone(),
            api_key: credential.key.last().map(|key| key.created),
            csr: credential.csr.is_some(),
            certificates: certificates
                .map(|it| CertificateInfo {
                    sha256: it.sha256.clone(),
                    subject: it.subject.clone(),
                    not_after: it.not_after,
                    from: it.from,
                    until: it.until,
                    pem: it.pem.clone(),
                })
                .collect(),
            names: credential.names.clone(),
            portal: credential.claim.is_some(),
            defined: definition.is_some(),
            suspendable: definition.is_some_and(|definition| definition.suspendable),
        }
    }
}
