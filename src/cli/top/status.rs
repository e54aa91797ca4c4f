//! What is shown of `GET /v1/status`: names, states, certificates. Keys that are missing have their defaults, so that an
//! instance of another version can be looked at.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) driver: String,
    pub(super) workers: Vec<Worker>,
    pub(super) uptime_seconds: u64,
    pub(super) draining: bool,
    pub(super) config: Config,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) version: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Worker {
    pub(super) cpu: u64,
    pub(super) stuck: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) addresses: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Address {
    pub(super) endpoint: String,
    pub(super) address: Option<String>,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) drain: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Certificate {
    pub(super) name: String,
    pub(super) generation: u64,
    pub(super) not_after: String,
    pub(super) days_left: i64,
    pub(super) affects: Vec<String>,
    pub(super) rotation: Rotation,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rotation {
    pub(super) safe_to_revoke: Option<SafeToRevoke>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SafeToRevoke {
    pub(super) generation: u64,
    pub(super) safe: bool,
    pub(super) reasons: Vec<String>,
}
