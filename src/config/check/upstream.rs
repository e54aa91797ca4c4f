//! `[upstream.NAME]`

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::base::address::{Address, UNIX};
use crate::config::file::{Errors, Section, Value};
use crate::config::names;
use crate::config::plan::{
    At, Balance, CircuitLimits, Endpoint, HashBy, Outliers, Plan, Protocol, Queue, Retries, Upstream,
};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::http::BackendHttp;
use crate::proxy_protocol::Version;

use super::{backend_tls, balance, health, mirror, outliers, retries, sticky};

const MAX_WEIGHT: usize = 1000;
/// More idle connections to one endpoint than it has ports make no sense.
const MAX_IDLE_PER_WORKER: usize = 65_535;
/// Exchanges at one endpoint: more than it has ports make no sense.
const MAX_PER_ENDPOINT: usize = 65_535;
/// What waits holds its client's connection and its head.
const MAX_QUEUE: usize = 1_000_000;

/// The upstreams, and their overlays for environments. `None` if there is no telling what they are.
pub(super) fn upstreams(root: &mut Section<'_>, dir: &Path) -> Option<(Vec<Upstream>, Vec<Upstream>)> {
    let Some(value) = root.get("upstream") else {
        return (!root.misspells_missing("upstream")).then(Default::default);
    };
    if !value.is_table() {
        value.wrong_type("tables", Some("an upstream has a name: write [upstream.NAME]".into()));
        return None;
    }
    let section = value.section()?;
    let (mut upstreams, mut overlays) = (Vec::new(), Vec::new());
    for (key, value) in section.all() {
        if let Err(Wrong { title, help }) = names::name(key.value) {
            root.errors().borrow_mut().error(key.span.clone(), format!("`upstream`: {title}"), help);
        }
        let name = At { value: key.value.to_owned(), span: key.span };
        if !value.is_table() {
            let help = format!("an upstream has a name: write [upstream.NAME] above `{}`", key.value);
            value.wrong_type("a table", Some(help));
        } else if let Some(section) = value.section() {
            let mut section = section;
            overlays.extend(environments(&name, &mut section, dir));
            upstreams.push(upstream(name, None, section, dir));
        }
    }
    Some((upstreams, overlays))
}

/// `[upstream.NAME.environment.*]`: the upstream once more for each, with the overlay's keys before its own.
fn environments(name: &At<String>, base: &mut Section<'_>, dir: &Path) -> Vec<Upstream> {
    let Some(section) = base.section("environment") else { return Vec::new() };
    let mut overlays = Vec::new();
    for (key, value) in section.all() {
        if let Err(Wrong { title, help }) = names::name(key.value) {
            base.errors().borrow_mut().error(key.span.clone(), format!("`environment`: {title}"), help);
        }
        let named = Upstream::overlaid_name(name, key.value);
        if let Some(section) = value.section() {
            let environment = At { value: key.value.to_owned(), span: key.span.clone() };
            let named = At { value: named, span: key.span };
            overlays.push(upstream(named, Some(environment), section.over(base), dir));
        }
    }
    overlays
}

fn upstream(
    name: At<String>,
    environment: Option<At<String>>,
    mut section: Section<'_>,
    dir: &Path,
) -> Upstream {
    let errors = section.errors();
    let example = "[\"127.0.0.1:9000\"]";
    let endpoints = section.require("endpoints", example).and_then(|value| value.list(example));
    let endpoints = endpoints_of(endpoints.unwrap_or_default(), dir);
    let balance = balance::balance(&mut section);
    let mut upstream = Upstream {
        name,
        environment,
        endpoints,
        balance,
        sticky: None,
        slow_start: Duration::ZERO,
        http: At { value: BackendHttp::Http11, span: 0..0 },
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(60),
        idle_per_worker: 256,
        min_idle: 0,
        shared: true,
        max_age: Duration::from_secs(3600),
        max_per_endpoint: 0,
        queue: Queue::default(),
        limits: CircuitLimits::default(),
        endpoint_limits: CircuitLimits::default(),
        health: None,
        outliers: Outliers::default(),
        retries: Retries::default(),
        mirror: None,
        proxy_protocol: None,
        bind_address: None,
        tls: None,
    };
    upstream.sticky = section.get("sticky").and_then(|value| sticky::sticky(&value, dir));
    if let Some(duration) = section.get("slow_start").and_then(|value| value.duration(true)) {
        upstream.slow_start = duration;
    }
    http(&mut section, &mut upstream);
    if let Some(section) = section.section("timeouts") {
        timeouts(section, &mut upstream);
    }
    section.section("pool").into_iter().for_each(|section| pool(section, &mut upstream));
    section.get("queue").iter().for_each(|value| queue(value, &mut upstream));
    if let Some(section) = section.section("retries") {
        retries::retries(section, &mut upstream);
    }
    if let Some(section) = section.section("limits") {
        circuits(section, &mut upstream);
    }
    upstream.tls = section.section("tls").map(|section| backend_tls::tls(section, dir));
    if let Some(section) = section.section("health") {
        health::health(section, &mut upstream);
    }
    if let Some(section) = section.section("outliers") {
        outliers::outliers(section, &mut upstream.outliers);
    }
    upstream.mirror = section.section("mirror").and_then(mirror::mirror);
    let words = [("off", None), ("v1", Some(Version::V1)), ("v2", Some(Version::V2))];
    upstream.proxy_protocol = section.get("proxy_protocol").and_then(|value| value.choice(&words)).flatten();
    upstream.bind_address =
        section.get("bind_address").and_then(|value| value.parse("\"10.0.0.9\"", names::source_address));
    if upstream.min_idle > 0 && (upstream.proxy_protocol.is_some() || has_names_of_requests(&upstream)) {
        let help = "leave `pool.min_idle` out, or set `tls.server_name` and leave `proxy_protocol` out";
        section.error(
            "`pool.min_idle` has no effect: each connection is made for one client or one name",
            Some(help.into()),
        );
    }
    section.finish();
    if let Some(source) = &upstream.bind_address {
        source_fits(errors, source, &upstream.endpoints);
    }
    upstream
}

/// Endpoints that are addresses of the other family can't be connected to from the source address.
fn source_fits(errors: &Errors, source: &At<IpAddr>, endpoints: &[At<Endpoint>]) {
    for endpoint in endpoints {
        let Some(Address::Ip(address)) = Address::parse(&endpoint.address) else { continue };
        if address.is_ipv4() != source.is_ipv4() {
            let title =
                format!("{} cannot be reached from `bind_address` {}", quoted(&endpoint.address), **source);
            let help = "one is an IPv4 address, the other an IPv6 address: choose another source address, or leave it out";
            errors.borrow_mut().error(endpoint.span.clone(), title, Some(help.to_owned()));
        }
    }
}

fn endpoints_of(list: Vec<Value<'_>>, dir: &Path) -> Vec<At<Endpoint>> {
    let mut seen = HashSet::new();
    let mut endpoints = Vec::new();
    for value in list {
        let Some(endpoint) = endpoint(&value, dir) else { continue };
        if !seen.insert(endpoint.address.clone()) {
            let title = format!("{} is listed twice", quoted(&endpoint.address));
            value.error(&title, Some("give it more of the traffic with { address, weight }".into()));
        }
        endpoints.push(At { value: endpoint, span: value.span() });
    }
    endpoints
}

/// `"HOST:PORT"` or `{ address = "HOST:PORT", weight = 2 }`.
fn endpoint(value: &Value<'_>, dir: &Path) -> Option<Endpoint> {
    let address = |text: &str| names::endpoint(text, dir);
    let example = "\"10.0.0.1:8443\"";
    if !value.is_table() {
        let form = "\"10.0.0.1:8443\" or a table { address = \"10.0.0.1:8443\", weight = 2 }";
        return value.parse(form, address).map(|address| Endpoint {
            address: address.value,
            weight: 1,
            backup: false,
            drain: false,
        });
    }
    let mut section = value.section()?;
    let address = section.require("address", example).and_then(|value| value.parse(example, address));
    let weight = section.get("weight");
    let own_weights =
        address.as_ref().filter(|at| ["srv:", "file:"].iter().any(|kind| at.value.starts_with(kind)));
    if let (Some(value), Some(at)) = (&weight, own_weights) {
        let title = format!("{} has weights of its own", quoted(&at.value));
        value.error(
            &title,
            Some("leave `weight` out: the SRV records, or the file, have one for each endpoint".into()),
        );
    }
    let weight = weight.map_or(Some(1), |value| value.number(1..=MAX_WEIGHT));
    let backup = section.get("backup").map_or(Some(false), |value| value.boolean());
    let drain = section.get("drain").map_or(Some(false), |value| value.boolean());
    section.finish();
    let weight = u32::try_from(weight?).ok()?;
    Some(Endpoint { address: address?.value, weight, backup: backup?, drain: drain? })
}

/// Whether the name that TLS verifies is that of the request.
fn has_names_of_requests(upstream: &Upstream) -> bool {
    upstream.tls.as_ref().is_some_and(|tls| tls.server_name.is_none())
}

/// A tcp connection has no host, and a Unix socket has none either: TLS needs a name to verify.
pub(super) fn names_of_tcp(plan: &Plan, errors: &Errors) {
    for (index, upstream) in plan.upstreams.iter().enumerate() {
        if !has_names_of_requests(upstream) || plan.speaks_http(index) {
            continue;
        }
        for endpoint in upstream.endpoints.iter().filter(|at| at.address.starts_with(UNIX)) {
            let title = format!("{} has no name that TLS could verify", quoted(&endpoint.address));
            let help = "set `tls.server_name` of this upstream: tcp connections name no host, and a Unix socket has none";
            errors.borrow_mut().error(endpoint.span.clone(), title, Some(help.to_owned()));
        }
    }
}

/// Refuses what is read from HTTP requests on upstreams that tcp and udp listeners alone use.
pub(super) fn http_alone(plan: &Plan, errors: &Errors) {
    // An overlay has the values of its upstream, and their places.
    let mut seen: Vec<Range<usize>> = Vec::new();
    let mut refuse = |span: &Range<usize>, upstream: &Upstream, key: &str, help: &str| {
        if !seen.contains(span) {
            let name = quoted(upstream.base_name());
            let title = format!("`{key}` has no effect: only tcp and udp listeners use {name}");
            errors.borrow_mut().error(span.clone(), title, Some(help.to_owned()));
            seen.push(span.clone());
        }
    };
    for (index, upstream) in plan.upstreams.iter().enumerate() {
        if plan.speaks_http(index) || plan.serves(index, |protocol| protocol == Protocol::Http) {
            continue;
        }
        if let Some(sticky) = &upstream.sticky {
            let help = "leave it out; `balance = \"hash\"` with `hash.by = \"client-address\"` keeps a client at one endpoint";
            refuse(&sticky.span, upstream, "sticky", help);
        }
        if upstream.http.value != BackendHttp::Http11 {
            let help = "leave it out: these listeners relay what their clients send";
            refuse(&upstream.http.span, upstream, "http", help);
        }
        if let Some(mirror) = &upstream.mirror {
            let help = "leave it out: only HTTP requests can be mirrored";
            refuse(&mirror.upstream.span, upstream, "mirror", help);
        }
        match &upstream.balance {
            Balance::Hash(hash) if hash.by.value != HashBy::ClientAddress => {
                let help = "these listeners know the client's address alone: write `by = \"client-address\"`";
                refuse(&hash.by.span, upstream, "hash.by", help);
            }
            _ => {}
        }
    }
}

fn http(section: &mut Section<'_>, upstream: &mut Upstream) {
    let words = [("1.1", BackendHttp::Http11), ("2", BackendHttp::Http2), ("auto", BackendHttp::Auto)];
    if let Some(value) = section.get("http")
        && let Some(http) = value.choice(&words)
    {
        upstream.http = At { value: http, span: value.span() };
    }
}

fn timeouts(mut section: Section<'_>, upstream: &mut Upstream) {
    for (key, timeout) in [
        ("connect", &mut upstream.connect_timeout),
        ("response", &mut upstream.response_timeout),
        ("idle", &mut upstream.idle_timeout),
    ] {
        if let Some(duration) = section.get(key).and_then(|value| value.duration(false)) {
            *timeout = duration;
        }
    }
    section.finish();
}

fn pool(mut section: Section<'_>, upstream: &mut Upstream) {
    if let Some(count) =
        section.get("idle_per_worker").and_then(|value| value.number(0..=MAX_IDLE_PER_WORKER))
    {
        upstream.idle_per_worker = count;
    }
    if let Some(count) = section.get("min_idle").and_then(|value| value.number(0..=MAX_IDLE_PER_WORKER)) {
        upstream.min_idle = count;
    }
    if let Some(shared) = section.get("shared").and_then(|value| value.boolean()) {
        upstream.shared = shared;
    }
    if let Some(duration) = section.get("max_age").and_then(|value| value.duration(false)) {
        upstream.max_age = duration;
    }
    if let Some(value) = section.get("max_per_endpoint") {
        // After an error there is a bound all the same: the queue has its use.
        upstream.max_per_endpoint = value.number(0..=MAX_PER_ENDPOINT).unwrap_or(1);
    }
    section.finish();
}

/// `limits`
fn circuits(mut section: Section<'_>, upstream: &mut Upstream) {
    if let Some(section) = section.section("per_endpoint") {
        circuit(section, &mut upstream.endpoint_limits);
    }
    circuit(section, &mut upstream.limits);
}

fn circuit(mut section: Section<'_>, limits: &mut CircuitLimits) {
    for (key, most) in [
        ("connections", &mut limits.connections),
        ("pending", &mut limits.pending),
        ("requests", &mut limits.requests),
    ] {
        if let Some(count) = section.get(key).and_then(|value| value.number(0..=MAX_QUEUE)) {
            *most = count as u64;
        }
    }
    section.finish();
}

/// `queue`, which is meaningless where nothing bounds the exchanges.
fn queue(value: &Value<'_>, upstream: &mut Upstream) {
    let Some(mut section) = value.section() else { return };
    if let Some(length) = section.get("length").and_then(|value| value.number(0..=MAX_QUEUE)) {
        upstream.queue.length = length;
    }
    if let Some(duration) = section.get("timeout").and_then(|value| value.duration(false)) {
        upstream.queue.timeout = duration;
    }
    section.finish();
    if upstream.max_per_endpoint == 0 {
        value.error(
            "it has no effect without `pool.max_per_endpoint`",
            Some("add `pool.max_per_endpoint = 100`, or leave the queue out".into()),
        );
    }
}
