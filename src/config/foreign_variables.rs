//! Variables of other proxies in values: what is written here instead.

/// A variable of nginx or HAProxy that stands in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignVariable {
    /// As it is written: `$remote_addr`, `%[src]`.
    pub(super) written: String,
    /// Ringate's name for it, if there is one.
    pub(super) ours: Option<String>,
}

/// Names that others have for a variable, in lower case, and Ringate's.
const NAMES: &[(&str, &str)] = &[
    ("args", "request.query"),
    ("body_bytes_sent", "response.bytes"),
    ("bytes_sent", "response.bytes"),
    ("client.addr", "client.address"),
    ("client.ip", "client.address"),
    ("client_ip", "client.address"),
    ("document_uri", "request.path"),
    ("host", "request.host"),
    ("http_host", "request.host"),
    ("ip", "client.address"),
    ("method", "request.method"),
    ("path", "request.path"),
    ("query", "request.query"),
    ("query_string", "request.query"),
    ("realip_remote_addr", "client.address"),
    ("remote_addr", "client.address"),
    ("remote_user", "auth.user"),
    ("request_id", "request.id"),
    ("request_method", "request.method"),
    ("request_time", "duration"),
    ("request_uri", "request.target"),
    ("scheme", "client.scheme"),
    ("server_protocol", "request.version"),
    ("src", "client.address"),
    ("ssl_cipher", "tls.cipher"),
    ("ssl_client_s_dn", "client.certificate.subject"),
    ("ssl_fc_cipher", "tls.cipher"),
    ("ssl_fc_protocol", "tls.version"),
    ("ssl_fc_sni", "tls.sni"),
    ("ssl_protocol", "tls.version"),
    ("ssl_server_name", "tls.sni"),
    ("status", "response.status"),
    ("time_iso8601", "time"),
    ("time_local", "time"),
    ("upstream_addr", "endpoint"),
    ("uri", "request.path"),
    ("url", "request.target"),
];

/// Beginnings of names of nginx, behind which there is another name, and of Ringate's.
const FAMILIES: [(&str, &str); 4] = [
    ("sent_http_", "response.header."),
    ("http_", "request.header."),
    ("cookie_", "request.cookie."),
    ("arg_", "request.query."),
];

/// Further variables of nginx that are written in values of fields.
const OTHERS: [&str; 13] = [
    "connection",
    "hostname",
    "https",
    "is_args",
    "msec",
    "proxy_add_x_forwarded_for",
    "proxy_host",
    "proxy_port",
    "remote_port",
    "server_addr",
    "server_name",
    "server_port",
    "upstream_status",
];

/// Ringate's name for another proxy's variable.
pub(super) fn ours(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if let Some((_, known)) = NAMES.iter().find(|(other, _)| *other == name) {
        return Some((*known).to_owned());
    }
    let (prefix, rest) =
        FAMILIES.iter().find_map(|(other, prefix)| Some((*prefix, name.strip_prefix(other)?)))?;
    let rest = if prefix.ends_with("header.") { rest.replace('_', "-") } else { rest.to_owned() };
    (!rest.is_empty()).then(|| format!("{prefix}{rest}"))
}

/// The first variable of nginx (`$name`) or HAProxy (`%[name]`) in a text. Here it is a text like any other.
pub(super) fn find(text: &str) -> Option<ForeignVariable> {
    let of_haproxy = text.split("%[").skip(1).find_map(|rest| {
        let (name, _) = rest.split_once(']')?;
        Some(ForeignVariable { written: format!("%[{name}]"), ours: ours(name) })
    });
    let of_nginx = text.split('$').skip(1).find_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, ours) = (&rest[..end], ours(&rest[..end]));
        let is_known = ours.is_some() || OTHERS.contains(&name);
        is_known.then(|| ForeignVariable { written: format!("${name}"), ours })
    });
    of_nginx.or(of_haproxy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::access;

    #[test]
    fn variables_of_others_are_found_with_ringate_s_name() {
        for (text, written, name) in [
            ("a $remote_addr", "$remote_addr", Some("client.address")),
            ("$http_x_forwarded_for", "$http_x_forwarded_for", Some("request.header.x-forwarded-for")),
            ("$arg_id-", "$arg_id", Some("request.query.id")),
            ("$proxy_add_x_forwarded_for", "$proxy_add_x_forwarded_for", None),
            ("5 $ or $usd, $remote_addr", "$remote_addr", Some("client.address")),
            ("%[src]", "%[src]", Some("client.address")),
            ("%[rand]", "%[rand]", None),
        ] {
            let found = find(text).unwrap();
            assert_eq!((&*found.written, found.ours.as_deref()), (written, name), "{text}");
        }
        for text in ["", "$", "$1", "$usd", "100%", "{client.address}", "$http_"] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn each_name_is_one_of_ringate_s() {
        for (other, name) in NAMES {
            assert!(access::variable(name).is_ok(), "{other}: {name}");
        }
    }
}
