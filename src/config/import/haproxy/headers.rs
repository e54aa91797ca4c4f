//! Rules on header fields, of listeners and routes.

use super::super::draft::{Section, part, quoted};
use super::HaProxy;
use super::parse::Item;

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

impl HaProxy<'_, '_> {
    /// `http-request set-header …` and the like, without its condition. False: it is no such rule.
    pub(super) fn header_rule(&mut self, section: &mut Section, item: &Item) -> bool {
        if let Some((key, value)) = self.header_key(item) {
            match key.ends_with(".remove") || key.contains(".add.") {
                true => section.push(&key, value, item.line),
                false => section.set(&key, value, item.line),
            }
        }
        matches!(
            item.word(1),
            "set-header" | "add-header" | "del-header" | "replace-header" | "replace-value"
        )
    }

    /// The key that such a rule becomes, and its value as TOML, which a list gets besides what it has. `None`: there is none, and it
    /// was said why.
    pub(super) fn header_key(&mut self, item: &Item) -> Option<(String, String)> {
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
