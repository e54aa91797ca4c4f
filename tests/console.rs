//! The console, as a person uses it: a real Chromium on the page of a real Ringate, between real backends.
//!
//! `tests/console/run.mjs` has the steps. `scripts/test` installs what drives the browser.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

const TOKEN: &str = "console-0123456789abcdef0123456789";
const READ_ONLY: &str = "reader-0123456789abcdef0123456789";
/// Longer than [`PATIENCE`], as it is one browser with many steps.
const LONGEST: Duration = Duration::from_secs(180);

/// Where playwright-core and axe-core are. `scripts/test` has installed them; otherwise they are installed now.
fn tools() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = run(&mut Command::new(root.join("scripts/console-tools")));
    assert!(output.status.success(), "scripts/console-tools: {}", String::from_utf8_lossy(&output.stderr));
    root.join("target/console")
}

fn config(pki: &Pki, backends: [std::net::SocketAddr; 2]) -> String {
    let tls = format!("tls = {{ server_name = \"localhost\", trust = [{:?}] }}", pki.file("ca.pem"));
    let [orders, billing] = backends;
    format!(
        "[admin]\nlisten = \"{admin}\"\ntoken_file = \"token\"\nread_only_token_file = \"reader\"\naudit = \"audit.log\"\n[runtime]\nworkers = 1\n[log]\nlevel = \"debug\"\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
         [[listener]]\nname = \"live\"\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\nenvironment = \"production\"\n\
         [[route]]\nlistener = [\"web\", \"live\"]\npath = \"/orders\"\nupstream = \"orders\"\n\
         [[route]]\nlistener = [\"web\", \"live\"]\npath = \"/billing\"\nupstream = \"billing\"\n\
         [[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n{listener}\n\
         [[route]]\nlistener = \"public\"\ncredentials = [\"api-key-mtls\"]\nrespond = {{ body = \"welcome\" }}\n\
         [[route]]\nlistener = \"public\"\npath = \"/portal\"\nportal = {{ title = \"APIs\", requests = true, gateway_keys = true }}\n\
         [[route]]\nlistener = \"web\"\npath = \"/brief\"\ncredentials = [\"brief\"]\nrespond = {{ body = \"welcome\" }}\n\
         [credentials.api-key-mtls]\napi_key = true\nmtls = true\nexpiry = \"60d\"\nissuer = \"consumers-ca\"\n\
         [credentials.brief]\napi_key = true\nexpiry = \"6s\"\napproval = \"automatic\"\n\
         [upstream.orders]\nendpoints = [\"{orders}\"]\n{tls}\n\
         [upstream.billing]\nendpoints = [\"{billing}\"]\n{tls}\n",
        admin = free_address(),
        listener = pki.listener_tls(),
    )
}

#[test]
fn a_person_does_all_of_it_in_the_console() {
    let pki = Pki::new();
    let backends = [free_address(), free_address()];
    let dir = tempfile::tempdir().unwrap();
    let config = config(&pki, backends);
    let admin = config.split('"').nth(1).unwrap().to_owned();
    fs::write(dir.path().join("ringate.toml"), &config).unwrap();
    for (name, token) in [("token", TOKEN), ("reader", READ_ONLY)] {
        let path = dir.path().join(name);
        fs::write(&path, token).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut ca = Ringate::command();
    ca.current_dir(dir.path()).args(["cert", "generate", "consumers-ca", "--ca"]);
    assert!(run(&mut ca).status.success());
    let ringate = Ringate::start_in(dir, 3);
    let given = json!({
        "admin": format!("http://{admin}"), "token": TOKEN, "readOnlyToken": READ_ONLY, "dir": ringate.dir(),
        "pki": pki.file("ca.pem").parent(), "backends": backends.map(|it| it.to_string()),
        "web": ringate.address_of("web").to_string(), "live": ringate.address_of("live").to_string(),
        "public": ringate.address_of("public").to_string(),
        "pictures": std::env::var_os("CONSOLE_PICTURES").map(PathBuf::from),
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console/run.mjs");
    let mut node = Process::start(
        Command::new("node")
            .arg(script)
            .env("CONSOLE_GIVEN", given.to_string())
            .env("CONSOLE_TOOLS", tools()),
    );
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = node.ended() {
            break status;
        }
        assert!(begun.elapsed() < LONGEST, "the browser is not done within {LONGEST:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    node.wait();
    assert!(status.success(), "{status}\n{}", node.log());
    let audit = fs::read_to_string(ringate.dir().join("audit.log")).unwrap();
    assert!(audit.contains("/v1/certificates/gateway/activate"), "{audit}");
    for text in [ringate.log(), audit] {
        assert!(!text.contains(TOKEN) && !text.contains(READ_ONLY), "a token is in a log");
    }
}
