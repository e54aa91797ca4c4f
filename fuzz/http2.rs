//! What must hold for HTTP/2, for any input.

use std::sync::Arc;

use ringate::internals::http2::{
    Config, Connection, Decoder, Encoder, Event, FRAME_HEADER_BYTES, Field, FieldLimits, FieldList, HeadKind,
    RequestLine, Violation,
};

mod translation;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
const LIMITS: FieldLimits = FieldLimits { bytes: 8192, fields: 50 };
const STREAMS: usize = 10;

/// What a connection made of its input.
#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<String>,
    out: Vec<u8>,
    failure: Option<Violation>,
}

/// Events by their meaning: pieces of content that follow each other are one.
fn note(event: &Event, input: &[u8], fields: &FieldList, events: &mut Vec<String>) {
    match event {
        Event::Data { stream, data, end_stream } => {
            let begin = format!("data {stream} ");
            let content = &input[data.clone()];
            match events.last_mut() {
                Some(last) if last.starts_with(&begin) => last.push_str(&content.escape_ascii().to_string()),
                _ => events.push(format!("{begin}{}", content.escape_ascii())),
            }
            if *end_stream {
                events.push(format!("end {stream}"));
            }
        }
        Event::Head { .. } | Event::Trailers { .. } => {
            for field in fields.iter() {
                assert!(!field.name.is_empty() && field.name.iter().all(u8::is_ascii_graphic));
                assert!(!field.name.iter().any(|byte| byte.is_ascii_uppercase() || *byte == b':'));
                assert!(!field.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                assert!(![&b"connection"[..], b"transfer-encoding", b"upgrade"].contains(&field.name));
            }
            if let Event::Head { kind: HeadKind::Request, .. } = event {
                let line = fields.request_line().expect("a request has its line");
                assert!(line.method == "CONNECT" || line.path.is_some_and(|path| !path.is_empty()));
                assert!(fields.iter().filter(|field| field.name == b"cookie").count() <= 1);
            }
            match event {
                Event::Head { kind: HeadKind::Request, end_stream, .. } => {
                    translation::request(fields, *end_stream);
                }
                // The second request of a client under test is HEAD.
                Event::Head { stream, end_stream, .. } => {
                    translation::response(fields, *end_stream, stream.to_string() == "3");
                }
                _ => {}
            }
            let list: Vec<_> = fields.all().collect();
            events.push(format!("{event:?} {list:?}"));
        }
        event => events.push(format!("{event:?}")),
    }
}

/// Runs a connection on the input, in pieces of so many bytes. What it is asked for does not depend on the pieces.
fn run(mut connection: Connection, before: &[u8], input: &[u8], piece: usize) -> Outcome {
    let (mut fields, mut events, mut out) = (FieldList::new(), Vec::new(), Vec::new());
    connection.start(&mut out);
    let mut begun = 0;
    while begun < before.len() {
        let received = connection.receive(&before[begun..], 0, &mut fields, &mut out);
        begun += received.expect("a connection begins").consumed;
    }
    let (mut owed, mut rest, mut failure) = (Vec::new(), Vec::new(), None);
    for (number, piece) in input.chunks(piece.max(1)).enumerate() {
        rest.extend_from_slice(piece);
        let mut at = 0;
        while failure.is_none() {
            // All within one window of time: how many pieces there are must not matter.
            let received = match connection.receive(&rest[at..], number as u64 % 2, &mut fields, &mut out) {
                Ok(received) => received,
                Err(violation) => {
                    failure = Some(violation);
                    break;
                }
            };
            let Some(event) = received.event else {
                at += received.consumed;
                break;
            };
            note(&event, &rest[at..], &fields, &mut events);
            at += received.consumed;
            match event {
                Event::Head { stream, kind: HeadKind::Request, .. } => {
                    let head = [Field { name: b"server", value: b"x", never_indexed: false }];
                    let sent = connection.send_response(stream, 200, head.into_iter(), false, &mut out);
                    if sent.is_ok() {
                        let _ = connection.send_data(stream, &[b'x'; 100], true, &mut out);
                    }
                }
                Event::HeadTooLarge { stream, .. } => {
                    let none = std::iter::empty();
                    let _ = connection.send_response(stream, 431, none, true, &mut out);
                }
                Event::Data { stream, data, .. } => owed.push((stream, data.len())),
                _ => {}
            }
            assert!(connection.stream_count() <= STREAMS);
        }
        rest.drain(..at);
        // A frame that is not whole yet: no more than a frame.
        assert!(rest.len() <= 16_384 + FRAME_HEADER_BYTES || failure.is_some());
    }
    for (stream, bytes) in owed {
        connection.consume(stream, bytes, &mut out);
    }
    while let Some(stream) = connection.next_ready() {
        connection.want_to_send(stream, false);
    }
    check_frames(out.strip_prefix(PREFACE).unwrap_or(&out));
    Outcome { events, out, failure }
}

/// What is written are whole frames, none longer than any peer takes.
fn check_frames(mut out: &[u8]) {
    while let Some(&[a, b, c, kind, ..]) = out.first_chunk::<FRAME_HEADER_BYTES>() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        assert!(length <= 16_384 && [0, 1, 3, 4, 6, 7, 8, 9].contains(&kind), "{kind}: {length}");
        out = &out[FRAME_HEADER_BYTES + length..];
    }
    assert!(out.is_empty());
}

/// Frames of a peer. The first byte has the side that they are sent to, and the length of pieces.
pub fn frames(input: &[u8]) {
    let Some((&kind, input)) = input.split_first() else { return };
    let config = Arc::new(Config {
        max_concurrent_streams: STREAMS as u32,
        fields: LIMITS,
        stream_window: 20_000,
        connect_protocol: kind & 2 != 0,
        ..Config::default()
    });
    let connection = |out: &mut Vec<u8>| {
        if kind & 1 == 0 {
            return Connection::server(config.clone());
        }
        let mut client = Connection::client(config.clone());
        for method in ["GET", "HEAD", "POST"] {
            let line = RequestLine {
                method,
                scheme: Some("https"),
                authority: "a.example",
                path: Some("/"),
                protocol: None,
            };
            client.send_request(&line, std::iter::empty(), method != "POST", out).expect("a client may ask");
        }
        client
    };
    let before = if kind & 1 == 0 { PREFACE } else { &[] };
    let before = [before, SETTINGS, SETTINGS_ACK].concat();
    let mut out = Vec::new();
    let whole = run(connection(&mut out), &before, input, usize::MAX);
    assert_eq!(run(connection(&mut out), &before, input, usize::from(kind >> 2)), whole);
    assert_eq!(whole.failure.is_some(), whole.out.len() >= 17 && is_goaway(&whole.out));
}

/// Whether the last frame written ends the connection.
fn is_goaway(out: &[u8]) -> bool {
    let last = &out[out.len() - 17..];
    last.starts_with(&[0, 0, 8, 7, 0, 0, 0, 0, 0])
}

fn pairs(fields: &FieldList) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
    fields
        .all()
        .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec(), field.never_indexed))
        .collect()
}

/// Header blocks: each begins with its length in a byte. What was read is written again, and read as the same.
pub fn hpack(input: &[u8]) {
    let (mut decoder, mut second) = (Decoder::default(), Decoder::default());
    let mut encoder = Encoder::new(u32::from(input.first().copied().unwrap_or_default()) * 8);
    let mut rest = input;
    while let Some((&length, behind)) = rest.split_first() {
        let (block, behind) = behind.split_at(behind.len().min(usize::from(length)));
        rest = behind;
        let mut fields = FieldList::new();
        fields.clear(LIMITS);
        let decoded = decoder.decode(block, &mut fields);
        assert!(decoder.table_size() <= 4096);
        if decoded.is_err() {
            return;
        }
        assert!(fields.size() <= LIMITS.bytes * 4);
        let size: usize = fields.all().map(|field| field.name.len() + field.value.len() + 32).sum();
        assert_eq!(size == fields.size(), fields.is_within());
        for _ in 0..2 {
            let mut out = Vec::new();
            encoder.begin(&mut out);
            for field in fields.all() {
                encoder.field(field.name, field.value, field.never_indexed, &mut out);
            }
            let mut again = FieldList::new();
            again.clear(LIMITS);
            second.decode(&out, &mut again).expect("what was written is read");
            let secret = |name: &[u8]| {
                [&b"cookie"[..], b"set-cookie", b"authorization", b"proxy-authorization"].contains(&name)
            };
            let mut expected = pairs(&fields);
            expected.iter_mut().for_each(|(name, _, never_indexed)| *never_indexed |= secret(name));
            assert_eq!(pairs(&again), expected);
            // An encoder's table is part of what its reader has.
            assert!(encoder.table_size() <= second.table_size());
        }
    }
}
