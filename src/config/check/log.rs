//! `[log]`

use std::path::Path;

use crate::config::access::{self, Format};
use crate::config::file::{Section, Value};
use crate::config::plan::{AccessLog, Log, LogFormat};
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
        section.get("tcp_format").and_then(|value| tcp_format(&value)).unwrap_or_else(|| match log.format {
            LogFormat::Text => Format::tcp_text(),
            LogFormat::Json => Format::tcp_json(),
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

/// `log.tcp_format`: the same, of what is known of a connection.
fn tcp_format(value: &Value<'_>) -> Option<Format> {
    match value.as_text().map(|text| text.value) {
        Some("text") => return Some(Format::tcp_text()),
        Some("json") => return Some(Format::tcp_json()),
        _ => {}
    }
    let format = format(value)?;
    if let Some(name) = format.about_requests() {
        let help =
            "a tcp listener has time, listener, client, tls, relay, duration, upstream, endpoint and failure";
        value.error(&format!("`{name}` is of HTTP alone"), Some(help.into()));
        return None;
    }
    Some(format)
}

/// `log.access`. A bare word is refused: it is a misspelt `stdout` more often than a file.
fn target(value: &Value<'_>, dir: &Path) -> Option<AccessLog> {
    let written = path(value, dir, "\"stdout\"")?;
    match value.as_text()?.value {
        "off" => None,
        "stdout" => Some(AccessLog::Stdout),
        text if !text.contains(['/', '.']) => {
            let title = format!("{} is neither \"off\" nor \"stdout\" nor a file", quoted(text));
            let help = match nearest(text, ["off", "stdout"]) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("for a file of this name write \"./{text}\""),
            };
            value.error(&title, Some(help));
            None
        }
        _ => Some(AccessLog::File(written)),
    }
}
