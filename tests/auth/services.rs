//! `auth.forward`: a service that is asked about each request.

use std::time::{Duration, Instant};

use crate::http::{OK, ok};
use crate::http2::peer::{self, Peer};
use crate::http2_backend::kit;
use crate::support::*;

const GET: &str = "GET /a//b?c=1 HTTP/1.1\r\nHost: shop.test:8080\r\nAuthorization: Bearer t\r\nCookie: s=1\r\n\
    X-Secret: 1\r\nX-Forwarded-Uri: /public\r\nX-Original-URL: http://evil/\r\nX-User: root\r\nx_user: root\r\nX.Team: root\r\n\r\n";

/// Ringate before `backend`, with a route that asks `service`.
fn asking(backend: &Backend, service: &Backend, keys: &str) -> Setup {
    let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    Setup::to(backend.address())
        .section("[admin]")
        .section(&format!("[upstream.authz]\nendpoints = [\"{}\"]", service.address()))
        .routes(&format!(
            "[[route]]\nupstream = \"app\"\nauth.forward = {{ upstream = \"authz\", path = \"/check?v=2\"{keys} }}"
        ))
}

/// A service that answers by the path that it is asked about.
fn service() -> Backend {
    Backend::serving(|request| {
        match request.header("X-Forwarded-Uri").unwrap_or_default() {
        "/login" => b"HTTP/1.1 302 Found\r\nLocation: https://login.test/\r\nSet-Cookie: n=1\r\nX-Hidden: 1\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/secret" => b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        "/never" => b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n0\r\n\r\n".to_vec(),
        "/long" => [&b"HTTP/1.1 403 Forbidden\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n"[..], &[b'x'; 100_000]].concat(),
        _ => b"HTTP/1.1 200 OK\r\nX-User: ada\r\nX-Team: one\r\nX-Team: two\r\nX-Other: 1\r\nSet-Cookie: s=2\r\nContent-Length: 4\r\n\r\nfine".to_vec(),
    }
    })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn a_2xx_lets_a_request_pass_with_fields_of_the_service() {
    let (backend, service) = (Backend::replying(OK), service());
    let keys = "response_headers = [\"X-User\", \"X-Team\", \"X-None\"], success_headers = [\"Set-Cookie\"]";
    let log =
        "[log]\naccess = \"access.log\"\naccess_format = \"{response.status} {auth.status} {auth.duration}\"";
    let ringate = asking(&backend, &service, keys).section(log).start();
    let mut client = ringate.client();
    let response = client.send(GET).response();
    assert_eq!(
        (response.status, response.header("Set-Cookie"), response.header("X-User")),
        (200, Some("s=2"), None)
    );
    let asked = service.request();
    assert_eq!(asked.line(), "GET /check?v=2");
    assert_eq!(asked.header("Host"), Some(&*service.address().to_string()));
    for (name, value) in [
        ("Authorization", "Bearer t"),
        ("Cookie", "s=1"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "shop.test:8080"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/a/b?c=1"),
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/a/b?c=1"),
        ("X-Original-URL", "http://shop.test:8080/a/b?c=1"),
        ("X-Real-IP", "127.0.0.1"),
    ] {
        assert_eq!(asked.headers(name), [value], "{}", asked.head);
    }
    assert_eq!((asked.header("X-Secret"), asked.header("X-User")), (None, None), "{}", asked.head);
    let got = backend.request();
    assert_eq!(got.line(), "GET /a/b?c=1");
    assert_eq!(
        (got.headers("X-User"), got.headers("X-Team")),
        (vec!["ada"], vec!["one", "two"]),
        "{}",
        got.head
    );
    for spoofed in ["x_user", "X.Team", "X-Other", "X-Forwarded-Uri"] {
        assert_eq!(got.header(spoofed), None, "{}", got.head);
    }
    assert_eq!(got.header("Authorization"), Some("Bearer t"), "the client's own go on");
    assert_eq!(got.header("X-Request-Id"), asked.header("X-Request-Id"));
    // Both connections are used again.
    assert_eq!(client.send(GET).response().status, 200);
    assert_eq!((service.connections(), backend.connections()), (1, 1));
    assert_eq!(ringate.metric("auth_forward_allowed_total"), 2);
    let line = eventually("the log", || {
        let text = std::fs::read_to_string(ringate.dir().join("access.log")).ok()?;
        text.lines().next().map(str::to_owned)
    });
    let milliseconds: f64 =
        line.strip_prefix("200 200 ").unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    assert!((0.0..5000.0).contains(&milliseconds));
    let metrics = ringate.admin("/metrics");
    let counted = metrics.lines().any(|line| {
        line.starts_with("ringate_upstream_requests_total{")
            && line.contains("upstream=\"authz\"")
            && line.ends_with(" 2")
    });
    assert!(counted, "{metrics}");
}

#[test]
fn a_field_of_the_service_is_no_trailer_of_the_client() {
    let (backend, service) = (Backend::replying(OK), service());
    let ringate = asking(&backend, &service, "response_headers = [\"X-User\"]").start();
    let post = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-User, X-Sum\r\n\r\n\
        2\r\nhi\r\n0\r\nX-User: root\r\nx_user: root\r\nX-Sum: 7\r\n\r\n";
    assert_eq!(ringate.client().send(post).response().status, 200);
    let got = backend.request();
    assert!(got.wire.ends_with(b"0\r\nX-Sum: 7\r\n\r\n"), "{}", got.wire.escape_ascii());
    assert_eq!(got.headers("X-User"), ["ada"]);
}

#[test]
fn all_fields_go_to_the_service_but_those_of_the_connection_and_the_body() {
    let (backend, service) = (Backend::replying(OK), service());
    let ringate = asking(&backend, &service, "request_headers = [\"*\"], method = \"POST\"").start();
    let post = "POST /x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Secret: 1\r\nContent-Type: a/b\r\n\
        Content-Length: 2\r\nTE: trailers\r\nAccept-Encoding: gzip\r\nIf-None-Match: \"a\"\r\nRange: bytes=0-1\r\n\
        X-Forwarded-Host: evil\r\nX_Forwarded_Method: PUT\r\nX-Real-IP: 6.6.6.6\r\n\r\nhi";
    assert_eq!(ringate.client().send(post).response().status, 200);
    let asked = service.request();
    assert_eq!(
        (asked.line(), asked.header("Content-Length"), &*asked.body),
        ("POST /check?v=2", Some("0"), &b""[..])
    );
    assert_eq!(asked.header("X-Secret"), Some("1"));
    assert_eq!(asked.headers("X-Real-IP"), ["127.0.0.1"]);
    assert_eq!(
        (asked.headers("X-Forwarded-Host"), asked.headers("X-Forwarded-Method")),
        (vec!["h"], vec!["POST"])
    );
    for name in
        ["X-Hop", "Content-Type", "TE", "Accept-Encoding", "If-None-Match", "Range", "X_Forwarded_Method"]
    {
        assert_eq!(asked.header(name), None, "{}", asked.head);
    }
    assert_eq!(backend.request().body, b"hi");
}

#[test]
fn a_3xx_or_4xx_is_the_clients_response() {
    let (backend, service) = (Backend::replying(OK), service());
    let ringate = asking(&backend, &service, "").start();
    let mut client = ringate.client();
    let login = client.send(get("/login")).response();
    assert_eq!(
        (login.status, login.header("Location"), login.header("Set-Cookie")),
        (302, Some("https://login.test/"), Some("n=1"))
    );
    assert_eq!((login.header("X-Hidden"), login.header("Proxy-Status")), (None, None));
    let secret = client.send(get("/secret")).response();
    assert_eq!(
        (secret.status, secret.header("WWW-Authenticate"), secret.header("Content-Type")),
        (401, Some("Bearer"), Some("application/json"))
    );
    assert_eq!(secret.body, b"{}");
    let never = client.send(get("/never")).response();
    assert_eq!((never.status, &*never.body, never.header("Content-Length")), (403, &b"no!"[..], Some("3")));
    let long = client.send(get("/long")).response();
    assert_eq!(
        (long.status, &*long.body, long.header("Content-Encoding")),
        (403, &b"403 Forbidden\n"[..], None)
    );
    client.send("HEAD /secret HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.header("WWW-Authenticate"), &*head.body), (401, Some("Bearer"), &b""[..]));
    assert_eq!(client.send(get("/fine")).response().status, 200, "the connection lives on");
    assert_eq!(backend.requests(), 1);
    assert_eq!(ringate.metric("auth_forward_denied_total"), 5);
    assert_eq!(ringate.metric("requests_unauthorized_total"), 2);
}

/// Whatever the service does wrong: what it sends, and the counter that has it.
fn wrongs() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let fill = |count: usize, line: &str| line.repeat(count);
    let injected = b"HTTP/1.1 200 OK\r\nX-User: a\rX-Admin: 1\r\nContent-Length: 0\r\n\r\n".to_vec();
    let zero = b"HTTP/1.1 200 OK\r\nX-User: a\0b\r\nContent-Length: 0\r\n\r\n".to_vec();
    let huge = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(40_000));
    let wide = format!("HTTP/1.1 200 OK\r\nX-User: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(9_000));
    let many = format!(
        "{}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        fill(1000, "HTTP/1.1 103 Early Hints\r\n\r\n")
    );
    vec![
        ("garbage", b"\x16\x03\x01 garbage\r\n\r\n".to_vec(), "invalid"),
        ("injection", injected, "invalid"),
        ("a zero byte", zero, "invalid"),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n".to_vec(),
            "invalid",
        ),
        ("a huge head", huge.into_bytes(), "invalid"),
        ("a wide field", wide.into_bytes(), "errors"),
        (
            "101",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_vec(),
            "invalid",
        ),
        ("many 1xx", many.into_bytes(), "invalid"),
        ("500", b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".to_vec(), "errors"),
        ("777", b"HTTP/1.1 777 Oops\r\nContent-Length: 0\r\n\r\n".to_vec(), "errors"),
        ("nothing", Vec::new(), "unreachable"),
        ("half a head", b"HTTP/1.1 200 O".to_vec(), "unreachable"),
        ("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec(), "invalid"),
    ]
}

#[test]
fn a_service_that_fails_refuses_requests_or_lets_them_pass() {
    for (what, wrong, counter) in wrongs() {
        let service = Backend::start(move |connection| {
            connection.head()?;
            connection.send(&wrong)
        });
        for (policy, status) in [("deny", 503), ("allow", 200)] {
            let backend = Backend::replying(OK);
            let keys = format!("on_failure = \"{policy}\", response_headers = [\"X-User\"]");
            let ringate = asking(&backend, &service, &keys).start();
            let response = ringate.client().send(GET).response();
            assert_eq!(response.status, status, "{what}, {policy}: {}", ringate.log());
            assert_eq!(ringate.metric(&format!("auth_forward_{counter}_total")), 1, "{what}, {policy}");
            assert_eq!(ringate.metric("auth_forward_passed_total"), u64::from(status == 200), "{what}");
            assert_eq!(ringate.metric("panics_total"), 0);
            ringate.await_log("the authorization service failed");
            if status == 503 {
                let said = response.header("Proxy-Status").unwrap_or_default();
                assert!(said.starts_with("ringate; error="), "{what}: {}", response.head);
                assert_eq!(backend.requests(), 0, "{what}");
            } else {
                let got = backend.request();
                assert_eq!(
                    (got.header("X-User"), got.header("x_user")),
                    (None, None),
                    "{what}: {}",
                    got.head
                );
                assert_eq!(got.header("X-Admin"), None, "{what}");
            }
        }
    }
}

#[test]
fn a_slow_service_has_its_time_and_no_more() {
    let backend = Backend::replying(OK);
    let service = Backend::start(|connection| {
        connection.head()?;
        for byte in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
            connection.send([*byte])?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    let ringate = asking(&backend, &service, "timeout = \"600ms\"").start();
    let begun = Instant::now();
    let response = ringate.client().send(GET).response();
    assert_eq!(
        (response.status, response.header("Proxy-Status")),
        (503, Some("ringate; error=http_response_timeout"))
    );
    let took = begun.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert_eq!(ringate.metric("auth_forward_timeouts_total"), 1);
    service.await_ended(1);

    // None is there at all.
    let gone = Setup::to(backend.address())
        .section("[admin]")
        .section(&format!("[upstream.authz]\nendpoints = [\"{}\"]", free_address()))
        .routes("[[route]]\nupstream = \"app\"\nauth.forward = { upstream = \"authz\" }")
        .start();
    let response = gone.client().send(GET).response();
    assert_eq!(
        (response.status, response.header("Proxy-Status")),
        (503, Some("ringate; error=connection_refused"))
    );
    assert_eq!((gone.metric("auth_forward_unreachable_total"), backend.requests()), (1, 0));
}

#[test]
fn another_endpoint_of_the_service_takes_the_place_of_one_that_closes() {
    let backend = Backend::replying(OK);
    let closing = Backend::start(|connection| connection.head().map(drop));
    let refusing = free_address();
    let good = service();
    let ringate = Setup::to(backend.address())
        .section(&format!(
            "[admin]\n[upstream.authz]\nendpoints = [\"{}\", \"{refusing}\", \"{}\"]\noutliers = {{ consecutive_failures = 100 }}",
            closing.address(),
            good.address()
        ))
        .routes("[[route]]\nupstream = \"app\"\nauth.forward = { upstream = \"authz\", response_headers = [\"X-User\"] }")
        .start();
    let mut client = ringate.client();
    for _ in 0..6 {
        assert_eq!(client.send(GET).response().status, 200);
        assert_eq!(backend.request().headers("X-User"), ["ada"]);
    }
    assert_eq!(ringate.metric("auth_forward_allowed_total"), 6);
}

#[test]
fn interim_responses_of_the_service_reach_no_one() {
    let backend = Backend::replying(OK);
    let service = Backend::replying(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nX-User: ada\r\n\r\n",
    );
    let ringate = asking(&backend, &service, "response_headers = [\"X-User\"]").start();
    let mut client = ringate.client();
    for _ in 0..2 {
        assert_eq!(client.send(GET).response().status, 200);
        assert_eq!(backend.request().headers("X-User"), ["ada"]);
    }
    assert_eq!(service.connections(), 1);
}

#[test]
fn a_body_waits_for_the_answer() {
    let backend = Backend::start(|connection| {
        while connection.head()?.contains("100-continue") {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
            connection.bytes(5)?;
            connection.send(OK)?;
        }
        connection.send(OK)
    });
    let (service, go) = Backend::stepped(|connection, wait| {
        while let Some(request) = connection.request()? {
            wait();
            let refused = request.header("X-Forwarded-Uri") == Some("/no");
            connection.send(if refused {
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
            } else {
                OK
            })?;
        }
        Ok(())
    });
    let ringate = asking(&backend, &service, "").start();
    let expect = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    };
    let mut client = ringate.client();
    client.send(expect("/yes"));
    let asked = service.request();
    assert_eq!((asked.header("Expect"), asked.header("Content-Length")), (None, None), "{}", asked.head);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(backend.connections(), 0, "nothing goes on before the answer");
    go.send(()).unwrap();
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.send("hello").response().status, 200);
    // A refusal comes without a 100.
    let mut client = ringate.client();
    client.send(expect("/no"));
    go.send(()).unwrap();
    assert_eq!(client.response().status, 403);
    // A body that is there already waits in its buffer, and what follows it behind that.
    let mut client = ringate.client();
    client.send(format!("POST /yes HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello{}", get("/no")));
    go.send(()).unwrap();
    assert_eq!(client.response().status, 200);
    go.send(()).unwrap();
    assert_eq!(client.response().status, 403);
}

/// A service of HTTP/2 that refuses `/no`.
fn service_of_http2() -> Backend {
    kit::backend(&[], |frames, head| {
        let fields = match head.get("x-forwarded-uri") {
            Some("/no") => vec![(":status", "401"), ("www-authenticate", "Bearer")],
            Some("/reset") => return frames.send(kit::reset(head.stream, 2)),
            _ => vec![(":status", "200"), ("x-user", "ada")],
        };
        frames.send(kit::headers(head.stream, kit::END_STREAM, &fields))
    })
}

#[test]
fn clients_and_services_of_either_version() {
    let (one, two) = (service(), service_of_http2());
    for (service, http, refused) in [(&one, "1.1", "/secret"), (&two, "2", "/no")] {
        let backend = Backend::replying(OK);
        let ringate = Setup::to(backend.address())
            .section(&format!("[admin]\n[upstream.authz]\nendpoints = [\"{}\"]\nhttp = \"{http}\"", service.address()))
            .routes("[[route]]\nupstream = \"app\"\nauth.forward = { upstream = \"authz\", response_headers = [\"X-User\"] }")
            .start();
        let mut peer = Peer::connect(ringate.address());
        let ask = |peer: &mut Peer, stream: u32, path: &str| {
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "h"),
                ("x-user", "root"),
            ];
            peer.send(peer::frame(peer::HEADERS, peer::EH | peer::ES, stream, peer::block(&fields)));
            peer.answer(stream)
        };
        assert_eq!(ask(&mut peer, 1, "/yes").status(), 200, "{http}");
        assert_eq!(backend.request().headers("X-User"), ["ada"]);
        let answer = ask(&mut peer, 3, refused);
        assert_eq!((answer.status(), answer.field("www-authenticate")), (401, Some("Bearer")), "{http}");
        let mut client = ringate.client();
        assert_eq!(client.send(get("/yes")).response().status, 200, "{http}");
        assert_eq!(backend.request().headers("X-User"), ["ada"]);
        assert_eq!(client.send(get(refused)).response().header("WWW-Authenticate"), Some("Bearer"), "{http}");
        assert_eq!((service.connections(), backend.requests()), (1, 2), "{http}");
        if http == "2" {
            assert_eq!(ask(&mut peer, 5, "/reset").status(), 503);
            assert_eq!(ringate.metric("auth_forward_unreachable_total"), 1);
        }
    }
}

#[test]
fn a_call_of_grpc_gets_a_code() {
    let backend = kit::backend(&[], |frames, head| frames.send(kit::empty(head.stream, "200")));
    let (service, silent) = (service_of_http2(), free_address());
    let ringate = Setup::to(backend.address())
        .upstream("http = \"2\"")
        .section(&format!(
            "[upstream.authz]\nendpoints = [\"{}\"]\nhttp = \"2\"\n[upstream.gone]\nendpoints = [\"{silent}\"]",
            service.address()
        ))
        .routes(
            "[[route]]\nupstream = \"app\"\nauth.forward = { upstream = \"authz\" }\n\
             [[route]]\npath = \"/gone\"\nupstream = \"app\"\nauth.forward = { upstream = \"gone\" }",
        )
        .start();
    let mut peer = Peer::connect(ringate.address());
    for (stream, path, code) in [(1, "/no", "16"), (3, "/gone", "14")] {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "h"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        peer.send(peer::frame(peer::HEADERS, peer::EH, stream, peer::block(&fields)));
        let answer = peer.answer(stream);
        assert_eq!((answer.status(), answer.field("grpc-status")), (200, Some(code)), "{path}");
        assert_eq!(answer.field("content-type"), Some("application/grpc"));
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn an_upgrade_is_asked_about_too() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")?;
        let line = connection.line()?;
        connection.send(line)
    });
    let service = service();
    let ringate = asking(&backend, &service, "").start();
    let upgrade = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    assert_eq!(ringate.client().send(upgrade("/secret")).response().status, 401);
    let asked = service.request();
    assert_eq!((asked.header("Upgrade"), asked.header("Connection")), (None, None), "{}", asked.head);
    let mut client = ringate.client();
    assert!(client.send(upgrade("/chat")).until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    assert_eq!(client.send("hello\r\n").until("\r\n"), "hello\r\n");
}

#[test]
fn a_client_that_leaves_ends_the_question() {
    let backend = Backend::replying(OK);
    let service = Backend::start(|connection| {
        connection.head()?;
        connection.rest().map(drop)
    });
    let ringate = asking(&backend, &service, "timeout = \"1m\"").start();
    let mut client = ringate.client();
    client.send(GET);
    service.await_connections(1);
    drop(client);
    service.await_ended(1);
    ringate.await_metric("downstream_disconnects_total", 1);
    let mut peer = Peer::connect(ringate.address());
    peer.send(peer::get(1));
    service.await_connections(2);
    peer.send(peer::frame(peer::RST_STREAM, 0, 1, peer::CANCEL.to_be_bytes()));
    service.await_ended(2);
    assert_eq!(backend.connections(), 0);
    assert_eq!(ringate.metric("auth_forward_timeouts_total"), 0);
}

#[test]
fn the_service_is_asked_last_and_once() {
    let (backend, service) = (Backend::replying(OK), service());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    std::fs::write(&file, format!("ada:{}\n", bcrypt::hash("secret", 4).unwrap())).unwrap();
    let ringate = Setup::to(backend.address())
        .section(&format!("[admin]\n[upstream.authz]\nendpoints = [\"{}\"]", service.address()))
        .routes(&format!(
            "[[route]]\nupstream = \"app\"\nrate_limit = {{ rate = \"2/h\", burst = 2, by = \"route\" }}\n\
             auth.basic = {{ file = {file:?}, forward = \"X-Login\" }}\n\
             auth.forward = {{ upstream = \"authz\", response_headers = [\"X-User\"] }}\n\
             [[route]]\npath = \"/inside\"\nupstream = \"app\"\nallow = [\"10.0.0.0/8\"]\nauth.forward = {{ upstream = \"authz\" }}\n\
             [[route]]\npath = \"/fixed\"\nrespond = {{ status = 200, body = \"fixed\" }}\nauth.forward = {{ upstream = \"authz\" }}"
        ))
        .start();
    let login = |password: &str| {
        let given = data_encoding::BASE64.encode(format!("ada:{password}").as_bytes());
        format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {given}\r\n\r\n")
    };
    let mut client = ringate.client();
    assert_eq!(client.send(get("/inside")).response().status, 403);
    assert_eq!(client.send(login("wrong")).response().status, 401);
    assert_eq!(service.requests(), 0, "other rules have refused it");
    // It waits twice, and takes one token.
    assert_eq!(client.send(login("secret")).response().status, 200);
    let got = backend.request();
    assert_eq!(
        (got.headers("X-Login"), got.headers("X-User"), got.header("Authorization")),
        (vec!["ada"], vec!["ada"], None)
    );
    assert_eq!(client.send(login("secret")).response().status, 429);
    assert_eq!(service.requests(), 1);
    assert_eq!(&*client.send(get("/fixed")).response().body, b"fixed");
    assert_eq!(service.requests(), 2, "answers of Ringate's own are asked about, too");
}

#[test]
fn the_question_has_a_span_of_its_own() {
    let (backend, service) = (Backend::replying(OK), service());
    let collector = Backend::serving(|_| ok("{}"));
    let ringate = asking(&backend, &service, "")
        .section(&format!(
            "[telemetry]\notlp = {{ endpoint = \"http://{}\", sample = 1.0 }}",
            collector.address()
        ))
        .start();
    assert_eq!(ringate.client().send(get("/x")).response().status, 200);
    let body: serde_json::Value = serde_json::from_slice(&collector.request().body).unwrap();
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let [server, question, sent] = &spans[..] else { panic!("{body:#}") };
    let text = |span: &serde_json::Value, key: &str| {
        let all = span["attributes"].as_array().unwrap().iter();
        all.clone()
            .find(|it| it["key"] == key)
            .map(|it| it["value"]["stringValue"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(text(question, "url.full"), Some(format!("http://{}/check", service.address())));
    assert_eq!(text(question, "ringate.upstream").as_deref(), Some("authz"));
    assert_eq!(text(sent, "http.request.resend_count"), None, "{sent:#}");
    for (span, request) in [(question, service.request()), (sent, backend.request())] {
        assert_eq!(span["parentSpanId"], server["spanId"]);
        let context = request.header("traceparent").unwrap().to_owned();
        assert!(context.contains(span["spanId"].as_str().unwrap()), "{context}");
    }
}
