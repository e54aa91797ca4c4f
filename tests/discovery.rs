//! Endpoints that names, services and files have follow these without a reload, and lose no request.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::http::ok;
use crate::reload::{edit, reload};
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A backend at `127.0.0.LAST` that answers with the last part of its address.
fn backend(last: u8, port: u16) -> Backend {
    Backend::start_at((Ipv4Addr::new(127, 0, 0, last), port).into(), move |connection| {
        while connection.request()?.is_some() {
            connection.send(ok(last.to_string()))?;
        }
        Ok(())
    })
}

fn setup(names: SocketAddr, ttl: &str, endpoints: &str) -> Setup {
    Setup::to_all([])
        .section("[admin]")
        .section(&format!("[resolver]\nservers = [\"{names}\"]\nttl = {ttl}"))
        .upstream(&format!("endpoints = [{endpoints}]"))
}

const TTL: &str = "{ min = \"1s\", max = \"60s\" }";

/// Which backends have answered some requests, in order and each once.
fn answers(ringate: &Ringate) -> Vec<String> {
    let mut seen: Vec<String> = (0..6).map(|_| ringate.get("/").text().to_owned()).collect();
    seen.sort();
    seen.dedup();
    seen
}

fn await_answers(ringate: &Ringate, expected: &[&str]) {
    eventually(&format!("answers of {expected:?}"), || (answers(ringate) == expected).then_some(()));
}

fn source(ringate: &Ringate) -> Value {
    let upstreams: Value = serde_json::from_str(&ringate.admin("/v1/upstreams")).unwrap();
    upstreams[0]["discovery"][0].clone()
}

/// The addresses of the backup endpoints.
fn backups(ringate: &Ringate) -> Vec<String> {
    let upstreams: Value = serde_json::from_str(&ringate.admin("/v1/upstreams")).unwrap();
    let addresses = upstreams[0]["addresses"].as_array().unwrap();
    let backups = addresses.iter().filter(|address| address["backup"] == true);
    backups.map(|address| address["address"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_name_is_followed_by_its_ttl_and_no_request_is_lost() {
    let names = NameServer::start();
    let port = free_address().port();
    let backends = [2, 3, 4].map(|last| backend(last, port));
    names.addresses("app.test", &[2, 3], 1);
    let ringate = setup(names.address(), TTL, &format!("\"dns:app.test:{port}\"")).workers(2).start();
    await_answers(&ringate, &["2", "3"]);
    let kept = backends[1].connections();
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (stop, address) = (Arc::clone(&stop), ringate.address());
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            let mut count = 0;
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(client.send(GET).response().status, 200);
                count += 1;
            }
            count
        })
    };
    for round in 0..3 {
        let (last, expected) = if round % 2 == 0 { ([3, 4], ["3", "4"]) } else { ([2, 3], ["2", "3"]) };
        names.addresses("app.test", &last, 1);
        await_answers(&ringate, &expected);
    }
    stop.store(true, Ordering::SeqCst);
    assert!(load.join().unwrap() > 100);
    ringate.await_log(&format!("endpoints changed: added 127.0.0.4:{port}; removed 127.0.0.2:{port}"));
    // The endpoint that stayed has kept its connections: one of the load's worker, and one of each other at most.
    assert!(backends[1].connections() <= kept + 2, "{} {kept}", backends[1].connections());
    assert_eq!(backends[1].ended(), 0);
    // Idle connections of one that has gone end.
    eventually("the end of its connections", || {
        (backends[0].ended() == backends[0].connections()).then_some(())
    });
    let known = source(&ringate);
    assert_eq!((&known["endpoints"], &known["ttl_seconds"]), (&2.into(), &1.into()), "{known}");
    assert!(known["problem"].is_null() && known["refreshed"].is_string(), "{known}");
}

#[test]
fn the_last_good_answer_outlives_failures_and_for_a_while_empty_answers() {
    let names = NameServer::start();
    let port = free_address().port();
    let _backend = backend(2, port);
    names.addresses("app.test", &[2], 1);
    let bounds = "{ min = \"1s\", max = \"3s\" }";
    let ringate = setup(names.address(), bounds, &format!("\"dns:app.test:{port}\"")).start();
    await_answers(&ringate, &["2"]);
    for (zone, word) in [(Zone::Fails, "SERVFAIL"), (Zone::Silent, "silence")] {
        names.set("app.test", 1, zone);
        eventually(word, || source(&ringate)["problem"]["reason"].as_str().map(drop));
        assert_eq!(answers(&ringate), ["2"], "{word}");
        let text = ringate.admin("/metrics");
        let label = format!("{{source=\"dns:app.test:{port}\"}}");
        assert!(text.contains(&format!("ringate_discovery_stale{label} 1")), "{text}");
        let status = run(Ringate::command().args(["status", "-c"]).arg(ringate.dir().join("ringate.toml")));
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(said.contains(&format!("✗ dns:app.test:{port}: 1 endpoints")), "{said}");
        names.addresses("app.test", &[2], 1);
        eventually("a good answer", || source(&ringate)["problem"].is_null().then_some(()));
    }
    names.forget("app.test");
    eventually("an empty answer", || source(&ringate)["problem"]["reason"].as_str().map(drop));
    assert_eq!(answers(&ringate), ["2"], "kept at first");
    eventually("its end", || (ringate.get("/").status == 502).then_some(()));
    names.addresses("app.test", &[2], 1);
    eventually("its return", || (ringate.get("/").status == 200).then_some(()));
    ringate.await_log("the source is in order again");
}

#[test]
fn a_start_without_an_answer_warns_and_serves_later() {
    let names = NameServer::start();
    let port = free_address().port();
    let _backend = backend(2, port);
    let ringate = setup(names.address(), TTL, &format!("\"dns:app.test:{port}\"")).start();
    ringate.await_log("`app.test` has no address");
    assert_eq!(ringate.get("/").status, 502);
    names.addresses("app.test", &[2], 60);
    await_answers(&ringate, &["2"]);
    // A reload asks nothing of a source that it knows.
    let questions = names.questions();
    reload(&ringate, &edit(&ringate, "[admin]", "[admin]"));
    assert_eq!((names.questions(), answers(&ringate)), (questions, vec!["2".to_owned()]));
}

#[test]
fn a_service_has_hosts_ports_weights_and_priorities() {
    let names = NameServer::start();
    let (one, two) = (free_address().port(), free_address().port());
    let (_heavy, _light, _spare) = (backend(2, one), backend(3, two), backend(4, one));
    names.addresses("a.test", &[2], 60);
    names.addresses("b.test", &[3], 60);
    names.addresses("c.test", &[4], 60);
    let service = "_http._tcp.app.test";
    names.services(service, &[(5, 30, one, "a.test"), (5, 10, two, "b.test"), (9, 1, one, "c.test")], 1);
    let ringate = setup(names.address(), TTL, &format!("\"srv:{service}\"")).start();
    let mut client = ringate.client();
    let seen: Vec<String> = (0..40).map(|_| client.send(GET).response().text().to_owned()).collect();
    let count = |last: &str| seen.iter().filter(|answer| *answer == last).count();
    assert_eq!((count("2"), count("3"), count("4")), (30, 10, 0));
    // Those of higher priorities are backups: without the others, they are used.
    assert_eq!(backups(&ringate), [format!("127.0.0.4:{one}")]);
    names.services(service, &[(5, 30, free_address().port(), "a.test"), (9, 1, one, "c.test")], 1);
    await_answers(&ringate, &["4"]);
    // The lowest priority of which any host has an address is no backup.
    names.services(service, &[(1, 1, one, "missing.test"), (9, 1, one, "c.test")], 1);
    eventually("a promotion", || backups(&ringate).is_empty().then_some(()));
    await_answers(&ringate, &["4"]);
}

#[test]
fn an_error_for_one_address_family_alone_is_no_problem_of_the_source() {
    let names = NameServer::start();
    let port = free_address().port();
    let _backends = [2, 3].map(|last| backend(last, port));
    names.addresses("app.test", &[2], 1);
    names.set("app.test", AAAA, Zone::Refuses);
    let ringate = setup(names.address(), TTL, &format!("\"dns:app.test:{port}\"")).start();
    for (zone, last, answer) in [(Zone::Refuses, 3, "3"), (Zone::Fails, 2, "2")] {
        names.set("app.test", AAAA, zone);
        names.addresses("app.test", &[last], 1);
        await_answers(&ringate, &[answer]);
        let known = source(&ringate);
        assert!(known["problem"].is_null() && known["failures"] == 0, "{known}");
    }
    // Of neither family: nothing is known then.
    names.set("app.test", A, Zone::Refuses);
    eventually("REFUSED", || source(&ringate)["problem"]["reason"].as_str().map(drop));
    assert_eq!(answers(&ringate), ["2"]);
}

#[test]
fn a_file_is_followed_through_symlinks_and_a_bad_one_changes_nothing() {
    let port = free_address().port();
    let _backends = [2, 3, 4].map(|last| backend(last, port));
    let names = NameServer::start();
    names.addresses("app.test", &[4], 60);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_owned();
    let at = |name: &str| folder.join(name);
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(at(name)).unwrap();
        std::fs::write(at(name).join("endpoints"), text).unwrap();
    };
    // As Kubernetes mounts a config map: files are links into a folder that is swapped by one rename.
    let swap = |name: &str| {
        std::os::unix::fs::symlink(name, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    write("one", &format!("endpoints = ['127.0.0.2:{port}']"));
    swap("one");
    std::os::unix::fs::symlink("..data/endpoints", at("endpoints")).unwrap();
    let text = setup(names.address(), TTL, "\"file:endpoints\"").text();
    std::fs::write(at("ringate.toml"), text).unwrap();
    let ringate = Ringate::start_in(dir, 1);
    await_answers(&ringate, &["2"]);
    write("two", &format!("[\"127.0.0.3:{port}\", {{\"address\": \"app.test:{port}\", \"weight\": 1}}]"));
    swap("two");
    await_answers(&ringate, &["3", "4"]);
    for (name, text) in [("bad", "endpoints = ["), ("empty", "endpoints = []")] {
        write(name, text);
        let before = source(&ringate)["failures"].as_u64().unwrap();
        swap(name);
        eventually("a failure", || (source(&ringate)["failures"].as_u64().unwrap() > before).then_some(()));
        assert_eq!(answers(&ringate), ["3", "4"], "{name}");
    }
    ringate.await_log("its 2 endpoints are kept");
    std::fs::remove_file(at("..data")).unwrap();
    assert_eq!(answers(&ringate), ["3", "4"]);
    swap("one");
    await_answers(&ringate, &["2"]);
}

#[test]
fn given_addresses_take_the_place_of_lookups() {
    let port = free_address().port();
    let _backends = [2, 3].map(|last| backend(last, port));
    let endpoints = format!("endpoints = [\"dns:app.test:{port}\", \"other.test:{port}\"]");
    let given = [format!("app.test:{port}:127.0.0.2"), format!("Other.test:{port}:127.0.0.3")];
    let text = Setup::to_all([]).upstream(&endpoints).text();
    let resolve = |command: &mut Command| {
        command.args(["--resolve", &given[0], "--resolve", &given[1]]);
    };
    let ringate = Ringate::start_with(&text, resolve);
    assert_eq!(answers(&ringate), ["2", "3"]);
    let config = ringate.dir().join("ringate.toml");
    for mut command in [&["check"][..], &["probe", "--upstream", "app"]].map(|args| {
        let mut command = Ringate::command();
        command.args(args).arg("-c").arg(&config);
        command
    }) {
        resolve(&mut command);
        let done = run(&mut command);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && !said.contains("does not resolve"), "{said}");
    }
    let wrong = run(Ringate::command().args(["check", "--resolve", "app.test", "-c"]).arg(&config));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("HOST:PORT:ADDRESS"));
}

#[test]
fn dnsmasq_gives_addresses_and_services() {
    let port = free_address().port();
    let _backend = backend(2, port);
    let at = free_address();
    let _dnsmasq = Process::start(Command::new("dnsmasq").args([
        "--no-daemon",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--listen-address=127.0.0.1",
        &format!("--port={}", at.port()),
        "--host-record=app.test,127.0.0.2",
        &format!("--srv-host=_http._tcp.app.test,app.test,{port}"),
        "--local=/test/",
        "--conf-file=/dev/null",
        "--pid-file=",
    ]));
    eventually("the name server", || std::net::TcpStream::connect(at).ok());
    for endpoint in [format!("\"dns:app.test:{port}\""), "\"srv:_http._tcp.app.test\"".to_owned()] {
        let ringate = setup(at, TTL, &endpoint).start();
        await_answers(&ringate, &["2"]);
        std::thread::sleep(Duration::from_millis(10));
        assert!(source(&ringate)["problem"].is_null(), "{}", source(&ringate));
    }
}
