//! What a certificate is for, and how long the chain above it lasts: warnings before peers refuse it, and listeners that take
//! client certificates of any usage.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};

use crate::http::ok;
use crate::support::*;

/// What `ringate check` says of a config that it accepts.
fn check(dir: &Path, config: &str) -> String {
    let file = dir.join("tried.toml");
    fs::write(&file, config).unwrap();
    let output = run(Ringate::command().args(["check", "-c"]).arg(&file));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// The upstream presents `identity` to backends, which it trusts by `trust`.
fn presenting(identity: &str, trust: &Path) -> String {
    let tls = format!(
        "[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{trust:?}]\ncertificate = {identity}\n"
    );
    Setup::to(free_address()).upstream(&tls).text()
}

fn usages(usages: Vec<ExtendedKeyUsagePurpose>) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.extended_key_usages = usages
}

#[test]
fn an_identity_that_is_not_for_clients_is_warned_of() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    let (ca, dir) = (Crafted::new(), tempfile::tempdir().unwrap());
    for (name, of, warned) in [
        ("server", vec![ServerAuth], true),
        ("both", vec![ServerAuth, ClientAuth], false),
        ("any", vec![ServerAuth, Any], false),
        ("none", Vec::new(), false),
    ] {
        let files = ca.issue(name, usages(of));
        let said = check(dir.path(), &presenting(&files.toml(), &ca.file()));
        assert_eq!(said.contains("serverAuth and not clientAuth"), warned, "{name}: {said}");
        if warned {
            let subject = format!("{}, generation 1, presented by upstream \"app\"", files.cert.display());
            assert!(said.contains(&subject), "{said}");
            assert!(said.contains("have it issued with clientAuth"), "{said}");
            assert!(said.contains("certificate = {"), "the place: {said}");
        }
    }
    // The other way round, on a listener.
    let client = ca.issue("client", usages(vec![ClientAuth]));
    let tls = format!("[listener.tls]\ncertificates = [{}]", client.toml());
    let said = check(dir.path(), &Setup::to(free_address()).listener(&tls).text());
    assert!(said.contains("presented by listener \"web\"") && said.contains("not serverAuth"), "{said}");
}

#[test]
fn an_authority_that_ends_before_its_certificate_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let of_both = |params: &mut CertificateParams| params.extended_key_usages = Vec::new();
    // Of the chain itself: an authority below the root.
    let ca = Crafted::new();
    let between = ca.issue_below("between", |params| params.not_after = date_time_ymd(2090, 1, 1));
    let tls = format!("[listener.tls]\ncertificates = [{}]", between.toml());
    let said = check(dir.path(), &Setup::to(free_address()).listener(&tls).text());
    assert!(said.contains("Between, ends at 2090-01-01") && said.contains("before 2090-01-01"), "{said}");
    // Of the trust list: the root, which is not in the chain.
    let short = Crafted::with(|params| params.not_after = date_time_ymd(2080, 1, 1));
    let leaf = short.issue("leaf", of_both);
    let said = check(dir.path(), &presenting(&leaf.toml(), &short.file()));
    assert!(said.contains("ends at 2080-01-01") && said.contains(&short.name()), "{said}");
    // The root in the chain has ended: peers have their own copy, which is the same.
    let ended = Crafted::with(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let leaf = ended.issue("leaf", of_both);
    let chain = [&leaf.cert, &ended.file()].map(|file| fs::read_to_string(file).unwrap()).concat();
    fs::write(&leaf.cert, chain).unwrap();
    let said = check(dir.path(), &presenting(&leaf.toml(), &ca.file()));
    assert!(said.contains("the root above it") && said.contains("ended at 2020-01-01"), "{said}");
    // One that lasts is not warned of.
    let fine = ca.issue_below("fine", |_| {});
    let tls = format!("[listener.tls]\ncertificates = [{}]", fine.toml());
    assert_eq!(check(dir.path(), &Setup::to(free_address()).listener(&tls).text()), "");
}

#[test]
fn a_certificate_that_is_always_near_its_end_is_warned_of_where_that_was_asked_for() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue_into(&dir.path().join("certs"), "gateway", &Leaf::default());
    let of = |before: &str| {
        let store = format!("[store]\npath = {:?}\n{before}", dir.path().join("certs"));
        let config = presenting("\"gateway\"", &authority.file());
        check(dir.path(), &config.replacen("[[listener]]", &format!("{store}\n[[listener]]"), 1))
    };
    let said = of("renew_before = \"60d\"");
    assert!(said.contains("gateway, generation 1") && said.contains("30 days, is not longer than"), "{said}");
    assert!(said.contains("set `store.renew_before` to 10 days at most"), "{said}");
    for quiet in ["renew_before = \"10d\"", ""] {
        assert_eq!(of(quiet), "", "{quiet}");
    }
}

#[test]
fn stage_and_trial_say_what_backends_will_object_to() {
    let (pki, authority, crafted) = (Pki::new(), Authority::new(), Crafted::new());
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("certs");
    authority.issue_into(&store, "gateway", &Leaf::default());
    let backend = Judge::start(&pki, &rustls::version::TLS13, &[&authority.file()]);
    let tls = format!("{}certificate = \"gateway\"\n", pki.upstream_tls());
    let section = format!("[admin]\n[store]\npath = {store:?}");
    let ringate = Setup::to(backend.address()).section(&section).upstream(&tls).start();
    let public = crafted.issue("public", |_| {});
    let cert = |args: &[&str]| {
        let config = ringate.dir().join("ringate.toml");
        let output = run(Ringate::command().arg("cert").args(args).arg("-c").arg(config));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let (chain, key) = (public.cert.to_str().unwrap(), public.key.to_str().unwrap());
    let staged = cert(&["stage", "gateway", "--cert", chain, "--key", key]);
    let expected =
        "gateway, generation 2, for upstream \"app\" (client identity): its extended key usage is serverAuth";
    assert!(staged.contains(&format!("warning: {expected}")), "{staged}");
    let tried = cert(&["trial", "gateway"]);
    assert!(
        tried.contains("warning: gateway, generation 2, for upstream \"app\": its extended key"),
        "{tried}"
    );
    ringate.await_log("not clientAuth");
    let json = cert(&["trial", "gateway", "--json"]);
    assert!(json.contains("\"warnings\": ["), "{json}");
}

#[test]
fn a_listener_takes_client_certificates_of_any_usage_only_by_choice() {
    let (pki, ca, strangers) = (Pki::new(), Crafted::new(), Crafted::new());
    let backend = Backend::serving(|request| ok(request.headers("X-Forwarded-Client-Cert").join(" | ")));
    let server = ca.issue("server-alone", |_| {});
    let stranger = strangers.issue("stranger", |_| {});
    let start = |lines: &str| {
        let tls = format!(
            "{}\nclient_auth = \"required\"\nclient_trust = [{:?}]\n{lines}",
            pki.listener_tls(),
            ca.file()
        );
        Setup::to(backend.address()).listener(&tls).start()
    };
    let curl = |ringate: &Ringate, client: &Files, version: &str| {
        let url = format!("https://localhost:{}/", ringate.address().port());
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "15", "--tls-max", version, "--cacert"]).arg(pki.file("ca.pem"));
        let output = run(command.arg("--cert").arg(&client.cert).arg("--key").arg(&client.key).arg(url));
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let s_client = |ringate: &Ringate, version: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("request"),
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
        let script = format!("exec openssl s_client \"$@\" < {:?}", dir.path().join("request"));
        let mut command = Command::new("sh");
        command.args(["-c", &script, "s_client", "-ign_eof", version, "-connect"]);
        command
            .arg(ringate.address().to_string())
            .arg("-cert")
            .arg(&server.cert)
            .arg("-key")
            .arg(&server.key);
        let output = run(&mut command);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let ringate = start("");
    for version in ["1.2", "1.3"] {
        assert_eq!(curl(&ringate, &server, version), None, "TLS {version}");
    }
    ringate.await_log(
        "is not meant for clients; if it should be admitted all the same, set `client_usage = \"any\"`",
    );
    assert!(s_client(&ringate, "-tls1_2").contains("alert"), "refused");
    let ringate = start("client_usage = \"any\"");
    for (version, flag) in [("1.2", "-tls1_2"), ("1.3", "-tls1_3")] {
        let seen = curl(&ringate, &server, version).unwrap();
        assert!(seen.contains("Hash=") && seen.contains("Subject=\"CN=crafted\""), "TLS {version}: {seen}");
        let said = s_client(&ringate, flag);
        assert!(said.contains("Subject=\"CN=crafted\""), "TLS {version}: {said}");
        assert_eq!(curl(&ringate, &stranger, version), None, "another CA's, TLS {version}");
    }
}
