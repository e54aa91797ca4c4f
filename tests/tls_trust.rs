//! What a backend must prove, key by key of `[upstream.*.tls]`: each is kept, and says so when it is why a backend is refused.

use std::path::Path;

use rustix::process::Signal;

use crate::support::*;

/// The lines that make the upstream TLS, trusting `trust`.
fn tls(trust: &Path, more: &str) -> String {
    format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{trust:?}]\n{more}\n")
}

fn serve(files: &Files, more: &[&str]) -> SServer {
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    let mut args = vec!["-www", "-cert", cert, "-key", key, "-cipher", "DEFAULT@SECLEVEL=0"];
    args.extend_from_slice(more);
    SServer::bare(&args)
}

/// The answer's status to one request, and what was logged.
fn ask(server: &SServer, lines: &str) -> (u16, String) {
    let ringate = Setup::to(server.address()).upstream(lines).start();
    let status = ringate.get("/").status;
    if status != 200 {
        ringate.await_log(" WARN TLS: ");
    }
    (status, ringate.log())
}

fn admitted(server: &SServer, lines: &str) {
    let (status, log) = ask(server, lines);
    assert_eq!(status, 200, "{lines}\n{log}");
}

fn refused(server: &SServer, lines: &str, words: &[&str]) {
    let (status, log) = ask(server, lines);
    assert_eq!(status, 502, "{lines}\n{log}");
    assert!(words.iter().all(|word| log.contains(word)), "{words:?}\n{log}");
}

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

#[test]
fn a_key_that_is_pinned_is_demanded_besides_trust() {
    let ca = Crafted::new();
    let files = ca.issue("server", |_| {});
    let server = serve(&files, &[]);
    let facts = ringate::internals::certs::Facts::from_der(
        &ringate::internals::certs::store::load_trust(&files.cert).unwrap()[0],
    );
    let pin = facts.unwrap().spki_sha256;
    let other = format!("sha256/{}=", "A".repeat(43));
    admitted(&server, &tls(&ca.file(), &format!("pins = [{other:?}, {pin:?}]")));
    refused(
        &server,
        &tls(&ca.file(), &format!("pins = [{other:?}]")),
        &["not among the pinned ones", "tls.pins", &format!("its pin is {pin}")],
    );
    let stranger = Crafted::new();
    refused(&server, &tls(&stranger.file(), &format!("pins = [{pin:?}]")), &["not issued by anything"]);
}

#[test]
fn a_ca_that_was_made_anew_under_its_old_name_is_named() {
    let named = |params: &mut rcgen::CertificateParams| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "Corporate CA");
    };
    let (before, after) = (Crafted::with(named), Crafted::with(named));
    let server = serve(&after.issue("server", |_| {}), &[]);
    let words = ["trusted authority CN=Corporate CA, but by another of that name", "reason=unknown_issuer"];
    refused(&server, &tls(&before.file(), ""), &words);
    admitted(&server, &tls(&after.file(), ""));
}

#[test]
fn revocation_lists_are_kept_in_either_form() {
    let ca = Crafted::new();
    let numbered =
        |name: &str, serial: u64| ca.issue(name, |params| params.serial_number = Some(serial.into()));
    let (good, bad) = (serve(&numbered("good", 77), &[]), serve(&numbered("bad", 78), &[]));
    for der in [false, true] {
        let list = ca.crl("list.crl", &[78], 30, der);
        let lines = tls(&ca.file(), &format!("crl = [{list:?}]"));
        admitted(&good, &lines);
        refused(&bad, &lines, &["is revoked", "reason=revoked"]);
    }
    let old = ca.crl("old.crl", &[], -1, false);
    let lines = tls(&ca.file(), &format!("crl = [{old:?}]"));
    refused(&good, &lines, &["was due to be replaced", "reason=revocation_unknown", "tls.crl"]);
    let stranger = Crafted::new();
    let foreign = stranger.crl("foreign.crl", &[], 30, false);
    refused(&good, &tls(&ca.file(), &format!("crl = [{foreign:?}]")), &["no revocation list covers"]);
}

#[test]
fn a_revocation_list_that_cannot_be_read_is_an_error_of_the_config() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Crafted::new();
    let at = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let none = dir.path().join("none.crl");
    let cases = [
        (at("empty.crl", b""), "no revocation list"),
        (at("rubbish.crl", &[0x30, 1, 2, 3]), "no revocation list"),
        (none, "No such file"),
    ];
    for (path, words) in cases {
        let config =
            Setup::to(free_address()).upstream(&tls(&ca.file(), &format!("crl = [{path:?}]"))).text();
        let file = dir.path().join("ringate.toml");
        std::fs::write(&file, config).unwrap();
        let output = run(Ringate::command().arg("check").arg("-c").arg(&file));
        let text =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn small_rsa_keys_are_let_in_only_where_the_config_says_so() {
    let ca = Crafted::new();
    let weak = ca.openssl("weak", "rsa:1024", "-sha256");
    for version in VERSIONS {
        let server = serve(&weak, &[version]);
        refused(&server, &tls(&ca.file(), ""), &["has 1024 bits", "min_rsa_bits", "reason=weak_key"]);
        admitted(&server, &tls(&ca.file(), "min_rsa_bits = 1024"));
    }
    // The kinds of signature that such a key can make, each alone.
    for algorithm in ["rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384"] {
        admitted(&serve(&weak, &["-tls1_3", "-sigalgs", algorithm]), &tls(&ca.file(), "min_rsa_bits = 1024"));
    }
    for algorithm in ["RSA+SHA256", "RSA+SHA384", "RSA+SHA512", "rsa_pss_rsae_sha256"] {
        admitted(&serve(&weak, &["-tls1_2", "-sigalgs", algorithm]), &tls(&ca.file(), "min_rsa_bits = 1024"));
    }
}

#[test]
fn a_small_rsa_key_of_the_authority_counts_too() {
    for key in ["rsa:1024", "rsa:1536"] {
        let (ca, leaf) = Crafted::openssl_root("root", key);
        let server = serve(&leaf, &[]);
        refused(&server, &tls(&ca.file(), ""), &["its authority CN=An old root", "min_rsa_bits"]);
        admitted(&server, &tls(&ca.file(), "min_rsa_bits = 1024"));
    }
}

#[test]
fn a_higher_bound_is_kept_for_chain_and_handshake() {
    let ca = Crafted::new();
    let leaf = ca.openssl("leaf", "rsa:2048", "-sha256");
    for version in VERSIONS {
        let server = serve(&leaf, &[version]);
        admitted(&server, &tls(&ca.file(), ""));
        refused(
            &server,
            &tls(&ca.file(), "min_rsa_bits = 3072"),
            &["has 2048 bits", "`min_rsa_bits` is 3072"],
        );
    }
    let leaf = ca.openssl("larger", "rsa:3072", "-sha256");
    let server = serve(&leaf, &[]);
    admitted(&server, &tls(&ca.file(), "min_rsa_bits = 3072"));
    refused(&server, &tls(&ca.file(), "min_rsa_bits = 4096"), &["has 3072 bits", "`min_rsa_bits` is 4096"]);
    let (ca, leaf) = Crafted::openssl_root("root", "rsa:2048");
    let server = serve(&leaf, &[]);
    admitted(&server, &tls(&ca.file(), ""));
    refused(&server, &tls(&ca.file(), "min_rsa_bits = 3072"), &["its authority CN=An old root"]);
}

#[test]
fn verification_that_is_off_is_shown_everywhere() {
    let (ca, stranger) = (Crafted::new(), Crafted::new());
    let server = serve(&stranger.issue("server", |_| {}), &[]);
    refused(&server, &tls(&ca.file(), ""), &["reason=unknown_issuer"]);
    let lines = "[upstream.app.tls]\nserver_name = \"other.example\"\ninsecure_skip_verify = true";
    let ringate = Setup::to(server.address()).section("[admin]").upstream(lines).start();
    assert_eq!(ringate.get("/").status, 200);
    ringate.await_log("backends are not verified");
    assert!(ringate.admin("/metrics").contains("ringate_backend_tls_unverified{upstream=\"app\"} 1\n"));
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    assert_eq!(status["upstreams"][0]["backend_tls"]["verified"], false);
    let said = told(&ringate);
    assert!(said.contains(", TLS, NOT VERIFIED (insecure_skip_verify)"), "{said}");
}

/// What `ringate status` says.
fn told(ringate: &Ringate) -> String {
    let output = run(Ringate::command().arg("status").arg("-c").arg(ringate.dir().join("ringate.toml")));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_status_says_in_a_line_how_an_endpoint_stands() {
    let pki = Pki::new();
    let mut nginx = Nginx::mutual(&pki, "ssl_protocols TLSv1.3;\nlocation / { return 200 ok; }");
    let ringate = Setup::to(nginx.address()).section("[admin]").upstream(&pki.upstream_mutual_tls()).start();
    assert!(!told(&ringate).contains('✓'), "nothing is known yet");
    assert_eq!(ringate.get("/").status, 200);
    let good =
        format!("  ✓ {}: TLS 1.3, TLS13_AES_128_GCM_SHA256, X25519, full, presented ", nginx.address());
    let said = told(&ringate);
    assert!(said.contains(&good) && said.contains(" days left)"), "{said}");
    // Another server in its place.
    nginx.stop();
    let authority = Crafted::new();
    let stranger = authority.issue("stranger", |_| {});
    let (cert, key) = (stranger.cert.to_str().unwrap(), stranger.key.to_str().unwrap());
    let port = nginx.address().to_string();
    let server = Process::start(
        std::process::Command::new("openssl")
            .args(["s_server", "-www", "-accept", &port, "-cert", cert, "-key", key]),
    );
    server.await_line("its port", |line| line.starts_with("ACCEPT").then_some(()));
    assert_eq!(ringate.get("/").status, 502);
    let said = told(&ringate);
    assert!(said.contains("✗") && said.contains("unknown_issuer") && said.contains("`tls.trust`"), "{said}");
}

#[test]
fn the_key_must_be_the_certificates_even_where_verification_is_off() {
    // A peer with another one's certificate can't sign for it: nginx and OpenSSL refuse to, so rustls is made to.
    let ca = Crafted::new();
    let (one, other) = (ca.issue("one", |_| {}), ca.issue("other", |_| {}));
    let server = Server::start(Some(mismatched(&one, &other)), |stream| {
        std::io::Read::read(stream, &mut [0; 100]).map(drop)
    });
    let lines = "[upstream.app.tls]\nserver_name = \"localhost\"\ninsecure_skip_verify = true";
    let ringate = Setup::to(server.address()).upstream(lines).start();
    assert_eq!(ringate.get("/").status, 502);
    ringate.await_log("reason=bad_signature");
}

#[test]
fn a_key_that_may_not_sign_proves_nothing_unless_it_is_trusted_itself() {
    let ca = Crafted::new();
    let usage = |params: &mut rcgen::CertificateParams| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyEncipherment];
    };
    // OpenSSL would not use such a certificate; rustls does not look.
    let files = ca.issue("server", usage);
    let server = Server::start(Some(mismatched(&files, &files)), |stream| {
        assert!(std::io::Read::read(stream, &mut [0; 4096])? > 0);
        std::io::Write::write_all(stream.get_mut(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let ringate = Setup::to(server.address()).upstream(&tls(&ca.file(), "")).start();
    assert_eq!(ringate.get("/").status, 502);
    let line = ringate.await_log("its keyUsage does not allow digitalSignature");
    assert!(line.contains("keyUsage digitalSignature)") && line.contains("reason=wrong_usage"), "{line}");
    let trust = format!("trust = [{:?}, {:?}]", ca.file(), files.cert);
    let trusted = format!("[upstream.app.tls]\nserver_name = \"localhost\"\n{trust}");
    let ringate = Setup::to(server.address()).upstream(&trusted).start();
    assert_eq!(ringate.get("/").status, 200, "{trusted}\n{}", ringate.log());
}

#[test]
fn a_backend_that_must_ask_for_our_certificate_is_refused_if_it_does_not() {
    let pki = Pki::new();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let lines = format!("{}require_client_auth = true", pki.upstream_mutual_tls());
        // Closing after each response: a resumed session stands for the handshake that it began with.
        let only = format!("ssl_protocols {version};\nkeepalive_timeout 0;\nlocation / {{ return 200 ok; }}");
        let asking = Nginx::mutual(&pki, &only);
        let ringate = Setup::to(asking.address()).section("[admin]").upstream(&lines).start();
        for _ in 0..3 {
            assert_eq!(ringate.get("/").status, 200, "{}", ringate.log());
        }
        let open = Nginx::tls(&pki, &only);
        let ringate = Setup::to(open.address()).section("[admin]").upstream(&lines).start();
        for _ in 0..3 {
            assert_eq!(ringate.get("/").status, 502, "no session gets around it");
        }
        ringate
            .await_log("the backend did not ask for our certificate, and `tls.require_client_auth` is set");
        let counted = ringate.admin("/metrics");
        assert!(counted.contains("reason=\"certificate_not_requested\",alert=\"\"} 3"), "{counted}");
    }
}

#[test]
fn an_address_may_be_the_name() {
    let ca = Crafted::new();
    let server = serve(&ca.issue("server", |_| {}), &[]);
    let named = |name: &str| tls(&ca.file(), "").replace("\"localhost\"", &format!("{name:?}"));
    admitted(&server, &named("127.0.0.1"));
    refused(&server, &named("127.0.0.2"), &["not for 127.0.0.2", "reason=wrong_name", "tls.server_name"]);
}

#[test]
fn trust_may_name_a_certificate_of_the_store() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    authority.store_itself(&dir.path().join("certs"), "corporate");
    let server = serve(&authority.issue("server", &Leaf::default()), &[]);
    let lines = "[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [\"corporate\"]";
    let store = format!("[store]\npath = {:?}", dir.path().join("certs"));
    let ringate = Setup::to(server.address()).section(&store).upstream(lines).start();
    assert_eq!(ringate.get("/").status, 200, "{}", ringate.log());
}

#[test]
fn a_certificate_that_is_trusted_itself_needs_nothing_of_an_authority_beside_it() {
    let (ca, expired) = (
        Crafted::new(),
        Crafted::with(|params| {
            params.not_after = time::OffsetDateTime::now_utc() - time::Duration::days(1);
        }),
    );
    let odd = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    for issuer in [&ca, &expired] {
        let files = issuer.issue("odd", odd);
        let server = serve(&files, &[]);
        let (leaf, root) = (&files.cert, &ca.file());
        for trust in [vec![leaf, root], vec![root, leaf]] {
            let lines = format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = {trust:?}\n");
            admitted(&server, &lines);
        }
    }
    let server = serve(&expired.issue("server", |_| {}), &[]);
    refused(
        &server,
        &tls(&expired.file(), ""),
        &["that vouches for it has expired", "reason=unknown_issuer"],
    );
}

#[test]
fn a_refusal_names_the_extension_the_name_and_the_certificate_that_it_is_for() {
    let ca = Crafted::new();
    let policy = |params: &mut rcgen::CertificateParams| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 36], vec![0x30, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    };
    let critical = "the critical extension 2.5.29.36 (policyConstraints), which is not supported";
    let server = serve(&ca.issue("leaf", policy), &[]);
    refused(&server, &tls(&ca.file(), ""), &[&format!("it has {critical}")]);
    let below = ca.issue_below("below", policy);
    let chain = below.cert.to_str().unwrap().to_owned();
    let server = serve(&below, &["-cert_chain", &chain]);
    refused(
        &server,
        &tls(&ca.file(), ""),
        &[&format!("the authority CN=Between in its chain has {critical}")],
    );

    let constrained = ca.issue_below("constrained", |params| {
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::OrganizationName, "Example");
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DirectoryName(name)],
            excluded_subtrees: Vec::new(),
        });
    });
    let chain = constrained.cert.to_str().unwrap().to_owned();
    let server = serve(&constrained, &["-cert_chain", &chain]);
    let words = ["the authority CN=Between in its chain constrains directory names", "reason=constraints"];
    refused(&server, &tls(&ca.file(), ""), &words);

    let named = ca.issue("named", |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("127.0.0.1".try_into().unwrap())];
    });
    let lines = tls(&ca.file(), "").replace("localhost", "127.0.0.1");
    let words = "is for the DNS name 127.0.0.1, not for the IP address 127.0.0.1";
    refused(&serve(&named, &[]), &lines, &[words, "reason=wrong_name"]);
}

/// A server that presents one certificate and signs with the key of another.
fn mismatched(cert: &Files, key: &Files) -> std::sync::Arc<rustls::ServerConfig> {
    use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Fixed(Arc<CertifiedKey>);
    impl ResolvesServerCert for Fixed {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    let load =
        |files: &Files| ringate::internals::certs::store::load_pair(&files.cert, &files.key).unwrap().bundle;
    let signer = any_supported_type(load(key).key().unwrap()).unwrap();
    let certified = CertifiedKey::new(load(cert).chain().to_vec(), signer);
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(Fixed(Arc::new(certified)))))
}

#[test]
fn a_reload_by_signal_tries_what_backends_are_verified_by_as_one_by_the_api_does() {
    let (ca, stranger) = (Crafted::new(), Crafted::new());
    let server = serve(&ca.issue("server", |_| {}), &[]);
    let ringate = Setup::to(server.address()).section("[admin]").upstream(&tls(&ca.file(), "")).start();
    assert_eq!(ringate.get("/").status, 200);
    let file = ringate.dir().join("ringate.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace(ca.file().to_str().unwrap(), stranger.file().to_str().unwrap()))
        .unwrap();
    ringate.signal(Signal::HUP);
    let log = ringate.await_log("reload (SIGHUP) refused, what ran before runs on");
    assert!(log.contains("`ringate reload --force`"), "{log}");
    assert_eq!(ringate.get("/").status, 200, "what ran before runs on");
    std::fs::write(&file, good.replace("server_name = \"localhost\"", "server_name = \"127.0.0.1\""))
        .unwrap();
    ringate.signal(Signal::HUP);
    ringate.await_log("reloaded (SIGHUP)");
    assert_eq!(ringate.get("/").status, 200);
}
