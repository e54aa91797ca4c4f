//! Endpoints: each address that a name of the config resolves to is an endpoint of its own.
//!
//! Names are resolved at the start and at each reload. A name that does not resolve keeps the addresses that it had;
//! without any, its endpoint has no address until a later attempt finds one.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::Builder;
use crate::base::address::Address;
use crate::base::limits::MAX_ADDRESSES;
use crate::config::plan;
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::server::discovery::{Source, overrides};

/// Gives the addresses of a `HOST:PORT`. It may block.
pub type Resolve<'a> = &'a (dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Sync);

/// Names that are resolved at a time.
const AT_ONCE: usize = 16;

/// Resolves by `--resolve`, or else by the system, which may query name servers.
///
/// # Errors
/// The name does not resolve, to any address or for now.
pub fn system(name: &str) -> io::Result<Vec<SocketAddr>> {
    let given = name.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse().ok()?;
        Some(overrides::addresses(host, port)?.into_iter().map(|address| (address, port).into()).collect())
    });
    let addresses: Vec<SocketAddr> = match given {
        Some(given) => given,
        None => name.to_socket_addrs()?.collect(),
    };
    match addresses.is_empty() {
        true => Err(io::Error::other("it has no address")),
        false => Ok(addresses),
    }
}

/// Resolves `names` with several threads; the answers are in their order.
pub fn resolve_all(names: &[&str], resolve: Resolve<'_>) -> Vec<io::Result<Vec<SocketAddr>>> {
    let mut answers = Vec::with_capacity(names.len());
    for some in names.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|name| scope.spawn(|| resolve(name))).collect();
            let panicked = |_| Err(io::Error::other("the resolver panicked"));
            answers.extend(asked.into_iter().map(|asking| asking.join().unwrap_or_else(panicked)));
        });
    }
    answers
}

impl Builder<'_> {
    /// Resolves all names of the plan, each once.
    pub(super) fn resolve(&mut self) {
        let named = self.plan.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        let mut names: Vec<&str> = named.map(|at| &*at.value.address).collect();
        names.retain(|name| Address::parse(name).is_none() && Source::of(name).is_none());
        names.sort_unstable();
        names.dedup();
        if self.refreshes {
            names.retain(|name| self.known("", name).is_empty());
        }
        let answers = resolve_all(&names, self.resolver);
        let answers = answers.into_iter().map(|answer| answer.map_err(|error| error.to_string()));
        self.resolved = names.into_iter().map(str::to_owned).zip(answers).collect();
    }

    /// The endpoints of an upstream. An upstream that runs with addresses is not left without any.
    pub(super) fn endpoints(&mut self, upstream: &plan::Upstream) -> Option<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        for at in &upstream.endpoints {
            if let Some(source) = Source::of(&at.address) {
                self.discovered_endpoints(upstream, at, &source, &mut endpoints);
                continue;
            }
            let addresses = self.addresses(&upstream.name, at);
            let addresses = self.of_family(upstream, at, addresses);
            // Name servers give their answers in any order.
            let mut sorted = addresses.clone();
            sorted.sort_unstable();
            self.note(format!("{sorted:?}").as_bytes());
            let several = addresses.len() > 1;
            let found = addresses.into_iter().map(Some);
            let none = found.len() == 0;
            for address in found.chain(none.then_some(None)) {
                let mut endpoint = Endpoint::new(at.address.clone(), address, at.weight, several);
                (endpoint.backup, endpoint.drain) = (at.backup, at.drain);
                self.add(upstream, endpoint, &mut endpoints);
            }
        }
        let is_reached = |endpoint: &Endpoint| endpoint.address.is_some();
        let runs = self.previous.and_then(|previous| previous.made.upstream(&upstream.name));
        if !self.refreshes
            && !endpoints.iter().any(is_reached)
            && runs.is_some_and(|runs| runs.endpoints.iter().any(is_reached))
        {
            let title = format!("`{}` would be left without an address", *upstream.name);
            let help = "what runs has one: correct the names, or restart to run without";
            self.wrong(&upstream.name.span, title, Some(help));
            return None;
        }
        Some(endpoints)
    }

    /// Those of a name's addresses that `bind_address` can reach.
    fn of_family(
        &mut self,
        upstream: &plan::Upstream,
        at: &plan::At<plan::Endpoint>,
        mut addresses: Vec<Address>,
    ) -> Vec<Address> {
        let Some(source) = upstream.bind_address.as_ref().map(|at| at.value) else { return addresses };
        let found = addresses.len();
        addresses.retain(|address| address.ip().is_none_or(|address| address.is_ipv4() == source.is_ipv4()));
        if found > 0 && addresses.is_empty() && !self.refreshes {
            let title = format!("`{}` has no address that `bind_address` {source} can reach", at.address);
            let help =
                "all of its addresses are of the other family: the endpoint has none until that changes";
            self.problems.warning(at.span.clone(), title, Some(help.to_owned()));
        }
        addresses
    }

    /// What an endpoint's name resolves to: none if it does not, and never did.
    fn addresses(&mut self, upstream: &str, at: &plan::At<plan::Endpoint>) -> Vec<Address> {
        let name = &at.address;
        if let Some(address) = Address::parse(name) {
            return vec![address];
        }
        let known = self.known(upstream, name);
        if self.refreshes && !known.is_empty() {
            return known;
        }
        let error = match self.resolved.get(name) {
            Some(Ok(addresses)) => {
                let mut addresses = reachable(distinct(addresses));
                if addresses.len() > MAX_ADDRESSES {
                    let title =
                        format!("`{name}` has {} addresses: {MAX_ADDRESSES} are used", addresses.len());
                    self.problems.warning(at.span.clone(), title, None);
                    addresses.truncate(MAX_ADDRESSES);
                }
                return addresses.into_iter().map(Address::Ip).collect();
            }
            Some(Err(error)) => error.clone(),
            None => "it was not looked up".to_owned(),
        };
        if self.refreshes {
            return Vec::new();
        }
        let title = format!("`{name}` does not resolve: {error}");
        let help = if known.is_empty() {
            "the endpoint has no address until the name resolves (it is looked up every 10 seconds): requests \
             that find no other endpoint are answered with 502"
                .to_owned()
        } else {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            format!("the addresses that it had are used on: {}", known.join(", "))
        };
        self.problems.warning(at.span.clone(), title, Some(help));
        known
    }

    /// The addresses that a name has in what runs, of this upstream or else of another one.
    fn known(&self, upstream: &str, name: &str) -> Vec<Address> {
        let of = |upstream: &Upstream| -> Vec<Address> {
            let named = upstream.endpoints.iter().filter(|endpoint| endpoint.name == name);
            named.filter_map(|endpoint| endpoint.address.clone()).collect()
        };
        let all =
            || self.previous.iter().flat_map(|previous| &previous.made.upstreams).map(|made| &made.upstream);
        let own = all().filter(|it| it.name == upstream).map(|it| of(it));
        let runs = own.chain(all().map(|it| of(it))).find(|found| !found.is_empty());
        let handed = || self.heritage.map(|heritage| heritage.addresses(name));
        runs.or_else(handed).unwrap_or_default()
    }

    /// The endpoint as it runs, if it does, and is none of `others`.
    pub(super) fn runs(&self, upstream: &str, endpoint: &Endpoint, others: &[Endpoint]) -> Option<&Endpoint> {
        let upstream = self.previous?.made.upstream(upstream)?;
        let is_other = |known: &Endpoint| others.iter().any(|other| Arc::ptr_eq(&other.state, &known.state));
        upstream.endpoints.iter().find(|known| known.is_same(endpoint) && !is_other(known))
    }
}

/// Each once, in their order.
fn distinct(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut seen = FxHashSet::default();
    addresses.iter().copied().filter(|address| seen.insert(*address)).collect()
}

/// Those that this host has a route to, or all if it has one to none: a host without IPv6 would try half of the
/// addresses of most names in vain, again and again.
pub(crate) fn reachable(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let routed: Vec<SocketAddr> = addresses.iter().copied().filter(has_route).collect();
    if routed.is_empty() { addresses } else { routed }
}

/// Whether the kernel finds a route. Connecting a UDP socket sends nothing.
fn has_route(address: &SocketAddr) -> bool {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    // Out of descriptors, for example: that proves nothing about the route.
    let unknown = |error: io::Error| {
        let family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
        !matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
            && error.raw_os_error() != Some(family)
    };
    UdpSocket::bind(any).and_then(|socket| socket.connect(address)).map_or_else(unknown, |()| true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::super::{Assembly, Previous, assemble_with, refresh};
    use super::*;
    use crate::config::{self, Diagnostics, Plan};

    const CONFIG: &str = "[[listener]]\nname = 'a'\naddress = '127.0.0.1:0'\n[[route]]\nupstream = 'u'\n\
        [upstream.u]\nendpoints = [{ address = 'app.test:80', weight = 3 }, '127.0.0.1:81']\n\
        pool = { max_per_endpoint = 2 }\n";

    fn addresses(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Assembles [`CONFIG`] where its name resolves to `found`.
    fn built(found: &[&str], before: Option<&(Plan, Assembly)>) -> ((Plan, Assembly), Diagnostics) {
        let plan = config::parse("test.toml", CONFIG, Path::new(".")).unwrap();
        let mut problems = Diagnostics::new("test.toml", CONFIG);
        let resolve = |name: &str| {
            assert_eq!(name, "app.test:80");
            let found = addresses(found);
            if found.is_empty() { Err(io::Error::other("the name does not exist")) } else { Ok(found) }
        };
        let previous = before.map(|(plan, assembly)| Previous {
            plan,
            running: &assembly.running,
            made: &assembly.made,
        });
        let assembly = assemble_with(&plan, previous, &resolve, &mut problems).unwrap();
        ((plan, assembly), problems)
    }

    fn labels(of: &(Plan, Assembly)) -> Vec<&str> {
        of.1.running.upstreams[0].endpoints.iter().map(|endpoint| &*endpoint.label).collect()
    }

    #[test]
    fn each_address_of_a_name_is_an_endpoint_with_the_weight_of_the_name() {
        let (built, problems) = built(&["127.0.0.2:80", "127.0.0.1:80"], None);
        assert_eq!(labels(&built), ["app.test/127.0.0.2:80", "app.test/127.0.0.1:80", "127.0.0.1:81"]);
        let endpoints = &built.1.running.upstreams[0].endpoints;
        assert_eq!(endpoints.iter().map(|it| it.weight).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!((&*endpoints[0].name, &*endpoints[1].name), ("app.test:80", "app.test:80"));
        assert!(problems.is_empty(), "{problems}");
    }

    #[test]
    fn answers_in_another_order_change_nothing_and_other_answers_keep_what_is_known_of_the_rest() {
        let (first, _) = built(&["127.0.0.2:80", "127.0.0.1:80"], None);
        let (same, _) = built(&["127.0.0.1:80", "127.0.0.2:80"], Some(&first));
        assert!(Arc::ptr_eq(&first.1.running.upstreams[0], &same.1.running.upstreams[0]));
        let (other, _) = built(&["127.0.0.3:80", "127.0.0.2:80"], Some(&same));
        assert_eq!(labels(&other), ["app.test/127.0.0.3:80", "app.test/127.0.0.2:80", "127.0.0.1:81"]);
        let state =
            |of: &(Plan, Assembly), at: usize| Arc::clone(&of.1.running.upstreams[0].endpoints[at].state);
        assert!(Arc::ptr_eq(&state(&first, 0), &state(&other, 1)));
        assert!(!Arc::ptr_eq(&state(&first, 1), &state(&other, 0)));
    }

    #[test]
    fn a_name_that_does_not_resolve_keeps_its_addresses_or_starts_without() {
        let (none, problems) = built(&[], None);
        assert_eq!(labels(&none), ["app.test:80", "127.0.0.1:81"]);
        assert_eq!(none.1.running.upstreams[0].endpoints[0].address, None);
        assert!(problems.to_string().contains("`app.test:80` does not resolve: the name does not exist"));
        assert!(problems.clone().into_result().is_ok(), "{problems}");
        let (one, _) = built(&["127.0.0.9:80"], Some(&none));
        assert_eq!(labels(&one), ["app.test:80", "127.0.0.1:81"]);
        let (kept, problems) = built(&[], Some(&one));
        assert!(problems.to_string().contains("are used on: 127.0.0.9:80"), "{problems}");
        assert!(Arc::ptr_eq(&one.1.running.upstreams[0], &kept.1.running.upstreams[0]));
    }

    #[test]
    fn an_upstream_that_has_addresses_is_not_left_without_any() {
        let text = |name: &str| CONFIG.replace("app.test:80", name).replace(", '127.0.0.1:81'", "");
        let load = |text: &str, previous: Option<Previous<'_>>| {
            let plan = config::parse("test.toml", text, Path::new(".")).unwrap();
            let mut problems = Diagnostics::new("test.toml", text);
            let resolve = |_: &str| Err(io::Error::other("the name does not exist"));
            let assembly = assemble_with(&plan, previous, &resolve, &mut problems);
            (plan, assembly, problems)
        };
        let (plan, assembly, _) = load(&text("127.0.0.1:80"), None);
        let assembly = assembly.unwrap();
        let previous = Previous { plan: &plan, running: &assembly.running, made: &assembly.made };
        let (_, refused, problems) = load(&text("new.test:80"), Some(previous));
        assert!(refused.is_none() && problems.to_string().contains("without an address"), "{problems}");
        let (plan, assembly, _) = load(&text("new.test:80"), None);
        let assembly = assembly.unwrap();
        let previous = Previous { plan: &plan, running: &assembly.running, made: &assembly.made };
        assert!(load(&text("new.test:80"), Some(previous)).1.is_some(), "it has none as it runs");
    }

    #[test]
    fn a_refresh_resolves_only_what_has_no_address() {
        let (none, _) = built(&[], None);
        let refreshed = |before: &(Plan, Assembly), resolve: Resolve<'_>| {
            let previous = Previous { plan: &before.0, running: &before.1.running, made: &before.1.made };
            refresh(previous, resolve, &BTreeMap::new(), &mut Diagnostics::new("", "")).unwrap()
        };
        let found = refreshed(&none, &|_| Ok(addresses(&["127.0.0.9:80", "127.0.0.8:80"])));
        let after = (none.0, found);
        assert_eq!(labels(&after), ["app.test/127.0.0.9:80", "app.test/127.0.0.8:80", "127.0.0.1:81"]);
        let again = refreshed(&after, &|name| panic!("{name} has addresses"));
        assert!(Arc::ptr_eq(&after.1.running.upstreams[0], &again.running.upstreams[0]));
    }

    #[test]
    fn addresses_are_counted_once_and_bounded() {
        let twice = ["127.0.0.2:80", "127.0.0.3:80", "127.0.0.2:80"];
        assert_eq!(built(&twice, None).0.1.running.upstreams[0].endpoints.len(), 3);
        let many: Vec<String> =
            (0..=MAX_ADDRESSES).map(|at| format!("127.1.{}.{}:80", at / 256, at % 256)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (built, problems) = built(&many, None);
        assert_eq!(labels(&built).len(), MAX_ADDRESSES + 1);
        assert!(problems.to_string().contains("addresses: "), "{problems}");
    }

    #[test]
    fn addresses_without_a_route_are_left_out_unless_there_are_no_others() {
        let good = addresses(&["127.0.0.1:80"]);
        assert_eq!(reachable(good.clone()), good);
        let mixed = addresses(&["[2001:db8::1]:80", "127.0.0.1:80"]);
        let kept = reachable(mixed.clone());
        assert!(kept.contains(&mixed[1]) && kept.contains(&mixed[0]) == has_route(&mixed[0]), "{kept:?}");
        let none = addresses(&["[2001:db8::1]:80", "[2001:db8::2]:80"]);
        assert_eq!(reachable(none.clone()), none, "none or both have a route");
    }
}
