//! Requests that a listener or a route refuses by what they are.

use super::metric;
use crate::http::OK;
use crate::http2::peer::*;
use crate::support::*;

const RULES: &str = "refuse = [
  { path = \"/internal\", not = { client = [\"10.0.0.0/8\"] }, status = 404 },
  { headers = { User-Agent = { contains = \"bot\" } }, status = 429 },
  { methods = [\"POST\"], any = [{ host = \"*.shop.example\" }, { path = [\"/cart\", \"~ ^/v[0-9]+/cart\"] }], not = [{ cookies = { session = { present = true } } }, { query = { open = \"1\" } }] },
]
client_address = { header = \"X-Forwarded-For\", trusted = [\"127.0.0.1\"] }
headers.response.set = { X-Edge = \"{listener}\" }";

/// A route of a host each, so that a listener's rule would be passed if it held after routing.
fn start() -> (Backend, Ringate) {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .listener(RULES)
        .routes(
            "[[route]]\nupstream = \"app\"\n\
             [[route]]\nhost = \"open.example\"\npath = \"/internal\"\nupstream = \"app\"\nencoded_slashes = \"pass\"\n\
             [[route]]\nhost = \"own.example\"\nupstream = \"app\"\n\
             refuse = [{ methods = [\"DELETE\"], path = \"/a\" }, { query = { debug = { present = true } }, status = 410 }]\n",
        )
        .section("[admin]")
        .start();
    (backend, ringate)
}

/// Method, host, path, further field, status.
type Case = (&'static str, &'static str, &'static str, (&'static str, &'static str), u16);

const CASES: &[Case] = &[
    ("GET", "a.example", "/", ("x-a", "1"), 200),
    ("GET", "a.example", "/internal", ("x-a", "1"), 404),
    ("GET", "open.example", "/internal/a?b", ("x-a", "1"), 404),
    ("GET", "open.example", "/x/../internal", ("x-a", "1"), 404),
    ("GET", "open.example", "//%69nternal", ("x-a", "1"), 404),
    ("GET", "open.example", "/internal%2Fx/y", ("x-a", "1"), 404),
    ("GET", "open.example", "/internal/x%2Fy", ("x-a", "1"), 404),
    ("GET", "open.example", "/internal/x%2Fy", ("x-forwarded-for", "10.1.2.3"), 200),
    ("GET", "open.example", "/internal", ("x-forwarded-for", "10.1.2.3"), 200),
    ("GET", "open.example", "/internals", ("x-a", "1"), 200),
    ("GET", "nowhere.example", "/", ("user-agent", "a bot"), 429),
    // A name that is the same to CGI.
    ("GET", "nowhere.example", "/", ("user_agent", "a bot"), 429),
    ("POST", "a.shop.example", "/", ("x-a", "1"), 403),
    ("POST", "A.SHOP.example.", "/", ("x-a", "1"), 403),
    ("POST", "shop.example", "/", ("x-a", "1"), 200),
    ("GET", "a.shop.example", "/", ("x-a", "1"), 200),
    ("POST", "a.example", "/cart/1", ("x-a", "1"), 403),
    ("POST", "a.example", "/v2/cart", ("x-a", "1"), 403),
    ("POST", "a.example", "/v2/cart", ("cookie", "session=1"), 200),
    ("POST", "a.example", "/v2/cart?open=1", ("x-a", "1"), 200),
    ("POST", "a.example", "/v2/cart?open=2", ("x-a", "1"), 403),
    ("POST", "a.example", "/v2/cart?open=1&open=2", ("x-a", "1"), 403),
    ("DELETE", "own.example", "/a/b", ("x-a", "1"), 403),
    ("DELETE", "own.example", "/b", ("x-a", "1"), 200),
    ("DELETE", "a.example", "/a", ("x-a", "1"), 200),
    ("GET", "own.example", "/?debug", ("x-a", "1"), 410),
];

#[test]
fn what_a_condition_refuses_no_route_passes() {
    let (backend, ringate) = start();
    let mut client = ringate.client();
    let mut passed = 0;
    for (method, host, path, (name, value), status) in CASES {
        let case = format!("{method} {host}{path} {name}: {value}");
        let answer = client
            .send(format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\nContent-Length: 0\r\n\r\n"
            ))
            .response();
        assert_eq!(answer.status, *status, "{case}");
        assert_eq!(answer.headers("X-Edge"), ["web"], "{case}");
        passed += usize::from(*status == 200);
        assert_eq!(backend.requests(), passed, "{case}");
    }
    let refused = CASES.iter().filter(|case| case.4 != 200).count() as u64;
    assert_eq!(metric(&ringate, "requests_denied"), refused);
}

/// A backend may read any of several values, so each of them is judged.
#[test]
fn what_is_refused_does_not_pass_beside_another_value() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .section("[map.blocked]\nfrom = \"{request.header.x-user}\"\nentries = { mallory = \"1\" }\n")
        .listener(
            "refuse = [{ headers = { X-Bad = { regex = \"sqlmap\" } } }, { cookies = { c = \"1\" } }, \
             { query = { debug = \"1\" } }, { maps = { blocked = \"1\" } }]",
        )
        .start();
    let mut client = ringate.client();
    for (target, lines, status) in [
        ("/", "X-Bad: x\r\nX-Bad: sqlmap\r\n", 403),
        ("/", "X-Bad: sqlmap\r\nX-Bad: x\r\n", 403),
        ("/", "X-Bad: x\r\nX-Bad: y\r\n", 200),
        ("/", "Cookie: c=2; c=1\r\n", 403),
        ("/", "Cookie: c=2; c=3\r\n", 200),
        ("/?debug=0&debug=1", "", 403),
        ("/?debug=0&debug=2", "", 200),
        ("/", "X-User: alice\r\nX-User: mallory\r\n", 403),
        ("/", "X_User: mallory\r\n", 403),
        ("/", "X-User: alice\r\nX-User: bob\r\n", 200),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(client.send(request).response().status, status, "{target} {lines}");
    }
}

#[test]
fn the_same_holds_for_http2() {
    let (backend, ringate) = start();
    let mut peer = Peer::connect(ringate.address());
    let mut stream = 1;
    for (method, host, path, field, status) in CASES {
        let fields = [
            (":method", *method),
            (":scheme", "http"),
            (":authority", *host),
            (":path", *path),
            *field,
            ("content-length", "0"),
        ];
        peer.send(frame(HEADERS, ES | EH, stream, block(&fields)));
        let answer = peer.answer(stream);
        assert_eq!(answer.status(), *status, "{fields:?}");
        assert_eq!(answer.field("x-edge"), Some("web"), "{fields:?}");
        stream += 2;
    }
    assert_eq!(backend.requests(), CASES.iter().filter(|case| case.4 == 200).count());
}

#[test]
fn a_refusal_that_could_not_hold_is_an_error() {
    for (entry, wrong) in [
        ("{ status = 404 }", "it has no condition, and would refuse every request"),
        ("{}", "it has no condition"),
        ("{ path = \"/a//b\" }", "no request has the path \"/a//b\""),
        ("{ path = \"/\", status = 200 }", "200"),
        ("{ paths = \"/a\" }", "did you mean `path`?"),
        ("{ headers = { Host = \"a\" } }", "matched by `route.host`"),
    ] {
        let text = Setup::to(free_address()).listener(&format!("refuse = [{entry}]")).text();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ringate.toml");
        std::fs::write(&file, text).unwrap();
        let checked = run(Ringate::command().arg("check").arg("-c").arg(&file));
        let checked = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.contains(wrong), "{entry}: {checked}");
    }
}
