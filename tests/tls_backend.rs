//! Backends over TLS: real servers on the other side report what they got, and refusals are reported clearly.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::*;

/// What nginx saw: version, suite, server name, verdict on the client's certificate and its subject.
const SEEN: &str = r#"location / {
    return 200 "$ssl_protocol $ssl_cipher $ssl_server_name $ssl_client_verify $ssl_client_s_dn";
}"#;

/// The lines that make the upstream TLS, trusting one CA.
fn tls(trust: &Path, more: &str) -> String {
    format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{trust:?}]\n{more}\n")
}

/// The same with a client identity of the same CA.
fn mutual(pki: &Pki, more: &str) -> String {
    let (cert, key) = (pki.file("client.pem"), pki.file("client.key"));
    tls(&pki.file("ca.pem"), &format!("certificate = {{ cert = {cert:?}, key = {key:?} }}\n{more}"))
}

/// Asserts that a request is answered with 502, soon, and that the log says why.
fn refused(setup: Setup, reason: &str) {
    let ringate = setup.start();
    let begun = Instant::now();
    let response = ringate.get("/");
    let took = begun.elapsed();
    assert_eq!(response.status, 502, "{reason}: {}", ringate.log());
    assert!(took < Duration::from_secs(2), "{reason}: only after {took:?}");
    let line = ringate.await_log(reason);
    assert!(line.contains(" WARN ") && line.contains("app"), "{line}");
}

#[test]
fn nginx_of_either_version_takes_us_with_and_without_a_certificate() {
    let pki = Pki::new();
    let ca = pki.file("ca.pem");
    for version in ["TLSv1.2", "TLSv1.3"] {
        let only = format!("ssl_protocols {version};\n{SEEN}");
        let open = Nginx::tls(&pki, &only);
        let seen = Setup::to(open.address()).upstream(&tls(&ca, "")).start().get("/");
        assert!(seen.text().starts_with(version) && seen.text().ends_with(" localhost NONE "), "{seen:?}");
        // A server that does not request a certificate gets none.
        let seen = Setup::to(open.address()).upstream(&mutual(&pki, "")).start().get("/");
        assert!(seen.text().ends_with(" localhost NONE "), "{seen:?}");

        let strict = Nginx::mutual(&pki, &only);
        let seen = Setup::to(strict.address()).upstream(&mutual(&pki, "")).start().get("/");
        assert!(seen.text().starts_with(version), "{seen:?}");
        assert!(seen.text().ends_with("SUCCESS CN=ringate-client,O=Ringate quickstart"), "{seen:?}");
        // nginx finishes the handshake and refuses in HTTP: its own answer reaches the client.
        let seen = Setup::to(strict.address()).upstream(&tls(&ca, "")).start().get("/");
        assert_eq!(seen.status, 400);
        assert!(seen.text().contains("No required SSL certificate was sent"), "{seen:?}");
    }
}

#[test]
fn s_server_of_either_version_takes_our_certificate_and_refuses_its_lack() {
    let pki = Pki::new();
    for (version, reason) in [("-tls1_2", "handshake_failure"), ("-tls1_3", "certificate_required")] {
        let strict = SServer::start(&pki, &["-www", "-Verify", "1", "-verify_return_error", version]);
        let seen = Setup::to(strict.address()).upstream(&mutual(&pki, "")).start().get("/");
        assert!(seen.text().contains("CN=ringate-client"), "{}", seen.text());
        refused(Setup::to(strict.address()).upstream(&tls(&pki.file("ca.pem"), "")), reason);
    }
}

#[test]
fn s_server_refuses_a_certificate_that_it_does_not_trust() {
    let (pki, authority) = (Pki::new(), Authority::new());
    let stranger = authority.issue("stranger", &Leaf::default());
    for version in ["-tls1_2", "-tls1_3"] {
        let strict = SServer::start(&pki, &["-www", "-Verify", "1", "-verify_return_error", version]);
        let identity = tls(&pki.file("ca.pem"), &format!("certificate = {}", stranger.toml()));
        refused(Setup::to(strict.address()).upstream(&identity), "unknown_ca");
    }
}

/// Node's https server, restricted to one version.
fn node(pki: &Pki, version: &str) -> Node {
    let read = |name: &str| format!("fs.readFileSync({:?})", pki.file(name));
    Node::start(&format!(
        "const fs = require('fs'), https = require('https');\n\
         const options = {{ cert: {}, key: {}, ca: {}, requestCert: true, rejectUnauthorized: true,\n\
         minVersion: '{version}', maxVersion: '{version}' }};\n\
         const server = https.createServer(options, (req, res) => {{\n\
         const subject = req.socket.getPeerCertificate().subject;\n\
         res.end(req.socket.getProtocol() + ' ' + subject.CN + ' ' + subject.O);\n\
         }});\n\
         server.listen(0, '127.0.0.1', () => console.log('listening ' + server.address().port));\n",
        read("server.pem"),
        read("server.key"),
        read("ca.pem")
    ))
}

#[test]
fn node_with_reject_unauthorized_takes_our_certificate_and_nothing_less() {
    let (pki, authority) = (Pki::new(), Authority::new());
    let stranger = authority.issue("stranger", &Leaf::default());
    for (version, lacking) in [("TLSv1.2", "handshake_failure"), ("TLSv1.3", "certificate_required")] {
        let node = node(&pki, version);
        let seen = Setup::to(node.address()).upstream(&mutual(&pki, "")).start().get("/");
        assert_eq!(seen.text(), format!("{version} ringate-client Ringate quickstart"));
        refused(Setup::to(node.address()).upstream(&tls(&pki.file("ca.pem"), "")), lacking);
        let strange = tls(&pki.file("ca.pem"), &format!("certificate = {}", stranger.toml()));
        // Node destroys the socket here, without an alert, sooner or later: that it closed, or was reset, during the
        // handshake or behind it, is all that can be said.
        refused(Setup::to(node.address()).upstream(&strange), "app");
    }
}

#[test]
fn a_server_that_does_not_prove_to_be_the_one_that_was_meant_gets_no_request() {
    let (pki, authority) = (Pki::new(), Authority::new());
    let leaf = Leaf::default();
    let other_name = Leaf { names: &["other.example"], ..leaf.clone() };
    let expired = Leaf { days_ago: 100, ..leaf.clone() };
    let cases = [
        (authority.issue("foreign", &leaf), pki.file("ca.pem"), "not issued by anything that is trusted"),
        (authority.self_signed("self", &leaf), pki.file("ca.pem"), "not issued by anything that is trusted"),
        (authority.issue("name", &other_name), authority.file(), "it is for other.example"),
        (authority.issue("expired", &expired), authority.file(), "expired 70 days ago"),
    ];
    for version in ["-tls1_2", "-tls1_3"] {
        for (files, trust, reason) in &cases {
            let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
            let server = SServer::start(&pki, &["-www", version, "-cert", cert, "-key", key]);
            refused(Setup::to(server.address()).upstream(&tls(trust, "")), reason);
            assert!(!server.log().contains("GET /"), "{reason}");
        }
    }
}

#[test]
fn a_server_name_other_than_the_certificates_is_refused() {
    let pki = Pki::new();
    let nginx = Nginx::tls(&pki, SEEN);
    let lines =
        format!("[upstream.app.tls]\nserver_name = \"db.example\"\ntrust = [{:?}]", pki.file("ca.pem"));
    refused(Setup::to(nginx.address()).upstream(&lines), "the peer's certificate is not for db.example");
}

#[test]
fn a_server_that_speaks_no_tls_is_named_as_such() {
    let pki = Pki::new();
    let lines = tls(&pki.file("ca.pem"), "");
    let plain = Nginx::plain("location / { return 200 plain; }");
    refused(Setup::to(plain.address()).upstream(&lines), "plain HTTP on a TLS port");
    let smtp = Backend::start(|connection| {
        connection.send("220 mail.example ESMTP\r\n")?;
        connection.rest().map(drop)
    });
    refused(Setup::to(smtp.address()).upstream(&lines), "it sent \"220 mail.example");
    let closing = Backend::start(|connection| connection.bytes(1).map(drop));
    let ringate = Setup::to(closing.address()).upstream(&lines).start();
    assert_eq!(ringate.get("/").status, 502);
    ringate.await_log("TLS: ");
}

#[test]
fn a_server_that_is_silent_in_the_handshake_is_given_up_after_the_connect_timeout() {
    let pki = Pki::new();
    let silent = Backend::start(|connection| connection.rest().map(drop));
    let lines = format!("timeouts = {{ connect = \"300ms\" }}\n{}", tls(&pki.file("ca.pem"), ""));
    let ringate = Setup::to(silent.address()).upstream(&lines).start();
    let begun = Instant::now();
    assert_eq!(ringate.get("/").status, 504);
    let took = begun.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(2)).contains(&took), "{took:?}");
    ringate.await_log("the handshake was not finished within `timeouts.connect`");
}

#[test]
fn versions_are_honoured() {
    let pki = Pki::new();
    let nginx = Nginx::tls(&pki, &format!("ssl_protocols TLSv1.2 TLSv1.3;\n{SEEN}"));
    let ca = pki.file("ca.pem");
    for (versions, negotiated) in
        [(r#"["1.2"]"#, "TLSv1.2 "), (r#"["1.3"]"#, "TLSv1.3 "), (r#"["1.2", "1.3"]"#, "TLSv1.3 ")]
    {
        let lines = tls(&ca, &format!("versions = {versions}"));
        let seen = Setup::to(nginx.address()).upstream(&lines).start().get("/");
        assert!(seen.text().starts_with(negotiated), "{versions}: {}", seen.text());
    }
    for (server, versions) in [("-tls1_2", r#"["1.3"]"#), ("-tls1_3", r#"["1.2"]"#)] {
        let server = SServer::start(&pki, &["-www", server]);
        let lines = tls(&ca, &format!("versions = {versions}"));
        refused(Setup::to(server.address()).upstream(&lines), "protocol_version");
    }
}

#[test]
fn cipher_suites_are_honoured() {
    let pki = Pki::new();
    let ca = pki.file("ca.pem");
    let nginx = Nginx::tls(&pki, &format!("ssl_protocols TLSv1.2 TLSv1.3;\n{SEEN}"));
    for (suite, negotiated) in [
        ("TLS13_AES_128_GCM_SHA256", "TLSv1.3 TLS_AES_128_GCM_SHA256"),
        ("TLS13_AES_256_GCM_SHA384", "TLSv1.3 TLS_AES_256_GCM_SHA384"),
        ("TLS13_CHACHA20_POLY1305_SHA256", "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305"),
    ] {
        let lines = tls(&ca, &format!("cipher_suites = [{suite:?}]"));
        let seen = Setup::to(nginx.address()).upstream(&lines).start().get("/");
        assert!(seen.text().starts_with(negotiated), "{suite}: {}", seen.text());
    }
    // A server that would rather have ChaCha20 gets AES where nothing is configured: our order says so.
    let seen = Setup::to(nginx.address()).upstream(&tls(&ca, "")).start().get("/");
    assert!(seen.text().contains("_AES_"), "{}", seen.text());
    // And one with nothing in common is refused with the reason.
    let server = SServer::start(&pki, &["-www", "-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"]);
    let lines = tls(&ca, "cipher_suites = [\"TLS13_AES_128_GCM_SHA256\"]");
    refused(Setup::to(server.address()).upstream(&lines), "handshake_failure");
}

/// nginx that closes after each response and says whether the session was resumed: `r` or `.`.
fn closing_nginx(pki: &Pki, version: &str) -> Nginx {
    let server = "keepalive_timeout 0;\nlocation / { return 200 \"$ssl_protocol $ssl_session_reused\"; }";
    Nginx::mutual(pki, &format!("ssl_protocols {version};\n{server}"))
}

#[test]
fn sessions_are_resumed_with_a_backend_that_closes_after_each_response() {
    let pki = Pki::new();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let nginx = closing_nginx(&pki, version);
        let ringate = Setup::to(nginx.address()).upstream(&mutual(&pki, "")).start();
        assert_eq!(ringate.get("/").text(), format!("{version} ."), "the first is a full handshake");
        for request in 2..=20 {
            assert_eq!(ringate.get("/").text(), format!("{version} r"), "request {request}");
        }
    }
}

#[test]
fn sessions_are_resumed_with_s_server_too() {
    let pki = Pki::new();
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let server = SServer::start(&pki, &["-www", "-Verify", "1", version]);
        let ringate = Setup::to(server.address()).upstream(&mutual(&pki, "")).start();
        let first = ringate.get("/");
        assert!(first.text().contains(&format!("New, {name}")), "{}", first.text());
        for _ in 0..5 {
            let again = ringate.get("/");
            assert!(again.text().contains(&format!("Reused, {name}")), "{}", again.text());
        }
    }
}

#[test]
fn without_tickets_every_handshake_is_a_full_one() {
    let pki = Pki::new();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let nginx = closing_nginx(&pki, version);
        let lines = mutual(&pki, "resumption = { tickets_per_endpoint = 0 }");
        let ringate = Setup::to(nginx.address()).upstream(&lines).start();
        for _ in 0..4 {
            assert_eq!(ringate.get("/").text(), format!("{version} ."));
        }
    }
}

#[test]
fn a_session_of_one_endpoint_is_not_offered_to_another() {
    let pki = Pki::new();
    let (one, two) = (closing_nginx(&pki, "TLSv1.3"), closing_nginx(&pki, "TLSv1.3"));
    let ringate = Setup::to_all([one.address(), two.address()]).upstream(&mutual(&pki, "")).start();
    let seen: Vec<String> = (0..6).map(|_| ringate.get("/").text().to_owned()).collect();
    assert_eq!(seen, ["TLSv1.3 .", "TLSv1.3 .", "TLSv1.3 r", "TLSv1.3 r", "TLSv1.3 r", "TLSv1.3 r"]);
}

#[test]
fn a_pooled_connection_is_used_again() {
    let pki = Pki::new();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let server = "location / { return 200 \"$connection $connection_requests\"; }";
        let nginx = Nginx::mutual(&pki, &format!("ssl_protocols {version};\n{server}"));
        let ringate = Setup::to(nginx.address()).upstream(&mutual(&pki, "")).start();
        let first = ringate.get("/").text().to_owned();
        let connection = first.strip_suffix(" 1").expect("the first request of its connection");
        for request in 2..=10 {
            assert_eq!(ringate.get("/").text(), format!("{connection} {request}"), "{version}");
        }
    }
}

#[test]
fn without_a_server_name_the_requests_host_is_sent_and_verified() {
    let pki = Pki::with_names(&["a.example", "b.example"]);
    let nginx = Nginx::tls(&pki, SEEN);
    let lines = format!("[upstream.app.tls]\ntrust = [{:?}]", pki.file("ca.pem"));
    let ringate = Setup::to(nginx.address()).upstream(&lines).start();
    let ask = |host: &str| {
        let mut client = ringate.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response()
    };
    for host in ["a.example", "b.example:8443", "a.example"] {
        let name = host.split(':').next().unwrap();
        assert!(ask(host).text().contains(&format!(" {name} NONE")), "{host}");
    }
    // A connection that was verified for one name does not serve another.
    assert_eq!(ask("c.example").status, 502);
    ringate.await_log("the peer's certificate is not for c.example");
}

#[test]
fn a_failed_handshake_is_logged_once() {
    let pki = Pki::new();
    let nginx = Nginx::tls(&pki, SEEN);
    let lines = "[upstream.app.tls]\nserver_name = \"db.example\"";
    let ringate =
        Setup::to(nginx.address()).upstream(&format!("{lines}\ntrust = [{:?}]", pki.file("ca.pem"))).start();
    assert_eq!(ringate.get("/").status, 502);
    ringate.await_log(" WARN ");
    assert_eq!(ringate.terminate_and_log().matches(" WARN ").count(), 1);
}

#[test]
fn a_host_that_one_endpoint_is_not_good_for_takes_it_from_no_other() {
    let authority = Authority::new();
    let serving = |name: &str, names: &[&str]| {
        let files = authority.issue(name, &Leaf { names, ..Leaf::default() });
        Nginx::with(&files, &format!("location / {{ return 200 {name}; }}"))
    };
    let (one, both) = (serving("one", &["a.example"]), serving("both", &["a.example", "b.example"]));
    let lines = format!("[upstream.app.tls]\ntrust = [{:?}]", authority.file());
    let ringate = Setup::to_all([one.address(), both.address()]).upstream(&lines).start();
    let ask = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        ringate.client().send(request).response().text().to_owned()
    };
    assert!((0..2).all(|_| ask("b.example") == "both"));
    ringate.await_log("is not for b.example");
    let seen: Vec<String> = (0..4).map(|_| ask("a.example")).collect();
    assert_eq!(seen.iter().filter(|name| *name == "one").count(), 2, "{seen:?}");
}

#[test]
fn certificates_come_from_the_store_by_name() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let client = Leaf { common_name: "from-the-store", names: &[], ..Leaf::default() };
    authority.issue_into(&dir.path().join("certs"), "gateway", &client);
    let server = authority.issue("server", &Leaf::default());
    let store = format!("[store]\npath = {:?}", dir.path().join("certs"));
    let (cert, key) = (server.cert.to_str().unwrap(), server.key.to_str().unwrap());
    let ca = authority.file();
    let args = ["-www", "-cert", cert, "-key", key, "-CAfile", ca.to_str().unwrap(), "-Verify", "1"];
    let backend = SServer::start(&Pki::new(), &args);
    let lines = tls(&ca, "certificate = \"gateway\"");
    let seen = Setup::to(backend.address()).section(&store).upstream(&lines).start().get("/");
    assert!(
        seen.text().contains("CN=from-the-store") || seen.text().contains("CN = from-the-store"),
        "{seen:?}"
    );
}

#[test]
fn one_file_may_hold_certificate_and_key_and_any_kind_of_key_will_do() {
    use ringate::internals::certs::KeyType;
    let (pki, authority) = (Pki::new(), Authority::new());
    let ca = authority.file();
    for key_type in KeyType::ALL {
        let client = Leaf { common_name: key_type.name(), key_type, ..Leaf::default() };
        let files = authority.issue(key_type.name(), &client);
        let both = files.cert.with_extension("both.pem");
        let text = [&files.cert, &files.key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
        std::fs::write(&both, text).unwrap();
        for version in ["-tls1_2", "-tls1_3"] {
            let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
            let trust = ca.to_str().unwrap();
            let args = [
                "-www",
                "-cert",
                cert,
                "-key",
                key,
                "-CAfile",
                trust,
                "-Verify",
                "1",
                "-verify_return_error",
                version,
            ];
            let backend = SServer::start(&pki, &args);
            let lines = tls(&ca, &format!("certificate = {both:?}"));
            let seen = Setup::to(backend.address()).upstream(&lines).start().get("/");
            assert!(seen.text().contains(key_type.name()), "{key_type} {version}: {}", seen.text());
        }
    }
}

#[test]
fn a_certificate_that_is_trusted_itself_needs_no_authority() {
    let authority = Authority::new();
    let files = authority.self_signed("alone", &Leaf::default());
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    let server = SServer::start(&Pki::new(), &["-www", "-cert", cert, "-key", key]);
    let seen = Setup::to(server.address()).upstream(&tls(&files.cert, "")).start().get("/");
    assert_eq!(seen.status, 200);
}

#[test]
fn a_host_that_is_an_ipv6_address_is_verified_as_one() {
    let pki = Pki::new(); // good for ::1
    let nginx = Nginx::tls(&pki, SEEN);
    let lines = format!("[upstream.app.tls]\ntrust = [{:?}]", pki.file("ca.pem"));
    let ringate = Setup::to(nginx.address()).upstream(&lines).start();
    for (host, status) in [("[::1]", 200), ("[::1]:8443", 200), ("[::2]", 502)] {
        let response = ringate.client().send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
        assert_eq!(response.status, status, "{host}: {}", ringate.log());
    }
}
