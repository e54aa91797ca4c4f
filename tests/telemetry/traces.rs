//! Traces: what a collector of OTLP gets for each request that is recorded, and which are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::exposition::OPENMETRICS;
use super::{scrape, scrape_as};
use crate::http::{OK, ok};
use crate::support::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector of a few lines: what arrives is taken by `request`.
fn collector() -> Backend {
    Backend::serving(|request| {
        assert_eq!(request.line(), "POST /v1/traces");
        assert_eq!(request.header("Content-Type"), Some("application/json"));
        ok("{}")
    })
}

fn telemetry(collector: &Backend, more: &str) -> String {
    format!("[admin]\n[telemetry]\notlp = {{ endpoint = \"http://{}\"{more} }}", collector.address())
}

/// A span as it arrived.
#[derive(Clone, Debug)]
struct Span {
    json: Value,
    attributes: BTreeMap<String, Value>,
}

impl Span {
    fn text(&self, key: &str) -> &str {
        let missing = || panic!("no {key} in {:#}", self.json);
        self.attributes.get(key).and_then(|value| value["stringValue"].as_str()).unwrap_or_else(missing)
    }

    fn number(&self, key: &str) -> u64 {
        let missing = || panic!("no {key} in {:#}", self.json);
        let value = self.attributes.get(key).and_then(|value| value["intValue"].as_str());
        value.unwrap_or_else(missing).parse().unwrap()
    }

    fn id(&self) -> &str {
        self.json["spanId"].as_str().unwrap()
    }
}

/// The spans of the next `count` server spans with those of their attempts, in the order in which they were recorded.
fn spans(collector: &Backend, count: usize) -> Vec<Span> {
    let mut found: Vec<Span> = Vec::new();
    while found.iter().filter(|span| span.json["kind"] == 2).count() < count {
        let body: Value = serde_json::from_slice(&collector.request().body).unwrap();
        let [resource] = &body["resourceSpans"].as_array().unwrap()[..] else { panic!("{body}") };
        let of = |attributes: &Value| -> BTreeMap<String, Value> {
            let each = attributes.as_array().unwrap().iter();
            each.map(|it| (it["key"].as_str().unwrap().to_owned(), it["value"].clone())).collect()
        };
        let about = of(&resource["resource"]["attributes"]);
        assert_eq!(about["service.name"]["stringValue"], "edge", "{body}");
        assert_eq!(about["service.version"]["stringValue"], env!("CARGO_PKG_VERSION"));
        for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
            let nanos = |key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
            assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"), "{span}");
            found.push(Span { attributes: of(&span["attributes"]), json: span.clone() });
        }
    }
    found
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example:8080\r\n{fields}\r\n")
}

#[test]
fn a_request_is_a_server_span_with_a_client_span_below() {
    let (backend, collector) = (Backend::replying(OK), collector());
    let ringate = Setup::to(backend.address())
        .section(&telemetry(&collector, ", sample = 1.0, service = \"edge\""))
        .routes("[[route]]\npath = \"/orders\"\nupstream = \"app\"\n[[route]]\npath = \"/down\"\nrespond = { status = 503 }")
        .start();
    let mut client = ringate.client();
    client.send(get("/orders/7?token=secret", "User-Agent: test/1\r\nX-Request-Id: mine\r\n"));
    assert_eq!(client.response().status, 200);
    let forwarded = backend.request();
    client.send(get("/down", ""));
    assert_eq!(client.response().status, 503);
    client.send(get("/none", ""));
    assert_eq!(client.response().status, 404);

    let all = spans(&collector, 3);
    let [server, sent, down, none] = &all[..] else { panic!("{all:#?}") };
    assert_eq!((&server.json["name"], &server.json["kind"]), (&"GET /orders".into(), &2.into()));
    assert_eq!(server.json["parentSpanId"], "");
    let texts = [
        ("http.request.method", "GET"),
        ("url.path", "/orders/7"),
        ("url.scheme", "http"),
        ("http.route", "/orders"),
        ("server.address", "shop.example"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "test/1"),
        ("ringate.listener", "web"),
    ];
    for (key, value) in texts {
        assert_eq!(server.text(key), value, "{key}");
    }
    assert_eq!((server.number("server.port"), server.number("http.response.status_code")), (8080, 200));
    assert!(!server.attributes.contains_key("error.type") && server.json["status"] == serde_json::json!({}));
    assert!(!server.json.to_string().contains("secret"), "queries may hold secrets");

    assert_eq!((&sent.json["name"], &sent.json["kind"]), (&"GET".into(), &3.into()));
    assert_eq!(sent.json["parentSpanId"], server.json["spanId"]);
    assert_eq!(sent.json["traceId"], server.json["traceId"]);
    assert_eq!(sent.text("url.full"), format!("http://{}/orders/7", backend.address()));
    assert_eq!(sent.text("server.address"), "127.0.0.1");
    assert_eq!(sent.number("server.port"), u64::from(backend.address().port()));
    assert_eq!(sent.text("network.peer.address"), "127.0.0.1");
    assert_eq!(sent.text("ringate.upstream"), "app");
    assert!(!sent.attributes.contains_key("http.request.resend_count"));
    let context = format!("00-{}-{}-01", sent.json["traceId"].as_str().unwrap(), sent.id());
    assert_eq!(forwarded.headers("traceparent"), [context]);

    assert_eq!((down.text("error.type"), down.number("http.response.status_code")), ("503", 503));
    assert_eq!(down.json["status"]["code"], 2);
    assert_eq!((none.number("http.response.status_code"), &none.json["name"]), (404, &"GET".into()));
    assert!(!none.attributes.contains_key("error.type"), "a client's error is no error of the server");
    let ids: std::collections::BTreeSet<&str> = all.iter().map(Span::id).collect();
    assert_eq!(ids.len(), 4);
    let found = scrape(&ringate);
    assert_eq!(found.value("ringate_traces_recorded_total", &[]), 3.0);
    ringate.await_metric("spans_sent_total", 4);
}

#[test]
fn a_clients_decision_holds_and_its_state_goes_on() {
    let (backend, collector) = (Backend::replying(OK), collector());
    let ringate = Setup::to(backend.address())
        .section(&telemetry(&collector, ", sample = 0, service = \"edge\""))
        .start();
    let mut client = ringate.client();
    let unsampled = format!("traceparent: 00-{TRACE}-{PARENT}-00\r\ntracestate: a=1\r\n");
    for fields in ["", &unsampled, "traceparent: 00-xyz-1-01\r\n"] {
        assert_eq!(client.send(get("/", fields)).response().status, 200);
    }
    let [plain, passed, broken] = [(); 3].map(|()| backend.request());
    assert_eq!(plain.header("traceparent"), None);
    assert_eq!(passed.header("traceparent").unwrap(), format!("00-{TRACE}-{PARENT}-00"));
    assert_eq!(passed.header("tracestate"), Some("a=1"));
    assert_eq!(broken.header("traceparent"), Some("00-xyz-1-01"), "as before");

    let sampled = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1,b=2\r\n");
    assert_eq!(client.send(get("/", &sampled)).response().status, 200);
    let forwarded = backend.request();
    let all = spans(&collector, 1);
    let [server, sent] = &all[..] else { panic!("{all:#?}") };
    assert_eq!((&server.json["traceId"], &server.json["parentSpanId"]), (&TRACE.into(), &PARENT.into()));
    assert_eq!((&server.json["traceState"], &server.json["flags"]), (&"a=1,b=2".into(), &0x301.into()));
    assert_eq!(forwarded.headers("traceparent"), [format!("00-{TRACE}-{}-01", sent.id())]);
    assert_eq!(forwarded.headers("tracestate"), ["a=1,b=2"]);
    assert_eq!(collector.requests(), 1);
    let many = vec!["a=1"; 33].join(",");
    for invalid in
        ["tracestate: A=1\r\n", "tracestate: a=1\r\ntracestate: b\r\n", &format!("tracestate: {many}\r\n")]
    {
        let fields = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n{invalid}");
        assert_eq!(client.send(get("/", &fields)).response().status, 200);
        let forwarded = backend.request();
        assert!(forwarded.header("traceparent").unwrap().contains(TRACE));
        assert_eq!(forwarded.header("tracestate"), None, "{invalid}");
    }
}

#[test]
fn each_attempt_is_a_span_and_later_ones_are_counted() {
    let bad = Backend::replying("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let good = Backend::replying(OK);
    let closed = free_address();
    let collector = collector();
    let ringate = Setup::to_all([bad.address(), good.address()])
        .section(&telemetry(&collector, ", sample = 1, service = \"edge\""))
        .upstream("retries = { attempts = 3, on = [\"503\"] }\noutliers = { consecutive_failures = 0 }")
        .start();
    let both = eventually("a request that is sent twice", || {
        assert_eq!(ringate.get("/").status, 200);
        let all = spans(&collector, 1);
        (all.len() == 3).then_some(all)
    });
    let [server, first, second] = &both[..] else { panic!("{both:#?}") };
    assert_eq!(server.number("http.response.status_code"), 200);
    assert_eq!((first.number("http.response.status_code"), first.text("error.type")), (503, "503"));
    assert_eq!(
        (first.number("server.port"), &first.json["status"]["code"]),
        (bad.address().port().into(), &2.into())
    );
    assert_eq!(
        (second.number("http.response.status_code"), second.number("http.request.resend_count")),
        (200, 1)
    );
    assert_eq!(second.number("server.port"), u64::from(good.address().port()));
    let context = |span: &Span| format!("00-{}-{}-01", span.json["traceId"].as_str().unwrap(), span.id());
    assert_eq!(bad.request().header("traceparent").unwrap(), context(first));
    let mut seen = (0..good.requests()).map(|_| good.request().header("traceparent").unwrap().to_owned());
    assert!(seen.any(|it| it == context(second)));

    let unreachable =
        Setup::to(closed).section(&telemetry(&collector, ", sample = 1, service = \"edge\"")).start();
    assert_eq!(unreachable.get("/").status, 502);
    let all = spans(&collector, 1);
    let [server, sent] = &all[..] else { panic!("{all:#?}") };
    assert_eq!(
        (server.text("error.type"), sent.text("error.type")),
        ("connection_refused", "connection_refused")
    );
    assert!(sent.json["status"]["message"].as_str().unwrap().contains("connect"), "{:#}", sent.json);
}

#[test]
fn a_route_may_have_no_traces_and_http2_has_them_too() {
    let (backend, collector) = (Backend::replying(OK), collector());
    let ringate = Setup::to(backend.address())
        .section(&telemetry(&collector, ", sample = 1.0, service = \"edge\""))
        .routes("[[route]]\npath = \"/off\"\nupstream = \"app\"\ntrace = \"off\"\n[[route]]\nupstream = \"app\"\ntrace = \"make\"")
        .start();
    let sampled = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    assert_eq!(ringate.client().send(get("/off", &sampled)).response().status, 200);
    assert_eq!(backend.request().header("traceparent"), None);
    let url = format!("{}/h2", ringate.url());
    let arguments = ["--http2-prior-knowledge", "-w", "%{http_version}", &url];
    let answer = curl(&arguments.map(std::ffi::OsStr::new));
    assert_eq!(answer, "ok2");
    let all = spans(&collector, 1);
    let [server, sent] = &all[..] else { panic!("{all:#?}") };
    assert_eq!((server.text("url.path"), server.text("network.protocol.version")), ("/h2", "2"));
    assert_eq!(sent.text("network.protocol.version"), "1.1");
    let contexts = backend.request();
    let context = format!("00-{}-{}-01", sent.json["traceId"].as_str().unwrap(), sent.id());
    assert_eq!(contexts.headers("traceparent"), [context]);

    // Of those that are not recorded, others need not record any either.
    let none = Setup::to(backend.address())
        .section(&telemetry(&collector, ", sample = 0.0"))
        .routes("[[route]]\nupstream = \"app\"\ntrace = \"make\"")
        .start();
    assert_eq!(none.get("/").status, 200);
    assert!(backend.request().header("traceparent").unwrap().ends_with("-00"));
}

#[test]
fn the_share_of_recorded_requests_is_the_configured_one() {
    let (backend, collector) = (Backend::replying(OK), collector());
    let ringate = Setup::to(backend.address()).section(&telemetry(&collector, ", sample = 0.1")).start();
    let mut client = ringate.client();
    for _ in 0..200 {
        assert_eq!(client.send(get("/", "")).response().status, 200);
    }
    let recorded = ringate.metric("traces_recorded_total");
    assert!((18..=22).contains(&recorded), "{recorded}");
}

#[test]
fn histograms_have_the_ids_of_traces_as_exemplars() {
    let (backend, collector) = (Backend::replying(OK), collector());
    let ringate = Setup::to(backend.address())
        .section(&telemetry(&collector, ", sample = 1, service = \"edge\""))
        .start();
    assert_eq!(ringate.get("/").status, 200);
    let trace = spans(&collector, 1)[0].json["traceId"].as_str().unwrap().to_owned();
    let open = scrape_as(&ringate, OPENMETRICS);
    for family in
        ["ringate_route_request_duration_seconds_bucket", "ringate_upstream_request_duration_seconds_bucket"]
    {
        let exemplars: Vec<_> =
            open.all(family, &[]).into_iter().filter_map(|it| it.exemplar.as_ref()).collect();
        assert_eq!(exemplars.len(), 1, "{family}: {exemplars:?}");
        assert!(exemplars[0].starts_with(&format!("{{trace_id=\"{trace}\"}} 0.0")), "{exemplars:?}");
    }
    assert!(!scrape(&ringate).text.contains("trace_id"), "the older format has none");
}

#[test]
fn a_collector_that_is_down_or_slow_holds_up_no_request() {
    let backend = Backend::replying(OK);
    let nothing = free_address();
    let down = Setup::to(backend.address())
        .section(&format!("[admin]\n[telemetry]\notlp = {{ endpoint = \"http://{nothing}\", sample = 1 }}"))
        .start();
    assert_eq!(down.get("/").status, 200);
    down.await_metric("spans_failed_total", 2);
    let line = down.await_log("2 spans are dropped");
    assert!(line.contains("no connection to the collector"), "{line}");

    let stalled = Backend::start(|connection| {
        connection.request()?;
        std::thread::sleep(PATIENCE);
        Ok(())
    });
    let slow = Setup::to(backend.address())
        .section(&telemetry(&stalled, ", sample = 1, timeout = \"60s\""))
        .routes("[[route]]\nrespond = { status = 204 }")
        .start();
    assert_eq!(slow.get("/").status, 204);
    stalled.request();
    // More than there is room for, each answered although the collector is silent.
    let mut client = slow.client();
    for _ in 0..30 {
        client.send(get("/", "").repeat(50));
        for _ in 0..50 {
            assert_eq!(client.response().status, 204);
        }
    }
    assert_eq!(stalled.requests(), 1);
    assert!(slow.metric("spans_dropped_total") > 0);
    let begun = Instant::now();
    assert!(slow.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "the end does not wait for the collector");
}

#[test]
fn a_collector_may_be_reached_by_https_with_a_token() {
    let (backend, collector, pki) = (Backend::replying(OK), collector(), Pki::new());
    // TLS in front of the collector.
    let front = Setup::to(collector.address()).listener(&pki.listener_tls()).start();
    let otlp = |trust: &str| {
        let port = front.address().port();
        format!(
            "[admin]\n[telemetry.otlp]\nendpoint = \"https://localhost:{port}/\"\nsample = 1\nservice = \"edge\"\n{trust}\n\
             headers = {{ Authorization = \"Bearer token\" }}"
        )
    };
    let trust = format!("trust = [{:?}]", pki.file("ca.pem"));
    let trusted = Setup::to(backend.address()).section(&otlp(&trust)).start();
    assert_eq!(trusted.get("/").status, 200);
    let request = collector.request();
    assert_eq!(request.header("Authorization"), Some("Bearer token"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len(), 2);
    // Without the authority there is no connection.
    let strangers = Authority::new();
    let other = format!("trust = [{:?}]", strangers.file());
    let untrusted = Setup::to(backend.address()).section(&otlp(&other)).start();
    assert_eq!(untrusted.get("/").status, 200);
    untrusted.await_metric("spans_failed_total", 2);
    assert_eq!(collector.requests(), 1);
}

/// A collector that refuses the first `count` batches with this status and these fields, and when each request came.
fn busy_collector(status: &'static str, count: usize) -> (Backend, std::sync::mpsc::Receiver<Instant>) {
    let (sender, times) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new((sender, 0));
    let collector = Backend::serving(move |_| {
        let mut sender = sender.lock().unwrap();
        sender.0.send(Instant::now()).unwrap();
        sender.1 += 1;
        if sender.1 > count {
            return ok("{}");
        }
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    (collector, times)
}

#[test]
fn a_collector_that_asks_for_time_gets_it() {
    let backend = Backend::replying(OK);
    let start = |collector: &Backend| {
        Setup::to(backend.address()).section(&telemetry(collector, ", sample = 1")).start()
    };
    let (throttled, times) = busy_collector("429 Too Many Requests\r\nRetry-After: 3", 1);
    let ringate = start(&throttled);
    assert_eq!(ringate.get("/").status, 200);
    let [first, second] = [(); 2].map(|()| times.recv_timeout(PATIENCE).unwrap());
    assert!(second - first >= Duration::from_millis(2950), "{:?}", second - first);
    ringate.await_metric("spans_sent_total", 2);
    assert_eq!(ringate.metric("spans_failed_total"), 0);

    // Without a time the pauses are Ringate's, and grow.
    let (unready, times) = busy_collector("503 Service Unavailable", 2);
    let ringate = start(&unready);
    assert_eq!(ringate.get("/").status, 200);
    let at = [(); 3].map(|()| times.recv_timeout(PATIENCE).unwrap());
    let pauses = (at[1] - at[0], at[2] - at[1]);
    assert!(pauses.0 >= Duration::from_millis(440) && pauses.1 >= Duration::from_millis(890), "{pauses:?}");
    ringate.await_metric("spans_sent_total", 2);

    // A batch is not kept for minutes; nothing is sent meanwhile, and the end does not wait.
    let (resting, _times) = busy_collector("503 Service Unavailable\r\nRetry-After: 120", 1);
    let ringate = start(&resting);
    assert_eq!(ringate.get("/").status, 200);
    ringate.await_metric("spans_failed_total", 2);
    assert_eq!(ringate.get("/").status, 200);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((resting.requests(), ringate.metric("spans_sent_total")), (1, 0));
    let begun = Instant::now();
    assert!(ringate.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(resting.requests(), 1);
}
