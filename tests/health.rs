//! Active checks of endpoints: of each type, over plain and mutual TLS, what they change, and that a reload keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::process::Signal;

use crate::http::ok;
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const QUICK: &str = "interval = \"100ms\", timeout = \"2s\", fall = 2, rise = 2";

/// Answers checks of `/healthz` with 503 as long as it is set, and everything else with its number.
fn backend(number: usize, sick: &Arc<AtomicBool>) -> Backend {
    let sick = Arc::clone(sick);
    Backend::serving(move |request| {
        if !request.line().starts_with("GET /healthz") {
            return ok(number.to_string());
        }
        match sick.load(SeqCst) {
            true => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec(),
            false => ok("all is well"),
        }
    })
}

fn flag(value: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(value))
}

fn addresses(ringate: &Ringate) -> Vec<serde_json::Value> {
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    status["upstreams"][0]["addresses"].as_array().unwrap().clone()
}

fn await_state(ringate: &Ringate, index: usize, state: &str) -> serde_json::Value {
    eventually(&format!("endpoint {index} being {state}"), || {
        Some(addresses(ringate)[index].clone()).filter(|it| it["state"] == state && !it["check"].is_null())
    })
}

/// Who answers so many requests.
fn answers(ringate: &Ringate, count: usize) -> Vec<String> {
    (0..count).map(|_| ringate.client().send(GET).response().text().to_owned()).collect()
}

#[test]
fn an_endpoint_whose_checks_fail_gets_no_traffic_until_they_pass() {
    let (sick, well) = (flag(false), flag(false));
    let (first, second) = (backend(1, &sick), backend(2, &well));
    let health = format!("health = {{ type = \"http\", path = \"/healthz\", {QUICK} }}");
    let ringate = Setup::to_all([first.address(), second.address()]).section(ADMIN).upstream(&health).start();
    await_state(&ringate, 0, "up");
    assert!(answers(&ringate, 4).contains(&"1".to_owned()));
    sick.store(true, SeqCst);
    let down = await_state(&ringate, 0, "down");
    assert_eq!(
        (&*down["reason"].to_string(), &*down["check"]["fault"].to_string()),
        ("\"health check: status 503\"", "\"status 503\"")
    );
    assert_eq!(answers(&ringate, 6), ["2"; 6]);
    let status = run(Ringate::command().current_dir(ringate.dir()).args(["status", "-c", "ringate.toml"]));
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("down since ") && status.contains("health check: status 503"), "{status}");
    assert!(
        ringate.admin("/metrics").contains("ringate_upstream_endpoints{upstream=\"app\",state=\"down\"} 1\n")
    );

    // A reload that changes something else keeps what is known.
    let config = ringate.dir().join("ringate.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[upstream.app]", "[upstream.app]\ntimeouts.response = \"7s\""))
        .unwrap();
    ringate.signal(Signal::HUP);
    ringate.await_log("timeouts.response");
    assert_eq!(addresses(&ringate)[0]["state"], "down");
    assert_eq!(answers(&ringate, 6), ["2"; 6]);

    sick.store(false, SeqCst);
    await_state(&ringate, 0, "up");
    assert!(answers(&ringate, 4).contains(&"1".to_owned()));
    let log = ringate.log();
    assert_eq!(log.matches("the health check fails").count(), 1, "{log}");
    assert_eq!(log.matches("the health check passes").count(), 1, "{log}");
}

#[test]
fn an_endpoint_that_its_checks_bring_up_again_warms_up() {
    let (sick, well) = (flag(false), flag(false));
    let (first, second) = (backend(1, &sick), backend(2, &well));
    let health = format!("slow_start = \"1h\"\nhealth = {{ type = \"http\", path = \"/healthz\", {QUICK} }}");
    let ringate = Setup::to_all([first.address(), second.address()]).section(ADMIN).upstream(&health).start();
    await_state(&ringate, 0, "up");
    assert_eq!(answers(&ringate, 20).iter().filter(|it| *it == "1").count(), 10);
    sick.store(true, SeqCst);
    await_state(&ringate, 0, "down");
    sick.store(false, SeqCst);
    await_state(&ringate, 0, "up");
    let share = answers(&ringate, 100).iter().filter(|it| *it == "1").count();
    assert!(share <= 4, "a hundredth of its share, not {share} of 100");
}

#[test]
fn the_first_check_decides_and_with_all_down_all_or_none_are_used() {
    let sick = flag(true);
    let (first, second) = (backend(1, &sick), backend(2, &sick));
    for (all_down, status) in [("", 200), (", all_down = \"refuse\"", 503)] {
        let health = format!(
            "health = {{ type = \"http\", path = \"/healthz\", interval = \"10s\", fall = 9, rise = 1{all_down} }}"
        );
        let ringate =
            Setup::to_all([first.address(), second.address()]).section(ADMIN).upstream(&health).start();
        await_state(&ringate, 0, "down");
        await_state(&ringate, 1, "down");
        let response = ringate.client().send(GET).response();
        assert_eq!(response.status, status, "{all_down}");
        assert_eq!(ringate.metric("refused_endpoints_down_total"), u64::from(status == 503));
    }
}

#[test]
fn a_request_of_a_check_is_as_configured_and_judged_by_status_and_body() {
    let checked = Backend::serving(|request| match request.line() == "GET /live?x=1" {
        true => ok("state: green"),
        false => ok("other"),
    });
    for (expect, state) in [
        ("expect = [\"200\"], body = \"green\"", "up"),
        ("expect = [\"200\"], body = \"blue\"", "down"),
        ("expect = [\"301\", \"404-500\"]", "down"),
    ] {
        let health = format!(
            "health = {{ type = \"http\", path = \"/live?x=1\", host = \"app.test\", headers = {{ X-Check = \"7\" }}, \
             {expect} }}"
        );
        let ringate = Setup::to(checked.address()).section(ADMIN).upstream(&health).start();
        await_state(&ringate, 0, state);
        let request = checked.request();
        assert_eq!((request.header("Host"), request.header("X-Check")), (Some("app.test"), Some("7")));
    }
}

#[test]
fn checks_of_tcp_and_tls_are_made_as_traffic_is() {
    let pki = Pki::new();
    let nginx = Nginx::mutual(&pki, "location / { return 200 \"$ssl_client_verify\"; }");
    // Accepts, and is silent in the handshake.
    let silent = Backend::start(|connection| connection.rest().map(drop));
    for (kind, states) in [("tcp", ["up", "up", "down"]), ("tls", ["up", "down", "down"])] {
        let upstream = format!("health = {{ type = \"{kind}\", {QUICK} }}\n{}", pki.upstream_mutual_tls());
        let ringate = Setup::to_all([nginx.address(), silent.address(), free_address()])
            .section(ADMIN)
            .upstream(&upstream)
            .start();
        for (index, state) in states.into_iter().enumerate() {
            await_state(&ringate, index, state);
        }
        if kind == "tls" {
            let before = silent.connections();
            assert_eq!(answers(&ringate, 6), ["SUCCESS"; 6]);
            eventually("another check", || (silent.connections() > before).then_some(()));
        }
    }
    let upstream = format!("health = {{ type = \"http\", {QUICK} }}\n{}", pki.upstream_mutual_tls());
    let ringate = Setup::to(nginx.address()).section(ADMIN).upstream(&upstream).start();
    await_state(&ringate, 0, "up");
    // A backend that does not trust our certificate.
    let others = Pki::new();
    let judge = Judge::start(&pki, &rustls::version::TLS13, &[&others.file("ca.pem")]);
    let ringate = Setup::to(judge.address()).section(ADMIN).upstream(&upstream).start();
    let down = await_state(&ringate, 0, "down");
    assert!(down["reason"].as_str().unwrap().contains("alert"), "{down}");
}
