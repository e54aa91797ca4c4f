//! The same commands while an instance runs: it does them, and the answers are the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::{LISTENER, ROUTE, Shop, UPSTREAM, states};
use crate::support::*;

/// `ringate cert` with these words on the config in `dir`.
fn cert(dir: &Path, words: &str) -> Output {
    let words: Vec<&str> = words.split(' ').collect();
    run(Ringate::command().current_dir(dir).arg("cert").args(words).arg("-c").arg(dir.join("ringate.toml")))
}

fn live() -> Ringate {
    Ringate::start(&format!("[admin]\n{LISTENER}{ROUTE}{UPSTREAM}"))
}

/// An answer without what differs from one run to the next.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            // Of a certificate that was made this second, there are 29 or 30.
            .filter(|(key, _)| *key != "days_left")
            .map(|(key, value)| (key.clone(), shape(value)))
            .collect(),
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::String(text) if text.len() > 15 => Value::String("…".to_owned()),
        other => other.clone(),
    }
}

#[test]
fn answers_and_exit_codes_are_the_same_with_and_without_an_instance() {
    let (alone, ringate) = (Shop::new(), live());
    let dirs = [alone.dir.path(), ringate.dir()];
    for dir in dirs {
        let made = ["cert.pem", "key.pem"].map(|name| dir.join(name));
        let made = run(std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=brought", "-keyout"])
            .arg(&made[1])
            .arg("-out")
            .arg(&made[0]));
        assert!(made.status.success());
        fs::write(dir.join("secret"), "s3cret").unwrap();
        let packed = run(std::process::Command::new("openssl")
            .current_dir(dir)
            .args(["pkcs12", "-export", "-in", "cert.pem", "-inkey", "key.pem", "-out", "all.p12"])
            .args(["-passout", "file:secret"]));
        assert!(packed.status.success());
    }
    for words in [
        "generate a --common-name a.example --organization Acme --san DNS:a.example,IP:192.0.2.1 --days 90 --json",
        "generate a --common-name again",
        "generate ../a --common-name a",
        "generate b --common-name b --country Germany",
        "generate c --common-name c.example --csr --json",
        "generate c --common-name c.example --csr",
        "import d --cert all.p12 --passphrase-file secret --description brought --json",
        "import e --cert all.p12 --passphrase-file cert.pem",
        "import e --cert cert.pem --key key.pem --json",
        "import f --cert key.pem",
        "list --json",
        "show a --json",
        "show nobody",
        "show A/B",
        "export a --json",
        "export a --part staged",
        "export c --part request --json",
        "describe a text --json",
        "stage a --generate --json",
        "stage d --generate --json",
        "stage a --cert cert.pem --key key.pem --json",
        "activate nobody",
        "activate a --generation 2",
        "activate a --json",
        "activate a",
        "show a --json",
        "rollback a --json",
        "rollback a",
        "retire a",
        "activate a --json",
        "retire a --json",
        "delete d --json",
        "delete d",
        "list --json",
    ] {
        let [one, other] = dirs.map(|dir| {
            let output = cert(dir, words);
            let said = String::from_utf8(output.stderr).unwrap().replace(dir.to_str().unwrap(), "DIR");
            let answer = serde_json::from_slice(&output.stdout).map_or(Value::Null, |value| shape(&value));
            (output.status.code(), said, answer)
        });
        assert_eq!(one, other, "{words}");
        assert_eq!(one.0 == Some(0), words.ends_with("--json"), "{words}: {}", one.1);
    }
    // What is written: public, and whole.
    for words in ["export a", "export a --der --out a.der", "export e --out e.pem"] {
        assert_eq!(cert(ringate.dir(), words).status.code(), Some(0), "{words}");
    }
    let der = fs::read(ringate.dir().join("a.der")).unwrap();
    assert_eq!(ringate::internals::certs::Facts::from_der(&der).unwrap().subject, "CN=brought");
    assert_eq!(
        fs::read(ringate.dir().join("e.pem")).unwrap(),
        fs::read(ringate.dir().join("cert.pem")).unwrap()
    );
    let mut all = ringate.log();
    all.push_str(&fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap());
    assert!(all.contains("certificate=\"a\"") || all.contains("generated"), "{all}");
    assert!(!all.contains("PRIVATE KEY") && !all.contains("s3cret"), "{all}");
    for key in super::key_lines(&ringate.dir().join("certs")) {
        assert!(!all.contains(&key));
    }
}

#[test]
fn nothing_is_done_where_an_instance_may_run_and_does_not_answer() {
    let shop = Shop::new();
    shop.configure("", "[admin]");
    let socket = shop.path("run/admin.sock");
    fs::create_dir(shop.path("run")).unwrap();
    // A server that hangs up.
    let listener = UnixListener::bind(&socket).unwrap();
    let hangs_up = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(stream);
        listener
    });
    let said = shop.refused("generate gateway --common-name gateway", 1);
    assert!(said.contains("admin.sock") && said.contains("nothing was done"), "{said}");
    assert!(!shop.path("certs").exists());
    // Another user's: only root can make it here.
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(shop.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
        let output = run(Ringate::command()
            .current_dir(shop.dir.path())
            .args(["cert", "list", "-c", "ringate.toml"])
            .uid(65534)
            .gid(65534));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("as the user that ringate runs as"), "{said}");
    }
    // Left behind by a process that was killed: there is no instance.
    drop(hangs_up.join().unwrap());
    assert!(socket.exists());
    shop.did("generate gateway --common-name gateway");
    // Nor is there one where there is no token yet.
    let admin = format!("[admin]\nlisten = \"{}\"\ntoken_file = \"none.token\"", free_address());
    shop.configure("", &admin);
    shop.did("delete gateway");
}

#[test]
fn two_commands_and_the_api_at_once_lose_nothing_silently() {
    let ringate = live();
    let dir = ringate.dir();
    let path = |call: &str| format!("/v1/certificates{call}");
    let socket = dir.join("run/admin.sock");
    let api = |call: &str, body: Value| -> Result<Value, String> {
        let output = run(std::process::Command::new("curl")
            .args(["-sS", "--fail-with-body", "-H", "Content-Type: application/json", "--unix-socket"])
            .arg(&socket)
            .args(["-d", &body.to_string(), &format!("http://localhost{}", path(call))]));
        let said = String::from_utf8(output.stdout).unwrap();
        if output.status.success() { Ok(serde_json::from_str(&said).unwrap()) } else { Err(said) }
    };
    let command = |words: &str| -> Result<Value, String> {
        let output = cert(dir, &format!("{words} --json"));
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    };
    api("", serde_json::json!({ "name": "gateway", "common_name": "gateway" })).unwrap();
    // Three writers, each with names of its own, one that all want, and stages of the same certificate.
    let writer = |who: &'static str| {
        let mut taken = Vec::new();
        let mut staged = Vec::new();
        for round in 0..5 {
            let (shared, own) = (format!("shared-{round}"), format!("{who}-{round}"));
            let generate = |name: &str| match who {
                "api" => api("", serde_json::json!({ "name": name, "common_name": who })),
                _ => command(&format!("generate {name} --common-name {who}")),
            };
            generate(&own).unwrap();
            match generate(&shared) {
                Ok(made) => taken.push((shared, made["pem"].clone())),
                Err(said) => assert!(said.contains("already"), "{said}"),
            }
            staged.push(match who {
                "api" => api("/gateway/stage", serde_json::json!({ "generate": null })).unwrap(),
                _ => command("stage gateway --generate").unwrap(),
            });
        }
        (taken, staged)
    };
    let results = std::thread::scope(|scope| {
        let writers = ["one", "two", "api"].map(|who| scope.spawn(move || writer(who)));
        writers.map(|writer| writer.join().unwrap())
    });
    let (taken, staged): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    let taken: Vec<_> = taken.concat();
    assert_eq!(taken.len(), 5, "each shared name went to one of them");
    for (name, pem) in &taken {
        assert_eq!(
            command(&format!("show {name}")).unwrap()["pem"],
            *pem,
            "{name} is what its maker was told"
        );
    }
    let staged = staged.concat();
    let numbers = |key: &str| {
        let mut numbers: Vec<u64> = staged.iter().filter_map(|made| made[key].as_u64()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers("generation"), (2..=16).collect::<Vec<_>>());
    assert_eq!(numbers("replaced"), (2..=15).collect::<Vec<_>>(), "each was told of by who took its place");
    assert_eq!(command("show gateway").unwrap()["staged"], 16);
    assert_eq!(command("list").unwrap()["certificates"].as_array().unwrap().len(), 1 + 15 + 5);
}

#[test]
fn no_key_goes_over_tcp() {
    let shop = Shop::new();
    shop.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=brought");
    shop.write("token", "0123456789abcdef0123");
    fs::set_permissions(shop.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    // Another server has taken the port, and keeps what it receives.
    let heard = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let hears = std::sync::Arc::clone(&heard);
    let thief = Backend::serving(move |request| {
        hears.lock().unwrap().push_str(&request.head);
        hears.lock().unwrap().push_str(&String::from_utf8_lossy(&request.body));
        crate::http::ok("{}")
    });
    let admin = format!("[admin]\nlisten = \"{}\"\ntoken_file = \"token\"", thief.address());
    shop.configure("", &admin);
    shop.did("import brought --cert cert.pem --key key.pem");
    shop.did("stage brought --cert cert.pem --key key.pem");
    let heard = heard.lock().unwrap().clone();
    assert!(
        heard.contains("GET /healthz") && !heard.contains("PRIVATE") && !heard.contains("0123456789"),
        "{heard}"
    );
    // They are in the store; the instance would be asked for all else.
    shop.configure("", "");
    assert_eq!(states(&shop.json("show brought")), [Some(1), Some(2), None]);
}

#[test]
fn metrics_follow_the_store() {
    let ringate = live();
    let idle = |name: &str| {
        let metrics = ringate.admin("/metrics");
        metrics.contains(&format!("ringate_certificate_in_use{{certificate=\"{name}\"}} 0"))
    };
    // By the instance itself: at once. By another process, which works on the store alone: soon.
    assert!(cert(ringate.dir(), "generate ours").status.success());
    assert!(idle("ours"));
    Authority::new().issue_into(&ringate.dir().join("certs"), "theirs", &Leaf::default());
    eventually("the metric", || idle("theirs").then_some(()));
}
