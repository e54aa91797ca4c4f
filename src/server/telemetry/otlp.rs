//! Traces in OTLP's JSON (OpenTelemetry Protocol 1.x, JSON Protobuf Encoding), with the stable HTTP semantic conventions.
//!
//! The query of a URL is left out: it may hold secrets.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

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

/// `AnyValue` of common.proto. 64-bit numbers are texts in this encoding.
#[derive(Serialize)]
enum AnyValue<'t> {
    #[serde(rename = "stringValue")]
    Text(Cow<'t, str>),
    #[serde(rename = "intValue")]
    Number(String),
}

/// `KeyValue`.
#[derive(Serialize)]
struct Attribute<'t> {
    key: &'static str,
    value: AnyValue<'t>,
}

/// `ExportTraceServiceRequest`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'t> {
    resource_spans: [ResourceSpans<'t>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'t> {
    resource: Resource<'t>,
    scope_spans: [ScopeSpans<'t>; 1],
}

#[derive(Serialize)]
struct Resource<'t> {
    attributes: Attributes<'t>,
}

#[derive(Serialize)]
struct ScopeSpans<'t> {
    scope: Scope,
    spans: Vec<Span<'t>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'t> {
    trace_id: String,
    span_id: String,
    parent_span_id: String,
    trace_state: &'t str,
    flags: u32,
    name: Cow<'t, str>,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Attributes<'t>,
    status: Status<'t>,
}

#[derive(Serialize)]
struct Status<'t> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'t str>,
}

/// The attributes of a span so far.
#[derive(Default, Serialize)]
#[serde(transparent)]
struct Attributes<'t>(Vec<Attribute<'t>>);

impl<'t> Attributes<'t> {
    fn text(&mut self, key: &'static str, value: impl Into<Cow<'t, str>>) -> &mut Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.push(Attribute { key, value: AnyValue::Text(value) });
        }
        self
    }

    fn number(&mut self, key: &'static str, value: u64) -> &mut Self {
        if value > 0 {
            self.0.push(Attribute { key, value: AnyValue::Number(value.to_string()) });
        }
        self
    }

    /// Host and port of an authority.
    fn authority(
        &mut self,
        host_key: &'static str,
        port_key: &'static str,
        authority: &'t str,
        default: u64,
    ) -> &mut Self {
        let (host, port) = split(authority);
        self.text(host_key, host).number(port_key, port.unwrap_or(default))
    }
}

/// An `ExportTraceServiceRequest`.
pub(super) fn request(traces: &[Box<Trace>], service: &str, instance: &str) -> String {
    let mut attributes = Attributes::default();
    attributes
        .text("service.name", service)
        .text("service.version", env!("CARGO_PKG_VERSION"))
        .text("service.instance.id", instance);
    let spans = traces.iter().flat_map(|trace| spans(trace)).collect();
    let scope = Scope { name: "ringate", version: env!("CARGO_PKG_VERSION") };
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes },
            scope_spans: [ScopeSpans { scope, spans }],
        }],
    };
    // Texts and numbers alone: this does not fail.
    serde_json::to_string(&request).unwrap_or_default()
}

/// How many spans a trace has.
pub(super) fn span_count(trace: &Trace) -> u64 {
    1 + trace.attempts.len() as u64
}

fn spans(trace: &Trace) -> Vec<Span<'_>> {
    let attempts = trace.attempts.iter().enumerate();
    // A request of Ringate's own is no first try of the client's.
    let sent = |before: &[Attempt]| before.iter().filter(|attempt| attempt.own.is_none()).count() as u64;
    let clients = attempts.map(|(number, attempt)| {
        let resent = if attempt.own.is_some() { 0 } else { sent(&trace.attempts[..number]) };
        client_span(trace, attempt, resent)
    });
    std::iter::once(server_span(trace)).chain(clients).collect()
}

fn server_span(trace: &Trace) -> Span<'_> {
    let finished = &trace.finished;
    let mut attributes = of_method(&trace.method);
    attributes
        .text("url.path", &*trace.path)
        .text("url.scheme", trace.scheme)
        .text("http.route", trace.route.as_deref().unwrap_or_default())
        .text("network.protocol.version", trace.version)
        .text("client.address", &*trace.client)
        .text("user_agent.original", &*trace.user_agent)
        .text("ringate.listener", &*trace.listener)
        .text("ringate.request_id", &*trace.request_id)
        .number("http.response.status_code", u64::from(finished.status))
        .authority("server.address", "server.port", &trace.host, default_port(trace.scheme));
    let is_error = finished.status >= 500 || finished.status == 0;
    attributes.text("error.type", error_type(is_error, finished.status, finished.error));
    let name = match &trace.route {
        Some(route) => format!("{} {route}", method(&trace.method)).into(),
        None => method(&trace.method).into(),
    };
    let parent = trace.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default();
    let remote = HAS_IS_REMOTE | if trace.parent.is_some() { IS_REMOTE } else { 0 };
    Span {
        trace_id: format!("{:032x}", trace.id),
        span_id: format!("{:016x}", trace.span),
        parent_span_id: parent,
        trace_state: &trace.state,
        flags: SAMPLED | remote,
        name,
        kind: SERVER,
        start_time_unix_nano: nanos(trace.begun),
        end_time_unix_nano: nanos(trace.begun + finished.duration),
        attributes,
        status: status(is_error, finished.reason.as_deref()),
    }
}

/// `number`: how often the request was sent before.
fn client_span<'t>(trace: &'t Trace, attempt: &'t Attempt, number: u64) -> Span<'t> {
    let scheme = if attempt.tls { "https" } else { "http" };
    let (sent, path) = match &attempt.own {
        Some((own, path)) => (*own, path.as_str()),
        None => (trace.method.as_str(), trace.path.as_str()),
    };
    let mut attributes = of_method(sent);
    attributes
        .text("url.full", format!("{scheme}://{}{path}", attempt.endpoint))
        .text("network.protocol.version", attempt.version.unwrap_or_default())
        .number("http.response.status_code", u64::from(attempt.status))
        .number("http.request.resend_count", number)
        .authority("server.address", "server.port", &attempt.endpoint, 0)
        .authority("network.peer.address", "network.peer.port", &attempt.address, 0)
        .text("ringate.upstream", &*attempt.upstream);
    let is_error = attempt.status >= 400 || attempt.status == 0 || attempt.error.is_some();
    attributes.text("error.type", error_type(is_error, attempt.status, attempt.error));
    let ended = attempt.ended.unwrap_or(trace.begun + trace.finished.duration).max(attempt.begun);
    Span {
        trace_id: format!("{:032x}", trace.id),
        span_id: format!("{:016x}", attempt.span),
        parent_span_id: format!("{:016x}", trace.span),
        trace_state: &trace.state,
        flags: SAMPLED | HAS_IS_REMOTE,
        name: method(sent).into(),
        kind: CLIENT,
        start_time_unix_nano: nanos(attempt.begun),
        end_time_unix_nano: nanos(ended),
        attributes,
        status: status(is_error, attempt.reason.as_deref()),
    }
}

fn of_method(method: &str) -> Attributes<'_> {
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

fn status(is_error: bool, reason: Option<&str>) -> Status<'_> {
    Status { code: is_error.then_some(ERROR), message: reason.filter(|_| is_error) }
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
