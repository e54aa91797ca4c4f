//! Changes by the admin API: only of the state that was read, only by clients with the right, never from another site's page, and
//! each one in the audit log without a secret.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::admin::{command, config};
use crate::http::OK;
use crate::support::*;

const FULL: &str = "a-token-that-may-do-everything";
const READ_ONLY: &str = "a-token-that-may-read-alone";

/// An answer: its status, its head and its content.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        Self { status: head[9..12].parse().unwrap(), head: head.to_owned(), text: body.to_owned() }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

fn request(method: &str, path: &str, fields: &[&str], body: Option<&Value>) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        text.push_str("Host: localhost\r\n");
    }
    fields.iter().for_each(|field| text.push_str(&format!("{field}\r\n")));
    let body = body.map(ToString::to_string).unwrap_or_default();
    if !body.is_empty() {
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    text + "\r\n" + &body
}

/// A call over the Unix socket.
pub(crate) fn unix(dir: &Path, method: &str, path: &str, fields: &[&str], body: Option<&Value>) -> Answer {
    let mut stream = UnixStream::connect(dir.join("run/admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request(method, path, fields, body).as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Answer::parse(&bytes)
}

/// A call over TCP.
pub(crate) fn tcp(at: SocketAddr, method: &str, path: &str, fields: &[&str], body: Option<&Value>) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request(method, path, fields, body).as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Answer::parse(&bytes)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// An instance with a Unix socket, a TCP address with both tokens, and an audit log.
fn start(backend: &Backend) -> (Ringate, SocketAddr) {
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    for (name, token) in [("full.token", FULL), ("read.token", READ_ONLY)] {
        use std::os::unix::fs::OpenOptionsExt;
        let file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.path().join(name));
        file.unwrap().write_all(token.as_bytes()).unwrap();
    }
    let admin = format!(
        "[admin]\nlisten = [\"unix:run/admin.sock\", \"{address}\"]\ntoken_file = \"full.token\"\n\
         read_only_token_file = \"read.token\"\naudit = \"audit.log\""
    );
    let text = Setup::to(backend.address()).section(&admin).upstream("timeouts.idle = \"50s\"").text();
    fs::write(dir.path().join("ringate.toml"), text).unwrap();
    (Ringate::start_in(dir, 1), address)
}

fn audit(ringate: &Ringate) -> Vec<Value> {
    let text = fs::read_to_string(ringate.dir().join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn idle(seconds: u32) -> Value {
    json!({ "timeouts": { "idle": format!("{seconds}s") } })
}

#[test]
fn a_change_with_if_match_is_of_the_state_that_was_read() {
    let backend = Backend::replying(OK);
    let (ringate, _) = start(&backend);
    let call = |method: &str, path: &str, fields: &[&str], body: Option<&Value>| {
        unix(ringate.dir(), method, path, fields, body)
    };
    let path = "/v1/upstreams/app";
    let read = call("GET", path, &[], None);
    assert_eq!(read.json()["config"]["timeouts"]["idle"], "50s", "{}", read.text);
    let tag = read.field("etag").unwrap().to_owned();
    let known = call("GET", path, &[&format!("If-None-Match: \"x\", {tag}")], None);
    assert_eq!((known.status, &*known.text, known.field("etag")), (304, "", Some(&*tag)));
    // Traffic is another content, and no other state.
    assert_eq!(ringate.get("/").status, 200);
    let used = call("GET", path, &[&format!("If-None-Match: {tag}")], None);
    assert_eq!(used.status, 200);
    assert_ne!(used.field("etag").unwrap(), tag);
    let condition = format!("If-Match: {tag}");
    let changed = call("PATCH", path, &[&condition], Some(&idle(40)));
    assert_eq!(changed.status, 200, "{}", changed.text);
    for stale in [&*condition, "If-Match: \"nonsense\"", "If-Match: W/\"weak\""] {
        let refused = call("PATCH", path, &[stale], Some(&idle(30)));
        assert_eq!((refused.status, &refused.json()["type"]), (412, &json!("/v1/problems/stale")), "{stale}");
        assert!(refused.text.contains("read it again"), "{}", refused.text);
    }
    assert!(config(&ringate).contains("\"40s\""));
    // The answer of a change has the next tag; without a condition a change is accepted as it is.
    let next = format!("If-Match: {}", changed.field("etag").unwrap());
    assert_eq!(call("PATCH", path, &[&next], Some(&idle(30))).status, 200);
    assert_eq!(call("PATCH", path, &[], Some(&idle(20))).status, 200);
    assert_eq!(call("PATCH", path, &["If-Match: *"], Some(&idle(25))).status, 200);
    assert_eq!(call("PATCH", "/v1/upstreams/none", &["If-Match: *"], Some(&idle(25))).status, 412);
    for list in
        ["/v1/upstreams", "/v1/listeners", "/v1/routes", "/v1/upstreams/app/endpoints", "/v1/certificates"]
    {
        let read = call("GET", list, &[], None);
        let tag = read.field("etag").unwrap_or_else(|| panic!("{list} has no ETag")).to_owned();
        assert_eq!(call("GET", list, &[&format!("If-None-Match: {tag}")], None).status, 304, "{list}");
    }
}

#[test]
fn of_changes_at_once_with_one_condition_one_is_done() {
    let backend = Backend::replying(OK);
    let (ringate, _) = start(&backend);
    let dir = ringate.dir();
    let made =
        unix(dir, "POST", "/v1/certificates", &[], Some(&json!({ "name": "gateway", "common_name": "g" })));
    assert_eq!(made.status, 201, "{}", made.text);
    for (path, method, body) in [
        ("/v1/upstreams/app", "PATCH", Some(idle(10))),
        ("/v1/certificates/gateway", "PATCH", Some(json!({ "description": "ours" }))),
    ] {
        let tag = unix(dir, "GET", path, &[], None).field("etag").unwrap().to_owned();
        let condition = format!("If-Match: {tag}");
        let change = || unix(dir, method, path, &[&condition], body.as_ref()).status;
        let mut statuses: Vec<u16> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(change)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412], "{path}");
    }
    let certificate = unix(dir, "GET", "/v1/certificates/gateway", &[], None);
    let tag = format!("If-Match: {}", certificate.field("etag").unwrap());
    let stage = Some(json!({ "generate": null }));
    assert_eq!(unix(dir, "POST", "/v1/certificates/gateway/stage", &[&tag], stage.as_ref()).status, 200);
    assert_eq!(unix(dir, "POST", "/v1/certificates/gateway/activate", &[&tag], Some(&json!({}))).status, 412);
}

#[test]
fn each_change_is_in_the_audit_log_with_its_client_and_what_was_before() {
    let backend = Backend::replying(OK);
    let (ringate, address) = start(&backend);
    let dir = ringate.dir();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(unix(dir, "PATCH", "/v1/upstreams/app", &[], Some(&idle(40))).status, 200);
    let secret = json!({ "timeouts": { "idle": "nonsense" }, "request_headers": { "set": { "Authorization": "s3cret" } } });
    let full = bearer(FULL);
    assert_eq!(tcp(address, "PATCH", "/v1/upstreams/app", &[&full], Some(&secret)).status, 422);
    assert!(command(dir, &["cert", "generate", "gateway", "--common-name", "g"]).status.success());
    for nothing in [("POST", "/v1/plan"), ("POST", "/v1/upstreams/app/probe")] {
        assert!(unix(dir, nothing.0, nothing.1, &[], None).status < 300);
    }
    assert_eq!(unix(dir, "DELETE", "/v1/certificates/gateway", &[], None).status, 200);
    let lines = audit(&ringate);
    let shown = |line: &Value| {
        (line["call"].as_str().unwrap().to_owned(), line["outcome"].as_str().unwrap().to_owned())
    };
    let calls: Vec<_> = lines.iter().map(shown).collect();
    let expected = [
        ("PATCH /v1/upstreams/app", "done"),
        ("PATCH /v1/upstreams/app", "refused"),
        ("POST /v1/certificates", "done"),
        ("DELETE /v1/certificates/gateway", "done"),
    ];
    assert_eq!(calls, expected.map(|(call, outcome)| (call.to_owned(), outcome.to_owned())));
    assert_eq!(lines[0]["before"]["timeouts"]["idle"], "50s");
    assert_eq!(lines[0]["after"]["timeouts"]["idle"], "40s");
    assert_eq!((&lines[0]["who"]["by"], &lines[0]["who"]["uid"]), (&json!("unix-socket"), &json!(uid)));
    assert_eq!((&lines[1]["who"]["by"], &lines[1]["who"]["role"]), (&json!("token"), &json!("full")));
    assert_eq!(lines[1]["before"], lines[1]["after"]);
    assert!(lines[1]["reason"].as_str().unwrap().contains("idle"), "{}", lines[1]);
    assert_eq!(lines[2]["who"]["client"], "ringate command line");
    assert_eq!(lines[2]["subject"], "certificate gateway");
    assert_eq!((&lines[2]["before"], &lines[2]["after"]["active"]), (&Value::Null, &json!(1)));
    assert_eq!((&lines[3]["before"]["active"], &lines[3]["after"]), (&json!(1), &Value::Null));
    assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')));
    // A file that was moved away is made anew.
    fs::rename(dir.join("audit.log"), dir.join("audit.log.1")).unwrap();
    let mut ringate = ringate;
    ringate.process().signal(Signal::HUP);
    let line = eventually("the signal's line", || {
        fs::read_to_string(ringate.dir().join("audit.log")).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(line.contains("\"by\":\"signal\"") && line.contains("SIGHUP"), "{line}");
    assert_eq!(
        fs::metadata(ringate.dir().join("audit.log"))
            .map(|it| std::os::unix::fs::PermissionsExt::mode(&it.permissions()) & 0o777)
            .unwrap(),
        0o600
    );
    // One that can't be written holds nothing up, and is counted.
    fs::remove_file(ringate.dir().join("audit.log")).unwrap();
    fs::create_dir(ringate.dir().join("audit.log")).unwrap();
    assert_eq!(unix(ringate.dir(), "PATCH", "/v1/upstreams/app", &[], Some(&idle(10))).status, 200);
    let metrics = unix(ringate.dir(), "GET", "/metrics", &[], None).text;
    assert!(metrics.contains("ringate_audit_failures_total 1\n"), "{metrics}");
    let text: String = lines.iter().map(ToString::to_string).collect();
    for secret in [FULL, READ_ONLY, "s3cret"] {
        assert!(
            !text.contains(secret) && !metrics.contains(secret) && !ringate.log().contains(secret),
            "{secret}"
        );
    }
}

#[test]
fn the_read_only_token_reads_everything_and_changes_nothing() {
    let backend = Backend::replying(OK);
    let (ringate, address) = start(&backend);
    let token = bearer(READ_ONLY);
    for path in
        ["/v1/status", "/v1/upstreams/app", "/v1/certificates", "/metrics", "/v1/openapi.json", "/v1/session"]
    {
        assert_eq!(tcp(address, "GET", path, &[&token], None).status, 200, "{path}");
    }
    let before = config(&ringate);
    let description: Value = tcp(address, "GET", "/v1/openapi.json", &[&token], None).json();
    let mut refused = 0;
    for (path, calls) in description["paths"].as_object().unwrap() {
        for method in calls.as_object().unwrap().keys().filter(|method| *method != "get") {
            if path == "/v1/session" {
                continue;
            }
            let filled = path
                .replace("{name}", "app")
                .replace("{address}", "x")
                .replace("{environment}", "e")
                .replace("{id}", "0");
            let answer = tcp(address, &method.to_uppercase(), &filled, &[&token], Some(&json!({})));
            assert_eq!(
                (answer.status, &answer.json()["type"]),
                (403, &json!("/v1/problems/read-only")),
                "{method} {path}"
            );
            refused += 1;
        }
    }
    assert!(refused > 10);
    assert_eq!(config(&ringate), before);
    assert!(
        audit(&ringate).iter().all(|line| line["outcome"] == "refused" && line["who"]["role"] == "read-only")
    );
    assert_eq!(tcp(address, "GET", "/v1/status", &[&bearer("a-token-of-others")], None).status, 401);
}

#[test]
fn a_browser_signs_in_and_out_and_other_sites_get_nothing() {
    let backend = Backend::replying(OK);
    let (ringate, address) = start(&backend);
    let host = format!("Host: {address}");
    let origin = format!("Origin: http://{address}");
    let sign_in = |token: &str, fields: &[&str]| {
        tcp(address, "POST", "/v1/session", fields, Some(&json!({ "token": token })))
    };
    assert_eq!(sign_in("not-the-token-at-all", &[&host, &origin]).status, 401);
    let signed = sign_in(FULL, &[&host, &origin]);
    assert_eq!((signed.status, &signed.json()["role"]), (200, &json!("full")), "{}", signed.text);
    let set = signed.field("set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains(FULL));
    let cookie = format!("Cookie: {}", set.split(';').next().unwrap());
    let with = |method: &str, path: &str, fields: &[&str], body: Option<&Value>| {
        let all: Vec<&str> = [&*cookie].into_iter().chain(fields.iter().copied()).collect();
        tcp(address, method, path, &all, body)
    };
    assert_eq!(with("GET", "/v1/status", &[&host], None).status, 200);
    assert_eq!(with("GET", "/v1/session", &[&host], None).json()["by"], "session");
    let change =
        with("PATCH", "/v1/upstreams/app", &[&host, &origin, "Sec-Fetch-Site: same-origin"], Some(&idle(40)));
    assert_eq!(change.status, 200, "{}", change.text);
    assert_eq!(audit(&ringate)[0]["who"]["by"], "session");
    // A form of another site, whatever the browser says of it.
    for (fields, expected) in [
        (vec![&*host, "Origin: https://evil.example"], 403),
        (vec![&*host, "Origin: null"], 403),
        (vec![&*host, "Sec-Fetch-Site: cross-site"], 403),
        (vec![&*host, "Sec-Fetch-Site: same-site"], 403),
        // Its name was made to resolve here.
        (vec!["Host: evil.example", "Origin: http://evil.example", "Sec-Fetch-Site: same-origin"], 421),
        (vec!["Host: evil.example"], 421),
    ] {
        for (method, path) in
            [("POST", "/v1/reload"), ("POST", "/v1/drain"), ("GET", "/v1/status"), ("GET", "/v1/events")]
        {
            let answer = with(method, path, &fields, None);
            assert_eq!(answer.status, expected, "{method} {path} {fields:?}: {}", answer.text);
        }
        assert_eq!(sign_in(FULL, &fields).status, expected, "{fields:?}");
    }
    // The same by a tunnel to the Unix socket, which no token guards.
    let dir = ringate.dir();
    for fields in [
        &["Host: localhost:9901", "Origin: https://evil.example"][..],
        &["Host: evil.example", "Origin: http://evil.example"],
        &["Host: localhost:9901", "Sec-Fetch-Site: cross-site"],
    ] {
        assert!(matches!(unix(dir, "POST", "/v1/drain", fields, None).status, 403 | 421), "{fields:?}");
    }
    assert_eq!(unix(dir, "GET", "/v1/session", &["Host: x", "Sec-Fetch-Site: none"], None).status, 421);
    assert_eq!(unix(dir, "POST", "/v1/session", &[], Some(&json!({}))).json()["by"], "unix-socket");
    // The page itself may be opened from elsewhere.
    let opened = [&*host, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    assert_eq!(tcp(address, "GET", "/", &opened, None).status, 200);
    let reader = sign_in(READ_ONLY, &[&host]);
    let cookie_of_reader =
        format!("Cookie: {}", reader.field("set-cookie").unwrap().split(';').next().unwrap());
    assert_eq!(tcp(address, "POST", "/v1/reload", &[&cookie_of_reader, &host], None).status, 403);
    let out = with("DELETE", "/v1/session", &[&host, &origin], None);
    assert_eq!(out.status, 204);
    assert!(out.field("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(with("GET", "/v1/status", &[&host], None).status, 401);
    assert_eq!(ringate.get("/").status, 200);
    let secret = cookie.rsplit('=').next().unwrap();
    assert!(!ringate.log().contains(secret) && !ringate.log().contains(FULL));
}

#[test]
fn tokens_and_the_audit_log_are_checked_at_the_start() {
    let backend = Backend::replying(OK);
    for (admin, expected) in [
        ("[admin]\nread_only_token_file = \"read.token\"", "without a TCP address"),
        ("[admin]\naudit = \"none/audit.log\"", "can't be written"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ringate.toml"), Setup::to(backend.address()).section(admin).text())
            .unwrap();
        let output = run(Ringate::command().current_dir(dir.path()).args(["run", "-c", "ringate.toml"]));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{said}");
    }
}
