//! What connections and streams take.

use super::peer::*;
use crate::http2::streams::Stream;
use crate::http2::{Connection, Event, Priority};

#[test]
fn a_connection_is_small() {
    // Without its tables of header compression, which are allocated once they are used.
    assert!(size_of::<Connection>() <= 384, "{}", size_of::<Connection>());
    assert!(size_of::<Stream>() <= 96, "{}", size_of::<Stream>());
    assert!(size_of::<Event>() <= 24, "{}", size_of::<Event>());
    assert!(size_of::<Priority>() <= 2);
}

#[test]
fn an_idle_connection_keeps_no_streams() {
    let mut peer = Peer::server();
    for id in 0..100 {
        peer.feed(&frame(HEADERS, ES | EH, 2 * id + 1, &get())).unwrap();
    }
    for id in 0..100 {
        let Peer { connection, out, .. } = &mut peer;
        connection.send_response(stream(2 * id + 1), 204, std::iter::empty(), true, out).unwrap();
    }
    assert_eq!(peer.connection.stream_count(), 0);
    peer.connection.release_memory();
    assert_eq!(peer.connection.stream_ids().count(), 0);
    peer.feed(&frame(HEADERS, ES | EH, 201, &get())).unwrap();
    assert_eq!(peer.connection.stream_count(), 1);
}
