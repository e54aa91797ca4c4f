//! `ringate endpoint` and its calls of the admin API: drain, weight, add and remove, at once and lasting, without a lost
//! request.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value, json};

use crate::admin::{call, command, config, text};
use crate::http::ok;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn named(name: &str) -> Backend {
    Backend::replying(ok(name))
}

/// The list of the endpoints of `backends`, each on a line of its own, with a comment.
fn list(backends: &[&Backend]) -> String {
    let line = |(at, backend): (usize, &&Backend)| format!("  \"{}\", # {at}\n", backend.address());
    format!("endpoints = [\n{}]", backends.iter().enumerate().map(line).collect::<String>())
}

fn start(workers: usize, backends: &[&Backend], lines: &str) -> Ringate {
    let upstream = format!("{}\n{lines}", list(backends));
    Setup::to_all([]).workers(workers).section("[admin]").upstream(&upstream).start()
}

/// Runs `ringate endpoint`, which must succeed, and returns what it printed.
fn endpoint(ringate: &Ringate, action: &str, more: &[&str]) -> String {
    let output = command(ringate.dir(), &[&["endpoint", action, "app"], more].concat());
    assert!(output.status.success(), "{action} {more:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// The same where it must fail: what it printed as its error.
fn refused(ringate: &Ringate, arguments: &[&str]) -> String {
    let output = command(ringate.dir(), &[&["endpoint"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr).to_owned()
}

fn address(backend: &Backend) -> String {
    backend.address().to_string()
}

fn answers(client: &mut Client, count: usize) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let response = client.send(GET).response();
        assert_eq!(response.status, 200);
        *found.entry(response.text().to_owned()).or_default() += 1;
    }
    found
}

/// Runs `work` while clients send requests, on connections that are kept and on new ones. None of them may fail.
fn under_load(ringate: &Ringate, work: impl FnOnce()) {
    let (stop, failed) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let count = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for kept in [true, true, false] {
            let (stop, failed, count) = (&stop, &failed, &count);
            scope.spawn(move || {
                let mut client = ringate.client();
                while !stop.load(SeqCst) {
                    if !kept {
                        client = ringate.client();
                    }
                    match client.send(GET).try_response() {
                        Ok(response) if response.status == 200 => drop(count.fetch_add(1, SeqCst)),
                        Ok(response) => failed.lock().unwrap().push(response.status.to_string()),
                        Err(error) => failed.lock().unwrap().push(error.to_string()),
                    }
                }
            });
        }
        eventually("the load", || (count.load(SeqCst) > 50).then_some(()));
        work();
        let before = count.load(SeqCst);
        eventually("the load going on", || (count.load(SeqCst) > before + 50).then_some(()));
        stop.store(true, SeqCst);
    });
    assert!(failed.lock().unwrap().is_empty(), "{:?}", failed.lock().unwrap());
}

#[test]
fn a_drained_endpoint_gets_no_requests_at_once_and_loses_none() {
    let (one, two) = (named("1"), named("2"));
    let ringate = start(2, &[&one, &two], "# below");
    let before = config(&ringate);
    under_load(&ringate, || {
        let said = endpoint(&ringate, "drain", &[&address(&one)]);
        assert!(said.contains("is drained"), "{said}");
        // Every exchange that had begun ends within a moment, and then its connection.
        eventually("the end of its connections", || (one.ended() == one.connections()).then_some(()));
        let requests = one.requests();
        let others = two.requests();
        eventually("more requests", || (two.requests() > others + 100).then_some(()));
        assert_eq!(one.requests(), requests);
    });
    let drained = before.replace(
        &format!("\"{}\"", one.address()),
        &format!("{{ address = \"{}\", drain = true }}", one.address()),
    );
    assert_eq!(config(&ringate), drained);
    let shown = endpoint(&ringate, "list", &[]);
    assert!(shown.contains(&format!("{} (drained)", one.address())) && shown.contains("weight 1"), "{shown}");
    let shown: Value = serde_json::from_str(&endpoint(&ringate, "list", &["--json"])).unwrap();
    assert_eq!((&shown[0]["drain"], &shown[1]["drain"]), (&json!(true), &json!(false)));
    // It is lasting: another process has it, too.
    let again = Ringate::start(&config(&ringate));
    assert_eq!(answers(&mut again.client(), 6), BTreeMap::from([("2".to_owned(), 6)]));
    under_load(&ringate, || {
        let requests = one.requests();
        endpoint(&ringate, "enable", &[&address(&one)]);
        eventually("its share", || (one.requests() > requests + 20).then_some(()));
    });
    assert_eq!(config(&ringate), before);
}

#[test]
fn what_is_under_way_at_a_drained_endpoint_ends() {
    let (slow, go) = Backend::held_back();
    let fast = named("fast");
    let ringate = start(1, &[&slow, &fast], "");
    let mut held = ringate.client();
    eventually("a request at it", || {
        held = ringate.client();
        held.send(GET);
        let before = fast.requests();
        eventually("the request", || (slow.requests() == 1 || fast.requests() > before).then_some(()));
        (slow.requests() == 1).then_some(())
    });
    endpoint(&ringate, "drain", &[&address(&slow)]);
    assert_eq!(answers(&mut ringate.client(), 8), BTreeMap::from([("fast".to_owned(), 8)]));
    assert_eq!(slow.ended(), 0);
    go.send(()).unwrap();
    assert_eq!(held.response().status, 200);
    slow.await_ended(1);
    assert_eq!(slow.requests(), 1);
}

#[test]
fn a_weight_changes_the_share() {
    let (one, two) = (named("1"), named("2"));
    let ringate = start(1, &[&one, &two], "");
    let mut client = ringate.client();
    let shares = |client: &mut Client| answers(client, 40).into_values().collect::<Vec<_>>();
    assert_eq!(shares(&mut client), [20, 20]);
    endpoint(&ringate, "weight", &[&address(&one), "3"]);
    assert_eq!(shares(&mut client), [30, 10]);
    let path = format!("/v1/upstreams/app/endpoints/{}", two.address());
    let (status, said) = call(&ringate, "PATCH", &path, Some(json!({ "weight": 9 })));
    assert_eq!((status, &said["upstreams"]["changed"]), (200, &json!(["app"])), "{said}");
    assert_eq!(shares(&mut client), [10, 30]);
    assert_eq!((one.connections(), two.connections()), (1, 1), "connections stay");
    let details = &said["details"]["upstream app"][0];
    assert_eq!(details, &json!(format!("endpoints: weight of {} 1 → 9", two.address())));
    let (_, listed) = call(&ringate, "GET", "/v1/upstreams/app/endpoints", None);
    assert_eq!((&listed[0]["weight"], &listed[1]["weight"]), (&json!(3), &json!(9)));
    assert!(listed[0]["requests"].as_u64() > Some(20), "its count stays: {listed}");
}

#[test]
fn endpoints_are_added_and_removed_under_load() {
    let (one, two) = (named("1"), named("2"));
    let ringate = start(2, &[&one], "# below");
    let before = config(&ringate);
    under_load(&ringate, || {
        for round in 0..3 {
            let requests = two.requests();
            endpoint(&ringate, "add", &[&address(&two)]);
            let with_both = before.replace("# 0\n", &format!("# 0\n  \"{}\",\n", two.address()));
            assert_eq!(config(&ringate), with_both);
            eventually("its share", || (two.requests() > requests + 20).then_some(()));
            endpoint(&ringate, "remove", &[&address(&two)]);
            assert_eq!(config(&ringate), before, "round {round}");
            eventually("the end of its connections", || (two.ended() == two.connections()).then_some(()));
        }
    });
    endpoint(&ringate, "add", &[&address(&two), "--weight", "4", "--backup"]);
    let entry = format!("{{ address = \"{}\", weight = 4, backup = true }}", two.address());
    assert!(config(&ringate).contains(&entry), "{}", config(&ringate));
    assert_eq!(answers(&mut ringate.client(), 4), BTreeMap::from([("1".to_owned(), 4)]));
}

#[test]
fn a_session_stays_at_its_drained_endpoint_and_without_others_new_requests_are_refused() {
    let (one, two) = (named("1"), named("2"));
    let dir = tempfile::tempdir().unwrap();
    let ringate = Setup::to_all([])
        .section(&format!("[admin]\n[store]\npath = \"{}\"", dir.path().join("certs").display()))
        .upstream(&format!("{}\nsticky = {{ header = \"X-Session\" }}", list(&[&one, &two])))
        .start();
    let first = ringate.client().send(GET).response();
    let home = if first.text() == "1" { &one } else { &two };
    let session =
        format!("GET / HTTP/1.1\r\nHost: h\r\nX-Session: {}\r\n\r\n", first.header("X-Session").unwrap());
    endpoint(&ringate, "drain", &[&address(home)]);
    for _ in 0..4 {
        assert_eq!(ringate.client().send(&session).response().text(), first.text());
        assert_ne!(ringate.client().send(GET).response().text(), first.text());
    }
    let other = if first.text() == "1" { &two } else { &one };
    let output = command(ringate.dir(), &["endpoint", "drain", "app", &address(other)]);
    assert!(text(&output.stderr).contains("every endpoint of `app` is drained"), "{output:?}");
    assert_eq!(ringate.client().send(GET).response().status, 503);
    assert_eq!(ringate.client().send(&session).response().text(), first.text());
}

#[test]
fn what_can_not_be_done_changes_nothing_and_names_the_reason() {
    let one = named("1");
    let dir = tempfile::tempdir().unwrap();
    let listed = free_address();
    std::fs::write(dir.path().join("list.toml"), format!("endpoints = [\"{listed}\"]")).unwrap();
    let file = format!("file:{}", dir.path().join("list.toml").display());
    let upstreams = format!(
        "endpoints = [\"{}\"]\n[upstream.names]\nendpoints = [\"localhost:9\", \"{file}\"]",
        one.address()
    );
    let routes = "[[route]]\npath = \"/names\"\nupstream = \"names\"\n[[route]]\nupstream = \"app\"";
    let ringate = Setup::to_all([]).section("[admin]").routes(routes).upstream(&upstreams).start();
    let before = config(&ringate);
    let at = address(&one);
    let listed = listed.to_string();
    for (arguments, reason) in [
        (&["remove", "app", &*at][..], "is the last endpoint"),
        (&["remove", "app", "127.0.0.1:1"], "no endpoint `127.0.0.1:1`"),
        (&["drain", "app", "127.0.0.1:1"], "no endpoint `127.0.0.1:1`"),
        (&["add", "app", &at], "already"),
        (&["add", "app", "127.0.0.1"], "is not an endpoint"),
        (&["weight", "app", &at, "0"], "0 is not between 1 and 1000"),
        (&["weight", "names", &file, "3"], "has weights of its own"),
        (&["drain", "ap", &at], "did you mean `app`?"),
        (&["list", "ap"], "no upstream"),
        (&["drain", "app@live", &at], "no endpoints of its own"),
        (&["remove", "names", &listed], &format!("`{file}` stands for")),
        (&["drain", "names", "127.0.0.1:9"], "`localhost:9` stands for"),
    ] {
        let said = refused(&ringate, arguments);
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
    let endpoints = "/v1/upstreams/app/endpoints";
    let of = |address: &str| format!("{endpoints}/{address}");
    for (method, path, body, status) in [
        ("DELETE", of(&at), None, 409),
        ("DELETE", of("127.0.0.1:1"), None, 404),
        ("PATCH", of("127.0.0.1:1"), Some(json!({ "drain": true })), 404),
        ("PATCH", of(&at), Some(json!({ "drained": true })), 422),
        ("PATCH", of(&at), Some(json!({ "weight": 1001 })), 422),
        ("POST", endpoints.to_owned(), Some(json!({ "address": at })), 409),
        ("POST", endpoints.to_owned(), Some(json!({ "weight": 1 })), 422),
        ("GET", "/v1/upstreams/none/endpoints".to_owned(), None, 404),
        ("PUT", of(&at), None, 405),
    ] {
        assert_eq!(call(&ringate, method, &path, body).0, status, "{method} {path}");
    }
    assert_eq!(config(&ringate), before);
    assert_eq!(call(&ringate, "GET", "/v1/status", None).1["config"]["version"], 1);
    // The entry itself can be changed.
    let said = command(ringate.dir(), &["endpoint", "drain", "names", &file]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let (_, all) = call(&ringate, "GET", "/v1/upstreams/names/endpoints", None);
    let drained = |name: &str| {
        all.as_array().unwrap().iter().filter(|it| it["endpoint"] == name).all(|it| it["drain"] == true)
    };
    assert!(drained(&listed) && !drained("localhost:9"), "{all}");
    // A Unix socket's path has slashes.
    let path = format!("{endpoints}/unix:run%2Fapp.sock");
    let (status, said) =
        call(&ringate, "POST", endpoints, Some(json!({ "address": "unix:run/app.sock", "backup": true })));
    assert_eq!(status, 200, "{said}");
    assert_eq!(call(&ringate, "DELETE", &path, None).0, 200);
    assert_eq!(answers(&mut ringate.client(), 2).len(), 1);
}
