//! What a new config changes, keeps and drops.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::build::{Assembly, Made, Previous};
use crate::certs::apikeys::Keys;
use crate::config::Plan;
use crate::config::plan::Route;
use crate::proxy::snapshot::{self, Listener, Traffic};

mod details;

/// What becomes of the things of one kind, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    /// New.
    pub added: Vec<String>,
    /// There before, and different now.
    pub changed: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
    /// As they were: with all of their connections, sessions and counts.
    pub kept: Vec<String>,
}

/// What a new config means for what runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changes {
    /// Listeners. A changed one keeps the sockets of the addresses that it keeps.
    pub listeners: Names,
    /// Routes, in words.
    pub routes: Names,
    /// Upstreams. A changed one begins with new connections; requests under way end on the old ones.
    pub upstreams: Names,
    /// Certificates in use. A changed one is presented from now on wherever it is used.
    pub certificates: Names,
    /// What has changed in the changed listeners and upstreams, key by key; by `listener NAME` or `upstream NAME`.
    #[serde(default)]
    pub details: BTreeMap<String, Vec<String>>,
    /// Other keys that take effect at once.
    pub settings: Vec<String>,
    /// Keys that take effect at the next start.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// From what runs to `plan`, which became `assembly`.
    pub(crate) fn between(old: Previous<'_>, plan: &Plan, assembly: &Assembly) -> Self {
        let (listeners, upstreams) = (listeners(old, plan, assembly), upstreams(old, plan, &assembly.made));
        Self {
            details: details(old.plan, plan, &listeners, &upstreams),
            listeners,
            routes: routes((old.plan, old.made), (plan, &assembly.made)),
            upstreams,
            certificates: certificates(old.made, assembly),
            settings: settings(old.plan, plan),
            needs_restart: needs_restart(old.plan, plan),
        }
    }

    /// In a few words: `upstreams: 1 changed, 2 kept; listeners: 1 kept`.
    pub(crate) fn summary(&self) -> String {
        let kinds = [
            ("listeners", &self.listeners),
            ("routes", &self.routes),
            ("upstreams", &self.upstreams),
            ("certificates", &self.certificates),
        ];
        let mut parts: Vec<String> =
            kinds.iter().filter_map(|(kind, names)| Some(format!("{kind}: {}", names.summary()?))).collect();
        if !self.settings.is_empty() {
            parts.push(format!("changed: {}", self.settings.join(", ")));
        }
        parts.join("; ")
    }

    /// Whether there is nothing to do, now or at the next start.
    pub(crate) fn is_empty(&self) -> bool {
        [&self.listeners, &self.routes, &self.upstreams, &self.certificates]
            .iter()
            .all(|names| names.is_empty())
            && self.settings.is_empty()
            && self.needs_restart.is_empty()
    }
}

impl Names {
    /// `1 changed, 2 kept`; `None` of nothing.
    fn summary(&self) -> Option<String> {
        let lists = [
            (&self.added, "added"),
            (&self.changed, "changed"),
            (&self.removed, "removed"),
            (&self.kept, "kept"),
        ];
        let some = lists.iter().filter(|(list, _)| !list.is_empty());
        let words: Vec<String> = some.map(|(list, what)| format!("{} {what}", list.len())).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Whether all are kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Sorts `new` into added, changed and kept; `same` compares those that existed before.
    fn between(old: &[String], new: &[String], same: impl Fn(&str) -> bool) -> Self {
        let mut names = Self::default();
        for name in new {
            let list = match old.contains(name) {
                false => &mut names.added,
                true if same(name) => &mut names.kept,
                true => &mut names.changed,
            };
            list.push(name.clone());
        }
        names.removed = old.iter().filter(|name| !new.contains(name)).cloned().collect();
        names
    }
}

/// What has changed in what is there before and after.
fn details(old: &Plan, new: &Plan, listeners: &Names, upstreams: &Names) -> BTreeMap<String, Vec<String>> {
    let listeners = listeners.changed.iter().filter_map(|name| {
        let find = |plan: &'_ Plan| plan.listeners.iter().find(|one| one.name.value == *name).cloned();
        Some((format!("listener {name}"), details::listener(&find(old)?, &find(new)?)))
    });
    let upstreams = upstreams.changed.iter().filter_map(|name| {
        let find = |plan: &'_ Plan| plan.upstreams.iter().find(|one| one.name.value == *name).cloned();
        Some((format!("upstream {name}"), details::upstream(&find(old)?, &find(new)?)))
    });
    let mut found: BTreeMap<String, Vec<String>> = listeners.chain(upstreams).collect();
    for detail in found.values_mut().flatten() {
        for secret in old.secrets.iter().chain(&new.secrets).filter(|secret| secret.len() >= MIN_SECRET) {
            *detail = detail.replace(secret.as_str(), "******");
        }
    }
    found
}

/// Shorter content of a file is not replaced: it could be any part of a word.
const MIN_SECRET: usize = 4;

fn listeners(old: Previous<'_>, plan: &Plan, new: &Assembly) -> Names {
    let names = |plan: &Plan| plan.listeners.iter().map(|listener| listener.name.value.clone()).collect();
    let (before, after): (Vec<String>, Vec<String>) = (names(old.plan), names(plan));
    let index = |names: &[String], name: &str| names.iter().position(|known| known == name);
    Names::between(&before, &after, |name| {
        let (Some(was), Some(is)) = (index(&before, name), index(&after, name)) else { return false };
        old.plan.listeners[was] == plan.listeners[is]
            && Made::same_policy(old.made, was, &new.made, is)
            && same_pages(&old.running.listeners[was], &new.running.listeners[is])
    })
}

/// Whether their error pages say the same, and those of the routes that both have.
fn same_pages(old: &Listener, new: &Listener) -> bool {
    let of_route = |route: &snapshot::Route| {
        let Traffic::Http { routes, .. } = &new.traffic else { return true };
        routes.iter().find(|other| other.id == route.id).is_none_or(|other| other.pages == route.pages)
    };
    let same_routes = match &old.traffic {
        Traffic::Http { routes, .. } => routes.iter().all(of_route),
        _ => true,
    };
    old.pages == new.pages && same_routes
}

fn upstreams(old: Previous<'_>, plan: &Plan, made: &Made) -> Names {
    let names = |plan: &Plan| plan.upstreams.iter().map(|upstream| upstream.name.value.clone()).collect();
    let (before, after): (Vec<String>, Vec<String>) = (names(old.plan), names(plan));
    Names::between(&before, &after, |name| match (old.made.upstream(name), made.upstream(name)) {
        (Some(was), Some(is)) => Arc::ptr_eq(was, is),
        _ => false,
    })
}

fn certificates(old: &Made, assembly: &Assembly) -> Names {
    let names = |made: &Made| -> Vec<String> {
        let mut names: Vec<_> =
            made.identities.iter().map(|(_, cell)| cell.load().name().to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let renewed = |name: &str| assembly.renewed.iter().any(|(_, identity)| identity.name() == name);
    Names::between(&names(old), &names(&assembly.made), |name| !renewed(name))
}

/// Routes have no names: one is identified by what it matches, and changed if it does something else with that, or accepts
/// other API keys.
fn routes(old: (&Plan, &Made), new: (&Plan, &Made)) -> Names {
    let named = |(plan, made): (&Plan, &Made)| -> Vec<(String, Comparable)> {
        plan.routes.iter().map(|route| (matches(plan, route), Comparable::of(plan, made, route))).collect()
    };
    let (before, after) = (named(old), named(new));
    let names =
        |routes: &[(String, Comparable)]| routes.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    Names::between(&names(&before), &names(&after), |name| {
        let is_so_named = |(known, _): &&(String, Comparable)| known == name;
        before.iter().filter(is_so_named).eq(after.iter().filter(is_so_named))
    })
}

/// What a route matches, in words: `public, web: GET api.example.com/orders`.
pub(crate) fn matches(plan: &Plan, route: &Route) -> String {
    let listeners: Vec<&str> =
        route.listeners.iter().map(|index| plan.listeners[*index].name.as_str()).collect();
    let methods = route.methods.as_ref().map(|methods| format!("{} ", methods.join(","))).unwrap_or_default();
    let name = route.sni.as_ref().map(|name| format!(" for {}", name.value)).unwrap_or_default();
    let conditions: String = route.conditions.iter().map(|condition| format!(" with {condition}")).collect();
    format!("{}: {methods}{}{name}{conditions}", listeners.join(", "), route.place())
}

/// What can be compared of a route: with names in the place of indices, and without its place in the file.
#[derive(PartialEq)]
struct Comparable {
    route: Route,
    upstreams: Vec<String>,
    /// What its file of API keys held when it was read.
    keys: Option<Keys>,
}

impl Comparable {
    fn of(plan: &Plan, made: &Made, route: &Route) -> Self {
        let upstreams = route.upstreams().map(|index| plan.upstreams[index].name.value.clone()).collect();
        let keys = route.rules.api_keys.as_ref().and_then(|keys| made.keys(&keys.file)).cloned();
        let mut route = Route { listeners: Vec::new(), span: 0..0, ..route.clone() };
        route.to.upstreams_mut().for_each(|upstream| *upstream = 0);
        let mut upstreams: Vec<String> = upstreams;
        if let Some(forward) = &mut route.rules.auth.forward {
            upstreams.push(plan.upstreams[std::mem::take(&mut forward.upstream)].name.value.clone());
        }
        Self { route, upstreams, keys }
    }
}

fn settings(old: &Plan, new: &Plan) -> Vec<String> {
    let changed = [
        ("runtime.drain", old.runtime.drain != new.runtime.drain),
        ("resolver", old.resolver != new.resolver),
        ("limits", old.limits != new.limits),
        ("map", old.maps != new.maps),
        ("store.path", old.store != new.store),
        ("store", old.rotation != new.rotation),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}

fn needs_restart(old: &Plan, new: &Plan) -> Vec<String> {
    let changed = [
        ("runtime.workers", old.runtime.workers != new.runtime.workers),
        ("runtime.cpus", old.runtime.cpus != new.runtime.cpus),
        ("runtime.driver", old.runtime.driver != new.runtime.driver),
        ("runtime.splice", old.runtime.splice != new.runtime.splice),
        ("process", old.process != new.process),
        ("admin", old.admin != new.admin),
        ("log", old.log != new.log),
        ("telemetry", old.otlp != new.otlp),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}

/// `new`, but for what only a start can change: that stays as it runs, and is reported again next time.
pub(super) fn as_it_runs(mut new: Plan, old: &Plan) -> Plan {
    let drain = new.runtime.drain;
    new.runtime = crate::config::plan::Runtime { drain, ..old.runtime.clone() };
    new.process.clone_from(&old.process);
    new.admin.clone_from(&old.admin);
    new.log.clone_from(&old.log);
    new.otlp.clone_from(&old.otlp);
    new
}
