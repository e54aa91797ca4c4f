//! Certificates in use, for status and metrics.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::exposition::{Text, label};
use crate::certs::Timestamp;
use crate::config::plan::CertificateRef;
use crate::server::Deployment;
use crate::server::rotation::{Rotation, Use, affected};
use crate::server::stapling::Stapled;
use crate::server::stored::StoredEnd;
use crate::tls::Identity;

/// One certificate in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InUse {
    /// Its name in the store, or its file.
    pub name: String,
    /// The generation that is presented.
    pub generation: u64,
    /// When that ends.
    pub not_after: Timestamp,
    /// Whole days until then.
    pub days_left: i64,
    /// What its end would take down: listeners, and upstreams with the routes that lead to them.
    pub affects: Vec<String>,
    /// When it was last presented to a client, or a connection to a backend with it was in use.
    pub last_used: Option<Timestamp>,
    /// Where its generations are used.
    pub rotation: Rotation,
    /// The OCSP response that is stapled, if a listener is to staple one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<Stapled>,
}

/// All of them.
pub(super) fn in_use(deployment: &Deployment) -> Vec<InUse> {
    let (plan, now) = (deployment.plan(), SystemTime::now());
    let identities = deployment.made().identities;
    let mut all: Vec<InUse> = identities
        .iter()
        .map(|(named, cell): &(CertificateRef, _)| {
            let current = cell.load();
            let not_after = Timestamp::from_unix(current.not_after());
            InUse {
                name: current.name().to_owned(),
                generation: current.generation(),
                not_after,
                days_left: not_after.days_from(now),
                affects: affected(&plan, named),
                last_used: last_used(&current),
                rotation: deployment.rotation(cell),
                ocsp: deployment.stapling.of(&current),
            }
        })
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn last_used(identity: &Identity) -> Option<Timestamp> {
    let uses = identity.uses();
    let backends = uses.read().into_iter().filter_map(|usage| usage.last_used);
    backends.chain(uses.presented()).max().map(Timestamp::from)
}

/// The same as Prometheus' text, and of what else is in the store.
pub(super) fn metrics(deployment: &Deployment, text: &mut Text) {
    let all = in_use(deployment);
    let is_idle = |(name, ..): &&StoredEnd| all.iter().all(|it| it.name != *name);
    let idle: Vec<StoredEnd> = deployment.stored.with(|ends| ends.iter().filter(is_idle).cloned().collect());
    let of = |name: &str| label("certificate", name);
    let each = |value: fn(&InUse) -> i64, other: fn(u32, Timestamp) -> i64| -> Vec<(String, f64)> {
        let used = all.iter().map(|it| (of(&it.name), number(value(it))));
        used.chain(idle.iter().map(|(name, active, end)| (of(name), number(other(*active, *end))))).collect()
    };
    let help = "When the active generation ends, in seconds since 1970.";
    let ends = each(|it| it.not_after.unix(), |_, end| end.unix());
    text.family("gauge", "certificate_not_after_seconds", help, ends);
    let help = "The active generation.";
    let generations = each(|it| i64::try_from(it.generation).unwrap_or(i64::MAX), |active, _| active.into());
    text.family("gauge", "certificate_generation", help, generations);
    let help = "1: something that runs presents it; 0: it is only in the store.";
    text.family("gauge", "certificate_in_use", help, each(|_| 1, |_, _| 0));
    let help = "When the active generation was last presented to a client, or in use with a backend, in seconds since \
                1970; 0: never since the start.";
    let used = all.iter().map(|it| (of(&it.name), number(it.last_used.map_or(0, Timestamp::unix))));
    text.family("gauge", "certificate_used_seconds", help, used);
    let help = "1: the generation before may be revoked, no request needs it.";
    let safe = all.iter().filter_map(|it| {
        let safe = it.rotation.safe_to_revoke.as_ref()?;
        let labels = format!("{},generation=\"{}\"", of(&it.name), safe.generation);
        Some((labels, f64::from(u8::from(safe.safe))))
    });
    text.family("gauge", "certificate_safe_to_revoke", help, safe);
    responses(&all, text);
    for (kind, name, help, read) in USES {
        let uses = all.iter().flat_map(|it| it.rotation.uses.iter().map(move |usage| (it, usage)));
        let samples = uses.map(|(it, usage)| {
            let (upstream, endpoint) =
                (label("upstream", &usage.upstream), label("endpoint", &usage.endpoint));
            let labels =
                format!("{},generation=\"{}\",{upstream},{endpoint}", of(&it.name), usage.generation);
            (labels, number(read(usage)))
        });
        text.family(kind, name, help, samples);
    }
}

/// Families of OCSP responses.
fn responses(all: &[InUse], text: &mut Text) {
    let now = Timestamp::from(SystemTime::now()).unix();
    let each = |value: &dyn Fn(&Stapled) -> Option<i64>| -> Vec<(String, f64)> {
        let value = |it: &InUse| Some((label("certificate", &it.name), number(value(it.ocsp.as_ref()?)?)));
        all.iter().filter_map(value).collect()
    };
    let help = "Until when the stapled OCSP response is good, in seconds since 1970; 0: nothing is stapled.";
    let ends = each(&|it| Some(it.next_update.map_or(0, Timestamp::unix)));
    text.family("gauge", "ocsp_response_valid_until_seconds", help, ends);
    let help = "How long ago the responder knew the stapled status to be right.";
    let ages = each(&|it| it.this_update.map(|this| (now - this.unix()).max(0)));
    text.family("gauge", "ocsp_response_age_seconds", help, ages);
    let help = "Fetches and files without a usable OCSP response.";
    let failures = each(&|it| Some(i64::try_from(it.failures).unwrap_or(i64::MAX)));
    text.family("counter", "ocsp_failures_total", help, failures);
}

/// What is known of a generation at an endpoint: kind, name, meaning, value.
type OfUse = (&'static str, &'static str, &'static str, fn(&Use) -> i64);

const USES: [OfUse; 4] = [
    (
        "gauge",
        "certificate_connections",
        "Connections to the endpoint that were made with the generation.",
        |it| i64::try_from(it.connections).unwrap_or(i64::MAX),
    ),
    (
        "gauge",
        "certificate_last_used_seconds",
        "When one of them was last in use, in seconds since 1970; 0: never.",
        |it| it.last_used.map_or(0, Timestamp::unix),
    ),
    ("counter", "certificate_refusals_total", "How often the endpoint refused the generation.", |it| {
        i64::try_from(it.refusals).unwrap_or(i64::MAX)
    }),
    (
        "counter",
        "certificate_rescues_total",
        "How often it stood in for a newer one that was refused.",
        |it| i64::try_from(it.rescues).unwrap_or(i64::MAX),
    ),
];

#[allow(clippy::cast_precision_loss)] // a time in seconds has 31 bits
fn number(value: i64) -> f64 {
    value as f64
}
