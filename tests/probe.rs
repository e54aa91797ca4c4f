//! `ringate probe` reports whether traffic to a backend would flow, and the verdict on our certificate.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::*;

fn probe(dir: &Path, args: &[&str]) -> Output {
    run(Ringate::command().current_dir(dir).arg("probe").args(args))
}

/// The reports of one probe, and whether it says that traffic would flow.
fn reports(args: &[&str]) -> (bool, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let output = probe(dir.path(), &[args, &["--json"]].concat());
    let found: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code() == Some(0), found)
}

fn report(args: &[&str]) -> (bool, Value) {
    let (ok, mut found) = reports(args);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["ok"], ok, "the exit code says the same");
    (ok, found.remove(0))
}

/// A certificate of the PKI with its key in one file, as `--certificate` takes it.
fn both(dir: &Path, cert: &Path, key: &Path) -> String {
    let text = [cert, key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let path = dir.join(cert.file_name().unwrap()).with_extension("both.pem");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

struct Kit {
    pki: Pki,
    dir: tempfile::TempDir,
    ours: String,
    strange: String,
    _authority: Authority,
}

impl Kit {
    fn new() -> Self {
        let (pki, authority) = (Pki::new(), Authority::new());
        let dir = tempfile::tempdir().unwrap();
        let ours = both(dir.path(), &pki.file("client.pem"), &pki.file("client.key"));
        let stranger = authority.issue("stranger", &Leaf::default());
        let strange = both(dir.path(), &stranger.cert, &stranger.key);
        Self { pki, dir, ours, strange, _authority: authority }
    }

    /// A probe of the address as localhost that trusts the PKI's CA.
    fn look(&self, scheme: &str, address: SocketAddr, certificate: Option<&str>) -> (bool, Value) {
        let url = format!("{scheme}://localhost:{}", address.port());
        let ca = self.pki.file("ca.pem");
        let mut args = vec![&*url, "--trust", ca.to_str().unwrap()];
        args.extend(certificate.iter().flat_map(|path| ["--certificate", path]));
        report(&args)
    }
}

const OK: &str = "location / { return 200 ok; }";

#[test]
fn a_backend_that_takes_our_certificate() {
    let kit = Kit::new();
    for (version, name) in [("TLSv1.2", "TLS 1.2"), ("TLSv1.3", "TLS 1.3")] {
        let nginx =
            Nginx::mutual(&kit.pki, &format!("ssl_protocols {version};\nssl_session_tickets on;\n{OK}"));
        let (ok, report) = kit.look("https", nginx.address(), Some(&kit.ours));
        assert!(ok, "{report:#}");
        assert_eq!(report["tls"]["version"], name);
        assert_eq!(report["tls"]["resumption"], "resumed", "{report:#}");
        assert_eq!(report["client_certificate"]["verdict"], "accepted");
        assert_eq!(report["http"]["status"], 200);
        let leaf = &report["chain"][0];
        assert!(leaf["days_left"].as_i64().unwrap() > 10 && leaf["not_after"].is_string(), "{leaf:#}");
        assert!(leaf["sans"].as_array().unwrap().contains(&"DNS:localhost".into()), "{leaf:#}");
        let group = report["tls"]["key_exchange"].as_str().unwrap();
        assert!(group.to_ascii_uppercase().contains("X25519"), "{group}");
    }
}

#[test]
fn a_refusal_is_heard_on_either_version_and_named_by_its_alert() {
    let kit = Kit::new();
    for (version, lacking) in [("-tls1_2", "handshake_failure"), ("-tls1_3", "certificate_required")] {
        let server = SServer::start(&kit.pki, &["-www", "-Verify", "1", "-verify_return_error", version]);
        for scheme in ["https", "tls"] {
            let (ok, report) = kit.look(scheme, server.address(), Some(&kit.strange));
            assert!(!ok, "{report:#}");
            assert_eq!(report["client_certificate"]["verdict"], "refused", "{report:#}");
            assert_eq!(report["client_certificate"]["alert"], "unknown_ca");
            assert!(report["problem"].as_str().unwrap().contains("does not trust the issuer"), "{report:#}");
        }
        let (ok, report) = kit.look("tls", server.address(), None);
        assert!(!ok);
        assert_eq!(report["client_certificate"]["alert"], lacking, "{report:#}");
        assert!(kit.look("https", server.address(), Some(&kit.ours)).0);
    }
}

#[test]
fn a_refusal_without_an_alert_is_one_all_the_same() {
    let kit = Kit::new();
    // Node destroys the socket.
    let node = Node::mutual(&kit.pki, "res.end('ok')");
    let (ok, report) = kit.look("https", node.address(), Some(&kit.strange));
    assert!(!ok);
    assert_eq!(report["client_certificate"]["verdict"], "refused", "{report:#}");
    assert!(report["client_certificate"]["alert"].is_null());
    assert!(kit.look("https", node.address(), Some(&kit.ours)).0);
    // nginx takes any certificate in TLS, and says no in HTTP.
    let nginx = Nginx::mutual(&kit.pki, OK);
    for certificate in [None, Some(&*kit.strange)] {
        let (ok, report) = kit.look("https", nginx.address(), certificate);
        assert!(!ok);
        assert_eq!(report["client_certificate"]["verdict"], "refused", "{report:#}");
        assert!(report["problem"].as_str().unwrap().contains("SSL certificate"), "{report:#}");
    }
}

#[test]
fn one_that_never_asks_and_a_tcp_backend_that_says_nothing() {
    let kit = Kit::new();
    let nginx = Nginx::tls(&kit.pki, OK);
    let (ok, report) = kit.look("https", nginx.address(), Some(&kit.ours));
    assert!(ok);
    assert_eq!(report["client_certificate"]["verdict"], "not_asked");
    let silent = Server::start(Some(kit.pki.server_config()), |stream| {
        std::io::copy(stream, &mut std::io::sink()).map(drop)
    });
    let (ok, report) = kit.look("tls", silent.address(), None);
    assert!(ok, "{report:#}");
    assert!(report["http"].is_null());
}

#[test]
fn what_is_wrong_is_said_and_the_chain_is_shown_all_the_same() {
    let (kit, authority) = (Kit::new(), Authority::new());
    let expired = authority.issue("expired", &Leaf { days_ago: 100, ..Leaf::default() });
    let (cert, key) = (expired.cert.to_str().unwrap(), expired.key.to_str().unwrap());
    let server = SServer::start(&kit.pki, &["-www", "-cert", cert, "-key", key]);
    let url = format!("https://localhost:{}", server.address().port());
    let (ok, report) = report(&[&url, "--trust", authority.file().to_str().unwrap()]);
    assert!(!ok);
    assert!(report["problem"].as_str().unwrap().contains("expired 70 days ago"), "{report:#}");
    // Rounded down: 70 days, and the moment since.
    assert!((-71..=-70).contains(&report["chain"][0]["days_left"].as_i64().unwrap()), "{report:#}");
    assert_eq!(report["client_certificate"]["verdict"], "unknown");

    let gone = free_address();
    let (ok, report) = kit.look("https", gone, None);
    assert!(!ok && report["tls"].is_null());
    assert!(report["problem"].as_str().unwrap().starts_with("unreachable"), "{report:#}");
}

#[test]
fn every_endpoint_of_an_upstream_with_its_own_or_another_certificate() {
    let kit = Kit::new();
    let strict = ["-www", "-Verify", "1", "-verify_return_error"];
    let (takes, gone) = (SServer::start(&kit.pki, &strict), free_address());
    let text = Setup::to_all([takes.address(), gone]).upstream(&kit.pki.upstream_mutual_tls()).text();
    let file = kit.dir.path().join("ringate.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (ok, found) = reports(&["--upstream", "app", "-c", file]);
    assert!(!ok, "one is not there");
    assert_eq!([&found[0]["ok"], &found[1]["ok"]], [&true.into(), &Value::from(false)], "{found:#?}");
    assert_eq!(found[0]["client_certificate"]["verdict"], "accepted");
    let (_, found) = reports(&["--upstream", "app", "-c", file, "--certificate", &kit.strange]);
    assert_eq!(found[0]["client_certificate"]["alert"], "unknown_ca");

    let output = probe(kit.dir.path(), &["--upstream", "apps", "-c", file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no upstream `apps`; there is app"));
    let output = probe(kit.dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "wrong usage");
    let output = probe(kit.dir.path(), &["https://localhost", "--environment", "production"]);
    assert_eq!(output.status.code(), Some(2), "a URL is in no environment");
    let output = probe(kit.dir.path(), &["--upstream", "app", "-c", file]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("✓ app ") && said.contains("✗ app ") && said.contains("accepted"), "{said}");
}

#[test]
fn an_upstream_as_the_traffic_of_an_environment_finds_it() {
    let kit = Kit::new();
    let strict = ["-www", "-Verify", "1", "-verify_return_error"];
    let (here, there) = (SServer::start(&kit.pki, &strict), SServer::start(&kit.pki, &strict));
    let overlay = format!(
        "[upstream.app.environment.production]\nendpoints = [\"{}\"]\ntls.certificate = {:?}\n\
         [upstream.other]\nendpoints = [\"{}\"]\n{}",
        there.address(),
        kit.strange,
        here.address(),
        kit.pki.upstream_mutual_tls().replace("upstream.app", "upstream.other")
    );
    let listener =
        "[[listener]]\nname = \"production\"\naddress = \"127.0.0.1:0\"\nenvironment = \"production\"";
    let routes = "[[route]]\nlistener = [\"web\", \"production\"]\nupstream = \"app\"\n\
                  [[route]]\nlistener = [\"web\", \"production\"]\npath = \"/other\"\nupstream = \"other\"";
    let text = Setup::to(here.address())
        .section(listener)
        .routes(routes)
        .upstream(&(kit.pki.upstream_mutual_tls() + &overlay))
        .text();
    let file = kit.dir.path().join("ringate.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (ok, found) = report(&["--upstream", "app", "-c", file]);
    assert!(ok && found["endpoint"] == here.address().to_string(), "{found:#}");
    let production = ["-c", file, "--environment", "production", "--upstream"];
    let (ok, found) = report(&[&production[..], &["app"]].concat());
    assert!(!ok && found["endpoint"] == there.address().to_string(), "{found:#}");
    assert_eq!(found["upstream"], "app@production");
    assert_eq!(found["client_certificate"]["alert"], "unknown_ca", "it presents the overlay's: {found:#}");
    let (ok, found) = report(&[&production[..], &["other"]].concat());
    assert!(ok && found["upstream"] == "other", "without an overlay it is as it is: {found:#}");

    let output = probe(kit.dir.path(), &["--upstream", "app", "-c", file, "--environment", "staging"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("there is no environment `staging`; there is production"), "{said}");
}

#[test]
fn what_traffic_would_be_refused_for_is_a_failure_and_what_nobody_verified_is_said() {
    let kit = Kit::new();
    let nginx = Nginx::tls(&kit.pki, OK);
    let file = kit.dir.path().join("ringate.toml");
    let write =
        |upstream: &str| std::fs::write(&file, Setup::to(nginx.address()).upstream(upstream).text()).unwrap();
    let args = ["--upstream", "app", "-c", file.to_str().unwrap()];
    write(&(kit.pki.upstream_mutual_tls() + "require_client_auth = true\n"));
    let (ok, found) = report(&args);
    assert!(!ok && found["client_certificate"]["verdict"] == "not_asked", "{found:#}");
    assert!(found["problem"].as_str().unwrap().contains("`tls.require_client_auth` is set"), "{found:#}");
    assert_eq!(found["tls"]["verified"], true);

    write("[upstream.app.tls]\nserver_name = \"other.example\"\ninsecure_skip_verify = true\n");
    let (ok, found) = report(&args);
    assert!(ok && found["tls"]["verified"] == false, "{found:#}");
    let said = probe(kit.dir.path(), &args).stdout;
    assert!(String::from_utf8_lossy(&said).contains("insecure_skip_verify is set"), "{said:?}");
}

#[test]
fn a_name_in_a_certificate_commands_no_terminal() {
    let ca = Crafted::new();
    let files = ca.issue("server", |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "evil\u{1b}[2J\n\u{202e}good");
    });
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    let server = SServer::bare(&["-www", "-cert", cert, "-key", key]);
    let lines = format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{:?}]", ca.file());
    let ringate = Setup::to(server.address()).section("[admin]").upstream(&lines).start();
    assert_eq!(ringate.get("/").status, 200);
    let file = ringate.dir().join("ringate.toml");
    for args in [&["status", "-c"][..], &["probe", "--upstream", "app", "-c"]] {
        let output = run(Ringate::command().args(args).arg(&file));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("CN=evil\\u{1b}[2J\\u{a}\\u{202e}good"), "{said:?}");
        assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'), "{said:?}");
    }
}
