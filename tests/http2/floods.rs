//! Clients that make work without use: each kind has its bound, its answer and its count.

use super::*;

/// Sends `one` again and again, until the connection ends with a GOAWAY.
fn flood(counter: &str, before: Vec<u8>, mut one: impl FnMut(u32) -> Vec<u8>) {
    let backend = Backend::replying(OK);
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    peer.send(before);
    for number in 0..6000 {
        if peer.try_send(one(number)).is_err() {
            break;
        }
    }
    assert_eq!(peer.ended(), Some(ENHANCE_YOUR_CALM), "{counter}");
    let flooded = || {
        ringate
            .admin("/metrics")
            .lines()
            .find(|line| line.starts_with("ringate_http2_floods") && line.ends_with(" 1"))
            .map(str::to_owned)
    };
    let counted = eventually("a flood", flooded);
    assert!(counted.contains(counter), "{counted}");
    // Others are served as before.
    let mut other = Peer::connect(ringate.address());
    other.send(get(1));
    assert_eq!(other.answer(1).status(), 200);
}

const NUMBER: fn(u32) -> [u8; 4] = u32::to_be_bytes;

#[test]
fn rapid_resets() {
    flood("http2_floods_resets", vec![], |number| {
        let id = 2 * number + 1;
        [frame(HEADERS, EH, id, request("POST", &[])), frame(RST_STREAM, 0, id, NUMBER(CANCEL))].concat()
    });
}

#[test]
fn resets_that_the_peer_provokes() {
    flood("http2_floods_provoked_resets", vec![], |number| {
        let id = 2 * number + 1;
        [post(id, &[]), frame(WINDOW_UPDATE, 0, id, NUMBER(0))].concat()
    });
}

#[test]
fn settings_pings_and_priorities() {
    flood("http2_floods_settings", vec![], |_| frame(SETTINGS, 0, 0, []));
    flood("http2_floods_pings", vec![], |_| frame(PING, 0, 0, [0; 8]));
    flood("http2_floods_priorities", vec![], |_| frame(PRIORITY, 0, 1, [0; 5]));
    flood("http2_floods_unknown_frames", vec![], |_| frame(99, 0, 0, []));
}

#[test]
fn empty_data_and_window_updates() {
    flood("http2_floods_empty_data", post(1, &[]), |_| frame(DATA, 0, 1, []));
    flood("http2_floods_window_updates", vec![], |_| frame(WINDOW_UPDATE, 0, 0, NUMBER(1)));
}

#[test]
fn continuations() {
    let before = frame(HEADERS, ES, 1, request("GET", &[]));
    flood("http2_floods_header_blocks", before, |_| frame(CONTINUATION, 0, 1, block(&[("a", "b")])));
}

#[test]
fn a_header_bomb_is_refused_and_repeated_ends_the_connection() {
    // One field of 4,000 bytes in the table, and a thousand references to it.
    let value = "v".repeat(4000);
    let mut bomb = request("GET", &[]);
    bomb.extend_from_slice(&[0x40, 1, b'a', 0x7f]);
    let rest = 4000 - 127;
    bomb.extend_from_slice(&[(rest % 128 + 128) as u8, (rest / 128) as u8]);
    bomb.extend_from_slice(value.as_bytes());
    bomb.extend(std::iter::repeat_n(0xbe, 1000));
    flood("http2_floods_header_blocks", vec![], move |number| frame(HEADERS, ES | EH, 2 * number + 1, &bomb));
}

#[test]
fn a_table_that_is_filled_and_emptied() {
    // 90 fields in each head, each of which enters the table and takes the place of another one.
    let mut thrash = request("GET", &[]);
    for _ in 0..90 {
        thrash.extend_from_slice(&[0x40, 1, b'a', 50]);
        thrash.extend_from_slice(&[b'v'; 50]);
    }
    flood("http2_floods_table", vec![], move |number| frame(HEADERS, ES | EH, 2 * number + 1, &thrash));
    // A table of another size twice in each head.
    let mut sizes = vec![0x20, 0x3f, 0xe1, 0x1f];
    sizes.extend(request("GET", &[]));
    flood("http2_floods_table", vec![], move |number| frame(HEADERS, ES | EH, 2 * number + 1, &sizes));
}

#[test]
fn frames_on_streams_that_were_reset() {
    // Field names have no capitals: the stream is reset, and what follows on it is passed over for a while.
    let malformed = frame(HEADERS, EH, 1, request("POST", &[("X-Capital", "1")]));
    flood("http2_floods_closed_streams", malformed, |_| frame(DATA, 0, 1, [0]));
}

#[test]
fn updates_of_priorities() {
    let update = [&[0, 0, 0, 1][..], b"u=0"].concat();
    flood("http2_floods_priorities", vec![], |_| frame(PRIORITY_UPDATE, 0, 0, &update));
}

#[test]
fn heads_that_are_too_large() {
    let long = "v".repeat(15_000);
    let fields = [("x-a", long.as_str())];
    let backend = Backend::replying(OK);
    let ringate = setup(backend.address()).listener("http.header_list_bytes = \"8KiB\"").start();
    let mut peer = Peer::connect(ringate.address());
    for number in 0..60 {
        let _ = peer.try_send(frame(HEADERS, EH | ES, 2 * number + 1, request("GET", &fields)));
    }
    assert_eq!(peer.ended(), Some(ENHANCE_YOUR_CALM));
    ringate.await_metric("http2_floods_large_heads_total", 1);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn streams_that_are_opened_far_beyond_the_limit() {
    let (backend, _go) = Backend::held_back();
    let ringate = setup(backend.address()).listener("http.max_concurrent_streams = 1").start();
    let mut peer = Peer::connect(ringate.address());
    for number in 0..600 {
        if peer.try_send(get(2 * number + 1)).is_err() {
            break;
        }
    }
    assert_eq!(peer.ended(), Some(ENHANCE_YOUR_CALM));
    ringate.await_metric("http2_floods_refused_streams_total", 1);
}

#[test]
fn stream_ids_and_windows_have_an_end() {
    let backend = Backend::replying(OK);
    let ringate = setup(backend.address()).start();
    // After the last id a client has to connect anew.
    let mut peer = Peer::connect(ringate.address());
    peer.send(get(0x7fff_ffff));
    assert_eq!(peer.answer(0x7fff_ffff).status(), 200);
    peer.send(get(1));
    assert!(matches!(peer.ended(), Some(PROTOCOL_ERROR | STREAM_CLOSED)));
    // A window beyond 2^31 - 1: of a stream, and of the connection.
    let mut peer = Peer::connect(ringate.address());
    peer.send(post(1, &[]));
    peer.send(frame(WINDOW_UPDATE, 0, 1, NUMBER(0x7fff_ffff)));
    assert_eq!(peer.until(RST_STREAM).code(), FLOW_CONTROL_ERROR);
    assert!(peer.is_alive());
    peer.send(frame(WINDOW_UPDATE, 0, 0, NUMBER(0x7fff_ffff)));
    assert_eq!(peer.ended(), Some(FLOW_CONTROL_ERROR));
    ringate.await_metric("http2_connection_errors_total", 2);
    assert_eq!(ringate.metric("http2_stream_errors_total"), 1);
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let (backend, go) = Backend::held_back();
    let ringate = setup(backend.address()).listener("http.max_concurrent_streams = 3").start();
    let mut peer = Peer::connect(ringate.address());
    for number in 0..5 {
        peer.send(get(2 * number + 1));
    }
    for stream in [7, 9] {
        let reset = peer.until(RST_STREAM);
        assert_eq!((reset.stream, reset.code()), (stream, REFUSED_STREAM));
    }
    for _ in 0..3 {
        go.send(()).unwrap();
    }
    let mut ended = 0;
    while ended < 3 {
        ended += usize::from(peer.frame().unwrap().ends());
    }
    assert_eq!(ringate.metric("limit_http2_streams_total"), 2);
    assert!(peer.is_alive());
}
