//! Whatever a peer sends, nothing panics.

use proptest::prelude::*;

use super::*;

/// Bytes that often begin as records do.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let record = (19u8..25, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(kind, body)| {
        let [l1, l2] = (body.len() as u16).to_be_bytes();
        [&[kind, 3, 3, l1, l2], body.as_slice()].concat()
    });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(record, 1..5).prop_map(|r| r.concat())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn handshakes_do_not_panic(bytes in noise(), piece in 1usize..400, client in any::<bool>()) {
        let mut end = if client {
            End::client(&client_config(&client_policy()).unwrap())
        } else {
            End::server(&server_config(&server_policy()).unwrap())
        };
        end.take(&[]);
        for piece in bytes.chunks(piece) {
            end.take(piece);
        }
    }

    #[test]
    fn a_damaged_handshake_does_not_panic(at in 0usize..6000, bit in 0u8..8, tls13 in any::<bool>()) {
        let policy = ClientPolicy { versions: Versions { tls12: !tls13, tls13 }, ..client_policy() };
        let mut client = End::client(&client_config(&policy).unwrap());
        let mut server = End::server(&server_config(&server_policy()).unwrap());
        let (mut up, mut seen) = (client.take(&[]), 0);
        for _ in 0..6 {
            for end in [&mut server, &mut client] {
                if let Some(byte) = at.checked_sub(seen).and_then(|at| up.get_mut(at)) {
                    *byte ^= 1 << bit;
                }
                seen += up.len();
                up = end.take(&up);
            }
        }
    }

    #[test]
    fn an_opener_does_not_panic(bytes in noise(), suite in 0usize..9) {
        let (_, mut server) = shake(&only(CIPHER_SUITES[suite]), &server_config(&server_policy()).unwrap());
        let _ = server.receive(&bytes);
    }

    #[test]
    fn a_peer_with_the_keys_cannot_make_it_panic(
        records in prop::collection::vec((19u8..26, prop::collection::vec(any::<u8>(), 0..60)), 1..6),
        suite in 0usize..9,
        to_client in any::<bool>(),
    ) {
        let (client, server) = shake(&only(CIPHER_SUITES[suite]), &server_config(&server_policy()).unwrap());
        let (mut from, mut to) = if to_client { (server, client) } else { (client, server) };
        for (kind, body) in records {
            let wire = from.sealer.forge(kind, &body);
            if to.receive(&wire).is_err() {
                break;
            }
        }
    }

    #[test]
    fn data_arrives_whole(sizes in prop::collection::vec(0usize..40_000, 1..5), piece in 1usize..30_000, suite in 0usize..9) {
        let (mut client, mut server) = shake(&only(CIPHER_SUITES[suite]), &server_config(&server_policy()).unwrap());
        for size in sizes {
            let data = pattern(size);
            let wire = client.send(&data);
            let mut got = Vec::new();
            for piece in wire.chunks(piece) {
                got.extend(server.receive(piece).unwrap());
            }
            prop_assert_eq!(&got, &data);
        }
    }
}
