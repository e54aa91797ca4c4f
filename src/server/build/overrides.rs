//! Keys of single endpoints that a name, a service or a file of the config has found: drained, weighted or made a backup
//! while Ringate runs.
//!
//! The config has no place for them, since the next answer may have other addresses. They hold until the process ends, over
//! reloads and new answers, also for an address that is gone and comes back.

use std::collections::BTreeMap;
use std::io;

use super::{Assembly, Builder, Previous};
use crate::base::address::Address;
use crate::base::limits::MAX_OVERRIDES;
use crate::config::{Diagnostics, plan};
use crate::proxy::upstream::config::{Endpoint, EndpointOverride};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    known: BTreeMap<Key, EndpointOverride>,
    /// The upstream of which some were just set: one that its endpoint has by itself is dropped.
    just_set: Option<String>,
}

/// An address of a name, in one upstream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    upstream: String,
    name: String,
    address: Address,
}

impl Key {
    /// `None`: the endpoint has no address.
    fn of(upstream: &str, endpoint: &Endpoint) -> Option<Self> {
        let (upstream, name) = (upstream.to_owned(), endpoint.name.clone());
        Some(Self { upstream, name, address: endpoint.address.clone()? })
    }
}

impl Overrides {
    /// Sets keys of an endpoint; those that are not among them stay. False: there are as many as may be.
    pub(crate) fn set(&mut self, upstream: &str, endpoint: &Endpoint, keys: EndpointOverride) -> bool {
        let Some(key) = Key::of(upstream, endpoint) else { return true };
        let has_room = self.known.len() < MAX_OVERRIDES || self.known.contains_key(&key);
        if has_room {
            let known = self.known.entry(key).or_default();
            *known = keys.or(*known);
        }
        has_room
    }

    /// Each, with its upstream, name and address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str, &Address, EndpointOverride)> {
        self.known.iter().map(|(key, keys)| (&*key.upstream, &*key.name, &key.address, *keys))
    }

    /// Drops those of upstreams that the plan does not have.
    fn keep_those_of(&mut self, plan: &plan::Plan) {
        self.known.retain(|key, _| plan.upstreams.iter().any(|upstream| *upstream.name == key.upstream));
    }
}

/// The running plan where endpoints of `upstream` have other keys than before: nothing is resolved or looked up.
pub(crate) fn refresh(
    previous: Previous<'_>,
    upstream: &str,
    overrides: Overrides,
    problems: &mut Diagnostics,
) -> Option<Assembly> {
    let nothing = |_: &str| Err(io::Error::other("names are not resolved now"));
    let builder = Builder::new(previous.plan, Some(previous), problems);
    let overrides = Overrides { just_set: Some(upstream.to_owned()), ..overrides };
    Builder { refreshes: true, resolver: &nothing, overrides, ..builder }.build()
}

impl Builder<'_> {
    /// Gives an endpoint that was found the keys that were set for it, for this upstream or for the one whose list of
    /// endpoints it has as an overlay.
    pub(super) fn override_keys(&mut self, upstream: &plan::Upstream, endpoint: &mut Endpoint) {
        let own = upstream.name.value.as_str();
        let base = own.split_once('@').map(|(base, _)| base);
        let shares = |base: &&str| {
            let found = self.plan.upstreams.iter().find(|other| *other.name == **base);
            found.is_some_and(|found| found.endpoints == upstream.endpoints)
        };
        let of = |name: &str| self.overrides.known.get(&Key::of(name, endpoint)?).copied();
        let inherited = base.filter(shares).and_then(of).unwrap_or_default();
        let mut keys = of(own).unwrap_or_default();
        if inherited != EndpointOverride::default() {
            endpoint.override_keys(inherited);
        }
        if self.overrides.just_set.as_deref() == Some(own) {
            keys = keys.beside(endpoint);
            let Some(key) = Key::of(own, endpoint) else { return };
            match keys == EndpointOverride::default() {
                true => drop(self.overrides.known.remove(&key)),
                false => drop(self.overrides.known.insert(key, keys)),
            }
        }
        let keys = keys.or(inherited);
        if keys != EndpointOverride::default() {
            endpoint.override_keys(keys);
            self.note(format!("{keys:?}").as_bytes());
        }
    }

    /// Those that remain for the next snapshot.
    pub(super) fn remaining_overrides(&mut self) -> Overrides {
        let mut overrides = std::mem::take(&mut self.overrides);
        overrides.just_set = None;
        overrides.keep_those_of(self.plan);
        overrides
    }
}
