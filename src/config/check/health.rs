//! `upstream.NAME.health`

use std::time::Duration;

use crate::config::file::Section;
use crate::config::names;
use crate::config::plan::{AllDown, CheckKind, GrpcCheck, HealthCheck, HttpCheck, Upstream};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;

use super::edits;
use crate::http::BackendHttp;

/// More of the same in a row are no reason to wait.
const MAX_IN_A_ROW: usize = 100;
/// Longest name of a gRPC service: its length is one byte of the request.
const MAX_SERVICE: usize = 120;
/// Keys that say how a request is made and judged.
const OF_HTTP: [&str; 6] = ["path", "method", "host", "headers", "expect", "body"];
/// Keys of any check.
const OF_CHECKS: [&str; 5] = ["interval", "timeout", "fall", "rise", "all_down"];

/// What is written for `type`.
#[derive(Clone, Copy)]
enum Type {
    Http,
    Tcp,
    Tls,
    Grpc,
}

pub(super) fn health(mut section: Section<'_>, upstream: &mut Upstream) {
    if let Some(passive) = section.get("passive").and_then(|value| value.boolean()) {
        upstream.outliers.passive = passive;
    }
    let words = [("http", Type::Http), ("tcp", Type::Tcp), ("tls", Type::Tls), ("grpc", Type::Grpc)];
    let written = section.get("type");
    let kind = written.as_ref().and_then(|value| value.choice(&words));
    let http = http(&mut section, matches!(kind, Some(Type::Http)));
    let service = service(&mut section, matches!(kind, Some(Type::Grpc)));
    let kind = match (kind, &written) {
        (Some(Type::Http), _) => CheckKind::Http(http),
        (Some(Type::Tls), Some(value)) if !upstream_has_tls(upstream) => {
            let help = "add `tls` to the upstream, or check with \"tcp\"";
            value.error("the upstream is plain", Some(help.to_owned()));
            CheckKind::Tls
        }
        (Some(Type::Tls), _) => CheckKind::Tls,
        (Some(Type::Grpc), Some(value)) => {
            if !upstream_has_http2(upstream) {
                let help = "gRPC needs HTTP/2: write `http = \"2\"` in the upstream";
                value.error("the upstream speaks HTTP/1.1", Some(help.to_owned()));
            }
            CheckKind::Grpc(GrpcCheck { service })
        }
        (Some(_), _) => CheckKind::Tcp,
        (None, _) => {
            if written.is_none() {
                without_effect(&mut section, &OF_CHECKS, "`type`");
            } else {
                OF_CHECKS.iter().for_each(|key| drop(section.get(key)));
            }
            section.finish();
            return;
        }
    };
    let mut check = HealthCheck {
        kind,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        fall: 3,
        rise: 2,
        all_down: AllDown::Use,
    };
    for (key, time) in [("interval", &mut check.interval), ("timeout", &mut check.timeout)] {
        if let Some(duration) = section.get(key).and_then(|value| value.duration(false)) {
            *time = duration;
        }
    }
    for (key, count) in [("fall", &mut check.fall), ("rise", &mut check.rise)] {
        if let Some(number) = section.get(key).and_then(|value| value.number(1..=MAX_IN_A_ROW)) {
            *count = number as u32;
        }
    }
    let words = [("use", AllDown::Use), ("refuse", AllDown::Refuse)];
    if let Some(word) = section.get("all_down").and_then(|value| value.choice(&words)) {
        check.all_down = word;
    }
    section.finish();
    upstream.health = Some(check);
}

fn upstream_has_tls(upstream: &Upstream) -> bool {
    upstream.tls.is_some()
}

fn upstream_has_http2(upstream: &Upstream) -> bool {
    match upstream.http.value {
        BackendHttp::Http11 => false,
        BackendHttp::Http2 => true,
        BackendHttp::Auto => upstream_has_tls(upstream),
    }
}

/// `service` of a grpc check.
fn service(section: &mut Section<'_>, is_grpc: bool) -> String {
    if !is_grpc {
        without_effect(section, &["service"], "`type = \"grpc\"`");
        return String::new();
    }
    let name = |text: &str| {
        let is_name = text.len() <= MAX_SERVICE && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_name.then(|| text.to_owned()).ok_or_else(|| Wrong::new(format!("{} is no service", quoted(text))))
    };
    section
        .get("service")
        .and_then(|value| value.parse("\"orders.v1.Orders\"", name))
        .map_or_else(String::new, |at| at.value)
}

/// Keys that are there without what they are for.
fn without_effect(section: &mut Section<'_>, keys: &[&'static str], needs: &str) {
    for key in keys {
        if let Some(value) = section.get(key) {
            value.key_error(
                format!("`{}` has no effect without {needs}", value.name),
                "leave it out, or add that",
            );
        }
    }
}

fn http(section: &mut Section<'_>, is_http: bool) -> HttpCheck {
    let mut check = HttpCheck {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        host: None,
        headers: Vec::new(),
        expect: vec![(200, 399)],
        body: None,
    };
    if !is_http {
        without_effect(section, &OF_HTTP, "`type = \"http\"`");
        return check;
    }
    if let Some(method) = section
        .get("method")
        .and_then(|value| value.choice(&[("GET", "GET"), ("HEAD", "HEAD"), ("OPTIONS", "OPTIONS")]))
    {
        check.method = method.to_owned();
    }
    if let Some(path) = section.get("path").and_then(|value| value.parse("\"/healthz\"", path)) {
        check.path = path.value.to_owned();
    }
    let host = section.get("host").and_then(|value| value.parse("\"app.internal\"", names::authority));
    check.host = host.map(|host| host.value.to_owned());
    for (name, value) in edits::written(section, "headers") {
        let Some(name) = edits::field(&value, name.value) else { continue };
        let text = value.parse("\"value\"", field_value);
        check.headers.extend(text.map(|text| (name, text.value.to_owned())));
    }
    if let Some(ranges) = section.get("expect").and_then(|value| value.list("[\"200-399\"]")) {
        let ranges = ranges.iter().filter_map(|value| value.parse("\"200-399\"", statuses));
        check.expect = ranges.map(|range| range.value).collect();
    }
    if let Some(value) = section.get("body") {
        check.body = value.text("\"ok\"").map(|text| text.value.to_owned());
        if check.method == "HEAD" {
            value.error("a response to HEAD has no body", None);
        }
    }
    check
}

/// A request-target: a path, perhaps with a query.
fn path(text: &str) -> Result<&str, Wrong> {
    let is_target = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if is_target {
        return Ok(text);
    }
    Err(Wrong::new(format!("{} is no path of a request", quoted(text)))
        .help("it begins with `/`; spaces and other special characters are percent-encoded"))
}

fn field_value(text: &str) -> Result<&str, Wrong> {
    let is_value = text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    is_value.then_some(text).ok_or_else(|| Wrong::new(format!("{} is no value of a header", quoted(text))))
}

/// `"204"` or `"200-399"`.
fn statuses(text: &str) -> Result<(u16, u16), Wrong> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status =
        |text: &str| text.parse().ok().filter(|status| text.len() == 3 && (200..=599).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(Wrong::new(format!("{} is no status, and no range of them", quoted(text)))
            .help("write \"200\" or \"200-399\", from 200 to 599")),
    }
}
