//! Our record layer against rustls' own, for every suite.

use rustls::{ClientConnection, ServerConnection};

use super::*;

const SIZES: [usize; 7] = [1, 2, 100, 16_383, 16_384, 16_385, 60_001];

fn talk(line: &mut Line, peer: &mut rustls::Connection) {
    for size in SIZES {
        let data = pattern(size);
        let wire = line.send(&data);
        assert_eq!(hear(peer, &wire), data);
        let wire = say(peer, &data);
        assert_eq!(line.receive(&wire).unwrap(), data);
    }
}

fn update_keys(line: &mut Line, peer: &mut rustls::Connection) {
    // The peer asks: we answer before our next data, and only then.
    peer.refresh_traffic_keys().unwrap();
    let wire = peer.take(&[]);
    assert_eq!(line.receive(&wire).unwrap(), b"");
    assert!(line.sealer.has_pending());
    assert_eq!(line.sealer.seal_in_place(&mut [0; 100], 20..30), Err(RecordError::ControlPending));
    let answer = line.pending();
    assert!(!answer.is_empty() && !line.sealer.has_pending());
    assert_eq!(hear(peer, &answer), b"");
    talk(line, peer);
    // Again, answered by `seal_into` itself.
    peer.refresh_traffic_keys().unwrap();
    let wire = peer.take(&[]);
    line.receive(&wire).unwrap();
    talk(line, peer);
    // Our own key wears out: `seal_into` changes it in the midst of a write.
    line.sealer.set_limit(3);
    talk(line, peer);
    let wire = line.send(&pattern(100_000));
    assert_eq!(hear(peer, &wire), pattern(100_000));
}

#[test]
fn our_client_and_rustls_server() {
    for suite in CIPHER_SUITES {
        let server = server_config(&server_policy()).unwrap();
        let mut end = End::client(&only(suite));
        let mut peer = rustls::Connection::from(ServerConnection::new(server).unwrap());
        pump(&mut end, &mut peer, usize::MAX);
        let mut line = end.finish();
        assert_eq!(line.facts.suite, suite.suite());
        talk(&mut line, &mut peer);
        if suite.tls13().is_some() {
            assert_eq!(
                (line.facts.version_name(), line.facts.group_name()),
                ("TLS 1.3", Some("X25519MLKEM768"))
            );
            update_keys(&mut line, &mut peer);
        }
    }
}

#[test]
fn our_server_and_rustls_client() {
    for suite in CIPHER_SUITES {
        let mut end = End::server(&server_config(&server_policy()).unwrap());
        let mut peer = rustls::Connection::from(ClientConnection::new(only(suite), name(NAME)).unwrap());
        pump(&mut peer, &mut end, usize::MAX);
        let mut line = end.finish();
        assert_eq!((line.facts.suite, line.facts.sni.as_deref()), (suite.suite(), Some(NAME)));
        talk(&mut line, &mut peer);
        if suite.tls13().is_some() {
            update_keys(&mut line, &mut peer);
        }
    }
}

#[test]
fn close_notify_reaches_either_side() {
    for suite in CIPHER_SUITES {
        let server = server_config(&server_policy()).unwrap();
        let mut end = End::client(&only(suite));
        let mut peer = rustls::Connection::from(ServerConnection::new(server).unwrap());
        pump(&mut end, &mut peer, usize::MAX);
        let mut line = end.finish();

        peer.send_close_notify();
        let wire = peer.take(&[]);
        line.receive(&wire).unwrap();
        assert!(line.closed);

        let mut out = [0; Sealer::CONTROL_ROOM];
        let written = line.sealer.close_notify(&mut out);
        assert!(written > 0);
        let mut bytes = &out[..written];
        peer.read_tls(&mut bytes).unwrap();
        assert!(peer.process_new_packets().unwrap().peer_has_closed());
        assert_eq!(line.sealer.close_notify(&mut out), 0);
        assert_eq!(line.sealer.seal_into(b"late", &mut [0; 100]), Err(RecordError::Closed));
    }
}
