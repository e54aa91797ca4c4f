//! The addresses of the admin server, the names in its answers, and what its errors do not repeat.

use super::admin::{call, command, text};
use crate::http::OK;
use crate::support::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// One call over TCP with these fields: its head and body.
fn tcp(port: u16, path: &str, fields: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sSi", "--max-time", "15"]).arg(format!("http://127.0.0.1:{port}{path}"));
    for field in fields {
        command.args(["-H", field]);
    }
    String::from_utf8(run(&mut command).stdout).unwrap()
}

#[test]
fn a_socket_for_commands_stands_beside_a_port_for_metrics_and_the_console() {
    let backend = Backend::replying(OK);
    let port = free_address().port();
    let admin = format!(
        "[admin]\nlisten = [\"127.0.0.1:{port}\", \"unix:run/admin.sock\"]\ntoken_file = \"token\"\n\
         metrics = \"open\"\nhosts = [\"ringate.internal\"]"
    );
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ringate.toml"), Setup::to(backend.address()).section(&admin).text()).unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "0123456789abcdef0123").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let ringate = Ringate::start_in(dir, 1);
    // The command needs no token: it uses the socket.
    fs::remove_file(ringate.dir().join("token")).unwrap();
    assert_eq!(command(ringate.dir(), &["status"]).status.code(), Some(0));
    let bearer = "Authorization: Bearer 0123456789abcdef0123";
    let status = |path: &str, fields: &[&str]| {
        tcp(port, path, fields).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status("/metrics", &[]), "200");
    assert_eq!(status("/v1/status", &[]), "401");
    assert_eq!(status("/v1/status", &[bearer]), "200");
    // A page that made its name resolve here.
    let evil = "Host: evil.example";
    for (path, expected) in [("/", "421"), ("/metrics", "421"), ("/v1/status", "401")] {
        assert_eq!(status(path, &[evil]), expected, "{path}");
    }
    assert_eq!(status("/healthz", &[evil]), "200");
    assert_eq!(status("/v1/status", &[evil, bearer]), "200");
    assert_eq!(status("/", &["Host: ringate.internal:80"]), "200");
    for path in ["/", "/metrics", "/v1/status", "/healthz", "/none"] {
        let said = tcp(port, path, &[bearer]).to_ascii_lowercase();
        assert!(said.contains("cache-control: no-store\r\n"), "{said}");
        assert!(said.contains("content-security-policy: default-src 'none';"), "{said}");
    }
    let page = tcp(port, "/", &[]).to_ascii_lowercase();
    assert!(page.contains("script-src 'sha256-") && !page.contains("unsafe-inline"), "{page}");
}

#[test]
fn a_certificate_has_the_same_names_in_each_answer() {
    let ringate = Setup::to(free_address()).section("[admin]").start();
    let made = json!({ "id": "gateway", "common_name": "gateway.example" });
    let (status, made) = call(&ringate, "POST", "/v1/certificates", Some(made));
    assert_eq!(status, 201, "{made}");
    assert_eq!((&made["name"], &made["not_after"]), (&made["id"], &made["expires"]), "{made}");
    assert_eq!(made["name"], "gateway");
    assert!(made["not_after"].is_string());
    let secret = "rgk_0123456789abcdef";
    let (status, refused) =
        call(&ringate, "POST", "/v1/certificates/import", Some(json!({ "name": "a", secret: "b" })));
    assert_eq!(status, 422);
    assert!(!refused.to_string().contains(secret), "{refused}");
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    let ringate = Setup::to(free_address()).section("[admin]").start();
    let pem = "-----BEGIN PRIVATE KEY-----\ns3cret0s3cret0\n-----END PRIVATE KEY-----";
    let in_url = pem.replace(' ', "%20").replace('\n', "%0A");
    for (secret, in_url) in [(pem, &*in_url), ("rgk_s3cret0123456", "rgk_s3cret0123456")] {
        for (method, path, body) in [
            ("POST", "/v1/certificates".to_owned(), Some(json!({ "name": secret }))),
            ("POST", "/v1/certificates".to_owned(), Some(json!({ "name": "a", "days": secret }))),
            (
                "POST",
                "/v1/certificates/import".to_owned(),
                Some(json!({ "name": secret, "certificate": "" })),
            ),
            ("PATCH", "/v1/upstreams/app".to_owned(), Some(json!({ "endpoint": secret }))),
            ("PATCH", "/v1/upstreams/app".to_owned(), Some(json!({ secret: 1 }))),
            ("PATCH", format!("/v1/upstreams/{in_url}"), Some(json!({ "balance": "x" }))),
            ("GET", format!("/v1/certificates/{in_url}"), None),
            ("DELETE", format!("/v1/certificates/{in_url}"), None),
            ("GET", format!("/v1/certificates/a/pem?part={in_url}"), None),
        ] {
            let (status, said) = call(&ringate, method, &path, body);
            assert!((400..500).contains(&status), "{method} {path}: {status} {said}");
            assert!(!said.to_string().contains("s3cret"), "{method} {path}: {said}");
        }
        let lines = [
            format!("endpoint = '''{secret}'''"),
            format!("name = '''{secret}'''"),
            format!("'{}' = 1", secret.replace('\n', " ")),
        ];
        let config = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
        for line in lines {
            fs::write(ringate.dir().join("bad.toml"), format!("{config}\n[upstream.b]\n{line}\n")).unwrap();
            let output = run(Ringate::command().current_dir(ringate.dir()).args(["check", "-c", "bad.toml"]));
            let said = text(&output.stderr);
            assert!(said.contains("bad.toml:") && !said.contains("s3cret"), "{said}");
        }
        for words in
            [&["cert", "show", secret][..], &["cert", "list", secret], &[secret], &["apikey", "list", secret]]
        {
            let output = command(ringate.dir(), words);
            assert!(!text(&output.stderr).contains("s3cret"), "{words:?}: {}", text(&output.stderr));
        }
    }
}
