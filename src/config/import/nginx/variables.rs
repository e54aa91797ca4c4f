//! nginx's variables in values of header fields.

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
pub(super) fn template(value: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at].replace('{', "{{").replace('}', "}}"));
        rest = &rest[at + 1..];
        let (name, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, after)) => (name, after),
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        out.push_str(&format!("{{{}}}", variable(name)?));
        rest = after;
    }
    out.push_str(&rest.replace('{', "{{").replace('}', "}}"));
    Ok(out)
}

fn variable(name: &str) -> Result<String, String> {
    if let Some((_, known)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok((*known).to_owned());
    }
    match name.strip_prefix("http_") {
        Some(field) if !field.is_empty() => Ok(format!("request.header.{}", field.replace('_', "-"))),
        _ => Err(format!("the variable ${name} has no counterpart")),
    }
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn variables_have_ringate_s_names() {
        assert_eq!(
            template("a $remote_addr/${scheme}s {x}").unwrap(),
            "a {client.address}/{client.scheme}s {{x}}"
        );
        assert_eq!(template("$http_x_a").unwrap(), "{request.header.x-a}");
        assert!(template("$upstream_addr").unwrap_err().contains("$upstream_addr"));
    }
}
