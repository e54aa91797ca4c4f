//! What routes ask of requests: a rate, an origin, a key.

use std::fs;
use std::time::{Duration, Instant};

use super::metric;
use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn limited(workers: usize, limit: &str) -> (Backend, Ringate) {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .workers(workers)
        .section("[admin]")
        .routes(&format!("[[route]]\nupstream = \"app\"\nrate_limit = {limit}"))
        .start();
    (backend, ringate)
}

#[test]
fn what_is_beyond_the_burst_is_told_429_and_when_to_come_again() {
    let (backend, ringate) = limited(1, "{ rate = \"2/m\", burst = 3 }");
    let mut client = ringate.client();
    for _ in 0..3 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    let refused = client.send(GET).response();
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((25..=30).contains(&wait), "{wait}");
    // The connection lives on, and no backend heard of it.
    assert_eq!(client.send(GET).response().status, 429);
    assert_eq!(backend.requests(), 3);
    assert_eq!(metric(&ringate, "requests_limited"), 2);
}

#[test]
fn clients_and_header_values_are_counted_apart() {
    let (_backend, ringate) = limited(1, "{ rate = \"1/h\", by = { header = \"X-Tenant\" } }");
    let mut client = ringate.client();
    let mut ask =
        |tenant: &str| client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{tenant}\r\n")).response().status;
    assert_eq!(ask("X-Tenant: a\r\n"), 200);
    assert_eq!(ask("X-Tenant: a\r\n"), 429);
    assert_eq!(ask("x-tenant: b\r\n"), 200);
    assert_eq!(ask(""), 200);
    assert_eq!(ask(""), 429);

    let (_backend, ringate) = limited(1, "\"1/h\"");
    let from = |address: &str| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let address: std::net::SocketAddr = format!("{address}:0").parse().unwrap();
        socket.bind(&address.into()).unwrap();
        socket.connect(&ringate.address().into()).unwrap();
        let mut stream = std::net::TcpStream::from(socket);
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer[9..12].to_owned()
    };
    assert_eq!(from("127.0.0.1"), "200");
    assert_eq!(from("127.0.0.1"), "429");
    assert_eq!(from("127.0.0.2"), "200");
}

#[test]
fn the_rate_holds_over_workers_however_connections_are_spread() {
    const RATE: usize = 400;
    let (_backend, ringate) = limited(3, &format!("{{ rate = \"{RATE}/s\", burst = 20, by = \"route\" }}"));
    let begun = Instant::now();
    let length = Duration::from_secs(3);
    // One busy client, two with a pause, and one with a connection for each request: no worker has its share.
    let address = ringate.address();
    let threads: Vec<_> = [0u64, 2, 5, 1000]
        .into_iter()
        .map(|pause| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut passed = 0;
                while begun.elapsed() < length {
                    if pause == 1000 {
                        client = Client::connect(address);
                    } else {
                        std::thread::sleep(Duration::from_millis(pause));
                    }
                    passed += usize::from(client.send(GET).response().status == 200);
                }
                passed
            })
        })
        .collect();
    let passed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let expected = 20.0 + RATE as f64 * begun.elapsed().as_secs_f64();
    let ratio = passed as f64 / expected;
    assert!((0.95..=1.05).contains(&ratio), "{passed} of {expected}");
}

fn cors(policy: &str, response: &'static str) -> (Backend, Ringate) {
    let backend = Backend::replying(response);
    let ringate = Setup::to(backend.address())
        .routes(&format!("[[route]]\nupstream = \"app\"\nmethods = [\"GET\", \"PUT\"]\ncors = {policy}"))
        .start();
    (backend, ringate)
}

const POLICY: &str = "{ origins = [\"https://app.example\", \"https://*.below.example:8443\"], methods = [\"GET\", \"PUT\"], \
    headers = [\"Content-Type\", \"X-A\"], credentials = true, max_age = \"1h\", expose = [\"X-Total\"] }";

#[test]
fn a_preflight_is_answered_here() {
    let (backend, ringate) = cors(POLICY, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut client = ringate.client();
    let mut ask = |origin: &str, more: &str| {
        client
            .send(format!(
                "OPTIONS /x HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n{more}\r\n"
            ))
            .response()
    };
    let allowed = ask("https://app.example", "Access-Control-Request-Headers: x-a\r\n");
    assert_eq!(allowed.status, 204);
    for (name, value) in [
        ("Access-Control-Allow-Origin", "https://app.example"),
        ("Access-Control-Allow-Methods", "GET, PUT"),
        ("Access-Control-Allow-Headers", "content-type, x-a"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Max-Age", "3600"),
    ] {
        assert_eq!(allowed.header(name), Some(value), "{}", allowed.head);
    }
    assert!(allowed.headers("Vary").contains(&"Origin"), "{}", allowed.head);
    let below = ask("https://a.b.below.example:8443", "");
    assert_eq!(below.header("Access-Control-Allow-Origin"), Some("https://a.b.below.example:8443"));
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil",
        "https://below.example:8443",
        "https://evil/.below.example:8443",
        "null",
    ] {
        let refused = ask(origin, "");
        assert_eq!(refused.status, 403, "{origin}");
        assert_eq!(refused.header("Access-Control-Allow-Origin"), None);
    }
    // OPTIONS as such is not a method of this route.
    let plain = client.send("OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert_eq!((plain.status, plain.header("Allow")), (405, Some("GET, PUT")));
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_response_says_who_may_read_it_once() {
    let (_backend, ringate) = cors(
        POLICY,
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\nContent-Length: 2\r\n\r\nok",
    );
    let mut client = ringate.client();
    let mut ask = |fields: &str| client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).response();
    let response = ask("Origin: https://app.example\r\n");
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("https://app.example"));
    assert_eq!(response.header("Access-Control-Allow-Credentials"), Some("true"));
    assert_eq!(response.header("Access-Control-Expose-Headers"), Some("x-total"));
    assert_eq!(response.headers("Vary"), ["Accept", "Origin"]);
    for fields in ["Origin: https://evil.example\r\n", ""] {
        let response = ask(fields);
        assert_eq!(response.header("Access-Control-Allow-Origin"), None);
        assert_eq!(response.headers("Vary"), ["Accept", "Origin"]);
    }
    let (_backend, ringate) = cors("{ origins = [\"*\"] }", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let response = ringate.client().send("GET / HTTP/1.1\r\nHost: h\r\nOrigin: https://x\r\n\r\n").response();
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(response.header("Vary"), None);
}

/// Makes a key and returns it.
pub(super) fn generate(dir: &std::path::Path, name: &str) -> String {
    let config = dir.join("ringate.toml");
    let output = run(Ringate::command().args(["apikey", "generate", "partners", name, "-c"]).arg(config));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn only_who_has_a_key_comes_in_and_the_backend_hears_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Backend::replying(OK);
    let config = Setup::to(backend.address())
        .section("[admin]\n[log]\naccess = \"access.log\"\naccess_format = '{request.target} {client.key} {response.status}'")
        .routes("[[route]]\nupstream = \"app\"\napi_keys = \"partners\"\ncors = { origins = [\"https://a.example\"] }")
        .text();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let [mobile, web] = ["mobile-app", "web.1"].map(|name| generate(dir.path(), name));
    let file = dir.path().join("certs/api-keys/partners.toml");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("mobile-app") && !text.contains(&mobile), "{text}");
    let twice = run(Ringate::command()
        .args(["apikey", "generate", "partners", "web.1", "-c"])
        .arg(dir.path().join("ringate.toml")));
    assert!(String::from_utf8_lossy(&twice.stderr).contains("there is a key called `web.1` already"));

    let ringate = Ringate::start_in(dir, 1);
    let mut client = ringate.client();
    let mut ask = |target: &str, fields: &str| {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).response()
    };
    let served =
        ask("/1", &format!("X-Api-Key: {mobile}\r\nX-Api-Key-Name: root\r\nx_api_key_name: root\r\n"));
    assert_eq!(served.status, 200);
    let request = backend.request();
    assert_eq!(request.header("X-Api-Key-Name"), Some("mobile-app"));
    assert!(!request.head.contains("root") && !request.head.contains(&mobile), "{}", request.head);
    assert_eq!(ask("/2", &format!("Authorization: bearer {web}\r\n")).status, 200);
    let request = backend.request();
    assert_eq!(request.header("X-Api-Key-Name"), Some("web.1"));
    assert_eq!(request.header("Authorization"), None);
    // Credentials that are none of ours go on.
    assert_eq!(ask("/3", &format!("X-Api-Key: {web}\r\nAuthorization: Basic YTpi\r\n")).status, 200);
    assert_eq!(backend.request().header("Authorization"), Some("Basic YTpi"));
    assert_eq!(ask("/4", &format!("X-Api-Key: {web}\r\nAuthorization: Bearer of.the.app\r\n")).status, 200);
    assert_eq!(backend.request().header("Authorization"), Some("Bearer of.the.app"));
    for (fields, challenge) in [
        (String::new(), "Bearer"),
        (format!("X-Api-Key: {}\r\n", &web[..60]), "Bearer error=\"invalid_token\""),
        (format!("X-Api-Key: {web}\r\nX-Api-Key: {mobile}\r\n"), "Bearer error=\"invalid_request\""),
        (
            format!("Authorization: Bearer {web}\r\nAuthorization: Bearer x\r\n"),
            "Bearer error=\"invalid_request\"",
        ),
    ] {
        let refused = ask("/refused", &format!("Origin: https://a.example\r\n{fields}"));
        assert_eq!((refused.status, refused.header("WWW-Authenticate")), (401, Some(challenge)));
        // A page may read why.
        assert_eq!(refused.header("Access-Control-Allow-Origin"), Some("https://a.example"));
    }
    assert_eq!(backend.requests(), 4);
    assert_eq!(metric(&ringate, "requests_unauthorized"), 4);
    let log = eventually("the access log", || {
        let text = fs::read_to_string(ringate.dir().join("access.log")).unwrap_or_default();
        (text.lines().count() == 8).then_some(text)
    });
    assert!(
        log.starts_with("/1 mobile-app 200\n/2 web.1 200\n/3 web.1 200\n/4 web.1 200\n/refused - 401\n"),
        "{log}"
    );
}

#[test]
fn a_trace_context_is_passed_on_made_or_taken_out() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .routes(
            "[[route]]\nupstream = \"app\"\n[[route]]\npath = \"/make\"\nupstream = \"app\"\ntrace = \"make\"\n\
             [[route]]\npath = \"/off\"\nupstream = \"app\"\ntrace = \"off\"",
        )
        .start();
    let mut client = ringate.client();
    let mut ask = |path: &str, parent: &str| {
        let fields = format!("traceparent: {parent}\r\ntracestate: a=b\r\n");
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).response();
        backend.request()
    };
    let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (path, parent, kept) in [
        ("/", valid, true),
        ("/", "what", true),
        ("/make", valid, true),
        ("/make", "what", false),
        ("/off", valid, false),
    ] {
        let request = ask(path, parent);
        assert_eq!(request.header("traceparent") == Some(parent), kept, "{path} {parent}");
        assert_eq!(request.header("tracestate"), kept.then_some("a=b"));
        let made = request.header("traceparent").filter(|_| !kept);
        assert_eq!(made.is_some(), path == "/make" && !kept);
        if let Some(made) = made {
            assert_eq!(made.split('-').nth(1), request.header("X-Request-Id"));
        }
    }
}

#[test]
fn a_reload_takes_new_keys_and_forgives_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Backend::replying(OK);
    let config = Setup::to(backend.address())
        .routes(
            "[[route]]\nupstream = \"app\"\napi_keys = \"partners\"\n\
             [[route]]\npath = \"/limited\"\nupstream = \"app\"\nrate_limit = \"1/h\"",
        )
        .text();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let old = generate(dir.path(), "old");
    let ringate = Ringate::start_in(dir, 1);
    let ask = |path: &str, key: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Api-Key: {key}\r\nConnection: close\r\n\r\n");
        ringate.client().send(request).response().status
    };
    assert_eq!((ask("/", &old), ask("/limited", ""), ask("/limited", "")), (200, 200, 429));
    let new = generate(ringate.dir(), "new");
    assert_eq!(ask("/", &new), 401);
    let config = ringate.dir().join("ringate.toml");
    assert!(
        run(Ringate::command().args(["apikey", "delete", "partners", "old", "-c"]).arg(config))
            .status
            .success()
    );
    ringate.signal(rustix::process::Signal::HUP);
    ringate.await_log("routes: 1 changed, 1 kept");
    eventually("the new key being good", || (ask("/", &new) == 200).then_some(()));
    assert_eq!((ask("/", &old), ask("/limited", "")), (401, 429));
}

#[test]
fn a_preflight_is_answered_by_the_route_of_the_request_it_speaks_of() {
    let backend = Backend::serving(|request| crate::http::ok(request.line()));
    let routes = "[[route]]\nupstream = \"app\"\nmethods = [\"GET\"]\ncors = { origins = [\"https://get.example\"] }\n\
         [[route]]\nupstream = \"app\"\nmethods = [\"PUT\"]\ncors = { origins = [\"https://put.example\"], methods = [\"PUT\"] }\n\
         [[route]]\nupstream = \"app\"\nmethods = [\"PUT\"]\nmatch.headers.x-beta = \"1\"\n\
         cors = { origins = [\"https://beta.example\"], methods = [\"PUT\"], headers = [\"X-Beta\"] }\n\
         [[route]]\nupstream = \"app\"\nmethods = [\"DELETE\"]\n\
         [[route]]\nupstream = \"app\"\npath = \"/own\"\nmethods = [\"PUT\", \"OPTIONS\"]\n\
         [[route]]\nupstream = \"app\"\npath = \"/any\"\ncors = { origins = [\"https://any.example\"] }\n\
         [[route]]\nupstream = \"app\"\npath = \"/any\"\nmethods = [\"DELETE\"]\n\
         [[route]]\nupstream = \"app\"\npath = \"/query\"\nmatch.query.v = \"2\"\ncors = { origins = [\"https://v2.example\"] }";
    let ringate = Setup::to(backend.address()).routes(routes).start();
    let ask = |path: &str, origin: &str, method: &str, fields: &str| {
        let fields = if fields.is_empty() {
            String::new()
        } else {
            format!("Access-Control-Request-Headers: {fields}\r\n")
        };
        let request = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: h\r\nOrigin: https://{origin}\r\n\
             Access-Control-Request-Method: {method}\r\n{fields}\r\n"
        );
        // What is refused without a route ends its connection.
        ringate.client().send(request).response().status
    };
    for (path, origin, method, fields, status) in [
        ("/", "get.example", "GET", "", 204),
        ("/", "get.example", "PUT", "", 403),
        ("/", "put.example", "PUT", "", 204),
        ("/", "put.example", "PUT", "content-type", 204),
        // The field decides, and it is only announced.
        ("/", "beta.example", "PUT", "content-type, X-Beta", 204),
        ("/", "put.example", "PUT", "x-beta", 403),
        ("/", "beta.example", "PUT", "", 403),
        // No policy, and no backend that takes OPTIONS.
        ("/", "get.example", "DELETE", "", 405),
        // The backend has its own.
        ("/own", "put.example", "PUT", "", 200),
        // Another route's policy says nothing about this one.
        ("/any", "any.example", "DELETE", "", 403),
        ("/any", "any.example", "GET", "", 204),
        ("/query?v=2", "v2.example", "GET", "", 204),
    ] {
        assert_eq!(ask(path, origin, method, fields), status, "{path} {origin} {method} {fields}");
    }
    assert_eq!(backend.requests(), 1);
}
