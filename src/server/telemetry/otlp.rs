//! Traces in OTLP's JSON (OpenTelemetry Protocol 1.x, JSON Protobuf Encoding), with the stable HTTP semantic conventions.
//!
//! The query of a URL is left out: it may hold secrets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::proxy::trace::{Attempt, Trace};

/// `Span.SpanKind` and `Status.StatusCode` of trace.proto.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;
/// `SpanFlags`: sampled, and whether the parent is of another process is known.
const SAMPLED: u32 = 0x01;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Methods that a span may be named by; others are `_OTHER`.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The attributes of a span so far.
#[derive(Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) -> &mut Self {
        if !value.is_empty() {
            self.0.push(json!({ "key": key, "value": { "stringValue": value } }));
        }
        self
    }

    /// 64-bit numbers are texts in this encoding.
    fn number(&mut self, key: &str, value: u64) -> &mut Self {
        if value > 0 {
            self.0.push(json!({ "key": key, "value": { "intValue": value.to_string() } }));
        }
        self
    }

    /// Host and port of an authority.
    fn authority(&mut self, host_key: &str, port_key: &str, authority: &str, default: u64) -> &mut Self {
        let (host, port) = split(authority);
        self.text(host_key, host).number(port_key, port.unwrap_or(default))
    }
}

/// An `ExportTraceServiceRequest`.
pub(super) fn request(traces: &[Box<Trace>], service: &str, instance: &str) -> Value {
    let mut resource = Attributes::default();
    resource
        .text("service.name", service)
        .text("service.version", env!("CARGO_PKG_VERSION"))
        .text("service.instance.id", instance);
    let spans: Vec<Value> = traces.iter().flat_map(|trace| spans(trace)).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource.0 },
        "scopeSpans": [{
            "scope": { "name": "ringate", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] })
}

/// How many spans a trace has.
pub(super) fn span_count(trace: &Trace) -> u64 {
    1 + trace.attempts.len() as u64
}

fn spans(trace: &Trace) -> Vec<Value> {
    let attempts = trace.attempts.iter().enumerate();
    // A request of Ringate's own is no first try of the client's.
    let sent = |before: &[Attempt]| before.iter().filter(|attempt| attempt.own.is_none()).count() as u64;
    let clients = attempts.map(|(number, attempt)| {
        let resent = if attempt.own.is_some() { 0 } else { sent(&trace.attempts[..number]) };
        client_span(trace, attempt, resent)
    });
    std::iter::once(server_span(trace)).chain(clients).collect()
}

fn server_span(trace: &Trace) -> Value {
    let finished = &trace.finished;
    let mut attributes = of_method(&trace.method);
    attributes
        .text("url.path", &trace.path)
        .text("url.scheme", trace.scheme)
        .text("http.route", trace.route.as_deref().unwrap_or_default())
        .text("network.protocol.version", trace.version)
        .text("client.address", &trace.client)
        .text("user_agent.original", &trace.user_agent)
        .text("ringate.listener", &trace.listener)
        .text("ringate.request_id", &trace.request_id)
        .number("http.response.status_code", u64::from(finished.status))
        .authority("server.address", "server.port", &trace.host, default_port(trace.scheme));
    let is_error = finished.status >= 500 || finished.status == 0;
    let error = error_type(is_error, finished.status, finished.error);
    attributes.text("error.type", &error);
    let name = match &trace.route {
        Some(route) => format!("{} {route}", method(&trace.method)),
        None => method(&trace.method).to_owned(),
    };
    let parent = trace.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default();
    let remote = HAS_IS_REMOTE | if trace.parent.is_some() { IS_REMOTE } else { 0 };
    json!({
        "traceId": format!("{:032x}", trace.id),
        "spanId": format!("{:016x}", trace.span),
        "parentSpanId": parent,
        "traceState": trace.state,
        "flags": SAMPLED | remote,
        "name": name,
        "kind": SERVER,
        "startTimeUnixNano": nanos(trace.begun),
        "endTimeUnixNano": nanos(trace.begun + finished.duration),
        "attributes": attributes.0,
        "status": status(is_error, finished.reason.as_deref()),
    })
}

/// `number`: how often the request was sent before.
fn client_span(trace: &Trace, attempt: &Attempt, number: u64) -> Value {
    let scheme = if attempt.tls { "https" } else { "http" };
    let (sent, path) = match &attempt.own {
        Some((own, path)) => (*own, path.as_str()),
        None => (trace.method.as_str(), trace.path.as_str()),
    };
    let mut attributes = of_method(sent);
    attributes
        .text("url.full", &format!("{scheme}://{}{path}", attempt.endpoint))
        .text("network.protocol.version", attempt.version.unwrap_or_default())
        .number("http.response.status_code", u64::from(attempt.status))
        .number("http.request.resend_count", number)
        .authority("server.address", "server.port", &attempt.endpoint, 0)
        .authority("network.peer.address", "network.peer.port", &attempt.address, 0)
        .text("ringate.upstream", &attempt.upstream);
    let is_error = attempt.status >= 400 || attempt.status == 0 || attempt.error.is_some();
    attributes.text("error.type", &error_type(is_error, attempt.status, attempt.error));
    let ended = attempt.ended.unwrap_or(trace.begun + trace.finished.duration).max(attempt.begun);
    json!({
        "traceId": format!("{:032x}", trace.id),
        "spanId": format!("{:016x}", attempt.span),
        "parentSpanId": format!("{:016x}", trace.span),
        "traceState": trace.state,
        "flags": SAMPLED | HAS_IS_REMOTE,
        "name": method(sent),
        "kind": CLIENT,
        "startTimeUnixNano": nanos(attempt.begun),
        "endTimeUnixNano": nanos(ended),
        "attributes": attributes.0,
        "status": status(is_error, attempt.reason.as_deref()),
    })
}

fn of_method(method: &str) -> Attributes {
    let mut attributes = Attributes::default();
    let known = METHODS.contains(&method);
    attributes.text("http.request.method", if known { method } else { "_OTHER" });
    if !known {
        attributes.text("http.request.method_original", method);
    }
    attributes
}

/// What a span is named by.
fn method(method: &str) -> &str {
    if METHODS.contains(&method) { method } else { "HTTP" }
}

fn default_port(scheme: &str) -> u64 {
    if scheme == "https" { 443 } else { 80 }
}

/// `error.type`: the failure's type or, where the response is the error, its status.
fn error_type(is_error: bool, status: u16, error: Option<&str>) -> String {
    match (is_error, error) {
        (false, _) => String::new(),
        (true, Some(error)) => error.to_owned(),
        (true, None) if status > 0 => status.to_string(),
        (true, None) => "_OTHER".to_owned(),
    }
}

fn status(is_error: bool, reason: Option<&str>) -> Value {
    match (is_error, reason) {
        (false, _) => json!({}),
        (true, None) => json!({ "code": ERROR }),
        (true, Some(reason)) => json!({ "code": ERROR, "message": reason }),
    }
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos().to_string()
}

/// Host and port of `HOST[:PORT]`, without the brackets of an IPv6 address. A Unix socket's path has no port.
fn split(authority: &str) -> (&str, Option<u64>) {
    if authority.starts_with("unix:") {
        return (authority, None);
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split() {
        assert_eq!(split("a.example:8443"), ("a.example", Some(8443)));
        assert_eq!(split("a.example"), ("a.example", None));
        assert_eq!(split("[::1]:80"), ("::1", Some(80)));
        assert_eq!(split("[::1]"), ("::1", None));
        assert_eq!(split("unix:/run/a:1"), ("unix:/run/a:1", None));
    }

    #[test]
    fn errors_have_a_type() {
        assert_eq!(error_type(false, 200, None), "");
        assert_eq!(error_type(true, 503, Some("connection_refused")), "connection_refused");
        assert_eq!(error_type(true, 500, None), "500");
        assert_eq!(error_type(true, 0, None), "_OTHER");
    }
}
