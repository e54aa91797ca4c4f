//! What a process hands to its successor besides sockets: what it has learned and counted, and the keys that clients' tickets
//! and tokens need.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64, HEXLOWER};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::sticky::SessionSecret;
use super::{Assembly, Builder, Made, Policy};
use crate::base::limits::HANDOVER_BUCKETS;
use crate::config::Diagnostics;
use crate::config::plan::{self, Plan};
use crate::proxy::rules::LimitRecord;
use crate::proxy::snapshot::RuntimeConfig;
use crate::proxy::upstream::endpoint::EndpointRecord;
use crate::tls::TicketKey;

/// The form of [`Heritage`]. A successor ignores any other.
const VERSION: u32 = 1;

/// See the module.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Heritage {
    version: u32,
    endpoints: Vec<Known<EndpointRecord>>,
    limits: Vec<Known<LimitRecord>>,
    tickets: Vec<Known<Vec<TicketKey>>>,
    session_secret: Option<String>,
}

/// A part of it, and what it belongs to.
#[derive(Serialize, Deserialize)]
struct Known<T> {
    of: String,
    what: T,
}

impl Drop for Heritage {
    fn drop(&mut self) {
        self.session_secret.zeroize();
    }
}

impl Heritage {
    /// What runs from `plan`, as a successor gets it.
    pub(crate) fn of(plan: &Plan, running: &RuntimeConfig, made: &Made) -> Self {
        let mut endpoints = Vec::new();
        for upstream in &running.upstreams {
            let of = |endpoint| endpoint_name(&upstream.name, endpoint);
            let all = upstream.endpoints.iter();
            endpoints.extend(all.map(|it| Known { of: of(it), what: it.state.record() }));
        }
        let mut room = HANDOVER_BUCKETS;
        let mut limits = Vec::new();
        for kept in &made.limits {
            let what = kept.limit().record(room);
            room -= what.len().min(room);
            limits.push(Known { of: kept.place(), what });
        }
        let policies = plan.listeners.iter().zip(&made.listeners);
        let policies = policies.filter_map(|(listener, policy)| Some((listener, policy.as_ref()?)));
        let tickets = policies.map(|(listener, policy)| Known {
            of: policy_name(listener, policy),
            what: policy.tickets.export(),
        });
        let session_secret = made.session_secret.as_ref().map(|secret| BASE64.encode(secret.bytes()));
        Self { version: VERSION, endpoints, limits, tickets: tickets.collect(), session_secret }
    }

    /// Reads what a predecessor has sent. What has another form is not used: this process then begins without.
    pub(crate) fn read(value: serde_json::Value) -> Self {
        let version = value["version"].as_u64();
        let read = serde_json::from_value(value).map_err(|error| error.to_string());
        let known =
            if version == Some(u64::from(VERSION)) { read } else { Err("it has another form".to_owned()) };
        known.unwrap_or_else(|reason| {
            let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            tracing::warn!(
                "what the previous process knew is not used (version {version}, {VERSION} is expected: {reason}): health, limits \
                 and tickets begin anew"
            );
            Self::default()
        })
    }
}

/// Builds a snapshot that goes on with what a predecessor knew. Errors are added to `problems`; the result is `None` if there are
/// any.
pub(crate) fn build_after(plan: &Plan, heritage: &Heritage, problems: &mut Diagnostics) -> Option<Assembly> {
    let secret = heritage.session_secret.as_ref().and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let inherited = secret.map(|bytes| SessionSecret::of(&bytes));
    let assembly = Builder { starts: true, inherited, ..Builder::new(plan, None, problems) }.build()?;
    let known: FxHashMap<_, _> = heritage.endpoints.iter().map(|known| (&*known.of, &known.what)).collect();
    for upstream in &assembly.running.upstreams {
        for endpoint in &upstream.endpoints {
            if let Some(record) = known.get(&*endpoint_name(&upstream.name, endpoint)) {
                endpoint.state.restore(record, upstream.health.is_some());
            }
        }
    }
    for kept in &assembly.made.limits {
        let place = kept.place();
        if let Some(known) = heritage.limits.iter().find(|known| known.of == place) {
            kept.limit().restore(&known.what);
        }
    }
    for (listener, policy) in plan.listeners.iter().zip(&assembly.made.listeners) {
        let Some(policy) = policy else { continue };
        let name = policy_name(listener, policy);
        if let Some(known) = heritage.tickets.iter().find(|known| known.of == name) {
            policy.tickets.adopt(&known.what);
        }
    }
    Some(assembly)
}

fn endpoint_name(upstream: &str, endpoint: &crate::proxy::upstream::config::Endpoint) -> String {
    let address = endpoint.address.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{upstream} {} {address}", endpoint.name)
}

/// A listener's name, and a hash of all by which its clients are verified: a ticket must not bypass another policy.
fn policy_name(listener: &plan::Listener, policy: &Policy) -> String {
    let text = format!("{:?} {:?} {:?}", listener.protocol, listener.tls, listener.http);
    let all = [text.as_bytes(), &policy.read].concat();
    format!("{} {}", listener.name.value, HEXLOWER.encode(digest(&SHA256, &all).as_ref()))
}
