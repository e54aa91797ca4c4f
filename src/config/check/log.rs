//! `[log]`

use std::path::Path;

use crate::config::access::{self, Format};
use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::{AccessLog, At, Log, LogFormat};
use crate::config::suggest::{nearest, quoted};

use super::path;

pub(super) fn log(section: Option<Section<'_>>, dir: &Path) -> Log {
    let mut log = Log::default();
    let Some(mut section) = section else { return log };
    if let Some(value) = section.get("level") {
        use tracing::Level;
        let words = [
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        log.level = value.choice(&words).unwrap_or(log.level);
    }
    if let Some(value) = section.get("format") {
        let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        log.format = value.choice(&words).unwrap_or(log.format);
    }
    log.access = section.get("access").and_then(|value| target(&value, dir));
    let format = section.get("access_format").and_then(|value| format(&value));
    log.access_format = format.unwrap_or_else(|| match log.format {
        LogFormat::Text => Format::text(),
        LogFormat::Json => Format::json(),
    });
    log.tcp_format =
        section.get("tcp_format").and_then(|value| relay_format(&value, TCP)).unwrap_or_else(|| {
            match log.format {
                LogFormat::Text => Format::tcp_text(),
                LogFormat::Json => Format::tcp_json(),
            }
        });
    log.udp_format =
        section.get("udp_format").and_then(|value| relay_format(&value, UDP)).unwrap_or_else(|| {
            match log.format {
                LogFormat::Text => Format::udp_text(),
                LogFormat::Json => Format::udp_json(),
            }
        });
    if let Some(mut section) = section.section("redact") {
        let mut names = |key| -> Option<Vec<String>> {
            let list: Vec<Value<'_>> = section.get(key)?.list("[\"Authorization\"]")?;
            let example = if key == "headers" { "\"Authorization\"" } else { "\"token\"" };
            let names = list.iter().filter_map(|value| match key {
                "headers" => Some(value.parse(example, access::header)?.value),
                _ => Some(value.text(example)?.value.to_ascii_lowercase()),
            });
            Some(names.collect())
        };
        let headers = names("headers").unwrap_or_default();
        let query = names("query").unwrap_or_default();
        section.finish();
        log.access_format.redact(&headers, query);
    }
    section.finish();
    log
}

/// `log.access_format`: a word or a line, or a table of a JSON object's fields.
fn format(value: &Value<'_>) -> Option<Format> {
    if !value.is_table() {
        return Some(value.parse("\"json\"", Format::parse)?.value);
    }
    let mut fields = value.section()?.all();
    fields.sort_by_key(|(key, _)| key.span.start);
    if fields.is_empty() {
        value.error("it names no field", Some("write { client = \"client.address\" }".into()));
        return None;
    }
    let fields = fields.iter().map(|(key, value)| {
        let variable = value.parse("\"client.address\"", |text| {
            access::variable(text.trim_start_matches('{').trim_end_matches('}'))
        });
        Some((key.value, variable?.value))
    });
    Some(Format::object(fields.collect::<Option<Vec<_>>>()?))
}

/// What the words `text` and `json` mean.
type Usual = (fn() -> Format, fn() -> Format);
const TCP: Usual = (Format::tcp_text, Format::tcp_json);
const UDP: Usual = (Format::udp_text, Format::udp_json);

/// `log.tcp_format` and `log.udp_format`: the same, of what is known of a connection or session.
fn relay_format(value: &Value<'_>, (text, json): Usual) -> Option<Format> {
    match value.as_text().map(|text| text.value) {
        Some("text") => return Some(text()),
        Some("json") => return Some(json()),
        _ => {}
    }
    let format = format(value)?;
    if let Some(name) = format.about_requests() {
        let help = "a relay has time, listener, client, tls, relay, duration, upstream, endpoint and failure";
        value.error(&format!("`{name}` is of HTTP alone"), Some(help.into()));
        return None;
    }
    Some(format)
}

/// What `log.access` may be.
const FORMS: &str = "write \"off\", \"stdout\", a file such as \"./access.log\", \"syslog:HOST:PORT\" (UDP) or \
                     \"syslog:unix:/dev/log\"";

/// `log.access`. A bare word is refused: it is a misspelt `stdout` more often than a file. So is what begins with a word
/// and a colon: a form that others have.
fn target(value: &Value<'_>, dir: &Path) -> Option<AccessLog> {
    let written = path(value, dir, "\"stdout\"")?;
    let text = value.as_text()?.value;
    let refuse = |title: String, near: Option<String>| {
        let near = near.map(|near| format!("did you mean {}? ", quoted(&near))).unwrap_or_default();
        value.error(&title, Some(format!("{near}{FORMS}")));
        None
    };
    if let Some(receiver) = text.strip_prefix("syslog:") {
        return syslog(value, receiver, dir, refuse);
    }
    let has_scheme = text.split('/').next().is_some_and(|first| first.contains(':'));
    match text {
        "off" => None,
        "stdout" => Some(AccessLog::Stdout),
        "/dev/log" | "journald" => {
            let title = format!("{} is no file", quoted(text));
            refuse(title, Some("syslog:unix:/dev/log".to_owned()))
        }
        _ if has_scheme => {
            let near = text.split_once(':').and_then(|(scheme, rest)| match scheme {
                "file" => Some(format!("/{}", rest.trim_start_matches('/'))),
                "udp" => Some(format!("syslog:{}", rest.trim_start_matches('/'))),
                _ => None,
            });
            refuse(format!("{} is no form of access log that Ringate has", quoted(text)), near)
        }
        _ if !text.contains(['/', '.']) => {
            let near = nearest(text, ["off", "stdout"]).map(str::to_owned);
            let near = near.or_else(|| (text != "syslog" && text != "stderr").then(|| format!("./{text}")));
            refuse(format!("{} is neither \"off\" nor \"stdout\" nor a file", quoted(text)), near)
        }
        _ => Some(AccessLog::File(written)),
    }
}

/// What follows `syslog:`.
fn syslog(
    value: &Value<'_>,
    receiver: &str,
    dir: &Path,
    refuse: impl Fn(String, Option<String>) -> Option<AccessLog>,
) -> Option<AccessLog> {
    if let Some(path) = receiver.strip_prefix("unix:") {
        if path.is_empty() {
            return refuse("the path is missing".to_owned(), Some("syslog:unix:/dev/log".to_owned()));
        }
        return Some(AccessLog::SyslogUnix(At { value: dir.join(path), span: value.span() }));
    }
    if receiver.starts_with('/') && !receiver.starts_with("//") {
        return refuse("a socket's path follows `unix:`".to_owned(), Some(format!("syslog:unix:{receiver}")));
    }
    if let Some(rest) = receiver.strip_prefix("//") {
        return refuse("no slashes follow `syslog:`".to_owned(), Some(format!("syslog:{rest}")));
    }
    match names::host_and_port(receiver) {
        Ok(name) => Some(AccessLog::SyslogUdp(At { value: name, span: value.span() })),
        Err(wrong) => {
            let near =
                names::host_and_port(&format!("{receiver}:514")).ok().map(|name| format!("syslog:{name}"));
            refuse(wrong.title, near)
        }
    }
}
