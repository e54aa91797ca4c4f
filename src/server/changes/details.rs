//! What has changed in a listener or upstream, key by key.

use std::fmt::{Debug, Display};

use crate::config::plan::{At, Endpoint, Listener, Outliers, Upstream, UpstreamTls};

/// Entries of a list that are named; of more, how many there are.
const NAMED: usize = 5;

/// Changed keys, each with what it was and is where that is short.
#[derive(Default)]
struct Details(Vec<String>);

impl Details {
    fn value<T: PartialEq + Debug>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(format!("{key} {old:?} → {new:?}"));
        }
    }

    fn key<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(key.to_owned());
        }
    }

    fn list<T: PartialEq + Display>(&mut self, key: &str, old: &[T], new: &[T]) {
        let beyond = |some: &[T], others: &[T]| -> Vec<String> {
            some.iter().filter(|one| !others.contains(one)).map(ToString::to_string).collect()
        };
        let (added, removed) = (beyond(new, old), beyond(old, new));
        for (what, entries) in [("added", added), ("removed", removed)] {
            match entries.len() {
                0 => {}
                1..=NAMED => self.0.push(format!("{key}: {what} {}", entries.join(", "))),
                more => {
                    self.0.push(format!(
                        "{key}: {what} {} and {} more",
                        entries[..NAMED].join(", "),
                        more - NAMED
                    ));
                }
            }
        }
    }

    /// The keys; where none differs, what else it can be.
    fn or(self, otherwise: &str) -> Vec<String> {
        if self.0.is_empty() { vec![otherwise.to_owned()] } else { self.0 }
    }
}

/// From `old` to `new`, which differ.
pub(super) fn upstream(old: &Upstream, new: &Upstream) -> Vec<String> {
    let mut found = Details::default();
    endpoints(&mut found, &old.endpoints, &new.endpoints);
    found.key("balance", &old.balance, &new.balance);
    found.key("sticky", &old.sticky, &new.sticky);
    found.value("slow_start", &old.slow_start, &new.slow_start);
    found.value("http", &old.http.value, &new.http.value);
    found.value("timeouts.connect", &old.connect_timeout, &new.connect_timeout);
    found.value("timeouts.response", &old.response_timeout, &new.response_timeout);
    found.value("timeouts.idle", &old.idle_timeout, &new.idle_timeout);
    found.value("pool.idle_per_worker", &old.idle_per_worker, &new.idle_per_worker);
    found.value("pool.min_idle", &old.min_idle, &new.min_idle);
    found.value("pool.shared", &old.shared, &new.shared);
    found.value("pool.max_age", &old.max_age, &new.max_age);
    found.value("pool.max_per_endpoint", &old.max_per_endpoint, &new.max_per_endpoint);
    found.value("queue.length", &old.queue.length, &new.queue.length);
    found.value("queue.timeout", &old.queue.timeout, &new.queue.timeout);
    found.key("limits", &old.limits, &new.limits);
    found.key("limits.per_endpoint", &old.endpoint_limits, &new.endpoint_limits);
    found.key("health", &old.health, &new.health);
    found.value("health.passive", &old.outliers.passive, &new.outliers.passive);
    let outliers = |of: &Upstream| Outliers { passive: true, ..of.outliers.clone() };
    found.key("outliers", &outliers(old), &outliers(new));
    found.key("retries", &old.retries, &new.retries);
    found.key("mirror", &old.mirror, &new.mirror);
    found.key("proxy_protocol", &old.proxy_protocol, &new.proxy_protocol);
    let source =
        |of: &Upstream| of.bind_address.as_ref().map_or("none".to_owned(), |at| at.value.to_string());
    found.value("bind_address", &source(old), &source(new));
    match (&old.tls, &new.tls) {
        (None, None) => {}
        (None, Some(_)) => found.0.push("tls: added".to_owned()),
        (Some(_), None) => found.0.push("tls: removed".to_owned()),
        (Some(old), Some(new)) => tls(&mut found, old, new),
    }
    // A key of which nothing is known here has changed, if the whole has.
    found.or(if old == new {
        "the content of files that it names, or what its endpoints resolve to"
    } else {
        "other keys"
    })
}

fn endpoints(found: &mut Details, old: &[At<Endpoint>], new: &[At<Endpoint>]) {
    let addresses = |list: &[At<Endpoint>]| list.iter().map(|one| one.address.clone()).collect::<Vec<_>>();
    found.list("endpoints", &addresses(old), &addresses(new));
    for is in new {
        let was = old.iter().find(|was| was.address == is.address);
        if let Some(was) = was.filter(|was| was.weight != is.weight) {
            found.0.push(format!("endpoints: weight of {} {} → {}", is.address, was.weight, is.weight));
        }
    }
    for is in new {
        let was = old.iter().find(|was| was.address == is.address);
        if was.is_some_and(|was| was.backup != is.backup) {
            let what = if is.backup { "a backup" } else { "no backup" };
            found.0.push(format!("endpoints: {} is {what} now", is.address));
        }
    }
    for is in new {
        let was = old.iter().find(|was| was.address == is.address);
        if was.is_some_and(|was| was.drain != is.drain) {
            let what = if is.drain { "drained" } else { "used again" };
            found.0.push(format!("endpoints: {} is {what} now", is.address));
        }
    }
    let moved = addresses(old) != addresses(new) && found.0.is_empty();
    if moved {
        found.0.push("endpoints: order".to_owned());
    }
}

fn tls(found: &mut Details, old: &UpstreamTls, new: &UpstreamTls) {
    let name = |tls: &UpstreamTls| tls.server_name.as_ref().map_or("none".to_owned(), |at| at.value.clone());
    found.value("tls.server_name", &name(old), &name(new));
    found.key("tls.trust", &old.trust, &new.trust);
    found.key("tls.pins", &old.pins, &new.pins);
    found.key("tls.crl", &old.crl, &new.crl);
    found.value("tls.min_rsa_bits", &old.min_rsa_bits.bits(), &new.min_rsa_bits.bits());
    let unverified = |tls: &UpstreamTls| tls.insecure_skip_verify.is_some();
    found.value("tls.insecure_skip_verify", &unverified(old), &unverified(new));
    found.key("tls.certificate", &old.certificate, &new.certificate);
    found.value("tls.require_client_auth", &old.require_client_auth, &new.require_client_auth);
    found.key("tls.versions", &old.versions, &new.versions);
    found.key("tls.cipher_suites", &old.cipher_suites, &new.cipher_suites);
    found.key("tls.groups", &old.groups, &new.groups);
    found.value("tls.resumption.tickets_per_endpoint", &old.tickets_per_endpoint, &new.tickets_per_endpoint);
}

/// From `old` to `new`, which differ.
pub(super) fn listener(old: &Listener, new: &Listener) -> Vec<String> {
    let mut found = Details::default();
    let addresses =
        |listener: &Listener| listener.addresses.iter().map(|at| at.value.clone()).collect::<Vec<_>>();
    found.list("address", &addresses(old), &addresses(new));
    found.key("socket_mode", &old.socket_mode, &new.socket_mode);
    found.key("protocol", &old.protocol, &new.protocol);
    let environment =
        |of: &Listener| of.environment.as_ref().map_or("none".to_owned(), |at| at.value.clone());
    found.value("environment", &environment(old), &environment(new));
    found.key("http", &old.http, &new.http);
    found.key("udp", &old.udp, &new.udp);
    found.key("tls", &old.tls, &new.tls);
    found.key("proxy_protocol", &old.proxy_protocol, &new.proxy_protocol);
    found.key("limits", &old.limits, &new.limits);
    found.key("error_pages", &old.error_pages, &new.error_pages);
    found.value("proxy_status", &old.proxy_status, &new.proxy_status);
    found.key("request_id", &old.accept_request_id, &new.accept_request_id);
    found.key("compression", &old.compression, &new.compression);
    found.key("allow/deny", &old.permitted, &new.permitted);
    found.key("client_address", &old.client_address, &new.client_address);
    found.key("refuse", &old.refusals, &new.refusals);
    found.key("rate_limit", &old.rate_limit, &new.rate_limit);
    found.key("headers.request", &old.request_headers, &new.request_headers);
    found.key("headers.response", &old.response_headers, &new.response_headers);
    found.key("headers.when", &old.conditional_headers, &new.conditional_headers);
    found.or(if old == new { "the content of files that it names" } else { "other keys" })
}
