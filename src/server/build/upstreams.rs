//! Upstreams, with the state that continues over a change of their section.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::sticky::SessionSecret;
use super::{Builder, MadeUpstream};
use crate::certs::command::Role;
use crate::config::plan;
use crate::proxy::upstream::backend_tls::UpstreamTls;
use crate::proxy::upstream::circuit::Circuit;
use crate::proxy::upstream::concurrency::ConcurrencyLimiter;
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::proxy::upstream::mirror::Mirror;
use crate::proxy::upstream::sticky::Sticky;
use crate::route::{Algorithm, LoadBound};
use crate::tls::{self, ClientPolicy};

impl<'a> Builder<'a> {
    /// An upstream, the one that runs if nothing of it has changed. Of one that has changed, its endpoints go on with
    /// their state, and so does its TLS if nothing of that has changed.
    pub(super) fn upstream(&mut self, upstream: &plan::Upstream) -> Option<MadeUpstream> {
        let before = self.before(&upstream.name);
        let secret = upstream.sticky.as_ref().map(|sticky| self.session_secret(sticky));
        let secret = secret.map_or(Some(None), |secret| secret.map(Some));
        let endpoints = self.endpoints(upstream);
        let addresses = self.noted();
        let tls = match &upstream.tls {
            None => Some(None),
            Some(tls) => self.upstream_tls(upstream, tls).map(|made| Some(Arc::new(made))),
        };
        if endpoints.is_none() || tls.is_none() {
            self.lists.remove(&format!("upstream {}", upstream.name.value));
        }
        let mut trust = self.noted();
        let mut tls = tls;
        if let (true, None, Some((_, kept))) = (self.refreshes, &tls, before) {
            // Its files are invalid now: what is in force stays, whatever its endpoints are.
            (tls, trust) = (Some(kept.upstream.tls.clone()), kept.trust);
        }
        if let Some((old, kept)) = before
            && old == upstream
            && (kept.addresses == addresses
                && kept.trust == trust
                && endpoints.is_some()
                && tls.is_some()
                && secret.is_some()
                || self.refreshes && (endpoints.is_none() || tls.is_none() || secret.is_none()))
        {
            return Some(kept.clone());
        }
        let (endpoints, mut tls, secret) = (endpoints?, tls?, secret?);
        if let Some((old, kept)) = before
            && old.tls == upstream.tls
            && old.http.value == upstream.http.value
            && kept.trust == trust
        {
            tls.clone_from(&kept.upstream.tls);
        }
        let kept = before.map(|(_, kept)| &*kept.upstream);
        let upstream = Upstream {
            name: upstream.name.value.clone(),
            balance: algorithm(&upstream.balance),
            hash_by: match &upstream.balance {
                plan::Balance::Hash(hash) => Some(hash.by.value.clone()),
                _ => None,
            },
            sticky: sticky(upstream, &endpoints, secret.as_ref()),
            slow_start: upstream.slow_start,
            http: upstream.http.value,
            connect_timeout: upstream.connect_timeout,
            response_timeout: upstream.response_timeout,
            idle_timeout: upstream.idle_timeout,
            idle_per_worker: upstream.idle_per_worker,
            limiter: limiter(upstream, &endpoints, kept.and_then(|kept| kept.limiter.as_ref())),
            endpoints,
            min_idle: upstream.min_idle,
            shared: upstream.shared,
            max_age: upstream.max_age,
            circuit: Circuit::new(
                &upstream.limits,
                &upstream.endpoint_limits,
                kept.map(|kept| &kept.circuit),
            ),
            health: upstream.health.clone(),
            outliers: upstream.outliers.clone(),
            retries: upstream.retries.clone(),
            retried: kept.map(|kept| Arc::clone(&kept.retried)).unwrap_or_default(),
            meter: kept.map(|kept| Arc::clone(&kept.meter)).unwrap_or_default(),
            mirror: mirror(upstream, kept),
            proxy_protocol: upstream.proxy_protocol,
            bind_address: upstream.bind_address.as_ref().map(|at| at.value),
            tls,
        };
        Some(MadeUpstream { upstream: Arc::new(upstream), addresses, trust })
    }

    /// The upstream of this name that runs: its plan, and what that became.
    fn before(&self, name: &str) -> Option<(&'a plan::Upstream, &'a MadeUpstream)> {
        let previous = self.previous?;
        let index = previous.plan.upstreams.iter().position(|old| *old.name == name)?;
        Some((&previous.plan.upstreams[index], &previous.made.upstreams[index]))
    }

    fn upstream_tls(&mut self, of: &plan::Upstream, tls: &plan::UpstreamTls) -> Option<UpstreamTls> {
        let name = &of.name;
        let identity = match &tls.certificate {
            None => None,
            Some(at) => Some(self.presented(at, Role::Client, format!("upstream {:?}", name.value))?),
        };
        let verifier = self.verifier(name, tls)?;
        let suites = tls.cipher_suites.as_ref();
        let policy = ClientPolicy {
            versions: tls.versions,
            cipher_suites: suites.map(|suites| suites.iter().map(|at| at.value).collect()),
            groups: tls.groups.as_ref().map(|groups| groups.iter().map(|at| at.value).collect()),
            verifier,
            alpn: Vec::new(),
        };
        let config = self.good(&name.span, tls::client_config(&policy))?;
        let alpn = of.http.value.alpn();
        let http2 = match alpn.is_empty() {
            true => None,
            false => Some(self.good(&name.span, tls::client_config(&ClientPolicy { alpn, ..policy }))?),
        };
        let server_name = match &tls.server_name {
            None => None,
            Some(at) => {
                let parsed = ServerName::try_from(at.value.clone())
                    .map_err(|_| format!("`{}` is neither a DNS name nor an IP address", at.value));
                Some(self.good(&at.span, parsed)?)
            }
        };
        Some(UpstreamTls {
            config,
            http2,
            server_name,
            identity,
            require_client_auth: tls.require_client_auth,
            verifies: tls.insecure_skip_verify.is_none(),
            tickets: tls.tickets_per_endpoint,
        })
    }
}

/// The bound on an upstream's exchanges, where it has one. What waits in the queue of `last` is counted on.
fn limiter(
    upstream: &plan::Upstream,
    endpoints: &[Endpoint],
    last: Option<&ConcurrencyLimiter>,
) -> Option<ConcurrencyLimiter> {
    let (max, queue) = (upstream.max_per_endpoint, &upstream.queue);
    let states = endpoints.iter().map(|endpoint| Arc::clone(&endpoint.state));
    let limiter = (max > 0).then(|| ConcurrencyLimiter::new(max, states, queue.length, queue.timeout))?;
    Some(match last {
        Some(last) => limiter.in_place_of(last),
        None => limiter,
    })
}

/// Where copies of an upstream's requests go. What `last` has counted is counted on.
fn mirror(upstream: &plan::Upstream, last: Option<&Upstream>) -> Option<Mirror> {
    let mirror = upstream.mirror.as_ref()?;
    let last = last.and_then(|last| last.mirror.as_ref());
    Some(Mirror {
        upstream: mirror.upstream.value.clone(),
        millionths: mirror.millionths,
        counts: last.map(|last| Arc::clone(&last.counts)).unwrap_or_default(),
    })
}

/// An upstream's sticky sessions, if it has them.
fn sticky(
    upstream: &plan::Upstream,
    endpoints: &[Endpoint],
    secret: Option<&SessionSecret>,
) -> Option<Sticky> {
    let (sticky, secret) = (upstream.sticky.as_ref()?, secret?);
    let labels: Vec<&str> = endpoints.iter().map(|endpoint| &*endpoint.label).collect();
    Some(Sticky::new(sticky.by.clone(), sticky.max_age, secret.bytes(), &upstream.name, &labels))
}

fn algorithm(of: &plan::Balance) -> Algorithm {
    match of {
        plan::Balance::RoundRobin => Algorithm::RoundRobin,
        plan::Balance::LeastRequests => Algorithm::LeastRequests,
        plan::Balance::TwoChoices => Algorithm::TwoChoices,
        plan::Balance::Random => Algorithm::Random,
        plan::Balance::Hash(hash) => Algorithm::Hash(LoadBound(hash.load)),
    }
}
