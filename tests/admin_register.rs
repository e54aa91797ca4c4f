//! Upstreams, routes, listeners and whole APIs are registered, changed and removed while ringate runs: verified first, planned on
//! wish, written with all else kept; and what fails changes nothing.

use std::fs;

use serde_json::{Value, json};

use crate::admin::{command, config, named, text};
use crate::admin_changes::{Answer, unix};
use crate::support::*;

fn call(ringate: &Ringate, method: &str, path: &str, body: Option<Value>) -> Answer {
    unix(ringate.dir(), method, path, &[], body.as_ref())
}

fn answer_of(ringate: &Ringate, path: &str) -> String {
    let response = ringate.get(path);
    if response.status == 200 { response.text().to_owned() } else { response.status.to_string() }
}

#[test]
fn sections_are_added_changed_and_removed_and_the_rest_stays() {
    let (one, two) = (named("one"), named("two"));
    let ringate = Setup::to(one.address()).section("# ours\n[admin] # here").start();
    let before = config(&ringate);
    let upstream = json!({ "name": "two", "endpoints": [two.address().to_string()] });
    let planned = call(&ringate, "POST", "/v1/upstreams?dry_run=true", Some(upstream.clone()));
    assert_eq!(
        (planned.status, &planned.json()["upstreams"]["added"]),
        (200, &json!(["two"])),
        "{}",
        planned.text
    );
    assert_eq!(config(&ringate), before, "it was planned alone");
    let added = call(&ringate, "POST", "/v1/upstreams", Some(upstream.clone()));
    assert_eq!(added.status, 201, "{}", added.text);
    let route = call(&ringate, "POST", "/v1/routes", Some(json!({ "path": "/two", "upstream": "two" })));
    assert_eq!(route.status, 201, "{}", route.text);
    let place = route.field("location").unwrap().to_owned();
    assert_eq!((answer_of(&ringate, "/two"), answer_of(&ringate, "/")), ("two".into(), "one".into()));
    let shown = call(&ringate, "GET", &place, None).json();
    assert_eq!(shown["config"], json!({ "path": "/two", "upstream": "two" }), "{shown}");
    assert!(
        call(&ringate, "GET", "/v1/routes", None)
            .json()
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["id"] == shown["id"])
    );
    // Its id is of what it matches.
    let moved = call(&ringate, "PATCH", &place, Some(json!({ "upstream": "app" })));
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert_eq!(answer_of(&ringate, "/two"), "one");
    for (method, path, body, status) in [
        ("POST", "/v1/upstreams", Some(upstream), 409),
        ("POST", "/v1/upstreams", Some(json!({ "endpoints": ["a:1"] })), 422),
        ("POST", "/v1/upstreams", Some(json!({ "name": "bad", "endpoint": ["a:1"] })), 422),
        ("POST", "/v1/upstreams?dryrun=true", Some(json!({ "name": "x", "endpoints": ["a:1"] })), 400),
        ("POST", "/v1/routes", Some(json!({ "path": "/x", "upstream": "none" })), 422),
        ("DELETE", "/v1/upstreams/app", None, 422),
        ("DELETE", "/v1/upstreams/none", None, 404),
        ("DELETE", "/v1/routes/r00000000", None, 404),
        ("PATCH", "/v1/listeners/none", Some(json!({})), 404),
        ("DELETE", "/v1/listeners/web", None, 422),
    ] {
        let refused = call(&ringate, method, path, body);
        assert_eq!(refused.status, status, "{method} {path}: {}", refused.text);
        assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    }
    assert_eq!(answer_of(&ringate, "/"), "one");
    let free = free_address();
    let listener = json!({
        "name": "more", "address": free.to_string(), "routes": [{ "upstream": "two" }]
    });
    let added = call(&ringate, "POST", "/v1/listeners", Some(listener));
    assert_eq!(added.status, 201, "{}", added.text);
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(Client::connect(free).send(get).response().text(), "two");
    let path = format!("/v1/listeners/{free}");
    let changed = call(&ringate, "PATCH", &path, Some(json!({ "limits": { "headers": 50 } })));
    assert_eq!(
        (changed.status, &changed.json()["listeners"]["changed"]),
        (200, &json!(["more"])),
        "{}",
        changed.text
    );
    for (method, path) in [("DELETE", &*path), ("DELETE", &*place), ("DELETE", "/v1/upstreams/two")] {
        let removed = call(&ringate, method, path, None);
        assert_eq!(removed.status, 200, "{method} {path}: {}", removed.text);
    }
    // A route that named no listener meant the only one.
    assert_eq!(config(&ringate).replace("listener = \"web\"\n", ""), before, "all else was undone");
}

#[test]
fn an_api_is_registered_verified_and_served_at_once() {
    let one = named("one");
    let pki = Pki::new();
    let nginx = Nginx::tls(&pki, "location / { return 200 $uri; }");
    let ringate = Setup::to(one.address()).section("[admin]").start();
    let before = config(&ringate);
    let backend = format!("https://localhost:{}", nginx.address().port());
    let add = |args: &[&str]| {
        let all = [&["api", "add", "orders", "--backend", &backend, "--path", "/orders"], args].concat();
        command(ringate.dir(), &all)
    };
    let refused = add(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains(&format!("localhost/{}", nginx.address())) && said.contains("tls.trust"), "{said}");
    assert_eq!(config(&ringate), before, "nothing was registered");
    assert_eq!(answer_of(&ringate, "/orders"), "one");
    let ca = pki.file("ca.pem");
    let trust = ["--trust", ca.to_str().unwrap()];
    let planned = add(&[&trust[..], &["--dry-run"]].concat());
    assert!(planned.status.success(), "{}", text(&planned.stderr));
    assert_eq!(config(&ringate), before);
    let done = add(&trust);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let said = text(&done.stdout);
    for part in [
        "orders: is registered (config version 2)",
        "✓ localhost/",
        "verified",
        "valid until",
        "days left",
        "+ route",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(answer_of(&ringate, "/orders/1"), "/orders/1");
    let again = add(&trust);
    assert!(text(&again.stderr).contains("in the config file already"), "{}", text(&again.stderr));
    // Its trust is changed only to one by which its backend is verified.
    let other = Pki::new();
    let patch = json!({ "tls": { "trust": [other.file("ca.pem")] } });
    let untrusted = call(&ringate, "PATCH", "/v1/upstreams/orders", Some(patch.clone()));
    assert_eq!(
        (untrusted.status, &untrusted.json()["type"]),
        (409, &json!("/v1/problems/trial")),
        "{}",
        untrusted.text
    );
    assert!(untrusted.json()["detail"].as_str().unwrap().contains("localhost/"), "{}", untrusted.text);
    assert_eq!(answer_of(&ringate, "/orders/2"), "/orders/2");
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/orders?force=true", Some(patch)).status, 200);
    assert_eq!(answer_of(&ringate, "/orders/3"), "502");
    let back = json!({ "tls": { "trust": [ca] } });
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/orders", Some(back)).status, 200);
    assert_eq!(answer_of(&ringate, "/orders/4"), "/orders/4");
    let removed = command(ringate.dir(), &["api", "remove", "orders"]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(config(&ringate), before);
    assert_eq!(answer_of(&ringate, "/orders"), "one");
}

#[test]
fn what_was_written_by_hand_is_removed_by_force_alone() {
    let (one, two) = (named("one"), named("two"));
    let ringate = Setup::to(one.address()).section("[admin]").start();
    let (dir, before) = (ringate.dir(), config(&ringate));
    let backend = format!("http://{}", two.address());
    let done = command(dir, &["api", "add", "two", "--backend", &backend, "--path", "/two"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let refused = call(&ringate, "DELETE", "/v1/apis/app", None);
    assert_eq!(
        (refused.status, &refused.json()["type"]),
        (409, &json!("/v1/problems/by-hand")),
        "{}",
        refused.text
    );
    let refused = command(dir, &["api", "remove", "app"]);
    let said = text(&refused.stderr);
    assert!(said.contains("the routes that lead to it (1)") && said.contains("force"), "{said}");
    assert_eq!(answer_of(&ringate, "/"), "one");
    // A route that was added to an API is not a part of it.
    let route = call(&ringate, "POST", "/v1/routes", Some(json!({ "path": "/also", "upstream": "two" })));
    assert_eq!(route.status, 201, "{}", route.text);
    let refused = command(dir, &["api", "remove", "two"]);
    assert!(
        text(&refused.stderr).contains("routes that lead to `two` were written by hand (1)"),
        "{refused:?}"
    );
    assert_eq!((answer_of(&ringate, "/two"), answer_of(&ringate, "/also")), ("two".into(), "two".into()));
    assert!(command(dir, &["api", "remove", "two", "--force"]).status.success());
    assert_eq!(config(&ringate), before);
}

#[test]
fn an_openapi_document_becomes_an_upstream_and_routes() {
    let one = named("one");
    let seen = Backend::serving(|request| {
        let line = request.head.lines().next().unwrap_or_default().to_owned();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len()).into_bytes()
    });
    let ringate = Setup::to(one.address()).section("[admin]").start();
    let document = format!(
        "openapi: 3.0.3\ninfo: {{ title: Pets, version: '1' }}\nservers:\n  - url: http://{}/v2\n  - url: https://staging.example.com\n\
         paths:\n  /pets:\n    get: {{}}\n  /pets/{{id}}:\n    get: {{}}\n    delete: {{}}\n  /health:\n    get: {{}}\n",
        seen.address()
    );
    fs::write(ringate.dir().join("pets.yaml"), document).unwrap();
    let done = command(ringate.dir(), &["api", "add", "pets", "--openapi", "pets.yaml"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("staging.example.com"), "{}", text(&done.stderr));
    let reached = format!("✓ {}: reached, without TLS", seen.address());
    assert!(text(&done.stdout).contains(&reached), "{}", text(&done.stdout));
    let dead = format!("http://{}", free_address());
    let refused = command(ringate.dir(), &["api", "add", "dead", "--backend", &dead, "--path", "/dead"]);
    let said = text(&refused.stderr);
    assert!(said.contains("start the backend or correct its address") && !said.contains("tls."), "{said}");
    assert_eq!(answer_of(&ringate, "/v2/pets/7"), "GET /v2/pets/7 HTTP/1.1");
    assert_eq!(answer_of(&ringate, "/v2/health"), "GET /v2/health HTTP/1.1");
    assert_eq!(answer_of(&ringate, "/v2/other"), "one");
    let wrong = command(ringate.dir(), &["api", "add", "x", "--openapi", "ringate.toml"]);
    assert!(!wrong.status.success());
    // A path that clients know by another name.
    let backend = format!("http://{}/v2", seen.address());
    let moved = command(ringate.dir(), &["api", "add", "moved", "--backend", &backend, "--path", "/public"]);
    assert!(moved.status.success(), "{}", text(&moved.stderr));
    assert_eq!(answer_of(&ringate, "/public/a"), "GET /v2/a HTTP/1.1");
    assert_eq!(command(ringate.dir(), &["api", "add", "none"]).status.code(), Some(2));
}
