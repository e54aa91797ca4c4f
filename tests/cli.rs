//! The command line says what is wrong and where, and its exit code says whether.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Output;

use ringate::internals::certs::{Bundle, Meta, Origin, Store};

use crate::http::OK;
use crate::support::*;

/// Runs the binary to its end, in `dir`.
fn ringate(dir: &Path, args: &[&str]) -> Output {
    run(Ringate::command().current_dir(dir).args(args))
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// `check` of this config, which must fail with code 1.
fn complaint(config: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), config).unwrap();
    for command in ["check", "run"] {
        let output = ringate(dir.path(), &[command, "-c", "bad.toml"]);
        assert_eq!(output.status.code(), Some(1), "{command}: {}", stderr(&output));
        if command == "run" {
            return stderr(&output);
        }
    }
    unreachable!()
}

#[test]
fn check_accepts_what_would_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.toml"), Setup::to(free_address()).text()).unwrap();
    let output = ringate(dir.path(), &["check", "-c", "good.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "good.toml: ok (1 listeners, 1 routes, 1 upstreams)\n");
    let output = ringate(dir.path(), &["check", "-c", "good.toml", "--json"]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["ok"], &summary["listeners"]), (&true.into(), &1.into()));
}

#[test]
fn a_typo_is_shown_at_its_place_with_a_suggestion() {
    let config = Setup::to(free_address()).text().replace("endpoints = ", "endpoint = ");
    let line = config.lines().position(|line| line.starts_with("endpoint = ")).unwrap() + 1;
    let said = complaint(&config);
    assert!(said.contains("unknown key `endpoint`"), "{said}");
    assert!(said.contains(&format!("bad.toml:{line}:1")), "{said}");
    assert!(said.contains("did you mean `endpoints`?"), "{said}");
    assert!(said.contains("| endpoint = ["), "the line itself: {said}");
}

#[test]
fn a_missing_certificate_is_shown_at_its_place() {
    let setup = Setup::to(free_address());
    let said = complaint(&setup.listener("[listener.tls]\ncertificates = [\"nope\"]").text());
    assert!(said.contains("there is no certificate \"nope\""), "{said}");
    assert!(said.contains("| certificates = [\"nope\"]"), "{said}");
    let setup = Setup::to(free_address());
    let said = complaint(&setup.listener("[listener.tls]\ncertificates = [\"./nope.pem\"]").text());
    assert!(said.contains("nope.pem") && said.contains("No such file"), "{said}");
}

#[test]
fn a_missing_token_is_shown_at_its_key_and_a_conflict_names_the_other_route() {
    let address = free_address();
    let admin = format!("[admin]\nlisten = \"{address}\"\ntoken_file = \"none.token\"");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), Setup::to(free_address()).section(&admin).text()).unwrap();
    let said = stderr(&ringate(dir.path(), &["check", "-c", "bad.toml"]));
    assert!(said.contains("none.token: No such file") && said.contains("| token_file = "), "{said}");
    let route = "[[route]]\npath = \"/a\"\nupstream = \"app\"\n";
    let config = Setup::to(free_address()).routes(&format!("{route}{route}")).text();
    let first = config.lines().position(|line| line == "[[route]]").unwrap() + 1;
    let said = complaint(&config);
    assert!(said.contains(&format!("the same requests as the one at bad.toml:{first}")), "{said}");
}

#[test]
fn a_key_that_does_not_match_is_shown_at_its_place() {
    let pki = Pki::new();
    let (cert, key) = (pki.file("server.pem"), pki.file("client.key"));
    let tls = format!("[listener.tls]\ncertificates = [{{ cert = {cert:?}, key = {key:?} }}]");
    let said = complaint(&Setup::to(free_address()).listener(&tls).text());
    assert!(said.contains("key") && said.contains("does not belong"), "{said}");
    assert!(said.contains("bad.toml:") && said.contains("| certificates = ["), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["run", "check"] {
        let output = ringate(dir.path(), &[command, "-c", "none.toml"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("none.toml") && stderr(&output).contains("quickstart"));
    }
}

#[test]
fn a_port_in_use_is_shown_in_the_config() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = Setup::to(address).text().replace("127.0.0.1:0", &address.to_string());
    let line = config.lines().position(|line| line.starts_with("address = ")).unwrap() + 1;
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let output = ringate(dir.path(), &["run", "-c", "ringate.toml"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{address}: the address is in use by another process")), "{said}");
    assert!(said.contains(&format!("ringate.toml:{line}:11")), "{said}");
}

#[test]
fn a_second_instance_does_not_share_the_first_ones_port() {
    let backend = Backend::replying(OK);
    let first = Setup::to(backend.address()).start();
    let config = Setup::to(backend.address()).text().replace("127.0.0.1:0", &first.address().to_string());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    assert_eq!(ringate(dir.path(), &["run", "-c", "ringate.toml"]).status.code(), Some(1));
    assert_eq!(first.get("/").text(), "ok");
}

#[test]
fn wrong_usage_is_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["nonsense"][..],
        &[],
        &["run", "--nonsense"],
        &["quickstart", "--port", "70000"],
        // Would be left out silently: without a name the successor repeats what the active generation says.
        &["cert", "stage", "gateway", "--generate", "--days", "90"],
        &["cert", "stage", "gateway", "--cert", "new.pem", "--common-name", "gateway.example"],
        // Left out it has a default; an empty one is a mistake, such as a variable that is not set.
        &["cert", "generate", "gateway", "--common-name", ""],
        &["cert", "generate", "gateway", "--organization", " "],
    ] {
        let output = ringate(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("--help") || args.is_empty(), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn the_schema_is_json_and_the_reference_is_the_file_of_the_repository() {
    let dir = tempfile::tempdir().unwrap();
    let schema = ringate(dir.path(), &["schema"]);
    assert_eq!(schema.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_str(&stdout(&schema)).unwrap();
    let id = concat!("urn:ringate:config:", env!("CARGO_PKG_VERSION"));
    assert_eq!((&schema["$id"], &schema["additionalProperties"]), (&id.into(), &false.into()));
    assert_eq!(schema["properties"]["runtime"]["properties"]["drain"]["default"], "30s");
    for (option, file) in [("--reference", "config/reference.toml"), ("--markdown", "docs/configuration.md")]
    {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert_eq!(stdout(&ringate(dir.path(), &["schema", option])), std::fs::read_to_string(file).unwrap());
    }
    assert!(!stdout(&ringate(dir.path(), &["schema", "--help"])).contains("--reference"));
}

#[test]
fn every_command_has_help_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["quickstart", "run", "check", "plan", "status", "reload", "drain", "schema"] {
        let output = ringate(dir.path(), &[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(&format!("Example: ringate {command}")), "{}", stdout(&output));
    }
    assert!(stdout(&ringate(dir.path(), &["--help"])).contains("ringate quickstart"));
    assert!(stdout(&ringate(dir.path(), &["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

/// A port that is free, with those that quickstart puts beside it.
fn quickstart_port() -> u16 {
    eventually("three free ports", || {
        let port = free_address().port();
        let beside = [port + 363, port + 1821].map(|port| TcpListener::bind(("127.0.0.1", port)));
        beside.iter().all(Result::is_ok).then_some(port)
    })
}

#[test]
fn quickstart_once_shows_a_request_over_mutual_tls_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    // A second time it finds what the first has made.
    let mut authorities = Vec::new();
    for _ in 0..2 {
        let port = quickstart_port();
        let output =
            ringate(dir.path(), &["quickstart", "--once", "--dir", "here", "--port", &port.to_string()]);
        let said = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{said}\n{}", stderr(&output));
        assert!(said.contains("HTTP/1.1 200 OK") && said.contains("over mutual TLS"), "{said}");
        assert!(said.contains(&format!("curl http://127.0.0.1:{port}/")), "{said}");
        assert!(said.contains(&format!("http://127.0.0.1:{}/", port + 1821)), "{said}");
        let check = ringate(dir.path(), &["check", "-c", "here/ringate.toml"]);
        assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
        authorities.push(fs::read(dir.path().join("here/ca.pem")).unwrap());
    }
    assert_eq!(authorities[0], authorities[1]);
}

#[test]
fn quickstart_names_its_ports_when_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let port = quickstart_port();
    let _taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port + 363))).unwrap();
    let output = ringate(dir.path(), &["quickstart", "--once", "--port", &port.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--port") && stderr(&output).contains(&(port + 363).to_string()));
}

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// The example in a folder of its own, with the certificates that it names, on free ports.
fn stage(example: &Path) -> tempfile::TempDir {
    let pki = Pki::new();
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    pki.store(&certs, "web", "gateway");
    // A route of one of them serves its files.
    fs::create_dir(dir.path().join("grafana")).unwrap();
    let trust = fs::read(pki.file("ca.pem")).unwrap();
    let meta = Meta { description: None, origin: Origin::Imported, now: std::time::SystemTime::now() };
    for name in ["backend-ca", "partners"] {
        let store = Store::open(&certs).unwrap();
        store.put(name, &Bundle::from_parts(&trust, None).unwrap(), &meta).unwrap();
    }
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    let text: String = fs::read_to_string(example)
        .unwrap()
        .lines()
        .map(|line| match line.split_once("address = ") {
            Some((before, addresses)) if !before.contains('#') && !before.contains("{ ") => {
                let mut addresses = addresses.to_owned();
                for port in ["8080", "8443", "8444", "6432"] {
                    addresses = addresses.replace(&format!(":{port}\""), ":0\"");
                }
                if !has_ipv6 {
                    addresses = addresses.replace(", \"[::1]:0\"", "");
                }
                format!("{before}address = {addresses}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(dir.path().join("ringate.toml"), text.replace("127.0.0.1:8080\"", "127.0.0.1:0\"")).unwrap();
    dir
}

#[test]
fn every_example_passes_its_check_and_starts() {
    for example in examples() {
        let name = example.file_name().unwrap().to_string_lossy().into_owned();
        let dir = stage(&example);
        let output = ringate(dir.path(), &["check", "-c", "ringate.toml"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        let instance = Ringate::start_in(dir, 1);
        assert_eq!(instance.terminate().code(), Some(0), "{name}");
    }
}

#[test]
fn examples_without_certificates_pass_where_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for example in ["ringate.toml", "minimal.toml", "tcp.toml", "routing.toml"] {
        let output = ringate(root, &["check", "-c", &format!("config/{example}")]);
        assert_eq!(output.status.code(), Some(0), "{example}: {}", stderr(&output));
    }
}

#[test]
fn a_file_in_the_admin_sockets_place_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::to(free_address()).section("[admin]\nlisten = \"unix:ringate.toml\"");
    let config = dir.path().join("ringate.toml");
    std::fs::write(&config, setup.text()).unwrap();
    let output = ringate(dir.path(), &["run", "-c", "ringate.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not a socket"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(config).unwrap(), setup.text());
}

#[test]
fn quickstart_writes_over_nothing_that_it_did_not_make() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("here");
    fs::create_dir(&here).unwrap();
    let start = || ringate(dir.path(), &["quickstart", "--once", "--dir", "here", "--port", "1"]);
    let refused = |what: &str| {
        let output = start();
        assert_eq!(output.status.code(), Some(1), "{what}");
        let said = stderr(&output);
        assert!(said.contains(what) && said.contains("--dir"), "{what}: {said}");
    };
    fs::write(here.join("ringate.toml"), "# ours\n").unwrap();
    refused("ringate.toml");
    assert_eq!(fs::read_to_string(here.join("ringate.toml")).unwrap(), "# ours\n");
    assert_eq!(fs::read_dir(&here).unwrap().count(), 1, "nothing else was made");
    fs::remove_file(here.join("ringate.toml")).unwrap();
    fs::write(here.join("ca.pem"), "ours").unwrap();
    refused("ca.pem");
    fs::remove_file(here.join("ca.pem")).unwrap();
    fs::write(
        dir.path().join("store.toml"),
        Setup::to(free_address()).section("[store]\npath = \"here/certs\"").text(),
    )
    .unwrap();
    let made =
        ringate(dir.path(), &["cert", "generate", "server", "--common-name", "ours", "-c", "store.toml"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    refused("`server`");
}

#[test]
fn a_config_file_is_searched_for_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = ringate(dir.path(), &["check"]);
    assert_eq!(missing.status.code(), Some(1));
    for place in ["config/ringate.toml", "ringate.toml", "/etc/ringate/ringate.toml"] {
        assert!(stderr(&missing).contains(place), "{}", stderr(&missing));
    }
    let text = Setup::to(free_address()).text();
    fs::write(dir.path().join("ringate.toml"), &text).unwrap();
    let found = ringate(dir.path(), &["check"]);
    assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
    assert!(stderr(&found).contains("config file: ringate.toml"), "{}", stderr(&found));
    assert!(stdout(&found).starts_with("ringate.toml: ok"), "{}", stdout(&found));
    fs::create_dir(dir.path().join("config")).unwrap();
    fs::write(dir.path().join("config/ringate.toml"), &text).unwrap();
    let first = ringate(dir.path(), &["check"]);
    assert!(stdout(&first).starts_with("config/ringate.toml: ok"), "{}", stdout(&first));
    assert!(!stderr(&first).contains("config file:"), "{}", stderr(&first));
}

#[test]
fn the_verbose_version_names_commit_and_features() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["--version", "--verbose"][..], &["--verbose", "-V"], &["-vV"]] {
        let output = ringate(dir.path(), args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let said = stdout(&output);
        let fact = |name: &str| {
            said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default()
        };
        assert!(said.starts_with(concat!("ringate ", env!("CARGO_PKG_VERSION"), "\n")), "{said}");
        assert!(fact("features:").contains("io_uring") && fact("target:").contains("linux"), "{said}");
        assert!(!fact("commit:").is_empty() && fact("compiler:").starts_with("rustc "), "{said}");
    }
    assert_eq!(stdout(&ringate(dir.path(), &["--version"])).lines().count(), 1);
}

#[test]
fn an_instance_that_never_answers_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let text = Setup::to(free_address()).section("[admin]").text();
    fs::write(dir.path().join("ringate.toml"), text).unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(dir.path().join("run/admin.sock")).unwrap();
    std::thread::scope(|scope| {
        for command in ["plan", "status", "reload"] {
            let dir = dir.path();
            scope.spawn(move || {
                let begun = std::time::Instant::now();
                let output = ringate(dir, &[command, "-c", "ringate.toml"]);
                assert_eq!(output.status.code(), Some(1), "{command}");
                let told = stderr(&output);
                assert!(told.contains("no answer within 5 seconds"), "{command}: {told}");
                assert!(
                    begun.elapsed() < std::time::Duration::from_secs(15),
                    "{command}: {:?}",
                    begun.elapsed()
                );
            });
        }
    });
}

/// Names that a terminal would obey are shown escaped, wherever a certificate is.
#[test]
fn names_of_certificates_are_shown_in_plain_characters() {
    let dir = tempfile::tempdir().unwrap();
    let name = "a\n2026-01-01 ERROR\u{1b}[2J\u{202e}b";
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let uri = rcgen::string::Ia5String::try_from("x:\u{1b}]0;y\u{7}".to_owned()).unwrap();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    fs::write(dir.path().join("odd.pem"), format!("{pem}{}", key.serialize_pem())).unwrap();
    fs::write(dir.path().join("alone.pem"), &pem).unwrap();
    let listener = |file: &str| {
        format!(
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntls.certificates = [\"./{file}\"]\n[[route]]\nrespond = {{}}\n"
        )
    };
    fs::write(dir.path().join("good.toml"), listener("odd.pem")).unwrap();
    fs::write(dir.path().join("bad.toml"), listener("alone.pem")).unwrap();
    let mut seen = 0;
    for args in [
        "cert import odd --cert odd.pem -c good.toml",
        "cert list -c good.toml",
        "cert show odd -c good.toml",
        "cert show odd --json -c good.toml",
        "check -c bad.toml",
    ] {
        let output = ringate(dir.path(), &args.split(' ').collect::<Vec<_>>());
        let told = stdout(&output) + &stderr(&output);
        assert!(!told.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{args}: {told:?}");
        assert!(!told.contains("\n2026-01-01 ERROR"), "{args}: {told:?}");
        seen += usize::from(told.contains("\\u{1b}"));
    }
    assert!(seen >= 3, "{seen}");
}
