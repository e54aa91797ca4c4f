//! `[log]`

use std::path::Path;

use crate::config::access::{self, Format};
use crate::config::file::{Errors, Section, Value};
use crate::config::names;
use crate::config::plan::{AccessLog, At, Log, LogChoice, LogFormat, NamedLog, Plan, RouteLog};
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
    let mut hidden = (Vec::new(), Vec::new());
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
        hidden = (headers, query);
    }
    log.named = section.get("named").map(|value| named(&value, &log.access_format, dir)).unwrap_or_default();
    let formats = log.named.iter_mut().map(|named| &mut named.format).chain([&mut log.access_format]);
    formats.for_each(|format| format.redact(&hidden.0, hidden.1.clone()));
    section.finish();
    log
}

/// Most logs that routes name: each has a thread, and a ring for each worker.
const MOST_NAMED: usize = 15;

/// `log.named`
fn named(value: &Value<'_>, usual: &Format, dir: &Path) -> Vec<NamedLog> {
    let Some(section) = value.section() else { return Vec::new() };
    let mut logs = Vec::new();
    for (name, value) in section.all() {
        if let Err(wrong) = names::name(name.value) {
            value.error(&wrong.title, wrong.help);
        }
        if name.value == "off" {
            value.error("a log called `off` could not be named", Some("give it another name".into()));
        }
        let Some(mut section) = value.section() else { continue };
        let access = section.require("access", "\"api.log\"");
        let access = access.and_then(|value| {
            if value.as_text().is_some_and(|text| text.value == "off") {
                value.error("a log that is off has no use", Some("leave it out".into()));
            }
            target(&value, dir)
        });
        let format = section.get("access_format").and_then(|value| format(&value));
        section.finish();
        let format = format.unwrap_or_else(|| usual.clone());
        logs.extend(access.map(|access| NamedLog { name: name.value.to_owned(), access, format }));
    }
    if logs.len() > MOST_NAMED {
        value.error(&format!("there are {} logs, and {MOST_NAMED} at most", logs.len()), None);
    }
    logs
}

/// `route.access_log`
pub(super) fn of_route(value: &Value<'_>) -> Option<RouteLog> {
    let choice = |value: &Value<'_>| {
        let name = value.parse("\"api\"", names::name)?;
        Some(match name.value {
            "off" => LogChoice::Off,
            name_of => LogChoice::Named(At { value: name_of.to_owned(), span: name.span }),
        })
    };
    if !value.is_table() {
        return Some(RouteLog { log: choice(value)?, sample: ALL });
    }
    let mut section = value.section()?;
    let log = section.get("log").map_or(Some(LogChoice::Main), |value| choice(&value));
    let sample = section.get("sample").and_then(|value| value.share()).unwrap_or(ALL);
    section.finish();
    Some(RouteLog { log: log?, sample })
}

/// All requests, in millionths.
const ALL: u32 = 1_000_000;

/// Every log that a route names is there.
pub(super) fn resolve(plan: &Plan, errors: &Errors) {
    for log in plan.routes.iter().filter_map(|route| route.access_log.as_ref()) {
        let LogChoice::Named(name) = &log.log else { continue };
        let known = || plan.log.named.iter().map(|named| named.name.as_str());
        if !known().any(|known| known == name.value) {
            let title = format!("`route.access_log`: there is no log called `{}`", name.value);
            let help = match nearest(&name.value, known()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("add [log.named.{}] with `access`", name.value),
            };
            errors.borrow_mut().error(name.span.clone(), title, Some(help));
        }
    }
}

/// `log.access_format`: a word or a line, or a table of a JSON object's fields.
fn format(value: &Value<'_>) -> Option<Format> {
    if !value.is_table() {
        let format = value.parse("\"json\"", Format::parse)?;
        super::edits::foreign(value, |_| true);
        return Some(format.value);
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
const FORMS: &str = "write \"off\", \"stdout\", a file such as \"./access.log\", \"syslog:HOST:PORT\" (UDP), \
                     \"syslog:unix:/dev/log\" or \"journald\"";
/// The socket of the journal's native protocol.
const JOURNAL: &str = "/run/systemd/journal/socket";

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
    match text.strip_prefix("journald") {
        Some("") => {
            let path = std::path::PathBuf::from(JOURNAL);
            return Some(AccessLog::Journald(At { value: path, span: value.span() }));
        }
        Some(path) if path.starts_with(":/") => {
            return Some(AccessLog::Journald(At { value: path[1..].into(), span: value.span() }));
        }
        Some(rest) if rest.starts_with(':') => {
            return refuse("a socket's path follows `journald:`".to_owned(), Some("journald".to_owned()));
        }
        _ => {}
    }
    let has_scheme = text.split('/').next().is_some_and(|first| first.contains(':'));
    match text {
        "off" => None,
        "stdout" => Some(AccessLog::Stdout),
        "/dev/log" => {
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
