//! The admin API changes what runs and the config file together, and the commands are its clients.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

pub(crate) fn named(name: &'static str) -> Backend {
    Backend::replying(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

/// One call over the Unix socket: the status, and the answer as JSON.
pub(crate) fn call(ringate: &Ringate, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "15", "-X", method, "-w", "\n%{http_code}", "--unix-socket"]);
    command.arg(ringate.dir().join("run/admin.sock")).arg(format!("http://localhost{path}"));
    if let Some(body) = body {
        command.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
    }
    let output = run(&mut command);
    let said = String::from_utf8(output.stdout).unwrap();
    let (text, status) = said.rsplit_once('\n').unwrap();
    let json = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {said}"));
    (status.parse().unwrap(), json)
}

pub(crate) fn config(ringate: &Ringate) -> String {
    fs::read_to_string(ringate.dir().join("ringate.toml")).unwrap()
}

/// The binary's command in the folder of a running instance.
pub(crate) fn command(dir: &Path, args: &[&str]) -> Output {
    run(Ringate::command().current_dir(dir).args(args).args(["-c", "ringate.toml"]))
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_change_is_applied_at_once_and_written_with_all_else_kept() {
    let (old, new) = (named("old"), named("new"));
    let setup = Setup::to(old.address()).section("[admin]\n# a comment of ours");
    let ringate = setup.upstream("# before\ntimeouts.idle = \"50s\" # behind").start();
    let file = ringate.dir().join("ringate.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let mut client = ringate.client();
    assert_eq!(client.send(GET).response().text(), "old");
    // Saved by another process and not loaded yet.
    let saved = config(&ringate).replace("[admin]", "[limits]\nheaders = 77 # theirs\n[admin]");
    fs::write(&file, &saved).unwrap();
    let patch = json!({ "endpoints": [new.address().to_string()], "timeouts": { "idle": "40s" } });
    let (status, said) = call(&ringate, "PATCH", "/v1/upstreams/app", Some(patch));
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["upstreams"]["changed"], json!(["app"]), "{said}");
    assert_eq!(said["settings"], json!(["limits"]), "theirs is applied as well: {said}");
    assert_eq!(client.send(GET).response().text(), "new");
    let expected = saved.replace(&old.address().to_string(), &new.address().to_string());
    assert_eq!(config(&ringate), expected.replace("\"50s\" # behind", "\"40s\" # behind"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_change_that_does_not_hold_changes_nothing() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).section("[admin]").start();
    let before = config(&ringate);
    let patch = |body: Value| call(&ringate, "PATCH", "/v1/upstreams/app", Some(body));
    let (status, said) = patch(json!({ "endpoint": ["127.0.0.1:1"] }));
    assert_eq!((status, &said["status"]), (422, &json!(422)), "{said}");
    assert!(said["errors"][0]["help"].as_str().unwrap().contains("endpoints"), "{said}");
    assert!(said["errors"][0]["line"].as_u64().unwrap() > 1, "{said}");
    for body in
        [json!({ "tls": { "certificate": "none" } }), json!({ "endpoints": null }), json!({ "a\nb": [null] })]
    {
        assert_eq!(patch(body.clone()).0, 422, "{body}");
    }
    let (status, said) = call(&ringate, "PATCH", "/v1/upstreams/ap", Some(json!({})));
    assert_eq!(status, 404);
    assert!(said["detail"].as_str().unwrap().contains("did you mean `app`?"), "{said}");
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/app", Some(json!([1]))).0, 422);
    assert_eq!(call(&ringate, "GET", "/v1/nothing", None).0, 404);
    assert_eq!(call(&ringate, "PUT", "/v1/status", None).0, 405);
    assert_eq!(config(&ringate), before);
    assert_eq!(call(&ringate, "GET", "/v1/status", None).1["config"]["version"], 1);
    assert_eq!(ringate.get("/").status, 200);
}

#[test]
fn environments_choose_different_client_certificates() {
    let (pki, authority) = (Pki::new(), Authority::new());
    let nginx = Nginx::tls(
        &pki,
        &format!(
            "ssl_client_certificate {};\nssl_verify_client on;\nlocation / {{ return 200 $ssl_client_s_dn; }}",
            authority.file().display()
        ),
    );
    let dir = tempfile::tempdir().unwrap();
    for name in ["development", "production", "next"] {
        authority.issue_into(&dir.path().join("certs"), name, &Leaf { common_name: name, ..Leaf::default() });
    }
    let listener = |name: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nenvironment = \"{name}\"\n")
    };
    let text = Setup::to(nginx.address())
        .section(&format!("[admin]\n{}{}", listener("development"), listener("production")))
        .routes("[[route]]\nlistener = [\"web\", \"development\", \"production\"]\nupstream = \"app\"")
        .upstream(&format!(
            "{}certificate = \"development\"\n[upstream.app.environment.development]\n\
             [upstream.app.environment.production]\ntls.certificate = \"production\" # by ours",
            pki.upstream_tls()
        ))
        .text();
    fs::write(dir.path().join("ringate.toml"), text).unwrap();
    let ringate = Ringate::start_in(dir, 3);
    let presented = |listener: &str| {
        let mut client = Client::connect(ringate.address_of(listener));
        client.send(GET).response().text().to_owned()
    };
    for _ in 0..2 {
        assert_eq!(presented("web"), "CN=development");
        assert_eq!(presented("development"), "CN=development");
        assert_eq!(presented("production"), "CN=production");
    }
    let patch = json!({ "tls": { "certificate": "next" } });
    let path = "/v1/upstreams/app/environments/production";
    let (status, said) = call(&ringate, "PATCH", path, Some(patch));
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["upstreams"]["changed"], json!(["app@production"]), "{said}");
    assert_eq!((presented("production"), presented("web")), ("CN=next".into(), "CN=development".into()));
    assert!(config(&ringate).contains("tls.certificate = \"next\" # by ours"), "{}", config(&ringate));
    let upstreams = call(&ringate, "GET", "/v1/upstreams", None).1;
    let production =
        upstreams.as_array().unwrap().iter().find(|it| it["environment"] == "production").unwrap();
    assert_eq!(production["client_certificate"], "next", "{upstreams}");
}

#[test]
fn over_tcp_the_token_is_demanded_and_its_file_must_be_private() {
    let backend = Backend::replying(OK);
    let dir = tempfile::tempdir().unwrap();
    let admin = free_address();
    let section = format!("[admin]\nlisten = \"{admin}\"\ntoken_file = \"token\"");
    fs::write(dir.path().join("ringate.toml"), Setup::to(backend.address()).section(&section).text())
        .unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "0123456789abcdef0123\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let open = command(dir.path(), &["run"]);
    assert_eq!(open.status.code(), Some(1));
    assert!(text(&open.stderr).contains("chmod 600"), "{}", text(&open.stderr));
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let ringate = Ringate::start_in(dir, 1);
    let ask = |header: &str| {
        let mut client = Client::connect(admin);
        client.send(format!("GET /v1/status HTTP/1.1\r\nHost: h\r\n{header}\r\n")).response()
    };
    for wrong in [
        "",
        "Authorization: Bearer 0123456789abcdef0124\r\n",
        "Authorization: Basic 0123456789abcdef0123\r\n",
    ] {
        let refused = ask(wrong);
        assert_eq!((refused.status, refused.header("WWW-Authenticate")), (401, Some("Bearer")), "{wrong}");
        assert_eq!(refused.header("Content-Type"), Some("application/problem+json"));
    }
    assert_eq!(ask("Authorization: Bearer 0123456789abcdef0123\r\n").status, 200);
    let status = command(ringate.dir(), &["status"]);
    assert!(text(&status.stdout).contains("listener web: 127.0.0.1:"), "{status:?}");
    // An address in use is said before anything is said to have started.
    let second = tempfile::tempdir().unwrap();
    fs::copy(ringate.dir().join("token"), second.path().join("token")).unwrap();
    fs::write(second.path().join("ringate.toml"), config(&ringate)).unwrap();
    let output = command(second.path(), &["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!text(&output.stderr).contains("started"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(&format!("admin: {admin}")), "{}", text(&output.stderr));
}

#[test]
fn who_has_no_token_takes_no_turn_of_who_has_it() {
    let backend = Backend::replying(OK);
    let dir = tempfile::tempdir().unwrap();
    let admin = free_address();
    let section = format!("[admin]\nlisten = \"{admin}\"\ntoken_file = \"token\"");
    let file = dir.path().join("ringate.toml");
    fs::write(file, Setup::to(backend.address()).section(&section).text()).unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "0123456789abcdef0123\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let _ringate = Ringate::start_in(dir, 1);
    // What needs no token takes a turn of the others, and is refused in the end.
    let mut stranger = Client::connect(admin);
    let open = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    eventually("a refusal", || {
        let statuses: Vec<u16> = (0..64).map(|_| stranger.send(open).response().status).collect();
        statuses.contains(&429).then_some(())
    });
    let status = "GET /v1/status HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer 0123456789abcdef0123\r\n\r\n";
    let mut operator = Client::connect(admin);
    for _ in 0..50 {
        stranger.send(open).response();
        assert_eq!(operator.send(status).response().status, 200);
    }
    // A probe for health is served all the same.
    for path in ["/healthz", "/readyz"].repeat(20) {
        let probe = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(stranger.send(probe).response().status, 200);
    }
    let mut wrong = Client::connect(admin);
    let refused = eventually("a turn", || {
        let refused = wrong.send("GET /v1/status HTTP/1.1\r\nHost: h\r\n\r\n").response();
        (refused.status == 401).then_some(refused)
    });
    assert_eq!(refused.header("Connection"), Some("close"));
    wrong.ends();
}

#[test]
fn silent_connections_keep_nobody_from_the_admin_server() {
    let backend = Backend::replying(OK);
    let dir = tempfile::tempdir().unwrap();
    let admin = free_address();
    let section = format!("[admin]\nlisten = \"{admin}\"\ntoken_file = \"token\"");
    fs::write(dir.path().join("ringate.toml"), Setup::to(backend.address()).section(&section).text())
        .unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "0123456789abcdef0123\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let _ringate = Ringate::start_in(dir, 1);
    let status = "GET /v1/status HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer 0123456789abcdef0123\r\n\r\n";
    let mut operator = Client::connect(admin);
    assert_eq!(operator.send(status).response().status, 200);
    let mut silent: Vec<Client> = (0..200).map(|_| Client::connect(admin)).collect();
    for (index, client) in silent.iter_mut().enumerate().skip(100) {
        // Some send half a head; those that have lost their place already can't.
        let _ = client.try_send(&"GET /healthz HTTP/1.1\r\nHost:"[..index % 25]);
    }
    let begun = std::time::Instant::now();
    let mut probe = Client::connect(admin);
    assert_eq!(probe.send("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").response().status, 200);
    assert_eq!(Client::connect(admin).send(status).response().status, 200);
    assert_eq!(operator.send(status).response().status, 200, "a connection that has shown the token stays");
    assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
    // None of the silent ones stays for long.
    for client in &mut silent {
        client.ends();
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn an_upstream_is_probed_on_demand() {
    let pki = Pki::new();
    let nginx = Nginx::mutual(&pki, "location / { return 200 ok; }");
    let overlay = format!(
        "[upstream.app.environment.production]\nendpoints = [\"{}\"]\n",
        Backend::replying(OK).address()
    );
    let ringate = Setup::to(nginx.address())
        .section("[admin]")
        .listener("protocol = \"http\"\nenvironment = \"production\"")
        .upstream(&(pki.upstream_mutual_tls() + &overlay))
        .start();
    let probe = |name: &str, body| call(&ringate, "POST", &format!("/v1/upstreams/{name}/probe"), body);
    let (status, found) = probe("app", None);
    assert_eq!((status, &found["ok"]), (200, &true.into()), "{found:#}");
    let endpoint = &found["endpoints"][0];
    assert_eq!(endpoint["client_certificate"]["verdict"], "accepted", "{found:#}");
    assert_eq!(endpoint["http"]["status"], 200);
    assert!(endpoint["chain"][0]["days_left"].is_number());
    let (status, found) = probe("app", Some(json!({ "environment": "production" })));
    assert_eq!((status, &found["ok"]), (200, &false.into()), "it speaks no TLS: {found:#}");
    assert_eq!(found["endpoints"][0]["upstream"], "app@production");
    assert_eq!(probe("nobody", None).0, 404);
    assert_eq!(probe("app", Some(json!({ "environment": "staging" }))).0, 404);
}

#[test]
fn the_commands_ask_the_running_instance() {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address()).section("[admin]").start();
    let socket = ringate.dir().join("run/admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let dir = ringate.dir().to_owned();
    let output = command(&dir, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&status["listeners"][0]["name"], &status["config"]["version"]), (&json!("web"), &json!(1)));
    let good = config(&ringate);
    fs::write(
        dir.join("ringate.toml"),
        good.replace("[upstream.app]", "[upstream.app]\ntimeouts.idle = \"9s\""),
    )
    .unwrap();
    let plan = command(&dir, &["plan"]);
    assert!(text(&plan.stdout).contains("change  upstream app"), "{plan:?}");
    let plan: Value = serde_json::from_slice(&command(&dir, &["plan", "--json"]).stdout).unwrap();
    assert_eq!((&plan["running"], &plan["upstreams"]["changed"][0]), (&json!(true), &json!("app")));
    let reload = command(&dir, &["reload"]);
    assert!(text(&reload.stdout).contains("config version 2"), "{reload:?}");
    assert!(text(&command(&dir, &["plan"]).stdout).contains("change nothing"));
    // A route more is no change of its listener.
    fs::write(
        dir.join("ringate.toml"),
        format!("{}[[route]]\npath = \"/more\"\nupstream = \"app\"\n", config(&ringate)),
    )
    .unwrap();
    let plan: Value = serde_json::from_slice(&command(&dir, &["plan", "--json"]).stdout).unwrap();
    assert_eq!(plan["listeners"]["changed"], json!([]), "{plan}");
    // What is wrong is shown in the file, and an instance is still found by it.
    fs::write(dir.join("ringate.toml"), good.replace("endpoints", "endpoins")).unwrap();
    for args in ["plan", "reload"] {
        let output = command(&dir, &[args]);
        assert_eq!(output.status.code(), Some(1), "{args}");
        assert!(text(&output.stderr).contains("did you mean `endpoints`?"), "{args}: {output:?}");
    }
    let status = command(&dir, &["status"]);
    let said = text(&status.stdout);
    assert!(
        said.contains("the last reload was refused (2") && said.contains("unknown key `endpoins`"),
        "{said}"
    );
    fs::write(dir.join("ringate.toml"), &good).unwrap();
    assert_eq!(command(&dir, &["reload"]).status.code(), Some(0));
    assert!(!text(&command(&dir, &["status"]).stdout).contains("refused"));
    let drain = command(&dir, &["drain"]);
    assert!(text(&drain.stdout).contains("draining"), "{drain:?}");
    assert_eq!(ringate.wait().code(), Some(0));
    assert!(!socket.exists(), "the socket goes with its process");
    let nobody = command(&dir, &["status"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no instance runs"), "{nobody:?}");
    let plan = command(&dir, &["plan"]);
    assert_eq!(plan.status.code(), Some(0), "{plan:?}");
    assert!(text(&plan.stdout).contains("no instance runs"), "{plan:?}");
}

#[test]
fn a_socket_whose_file_was_removed_is_said_to_be_so_and_made_anew_by_sighup() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).section("[admin]").start();
    let (dir, socket) = (ringate.dir().to_owned(), ringate.dir().join("run/admin.sock"));
    for with_its_folder in [false, true] {
        fs::remove_file(&socket).unwrap();
        if with_its_folder {
            fs::remove_dir(dir.join("run")).unwrap();
        }
        let status = command(&dir, &["status"]);
        let said = text(&status.stderr);
        assert!(said.contains("an instance runs: the file of its socket was removed"), "{said}");
        assert!(status.status.code() == Some(1) && said.contains("SIGHUP"), "{status:?}");
        // The store is not changed behind the back of the instance.
        let made = command(&dir, &["cert", "generate", "ours"]);
        assert!(!made.status.success() && text(&made.stderr).contains("nothing was done"), "{made:?}");
        ringate.signal(rustix::process::Signal::HUP);
        eventually("an answer", || command(&dir, &["status"]).status.success().then_some(()));
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    }
    ringate.await_log("run/admin.sock: the socket's file was removed: it is made anew");
    assert!(command(&dir, &["cert", "generate", "ours"]).status.success());
}

#[test]
fn metrics_have_help_and_name_certificates_in_use() {
    let pki = Pki::new();
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).listener(&pki.listener_tls()).section("[admin]").start();
    let socket = ringate.dir().join("run/admin.sock");
    let text = curl(&["--unix-socket".as_ref(), socket.as_os_str(), "http://localhost/metrics".as_ref()]);
    for family in
        ["requests_total counter", "connections_open gauge", "config_version gauge", "build_info gauge"]
    {
        assert!(text.contains(&format!("# TYPE ringate_{family}\n")), "{family}: {text}");
    }
    let label = format!("{{certificate=\"{}\"}} ", pki.file("server.pem").display());
    assert!(text.contains(&format!("ringate_certificate_generation{label}1\n")), "{text}");
    assert!(text.contains(&format!("ringate_certificate_not_after_seconds{label}")), "{text}");
    let helped = |name: &str| text.contains(&format!("# HELP {name} "));
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for line in families {
        assert!(helped(line.split(' ').next().unwrap()), "{line}");
    }
    assert!(!text.contains("PRIVATE KEY"));
}

#[test]
fn certificates_are_made_brought_described_used_and_deleted() {
    let pki = Pki::new();
    let nginx =
        Nginx::tls(&pki, "ssl_verify_client optional_no_ca;\nlocation / { return 200 $ssl_client_s_dn; }");
    let ringate = Setup::to(nginx.address()).section("[admin]").upstream(&pki.upstream_tls()).start();
    let post = |path: &str, body: Value| call(&ringate, "POST", path, Some(body));
    let (status, made) =
        post("/v1/certificates", json!({ "name": "gateway", "common_name": "gateway.example", "days": 30 }));
    assert_eq!((status, &made["id"], &made["state"]), (201, &json!("gateway"), &json!("active")), "{made}");
    assert!(made["pem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"), "{made}");
    let wrongs = [
        ("", json!({ "name": "gateway", "common_name": "again" }), 409),
        ("", json!({ "name": "a/b", "common_name": "c" }), 422),
        ("", json!({ "name": "next", "common_name": "c", "dayz": 1 }), 422),
        ("", json!({ "name": "next", "common_name": "" }), 422),
        ("", json!({ "name": "", "common_name": "c" }), 422),
        ("", json!({ "common_name": "" }), 422),
        ("/gateway/stage", json!({}), 422),
        ("/gateway/stage", json!({ "certifcate": "a typo is no wish for a new key" }), 422),
        ("/gateway/stage", json!({ "certificate": "", "generate": null }), 422),
        ("/nobody/stage", json!({ "generate": null }), 404),
        ("/gateway/activate", json!({ "generation": 7 }), 409),
    ];
    for (path, body, expected) in wrongs {
        let (status, said) = post(&format!("/v1/certificates{path}"), body.clone());
        assert_eq!((status, &said["status"]), (expected, &json!(expected)), "{body}: {said}");
    }
    let read = |name: &str| fs::read_to_string(pki.file(name)).unwrap();
    let import = json!({
        "name": "brought", "certificate": read("client.pem"), "key": read("client.key"), "description": "theirs"
    });
    assert_eq!(post("/v1/certificates/import", import).0, 201);
    let mixed = json!({ "name": "mixed", "certificate": read("client.pem"), "key": read("server.key") });
    let (status, said) = post("/v1/certificates/import", mixed);
    assert_eq!(status, 422);
    assert!(said["detail"].as_str().unwrap().contains("does not belong"), "{said}");
    let large = json!({ "name": "large", "certificate": "A".repeat(3 << 20) });
    let file = ringate.dir().join("large.json");
    fs::write(&file, large.to_string()).unwrap();
    let socket = ringate.dir().join("run/admin.sock");
    let output = run(Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json"])
        .arg("--unix-socket")
        .arg(&socket)
        .arg("-d")
        .arg(format!("@{}", file.display()))
        .arg("http://localhost/v1/certificates/import"));
    assert_eq!(text(&output.stdout), "413");
    let (_, request) =
        post("/v1/certificates", json!({ "name": "asked", "common_name": "asked.example", "csr": true }));
    assert!(request["pem"].as_str().unwrap().contains("CERTIFICATE REQUEST"), "{request}");
    assert_eq!((&request["state"], &request["expires"]), (&json!("requested"), &Value::Null));
    // Associated, presented, and not to be deleted while it is used, or would be after the next reload.
    let associate = |name: Value| json!({ "tls": { "certificate": name } });
    let before = config(&ringate);
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/app", Some(associate(json!("gateway")))).0, 200);
    assert_eq!(ringate.get("/").text(), "CN=gateway.example");
    for text in [config(&ringate), before] {
        fs::write(ringate.dir().join("ringate.toml"), text).unwrap();
        let (status, said) = call(&ringate, "DELETE", "/v1/certificates/gateway", None);
        assert_eq!((status, &said["status"]), (409, &json!(409)), "{said}");
        assert!(said["detail"].as_str().unwrap().contains("upstream \"app\" (client identity)"), "{said}");
    }
    let described = json!({ "description": "to the backends" });
    let (_, said) = call(&ringate, "PATCH", "/v1/certificates/gateway", Some(described));
    assert_eq!(said["description"], "to the backends");
    assert_eq!(said["used_by"], json!([{ "by": "upstream \"app\"", "role": "client" }]));
    let (status, staged) = post("/v1/certificates/gateway/stage", json!({ "generate": null }));
    assert_eq!(
        (status, &staged["generation"], &staged["subject"]),
        (200, &json!(2), &json!("CN=gateway.example"))
    );
    let public = |query: &str| {
        run(Command::new("curl")
            .args(["-sS", "-D", "-", "--unix-socket"])
            .arg(&socket)
            .arg(format!("http://localhost/v1/certificates/gateway/pem{query}")))
        .stdout
    };
    assert!(String::from_utf8(public("?part=staged")).unwrap().contains(staged["pem"].as_str().unwrap()));
    assert!(String::from_utf8_lossy(&public("?der=true")).contains("application/pkix-cert"));
    assert!(String::from_utf8_lossy(&public("?part=key")).contains("400 Bad Request"));
    // The reload that the edited file waits for lets it go.
    assert_eq!(call(&ringate, "POST", "/v1/reload", None).0, 200);
    assert_eq!(ringate.get("/").text(), "");
    let (status, said) = call(&ringate, "DELETE", "/v1/certificates/gateway", None);
    assert_eq!((status, said), (200, json!({ "deleted": "gateway" })));
    assert_eq!(call(&ringate, "GET", "/v1/certificates/gateway", None).0, 404);
    let (_, all) = call(&ringate, "GET", "/v1/certificates", None);
    let names: Vec<&str> =
        all["certificates"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["asked", "brought"]);
    assert!(!all.to_string().contains("PRIVATE KEY") && !ringate.log().contains("PRIVATE KEY"));
}

#[test]
fn what_a_patch_was_answered_is_what_the_file_says_and_what_runs() {
    let pki = Pki::new();
    let tls = Nginx::tls(&pki, "location / { return 200 tls; }");
    let ringate = Setup::to(tls.address()).section("[admin]").upstream("# ours").start();
    assert_eq!(ringate.get("/").status, 400, "nginx is spoken to without TLS");
    let before = config(&ringate);
    let (status, said) = call(&ringate, "PATCH", "/v1/upstreams/app?force=true", Some(json!({ "tls": {} })));
    assert_eq!(status, 200, "{said}");
    let written = config(&ringate);
    assert_eq!(written.replace("tls = {}\n", ""), before);
    let upstream = &call(&ringate, "GET", "/v1/upstreams", None).1[0];
    assert_eq!(upstream["tls"], true, "{upstream}");
    assert_eq!(ringate.get("/").status, 502, "what nginx presents is not trusted");
    let patch = json!({ "tls": { "insecure_skip_verify": true } });
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/app", Some(patch)).0, 200);
    assert_eq!(ringate.get("/").status, 200);
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/app", Some(json!({ "tls": null }))).0, 200);
    assert_eq!(config(&ringate), before);
    assert_eq!(ringate.get("/").status, 400);
}

#[test]
fn of_many_routes_plan_names_what_changes_alone() {
    let backend = Backend::replying(OK);
    let routes: String =
        (0..300).map(|n| format!("[[route]]\npath = \"/p{n}\"\nupstream = \"app\"\n")).collect();
    let ringate = Setup::to(backend.address()).routes(&routes).section("[admin]").start();
    let dir = ringate.dir().to_owned();
    let (file, before) = (dir.join("ringate.toml"), config(&ringate));

    let endpoint = format!("\"{}\"", backend.address());
    let changed = before.replace(&endpoint, &format!("{endpoint}, \"127.0.0.1:9\""));
    fs::write(&file, changed.replace("[upstream.app]", "[upstream.app]\ntimeouts.connect = \"3s\"")).unwrap();
    for args in ["plan", "reload"] {
        let output = command(&dir, &[args]);
        let said = text(&output.stdout);
        assert!(said.lines().count() < 8, "{said}");
        assert!(said.contains("endpoints: added 127.0.0.1:9; timeouts.connect 2s → 3s"), "{said}");
        assert!(said.contains("keep    1 listener, 300 routes"), "{said}");
    }
    ringate.await_log("upstream app: endpoints: added 127.0.0.1:9");
    // Many of one kind are counted.
    fs::write(&file, before.replace("/p", "/q")).unwrap();
    let said = command(&dir, &["plan"]);
    let said = text(&said.stdout);
    assert!(said.contains("add     280 routes more") && said.lines().count() < 60, "{said}");
    assert!(said.contains("endpoints: removed 127.0.0.1:9"), "{said}");
}

#[test]
fn a_broken_file_of_api_keys_is_no_certificate() {
    let backend = Backend::replying(OK);
    let setup = Setup::to(backend.address());
    let setup = setup.routes("[[route]]\nupstream = \"app\"\napi_keys = \"partners\"");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("certs/api-keys")).unwrap();
    fs::write(dir.path().join("ringate.toml"), setup.text()).unwrap();
    fs::write(dir.path().join("certs/api-keys/partners.toml"), "a = 1").unwrap();
    for args in [&["check"][..], &["apikey", "list", "partners"]] {
        let output = command(dir.path(), args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("ringate apikey generate") && !said.contains("certificate"),
            "{args:?}: {said}"
        );
    }
}
