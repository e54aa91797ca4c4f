//! Certificates that Ringate itself presents: of odd kinds, out of their time, in files with too much in them. Whether a
//! certificate is acceptable is for the peer to say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const CNF: &str = "[req]\ndistinguished_name=dn\n[dn]\n";

/// A folder in which `openssl` makes keys and certificates.
struct Maker(TempDir);

impl Maker {
    fn new() -> Self {
        let maker = Self(tempfile::tempdir().unwrap());
        fs::write(maker.0.path().join("cnf"), CNF).unwrap();
        maker.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 9");
        maker
    }

    #[track_caller]
    fn openssl(&self, words: &str) {
        let output = run(Command::new("openssl").args(words.split(' ')).current_dir(self.0.path()));
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A certificate by the CA for the key `key`, whose name is `kind`, made with `words` besides.
    fn issue(&self, kind: &str, key: &str, words: &str) -> Files {
        self.openssl(&format!("req -new -key {key} -out {kind}.csr -subj /CN={kind}"));
        let sign = format!("x509 -req -in {kind}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9");
        self.openssl(format!("{sign} -out {kind}.pem {words}").trim());
        Files { cert: self.at(&format!("{kind}.pem")), key: self.at(key) }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.at(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }
}

/// What a client of `name` is shown: PEM, leaf first.
fn shown(ringate: &Ringate, name: &str) -> Vec<String> {
    let address = ringate.address_of("tls").to_string();
    let words = ["s_client", "-showcerts", "-connect", &address, "-servername", name];
    let said = run(Command::new("openssl").args(words)).stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let sections = said.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = sections.filter_map(|section| section.split_once("-----END CERTIFICATE-----"));
    let all: Vec<String> = bodies.map(|(body, _)| body.split_whitespace().collect()).collect();
    assert!(!all.is_empty(), "{said}");
    all
}

/// The same of a file.
fn held(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let sections = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = sections.filter_map(|section| section.split_once("-----END CERTIFICATE-----"));
    bodies.map(|(body, _)| body.split_whitespace().collect()).collect()
}

/// A second listener, `tls`, that presents these.
fn listener(certificates: &[String]) -> String {
    let certificates = certificates.join(", ");
    format!("[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\ntls.certificates = [{certificates}]\n")
}

const ROUTE: &str = "[[route]]\nlistener = [\"web\", \"tls\"]\nupstream = \"app\"";

#[test]
fn certificates_of_odd_kinds_are_presented_to_clients_and_backends() {
    let maker = Maker::new();
    maker.openssl("genrsa -out rsa.key 2048");
    maker.openssl("ecparam -name prime256v1 -genkey -noout -out ec.key");
    maker.openssl("ec -in ec.key -conv_form compressed -out compressed.key");
    maker.write("policies", "certificatePolicies=critical,1.2.3.4\n");
    maker.write("unknown", "1.2.3.4.5=critical,ASN1:NULL\n");
    maker.write("names", "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:TRUE\n");
    let crafted = Crafted::new();
    let old = crafted.issue("old", |params| params.not_before = rcgen::date_time_ymd(1951, 1, 1));
    let kinds = [
        ("v1", maker.issue("v1", "rsa.key", "")),
        ("policies", maker.issue("policies", "rsa.key", "-extfile policies")),
        ("unknown", maker.issue("unknown", "ec.key", "-extfile unknown")),
        ("names", maker.issue("names", "ec.key", "-extfile names")),
        ("compressed", maker.issue("compressed", "compressed.key", "-extfile names")),
        (
            "salt20",
            maker.issue("salt20", "ec.key", "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20"),
        ),
        (
            "saltmax",
            maker.issue("saltmax", "ec.key", "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-2"),
        ),
        ("sha1", maker.issue("sha1", "ec.key", "-sha1 -extfile names")),
        ("old", old),
    ];
    let pki = Pki::new();
    let backend = SServer::start(&pki, &["-www", "-Verify", "1"]);
    for (kind, files) in kinds {
        let upstream = format!("{}certificate = {}\n", pki.upstream_tls(), files.toml());
        let setup = Setup::to(backend.address()).section(&listener(&[files.toml()])).routes(ROUTE);
        let ringate = setup.upstream(&upstream).start();
        assert_eq!(shown(&ringate, "localhost"), held(&files.cert), "{kind}");
        let answer = Client::connect(ringate.address_of("web")).send(GET).response();
        let text = answer.text();
        assert!(
            answer.status == 200 && text.contains("Client certificate"),
            "{kind}: {text}\n{}",
            ringate.log()
        );
    }
}

#[test]
fn a_file_with_too_much_in_it_in_any_order_presents_the_chain_and_a_warning_says_what_is_left_out() {
    let maker = Maker::new();
    maker.openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -subj /CN=other -days 9",
    );
    maker.openssl("genrsa -out rsa.key 2048");
    let leaf = maker.issue("leaf", "rsa.key", "");
    let [one, ca, other] = ["leaf.pem", "ca.pem", "other.pem"].map(|name| maker.read(name));
    let whole = [held(&leaf.cert), held(&maker.at("ca.pem"))].concat();
    let backend = Backend::replying(crate::http::OK);
    for (text, warning) in [
        (format!("{one}{one}{ca}"), "certificate 2 (CN=leaf) is the same as certificate 1"),
        (format!("{one}{ca}{ca}"), "certificate 3 (CN=ca) is the same as certificate 2"),
        (
            format!("{ca}{one}"),
            "out of order; they are presented in this order: CN=leaf (now 2), then CN=ca (now 1)",
        ),
        (
            format!("{one}{ca}{other}"),
            "certificate 3 (CN=other) issued none of the others: it is not presented",
        ),
        (format!("{one}{other}{ca}"), "certificate 2 (CN=other) issued none of the others"),
    ] {
        maker.write("chain.pem", &text);
        let files = Files { cert: maker.at("chain.pem"), key: leaf.key.clone() };
        let setup = Setup::to(backend.address()).section(&listener(&[files.toml()])).routes(ROUTE);
        let ringate = setup.start();
        assert_eq!(shown(&ringate, "localhost"), whole, "{warning}");
        let config = ringate.dir().join("ringate.toml");
        let checked = run(Ringate::command().args(["check", "-c"]).arg(config));
        let said = [checked.stdout, checked.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(checked.status.success() && said.contains(warning), "{warning}: {said}");
    }
}

#[test]
fn a_name_with_a_trailing_dot_is_the_name() {
    let authority = Authority::new();
    let leaf = |name: &'static str| Leaf { common_name: name, ..Leaf::default() };
    let other = authority.issue("other", &Leaf { names: &["other.test"], ..leaf("other") });
    let asked = authority.issue("asked", &Leaf { names: &["localhost", "*.wild.test"], ..leaf("asked") });
    let backend = Backend::replying(crate::http::OK);
    let section = listener(&[other.toml(), asked.toml()]);
    let ringate = Setup::to(backend.address()).section(&section).routes(ROUTE).start();
    for name in ["localhost", "localhost.", "LOCALHOST.", "a.wild.test."] {
        assert_eq!(shown(&ringate, name)[0], held(&asked.cert)[0], "{name}");
    }
    for name in ["other.test.", "wild.test.", "a.b.wild.test"] {
        assert_eq!(shown(&ringate, name)[0], held(&other.cert)[0], "{name}");
    }
}

#[test]
fn a_certificate_that_is_not_valid_yet_keeps_nothing_from_a_start_or_a_reload() {
    let crafted = Crafted::new();
    let tomorrow = time::OffsetDateTime::now_utc() + time::Duration::days(1);
    let early = crafted.issue("early", |params| params.not_before = tomorrow);
    let new = crafted.issue("new", |params| params.not_before = tomorrow);
    let backend = Backend::replying(crate::http::OK);
    let ringate = Setup::to(backend.address()).section(&listener(&[early.toml()])).routes(ROUTE).start();
    ringate.await_log("is valid only from");
    assert_eq!(shown(&ringate, "localhost"), held(&early.cert));
    ringate.await_log("it is presented all the same; check this machine's clock");
    let config = ringate.dir().join("ringate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let checked = run(Ringate::command().args(["check", "-c"]).arg(&config));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    fs::write(
        &config,
        format!("{text}\n[[route]]\nlistener = \"web\"\npath = \"/x\"\nrespond = {{ status = 204 }}\n"),
    )
    .unwrap();
    ringate.signal(Signal::HUP);
    ringate.await_log("reloaded");
    // Another one that is not valid yet is a mistake, as one that has expired is.
    fs::write(&config, text.replace(&early.toml(), &new.toml())).unwrap();
    ringate.signal(Signal::HUP);
    let log = ringate.await_log("what ran before");
    assert!(!log.contains("changed, but is no good"), "{log}");
    assert_eq!(shown(&ringate, "localhost"), held(&early.cert));
}

#[test]
fn a_passphrase_that_others_may_read_is_warned_of() {
    let maker = Maker::new();
    maker.write("secret", "\u{FEFF}s3cret\r\n");
    maker.openssl("genrsa -out rsa.key 2048");
    let leaf = maker.issue("leaf", "rsa.key", "");
    maker.openssl("rsa -in rsa.key -traditional -aes256 -out locked.key -passout pass:s3cret");
    fs::set_permissions(maker.at("locked.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let files = format!(
        "{{ cert = {:?}, key = {:?}, passphrase_file = {:?} }}",
        leaf.cert,
        maker.at("locked.key"),
        maker.at("secret")
    );
    let backend = Backend::replying(crate::http::OK);
    let ringate = Setup::to(backend.address()).section(&listener(&[files])).routes(ROUTE).start();
    assert_eq!(shown(&ringate, "localhost"), held(&leaf.cert));
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(maker.at("secret"), fs::Permissions::from_mode(mode)).unwrap();
        let config = ringate.dir().join("ringate.toml");
        let checked = run(Ringate::command().args(["check", "-c"]).arg(config));
        let said = [checked.stdout, checked.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(checked.status.success(), "{said}");
        assert_eq!(said.contains("others may access this passphrase (mode 0644)"), warned, "{said}");
    }
}
