//! `[telemetry]`: where traces go.

use std::time::Duration;

use super::{At, TrustRef};
use crate::config::backend_url::BackendUrl;

/// `telemetry.otlp`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// `endpoint`: the collector.
    pub(crate) endpoint: At<BackendUrl>,
    /// `sample`, in millionths. Default 0.01.
    pub(crate) millionths: u32,
    /// `headers`: fields of each request to the collector.
    pub(crate) headers: Vec<(String, String)>,
    /// `trust`: what an https collector is checked against. Default: the system's roots.
    pub(crate) trust: Vec<At<TrustRef>>,
    /// `service`: `service.name`. Default `ringate`.
    pub(crate) service: String,
    /// `timeout`. Default 10 s.
    pub(crate) timeout: Duration,
}
