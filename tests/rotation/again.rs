//! Numbers that come again: of a generation that is activated a second time, of another certificate in its place.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use serde_json::Value;

use super::kit::*;
use crate::support::*;

const TLS13: &rustls::SupportedProtocolVersion = &rustls::version::TLS13;
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn rotate(ringate: &Ringate) {
    order(ringate, "trial", "");
    order(ringate, "activate", "");
}

fn reload(ringate: &Ringate, config: &str) {
    fs::write(ringate.dir().join("ringate.toml"), config).unwrap();
    let (status, answer) = call(ringate, "POST", "/v1/reload", "");
    assert_eq!(status, 200, "{answer:#}");
}

/// Whether the only upstream presents the certificate.
fn associate(ringate: &Ringate, certificate: &Value) {
    let body = format!("{{\"tls\": {{\"certificate\": {certificate}}}}}");
    let (status, answer) = call(ringate, "PATCH", "/v1/upstreams/app", &body);
    assert_eq!(status, 200, "{answer:#}");
}

fn activate(ringate: &Ringate) -> (u16, String) {
    let (status, answer) = call(ringate, "POST", &format!("/v1/certificates/{NAME}/activate"), "");
    (status, answer["detail"].as_str().unwrap_or_default().to_owned())
}

/// Open connections of a generation, as the report says.
fn connections(report: &Value, generation: u64) -> u64 {
    let mut uses = report["uses"].as_array().unwrap().iter();
    uses.find(|it| it["generation"] == generation).map_or(0, |it| it["connections"].as_u64().unwrap())
}

#[test]
fn a_generation_that_is_activated_again_is_safe_to_revoke_when_nothing_uses_it() {
    let kit = Kit::new();
    let judge = kit.judge(TLS13);
    let ringate = kit.setup(&[judge.address()]).workers(1).start();
    let mut client = ringate.client();
    let get = |client: &mut Client| client.send(GET).response().text().to_owned();
    kit.stage("second");
    rotate(&ringate);
    assert_eq!(get(&mut client), "second");
    order(&ringate, "rollback", "");
    assert_eq!(get(&mut client), "old");
    rotate(&ringate);
    assert_eq!(get(&mut client), "second");
    assert_eq!(connections(&report(&ringate), 2), 1, "{:#}", report(&ringate));
    // An upload is under way on it while the next one is activated.
    let before = ringate.metric("backend_reuses_total");
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").send(vec![b'x'; 50_000]);
    ringate.await_metric("backend_reuses_total", before + 1);
    kit.stage("third");
    rotate(&ringate);
    let safe = report(&ringate)["safe_to_revoke"].clone();
    assert_eq!((&safe["generation"], &safe["safe"]), (&2.into(), &false.into()), "{safe:#}");
    let (status, problem) = call(&ringate, "POST", &format!("/v1/certificates/{NAME}/retire"), "");
    assert_eq!(status, 409, "{problem:#}");
    client.send(vec![b'x'; 50_000]);
    assert_eq!(client.response().text(), "second");
    assert_eq!(get(&mut client), "third");
    await_safe(&ringate);
    order(&ringate, "retire", "");
}

#[test]
fn another_stores_certificate_of_the_same_name_and_number_is_another_one() {
    let kit = Kit::new();
    let judge = kit.judge(TLS13);
    let ringate = kit.setup(&[judge.address()]).workers(1).start();
    assert_eq!(ringate.get("/").text(), "old");
    let store = kit.store().with_file_name("others");
    kit.ours.issue_into(&store, NAME, &leaf("other"));
    let config = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    reload(&ringate, &config.replace(&format!("{:?}", kit.store()), &format!("{store:?}")));
    assert_eq!(ringate.get("/").text(), "other");
    assert_eq!(report(&ringate)["active"], 1, "what the store calls it");
    assert_eq!(kit.ours.stage_into(&store, NAME, &leaf("next")), 2);
    rotate(&ringate);
    assert_eq!(ringate.get("/").text(), "next", "no idle connection of the one before is used");
}

#[test]
fn a_trial_speaks_for_those_that_it_asked() {
    let kit = Kit::new();
    let (judge, late) = (kit.judge(TLS13), kit.judge(TLS13));
    let ringate = kit.setup(&[judge.address()]).start();
    kit.stage("new");
    // It is presented to no backend.
    associate(&ringate, &Value::Null);
    let trial = order(&ringate, "trial", "");
    assert_eq!((&trial["passed"], trial["endpoints"].as_array().unwrap().len()), (&false.into(), 0));
    associate(&ringate, &NAME.into());
    let (status, problem) = activate(&ringate);
    assert!(status == 409 && problem.contains("was not tried"), "{status} {problem}");
    // It comes to be presented to one more.
    assert_eq!(order(&ringate, "trial", "")["passed"], true);
    let config = fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap();
    let (one, both) =
        (format!("[\"{}\"]", judge.address()), format!("[\"{}\", \"{}\"]", judge.address(), late.address()));
    reload(&ringate, &config.replace(&one, &both));
    let (status, problem) = activate(&ringate);
    assert!(
        status == 409 && problem.contains(&format!("did not include app {};", late.address())),
        "{problem}"
    );
    rotate(&ringate);
    assert_eq!(ringate.get("/").text(), "new");
}

#[test]
fn what_is_made_anew_under_the_name_of_a_deleted_certificate_inherits_nothing() {
    let kit = Kit::new();
    let judge = kit.judge(TLS13);
    let ringate = kit.setup(&[judge.address()]).start();
    assert_eq!(ringate.get("/").text(), "old");
    for name in ["second", "third"] {
        kit.stage(name);
        rotate(&ringate);
        assert_eq!(ringate.get("/").text(), name);
    }
    associate(&ringate, &Value::Null);
    let (status, answer) = call(&ringate, "DELETE", &format!("/v1/certificates/{NAME}"), "");
    assert_eq!(status, 200, "{answer:#}");
    kit.ours.issue_into(&kit.store(), NAME, &leaf("anew"));
    associate(&ringate, &NAME.into());
    assert_eq!(ringate.get("/").text(), "anew");
    let report = report(&ringate);
    assert!(report["safe_to_revoke"].is_null(), "{report:#}");
    assert!(report["uses"].as_array().unwrap().iter().all(|it| it["generation"] == 1), "{report:#}");
}

/// As one does that waits for a name server.
#[test]
fn a_rollback_does_not_wait_for_a_reload_that_takes_long_to_read() {
    let kit = Kit::new();
    let judge = kit.judge(TLS13);
    let ringate = kit.setup(&[judge.address()]).start();
    kit.stage("new");
    rotate(&ringate);
    let file = ringate.dir().join("ringate.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert!(run(Command::new("mkfifo").arg(&file)).status.success());
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| call(&ringate, "POST", "/v1/reload", ""));
        // The pipe has no reader to write to until it is read.
        let open = || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&file).ok();
        let mut reading = eventually("the reload", open);
        let next = file.with_extension("next");
        fs::write(&next, &config).unwrap();
        fs::rename(&next, &file).unwrap();
        order(&ringate, "rollback", "");
        assert!(!reload.is_finished());
        reading.write_all(config.as_bytes()).unwrap();
        drop(reading);
        assert_eq!(reload.join().unwrap().0, 200);
    });
    assert_eq!(report(&ringate)["active"], 1);
    assert_eq!(ringate.get("/").text(), "old");
}

#[test]
fn a_generation_that_a_rollback_staged_again_is_not_to_be_revoked() {
    let kit = Kit::new();
    let judge = kit.judge(TLS13);
    let ringate = kit.setup(&[judge.address()]).start();
    kit.stage("second");
    rotate(&ringate);
    assert_eq!(report(&ringate)["safe_to_revoke"]["generation"], 1);
    let (status, answer) = call(&ringate, "POST", &format!("/v1/certificates/{NAME}/rollback"), "");
    assert_eq!((status, &answer["staged_again"]), (200, &true.into()), "{answer:#}");
    assert!(report(&ringate)["safe_to_revoke"].is_null(), "{:#}", report(&ringate));
    // In use again, and then no longer: now the first one is.
    rotate(&ringate);
    assert_eq!(report(&ringate)["safe_to_revoke"]["generation"], 1);
}

#[test]
fn a_retired_generation_is_not_needed_by_endpoints_that_come_later() {
    let kit = Kit::new();
    let (judge, later) = (kit.judge(TLS13), kit.judge(TLS13));
    let ringate = kit.setup(&[judge.address()]).start();
    kit.stage("second");
    rotate(&ringate);
    assert_eq!(ringate.get("/").text(), "second");
    let retire = format!("/v1/certificates/{NAME}/retire");
    let (status, answer) = call(&ringate, "POST", &retire, r#"{"force": true}"#);
    assert_eq!(status, 200, "{answer:#}");
    ringate.await_log("generation 1 is retired");
    let endpoints = serde_json::json!({ "endpoints": [later.address().to_string()] }).to_string();
    let (status, answer) = call(&ringate, "PATCH", "/v1/upstreams/app", &endpoints);
    assert_eq!(status, 200, "{answer:#}");
    let safe = report(&ringate)["safe_to_revoke"].clone();
    assert_eq!((&safe["generation"], &safe["safe"]), (&1.into(), &true.into()), "{safe:#}");
}
