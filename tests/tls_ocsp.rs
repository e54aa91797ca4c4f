//! OCSP stapling: responses from files and from OpenSSL's responder reach clients that ask for them, and no bad one does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::CustomExtension;
use serde_json::Value;

use crate::support::*;

const NONE: &str = "OCSP response: no response sent";
pub(crate) const GOOD: &str = "Cert Status: good";

/// A CA, a folder for responses, and the certificate's file with its chain.
pub(crate) struct Scene {
    ca: Crafted,
    dir: tempfile::TempDir,
    leaf: Files,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let ca = Crafted::new();
        let leaf = issue(&ca, "leaf", Vec::new());
        Self { ca, dir: tempfile::tempdir().unwrap(), leaf }
    }

    fn issue(&self, name: &str, extensions: Vec<CustomExtension>) -> Files {
        issue(&self.ca, name, extensions)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The index of OpenSSL's CA, in which these certificates are valid.
    fn index(&self, valid: &[&Files]) -> PathBuf {
        let lines = valid.iter().map(|files| {
            let output =
                run(Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(&files.cert));
            let serial = String::from_utf8(output.stdout).unwrap();
            format!("V\t491231235959Z\t\t{}\tunknown\t/CN=x\n", serial.trim().trim_start_matches("serial="))
        });
        fs::write(self.path("index"), lines.collect::<String>()).unwrap();
        self.path("index")
    }

    fn signing(&self, command: &mut Command) {
        let ca = self.ca.file();
        command.arg("-CA").arg(&ca).arg("-rsigner").arg(&ca).arg("-rkey").arg(ca.with_extension("key"));
    }

    /// Writes a response about a certificate, for a day.
    fn respond(&self, about: &Files, to: &Path) {
        let mut command = Command::new("openssl");
        command.arg("ocsp").arg("-index").arg(self.index(&[about]));
        self.signing(&mut command);
        command.arg("-issuer").arg(self.ca.file()).arg("-cert").arg(&about.cert);
        let output = run(command.args(["-ndays", "1", "-noverify", "-respout"]).arg(self.path("new")));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(self.path("new"), to).unwrap();
    }

    /// OpenSSL's responder for the certificate, whose responses are good for a day.
    pub(crate) fn daily_responder(&self) -> Responder {
        self.responder(&[&self.leaf], &["-ndays", "1"])
    }

    /// The config of a listener with the certificate.
    pub(crate) fn listener_tls(&self, ocsp: &str) -> String {
        format!("[listener.tls]\ncertificates = [{}]\nocsp = {ocsp}\n", self.leaf.toml())
    }

    /// OpenSSL's responder for a certificate.
    fn responder(&self, about: &[&Files], validity: &[&str]) -> Responder {
        let port = free_address().port();
        let mut command = Command::new("openssl");
        command.args(["ocsp", "-port", &port.to_string(), "-index"]).arg(self.index(about));
        self.signing(&mut command);
        let process = command.args(validity).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It serves one connection at a time: one that only finds out whether it is there would be in the way.
        Responder { process, url: format!("http://127.0.0.1:{port}") }
    }

    fn start(&self, ocsp: &str) -> Ringate {
        Setup::to(free_address()).section("[admin]").listener(&self.listener_tls(ocsp)).start()
    }

    fn check(&self, ocsp: &str) -> String {
        let tls = format!("[listener.tls]\ncertificates = [{}]\n{ocsp}\n", self.leaf.toml());
        fs::write(self.path("tried.toml"), Setup::to(free_address()).listener(&tls).text()).unwrap();
        let output = run(Ringate::command().args(["check", "-c"]).arg(self.path("tried.toml")));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }
}

/// A certificate with its issuer in the file.
fn issue(ca: &Crafted, name: &str, extensions: Vec<CustomExtension>) -> Files {
    let files = ca.issue(name, |params| params.custom_extensions = extensions);
    let chain = [&files.cert, &ca.file()].map(|file| fs::read_to_string(file).unwrap()).concat();
    fs::write(&files.cert, chain).unwrap();
    files
}

pub(crate) struct Responder {
    process: Child,
    pub(crate) url: String,
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A handshake of a client that asks for a response: what it prints. It must succeed.
fn asks(ringate: &Ringate, version: &str) -> String {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec openssl s_client \"$@\" < /dev/null",
        "s_client",
        "-status",
        version,
        "-connect",
    ]);
    let output = run(command.arg(ringate.address().to_string()));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("Cipher is ") && !said.contains("Cipher is (NONE)"), "{said}");
    said
}

#[track_caller]
pub(crate) fn gets(ringate: &Ringate, expected: &str) {
    for version in ["-tls1_2", "-tls1_3"] {
        let said = asks(ringate, version);
        assert!(said.contains(expected), "{version}: {expected} is not in {said}");
    }
}

/// The first certificate of the status.
fn status(ringate: &Ringate) -> Value {
    let status: Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    status["certificates"][0].clone()
}

#[test]
fn a_response_of_a_file_is_stapled_and_follows_its_certificate() {
    let mut scene = Scene::new();
    let file = scene.path("leaf.ocsp");
    scene.respond(&scene.leaf, &file);
    let ringate = scene.start(&format!("{{ file = {file:?} }}"));
    // From the first handshake on.
    gets(&ringate, GOOD);
    let ocsp = eventually("the status", || Some(status(&ringate)["ocsp"].clone()).filter(Value::is_object));
    assert!(ocsp["problem"].is_null() && ocsp["next_update"].is_string(), "{ocsp}");
    let metrics = ringate.admin("/metrics");
    let valid = metrics.lines().find(|line| line.starts_with("ringate_ocsp_response_valid_until_seconds{"));
    assert!(valid.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
    assert!(metrics.contains("ringate_ocsp_response_age_seconds{"), "{metrics}");
    // A client that does not ask gets none.
    let mut plain = Command::new("sh");
    plain.args(["-c", "exec openssl s_client -connect \"$@\" < /dev/null", "s_client"]);
    let said = String::from_utf8(run(plain.arg(ringate.address().to_string())).stdout).unwrap();
    assert!(!said.contains("OCSP Response Status"), "{said}");
    // Garbage in the file's place leaves what is stapled.
    fs::write(&file, "garbage").unwrap();
    ringate
        .await_log("it is no OCSP response in DER or PEM (RFC 6960); the response before is stapled until");
    gets(&ringate, GOOD);
    scene.respond(&scene.leaf, &file);
    ringate.await_log("is in order again");
    // The next certificate never has the response of the one before.
    let next = scene.issue("next", Vec::new());
    for (from, to) in [(&next.key, &scene.leaf.key), (&next.cert, &scene.leaf.cert)] {
        fs::copy(from, scene.path("copy")).unwrap();
        fs::rename(scene.path("copy"), to).unwrap();
    }
    ringate.await_log("changed: generation 2 is active");
    gets(&ringate, NONE);
    ringate.await_log("it is about another certificate");
    scene.leaf = next;
    scene.respond(&scene.leaf, &file);
    eventually("the new response", || asks(&ringate, "-tls1_3").contains(GOOD).then_some(()));
    gets(&ringate, GOOD);
}

#[test]
fn the_check_says_what_can_not_be_stapled() {
    let mut scene = Scene::new();
    let file = scene.path("leaf.ocsp");
    let of_file = format!("ocsp = {{ file = {file:?} }}");
    assert!(scene.check(&of_file).contains("No such file"));
    scene.respond(&scene.leaf, &file);
    assert_eq!(scene.check(&of_file), "");
    let other = scene.issue("other", Vec::new());
    scene.respond(&other, &file);
    let said = scene.check(&of_file);
    assert!(said.contains("it is about another certificate") && said.contains("handshakes go on"), "{said}");
    assert!(scene.check("ocsp = { fetch = true }").contains("names no OCSP responder"));
    let must_staple =
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
    scene.leaf = scene.issue("must", vec![must_staple]);
    let said = scene.check("");
    assert!(
        said.contains("must-staple, RFC 7633") && said.contains("add `ocsp = { fetch = true }`"),
        "{said}"
    );
    // Without its issuer there is nothing to compare a response with.
    scene.leaf = scene.ca.issue("alone", |_| {});
    assert!(scene.check(&of_file).contains("add it to the chain's file"));
}

#[test]
fn a_response_is_fetched_and_fetched_again_at_half_of_its_validity() {
    let scene = Scene::new();
    let responder = scene.responder(&[&scene.leaf], &["-nmin", "1"]);
    let ringate = scene.start(&format!("{{ fetch = true, url = {:?} }}", responder.url));
    eventually("the response", || asks(&ringate, "-tls1_3").contains(GOOD).then_some(()));
    gets(&ringate, GOOD);
    let made = |ringate: &Ringate| status(ringate)["ocsp"]["this_update"].as_str().map(str::to_owned);
    let first = made(&ringate).unwrap();
    let begun = Instant::now();
    while made(&ringate).unwrap() == first {
        assert!(begun.elapsed() < Duration::from_secs(50), "{first}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(begun.elapsed() > Duration::from_secs(15), "{:?}", begun.elapsed());
    // The responder goes away: the last response stays.
    drop(responder);
    gets(&ringate, GOOD);
}

#[test]
fn the_url_is_the_certificates_own() {
    let mut scene = Scene::new();
    // The port is known before the certificate is: the responder finds its serial number in the index only when asked.
    let port = free_address().port();
    let url = format!("http://127.0.0.1:{port}");
    let length = u8::try_from(url.len()).unwrap();
    let head = [0x30, length + 14, 0x30, length + 12, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 0x86, length];
    let access = [&head[..], url.as_bytes()].concat();
    scene.leaf =
        scene.issue("own", vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)]);
    let ringate = scene.start("{ fetch = true }");
    gets(&ringate, NONE);
    ringate.await_log(&format!("OCSP: {url}: "));
    let mut command = Command::new("openssl");
    command
        .args(["ocsp", "-port", &port.to_string(), "-ndays", "1", "-index"])
        .arg(scene.index(&[&scene.leaf]));
    scene.signing(&mut command);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _responder = Responder { process, url };
    // The next attempt is made after five seconds.
    eventually("the response", || asks(&ringate, "-tls1_3").contains(GOOD).then_some(()));
    ringate.await_log("is in order again");
}

#[test]
fn responders_that_misbehave_fail_no_handshake() {
    let scene = Scene::new();
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let garbage = Backend::replying(ok("hello"));
    let huge = Backend::replying(ok(&"x".repeat(1 << 20)));
    let silent = Backend::start(|connection| connection.rest().map(drop));
    let refusing = Backend::replying("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    for (address, said) in [
        (garbage.address(), "its response can't be used: it is no OCSP response"),
        (huge.address(), "the response is too long"),
        (silent.address(), "in time"),
        (refusing.address(), "the response is 503"),
        (free_address(), "OCSP: http://127.0.0.1:"),
    ] {
        let ringate = scene.start(&format!("{{ fetch = true, url = \"http://{address}\" }}"));
        gets(&ringate, NONE);
        ringate.await_log(said);
        ringate.await_log("nothing is stapled");
        gets(&ringate, NONE);
        let failures = status(&ringate)["ocsp"]["failures"].as_u64();
        assert!(failures.is_some_and(|count| count > 0), "{failures:?}");
    }
    // Where GET is refused, it is asked by POST.
    let requests: Vec<String> = (0..2).map(|_| refusing.request().head.clone()).collect();
    assert!(requests[0].starts_with("GET /") && requests[1].starts_with("POST / "), "{requests:?}");
}
