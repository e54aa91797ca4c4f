//! Cipher suites and key exchange groups: what the config names is negotiated, in the order that it says, and nothing else is.

use std::process::Command;

use crate::support::*;

fn start(pki: &Pki, backend: &Backend, lines: &str) -> Ringate {
    Setup::to(backend.address()).listener(&format!("{}\n{lines}", pki.listener_tls())).start()
}

fn hello() -> Backend {
    Backend::replying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
}

/// One handshake by `openssl s_client`: what it prints.
fn s_client(ringate: &Ringate, args: &[&str]) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "exec openssl s_client \"$@\" < /dev/null", "s_client", "-connect"]);
    let output = run(command.arg(ringate.address().to_string()).args(args));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[track_caller]
fn agrees(ringate: &Ringate, args: &[&str], expected: &str) {
    let said = s_client(ringate, args);
    assert!(said.contains(expected), "{args:?}: {expected} is not in {said}");
}

#[track_caller]
fn refuses(ringate: &Ringate, args: &[&str]) {
    let said = s_client(ringate, args);
    assert!(
        said.contains("alert handshake failure") && said.contains("Cipher is (NONE)"),
        "{args:?}: {said}"
    );
}

#[test]
fn a_listener_serves_the_suites_that_it_names_alone() {
    let (pki, backend) = (Pki::new(), hello());
    let suites = "cipher_suites = [\"TLS_AES_256_GCM_SHA384\", \"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\"]";
    let ringate = start(&pki, &backend, suites);
    agrees(&ringate, &["-tls1_3"], "Cipher is TLS_AES_256_GCM_SHA384");
    refuses(&ringate, &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"]);
    agrees(&ringate, &["-tls1_2"], "Cipher is ECDHE-ECDSA-AES256-GCM-SHA384");
    refuses(&ringate, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"]);
    ringate.await_log("no cipher suites in common");
    let url = format!("https://localhost:{}/", ringate.address().port());
    assert_eq!(curl(&["--cacert", pki.file("ca.pem").to_str().unwrap(), &url]), "hello");
}

#[test]
fn the_order_is_the_listeners_or_the_clients() {
    let (pki, backend) = (Pki::new(), hello());
    let suites = "cipher_suites = [\"TLS_AES_256_GCM_SHA384\", \"TLS_CHACHA20_POLY1305_SHA256\", \
         \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\", \"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\"]";
    let tls13 = ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"];
    let tls12 = ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"];
    let ringate = start(&pki, &backend, suites);
    agrees(&ringate, &tls13, "Cipher is TLS_AES_256_GCM_SHA384");
    agrees(&ringate, &tls12, "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256");
    let ringate = start(&pki, &backend, &format!("{suites}\ncipher_order = \"client\""));
    agrees(&ringate, &tls13, "Cipher is TLS_CHACHA20_POLY1305_SHA256");
    agrees(&ringate, &tls12, "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305");
}

#[test]
fn a_listener_has_the_groups_that_it_names_alone() {
    let (pki, backend) = (Pki::new(), hello());
    let ringate = start(&pki, &backend, "groups = [\"secp384r1\"]");
    for version in ["-tls1_3", "-tls1_2"] {
        agrees(&ringate, &[version, "-groups", "P-384"], "Server Temp Key: ECDH, secp384r1, 384 bits");
        refuses(&ringate, &[version, "-groups", "X25519:P-256"]);
        // In TLS 1.3 it asks for another key share.
        agrees(&ringate, &[version, "-groups", "X25519:P-384"], "Server Temp Key: ECDH, secp384r1, 384 bits");
    }
}

#[test]
fn an_upstream_offers_the_groups_that_it_names_alone() {
    let pki = Pki::new();
    let nginx = Nginx::tls(
        &pki,
        "ssl_protocols TLSv1.3;\nssl_ecdh_curve X25519:prime256v1:secp384r1;\nlocation / { return 200 $ssl_curve; }",
    );
    for (groups, agreed) in [("secp384r1", "secp384r1"), ("secp256r1", "prime256v1"), ("X25519", "X25519")] {
        let tls = format!("{}groups = [{groups:?}]\n", pki.upstream_tls());
        assert_eq!(Setup::to(nginx.address()).upstream(&tls).start().get("/").text(), agreed);
    }
}

#[test]
fn suites_of_which_none_is_for_the_certificates_key_are_refused() {
    let pki = Pki::new();
    let suites = "cipher_suites = [\"TLS13_AES_128_GCM_SHA256\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]";
    let config = Setup::to(free_address()).listener(&format!("{}\n{suites}", pki.listener_tls())).text();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tried.toml"), config).unwrap();
    let output = run(Ringate::command().current_dir(dir.path()).args(["check", "-c", "tried.toml"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no certificate of the listener has a key for one of the suites of TLS 1.2"),
        "{said}"
    );
    assert!(said.contains("add one of TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"), "{said}");
}
