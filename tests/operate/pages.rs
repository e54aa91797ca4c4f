//! Bad news of Ringate's own: in plain words, on a page of the operator's, or as JSON where that is preferred.

use std::fs;

use crate::support::*;

const PAGES: &str =
    "[error_pages]\n404 = \"pages/404.html\"\n4xx = { text = \"{status} {reason} {request.id}\" }\n";

/// Ringate before a backend that does not listen.
fn start(sections: &str, listener: &str) -> Ringate {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pages")).unwrap();
    fs::write(dir.path().join("pages/404.html"), "<style>a { b: c }</style><h1>{status}: {reason}</h1>")
        .unwrap();
    fs::write(dir.path().join("pages/own.html"), "<h1>own</h1>").unwrap();
    let config = Setup::to(free_address())
        .section(sections)
        .listener(listener)
        .routes("[[route]]\npath = \"/a\"\nmethods = [\"GET\", \"HEAD\"]\nupstream = \"app\"\nrate_limit = { rate = \"1/h\", burst = 2 }")
        .text();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    Ringate::start_in(dir, 1)
}

fn ask(ringate: &Ringate, method: &str, path: &str, accept: &str) -> Response {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n");
    let mut client = ringate.client();
    client.send(request);
    if method == "HEAD" { client.response_to_head() } else { client.response() }
}

#[test]
fn each_status_has_its_page_and_who_prefers_json_gets_it() {
    let ringate = start(PAGES, "protocol = \"http\"");
    let page = ask(&ringate, "GET", "/b", "text/html, */*;q=0.1");
    assert_eq!((page.status, page.text()), (404, "<style>a { b: c }</style><h1>404: Not Found</h1>"));
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("Vary"), Some("Accept"));
    let head = ask(&ringate, "HEAD", "/b", "*/*");
    assert_eq!(head.header("Content-Length"), page.header("Content-Length"));
    assert!(head.body.is_empty());
    let other = ask(&ringate, "PUT", "/a", "*/*");
    assert!(other.text().starts_with("405 Method Not Allowed "), "{}", other.text());
    assert_eq!(other.header("Allow"), Some("GET, HEAD"));
    // Before a response, and instead of one that never came.
    for (path, status) in [("/b", 404), ("/a", 502)] {
        let json = ask(&ringate, "GET", path, "application/json, text/plain, */*");
        assert_eq!((json.status, json.header("Content-Type")), (status, Some("application/problem+json")));
        let problem: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"].as_str().unwrap().len(), 32);
    }
    assert_eq!(ask(&ringate, "GET", "/a", "text/html").text(), "502 Bad Gateway\n");
    let limited = ask(&ringate, "GET", "/a", "text/html");
    assert!(limited.text().starts_with("429 Too Many Requests "), "{}", limited.text());
    // What can't be understood gets its page as well.
    let mut client = ringate.client();
    let bad = client.send("GET /\x01 HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n").response();
    assert_eq!((bad.status, bad.header("Content-Type")), (400, Some("application/problem+json")));
}

#[test]
fn a_listener_has_pages_of_its_own_over_those_of_all() {
    let listener = "protocol = \"http\"\n[listener.error_pages]\njson = false\n404 = \"pages/own.html\"";
    let ringate = start(PAGES, listener);
    let page = ask(&ringate, "GET", "/b", "application/json");
    assert_eq!((page.text(), page.header("Vary")), ("<h1>own</h1>", None));
    assert!(ask(&ringate, "PUT", "/a", "*/*").text().starts_with("405 Method Not Allowed "));
}

#[test]
fn a_page_that_is_not_there_is_found_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = Setup::to(free_address()).section("[error_pages]\n500 = \"none.html\"").text();
    let file = dir.path().join("ringate.toml");
    fs::write(&file, config).unwrap();
    let output = run(Ringate::command().arg("check").arg("-c").arg(&file));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("none.html: No such file") && said.contains("500 = \"none.html\""), "{said}");
}

#[test]
fn a_trusted_client_may_give_its_request_an_id() {
    for (setting, kept) in [("accept", true), ("make", false)] {
        let listener = format!("protocol = \"http\"\nrequest_id = \"{setting}\"");
        let backend = Backend::replying(crate::http::OK);
        let ringate = Setup::to(backend.address())
            .section("[error_pages]\n404 = { text = \"{request.id}\" }")
            .listener(&listener)
            .routes("[[route]]\npath = \"/a\"\nupstream = \"app\"")
            .start();
        let mut client = ringate.client();
        let mut ask = |path: &str, id: &str| {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{id}\r\n")).response();
            backend.request().header("X-Request-Id").unwrap().to_owned()
        };
        assert_eq!(ask("/a", "X-Request-Id: abc-1\r\n") == "abc-1", kept);
        for bad in ["<b>", "", &"a".repeat(65)] {
            assert_eq!(ask("/a", &format!("X-Request-Id: {bad}\r\n")).len(), 32, "{bad}");
        }
        assert_eq!(ask("/a", "X-Request-Id: a\r\nX-Request-Id: b\r\n").len(), 32);
        let request = "GET /b HTTP/1.1\r\nHost: h\r\nX-Request-Id: abc-2\r\n\r\n";
        assert_eq!(ringate.client().send(request).response().text() == "abc-2", kept);
    }
}
