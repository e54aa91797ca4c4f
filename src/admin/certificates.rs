//! Certificates in use, for status and metrics.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::certs::Timestamp;
use crate::config::plan::CertificateRef;
use crate::server::Deployment;
use crate::server::rotation::{Rotation, affected};

/// One certificate in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InUse {
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
    /// Where its generations are used.
    pub rotation: Rotation,
}

/// All of them.
pub fn in_use(deployment: &Deployment) -> Vec<InUse> {
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
                rotation: deployment.rotation(cell),
            }
        })
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// The same as Prometheus' text.
pub fn metrics(deployment: &Deployment, text: &mut String) {
    let all = in_use(deployment);
    let mut family = |name: &str, kind: &str, lines: &dyn Fn(&InUse) -> Vec<(String, i64)>| {
        let _ = writeln!(text, "# TYPE ringate_certificate_{name} {kind}");
        for certificate in &all {
            for (labels, value) in lines(certificate) {
                let _ = writeln!(
                    text,
                    "ringate_certificate_{name}{{certificate=\"{}\"{labels}}} {value}",
                    escaped(&certificate.name)
                );
            }
        }
    };
    let one = |value: i64| vec![(String::new(), value)];
    family("not_after_seconds", "gauge", &|it| one(it.not_after.unix()));
    family("generation", "gauge", &|it| one(i64::try_from(it.generation).unwrap_or(i64::MAX)));
    family("safe_to_revoke", "gauge", &|it| {
        let safe = it.rotation.safe_to_revoke.iter();
        safe.map(|safe| (format!(",generation=\"{}\"", safe.generation), i64::from(safe.safe))).collect()
    });
    type Read = fn(&crate::server::rotation::Use) -> i64;
    let uses: [(&str, &str, Read); 4] = [
        ("connections", "gauge", |it| i64::try_from(it.connections).unwrap_or(i64::MAX)),
        ("last_used_seconds", "gauge", |it| it.last_used.map_or(0, Timestamp::unix)),
        ("refusals_total", "counter", |it| i64::try_from(it.refusals).unwrap_or(i64::MAX)),
        ("rescues_total", "counter", |it| i64::try_from(it.rescues).unwrap_or(i64::MAX)),
    ];
    for (name, kind, read) in uses {
        family(name, kind, &|certificate| {
            let uses = certificate.rotation.uses.iter();
            uses.map(|of| {
                let (generation, upstream, endpoint) =
                    (of.generation, escaped(&of.upstream), escaped(&of.endpoint));
                let labels =
                    format!(",generation=\"{generation}\",upstream=\"{upstream}\",endpoint=\"{endpoint}\"");
                (labels, read(of))
            })
            .collect()
        });
    }
}

/// A label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
