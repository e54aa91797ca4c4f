//! What is known of backends and their TLS, endpoint by endpoint, for status.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::certs::{Facts, Timestamp};
use crate::proxy::upstream::check::CheckState;
use crate::proxy::upstream::config::Upstream;
use crate::proxy::upstream::config::{self};
use crate::proxy::upstream::endpoint::{Failed, Handshaked, Health};
use crate::tls::alert_name;
use crate::tls::handshake::ClientAuth;

/// An upstream's TLS.
#[derive(Serialize)]
pub(super) struct Tls {
    /// False: `insecure_skip_verify`.
    verified: bool,
    require_client_auth: bool,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    /// As the config names it.
    endpoint: String,
    /// None: the name does not resolve.
    address: Option<String>,
    /// The last handshake that was finished.
    handshake: Option<Handshake>,
    /// The last one that failed, or was undone right after it.
    failure: Option<Failure>,
    /// All that failed.
    failures: Vec<Failures>,
}

#[derive(Serialize)]
struct Handshake {
    at: Timestamp,
    server_name: String,
    version: &'static str,
    cipher: &'static str,
    key_exchange: Option<&'static str>,
    resumed: bool,
    #[serde(flatten)]
    ours: Ours,
    chain: Vec<Certificate>,
}

#[derive(Serialize)]
struct Failure {
    at: Timestamp,
    server_name: String,
    reason: &'static str,
    text: String,
    mend: &'static str,
    /// The alert that the backend sent.
    alert_received: Option<&'static str>,
    /// The alert that we sent.
    alert_sent: Option<&'static str>,
    #[serde(flatten)]
    ours: Ours,
    chain: Vec<Certificate>,
}

/// One address of an endpoint's name.
#[derive(Serialize)]
pub(super) struct Address {
    /// As the config names it.
    endpoint: String,
    /// None: the name does not resolve.
    address: Option<String>,
    /// `unknown` until a worker has tried it, then `up` or `down`, as it was found last; `ejected` for a time.
    state: &'static str,
    /// Since when.
    since: Option<Timestamp>,
    /// What went wrong, if it is down or ejected.
    pub(super) reason: Option<String>,
    /// How often it was ejected.
    ejections: u64,
    /// Its share of the traffic.
    weight: u32,
    /// Whether it gets no new requests, but for those of sessions at it.
    drain: bool,
    /// Whether it is used only where no other one can be.
    backup: bool,
    /// Exchanges at it now, over all workers.
    in_flight: u64,
    /// Requests and tcp connections that went there, repeated ones each time.
    requests: u64,
    /// The last health check, if there was one.
    check: Option<Check>,
}

/// A health check.
#[derive(Serialize)]
struct Check {
    at: Timestamp,
    milliseconds: u64,
    /// Why it failed, if it did.
    fault: Option<String>,
    /// Checks that passed, and that failed.
    passed: u64,
    failed: u64,
}

impl Check {
    fn of(state: &CheckState) -> Option<Self> {
        let last = state.last();
        let last = last.as_ref().as_ref()?;
        let (passed, failed) = state.counts();
        let milliseconds = u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX);
        Some(Self { at: last.at.into(), milliseconds, fault: last.fault.clone(), passed, failed })
    }
}

impl Address {
    pub(super) fn all(upstream: &Upstream) -> Vec<Self> {
        upstream.endpoints.iter().map(Self::of).collect()
    }

    pub(super) fn of(endpoint: &config::Endpoint) -> Self {
        let change = endpoint.state.health.change();
        let change = change.as_ref().as_ref().filter(|_| endpoint.address.is_some());
        let unresolved = endpoint.address.is_none().then(|| "the name does not resolve".to_owned());
        let outlier = &endpoint.state.outlier;
        let ejection = outlier.last();
        let ejection = ejection.as_ref().as_ref().filter(|_| outlier.is_ejected());
        let ejected = ejection.map(|it| (it.at.into(), format!("for {:?}: {}", it.time, it.reason)));
        let (at, why) = checked_down(&endpoint.state.check).or(ejected).unzip();
        Self {
            endpoint: endpoint.name.clone(),
            address: endpoint.address.as_ref().map(ToString::to_string),
            state: state(endpoint),
            since: at.or_else(|| change.map(|change| change.at.into())),
            reason: unresolved.or(why).or_else(|| change.and_then(|change| change.fault.clone())),
            ejections: outlier.ejections(),
            weight: endpoint.weight,
            drain: endpoint.drain,
            backup: endpoint.backup,
            in_flight: endpoint.state.used.in_flight(),
            requests: endpoint.state.used.requests(),
            check: Check::of(&endpoint.state.check),
        }
    }
}

/// What became of our certificate.
#[derive(Serialize)]
struct Ours {
    client_certificate: &'static str,
    /// Its name and generation, if it was presented.
    presented: Option<String>,
    /// The authorities that the backend named when it asked.
    authorities: Vec<String>,
}

#[derive(Serialize)]
struct Failures {
    reason: &'static str,
    alert: Option<&'static str>,
    count: u64,
}

#[derive(Serialize)]
struct Certificate {
    subject: String,
    issuer: String,
    names: Vec<String>,
    key: String,
    not_before: Timestamp,
    not_after: Timestamp,
    days_left: i64,
}

impl Tls {
    pub(super) fn of(upstream: &Upstream) -> Option<Self> {
        let tls = upstream.tls.as_ref()?;
        let endpoints = upstream.endpoints.iter().map(Endpoint::of);
        Some(Self {
            verified: tls.verifies,
            require_client_auth: tls.require_client_auth,
            endpoints: endpoints.collect(),
        })
    }
}

impl Endpoint {
    fn of(endpoint: &config::Endpoint) -> Self {
        let tls = &endpoint.state.tls;
        let failures = tls.failures().into_iter().map(|(reason, count)| Failures {
            reason: reason.label(),
            alert: reason.alert().map(alert_name),
            count,
        });
        Self {
            endpoint: endpoint.name.clone(),
            address: endpoint.address.as_ref().map(ToString::to_string),
            handshake: tls.last().as_ref().as_ref().map(Handshake::of),
            failure: tls.failure().as_ref().as_ref().map(Failure::of),
            failures: failures.collect(),
        }
    }
}

impl Handshake {
    fn of(shaken: &Handshaked) -> Self {
        let facts = &shaken.facts;
        Self {
            at: shaken.at.into(),
            server_name: shaken.server_name.clone(),
            version: facts.version_name(),
            cipher: facts.suite_name(),
            key_exchange: facts.group_name(),
            resumed: facts.resumed,
            ours: Ours::of(&facts.client_auth, &facts.authorities),
            chain: chain(facts.peer_certificates.as_deref().unwrap_or_default()),
        }
    }
}

impl Failure {
    fn of(failed: &Failed) -> Self {
        Self {
            at: failed.at.into(),
            server_name: failed.server_name.clone(),
            reason: failed.reason.label(),
            text: failed.text.clone(),
            mend: failed.reason.remedy(),
            alert_received: failed.reason.alert().map(alert_name),
            alert_sent: failed.alert_sent.map(alert_name),
            ours: Ours::of(&failed.client_auth, &failed.authorities),
            chain: chain(&failed.chain),
        }
    }
}

impl Ours {
    fn of(auth: &ClientAuth, authorities: &[Vec<u8>]) -> Self {
        let (client_certificate, presented) = match auth {
            ClientAuth::NotAsked => ("not_asked", None),
            ClientAuth::AskedInVain => ("asked_in_vain", None),
            ClientAuth::Presented(identity) => {
                ("presented", Some(format!("{} #{}", identity.name(), identity.generation())))
            }
        };
        let name = |der: &Vec<u8>| X509Name::from_der(der).ok().map(|(_, name)| name.to_string());
        Self { client_certificate, presented, authorities: authorities.iter().filter_map(name).collect() }
    }
}

/// What a backend presented; what can't be parsed is passed over.
fn chain(chain: &[CertificateDer<'_>]) -> Vec<Certificate> {
    let now = SystemTime::now();
    let facts = chain.iter().filter_map(|der| Facts::from_der(der).ok());
    let certificates = facts.map(|facts| Certificate {
        subject: facts.subject,
        issuer: facts.issuer,
        names: facts.sans,
        key: facts.key_type,
        not_before: facts.not_before,
        not_after: facts.not_after,
        days_left: facts.not_after.days_from(now),
    });
    certificates.collect()
}

/// An endpoint's health in a word. One without an address can't be used.
pub(super) fn state(endpoint: &config::Endpoint) -> &'static str {
    match endpoint.state.health.state() {
        _ if endpoint.address.is_none() => "down",
        _ if endpoint.state.check.is_down() => "down",
        _ if endpoint.state.outlier.is_ejected() => "ejected",
        Health::Unknown if endpoint.state.check.last().is_some() => "up",
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    }
}

/// Since when an endpoint is down as its checks say, and why.
fn checked_down(state: &CheckState) -> Option<(Timestamp, String)> {
    let last = state.last();
    let last = last.as_ref().as_ref().filter(|_| state.is_down())?;
    let fault = last.fault.as_deref().unwrap_or("the last check passed, `rise` is not reached");
    Some((last.since.into(), format!("health check: {fault}")))
}
