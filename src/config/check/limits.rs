//! `[limits]`, and `[listener.limits]` over it.

use crate::base::limits::{
    Limits, MAX_COUNT, MAX_HEAD_BYTES, MAX_HEADERS, MIN_BUFFER_MEMORY, MIN_RESPONSE_RATE,
};
use crate::config::file::{Section, Value};
use crate::config::keys::Scope;
use crate::config::plan::{At, Protocol, ResponseRate, RouteLimits};
use crate::config::units;

/// Keys that bound connections, which a udp listener does not have.
const OF_CONNECTIONS: [&str; 2] = ["head_timeout", "connections"];
/// The smallest value that `head_bytes` may take.
const MIN_HEAD_BYTES: u64 = 1024;

/// `[limits]`
pub(super) fn process(section: Option<Section<'_>>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = section else { return limits };
    messages(&mut section, &mut limits);
    connections(&mut section, &mut limits);
    let bound = section.get("connections_per_worker");
    if let Some(count) = bound.and_then(|value| value.number(0..=u32::MAX as usize)) {
        limits.connections_per_worker = count;
    }
    if let Some(value) = section.get("buffer_memory") {
        match value.as_text() {
            Some(At { value: "auto", .. }) => {}
            _ => limits.buffer_memory = value.size(0..=i64::MAX as u64),
        }
        if let Some(bytes @ 1..MIN_BUFFER_MEMORY) = limits.buffer_memory {
            let least = units::size_text(MIN_BUFFER_MEMORY);
            value.error(
                &format!("{} is too little to serve with", units::size_text(bytes)),
                Some(format!("write \"{least}\" or more, \"auto\", or 0 for no bound")),
            );
        }
    }
    section.finish();
    limits
}

/// `[listener.limits]`: what it leaves out is as in `[limits]`.
pub(super) fn listener(section: Option<Section<'_>>, protocol: Protocol, of_process: &Limits) -> Limits {
    let mut limits = of_process.clone();
    let Some(mut section) = section else { return limits };
    let connections_only = if protocol == Protocol::Udp { &OF_CONNECTIONS[..] } else { &[] };
    let foreign = |scope, of| move |key| (key, scope, of);
    let http = section.keys_of(Scope::Http).map(foreign(Protocol::Http, "HTTP"));
    let udp = section.keys_of(Scope::Udp).map(foreign(Protocol::Udp, "sessions of udp listeners"));
    let connections_only = connections_only.iter().map(|key| (*key, Protocol::Tcp, "connections"));
    let foreign: Vec<_> = http.chain(udp).chain(connections_only).collect();
    for (key, _, of) in foreign.into_iter().filter(|(_, needed, _)| *needed != protocol) {
        if let Some(value) = section.get(key) {
            let title = format!("`{}` bounds {of}, and this listener is {}", value.name, protocol.word());
            section.errors().borrow_mut().error(value.key_span, title, Some("leave it out".into()));
        }
    }
    messages(&mut section, &mut limits);
    connections(&mut section, &mut limits);
    section.finish();
    limits
}

/// `route.limits`
pub(super) fn route(value: &Value<'_>) -> RouteLimits {
    let mut limits = RouteLimits::default();
    let Some(mut section) = value.section() else { return limits };
    let size = |value: Value<'_>| value.size(0..=i64::MAX as u64);
    limits.body_bytes = section.get("body_bytes").and_then(size);
    let rate = section.get("response_rate");
    let bytes = rate.as_ref().and_then(Value::rate).unwrap_or(0);
    if let Some(value) = rate.as_ref().filter(|_| (1..MIN_RESPONSE_RATE).contains(&bytes)) {
        let help = format!("write \"{}/s\" or more", units::size_text(MIN_RESPONSE_RATE));
        value.error("it is slower than clients wait for", Some(help));
    }
    let burst = section.get("response_burst");
    if let Some(value) = burst.as_ref().filter(|_| rate.is_none()) {
        let title = "`limits.response_burst` has no effect without `response_rate`".to_owned();
        value.key_error(title, "add `response_rate`, or leave it out");
    }
    let burst = burst.and_then(size).unwrap_or(0);
    limits.response = (bytes > 0).then_some(ResponseRate { bytes, burst });
    for (key, limit) in
        [("requests", &mut limits.requests), ("requests_per_client", &mut limits.requests_per_client)]
    {
        if let Some(count) = section.get(key).and_then(|value| value.number(0..=MAX_COUNT as usize)) {
            *limit = count as u64;
        }
    }
    section.finish();
    limits
}

/// Bounds of heads, bodies and waits.
fn messages(section: &mut Section<'_>, limits: &mut Limits) {
    let bytes = |size: u64| usize::try_from(size).ok();
    if let Some(size) = section
        .get("head_bytes")
        .and_then(|value| value.size(MIN_HEAD_BYTES..=MAX_HEAD_BYTES as u64))
        .and_then(bytes)
    {
        limits.head_bytes = size;
    }
    if let Some(count) = section.get("headers").and_then(|value| value.number(1..=MAX_HEADERS)) {
        limits.headers = count;
    }
    // A request-target is part of the head: a smaller head makes the default smaller too.
    limits.target_bytes = limits.target_bytes.min(limits.head_bytes);
    if let Some(value) = section.get("target_bytes")
        && let Some(size) = value.size(1..=MAX_HEAD_BYTES as u64).and_then(bytes)
    {
        if size > limits.head_bytes {
            let head = units::size_text(limits.head_bytes as u64);
            value.error(&format!("a request-target is part of the head, and `head_bytes` is {head}"), None);
        }
        limits.target_bytes = size;
    }
    if let Some(size) = section.get("body_bytes").and_then(|value| value.size(0..=i64::MAX as u64)) {
        limits.body_bytes = size;
    }
    if let Some(rate) = section.get("body_rate").and_then(|value| value.rate()) {
        limits.body_rate = rate;
    }
    for (key, limit) in [
        ("head_timeout", &mut limits.head_timeout),
        ("body_timeout", &mut limits.body_timeout),
        ("body_grace", &mut limits.body_grace),
        ("idle_timeout", &mut limits.idle_timeout),
    ] {
        if let Some(duration) = section.get(key).and_then(|value| value.duration(false)) {
            *limit = duration;
        }
    }
}

/// Bounds of how many connections there are, and what one may do.
fn connections(section: &mut Section<'_>, limits: &mut Limits) {
    for (key, limit) in [
        ("requests_per_connection", &mut limits.requests_per_connection),
        ("connections", &mut limits.connections),
        ("connections_per_client", &mut limits.connections_per_client),
    ] {
        if let Some(count) = section.get(key).and_then(|value| value.number(0..=MAX_COUNT as usize)) {
            *limit = count as u64;
        }
    }
    if let Some(count) = section.get("udp_sessions").and_then(|value| value.number(1..=MAX_COUNT as usize)) {
        limits.udp_sessions = count as u64;
    }
}
