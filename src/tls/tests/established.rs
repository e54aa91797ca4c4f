//! The record layer between two ends of ours: what must pass and what must not.

use rustls::AlertDescription;

use super::*;
use crate::tls::error::alert_for;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

fn pair(suite: SupportedCipherSuite) -> (Line, Line) {
    shake(&only(suite), &server_config(&server_policy()).unwrap())
}

fn tls13() -> (Line, Line) {
    pair(CIPHER_SUITES[0])
}

fn tls12() -> (Line, Line) {
    pair(CIPHER_SUITES[3])
}

#[test]
fn handshakes_and_data_survive_every_piece_size() {
    for suite in CIPHER_SUITES {
        for piece in [1, 2, 5, 6, 7, 64, 333, 4096] {
            let server = server_config(&server_policy()).unwrap();
            let (mut client, mut server) = (End::client(&only(suite)), End::server(&server));
            pump(&mut client, &mut server, piece);
            let (mut client, mut server) = (client.finish(), server.finish());
            assert_eq!(client.facts.resumed, server.facts.resumed);
            let wire = client.send(b"ping");
            assert_eq!(server.receive(&wire).unwrap(), b"ping");
            let wire = server.send(b"pong");
            assert_eq!(client.receive(&wire).unwrap(), b"pong");
        }
    }
}

#[test]
fn handshake_messages_and_tickets_may_span_records() {
    for suite in CIPHER_SUITES {
        for fragment in [64, 300] {
            let store = Arc::new(Sessions::new(name(NAME), 4));
            let mut client = (*bind(&only(suite), None, Arc::clone(&store))).clone();
            let mut server = (*server_config(&server_policy()).unwrap()).clone();
            client.max_fragment_size = Some(fragment);
            server.max_fragment_size = Some(fragment);
            let (client, server) = (Arc::new(client), Arc::new(server));
            for piece in [7, usize::MAX] {
                let (mut ours, mut theirs) = (End::client(&client), End::server(&server));
                pump(&mut ours, &mut theirs, piece);
                let (mut ours, mut theirs) = (ours.finish(), theirs.finish());
                ours.receive(&[]).unwrap();
                assert_eq!(store.tickets() > 0, suite.tls13().is_some());
                assert_eq!(ours.facts.resumed, piece == usize::MAX);
                let wire = ours.send(b"after all of that");
                assert_eq!(theirs.receive(&wire).unwrap(), b"after all of that");
            }
        }
    }
}

#[test]
fn a_record_may_be_split_anywhere() {
    for suite in CIPHER_SUITES {
        let (mut client, mut server) = pair(suite);
        let overhead = client.sealer.overhead();
        for at in 0..9 + overhead {
            let wire = client.send(b"split me!");
            assert_eq!(wire.len(), 9 + overhead);
            assert_eq!(server.receive(&wire[..at]).unwrap(), b"");
            assert_eq!(server.receive(&wire[at..]).unwrap(), b"split me!");
        }
    }
}

#[test]
fn need_says_how_much_the_buffer_must_hold() {
    let (mut client, mut server) = tls13();
    let wire = client.send(&pattern(1000));
    let mut start = wire[..4].to_vec();
    assert_eq!(server.opener.open(&mut start), Ok(Opened::Incomplete { need: 5 }));
    let mut start = wire[..5].to_vec();
    assert_eq!(server.opener.open(&mut start), Ok(Opened::Incomplete { need: wire.len() }));
}

#[test]
fn sealing_in_place_leaves_the_rest_of_the_block_alone() {
    for suite in CIPHER_SUITES {
        let (mut client, mut server) = pair(suite);
        for len in [0, 1, 17, Sealer::MAX_FRAGMENT] {
            let (prefix, suffix) = (client.sealer.prefix_len(), client.sealer.suffix_len());
            let data = pattern(len);
            let start = prefix + 3;
            let mut block = vec![0xAA; start + len + suffix + 3];
            block[start..start + len].copy_from_slice(&data);
            let record = client.sealer.seal_in_place(&mut block, start..start + len).unwrap();
            assert_eq!(record, 3..start + len + suffix);
            assert_eq!((&block[..3], &block[record.end..]), (&[0xAA; 3][..], &[0xAA; 3][..]));
            assert_eq!(server.receive(&block[record]).unwrap(), data);
        }
        let mut block = vec![0; 40_000];
        let too_long = 100..100 + Sealer::MAX_FRAGMENT + 1;
        for range in [0..10, 39_990..40_000, too_long] {
            assert_eq!(client.sealer.seal_in_place(&mut block, range), Err(RecordError::NoRoom));
        }
    }
}

#[test]
fn sealing_into_a_small_block_takes_what_fits() {
    let (mut client, mut server) = tls13();
    let data = pattern(50_000);
    let (mut taken, mut got) = (0, Vec::new());
    for room in [0, 10, 22, 23, 100, 20_000].into_iter().cycle() {
        let mut out = vec![0; room];
        let (n, written) = client.sealer.seal_into(&data[taken..], &mut out).unwrap();
        assert_eq!(n == 0, written == 0);
        taken += n;
        got.extend(server.receive(&out[..written]).unwrap());
        if taken == data.len() {
            break;
        }
    }
    assert_eq!(got, data);
}

#[test]
fn padding_is_taken_off() {
    let (mut client, mut server) = tls13();
    // The forged record's inner type is the last byte before the zeros.
    let wire = client.sealer.forge(0, b"padded\x17\0\0\0");
    assert_eq!(server.receive(&wire).unwrap(), b"padded");
    let wire = client.sealer.forge(0, &[0; 40]);
    assert!(matches!(server.receive(&wire), Err(RecordError::Unexpected(_))));
}

#[test]
fn what_has_no_place_is_refused_with_its_alert() {
    type Forge = fn(&mut Line) -> Vec<u8>;
    let unexpected = Some(AlertDescription::UnexpectedMessage);
    let cases: [(Forge, Option<AlertDescription>); 13] = [
        (|_| vec![20, 3, 3, 0, 1, 1], unexpected),
        (|_| vec![22, 3, 3, 0, 4], unexpected),
        (|_| vec![23, 3, 1, 0, 40], Some(AlertDescription::ProtocolVersion)),
        (|_| vec![23, 3, 3, 0x41, 1], Some(AlertDescription::RecordOverflow)),
        (|_| vec![23, 3, 3, 0, 3, 1, 2, 3], Some(AlertDescription::BadRecordMac)),
        (|line| line.sealer.forge(20, &[1]), unexpected),
        (|line| line.sealer.forge(ALERT, &[2]), Some(AlertDescription::DecodeError)),
        (|line| line.sealer.forge(HANDSHAKE, &[]), unexpected),
        (|line| line.sealer.forge(ALERT, &[]), unexpected),
        (|line| line.sealer.forge(HANDSHAKE, &[24, 0, 0, 1, 2]), Some(AlertDescription::IllegalParameter)),
        (|line| line.sealer.forge(HANDSHAKE, &[24, 0, 0, 1, 0, 24]), unexpected),
        (|line| line.sealer.forge(HANDSHAKE, &[4, 0, 0, 0]), unexpected),
        (|line| line.sealer.forge(HANDSHAKE, &[24, 1, 0, 0]), Some(AlertDescription::DecodeError)),
    ];
    for (i, (forge, alert)) in cases.into_iter().enumerate() {
        let (mut client, mut server) = tls13();
        let wire = forge(&mut client);
        let error = server.receive(&wire).expect_err("must be refused");
        assert_eq!(alert_for(&error), alert, "case {i}: {error}");
        assert_eq!(server.receive(&[]), Err(error), "case {i}: dead from then on");
    }
}

#[test]
fn a_changed_or_repeated_record_does_not_open() {
    for suite in CIPHER_SUITES {
        let (mut client, mut server) = pair(suite);
        let wire = client.send(b"once");
        assert_eq!(server.receive(&wire).unwrap(), b"once");
        assert_eq!(server.receive(&wire), Err(RecordError::BadMac));

        let (mut client, mut server) = pair(suite);
        let mut wire = client.send(b"changed");
        *wire.last_mut().unwrap() ^= 1;
        assert_eq!(server.receive(&wire), Err(RecordError::BadMac));
    }
}

#[test]
fn a_handshake_message_in_pieces_is_joined_and_nothing_may_come_between() {
    let (mut client, mut server) = tls13();
    let update = [24, 0, 0, 1, 1];
    for at in 1..5 {
        let mut wire = client.sealer.forge(HANDSHAKE, &update[..at]);
        wire.extend(client.sealer.forge(HANDSHAKE, &update[at..]));
        assert_eq!(server.receive(&wire).unwrap(), b"");
        assert!(server.sealer.has_pending());
        // The forger has to follow its own update.
        client.sealer.change_key();
    }
    let mut wire = client.sealer.forge(HANDSHAKE, &update[..2]);
    wire.extend(client.sealer.forge(DATA, b"between"));
    assert!(matches!(server.receive(&wire), Err(RecordError::Unexpected(_))));
}

#[test]
fn a_flood_without_data_ends() {
    for kind in [(DATA, &b""[..]), (ALERT, &[1, 90][..])] {
        let (mut client, mut server) = tls13();
        for _ in 0..32 {
            let wire = client.sealer.forge(kind.0, kind.1);
            server.receive(&wire).unwrap();
        }
        let wire = client.send(b"data makes it good again");
        server.receive(&wire).unwrap();
        for _ in 0..32 {
            let wire = client.sealer.forge(kind.0, kind.1);
            server.receive(&wire).unwrap();
        }
        let wire = client.sealer.forge(kind.0, kind.1);
        assert_eq!(server.receive(&wire), Err(RecordError::Flood));
    }
}

#[test]
fn fatal_alerts_are_exact_and_final() {
    for (mut client, mut server) in [tls13(), tls12()] {
        let mut out = [0; Sealer::CONTROL_ROOM];
        let written = server.sealer.alert(AlertDescription::UnknownCA, &mut out);
        let refused = RecordError::PeerAlert(AlertDescription::UnknownCA);
        assert_eq!(client.receive(&out[..written]), Err(refused.clone()));
        assert_eq!(alert_for(&refused), None);
        assert!(server.sealer.is_closed());
    }
}

#[test]
fn after_close_notify_everything_is_dropped() {
    let (mut client, mut server) = tls13();
    let mut out = [0; Sealer::CONTROL_ROOM];
    let written = client.sealer.close_notify(&mut out);
    let mut buf = out[..written].to_vec();
    buf.extend(b"whatever follows");
    assert_eq!(server.opener.open(&mut buf), Ok(Opened::Closed { consumed: written }));
    assert_eq!(server.opener.open(&mut buf[written..]), Ok(Opened::Closed { consumed: 16 }));
}

#[test]
fn tls12_renegotiation_is_declined_by_a_client_and_fatal_on_a_server() {
    let (mut client, mut server) = tls12();
    let wire = server.sealer.forge(HANDSHAKE, &[0, 0, 0, 0]);
    assert!(!client.opener.asked_renegotiation());
    client.receive(&wire).unwrap();
    assert!(client.sealer.has_pending() && client.opener.asked_renegotiation());
    let wire = client.send(b"goes on");
    assert_eq!(server.receive(&wire).unwrap(), b"goes on"); // the warning before it is ignored
    let wire = client.sealer.forge(HANDSHAKE, &[1, 0, 0, 0]);
    assert_eq!(server.receive(&wire), Err(RecordError::Renegotiation));
}

#[test]
fn tls12_keys_that_are_used_up_end_the_connection_with_room_for_the_close() {
    let (mut client, mut server) = tls12();
    client.sealer.set_limit(4);
    let wire = client.send(b"one");
    assert_eq!(server.receive(&wire).unwrap(), b"one");
    let mut out = [0; 256];
    let mut spent = None;
    for _ in 0..4 {
        match client.sealer.seal_into(b"more", &mut out) {
            Ok((_, written)) => drop(server.receive(&out[..written]).unwrap()),
            Err(error) => spent = Some(error),
        }
    }
    assert_eq!(spent, Some(RecordError::KeysExhausted));
    let written = client.sealer.close_notify(&mut out);
    server.receive(&out[..written]).unwrap();
    assert!(server.closed);
}

#[test]
fn key_updates_cross() {
    let (mut client, mut server) = tls13();
    for round in 0..200 {
        client.sealer.set_limit(2);
        server.sealer.set_limit(3);
        let data = pattern(round * 100 + 1);
        let (up, down) = (client.send(&data), server.send(&data));
        assert_eq!(server.receive(&up).unwrap(), data);
        assert_eq!(client.receive(&down).unwrap(), data);
    }
}
