//! Redirects and new paths by the value of a map.

use crate::http::OK;
use crate::http2::peer::{self, EH, ES, HEADERS, Peer, frame};
use crate::support::*;

const MAPS: &str = r#"
[map.moved]
from = "{request.path}"
file = "moved.map"
[map.page]
from = "{request.target}"
entries = { "/page?id=1" = "/one", "/page*" = "/pages" }
[map.host]
from = "{request.query.to}"
entries = { a = "a.example", bad = "a.example:80/x", bare = "a b" }
[log]
access = "access.log"
access_format = '{request.path} {response.status} "{failure}" {failure.type}'
[admin]
"#;

const ROUTES: &str = r#"
[[route]]
upstream = "app"
[[route]]
match.maps = { moved = { present = true } }
redirect = { location = "{map.moved}", status = 301 }
[[route]]
path = "/always"
redirect = { location = "https://www.example.com{map.moved}" }
[[route]]
path = "/fixed"
redirect = { location = "/new?a=b", status = 308 }
[[route]]
path = "/page"
redirect = { path = "{map.page}" }
[[route]]
path = "/host"
redirect = { scheme = "https", host = "{map.host}" }
[[route]]
path = "/inside"
upstream = "app"
rewrite = "{map.moved}"
[[route]]
path = "/below"
upstream = "app"
rewrite = "/x{map.moved}"
"#;

const MOVED: &str = "\
/old /new?from=old
/away https://other.example/x%20y
/bad nowhere
/quoted /a\"b
/always/a /a
/inside/a /moved/../a
/inside/host //evil.example
/inside/up /../../etc
/inside/query /a?b
/inside/text a
/below/a /a
";

fn start() -> (Backend, Ringate) {
    let backend = Backend::replying(OK);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("moved.map"), MOVED).unwrap();
    let text = Setup::to(backend.address()).section(MAPS).routes(ROUTES).text();
    std::fs::write(dir.path().join("ringate.toml"), text).unwrap();
    (backend, Ringate::start_in(dir, 1))
}

fn ask(ringate: &Ringate, target: &str) -> Response {
    let request = format!("GET {target} HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n");
    ringate.client().send(request).response()
}

#[test]
fn a_redirect_leads_where_a_map_says() {
    let (backend, ringate) = start();
    for (target, status, location) in [
        // The query is the map's business, unless the path alone changes.
        ("/old?a=b", 301, Some("/new?from=old")),
        ("/away", 301, Some("https://other.example/x%20y")),
        ("/always/a", 307, Some("https://www.example.com/a")),
        ("/fixed?x=y", 308, Some("/new?a=b")),
        ("/page?id=1", 307, Some("/one?id=1")),
        ("/page?id=2", 307, Some("/pages?id=2")),
        ("/host?to=a", 307, Some("https://a.example/host?to=a")),
        // No value.
        ("/always/b", 404, None),
        ("/host?to=c", 404, None),
        ("/host", 404, None),
        // A value that can't stand there.
        ("/bad", 500, None),
        ("/quoted", 500, None),
        ("/host?to=bad", 500, None),
        ("/host?to=bare", 500, None),
        // Without a value its route does not match.
        ("/other", 200, None),
    ] {
        let answer = ask(&ringate, target);
        assert_eq!((answer.status, answer.header("Location")), (status, location), "{target}");
    }
    assert_eq!(backend.requests(), 1);
    let mut peer = Peer::connect(ringate.address());
    peer.send(frame(
        HEADERS,
        ES | EH,
        1,
        peer::block(&[(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", "/old")]),
    ));
    assert_eq!(peer.answer(1).field("location"), Some("/new?from=old"));
}

#[test]
fn a_map_gives_the_path_that_a_backend_is_asked_for() {
    let (backend, ringate) = start();
    for (target, sent) in [
        ("/inside/a?b=c", "/a?b=c"),
        ("/below/a", "/x/a"),
        // Without a value the path stays.
        ("/inside/other?b=c", "/inside/other?b=c"),
        ("/below/other", "/below/other"),
    ] {
        assert_eq!(ask(&ringate, target).status, 200, "{target}");
        let line = backend.request().line().to_owned();
        assert_eq!(line.split(' ').nth(1), Some(sent), "{target}");
    }
    for target in ["/inside/host", "/inside/up", "/inside/query", "/inside/text"] {
        assert_eq!(ask(&ringate, target).status, 500, "{target}");
    }
    assert_eq!(backend.requests(), 4, "what is no path reaches no backend");
    let log = ringate.dir().join("access.log");
    let text = eventually("all lines", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() == 8).then_some(text)
    });
    let last = text.lines().last().unwrap();
    let line = "/inside/text 500 \"a map's value for the request is no path\" proxy_configuration_error";
    assert_eq!(last, line);
}

#[test]
fn a_map_that_is_not_there_and_other_variables_are_refused() {
    for (route, why) in [
        ("redirect = { location = '{map.none}' }", "there is no map called `none`"),
        ("redirect = { location = 'new' }", "is neither a URL nor a path"),
        ("redirect = { location = '/a b' }", "is neither a URL nor a path"),
        ("redirect = { location = '/{map.moved}', path = '/a' }", "is all of the target"),
        ("redirect = { path = '{map.moved}{request.host}' }", "other than a map's value"),
        ("redirect = { path = '//{map.moved}' }", "two slashes begin a host"),
        ("redirect = { host = 'a/{map.moved}' }", "a host has letters"),
        ("upstream = 'app'\nrewrite = '/a?{map.moved}'", "a path has none of"),
        ("upstream = 'app'\npath = '~ ^/(.*)$'\nrewrite = '/$1{map.moved}'", "a map and captured parts"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("moved.map"), "").unwrap();
        let text = Setup::to(free_address()).section(MAPS).routes(&format!("[[route]]\n{route}")).text();
        let file = dir.path().join("ringate.toml");
        std::fs::write(&file, text).unwrap();
        let output = run(Ringate::command().arg("check").arg("-c").arg(&file));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(why), "{route}: {said}");
    }
}
