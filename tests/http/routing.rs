//! The most specific route wins, and the path that it was chosen by is the path that the backend sees.

use super::{exchange, ok};
use crate::support::*;

/// Ringate with a route table before backends that answer with their name and the request line.
fn routed(routes: &[(&str, &str)]) -> (Vec<Backend>, Ringate) {
    let mut text = String::new();
    let mut upstreams = String::new();
    let mut backends = Vec::new();
    for (number, (name, conditions)) in routes.iter().enumerate() {
        let answer = (*name).to_owned();
        let backend = Backend::serving(move |request| ok(format!("{answer} {}", request.line())));
        text += &format!("[[route]]\n{conditions}\nupstream = \"u{number}\"\n");
        upstreams += &format!("[upstream.u{number}]\nendpoints = [\"{}\"]\n", backend.address());
        backends.push(backend);
    }
    let config = format!("[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{text}{upstreams}");
    (backends, Ringate::start(&config))
}

/// The body of the answer, or its status line.
fn ask(ringate: &Ringate, method: &str, target: &str, host: &str) -> String {
    let answer =
        exchange(ringate, format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => body.to_owned(),
        _ => answer.lines().next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn by_host_the_exact_name_then_the_wildcard_then_any() {
    let (_backends, ringate) = routed(&[
        ("exact", "host = \"api.example.com\""),
        ("wildcard", "host = \"*.example.com\""),
        ("any", ""),
    ]);
    for (host, name) in [
        ("api.example.com", "exact"),
        ("API.Example.COM:8080", "exact"),
        ("api.example.com.", "exact"),
        ("www.example.com", "wildcard"),
        ("a.b.example.com", "wildcard"),
        ("example.com", "any"),
        ("badexample.com", "any"),
        ("127.0.0.1:80", "any"),
        ("[::1]:80", "any"),
    ] {
        assert_eq!(ask(&ringate, "GET", "/", host), format!("{name} GET /"), "{host}");
    }
}

#[test]
fn by_path_the_exact_one_then_the_longest_prefix_at_a_segment() {
    let (_backends, ringate) = routed(&[
        ("root", "path = \"/\""),
        ("orders", "path = \"/orders\""),
        ("new", "path = \"/orders/new\""),
        ("exact", "path = \"=/orders\""),
    ]);
    for (path, name) in [
        ("/", "root"),
        ("/ordersx", "root"),
        ("/Orders", "root"),
        ("/orders", "exact"),
        ("/orders?new", "exact"),
        ("/orders/", "orders"),
        ("/orders/1", "orders"),
        ("/orders/newer", "orders"),
        ("/orders/new", "new"),
        ("/orders/new/1?x=/", "new"),
    ] {
        assert_eq!(ask(&ringate, "GET", path, "h"), format!("{name} GET {path}"));
    }
}

#[test]
fn by_method_and_405_names_the_others() {
    let (_backends, ringate) = routed(&[
        ("read", "path = \"/x\"\nmethods = [\"GET\", \"HEAD\"]"),
        ("write", "path = \"/x\"\nmethods = [\"POST\"]"),
    ]);
    assert_eq!(ask(&ringate, "GET", "/x", "h"), "read GET /x");
    assert_eq!(ask(&ringate, "POST", "/x", "h"), "write POST /x");
    let answer = exchange(&ringate, "DELETE /x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
    let allow = answer.lines().find_map(|line| line.strip_prefix("Allow: ")).unwrap();
    let mut allow: Vec<&str> = allow.split(", ").collect();
    allow.sort_unstable();
    assert_eq!(allow, ["GET", "HEAD", "POST"]);
}

#[test]
fn what_no_route_matches_is_404() {
    let (backends, ringate) = routed(&[("only", "host = \"a.example\"\npath = \"/api\"")]);
    for (target, host) in [("/", "a.example"), ("/api", "b.example"), ("/apix", "a.example")] {
        assert_eq!(ask(&ringate, "GET", target, host), "HTTP/1.1 404 Not Found");
    }
    assert_eq!(backends[0].connections(), 0);
}

#[test]
fn a_stripped_prefix_does_not_reach_the_backend() {
    let (_backends, ringate) = routed(&[("api", "path = \"/api\"\nstrip_prefix = true")]);
    for (target, stripped) in [
        ("/api", "/"),
        ("/api/", "/"),
        ("/api/x", "/x"),
        ("/api?q=/api", "/?q=/api"),
        ("/api/api/x/", "/api/x/"),
    ] {
        assert_eq!(ask(&ringate, "GET", target, "h"), format!("api GET {stripped}"), "{target}");
    }
}

#[test]
fn paths_are_made_unambiguous_before_they_are_matched_and_sent() {
    let (_backends, ringate) = routed(&[("root", "path = \"/\""), ("admin", "path = \"/admin\"")]);
    for (target, answer) in [
        ("//admin", "admin GET /admin"),
        ("/./admin", "admin GET /admin"),
        ("/public/../admin", "admin GET /admin"),
        ("/public/%2e%2E/admin", "admin GET /admin"),
        ("/%61dmin/x", "admin GET /admin/x"),
        ("/admin/..", "root GET /"),
        ("/a%3fb%c3%a4?%2e%2e/../x//y", "root GET /a%3Fb%C3%A4?%2e%2e/../x//y"),
    ] {
        assert_eq!(ask(&ringate, "GET", target, "h"), answer, "{target}");
    }
}

#[test]
fn paths_that_backends_read_differently_are_refused() {
    let (backends, ringate) = routed(&[("root", "")]);
    for target in [
        "/..",
        "/a/../../b",
        "/%2e%2e/a",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%00",
        "/%",
        "/%zz",
        "/a%2",
        "/a/..;/b",
        "/..;x=y/",
        "/a%2",
    ] {
        assert_eq!(ask(&ringate, "GET", target, "h"), "HTTP/1.1 400 Bad Request", "{target}");
    }
    assert_eq!(backends[0].connections(), 0);
}

#[test]
fn each_listener_has_its_own_routes() {
    let (one, two) = (Backend::replying(ok("one")), Backend::replying(ok("two")));
    let ringate = Ringate::start(&format!(
        r#"
        [[listener]]
        name = "a"
        address = "127.0.0.1:0"
        [[listener]]
        name = "b"
        address = "127.0.0.1:0"
        [[route]]
        listener = "a"
        upstream = "one"
        [[route]]
        listener = "b"
        upstream = "two"
        [upstream.one]
        endpoints = ["{}"]
        [upstream.two]
        endpoints = ["{}"]
        "#,
        one.address(),
        two.address()
    ));
    for (listener, answer) in [("a", "one"), ("b", "two")] {
        let mut client = Client::connect(ringate.address_of(listener));
        assert_eq!(client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().text(), answer);
    }
}

/// The body of the answer to a GET with these field lines.
fn ask_with(ringate: &Ringate, target: &str, fields: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n");
    let answer = exchange(ringate, request);
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => body.split(' ').next().unwrap().to_owned(),
        _ => answer.lines().next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn by_conditions_the_most_first_whatever_the_order() {
    let (_backends, ringate) = routed(&[
        ("any", ""),
        ("two", "match.headers.x-version = \"2\""),
        ("three", "match.headers.X-Version = \"3\""),
        ("beta", "match.headers = { x-version = \"2\", x-beta = { present = true } }"),
        ("debug", "match.query.debug = \"1\""),
        ("both", "match = { headers.x-version = \"2\", query.debug = \"1\" }"),
        ("post", "methods = [\"GET\"]\nmatch.query.get = { present = true }"),
        ("deeper", "path = \"/deep\""),
    ]);
    for (target, fields, name) in [
        ("/", "", "any"),
        ("/", "X-VERSION: 2\r\n", "two"),
        ("/", "x-version: 3\r\n", "three"),
        ("/", "x-version: 2\r\nx-beta:\r\n", "beta"),
        ("/", "x-beta: 1\r\n", "any"),
        ("/", "x-version: 2\r\nx-version: 3\r\n", "any"),
        ("/?debug=1", "", "debug"),
        ("/?debug=%31&x", "", "debug"),
        ("/?debug=1&debug=2", "", "any"),
        ("/?debug=1", "x-version: 2\r\n", "both"),
        ("/?debug=1", "x-version: 2\r\nx-beta: 1\r\n", "beta"),
        // A route that lists the method comes before conditions, the path before both.
        ("/?debug=1&get", "x-version: 2\r\n", "post"),
        ("/deep?get", "x-version: 2\r\n", "deeper"),
    ] {
        assert_eq!(ask_with(&ringate, target, fields), name, "{target} {fields:?}");
    }
}

#[test]
fn a_route_with_the_conditions_of_two_others_decides_between_them() {
    let (_backends, ringate) = routed(&[
        ("first", "match.headers.x-first = \"1\""),
        ("second", "match.headers.x-second = \"1\""),
        ("both", "match.headers = { x-second = \"1\", x-first = \"1\" }"),
        ("any", ""),
    ]);
    for (fields, name) in [
        ("x-first: 1\r\n", "first"),
        ("x-second: 1\r\n", "second"),
        ("x-first: 1\r\nx-second: 1\r\n", "both"),
        ("", "any"),
    ] {
        assert_eq!(ask_with(&ringate, "/", fields), name, "{fields:?}");
    }
    // Without it, no one says where requests of both go.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("two.toml");
    let route =
        |name: &str| format!("[[route]]\nrespond = {{ status = 204 }}\nmatch.headers.{name} = \"1\"\n");
    let config =
        format!("[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{}{}", route("a"), route("b"));
    std::fs::write(&file, config).unwrap();
    let output = run(Ringate::command().arg("check").arg("-c").arg(&file));
    let listed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && listed.contains("conditions of both"), "{listed}");
}

#[test]
fn where_no_conditions_hold_there_is_no_route() {
    let (_backends, ringate) = routed(&[("v2", "methods = [\"GET\"]\nmatch.headers.x-version = \"2\"")]);
    assert_eq!(ask_with(&ringate, "/", "x-version: 2\r\n"), "v2");
    assert_eq!(ask_with(&ringate, "/", ""), "HTTP/1.1 404 Not Found");
    assert_eq!(ask(&ringate, "POST", "/", "h"), "HTTP/1.1 404 Not Found");
    let answer = exchange(&ringate, "POST / HTTP/1.1\r\nHost: h\r\nX-Version: 2\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET\r\n"), "{answer}");
}

#[test]
fn requests_are_split_by_weight() {
    let (old, new) = (Backend::replying(ok("old")), Backend::replying(ok("new")));
    let ringate = Ringate::start(&format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nupstreams = [{{ name = \"old\", weight = 9 }}, {{ name = \"new\" }}]\n\
         [upstream.old]\nendpoints = [\"{}\"]\n[upstream.new]\nendpoints = [\"{}\"]\n",
        old.address(),
        new.address()
    ));
    let mut client = ringate.client();
    let mut news = 0;
    for _ in 0..200 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        news += usize::from(client.response().text() == "new");
    }
    assert!((18..=22).contains(&news), "{news} of 200");
}

#[test]
fn encoded_slashes_pass_where_the_route_says_so_and_reach_no_other_route() {
    let backend = Backend::serving(|request| ok(request.line()));
    let route = |path: &str, more: &str| format!("[[route]]\npath = \"{path}\"\n{more}\n");
    let pass = "upstream = \"app\"\nencoded_slashes = \"pass\"";
    let routes = route("/packages", pass)
        + &route("/packages/private", "respond = { status = 403 }")
        + &route("/plain", "upstream = \"app\"")
        + &route("/", pass);
    let ringate = Setup::to(backend.address()).routes(&routes).start();
    for (path, answer) in [
        ("/packages/@a%2fb", Some("/packages/@a%2Fb")),
        ("/packages/%41/x%2Fy", Some("/packages/A/x%2Fy")),
        ("/x%2Fy", Some("/x%2Fy")),
        ("/packages/private%2Fx", None),
        ("/packages%2Fprivate", None),
        ("/packages/x%2F..%2Fprivate", None),
        ("/packages/x%2F..%2F..%2Fplain", None),
        ("/plain%2Fx", None),
        ("/plain/x%2Fy", None),
        ("/packages/a%5Cb", None),
        ("/packages/a%2F%2Fb", None),
    ] {
        let response = ringate.get(path);
        match answer {
            Some(seen) => assert_eq!(response.text(), format!("GET {seen}"), "{path}"),
            None => assert_eq!(response.status, 400, "{path}"),
        }
    }
    assert_eq!(backend.requests(), 3);
}

#[test]
fn several_hosts_suffixes_and_regular_expressions() {
    let (_backends, ringate) = routed(&[
        ("root", ""),
        ("hosts", "host = [\"a.example\", \"*.b.example\"]"),
        ("guarded", "path = \"/guarded\""),
        ("exact", "path = \"=/v1/x.png\""),
        ("images", "path = \"*.png\""),
        ("versions", "path = \"~ ^/v[0-9]+/\""),
        ("scripts", "path = \"~* [.]JS$\""),
    ]);
    for (host, path, name) in [
        ("a.example", "/v1/x.png", "hosts"),
        ("x.b.example", "/", "hosts"),
        ("b.example", "/", "root"),
        ("h", "/guarded/v1/x.png", "guarded"),
        ("h", "/v1/x.png", "exact"),
        ("h", "/v1/y.png?a=.js", "images"),
        ("h", "/v12/y", "versions"),
        ("h", "/x/v1/y", "root"),
        ("h", "/x/%76/../a.js", "scripts"),
    ] {
        let normal = if path.contains("..") { "/x/a.js" } else { path };
        assert_eq!(ask(&ringate, "GET", path, host), format!("{name} GET {normal}"), "{host}{path}");
    }
}

#[test]
fn conditions_on_cookies_clients_and_patterns_are_put_together() {
    let (_backends, ringate) = routed(&[
        ("rest", ""),
        (
            "beta",
            "match.any = [{ headers = { X-Beta = \"1\" } }, { cookies = { beta = { prefix = \"y\" } }, methods = [\"GET\"] }]",
        ),
        ("elsewhere", "path = \"/client\"\nmatch.client = [\"192.0.2.0/24\"]"),
        ("here", "path = \"/client\"\nmatch.not = { client = [\"192.0.2.0/24\"] }"),
        ("people", "path = \"/agent\"\nmatch.not = { headers = { User-Agent = { regex = \"[Bb]ot\" } } }"),
    ]);
    for (method, path, fields, name) in [
        ("GET", "/", "", "rest"),
        ("GET", "/", "X-Beta: 1", "beta"),
        ("PUT", "/", "X-Beta: 1", "beta"),
        ("GET", "/", "Cookie: a=b; beta=yes", "beta"),
        ("PUT", "/", "Cookie: beta=yes", "rest"),
        ("GET", "/", "Cookie: beta=no", "rest"),
        ("GET", "/client", "", "here"),
        ("GET", "/agent", "User-Agent: Browser", "people"),
        ("GET", "/agent", "User-Agent: Robot", "rest"),
        ("GET", "/agent", "", "people"),
    ] {
        let fields = if fields.is_empty() { String::new() } else { format!("{fields}\r\n") };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(&ringate, request);
        assert!(answer.ends_with(&format!("{name} {method} {path}")), "{method} {path} {fields}: {answer}");
    }
}
