//! What a route changes of requests and responses, and what it can't.

use std::time::{Duration, Instant};

use super::{exchange, ok};
use crate::support::*;

/// A route with these lines before a backend that answers with its own fields.
fn rewriting(lines: &str, answer: &'static str) -> (Backend, Ringate) {
    let backend = Backend::replying(answer);
    let routes = format!("[[route]]\npath = \"/api\"\nupstream = \"app\"\n{lines}");
    let ringate = Setup::to(backend.address()).routes(&routes).start();
    (backend, ringate)
}

const OK: &str = "HTTP/1.1 200 OK\r\nServer: secret\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_path_is_rewritten_and_its_query_stays() {
    for (lines, target, line) in [
        ("rewrite_prefix = \"/v2\"", "/api/x?y", "GET /v2/x?y"),
        ("rewrite_prefix = \"/v2/\"", "/api", "GET /v2"),
        ("rewrite_prefix = \"/\"", "/api/x", "GET /x"),
        ("rewrite = \"/index.html\"", "/api/x?y", "GET /index.html?y"),
        ("strip_prefix = true", "/api/x", "GET /x"),
    ] {
        let (backend, ringate) = rewriting(lines, OK);
        assert_eq!(ringate.get(target).status, 200);
        assert_eq!(backend.request().line(), line, "{lines}");
    }
}

#[test]
fn request_fields_are_set_added_and_removed() {
    let (backend, ringate) = rewriting(
        r#"
        [route.headers.request.set]
        X-Gateway = "ringate"
        X-User = "{request.header.x-login}"
        X-Facts = "{client.address} {client.scheme} {request.method} {request.path} {request.host} {{}}"
        X-Id = "{request.id}"
        Host = "backend.example:81"
        [route.headers.request.add]
        X-Seen = ["one", "two"]
        [route.headers.request]
        remove = ["Cookie", "X-Forwarded-Proto"]
        "#,
        OK,
    );
    let mut client = ringate.client();
    client.send(
        "GET /api HTTP/1.1\r\nHost: h\r\nX-Gateway: a\r\nx_gateway: b\r\nX-GATEWAY: c\r\nX-User: root\r\nX-Seen: zero\r\n\
         Cookie: a=b\r\nx-login: ann\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let seen = backend.request();
    assert_eq!(seen.headers("X-Gateway"), ["ringate"]);
    assert!(!seen.head.contains("x_gateway"), "{}", seen.head);
    assert_eq!(seen.headers("X-User"), ["ann"]);
    assert_eq!(seen.headers("X-Facts"), ["127.0.0.1 http GET /api h {}"]);
    assert_eq!(seen.header("X-Id"), seen.header("X-Request-Id"));
    assert_eq!(seen.headers("X-Seen"), ["zero", "one", "two"]);
    assert_eq!(seen.headers("Host"), ["backend.example:81"]);
    assert_eq!(seen.header("X-Forwarded-Host"), Some("h"));
    assert_eq!((seen.header("Cookie"), seen.header("X-Forwarded-Proto")), (None, None));
    // Without a value there is no field, and what the client said is gone all the same.
    client.send("GET /api HTTP/1.1\r\nHost: h\r\nX-User: root\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.request().header("X-User"), None);
}

#[test]
fn response_fields_are_set_added_and_removed() {
    let (_backend, ringate) = rewriting(
        "headers.response.set = { X-A = \"{request.header.x-b}\", Strict-Transport-Security = \"max-age=60\" }\n\
         headers.response.remove = [\"server\"]\nheaders.response.add.X-For = \"{client.address}\"",
        OK,
    );
    let mut client = ringate.client();
    let answer = client.send("GET /api HTTP/1.1\r\nHost: h\r\nX-B: from: b\r\n\r\n").response();
    assert_eq!(
        answer.head,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: from: b\r\nStrict-Transport-Security: max-age=60\r\n\
         X-For: 127.0.0.1\r\n\r\n"
    );
    assert_eq!(answer.text(), "ok");
    // A body in chunks is framed as ever.
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (_backend, ringate) = rewriting("headers.response.set.X-A = \"1\"", chunked);
    let answer = ringate.get("/api");
    assert_eq!((answer.text(), answer.header("X-A")), ("ok", Some("1")));
}

#[test]
fn an_answer_of_ringates_own_has_its_routes_fields() {
    let backend = Backend::replying(ok("x"));
    let routes = "[[route]]\nrespond = { body = \"hi\" }\nheaders.response.set.X-A = \"{request.method}\"";
    let ringate = Setup::to(backend.address()).routes(routes).start();
    let answer = exchange(&ringate, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("\r\nX-A: GET\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
}

#[test]
fn a_route_may_have_less_patience_than_its_upstream() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.rest().map(drop)
    });
    let routes = "[[route]]\nupstream = \"app\"\ntimeouts.response = \"200ms\"";
    let ringate = Setup::to(backend.address()).routes(routes).start();
    let begun = Instant::now();
    assert_eq!(ringate.get("/").status, 504);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_regular_expression_captures_parts_of_the_new_path() {
    let backend = Backend::serving(|request| ok(request.line()));
    let ringate = Setup::to(backend.address())
        .routes("[[route]]\npath = \"~ ^/users/([^/]+)/(.*)$\"\nrewrite = \"/accounts/$1x/$2\"\nupstream = \"app\"")
        .start();
    for (path, new) in [("/users/7/a/b?q", "/accounts/7x/a/b?q"), ("/users/7/", "/accounts/7x/")] {
        let answer =
            exchange(&ringate, format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
        assert!(answer.ends_with(&format!("GET {new}")), "{answer}");
    }
}

#[test]
fn references_and_cookies_get_the_prefix_back() {
    let response = "HTTP/1.1 302 Found\r\nLocation: http://h/next?a=b\r\nRefresh: 5; url=/later\r\n\
        Set-Cookie: a=b; Path=/; HttpOnly\r\nSet-Cookie: c=d; Domain=inside.example; Path=/app/x\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::replying(response);
    let route = |more: &str| {
        format!(
            "[[route]]\npath = \"/app\"\nstrip_prefix = true\nupstream = \"app\"\nheaders.request.set.Host = \"inside.example\"\n{more}"
        )
    };
    let get = |ringate: &Ringate| ringate.client().send("GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n").response();
    let ringate = Setup::to(backend.address()).routes(&route("")).start();
    let changed = get(&ringate);
    assert_eq!(changed.headers("Location"), ["/app/next?a=b"]);
    assert_eq!(changed.headers("Refresh"), ["5; url=/app/later"]);
    assert_eq!(changed.headers("Set-Cookie"), ["a=b; Path=/app/; HttpOnly", "c=d; Path=/app/x"]);
    let ringate = Setup::to(backend.address()).routes(&route("rewrite_responses = false")).start();
    let same = get(&ringate);
    assert_eq!(same.headers("Location"), ["http://h/next?a=b"]);
    assert_eq!(same.headers("Set-Cookie").len(), 2);
    let set = "headers.response.set.Location = \"/elsewhere\"";
    let ringate = Setup::to(backend.address()).routes(&route(set)).start();
    assert_eq!(get(&ringate).headers("Location"), ["/elsewhere"]);
}

#[test]
fn a_backend_that_is_asked_by_another_name_sends_nobody_to_that() {
    let response = "HTTP/1.1 302 Found\r\nLocation: http://inside.example/next?a=b\r\n\
        Set-Cookie: a=b; Domain=inside.example; Path=/\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::replying(response);
    let get = |listener: &str, route: &str| {
        let routes = format!("[[route]]\nupstream = \"app\"\n{route}");
        let ringate = Setup::to(backend.address()).listener(listener).routes(&routes).start();
        let changed = ringate.client().send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").response();
        (changed.headers("Location").join(","), changed.headers("Set-Cookie").join(","))
    };
    let set = "headers.request.set.Host = \"inside.example\"\n";
    let changed = ("/next?a=b".to_owned(), "a=b; Path=/".to_owned());
    let same = ("http://inside.example/next?a=b".to_owned(), "a=b; Domain=inside.example; Path=/".to_owned());
    assert_eq!(get("", set), changed);
    assert_eq!(get(set, ""), changed, "the listener's");
    assert_eq!(get("", &format!("{set}rewrite_responses = false\n")), same);
    assert_eq!(get("", ""), same, "the backend has been asked for another host");
}
