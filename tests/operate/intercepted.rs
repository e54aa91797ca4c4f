//! Error pages in the place of a backend's (`error_pages.intercept`).

use crate::http2::peer::{self, Peer};
use crate::http2_backend::kit;
use crate::support::*;

const PAGES: &str = "[error_pages]\n404 = { text = \"page of {status}\", content_type = \"text/html\" }\n5xx = { text = \"sorry: {status}\" }\n";
const ROUTES: &str = "[[route]]\nupstream = \"app\"\nerror_pages.intercept = [\"404\", \"401\", \"502-504\"]\n\
    [[route]]\npath = \"/plain\"\nupstream = \"app\"";

/// Answers with the status that ends the path, and a body of its own.
fn backend() -> Backend {
    Backend::serving(|request| {
        let path = request.line().split(' ').nth(1).unwrap_or_default().to_owned();
        let (kind, status) = path.rsplit_once('/').unwrap();
        let fields = "ETag: \"e\"\r\nContent-Encoding: gzip\r\nX-Own: 1\r\nWWW-Authenticate: Basic\r\nRetry-After: 7\r\n";
        let head = format!("HTTP/1.1 {status} Own\r\n{fields}");
        if request.line().starts_with("HEAD") {
            return format!("{head}Content-Length: 1000\r\n\r\n").into_bytes();
        }
        match kind {
            "/chunked" => format!(
                "{head}Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nown\r\n0\r\nX-T: 1\r\n\r\n"
            )
            .into_bytes(),
            "/long" => {
                [format!("{head}Content-Length: 200000\r\n\r\n").as_bytes(), &[b'o'; 200_000]].concat()
            }
            "/cut" => format!("{head}Content-Length: 1000\r\n\r\nown").into_bytes(),
            _ => format!("{head}Content-Length: 3\r\n\r\nown").into_bytes(),
        }
    })
}

fn start(backend: &Backend) -> Ringate {
    let compressed = "protocol = \"http\"\ncompression = { min_size = \"1B\" }";
    Setup::to(backend.address())
        .section("[admin]")
        .section(PAGES)
        .listener(compressed)
        .routes(ROUTES)
        .upstream("sticky = { cookie = \"s\" }")
        .start()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n")
}

#[test]
fn the_listed_statuses_get_their_page_and_others_pass() {
    let backend = backend();
    let ringate = start(&backend);
    let mut client = ringate.client();
    for (path, status, body) in [
        ("/a/404", 404, "page of 404"),
        ("/chunked/503", 503, "sorry: 503"),
        ("/a/401", 401, "401 Unauthorized\n"),
        ("/a/500", 500, "own"),
        ("/a/410", 410, "own"),
        ("/plain/404", 404, "own"),
        ("/a/200", 200, "own"),
    ] {
        let response = client.send(get(path)).response();
        assert_eq!((response.status, response.text()), (status, body), "{path}");
        let is_own = body == "own";
        assert_eq!(response.header("ETag").is_some(), is_own, "{path}: {}", response.head);
        assert_eq!(response.header("Content-Encoding").is_some(), is_own, "{path}: {}", response.head);
        assert_eq!(response.header("X-Own").is_some(), is_own, "{path}: {}", response.head);
        assert_eq!(
            (response.header("WWW-Authenticate"), response.header("Retry-After")),
            (Some("Basic"), Some("7"))
        );
        if !is_own {
            assert_eq!(response.header("Content-Length"), Some(&*body.len().to_string()), "{path}");
            assert_eq!(
                (response.header("Transfer-Encoding"), response.header("Trailer")),
                (None, None),
                "{path}"
            );
        }
    }
    assert_eq!(client.send(get("/a/404")).response().header("Content-Type"), Some("text/html"));
    // Bodies that were over are dropped, and both connections live on.
    assert_eq!(backend.connections(), 1);
    assert_eq!(ringate.metric("responses_replaced_total"), 4);
}

#[test]
fn a_head_has_the_length_of_the_page_and_json_is_for_those_who_prefer_it() {
    let backend = backend();
    let ringate = start(&backend);
    let mut client = ringate.client();
    client.send("HEAD /a/404 HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.header("Content-Length")), (404, Some("11")));
    assert!(head.header("Set-Cookie").is_some_and(|cookie| cookie.starts_with("s=")), "{}", head.head);
    client.send("GET /a/503 HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n");
    let json = client.response();
    let problem: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(
        (&problem["status"], json.header("Content-Type")),
        (&503.into(), Some("application/problem+json"))
    );
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_body_that_is_long_or_late_costs_its_connection_alone() {
    let backend = backend();
    let ringate = start(&backend);
    let mut client = ringate.client();
    for path in ["/long/404", "/cut/404", "/a/404"] {
        let response = client.send(get(path)).response();
        assert_eq!((response.status, response.text()), (404, "page of 404"), "{path}");
    }
    assert_eq!(backend.connections(), 3);
    assert_eq!(ringate.metric("exchanges_aborted_total"), 0);
}

#[test]
fn http2_on_both_sides_and_grpc_is_left_alone() {
    let backend = kit::backend(&[], |frames, head| {
        let stream = head.stream;
        let fields = [(":status", "404"), ("content-type", "application/grpc"), ("grpc-status", "5")];
        frames.send(kit::headers(stream, 0, &fields))?;
        frames.send(kit::frame(kit::DATA, kit::END_STREAM, stream, b"own"))
    });
    let ringate = Setup::to(backend.address()).section(PAGES).routes(ROUTES).upstream("http = \"2\"").start();
    let mut peer = Peer::connect(ringate.address());
    let ask = |peer: &mut Peer, stream, method, media_type| {
        let fields = [
            (":method", method),
            (":scheme", "http"),
            (":path", "/a"),
            (":authority", "h"),
            ("content-type", media_type),
        ];
        peer.send(peer::frame(peer::HEADERS, peer::EH | peer::ES, stream, peer::block(&fields)));
        peer.answer(stream)
    };
    let answer = ask(&mut peer, 1, "GET", "text/plain");
    assert_eq!(
        (answer.status(), answer.text(), answer.field("content-length")),
        (404, "page of 404", Some("11"))
    );
    assert_eq!((answer.field("content-type"), answer.field("grpc-status")), (Some("text/html"), None));
    let call = ask(&mut peer, 3, "POST", "application/grpc");
    assert_eq!((call.status(), call.text(), call.field("grpc-status")), (404, "own", Some("5")));
    let head = ask(&mut peer, 5, "HEAD", "text/plain");
    assert_eq!((head.status(), head.text(), head.field("content-length")), (404, "", Some("11")));
    assert_eq!(ringate.client().send(get("/a")).response().text(), "page of 404");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_listener_s_list_holds_for_routes_without_one() {
    let backend = backend();
    let routes = "[[route]]\nupstream = \"app\"\n[[route]]\npath = \"/own\"\nupstream = \"app\"\nerror_pages.intercept = []";
    let ringate =
        Setup::to(backend.address()).section(&format!("{PAGES}intercept = [\"4xx\"]")).routes(routes).start();
    let mut client = ringate.client();
    for (path, body) in [("/a/404", "page of 404"), ("/a/503", "own"), ("/own/404", "own")] {
        assert_eq!(client.send(get(path)).response().text(), body, "{path}");
    }
    // An upload that is still on its way ends with the page.
    let mut client = ringate.client();
    client.send("POST /a/404 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.send("abc").response().text(), "page of 404");
    assert_eq!(client.send(get("/a/404")).response().status, 404);
    let early = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 413 Own\r\nContent-Length: 3\r\n\r\nown")?;
        connection.rest().map(drop)
    });
    let ringate = Setup::to(early.address()).section(&format!("{PAGES}intercept = [\"4xx\"]")).start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc");
    assert_eq!(client.response().text(), "413 Content Too Large\n");
}
