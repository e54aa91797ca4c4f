//! To a certificate that the backend trusts.

use super::kit::*;
use crate::support::*;

#[test]
fn not_a_request_is_lost_and_none_goes_out_on_the_old_identity() {
    for version in VERSIONS {
        let kit = Kit::new();
        let judge = kit.judge(version);
        let ringate = kit.setup(&[judge.address()]).start();
        let load = Load::start(&ringate, 64);
        load.await_more(500);
        kit.stage("new");
        let trial = order(&ringate, "trial", "");
        assert_eq!(trial["passed"], true, "{trial:#}");
        assert_eq!(trial["endpoints"][0]["outcome"], "accepted");
        assert_eq!(trial["generation"], 2);
        let done = order(&ringate, "activate", "");
        let activated = millis();
        assert_eq!(
            (&done["generation"], &done["previous"], &done["live"]),
            (&2.into(), &1.into(), &true.into())
        );
        assert_eq!(done["forced"], false);
        load.await_more(1000);
        let report = await_safe(&ringate);
        load.await_more(100);
        load.finish(&ringate);
        let (old, new) = (judge.asked("old"), judge.asked("new"));
        assert!(old.requests > 400 && new.requests > 1000, "{old:?} {new:?}");
        let late = old.started.saturating_sub(activated);
        assert!(
            late <= 100,
            "a request that started {late} ms after the activation went out on the old identity"
        );
        assert_eq!(report["safe_to_revoke"]["generation"], 1);
        assert!(report["safe_to_revoke"]["last_used"].is_string(), "{report:#}");
        let old_use = report["uses"].as_array().unwrap().iter().find(|of| of["generation"] == 1).unwrap();
        assert_eq!((&old_use["connections"], &old_use["rescues"]), (&0.into(), &0.into()), "{report:#}");
        // The backend stops trusting the old one, as the report permits: no request fails.
        judge.trust(&[&kit.ours.file()]);
        assert_eq!(ringate.get("/").text(), "new");
        assert_eq!(metric(&ringate, "identity_refusals"), 0);
        // Connections with their TLS went from worker to worker meanwhile.
        assert!(metric(&ringate, "backend_connections_taken_over") > 0);
    }
}

#[test]
fn an_activation_needs_a_trial_that_passed_for_this_very_generation() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    let ringate = kit.setup(&[judge.address()]).start();
    let activate = |body| call(&ringate, "POST", &format!("/v1/certificates/{NAME}/activate"), body);
    let (status, problem) = activate("");
    assert_eq!(status, 409, "nothing is staged: {problem}");
    kit.stage("second");
    let (status, problem) = activate("");
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("was not tried"), "{problem:#}");
    order(&ringate, "trial", "");
    kit.stage("third");
    let (status, _) = activate("");
    assert_eq!(status, 409, "another generation was tried");
    order(&ringate, "trial", "");
    order(&ringate, "activate", "");
    assert_eq!(ringate.get("/").text(), "third");
    let (status, _) = call(&ringate, "POST", "/v1/certificates/nobody/trial", "");
    assert_eq!(status, 404);
}

#[test]
fn a_rollback_brings_the_old_one_back_at_once() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    let ringate = kit.setup(&[judge.address()]).start();
    let load = Load::start(&ringate, 16);
    kit.stage("new");
    order(&ringate, "trial", "");
    order(&ringate, "activate", "");
    load.await_more(200);
    let done = order(&ringate, "rollback", "");
    let back = millis();
    assert_eq!((&done["generation"], &done["previous"]), (&1.into(), &2.into()));
    load.await_more(200);
    load.finish(&ringate);
    assert!(judge.asked("new").started <= back + 100);
    assert_eq!(ringate.get("/").text(), "old");
    // It is staged again, and must be tried again.
    let (status, _) = call(&ringate, "POST", &format!("/v1/certificates/{NAME}/activate"), "");
    assert_eq!(status, 409);
    order(&ringate, "trial", "");
    order(&ringate, "activate", "");
    assert_eq!(ringate.get("/").text(), "new");
}

#[test]
fn many_rotations_under_load_leave_nothing_behind() {
    let rounds = rounds(12);
    for version in VERSIONS {
        let kit = Kit::new();
        let judge = kit.judge(version);
        let ringate = kit.setup(&[judge.address()]).start();
        let load = Load::start(&ringate, 32);
        load.await_more(200);
        let mut before = (0, 0);
        let begun = std::time::Instant::now();
        for round in 0..rounds {
            kit.stage(&format!("generation-{round}"));
            assert_eq!(order(&ringate, "trial", "")["passed"], true);
            order(&ringate, "activate", "");
            load.await_more(30);
            if round == 4 {
                before = weight(ringate.pid());
            }
        }
        await_safe(&ringate);
        let after = weight(ringate.pid());
        let done = load.finish(&ringate);
        println!(
            "{rounds} rotations in {:?}: 0 of {done} requests failed, {before:?} to {after:?}",
            begun.elapsed()
        );
        assert!(judge.asked(&format!("generation-{}", rounds - 1)).requests > 0);
        assert!(after.0 <= before.0 + 70, "descriptors: {before:?} to {after:?}");
        assert!(after.1 < before.1 + 16 * 1024, "KiB: {before:?} to {after:?}");
        assert_eq!(metric(&ringate, "identity_refusals"), 0);
    }
}

#[test]
fn a_restart_goes_on_with_the_active_generation_and_can_still_fall_back() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    {
        let ringate = kit.setup(&[judge.address()]).start();
        kit.stage_strange("strange");
        order(&ringate, "activate", FORCE);
        assert_eq!(ringate.get("/").text(), "old", "it is refused, and the old one stands in");
        assert_eq!(ringate.terminate().code(), Some(0));
    }
    let ringate = kit.setup(&[judge.address()]).start();
    assert_eq!(report(&ringate)["active"], 2);
    assert_eq!(ringate.get("/").text(), "old");
    let (status, problem) = call(&ringate, "POST", &format!("/v1/certificates/{NAME}/retire"), "");
    assert_eq!(status, 409, "it is needed: {problem:#}");
    order(&ringate, "retire", FORCE);
    assert_eq!(ringate.get("/").status, 502);
    judge.trust(&[&kit.other.file()]);
    assert_eq!(eventually("trust", || Some(ringate.get("/"))).text(), "strange");
}
