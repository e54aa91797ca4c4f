//! Rules of a listener: they hold before any route is chosen, and for every response.

use std::time::Duration;

use super::rules::generate;
use crate::http::{OK, ok};
use crate::support::*;

/// An answer to a request for a host, on a connection of its own.
fn ask(ringate: &Ringate, host: &str, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    ringate.client().send(request).response()
}

#[test]
fn a_listeners_limit_is_not_passed_by_a_route_of_a_host() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .listener("rate_limit = { rate = \"3/h\", burst = 3 }")
        .routes(
            "[[route]]\nhost = \"a\"\nupstream = \"app\"\n[[route]]\nhost = \"b\"\npath = \"/b\"\nrespond = {}",
        )
        .section("[admin]")
        .start();
    // A path without a route counts, too.
    assert_eq!(ask(&ringate, "a", "/").status, 200);
    assert_eq!(ask(&ringate, "b", "/b").status, 200);
    assert_eq!(ask(&ringate, "c", "/").status, 404);
    let mut client = ringate.client();
    for (host, path) in [("a", "/"), ("b", "/b"), ("c", "/")] {
        let refused = client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
        assert_eq!(refused.status, 429, "{host}");
        assert!(refused.header("Retry-After").is_some(), "{}", refused.head);
    }
    assert_eq!((backend.requests(), super::metric(&ringate, "requests_limited")), (1, 3));

    // A reload gives no new burst, unless the limit itself is another one.
    let file = ringate.dir().join("ringate.toml");
    let reload = |from: &str, to: &str, logged: &str| {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let planned = run(Ringate::command().arg("plan").arg("-c").arg(&file));
        let planned = String::from_utf8_lossy(&planned.stdout);
        assert!(planned.contains(logged), "{planned}");
        ringate.signal(rustix::process::Signal::HUP);
    };
    reload("path = \"/b\"", "path = \"/bb\"", "route");
    eventually("the new route", || ringate.admin("/v1/status").contains("\"version\":2").then_some(()));
    assert_eq!(ask(&ringate, "a", "/").status, 429);
    reload("burst = 3", "burst = 4", "rate_limit");
    eventually("the new limit", || (ask(&ringate, "a", "/").status == 200).then_some(()));
}

#[test]
fn a_listeners_limit_counts_by_header_or_all_together() {
    for (by, other) in [("\"listener\"", 429), ("{ header = \"X-Tenant\" }", 200)] {
        let backend = Backend::replying(OK);
        let limit = format!("rate_limit = {{ rate = \"1/h\", by = {by} }}");
        let ringate = Setup::to(backend.address()).listener(&limit).start();
        let mut client = ringate.client();
        let mut of = |tenant: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Tenant: {tenant}\r\n\r\n");
            client.send(request).response().status
        };
        assert_eq!((of("a"), of("a"), of("b")), (200, 429, other), "{by}");
    }
}

#[test]
fn a_listeners_request_fields_go_before_each_routes() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .listener(
            "headers.request.set = { X-Edge = \"{listener}\", X-User = \"none\", Host = \"inside.example\" }\n\
             headers.request.add = { X-Seen = \"listener\" }\nheaders.request.remove = [\"X-Secret\"]",
        )
        .routes(
            "[[route]]\nupstream = \"app\"\n\
             [[route]]\nhost = \"b\"\nupstream = \"app\"\n\
             headers.request.set = { X-User = \"route\", Host = \"b.example\" }\nheaders.request.add = { X-Seen = \"route\" }",
        )
        .start();
    for (host, to, user, seen) in [
        ("a", "inside.example", "none", &["client", "listener"][..]),
        ("b", "b.example", "route", &["client", "listener", "route"]),
    ] {
        let answer = ringate
            .client()
            .send(format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nX-Edge: me\r\nX.User: root\r\nX_Secret: a\r\nX-Seen: client\r\n\
                 Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Edge: me\r\nX-Secret: b\r\nX-Sum: 1\r\n\r\n"
            ))
            .response();
        assert_eq!(answer.status, 200);
        let request = backend.request();
        assert_eq!(request.headers("Host"), [to]);
        assert_eq!((request.headers("X-Edge"), request.headers("X-User")), (vec!["web"], vec![user]));
        assert_eq!(request.headers("X-Seen"), seen);
        let all = String::from_utf8_lossy(&backend.received(backend.connections() - 1)).to_lowercase();
        let all = &all[all.rfind("post /").unwrap()..];
        assert!(!all.contains("secret") && !all.contains("x.user") && !all.contains("x-edge: me"), "{all}");
        assert!(all.contains("x-sum: 1"), "{all}");
    }
}

/// A listener and routes with response fields of their own, so that each kind of response can be asked for.
fn responding(refusing: std::net::SocketAddr) -> (Backend, Ringate) {
    let backend = Backend::serving(|request| {
        match request.line() {
        line if line.contains("/silent") => Vec::new(),
        line if line.contains("/broken") => b"HTTP/2 nonsense\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Powered-By: cgi\r\nX-Frame-Options: ALLOWALL\r\n\r\nok".to_vec(),
    }
    });
    let dir = tempfile::tempdir().unwrap();
    let route = |path: &str, lines: &str| {
        format!("[[route]]\npath = \"{path}\"\nheaders.response.set = {{ X-Route = \"{path}\" }}\n{lines}\n")
    };
    let routes = [
        route("/app", "upstream = \"app\"\nheaders.response.remove = [\"X-Frame-Options\"]"),
        route("/silent", "upstream = \"app\"\ntimeouts.response = \"200ms\""),
        route("/broken", "upstream = \"app\""),
        route("/gone", "upstream = \"gone\"\ncors = { origins = [\"https://a.example\"] }"),
        route("/fixed", "respond = { status = 403 }"),
        route("/moved", "redirect = { scheme = \"https\" }"),
        route("/keys", "upstream = \"app\"\napi_keys = \"partners\""),
        route("/denied", "upstream = \"app\"\ndeny = [\"127.0.0.1\"]"),
        route("/limited", "upstream = \"app\"\nrate_limit = \"1/h\""),
        route("/post", "methods = [\"POST\"]\nupstream = \"app\""),
        route("/cors", "upstream = \"app\"\ncors = { origins = [\"https://a.example\"] }"),
    ];
    let config = Setup::to(backend.address())
        .listener(
            "headers.response.set = { X-Frame-Options = \"DENY\", X-Client = \"{client.address}\", X-Path = \"{request.path}\" }\n\
             headers.response.remove = [\"X-Powered-By\"]\ndeny = [\"127.0.0.66\"]\n\
             client_address = { header = \"X-Real-IP\", trusted = [\"127.0.0.1\"] }\n\
             limits = { head_timeout = \"300ms\", body_bytes = 1000, head_bytes = 2048 }",
        )
        .routes(&routes.concat())
        .section(&format!("[upstream.gone]\nendpoints = [\"{refusing}\"]"))
        .text();
    std::fs::write(dir.path().join("ringate.toml"), config).unwrap();
    generate(dir.path(), "one");
    (backend, Ringate::start_in(dir, 1))
}

#[test]
fn every_response_has_the_listeners_fields_and_its_routes() {
    let refusing = Backend::start(|_| Ok(()));
    let address = refusing.address();
    drop(refusing);
    let (_backend, ringate) = responding(address);
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
    let cases: &[(&str, &str, &str, u16)] = &[
        ("GET", "/app", "", 200),
        ("GET", "/silent", "", 504),
        ("GET", "/broken", "", 502),
        ("GET", "/gone", "", 502),
        ("GET", "/fixed", "", 403),
        ("GET", "/moved", "", 307),
        ("GET", "/keys", "", 401),
        ("GET", "/denied", "", 403),
        ("GET", "/limited", "", 200),
        ("GET", "/limited", "", 429),
        ("HEAD", "/limited", "", 429),
        ("HEAD", "/gone", "", 502),
        ("OPTIONS", "/cors", preflight, 204),
        ("OPTIONS", "/cors", "Origin: https://b.example\r\nAccess-Control-Request-Method: GET\r\n", 403),
        ("POST", "/app", "Transfer-Encoding: chunked\r\n", 413),
        // Before a route is found.
        ("GET", "/post", "", 405),
        ("GET", "/nowhere", "", 404),
        ("GET", "/app", "X-Real-IP: 127.0.0.66\r\n", 403),
        ("GET", "/app%2F", "", 400),
        ("POST", "/app", "Content-Length: 1001\r\n", 413),
        ("OPTIONS", "/app", "Max-Forwards: 0\r\n", 200),
    ];
    for (method, path, fields, status) in cases {
        let mut client = ringate.client();
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        if fields.starts_with("Transfer") {
            let _ = client.try_send(format!("5000\r\n{}\r\n0\r\n\r\n", "a".repeat(0x5000)));
        }
        let answer = if *method == "HEAD" { client.response_to_head() } else { client.response() };
        let case = format!("{method} {path} {fields}: {}", answer.head);
        assert_eq!(answer.status, *status, "{case}");
        let removed = *path == "/app" && *method == "GET" && *status == 200 || fields.starts_with("Transfer");
        let framed: &[&str] = if removed { &[] } else { &["DENY"] };
        assert_eq!(answer.headers("X-Frame-Options"), framed, "{case}");
        assert_eq!(answer.headers("X-Powered-By"), [""; 0], "{case}");
        assert_eq!(answer.headers("X-Path"), [*path], "{case}");
        let before = ["/post", "/nowhere", "/app%2F"].contains(path)
            || ["X-Real-IP", "Content-Length", "Max-Forwards"].iter().any(|name| fields.starts_with(name));
        let routes: &[&str] = if before { &[] } else { &[path] };
        assert_eq!(answer.headers("X-Route"), routes, "{case}");
        if fields.starts_with("X-Real-IP") {
            assert_eq!(answer.headers("X-Client"), ["127.0.0.66"], "{case}");
        }
    }
    // A page may read why it failed, and a preflight has its fields once.
    let from = |method: &str, path: &str, more: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\n{more}\r\n");
        ringate.client().send(request).response()
    };
    let failed = from("GET", "/gone", "");
    assert_eq!(
        (failed.status, failed.headers("Access-Control-Allow-Origin")),
        (502, vec!["https://a.example"])
    );
    let granted = from("OPTIONS", "/cors", "Access-Control-Request-Method: GET\r\n");
    assert_eq!(granted.headers("Access-Control-Allow-Origin"), ["https://a.example"]);
    assert_eq!(granted.headers("Access-Control-Allow-Methods"), ["GET, HEAD, POST"]);
}

#[test]
fn a_request_that_is_not_understood_has_the_listeners_fields() {
    let (_backend, ringate) = responding(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX-A: {}\r\n\r\n", "a".repeat(4000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /\x01 HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/3.7\r\nHost: h\r\n\r\n", 505),
        ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        (&long, 431),
        // The rest does not come.
        ("GET / HTTP/1.1\r\nHost:", 408),
    ] {
        let answer = ringate.client().send(request).response();
        assert_eq!(answer.status, status, "{}", answer.head);
        assert_eq!(answer.headers("X-Frame-Options"), ["DENY"], "{}", answer.head);
        assert_eq!(answer.headers("X-Client"), ["127.0.0.1"], "{}", answer.head);
        // Nothing is known of its path.
        assert_eq!(answer.headers("X-Path"), [""; 0], "{}", answer.head);
    }
}

#[test]
fn a_full_queue_and_a_tcp_listener() {
    let backend = Backend::start(|connection| {
        while let Some(_request) = connection.request()? {
            std::thread::sleep(Duration::from_millis(400));
            connection.send(ok("late"))?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address())
        .listener("headers.response.set = { X-Edge = \"{listener}\" }")
        .upstream("pool = { max_per_endpoint = 1 }\nqueue = { length = 0 }")
        .start();
    let mut first = ringate.client();
    first.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    backend.request();
    let refused = ask(&ringate, "h", "/");
    assert_eq!((refused.status, refused.headers("X-Edge")), (503, vec!["web"]), "{}", refused.head);
    assert_eq!(first.response().headers("X-Edge"), ["web"]);

    for key in ["rate_limit = \"1/s\"", "headers.response.remove = [\"Server\"]"] {
        let text = Setup::to(backend.address()).listener(&format!("protocol = \"tcp\"\n{key}")).text();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ringate.toml");
        std::fs::write(&file, text).unwrap();
        let checked = run(Ringate::command().arg("check").arg("-c").arg(&file));
        let checked = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.contains("it needs `protocol = \"http\"`"), "{checked}");
    }
}
