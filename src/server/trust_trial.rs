//! A change of what an upstream's backends are verified against is tried at each endpoint before it is in force; so is TLS that
//! is turned on.
//!
//! A trial is a handshake: what the backend thinks of our certificate is no part of it.

use super::deployment::Current;
use super::load::Loaded;
use super::probe::{Report, Target, probe_all};
use crate::config::Plan;
use crate::config::plan::{Upstream, UpstreamTls};

/// Handshakes with each endpoint of the upstreams in `next` that verify their backends otherwise than what runs does.
pub(crate) fn reports(current: &Current, next: &Loaded) -> Vec<Report> {
    let targets: Vec<Target> = changed(current, next).flat_map(|index| targets(next, index)).collect();
    probe_all(&targets)
}

/// Handshakes with each endpoint of the upstream at this place in `next`.
pub(crate) fn of_upstream(next: &Loaded, index: usize) -> Vec<Report> {
    probe_all(&targets(next, index))
}

fn targets(next: &Loaded, index: usize) -> Vec<Target> {
    let targets = Target::of_upstream(&next.assembly.running.upstreams[index], false, None);
    // Resumption is for traffic.
    let once = |mut target: Target| {
        if let Some(tls) = &mut target.tls {
            tls.resumes = false;
        }
        target
    };
    targets.into_iter().map(once).collect()
}

/// Whether the backend was reached and, where TLS is spoken, verified.
pub(crate) fn is_verified(report: &Report) -> bool {
    report.reached && (report.tls.is_some() || report.server_name.is_none())
}

fn changed<'a>(current: &'a Current, next: &'a Loaded) -> impl Iterator<Item = usize> + 'a {
    changed_in(&current.plan, &next.plan)
}

/// Whether an upstream that runs would verify its backends otherwise by another plan.
pub(crate) fn is_due(current: &Plan, next: &Plan) -> bool {
    changed_in(current, next).next().is_some()
}

fn changed_in<'a>(current: &'a Plan, next: &'a Plan) -> impl Iterator<Item = usize> + 'a {
    let named = |name: &str| current.upstreams.iter().find(|before| before.name.value == name);
    let upstreams = next.upstreams.iter().enumerate();
    let changed = upstreams.filter(move |(_, upstream)| {
        // Until an environment has an overlay of its own, the upstream's own settings hold there.
        let before = named(&upstream.name.value).or_else(|| named(upstream.base_name()));
        before.is_some_and(|before| verifies_otherwise(before, upstream))
    });
    changed.map(|(index, _)| index)
}

/// Whether backends are verified otherwise. Where TLS is turned off, nothing is verified any more that could be tried.
pub(crate) fn verifies_otherwise(before: &Upstream, after: &Upstream) -> bool {
    match (&before.tls, &after.tls) {
        (Some(before), Some(after)) => policy(before) != policy(after),
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

/// The keys that decide whether a backend is accepted.
fn policy(tls: &UpstreamTls) -> impl PartialEq + '_ {
    (
        (&tls.server_name, &tls.trust, &tls.pins, &tls.crl),
        (
            tls.min_rsa_bits,
            tls.insecure_skip_verify.is_some(),
            tls.versions,
            tls.cipher_suites.as_ref().map(Vec::len),
        ),
    )
}
