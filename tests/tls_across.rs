//! A session carries the verified backend and our identity. The backends here share the key of their tickets, so that they
//! would accept each other's: Ringate must not offer a ticket if anything is different.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::HandshakeKind;

use crate::rotation::kit::{FORCE, Kit, order};
use crate::support::*;

const VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// An authority, certificates of it, and two servers that share the key of their tickets and take any client certificate of
/// the authority, or none. They close after each response and answer with `r` or `.`, the client's subject and the name.
struct Scene {
    authority: Authority,
    stranger: Authority,
    server: Files,
    one: Files,
    two: Files,
    nginx: Nginx,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new(version: &str) -> Self {
        let authority = Authority::new();
        let names = &["localhost", "a.example", "b.example"];
        let server = authority.issue("server", &Leaf { names, ..Leaf::default() });
        let client = |name: &'static str| {
            authority.issue(name, &Leaf { common_name: name, names: &[], ..Leaf::default() })
        };
        let (one, two) = (client("one"), client("two"));
        let dir = tempfile::tempdir().unwrap();
        let lines = sharing(dir.path(), &server, &authority, version);
        let nginx = Nginx::several(" ssl", &[lines.clone(), lines]);
        Self { stranger: Authority::named("Stranger"), authority, server, one, two, nginx, _dir: dir }
    }

    fn address(&self) -> SocketAddr {
        self.nginx.address()
    }

    /// An upstream at the first server, with these lines in its `tls` table.
    fn upstream(&self, name: &str, lines: &str) -> String {
        format!(
            "[[route]]\nlistener = [\"web\", \"production\"]\npath = \"=/{name}\"\nupstream = \"{name}\"\n\
             [upstream.{name}]\nendpoints = [\"{}\"]\n[upstream.{name}.tls]\n{lines}\n",
            self.address()
        )
    }

    /// The lines that trust the authority, as `localhost`.
    fn trusting(&self, more: &str) -> String {
        format!("server_name = \"localhost\"\ntrust = [{:?}]\n{more}", self.authority.file())
    }

    fn start(&self, upstreams: &[String]) -> Ringate {
        Ringate::start(&format!(
            "[runtime]\nworkers = 1\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"production\"\naddress = \"127.0.0.1:0\"\nenvironment = \"production\"\n{}",
            upstreams.concat()
        ))
    }
}

/// The lines of a server of nginx.
fn sharing(dir: &std::path::Path, server: &Files, clients: &Authority, version: &str) -> String {
    let key = dir.join("tickets.key");
    std::fs::write(&key, [7; 80]).unwrap();
    format!(
        "ssl_certificate {};\nssl_certificate_key {};\nssl_client_certificate {};\nssl_verify_client optional;\n\
         ssl_protocols {version};\nssl_session_tickets on;\nssl_session_ticket_key {};\nkeepalive_timeout 0;\n\
         location / {{ return 200 \"$ssl_session_reused $ssl_client_s_dn $ssl_server_name\"; }}",
        server.cert.display(),
        server.key.display(),
        clients.file().display(),
        key.display()
    )
}

fn ask(address: SocketAddr, host: &str, path: &str) -> Response {
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    Client::connect(address).send(request).response()
}

/// What is asked, and what the server must say of it.
struct Asking<'r> {
    ringate: &'r Ringate,
    listener: &'static str,
    host: &'static str,
}

impl Asking<'_> {
    fn text(&self, path: &str) -> String {
        let response = ask(self.ringate.address_of(self.listener), self.host, path);
        assert_eq!(response.status, 200, "{path}: {}", self.ringate.log());
        response.text().to_owned()
    }

    /// A full handshake with this in the answer; then resumed ones.
    fn begins_anew(&self, path: &str, seen: &str) {
        let text = self.text(path);
        assert!(text.starts_with(". ") && text.contains(seen), "{path} must begin anew with {seen}: {text}");
        self.goes_on(path, seen);
    }

    fn goes_on(&self, path: &str, seen: &str) {
        for _ in 0..2 {
            let text = self.text(path);
            assert!(text.starts_with("r ") && text.contains(seen), "{path} must go on with {seen}: {text}");
        }
    }

    fn is_refused(&self, path: &str) {
        for _ in 0..2 {
            let response = ask(self.ringate.address_of(self.listener), self.host, path);
            assert_eq!(response.status, 502, "{path}: {response:?}");
        }
    }
}

#[test]
fn the_trap_is_set() {
    for version in VERSIONS {
        let scene = Scene::new(version);
        let config = scene.authority.client_config();
        let kinds: Vec<Option<HandshakeKind>> = scene
            .nginx
            .addresses()
            .iter()
            .map(|address| {
                let mut stream = Stream::connect(*address, Some(Arc::clone(&config)));
                stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                let Stream::Client(tls) = stream else { unreachable!() };
                tls.conn.handshake_kind()
            })
            .collect();
        let [Some(first), Some(second)] = kinds[..] else { panic!("{kinds:?}") };
        assert_ne!(first, HandshakeKind::Resumed);
        assert_eq!(
            second,
            HandshakeKind::Resumed,
            "{version}: the second server takes a ticket of the first"
        );
    }
}

#[test]
fn no_session_crosses_to_another_endpoint_identity_policy_name_or_environment() {
    for version in VERSIONS {
        let scene = Scene::new(version);
        let [first, second] = scene.nginx.addresses() else { unreachable!() };
        let (one, two) = (scene.one.toml(), scene.two.toml());
        let facts = ringate::internals::certs::store::load_trust(&scene.server.cert).unwrap();
        let pin = ringate::internals::certs::Facts::from_der(&facts[0]).unwrap().spki_sha256;
        let other_pin = format!("sha256/{}=", "A".repeat(43));
        let (authority, stranger) = (scene.authority.file(), scene.stranger.file());
        let named = |name: &str| format!("server_name = \"{name}\"\n");
        let environment = format!("[upstream.env.environment.production]\ntls.certificate = {two}\n");
        let ringate = scene.start(&[
            scene
                .upstream("endpoints", &scene.trusting(""))
                .replace(&format!("[\"{first}\"]"), &format!("[\"{first}\", \"{second}\"]")),
            scene.upstream("none", &scene.trusting("")),
            scene.upstream("one", &scene.trusting(&format!("certificate = {one}"))),
            scene.upstream("two", &scene.trusting(&format!("certificate = {two}"))),
            scene.upstream("insecure", "server_name = \"localhost\"\ninsecure_skip_verify = true"),
            scene.upstream("more", &(named("localhost") + &format!("trust = [{authority:?}, {stranger:?}]"))),
            scene.upstream("stranger", &(named("localhost") + &format!("trust = [{stranger:?}]"))),
            scene.upstream("pinned", &scene.trusting(&format!("pins = [{pin:?}]"))),
            scene.upstream("other-pin", &scene.trusting(&format!("pins = [{other_pin:?}]"))),
            scene.upstream("larger", &scene.trusting("min_rsa_bits = 4096")),
            scene.upstream("other-name", &(named("c.example") + &format!("trust = [{authority:?}]"))),
            scene.upstream("host", &format!("trust = [{authority:?}]")),
            scene.upstream("env", &scene.trusting(&format!("certificate = {one}"))),
            environment,
        ]);
        let asking = |listener, host| Asking { ringate: &ringate, listener, host };
        let web = asking("web", "localhost");
        // The unverified upstream comes first: its sessions are there for the others to misuse.
        web.begins_anew("insecure", " localhost");
        web.is_refused("stranger");
        web.is_refused("other-pin");
        web.is_refused("other-name");
        for path in ["none", "more", "pinned", "larger"] {
            web.begins_anew(path, "  localhost");
        }
        web.begins_anew("one", "CN=one localhost");
        web.begins_anew("two", "CN=two localhost");
        web.goes_on("one", "CN=one localhost");
        web.goes_on("none", "  localhost");

        let seen: Vec<String> = (0..6).map(|_| web.text("endpoints")[..1].to_owned()).collect();
        assert_eq!(seen.concat(), "..rrrr", "{version}: each endpoint begins with a full handshake");

        asking("web", "a.example").begins_anew("host", " a.example");
        asking("web", "b.example").begins_anew("host", " b.example");
        asking("web", "a.example").goes_on("host", " a.example");
        asking("web", "c.example").is_refused("host");

        web.begins_anew("env", "CN=one");
        asking("production", "localhost").begins_anew("env", "CN=two");
        web.goes_on("env", "CN=one");
    }
}

/// Reads the config again, after a change of its text.
fn reload(ringate: &Ringate, from: &str, to: &str) {
    let file = ringate.dir().join("ringate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}\n{text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    let before = ringate.log().matches("reloaded (SIGHUP)").count();
    ringate.signal(Signal::HUP);
    eventually("the reload", || (ringate.log().matches("reloaded (SIGHUP)").count() > before).then_some(()));
}

#[test]
fn a_reload_that_changes_what_is_trusted_or_presented_ends_all_sessions() {
    for version in VERSIONS {
        let scene = Scene::new(version);
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("crl.pem");
        std::fs::copy(scene.authority.revoke(&[]), &list).unwrap();
        let (authority, stranger) = (scene.authority.file(), scene.stranger.file());
        let lines = scene.trusting(&format!("crl = [{list:?}]\ncertificate = {}", scene.one.toml()));
        let ringate = scene.start(&[
            scene.upstream("app", &lines),
            "[upstream.app.environment.production]\ntimeouts = { idle = \"9s\" }\n".to_owned(),
        ]);
        let asking = Asking { ringate: &ringate, listener: "web", host: "localhost" };
        asking.begins_anew("app", "CN=one localhost");
        // What does not concern it costs it nothing.
        reload(
            &ringate,
            "[[listener]]\nname = \"web\"",
            "[log]\nlevel = \"debug\"\n[[listener]]\nname = \"web\"",
        );
        asking.goes_on("app", "CN=one localhost");
        let both = format!("trust = [{authority:?}, {stranger:?}]");
        reload(&ringate, &format!("trust = [{authority:?}]"), &both);
        asking.begins_anew("app", "CN=one localhost");
        reload(&ringate, "server_name = \"localhost\"", "server_name = \"a.example\"");
        asking.begins_anew("app", "CN=one a.example");
        reload(&ringate, &scene.one.toml(), &scene.two.toml());
        asking.begins_anew("app", "CN=two a.example");
        // The same config, and a list that says more than before.
        std::fs::copy(scene.authority.revoke(&[&scene.server]), &list).unwrap();
        reload(&ringate, "[runtime]", "[runtime]");
        asking.is_refused("app");
        ringate.await_log("reason=revoked");
        std::fs::copy(scene.authority.revoke(&[]), &list).unwrap();
        reload(&ringate, "[runtime]", "[runtime]");
        asking.begins_anew("app", "CN=two a.example");
    }
}

#[test]
fn a_rotated_identity_begins_with_full_handshakes_and_so_does_one_that_was_rolled_back() {
    for version in VERSIONS {
        let kit = Kit::new();
        let dir = tempfile::tempdir().unwrap();
        let server = Files { cert: kit.pki.file("server.pem"), key: kit.pki.file("server.key") };
        let lines = sharing(dir.path(), &server, &kit.ours, version);
        let nginx = Nginx::several(" ssl", &[lines]);
        let ringate = kit.setup(&[nginx.address()]).workers(1).start();
        let asking = Asking { ringate: &ringate, listener: "web", host: "localhost" };
        asking.begins_anew("", "CN=old localhost");
        kit.stage("new");
        assert_eq!(order(&ringate, "trial", "")["passed"], true);
        asking.goes_on("", "CN=old localhost");
        order(&ringate, "activate", "");
        asking.begins_anew("", "CN=new localhost");
        order(&ringate, "rollback", "");
        asking.begins_anew("", "CN=old localhost");
        order(&ringate, "activate", FORCE);
        asking.begins_anew("", "CN=new localhost");
    }
}
