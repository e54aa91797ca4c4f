//! A consumer and a credential, as they are kept: text in, text out.
//!
//! A key is kept as its SHA-256 alone. It has so much entropy that its digest can't be turned back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::Claim;
use super::state::State;
use crate::certs::time::Timestamp;

/// A caller of APIs: a file `_consumers/NAME.toml` of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consumer {
    /// Its name; backends and the access log get it.
    pub name: String,
    /// For people; perhaps empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// An address to write to; perhaps empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub contact: String,
    /// When it was added.
    pub created: Timestamp,
    /// A request by the page for consumers has added it: name and contact are a stranger's words.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub portal: bool,
}

/// What a consumer calls an API with: a file `_credentials/NAME.toml` of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    /// Its name, which no other credential has.
    pub name: String,
    /// Whose it is.
    pub consumer: String,
    /// The name of its definition in the config.
    pub definition: String,
    /// What it is for; perhaps empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was requested.
    pub created: Timestamp,
    /// Pages that may use it, each `https://host[:port]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// The request (PKCS#10, PEM) that its certificate is made from, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// The names by which a client's certificate is recognised, in place of a certificate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<CertificateNames>,
    /// The code of the request, if it came by the page for consumers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// How far it is.
    pub state: State,
    /// Its keys: the last one, and one before it that is valid for a while yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<KeyRecord>,
    /// Its certificates: the last one, and others before it that are valid for a while yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate: Vec<CertificateRecord>,
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRecord {
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it does not count, if another one took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What is kept of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateRecord {
    /// SHA-256 of the whole certificate in lower-case hexadecimal.
    pub sha256: String,
    /// Its subject, for people.
    pub subject: String,
    /// The last second of its validity.
    pub not_after: Timestamp,
    /// Which side made it.
    pub from: CertificateOrigin,
    /// From when on it does not count, if another one took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The certificate with its chain, of the last one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pem: String,
}

/// Which side made a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CertificateOrigin {
    /// The definition's CA signed it.
    Issued,
    /// The consumer brought it.
    Own,
}

/// How a client's certificate is recognised that is not known itself. It counts only where the listener has verified it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateNames {
    /// The issuer by RFC 4514: `CN=Partner CA,O=Partner`.
    pub issuer: String,
    /// One of its alternative names: `DNS:…`, `URI:…`, `email:…`, `IP:…`.
    pub san: String,
}

/// Most keys that are kept.
const MAX_KEYS: usize = 3;
/// Most certificates that are kept.
const MAX_CERTIFICATES: usize = 4;

impl Consumer {
    /// The consumer in `text`, in the file of `name`; or what is wrong with it.
    pub(crate) fn parse(text: &str, name: &str) -> Result<Self, String> {
        let consumer: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if consumer.name == name { Ok(consumer) } else { Err(other_name(&consumer.name)) }
    }

    pub(crate) fn to_text(&self) -> Result<String, String> {
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!("# Written by ringate; change it with `ringate consumer`.\n\n{text}"))
    }
}

impl Credential {
    /// The credential in `text`, in the file of `name`; or what is wrong with it.
    pub(crate) fn parse(text: &str, name: &str) -> Result<Self, String> {
        let credential: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if credential.name != name {
            return Err(other_name(&credential.name));
        }
        let digests = credential.key.iter().map(|key| &key.sha256);
        let digests = digests.chain(credential.claim.iter().map(|it| &it.sha256));
        let mut digests = digests.chain(credential.certificate.iter().map(|it| &it.sha256));
        match digests.find(|digest| unhex(digest).is_none()) {
            None => Ok(credential),
            Some(_) => Err("a `sha256` is not 64 hexadecimal digits".to_owned()),
        }
    }

    pub(crate) fn to_text(&self) -> Result<String, String> {
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!("# Written by ringate; change it with `ringate credential`. No key is in it.\n\n{text}"))
    }

    /// Puts a key in the place of the last one, which counts for `overlap` yet.
    pub(super) fn put_key(&mut self, sha256: String, now: Timestamp, overlap: Duration) {
        let until = later(now, overlap);
        for key in &mut self.key {
            key.until = Some(key.until.map_or(until, |before| before.min(until)));
        }
        self.key.retain(|key| key.until.is_none_or(|until| until > now));
        self.key.push(KeyRecord { sha256, created: now, until: None });
        let surplus = self.key.len().saturating_sub(MAX_KEYS);
        self.key.drain(..surplus);
    }

    /// Puts a certificate in the place of the last one, which counts for `overlap` yet.
    pub(super) fn put_certificate(&mut self, made: CertificateRecord, now: Timestamp, overlap: Duration) {
        let until = later(now, overlap);
        self.certificate.retain(|it| it.sha256 != made.sha256);
        for before in &mut self.certificate {
            before.until = Some(before.until.map_or(until, |earlier| earlier.min(until)));
            before.pem.clear();
        }
        self.certificate.retain(|it| it.not_after > now && it.until.is_none_or(|until| until > now));
        self.certificate.push(made);
        let surplus = self.certificate.len().saturating_sub(MAX_CERTIFICATES);
        self.certificate.drain(..surplus);
    }
}

/// The time `duration` after `now`.
pub(super) fn later(now: Timestamp, duration: Duration) -> Timestamp {
    now.plus(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn other_name(name: &str) -> String {
    format!("it names {name:?}; its file must have the same name")
}
