//! The backends of an upstream are verified without traffic, certificates are associated with upstreams and promoted, a route is
//! tried out, and the last warnings are kept: what a console shows and does.

use std::fs;

use serde_json::{Value, json};

use crate::admin::{command, config, text};
use crate::admin_changes::unix;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn call(ringate: &Ringate, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let answer = unix(ringate.dir(), method, path, &[], body.as_ref());
    (answer.status, answer.json())
}

fn verification(ringate: &Ringate, upstream: &str) -> Value {
    call(ringate, "GET", &format!("/v1/upstreams/{upstream}"), None).1["verification"].clone()
}

#[test]
fn backends_are_verified_without_traffic_and_what_is_known_stays() {
    let pki = Pki::new();
    let nginx = Nginx::tls(&pki, "location / { return 200 ok; }");
    let ringate = Setup::to(nginx.address()).section("[admin]").upstream(&pki.upstream_tls()).start();
    let state = |wanted: &'static str| {
        eventually("what is known of the backend", || {
            Some(verification(&ringate, "app")).filter(|known| known["state"] == wanted)
        })
    };
    let first = state("verified");
    let endpoint = &first["endpoints"][0];
    assert_eq!((&endpoint["verified"], &endpoint["by"]), (&json!(true), &json!("probe")), "{first}");
    assert!(
        first["days_left"].as_i64().unwrap() > 0 && first["valid_until"] == endpoint["valid_until"],
        "{first}"
    );
    let status = command(ringate.dir(), &["status"]);
    assert!(text(&status.stdout).contains(": verified, O="), "{}", text(&status.stdout));
    let metrics = unix(ringate.dir(), "GET", "/metrics", &[], None).text;
    for line in [
        "ringate_backend_verified{upstream=\"app\"",
        "ringate_backend_certificate_not_after_seconds{upstream=\"app\"",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    // Another key leaves it as it is.
    assert_eq!(
        call(&ringate, "PATCH", "/v1/upstreams/app", Some(json!({ "timeouts": { "idle": "40s" } }))).0,
        200
    );
    assert_eq!(verification(&ringate, "app"), first);
    let other = Pki::new();
    let patch = json!({ "tls": { "trust": [other.file("ca.pem")] } });
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/app?force=true", Some(patch)).0, 200);
    let failed = state("failed");
    assert!(failed["endpoints"][0]["reason"].as_str().unwrap().contains("not signed by"), "{failed}");
    ringate.await_log("the backend is not verified");
    let status = command(ringate.dir(), &["status"]);
    assert!(text(&status.stdout).contains("not verified: "), "{}", text(&status.stdout));
    let patch = json!({ "tls": { "insecure_skip_verify": true, "trust": null, "server_name": null } });
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/app", Some(patch)).0, 200);
    let skipped = eventually("the unverified state", || {
        Some(verification(&ringate, "app")).filter(|known| !known["endpoints"][0]["checked"].is_null())
    });
    assert_eq!(
        (&skipped["state"], &skipped["endpoints"][0]["verified"]),
        (&json!("unverified"), &json!(false)),
        "{skipped}"
    );
}

/// A backend that answers with the subject of the client's certificate, and an instance whose listeners are of two environments.
fn with_environments() -> (Pki, Authority, Nginx, Ringate) {
    let (pki, authority) = (Pki::new(), Authority::new());
    let nginx = Nginx::tls(
        &pki,
        &format!(
            "ssl_client_certificate {};\nssl_verify_client optional;\nlocation / {{ return 200 $ssl_client_s_dn; }}",
            authority.file().display()
        ),
    );
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two", "live"] {
        authority.issue_into(&dir.path().join("certs"), name, &Leaf { common_name: name, ..Leaf::default() });
    }
    let listener = |name: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nenvironment = \"{name}\"\n")
    };
    let more = format!(
        "[upstream.more]\nendpoints = [\"{}\"]\n{}",
        nginx.address(),
        pki.upstream_tls().replace("upstream.app", "upstream.more")
    );
    let text = Setup::to(nginx.address())
        .section(&format!("[admin]\n{}{}", listener("development"), listener("production")))
        .routes(
            "[[route]]\nlistener = [\"web\", \"development\", \"production\"]\nupstream = \"app\"\n[[route]]\npath = \"/more\"\n\
             listener = \"web\"\nupstream = \"more\"",
        )
        .upstream(&format!("{}[upstream.app.environment.production]\n{more}", pki.upstream_tls()))
        .text();
    fs::write(dir.path().join("ringate.toml"), text).unwrap();
    (pki, authority, nginx, Ringate::start_in(dir, 3))
}

#[test]
fn certificates_are_associated_and_promoted() {
    let (_pki, _authority, _nginx, ringate) = with_environments();
    let presented = |listener: &str, path: &str| {
        let mut client = Client::connect(ringate.address_of(listener));
        client.send(GET.replace("GET / ", &format!("GET {path} "))).response().text().to_owned()
    };
    let run = |args: &[&str]| {
        let output = command(ringate.dir(), args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let said = run(&["cert", "associate", "one", "--upstream", "app", "--upstream", "more"]);
    assert!(said.contains("one is presented to app, more") && said.contains("accepts it"), "{said}");
    assert_eq!((presented("web", "/"), presented("web", "/more")), ("CN=one".into(), "CN=one".into()));
    let said = run(&["cert", "associate", "two", "--upstream", "app", "--environment", "development"]);
    assert!(
        said.contains("undo: ringate cert associate one --upstream app --environment development"),
        "{said}"
    );
    assert_eq!(
        (presented("development", "/"), presented("production", "/")),
        ("CN=two".into(), "CN=one".into())
    );
    let before = config(&ringate);
    run(&["promote", "app", "--from", "development", "--to", "production", "--dry-run"]);
    assert_eq!(config(&ringate), before);
    run(&["promote", "app", "--from", "development", "--to", "production"]);
    assert_eq!(presented("production", "/"), "CN=two");
    run(&["promote", "app", "--from", "development", "--to", "production", "--certificate", "live"]);
    let expected = ("CN=live".into(), "CN=two".into(), "CN=one".into());
    assert_eq!(
        (presented("production", "/"), presented("development", "/"), presented("web", "/")),
        expected
    );
    run(&["cert", "associate", "one", "--upstream", "more", "--remove"]);
    assert_eq!(presented("web", "/more"), "");
    for (path, body, status) in [
        ("/v1/certificates/one/dissociate", json!({ "upstreams": ["more"] }), 409),
        ("/v1/certificates/none/associate", json!({ "upstreams": ["app"] }), 422),
        ("/v1/certificates/one/associate", json!({ "upstreams": ["none"] }), 404),
        ("/v1/certificates/one/associate", json!({ "upstreams": [] }), 422),
        ("/v1/upstreams/app/promote", json!({ "from": "development", "to": "nowhere" }), 404),
    ] {
        let (found, said) = call(&ringate, "POST", path, Some(body));
        assert_eq!(found, status, "{path}: {said}");
    }
    assert_eq!(presented("production", "/"), "CN=live");
}

#[test]
fn a_backend_is_called_with_a_certificate_of_choice() {
    let (_pki, _authority, _nginx, ringate) = with_environments();
    let invoke = |body: Value| call(&ringate, "POST", "/v1/invoke", Some(body));
    let (status, said) = invoke(json!({ "upstream": "more", "certificate": "live", "path": "/x?y=z" }));
    assert_eq!(
        (status, &said["ok"], &said["response"]["status"]),
        (200, &json!(true), &json!(200)),
        "{said}"
    );
    assert_eq!(
        (&said["response"]["body"], &said["tls"]["verified"]),
        (&json!("CN=live"), &json!(true)),
        "{said}"
    );
    assert_eq!(said["client_certificate"]["verdict"], "accepted", "{said}");
    let headers = said["response"]["headers"].as_array().unwrap();
    assert!(headers.iter().any(|field| field[0].as_str().unwrap().eq_ignore_ascii_case("server")), "{said}");
    let (_, said) =
        invoke(json!({ "route": "0", "method": "POST", "headers": { "X-Test": "yes" }, "body": "content" }));
    assert_eq!((&said["response"]["status"], &said["response"]["body"]), (&json!(200), &json!("")), "{said}");
    let dead = free_address();
    assert_eq!(
        call(
            &ringate,
            "POST",
            "/v1/upstreams",
            Some(json!({ "name": "dead", "endpoints": [dead.to_string()] }))
        )
        .0,
        201
    );
    let (status, said) = invoke(json!({ "upstream": "dead" }));
    assert_eq!((status, &said["ok"], &said["response"]), (200, &json!(false), &Value::Null), "{said}");
    assert!(said["problem"].as_str().unwrap().contains("unreachable"), "{said}");
    for (body, expected) in [
        (json!({}), 422),
        (json!({ "upstream": "app", "route": "0" }), 422),
        (json!({ "upstream": "app", "method": "GET / HTTP/1.1\r\nX: y" }), 422),
        (json!({ "upstream": "app", "path": "/ HTTP/1.1\r\nX: y" }), 422),
        (json!({ "upstream": "app", "host": "a\r\nX: y" }), 422),
        (json!({ "upstream": "app", "headers": { "X": "a\r\nY: b" } }), 422),
        (json!({ "upstream": "app", "headers": { "Transfer-Encoding": "chunked" } }), 422),
        (json!({ "upstream": "none" }), 404),
        (json!({ "upstream": "app", "certificate": "none" }), 404),
        (json!({ "route": "99" }), 404),
    ] {
        assert_eq!(invoke(body.clone()).0, expected, "{body}");
    }
}

#[test]
fn a_request_by_a_route_is_what_the_route_makes_of_it() {
    let backend = Backend::serving(|request| {
        let body = format!(
            "{} host={} set={} gone={} own={} for={} key={}",
            request.line(),
            request.headers("Host").join("+"),
            request.headers("X-Set").join("+"),
            request.headers("X-Gone").join("+"),
            request.headers("X-Own").join("+"),
            request.headers("X-Forwarded-For").join("+"),
            request.headers("X-Api-Key").join("+"),
        );
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let ringate = Setup::to(backend.address())
        .section("[admin]\n[credentials.key]\napi_key = true")
        .routes(
            "[[route]]\nhost = \"api.example\"\npath = \"/v1\"\nrewrite_prefix = \"/inner\"\nupstream = \"app\"\n\
             credentials = [\"key\"]\nheaders.request = { set = { X-Set = \"{client.address}-{request.method}\", Host = \"inner.example\" }, remove = [\"X-Gone\"] }\n",
        )
        .start();
    let invoke = |body: Value| call(&ringate, "POST", "/v1/invoke", Some(body));
    let (status, said) =
        invoke(json!({ "route": "0", "path": "/v1/a?b=c", "headers": { "X-Gone": "1", "X-Own": "2" } }));
    assert_eq!(
        (status, &said["response"]["body"]),
        (200, &json!("GET /inner/a?b=c host=inner.example set=127.0.0.1-GET gone= own=2 for=127.0.0.1 key=")),
        "{said}"
    );
    let (_, said) = invoke(json!({ "route": "0" }));
    assert!(said["response"]["body"].as_str().unwrap().starts_with("GET /inner host="), "{said}");
    // Straight to the upstream, nothing is changed.
    let (_, said) = invoke(json!({ "upstream": "app", "path": "/v1/a", "headers": { "X-Gone": "1" } }));
    assert!(said["response"]["body"].as_str().unwrap().contains("/v1/a host=127.0.0.1"), "{said}");
    assert!(said["response"]["body"].as_str().unwrap().contains("gone=1"), "{said}");
    for path in ["/v2", "/v1%2f..", "/v1/../x"] {
        let (status, said) = invoke(json!({ "route": "0", "path": path }));
        assert_eq!(status, 422, "{path}: {said}");
    }
}

#[test]
fn mutual_tls_is_off_in_one_environment_alone() {
    let (_pki, _authority, _nginx, ringate) = with_environments();
    let presented = |listener: &str| {
        let mut client = Client::connect(ringate.address_of(listener));
        client.send(GET).response().text().to_owned()
    };
    let patch = |path: &str, tls: Value| call(&ringate, "PATCH", path, Some(json!({ "tls": tls })));
    let (status, said) =
        patch("/v1/upstreams/app", json!({ "certificate": "one", "require_client_auth": true }));
    assert_eq!(status, 200, "{said}");
    assert_eq!((presented("web"), presented("development")), ("CN=one".into(), "CN=one".into()));
    // By the API, though the default demands that a certificate is asked for.
    let (status, said) = patch("/v1/upstreams/app/environments/development", json!({ "certificate": false }));
    assert_eq!(status, 200, "{said}");
    assert_eq!((presented("web"), presented("development")), ("CN=one".into(), String::new()));
    assert!(config(&ringate).contains("certificate = false"), "{}", config(&ringate));
    // Promoted, it is off there, too.
    let promote = |from: &str, to: &str| {
        let output = command(ringate.dir(), &["promote", "app", "--from", from, "--to", to]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    promote("development", "production");
    assert_eq!(presented("production"), "");
    let (status, said) = patch("/v1/upstreams/app/environments/development", json!({ "certificate": null }));
    assert_eq!((status, presented("development").as_str()), (200, "CN=one"), "{said}");
    // By the command line: what an environment has from the default is taken away there alone.
    let output = command(
        ringate.dir(),
        &["cert", "associate", "one", "--remove", "--upstream", "app", "--environment", "development"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!((presented("web"), presented("development")), ("CN=one".into(), String::new()));
    for (wrong, expected) in [
        (json!({ "certificate": true }), 422),
        (json!({ "certificate": false, "require_client_auth": true }), 422),
    ] {
        assert_eq!(patch("/v1/upstreams/app", wrong).0, expected);
    }
}

#[test]
fn tls_that_is_turned_on_and_a_reload_try_the_trust_first() {
    let (pki, other) = (Pki::new(), Pki::new());
    let nginx = Nginx::tls(&pki, "location / { return 200 ok; }");
    let plain = Backend::serving(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec());
    let ringate = Setup::to(plain.address()).section("[admin]").start();
    let before = config(&ringate);
    let tls = |of: &Pki| json!({ "trust": [of.file("ca.pem")], "server_name": "localhost" });
    let patch = |keys: Value| call(&ringate, "PATCH", "/v1/upstreams/app", Some(keys));
    // This backend speaks no TLS.
    let (status, said) = patch(json!({ "tls": tls(&pki) }));
    assert_eq!((status, &said["type"]), (409, &json!("/v1/problems/trial")), "{said}");
    assert_eq!((config(&ringate), ringate.get("/").status), (before, 200));
    let to_nginx = json!({ "endpoints": [nginx.address().to_string()], "tls": tls(&pki) });
    let (status, said) = patch(to_nginx);
    assert_eq!((status, ringate.get("/").status), (200, 200), "{said}");

    let good = config(&ringate);
    let bad =
        good.replace(&pki.file("ca.pem").display().to_string(), &other.file("ca.pem").display().to_string());
    assert_ne!(good, bad);
    fs::write(ringate.dir().join("ringate.toml"), &bad).unwrap();
    let output = command(ringate.dir(), &["reload"]);
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("not signed by") && said.contains("nothing is reloaded"),
        "{said}"
    );
    assert_eq!(ringate.get("/").status, 200);
    let status = unix(ringate.dir(), "GET", "/v1/status", &[], None).json();
    assert_eq!(status["config"]["refused"], 1, "{}", status["config"]);
    assert!(status["config"]["last_refused"]["reason"].as_str().unwrap().contains("not signed by"));
    let output = command(ringate.dir(), &["reload", "--force"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(ringate.get("/").status, 502);
    fs::write(ringate.dir().join("ringate.toml"), &good).unwrap();
    let output = command(ringate.dir(), &["reload"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(ringate.get("/").status, 200);
}

#[test]
fn the_last_warnings_are_kept() {
    let (pki, other) = (Pki::new(), Pki::new());
    let nginx = Nginx::tls(&pki, "location / { return 200 ok; }");
    let ringate = Setup::to(nginx.address()).section("[admin]").upstream(&other.upstream_tls()).start();
    let logs = eventually("a warning", || {
        let logs = call(&ringate, "GET", "/v1/logs", None).1;
        Some(logs).filter(|logs| logs.as_array().is_some_and(|lines| !lines.is_empty()))
    });
    let line = &logs[0];
    assert_eq!(line["level"], "warn", "{logs}");
    assert!(
        line["text"].as_str().unwrap().contains("the backend is not verified") && line["at"].is_string(),
        "{logs}"
    );
}
