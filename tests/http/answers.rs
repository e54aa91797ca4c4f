//! Answers of Ringate's own, as a route asks for them: no backend hears of the request, and the connection lives on.

use super::{exchange, ok};
use crate::support::*;

/// A route that answers by itself beside one that goes to the backend.
fn answering(backend: &Backend, respond: &str) -> Setup {
    Setup::to(backend.address())
        .routes(&format!("[[route]]\nupstream = \"app\"\n[[route]]\npath = \"/fixed\"\nrespond = {respond}"))
}

#[test]
fn a_fixed_response_keeps_the_connection() {
    let backend = Backend::serving(|request| ok(request.line()));
    let ringate =
        answering(&backend, "{ status = 418, body = '{}', content_type = 'application/json' }").start();
    let mut client = ringate.client();
    // Both at once: what follows the request is the next one.
    client.send("GET /fixed HTTP/1.1\r\nHost: h\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.head, "HTTP/1.1 418 \r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(answer.text(), "{}");
    assert_eq!(client.response().text(), "GET /a");
    // A body that is there already is read and dropped, whatever its framing.
    for body in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        client.send(format!("POST /fixed HTTP/1.1\r\nHost: h\r\n{body}"));
        assert_eq!(client.response().text(), "{}");
        client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.response().text(), "GET /b");
    }
    client.send("HEAD /fixed HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response_to_head().header("Content-Length"), Some("2"));
    client.send("GET /fixed HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().header("Connection"), Some("close"));
    client.closes();
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_body_that_is_still_to_come_ends_the_connection() {
    let backend = Backend::serving(|request| ok(request.line()));
    let ringate = answering(&backend, "{ status = 204 }").start();
    for fields in ["Content-Length: 5\r\n\r\nhell", "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"] {
        let mut client = ringate.client();
        client.send(format!("POST /fixed HTTP/1.1\r\nHost: h\r\n{fields}"));
        let answer = client.response();
        assert_eq!(answer.head, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        client.finish_sending();
        client.closes();
    }
    let answer = exchange(&ringate, "GET /fixed HTTP/1.0\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn an_answer_has_its_line_in_the_access_log() {
    let backend = Backend::replying(ok("x"));
    let ringate = answering(&backend, "{ status = 503, body = 'later' }")
        .section("[log]\naccess = \"stdout\"\nformat = \"json\"")
        .start();
    assert_eq!(ringate.get("/fixed?a=1").status, 503);
    let line = ringate.await_log("\"target\":\"/fixed?a=1\"");
    assert!(line.contains("\"status\":503") && line.contains("\"upstream\":null"), "{line}");
}

#[test]
fn a_redirect_keeps_what_it_does_not_change() {
    let backend = Backend::serving(|request| ok(request.line()));
    let routes = [
        ("/https", "{ scheme = \"https\", status = 308 }"),
        ("/port", "{ scheme = \"https\", port = 8443 }"),
        ("/host", "{ host = \"www.example\", status = 301 }"),
        ("/path", "{ path = \"/new\" }"),
        ("/prefix", "{ rewrite_prefix = \"/v2/\", status = 302 }"),
        ("/root", "{ rewrite_prefix = \"/\", status = 303 }"),
    ];
    let routes: Vec<String> = routes
        .iter()
        .map(|(path, redirect)| format!("[[route]]\npath = {path:?}\nredirect = {redirect}\n"))
        .collect();
    let ringate = Setup::to(backend.address())
        .routes(&format!("{}[[route]]\nupstream = \"app\"", routes.concat()))
        .start();
    let mut client = ringate.client();
    for (target, host, status, location) in [
        ("/https/a?b=c", "h.example:8080", 308, "https://h.example/https/a?b=c"),
        ("/https", "[::1]:80", 308, "https://[::1]/https"),
        ("/port/", "h", 307, "https://h:8443/port/"),
        ("/host/x", "h:8080", 301, "http://www.example:8080/host/x"),
        ("/host/x", "h", 301, "http://www.example/host/x"),
        ("/host/x", "[::1]:80", 301, "http://www.example/host/x"),
        ("/path/x?y", "h", 307, "/new?y"),
        ("/prefix/a//b", "h", 302, "/v2/a/b"),
        ("/prefix", "h", 302, "/v2"),
        ("/root//evil.example/", "h", 303, "/evil.example/"),
        ("/root", "h", 303, "/"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.response();
        assert_eq!((answer.status, answer.header("Location")), (status, Some(location)), "{target}");
    }
    // Without a host the path alone has to do.
    let answer = exchange(&ringate, "GET /https/x HTTP/1.0\r\n\r\n");
    assert!(answer.contains("\r\nLocation: /https/x\r\n"), "{answer}");
    assert_eq!(backend.connections(), 0);
}
