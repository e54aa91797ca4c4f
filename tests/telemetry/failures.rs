//! A client whose TLS handshake fails leaves a record: why, what it offered, and which certificate it presented.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;

use super::scrape;
use crate::http::OK;
use crate::support::*;

struct Scene {
    authority: Authority,
    _backend: Backend,
    ringate: Ringate,
}

impl Scene {
    fn new(client_auth: &str) -> Self {
        let authority = Authority::new();
        let server = authority.issue("server", &Leaf { names: &["localhost"], ..Leaf::default() });
        let backend = Backend::replying(OK);
        let (server, trust) = (server.toml(), authority.file());
        let tls = format!(
            "[listener.tls]\ncertificates = [{server}]\nclient_auth = {client_auth:?}\nclient_trust = [{trust:?}]"
        );
        let ringate = Setup::to(backend.address()).section("[admin]").listener(&tls).start();
        Self { authority, _backend: backend, ringate }
    }

    /// A request that gets no response.
    fn fails(&self, config: Arc<ClientConfig>) {
        let mut client = self.ringate.tls_client(config);
        let _ = client.try_send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.try_response().expect_err("no handshake, no response");
    }

    /// What is known once so many handshakes have failed.
    fn failures(&self, count: u64) -> Value {
        self.ringate.admin("/healthz");
        self.ringate.await_metric("client_handshake_failures_total", count);
        serde_json::from_str(&self.ringate.admin("/v1/listeners/web/tls-failures")).unwrap()
    }
}

#[test]
fn a_client_certificate_that_is_refused_is_in_the_record() {
    let scene = Scene::new("required");
    let strangers = Authority::named("strangers");
    let stranger = strangers.issue("stranger", &Leaf { common_name: "mallory", ..Leaf::default() });
    // It trusts the server's authority, and presents a certificate of another one.
    scene.fails(scene.authority.client_config_as(&stranger));
    let failures = scene.failures(1);
    let last = &failures["last"];
    assert_eq!(last["reason"], "unknown_issuer", "{failures}");
    assert_eq!(last["alert_sent"], "unknown_ca", "{failures}");
    assert_eq!(last["alert_received"], Value::Null);
    assert_eq!(last["server_name"], "localhost");
    assert_eq!(last["versions"], serde_json::json!(["TLSv1.3", "TLSv1.2"]));
    assert_eq!(last["certificate"]["subject"], "CN=mallory");
    let shown = run(std::process::Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-in"])
        .arg(&stranger.cert));
    let serial = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(format!("serial={}", last["certificate"]["serial"].as_str().unwrap()), serial.trim());
    let shown = run(std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&stranger.cert));
    let digest = String::from_utf8(shown.stdout).unwrap();
    assert!(digest.trim().ends_with(last["certificate"]["sha256"].as_str().unwrap()), "{digest} {last}");
    assert!(last["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{last}");
    assert_eq!(failures["recent"].as_array().unwrap().len(), 1);
    let line = scene.ringate.await_log("TLS handshake with a client failed");
    for part in
        ["reason unknown_issuer", "alert sent unknown_ca", "localhost", "TLSv1.3 TLSv1.2", "CN=mallory"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    let status: Value = serde_json::from_str(&scene.ringate.admin("/v1/status")).unwrap();
    assert_eq!(status["listeners"][0]["tls_failures"]["last"], *last);
    let shown = run(Ringate::command().arg("status").arg("-c").arg(scene.ringate.dir().join("ringate.toml")));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("1 TLS handshakes with clients failed") && shown.contains("CN=mallory"),
        "{shown}"
    );
}

#[test]
fn failures_are_counted_by_reason_and_alert() {
    let scene = Scene::new("required");
    // Without a certificate, by either version; the server's certificate refused; no TLS; nothing at all.
    scene.fails(scene.authority.client_config());
    scene.fails(Authority::named("strangers").client_config());
    let mut plain = scene.ringate.client();
    plain.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(String::from_utf8_lossy(&plain.rest()).starts_with("HTTP/1.1 400 "));
    let mut silent = TcpStream::connect(scene.ringate.address()).unwrap();
    silent.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = silent.read(&mut [0; 16]);
    // A ClientHello of TLS 1.1.
    let mut old = TcpStream::connect(scene.ringate.address()).unwrap();
    let signatures = [0, 8, 0, 13, 0, 4, 0, 2, 4, 3];
    let body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0xc0, 0x13, 1, 0], &signatures].concat();
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    old.write_all(&hello).unwrap();
    let _ = old.read_to_end(&mut Vec::new());
    let failures = scene.failures(5);
    let found = scrape(&scene.ringate);
    let count = |reason: &str, alert: &str| {
        let labels = [("listener", "web"), ("reason", reason), ("alert", alert)];
        found.value("ringate_listener_tls_failures_total", &labels)
    };
    assert_eq!(count("certificate_missing", ""), 1.0, "{failures}");
    assert_eq!(count("plain_text", ""), 1.0, "{failures}");
    assert_eq!(count("closed", ""), 1.0, "{failures}");
    assert_eq!(count("no_common_version", ""), 1.0, "{failures}");
    let refused = found.all("ringate_listener_tls_failures_total", &[("reason", "certificate_refused")]);
    assert_eq!(refused.len(), 1, "the client sent an alert: {failures}");
    assert!(["unknown_ca", "bad_certificate", "certificate_unknown"].contains(&&*refused[0].labels["alert"]));
    let old = failures["recent"].as_array().unwrap().iter().find(|it| it["reason"] == "no_common_version");
    let old = old.unwrap();
    assert_eq!(
        (&old["versions"], &old["alert_sent"]),
        (&serde_json::json!(["TLSv1.1"]), &"protocol_version".into())
    );
    let missing =
        failures["recent"].as_array().unwrap().iter().find(|it| it["reason"] == "certificate_missing");
    assert_eq!(missing.unwrap()["alert_sent"], "certificate_required");
    assert_eq!(missing.unwrap()["certificate"], Value::Null);
}

#[test]
fn records_are_bounded() {
    let scene = Scene::new("optional");
    for _ in 0..70 {
        scene.ringate.client().send("no TLS at all\r\n\r\n").ends();
    }
    let failures = scene.failures(70);
    assert_eq!(failures["recent"].as_array().unwrap().len(), 64);
    assert_eq!(failures["counts"][0]["count"], 70);
}
