//! The certificate store through `ringate cert`: what each command does, refuses and never says.

mod crash;
mod files;
mod running;
mod writers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::*;

/// A folder with a config and its store.
struct Shop {
    dir: TempDir,
}

const LISTENER: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n";
const ROUTE: &str = "[[route]]\nupstream = \"app\"\n";
const UPSTREAM: &str = "[upstream.app]\nendpoints = [\"127.0.0.1:9\"]\n";

impl Shop {
    fn new() -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        shop.configure("", "");
        shop
    }

    /// Lines for the listener and for the upstream.
    fn configure(&self, listener: &str, upstream: &str) {
        self.write("ringate.toml", &format!("{LISTENER}{listener}\n{ROUTE}{UPSTREAM}{upstream}\n"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// `ringate cert` with these words, to its end.
    fn cert(&self, words: &str) -> Output {
        run(Ringate::command()
            .current_dir(self.dir.path())
            .arg("cert")
            .args(words.split(' '))
            .args(["-c", "ringate.toml"]))
    }

    /// The same; it must succeed. Returns what it printed.
    #[track_caller]
    fn did(&self, words: &str) -> String {
        let output = self.cert(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{words}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, as JSON.
    #[track_caller]
    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.did(&format!("{words} --json"))).unwrap()
    }

    /// The same; it must fail with this exit code. Returns what it said.
    #[track_caller]
    fn refused(&self, words: &str, code: i32) -> String {
        let output = self.cert(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words}: {said}");
        said
    }

    /// `openssl` in the folder.
    #[track_caller]
    fn openssl(&self, words: &str) {
        let output =
            run(std::process::Command::new("openssl").args(words.split(' ')).current_dir(self.dir.path()));
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Active, staged and previous of `show --json`.
fn states(shown: &Value) -> [Option<u64>; 3] {
    ["active", "staged", "previous"].map(|state| shown[state].as_u64())
}

#[test]
fn a_certificate_lives_from_generate_to_delete() {
    let shop = Shop::new();
    let made = shop.json(
        "generate gateway --common-name gateway.example --organization Acme --organization Group \
         --organizational-unit Ops --country de --state Bayern --locality Augsburg --serial-number 4711 \
         --san DNS:gateway.example,IP:192.0.2.1 --san URI:spiffe://example/gateway --days 90 --key-type ecdsa-p384 \
         --usage client --description orders",
    );
    assert_eq!(
        (&made["id"], &made["generation"], &made["state"]),
        (&"gateway".into(), &1.into(), &"active".into())
    );
    assert!(made["pem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(made["expires"].is_string() && made["created"].is_string());

    let shown = shop.json("show gateway");
    let generation = &shown["generations"][0];
    let subject =
        "C=DE, ST=Bayern, L=Augsburg, O=Acme, O=Group, OU=Ops, serialNumber=4711, CN=gateway.example";
    assert_eq!(generation["subject"], subject);
    assert_eq!(generation["sans"][2], "URI:spiffe://example/gateway");
    assert_eq!((&generation["key_type"], &generation["key_bits"]), (&"ECDSA P-384".into(), &384.into()));
    assert_eq!(generation["has_key"], true);
    let days = generation["days_left"].as_u64().unwrap();
    assert!((89..=90).contains(&days), "whole days, rounded down: {days}");
    assert_eq!(generation["usages"], serde_json::json!(["client"]));
    assert_eq!(shown["description"], "orders");

    // A successor says the same, with another key.
    let staged = shop.json("stage gateway --generate");
    assert_eq!((&staged["generation"], &staged["state"]), (&2.into(), &"staged".into()));
    let shown = shop.json("show gateway");
    assert_eq!(states(&shown), [Some(1), Some(2), None]);
    let (new, old) = (&shown["generations"][0], &shown["generations"][1]);
    for key in ["subject", "sans", "usages", "key_type"] {
        assert_eq!(new[key], old[key], "{key}");
    }
    assert_ne!(new["spki_sha256"], old["spki_sha256"]);

    // Nothing presents it to a backend, so it needs no trial.
    assert!(shop.did("activate gateway").contains("generation 2 is active"));
    assert_eq!(states(&shop.json("show gateway")), [Some(2), None, Some(1)]);
    shop.did("rollback gateway");
    assert_eq!(states(&shop.json("show gateway")), [Some(1), Some(2), None]);
    shop.did("activate gateway --generation 2");
    shop.did("describe gateway billing");
    let listed = shop.json("list");
    let entry = &listed["certificates"][0];
    assert_eq!(
        (&entry["name"], &entry["description"], &entry["active"]),
        (&"gateway".into(), &"billing".into(), &2.into())
    );
    assert!(shop.did("list").contains("gateway"));

    shop.did("delete gateway");
    assert_eq!(shop.json("list")["certificates"], serde_json::json!([]));
    assert!(shop.refused("show gateway", 1).contains("there is no certificate \"gateway\""));
}

#[test]
fn a_request_is_signed_by_a_ca_and_its_certificate_completes_it() {
    let shop = Shop::new();
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca");
    let request = shop.did("generate gateway --common-name gateway.example --csr");
    assert!(
        request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"),
        "to standard output alone: {request}"
    );
    assert_eq!(shop.did("export gateway --part request"), request);
    let again = shop.refused("generate gateway --common-name gateway.example --csr", 1);
    assert!(again.contains("waits for its certificate") && again.contains("--force"), "{again}");
    assert!(shop.refused("activate gateway", 1).contains("nothing is staged"));

    shop.write("gateway.csr", &request);
    shop.openssl("x509 -req -in gateway.csr -CA ca.pem -CAkey ca.key -out gateway.pem -days 30");
    // Another's certificate is not the one that is waited for.
    let other = shop.refused("import gateway --cert ca.pem", 1);
    assert!(other.contains("does not belong"), "{other}");
    // What openssl made is valid from this second on.
    let imported = eventually("the certificate being valid", || {
        let output = shop.cert("import gateway --cert gateway.pem --json");
        output.status.success().then_some(output.stdout)
    });
    let imported: Value = serde_json::from_slice(&imported).unwrap();
    assert_eq!(imported["state"], "active");
    let shown = shop.json("show gateway");
    assert_eq!(shown["generations"][0]["has_key"], true);
    assert_eq!(shown["generations"][0]["issuer"], "CN=ca");
    assert!(shown["request"].is_null());
    // A successor must come from the CA, too.
    let successor = shop.refused("stage gateway --generate", 1);
    assert!(successor.contains("--csr"), "{successor}");
}

#[test]
fn what_is_used_is_not_deleted_and_what_backends_see_is_tried_first() {
    let shop = Shop::new();
    for name in ["site", "gateway", "ca"] {
        shop.did(&format!("generate {name} --common-name {name}.example"));
    }
    shop.configure(
        "[listener.tls]\ncertificates = [\"site\"]",
        "[upstream.app.tls]\ntrust = [\"ca\"]\ncertificate = \"gateway\"",
    );
    for (name, by) in [
        ("site", "listener \"web\" (server identity)"),
        ("gateway", "upstream \"app\" (client identity)"),
        ("ca", "upstream \"app\" (trust)"),
    ] {
        let used = shop.refused(&format!("delete {name}"), 1);
        assert!(used.contains(by), "{used}");
        assert_eq!(shop.json(&format!("show {name}"))["used_by"].as_array().unwrap().len(), 1);
    }
    for name in ["site", "gateway"] {
        shop.did(&format!("stage {name} --generate"));
    }
    shop.did("activate site");
    let untried = shop.refused("activate gateway", 1);
    assert!(
        untried.contains("was not tried yet") && untried.contains("ringate cert trial gateway"),
        "{untried}"
    );
    assert!(shop.refused("trial gateway", 1).contains("running instance"));
    shop.did("activate gateway --force");
    shop.configure("", "");
    shop.did("delete site");
}

#[test]
fn wrong_usage_is_exit_code_2_and_every_command_shows_an_example() {
    let shop = Shop::new();
    for words in [
        "generate gateway --csr --issuer ca",
        "generate gateway --common-name a --days many",
        "generate gateway --common-name a --key-type rsa-1024",
        "generate gateway --common-name a --san nonsense:x",
        "generate gateway --common-name a --force",
        "import gateway",
        "stage gateway",
        "stage gateway --generate --cert a.pem",
        "delete",
        "frobnicate gateway",
    ] {
        shop.refused(words, 2);
    }
    let commands = [
        "generate", "import", "list", "show", "export", "describe", "delete", "stage", "trial", "activate",
        "rollback", "retire",
    ];
    for command in commands {
        let help = shop.did(&format!("{command} --help"));
        assert!(help.contains(&format!("Example: ringate cert {command}")), "{help}");
    }
    // What cannot be done is exit code 1.
    for (words, said) in [
        ("generate gateway --common-name a --days 40000", "40000 days"),
        ("generate Gateway --common-name a", "cannot name a certificate"),
        ("generate system --common-name a", "choose another name"),
        ("generate gateway --common-name a --country Germany", "two letters"),
        ("show gateway", "there is no certificate"),
        ("stage gateway --generate", "there is no certificate"),
    ] {
        assert!(shop.refused(words, 1).contains(said), "{words}");
    }
    assert!(!shop.path("certs").exists(), "nothing was made");
    fs::remove_file(shop.path("ringate.toml")).unwrap();
    assert!(shop.refused("list", 1).contains("-c FILE"));
}

/// The base64 lines of every private key under `folder`.
fn key_lines(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lines.extend(key_lines(&path));
        } else if path.file_name().is_some_and(|name| name == "key.pem") {
            let text = fs::read_to_string(&path).unwrap();
            // An EC key's last lines hold the public half as well.
            lines.extend(text.lines().filter(|line| line.len() == 64).take(1).map(str::to_owned));
        }
    }
    lines
}

#[test]
fn no_command_gives_a_key_away() {
    let shop = Shop::new();
    shop.write("secret", "s3cret-passphrase\n");
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=brought");
    shop.openssl("pkcs12 -export -in cert.pem -inkey key.pem -out all.p12 -passout file:secret");
    shop.openssl("pkcs8 -topk8 -in key.pem -out locked.pem -passout file:secret");
    let mut outputs = String::new();
    let mut keys: Vec<String> = Vec::new();
    for words in [
        "generate a --common-name a",
        "generate b --common-name b --key-type rsa-2048 --json",
        "generate c --common-name c --csr",
        "import d --cert all.p12 --passphrase-file secret",
        "import e --cert cert.pem --key locked.pem --passphrase-file secret --json",
        "import f --cert cert.pem --key locked.pem --passphrase-file cert.pem",
        "import f --cert key.pem --key cert.pem",
        "import f --cert cert.pem --key all.p12",
        "stage a --generate",
        "stage b --cert cert.pem --key key.pem --json",
        "list",
        "list --json",
        "show a",
        "show b --json",
        "show c --json",
        "export a",
        "export a --json",
        "export b --part staged --json",
        "export c --part request",
        "export a --der --out a.der",
        "describe a text",
        "activate a --json",
        "rollback a",
        "delete b",
    ] {
        let output = shop.cert(words);
        outputs.push_str(&String::from_utf8_lossy(&output.stdout));
        outputs.push_str(&String::from_utf8_lossy(&output.stderr));
        keys.extend(key_lines(&shop.path("certs")));
    }
    assert!(keys.len() > 20, "{}", keys.len());
    let locked = fs::read_to_string(shop.path("key.pem")).unwrap();
    keys.extend(locked.lines().filter(|line| line.len() == 64).map(str::to_owned));
    for secret in ["PRIVATE KEY", "s3cret"].into_iter().chain(keys.iter().map(String::as_str)) {
        assert!(!outputs.contains(secret), "{secret} is in:\n{outputs}");
    }
    let der = fs::read(shop.path("a.der")).unwrap();
    assert_eq!(ringate::internals::certs::Facts::from_der(&der).unwrap().subject, "CN=a");
}

#[test]
fn others_may_not_look_into_the_store_nor_into_the_process() {
    use std::os::unix::fs::PermissionsExt;
    let shop = Shop::new();
    shop.did("generate gateway --common-name gateway.example");
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(shop.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("certs", 0o755);
    let output = shop.cert("list");
    let warned = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && warned.contains("warning:") && warned.contains("chmod 700"),
        "{warned}"
    );
    mode("certs", 0o777);
    assert!(shop.refused("list", 1).contains("chmod 700"));
    mode("certs", 0o700);
    mode("certs/gateway/000001/key.pem", 0o644);
    assert!(shop.json("show gateway")["generations"][0]["problem"].as_str().unwrap().contains("chmod 600"));
    assert!(shop.refused("activate gateway", 1).contains("nothing is staged"));
    shop.configure("[listener.tls]\ncertificates = [\"gateway\"]", "");
    let refused = run(Ringate::command().current_dir(shop.dir.path()).args(["run", "-c", "ringate.toml"]));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("chmod 600"), "{said}");

    mode("certs/gateway/000001/key.pem", 0o600);
    let ringate = Ringate::start(&format!(
        "[store]\npath = {:?}\n{LISTENER}[listener.tls]\ncertificates = [\"gateway\"]\n{ROUTE}{UPSTREAM}",
        shop.path("certs")
    ));
    let limits = fs::read_to_string(format!("/proc/{}/limits", ringate.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}
