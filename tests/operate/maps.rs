//! Values by what a request has: `[map.NAME]`.

use crate::http::OK;
use crate::http2::peer::*;
use crate::support::*;

const MAPS: &str = r#"
[map.tenant]
from = "{request.host}"
entries = { "a.example" = "alpha", "*.b.example" = "beta", "~ ^c[0-9]+[.]" = "gamma" }
default = "none"
[map.place]
from = "{client.address}"
file = "places.map"
[map.beta]
from = "{request.cookie.beta}"
entries = { "1" = "yes" }
[map.version]
from = "{request.query.v}"
any_case = true
entries = { "a b*" = "spaced", "X" = "x" }
[map.kind]
from = "{request.header.Accept}"
entries = { "text/*" = "text" }
[map.part]
from = "{request.path}"
entries = { "/open/*" = "open" }
[log]
access = "access.log"
access_format = '{map.tenant} {map.place} {request.cookie.beta} {request.query.v} {response.status}'
redact = { query = ["secret"] }
[admin]
"#;

const ROUTES: &str = r#"
[[route]]
upstream = "app"
headers.request.set = { X-Tenant = "{map.tenant}", X-Place = "[{map.place}]", X-Kind = "{map.kind}", X-Version = "{map.version}", X-V = "{request.query.v}" }
headers.response.set = { X-Tenant = "{map.tenant}" }
[[route]]
match.maps = { beta = "yes" }
respond = { body = "beta" }
[[route]]
path = "/closed"
upstream = "app"
refuse = [{ not = [{ maps = { place = { present = true } } }], status = 404 }]
[[route]]
path = "/open"
upstream = "app"
"#;

fn start() -> (Backend, Ringate) {
    let backend = Backend::replying(OK);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("places.map"), "# networks\n10.0.0.0/8 wide\n10.1.0.0/16\tnarrow one\n")
        .unwrap();
    let text = Setup::to(backend.address())
        .section(MAPS)
        .listener(
            "client_address = { header = \"X-Forwarded-For\", trusted = [\"127.0.0.1\"] }\n\
             headers.response.set = { X-Part = \"{map.part}\" }",
        )
        .routes(ROUTES)
        .text();
    std::fs::write(dir.path().join("ringate.toml"), text).unwrap();
    (backend, Ringate::start_in(dir, 1))
}

fn ask(ringate: &Ringate, path: &str, host: &str, more: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
    ringate.client().send(request).response()
}

#[test]
fn header_rules_have_the_values_of_maps() {
    let (backend, ringate) = start();
    for (host, path, more, tenant, place, kind, version) in [
        ("a.example", "/", "", "alpha", "[]", None, None),
        ("A.Example:80", "/?v=x", "Accept: text/html\r\n", "alpha", "[]", Some("text"), Some("x")),
        (
            "x.b.example",
            "/?v=A%20bc&v=x",
            "X-Forwarded-For: 10.2.3.4\r\n",
            "beta",
            "[wide]",
            None,
            Some("spaced"),
        ),
        ("c12.example", "/?w=1", "X-Forwarded-For: 10.1.3.4\r\n", "gamma", "[narrow one]", None, None),
        ("b.example", "/", "X-Forwarded-For: 192.0.2.1\r\n", "none", "[]", None, None),
    ] {
        let answer = ask(&ringate, path, host, more);
        assert_eq!(answer.header("X-Tenant"), Some(tenant), "{host}");
        let request = backend.request();
        assert_eq!(request.header("X-Tenant"), Some(tenant), "{host}");
        assert_eq!(request.header("X-Place"), Some(place), "{host}");
        assert_eq!((request.header("X-Kind"), request.header("X-Version")), (kind, version), "{host}");
    }
    assert_eq!(backend.requests(), 5);
    // Decoded, and without what would end the field.
    ask(&ringate, "/?v=a%0d%0aX-Evil:1", "h", "");
    let request = backend.request();
    assert_eq!((request.header("X-V"), request.header("X-Evil")), (Some("aX-Evil:1"), None));
    // A listener's own rules see the normalised path, too.
    assert_eq!(ask(&ringate, "/x/../open/1", "h", "").header("X-Part"), Some("open"));
    assert_eq!(ask(&ringate, "/openly", "h", "").header("X-Part"), None);
}

#[test]
fn conditions_ask_maps_and_so_do_refusals() {
    let (backend, ringate) = start();
    assert_eq!(ask(&ringate, "/", "h", "Cookie: a=2; beta=1\r\n").body, b"beta");
    assert_eq!(ask(&ringate, "/", "h", "Cookie: beta=2\r\n").body, b"ok");
    assert_eq!(ask(&ringate, "/closed", "h", "").status, 404);
    assert_eq!(ask(&ringate, "/closed", "h", "X-Forwarded-For: 10.9.9.9\r\n").status, 200);
    let mut peer = Peer::connect(ringate.address());
    peer.send(frame(HEADERS, ES | EH, 1, request("GET", &[("cookie", "a=2"), ("cookie", "beta=1")])));
    assert_eq!(peer.answer(1).text(), "beta");
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "x.b.example"), (":path", "/?v=X")];
    peer.send(frame(HEADERS, ES | EH, 3, block(&fields)));
    assert_eq!(peer.answer(3).field("x-tenant"), Some("beta"));
    let reached: Vec<_> = (0..3).map(|_| backend.request()).collect();
    assert_eq!(reached[2].header("X-Version"), Some("x"), "{}", reached[2].head);
}

#[test]
fn the_access_log_has_them() {
    let (_backend, ringate) = start();
    ask(&ringate, "/?v=%22", "a.example", "Cookie: beta=2\r\nX-Forwarded-For: 10.1.0.1\r\n");
    ask(&ringate, "/closed", "h", "");
    let log = ringate.dir().join("access.log");
    let text = eventually("two lines", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["alpha narrow one 2 \\x22 200", "none - - - 404"]);
}

#[test]
fn a_file_is_read_again_and_a_mistake_leaves_what_is_in_force() {
    let (backend, ringate) = start();
    let place = |ringate: &Ringate| {
        ask(ringate, "/", "h", "X-Forwarded-For: 10.1.3.4\r\n");
        backend.request().header("X-Place").unwrap().to_owned()
    };
    assert_eq!(place(&ringate), "[narrow one]");
    let file = ringate.dir().join("places.map");
    std::fs::write(&file, "10.1.0.0/16 elsewhere\n").unwrap();
    eventually("the new entries", || (place(&ringate) == "[elsewhere]").then_some(()));
    std::fs::write(&file, "10.1.0.0/16 lost\n10.1.0.1/16 wrong\n").unwrap();
    ringate.await_log("line 2: 10.1.0.1/16: it is no address or network");
    assert_eq!(place(&ringate), "[elsewhere]");
    // A reload refuses the file, and what runs goes on.
    ringate.signal(rustix::process::Signal::HUP);
    ringate.await_log("places.map");
    assert_eq!(place(&ringate), "[elsewhere]");
    std::fs::write(&file, "10.0.0.0/8 found\n").unwrap();
    eventually("the corrected entries", || (place(&ringate) == "[found]").then_some(()));
    // One that goes is warned of once, and so is its return.
    std::fs::remove_file(&file).unwrap();
    ringate.await_log("No such file");
    assert_eq!(place(&ringate), "[found]");
    std::fs::write(&file, "10.0.0.0/8 found\n").unwrap();
    ringate.await_log("map place: the file is in order again");
    let log = ringate.log();
    assert_eq!(log.matches("places.map: No such file").count(), 1, "{log}");
}

#[test]
fn a_map_that_means_nothing_is_an_error() {
    let with = |map: &str, rest: &str| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ringate.toml");
        let text = Setup::to(free_address()).section(map).listener(rest).text();
        std::fs::write(&file, text).unwrap();
        let checked = run(Ringate::command().arg("check").arg("-c").arg(&file));
        String::from_utf8_lossy(&checked.stderr).into_owned()
    };
    for (map, rest, wrong) in [
        (
            "[map.a]\nfrom = \"{request.host}x\"\nentries = { a = \"1\" }",
            "",
            "nothing that a map can look up",
        ),
        (
            "[map.a]\nfrom = \"{response.status}\"\nentries = { a = \"1\" }",
            "",
            "nothing that a map can look up",
        ),
        ("[map.a]\nfrom = \"{request.host}\"", "", "it has no entries"),
        (
            "[map.a]\nfrom = \"{request.host}\"\nentries = { a = \"1\" }\nfile = \"b\"",
            "",
            "exclude each other",
        ),
        ("[map.a]\nfrom = \"{request.host}\"\nfile = \"nowhere.map\"", "", "| file = \"nowhere.map\""),
        ("[map.a]\nfrom = \"{client.ip}\"\nentries = { a = \"1\" }", "", "did you mean {client.address}?"),
        (
            "[map.a]\nfrom = \"{client.address}\"\nentries = { \"10.0.0.1/8\" = \"1\" }",
            "",
            "no address or network",
        ),
        ("[map.a]\nfrom = \"{request.path}\"\nentries = { \"~ (\" = \"1\" }", "", "no regular expression"),
        ("[map.a]\nfrom = \"{request.path}\"\nentries = { \"*\" = \"1\" }", "", "write it as `default`"),
        (
            "[map.tenant]\nfrom = \"{request.host}\"\nentries = { a = \"1\" }",
            "headers.request.set = { X-A = \"{map.tenan}\" }",
            "did you mean `tenant`?",
        ),
        ("", "refuse = [{ maps = { a = \"1\" } }]", "there is no map called `a`"),
    ] {
        let checked = with(map, rest);
        assert!(checked.contains(wrong), "{map} {rest}: {checked}");
    }
}
