//! Destinations that a request says, and refusals that must not become narrower.

use super::{guarded, haproxy, has, missing, nginx};

#[test]
fn a_name_of_a_backend_that_can_t_be_asked_closes_its_requests() {
    for name in ["%[rand(2)]", "%[lua.choose]", "%[req.hdr(host),map(/none.map)]", "%[src]%[path]"] {
        let imported = guarded(&format!("  use_backend {name} if {{ path_beg /x }}\n"));
        has(
            &imported,
            &["path = \"~ ^/x\"\nrespond = { status = 503 }", "path = \"~ ^/api\"\nupstream = \"app\""],
        );
        let all = missing(&imported);
        assert!(all.len() == 1 && all[0].1.contains("its requests get 503"), "{all:?}");
    }
}

#[test]
fn names_of_backends_by_a_host_become_routes_of_hosts() {
    let imported = haproxy(
        "frontend web\n mode http\n bind :80\n use_backend bk_%[req.hdr(host),lower]\n default_backend app\n\
         backend app\n mode http\n server s 10.0.0.1:80\nbackend bk_a.example\n mode http\n server s 10.0.0.2:80\n",
    );
    has(&imported, &["host = \"a.example\"\nupstream = \"bk_a.example\"", "upstream = \"app\""]);
    assert_eq!(missing(&imported), []);
}

#[test]
fn logins_that_can_t_be_written_close_and_others_ask_for_more() {
    let of = |rule: &str, list: &str| {
        haproxy(&format!(
            "{list}frontend web\n mode http\n bind :80\n http-request {rule}\n default_backend app\n\
             backend app\n mode http\n server s 10.0.0.1:80\n"
        ))
    };
    let list = "userlist team\n user a password $5$saltsalt$ZZafy3axKGVvwp5WrR36Vrb3IbPVQKjJhmtDxaFOvd2\n";
    for (rule, list) in [
        ("auth unless { http_auth(team) }", ""),
        ("auth if { http_auth(team) }", list),
        ("auth", list),
        ("auth if { path_beg /x } or !{ http_auth(team) }", list),
    ] {
        let imported = of(rule, list);
        has(&imported, &["respond = { status = 503"]);
        assert!(!imported.toml.contains("upstream ="), "{rule}: {}", imported.toml);
        assert!(missing(&imported).iter().any(|(_, why)| why.contains("refused with 503")), "{rule}");
    }
    let login = "auth.basic = { file = \"team.htpasswd\", realm = \"web\", forward_authorization = true }";
    for rule in [
        "auth unless { http_auth(team) }",
        "deny unless { http_auth(team) }",
        "auth if { rand(2) 1 } !{ http_auth(team) }",
    ] {
        let imported = of(rule, list);
        has(&imported, &[login]);
        assert_eq!(imported.toml.matches("upstream =").count(), 1, "{rule}: {}", imported.toml);
        assert_eq!(missing(&imported), [], "{rule}");
        assert!(imported.files[0].text.contains("\na:$5$"), "{:?}", imported.files);
    }
}

#[test]
fn a_user_must_be_in_all_lists_that_are_asked_for() {
    let imported = haproxy(
        "userlist one\n user a insecure-password x groups g\n user b insecure-password x\n user c insecure-password x\n\
         userlist two\n user a insecure-password x\n user b insecure-password y\n\
         frontend web\n mode http\n bind :80\n http-request auth unless { http_auth(one) }\n http-request auth unless { http_auth(two) }\n \
         default_backend app\nbackend app\n mode http\n server s 10.0.0.1:80\n",
    );
    has(&imported, &["file = \"one-and-two.htpasswd\""]);
    let users: Vec<&str> = imported.files[0].text.lines().skip(1).filter_map(|line| line.get(..2)).collect();
    assert_eq!(users, ["a:"], "{:?}", imported.files);
}

#[test]
fn a_server_name_is_missing_without_tls() {
    let imported = haproxy(
        "frontend web\n mode http\n bind :80\n bind :443 ssl crt /a.pem\n http-request deny unless { ssl_fc_sni -i a.example }\n \
         http-request deny if { ssl_fc_sni -i b.example }\n default_backend app\nbackend app\n mode http\n server s 10.0.0.1:80\n",
    );
    has(
        &imported,
        &[
            "refuse = [{ path = \"/\", status = 403 }]",
            "refuse = [{ not = [{ host = \"a.example\" }], status = 403 }, { host = \"b.example\", status = 403 }]",
        ],
    );
}

#[test]
fn shares_of_nginx_become_weights() {
    let of = |shares: &str| {
        nginx(&format!(
            "http {{\n split_clients $remote_addr $variant {{ {shares} }}\n upstream one {{ server 10.0.0.1:80; }}\n \
             upstream two {{ server 10.0.0.2:80; }}\n server {{ listen 80;\n  location / {{ proxy_pass http://$variant; }}\n }}\n}}\n"
        ))
    };
    let imported = of("25% one; * two;");
    has(&imported, &["upstreams = [{ name = \"one\", weight = 1 }, { name = \"two\", weight = 3 }]"]);
    assert_eq!(missing(&imported), []);
    has(&of("0.01% one; * two;"), &["weight = 1 }, { name = \"two\", weight = 1000 }"]);
    for shares in ["25% one;", "x one; * two;"] {
        let imported = of(shares);
        has(&imported, &["respond = { status = 503"]);
        assert!(!imported.toml.contains("upstream"), "{}", imported.toml);
    }
}

#[test]
fn a_map_that_lacks_lines_leads_nowhere() {
    let imported = nginx(
        "http {\n map $host $up { default 10.0.0.1:80; a.example $host:80; }\n server { listen 80;\n  \
         location / { proxy_pass http://$up; }\n }\n}\n",
    );
    has(&imported, &["respond = { status = 503"]);
    assert!(!imported.toml.contains("upstream"), "{}", imported.toml);
    assert!(
        missing(&imported).iter().any(|(_, why)| why.contains("lacks lines")),
        "{:?}",
        missing(&imported)
    );
}

#[test]
fn a_refusal_by_the_path_keeps_encoded_slashes_out() {
    let imported = nginx(
        "http {\n server { listen 80;\n  location / { proxy_pass http://10.0.0.1:80; }\n  \
         location /a/ { if ($uri ~ /secret/) { return 403; } proxy_pass http://10.0.0.1:80; }\n  location /b/ { proxy_pass http://10.0.0.1:80/; }\n }\n}\n",
    );
    assert_eq!(imported.toml.matches("encoded_slashes").count(), 1, "{}", imported.toml);
    has(&imported, &["limits.head_bytes = \"32KiB\""]);
}

#[test]
fn bounds_of_heads_are_those_of_haproxy() {
    let imported = haproxy(
        "global\n tune.bufsize 65536\n tune.http.maxhdr 128\nlisten web\n mode http\n bind :80\n server s 10.0.0.1:80\n",
    );
    has(&imported, &["limits.head_bytes = \"32KiB\"\nlimits.target_bytes = \"32KiB\"\nlimits.headers = 128"]);
    assert!(imported.report.notes().iter().any(|note| note.line == 2), "{:?}", imported.report.notes());
    has(&guarded(""), &["limits.target_bytes = \"15KiB\""]);
}

#[test]
fn rules_of_defaults_hold_for_each_section_that_has_them() {
    let imported = haproxy(
        "defaults front\n mode http\n acl admin path_beg /admin\n http-request deny if admin\nfrontend web from front\n bind :80\n \
         http-request deny if { path_beg /own }\n default_backend app\n\
         defaults back\n mode http\n http-request deny if { method PUT }\nbackend app from back\n server s 10.0.0.1:80\n",
    );
    has(
        &imported,
        &[
            "refuse = [{ path = \"~ ^/admin\", status = 403 }, { path = \"~ ^/own\", status = 403 }]",
            "refuse = [{ methods = [\"PUT\"], status = 403 }]",
        ],
    );
    assert_eq!(missing(&imported), []);
}
