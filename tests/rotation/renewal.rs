//! Certificates that end, files that change, and the time that old connections have.

use std::fs;
use std::time::SystemTime;

use ringate::internals::certs::generate::self_signed;
use ringate::internals::certs::{GenerateRequest, Meta, Origin, Store};

use super::kit::*;
use crate::support::*;

const OK: &str = "location / { return 200 ok; }";

/// Puts a self-signed certificate into the store that ends in five days, of thirty.
fn near_its_end(kit: &Kit) {
    let made = SystemTime::now() - std::time::Duration::from_secs(25 * 86_400);
    let request = GenerateRequest { days: 30, ..GenerateRequest::new("ours.example") };
    let generated = self_signed(&request, made).unwrap();
    let meta = Meta { description: None, origin: Origin::Generated, now: SystemTime::now() };
    let store = Store::open(kit.store()).unwrap();
    store.delete(NAME).unwrap();
    store.put(NAME, &generated.bundle, &meta).unwrap();
}

#[test]
fn a_generated_certificate_near_its_end_stages_its_successor_and_says_what_depends_on_it() {
    let kit = Kit::new();
    near_its_end(&kit);
    let nginx = Nginx::tls(&kit.pki, OK);
    let ringate = kit.setup(&[nginx.address()]).start();
    ringate.await_log("ends in 4 days; what depends on it: upstream app (routes: web: /)");
    ringate.await_log("generation 2 is staged: its successor");
    let described = Store::open(kit.store()).unwrap().describe(NAME, SystemTime::now()).unwrap();
    assert_eq!((described.active, described.staged), (Some(1), Some(2)));
    let (old, new) = (described.generation(1).unwrap(), described.generation(2).unwrap());
    assert_eq!(old.subject(), new.subject());
    assert!(new.not_after() > old.not_after());
    let (_, status) = call(&ringate, "GET", "/v1/status", "");
    let certificate = &status["certificates"][0];
    assert_eq!((&certificate["name"], &certificate["days_left"]), (&NAME.into(), &4.into()), "{status:#}");
    assert_eq!(certificate["affects"][0], "upstream app (routes: web: /)");
    let (_, metrics) = call(&ringate, "GET", "/metrics", "");
    let metrics = metrics.as_str().unwrap().to_owned();
    assert!(metrics.contains("ringate_certificate_generation{certificate=\"gateway\"} 1"), "{metrics}");
    assert!(
        metrics.contains("ringate_certificate_not_after_seconds{certificate=\"gateway\"} 1"),
        "{metrics}"
    );
    let warning = "certificate gateway ends in 4 days; what depends on it: upstream app (routes: web: /)";
    assert_eq!(status["warnings"], serde_json::json!([warning]), "{status:#}");
    let printed = run(Ringate::command().args(["status", "-c"]).arg(ringate.dir().join("ringate.toml")));
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains(&format!("warning: {warning}\n")), "{printed}");
    assert!(printed.contains("certificate gateway: generation 1, valid until "), "{printed}");
}

#[test]
fn metrics_say_which_certificates_are_used_and_when_they_last_were() {
    let kit = Kit::new();
    kit.ours.issue_into(
        &kit.store(),
        "web",
        &Leaf { common_name: "web", names: &["localhost"], ..Leaf::default() },
    );
    kit.ours.issue_into(&kit.store(), "spare", &leaf("spare"));
    let judge = kit.judge(&rustls::version::TLS13);
    let text = kit.setup(&[judge.address()]).listener("[listener.tls]\ncertificates = [\"web\"]").text();
    let ringate = Ringate::start(&text);
    let read = |name: &str, certificate: &str| -> u64 {
        let text = ringate.admin("/metrics");
        let prefix = format!("ringate_certificate_{name}{{certificate={certificate:?}}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {prefix} in\n{text}")).parse().unwrap()
    };
    assert_eq!((read("in_use", "web"), read("in_use", NAME), read("in_use", "spare")), (1, 1, 0));
    assert_eq!(
        (read("generation", "spare"), read("used_seconds", "web"), read("used_seconds", NAME)),
        (1, 0, 0)
    );
    let now = u64::try_from(millis() / 1000).unwrap();
    assert!(read("not_after_seconds", "spare") > now);
    let config = kit.ours.client_config();
    let answer = ringate.tls_client(config).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert_eq!(answer.text(), "old");
    assert!(read("used_seconds", "web") >= now && read("used_seconds", NAME) >= now);
    // A backend's own certificate, of the tests' ten years or so, ends at one endpoint.
    let text = ringate.admin("/metrics");
    let line = format!(
        "ringate_backend_certificate_expires_seconds{{upstream=\"app\",endpoint=\"{}\"}} ",
        judge.address()
    );
    assert!(text.contains(&line), "{text}");
}

#[test]
fn a_backends_certificate_that_ends_soon_is_warned_of_with_the_routes_that_lead_there() {
    let authority = Authority::new();
    let ending = authority.issue("ending", &Leaf { days_ago: 27, ..Leaf::default() });
    let (cert, key) = (ending.cert.to_str().unwrap(), ending.key.to_str().unwrap());
    let server = SServer::bare(&["-www", "-cert", cert, "-key", key]);
    let tls = format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{:?}]\n", authority.file());
    let ringate = Setup::to(server.address()).section("[admin]").upstream(&tls).start();
    assert_eq!(ringate.get("/").status, 200);
    let (_, status) = call(&ringate, "GET", "/v1/status", "");
    let warning = status["warnings"][0].as_str().unwrap_or_else(|| panic!("{status:#}"));
    let begin = format!("certificate backend {} of app ends in ", server.address());
    assert!(warning.starts_with(&begin), "{warning}");
    assert!(warning.ends_with("what depends on it: upstream app (routes: web: /)"), "{warning}");
}

#[test]
fn automatic_renewal_activates_what_nobody_refuses_and_nothing_else() {
    let automatic = |kit: &Kit, address| {
        let path = format!("[store]\npath = {:?}", kit.store());
        let text = kit.setup(&[address]).text().replace(&path, &format!("{path}\nrenew = \"automatic\""));
        Ringate::start(&text)
    };
    let kit = Kit::new();
    near_its_end(&kit);
    // This one is tried at no backend.
    let nginx = Nginx::tls(&kit.pki, OK);
    let ringate = automatic(&kit, nginx.address());
    ringate.await_log("renewed: generation 2 is active");
    assert_eq!(report(&ringate)["active"], 2);
    // This one trusts an authority, and so neither the old nor the new one.
    let kit = Kit::new();
    near_its_end(&kit);
    let judge = kit.judge(&rustls::version::TLS13);
    let ringate = automatic(&kit, judge.address());
    ringate.await_log("generation 2 is not activated yet");
    assert_eq!(report(&ringate)["active"], 1);
    // A server's is presented to no backend: there is none to try it at.
    let kit = Kit::new();
    near_its_end(&kit);
    let backend = Backend::replying(crate::http::OK);
    let section = format!("[admin]\n[store]\npath = {:?}\nrenew = \"automatic\"", kit.store());
    let tls = format!("[listener.tls]\ncertificates = [{NAME:?}]");
    let ringate = Setup::to(backend.address()).section(&section).listener(&tls).start();
    ringate.await_log("renewed: generation 2 is active");
}

/// The config with files in place of the store.
fn with_files(kit: &Kit, address: std::net::SocketAddr, files: &Files) -> Setup {
    let upstream = format!("{}certificate = {}\n", kit.pki.upstream_tls(), files.toml());
    Setup::to(address).section("[admin]").upstream(&upstream)
}

#[test]
fn changed_files_are_taken_up_once_they_are_whole_and_accepted() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    let files = kit.ours.issue("live", &leaf("old"));
    let ringate = with_files(&kit, judge.address(), &files).start();
    assert_eq!(ringate.get("/").text(), "old");
    let write = |from: &Files| {
        fs::write(&files.key, fs::read(&from.key).unwrap()).unwrap();
        fs::write(&files.cert, fs::read(&from.cert).unwrap()).unwrap();
    };
    // Half of a file, and a certificate without its key.
    let next = kit.ours.issue("next", &leaf("new"));
    let text = fs::read(&next.cert).unwrap();
    fs::write(&files.cert, &text[..text.len() / 2]).unwrap();
    ringate.await_log("its files are not valid, keeping the certificate in use");
    assert_eq!(ringate.get("/").text(), "old");
    write(&next);
    ringate.await_log("changed: generation 2 is active");
    assert_eq!(ringate.get("/").text(), "new");
    // One that the backend does not trust waits.
    write(&kit.other.issue("strange", &leaf("strange")));
    ringate.await_log("changed, but is not activated: app");
    assert_eq!(ringate.get("/").text(), "new");
    assert_eq!(judge.asked("strange").requests, 0);
}

#[test]
fn files_that_go_are_warned_of_once_and_so_is_their_return() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    let files = kit.ours.issue("live", &leaf("old"));
    let ringate = with_files(&kit, judge.address(), &files).start();
    let away = files.cert.with_extension("away");
    fs::rename(&files.cert, &away).unwrap();
    let said = ringate.await_log("its files are not valid, keeping the certificate in use");
    assert!(said.contains("No such file"), "{said}");
    assert_eq!(ringate.get("/").text(), "old");
    fs::rename(&away, &files.cert).unwrap();
    ringate.await_log("its files are in order again");
    let log = ringate.log();
    assert_eq!(log.matches("its files are not valid").count(), 1, "{log}");
}

#[test]
fn what_is_no_good_for_a_moment_is_taken_up_once_it_is_without_being_touched() {
    let kit = Kit::new();
    let judge = kit.judge(&rustls::version::TLS13);
    let files = kit.ours.issue("live", &leaf("old"));
    let ringate = with_files(&kit, judge.address(), &files).start();
    assert_eq!(ringate.get("/").text(), "old");
    // Issued by a clock that is ahead of ours.
    let crafted = Crafted::new();
    judge.trust(&[&kit.ours.file(), &crafted.file()]);
    let early = crafted.issue("early", |params| {
        params.not_before = time::OffsetDateTime::now_utc() + time::Duration::seconds(6);
        params.distinguished_name.push(rcgen::DnType::CommonName, "early");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    fs::write(&files.key, fs::read(&early.key).unwrap()).unwrap();
    fs::write(&files.cert, fs::read(&early.cert).unwrap()).unwrap();
    ringate.await_log("is valid only from");
    assert_eq!(ringate.get("/").text(), "old");
    ringate.await_log("changed: generation 2 is active");
    assert_eq!(ringate.get("/").text(), "early");
    let log = ringate.log();
    assert_eq!(log.matches("is valid only from").count(), 1, "it is said once: {log}");
}

#[test]
fn connections_that_never_end_have_their_grace() {
    for (grace, ends) in [("1s", true), ("1h", false)] {
        let kit = Kit::new();
        let judge = kit.judge(&rustls::version::TLS13);
        let path = format!("[store]\npath = {:?}", kit.store());
        let text = kit.setup(&[judge.address()]).listener("protocol = \"tcp\"").text();
        let ringate = Ringate::start(&text.replace(&path, &format!("{path}\ngrace = {grace:?}")));
        let mut held = ringate.client();
        let ask = format!("GET / HTTP/1.1\r\nHost: h\r\n{STARTED}: 1\r\n\r\n");
        assert_eq!(held.send(&ask).response().text(), "old");
        kit.stage("new");
        order(&ringate, "trial", "");
        order(&ringate, "activate", "");
        let safe = report(&ringate)["safe_to_revoke"].clone();
        assert_eq!(safe["safe"], false, "a relay has it: {safe:#}");
        assert!(safe["grace_until"].is_string(), "{safe:#}");
        if ends {
            held.ends();
            await_safe(&ringate);
            assert_eq!(metric(&ringate, "client_certificate_grace_expired"), 1);
        } else {
            assert_eq!(held.send(&ask).response().text(), "old", "it goes on");
        }
        assert_eq!(ringate.get("/").text(), "new");
    }
}

#[test]
fn a_listeners_certificate_changes_between_two_handshakes_and_no_client_notices() {
    let kit = Kit::new();
    let backend = Backend::replying(crate::http::OK);
    let server = |name: &'static str| Leaf { common_name: name, names: &["localhost"], ..Leaf::default() };
    kit.ours.issue_into(&kit.store(), "web", &server("first"));
    let section = format!("[admin]\n[store]\npath = {:?}", kit.store());
    let ringate = Setup::to(backend.address())
        .workers(2)
        .section(&section)
        .listener("[listener.tls]\ncertificates = [\"web\"]")
        .start();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in ringate::internals::certs::store::load_trust(&kit.ours.file()).unwrap() {
        roots.add(certificate).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = std::sync::Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth());
    let dial = move |address| Client::tls(address, std::sync::Arc::clone(&config), "localhost");
    // Half of the clients stay, half come anew for each request.
    let stay = Load::with(8, ringate.address(), dial.clone(), true);
    let come = Load::with(8, ringate.address(), dial, false);
    come.await_more(20);
    let begun = std::time::Instant::now();
    for _ in 0..rounds(10) {
        kit.ours.stage_into(&kit.store(), "web", &server("next"));
        let (status, answer) = call(&ringate, "POST", "/v1/certificates/web/activate", "");
        assert_eq!(status, 200, "a server's certificate needs no trial: {answer:#}");
        assert_eq!(answer["live"], true);
        come.await_more(20);
    }
    let took = begun.elapsed();
    let done = stay.finish(&ringate) + come.finish(&ringate);
    println!("{} rotations in {took:?}: 0 of {done} requests failed", rounds(10));
    let pem = run(std::process::Command::new("openssl").args([
        "s_client",
        "-connect",
        &ringate.address().to_string(),
        "-servername",
        "localhost",
    ]));
    assert!(
        String::from_utf8_lossy(&pem.stdout).contains("next"),
        "{}",
        String::from_utf8_lossy(&pem.stdout)
    );
}
