//! What a route bounds of its own: bodies, the pace of responses, requests at a time.

use std::time::{Duration, Instant};

use crate::http::{noise, ok};
use crate::http2::peer::*;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn setup(backend: &Backend, limits: &str) -> Setup {
    let routes = format!("[[route]]\nupstream = \"app\"\nlimits = {{ {limits} }}");
    Setup::to(backend.address()).section("[admin]").routes(&routes)
}

#[test]
fn a_routes_body_bound_is_larger_or_smaller_than_its_listeners() {
    let backend = Backend::serving(|request| ok(request.body.len().to_string()));
    let ringate = Setup::to(backend.address())
        .section("[admin]")
        .limits("body_bytes = 1000")
        .routes(
            "[[route]]\nupstream = \"app\"\n\
             [[route]]\npath = \"/large\"\nupstream = \"app\"\nlimits.body_bytes = 5000\n\
             [[route]]\npath = \"/small\"\nupstream = \"app\"\nlimits.body_bytes = 10\n\
             [[route]]\npath = \"/any\"\nupstream = \"app\"\nlimits.body_bytes = 0\n",
        )
        .start();
    let mut refused = 0;
    for (path, length, status) in [
        ("/", 1000, 200),
        ("/", 1001, 413),
        ("/large", 5000, 200),
        ("/large", 5001, 413),
        ("/small", 10, 200),
        ("/small", 11, 413),
        ("/any", 100_000, 200),
    ] {
        for chunked in [false, true] {
            let body = "a".repeat(length);
            let sent = match chunked {
                false => format!("Content-Length: {length}\r\n\r\n{body}"),
                true => format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"),
            };
            let mut client = ringate.client();
            let _ = client.try_send(format!("POST {path} HTTP/1.1\r\nHost: h\r\n{sent}"));
            let answer = client.response();
            assert_eq!(answer.status, status, "{path} {length} {chunked}");
            refused += u64::from(status == 413);
        }
        let mut peer = Peer::connect(ringate.address());
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "h"), (":path", path)];
        peer.send(frame(HEADERS, EH, 1, block(&fields)));
        let body = vec![b'a'; length];
        let pieces = body.chunks(10_000);
        let last = pieces.len() - 1;
        for (number, piece) in pieces.enumerate() {
            let _ = peer.try_send(frame(DATA, if number == last { ES } else { 0 }, 1, piece));
        }
        assert_eq!(peer.answer(1).status(), status, "HTTP/2 {path} {length}");
        refused += u64::from(status == 413);
    }
    assert_eq!(ringate.metric("limit_body_bytes_total"), refused);
}

/// A response that comes whole is sent in its time, and the process has nothing to do meanwhile.
fn is_paced(ringate: &Ringate, case: &str, length: usize, read: impl FnOnce() -> usize) {
    let (begun, before) = (Instant::now(), cpu_time(ringate));
    assert_eq!(read(), length, "{case}");
    let (took, busy) = (begun.elapsed(), cpu_time(ringate) - before);
    // 600 KB behind the burst at 400 KB/s, less what is sent at once at the end.
    assert!(took > Duration::from_millis(1200), "{case}: {took:?}");
    assert!(took < Duration::from_secs(6), "{case}: {took:?}");
    assert!(busy < Duration::from_millis(700), "{case}: {busy:?} of {took:?}");
}

const PACED: &str = "response_rate = \"400000B/s\", response_burst = 200000";

/// CPU time of the process so far.
fn cpu_time(ringate: &Ringate) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", ringate.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_response_is_sent_at_its_routes_pace() {
    let body = noise(800_000);
    for chunked in [false, true] {
        let response = match chunked {
            false => ok(&body),
            true => {
                let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                for piece in body.chunks(50_000) {
                    bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    bytes.extend_from_slice(piece);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
                bytes
            }
        };
        let backend = Backend::replying(response);
        let pki = Pki::new();
        let plain = setup(&backend, PACED).start();
        let tls = setup(&backend, PACED).listener(&pki.listener_tls()).start();
        is_paced(&plain, &format!("plain, chunked: {chunked}"), body.len(), || {
            let answer = plain.client().send(GET).response();
            assert!(answer.body == body);
            answer.body.len()
        });
        is_paced(&tls, &format!("TLS, chunked: {chunked}"), body.len(), || {
            tls.tls_client(pki.client_config()).send(GET).response().body.len()
        });
        is_paced(&plain, &format!("HTTP/2, chunked: {chunked}"), body.len(), || {
            let mut peer = Peer::connect(plain.address());
            peer.send(get(1));
            let answer = peer.answer(1);
            assert!(answer.body == body);
            answer.body.len()
        });
    }
}

/// By each way that the bytes of a file go: through a small buffer, and within the kernel.
#[test]
fn a_file_is_sent_at_its_routes_pace() {
    let (dir, pki) = (tempfile::tempdir().unwrap(), Pki::new());
    let (short, long) = (noise(800_000), noise(8_000_000));
    std::fs::write(dir.path().join("short"), &short).unwrap();
    std::fs::write(dir.path().join("long"), &long).unwrap();
    let serving = |limits: &str| {
        let route = format!("[[route]]\nroot = \"{}\"\nlimits = {{ {limits} }}", dir.path().display());
        Setup::to(free_address()).section("[admin]").routes(&route)
    };
    let request = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n");
    std::thread::scope(|scope| {
        for driver in ["io_uring", "epoll"] {
            let ringate = serving(PACED).driver(driver).start();
            let (request, short) = (request("short"), &short);
            scope.spawn(move || {
                is_paced(&ringate, driver, short.len(), || {
                    let answer = ringate.client().send(request).response();
                    assert!(answer.body == *short);
                    answer.body.len()
                });
            });
        }
        scope.spawn(|| {
            let tls = serving(PACED).listener(&pki.listener_tls()).start();
            is_paced(&tls, "TLS", short.len(), || {
                tls.tls_client(pki.client_config()).send(request("short")).response().body.len()
            });
        });
        scope.spawn(|| {
            let plain = serving(PACED).start();
            is_paced(&plain, "HTTP/2", short.len(), || {
                let mut peer = Peer::connect(plain.address());
                let fields =
                    [(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", "/short")];
                peer.send(frame(HEADERS, ES | EH, 1, block(&fields)));
                let answer = peer.answer(1);
                assert!(answer.body == short);
                answer.body.len()
            });
        });
        scope.spawn(|| {
            let fast = serving("response_rate = \"4000000B/s\"").driver("io_uring").start();
            is_paced(&fast, "within the kernel", long.len(), || {
                let answer = fast.client().send(request("long")).response();
                assert!(answer.body == long);
                answer.body.len()
            });
            eventually("bytes moved without a copy", || {
                (fast.metric("spliced_bytes_total") > 4_000_000).then_some(())
            });
        });
    });
}

#[test]
fn an_encoded_response_has_the_pace_as_well() {
    let text: Vec<u8> = noise(600_000).iter().map(|byte| b' ' + byte % 90).collect();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
    let backend = Backend::replying([head.as_bytes(), &text].concat());
    let limits = "response_rate = \"200000B/s\"";
    let ringate = setup(&backend, limits).listener("compression = { algorithms = [\"gzip\"] }").start();
    let begun = Instant::now();
    let request = "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n";
    let answer = ringate.client().send(request).response();
    assert_eq!(answer.header("Content-Encoding"), Some("gzip"));
    let length = answer.body.len() as u64;
    assert!((300_000..600_000).contains(&length), "{length}");
    assert!(begun.elapsed() > Duration::from_millis(length / 200 - 600), "{length}: {:?}", begun.elapsed());
}

#[test]
fn a_client_and_a_route_have_so_many_requests_at_a_time() {
    let (backend, release) = Backend::held_back();
    let ringate = setup(&backend, "requests = 2, requests_per_client = 1")
        .listener("client_address = { header = \"X-Forwarded-For\", trusted = [\"127.0.0.1\"] }")
        .start();
    let of = |client: &str| format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {client}\r\n\r\n");
    let mut first = ringate.client();
    first.send(of("192.0.2.1"));
    backend.request();
    let refused = ringate.client().send(of("192.0.2.1")).response();
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("1")));
    // A stream of HTTP/2 counts as any request does.
    let mut peer = Peer::connect(ringate.address());
    peer.send(frame(HEADERS, ES | EH, 1, request("GET", &[("x-forwarded-for", "192.0.2.2")])));
    backend.request();
    peer.send(frame(HEADERS, ES | EH, 3, request("GET", &[("x-forwarded-for", "192.0.2.2")])));
    assert_eq!(peer.answer(3).status(), 429);
    let refused = ringate.client().send(of("192.0.2.3")).response();
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
    assert_eq!(ringate.metric("limit_route_requests_total"), 1);
    assert_eq!(ringate.metric("limit_route_requests_per_client_total"), 2);
    // Their ends make room.
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!((first.response().status, peer.answer(1).status()), (200, 200));
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        release.send(()).unwrap();
        eventually("room", || (ringate.client().send(of(client)).response().status == 200).then_some(()));
    }
    // So does a client that leaves.
    let mut gone = ringate.client();
    gone.send(of("192.0.2.9"));
    backend.request();
    gone.reset();
    eventually("room again", || {
        let mut client = ringate.client();
        client.send(of("192.0.2.9"));
        // The backend's end of the exchange before waits for a word as well.
        (0..3).for_each(|_| release.send(()).unwrap());
        (client.response().status == 200).then_some(())
    });
}

#[test]
fn a_bound_that_makes_no_sense_is_an_error() {
    for (limits, wrong) in [
        ("response_rate = \"100B/s\"", "slower than clients wait for"),
        ("response_burst = \"1MiB\"", "has no effect without `response_rate`"),
        ("body_size = 1", "body_bytes"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ringate.toml");
        let routes = format!("[[route]]\nupstream = \"app\"\nlimits = {{ {limits} }}");
        std::fs::write(&file, Setup::to(free_address()).routes(&routes).text()).unwrap();
        let checked = run(Ringate::command().arg("check").arg("-c").arg(&file));
        let checked = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.contains(wrong), "{limits}: {checked}");
    }
}
