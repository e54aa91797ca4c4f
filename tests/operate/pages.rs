//! Bad news of Ringate's own: in plain words, on a page of the operator's, or as JSON where that is preferred.

use std::fs;

use rustix::process::Signal;

use crate::http2::peer::*;
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

const ROUTES: &str = r#"
[[route]]
path = "/own"
upstream = "app"
error_pages = { 502 = { text = "own {status}" }, 403 = { redirect = "https://login.example/", status = 303 } }
refuse = [{ query = { no = "1" }, status = 403 }, { query = { no = "2" }, status = 429 }]
[[route]]
path = "/map"
redirect = { location = "{map.none}" }
error_pages = { 404 = { text = "nothing by a map" } }
[[route]]
path = "/long"
upstream = "app"
limits.body_bytes = 3
error_pages = { 4xx = { text = "own {status} {request.id}" } }
[[route]]
path = "/files"
root = "."
error_pages = { 404 = { text = "no such file" }, json = false }
[[route]]
path = "/listeners"
upstream = "app"
"#;
const MAP: &str = "[map.none]\nfrom = \"{request.path}\"\nentries = { a = \"b\" }\n";

fn with_routes(sections: &str) -> Ringate {
    let config = Setup::to(free_address()).section(sections).section(MAP).routes(ROUTES).text();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    Ringate::start_in(dir, 1)
}

#[test]
fn a_route_has_pages_of_its_own_over_those_of_its_listener() {
    // Of listeners with pages and without.
    for (sections, other) in [("", "502 Bad Gateway\n"), ("[error_pages]\n5xx = { text = \"all\" }", "all")] {
        let ringate = with_routes(sections);
        assert_eq!(ask(&ringate, "GET", "/own", "*/*").text(), "own 502");
        assert_eq!(ask(&ringate, "GET", "/listeners", "*/*").text(), other);
        assert_eq!(ask(&ringate, "GET", "/map", "*/*").text(), "nothing by a map");
        let missing = ask(&ringate, "GET", "/files/x", "application/json");
        assert_eq!((missing.status, missing.text()), (404, "no such file"));
        assert_eq!(ask(&ringate, "GET", "/own?no=2", "*/*").text(), "429 Too Many Requests\n");
        let elsewhere = ask(&ringate, "GET", "/own?no=1", "*/*");
        assert_eq!((elsewhere.status, elsewhere.header("Location")), (303, Some("https://login.example/")));
        let json = ask(&ringate, "GET", "/own?no=1", "application/json");
        assert_eq!((json.status, json.header("Content-Type")), (403, Some("application/problem+json")));
        let request = "POST /long HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nlong";
        let long = ringate.client().send(request).response();
        assert!(long.status == 413 && long.text().starts_with("own 413 "), "{}", long.text());
        // No route is known.
        assert_eq!(ask(&ringate, "GET", "/none", "*/*").text(), "404 Not Found\n");
        let mut peer = Peer::connect(ringate.address());
        let request =
            |path| block(&[(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", path)]);
        peer.send(frame(HEADERS, ES | EH, 1, request("/own")));
        assert_eq!(peer.answer(1).text(), "own 502");
        peer.send(frame(HEADERS, ES | EH, 3, request("/own?no=1")));
        let answer = peer.answer(3);
        assert_eq!((answer.status(), answer.field("location")), (303, Some("https://login.example/")));
    }
}

#[test]
fn pages_of_routes_are_intercepted_and_read_again() {
    let backend = Backend::replying("HTTP/1.1 404 Gone\r\nContent-Length: 3\r\n\r\nown");
    let routes = "[[route]]\nupstream = \"app\"\nerror_pages = { 404 = \"page.txt\", intercept = [\"404\"] }\n\
        [[route]]\npath = \"/plain\"\nupstream = \"app\"";
    let config =
        Setup::to(backend.address()).section("[error_pages]\n404 = { text = \"all\" }").routes(routes).text();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    fs::write(dir.path().join("page.txt"), "one").unwrap();
    let ringate = Ringate::start_in(dir, 1);
    assert_eq!(ask(&ringate, "GET", "/", "*/*").text(), "one");
    assert_eq!(ask(&ringate, "GET", "/plain", "*/*").text(), "own");
    fs::write(ringate.dir().join("page.txt"), "two").unwrap();
    ringate.signal(Signal::HUP);
    eventually("the new page", || (ask(&ringate, "GET", "/", "*/*").text() == "two").then_some(()));
}
