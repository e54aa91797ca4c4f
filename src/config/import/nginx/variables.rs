//! nginx's variables in values of header fields.

use super::maps::Maps;

/// Ringate's names for variables.
const NAMES: &[(&str, &str)] = &[
    ("remote_addr", "client.address"),
    ("realip_remote_addr", "client.address"),
    ("proxy_add_x_forwarded_for", "client.address"),
    ("scheme", "client.scheme"),
    ("host", "request.host"),
    ("http_host", "request.host"),
    ("request_id", "request.id"),
    ("request_uri", "request.target"),
    ("uri", "request.path"),
    ("document_uri", "request.path"),
    ("args", "request.query"),
    ("query_string", "request.query"),
    ("request_method", "request.method"),
    ("ssl_client_s_dn", "client.certificate.subject"),
    ("ssl_protocol", "tls.version"),
    ("ssl_cipher", "tls.cipher"),
    ("ssl_server_name", "tls.sni"),
];

/// A value with Ringate's variables.
///
/// # Errors
/// A variable that has no counterpart.
pub(super) fn template(value: &str, maps: &Maps) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at].replace('{', "{{").replace('}', "}}"));
        rest = &rest[at + 1..];
        let (name, after) = name_in(rest);
        out.push_str(&format!("{{{}}}", variable(name, maps)?));
        rest = after;
    }
    out.push_str(&rest.replace('{', "{{").replace('}', "}}"));
    Ok(out)
}

/// The name of a variable behind its `$`, and what follows.
pub(super) fn name_in(rest: &str) -> (&str, &str) {
    match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        Some((name, after)) => (name, after),
        None => {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            rest.split_at(end)
        }
    }
}

fn variable(name: &str, maps: &Maps) -> Result<String, String> {
    if maps.values(name).is_some() {
        return Ok(format!("map.{name}"));
    }
    if let Some((_, known)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok((*known).to_owned());
    }
    let of = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    match (of("http_"), of("cookie_"), of("arg_")) {
        (Some(field), ..) => Ok(format!("request.header.{}", field.replace('_', "-"))),
        (_, Some(cookie), _) => Ok(format!("request.cookie.{cookie}")),
        (.., Some(name)) => Ok(format!("request.query.{name}")),
        _ => Err(format!("the variable ${name} has no counterpart")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_ringate_s_names() {
        assert_eq!(
            template("a $remote_addr/${scheme}s {x}", &Maps::default()).unwrap(),
            "a {client.address}/{client.scheme}s {{x}}"
        );
        let maps = Maps::of(&[("place", &["here"])]);
        let value = template("$http_x_a$place$cookie_a$arg_b", &maps).unwrap();
        assert_eq!(value, "{request.header.x-a}{map.place}{request.cookie.a}{request.query.b}");
        assert!(template("$upstream_addr", &maps).unwrap_err().contains("$upstream_addr"));
    }
}
