//! TCP upstreams have the same TLS as HTTP ones: verification, a client certificate, sessions, environments, and a record
//! of each endpoint; and identities come in every form that people have them in.

use std::path::Path;
use std::process::Command;

use crate::support::*;

/// A relay to a TLS backend: a plain client's bytes, and what came back.
fn say(address: std::net::SocketAddr) -> String {
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    String::from_utf8(client.try_rest().unwrap_or_default()).unwrap()
}

const SEEN: &str = "keepalive_timeout 0;\n\
    location / { return 200 \"$ssl_protocol $ssl_session_reused $ssl_client_s_dn $ssl_server_name\"; }";

#[test]
fn a_relay_proves_who_it_is_resumes_and_is_on_record() {
    let pki = Pki::new();
    for (version, number) in [("TLSv1.2", "TLS 1.2"), ("TLSv1.3", "TLS 1.3")] {
        let nginx = Nginx::mutual(&pki, &format!("ssl_protocols {version};\n{SEEN}"));
        let lines = format!("{}require_client_auth = true\n", pki.upstream_mutual_tls());
        let ringate = Setup::to(nginx.address())
            .listener("protocol = \"tcp\"")
            .section("[admin]")
            .upstream(&lines)
            .start();
        for expected in [".", "r", "r"] {
            let seen = say(ringate.address());
            let expected = format!("{version} {expected} CN=ringate-client,O=Ringate quickstart localhost");
            assert!(seen.ends_with(&expected), "{expected}: {seen}\n{}", ringate.log());
        }
        let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
        let shaken = &status["upstreams"][0]["backend_tls"]["endpoints"][0]["handshake"];
        assert_eq!((&shaken["version"], &shaken["resumed"]), (&number.into(), &true.into()), "{shaken}");
        assert_eq!(shaken["client_certificate"], "presented");
        assert_eq!(ringate.metric("backend_handshakes_total"), 3);
        assert_eq!(ringate.metric("backend_resumptions_total"), 2);
    }
}

#[test]
fn a_relay_to_a_backend_that_proves_nothing_is_closed_before_a_byte_is_sent() {
    let (pki, ca) = (Pki::new(), Crafted::new());
    let weak = ca.openssl("weak", "rsa:1024", "-sha256");
    let (cert, key) = (weak.cert.to_str().unwrap(), weak.key.to_str().unwrap());
    let weak = SServer::bare(&["-www", "-cert", cert, "-key", key, "-cipher", "DEFAULT@SECLEVEL=0"]);
    let nginx = Nginx::tls(&pki, SEEN);
    let trusting = format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{:?}]", ca.file());
    let asking = format!("{}require_client_auth = true\n", pki.upstream_mutual_tls());
    let pinned = format!("{}pins = [\"sha256/{}=\"]\n", pki.upstream_tls(), "A".repeat(43));
    for (address, lines, reason) in [
        (weak.address(), &trusting, "weak_key"),
        (nginx.address(), &trusting, "unknown_issuer"),
        (nginx.address(), &asking, "certificate_not_requested"),
        (nginx.address(), &pinned, "pin"),
    ] {
        let ringate =
            Setup::to(address).listener("protocol = \"tcp\"").section("[admin]").upstream(lines).start();
        assert_eq!(say(ringate.address()), "", "{reason}");
        ringate.await_log(&format!("reason={reason}"));
        let labels = format!("upstream=\"app\",endpoint=\"{address}\",reason=\"{reason}\",alert=\"\"");
        assert_eq!(ringate.metric(&format!("backend_tls_failures_total{{{labels}}}")), 1, "{reason}");
    }
}

#[test]
fn a_relay_presents_the_certificate_of_its_environment() {
    let authority = Authority::new();
    let server = authority.issue("server", &Leaf::default());
    let client = |name: &'static str| {
        authority.issue(name, &Leaf { common_name: name, names: &[], ..Leaf::default() })
    };
    let (development, production) = (client("development"), client("production"));
    let ca = authority.file();
    let demand = format!("ssl_client_certificate {};\nssl_verify_client on;\n{SEEN}", ca.display());
    let nginx = Nginx::with(&server, &demand);
    let ringate = Setup::to(nginx.address())
        .listener("protocol = \"tcp\"")
        .section(
            "[[listener]]\nname = \"production\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
             environment = \"production\"",
        )
        .routes("[[route]]\nlistener = [\"web\", \"production\"]\nupstream = \"app\"")
        .upstream(&format!(
            "[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{ca:?}]\ncertificate = {}\n\
             [upstream.app.environment.production]\ntls.certificate = {}\n",
            development.toml(),
            production.toml()
        ))
        .start();
    for (listener, name) in [("web", "development"), ("production", "production"), ("web", "development")] {
        let seen = say(ringate.address_of(listener));
        assert!(seen.contains(&format!("CN={name} ")), "{listener}: {seen}\n{}", ringate.log());
    }
}

#[test]
fn without_a_server_name_the_endpoints_own_is_verified() {
    let ca = Crafted::new();
    let files = ca.issue("server", |params| {
        params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
    });
    let nginx = Nginx::with(&files, SEEN);
    let port = nginx.address().port();
    for (host, good) in [("127.0.0.1", true), ("localhost", false)] {
        let tls = format!("endpoints = [\"{host}:{port}\"]\n[upstream.app.tls]\ntrust = [{:?}]", ca.file());
        let ringate = Setup::to_all([]).listener("protocol = \"tcp\"").upstream(&tls).start();
        assert_eq!(say(ringate.address()).contains("200 OK"), good, "{host}: {}", ringate.log());
        if !good {
            ringate.await_log("is not for localhost");
        }
    }
}

/// Runs openssl with these words in a folder.
fn openssl(dir: &Path, words: &str) {
    let output = run(Command::new("openssl").current_dir(dir).args(words.split_whitespace()));
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_identity_may_come_in_any_form_and_locked() {
    let ca = Crafted::new();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (rsa, ec) = (ca.openssl("rsa", "rsa:2048", "-sha256"), ca.openssl("ec", "ec:", "-sha256"));
    for (name, files) in [("rsa", &rsa), ("ec", &ec)] {
        std::fs::copy(&files.cert, at(&format!("{name}.pem"))).unwrap();
        std::fs::copy(&files.key, at(&format!("{name}.key"))).unwrap();
    }
    std::fs::copy(ca.file(), at("ca.pem")).unwrap();
    std::fs::write(at("secret"), "s3cret\n").unwrap();
    for words in [
        "x509 -in rsa.pem -outform DER -out rsa.cer",
        "x509 -in ca.pem -outform DER -out ca.der",
        "rsa -in rsa.key -traditional -outform DER -out pkcs1.der",
        "rsa -in rsa.key -traditional -out pkcs1.key",
        "ec -in ec.key -out sec1.key",
        "pkcs8 -topk8 -in ec.key -nocrypt -outform DER -out pkcs8.der",
        "pkcs8 -topk8 -in rsa.key -out scrypt.key -scrypt -passout file:secret",
        "pkcs8 -topk8 -in rsa.key -out pbkdf2.key -v2 aes-256-cbc -passout file:secret",
        "pkcs8 -topk8 -in rsa.key -out 3des.key -v1 PBE-SHA1-3DES -passout file:secret",
        "pkcs8 -topk8 -in rsa.key -out rc2.key -v1 PBE-SHA1-RC2-40 -passout file:secret -provider legacy -provider default",
        "pkcs12 -export -in rsa.pem -inkey rsa.key -out modern.p12 -passout file:secret",
        "pkcs12 -export -legacy -in rsa.pem -inkey rsa.key -out rc2.p12 -passout file:secret",
        "pkcs12 -export -legacy -keypbe NONE -certpbe PBE-SHA1-RC2-128 -in rsa.pem -inkey rsa.key -out mixed.pfx -passout file:secret",
    ] {
        openssl(dir.path(), words);
    }
    let pair = |cert: &str, key: &str| format!("{{ cert = {:?}, key = {:?} }}", at(cert), at(key));
    let locked = |cert: &str, key: &str| {
        let key = if key.is_empty() { String::new() } else { format!("key = {:?}, ", at(key)) };
        format!("{{ cert = {:?}, {key}passphrase_file = \"$CREDENTIALS_DIRECTORY/secret\" }}", at(cert))
    };
    let forms = [
        pair("rsa.pem", "rsa.key"),
        pair("rsa.cer", "pkcs1.der"),
        pair("rsa.pem", "pkcs1.key"),
        pair("ec.pem", "sec1.key"),
        pair("ec.pem", "pkcs8.der"),
        locked("rsa.pem", "scrypt.key"),
        locked("rsa.cer", "pbkdf2.key"),
        locked("rsa.pem", "3des.key"),
        locked("rsa.pem", "rc2.key"),
        locked("modern.p12", ""),
        locked("rc2.p12", ""),
        locked("mixed.pfx", ""),
    ];
    let (cert, key, trust) = (rsa.cert.to_str().unwrap(), rsa.key.to_str().unwrap(), ca.file());
    let server = ["-www", "-cert", cert, "-key", key, "-CAfile", trust.to_str().unwrap()];
    let server = SServer::bare(&[&server[..], &["-Verify", "1", "-verify_return_error"]].concat());
    let mut config =
        "[runtime]\nworkers = 1\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n".to_owned();
    for (number, form) in forms.iter().enumerate() {
        config += &format!(
            "[[route]]\npath = \"=/{number}\"\nupstream = \"u{number}\"\n[upstream.u{number}]\n\
             endpoints = [\"{}\"]\n[upstream.u{number}.tls]\nserver_name = \"localhost\"\ntrust = [{:?}]\n\
             certificate = {form}\nrequire_client_auth = true\n",
            server.address(),
            at("ca.der")
        );
    }
    let ringate = Ringate::start_with(&config, |command| {
        command.env("CREDENTIALS_DIRECTORY", dir.path());
    });
    for (number, form) in forms.iter().enumerate() {
        let answer = ringate.get(&format!("/{number}"));
        assert_eq!(answer.status, 200, "{form}: {}", ringate.log());
        assert!(answer.text().contains("Client certificate"), "{form}: {}", answer.text());
    }
}
