//! A name with several addresses: each is an endpoint of its own, for turns, retries, bounds, probes and trials; and names
//! that do not resolve keep nothing from a start or a reload.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::ok;
use crate::reload::{edit, reload};
use crate::rotation::kit::{Kit, VERSIONS, call, order};
use crate::support::*;

const ADMIN: &str = "[admin]\nlisten = \"unix:run/admin.sock\"";

/// `127.0.0.LAST` at this port.
fn local(last: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, last), port).into()
}

/// A backend that answers with its address.
fn good(address: SocketAddr) -> Backend {
    Backend::start_at(address, move |connection| {
        while connection.request()?.is_some() {
            connection.send(ok(address.ip().to_string()))?;
        }
        Ok(())
    })
}

/// A backend that resets each connection once it has read the request.
fn resetting(address: SocketAddr) -> Backend {
    Backend::start_at(address, |connection| {
        connection.request()?;
        connection.reset()
    })
}

/// An address that accepts no connection and refuses none: its queue is full.
fn silent(address: SocketAddr) -> (socket2::Socket, TcpStream) {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&address.into()).unwrap();
    full.listen(0).unwrap();
    let waiting = TcpStream::connect(address).unwrap();
    (full, waiting)
}

/// A free port of 127.0.0.1; the addresses beside it are taken to have it, too.
fn port() -> u16 {
    free_address().port()
}

fn start(hosts: &Hosts, setup: &Setup) -> Ringate {
    Ringate::start_with(&setup.text(), |command| hosts.of(command))
}

/// The upstream `app` with one endpoint, and these lines.
fn named(name: &str, port: u16, lines: &str) -> Setup {
    Setup::to_all([]).section(ADMIN).upstream(&format!("endpoints = [\"{name}:{port}\"]\n{lines}"))
}

/// How often each backend answered `count` requests.
fn answers(ringate: &Ringate, count: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..count {
        let response = ringate.get("/");
        assert_eq!(response.status, 200, "{}", ringate.log());
        *counts.entry(response.text().to_owned()).or_default() += 1;
    }
    counts
}

/// A command on the instance's config.
fn ringate(hosts: &Hosts, ringate: &Ringate, args: &[&str]) -> std::process::Output {
    let mut command = Ringate::command();
    hosts.of(&mut command);
    run(command.args(args).arg("-c").arg(ringate.dir().join("ringate.toml")))
}

fn app(ringate: &Ringate) -> Value {
    let mut status: Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    status["upstreams"][0].take()
}

#[test]
fn each_address_takes_its_turn_and_has_the_weight_of_its_name() {
    let port = port();
    let _backends = [1, 2, 3, 4].map(|last| good(local(last, port)));
    let hosts = Hosts::new("app.test 127.0.0.1 127.0.0.2 127.0.0.2 127.0.0.3\none.test 127.0.0.4\n");
    let ringate = start(&hosts, &named("app.test", port, ""));
    let counts = answers(&ringate, 30);
    assert_eq!([1, 2, 3].map(|last| counts[&format!("127.0.0.{last}")]), [10, 10, 10], "{counts:?}");
    drop(ringate);
    let endpoints =
        format!("endpoints = [{{ address = \"app.test:{port}\", weight = 3 }}, \"one.test:{port}\"]");
    let ringate = start(&hosts, &Setup::to_all([]).upstream(&endpoints));
    let counts = answers(&ringate, 20);
    assert_eq!([1, 2, 3, 4].map(|last| counts[&format!("127.0.0.{last}")]), [6, 6, 6, 2], "{counts:?}");
}

#[test]
fn both_families_of_a_name_are_endpoints() {
    let port = port();
    let Ok(_free) = std::net::TcpListener::bind(("::1", 0)) else { return };
    let _backends = [good(local(1, port)), good(format!("[::1]:{port}").parse().unwrap())];
    let hosts = Hosts::new("app.test ::1 127.0.0.1\n");
    let ringate = start(&hosts, &named("app.test", port, ""));
    let counts = answers(&ringate, 10);
    assert_eq!((counts["::1"], counts["127.0.0.1"]), (5, 5));
}

/// All orders of `items`.
fn orders(items: &[&'static str]) -> Vec<Vec<&'static str>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in items.iter().enumerate() {
        let rest = [&items[..at], &items[at + 1..]].concat();
        all.extend(orders(&rest).into_iter().map(|order| [vec![*first], order].concat()));
    }
    all
}

#[test]
fn whatever_the_order_of_silent_refusing_resetting_and_good_addresses_each_request_is_answered() {
    let port = port();
    let _silent = silent(local(21, port));
    let _resetting = resetting(local(23, port));
    let _good = good(local(24, port));
    // Nothing listens on 127.0.0.22: it refuses.
    let orders = orders(&["127.0.0.21", "127.0.0.22", "127.0.0.23", "127.0.0.24"]);
    let hosts: String =
        orders.iter().enumerate().map(|(at, order)| format!("p{at}.test {}\n", order.join(" "))).collect();
    let hosts = Hosts::new(&hosts);
    let retries = "retries = { attempts = 3, on = [\"connect\", \"reset\"], budget = 100 }\n\
                   timeouts.connect = \"300ms\"";
    let upstreams: String = (0..orders.len())
        .map(|at| format!("[upstream.p{at}]\nendpoints = [\"p{at}.test:{port}\"]\n{retries}\n"))
        .collect();
    let routes: String =
        (0..orders.len()).map(|at| format!("[[route]]\npath = \"/{at}\"\nupstream = \"p{at}\"\n")).collect();
    let setup = Setup::to_all([]).routes(&routes).upstream(&format!("endpoints = [\"127.0.0.24:{port}\"]"));
    let text = setup
        .section(&upstreams)
        .text()
        .replace("[upstream.app]", "[[route]]\nupstream = \"app\"\n[upstream.app]");
    let ringate = Ringate::start_with(&text, |command| hosts.of(command));
    for (at, order) in orders.iter().enumerate() {
        let begun = Instant::now();
        for request in 0..8 {
            let response = ringate.get(&format!("/{at}"));
            assert_eq!(response.status, 200, "{order:?}, request {request}:\n{}", ringate.log());
            assert_eq!(response.text(), "127.0.0.24");
        }
        // The silent one is met once; a slow machine may be here for a second, after which it is tried again.
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{order:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn without_retries_the_other_addresses_of_a_name_are_still_connected_to() {
    let port = port();
    let _good = good(local(32, port));
    let hosts = Hosts::new("app.test 127.0.0.31 127.0.0.32\n");
    let ringate = start(&hosts, &named("app.test", port, "retries = { attempts = 2, on = [\"503\"] }"));
    assert_eq!(answers(&ringate, 6)["127.0.0.32"], 6);
}

#[test]
fn the_bound_of_an_endpoint_is_that_of_each_address() {
    let port = port();
    let hang = |last| Backend::start_at(local(last, port), |connection| connection.rest().map(drop));
    let backends = [41, 42].map(hang);
    let hosts = Hosts::new("app.test 127.0.0.41 127.0.0.42\n");
    let lines = "pool.max_per_endpoint = 1\nqueue = { length = 0 }";
    let ringate = start(&hosts, &named("app.test", port, lines));
    let mut held = [ringate.client(), ringate.client()];
    for client in &mut held {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    backends.iter().for_each(|backend| backend.await_connections(1));
    assert_eq!(ringate.get("/").status, 503);
}

#[test]
fn a_probe_asks_each_address() {
    let port = port();
    let _backends = [51, 53].map(|last| good(local(last, port)));
    let hosts = Hosts::new("app.test 127.0.0.51 127.0.0.52 127.0.0.53\n");
    let instance = start(&hosts, &named("app.test", port, ""));
    let output = ringate(&hosts, &instance, &["probe", "--upstream", "app", "--json"]);
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told: Vec<(bool, String)> = reports
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            assert_eq!(it["endpoint"], format!("app.test:{port}"));
            (it["ok"] == true, it["address"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [(true, 51), (false, 52), (true, 53)];
    assert_eq!(told, expected.map(|(ok, last)| (ok, local(last, port).to_string())), "{reports:#}");
    assert_eq!(output.status.code(), Some(1));
    let output = ringate(&hosts, &instance, &["probe", "--upstream", "app"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!("address              127.0.0.52:{port}")), "{text}");
}

#[test]
fn a_trial_asks_each_address() {
    let kit = Kit::new();
    let judge = kit.judge(VERSIONS[1]);
    let port = judge.address().port();
    let hosts = Hosts::new("app.test 127.0.0.1 127.0.0.111\n");
    let endpoints = format!("[upstream.app]\nendpoints = [\"app.test:{port}\"]");
    let text = kit.setup(&[]).text().replace("[upstream.app]", &endpoints);
    let instance = Ringate::start_with(&text, |command| hosts.of(command));
    kit.stage("new");
    let trial = order(&instance, "trial", "");
    let outcomes: Vec<_> =
        trial["endpoints"].as_array().unwrap().iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["accepted", "unreachable"], "{trial:#}");
    assert_eq!(trial["passed"], false);
    hosts.set("app.test 127.0.0.1\n");
    assert!(ringate(&hosts, &instance, &["reload"]).status.success());
    assert_eq!(order(&instance, "trial", "")["passed"], true);
    // A passed trial does not cover an address that it has not asked.
    hosts.set("app.test 127.0.0.1 127.0.0.112\n");
    assert!(ringate(&hosts, &instance, &["reload"]).status.success());
    let (status, said) = call(&instance, "POST", "/v1/certificates/gateway/activate", "");
    assert!(status == 409 && said.to_string().contains(&format!("app.test/127.0.0.112:{port}")), "{said:#}");
}

#[test]
fn a_reload_takes_the_addresses_of_the_moment_and_status_shows_them() {
    let port = port();
    let _backends = [61, 62].map(|last| good(local(last, port)));
    let hosts = Hosts::new("app.test 127.0.0.61\n");
    let instance = start(&hosts, &named("app.test", port, ""));
    assert_eq!(answers(&instance, 4)["127.0.0.61"], 4);
    hosts.set("app.test 127.0.0.61 127.0.0.62\n");
    let output = ringate(&hosts, &instance, &["reload"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(answers(&instance, 4)["127.0.0.62"], 2);
    let app = app(&instance);
    assert_eq!(app["endpoints"], serde_json::json!([format!("app.test:{port}")]));
    let addresses = app["addresses"].as_array().unwrap();
    let shown: Vec<&str> = addresses.iter().map(|it| it["address"].as_str().unwrap()).collect();
    assert_eq!(shown, [local(61, port).to_string(), local(62, port).to_string()]);
    let text = String::from_utf8(ringate(&hosts, &instance, &["status"]).stdout).unwrap();
    assert!(text.contains(&format!("  app.test/127.0.0.62:{port}: up since ")), "{text}");
    hosts.set("app.test 127.0.0.62\n");
    assert!(ringate(&hosts, &instance, &["reload"]).status.success());
    assert_eq!(answers(&instance, 4)["127.0.0.62"], 4);
}

#[test]
fn a_name_that_no_longer_resolves_keeps_its_addresses_over_a_reload() {
    let port = port();
    let _backend = good(local(71, port));
    let hosts = Hosts::new("app.test 127.0.0.71\n");
    let instance = start(&hosts, &named("app.test", port, ""));
    hosts.set("app.test\n");
    let output = ringate(&hosts, &instance, &["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("does not resolve"), "{said}");
    assert_eq!(answers(&instance, 2)["127.0.0.71"], 2);
}

#[test]
fn a_name_that_does_not_resolve_starts_and_gets_its_addresses_later() {
    let port = port();
    let _backend = good(local(81, port));
    let hosts = Hosts::new("app.test\n");
    let instance = start(&hosts, &named("app.test", port, ""));
    instance.await_log("does not resolve");
    assert_eq!(instance.get("/").status, 502);
    instance.await_log("the endpoint's name does not resolve");
    assert_eq!(app(&instance)["addresses"][0]["address"], Value::Null);
    let checked = ringate(&hosts, &instance, &["check"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.contains("`app.test"), "{said}");
    let text = String::from_utf8(ringate(&hosts, &instance, &["status"]).stdout).unwrap();
    assert!(text.contains("does not resolve"), "{text}");
    hosts.set("app.test 127.0.0.81\n");
    instance.await_log("names that did not resolve before are in force: upstream app");
    assert_eq!(answers(&instance, 2)["127.0.0.81"], 2);
}

#[test]
fn an_endpoint_without_an_address_takes_no_request_from_the_others() {
    let port = port();
    let _backend = good(local(91, port));
    let hosts = Hosts::new("gone.test\napp.test 127.0.0.91\n");
    let endpoints = format!("endpoints = [\"gone.test:{port}\", \"app.test:{port}\"]");
    let lines = format!("{endpoints}\nretries = {{ attempts = 2, on = [\"503\"] }}");
    let ringate = start(&hosts, &Setup::to_all([]).upstream(&lines));
    assert_eq!(answers(&ringate, 10)["127.0.0.91"], 10);
}

#[test]
fn a_url_is_probed_at_each_address_too() {
    let port = port();
    let _backends = [101, 102].map(|last| good(local(last, port)));
    let hosts = Hosts::new("app.test 127.0.0.101 127.0.0.102\n");
    let mut command: Command = Ringate::command();
    hosts.of(&mut command);
    let output = run(command.args(["probe", &format!("http://app.test:{port}/"), "--json"]));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 2, "{reports:#}");
    assert!(output.status.success());
}

/// A backend that answers with the address that the connection is from.
fn telling_source() -> Backend {
    Backend::start(|connection| {
        let from = connection.tcp().peer_addr()?.ip().to_string();
        while connection.request()?.is_some() {
            connection.send(ok(&from))?;
        }
        Ok(())
    })
}

#[test]
fn backend_connections_are_from_the_bind_address() {
    let backend = telling_source();
    for driver in ["auto", "epoll"] {
        let lines = "bind_address = \"127.0.0.2\"";
        let ringate = Setup::to(backend.address()).driver(driver).upstream(lines).start();
        let mut client = ringate.client();
        for _ in 0..3 {
            let answer = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
            assert_eq!(answer.text(), "127.0.0.2", "{driver}");
        }
        // Connections from another address do not serve on.
        reload(&ringate, &edit(&ringate, "127.0.0.2", "127.0.0.3"));
        let answer = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
        assert_eq!(answer.text(), "127.0.0.3", "{driver}");
        let config = ringate.dir().join("ringate.toml");
        let probed = run(Ringate::command().args(["probe", "--upstream", "app", "-c"]).arg(config));
        assert!(probed.status.success(), "{}", String::from_utf8_lossy(&probed.stdout));
    }
    let refused = Setup::to(free_address()).upstream("bind_address = \"127.0.0.2\"").start();
    assert_eq!(refused.get("/").status, 502);
    // An address that this host does not have.
    let strange = Setup::to(backend.address()).upstream("bind_address = \"192.0.2.1\"").start();
    assert_eq!(strange.get("/").status, 502);
    strange.await_log("Cannot assign requested address");
}

#[test]
fn a_bind_address_of_the_other_family_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ringate.toml");
    for (source, reason) in
        [("::1", "cannot be reached from `bind_address`"), ("0.0.0.0", "no host's address")]
    {
        let text = Setup::to(local(1, 9)).upstream(&format!("bind_address = \"{source}\"")).text();
        std::fs::write(&config, text).unwrap();
        let checked = run(Ringate::command().arg("check").arg("-c").arg(&config));
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && said.contains(reason), "{said}");
    }
}
