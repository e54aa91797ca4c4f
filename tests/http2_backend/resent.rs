//! Requests that a backend has certainly not processed are sent again, whatever their method.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::kit::*;
use crate::support::*;

const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
const HTTP_1_1_REQUIRED: u32 = 13;

fn answer(frames: &mut Frames<'_>, head: &Head) -> std::io::Result<()> {
    let (body, _) = frames.body(head)?;
    frames.send(ok(head.stream, &String::from_utf8_lossy(&body)))
}

#[test]
fn a_request_above_the_last_stream_of_goaway_goes_on_another_connection() {
    let connections = AtomicUsize::new(0);
    let backend = Backend::start(move |connection| {
        let first = connections.fetch_add(1, SeqCst) == 0;
        let mut frames = Frames::accept(connection, &[])?;
        let head = frames.head()?;
        if first {
            // One is served, the next one is not.
            answer(&mut frames, &head)?;
            let _ = frames.head()?;
            frames.send(goaway(1, 0))?;
            return frames.connection.rest().map(drop);
        }
        answer(&mut frames, &head)?;
        frames.connection.rest().map(drop)
    });
    let ringate = before(&[&backend]).start();
    let mut client = ringate.client();
    for _ in 0..2 {
        assert_eq!(client.send(POST).response().text(), "body");
    }
    assert_eq!((backend.connections(), ringate.metric("http2_unprocessed_retries_total")), (2, 1));
}

#[test]
fn requests_after_one_that_met_the_end_of_its_connection_share_the_next_connection() {
    let connections = AtomicUsize::new(0);
    let backend = Backend::start(move |connection| {
        let first = connections.fetch_add(1, SeqCst) == 0;
        let mut frames = Frames::accept(connection, &[])?;
        loop {
            let head = frames.head()?;
            // One is served, and the connection ends under the next one.
            if first && head.stream > 1 {
                return Ok(());
            }
            answer(&mut frames, &head)?;
        }
    });
    let ringate = before(&[&backend]).start();
    let statuses: Vec<u16> = (0..6).map(|_| ringate.client().send(POST).response().status).collect();
    assert_eq!(statuses, [200, 502, 200, 200, 200, 200]);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn requests_under_way_end_on_a_connection_that_goes_away() {
    let backend = Backend::start(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        let head = frames.head()?;
        frames.send(goaway(1, 0))?;
        answer(&mut frames, &head)?;
        frames.connection.rest().map(drop)
    });
    let ringate = before(&[&backend]).start();
    let mut client = ringate.client();
    for _ in 0..3 {
        assert_eq!(client.send(POST).response().text(), "body");
    }
    assert_eq!((backend.connections(), ringate.metric("http2_unprocessed_retries_total")), (3, 0));
    backend.await_ended(3);
}

#[test]
fn a_refused_stream_goes_to_another_endpoint_and_not_for_ever() {
    let refusing = backend(&[], |frames, head| frames.send(reset(head.stream, REFUSED_STREAM)));
    let good = backend(&[], |frames, head| answer(frames, &head));
    let ringate = before(&[&refusing, &good]).start();
    for _ in 0..4 {
        assert_eq!(ringate.client().send(POST).response().text(), "body");
    }
    assert_eq!(ringate.metric("http2_unprocessed_retries_total"), 2);
    let ringate = before(&[&refusing]).start();
    let response = ringate.client().send(POST).response();
    assert_eq!(response.status, 502);
    assert_eq!(ringate.metric("http2_unprocessed_retries_total"), 5);
}

#[test]
fn an_upload_in_parts_is_sent_again_if_it_is_held_and_fails_clearly_if_not() {
    let refusing = Backend::start(|connection| {
        let mut frames = Frames::accept(connection, &[])?;
        loop {
            let head = frames.head()?;
            if head.get(":path") == Some("/at-once") {
                // Before its body has ended.
                frames.send(reset(head.stream, REFUSED_STREAM))?;
                continue;
            }
            frames.body(&head)?;
            frames.send(reset(head.stream, REFUSED_STREAM))?;
        }
    });
    let good = backend(&[], |frames, head| {
        let (body, _) = frames.body(&head)?;
        let text = if body.len() < 100 { String::from_utf8_lossy(&body).into_owned() } else { "long".into() };
        frames.send(ok(head.stream, &text))
    });
    // The refusing one is asked first.
    let log = "[log]\nlevel = \"debug\"";
    let ringate = before(&[&refusing, &good]).section(log).start();
    let parts = |path: &str, parts: &[&str]| {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut client = ringate.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
        for part in parts {
            std::thread::sleep(std::time::Duration::from_millis(30));
            if client.try_send(part).is_err() {
                break;
            }
        }
        client.response()
    };
    // Each endpoint has its turn.
    for _ in 0..4 {
        assert_eq!(parts("/", &["first ", "second ", "third"]).text(), "first second third");
    }
    assert_eq!(ringate.metric("http2_unprocessed_retries_total"), 2);
    let long = "x".repeat(60_000);
    assert_eq!([0; 2].map(|_| parts("/", &["first", &long]).status), [200, 200]);
    assert_eq!(ringate.metric("http2_unprocessed_retries_total"), 3);
    let too_long = "x".repeat(100_000);
    let statuses = [0; 2].map(|_| parts("/", &["first", &too_long]).status);
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
    let statuses = [0; 2].map(|_| parts("/at-once", &["first", "second", "third"]).status);
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
    ringate.await_log("passed on in parts that are not kept");
    assert_eq!(ringate.metric("http2_unprocessed_retries_total"), 3);
}

#[test]
fn a_stream_both_ways_goes_on_elsewhere_if_its_backend_has_not_taken_it() {
    use crate::http2::peer::{self, Peer};
    let refusing = backend(&[], |frames, head| {
        if head.get(":path") == Some("/later") {
            // Once a part of it is here.
            while frames.next()?.kind != DATA {}
        }
        frames.send(reset(head.stream, REFUSED_STREAM))
    });
    let good = backend(&[], |frames, head| answer(frames, &head));
    let ringate = before(&[&refusing, &good]).start();
    let mut client = Peer::connect(ringate.address());
    for (number, path) in ["/at-once", "/later", "/at-once", "/later"].into_iter().enumerate() {
        let stream = 2 * number as u32 + 1;
        let fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "h")];
        client.send(peer::frame(peer::HEADERS, peer::EH, stream, peer::block(&fields)));
        for part in ["one ", "two ", "three"] {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let end = if part == "three" { peer::ES } else { 0 };
            client.send(peer::frame(peer::DATA, end, stream, part));
        }
        let response = client.answer(stream);
        assert_eq!((response.status(), response.text()), (200, "one two three"), "{path}");
    }
    assert_eq!(ringate.metric("http2_unprocessed_retries_total"), 2);
}

#[test]
fn a_stream_that_is_reset_otherwise_is_not_sent_again_unless_it_may_be_repeated() {
    let failed = AtomicBool::new(false);
    let failing = backend(&[], move |frames, head| {
        if head.get(":method") == Some("GET") && failed.swap(true, SeqCst) {
            return frames.send(ok(head.stream, "again"));
        }
        frames.send(reset(head.stream, INTERNAL_ERROR))
    });
    let ringate = before_with(&[&failing], "retries = { attempts = 2, on = [\"reset\"] }").start();
    assert_eq!(ringate.client().send(POST).response().status, 502);
    assert_eq!(ringate.client().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().text(), "again");
    assert_eq!(failing.connections(), 1, "a reset ends a stream, not its connection");
    assert_eq!(ringate.metric("retries_total"), 1);
}

#[test]
fn a_backend_that_wants_http1_gets_no_more_of_http2_alone() {
    let backend = backend(&[], |frames, head| frames.send(reset(head.stream, HTTP_1_1_REQUIRED)));
    let ringate = before(&[&backend]).start();
    assert_eq!(ringate.client().send(POST).response().status, 502);
}

#[test]
fn a_lost_connection_fails_what_may_not_be_repeated() {
    let connections = AtomicUsize::new(0);
    let backend = Backend::start(move |connection| {
        let dies = connections.fetch_add(1, SeqCst) == 0;
        let mut frames = Frames::accept(connection, &[])?;
        loop {
            let head = frames.head()?;
            if head.get(":path") == Some("/last") && dies {
                return Ok(());
            }
            answer(&mut frames, &head)?;
        }
    });
    let ringate = before(&[&backend]).start();
    let mut client = ringate.client();
    assert_eq!(client.send(POST).response().text(), "body");
    let response =
        ringate.client().send("POST /last HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").response();
    assert_eq!(response.status, 502);
    assert_eq!(client.send(POST).response().text(), "body");
    let response = ringate.client().send("GET /last HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert_eq!((response.status, backend.connections()), (200, 2));
}

#[test]
fn a_call_of_grpc_is_tried_again_by_its_code_where_that_is_configured() {
    let busy = backend(&[], |frames, head| {
        let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")];
        frames.send(headers(head.stream, END_STREAM, &fields))
    });
    let good = backend(&[], |frames, head| answer(frames, &head));
    let again = "retries = { attempts = 2, on = [\"grpc-unavailable\"] }";
    let ringate = before_with(&[&busy, &good], again).start();
    for _ in 0..4 {
        assert_eq!(ringate.client().send(POST).response().text(), "body");
    }
    assert_eq!(ringate.metric("retries_total"), 2);
    let ringate = before(&[&busy]).start();
    let response = ringate.client().send(POST).response();
    assert_eq!((response.status, response.header("grpc-status")), (200, Some("14")));
}
