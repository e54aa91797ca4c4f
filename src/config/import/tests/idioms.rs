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
fn what_a_refusal_asks_of_the_query_is_not_asked_of_the_path_alone() {
    let imported = haproxy(
        "frontend web\n mode http\n bind :80\n http-request deny if { path_beg /a } { url_sub -i select }\n default_backend a\n\
         backend a\n mode http\n server s 10.0.0.1:80\n",
    );
    has(
        &imported,
        &[
            "[map.listed-target]\nfrom = \"{request.target}\"\nentries = { \"~ select\" = \"1\" }\nany_case = true",
            "refuse = [{ all = [{ path = \"~ ^/a\" }, { maps = { listed-target = { present = true } } }], status = 403 }]",
        ],
    );
    assert_eq!(missing(&imported), []);
}

/// A frontend with these rules, and a backend.
fn with_rules(rules: &str) -> crate::config::import::Imported {
    haproxy(&format!(
        "defaults\n mode http\nfrontend web\n bind :80\n bind :443 ssl crt /a.pem\n{rules} default_backend a\nbackend a\n server s 10.0.0.1:80\n"
    ))
}

#[test]
fn conditions_of_header_rules_are_asked_on_the_listener() {
    let imported = with_rules(
        " acl api path_beg /api\n acl beta req.hdr(X-Beta) 1\n http-request set-var(txn.path) path\n capture request header X-Who len 9\n \
         http-request set-header X-A \"a b\" if api !beta\n http-request set-header X-A c\n http-request del-header X-B unless api beta\n \
         http-request add-header X-C %[src] if api || beta\n http-request set-header X-D tls if { ssl_fc } || api\n \
         http-response set-header Cache-Control no-store if { status ge 500 } || { status 404 }\n \
         http-response add-header X-E %[var(txn.path)] if { var(txn.path) -m beg /x }\n \
         http-response set-header X-F f if { capture.req.hdr(0) -m found }\n http-after-response set-header X-F g\n",
    );
    has(
        &imported,
        &[
            "headers.when = [\n  { path = \"~ ^/api\", not = { headers = { X-Beta = { value = \"1\" } } }, request = { set = { X-A = \"a b\" } } },\n  \
             { path = \"/\", request = { set = { X-A = \"c\" } } },\n  \
             { not = { path = \"~ ^/api\", headers = { X-Beta = { value = \"1\" } } }, request = { remove = [\"X-B\"] } },\n  \
             { any = [{ path = \"~ ^/api\" }, { headers = { X-Beta = { value = \"1\" } } }], request = { add = { X-C = [\"{client.address}\"] } } },\n",
            "{ path = \"~ ^/api\", request = { set = { X-D = \"tls\" } } },\n  { status = [\"404\", \"5xx\"], response = { set = { Cache-Control = \"no-store\" } } },\n  \
             { path = \"~ ^/x\", response = { add = { X-E = [\"{request.path}\"] } } },\n  \
             { headers = { X-Who = { present = true } }, response = { set = { X-F = \"f\" } } },\n  \
             { path = \"/\", response = { set = { X-F = \"g\" } } },\n]",
            "headers.request.set.X-D = \"tls\"",
        ],
    );
    assert_eq!(missing(&imported), []);
}

#[test]
fn header_rules_whose_conditions_can_t_be_asked_are_listed() {
    let imported = with_rules(
        " acl api path_beg /api\n http-request del-header X-Gone\n \
         http-request set-header X-A a if { req.hdr(X-Gone) 1 }\n http-response set-header X-B b if api\n \
         http-response set-header X-C c unless { res.hdr(X-C) -m found }\n http-request add-header X-D d if api !{ method GET } || { method PUT }\n \
         http-request set-header X-E e if { rand(2) 1 }\n http-response set-header X-F f if { var(txn.none) -m found }\n \
         http-request set-header Host %[src] if api\n http-request set-header X-G g if api\n",
    );
    has(&imported, &["{ path = \"~ ^/api\", request = { set = { X-G = \"g\" } } },\n]"]);
    let missing = missing(&imported);
    for (line, part) in [
        (8, "a rule above it changes"),
        (9, "HAProxy has no path_beg in rules on responses"),
        (10, "on the status of responses"),
        (11, "each would add the field"),
        (12, "rand"),
        (13, "var(txn.none)"),
        (14, "refused by the check"),
    ] {
        assert!(missing.iter().any(|(at, why)| *at == line && why.contains(part)), "{line}: {missing:?}");
    }
    assert_eq!(missing.len(), 7, "{missing:?}");
    assert!(!imported.toml.contains("X-A"), "{}", imported.toml);
}

#[test]
fn conditions_of_a_backend_s_header_rules_are_asked_on_its_routes() {
    let imported = haproxy(
        "defaults\n mode http\nfrontend web\n bind :80\n http-request set-var(txn.host) req.hdr(host)\n use_backend b if { path_beg /b }\n default_backend a\n\
         backend a\n http-request set-header X-A 1 if { path_end .json } || { path_end .xml }\n \
         http-response del-header X-B if { var(txn.host) -m str a.example } { status 200 }\n server s 10.0.0.1:80\nbackend b\n server s 10.0.0.2:80\n",
    );
    has(
        &imported,
        &[
            "headers.when = [\n  { path = [\"~ \\\\.json$\", \"~ \\\\.xml$\"], request = { set = { X-A = \"1\" } } },\n  \
             { host = \"a.example\", status = [\"200\"], response = { remove = [\"X-B\"] } },\n]",
        ],
    );
    assert_eq!(imported.toml.matches("headers.when").count(), 1, "{}", imported.toml);
    assert_eq!(missing(&imported), []);
}

#[test]
fn fields_of_an_if_take_the_place_of_the_location_s() {
    let imported = nginx(
        "http {\n server { listen 80;\n  location / { proxy_pass http://10.0.0.1:80; add_header A own always; add_header A two always;\n   \
         if ($http_x_beta = 1) { add_header B beta always; }\n   if ($request_method != GET) { add_header C post always; }\n   \
         if ($scheme = https) { add_header D tls always; }\n  }\n }\n}\n",
    );
    has(
        &imported,
        &[
            "headers.when = [\n  { methods = [\"GET\"], not = { headers = { x-beta = \"1\" } }, response = { add = { A = [\"own\", \"two\"] } } },\n  \
             { all = [{ headers = { x-beta = \"1\" } }, { methods = [\"GET\"] }], response = { add = { B = [\"beta\"] } } },\n  \
             { not = { methods = [\"GET\"] }, response = { add = { C = [\"post\"] } } },\n]",
        ],
    );
    assert!(missing(&imported).iter().all(|(line, _)| *line == 6), "{:?}", missing(&imported));
    assert!(!missing(&imported).is_empty());
}
