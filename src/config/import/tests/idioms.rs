//! What stands in most configs, and what must not open where it can't be written.

use super::{haproxy, has, missing, nginx};

#[test]
fn a_location_that_refuses_by_an_expression_holds() {
    let imported = nginx(
        "http {\n server { listen 80;\n  location / { proxy_pass http://10.0.0.1:80; }\n  location ~ /\\.(?!well-known) { deny all; }\n  \
         location ~ ^/a(?=b)c { return 403; }\n  location ~ ^/x(?=y) { proxy_pass http://10.0.0.2:80; }\n }\n}\n",
    );
    has(&imported, &["path = \"~ /\\\\.(?:$|[^w]|w(?:$|[^e]|", "path = \"~ ^/ac\""]);
    assert_eq!(missing(&imported).len(), 2, "the last one, and its destination: {:?}", missing(&imported));
    let notes = imported.report.notes();
    assert!(notes.iter().any(|note| note.line == 5 && note.reason.contains("exempts")), "{notes:?}");
    // What it refuses can't be told from other requests.
    let imported = nginx(
        "http {\n server { listen 80;\n  location / { proxy_pass http://10.0.0.1:80; }\n  location ~ (a)\\1 { deny all; }\n }\n}\n",
    );
    has(&imported, &["respond = { status = 503"]);
    assert!(!imported.toml.contains("upstream ="), "{}", imported.toml);
    assert!(missing(&imported).iter().any(|(_, why)| why.contains("their.conf:4 refuses some")));
    // The same where the refusal stands within it.
    let imported = nginx(
        "http {\n server { listen 80;\n  location / { proxy_pass http://10.0.0.1:80; }\n  \
         location ~ (a)\\1 { location /aa/b { deny all; } }\n }\n}\n",
    );
    assert!(!imported.toml.contains("upstream ="), "{}", imported.toml);
}

#[test]
fn a_refusal_by_a_map_that_lacks_lines_closes_its_place() {
    let imported = nginx(
        "http {\n geo $bad { default 0; ranges; 10.0.0.0-10.0.0.9 1; }\n server { listen 80;\n  if ($bad) { return 403; }\n  \
         location / { proxy_pass http://10.0.0.1:80; }\n }\n}\n",
    );
    has(&imported, &["respond = { status = 503"]);
    assert!(!imported.toml.contains("upstream ="), "{}", imported.toml);
}

#[test]
fn ifs_that_refuse_become_refusals() {
    let imported = nginx(
        "http {\n geo $near { default 0; 10.0.0.0/8 1; }\n map $http_user_agent $bad { ~*bot 1; }\n \
         server { listen 80; server_name a.example;\n  if ($bad) { return 403; }\n  if ($host != a.example) { return 444; }\n  \
         location /x { if ($near = 0) { return 404; } proxy_pass http://10.0.0.1:80; }\n }\n}\n",
    );
    has(
        &imported,
        &[
            "[map.near]\nfrom = \"{client.address}\"\nentries = { \"10.0.0.0/8\" = \"1\" }\ndefault = \"0\"",
            "{ maps = { bad = { regex = \"^([^0]|0.)\" } }, status = 403 }, { not = { host = [\"a.example\"] }, status = 403 }",
            "{ maps = { near = \"0\" }, status = 404 }",
        ],
    );
    assert_eq!(missing(&imported), []);
}

#[test]
fn a_client_certificate_that_an_if_asks_for_is_required() {
    let imported = nginx(
        "http {\n server { listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; ssl_client_certificate ca.pem; ssl_verify_client optional;\n  \
         location / { if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http://10.0.0.1:80; }\n }\n}\n",
    );
    has(&imported, &["tls.client_auth = \"optional\"", "require_client_certificate = true"]);
    assert_eq!(missing(&imported), []);
}

#[test]
fn constants_and_addresses_without_a_scheme_are_understood() {
    let imported = nginx(
        "http {\n server { listen 8080;\n  set $up app.internal:9000;\n  location / { proxy_pass http://$up; proxy_set_header X-Port $server_port; }\n  \
         location /a { set $up 10.0.0.2:80; proxy_pass http://$up$request_uri; }\n  location /b { grpc_pass 10.0.0.3:50051; }\n }\n}\n",
    );
    has(
        &imported,
        &[
            "endpoints = [\"app.internal:9000\"]",
            "headers.request.set.X-Port = \"8080\"",
            "endpoints = [\"10.0.0.2:80\"]",
            "endpoints = [\"10.0.0.3:50051\"]\nhttp = \"2\"",
        ],
    );
    assert_eq!(missing(&imported), []);
}

#[test]
fn refusals_by_the_client_s_address_hold_for_each_host() {
    let imported = haproxy(
        "defaults base\n mode http\ndefaults web from base\n timeout server 5s\nfrontend web from web\n bind :80\n \
         http-request deny if { path_beg /admin } !{ src 10.0.0.0/8 }\n http-request deny if { hdr(host) a.example } !{ src 192.168.0.0/16 }\n \
         use_backend b if { hdr(host) a.example }\n default_backend a\nbackend a\n server s 10.0.0.1:80\nbackend b\n server s 10.0.0.2:80\n",
    );
    has(
        &imported,
        &[
            "{ path = \"~ ^/admin\", not = [{ client = [\"10.0.0.0/8\"] }], status = 403 }, ",
            "{ host = \"a.example\", not = [{ client = [\"192.168.0.0/16\"] }], status = 403 }",
        ],
    );
    assert_eq!(missing(&imported), []);
}

#[test]
fn tcp_by_server_name_is_translated_whole() {
    let imported = haproxy(
        "defaults\n mode tcp\nfrontend sni\n bind :443\n tcp-request inspect-delay 5s\n tcp-request content accept if { req_ssl_hello_type 1 }\n \
         use_backend a if { req_ssl_sni -i a.example }\nbackend a\n option ssl-hello-chk\n server s 10.0.0.1:443 check\n",
    );
    has(&imported, &["sni = \"a.example\"", "health.type = \"tcp\""]);
    assert_eq!(missing(&imported), []);
}

#[test]
fn what_a_refusal_asks_of_the_query_is_not_asked_of_the_path() {
    let imported = haproxy(
        "frontend web\n mode http\n bind :80\n http-request deny if { path_beg /a } { url_sub -i select }\n default_backend a\n\
         backend a\n mode http\n server s 10.0.0.1:80\n",
    );
    has(&imported, &["refuse = [{ path = \"~ ^/a\", status = 503 }]"]);
}
