//! How connections and streams end: time, drains, resets and reloads.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::*;

#[test]
fn a_client_that_is_slow_or_silent_is_not_waited_for() {
    let backend = Backend::replying(OK);
    let limits = "[limits]\nhead_timeout = \"1s\"\nidle_timeout = \"1s\"\nbody_timeout = \"1s\"";
    let ringate = setup(backend.address()).section(limits).start();
    let begun = Instant::now();
    // Without SETTINGS.
    let mut silent = Peer::silent(ringate.address());
    silent.send(PREFACE);
    // A header block that does not end.
    let mut within = Peer::connect(ringate.address());
    within.send(frame(HEADERS, ES, 1, request("GET", &[])));
    // Part of a frame.
    let mut part = Peer::connect(ringate.address());
    part.send(&get(1)[..12]);
    // Our SETTINGS are not acknowledged.
    let mut deaf = Peer::silent(ringate.address());
    deaf.send([PREFACE, &frame(SETTINGS, 0, 0, [])].concat());
    // Without a request.
    let mut idle = Peer::connect(ringate.address());
    assert_eq!(silent.ended(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(within.ended(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(part.ended(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(deaf.ended(), Some(4), "SETTINGS_TIMEOUT");
    assert_eq!(idle.ended(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // Content that does not arrive.
    let mut slow = Peer::connect(ringate.address());
    slow.send(post(1, &[]));
    let answer = slow.answer(1);
    assert_eq!(answer.status(), 408);
    assert_eq!(ringate.metric("limit_head_timeout_total"), 4);
    assert_eq!(ringate.metric("limit_body_timeout_total"), 1);
}

#[test]
fn a_window_that_stays_shut_ends_its_stream_alone() {
    let backend = Backend::replying(ok(vec![7; 100_000]));
    let limits = "[limits]\nbody_timeout = \"1s\"";
    let ringate = setup(backend.address()).section(limits).start();
    let mut peer = Peer::silent(ringate.address());
    peer.greet(&[(4, 10)]);
    peer.send(get(1));
    let reset = peer.until(RST_STREAM);
    assert_eq!(reset.stream, 1);
    assert!(peer.is_alive());
    assert_eq!(ringate.metric("exchanges_aborted_total"), 1);
    assert_eq!(ringate.metric("limit_body_timeout_total"), 1);
}

#[test]
fn a_reset_ends_its_exchange_and_the_backends_side_of_it() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.rest().map(drop)
    });
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    peer.send(get(1));
    backend.request();
    peer.send(frame(RST_STREAM, 0, 1, CANCEL.to_be_bytes()));
    backend.await_ended(1);
    ringate.await_metric("downstream_disconnects_total", 1);
    assert!(peer.is_alive());
}

#[test]
fn a_response_that_is_cut_resets_its_stream() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    });
    let ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    peer.send(get(1));
    let answer = peer.answer(1);
    assert_eq!((answer.status(), answer.text(), answer.reset), (200, "half", Some(2)));
    assert!(peer.is_alive());
}

#[test]
fn a_drain_announces_itself_and_loses_no_request() {
    let (backend, go) = Backend::held_back();
    let mut ringate = setup(backend.address()).start();
    let mut peer = Peer::connect(ringate.address());
    peer.send(get(1));
    backend.request();
    ringate.signal(Signal::TERM);
    let goaway = peer.until(GOAWAY);
    assert_eq!((goaway.code(), &goaway.payload[..4]), (0, &[0x7f, 0xff, 0xff, 0xff][..]));
    // It was on its way when the drain began.
    peer.send(get(3));
    let ping = peer.until(PING);
    peer.send(frame(PING, ES, 0, &ping.payload));
    let last = peer.until(GOAWAY);
    assert_eq!(last.payload[..4], [0, 0, 0, 3]);
    go.send(()).unwrap();
    go.send(()).unwrap();
    let mut ended = 0;
    while ended < 2 {
        ended += usize::from(peer.frame().unwrap().ends());
    }
    assert_eq!(peer.ended(), None);
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn a_connection_carries_as_many_requests_as_are_allowed() {
    let backend = Backend::replying(OK);
    let limits = "[limits]\nrequests_per_connection = 3";
    let ringate = setup(backend.address()).section(limits).start();
    let mut peer = Peer::connect(ringate.address());
    for number in 0..2 {
        peer.send(get(2 * number + 1));
        assert_eq!(peer.answer(2 * number + 1).status(), 200);
    }
    peer.send(get(5));
    assert_eq!(peer.until(GOAWAY).code(), 0);
}
