//! What a call is about: the part of the state whose version is its ETag, and which the audit log has before and after.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde_json::Value;

use crate::base::text::masked;
use crate::certs::Store;
use crate::certs::consumers::Order;
use crate::config::edit::{self, Place};
use crate::server::{Deployment, load, routes};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A part of the config file.
    Config(Place),
    /// A route, by its id or number.
    Route(String),
    /// All certificates of the store.
    Certificates,
    /// One of them.
    Certificate(String),
    /// All consumers.
    Consumers,
    /// One of them, without its credentials.
    Consumer(String),
    /// All credentials of consumers.
    Credentials,
    /// One of them.
    Credential(String),
    /// The config that runs, as a whole.
    Running,
}

/// A part of the state at one moment.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Another one for any other content.
    pub(super) version: String,
    /// The content, without secrets.
    pub(super) shown: Value,
}

impl Subject {
    /// Of the path of a request. `None`: the call is about nothing that can be changed by a call.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/v1/")?.split('/').map(decoded);
        let (kind, name) = (parts.next()?, parts.next());
        Some(match (&*kind, name) {
            ("upstreams", None) => Self::Config(Place::Upstreams),
            // An overlay is part of its upstream.
            ("upstreams", Some(name)) => {
                Self::Config(Place::Upstream(name.split('@').next().unwrap_or_default().to_owned()))
            }
            ("listeners", None) => Self::Config(Place::Listeners),
            ("listeners", Some(name)) => Self::Config(Place::Listener(name)),
            ("routes", None) => Self::Config(Place::Routes),
            ("routes", Some(name)) => Self::Route(name),
            ("apis", _) | ("reload", None) | ("plan", None) => Self::Running,
            ("certificates", None) => Self::Certificates,
            // `POST /v1/certificates/import` makes one.
            ("certificates", Some(name)) if name == "import" => Self::Certificates,
            ("certificates", Some(name)) => Self::Certificate(name),
            ("consumers", None) => Self::Consumers,
            ("consumers", Some(name)) => Self::Consumer(name),
            ("credentials", None) => Self::Credentials,
            ("credentials", Some(name)) => Self::Credential(name),
            _ => return None,
        })
    }

    /// Its state now; `None`: there is no such thing. Reads the disk.
    pub(super) fn state(&self, deployment: &Deployment) -> Option<State> {
        let place = match self {
            Self::Config(place) => place.clone(),
            Self::Route(name) => Place::Route(routes::position(&deployment.plan(), name)?),
            Self::Running => {
                let sources = load::read(deployment.file()).ok()?;
                let texts: Vec<&str> = sources.files().iter().map(|file| file.text.as_str()).collect();
                // Of one file, as `sha256sum` has it.
                let version = hex(texts.join("\0").as_bytes());
                return Some(State { shown: serde_json::json!({ "config_sha256": version }), version });
            }
            Self::Certificates => {
                let store = Store::open(&deployment.plan().store).ok()?;
                let ends = store.ends();
                let names: Vec<_> = ends.iter().map(|(name, active, _)| (name, active)).collect();
                let shown = serde_json::to_value(names).ok()?;
                return Some(State { version: hex(shown.to_string().as_bytes()), shown });
            }
            Self::Certificate(name) => {
                let store = Store::open(&deployment.plan().store).ok()?;
                let known = store.describe(name, SystemTime::now()).ok()?;
                let mut shown = serde_json::to_value(known).ok()?;
                without_what_passes(&mut shown);
                return Some(State { version: hex(shown.to_string().as_bytes()), shown });
            }
            Self::Consumers | Self::Credentials => {
                let consumers = &deployment.current().made.consumers;
                let names = consumers.states(matches!(self, Self::Credentials));
                // There may be 100,000: the audit log has how many.
                let shown = serde_json::json!({ "count": names.len() });
                return Some(State { version: hex(format!("{names:?}").as_bytes()), shown });
            }
            Self::Consumer(name) => return of_order(deployment, Order::ShowConsumer(name.clone())),
            Self::Credential(name) => return of_order(deployment, Order::Show(name.clone())),
        };
        let text = load::read(deployment.file()).ok()?;
        let section = edit::section(&text, &place)?;
        let shown = edit::section(&text.map(masked), &place).unwrap_or(toml::Value::Boolean(false));
        Some(State {
            version: hex(format!("{section:?}").as_bytes()),
            shown: serde_json::to_value(shown).unwrap_or_default(),
        })
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Config(Place::Upstreams) => "upstreams".to_owned(),
            Self::Config(Place::Upstream(name)) => format!("upstream {name}"),
            Self::Config(Place::Listeners) => "listeners".to_owned(),
            Self::Config(Place::Listener(name)) => format!("listener {name}"),
            Self::Config(Place::Routes) => "routes".to_owned(),
            Self::Config(Place::Route(at)) => format!("route {at}"),
            Self::Route(name) => format!("route {name}"),
            Self::Certificates => "certificates".to_owned(),
            Self::Certificate(name) => format!("certificate {name}"),
            Self::Consumers => "consumers".to_owned(),
            Self::Consumer(name) => format!("consumer {name}"),
            Self::Credentials => "credentials".to_owned(),
            Self::Credential(name) => format!("credential {name}"),
            Self::Running => "config".to_owned(),
        }
    }
}

/// The answer to an order that shows one consumer or credential.
fn of_order(deployment: &Deployment, order: Order) -> Option<State> {
    let mut shown = serde_json::to_value(deployment.consumers(order).ok()?).ok()?;
    without_what_passes(&mut shown);
    if let Value::Object(fields) = &mut shown {
        // Of a consumer: they have states of their own.
        fields.remove("credentials");
    }
    Some(State { version: hex(shown.to_string().as_bytes()), shown })
}

/// The first 16 digits of the SHA-256.
pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&digest(&SHA256, bytes).as_ref()[..8])
}

/// Takes out what changes with the time alone, and what is too long to be shown.
fn without_what_passes(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !matches!(name.as_str(), "days_left" | "pem"));
            fields.values_mut().for_each(without_what_passes);
        }
        Value::Array(entries) => entries.iter_mut().for_each(without_what_passes),
        _ => {}
    }
}

/// A segment of a path without its percent-encoding (RFC 3986 §2.1).
fn decoded(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_subject() {
        let upstream = |name: &str| Some(Subject::Config(Place::Upstream(name.to_owned())));
        assert_eq!(Subject::of("/v1/upstreams/app"), upstream("app"));
        assert_eq!(Subject::of("/v1/upstreams/a%20b@production/endpoints/x%2"), upstream("a b"));
        assert_eq!(Subject::of("/v1/upstreams"), Some(Subject::Config(Place::Upstreams)));
        assert_eq!(Subject::of("/v1/certificates/a/stage"), Some(Subject::Certificate("a".to_owned())));
        assert_eq!(Subject::of("/v1/certificates/import"), Some(Subject::Certificates));
        assert_eq!(Subject::of("/v1/status"), None);
        assert_eq!(Subject::of("/metrics"), None);
    }
}
