//! Discovery: endpoints that a name, a service or a file has, kept up to date without a reload.
//!
//! ```text
//! due ─► lookup ─► records: their TTL, within bounds, says when the next one is due
//!          ├─────► none:    what is known is kept for `resolver.ttl.max`, then dropped
//!          └─────► failed:  what is known is kept; the next lookup follows sooner
//! other endpoints than before ─► one snapshot, in which those that stay keep everything
//! ```
//!
//! Lookups wait on tokio: at the start and for a reload on a thread of their own, later on the discovery thread
//! ([`watch`]). Workers see snapshots only.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;

use self::dns::{Answer, Resolver, SERVFAIL};
use crate::base::address::Address;
use crate::base::limits::MAX_ADDRESSES;
use crate::config::plan;

mod dns;
mod file;
pub(crate) mod message;
pub(crate) mod overrides;
pub(crate) mod watch;

/// The longest time from a failed lookup to the next one.
const MOST_BACKOFF: Duration = Duration::from_secs(30);

/// Where endpoints are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// `dns:HOST:PORT`: the addresses of a name.
    Dns {
        /// The name.
        host: String,
        /// The port of each address.
        port: u16,
    },
    /// `srv:NAME`: the hosts of a service.
    Srv(String),
    /// `file:PATH`: a list.
    File(PathBuf),
}

impl Source {
    /// The source that an endpoint of the plan names, if it names one.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "dns" => {
                let (host, port) = rest.rsplit_once(':')?;
                Some(Self::Dns { host: host.to_ascii_lowercase(), port: port.parse().ok()? })
            }
            "srv" => Some(Self::Srv(rest.to_ascii_lowercase())),
            "file" => Some(Self::File(PathBuf::from(rest))),
            _ => None,
        }
    }

    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns { host, port } => write!(f, "dns:{host}:{port}"),
            Self::Srv(name) => write!(f, "srv:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// An endpoint that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// `HOST:PORT` or `unix:PATH`: its host is what TLS verifies.
    pub(crate) name: String,
    /// Its address.
    pub(crate) address: Address,
    /// Whether it is a backup: its SRV record has a priority above the lowest one in use.
    pub(crate) backup: bool,
    /// Its share; `None`: the one that the config gives the source.
    pub(crate) weight: Option<u32>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        let backup = if self.backup { ", backup" } else { "" };
        self.weight.map_or(Ok(()), |weight| write!(f, " (weight {weight}{backup})"))
    }
}

/// What is known of a source.
#[derive(Clone, Debug)]
pub(crate) struct Discovered {
    /// Its endpoints, in order.
    pub(crate) targets: Vec<Target>,
    /// When they were found, or found again.
    pub(crate) refreshed: Option<SystemTime>,
    /// For how long that holds, within the bounds; `None`: until the file changes.
    pub(crate) ttl: Option<Duration>,
    /// What was wrong with the last lookup, and when.
    pub(crate) problem: Option<(SystemTime, String)>,
    /// Lookups so far.
    pub(crate) lookups: u64,
    /// Those that failed or found nothing.
    pub(crate) failures: u64,
    /// When the next one is due; `None`: when the file changes.
    due: Option<Instant>,
    /// Failures since the last lookup that was none.
    in_a_row: u32,
    /// Since when there are no records.
    empty_since: Option<Instant>,
}

/// What one lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// Endpoints, for how long they hold, and what was wrong with a part of them.
    Targets(Vec<Target>, Option<Duration>, Option<String>),
    /// There are none; why, and for how long that holds.
    Empty(String, Option<Duration>),
    /// It is not known; why.
    Unknown(String),
}

impl Discovered {
    /// What a predecessor knew.
    pub(crate) fn handed(targets: Vec<Target>) -> Self {
        Self {
            targets,
            refreshed: None,
            ttl: None,
            problem: None,
            lookups: 0,
            failures: 0,
            due: None,
            in_a_row: 0,
            empty_since: None,
        }
    }

    /// What is known after a lookup, if `last` was before.
    fn after(last: Option<Self>, found: Found, bounds: &plan::Resolver, is_file: bool) -> Self {
        let now = Instant::now();
        let mut next = last.unwrap_or_else(|| Self::handed(Vec::new()));
        let within = |ttl: Duration| ttl.clamp(bounds.min, bounds.max);
        next.lookups += 1;
        let said = match found {
            Found::Targets(mut targets, ttl, problem) => {
                targets.sort_unstable();
                targets.dedup();
                (next.targets, next.ttl) = (targets, ttl.map(within));
                (next.refreshed, next.empty_since) = (Some(SystemTime::now()), None);
                let wait = match problem {
                    Some(_) => Some(next.back_off(bounds.min)),
                    None => next.ttl,
                };
                next.in_a_row = if problem.is_some() { next.in_a_row } else { 0 };
                next.due = wait.map(|wait| now + next.ttl.map_or(wait, |ttl| ttl.min(wait)));
                problem
            }
            Found::Empty(why, ttl) => {
                let since = *next.empty_since.get_or_insert(now);
                next.in_a_row = 0;
                let left = bounds.max.saturating_sub(now.duration_since(since));
                let wait = within(ttl.unwrap_or(bounds.min));
                if left.is_zero() {
                    next.targets.clear();
                    next.due = Some(now + wait);
                } else {
                    next.due = Some(now + wait.min(left));
                }
                Some(why)
            }
            Found::Unknown(why) => {
                let wait = next.back_off(bounds.min);
                // A file is read again when it changes.
                next.due = (!is_file || next.ttl.is_some()).then_some(now + wait);
                Some(why)
            }
        };
        next.failures += u64::from(said.is_some());
        next.problem = said.map(|why| (SystemTime::now(), why));
        next
    }

    /// How long to wait after one more failure.
    fn back_off(&mut self, least: Duration) -> Duration {
        let wait = least.saturating_mul(1 << self.in_a_row.min(6)).min(MOST_BACKOFF.max(least));
        self.in_a_row = self.in_a_row.saturating_add(1);
        wait
    }
}

/// Logs what is other in `found` than `before`, a line for each source.
pub(crate) fn log_changes(before: &BTreeMap<Source, Discovered>, found: &BTreeMap<Source, Discovered>) {
    for (source, is) in found {
        let was = before.get(source).map_or(&[][..], |was| &was.targets);
        let changes = change(was, &is.targets);
        if !changes.is_empty() {
            tracing::info!(%source, "endpoints changed: {changes}");
        }
    }
}

/// What was added and removed, in words.
fn change(was: &[Target], is: &[Target]) -> String {
    let beyond = |some: &[Target], others: &[Target]| -> Vec<String> {
        some.iter().filter(|one| !others.contains(one)).map(ToString::to_string).collect()
    };
    let parts = [("added", beyond(is, was)), ("removed", beyond(was, is))];
    let parts = parts.iter().filter(|(_, some)| !some.is_empty());
    parts.map(|(what, some)| format!("{what} {}", some.join(", "))).collect::<Vec<_>>().join("; ")
}

/// Does lookups, each within its own bounds, and returns what is known then, in their order.
pub(crate) fn look_up_all(
    settings: &plan::Resolver,
    asked: Vec<(Source, Option<Discovered>)>,
) -> Vec<(Source, Discovered)> {
    if asked.is_empty() {
        return Vec::new();
    }
    let sources: Vec<Source> = asked.iter().map(|(source, _)| source.clone()).collect();
    let work = async {
        let mut running = JoinSet::new();
        for (source, last) in asked {
            running.spawn(look_up(settings.clone(), source, last));
        }
        running.join_all().await
    };
    // A thread of its own: the caller's may have a runtime already.
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        Some(runtime.block_on(work))
    };
    let found = std::thread::scope(|scope| scope.spawn(run).join());
    let mut found = found.ok().flatten().unwrap_or_default();
    found.sort_by_key(|(source, _)| sources.iter().position(|asked| asked == source));
    found
}

/// One lookup, and what is known after it.
async fn look_up(settings: plan::Resolver, source: Source, last: Option<Discovered>) -> (Source, Discovered) {
    let known = last.as_ref().map_or(&[][..], |last| &last.targets);
    let found = match Resolver::new(&settings.servers) {
        Err(error) if source.file().is_none() => Found::Unknown(error),
        resolver => find(resolver.ok().as_ref(), &source, known).await,
    };
    let discovered = Discovered::after(last, found, &settings, source.file().is_some());
    (source, discovered)
}

async fn find(resolver: Option<&Resolver>, source: &Source, known: &[Target]) -> Found {
    match (source, resolver) {
        (Source::Dns { host, port }, Some(resolver)) => {
            host_targets(resolver, host, *port, None, known).await.found(&format!("`{host}` has no address"))
        }
        (Source::Srv(name), Some(resolver)) => service_targets(resolver, name, known).await,
        (Source::File(path), resolver) => file_targets(resolver, path, known).await,
        (_, None) => Found::Unknown("there is no resolver".to_owned()),
    }
}

/// What several lookups came to.
#[derive(Debug, Default)]
struct Gathered {
    targets: Vec<Target>,
    ttl: Option<Duration>,
    /// Why a part of them is not known. Of that part, what was known before is among the targets.
    failed: Option<String>,
    /// Whether any was found now.
    is_fresh: bool,
}

impl Gathered {
    fn holds_for(&mut self, ttl: Duration) {
        self.ttl = Some(self.ttl.map_or(ttl, |least| least.min(ttl)));
    }

    fn add(&mut self, other: Self) {
        self.targets.extend(other.targets);
        other.ttl.into_iter().for_each(|ttl| self.holds_for(ttl));
        self.failed = self.failed.take().or(other.failed);
        self.is_fresh |= other.is_fresh;
    }

    fn found(self, none: &str) -> Found {
        match (self.is_fresh, self.failed) {
            (false, Some(why)) => Found::Unknown(why),
            (false, None) => Found::Empty(none.to_owned(), self.ttl),
            (true, failed) => Found::Targets(self.targets, self.ttl, failed),
        }
    }
}

/// The addresses of a host, of both families. Of a family whose lookup fails, those that are known stay ([`is_empty`]).
async fn host_targets(
    resolver: &Resolver,
    host: &str,
    port: u16,
    weight: Option<u32>,
    known: &[Target],
) -> Gathered {
    let name = format!("{host}:{port}");
    let target = |address: IpAddr| Target {
        name: name.clone(),
        address: Address::Ip(SocketAddr::new(address, port)),
        backup: false,
        weight,
    };
    let mut gathered = Gathered::default();
    if let Some(addresses) = overrides::addresses(host, port) {
        gathered.targets = addresses.into_iter().map(target).collect();
        (gathered.ttl, gathered.is_fresh) = (Some(Duration::MAX), true);
        return gathered;
    }
    let kept = |v6: bool| -> Vec<IpAddr> {
        let own = known.iter().filter(|target| target.name == name);
        let addresses = own.filter_map(|target| Some(target.address.ip()?.ip()));
        addresses.filter(|address| address.is_ipv6() == v6).collect()
    };
    let answers: [_; 2] =
        tokio::join!(resolver.addresses(host, false), resolver.addresses(host, true)).into();
    let [has_v4, has_v6] = [0, 1].map(|index: usize| matches!(answers[index], Answer::Records(..)));
    let has_other = [has_v6, has_v4];
    let mut found = Vec::new();
    for (v6, answer) in [false, true].into_iter().zip(answers) {
        match answer {
            Answer::Records(addresses, ttl) => {
                gathered.holds_for(ttl);
                gathered.is_fresh = true;
                found.extend(addresses);
            }
            Answer::Empty(ttl) => ttl.into_iter().for_each(|ttl| gathered.holds_for(ttl)),
            Answer::Error(code, _) if has_other[usize::from(v6)] && is_empty(code, &kept(v6)) => {}
            Answer::Error(_, why) | Answer::Failed(why) => {
                found.extend(kept(v6));
                let family = if v6 { "AAAA" } else { "A" };
                gathered.failed = Some(format!("{host} {family}: {why}"));
            }
        }
    }
    let mut addresses: Vec<SocketAddr> = found.into_iter().map(|address| (address, port).into()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    let reachable = super::build::endpoints::reachable(addresses);
    gathered.targets = reachable.into_iter().map(|address| target(address.ip())).collect();
    gathered
}

/// Whether an error for one address family, while there are records of the other one, says that this family has no address.
/// A name server without records of a family may answer so to each question for it. SERVFAIL can be about this moment alone:
/// addresses that are known stay then.
fn is_empty(code: u8, known: &[IpAddr]) -> bool {
    code != SERVFAIL || known.is_empty()
}

/// The hosts of a service (RFC 2782): those of the lowest priority of which any has an address; those of all higher
/// priorities are backups.
async fn service_targets(resolver: &Resolver, name: &str, known: &[Target]) -> Found {
    let (mut services, ttl) = match resolver.services(name).await {
        Answer::Records(services, ttl) => (services, ttl),
        Answer::Empty(ttl) => return Found::Empty(format!("`{name}` has no SRV record"), ttl),
        Answer::Error(_, why) | Answer::Failed(why) => return Found::Unknown(format!("{name} SRV: {why}")),
    };
    // The target `.` says that the service is not offered.
    services.retain(|service| !service.target.is_empty());
    services.sort_by_key(|service| service.priority);
    services.truncate(MAX_ADDRESSES);
    let most = |priority: u16| {
        let equals = services.iter().filter(|service| service.priority == priority);
        equals.map(|service| service.weight).max().unwrap_or_default()
    };
    let hosts = services.iter().map(|service| {
        let weight = Some(share(service.weight, most(service.priority)));
        host_targets(resolver, &service.target, service.port, weight, known)
    });
    let mut gathered = Gathered { ttl: Some(ttl), ..Gathered::default() };
    // The lowest priority of which any host has an address.
    let mut in_use = None;
    for (service, host) in services.iter().zip(hosts) {
        let mut host = host.await;
        if !host.targets.is_empty() {
            let is_backup = *in_use.get_or_insert(service.priority) != service.priority;
            host.targets.iter_mut().for_each(|target| target.backup = is_backup);
        }
        gathered.add(host);
    }
    gathered.found(&format!("no host of `{name}` has an address"))
}

/// A weight of an SRV record as an endpoint's: 1 to 1000, in the proportions of the records.
fn share(weight: u16, most: u16) -> u32 {
    let most = u32::from(most).max(1000);
    (u32::from(weight) * 1000 / most).max(1)
}

/// The endpoints that a file lists. Names in it are looked up.
async fn file_targets(resolver: Option<&Resolver>, path: &Path, known: &[Target]) -> Found {
    let listed = match file::read(path) {
        Ok(listed) => listed,
        Err(error) => return Found::Unknown(error),
    };
    let mut gathered = Gathered::default();
    for (name, weight) in listed {
        if let Some(address) = Address::parse(&name) {
            gathered.targets.push(Target { name, address, backup: false, weight: Some(weight) });
            gathered.is_fresh = true;
            continue;
        }
        let host = name.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match (host, resolver) {
            (Some((host, port)), Some(resolver)) => {
                gathered.add(host_targets(resolver, host, port, Some(weight), known).await);
            }
            _ => gathered.failed = Some(format!("`{name}` can't be looked up: there is no name server")),
        }
    }
    gathered.found("none of its names has an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(min: u64, max: u64) -> plan::Resolver {
        let (min, max) = (Duration::from_secs(min), Duration::from_secs(max));
        plan::Resolver { servers: Vec::new(), min, max }
    }

    fn targets(text: &[&str]) -> Vec<Target> {
        let target = |text: &&str| Target {
            name: "app.test:80".to_owned(),
            address: Address::parse(text).unwrap(),
            backup: false,
            weight: None,
        };
        text.iter().map(target).collect()
    }

    fn records(text: &[&str], ttl: u64) -> Found {
        Found::Targets(targets(text), Some(Duration::from_secs(ttl)), None)
    }

    #[test]
    fn sources_are_read_as_they_are_shown() {
        for text in ["dns:app.test:80", "srv:_http._tcp.app.test", "file:/run/endpoints.toml"] {
            assert_eq!(Source::of(text).unwrap().to_string(), text);
        }
        for text in ["app.test:80", "10.0.0.1:80", "[::1]:80", "unix:/run/app.sock"] {
            assert_eq!(Source::of(text), None, "{text}");
        }
    }

    #[test]
    fn a_ttl_is_kept_within_its_bounds() {
        for (ttl, holds) in [(0, 2), (2, 2), (7, 7), (90_000, 60)] {
            let known = Discovered::after(None, records(&["127.0.0.1:80"], ttl), &bounds(2, 60), false);
            assert_eq!(known.ttl, Some(Duration::from_secs(holds)));
        }
    }

    #[test]
    fn the_last_good_answer_is_kept_when_a_lookup_fails() {
        let bounds = bounds(1, 60);
        let mut known =
            Discovered::after(None, records(&["127.0.0.2:80", "127.0.0.1:80"], 5), &bounds, false);
        assert_eq!(known.targets, targets(&["127.0.0.1:80", "127.0.0.2:80"]));
        for _ in 0..40 {
            known = Discovered::after(Some(known), Found::Unknown("SERVFAIL".to_owned()), &bounds, false);
            let wait = known.due.unwrap() - Instant::now();
            assert!(wait <= MOST_BACKOFF, "{wait:?}");
        }
        assert_eq!((known.targets.len(), known.failures, known.lookups), (2, 40, 41));
        assert!(known.problem.is_some());
        let known = Discovered::after(Some(known), records(&["127.0.0.3:80"], 5), &bounds, false);
        assert_eq!((known.targets, known.problem), (targets(&["127.0.0.3:80"]), None));
    }

    #[test]
    fn a_part_that_fails_is_looked_up_again_before_the_ttl_is_over() {
        let bounds = bounds(1, 60);
        for ttl in [None, Some(Duration::from_secs(50))] {
            let found = Found::Targets(targets(&["127.0.0.1:80"]), ttl, Some("SERVFAIL".to_owned()));
            let known = Discovered::after(None, found, &bounds, false);
            assert!(known.due.unwrap() - Instant::now() <= Duration::from_secs(1), "{known:?}");
        }
        let kept = Gathered { targets: targets(&["127.0.0.1:80"]), ..Gathered::default() };
        let failed = Gathered { failed: Some("silence".to_owned()), ..kept };
        assert_eq!(failed.found("none"), Found::Unknown("silence".to_owned()));
    }

    #[test]
    fn an_empty_answer_must_last_before_the_endpoints_are_dropped() {
        let found = || Found::Empty("NXDOMAIN".to_owned(), None);
        let (short, long) = (bounds(0, 0), bounds(1, 60));
        let known = Discovered::after(None, records(&["127.0.0.1:80"], 5), &long, false);
        let kept = Discovered::after(Some(known), found(), &long, false);
        assert_eq!(kept.targets.len(), 1);
        assert!(Discovered::after(Some(kept), found(), &short, false).targets.is_empty());
    }

    #[test]
    fn a_change_names_what_was_added_and_removed() {
        let (was, is) =
            (targets(&["127.0.0.1:80", "127.0.0.2:80"]), targets(&["127.0.0.2:80", "127.0.0.3:80"]));
        assert_eq!(change(&was, &is), "added 127.0.0.3:80; removed 127.0.0.1:80");
        assert_eq!(change(&was, &was), "");
    }

    #[test]
    fn an_error_for_one_family_says_that_it_is_empty_unless_addresses_may_be_lost() {
        let known = ["::1".parse::<IpAddr>().unwrap()];
        for (code, known, empty) in
            [(5, &[][..], true), (SERVFAIL, &[], true), (5, &known, true), (SERVFAIL, &known, false)]
        {
            assert_eq!(is_empty(code, known), empty, "{code} {known:?}");
        }
    }

    #[test]
    fn weights_of_srv_records_keep_their_proportions() {
        assert_eq!([share(0, 0), share(1, 10), share(10, 10), share(0, 10)], [1, 1, 10, 1]);
        assert_eq!([share(65_535, 65_535), share(30_000, 60_000), share(1, 60_000)], [1000, 500, 1]);
    }
}
