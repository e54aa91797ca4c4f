//! Whole configs: what is translated, and that each line of theirs is accounted for.

use std::path::{Path, PathBuf};

use super::{File, Imported, Origin, import};
use crate::config::sources::Outside;

mod choices;
mod idioms;

struct None;

impl Outside for None {
    fn expand(&self, pattern: &Path) -> Result<Vec<PathBuf>, String> {
        Ok(vec![pattern.to_owned()])
    }
    fn read(&self, path: &Path) -> Result<String, String> {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("503.http") => {
                Ok("HTTP/1.0 503 Unavailable\r\nContent-Type: text/html\r\nX-A: 1\r\n\r\n<p>\"sorry\"</p>\n"
                    .to_owned())
            }
            Some("app.conf") => Ok("server { listen 81; return 204; }\n".to_owned()),
            _ => Err("no such file".to_owned()),
        }
    }
    fn identity(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
    fn variable(&self, _: &str) -> Result<Option<String>, String> {
        Ok(Option::None)
    }
    fn value(&self, _: &Path) -> Result<String, String> {
        Err("no".to_owned())
    }
}

fn of(origin: Origin, text: &str) -> Imported {
    let file = File { name: "their.conf".to_owned(), text: text.to_owned() };
    import(origin, &[file], Path::new("/etc/theirs"), &None)
}

fn nginx(text: &str) -> Imported {
    of(Origin::Nginx, text)
}

fn haproxy(text: &str) -> Imported {
    of(Origin::HaProxy, text)
}

/// Reasons of what is not translated, by line.
fn missing(imported: &Imported) -> Vec<(usize, String)> {
    imported.report.untranslated().into_iter().map(|listed| (listed.line, listed.reason)).collect()
}

#[track_caller]
fn has(imported: &Imported, parts: &[&str]) {
    assert!(imported.ok, "{}\n{:?}", imported.toml, missing(imported));
    for part in parts {
        assert!(
            imported.toml.contains(part),
            "{part} is not in:\n{}\n{:?}",
            imported.toml,
            missing(imported)
        );
    }
}

#[test]
fn nginx_servers_become_listeners_and_routes() {
    let imported = nginx(
        "http {\n upstream app { least_conn; server 10.0.0.1:8080 weight=3; server 10.0.0.2:8080 backup; keepalive 16; }\n \
         server { listen 80 default_server; server_name a.example;\n  location / { proxy_pass http://app; proxy_set_header Host $host; proxy_read_timeout 5s; }\n  \
         location = /health { return 200 ok; }\n  location /api/ { proxy_pass http://app/; } }\n \
         server { listen 80; server_name b.example *.c.example; return 301 https://$host$request_uri; }\n}\n",
    );
    has(
        &imported,
        &[
            "name = \"http-80\"\naddress = \"0.0.0.0:80\"",
            "balance = \"least-requests\"",
            "{ address = \"10.0.0.1:8080\", weight = 3 }",
            "{ address = \"10.0.0.2:8080\", backup = true }",
            "pool.idle_per_worker = 16",
            "timeouts.response = \"5s\"",
            "path = \"=/health\"",
            "respond = { status = 200, body = \"ok\"",
            "strip_prefix = true",
            "host = \"*.c.example\"",
            "redirect = { status = 301, scheme = \"https\" }",
        ],
    );
    assert_eq!(missing(&imported), []);
}

#[test]
fn maps_bounds_and_logs_of_nginx_locations_are_their_routes() {
    let imported = nginx(
        "http {\n map $http_x_plan $tier { default slow; gold fast; \"~*^plat\" fast; }\n map $host $shop { hostnames; .a.example a; b.* b; }\n \
         limit_conn_zone $binary_remote_addr zone=each:1m;\n access_log /var/log/all.log;\n \
         server { listen 80; client_max_body_size 2m;\n  location / { proxy_pass http://10.0.0.1:80; proxy_set_header X-Tier $tier; add_header X-Shop $shop always; }\n  \
         location /files/ { proxy_pass http://10.0.0.1:80; limit_rate 100k; limit_rate_after 1m; limit_conn each 4; client_max_body_size 8m; access_log /var/log/files.log; }\n  \
         location /quiet/ { proxy_pass http://10.0.0.1:80; access_log off; } }\n}\n",
    );
    has(
        &imported,
        &[
            "[map.tier]\nfrom = \"{request.header.x-plan}\"\nentries = { \"gold\" = \"fast\", \"~*^plat\" = \"fast\" }\ndefault = \"slow\"",
            "from = \"{request.host}\"\nentries = { \"a.example\" = \"a\", \"*.a.example\" = \"a\", \"b.*\" = \"b\" }\nany_case = true",
            "headers.request.set.X-Tier = \"{map.tier}\"",
            "headers.response.add.X-Shop = [\"{map.shop}\"]",
            "limits.body_bytes = \"2MiB\"",
            "limits.body_bytes = \"8MiB\"\nlimits.response_rate = \"100KiB/s\"\nlimits.response_burst = \"1MiB\"\nlimits.requests_per_client = 4",
            "access = \"/var/log/all.log\"\nnamed.files.access = \"/var/log/files.log\"",
            "access_log = \"files\"",
            "access_log = \"off\"",
        ],
    );
    assert_eq!(missing(&imported), []);
}

#[test]
fn what_nginx_has_and_ringate_has_not_is_listed_with_its_line() {
    let imported = nginx(
        "http {\n  sub_filter a b;\n  server {\n    listen 80;\n    location / { proxy_pass http://127.0.0.1:1; }\n    \
         location /admin { satisfy any; auth_request /auth; proxy_pass http://127.0.0.1:1; }\n    location ~ \\.php$ { fastcgi_pass 127.0.0.1:9000; }\n    \
         unheard_of on;\n  }\n}\n",
    );
    has(&imported, &["path = \"~ ^/admin\"\nrespond = { status = 503"]);
    let missing = missing(&imported);
    for line in [2, 6, 7, 8] {
        assert!(missing.iter().any(|(at, _)| *at == line), "{line}: {missing:?}");
    }
    assert!(!imported.toml.contains("path = \"~ ^/admin\"\nupstream"));
}

#[test]
fn nginx_s_subrequests_become_questions_to_a_service() {
    let imported = nginx(
        "http {\n server {\n  listen 80;\n  location / {\n   auth_request /auth/x;\n   auth_request_set $user $upstream_http_x_user;\n   \
         auth_request_set $cookie $upstream_http_set_cookie;\n   proxy_set_header X-User $user;\n   proxy_set_header X-Name $user;\n   \
         add_header Set-Cookie $cookie;\n   proxy_pass http://10.0.0.1:80;\n  }\n  location /auth/ {\n   internal;\n   \
         proxy_pass http://10.0.0.2:81/check/;\n   proxy_set_header X-Original-URI $request_uri;\n   proxy_set_header X-Key secret;\n  }\n  \
         location /open { auth_request $uri; proxy_pass http://10.0.0.1:80; }\n }\n}\n",
    );
    has(
        &imported,
        &[
            "auth.forward = { upstream = \"10.0.0.2-81\", path = \"/check/x\", request_headers = [\"*\"], response_headers = [\"X-User\"], success_headers = [\"Set-Cookie\"] }",
            "headers.request.remove = [\"X-Name\"]",
            "path = \"/auth\"\nrespond = { status = 404 }",
            "path = \"/open\"\nrespond = { status = 503",
        ],
    );
    let lines: Vec<usize> = missing(&imported).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [9, 17, 19, 19, 19], "{:?}", missing(&imported));
}

#[test]
fn nginx_s_error_pages_become_the_listener_s() {
    let imported = nginx(
        "http {\n error_page 500 502 /50x.html;\n server {\n  listen 80;\n  root /srv/www;\n  error_page 404 /404.html;\n  \
         error_page 502 503 /50x.html;\n  error_page 401 =302 https://login.example/;\n  location = /50x.html { internal; root /srv/errors; } location = /404.html { internal; }\n  \
         location /api { proxy_intercept_errors on; proxy_pass http://10.0.0.1:80; }\n  \
         location / { proxy_pass http://10.0.0.1:80; }\n  location /other { error_page 404 /other.html; proxy_pass http://10.0.0.1:80; }\n }\n}\n",
    );
    has(
        &imported,
        &[
            "error_pages.404 = \"/srv/www/404.html\"",
            "error_pages.502 = \"/srv/errors/50x.html\"",
            "error_pages.503 = \"/srv/errors/50x.html\"",
            "path = \"/api\"",
            "error_pages.intercept = [\"404\", \"502\", \"503\", \"401\"]",
            "path = \"=/50x.html\"\nrespond = { status = 404 }",
            "error_pages.401 = { redirect = \"https://login.example/\", status = 302 }",
        ],
    );
    assert!(!imported.toml.contains("error_pages.500"), "{}", imported.toml);
    let lines: Vec<usize> = missing(&imported).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 5, 12], "{:?}", missing(&imported));
}

#[test]
fn what_nginx_refuses_stays_refused() {
    let backend = "proxy_pass http://127.0.0.1:1;";
    // A refusal that can't be written closes what it stands in.
    let imported = nginx(&format!(
        "http {{ server {{ listen 80; location / {{ {backend} }}\n location /a {{ if ($bad) {{ return 403; }} {backend} }} }} }}\n"
    ));
    has(&imported, &["path = \"/a\"\nrespond = { status = 503"]);
    let imported = nginx(&format!(
        "http {{ server {{ listen 80; if ($bad) {{ return 444; }} location / {{ {backend} }} location /a {{ {backend} }} }} }}\n"
    ));
    assert_eq!(
        (imported.toml.contains("upstream ="), imported.toml.matches("status = 503").count()),
        (false, 2)
    );
    // What a server answers by scheme goes before all of its locations.
    let imported = nginx(&format!(
        "http {{ server {{ listen 80; listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n \
         if ($scheme = http) {{ return 301 https://$host$request_uri; }} location / {{ {backend} }} location /a {{ {backend} }} }} }}\n"
    ));
    has(
        &imported,
        &["listener = \"http-80\"\nredirect", "listener = \"https-443\"\npath = \"/a\"\nupstream"],
    );
    assert_eq!(imported.toml.matches("\"http-80\"").count(), 2, "{}", imported.toml);
}

#[test]
fn fragments_and_includes_of_nginx_are_read() {
    let imported = nginx("http {\n include app.conf;\n include mime.types;\n include none.conf;\n}\n");
    has(&imported, &["respond = { status = 204 }"]);
    assert_eq!(missing(&imported).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4]);
    has(&nginx("server { listen 8080; location / { proxy_pass http://127.0.0.1:1; } }\n"), &["http-8080"]);
}

#[test]
fn tls_of_nginx_is_translated_on_both_sides() {
    let imported = nginx(
        "http { server { listen 443 ssl; server_name a.example; ssl_certificate a.pem; ssl_certificate_key a.key;\n\
         ssl_client_certificate ca.pem; ssl_verify_client on; ssl_protocols TLSv1.1 TLSv1.2;\n\
         location / { proxy_pass https://b.internal; proxy_ssl_certificate c.pem; proxy_ssl_certificate_key c.key;\n\
         proxy_ssl_verify on; proxy_ssl_trusted_certificate bca.pem; proxy_ssl_name real.internal; } } }\n",
    );
    has(
        &imported,
        &[
            "tls.certificates = [{ cert = \"/etc/theirs/a.pem\", key = \"/etc/theirs/a.key\" }]",
            "tls.client_auth = \"required\"",
            "tls.client_trust = [\"/etc/theirs/ca.pem\"]",
            "tls.versions = [\"1.2\"]",
            "endpoints = [\"b.internal:443\"]",
            "tls.server_name = \"real.internal\"",
            "tls.trust = [\"/etc/theirs/bca.pem\"]",
            "tls.certificate = { cert = \"/etc/theirs/c.pem\", key = \"/etc/theirs/c.key\" }",
        ],
    );
}

#[test]
fn suites_and_groups_are_translated_where_all_of_them_are_known() {
    let of = |lines: &str| {
        nginx(&format!(
            "http {{ server {{ listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n{lines}\n\
             location / {{ return 204; }} }} }}\n"
        ))
    };
    let imported = of("ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305;\n\
                       ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;\n\
                       ssl_prefer_server_ciphers off;\nssl_ecdh_curve X25519:prime256v1;");
    has(
        &imported,
        &[
            "tls.cipher_suites = [\"TLS13_AES_256_GCM_SHA384\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\", \
             \"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256\"]",
            "tls.cipher_order = \"client\"",
            "tls.groups = [\"X25519\", \"secp256r1\"]",
        ],
    );
    assert_eq!(missing(&imported), []);
    has(&of("ssl_stapling on;\nssl_stapling_verify on;"), &["tls.ocsp = { fetch = true }"]);
    has(
        &of("ssl_stapling on;\nssl_stapling_file a.ocsp;"),
        &["tls.ocsp = { file = \"/etc/theirs/a.ocsp\" }"],
    );
    assert!(!of("ssl_stapling off;").toml.contains("ocsp"));
    let classes = of("ssl_ciphers HIGH:!aNULL:!MD5;\nssl_prefer_server_ciphers on;");
    assert!(!classes.toml.contains("cipher") && missing(&classes).is_empty(), "{}", classes.toml);
    let unknown = of("ssl_ciphers DHE-RSA-AES128-GCM-SHA256;\nssl_ecdh_curve X448;");
    assert!(!unknown.toml.contains("cipher_suites") && !unknown.toml.contains("groups"), "{}", unknown.toml);
    let some = of("ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256;");
    has(&some, &["\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]"]);
    let notes = some.report.notes();
    assert!(notes.iter().any(|note| note.reason == "without DHE-RSA-AES128-GCM-SHA256"), "{notes:?}");
    let said = missing(&unknown);
    assert_eq!(said[0], (2, "there is no cipher suite DHE-RSA-AES128-GCM-SHA256".to_owned()));
    assert_eq!(said[1], (3, "there is no group X448".to_owned()));
    let imported = haproxy(
        "global\n  ssl-default-bind-ciphers ECDHE-RSA-AES256-GCM-SHA384\n  ssl-default-bind-options prefer-client-ciphers\n\
         frontend web\n  mode http\n  bind :443 ssl crt /a.pem ciphersuites TLS_AES_128_GCM_SHA256 curves X25519:P-384\n  default_backend app\n\
         backend app\n  mode http\n  server a b:443 ssl verify required ca-file /b.pem ciphers ECDHE-ECDSA-AES128-GCM-SHA256 curves P-256\n",
    );
    has(
        &imported,
        &[
            "tls.cipher_suites = [\"TLS13_AES_128_GCM_SHA256\", \"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\"]",
            "tls.cipher_order = \"client\"",
            "tls.groups = [\"X25519\", \"secp384r1\"]",
            "\"TLS13_CHACHA20_POLY1305_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]",
            "tls.groups = [\"secp256r1\"]",
        ],
    );
    assert_eq!(missing(&imported), []);
}

#[test]
fn streams_of_nginx_become_tcp_and_udp_listeners() {
    let imported = nginx(
        "stream {\n map $ssl_preread_server_name $to { a.example one; default two; }\n\
         upstream one { server 127.0.0.1:1; }\n upstream two { server 127.0.0.1:2; }\n\
         server { listen 443; ssl_preread on; proxy_pass $to; proxy_timeout 10m; }\n\
         server { listen 53 udp; proxy_pass 127.0.0.1:5353; proxy_responses 1; }\n}\n",
    );
    has(
        &imported,
        &[
            "protocol = \"tcp\"",
            "protocol = \"udp\"",
            "sni = \"a.example\"",
            "udp.responses = 1",
            "timeouts.idle = \"10m\"",
        ],
    );
    assert_eq!(missing(&imported), []);
}

#[test]
fn haproxy_s_frontends_become_listeners_and_routes() {
    let imported = haproxy(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout server 50000\n  timeout client 30s\n  option httplog\n\n\
         frontend web\n  bind *:80\n  acl api path_beg /api\n  acl static hdr(host) -i static.example\n  use_backend api if api\n  \
         use_backend static if static\n  default_backend app\n  http-request deny if { path /secret }\n\n\
         backend app\n  balance leastconn\n  cookie SRV insert indirect nocache\n  server a 10.0.0.1:80 check weight 10\n  server b 10.0.0.2:80 check backup\n\n\
         backend api\n  option httpchk GET /healthz\n  http-check expect status 200\n  server a 10.0.0.3:80 check inter 3s maxconn 50\n\n\
         backend static\n  server a 10.0.0.4:80\n",
    );
    has(
        &imported,
        &[
            "name = \"web\"\naddress = \"0.0.0.0:80\"",
            "timeouts.connect = \"5s\"",
            "timeouts.response = \"50s\"",
            "host = \"static.example\"",
            "path = \"~ ^/api\"",
            "refuse = [{ path = \"=/secret\", status = 403 }]",
            "balance = \"least-requests\"",
            "sticky.cookie = \"SRV\"",
            "health.path = \"/healthz\"",
            "health.expect = [\"200\"]",
            "pool.max_per_endpoint = 50",
        ],
    );
    assert_eq!(missing(&imported), []);
    // The path goes before the host, as in HAProxy.
    assert!(
        imported.toml.contains("host = \"static.example\"\npath = \"~ ^/api\"\nupstream = \"api\""),
        "{}",
        imported.toml
    );
}

#[test]
fn tls_and_access_of_haproxy_are_translated() {
    let imported = haproxy(
        "frontend web\n  mode http\n  bind :80\n  bind :443 ssl crt /etc/ssl/a.pem ca-file /etc/ssl/ca.pem verify required alpn h2,http/1.1\n  \
         http-request redirect scheme https code 301 unless { ssl_fc }\n  http-request deny if !{ src 10.0.0.0/8 192.168.0.0/16 } { path_beg /admin }\n  \
         stick-table type ip size 1m expire 1m store http_req_rate(10s)\n  http-request track-sc0 src\n  \
         http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100 }\n  http-response set-header Strict-Transport-Security max-age=1\n  \
         http-request set-header X-Place %[src,map_ip(/etc/places.map,none)]\n  default_backend app\n\
         backend app\n  mode http\n  server a app.internal:443 ssl verify required ca-file /etc/ssl/b.pem sni str(app.internal) crt /etc/ssl/c.pem send-proxy-v2\n",
    );
    has(
        &imported,
        &[
            "redirect = { status = 301, scheme = \"https\" }",
            "tls.certificates = [\"/etc/ssl/a.pem\"]",
            "tls.client_trust = [\"/etc/ssl/ca.pem\"]",
            "refuse = [{ path = \"~ ^/admin\", not = [{ client = [\"10.0.0.0/8\", \"192.168.0.0/16\"] }], status = 403 }]",
            "rate_limit = { rate = \"10/s\", burst = 100, by = \"client\" }",
            "headers.response.set.Strict-Transport-Security = \"max-age=1\"",
            "[map.places]\nfrom = \"{client.address}\"\nfile = \"/etc/places.map\"\ndefault = \"none\"",
            "headers.request.set.X-Place = \"{map.places}\"",
            "tls.server_name = \"app.internal\"",
            "tls.certificate = \"/etc/ssl/c.pem\"",
            "proxy_protocol = \"v2\"",
        ],
    );
    assert_eq!(missing(&imported), []);
    // The other listener redirects all requests before that.
    assert_eq!(imported.toml.matches("refuse = ").count(), 1, "{}", imported.toml);
}

#[test]
fn what_haproxy_has_and_ringate_has_not_is_listed_with_its_line() {
    let imported = haproxy(
        "frontend web\n  mode http\n  bind :80\n  http-request lua.auth\n  unheard of\n  default_backend app\n\
         backend app\n  mode http\n  http-request auth unless { http_auth(users) }\n  server a 10.0.0.1:80 agent-check\n",
    );
    has(&imported, &["respond = { status = 503"]);
    let missing = missing(&imported);
    for line in [4, 5, 9, 10] {
        assert!(missing.iter().any(|(at, _)| *at == line), "{line}: {missing:?}");
    }
    let tcp = haproxy("listen db\n  bind 127.0.0.1:5432\n  mode tcp\n  server a 10.0.0.1:5432 check\n");
    has(&tcp, &["protocol = \"tcp\"", "health.type = \"tcp\"", "upstream = \"db\""]);
}

/// A frontend with these rules before a backend.
fn guarded(rules: &str) -> Imported {
    haproxy(&format!(
        "frontend web\n  mode http\n  bind :80\n{rules}  use_backend app if {{ path_beg /api }}\n  default_backend app\n\
         backend app\n  mode http\n  server a 10.0.0.1:80\n"
    ))
}

#[test]
fn a_deny_of_haproxy_refuses_more_where_it_can_t_be_written() {
    // What of it can be asked is refused.
    let part = guarded("  http-request deny if { path_beg /admin } { rand(100) lt 5 }\n");
    has(&part, &["refuse = [{ path = \"~ ^/admin\", status = 503 }]", "upstream = \"app\""]);
    assert_eq!(missing(&part).len(), 1, "{:?}", missing(&part));
    // Nothing of it can be: nothing passes.
    for rule in [
        "  http-request deny if { rand(100) lt 5 }\n",
        "  http-request deny unless { path_beg /admin } { method GET }\n",
        "  acl odd rand(100) lt 5\n  http-request deny if odd\n",
        "  http-request deny if { hdr_reg(user-agent) (?!bot)x }\n",
        "  http-request deny if { path_reg (?<=a)b }\n",
    ] {
        let imported = guarded(rule);
        has(&imported, &["refuse = [{ path = \"/\", status = 503 }]"]);
        let all = missing(&imported);
        assert!(
            all.iter().any(|(_, why)| why.contains("ALL requests of the frontend are refused")),
            "{all:?}"
        );
    }
    let either = guarded("  acl odd rand(100) lt 5\n  http-request deny if { path_beg /a } or odd\n");
    has(&either, &["refuse = [{ path = \"~ ^/a\", status = 503 }, { path = \"/\", status = 503 }]"]);
    // Of a bound that can't be written, what is within it passes.
    let bound = guarded("  http-request deny if { path_beg /a } { src_conn_cur gt 5 }\n");
    has(&bound, &["upstream = \"app\""]);
    assert!(missing(&bound).iter().any(|(_, why)| why.contains("NOT refused")), "{:?}", missing(&bound));
    let tcp = haproxy(
        "listen db\n  bind 127.0.0.1:5432\n  mode tcp\n  tcp-request connection reject if { rand(100) lt 5 }\n  server a 10.0.0.1:5432\n",
    );
    assert!(!tcp.ok && !missing(&tcp).is_empty(), "{}", tcp.toml);
}

#[test]
fn a_deny_of_haproxy_is_the_listener_s_where_it_can_be_written() {
    for (rule, entry) in [
        (
            "deny if { path_beg /admin } !{ method GET } !{ hdr(x-key) 7 }",
            "{ path = \"~ ^/admin\", not = [{ methods = [\"GET\"] }, { headers = { x-key = { value = \"7\" } } }], status = 403 }",
        ),
        ("deny if !{ path_beg /admin }", "{ not = [{ path = \"~ ^/admin\" }], status = 403 }"),
        (
            "deny deny_status 404 if { path_beg /admin } { path_end .php }",
            "{ all = [{ path = \"~ ^/admin\" }, { path = \"~ \\\\.php$\" }], status = 404 }",
        ),
        (
            "deny if { hdr_reg(user-agent) -i bot|spider }",
            "{ headers = { user-agent = { regex = \"(?i)bot|spider\" } }, status = 403 }",
        ),
        (
            "deny if { hdr_sub(user-agent) bot }",
            "{ headers = { user-agent = { contains = \"bot\" } }, status = 403 }",
        ),
        (
            "deny if { hdr(x-a) -i b.c }",
            "{ headers = { x-a = { regex = \"(?i)^b\\\\.c$\" } }, status = 403 }",
        ),
        ("deny if { path_beg -i /Admin }", "{ path = \"~ (?i)^/Admin\", status = 403 }"),
        ("deny if { path -i /Admin }", "{ path = \"~ (?i)^/Admin$\", status = 403 }"),
        (
            "deny if !{ path_beg /a } !{ src 10.0.0.0/8 }",
            "{ not = [{ path = \"~ ^/a\" }, { client = [\"10.0.0.0/8\"] }], status = 403 }",
        ),
    ] {
        let imported = guarded(&format!("  http-request {rule}\n"));
        has(&imported, &[&format!("refuse = [{entry}]"), "path = \"~ ^/api\"\nupstream = \"app\""]);
        assert_eq!(missing(&imported), [], "{rule}");
    }
    // An answer that stands above it goes first, as far as routes can say so.
    let behind = guarded(
        "  http-request redirect location /new if { path /old }\n  http-request deny if { path_end .php }\n",
    );
    has(
        &behind,
        &["path = \"~ \\\\.php$\"\nrespond = { status = 403 }", "path = \"~ ^/api\"\nupstream = \"app\""],
    );
}

#[test]
fn error_files_of_haproxy_become_the_listener_s_pages() {
    let imported = haproxy(
        "defaults\n  mode http\n  errorfile 503 errors/503.http\n  errorfile 200 errors/503.http\n  errorfile 500 errors/500.http\n\
         frontend web\n  bind :80\n  http-error status 404 content-type text/plain string \"none here\"\n  \
         http-error status 502 content-type text/html file /etc/pages/502.html\n  http-error status 403 lf-string %T\n  default_backend app\n\
         backend app\n  server a 10.0.0.1:80\n",
    );
    has(
        &imported,
        &[
            r#"error_pages.503 = { text = "<p>\"sorry\"</p>\n", content_type = "text/html" }"#,
            r#"error_pages.404 = { text = "none here", content_type = "text/plain" }"#,
            r#"error_pages.502 = { file = "/etc/pages/502.html", content_type = "text/html" }"#,
        ],
    );
    let lines: Vec<usize> = missing(&imported).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [4, 5, 10], "{:?}", missing(&imported));
}

#[test]
fn pages_of_a_backend_of_haproxy_become_those_of_its_routes() {
    let imported = haproxy(
        "defaults\n  mode http\n  errorfile 503 errors/503.http\n  errorloc 504 https://d.example/\n\
         frontend web\n  bind :80\n  errorloc303 504 /late\n  use_backend api if { path_beg /api }\n  default_backend app\n\
         backend app\n  server a 10.0.0.1:80\n\
         backend api\n  errorloc 503 https://sorry.example/api\n  server a 10.0.0.2:80\n",
    );
    let late = "error_pages.504 = { redirect = \"/late\", status = 303 }";
    let of_defaults = "error_pages.504 = { redirect = \"https://d.example/\", status = 302 }";
    has(&imported, &[late, of_defaults]);
    has(&imported, &["error_pages.503 = { redirect = \"https://sorry.example/api\", status = 302 }"]);
    // That of 503 is that of 502, too; what the frontend has of its defaults is not written again.
    assert_eq!(imported.toml.matches("sorry\\\"</p>").count(), 2, "{}", imported.toml);
    assert_eq!(missing(&imported), []);
}

#[test]
fn paths_and_hosts_of_haproxy_match_as_they_did_or_a_line_says_what_differs() {
    let imported = haproxy(
        "frontend web\n  mode http\n  bind :80\n  acl admin hdr(host) -i admin.example:8443\n  use_backend app if admin\n  \
         use_backend api if { path_beg /api/ }\n  use_backend api if { path_dir img }\n  default_backend app\n\
         backend app\n  mode http\n  server a 10.0.0.1:80\n\
         backend api\n  mode http\n  http-request set-path %[path,regsub(^/api/,/)]\n  server a 10.0.0.2:80\n",
    );
    has(&imported, &["host = \"admin.example\"", "path = \"~ /img(/|$)\""]);
    has(&imported, &["path = \"~ ^/api/(.*)$\"\nupstream = \"api\"\nrewrite = \"/$1\""]);
    let notes = imported.report.notes();
    let noted = notes.iter().find(|listed| listed.line == 4).expect("a note");
    assert!(noted.reason.contains("the port is not compared"), "{noted:?}");
    // More expressions than a host has.
    let many: String = (0..220).map(|at| format!("  use_backend app if {{ path_beg /p{at} }}\n")).collect();
    let imported = guarded(&many);
    has(&imported, &["path = \"/p219\"\nupstream = \"app\""]);
    assert!(imported.report.notes().iter().any(|listed| listed.reason.contains("only whole parts")));
}

#[test]
fn what_is_nothing_of_theirs_is_no_config() {
    for text in ["", "}}}{{{;;;", "hello", "http { server { listen nowhere; } }", "frontend x\n"] {
        for origin in [Origin::Nginx, Origin::HaProxy] {
            assert!(!of(origin, text).ok, "{text}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in "([a-z_]{1,8}|[ ;{}\"'\\\\$#\n/:.~0-9()!]|server |location |listen |http |frontend |bind |acl |use_backend |if ){0,60}") {
        for origin in [Origin::Nginx, Origin::HaProxy] {
            let imported = of(origin, &text);
            proptest::prop_assert!(!imported.ok || !imported.toml.is_empty());
        }
    }
}
