//! `map` of `http`: values by one variable of the request.

use super::super::draft::{part, quoted};
use super::Nginx;
use super::parse::Directive;

impl<'d> Nginx<'_, 'd> {
    /// A map, whose variable may then stand in values.
    pub(super) fn map(&mut self, directive: &'d Directive) {
        let Some(name) = directive.arg(1).strip_prefix('$').filter(|name| !name.is_empty()) else { return };
        let Some(input) = input(directive.arg(0)) else {
            let why = "a map looks up the host, the path, the method, the client's address, a field, a cookie or a query parameter";
            return self.report.missing(directive.line, why, Some("map.from"));
        };
        let named = |flag: &str| directive.inner().iter().any(|inner| inner.name == flag);
        let hostnames = named("hostnames");
        let (mut entries, mut default, mut has_pattern) = (Vec::new(), None, false);
        for inner in directive.inner() {
            let (key, value) = (inner.name.as_str(), inner.arg(0));
            match key {
                "hostnames" | "volatile" if inner.args.is_empty() => {
                    self.report.needless(inner.line, "keys with a `*` are known as such");
                    continue;
                }
                _ if value.contains('$') => {
                    self.report.missing(inner.line, "a value of a map has no variables", Some("map.entries"));
                    continue;
                }
                "default" => default = Some((value, inner.line)),
                key if key.starts_with('~') => {
                    has_pattern = true;
                    entries.push((key.to_owned(), value));
                }
                key if hostnames && key.starts_with('.') => {
                    entries.push((key[1..].to_owned(), value));
                    entries.push((format!("*{key}"), value));
                }
                key if !hostnames && (key.starts_with('*') || key.ends_with('*')) => {
                    self.report.missing(inner.line, "a key with a `*` is a pattern", Some("map.entries"));
                    continue;
                }
                key => entries.push((key.strip_prefix('\\').unwrap_or(key).to_owned(), value)),
            }
            self.report.done(inner.line);
        }
        let line = directive.line;
        let section = self.draft.process(&format!("map.{}", part(name)), line);
        section.set("from", quoted(input.as_str()), line);
        let entries: Vec<String> =
            entries.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
        section.set("entries", format!("{{ {} }}", entries.join(", ")), line);
        if let Some((value, line)) = default {
            section.text("default", value, line);
        }
        // nginx compares whole texts without regard to case, expressions as they say.
        if !has_pattern {
            section.set("any_case", "true", line);
            self.report.done(line);
        } else {
            self.report.note(line, "its whole texts are compared with regard to case, as it has expressions");
        }
        self.maps.insert(name.to_owned());
    }
}

/// The variable that a map looks up, with its braces.
fn input(variable: &str) -> Option<String> {
    let name = match variable.strip_prefix('$')? {
        "host" | "http_host" => "request.host".to_owned(),
        "uri" | "document_uri" => "request.path".to_owned(),
        "request_method" => "request.method".to_owned(),
        "remote_addr" => "client.address".to_owned(),
        other => {
            let of = |prefix: &str| other.strip_prefix(prefix).filter(|rest| !rest.is_empty());
            of("http_")
                .map(|field| format!("request.header.{}", field.replace('_', "-")))
                .or_else(|| of("cookie_").map(|cookie| format!("request.cookie.{cookie}")))
                .or_else(|| of("arg_").map(|name| format!("request.query.{name}")))?
        }
    };
    Some(format!("{{{name}}}"))
}
