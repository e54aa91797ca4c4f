//! `/v1/events` has what happens while it happens: figures, health, certificates, configs; bounded, and ended with the process.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::admin::{call, command, config};
use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
/// The most that may be open at a time (src/base/limits.rs).
const SUBSCRIBERS: usize = 16;

/// A client of the stream.
pub(crate) struct Watching(BufReader<UnixStream>);

impl Watching {
    pub(crate) fn begin(ringate: &Ringate) -> Self {
        let mut stream = UnixStream::connect(ringate.dir().join("run/admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut watching = Self(BufReader::new(stream));
        let head: Vec<String> =
            std::iter::from_fn(|| Some(watching.line()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].starts_with("HTTP/1.1 200 "), "{head:?}");
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        watching
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next event. Chunk sizes are not followed by a colon.
    pub(crate) fn next(&mut self) -> (String, Value) {
        let mut kind = String::new();
        loop {
            let line = self.line();
            if let Some(name) = line.strip_prefix("event: ") {
                kind = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (kind, serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next event of a type that `picks`.
    pub(crate) fn until(&mut self, kind: &str, picks: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (found, data) = self.next();
            if found == kind && picks(&data) {
                return data;
            }
        }
    }
}

#[test]
fn figures_come_each_second_and_have_what_was_served() {
    let slow = Backend::serving(|_| {
        std::thread::sleep(Duration::from_millis(30));
        OK.to_vec()
    });
    let ringate = Setup::to(slow.address()).section("[admin]").start();
    let mut watching = Watching::begin(&ringate);
    watching.until("figures", |_| true);
    let mut client = ringate.client();
    for _ in 0..5 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    let figures = watching.until("figures", |figures| figures["requests"] == 5);
    assert_eq!(figures["connections_open"], 1, "{figures}");
    let upstream = &figures["upstreams"][0];
    assert_eq!((&upstream["name"], &upstream["requests"]), (&json!("app"), &json!(5)), "{figures}");
    assert_eq!(upstream["endpoints"][0]["address"], slow.address().to_string(), "{figures}");
    assert!(figures["workers"].as_array().is_some_and(|workers| !workers.is_empty()), "{figures}");
    // Whichever second had the responses, they took what the backend did.
    let metrics = call_text(&ringate, "/metrics");
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("ringate_response_seconds_count"), 5.0);
    assert_eq!(value("ringate_response_seconds_bucket{le=\"0.016384\"}"), 0.0);
    assert!(value("ringate_response_seconds_sum") >= 0.15);
    client.send(GET).response();
    let busy = watching.until("figures", |figures| !figures["latency"]["p50_ms"].is_null());
    assert!(busy["latency"]["p50_ms"].as_f64().unwrap() >= 30.0, "{busy}");
    assert!(busy["upstreams"][0]["latency_ms"].as_f64().unwrap() >= 29.0, "{busy}");
}

fn call_text(ringate: &Ringate, path: &str) -> String {
    let socket = ringate.dir().join("run/admin.sock");
    curl(&[
        "-sS",
        "--max-time",
        "15",
        "--unix-socket",
        socket.to_str().unwrap(),
        &format!("http://localhost{path}"),
    ])
}

#[test]
fn health_and_configs_are_told_with_their_reasons() {
    let backend = Backend::replying(OK);
    let dead = free_address();
    let ringate = Setup::to(backend.address()).section("[admin]").start();
    let mut watching = Watching::begin(&ringate);
    watching.until("figures", |_| true);
    assert_eq!(ringate.get("/").status, 200);
    let up = watching.until("health", |health| health["state"] == "up");
    assert_eq!((&up["upstream"], &up["was"]), (&json!("app"), &json!("unknown")), "{up}");
    let patch = json!({ "endpoints": [dead.to_string()] });
    assert_eq!(call(&ringate, "PATCH", "/v1/upstreams/app", Some(patch)).0, 200);
    let applied = watching.until("config", |_| true);
    assert_eq!((&applied["outcome"], &applied["version"]), (&json!("applied"), &json!(2)), "{applied}");
    let gone = watching.until("health", |health| health["state"] == "removed");
    assert_eq!(gone["address"], backend.address().to_string());
    assert_eq!(ringate.get("/").status, 502);
    let down = watching.until("health", |health| health["state"] == "down");
    assert!(down["reason"].as_str().unwrap().contains("refused"), "{down}");
    let path = format!("/v1/upstreams/app/endpoints/{dead}");
    assert_eq!(call(&ringate, "PATCH", &path, Some(json!({ "drain": true }))).0, 200);
    watching.until("health", |health| health["state"] == "drained" && health["was"] == "down");
    let broken = config(&ringate).replace("[admin]", "[admn]");
    std::fs::write(ringate.dir().join("ringate.toml"), broken).unwrap();
    assert_eq!(call(&ringate, "POST", "/v1/reload", None).0, 422);
    let refused = watching.until("config", |config| config["outcome"] == "refused");
    assert!(refused["detail"].as_str().unwrap().contains("admn"), "{refused}");
}

#[test]
fn a_rotation_is_told_step_by_step() {
    let (pki, authority) = (Pki::new(), Authority::new());
    let trusting = |location: &str| {
        format!("ssl_client_certificate {};\nssl_verify_client on;\n{location}", authority.file().display())
    };
    let nginx = Nginx::tls(&pki, &trusting("location / { return 200 ok; }"));
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("certs");
    authority.issue_into(&store, "gateway", &Leaf::default());
    let text = Setup::to(nginx.address())
        .section("[admin]")
        .upstream(&format!("{}certificate = \"gateway\"", pki.upstream_tls()))
        .text();
    std::fs::write(dir.path().join("ringate.toml"), text).unwrap();
    let ringate = Ringate::start_in(dir, 1);
    let mut watching = Watching::begin(&ringate);
    // Signed by none that the backend trusts.
    let (status, said) = call(
        &ringate,
        "POST",
        "/v1/certificates/gateway/stage",
        Some(json!({ "generate": { "common_name": "x" } })),
    );
    assert_eq!(status, 200, "{said}");
    let staged = watching.until("certificate", |_| true);
    assert_eq!((&staged["change"], &staged["generation"]), (&json!("staged"), &json!(2)), "{staged}");
    assert_eq!(call(&ringate, "POST", "/v1/certificates/gateway/trial", None).0, 200);
    let begun = watching.until("certificate", |_| true);
    assert_eq!((&begun["change"], &begun["endpoints"]), (&json!("trial_begun"), &json!(1)), "{begun}");
    let tried = watching.until("certificate", |_| true);
    assert_eq!(
        (&tried["change"], &tried["answer"]["outcome"]),
        (&json!("tried"), &json!("refused")),
        "{tried}"
    );
    let over = watching.until("certificate", |_| true);
    assert_eq!((&over["change"], &over["passed"]), (&json!("trial"), &json!(false)), "{over}");
    let force = Some(json!({ "force": true }));
    assert_eq!(call(&ringate, "POST", "/v1/certificates/gateway/activate", force.clone()).0, 200);
    let active = watching.until("certificate", |_| true);
    assert_eq!((&active["change"], &active["forced"]), (&json!("activated"), &json!(true)), "{active}");
    assert!(command(ringate.dir(), &["cert", "rollback", "gateway"]).status.success());
    assert_eq!(watching.until("certificate", |_| true)["change"], "rolled_back");
}

#[test]
fn streams_are_bounded_and_end_with_the_process() {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address()).section("[admin]").start();
    let mut all: Vec<_> = (0..SUBSCRIBERS).map(|_| Watching::begin(&ringate)).collect();
    let (status, said) = call(&ringate, "GET", "/v1/events", None);
    assert_eq!((status, &said["type"]), (503, &json!("/v1/problems/busy")), "{said}");
    all.pop();
    // The place is free once the server has seen the end.
    eventually("a free place", || {
        let mut stream = UnixStream::connect(ringate.dir().join("run/admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (&status == b"HTTP/1.1 200").then_some(())
    });
    ringate.process().signal(Signal::TERM);
    for watching in &mut all {
        let end = watching.until("end", |_| true);
        assert_eq!(end["reason"], "ringate is draining");
    }
    assert!(ringate.process().wait().success());
}
