//! Header rules under conditions: `headers.when` of listeners and routes.

use crate::http2::peer::*;
use crate::support::*;

/// Fields of responses say which rules held, in their order.
const LISTENER: &str = "headers.request.set = { X-To = \"plain\" }
headers.response.set = { X-Outer = \"plain\" }
headers.when = [
  { path = \"/api\", request = { set = { X-To = \"{request.method}\" }, add = { X-Seen = \"api\" }, remove = [\"X-Secret\"] }, response = { add = { X-Rules = \"api\" } } },
  { status = [\"404\", \"5xx\"], response = { set = { X-Outer = \"failed\" }, add = { X-Rules = \"failed\" }, remove = [\"X-Powered-By\"] } },
  { methods = [\"POST\"], not = { headers = { X-Beta = { present = true } } }, response = { add = { X-Rules = \"post\" } } },
  { any = [{ cookies = { beta = \"1\" } }, { client = [\"127.0.0.66\"] }], status = [\"2xx\"], response = { set = { X-Rules = \"beta\" } } },
]
client_address = { header = \"X-Real-IP\", trusted = [\"127.0.0.1\"] }
limits.head_bytes = 2048
[map.tenant]
from = \"{request.host}\"
entries = { \"t.example\" = \"tee\" }";

const ROUTES: &str = "[[route]]
upstream = \"app\"
headers.response.add = { X-Rules = \"route\" }
headers.when = [{ maps = { tenant = { present = true } }, request = { set = { X-Tenant = \"{map.tenant}\", Host = \"inside.example\" } }, response = { set = { X-Tenant = \"{map.tenant}\" } } }]
[[route]]
path = \"/fixed\"
respond = { status = 404 }
headers.when = [{ status = [\"404\"], response = { set = { X-Outer = \"route\" } } }]
[[route]]
path = \"/keys\"
upstream = \"app\"
deny = [\"127.0.0.1\"]
[[route]]
path = \"/own\"
upstream = \"app\"
headers.response.set = { X-Outer = \"own\", X-Rules = \"own\" }
[[route]]
path = \"/gone\"
upstream = \"gone\"
[[route]]
path = \"/slashes\"
encoded_slashes = \"pass\"
upstream = \"app\"
headers.when = [{ path = \"/slashes/a\", response = { set = { X-Rules = \"below\" } } }]";

fn start() -> (Backend, Ringate) {
    let backend = Backend::serving(|request| {
        let line = request.line();
        let status = if line.contains("/lost") { "404 Not Found" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\nX-Powered-By: cgi\r\nLocation: http://inside.example/x\r\n");
        let body = match line.contains("/trailers") {
            true => "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Powered-By: end\r\nX-Sum: 1\r\n\r\n",
            false => "Content-Length: 2\r\n\r\nok",
        };
        format!("{head}{body}").into_bytes()
    });
    let refusing = Backend::start(|_| Ok(()));
    let gone = refusing.address();
    drop(refusing);
    // Maps are sections of their own, behind the listener's keys.
    let (listener, map) = LISTENER.split_once("\n[map").unwrap();
    let ringate = Setup::to(backend.address())
        .listener(listener)
        .routes(ROUTES)
        .section(&format!("[map{map}\n[upstream.gone]\nendpoints = [\"{gone}\"]"))
        .start();
    (backend, ringate)
}

fn ask(ringate: &Ringate, method: &str, host: &str, path: &str, fields: &str) -> Response {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
    ringate.client().send(request).response()
}

#[test]
fn responses_have_what_their_requests_and_statuses_ask_for() {
    let (_backend, ringate) = start();
    for (method, path, fields, status, outer, rules) in [
        ("GET", "/", "", 200, "plain", &["route"][..]),
        ("GET", "/api/x", "", 200, "plain", &["api", "route"]),
        ("GET", "//%61pi", "", 200, "plain", &["api", "route"]),
        ("GET", "/apis", "", 200, "plain", &["route"]),
        ("POST", "/api", "Content-Length: 0\r\n", 200, "plain", &["api", "post", "route"]),
        ("POST", "/", "Content-Length: 0\r\nX-Beta: 1\r\n", 200, "plain", &["route"]),
        ("GET", "/lost", "", 404, "failed", &["failed", "route"]),
        ("POST", "/api/lost", "Content-Length: 0\r\n", 404, "failed", &["api", "failed", "post", "route"]),
        // What sets a field takes those before it out, by the status alone where that is asked.
        ("GET", "/api", "Cookie: beta=1\r\n", 200, "plain", &["beta", "route"]),
        ("GET", "/api/lost", "Cookie: beta=1\r\n", 404, "failed", &["api", "failed", "route"]),
        ("GET", "/", "X-Real-IP: 127.0.0.66\r\n", 200, "plain", &["beta", "route"]),
        // The route's go behind the listener's.
        ("GET", "/own", "Cookie: beta=1\r\n", 200, "own", &["own"]),
        ("GET", "/own/lost", "", 404, "own", &["own"]),
        // Responses of Ringate itself.
        ("GET", "/fixed", "", 404, "route", &["failed"]),
        ("GET", "/keys", "", 403, "plain", &[]),
        ("GET", "/gone", "", 502, "failed", &["failed"]),
        ("POST", "/gone", "Content-Length: 0\r\n", 502, "failed", &["failed", "post"]),
        // An encoded slash is none.
        ("GET", "/slashes/a/b", "", 200, "plain", &["below"]),
        ("GET", "/slashes%2Fa", "", 400, "plain", &[]),
        ("GET", "/slashes/x%2Fa", "", 200, "plain", &[]),
    ] {
        let answer = ask(&ringate, method, "h", path, fields);
        let case = format!("{method} {path} {fields}: {}", answer.head);
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.headers("X-Outer"), [outer], "{case}");
        assert_eq!(answer.headers("X-Rules"), rules, "{case}");
        assert_eq!(answer.header("X-Powered-By").is_some(), status == 200, "{case}");
    }
}

#[test]
fn backends_get_what_the_request_asks_for() {
    let (backend, ringate) = start();
    let fields = "X-Secret: a\r\nX-To: me\r\nX-Tenant: me\r\n";
    for (host, path, to, seen, secret, tenant, named) in [
        ("h", "/", "plain", false, true, Some("me"), "h"),
        ("h", "/api", "GET", true, false, Some("me"), "h"),
        ("t.example", "/", "plain", false, true, Some("tee"), "inside.example"),
        ("t.example", "/api", "GET", true, false, Some("tee"), "inside.example"),
    ] {
        let answer = ask(&ringate, "GET", host, path, fields);
        let request = backend.request();
        assert_eq!(request.headers("X-To"), [to], "{host}{path}");
        assert_eq!(request.headers("X-Seen").len(), usize::from(seen), "{host}{path}");
        assert_eq!(request.header("X-Secret").is_some(), secret, "{host}{path}");
        assert_eq!(request.header("X-Tenant"), tenant, "{host}{path}");
        assert_eq!(request.headers("Host"), [named], "{host}{path}");
        assert_eq!(answer.header("X-Tenant"), tenant.filter(|name| *name == "tee"), "{host}{path}");
        // A name that clients can't reach leaves references where it was set.
        let location = answer.header("Location").unwrap_or_default();
        assert_eq!(location.contains("inside.example"), host == "h", "{}", answer.head);
    }
}

#[test]
fn trailers_and_other_versions_have_the_same_rules() {
    let (_backend, ringate) = start();
    for (path, powered) in [("/trailers", true), ("/trailers/lost", false)] {
        let answer = ask(&ringate, "GET", "h", path, "");
        assert_eq!(answer.header("X-Powered-By").is_some(), powered, "{}", answer.head);
        let wire = String::from_utf8_lossy(&answer.wire);
        let trailers = wire.rsplit_once("0\r\n").map(|(_, trailers)| trailers);
        let expected = if powered { "X-Powered-By: end\r\nX-Sum: 1\r\n\r\n" } else { "X-Sum: 1\r\n\r\n" };
        assert_eq!(trailers, Some(expected), "{path}");
    }
    let mut peer = Peer::connect(ringate.address());
    for (stream, path, rules) in [(1, "/api", "api"), (3, "/lost", "failed")] {
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", path)];
        peer.send(frame(HEADERS, ES | EH, stream, block(&fields)));
        let answer = peer.answer(stream);
        assert_eq!(answer.field("x-rules"), Some(rules), "{path}");
        assert_eq!(answer.field("x-powered-by").is_some(), path == "/api", "{path}");
    }
}

#[test]
fn what_is_not_understood_meets_no_condition_on_requests() {
    let (_backend, ringate) = start();
    let bad = ringate.client().send("GET /api HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").response();
    assert_eq!((bad.status, bad.headers("X-Rules"), bad.headers("X-Outer")), (400, vec![], vec!["plain"]));
    // A status needs no request.
    let bad = ringate.client().send("GET /api HTTP/3.7\r\nHost: a\r\n\r\n").response();
    assert_eq!((bad.status, bad.headers("X-Rules")), (505, vec!["failed"]));
}

#[test]
fn a_reload_names_them_and_the_check_explains_them() {
    let backend = Backend::replying(crate::http::OK);
    let ringate = Setup::to(backend.address())
        .listener("headers.when = [{ path = \"/a\", response = { set = { X-A = \"1\" } } }]")
        .section("[admin]")
        .start();
    let file = ringate.dir().join("ringate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("X-A = \"1\"", "X-A = \"2\"")).unwrap();
    let planned = run(Ringate::command().arg("plan").arg("-c").arg(&file));
    let planned = String::from_utf8_lossy(&planned.stdout);
    assert!(planned.contains("headers.when"), "{planned}");
    for (key, part) in [
        ("route.headers.when", "list of tables"),
        ("listener.headers.when.status", "404"),
        ("listener.headers.when.response.remove", "header names"),
    ] {
        let found = run(Ringate::command().args(["check", "--explain", key]));
        let found = String::from_utf8_lossy(&found.stdout);
        assert!(found.contains(key) && found.contains(part), "{found}");
    }
}
