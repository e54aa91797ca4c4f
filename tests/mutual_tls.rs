//! Clients with certificates: which are admitted, what backends get to know of them, and the rules of routes for them.

use std::process::Command;

use crate::http::ok;
use crate::support::*;

/// A CA for servers and clients, and a backend that answers with the certificate fields it got.
struct Scene {
    authority: Authority,
    server: Files,
    client: Files,
    backend: Backend,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new();
        let server = authority
            .issue("server", &Leaf { names: &["localhost", "spiffe://example/gateway"], ..Leaf::default() });
        let names = &["spiffe://example/orders", "orders.partners.example", "Orders.Example"];
        let client = authority.issue("client", &Leaf { common_name: "orders", names, ..Leaf::default() });
        let backend = Backend::serving(|request| ok(request.headers("X-Forwarded-Client-Cert").join(" | ")));
        Self { authority, server, client, backend }
    }

    /// `[listener.tls]` with these lines.
    fn tls(&self, lines: &str) -> String {
        format!("[listener.tls]\ncertificates = [{}]\n{lines}\n", self.server.toml())
    }

    /// The same, and clients are checked against the CA.
    fn asking(&self, client_auth: &str) -> String {
        let trust = self.authority.file();
        self.tls(&format!("client_auth = {client_auth:?}\nclient_trust = [{trust:?}]"))
    }

    fn start(&self, listener: &str) -> Ringate {
        Setup::to(self.backend.address()).listener(listener).start()
    }

    /// One request by curl; the answer and its status, or what went wrong.
    fn curl(&self, ringate: &Ringate, client: Option<&Files>, args: &[&str]) -> Result<String, String> {
        let url = format!("https://localhost:{}/", ringate.address().port());
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--max-time", "15", "-w", " %{http_code}", "--cacert"])
            .arg(self.authority.file());
        if let Some(client) = client {
            command.arg("--cert").arg(&client.cert).arg("--key").arg(&client.key);
        }
        let output = run(command.args(args).arg(url));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// One request by `openssl s_client`; what it prints.
    fn s_client(&self, address: std::net::SocketAddr, client: Option<&Files>, args: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let request = dir.path().join("request");
        std::fs::write(&request, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut command = Command::new("sh");
        let script = format!("exec openssl s_client \"$@\" < {request:?}");
        command.args(["-c", &script, "s_client", "-ign_eof", "-connect", &address.to_string()]).args(args);
        if let Some(client) = client {
            command.arg("-cert").arg(&client.cert).arg("-key").arg(&client.key);
        }
        let output = run(&mut command);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// The certificate fields that backends get.
    fn forwarded(&self) -> String {
        let output = run(Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(&self.client.cert));
        let hash = String::from_utf8(output.stdout).unwrap();
        let hash = hash.trim().split_once('=').unwrap().1.replace(':', "").to_lowercase();
        format!(
            "By=spiffe://example/gateway;Hash={hash};Subject=\"CN=orders\";URI=spiffe://example/orders;\
             DNS=orders.partners.example;DNS=orders.example"
        )
    }
}

#[test]
fn who_has_no_certificate_is_turned_away_where_one_is_required() {
    let scene = Scene::new();
    let ringate = scene.start(&scene.asking("required"));
    for version in ["1.2", "1.3"] {
        let tls = ["--tls-max", version];
        let answer = scene.curl(&ringate, Some(&scene.client), &tls).unwrap();
        assert_eq!(answer, format!("{} 200", scene.forwarded()), "TLS {version}");
        scene.curl(&ringate, None, &tls).expect_err("no certificate, no answer");
    }
    ringate.await_log("the peer presented no certificate");
    assert_eq!(scene.backend.connections(), 1);
}

#[test]
fn one_that_is_asked_for_must_hold_if_it_comes() {
    let scene = Scene::new();
    let ringate = scene.start(&scene.asking("optional"));
    assert_eq!(scene.curl(&ringate, None, &[]).unwrap(), " 200");
    assert_eq!(scene.curl(&ringate, Some(&scene.client), &[]).unwrap(), format!("{} 200", scene.forwarded()));
    let expired = scene.authority.issue("expired", &Leaf { days_ago: 60, ..Leaf::default() });
    let strangers = Authority::new();
    let stranger = strangers.issue("stranger", &Leaf::default());
    let own = scene.authority.self_signed("own", &Leaf::default());
    for (bad, why) in [(expired, "expired"), (stranger, "does not verify"), (own, "not issued by")] {
        for version in ["1.2", "1.3"] {
            scene.curl(&ringate, Some(&bad), &["--tls-max", version]).expect_err(why);
        }
        ringate.await_log(why);
    }
}

#[test]
fn the_access_log_says_who_it_was() {
    let scene = Scene::new();
    let format =
        "{client.certificate.subject} {client.certificate.fingerprint} {tls.version} {tls.cipher} {tls.sni}";
    let ringate = Setup::to(scene.backend.address())
        .section(&format!("[log]\naccess = \"stdout\"\naccess_format = \"who: {format}\""))
        .listener(&scene.asking("optional"))
        .start();
    scene.curl(&ringate, Some(&scene.client), &["--tls-max", "1.2"]).unwrap();
    scene.curl(&ringate, None, &[]).unwrap();
    let line = ringate.await_log("who: CN=orders");
    assert!(line.contains(" TLSv1.2 TLS_ECDHE_") && line.ends_with(" localhost"), "{line}");
    assert!(scene.forwarded().contains(line.split(' ').nth(2).unwrap()), "{line}");
    ringate.await_log("who: - - TLSv1.3 TLS_AES_128_GCM_SHA256 localhost");
}

#[test]
fn a_self_signed_certificate_may_be_trusted_by_itself() {
    let scene = Scene::new();
    let partner = scene.authority.self_signed("partner", &Leaf { common_name: "partner", ..Leaf::default() });
    let tls = scene.tls(&format!("client_auth = \"required\"\nclient_trust = [{:?}]", partner.cert));
    let ringate = scene.start(&tls);
    let answer = scene.curl(&ringate, Some(&partner), &[]).unwrap();
    assert!(answer.contains("Subject=\"CN=partner\""), "{answer}");
    scene.curl(&ringate, Some(&scene.client), &[]).expect_err("another's is not trusted");
}

#[test]
fn a_truststore_of_pkcs12_says_who_is_let_in() {
    let scene = Scene::new();
    let folder = tempfile::tempdir().unwrap();
    let (store, secret) = (folder.path().join("trust.p12"), folder.path().join("secret"));
    std::fs::write(&secret, "s3cret\n").unwrap();
    let other = Authority::named("Other CA");
    let both = [scene.authority.file(), other.file()].map(|file| std::fs::read(file).unwrap()).concat();
    let bundle = folder.path().join("both.pem");
    std::fs::write(&bundle, both).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["pkcs12", "-export", "-nokeys", "-in"]).arg(&bundle).arg("-out").arg(&store);
    assert!(run(openssl.arg("-passout").arg(format!("file:{}", secret.display()))).status.success());
    let trust = |secret: &std::path::Path| {
        scene.tls(&format!(
            "client_auth = \"required\"\nclient_trust = [{{ cert = {store:?}, passphrase_file = {secret:?} }}]"
        ))
    };
    let ringate = scene.start(&trust(&secret));
    let second = other.issue("second", &Leaf::default());
    let stranger = Authority::named("Third CA").issue("stranger", &Leaf::default());
    for (client, admitted) in [(&scene.client, true), (&second, true), (&stranger, false)] {
        let answer = scene.curl(&ringate, Some(client), &[]);
        assert_eq!(
            answer.is_ok_and(|answer| answer.ends_with(" 200")),
            admitted,
            "{}",
            client.cert.display()
        );
    }
    // A passphrase that does not open it is an error of the config.
    let config = folder.path().join("ringate.toml");
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "other\n").unwrap();
    std::fs::write(&config, Setup::to(scene.backend.address()).listener(&trust(&wrong)).text()).unwrap();
    let checked = run(Ringate::command().args(["check", "-c"]).arg(&config));
    assert_eq!(checked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&checked.stderr).contains("does not open"), "{checked:?}");
}

#[test]
fn what_a_client_says_of_its_certificate_itself_is_dropped() {
    let scene = Scene::new();
    let claims = ["-H", "X-Forwarded-Client-Cert: Subject=\"CN=root\"", "-H", "X_Forwarded_Client_Cert: x"];
    let ringate = scene.start(&scene.asking("optional"));
    assert_eq!(scene.curl(&ringate, None, &claims).unwrap(), " 200");
    let answer = scene.curl(&ringate, Some(&scene.client), &claims).unwrap();
    assert_eq!(answer, format!("{} 200", scene.forwarded()));
    let plain = Setup::to(scene.backend.address()).start();
    assert_eq!(curl(&[&claims[..], &[&plain.url()]].concat()), "");
}

#[test]
fn the_whole_certificate_goes_to_the_backend_if_asked_for() {
    let scene = Scene::new();
    let tls = format!("{}forward_certificate = true\n", scene.asking("required"));
    let ringate = scene.start(&tls);
    let answer = scene.curl(&ringate, Some(&scene.client), &[]).unwrap();
    let encoded = answer.split(";Cert=\"").nth(1).unwrap().split('"').next().unwrap();
    let pem = encoded
        .replace("%20", " ")
        .replace("%0A", "\n")
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    assert_eq!(pem, std::fs::read_to_string(&scene.client.cert).unwrap());
}

#[test]
fn a_revoked_certificate_is_refused() {
    let scene = Scene::new();
    let lost = scene.authority.issue("lost", &Leaf { common_name: "lost", ..Leaf::default() });
    let crl = scene.authority.revoke(&[&lost]);
    let ringate = scene.start(&format!("{}client_crl = {crl:?}\n", scene.asking("required")));
    assert_eq!(scene.curl(&ringate, Some(&scene.client), &[]).unwrap(), format!("{} 200", scene.forwarded()));
    scene.curl(&ringate, Some(&lost), &[]).expect_err("it is revoked");
    ringate.await_log("revoked");
}

#[test]
fn an_old_revocation_list_lets_nobody_in() {
    let (scene, ca) = (Scene::new(), Crafted::new());
    let client = ca.issue("client", |params| params.extended_key_usages.clear());
    for (days, expected) in [(30, true), (-1, false)] {
        let list = ca.crl("list.crl", &[], days, false);
        let lines =
            format!("client_auth = \"required\"\nclient_trust = [{:?}]\nclient_crl = {list:?}", ca.file());
        let ringate = scene.start(&scene.tls(&lines));
        let answer = scene.curl(&ringate, Some(&client), &[]);
        assert_eq!(answer.is_ok(), expected, "{days}: {answer:?}\n{}", ringate.log());
        if !expected {
            ringate.await_log("was due to be replaced");
        }
    }
}

#[test]
fn one_set_of_routes_serves_a_port_that_demands_certificates_and_one_that_does_not() {
    let scene = Scene::new();
    let demanding =
        scene.asking("required").replace("[listener.tls]", "[listener.tls]\nversions = [\"1.3\"]");
    let ringate = Setup::to(scene.backend.address())
        .listener(&scene.tls(""))
        .section(&format!("[[listener]]\nname = \"partners\"\naddress = \"127.0.0.1:0\"\n{demanding}"))
        .routes(
            "[[route]]\nlistener = [\"web\", \"partners\"]\nupstream = \"app\"\n\
             [[route]]\nlistener = [\"web\", \"partners\"]\npath = \"/refunds\"\nupstream = \"app\"\n\
             client_certificate.san = [\"spiffe://example/*\"]",
        )
        .start();
    let ask = |listener: &str, client: Option<&Files>, path: &str| {
        let url = format!("https://localhost:{}{path}", ringate.address_of(listener).port());
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "15", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]);
        command.arg(scene.authority.file());
        if let Some(client) = client {
            command.arg("--cert").arg(&client.cert).arg("--key").arg(&client.key);
        }
        String::from_utf8(run(command.arg(url)).stdout).unwrap()
    };
    let client = Some(&scene.client);
    for (listener, client, path, status) in [
        ("web", None, "/", "200"),
        ("web", client, "/refunds", "403"), // not asked, so not presented
        ("partners", None, "/", "000"),
        ("partners", client, "/", "200"),
        ("partners", client, "/refunds", "200"),
    ] {
        assert_eq!(ask(listener, client, path), status, "{listener} {path}: {}", ringate.log());
    }
}

#[test]
fn a_route_may_ask_for_a_certificate_and_for_what_it_says() {
    let scene = Scene::new();
    let routes = r#"
        [[route]]
        upstream = "app"
        [[route]]
        path = "/any"
        require_client_certificate = true
        upstream = "app"
        [[route]]
        path = "/subject"
        client_certificate = { subject = "CN=ord*" }
        upstream = "app"
        [[route]]
        path = "/uri"
        client_certificate = { san = ["spiffe://example/*"] }
        upstream = "app"
        [[route]]
        path = "/dns"
        client_certificate = { san = ["*.partners.example"], subject = ["CN=a", "CN=orders"] }
        upstream = "app"
        [[route]]
        path = "/other"
        client_certificate = { san = ["*.example.com", "spiffe://example/billing"] }
        respond = { body = "let in" }
    "#;
    let ringate =
        Setup::to(scene.backend.address()).listener(&scene.asking("optional")).routes(routes).start();
    let ask = |client, path: &str| scene.curl(&ringate, client, &["--path-as-is", "--request-target", path]);
    for path in ["/any", "/subject", "/uri", "/dns"] {
        let answer = ask(Some(&scene.client), path).unwrap();
        assert_eq!(answer, format!("{} 200", scene.forwarded()), "{path}");
        assert_eq!(ask(None, path).unwrap(), "403 Forbidden\n 403", "{path}");
    }
    assert_eq!(ask(Some(&scene.client), "/other").unwrap(), "403 Forbidden\n 403");
    assert_eq!(ask(None, "/").unwrap(), " 200");
    let other = scene.authority.issue("other", &Leaf { common_name: "CN=orders", ..Leaf::default() });
    for path in ["/subject", "/uri", "/dns"] {
        assert_eq!(ask(Some(&other), path).unwrap(), "403 Forbidden\n 403", "{path}");
    }
    assert!(ask(Some(&other), "/any").unwrap().ends_with(" 200"));
}

#[test]
fn a_resumed_session_is_the_same_client() {
    let scene = Scene::new();
    let ringate = scene.start(&scene.asking("required"));
    let dir = tempfile::tempdir().unwrap();
    let session = dir.path().join("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let first = scene.s_client(ringate.address(), Some(&scene.client), &[version, "-sess_out", session]);
        assert!(first.contains("New, TLSv1") && first.contains(&scene.forwarded()), "{first}");
        let again = scene.s_client(ringate.address(), None, &[version, "-sess_in", session]);
        assert!(again.contains("Reused, TLSv1") && again.contains(&scene.forwarded()), "{again}");
    }
}

#[test]
fn a_ticket_opens_no_listener_with_another_policy() {
    let scene = Scene::new();
    let strangers = Authority::new();
    let also = format!(
        "client_auth = \"required\"\nclient_trust = [{:?}, {:?}]",
        scene.authority.file(),
        strangers.file()
    );
    let revoking =
        format!("{}client_crl = {:?}\n", scene.asking("required"), scene.authority.revoke(&[&scene.client]));
    let listeners = [
        ("open", scene.tls("")),
        ("optional", scene.asking("optional")),
        ("also", scene.tls(&also)),
        ("strict", scene.asking("required")),
        ("revoking", revoking),
    ];
    let names: Vec<String> = listeners.iter().map(|(name, _)| format!("{name:?}")).collect();
    let mut config = format!(
        "[[route]]\nlistener = [{}]\nupstream = \"app\"\n[upstream.app]\nendpoints = [\"{}\"]\n",
        names.join(", "),
        scene.backend.address()
    );
    for (name, tls) in &listeners {
        config += &format!("[[listener]]\nname = {name:?}\naddress = \"127.0.0.1:0\"\n{tls}");
    }
    let ringate = Ringate::start(&config);
    let dir = tempfile::tempdir().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        for from in ["open", "optional", "also"] {
            let session = dir.path().join(format!("{from}{version}"));
            let out = [version, "-sess_out", session.to_str().unwrap()];
            let said = scene.s_client(ringate.address_of(from), Some(&scene.client), &out);
            assert!(said.contains("HTTP/1.1 200 OK"), "{from}: {said}");
            let again = [version, "-sess_in", session.to_str().unwrap()];
            let said = scene.s_client(ringate.address_of(from), None, &again);
            assert!(said.contains("Reused, TLSv1"), "{from}: {said}");
            let said = scene.s_client(ringate.address_of("strict"), None, &again);
            assert!(!said.contains("HTTP/1.1 200 OK"), "from {from}, {version}: {said}");
        }
        // The other way round: what was good before its revocation is not afterwards.
        let session = dir.path().join(format!("strict{version}"));
        scene.s_client(
            ringate.address_of("strict"),
            Some(&scene.client),
            &[version, "-sess_out", session.to_str().unwrap()],
        );
        let again = [version, "-sess_in", session.to_str().unwrap()];
        let said = scene.s_client(ringate.address_of("revoking"), Some(&scene.client), &again);
        assert!(!said.contains("HTTP/1.1 200 OK"), "{version}: {said}");
    }
}

#[test]
fn a_tcp_listener_asks_its_clients_too() {
    let scene = Scene::new();
    let listener = format!("protocol = \"tcp\"\n{}", scene.asking("required"));
    let ringate = scene.start(&listener);
    assert_eq!(scene.curl(&ringate, Some(&scene.client), &[]).unwrap(), " 200");
    scene.curl(&ringate, None, &[]).expect_err("no certificate, no connection");
}
