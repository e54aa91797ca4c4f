//! Whether the backends of an upstream are verified, and until when their certificates are valid: in status and metrics.

use std::time::SystemTime;

use serde::Serialize;

use super::exposition::{Text, label};
use crate::certs::Timestamp;
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::server::Deployment;

/// Of an upstream.
#[derive(Serialize)]
pub(super) struct Verification {
    /// `verified`, `unverified` (`insecure_skip_verify`), `failed`: at least one is not verified, or `unknown` yet.
    state: &'static str,
    /// When the first of its backends' certificates ends.
    valid_until: Option<Timestamp>,
    days_left: Option<i64>,
    endpoints: Vec<Verified>,
}

/// Of an endpoint.
#[derive(Serialize)]
struct Verified {
    endpoint: String,
    address: Option<String>,
    /// Null: nothing is known yet.
    verified: Option<bool>,
    /// Why not.
    reason: Option<String>,
    checked: Option<Timestamp>,
    /// `probe` or `traffic`.
    by: Option<&'static str>,
    subject: Option<String>,
    issuer: Option<String>,
    valid_until: Option<Timestamp>,
    days_left: Option<i64>,
}

impl Verification {
    /// `None`: it speaks no TLS.
    pub(super) fn of(deployment: &Deployment, upstream: &Upstream) -> Option<Self> {
        let tls = upstream.tls.as_ref()?;
        let of = |endpoint: &Endpoint| Verified::of(deployment, endpoint, tls.verifies);
        let endpoints: Vec<Verified> = upstream.endpoints.iter().map(of).collect();
        let all = |verified: Option<bool>| {
            !endpoints.is_empty() && endpoints.iter().all(|it| it.verified == verified)
        };
        let state = match () {
            () if !tls.verifies => "unverified",
            () if endpoints.iter().any(|it| it.verified == Some(false)) => "failed",
            () if all(Some(true)) => "verified",
            () => "unknown",
        };
        let valid_until = endpoints.iter().filter_map(|it| it.valid_until).min();
        let days_left = valid_until.map(|end| end.days_from(SystemTime::now()));
        Some(Self { state, valid_until, days_left, endpoints })
    }
}

impl Verified {
    fn of(deployment: &Deployment, endpoint: &Endpoint, verifies: bool) -> Self {
        let found = deployment.verifications.of(endpoint);
        let leaf = found.as_ref().and_then(|found| found.leaf.as_ref());
        let valid_until = leaf.map(|leaf| leaf.not_after);
        let reason = found.as_ref().and_then(|found| found.fault.clone());
        let unverified = (found.is_some() && !verifies).then(|| "insecure_skip_verify is set".to_owned());
        Self {
            endpoint: endpoint.name.clone(),
            address: endpoint.address.as_ref().map(ToString::to_string),
            verified: found.as_ref().map(|found| found.fault.is_none() && verifies),
            reason: reason.or(unverified),
            checked: found.as_ref().map(|found| found.at.into()),
            by: found.as_ref().map(|found| found.by),
            subject: leaf.map(|leaf| leaf.subject.clone()),
            issuer: leaf.map(|leaf| leaf.issuer.clone()),
            valid_until,
            days_left: valid_until.map(|end| end.days_from(SystemTime::now())),
        }
    }
}

/// Adds what is known of each endpoint.
#[allow(clippy::cast_precision_loss)] // a time in seconds has 31 bits
pub(super) fn metrics(deployment: &Deployment, text: &mut Text) {
    let running = deployment.server.snapshot.load();
    let all: Vec<(String, Verified)> = running
        .upstreams
        .iter()
        .filter_map(|upstream| Some((upstream, upstream.tls.as_ref()?)))
        .flat_map(|(upstream, tls)| upstream.endpoints.iter().map(move |endpoint| (upstream, tls, endpoint)))
        .map(|(upstream, tls, endpoint)| {
            let found = Verified::of(deployment, endpoint, tls.verifies);
            let address = found.address.as_ref().filter(|address| **address != found.endpoint);
            let address =
                address.map(|address| format!(",{}", label("address", address))).unwrap_or_default();
            let labels = format!(
                "{},{}{address}",
                label("upstream", &upstream.name),
                label("endpoint", &found.endpoint)
            );
            (labels, found)
        })
        .collect();
    let help = "1: the backend was verified when it was seen last, by traffic or a probe; 0: it was not.";
    let known =
        all.iter().filter_map(|(labels, it)| Some((labels.clone(), f64::from(u8::from(it.verified?)))));
    text.family("gauge", "backend_verified", help, known);
    let help = "When the certificate ends that the backend presented last, by traffic or a probe, in seconds since 1970.";
    let ends = all.iter().filter_map(|(labels, it)| Some((labels.clone(), it.valid_until?.unix() as f64)));
    text.family("gauge", "backend_certificate_not_after_seconds", help, ends);
}
