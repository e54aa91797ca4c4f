//! What changes beside the config file: trust files and revocation lists, addresses of names, what discovery has found, and
//! keys of endpoints that were found.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Current, Deployment, Refused, Reloaded, point_at};
use crate::base::address::Address;
use crate::config::{Diagnostics, Level};
use crate::proxy::upstream::config::{Endpoint, EndpointOverride, Upstream};
use crate::server::build::endpoints::Resolve;
use crate::server::build::{self, overrides};
use crate::server::changes::Changes;
use crate::server::discovery::{self, Discovered, Source};
use crate::server::load::LoadError;

impl Deployment {
    /// Reads again what peers are verified against, certificates and revocation lists, and publishes what has changed: one
    /// atomic store, after which each handshake on any worker uses it. What was begun before ends as it began; connections to
    /// backends that were verified by older files are not used again. An invalid file, or a revocation list that is not better
    /// than the one in force, is logged once and in the status while it lasts, and what is in force stays. False: there was one.
    pub(crate) fn refresh(&self) -> bool {
        let nothing = |_: &str| Err(io::Error::other("names are not resolved now"));
        let good = self.refresh_with(&nothing, &BTreeMap::new(), "changed trust or revocation lists");
        if !good {
            self.refreshes_failed.fetch_add(1, Ordering::Relaxed);
        }
        good
    }

    /// The names of endpoints that have no address.
    pub(crate) fn unresolved(&self) -> Vec<String> {
        let current = self.current();
        let all = current.running.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        let mut names: Vec<String> =
            all.filter(|endpoint| endpoint.address.is_none()).map(|endpoint| endpoint.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Gives endpoints that have no address those that their names have by now.
    pub(crate) fn resolved(&self, found: &HashMap<String, Vec<SocketAddr>>) {
        let known = |name: &str| found.get(name).cloned().ok_or_else(|| io::Error::other("not resolved"));
        self.refresh_with(&known, &BTreeMap::new(), "names that did not resolve before");
    }

    /// Takes up what lookups of sources have found: endpoints that are other ones than before are published.
    pub(crate) fn discovered(&self, found: Vec<(Source, Discovered)>) {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner).extend(found.iter().cloned());
        let current = self.current();
        let is_other = |(source, discovered): &(Source, Discovered)| {
            let before = current.made.discovered.get(source);
            before.is_some_and(|before| before.targets != discovered.targets)
        };
        let other: BTreeMap<Source, Discovered> = found.into_iter().filter(is_other).collect();
        if !other.is_empty() {
            let nothing = |_: &str| Err(io::Error::other("names are not resolved now"));
            self.refresh_with(&nothing, &other, "discovered endpoints");
        }
    }

    /// What is known of each source.
    pub(crate) fn sources(&self) -> Vec<(Source, Discovered)> {
        let current = self.current();
        let lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = |(source, known): (&Source, &Discovered)| {
            (source.clone(), lookups.get(source).unwrap_or(known).clone())
        };
        current.made.discovered.iter().map(latest).collect()
    }

    /// See [`refresh`](Self::refresh). `resolve` gives the addresses of names that have none, `found` what lookups
    /// of sources have found; `what` is the log's word for what may have changed.
    fn refresh_with(&self, resolve: Resolve<'_>, found: &BTreeMap<Source, Discovered>, what: &str) -> bool {
        let _guard = self.changing();
        let _rotation = self.rotations.lock();
        let current = self.current();
        let mut problems = Diagnostics::new("", "");
        let assembly = build::refresh(current.previous(), resolve, found, &mut problems);
        let faults = assembly.as_ref().map_or(&[][..], |assembly| &assembly.faults).iter().cloned();
        let errors = problems.iter().filter(|problem| problem.level == Level::Error);
        let errors = errors.map(|problem| format!("{}: what is in force stays", problem.message));
        let good = self.note_faults(errors.chain(faults).collect());
        let Some(assembly) = assembly else { return false };
        let changes = Changes::between(current.previous(), &current.plan, &assembly);
        let changed: Vec<String> =
            [("listener", changes.listeners.changed), ("upstream", changes.upstreams.changed)]
                .into_iter()
                .flat_map(|(kind, names)| names.into_iter().map(move |name| format!("{kind} {name}")))
                .collect();
        if changed.is_empty() || !self.server.ready.load(Ordering::Relaxed) {
            return good;
        }
        let Ok(prepared) = self.server.prepare(&current.plan) else { return false };
        self.replace(assembly, prepared, Arc::clone(&current.plan));
        discovery::log_changes(&current.made.discovered, found);
        tracing::info!("{what} are in force: {}", changed.join(", "));
        good
    }

    /// Logs each fault of trust files and revocation lists once, for as long as it lasts. Returns whether there is none.
    fn note_faults(&self, faults: Vec<String>) -> bool {
        let mut known = self.trust_faults.lock().unwrap_or_else(PoisonError::into_inner);
        for fault in faults.iter().filter(|fault| !known.contains(fault)) {
            tracing::warn!("trust or revocation lists: {fault}");
        }
        if faults.is_empty() && !known.is_empty() {
            tracing::info!("trust files and revocation lists are in order again");
        }
        *known = faults;
        known.is_empty()
    }

    /// What is wrong with trust files and revocation lists now, and what to do, in words.
    pub(crate) fn trust_faults(&self) -> Vec<String> {
        self.trust_faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets keys of the endpoints of `upstream` that a name, a service or a file of the config has found and that `address`
    /// names: by their address, their name, or the label of logs. It holds until the process ends. `None`: there is no such
    /// endpoint.
    ///
    /// # Errors
    /// See [`Refused`]; then nothing has changed.
    pub(crate) fn set_found(
        &self,
        upstream: &str,
        address: &str,
        keys: EndpointOverride,
    ) -> Result<Option<Reloaded>, Refused> {
        let _guard = self.changing();
        let _rotation = self.rotations.lock();
        let current = self.current();
        let Some(running) = current.running.upstreams.iter().find(|running| running.name == upstream) else {
            return Ok(None);
        };
        let found = current.found(running, address);
        if found.is_empty() {
            return Ok(None);
        }
        if !self.server.ready.load(Ordering::Relaxed) {
            return Err(Refused::Draining);
        }
        let mut set = current.made.overrides.clone();
        for endpoint in &found {
            if !set.set(upstream, endpoint, keys) {
                return Err(Refused::Overrides);
            }
        }
        let mut problems = Diagnostics::new("", "");
        let assembly = overrides::refresh(current.previous(), upstream, set, &mut problems);
        let Some(assembly) = assembly else { return Err(LoadError::Wrong(problems).into()) };
        let mut changes = Changes::between(current.previous(), &current.plan, &assembly);
        for changed in &changes.upstreams.changed {
            let said = found.iter().flat_map(|endpoint| until_end(&endpoint.label, keys)).collect();
            changes.details.insert(format!("upstream {changed}"), said);
        }
        let mut problems = Diagnostics::new("", "");
        let changed = assembly.running.upstreams.iter().find(|changed| changed.name == upstream);
        if changed.is_some_and(|changed| changed.endpoints.iter().all(|endpoint| endpoint.drain)) {
            let help = "its requests are answered with 503, but for those of sticky sessions";
            problems.warning(
                0..0,
                format!("every endpoint of `{upstream}` is drained"),
                Some(help.to_owned()),
            );
        }
        if changes.upstreams.changed.is_empty() {
            // They have these keys by themselves.
            return Ok(Some(Reloaded { version: current.running.version, changes, problems }));
        }
        let prepared = self.server.prepare(&current.plan).map_err(|error| {
            let mut problems = Diagnostics::new("", "");
            point_at(&error, &current.plan, &mut problems);
            LoadError::Wrong(problems)
        })?;
        let version = self.replace(assembly, prepared, Arc::clone(&current.plan));
        Ok(Some(Reloaded { version, changes, problems }))
    }
}

/// What was set, in words.
fn until_end(label: &str, keys: EndpointOverride) -> Vec<String> {
    let (of, until) = (format!("endpoints: {label}"), "until ringate ends");
    let mut said = Vec::new();
    said.extend(keys.weight.map(|weight| format!("{of} has the weight {weight}, {until}")));
    let backup = |is| if is { "a backup" } else { "no backup" };
    said.extend(keys.backup.map(|is| format!("{of} is {} now, {until}", backup(is))));
    let drained = |is| if is { "drained" } else { "used again" };
    said.extend(keys.drain.map(|is| format!("{of} is {} now, {until}", drained(is))));
    said
}

impl Current {
    /// The endpoints of an upstream that `address` names and that have no entry of their own in the config.
    fn found<'a>(&self, running: &'a Upstream, address: &str) -> Vec<&'a Endpoint> {
        let planned = self.plan.upstreams.iter().find(|planned| *planned.name == running.name);
        let listed = planned.map_or(&[][..], |planned| &planned.endpoints);
        let is_listed = |endpoint: &&Endpoint| {
            Address::parse(&endpoint.name).is_some() && listed.iter().any(|at| at.address == endpoint.name)
        };
        let is_named = |endpoint: &&Endpoint| {
            let its = endpoint.address.as_ref().map(ToString::to_string);
            its.is_some_and(|its| its == address || endpoint.name == address || endpoint.label == address)
        };
        running.endpoints.iter().filter(|endpoint| !is_listed(endpoint)).filter(is_named).collect()
    }
}
