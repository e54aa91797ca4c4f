//! To a certificate that the backend does not trust, or not yet.

use std::time::SystemTime;

use ringate::internals::certs::Store;
use rustix::process::Signal;

use super::kit::*;
use crate::support::*;

#[test]
fn the_trial_says_so_and_with_force_every_request_lives_on_the_old_one() {
    for version in VERSIONS {
        let kit = Kit::new();
        let judge = kit.judge(version);
        let ringate = kit.setup(&[judge.address()]).start();
        let load = Load::start(&ringate, 64);
        load.await_more(200);
        kit.stage_strange("strange");
        let trial = order(&ringate, "trial", "");
        assert_eq!(trial["passed"], false);
        let endpoint = &trial["endpoints"][0];
        assert_eq!(
            (&endpoint["outcome"], &endpoint["alert"]),
            (&"refused".into(), &"unknown_ca".into()),
            "{trial:#}"
        );
        let (status, problem) = call(&ringate, "POST", &format!("/v1/certificates/{NAME}/activate"), "");
        assert_eq!(status, 409, "{problem:#}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("did not pass") && detail.contains("unknown_ca"), "{detail}");
        assert_eq!(judge.asked("strange").requests, 0);

        let done = order(&ringate, "activate", FORCE);
        assert_eq!((&done["generation"], &done["forced"]), (&2.into(), &true.into()));
        load.await_more(1000);
        let report = report(&ringate);
        assert_eq!(report["safe_to_revoke"]["safe"], false, "{report:#}");
        let reasons = report["safe_to_revoke"]["reasons"].to_string();
        assert!(reasons.contains("refuses generation 2"), "{reasons}");
        assert!(
            metric(&ringate, "identity_refusals") > 0 && metric(&ringate, "client_certificate_fallbacks") > 0
        );
        ringate.await_log("refused generation 2 of the client certificate gateway");

        // The backend begins to trust it: it is offered again, and then taken for good.
        judge.trust(&[&kit.ours.file(), &kit.other.file()]);
        let report = await_safe(&ringate);
        load.await_more(100);
        load.finish(&ringate);
        assert!(judge.asked("strange").requests > 0, "{report:#}");
        judge.forget();
        assert_eq!(ringate.get("/").text(), "strange");
    }
}

#[test]
fn the_one_of_three_endpoints_that_refuses_is_named() {
    let kit = Kit::new();
    let judges = [(); 3].map(|()| kit.judge(&rustls::version::TLS13));
    judges[0].trust(&[&kit.ours.file(), &kit.other.file()]);
    judges[2].trust(&[&kit.ours.file(), &kit.other.file()]);
    let addresses = [0, 1, 2].map(|index: usize| judges[index].address());
    let ringate = kit.setup(&addresses).start();
    kit.stage_strange("strange");
    let trial = order(&ringate, "trial", "");
    let outcomes: Vec<&str> =
        trial["endpoints"].as_array().unwrap().iter().map(|of| of["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["accepted", "refused", "accepted"], "{trial:#}");
    let (_, problem) = call(&ringate, "POST", &format!("/v1/certificates/{NAME}/activate"), "");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains(&addresses[1].to_string()) && !detail.contains(&addresses[0].to_string()),
        "{detail}"
    );
    order(&ringate, "activate", FORCE);
    let load = Load::start(&ringate, 16);
    load.await_more(300);
    let answers: Vec<u64> = judges.iter().map(|judge| judge.asked("strange").requests).collect();
    assert!(answers[0] > 0 && answers[1] == 0 && answers[2] > 0, "{answers:?}");
    assert!(judges[1].asked("old").requests > 0);
    let reasons = report(&ringate)["safe_to_revoke"]["reasons"].to_string();
    assert!(reasons.contains(&addresses[1].to_string()), "{reasons}");
    assert!(!reasons.contains(&format!("{}: refuses", addresses[0])), "{reasons}");
    load.finish(&ringate);
}

#[test]
fn long_uploads_that_cannot_be_sent_twice_are_not_lost_either() {
    for version in VERSIONS {
        let kit = Kit::new();
        let judge = kit.judge(version);
        let ringate = kit.setup(&[judge.address()]).start();
        kit.stage_strange("strange");
        order(&ringate, "activate", FORCE);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let mut client = ringate.client();
                scope.spawn(move || {
                    let body = vec![b'x'; 400_000];
                    let head =
                        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
                    client.send(head).send(&body);
                    assert_eq!(client.response().text(), "old");
                });
            }
        });
    }
}

#[test]
fn relays_fall_back_before_their_first_byte() {
    for version in VERSIONS {
        let kit = Kit::new();
        let judge = kit.judge(version);
        let ringate = kit.setup(&[judge.address()]).listener("protocol = \"tcp\"").start();
        assert_eq!(ringate.get("/").text(), "old");
        kit.stage_strange("strange");
        assert_eq!(order(&ringate, "trial", "")["endpoints"][0]["alert"], "unknown_ca");
        order(&ringate, "activate", FORCE);
        for _ in 0..5 {
            assert_eq!(ringate.get("/").text(), "old", "{}", ringate.log());
        }
        kit.stage("new");
        order(&ringate, "trial", "");
        order(&ringate, "activate", "");
        assert_eq!(ringate.get("/").text(), "new");
    }
}

#[test]
fn an_authority_that_was_replaced_under_its_old_name() {
    // Its signature does not verify, and servers say so with another alert.
    for version in VERSIONS {
        let kit = Kit::new();
        let judge = kit.judge(version);
        let ringate = kit.setup(&[judge.address()]).start();
        kit.stage_impostor("strange");
        assert_eq!(order(&ringate, "trial", "")["endpoints"][0]["alert"], "decrypt_error");
        order(&ringate, "activate", FORCE);
        let load = Load::start(&ringate, 8);
        load.await_more(100);
        load.finish(&ringate);
        assert!(judge.asked("old").requests >= 100);
    }
}

#[test]
fn a_backend_that_closes_without_an_alert_is_suspected() {
    // Node destroys the socket after the handshake.
    let kit = Kit::new();
    let read = |path: &std::path::Path| format!("fs.readFileSync({path:?})");
    let node = Node::start(&format!(
        "const fs = require('fs'), https = require('https');\n\
         const options = {{ cert: {}, key: {}, ca: {}, requestCert: true, rejectUnauthorized: true }};\n\
         const server = https.createServer(options, (req, res) => res.end(req.socket.getPeerCertificate().subject.CN));\n\
         server.listen(0, '127.0.0.1', () => console.log('listening ' + server.address().port));\n",
        read(&kit.pki.file("server.pem")),
        read(&kit.pki.file("server.key")),
        read(&kit.ours.file()),
    ));
    let ringate = kit.setup(&[node.address()]).start();
    kit.stage_strange("strange");
    let trial = order(&ringate, "trial", "");
    assert_eq!(trial["endpoints"][0]["outcome"], "refused", "{trial:#}");
    order(&ringate, "activate", FORCE);
    for _ in 0..20 {
        assert_eq!(ringate.get("/").text(), "old");
    }
}

#[test]
fn a_relay_that_fell_back_ends_when_its_generation_is_retired() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    let ringate = kit.setup(&[judge.address()]).listener("protocol = \"tcp\"").start();
    kit.stage_strange("strange");
    order(&ringate, "activate", FORCE);
    let mut relay = ringate.client();
    assert_eq!(relay.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().text(), "old");
    order(&ringate, "retire", FORCE);
    relay.ends();
}

#[test]
fn a_reload_falls_back_on_what_the_store_falls_back_on() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    let tls = format!("{}certificate = {NAME:?}\n", kit.pki.upstream_tls());
    let store = format!("[store]\npath = {:?}", kit.store());
    // Without the admin API, what happens to the store is learnt of by reloads.
    let ringate = Setup::to(judge.address()).section(&store).upstream(&tls).start();
    let mut reloads = 0;
    let mut reload = || {
        ringate.signal(Signal::HUP);
        reloads += 1;
        eventually("a reload", || {
            (ringate.log().matches("reloaded (SIGHUP)").count() == reloads).then_some(())
        });
    };
    let store = Store::open(kit.store()).unwrap();
    let number = kit.stage_strange("strange");
    store.activate(NAME, Some(number), SystemTime::now()).unwrap();
    reload();
    assert_eq!(ringate.get("/").text(), "old");
    store.retire(NAME, 1).unwrap();
    reload();
    assert_eq!(ringate.get("/").status, 502, "{}", ringate.log());
    let number = kit.stage("third");
    store.activate(NAME, Some(number), SystemTime::now()).unwrap();
    reload();
    assert_eq!(ringate.get("/").text(), "third");
    store.rollback(NAME, SystemTime::now()).unwrap();
    reload();
    // What was rolled back from would be taken.
    assert_eq!(ringate.get("/").status, 502, "{}", ringate.log());
}

#[test]
fn a_restart_does_not_fall_back_on_what_was_rolled_back() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    let ringate = kit.setup(&[judge.address()]).start();
    kit.stage("second");
    order(&ringate, "activate", FORCE);
    kit.stage("third");
    order(&ringate, "rollback", "");
    drop(ringate);
    let ringate = kit.setup(&[judge.address()]).start();
    let report = report(&ringate);
    assert_eq!((&report["active"], &report["previous"]), (&1.into(), &serde_json::Value::Null), "{report:#}");
}
