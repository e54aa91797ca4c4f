//! Requests as streams: how they are written, and how many a connection carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::kit::*;
use crate::support::*;

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_request_is_pseudo_fields_and_fields_in_lower_case_without_those_of_the_connection() {
    let (tell, told) = std::sync::mpsc::channel();
    let backend = backend(&[], move |frames, head| {
        let stream = head.stream;
        tell.send(head).unwrap();
        frames.send(ok(stream, "ok"))
    });
    let ringate = before(&[&backend]).start();
    let request = "PUT /a?b=c HTTP/1.1\r\nHost: example.test:8080\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
        Keep-Alive: 5\r\nTE: trailers, gzip\r\nX-Mixed: Case\r\nCookie: a=1; b=2\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(ringate.client().send(request).response().text(), "ok");
    let head = told.recv().unwrap();
    let pseudo: Vec<_> = head.fields.iter().take(4).map(|(name, value)| (&**name, &**value)).collect();
    let expected =
        [(":method", "PUT"), (":scheme", "http"), (":authority", "example.test:8080"), (":path", "/a?b=c")];
    assert_eq!(pseudo, expected);
    for (name, value) in [
        ("x-mixed", Some("Case")),
        ("cookie", Some("a=1; b=2")),
        ("content-length", Some("4")),
        ("te", Some("trailers")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("host", None),
        ("connection", None),
        ("keep-alive", None),
        ("x-hop", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(head.get(name), value, "{name} in {:?}", head.fields);
    }
    ringate.client().send(GET).response();
    let head = told.recv().unwrap();
    assert!(head.ends, "a request without a body is HEADERS alone");
    assert_eq!((head.get("te"), head.get("content-length")), (None, None));
}

#[test]
fn a_body_with_trailers_goes_as_data_and_headers() {
    let backend = backend(&[], |frames, head| {
        assert_eq!(head.get("content-length"), None);
        let (body, trailers) = frames.body(&head)?;
        let seen = format!("{} {:?}", body.len(), trailers.fields);
        frames.send(ok(head.stream, &seen))
    });
    let ringate = before(&[&backend]).start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..40 {
        client.send(format!("2000\r\n{}\r\n", "x".repeat(0x2000)));
    }
    client.send("0\r\nX-Sum: 7\r\nCookie: no\r\n\r\n");
    let seen = format!("{} {:?}", 40 * 0x2000, [("x-sum", "7")]);
    assert_eq!(client.response().text(), seen, "a field that may not trail is left out");
}

#[test]
fn a_backend_is_asked_for_no_more_streams_than_its_settings_permit_even_before_they_are_known() {
    // One stream at a time, which it says late. Another one beside it is refused.
    let backend = Backend::start(|connection| {
        thread::sleep(Duration::from_millis(150));
        let mut frames = Frames::accept(connection, &[0, 3, 0, 0, 0, 1])?;
        loop {
            let head = frames.head()?;
            let mut answer = ok(head.stream, "ok");
            frames.connection.tcp().set_read_timeout(Some(Duration::from_millis(50)))?;
            while let Ok(beside) = frames.any() {
                if beside.kind == HEADERS {
                    answer.extend(reset(beside.stream, 7));
                }
            }
            frames.connection.tcp().set_read_timeout(Some(PATIENCE))?;
            frames.send(answer)?;
        }
    });
    let ringate = before(&[&backend]).start();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = ringate.client();
            thread::spawn(move || client.send(GET).response().text().to_owned())
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), "ok");
    }
    assert_eq!(ringate.metric("http2_unprocessed_retries_total"), 0);
}

/// Answers requests once so many are under way on one connection.
fn together(settings: &'static [u8], count: usize) -> Backend {
    backend(settings, move |frames, head| {
        let mut streams = vec![head.stream];
        while streams.len() < count {
            streams.push(frames.head()?.stream);
        }
        // The last one is the first to be answered.
        streams.iter().rev().try_for_each(|stream| frames.send(ok(*stream, "ok")))
    })
}

fn at_once(ringate: &Ringate, count: usize) {
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                assert_eq!(ringate.client().send(GET).response().text(), "ok");
                answered.fetch_add(1, SeqCst);
            });
        }
    });
    assert_eq!(answered.load(SeqCst), count);
}

#[test]
fn requests_at_the_same_time_share_a_connection_also_the_first_ones() {
    let backend = together(&[], 20);
    let ringate = before(&[&backend]).start();
    at_once(&ringate, 20);
    at_once(&ringate, 20);
    assert_eq!(backend.connections(), 1);
    assert_eq!(ringate.metric("backend_http2_connections_total"), 1);
    assert_eq!(ringate.metric("backend_http2_streams_total"), 40);
}

#[test]
fn another_connection_follows_where_the_backends_limit_is_reached() {
    const LIMIT: &[u8] = &[0, 3, 0, 0, 0, 4];
    static ARRIVED: AtomicUsize = AtomicUsize::new(0);
    static DUE: AtomicUsize = AtomicUsize::new(4);
    let backend = backend(LIMIT, |frames, head| {
        let mut streams = vec![head.stream];
        while streams.len() < 4 {
            streams.push(frames.head()?.stream);
        }
        ARRIVED.fetch_add(4, SeqCst);
        eventually("all requests", || (ARRIVED.load(SeqCst) >= DUE.load(SeqCst)).then_some(()));
        streams.iter().try_for_each(|stream| frames.send(ok(*stream, "ok")))
    });
    let ringate = before(&[&backend]).start();
    at_once(&ringate, 4);
    assert_eq!(backend.connections(), 1, "the limit is known from here on");
    DUE.store(12, SeqCst);
    at_once(&ringate, 8);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn the_bound_on_an_endpoint_counts_streams() {
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, seen) = (Arc::clone(&open), Arc::clone(&most));
    let backend = backend(&[], move |frames, head| {
        seen.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        now.fetch_sub(1, SeqCst);
        frames.send(ok(head.stream, "ok"))
    });
    let setup = before_with(&[&backend], "pool = { max_per_endpoint = 1 }\nqueue = { timeout = \"20s\" }");
    let ringate = setup.start();
    at_once(&ringate, 10);
    assert_eq!((most.load(SeqCst), backend.connections()), (1, 1));
}

#[test]
fn an_idle_connection_ends_with_the_idle_timeout() {
    let backend = backend(&[], |frames, head| frames.send(ok(head.stream, "ok")));
    let ringate = before_with(&[&backend], "timeouts = { idle = \"1s\" }").start();
    assert_eq!(ringate.client().send(GET).response().text(), "ok");
    ringate.await_metric("backend_http2_connections_open", 0);
    assert_eq!(ringate.client().send(GET).response().text(), "ok");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn without_a_pool_each_connection_ends_with_its_last_stream() {
    let backend = backend(&[], |frames, head| frames.send(ok(head.stream, "ok")));
    let ringate = before_with(&[&backend], "pool = { idle_per_worker = 0 }").start();
    for _ in 0..2 {
        assert_eq!(ringate.client().send(GET).response().text(), "ok");
        ringate.await_metric("backend_http2_connections_open", 0);
    }
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_backend_that_is_silent_is_asked_and_one_that_is_dead_is_left() {
    let pinged = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&pinged);
    let backend = Backend::start(move |connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let head = frames.head()?;
        let is_dead = head.get(":path") == Some("/dead");
        loop {
            let next = frames.any()?;
            if next.kind == PING && !is_dead {
                seen.fetch_add(1, SeqCst);
                frames.send(frame(PING, END_STREAM, 0, &next.payload))?;
                // It has more time now.
                std::thread::sleep(Duration::from_secs(6));
                return frames.send(ok(head.stream, "late"));
            }
        }
    });
    let [alive, dead] = ["/alive", "/dead"].map(|path| {
        let ringate = before(&[&backend]).start();
        std::thread::spawn(move || {
            let response =
                ringate.client().send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).response();
            (response, ringate)
        })
    });
    let (response, ringate) = dead.join().unwrap();
    assert_eq!(response.status, 502);
    ringate.await_log("the backend was silent, so its connection was closed");
    let (response, _) = alive.join().unwrap();
    assert_eq!((response.text(), pinged.load(SeqCst)), ("late", 1));
}

#[test]
fn a_hundred_streams_that_are_not_read_slow_no_other_of_their_connections() {
    let long = vec![b'a'; 300_000];
    let backend =
        super::kit::many(move |path| if path == "/long" { long.clone() } else { b"short".to_vec() });
    let ringate = Setup::to(backend.address()).section("[admin]").upstream("http = \"2\"").start();
    let mut client = crate::http2::peer::Peer::silent(ringate.address());
    client.name = "quick streams beside slow ones";
    // Windows of streams are 100 bytes: enough for what is short.
    client.greet(&[(4, 100)]);
    let get = |stream: u32, path: &str| {
        use crate::http2::peer;
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")];
        peer::frame(peer::HEADERS, peer::ES | peer::EH, stream, peer::block(&fields))
    };
    for number in 0..100 {
        client.send(get(2 * number + 1, "/long"));
    }
    let mut taken = [0; 100];
    while taken.iter().any(|bytes| *bytes < 100) {
        let next = client.frame().unwrap();
        if next.kind == DATA {
            taken[next.stream as usize / 2] += next.payload.len();
        }
    }
    let begun = std::time::Instant::now();
    for number in 100..200 {
        client.send(get(2 * number + 1, "/short"));
        loop {
            let next = client.frame().unwrap();
            if next.ends() {
                assert_eq!((next.stream, next.payload.as_slice()), (2 * number + 1, &b"short"[..]));
                break;
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_leaves_resets_its_stream_alone() {
    let (tell, told) = std::sync::mpsc::channel();
    let backend = Backend::start(move |connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let (first, second) = (frames.head()?.stream, frames.head()?.stream);
        loop {
            let next = frames.next()?;
            if next.kind == RST_STREAM {
                tell.send((next.stream, next.payload.clone())).unwrap();
                let rest = if next.stream == first { second } else { first };
                frames.send(ok(rest, "ok"))?;
            }
        }
    });
    let ringate = before(&[&backend]).start();
    let mut stays = ringate.client();
    stays.send(GET);
    ringate.await_metric("backend_http2_streams_total", 1);
    let mut leaves = ringate.client();
    leaves.send(GET);
    ringate.await_metric("backend_http2_streams_total", 2);
    leaves.reset();
    assert_eq!(told.recv().unwrap(), (3, vec![0, 0, 0, 8]), "CANCEL");
    assert_eq!(stays.response().text(), "ok");
    assert_eq!(backend.connections(), 1);
}

/// A backend of RFC 8441: it offers extended CONNECT, and echoes what comes on such a stream.
const CONNECT_PROTOCOL: &[u8] = &[0, 8, 0, 0, 0, 1];
const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn websocket_goes_by_extended_connect_where_the_backend_offers_that() {
    let backend = backend(CONNECT_PROTOCOL, |frames, head| {
        let seen: Vec<_> = [":method", ":protocol", ":path", "sec-websocket-version"]
            .iter()
            .map(|name| head.get(name))
            .collect();
        assert_eq!(seen, [Some("CONNECT"), Some("websocket"), Some("/chat"), Some("13")]);
        assert_eq!((head.get("sec-websocket-key"), head.get("upgrade")), (None, None));
        frames.send(headers(head.stream, 0, &[(":status", "200"), ("sec-websocket-protocol", "a")]))?;
        loop {
            let next = frames.next()?;
            if next.kind == DATA {
                frames.send(frame(DATA, next.flags & END_STREAM, next.stream, &next.payload))?;
            }
            if next.flags & END_STREAM > 0 {
                return Ok(());
            }
        }
    });
    let ringate = before(&[&backend]).start();
    let mut client = ringate.client();
    let head = client.send(WEBSOCKET).until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    // The example of RFC 6455 §1.3.
    for line in [
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Upgrade: websocket",
        "sec-websocket-protocol: a",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    for word in ["one", "two"] {
        assert_eq!(client.send(word).bytes(3), word.as_bytes());
    }
    client.finish_sending();
    client.closes();
}

#[test]
fn websocket_needs_a_backend_that_offers_it() {
    let backend = backend(&[], |frames, head| frames.send(ok(head.stream, "ok")));
    let ringate = before(&[&backend]).start();
    assert_eq!(ringate.client().send(WEBSOCKET).response().status, 501);
    assert_eq!(ringate.client().send(GET).response().text(), "ok");
}

#[test]
fn copies_of_requests_go_by_the_shadows_version() {
    let (tell, told) = std::sync::mpsc::channel();
    let shadow = backend(&[], move |frames, head| {
        let (body, _) = frames.body(&head)?;
        tell.send((head.get(":path").map(str::to_owned), body)).unwrap();
        frames.send(ok(head.stream, "shadow"))
    });
    let first = backend(&[], |frames, head| {
        frames.body(&head)?;
        frames.send(ok(head.stream, "first"))
    });
    let upstream = format!("[upstream.shadow]\nhttp = \"2\"\nendpoints = [\"{}\"]", shadow.address());
    let setup = before_with(&[&first], "mirror = { upstream = \"shadow\" }");
    let ringate = setup.section(&upstream).start();
    let post = "POST /copied HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(ringate.client().send(post).response().text(), "first");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (Some("/copied".to_owned()), b"body".to_vec()));
}
