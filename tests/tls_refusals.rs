//! Bad backends: each is refused with 502 or 504, a log line that has the side that closed, the alert and what to do,
//! a count by its reason, and nothing left behind.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints};
use rustls::ServerConnection;
use time::{Duration, OffsetDateTime};

use crate::support::*;

/// A request to each of these is refused in this way.
struct Case {
    name: &'static str,
    server: SServer,
    trust: std::path::PathBuf,
    more: String,
    reason: &'static str,
    words: &'static str,
    alert: &'static str,
}

fn lines(trust: &std::path::Path, more: &str) -> String {
    format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{trust:?}]\n{more}\n")
}

/// Asks once and checks status, line, counts and record; then looks at what is left open.
fn check(
    name: &str,
    address: SocketAddr,
    lines: &str,
    status: u16,
    reason: &str,
    alert: &str,
    words: &str,
) -> String {
    let ringate = Setup::to(address).section("[admin]").upstream(lines).start();
    assert_eq!(ringate.get("/").status, status, "{name}: {}", ringate.log());
    let line = ringate.await_log(" WARN TLS: ");
    let label =
        if alert.is_empty() { format!("reason={reason}") } else { format!("reason={reason} {alert}") };
    assert!(line.contains(words) && line.contains(&label), "{name}: {words:?} {label:?}: {line}");
    let labels = format!("upstream=\"app\",endpoint=\"{address}\",reason=\"{reason}\",alert=\"{alert}\"");
    assert_eq!(ringate.metric(&format!("backend_tls_failures_total{{{labels}}}")), 1, "{name}");
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    let failure = &status["upstreams"][0]["backend_tls"]["endpoints"][0]["failure"];
    assert_eq!(failure["reason"], reason, "{name}: {failure}");
    assert!(line.contains(failure["mend"].as_str().unwrap()), "{name}: {line}");
    eventually("the sockets being closed", || (sockets(ringate.pid(), address) == 0).then_some(()));
    failure.to_string()
}

/// Connections that a process has to an address, by the kernel's list.
fn sockets(pid: u32, to: SocketAddr) -> usize {
    let wanted = format!(":{:04X}", to.port());
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let inodes: Vec<String> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[2].ends_with(&wanted) && fields[9] != "0")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| inodes.iter().any(|inode| *inode == link.to_string_lossy())).count()
}

fn serving(files: &Files, more: &[&str]) -> SServer {
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    // Of the first file s_server takes one certificate; what stands behind it comes with the second.
    let mut args =
        vec!["-www", "-cert", cert, "-cert_chain", cert, "-key", key, "-cipher", "DEFAULT@SECLEVEL=0"];
    args.extend_from_slice(more);
    SServer::bare(&args)
}

/// Backends whose certificate is at fault, presented in one version of TLS, and the authorities, whose files they need.
fn certificates(version: &str) -> (Vec<Case>, Vec<Crafted>) {
    let now = OffsetDateTime::now_utc();
    let ca = Crafted::new();
    let case = |name, files: &Files, reason, words, alert| Case {
        name,
        server: serving(files, &[version]),
        trust: ca.file(),
        more: String::new(),
        reason,
        words,
        alert,
    };
    let issue = |name: &str, shape: &dyn Fn(&mut CertificateParams)| ca.issue(name, shape);
    let list = ca.crl("list.crl", &[4711], 30, false);
    let revoked = issue("revoked", &|params| params.serial_number = Some(4711.into()));
    let constrained = Crafted::with(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("inside.example".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    let below_leaf = ca.issue_below("below", |params| params.is_ca = IsCa::NoCa);
    let stranger = Crafted::new();
    let cases = vec![
        case(
            "expired",
            &issue("expired", &|params| params.not_after = now - Duration::days(3)),
            "expired",
            "expired 3 days ago; we closed with the alert certificate_expired; renew the backend's certificate",
            "certificate_expired",
        ),
        case(
            "not yet valid",
            &issue("future", &|params| params.not_before = now + Duration::days(5)),
            "not_yet_valid",
            "its time begins in",
            "certificate_expired",
        ),
        case(
            "wrong name",
            &issue("name", &|params| params.subject_alt_names.clear()),
            "wrong_name",
            "is not for localhost: it has no alternative names",
            "bad_certificate",
        ),
        case(
            "unknown issuer",
            &stranger.issue("stranger", |_| {}),
            "unknown_issuer",
            "not issued by anything",
            "unknown_ca",
        ),
        Case {
            more: format!("crl = [{list:?}]"),
            ..case(
                "revoked",
                &revoked,
                "revoked",
                "is revoked; we closed with the alert",
                "certificate_revoked",
            )
        },
        Case {
            trust: constrained.file(),
            ..case(
                "name-constrained",
                &constrained.issue("outside", |_| {}),
                "constraints",
                "may not issue for its name",
                "certificate_unknown",
            )
        },
        case(
            "issued by no authority",
            &below_leaf,
            "bad_certificate",
            "not an authority's",
            "certificate_unknown",
        ),
        case(
            "wrong usage",
            &issue("usage", &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            "wrong_usage",
            "is not meant for servers",
            "",
        ),
        case(
            "weak key",
            &ca.openssl("weak", "rsa:1024", "-sha256"),
            "weak_key",
            "has 1024 bits",
            "certificate_unknown",
        ),
        case(
            "SHA-1",
            &ca.openssl("sha1", "rsa:2048", "-sha1"),
            "weak_signature",
            "signed with SHA-1 and",
            "",
        ),
    ];
    (cases, vec![ca, constrained, stranger])
}

#[test]
fn certificates_that_prove_nothing_are_refused_each_with_its_reason() {
    for version in ["-tls1_2", "-tls1_3"] {
        let (cases, _files) = certificates(version);
        for case in cases {
            let lines = lines(&case.trust, &case.more);
            let failure = check(case.name, case.server.address(), &lines, 502, case.reason, "", case.words);
            let sent = format!("\"alert_sent\":\"{}", case.alert);
            assert!(failure.contains(&sent), "{}: {sent}: {failure}", case.name);
            assert!(failure.contains("\"chain\":[{"), "what it presented is shown: {failure}");
        }
    }
}

#[test]
fn backends_that_refuse_our_certificate_are_named_with_their_alert() {
    let (pki, authority) = (Pki::new(), Authority::new());
    let ca = pki.file("ca.pem");
    let stranger = authority.issue("stranger", &Leaf::default());
    let none = String::new();
    let strange = format!("certificate = {}", stranger.toml());
    for (version, more, reason, alert, words) in [
        (
            "-tls1_3",
            &none,
            "certificate_refused",
            "certificate_required",
            "name one that it trusts in `tls.certificate`",
        ),
        (
            "-tls1_3",
            &strange,
            "certificate_refused",
            "unknown_ca",
            "let the backend trust the CA of our certificate",
        ),
        (
            "-tls1_2",
            &none,
            "certificate_refused",
            "handshake_failure",
            "it requested a client certificate: name one that it trusts in `tls.certificate`",
        ),
        (
            "-tls1_2",
            &strange,
            "certificate_refused",
            "unknown_ca",
            "let the backend trust the CA of our certificate",
        ),
    ] {
        let server = SServer::start(&pki, &["-www", "-Verify", "1", "-verify_return_error", version]);
        let failure = check(version, server.address(), &lines(&ca, more), 502, reason, alert, words);
        assert!(failure.contains(&format!("\"alert_received\":\"{alert}\"")), "{failure}");
    }
}

#[test]
fn a_refusal_after_the_handshake_is_attributed_on_a_tcp_listener_too() {
    let pki = Pki::new();
    let server = SServer::start(&pki, &["-www", "-Verify", "1", "-verify_return_error", "-tls1_3"]);
    let ringate = Setup::to(server.address())
        .listener("protocol = \"tcp\"")
        .upstream(&lines(&pki.file("ca.pem"), ""))
        .start();
    ringate.client().ends();
    let line = ringate.await_log(" WARN TLS: ");
    assert!(
        line.contains("after the handshake the peer closed with the alert certificate_required"),
        "{line}"
    );
}

#[test]
fn what_the_backend_wanted_is_kept() {
    let pki = Pki::new();
    let nginx = Nginx::mutual(&pki, "ssl_protocols TLSv1.3;\nlocation / { return 200 ok; }");
    let ringate = Setup::to(nginx.address()).section("[admin]").upstream(&pki.upstream_mutual_tls()).start();
    assert_eq!(ringate.get("/").status, 200);
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    let tls = &status["upstreams"][0]["backend_tls"];
    let shaken = &tls["endpoints"][0]["handshake"];
    assert_eq!((&tls["verified"], &shaken["version"]), (&true.into(), &"TLS 1.3".into()));
    assert_eq!((&shaken["resumed"], &shaken["client_certificate"]), (&false.into(), &"presented".into()));
    assert!(shaken["key_exchange"].as_str().unwrap().starts_with("X25519"), "{shaken}");
    assert_eq!(shaken["cipher"], "TLS13_AES_128_GCM_SHA256");
    assert!(shaken["presented"].as_str().unwrap().ends_with("client.pem #1"), "{shaken}");
    assert!(shaken["authorities"][0].as_str().unwrap().contains("CN="), "{shaken}");
    let leaf = &shaken["chain"][0];
    assert!(
        leaf["subject"].as_str().unwrap().contains("CN=") && leaf["days_left"].as_i64() > Some(0),
        "{leaf}"
    );
    assert!(leaf["names"].to_string().contains("DNS:localhost"), "{leaf}");
    assert!(
        ringate.admin("/metrics").contains("ringate_backend_certificate_expires_seconds{upstream=\"app\"")
    );
}

#[test]
fn the_post_quantum_hybrid_comes_first() {
    let pki = Pki::new();
    let server = Server::start(Some(pki.server_config()), |stream| {
        assert!(stream.read(&mut [0; 4096])? > 0);
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let ringate = Setup::to(server.address()).section("[admin]").upstream(&pki.upstream_tls()).start();
    assert_eq!(ringate.get("/").status, 200);
    assert!(ringate.admin("/v1/status").contains("\"key_exchange\":\"X25519MLKEM768\""));
}

/// A server that sends so many bytes of its first flight and then does what `then` does.
fn truncated(pki: &Pki, keep: usize, then: fn(&mut Connection) -> io::Result<()>) -> Backend {
    let config = pki.server_config();
    Backend::start(move |connection| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut hello = vec![0; 8192];
        let n = connection.tcp().read(&mut hello)?;
        tls.read_tls(&mut &hello[..n])?;
        tls.process_new_packets().map_err(io::Error::other)?;
        let mut flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut flight)?;
        }
        connection.tcp().write_all(&flight[..keep.min(flight.len())])?;
        then(connection)
    })
}

#[test]
fn handshakes_that_break_off_are_named_by_how() {
    let pki = Pki::new();
    let lines = format!("timeouts = {{ connect = \"300ms\" }}\n{}", lines(&pki.file("ca.pem"), ""));
    let cut = truncated(&pki, 100, |_| Ok(()));
    check(
        "cut",
        cut.address(),
        &lines,
        502,
        "closed",
        "",
        "the peer closed the connection during the TLS handshake",
    );
    let reset = truncated(&pki, 100, |connection| {
        std::thread::sleep(std::time::Duration::from_millis(50)); // what was sent must be read before the reset
        connection.reset()
    });
    check("reset", reset.address(), &lines, 502, "reset", "", "Connection reset by peer");
    let slow = truncated(&pki, 100, |connection| connection.rest().map(drop));
    check("slow", slow.address(), &lines, 504, "timeout", "", "not finished within `timeouts.connect`");
    let silent = Backend::start(|connection| connection.rest().map(drop));
    check("silent", silent.address(), &lines, 504, "timeout", "", "raise `timeouts.connect`");
    let plain = Backend::start(|connection| {
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n")?;
        connection.rest().map(drop)
    });
    check("plain", plain.address(), &lines, 502, "plain_text", "", "speaks plain HTTP on a TLS port");
    let refusing = Backend::start(|connection| {
        connection.bytes(1)?;
        connection.send([21, 3, 3, 0, 2, 2, 112])
    });
    let words = "unrecognized_name (it does not serve the server name that we sent); set `tls.server_name`";
    check("alert", refusing.address(), &lines, 502, "alert", "unrecognized_name", words);
}

#[test]
fn a_backend_that_closes_once_it_has_our_certificate_is_suspected_of_it() {
    let pki = Pki::new();
    let config = demanding(&pki);
    let server = Server::start(Some(config), |stream| {
        let tls = stream.get_mut();
        let Stream::Server(tls) = tls else { return Ok(()) };
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(())
    });
    let words = "it may have refused our certificate";
    let lines = pki.upstream_mutual_tls();
    check("closing", server.address(), &lines, 502, "closed_after_certificate", "", words);
}

/// A server that asks for a certificate of the CA and issues no tickets.
fn demanding(pki: &Pki) -> Arc<rustls::ServerConfig> {
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::server::WebPkiClientVerifier;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ringate::internals::certs::store::load_trust(&pki.file("ca.pem")).unwrap()[0].clone()).unwrap();
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let bundle =
        ringate::internals::certs::store::load_pair(&pki.file("server.pem"), &pki.file("server.key"))
            .unwrap()
            .bundle;
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_client_cert_verifier(verifier.build().unwrap());
    let mut config =
        builder.with_single_cert(bundle.chain().to_vec(), bundle.key().unwrap().clone_key()).unwrap();
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Failures over and over: `RINGATE_TLS_REPETITIONS` of each kind, some hundreds unless it says so.
#[test]
fn failures_leave_nothing_behind_however_many() {
    let each: usize =
        std::env::var("RINGATE_TLS_REPETITIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let pki = Pki::new();
    let ca = pki.file("ca.pem");
    let stranger = Crafted::new();
    let closing = truncated(&pki, 100, |_| Ok(()));
    let wrong = Nginx::with(&stranger.issue("server", |_| {}), "location / { return 200 ok; }");
    let refusing = Backend::start(|connection| {
        connection.bytes(1)?;
        connection.send([21, 3, 3, 0, 2, 2, 40])
    });
    let plain = Nginx::plain("location / { return 200 ok; }");
    let resetting = truncated(&pki, 100, Connection::reset);
    // TLS 1.3, so the alert comes behind our Finished.
    let after = Server::start(Some(demanding(&pki)), |stream| stream.read(&mut [0; 100]).map(drop));
    let silent = Backend::start(|connection| connection.rest().map(drop));
    let impatient = format!("timeouts = {{ connect = \"10ms\" }}\n{}", lines(&ca, ""));
    for (name, address, lines, status, each) in [
        ("cut", closing.address(), lines(&ca, ""), 502, each),
        ("untrusted", wrong.address(), lines(&ca, ""), 502, each),
        ("alert", refusing.address(), lines(&ca, ""), 502, each),
        ("plain text", plain.address(), lines(&ca, ""), 502, each),
        ("reset", resetting.address(), lines(&ca, ""), 502, each),
        ("alert after Finished", after.address(), lines(&ca, ""), 502, each),
        ("silent", silent.address(), impatient, 504, each / 30),
    ] {
        let ringate = Setup::to(address).section("[admin]").upstream(&lines).start();
        let ask = |times: usize| {
            for _ in 0..times {
                assert_eq!(ringate.get("/").status, status, "{name}: {}", ringate.log());
            }
        };
        let begun = std::time::Instant::now();
        ask(each.min(100)); // buffers and tables grow to what this takes
        let before = (descriptors(ringate.pid()), memory(ringate.pid()));
        ask(each);
        let after = eventually("the descriptors being as before", || {
            let after = (descriptors(ringate.pid()), memory(ringate.pid()));
            (after.0 <= before.0).then_some(after)
        });
        let grown = after.1.saturating_sub(before.1);
        let took = begun.elapsed();
        eprintln!("{name}, {each} times: {before:?} to {after:?} descriptors and KiB, {took:?}");
        assert!(grown < 4096, "{name}: {each} failures took {grown} KiB");
    }
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}
