//! The bounds against floods: how much of each a peer may send, and what follows.

use super::peer::*;
use crate::base::limits::*;
use crate::http2::{Config, ErrorCode, Flood, Role, Violation};

/// Feeds frames until the connection fails, and returns how many were taken.
fn taken(peer: &mut Peer, mut next: impl FnMut(&mut Peer, u32) -> Vec<u8>) -> (u32, Violation) {
    for count in 0..100_000 {
        let frames = next(peer, count);
        peer.now += u64::from(count % 50 == 0);
        if let Err(violation) = peer.feed(&frames) {
            assert_eq!(violation.verdict().0, ErrorCode::ENHANCE_YOUR_CALM);
            let goaway = &peer.out[peer.out.len() - 17..];
            assert_eq!((&goaway[..5], &goaway[13..]), (&[0, 0, 8, 7, 0][..], &[0, 0, 0, 0xb][..]));
            return (count, violation);
        }
        peer.out.clear();
    }
    panic!("no end");
}

fn id(count: u32) -> u32 {
    2 * count + 1
}

#[test]
fn rapid_reset() {
    let (count, violation) = taken(&mut Peer::server(), |_, count| {
        [frame(HEADERS, ES | EH, id(count), &get()), frame(RST_STREAM, 0, id(count), &[0, 0, 0, 8])].concat()
    });
    assert_eq!((count, violation), (HTTP2_RESETS_RECEIVED.0, Violation::Flood(Flood::ResetsReceived)));
}

#[test]
fn resets_among_responses_are_allowed() {
    let mut peer = Peer::server();
    for count in 0..2000 {
        let id = id(count);
        peer.feed(&frame(HEADERS, ES | EH, id, &get())).unwrap();
        let Peer { connection, out, .. } = &mut peer;
        if count % 2 == 0 {
            connection.send_response(stream(id), 200, std::iter::empty(), true, out).unwrap();
        } else {
            peer.feed(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).unwrap();
        }
        peer.out.clear();
    }
}

#[test]
fn resets_spread_over_time_are_allowed() {
    let mut peer = Peer::server();
    for count in 0..2000 {
        peer.now += 51; // 196 in ten seconds
        let id = id(count);
        peer.feed(&frame(HEADERS, ES | EH, id, &get())).unwrap();
        peer.feed(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).unwrap();
        peer.out.clear();
    }
}

#[test]
fn resets_that_the_client_provokes() {
    // MadeYouReset: each of these makes the server reset a stream whose request it has begun to serve.
    let violations: [fn(u32) -> Vec<u8>; 4] = [
        |id| frame(WINDOW_UPDATE, 0, id, &[0; 4]),
        |id| frame(WINDOW_UPDATE, 0, id, &0x7fff_ffffu32.to_be_bytes()),
        |id| frame(DATA, 0, id, b"x"),
        |id| frame(PRIORITY, 0, id, &[0; 4]),
    ];
    for violation in violations {
        let (count, violation) = taken(&mut Peer::server(), |_, count| {
            [frame(HEADERS, ES | EH, id(count), &get()), violation(id(count))].concat()
        });
        assert_eq!((count, violation), (HTTP2_RESETS_PROVOKED.0, Violation::Flood(Flood::ResetsProvoked)));
    }
    let (count, violation) = taken(&mut Peer::server(), |_, count| {
        frame(HEADERS, ES | EH, id(count), &block(&[("a", "malformed")]))
    });
    assert_eq!((count, violation), (HTTP2_RESETS_PROVOKED.0, Violation::Flood(Flood::ResetsProvoked)));
}

#[test]
fn resets_that_a_backend_provokes() {
    let (count, _) = taken(&mut Peer::client(), |peer, count| {
        let Peer { connection, out, .. } = peer;
        connection.send_request(&GET, std::iter::empty(), true, out).unwrap();
        frame(DATA, 0, id(count), b"before the head")
    });
    assert_eq!(count, HTTP2_RESETS_PROVOKED.0);
}

#[test]
fn streams_beyond_the_limit() {
    let mut peer = Peer::ready(Role::Server, Config { max_concurrent_streams: 1, ..Config::default() });
    peer.feed(&frame(HEADERS, ES | EH, 1, &get())).unwrap();
    let (count, violation) = taken(&mut peer, |_, count| frame(HEADERS, ES | EH, id(count + 1), &get()));
    assert_eq!((count, violation), (HTTP2_STREAMS_REFUSED.0, Violation::Flood(Flood::StreamsRefused)));
    assert_eq!(peer.connection.stream_count(), 1);
}

#[test]
fn frames_that_do_nothing() {
    let open = |peer: &mut Peer| peer.feed(&frame(HEADERS, EH, 1, &get())).map(|_| ()).unwrap();
    let most = |(base, per_use): (u32, u32)| base + per_use; // one head is of use
    let cases: [(&str, Vec<u8>, u32, Flood); 9] = [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[]), most(HTTP2_SETTINGS) - 1, Flood::Settings),
        ("GOAWAY", frame(7, 0, 0, &[0; 8]), most(HTTP2_SETTINGS) - 1, Flood::Settings),
        ("PING", frame(PING, 0, 0, &[0; 8]), most(HTTP2_PINGS), Flood::Pings),
        ("PING ack", frame(PING, ES, 0, &[0; 8]), most(HTTP2_PINGS), Flood::Pings),
        ("empty DATA", frame(DATA, 0, 1, &[]), most(HTTP2_EMPTY_DATA), Flood::EmptyData),
        ("DATA of padding", frame(DATA, 8, 1, &[1, 0]), most(HTTP2_EMPTY_DATA), Flood::EmptyData),
        (
            "WINDOW_UPDATE",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            most(HTTP2_WINDOW_UPDATES),
            Flood::WindowUpdates,
        ),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0; 5]), most(HTTP2_PRIORITIES), Flood::Priorities),
        ("unknown", frame(0xee, 0, 1, &[]), most(HTTP2_UNKNOWN_FRAMES), Flood::UnknownFrames),
    ];
    for (name, frame, most, flood) in cases {
        let mut peer = Peer::server();
        open(&mut peer);
        let (count, violation) = taken(&mut peer, |_, _| frame.clone());
        assert_eq!((count, violation), (most, Violation::Flood(flood)), "{name}");
    }
    let update = frame(0x10, 0, 0, b"\0\0\0\x01u=1");
    let mut peer = Peer::server();
    open(&mut peer);
    assert_eq!(taken(&mut peer, |_, _| update.clone()).0, most(HTTP2_PRIORITIES));
}

#[test]
fn frames_on_closed_streams() {
    let mut peer = Peer::server();
    peer.feed(&frame(HEADERS, EH, 1, &get())).unwrap();
    peer.connection.reset(stream(1), ErrorCode::CANCEL, &mut peer.out);
    let (count, violation) = taken(&mut peer, |_, _| frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    let (base, per_use) = HTTP2_CLOSED_STREAMS;
    assert_eq!((count, violation), (base + per_use, Violation::Flood(Flood::ClosedStreams)));
}

#[test]
fn content_on_a_closed_stream_is_of_no_use() {
    let mut peer = Peer::server();
    peer.feed(&frame(HEADERS, ES | EH, 1, &get())).unwrap();
    let Peer { connection, out, .. } = &mut peer;
    connection.send_response(stream(1), 204, std::iter::empty(), true, out).unwrap();
    let (count, violation) = taken(&mut peer, |_, _| frame(DATA, 0, 1, b"x"));
    let (base, per_use) = HTTP2_CLOSED_STREAMS;
    // The request and its response were of use, and the first DATA makes us reset the stream.
    assert_eq!((count, violation), (base + 2 * per_use + 1, Violation::Flood(Flood::ClosedStreams)));
}

#[test]
fn content_for_streams_that_we_reset_counts_against_no_window() {
    let mut peer = Peer::server();
    for count in 0..100 {
        peer.feed(&frame(HEADERS, EH, id(count), &get())).unwrap();
        peer.connection.reset(stream(id(count)), ErrorCode::CANCEL, &mut peer.out);
        peer.feed(&frame(DATA, 0, id(count), &[0; 16_384])).unwrap();
    }
    let (_, available, released) = peer.connection.windows();
    assert_eq!(available as u32 + released, HTTP2_CONNECTION_WINDOW);
}

#[test]
fn a_flood_of_continuation_frames() {
    let mut peer = Peer::server();
    peer.feed(&frame(HEADERS, 0, 1, &get())).unwrap();
    assert!(peer.connection.is_within_block());
    let (count, violation) = taken(&mut peer, |_, _| frame(CONTINUATION, 0, 1, &[]));
    assert_eq!((count, violation), (HTTP2_CONTINUATIONS, Violation::Flood(Flood::Continuations)));
    let mut peer = Peer::server();
    peer.feed(&frame(HEADERS, 0, 1, &get())).unwrap();
    let (count, violation) = taken(&mut peer, |_, _| frame(CONTINUATION, 0, 1, &[0; 16_384]));
    assert_eq!((count, violation), (7, Violation::Flood(Flood::HeaderBlock)), "twice 64 KiB");
}

#[test]
fn header_compression_bombs() {
    // One long entry, and references to it: a byte makes 4 KiB of a field.
    let long = "v".repeat(4000);
    let entry = [&b"\x40"[..], &literal("k", &long)[1..]].concat();
    let mut peer = Peer::server();
    let bomb = [get(), entry, vec![0xbe; 15_000]].concat();
    let violation = peer.feed(
        &[frame(HEADERS, ES, 1, &bomb[..16_000]), frame(CONTINUATION, EH, 1, &bomb[16_000..])].concat(),
    );
    assert_eq!(violation, Err(Violation::Flood(Flood::HeaderBlock)));
    assert!(peer.fields.text.capacity() < 300_000, "{}", peer.fields.text.capacity());
    // Entries that evict each other: each name is copied from the table, for three bytes.
    let mut peer = Peer::server();
    let name = [&b"\x40"[..], &literal(&long, "")[1..]].concat();
    let thrash = [get(), name, b"\x7e\x00".repeat(7000)].concat();
    let frames =
        [frame(HEADERS, ES, 1, &thrash[..16_000]), frame(CONTINUATION, EH, 1, &thrash[16_000..])].concat();
    assert_eq!(peer.feed(&frames), Err(Violation::Flood(Flood::HeaderBlock)));
}

#[test]
fn a_table_that_is_filled_and_emptied() {
    // Each request has 100 fields, each of which takes the place of another one.
    let fields: Vec<u8> =
        (0..94).flat_map(|_| [&b"\x40"[..], &literal("k", &"v".repeat(40))[1..]].concat()).collect();
    let head = [get(), fields].concat();
    let (count, violation) = taken(&mut Peer::server(), |_, count| frame(HEADERS, ES | EH, id(count), &head));
    assert_eq!(violation, Violation::Flood(Flood::Table));
    let base = HTTP2_TABLE_EVICTIONS.0;
    let least = base / (94 - HTTP2_TABLE_EVICTIONS_PER_BLOCK);
    assert!((least..least + 3).contains(&count), "{count}");
    // Its size changes twice with each request.
    let head = [&b"\x20\x3f\xe1\x1f"[..], &get()].concat();
    let (count, violation) = taken(&mut Peer::server(), |_, count| frame(HEADERS, ES | EH, id(count), &head));
    assert_eq!((count, violation), (base / 64, Violation::Flood(Flood::Table)));
}

#[test]
fn tables_of_busy_clients_may_change() {
    // As a proxy in front has it: 30 fields of each request are new, and all of them are indexed.
    let mut peer = Peer::server();
    for count in 0..3000 {
        let value = format!("{count:040}");
        let fields: Vec<u8> =
            (0..30).flat_map(|_| [&b"\x40"[..], &literal("k", &value)[1..]].concat()).collect();
        peer.feed(&frame(HEADERS, ES | EH, id(count), &[get(), fields].concat())).unwrap();
        let Peer { connection, out, .. } = &mut peer;
        connection.send_response(stream(id(count)), 200, std::iter::empty(), true, out).unwrap();
        peer.out.clear();
    }
}

#[test]
fn heads_beyond_the_list_bound() {
    let long = "v".repeat(15_000);
    let many = [
        get(),
        literal("a", &long),
        literal("b", &long),
        literal("c", &long),
        literal("d", &long),
        literal("e", &long),
    ]
    .concat();
    let frames = |id: u32| {
        let mut pieces = many.chunks(16_000).enumerate().peekable();
        let mut frames = Vec::new();
        while let Some((at, piece)) = pieces.next() {
            let end = if pieces.peek().is_none() { EH } else { 0 };
            let (kind, flags) = if at == 0 { (HEADERS, ES | end) } else { (CONTINUATION, end) };
            frames.extend(frame(kind, flags, id, piece));
        }
        frames
    };
    let mut peer = Peer::server();
    assert_eq!(peer.feed(&frames(1)).unwrap(), ["too large 1 end"]);
    let Peer { connection, out, .. } = &mut peer;
    connection.send_response(stream(1), 431, std::iter::empty(), true, out).unwrap();
    let (count, violation) = taken(&mut peer, |peer, count| {
        let Peer { connection, out, .. } = peer;
        let _ = connection.send_response(stream(id(count)), 431, std::iter::empty(), true, out);
        frames(id(count + 1))
    });
    assert_eq!((count, violation), (HTTP2_HEADS_TOO_LARGE.0 - 1, Violation::Flood(Flood::HeadsTooLarge)));
    // More fields than there are slots.
    let mut peer = Peer::server();
    let many: Vec<u8> = (0..=MAX_HEADERS).flat_map(|_| literal("a", "b")).collect();
    assert_eq!(peer.feed(&frame(HEADERS, ES | EH, 1, &[get(), many].concat())).unwrap(), ["too large 1 end"]);
}

#[test]
fn a_client_waits_for_settings_with_few_streams() {
    let mut peer = Peer::new(Role::Client, Config::default());
    assert_eq!(peer.connection.capacity(), HTTP2_FIRST_STREAMS as usize);
    peer.feed(&frame(SETTINGS, 0, 0, &[])).unwrap();
    assert!(peer.connection.capacity() > 1_000_000);
    peer.feed(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 7])).unwrap();
    assert_eq!(peer.connection.capacity(), 7);
}

#[test]
fn windows_that_stay_shut_are_seen() {
    let mut peer = Peer::server();
    peer.feed(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).unwrap();
    peer.feed(&frame(HEADERS, ES | EH, 1, &get())).unwrap();
    peer.now = 5;
    assert_eq!(peer.feed(&frame(PING, 0, 0, &[0; 8])), Ok(vec![]));
    let Peer { connection, out, .. } = &mut peer;
    connection.send_response(stream(1), 200, std::iter::empty(), false, out).unwrap();
    assert_eq!(connection.blocked_since(stream(1)), None, "there is nothing to send yet");
    connection.want_to_send(stream(1), true);
    assert_eq!((connection.next_ready(), connection.blocked_since(stream(1))), (None, Some(5)));
    assert_eq!(connection.send_data(stream(1), b"x", true, out), Ok(0));
    peer.now = 9;
    assert_eq!(peer.feed(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).unwrap(), ["window 1"]);
    assert_eq!(peer.connection.blocked_since(stream(1)), None);
    assert_eq!(peer.connection.next_ready(), Some(stream(1)));
}

#[test]
fn the_connections_window_holds_all_streams_and_opens_for_all() {
    let mut peer = Peer::server();
    peer.feed(&frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0x86, 0xa0])).unwrap(); // streams: 100,000
    for id in [1, 3] {
        peer.feed(&frame(HEADERS, ES | EH, id, &get())).unwrap();
        let Peer { connection, out, .. } = &mut peer;
        connection.send_response(stream(id), 200, std::iter::empty(), false, out).unwrap();
        connection.want_to_send(stream(id), true);
    }
    let Peer { connection, out, .. } = &mut peer;
    assert_eq!(connection.send_data(stream(1), &[0; 90_000], false, out), Ok(65_535));
    assert_eq!(connection.next_ready(), None);
    assert_eq!(connection.blocked_since(stream(3)), Some(0));
    assert_eq!(peer.feed(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])).unwrap(), ["window"]);
    let turns = [0; 4].map(|_| peer.connection.next_ready().unwrap().get());
    assert_eq!(turns, [1, 3, 1, 3]);
    assert_eq!(peer.connection.sendable(stream(3)), 256);
}

#[test]
fn stream_ids_are_used_up_once() {
    let mut client = Peer::client();
    client.connection.use_ids_up_to(0x7fff_fffd);
    let Peer { connection, out, .. } = &mut client;
    let last = connection.send_request(&GET, std::iter::empty(), true, out).unwrap();
    assert_eq!(last.get(), 0x7fff_ffff);
    let next = connection.send_request(&GET, std::iter::empty(), true, out);
    assert_eq!((next, connection.capacity()), (Err(crate::http2::SendError::StreamIds), 0));
}
