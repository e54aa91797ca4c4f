//! TLS backends as they are met: OpenSSL's `s_server`, nginx, HAProxy and Node, each with every kind of key, every suite of
//! both versions, with and without a client certificate. What must work works, and both sides say the same of it; what must
//! not is refused in words that say what to do.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use rcgen::DnType;
use serde_json::Value;

use crate::support::*;

/// A suite: OpenSSL's name, ours, its version, and for TLS 1.2 whether it is one for ECDSA and Ed25519 keys.
type Suite = (&'static str, &'static str, Version, Option<bool>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Tls12,
    Tls13,
}

use Version::{Tls12, Tls13};

impl Version {
    const BOTH: [Self; 2] = [Tls12, Tls13];

    fn other(self) -> Self {
        if self == Tls12 { Tls13 } else { Tls12 }
    }

    /// As OpenSSL, nginx, HAProxy and Node name it.
    fn name(self) -> &'static str {
        if self == Tls12 { "TLSv1.2" } else { "TLSv1.3" }
    }

    /// As the config and the status name it.
    fn number(self) -> &'static str {
        if self == Tls12 { "1.2" } else { "1.3" }
    }
}

const SUITES: [Suite; 9] = [
    ("TLS_AES_128_GCM_SHA256", "TLS13_AES_128_GCM_SHA256", Tls13, None),
    ("TLS_AES_256_GCM_SHA384", "TLS13_AES_256_GCM_SHA384", Tls13, None),
    ("TLS_CHACHA20_POLY1305_SHA256", "TLS13_CHACHA20_POLY1305_SHA256", Tls13, None),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Tls12, Some(true)),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Tls12, Some(true)),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Tls12, Some(true)),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Tls12, Some(false)),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Tls12, Some(false)),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Tls12, Some(false)),
];

/// `-newkey` of each kind, and whether its suites in TLS 1.2 are those of ECDSA.
const KEYS: [(&str, bool); 6] = [
    ("rsa:1024", false),
    ("rsa:2048", false),
    ("rsa:4096", false),
    ("ec:", true),
    ("ec384:", true),
    ("ed25519", true),
];
const WEAK: usize = 0;
const P256: usize = 3;

/// Made once: large RSA keys take their time.
static MADE: LazyLock<Made> = LazyLock::new(Made::new);

struct Made {
    ca: Crafted,
    keys: Vec<Files>,
    /// A certificate of the CA, and one of no CA.
    client: Files,
    stranger: Files,
    strangers: Crafted,
}

impl Made {
    fn new() -> Self {
        let (ca, strangers) = (Crafted::new(), Crafted::new());
        let issue = |ca: &Crafted, name: &str| {
            ca.issue(name, |params| {
                params.distinguished_name.push(DnType::CommonName, name);
                params.extended_key_usages.clear();
            })
        };
        Self {
            keys: KEYS.iter().map(|(key, _)| ca.openssl(&key.replace(':', ""), key, "-sha256")).collect(),
            client: issue(&ca, "matrix-client"),
            stranger: issue(&strangers, "stranger"),
            ca,
            strangers,
        }
    }
}

/// Where a program listens with one key.
#[derive(Clone, Copy, Debug)]
struct Door {
    key: usize,
    /// It demands a client certificate.
    mutual: bool,
    /// The only version that it speaks, with AES-256 alone.
    only: Option<Version>,
}

/// Each key with and without, then each version alone.
fn doors() -> Vec<Door> {
    let both = (0..KEYS.len()).flat_map(|key| [false, true].map(|mutual| Door { key, mutual, only: None }));
    let alone = Version::BOTH.map(|only| Door { key: P256, mutual: false, only: Some(only) });
    let mutual = Version::BOTH.map(|only| Door { key: P256, mutual: true, only: Some(only) });
    both.chain(alone).chain(mutual).collect()
}

/// What all of them are allowed: RSA-1024 too.
const CIPHERS: &str = "DEFAULT:@SECLEVEL=0";
const ONE: [&str; 2] = ["ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_AES_256_GCM_SHA384"];

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The programs, kept alive, and where their doors are.
struct Backends<P> {
    _programs: P,
    doors: Vec<(Door, SocketAddr)>,
}

fn s_servers() -> Backends<Vec<SServer>> {
    let ca = MADE.ca.file();
    let start = |door: &Door| {
        let files = &MADE.keys[door.key];
        let mut args =
            vec!["-www", "-cert", path(&files.cert), "-key", path(&files.key), "-CAfile", path(&ca)];
        if door.mutual {
            args.extend(["-Verify", "1", "-verify_return_error"]);
        }
        args.extend(match door.only {
            None => ["-cipher", CIPHERS].as_slice(),
            Some(Tls12) => &["-tls1_2", "-cipher", ONE[0]],
            Some(Tls13) => &["-tls1_3", "-ciphersuites", ONE[1]],
        });
        SServer::bare(&args)
    };
    let programs: Vec<SServer> = doors().iter().map(start).collect();
    let doors = doors().into_iter().zip(programs.iter().map(SServer::address)).collect();
    Backends { _programs: programs, doors }
}

fn nginx() -> Backends<Nginx> {
    let ca = MADE.ca.file();
    let server = |door: &Door| {
        let files = &MADE.keys[door.key];
        let mut lines = format!(
            "ssl_certificate {};\nssl_certificate_key {};\n\
             location / {{ return 200 \"$ssl_protocol $ssl_cipher $ssl_client_s_dn\"; }}\n",
            path(&files.cert),
            path(&files.key)
        );
        if door.mutual {
            let _ = writeln!(lines, "ssl_client_certificate {};\nssl_verify_client on;", path(&ca));
        }
        let _ = match door.only {
            None => writeln!(lines, "ssl_protocols TLSv1.2 TLSv1.3;\nssl_ciphers {CIPHERS};"),
            Some(Tls12) => writeln!(lines, "ssl_protocols TLSv1.2;\nssl_ciphers {};", ONE[0]),
            Some(Tls13) => {
                writeln!(lines, "ssl_protocols TLSv1.3;\nssl_conf_command Ciphersuites {};", ONE[1])
            }
        };
        lines
    };
    let servers: Vec<String> = doors().iter().map(server).collect();
    let program = Nginx::several(" ssl", &servers);
    let doors = doors().into_iter().zip(program.addresses().iter().copied()).collect();
    Backends { _programs: program, doors }
}

fn haproxy() -> Backends<HaProxy> {
    let ca = MADE.ca.file();
    let bind = |door: &Door| {
        let files = &MADE.keys[door.key];
        // Certificate and key in one file, as it wants them.
        let both = files.cert.with_extension("both.pem");
        let text = [&files.cert, &files.key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
        std::fs::write(&both, text).unwrap();
        let mut options = format!("crt {}", path(&both));
        if door.mutual {
            let _ = write!(options, " ca-file {} verify required", path(&ca));
        }
        let _ = match door.only {
            None => write!(options, " ssl-min-ver TLSv1.2 ciphers {CIPHERS}"),
            Some(Tls12) => write!(options, " ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2 ciphers {}", ONE[0]),
            Some(Tls13) => write!(options, " ssl-min-ver TLSv1.3 ciphersuites {}", ONE[1]),
        };
        options
    };
    let binds: Vec<String> = doors().iter().map(bind).collect();
    let program = HaProxy::answering("%[ssl_fc_protocol] %[ssl_fc_cipher] CN=%[ssl_c_s_dn(cn)]", &binds);
    let doors = doors().into_iter().zip(program.addresses().iter().copied()).collect();
    Backends { _programs: program, doors }
}

fn node() -> Backends<Node> {
    let ca = MADE.ca.file();
    let options = |door: &Door| {
        let files = &MADE.keys[door.key];
        let (low, high, ciphers) = match door.only {
            None => {
                let suites = SUITES.iter().filter(|suite| suite.2 == Tls13).map(|suite| suite.0);
                let suites: Vec<&str> = suites.chain([CIPHERS]).collect();
                (Tls12, Tls13, suites.join(":"))
            }
            Some(only) => (only, only, ONE[usize::from(only == Tls13)].to_owned()),
        };
        format!(
            "{{ cert: fs.readFileSync({:?}), key: fs.readFileSync({:?}), ca: fs.readFileSync({ca:?}), \
             requestCert: {}, minVersion: '{}', maxVersion: '{}', ciphers: '{ciphers}' }}",
            files.cert,
            files.key,
            door.mutual,
            low.name(),
            high.name()
        )
    };
    let all: Vec<String> = doors().iter().map(options).collect();
    let program = Node::start(&format!(
        "const fs = require('fs'), https = require('https'), once = require('events').once;\n\
         (async () => {{\n\
         const ports = [];\n\
         for (const options of [{}]) {{\n\
         const server = https.createServer(options, (req, res) => {{\n\
         const socket = req.socket, subject = (socket.getPeerCertificate() || {{}}).subject || {{}};\n\
         res.end(socket.getProtocol() + ' ' + socket.getCipher().name + ' CN=' + (subject.CN || ''));\n\
         }});\n\
         server.listen(0, '127.0.0.1');\n\
         await once(server, 'listening');\n\
         ports.push(server.address().port);\n\
         }}\n\
         console.log('all ' + ports.join(' '));\n\
         console.log('listening ' + ports[0]);\n\
         }})();\n",
        all.join(",\n")
    ));
    let log = program.log();
    let ports = log.lines().find_map(|line| line.strip_prefix("all ")).unwrap();
    let addresses = ports.split(' ').map(|port| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
    let doors = doors().into_iter().zip(addresses).collect();
    Backends { _programs: program, doors }
}

impl<P> Backends<P> {
    fn at(&self, fits: impl Fn(&Door) -> bool) -> SocketAddr {
        self.doors.iter().find(|(door, _)| fits(door)).unwrap().1
    }
}

/// Many upstreams of one instance, each with a path of its own.
#[derive(Default)]
struct Upstreams(String);

impl Upstreams {
    /// An upstream whose `[upstream.NAME.tls]` has these lines besides.
    fn add(&mut self, name: &str, address: SocketAddr, (server_name, ca): (&str, &Crafted), lines: &str) {
        let trust = ca.file();
        let _ = write!(
            self.0,
            "[[route]]\npath = \"=/{name}\"\nupstream = \"{name}\"\n\
             [upstream.{name}]\nendpoints = [\"{address}\"]\n\
             [upstream.{name}.tls]\nserver_name = \"{server_name}\"\ntrust = [{trust:?}]\n{lines}\n"
        );
    }

    fn start(&self) -> Ringate {
        let listener =
            "[runtime]\nworkers = 1\n[admin]\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n";
        Ringate::start(&(listener.to_owned() + &self.0))
    }
}

/// The one endpoint of each upstream, by the upstream's name.
fn endpoint<'s>(status: &'s Value, name: &str) -> &'s Value {
    let mut upstreams = status["upstreams"].as_array().unwrap().iter();
    let found = upstreams.find(|upstream| upstream["name"] == name).unwrap();
    &found["backend_tls"]["endpoints"][0]
}

fn status(ringate: &Ringate) -> Value {
    serde_json::from_str(&ringate.admin("/v1/status")).unwrap()
}

/// Every suite with every key that it goes with, with and without a client certificate.
fn everything_that_must_work<P>(backends: &Backends<P>) {
    let mut upstreams = Upstreams::default();
    let mut cases = Vec::new();
    for (door, address) in backends.doors.iter().filter(|(door, _)| door.only.is_none()) {
        let (key, ecdsa) = KEYS[door.key];
        for suite in SUITES.iter().filter(|suite| suite.3.is_none_or(|wanted| wanted == ecdsa)) {
            let mut lines = format!("cipher_suites = [\"{}\"]\n", suite.1);
            if door.key == WEAK {
                lines += "min_rsa_bits = 1024\n";
            }
            if door.mutual {
                let _ = writeln!(lines, "certificate = {}\nrequire_client_auth = true", MADE.client.toml());
            }
            let name = format!(
                "{}-{}-{}",
                key.replace(':', ""),
                suite.1,
                if door.mutual { "mutual" } else { "one-way" }
            );
            upstreams.add(&name, *address, ("localhost", &MADE.ca), &lines);
            cases.push((name, suite, door.mutual));
        }
    }
    assert_eq!(cases.len(), 2 * (6 * 3 + 3 * 3 + 3 * 3));
    let ringate = upstreams.start();
    for (name, suite, mutual) in &cases {
        let response = ringate.get(&format!("/{name}"));
        assert_eq!(response.status, 200, "{name}: {}", ringate.log());
        // What the backend saw.
        let seen = response.text();
        for part in [suite.2.name(), suite.0] {
            assert!(seen.contains(part), "{name}: {part}: {seen}");
        }
        let knows_us = seen.contains("CN=matrix-client") || seen.contains("CN = matrix-client");
        assert_eq!(knows_us, *mutual, "{name}: {seen}");
    }
    let status = status(&ringate);
    for (name, suite, mutual) in &cases {
        let endpoint = endpoint(&status, name);
        let seen = &endpoint["handshake"];
        assert_eq!(seen["cipher"], suite.1, "{name}");
        assert_eq!(seen["version"], format!("TLS {}", suite.2.number()), "{name}");
        assert_eq!(seen["client_certificate"], if *mutual { "presented" } else { "not_asked" }, "{name}");
        assert!(seen["chain"][0]["subject"].as_str().unwrap().contains("localhost"), "{name}: {seen}");
        assert!(endpoint["failure"].is_null(), "{name}: {endpoint}");
    }
}

/// How a program says no to our certificate, or to its lack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// By an alert.
    Alert,
    /// It closes without a word where the certificate is not to its taste.
    Close,
    /// In HTTP.
    Http,
}

/// What must not work, and parts of the line that an operator reads.
fn everything_that_must_not<P>(backends: &Backends<P>, refusal: Refusal) {
    let mut upstreams = Upstreams::default();
    let mut cases: Vec<(String, Vec<&str>)> = Vec::new();
    let (ca, strangers) = (("localhost", &MADE.ca), ("localhost", &MADE.strangers));
    for version in Version::BOTH {
        let number = version.number();
        let only = format!("versions = [\"{number}\"]\n");
        let mut add = |what: &str, address: SocketAddr, trust, lines: &str, words: &[&'static str]| {
            let name = format!("{what}-{}", number.replace('.', ""));
            upstreams.add(&name, address, trust, &(only.clone() + lines));
            cases.push((name, words.to_vec()));
        };
        let open = backends.at(|door| door.key == P256 && !door.mutual && door.only.is_none());
        let weak = backends.at(|door| door.key == WEAK && !door.mutual);
        let words = [
            "RSA key has 1024 bits, and `min_rsa_bits` is 2048",
            "lower `tls.min_rsa_bits`",
            "reason=weak_key",
        ];
        add("weak", weak, ca, "", &words);
        let words = ["not issued by anything that is trusted", "to `tls.trust`", "reason=unknown_issuer"];
        add("unknown", open, strangers, "", &words);
        let words = ["is not for other.example", "set `tls.server_name`", "reason=wrong_name"];
        add("name", open, ("other.example", &MADE.ca), "", &words);

        let elsewhere = backends.at(|door| door.only == Some(version.other()) && !door.mutual);
        let words = ["protocol_version", "see `tls.versions`, and what the backend allows"];
        add("version", elsewhere, ca, "", &words);
        let suites = |fits: fn(&Suite) -> bool| {
            let suite = SUITES.iter().find(|suite| suite.2 == version && fits(suite)).unwrap().1;
            format!("cipher_suites = [\"{suite}\"]")
        };
        // This one takes AES-256 alone.
        let alone = backends.at(|door| door.only == Some(version) && !door.mutual);
        let words = ["handshake_failure", "`tls.cipher_suites`", "did not request a client certificate"];
        add("suite", alone, ca, &suites(|suite| suite.3 != Some(false)), &words);
        if version == Tls12 {
            add("suite-for-rsa", open, ca, &suites(|suite| suite.3 == Some(false)), &words);
        }

        let ours = format!("certificate = {}\n", MADE.client.toml());
        let words = ["the backend did not ask for our certificate", "drop `tls.require_client_auth`"];
        add("unasked", open, ca, &(ours + "require_client_auth = true"), &words);
        if refusal == Refusal::Http {
            continue;
        }
        let mutual = backends.at(|door| door.only == Some(version) && door.mutual);
        let alert = if version == Tls12 { "handshake_failure" } else { "certificate_required" };
        add(
            "lacking",
            mutual,
            ca,
            "",
            &[alert, "certificate", "name one that it trusts in `tls.certificate`"],
        );
        let words = match refusal {
            Refusal::Alert => ["unknown_ca", "let the backend trust the CA of our certificate"],
            _ => ["may have refused our certificate", "its own log may have the reason"],
        };
        add("stranger", mutual, ca, &format!("certificate = {}", MADE.stranger.toml()), &words);
    }
    let ringate = upstreams.start();
    for (name, words) in &cases {
        assert_eq!(ringate.get(&format!("/{name}")).status, 502, "{name}: {}", ringate.log());
        let line = ringate.await_log(&format!("upstream=\"{name}\""));
        for part in words {
            assert!(line.contains(part), "{name}: {part}: {line}");
        }
    }
}

#[test]
fn openssl_s_server() {
    let backends = s_servers();
    everything_that_must_work(&backends);
    everything_that_must_not(&backends, Refusal::Alert);
}

#[test]
fn nginx_of_every_kind() {
    let backends = nginx();
    everything_that_must_work(&backends);
    everything_that_must_not(&backends, Refusal::Http);
}

#[test]
fn haproxy_of_every_kind() {
    let backends = haproxy();
    everything_that_must_work(&backends);
    everything_that_must_not(&backends, Refusal::Alert);
}

#[test]
fn node_of_every_kind() {
    let backends = node();
    everything_that_must_work(&backends);
    everything_that_must_not(&backends, Refusal::Close);
}
