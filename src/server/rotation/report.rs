//! Where the generations of a certificate are used, and whether the old one is safe to revoke.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Outcome, Trial};
use crate::base::uses::Usage;
use crate::certs::Timestamp;
use crate::proxy::snapshot::RuntimeConfig;
use crate::proxy::upstream::config::Upstream;
use crate::tls::Identity;

/// The state of a certificate's rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rotation {
    /// The generation that new connections present.
    pub active: u64,
    /// The fallback where the active one is refused.
    pub previous: Option<u64>,
    /// Every endpoint that it is presented to, by the active generation and each older one that was used there.
    pub uses: Vec<Use>,
    /// Of the generation that was active before; none if there was none while this process ran.
    pub safe_to_revoke: Option<SafeToRevoke>,
}

/// One generation at one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Use {
    /// The generation.
    pub generation: u64,
    /// The upstream.
    pub upstream: String,
    /// The endpoint.
    pub endpoint: String,
    /// Connections that are open.
    pub connections: u64,
    /// When one was last in use, to the second while it is idle.
    pub last_used: Option<Timestamp>,
    /// When the endpoint took it last.
    pub accepted: Option<Timestamp>,
    /// How often the endpoint refused it.
    pub refusals: u64,
    /// When it did last.
    pub refused: Option<Timestamp>,
    /// How often it stood in for a newer generation.
    pub rescues: u64,
}

/// Whether the old generation may be revoked at the backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SafeToRevoke {
    /// The generation.
    pub generation: u64,
    /// Whether revoking it would fail no request.
    pub safe: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// When it was last used, anywhere.
    pub last_used: Option<Timestamp>,
    /// When its last connections are ended.
    pub grace_until: Option<Timestamp>,
}

/// Whether an upstream's client identity is the certificate of this name.
pub(crate) fn presents(upstream: &Upstream, name: &str) -> bool {
    let identity = upstream.tls.as_ref().and_then(|tls| tls.identity.as_ref());
    identity.is_some_and(|identity| identity.load().name() == name)
}

pub(super) fn rotation(
    running: &RuntimeConfig,
    current: &Identity,
    superseded: &[Arc<Identity>],
    trial: Option<&Trial>,
    staged_again: Option<u64>,
    now: SystemTime,
) -> Rotation {
    let previous = current.previous();
    let old: Vec<&Arc<Identity>> = match &previous {
        // After a restart the previous generation is read from the store.
        Some(previous) if superseded.iter().all(|it| it.serial() != previous.serial()) => {
            superseded.iter().chain([previous]).collect()
        }
        _ => superseded.iter().collect(),
    };
    let mut uses: Vec<Use> = Vec::new();
    for found in used(current).into_iter().chain(old.iter().flat_map(|identity| used(identity))) {
        match uses.iter_mut().find(|it| it.is_where(&found)) {
            Some(known) => known.add(found),
            None => uses.push(found),
        }
    }
    // A generation that a rollback has staged again is to be used later, not to be revoked.
    let was_used =
        |it: &&Arc<Identity>| it.serial() != current.serial() && Some(it.generation()) != staged_again;
    let last = previous.iter().chain(superseded.iter().rev()).find(was_used);
    Rotation {
        active: current.generation(),
        previous: previous.as_ref().map(|previous| previous.generation()),
        safe_to_revoke: last.map(|last| safe(running, current, last, trial, now)),
        uses,
    }
}

fn used(identity: &Identity) -> Vec<Use> {
    let generation = identity.generation();
    identity.uses().read().into_iter().map(|usage| Use::of(generation, usage)).collect()
}

/// The old generation is safe when no connection has it and every endpoint has shown that it takes the active one,
/// so that nothing will fall back on it. Where it does not stand in for the active one any more (it was retired, or the
/// active one was rolled back to), its connections alone count.
fn safe(
    running: &RuntimeConfig,
    current: &Identity,
    old: &Identity,
    trial: Option<&Trial>,
    now: SystemTime,
) -> SafeToRevoke {
    let mut reasons = Vec::new();
    let places = old.uses().read();
    for usage in places.iter().filter(|usage| usage.connections > 0) {
        let Usage { upstream, endpoint, connections, .. } = usage;
        reasons.push(format!("{upstream} {endpoint}: {connections} connections were made with it"));
    }
    let active = current.uses().read();
    let stands_in = current.previous().is_some_and(|previous| previous.serial() == old.serial());
    for upstream in
        running.upstreams.iter().filter(|upstream| stands_in && presents(upstream, current.name()))
    {
        for endpoint in &upstream.endpoints {
            let here = active.iter().find(|it| it.upstream == upstream.name && it.endpoint == endpoint.label);
            let tried = trial.filter(|trial| trial.generation == current.generation());
            let tried = tried.and_then(|trial| {
                let address = endpoint.address.as_ref().map(ToString::to_string);
                let mut reports = trial.endpoints.iter();
                reports.find(|tried| {
                    let it = &tried.report;
                    (&it.upstream, &it.endpoint, &it.address) == (&upstream.name, &endpoint.name, &address)
                })
            });
            let taken =
                tried.is_some_and(|tried| matches!(tried.outcome, Outcome::Accepted | Outcome::NeverAsked));
            let refused = here.and_then(|usage| usage.refused);
            // A trial later than a refusal is the newer proof.
            let tried = trial.filter(|_| taken).map(|trial| SystemTime::from(trial.at));
            let accepted = here.and_then(|usage| usage.accepted).max(tried);
            let (upstream, endpoint) = (&upstream.name, &endpoint.label);
            let number = current.generation();
            match (accepted, refused) {
                (accepted, Some(refused)) if accepted.is_none_or(|accepted| accepted <= refused) => {
                    reasons.push(format!("{upstream} {endpoint}: refuses generation {number}"));
                }
                (Some(_), _) => {}
                _ => reasons.push(format!(
                    "{upstream} {endpoint}: has not shown yet that it takes generation {number}"
                )),
            }
        }
    }
    let until = old.uses().until().filter(|until| *until > now);
    SafeToRevoke {
        generation: old.generation(),
        safe: reasons.is_empty(),
        reasons,
        last_used: places.iter().filter_map(|usage| usage.last_used).max().map(Timestamp::from),
        grace_until: until.map(Timestamp::from),
    }
}

impl Use {
    /// Whether both have the same generation, upstream and endpoint.
    fn is_where(&self, other: &Self) -> bool {
        (self.generation, &self.upstream, &self.endpoint)
            == (other.generation, &other.upstream, &other.endpoint)
    }

    /// Takes in the uses of another identity of the same number: of the same content, made again, or of a certificate
    /// that had this name before.
    fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.last_used = self.last_used.max(other.last_used);
        self.accepted = self.accepted.max(other.accepted);
        self.refusals += other.refusals;
        self.refused = self.refused.max(other.refused);
        self.rescues += other.rescues;
    }

    fn of(generation: u64, usage: Usage) -> Self {
        Self {
            generation,
            upstream: usage.upstream,
            endpoint: usage.endpoint,
            connections: usage.connections,
            last_used: usage.last_used.map(Timestamp::from),
            accepted: usage.accepted.map(Timestamp::from),
            refusals: usage.refusals,
            refused: usage.refused.map(Timestamp::from),
            rescues: usage.rescues,
        }
    }
}
