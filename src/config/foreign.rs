//! Keys of other proxies, and of features that are not there yet: what is written here instead.

/// Ringate's key for such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The feature is not there yet.
    Planned,
    /// The key that does it here.
    Key(&'static str),
}

use Meaning::{Key, Planned};

const WORDS: &[(&str, Meaning)] = &[
    ("access_log", Key("log.access, or access_log of a route")),
    ("acl", Key("route.match")),
    ("add_header", Key("route.headers.response.add")),
    ("address", Key("endpoints of an upstream, listen of [admin]")),
    ("alias", Key("route.root, with strip_prefix")),
    ("allow", Key("route.allow")),
    ("auth", Key("route.auth")),
    ("auth_basic", Key("route.auth.basic")),
    ("auth_jwt", Key("route.auth.jwt")),
    ("auth_request", Key("route.auth.forward")),
    ("backend", Key("upstream")),
    ("backends", Key("endpoints")),
    ("backup", Key("endpoints = [{ address = \"HOST:PORT\", backup = true }]")),
    ("basic_auth", Key("route.auth.basic")),
    ("bind", Key("address")),
    ("ca", Key("trust")),
    ("ca_file", Key("trust")),
    ("cache", Planned),
    ("cert", Key("certificate")),
    ("client_max_body_size", Key("limits.body_bytes")),
    ("cookie", Key("route.match.cookies, or upstream.sticky for affinity")),
    ("daemon", Key("systemd's unit: `ringate run` stays in the foreground")),
    ("default_backend", Key("upstream")),
    ("deny", Key("route.deny")),
    ("error_log", Key("log.level; the log goes to standard error")),
    ("error_page", Key("error_pages")),
    ("expires", Key("route.cache_control")),
    ("ext_authz", Key("route.auth.forward")),
    ("fail_timeout", Key("upstream.outliers")),
    ("fastcgi_pass", Planned),
    ("files", Key("route.root")),
    ("forward", Key("upstream")),
    ("forward_auth", Key("route.auth.forward")),
    ("frontend", Key("listener")),
    ("geo", Key("[map.NAME] with client networks")),
    ("geoip", Planned),
    ("group", Key("process.group")),
    ("grpc", Key("upstream.http")),
    ("gzip", Key("compression")),
    ("h2", Key("http.versions of a listener, http = \"2\" of an upstream")),
    ("h2c", Key("http.versions of a listener, http = \"2\" of an upstream")),
    ("hash", Key("upstream.hash")),
    ("health_check", Key("health")),
    ("healthcheck", Key("health")),
    ("hsts", Key("route.headers.response.set.Strict-Transport-Security")),
    ("http2", Key("http.versions of a listener, http = \"2\" of an upstream")),
    ("http3", Planned),
    ("index", Key("route.index")),
    ("ip_hash", Key("balance = \"hash\" with hash = { by = \"client-address\" }")),
    ("jwt", Key("route.auth.jwt")),
    ("keepalive", Key("pool.idle_per_worker")),
    ("keepalive_timeout", Key("limits.idle_timeout")),
    ("least_conn", Key("balance = \"least-requests\"")),
    ("limit_conn", Key("limits.connections_per_client")),
    ("limit_req", Key("route.rate_limit")),
    ("listen", Key("address")),
    ("location", Key("route.path")),
    ("log_format", Key("log.format")),
    ("map", Key("[map.NAME], beside the routes")),
    ("max_conns", Key("pool.max_per_endpoint")),
    ("max_fails", Key("upstream.outliers")),
    ("maxconn", Key("limits.connections, or pool.max_per_endpoint of an upstream")),
    ("mirror", Key("upstream.mirror")),
    ("ocsp_stapling", Key("tls.ocsp")),
    ("pid", Key("systemd's unit: it knows the process")),
    ("port", Key("address")),
    ("proxy", Key("upstream")),
    ("proxy_connect_timeout", Key("timeouts.connect")),
    ("proxy_http_version", Key("upstream.http")),
    ("proxy_pass", Key("upstream")),
    ("proxy_read_timeout", Key("timeouts.response")),
    ("proxy_set_header", Key("route.headers.request.set")),
    ("proxy_ssl_certificate", Key("upstream.tls.certificate")),
    ("proxy_ssl_trusted_certificate", Key("upstream.tls.trust")),
    ("quic", Planned),
    ("rate", Key("route.rate_limit")),
    ("real_ip", Key("listener.client_address")),
    ("response_buffering", Planned),
    ("return", Key("respond")),
    ("root", Key("route.root")),
    ("send_proxy", Key("upstream.proxy_protocol")),
    ("server", Key("endpoints")),
    ("servers", Key("endpoints")),
    ("service", Key("upstream")),
    ("session", Key("upstream.sticky")),
    ("set_real_ip_from", Key("listener.client_address")),
    ("slow_start", Key("upstream.slow_start")),
    ("split_clients", Key("route.upstreams")),
    ("ssl", Key("tls")),
    ("ssl_certificate", Key("tls.certificates")),
    ("ssl_certificate_key", Key("tls.certificates = [{ cert = \"FILE\", key = \"FILE\" }]")),
    ("ssl_ciphers", Key("tls.cipher_suites")),
    ("ssl_ecdh_curve", Key("tls.groups")),
    ("ssl_prefer_server_ciphers", Key("tls.cipher_order")),
    ("ssl_protocols", Key("tls.versions")),
    ("ssl_stapling", Key("tls.ocsp")),
    ("ssl_verify_client", Key("tls.client_auth")),
    ("static", Key("route.root")),
    ("stats", Key("[admin], `ringate top` and the console")),
    ("sticky", Key("upstream.sticky")),
    ("sub_filter", Planned),
    ("target", Key("upstream")),
    ("timeout", Key("timeouts")),
    ("to", Key("upstream")),
    ("try_files", Key("route.try_files")),
    ("url", Key("endpoints")),
    ("user", Key("process.user")),
    ("verify", Key("tls.insecure_skip_verify; backends are verified without it")),
    ("waf", Planned),
    ("weight", Key("endpoints = [{ address = \"HOST:PORT\", weight = 2 }]")),
    ("worker_connections", Key("limits.connections_per_worker")),
    ("worker_processes", Key("runtime.workers")),
    ("workers", Key("runtime.workers")),
];

/// Ringate's key for `key`, which is none of the keys of its section. Hyphens and capitals do not count.
pub(super) fn meaning(key: &str) -> Option<Meaning> {
    let plain = key.to_ascii_lowercase().replace('-', "_");
    WORDS.iter().find(|(word, _)| *word == plain).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::markdown;

    #[test]
    fn each_word_has_one_meaning() {
        for pair in WORDS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} stands before {}", pair[0].0, pair[1].0);
        }
        assert_eq!(meaning("Basic-Auth"), Some(Key("route.auth.basic")));
        assert_eq!(meaning("endpoints"), None);
    }

    /// A key that is named for a word is there, and what has a key of that name is not planned.
    #[test]
    fn meanings_are_up_to_date() {
        let reference = markdown::page();
        let keys: Vec<String> = reference
            .lines()
            .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.replace(".NAME", "")))
            .collect();
        let is_key = |name: &str| {
            let whole = format!(".{name}.");
            keys.iter().any(|key| format!(".{key}.").contains(&whole))
        };
        assert!(is_key("route.allow") && !is_key("route.alow"));
        for (word, meaning) in WORDS {
            match meaning {
                Planned => assert!(!is_key(word), "{word} is there"),
                Key(key) if key.contains([' ', ':', '[']) => {}
                Key(key) => {
                    let key = key.strip_suffix(".Strict-Transport-Security").unwrap_or(key);
                    assert!(is_key(key), "{word} means {key}, which is not there");
                }
            }
        }
    }
}
