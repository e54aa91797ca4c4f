//! Requests and responses between an HTTP/2 client and an HTTP/1.1 backend.

use std::time::Duration;

use super::*;
use crate::http::noise;

#[test]
fn a_request_goes_on_as_http1_and_its_response_comes_back() {
    let (backend, ringate) = echo();
    let mut peer = Peer::connect(ringate.address());
    let more = [
        ("x-one", "1"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("x-forwarded-for", "6.6.6.6"),
    ];
    peer.send(frame(HEADERS, ES | EH, 1, request("GET", &more)));
    let answer = peer.answer(1);
    assert_eq!(answer.status(), 200);
    let request = backend.request();
    assert_eq!(request.line(), "GET /");
    assert_eq!(request.header("Host"), Some("localhost"));
    assert_eq!((request.header("x-one"), request.header("cookie")), (Some("1"), Some("a=1; b=2")));
    assert_eq!((request.header("te"), request.header("content-length")), (None, None));
    assert_eq!(request.header("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(answer.text(), request.head);
    assert_eq!((answer.field("connection"), answer.field("transfer-encoding")), (None, None));
}

#[test]
fn content_goes_by_length_or_in_chunks_with_its_trailers() {
    let (backend, ringate) = echo();
    let mut peer = Peer::connect(ringate.address());
    let body = noise(100_000);
    let send = |peer: &mut Peer, stream, ends| {
        for (number, piece) in body.chunks(10_000).enumerate() {
            peer.send(frame(DATA, if ends && number == 9 { ES } else { 0 }, stream, piece));
        }
    };
    peer.send(post(1, &[("content-length", "100000")]));
    send(&mut peer, 1, true);
    assert!(peer.answer(1).body.ends_with(&body));
    let request = backend.request();
    assert_eq!((request.header("Content-Length"), request.body.len()), (Some("100000"), 100_000));
    peer.send(post(3, &[("trailer", "x-sum")]));
    send(&mut peer, 3, false);
    let trailers =
        block(&[("x-sum", "7"), ("host", "evil"), ("content-length", "3"), ("x-forwarded-for", "1")]);
    peer.send(frame(HEADERS, ES | EH, 3, trailers));
    assert!(peer.answer(3).body.ends_with(&body));
    let request = backend.request();
    assert_eq!(
        (request.header("Transfer-Encoding"), request.header("Trailer")),
        (Some("chunked"), Some("x-sum"))
    );
    assert!(request.body == body);
    assert!(request.wire.ends_with(b"0\r\nx-sum: 7\r\n\r\n"), "{}", request.wire.escape_ascii());
}

#[test]
fn responses_without_content_end_with_their_head() {
    let backend = Backend::serving(|request| match request.line() {
        line if line.starts_with("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(),
        _ if request.header("x-304").is_some() => {
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"a\"\r\n\r\n".to_vec()
        }
        _ => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    });
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    let wanted = [("HEAD", "a", 200, Some("9")), ("GET", "x-304", 304, Some("9")), ("GET", "b", 204, None)];
    for (at, (method, field, status, length)) in wanted.into_iter().enumerate() {
        let stream = 2 * at as u32 + 1;
        peer.send(frame(HEADERS, ES | EH, stream, request(method, &[(field, "1")])));
        let head = peer.until(HEADERS);
        let fields = peer.fields(&head.payload);
        assert!(head.ends(), "{method} {status}");
        assert!(fields.contains(&(":status".to_owned(), status.to_string())));
        let found = fields.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.as_str());
        assert_eq!(found, length);
    }
}

#[test]
fn trailers_and_interim_responses_reach_the_client() {
    let backend = Backend::replying(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
    );
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    peer.send(get(1));
    let answer = peer.answer(1);
    assert_eq!(
        answer.heads[0],
        [(":status".to_owned(), "103".to_owned()), ("link".to_owned(), "</a>".to_owned())]
    );
    assert_eq!((answer.status(), answer.text(), answer.trailer("x-sum")), (200, "abc", Some("9")));
}

#[test]
fn a_100_is_waited_for_and_an_early_answer_passes() {
    let (backend, go) = Backend::stepped(|connection, wait| {
        connection.head()?;
        connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        connection.line()?;
        connection.bytes(5)?;
        connection.send(OK)?;
        wait();
        Ok(())
    });
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    peer.send(post(1, &[("expect", "100-continue")]));
    let head = peer.until(HEADERS);
    assert_eq!(peer.fields(&head.payload)[0].1, "100");
    peer.send(frame(DATA, ES, 1, "hello"));
    assert_eq!(peer.answer(1).status(), 200);
    go.send(()).unwrap();
    let early = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    });
    let ringate = setup(early.address()).start();
    let mut peer = Peer::connect(ringate.address());
    peer.send(post(1, &[]));
    peer.send(frame(DATA, 0, 1, "some"));
    let answer = peer.answer(1);
    assert_eq!((answer.status(), answer.text(), answer.reset), (403, "no", None));
    // The rest of the content is dropped, and once nothing more comes, not waited for (§8.1).
    peer.send(frame(DATA, 0, 1, [0; 16_384]));
    assert_eq!(peer.until(RST_STREAM).code(), 0);
    assert!(peer.is_alive());
}

#[test]
fn many_streams_are_served_beside_each_other_and_slow_ones_hold_up_none() {
    let backend = Backend::serving(|request| {
        if request.header("x-slow").is_some() {
            std::thread::sleep(Duration::from_millis(1500));
        }
        ok(request.header("x-number").unwrap_or_default())
    });
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    let begun = std::time::Instant::now();
    for number in 0..40 {
        let slow = [("x-slow", "1"), ("x-number", "slow")];
        peer.send(frame(HEADERS, ES | EH, 2 * number + 1, request("GET", &slow)));
    }
    for number in 40..60 {
        let text = number.to_string();
        peer.send(frame(HEADERS, ES | EH, 2 * number + 1, request("GET", &[("x-number", &text)])));
    }
    let mut ended = Vec::new();
    while ended.len() < 60 {
        let frame = peer.frame().unwrap();
        if frame.ends() {
            ended.push(frame.stream);
        }
        if ended.len() == 20 && frame.ends() {
            assert!(begun.elapsed() < Duration::from_millis(1400), "{:?}", begun.elapsed());
        }
    }
    assert!(ended[..20].iter().all(|stream| *stream > 80), "{ended:?}");
}

#[test]
fn windows_hold_a_response_back_and_a_slow_reader_takes_it_all() {
    let body = noise(400_000);
    let backend = Backend::replying(ok(&body));
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::silent(ringate.address());
    peer.greet(&[(4, 1000)]);
    peer.send(get(1));
    let mut received = 0;
    while received < 1000 {
        let frame = peer.until(DATA);
        received += frame.payload.len();
    }
    assert_eq!(received, 1000);
    assert!(peer.is_alive(), "the window is shut, and nothing more is sent");
    peer.send(get(3));
    let mut other = 0;
    while other < 1000 {
        let frame = peer.until(DATA);
        assert_eq!(frame.stream, 3);
        other += frame.payload.len();
    }
    peer.send(frame(WINDOW_UPDATE, 0, 0, 1_000_000_u32.to_be_bytes()));
    peer.send(frame(WINDOW_UPDATE, 0, 1, 1_000_000_u32.to_be_bytes()));
    let rest = peer.answer(1);
    assert!(rest.body == body[1000..]);
}

#[test]
fn content_that_its_backend_does_not_take_is_not_granted_again() {
    let (backend, go) = Backend::stepped(|connection, wait| {
        connection.head()?;
        wait();
        connection.send(OK)?;
        Ok(())
    });
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    peer.send(post(1, &[]));
    peer.send(get(3));
    // Far more than sockets and windows hold; windows are not waited for.
    let mut granted = 0_i64;
    let mut sent = 0_i64;
    let begun = std::time::Instant::now();
    peer.send(frame(PING, 0, 0, [1; 8]));
    while begun.elapsed() < Duration::from_secs(2) {
        while sent + 16_384 <= 262_144 + granted && sent < (64 << 20) {
            peer.send(frame(DATA, 0, 1, [0; 16_384]));
            sent += 16_384;
            peer.send(frame(PING, 0, 0, [1; 8]));
        }
        let frame = peer.frame().unwrap();
        if frame.kind == WINDOW_UPDATE && frame.stream == 1 {
            granted += i64::from(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
        }
        if frame.kind == PING {
            std::thread::sleep(Duration::from_millis(5));
            peer.send(self::frame(PING, 0, 0, [1; 8]));
        }
    }
    assert!(sent < 32 << 20, "{sent}");
    drop(go);
}

#[test]
fn a_head_beyond_its_bounds_gets_431_and_a_long_path_414() {
    let (_backend, ringate) = echo();
    let mut peer = Peer::connect(ringate.address());
    let long = "a".repeat(70_000);
    let block = request("GET", &[("x-long", &long)]);
    peer.send(frame(HEADERS, ES, 1, &block[..16_000]));
    for piece in block[16_000..].chunks(16_000) {
        peer.send(frame(CONTINUATION, 0, 1, piece));
    }
    peer.send(frame(CONTINUATION, EH, 1, []));
    assert_eq!(peer.answer(1).status(), 431);
    let path = format!("/{}", "a".repeat(9000));
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", path.as_str()), (":authority", "a")];
    peer.send(frame(HEADERS, ES | EH, 3, super::peer::block(&fields)));
    assert_eq!(peer.answer(3).status(), 414);
    assert!(peer.is_alive());
    assert_eq!(ringate.metric("limit_head_bytes_total"), 1);
}

#[test]
fn routes_replies_rules_and_the_log_hold_for_streams() {
    let (_backend, mut ringate) = {
        let backend = Backend::replying(OK);
        let routes = "[[route]]\npath = \"/fixed\"\nrespond = { status = 418, body = \"teapot\" }\n\
            [[route]]\npath = \"/limited\"\nrate_limit = { rate = \"1/m\", burst = 1, by = \"client\" }\nupstream = \"app\"\n\
            [[route]]\npath = \"/app\"\nupstream = \"app\"\nheaders.response.set = { X-Rule = \"yes\" }";
        let log = "[log]\naccess = \"access.log\"";
        let setup = setup(backend.address()).routes(routes).section(log);
        (backend, setup.start())
    };
    let mut peer = Peer::connect(ringate.address());
    let mut stream = 1;
    let mut ask = |path: &str| {
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")];
        peer.send(frame(HEADERS, ES | EH, stream, block(&fields)));
        stream += 2;
        peer.answer(stream - 2)
    };
    let fixed = ask("/fixed/a");
    assert_eq!((fixed.status(), fixed.text()), (418, "teapot"));
    assert_eq!((ask("/limited/").status(), ask("/limited/").status()), (200, 429));
    assert_eq!(ask("/app/").field("x-rule"), Some("yes"));
    let lost = ask("/lost");
    assert_eq!(lost.status(), 404);
    assert_eq!(ringate.metric("requests_total"), 4);
    assert_eq!(ringate.metric("http2_connections_total"), 1);
    drop(peer);
    ringate.signal(rustix::process::Signal::TERM);
    ringate.wait();
    let log = std::fs::read_to_string(ringate.dir().join("access.log")).unwrap();
    assert_eq!(log.lines().count(), 5, "{log}");
}

#[test]
fn a_websocket_is_asked_for_by_extended_connect() {
    let backend = Backend::start(|connection| {
        let head = connection.head()?;
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        assert_eq!(key.map(str::len), Some(24), "{head}");
        assert!(head.contains("Upgrade: websocket") && head.starts_with("GET /chat "), "{head}");
        if head.contains("x-no: 1") {
            return connection.send(OK);
        }
        connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
        )?;
        while let Ok(byte) = connection.bytes(1) {
            connection.send(byte.to_ascii_uppercase())?;
        }
        connection.send("bye")
    });
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    let connect = |more: &[(&str, &str)]| {
        let mut fields = vec![
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/chat"),
            (":authority", "localhost"),
            ("sec-websocket-version", "13"),
        ];
        fields.extend_from_slice(more);
        block(&fields)
    };
    peer.send(frame(HEADERS, EH, 1, connect(&[])));
    let head = peer.until(HEADERS);
    let fields = peer.fields(&head.payload);
    assert_eq!(fields[0].1, "200");
    assert!(
        !fields.iter().any(|(name, _)| name == "sec-websocket-accept" || name == "upgrade"),
        "{fields:?}"
    );
    let mut heard = Vec::new();
    for word in ["hello", "world"] {
        peer.send(frame(DATA, 0, 1, word));
        while !heard.ends_with(word.to_uppercase().as_bytes()) {
            heard.extend_from_slice(&peer.until(DATA).payload);
        }
    }
    peer.send(frame(DATA, ES, 1, ""));
    assert_eq!(peer.answer(1).text(), "bye");
    // A response that does not change the protocol is no success (RFC 8441 §5).
    peer.send(frame(HEADERS, EH, 3, connect(&[("x-no", "1")])));
    assert_eq!(peer.answer(3).status(), 502);
}
