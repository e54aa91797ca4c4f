//! What a process hands to its successor besides sockets: what it has learned and counted, and the keys that clients' tickets
//! and tokens need.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64, HEXLOWER};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::sticky::SessionSecret;
use super::{Assembly, Builder, Made, Policy};
use crate::auth::jwks::KeySet;
use crate::base::address::Address;
use crate::base::limits::{HANDOVER_BUCKETS, HANDOVER_OCSP_BYTES};
use crate::certs::Timestamp;
use crate::config::Diagnostics;
use crate::config::plan::{self, KeyLocation, KeySource, Ocsp, Plan};
use crate::proxy::rules::LimitRecord;
use crate::proxy::snapshot::RuntimeConfig;
use crate::proxy::upstream::endpoint::EndpointRecord;
use crate::server::discovery::{Discovered, Source, Target};
use crate::server::stapling;
use crate::tls::{Identity, TicketKey};

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
    /// By names of endpoints.
    #[serde(default)]
    addresses: Vec<Known<Vec<String>>>,
    /// By sources.
    #[serde(default)]
    found: Vec<Known<Vec<FoundTarget>>>,
    /// By URLs.
    #[serde(default)]
    token_keys: Vec<Known<String>>,
    /// OCSP responses that were fetched, by certificates.
    #[serde(default)]
    staples: Vec<Known<String>>,
}

/// See [`Target`].
#[derive(Serialize, Deserialize)]
struct FoundTarget {
    name: String,
    address: String,
    backup: bool,
    weight: Option<u32>,
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
        let (addresses, found) = (resolved(running), found(made));
        let token_keys = made.auth().1.iter().filter_map(|(source, keys)| {
            let text = keys.cell.with(|keys| Some(keys.as_ref()?.text()?.to_owned()));
            Some(Known { of: url_name(source)?, what: text? })
        });
        let (tickets, token_keys) = (tickets.collect(), token_keys.collect());
        Self {
            version: VERSION,
            endpoints,
            limits,
            tickets,
            session_secret,
            addresses,
            found,
            token_keys,
            staples: staples(plan, made),
        }
    }

    /// The addresses that a name had.
    pub(super) fn addresses(&self, name: &str) -> Vec<Address> {
        let known = self.addresses.iter().filter(|known| known.of == name);
        known.flat_map(|known| &known.what).filter_map(|text| Address::parse(text)).collect()
    }

    /// The endpoints that a source had.
    pub(super) fn found(&self, source: &Source) -> Option<Discovered> {
        let name = source.to_string();
        let known = self.found.iter().find(|known| known.of == name)?;
        let target = |it: &FoundTarget| {
            let address = Address::parse(&it.address)?;
            Some(Target { name: it.name.clone(), address, backup: it.backup, weight: it.weight })
        };
        let targets: Vec<Target> = known.what.iter().filter_map(target).collect();
        (!targets.is_empty()).then(|| Discovered::handed(targets))
    }

    /// The keys that a URL had.
    pub(super) fn token_keys(&self, source: &KeySource) -> Option<KeySet> {
        let name = url_name(source)?;
        let known = self.token_keys.iter().find(|known| known.of == name)?;
        KeySet::parse(known.what.as_bytes(), false).ok()
    }

    /// The OCSP response that a certificate had. The new process judges it anew.
    pub(super) fn staple(&self, identity: &Identity) -> Option<Vec<u8>> {
        let name = leaf_name(identity)?;
        let known = self.staples.iter().find(|known| known.of == name)?;
        BASE64.decode(known.what.as_bytes()).ok()
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
    let builder = Builder { starts: true, inherited, ..Builder::new(plan, None, problems) };
    let assembly = Builder { heritage: Some(heritage), ..builder }.build()?;
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

/// The addresses of names that the system resolves.
fn resolved(running: &RuntimeConfig) -> Vec<Known<Vec<String>>> {
    let mut all: Vec<Known<Vec<String>>> = Vec::new();
    for endpoint in running.upstreams.iter().flat_map(|upstream| &upstream.endpoints) {
        let Some(address) = endpoint.address.as_ref().filter(|_| Address::parse(&endpoint.name).is_none())
        else {
            continue;
        };
        let address = address.to_string();
        match all.iter_mut().find(|known| *known.of == *endpoint.name) {
            Some(known) if known.what.contains(&address) => {}
            Some(known) => known.what.push(address),
            None => all.push(Known { of: endpoint.name.to_string(), what: vec![address] }),
        }
    }
    all
}

/// The endpoints of sources.
fn found(made: &Made) -> Vec<Known<Vec<FoundTarget>>> {
    let of = |target: &Target| FoundTarget {
        name: target.name.clone(),
        address: target.address.to_string(),
        backup: target.backup,
        weight: target.weight,
    };
    let all = made.discovered.iter();
    all.map(|(source, known)| Known { of: source.to_string(), what: known.targets.iter().map(of).collect() })
        .collect()
}

/// The OCSP responses that were fetched and are in their time.
fn staples(plan: &Plan, made: &Made) -> Vec<Known<String>> {
    let (mut all, mut room) = (Vec::new(), HANDOVER_OCSP_BYTES);
    let now = Timestamp::from(std::time::SystemTime::now()).unix();
    for (named, ocsp) in stapling::wanted(plan) {
        let identity = made.identity(named).filter(|_| matches!(ocsp, Ocsp::Fetch { .. }));
        let Some(identity) = identity.map(|cell| cell.load()) else { continue };
        let response = identity.response(now).filter(|response| response.len() <= room);
        if let Some((of, response)) = leaf_name(&identity).zip(response) {
            room -= response.len();
            all.push(Known { of, what: BASE64.encode(&response) });
        }
    }
    all
}

/// A hash of the certificate itself: no other one ever gets its response.
fn leaf_name(identity: &Identity) -> Option<String> {
    let leaf = identity.chain().first()?;
    Some(HEXLOWER.encode(digest(&SHA256, leaf).as_ref()))
}

/// A URL of keys, with all by which its server is verified.
fn url_name(source: &KeySource) -> Option<String> {
    match &source.at {
        KeyLocation::Url { url, trust, .. } => Some(format!("{url} {trust:?}")),
        KeyLocation::File(_) => None,
    }
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
