//! The recipes of README and of the pages in docs/ work: their shell blocks run as they are written, in their order, in a folder of
//! their own, with the real binary as `ringate`.
//!
//! What a page takes for granted is set up here: files that it names, a backend, an instance that runs. Hosts and ports that it
//! names are replaced by those of this machine. `docs/vendors` has tests of its own (`vendors.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::documents::{Block, Page};
use crate::support::*;

/// Longest time that one page may take.
const PAGE: Duration = Duration::from_secs(60);
/// Pages at a time.
const LANES: usize = 3;

/// Blocks that no test can run: page, first words, reason. Their fence is ```` ```sh by-hand ````.
const BY_HAND: [(&str, &str, &str); 5] = [
    (
        "README.md",
        "cargo run --release -- quickstart",
        "scripts/test runs this very test, and quickstart goes on until Ctrl-C (tests/starts.rs runs it)",
    ),
    (
        "docs/packages.md",
        "apt install",
        "it changes the system; scripts/package-test does it in a root of its own",
    ),
    ("docs/packages.md", "sha256sum", "it needs a release build; scripts/package makes the tarball"),
    ("docs/packages.md", "cd ringate-", "it changes the system: a user, a unit"),
    (
        "docs/packages.md",
        "scripts/package",
        "it needs a release build and Docker; scripts/package-test uses podman",
    ),
];

/// What a page needs.
struct Recipe {
    page: &'static str,
    /// The config files that are there before the first block: name and text; an empty text is the page's first `toml` block.
    files: &'static [(&'static str, &'static str)],
    /// Other texts of the page that are replaced, beside [`Stage::replaced`].
    replaced: &'static [(&'static str, &'static str)],
    /// Shell in front of each block, the first one first.
    before: &'static [&'static str],
    /// Shell at the end, which finds out whether the recipe has done its work.
    after: &'static str,
}

/// The command on a terminal, and what is typed there.
const TYPED: &str = "printf 'secret-words\\nsecret-words\\n' | script -qec 'ringate cert p12 --key client.key --cert client.crt \
    --out client.p12' /dev/null";

const NONE: Recipe = Recipe { page: "", files: &[], replaced: &[], before: &[], after: "" };

/// An upstream with TLS and environments, and another one.
const ORDERS: &str = r#"
[admin]

[[listener]]
name = "web"
address = "127.0.0.1:8080"

[[route]]
path = "/payments"
upstream = "payments"

[[route]]
upstream = "orders"

[upstream.payments]
endpoints = ["orders.internal:8443"]
timeouts = { connect = "15s" }
tls = { server_name = "localhost", trust = ["./ca.pem"] }

[upstream.orders]
endpoints = ["orders.internal:8443"]
timeouts = { connect = "15s" }
tls = { server_name = "localhost", trust = ["./ca.pem"] }

[upstream.orders.environment.development]
[upstream.orders.environment.production]
"#;

const RECIPES: [Recipe; 10] = [
    Recipe {
        page: "README.md",
        files: &[("my.toml", "")],
        // The binary is built already.
        before: &["cargo() { [[ \"$*\" == 'build --release' ]]; }"],
        after: "curl -sS --fail http://127.0.0.1:8080/ | grep hello",
        ..NONE
    },
    Recipe {
        page: "docs/certificates.md",
        files: &[("ringate.toml", ORDERS)],
        before: &["ringate run -c ringate.toml", "ringate cert generate gateway-live"],
        after: "curl -sS --fail http://127.0.0.1:8080/ | grep 'CN=gateway.example'",
        ..NONE
    },
    Recipe {
        page: "docs/console.md",
        files: &[(
            "ringate.toml",
            "[admin]\nlisten = \"127.0.0.1:9901\"\ntoken_file = \"admin.token\"\n[[listener]]\nname = \"web\"\n\
             address = \"127.0.0.1:8080\"\n[[route]]\nrespond = { status = 204 }\n",
        )],
        after: "[[ $(stat -c %a admin.token) == 600 ]]\n\
                ringate run -c ringate.toml\n\
                curl -sS --fail -H \"Authorization: Bearer $(cat admin.token)\" http://127.0.0.1:9901/v1/status | grep listeners",
        ..NONE
    },
    Recipe {
        page: "docs/consumers.md",
        files: &[("ringate.toml", "")],
        replaced: &[
            ("# issuer = ", "issuer = "),
            // The passphrase is asked for on a terminal.
            ("ringate cert p12 --key client.key --cert client.crt --out client.p12", TYPED),
        ],
        before: &["", "cp client.pem client.crt"],
        after: "openssl pkcs12 -in client.p12 -passin pass:secret-words -nokeys | grep CERTIFICATE\n\
                ringate credential show acme-api-key-mtls | grep active",
    },
    Recipe {
        page: "docs/migrate-haproxy.md",
        files: &[(
            "haproxy.cfg",
            "defaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n  timeout connect 5s\n\
             frontend web\n  bind 127.0.0.1:8080\n  default_backend app\nbackend app\n  server one 127.0.0.1:9000\n",
        )],
        after: "ringate run -c ringate.toml\ncurl -sS --fail http://127.0.0.1:8080/ | grep hello",
        ..NONE
    },
    Recipe {
        page: "docs/migrate-nginx.md",
        files: &[(
            "nginx.conf",
            "events {}\nhttp {\n  server {\n    listen 127.0.0.1:8080;\n    location / { proxy_pass http://127.0.0.1:9000; }\n  }\n}\n",
        )],
        after: "ringate run -c ringate.toml\ncurl -sS --fail http://127.0.0.1:8080/ | grep hello",
        ..NONE
    },
    Recipe {
        page: "docs/operations.md",
        files: &[("ringate.toml", "")],
        before: &["sed -i '1i [admin]' ringate.toml\nringate run -c ringate.toml\nold=$!"],
        after: "for _ in {1..100}; do kill -0 $old 2> /dev/null || break; sleep 0.1; done\n\
                [[ ! -e /proc/$old ]]\nringate status -c ringate.toml\nringate drain -c ringate.toml",
        ..NONE
    },
    Recipe {
        page: "docs/rotation.md",
        files: &[("ringate.toml", ORDERS)],
        before: &[
            "ringate run -c ringate.toml\nringate cert generate gateway\n\
             ringate cert associate gateway --upstream orders\nringate cert stage gateway --generate",
            "ringate cert stage gateway --generate\nringate cert trial gateway\nringate cert activate gateway",
        ],
        after: "ringate cert show gateway --json | grep '\"active\": 2'",
        ..NONE
    },
    Recipe {
        page: "docs/tls.md",
        files: &[(
            "my.toml",
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:8080\"\n[[route]]\nupstream = \"app\"\n[upstream.app]\n\
             endpoints = [\"backend.internal:8443\"]\ntimeouts = { connect = \"15s\" }\ntls = { trust = [\"./ca.pem\"] }\n[upstream.app.environment.production]\n\
             tls = { certificate = { cert = \"./client.pem\", key = \"./client.key\" } }\n",
        )],
        ..NONE
    },
    Recipe {
        page: "docs/upstreams.md",
        files: &[
            (
                "ringate.toml",
                "[admin]\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:8080\"\n[[route]]\npath = \"/none\"\nrespond = { status = 404 }\n",
            ),
            (
                "orders.toml",
                "[admin]\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:8080\"\n[[route]]\nupstream = \"orders\"\n\
                 [upstream.orders]\nendpoints = [\"10.0.0.1:8443\", \"10.0.0.2:8443\"]\n",
            ),
            (
                "pets.yaml",
                "openapi: 3.0.0\ninfo: { title: Pets, version: '1' }\nservers: [{ url: 'https://backend.internal:8443/v1' }]\n\
                 paths: { /pets: { get: { responses: { '200': { description: all } } } } }\n",
            ),
        ],
        before: &[
            "export SSL_CERT_FILE=$PWD/ca.pem\nringate run -c ringate.toml",
            "curl -sS --fail http://127.0.0.1:8080/v1/pets | grep hello\ncp orders.toml ringate.toml\nringate reload",
        ],
        after: "ringate endpoint list orders | tee list.txt\ngrep 10.0.0.2:8443 list.txt\nif grep 10.0.0.3 list.txt; then exit 1; fi",
        ..NONE
    },
];

/// In front of each script: servers run in the background until its end. `ringate run` returns once it listens.
const PRELUDE: &str = r#"
set -euo pipefail
trap 'set +e; if [[ -S run/admin.sock ]]; then command ringate drain; fi; kill $(jobs -p) 2> /dev/null; wait' EXIT
ringate() {
    if [[ $1 != run ]]; then command ringate "$@"; return; fi
    command ringate "$@" > run.log 2>&1 &
    local config=${!#}
    for _ in {1..200}; do
        kill -0 $! || break
        if grep -q '^\[admin\]' "$config"; then
            command ringate status -c "$config" > status.txt 2>&1 && return
        else
            grep -q ' listener ' run.log && return
        fi
        sleep 0.05
    done
    cat run.log
    return 1
}
"#;

/// The folder of a page, with the files and backends that pages name.
struct Stage {
    dir: tempfile::TempDir,
    /// Answers `hello`, and the subject of a client's certificate.
    tls: Node,
    plain: Backend,
    port: String,
    admin: String,
}

impl Stage {
    fn new() -> Self {
        let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
        for name in ["ca.pem", "server.pem", "server.key", "client.pem", "client.key"] {
            fs::copy(pki.file(name), dir.path().join(name)).unwrap();
        }
        for (name, source) in [("web.pem", "server.pem"), ("web.key", "server.key")] {
            fs::copy(pki.file(source), dir.path().join(name)).unwrap();
        }
        let both = ["client.pem", "client.key"].map(|name| fs::read(pki.file(name)).unwrap()).concat();
        fs::write(dir.path().join("client-both.pem"), both).unwrap();
        let read = |name: &str| format!("require('fs').readFileSync({:?})", dir.path().join(name));
        let program = format!(
            "const options = {{ cert: {}, key: {}, requestCert: true, rejectUnauthorized: false }};\n\
             const subject = it => it && it.subject ? 'CN=' + it.subject.CN : 'no certificate';\n\
             const server = require('https').createServer(options, (request, response) =>\n\
             response.end('hello ' + subject(request.socket.getPeerCertificate())));\n\
             server.listen(0, '127.0.0.1', () => console.log('listening ' + server.address().port));",
            read("server.pem"),
            read("server.key")
        );
        Self {
            dir,
            tls: Node::start(&program),
            plain: Backend::replying(crate::http::ok("hello")),
            port: free_address().port().to_string(),
            admin: free_address().port().to_string(),
        }
    }

    /// Pages' hosts, ports and folders as they are on this machine.
    fn replaced(&self, text: &str) -> String {
        let folder = format!("{}/", self.dir.path().display());
        let tls = format!("localhost:{}", self.tls.address().port());
        let pairs = [
            ("target/release/ringate", "ringate"),
            ("/etc/ringate/", &*folder),
            ("/etc/nginx/", &*folder),
            ("/etc/haproxy/", &*folder),
            ("orders.internal:8443", &*tls),
            ("backend.internal:8443", &*tls),
            ("127.0.0.1:9000", &*self.plain.address().to_string()),
            ("0.0.0.0:8080", &*format!("127.0.0.1:{}", self.port)),
            (":8080", &*format!(":{}", self.port)),
            (":9901", &*format!(":{}", self.admin)),
        ]
        .map(|(from, to)| (from.to_owned(), to.to_owned()));
        pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// Pages with recipes: README and the book, but for the pages on other gateways.
fn pages() -> Vec<Page> {
    let mut pages = crate::documents::pages();
    pages.retain(|page| {
        let is_book = page.path.starts_with("docs") && !page.path.starts_with("docs/vendors");
        is_book || page.path == Path::new("README.md")
    });
    pages
}

/// The blocks of a page that are shell.
fn shell(page: &Page) -> Vec<Block> {
    page.parts().1.into_iter().filter(|block| block.info.split(' ').next() == Some("sh")).collect()
}

/// Runs a page. The error has all that was printed.
fn follow(page: &Page, recipe: &Recipe) -> Result<(), String> {
    let stage = Stage::new();
    let adjusted = |text: &str| {
        let text = stage.replaced(text);
        recipe.replaced.iter().fold(text, |text, (from, to)| text.replace(from, to))
    };
    for (name, text) in recipe.files {
        let own = page.parts().1.into_iter().find(|block| block.info == "toml").map(|block| block.text);
        let text = if text.is_empty() { own.expect("a config in the page") } else { (*text).to_owned() };
        fs::write(stage.dir.path().join(name), adjusted(&text)).unwrap();
    }
    let mut script = PRELUDE.to_owned();
    for (index, block) in shell(page).into_iter().filter(|block| block.info == "sh").enumerate() {
        let before = recipe.before.get(index).copied().unwrap_or_default();
        script.push_str(&format!("{}\n{}", adjusted(before), adjusted(&block.text)));
    }
    script.push_str(&adjusted(recipe.after));
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_ringate"));
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&folders);
    let path = std::env::join_paths(std::iter::once(binary.parent().unwrap().to_owned()).chain(folders));
    let mut command = Command::new("bash");
    command.args(["-xc", &script]).current_dir(stage.dir.path()).env("PATH", path.unwrap());
    let output = run_within(PAGE, command.env("NO_COLOR", "1").env_remove("RUST_LOG"));
    if output.status.success() {
        return Ok(());
    }
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let log = fs::read_to_string(stage.dir.path().join("run.log")).unwrap_or_default();
    Err(format!(
        "{}: {}\n{}\n{}\nrun.log:\n{log}",
        recipe.page,
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    ))
}

#[test]
fn every_recipe_runs_as_it_is_written() {
    let pages = pages();
    let runnable = pages.iter().filter(|page| shell(page).iter().any(|block| block.info == "sh"));
    let mut faults = Vec::new();
    let (mut followed, mut tasks) = (Vec::new(), Vec::new());
    for page in runnable {
        match RECIPES.iter().find(|recipe| Path::new(recipe.page) == page.path) {
            Some(recipe) => {
                followed.push(recipe.page);
                tasks.push((page, recipe));
            }
            None => faults.push(format!("{}: it has recipes; add what they need to RECIPES", page.name())),
        }
    }
    let idle = RECIPES.iter().filter(|recipe| !followed.contains(&recipe.page));
    faults.extend(idle.map(|recipe| format!("{}: it has no recipe any more", recipe.page)));
    // Most of the time is spent on waiting, but a backend that is far behind fails a recipe.
    let left = Mutex::new(tasks.into_iter());
    let work = || {
        let next = || left.lock().unwrap().next();
        std::iter::from_fn(next).filter_map(|(page, recipe)| follow(page, recipe).err()).collect::<Vec<_>>()
    };
    let found = std::thread::scope(|scope| {
        let threads = [(); LANES].map(|()| scope.spawn(work));
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    faults.extend(found);
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
}

#[test]
fn every_block_that_is_not_run_has_its_reason() {
    let mut faults = Vec::new();
    let mut listed = 0;
    for page in pages() {
        for block in shell(&page).into_iter().filter(|block| block.info != "sh") {
            let known = BY_HAND
                .iter()
                .find(|(path, start, _)| page.path == Path::new(path) && block.text.starts_with(start));
            match known {
                Some((.., reason)) if block.info == "sh by-hand" && !reason.is_empty() => listed += 1,
                _ => faults.push(format!(
                    "{}: a block with `{}`: write `sh`, or `sh by-hand` and its reason in BY_HAND",
                    page.name(),
                    block.info
                )),
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert_eq!(listed, BY_HAND.len(), "each entry of BY_HAND is a block of its page");
}
