//! However bytes are split, they have the same result.

use proptest::prelude::*;

use super::peer::*;
use crate::http2::{Config, FieldLimits, Role, Violation};

/// A frame that is right, or nearly so.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![Just(0u32), 1u32..10, Just(0x7fff_ffff)];
    let payload = prop_oneof![
        Just(get()),
        Just([get(), literal("content-length", "5")].concat()),
        Just([&b"\x40"[..], &literal("k", "v")[1..]].concat()),
        Just(b"hello".to_vec()),
        Just(vec![0, 0, 0, 1]),
        Just(vec![0, 4, 0, 0, 0, 9]),
        Just(vec![0, 0, 0, 3, b'u', b'=', b'1']),
        Just(vec![2, b'x', b'y', 0, 0]),
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(any::<u8>(), 8..9),
        Just(vec![]),
    ];
    (prop_oneof![0u8..0x12, Just(DATA), Just(HEADERS)], any::<u8>(), stream, payload).prop_map(
        |(kind, flags, stream, payload)| {
            // Mostly flags that have a meaning.
            let flags = if flags & 0x80 == 0 { flags & 0x0d } else { flags };
            frame(kind, flags, stream, &payload)
        },
    )
}

/// Events, with pieces of content put together, what was written, and the end.
fn outcome(role: Role, input: &[u8], pieces: &[usize]) -> (Vec<String>, Vec<u8>, Option<Violation>) {
    let config = Config { fields: FieldLimits { bytes: 400, fields: 20 }, ..Config::default() };
    let mut peer = Peer::new(role, config);
    if role == Role::Client {
        for _ in 0..4 {
            let Peer { connection, out, .. } = &mut peer;
            connection.send_request(&GET, std::iter::empty(), false, out).unwrap();
        }
    }
    let (mut events, mut violation, mut at) = (Vec::new(), None, 0);
    let mut pieces = pieces.iter().cycle();
    while at < input.len() && violation.is_none() {
        let piece = &input[at..input.len().min(at + pieces.next().unwrap())];
        at += piece.len();
        let result = peer.each(piece, |peer, event, input| {
            events.push(peer.describe(event, input));
        });
        violation = result.err();
    }
    (joined(events), peer.out, violation)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_split_brings_the_same(
        frames in proptest::collection::vec(any_frame(), 0..12),
        cuts in proptest::collection::vec(1usize..30, 1..8),
        server: bool,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let preface = if server { PREFACE } else { &[] };
        let input = [preface, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat();
        let whole = outcome(role, &input, &[usize::MAX >> 1]);
        prop_assert_eq!(&outcome(role, &input, &cuts), &whole);
        prop_assert_eq!(&outcome(role, &input, &[1]), &whole);
    }

    #[test]
    fn any_bytes_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        server: bool,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let mut peer = Peer::ready(role, Config::default());
        let _ = peer.feed(&bytes);
    }
}
