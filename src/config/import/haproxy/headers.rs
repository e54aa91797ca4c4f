//! Rules on header fields, of listeners and routes.

use super::super::draft::{Section, part, quoted};
use super::super::report::Line;
use super::HaProxy;
use super::conditional::{Asked, When};
use super::conditions::Acls;
use super::parse::Item;
use super::samples::{Samples, outlives_request};
use crate::http::is_same_name;

/// HAProxy's samples and Ringate's variables.
const SAMPLES: &[(&str, &str)] = &[
    ("src", "client.address"),
    ("method", "request.method"),
    ("path", "request.path"),
    ("pathq", "request.target"),
    ("url", "request.target"),
    ("query", "request.query"),
    ("unique-id", "request.id"),
    ("ssl_c_s_dn", "client.certificate.subject"),
    ("ssl_c_der,sha2(256),hex", "client.certificate.fingerprint"),
    ("ssl_fc_protocol", "tls.version"),
    ("ssl_fc_cipher", "tls.cipher"),
    ("ssl_fc_sni", "tls.sni"),
    ("fe_name", "listener"),
];

/// A format as a value with Ringate's variables.
///
/// # Errors
/// A sample that has no counterpart.
pub(super) fn template(format: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at].replace('{', "{{").replace('}', "}}"));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
        } else if let Some((sample, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            out.push_str(&format!("{{{}}}", variable(sample)?));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("ci") {
            out.push_str("{client.address}");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("ID") {
            out.push_str("{request.id}");
            rest = after;
        } else {
            return Err(format!("%{rest} has no counterpart"));
        }
    }
    out.push_str(&rest.replace('{', "{{").replace('}', "}}"));
    Ok(out)
}

fn variable(sample: &str) -> Result<String, String> {
    if let Some((_, known)) = SAMPLES.iter().find(|(known, _)| *known == sample) {
        return Ok((*known).to_owned());
    }
    if sample.starts_with("map.") {
        return Ok(sample.to_owned());
    }
    if matches!(sample, "uuid" | "uuid()") {
        return Ok("request.id".to_owned());
    }
    let within = |starts: &[&str]| {
        let name = starts.iter().find_map(|start| sample.strip_prefix(start)?.strip_suffix(')'));
        name.filter(|name| !name.contains([',', '(']))
    };
    if let Some(name) = within(&["url_param(", "urlp("]) {
        return Ok(format!("request.query.{name}"));
    }
    if let Some(name) = within(&["req.cook(", "cook("]) {
        return Ok(format!("request.cookie.{name}"));
    }
    let field = ["req.hdr(", "hdr(", "req.fhdr("]
        .iter()
        .find_map(|start| sample.strip_prefix(start)?.strip_suffix(')'));
    match field {
        Some(field) if field.eq_ignore_ascii_case("host") => Ok("request.host".to_owned()),
        Some(field) if !field.contains(',') => Ok(format!("request.header.{}", field.to_ascii_lowercase())),
        _ => Err(format!("%[{sample}] has no counterpart")),
    }
}

/// A rule on a header field. Its condition on requests and responses stands apart.
#[derive(Clone, Debug)]
pub(super) struct HeaderRule {
    item: Item,
    when: When,
}

/// The key that lists changes under conditions, and its name for people.
const LIST: &str = "headers.when";
const WHEN: &str = "route.headers.when";

/// The names of request fields that the rules of a section above a line change, whatever their conditions.
pub(super) fn changed_above<'i>(items: &[&'i Item], line: Option<Line>) -> Vec<&'i str> {
    const ACTIONS: [&str; 5] = ["set-header", "add-header", "del-header", "replace-header", "replace-value"];
    let above = items.iter().take_while(|item| line.is_none_or(|line| item.line != line));
    let changes = above.filter(|item| item.word(0) == "http-request" && ACTIONS.contains(&item.word(1)));
    changes.map(|item| item.word(2)).collect()
}

/// A key of `headers` with its value, as one of a table within `headers.when`.
fn change(key: &str, value: &str) -> String {
    let mut parts = key.trim_start_matches("headers.").splitn(3, '.');
    let [side, action] = [(); 2].map(|()| parts.next().unwrap_or_default());
    match (action, parts.next()) {
        ("add", Some(name)) => format!("{side} = {{ add = {{ {name} = [{value}] }} }}"),
        (_, Some(name)) => format!("{side} = {{ {action} = {{ {name} = {value} }} }}"),
        (_, None) => format!("{side} = {{ {action} = [{value}] }}"),
    }
}

impl HaProxy<'_, '_> {
    /// The rules on header fields of a section with or without TLS, in their order.
    pub(super) fn header_rules(&mut self, section: &mut Section, rules: &[HeaderRule], tls: bool) {
        // What was changed under a condition, of requests or not, by its name: later changes of these go behind that.
        let mut conditional: Vec<(bool, &str)> = Vec::new();
        for HeaderRule { item, when } in rules {
            let tables = match when.on(tls) {
                Asked::Never => {
                    self.report.needless(item.line, "its condition holds for no request of the listener");
                    continue;
                }
                Asked::Always => Vec::new(),
                Asked::Tables(tables) => tables,
                Asked::Lost => {
                    self.report.missing(item.line, "a table can't ask this condition", Some(WHEN));
                    continue;
                }
            };
            if tables.len() > 1 && item.word(1) == "add-header" {
                let why = "one table can't ask this condition, and of several each would add the field";
                self.report.missing(item.line, why, Some(WHEN));
                continue;
            }
            let Some((key, value)) = self.header_key(item) else { continue };
            let (side, name) = (item.word(0) == "http-request", item.word(2));
            let is_known = conditional
                .iter()
                .any(|known| known.0 == side && is_same_name(known.1.as_bytes(), name.as_bytes()));
            match &tables[..] {
                [] if is_known => {
                    section.push_table(
                        LIST,
                        format!("{{ path = \"/\", {} }}", change(&key, &value)),
                        item.line,
                    );
                }
                [] if key.ends_with(".remove") || key.contains(".add.") => {
                    section.push(&key, value, item.line)
                }
                [] => section.set(&key, value, item.line),
                tables => {
                    conditional.push((side, name));
                    for table in tables {
                        section.push_table(
                            LIST,
                            format!("{{ {table}, {} }}", change(&key, &value)),
                            item.line,
                        );
                    }
                    if when.compares_fields() {
                        let note = "a field is compared whole, and one that a request has twice with two values meets no condition";
                        self.report.note(item.line, note);
                    }
                }
            }
        }
    }

    /// A rule on a header field with its condition. `None`: it can't be translated, and it was said why. `changed`: the names of
    /// request fields that rules above it change.
    pub(super) fn header_rule(
        &mut self,
        item: &Item,
        condition: &[&str],
        (acls, samples): (&Acls, &Samples),
        changed: &[&str],
    ) -> Option<HeaderRule> {
        let is_response = item.word(0) != "http-request";
        if let Some(criterion) = acls.first_criterion(condition, |it| !is_response || outlives_request(it)) {
            let why = match criterion.starts_with("res.") || criterion.starts_with("shdr") {
                true => "conditions are on requests, and on the status of responses".to_owned(),
                false => {
                    format!("HAProxy has no {criterion} in rules on responses, where this test never holds")
                }
            };
            self.report.missing(item.line, why, Some(WHEN));
            return None;
        }
        let (resolved, lines) = samples.resolve(item);
        let at = item.words.len() - condition.len();
        let mut words = resolved.from(at);
        let unless = words.first() == Some(&"unless");
        if let Some(first) = words.first_mut() {
            *first = "if";
        }
        let found = self.condition(acls, &words, item.line).map(|alternatives| When { alternatives, unless });
        let when = match found {
            Ok(when) => when,
            Err(why) => {
                self.report.missing(item.line, why, Some(WHEN));
                return None;
            }
        };
        let has_changed = |name: &str| changed.iter().any(|known| known.eq_ignore_ascii_case(name));
        if when.asks_field(has_changed) {
            let why = "its condition asks for a field that a rule above it changes, and Ringate asks for what the client has sent";
            self.report.missing(item.line, why, Some(WHEN));
            return None;
        }
        self.used(acls, condition, item.line);
        lines.into_iter().for_each(|line| self.report.done(line));
        Some(HeaderRule { item: resolved, when })
    }

    /// The key that such a rule becomes, and its value as TOML, which a list gets besides what it has. `None`: there is none, and it
    /// was said why.
    fn header_key(&mut self, item: &Item) -> Option<(String, String)> {
        let side = match item.word(0) {
            "http-request" => "request",
            "http-response" | "http-after-response" => "response",
            _ => return None,
        };
        let (action, name, format) = (item.word(1), item.word(2), item.word(3));
        let lower = name.to_ascii_lowercase();
        let line = item.line;
        let own = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
        if side == "request" && action != "del-header" && own.contains(&lower.as_str()) {
            self.report.needless(
                line,
                "backends get X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host in any case",
            );
            return None;
        }
        let key = |kind: &str| format!("headers.{side}.{kind}");
        match action {
            "set-header" | "add-header" => match template(&self.with_maps(format, line)) {
                Ok(value) => {
                    self.report.done(line);
                    let kind = if action == "set-header" { "set" } else { "add" };
                    Some((format!("{}.{}", key(kind), part(name)), quoted(&value)))
                }
                Err(why) => {
                    self.report.missing(line, why, Some(&key("set")));
                    None
                }
            },
            "del-header" if item.word(3) != "-m" => {
                self.report.done(line);
                Some((key("remove"), quoted(name)))
            }
            "replace-header" | "replace-value" => {
                self.report.missing(line, "values are not changed by expressions", Some(&key("set")));
                None
            }
            _ => None,
        }
    }

    /// `compression`, of a listener.
    pub(super) fn compression(&mut self, section: &mut Section, items: &[&Item]) {
        let mut algorithms: Vec<&str> = Vec::new();
        let mut types: Vec<&str> = Vec::new();
        let mut line = None;
        for item in items {
            match item.word(1) {
                "algo" | "algo-res" => {
                    line = Some(item.line);
                    for word in item.from(2) {
                        match word {
                            "gzip" => algorithms.push("gzip"),
                            "identity" => {}
                            other => self
                                .report
                                .note(item.line, format!("{other} is not there: gzip, br and zstd are")),
                        }
                    }
                }
                "type" | "type-res" => types.extend(item.from(2)),
                "offload" => self.report.note(item.line, "what a backend has encoded stays as it is"),
                _ => continue,
            }
            self.report.done(item.line);
        }
        let Some(line) = line else { return };
        if algorithms.is_empty() {
            algorithms.push("gzip");
        }
        let mut value = format!("{{ algorithms = {}", super::texts(&algorithms));
        if !types.is_empty() {
            value.push_str(&format!(", types = {}", super::texts(&types)));
        }
        value.push_str(" }");
        section.set("compression", value, line);
    }
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn samples_have_ringate_s_names() {
        assert_eq!(
            template("a %[src] 100%% %[req.hdr(X-A)]").unwrap(),
            "a {client.address} 100% {request.header.x-a}"
        );
        assert_eq!(
            template("%[url_param(id)] %[req.cook(sid)] %[uuid]").unwrap(),
            "{request.query.id} {request.cookie.sid} {request.id}"
        );
        assert!(template("%[rand]").is_err() && template("%Ts").is_err());
    }
}
