//! SIGTERM ends Ringate without ending an exchange.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A backend that answers each request after a word of the channel.
fn held_back() -> (Backend, Sender<()>) {
    Backend::stepped(|connection, wait| {
        while connection.request()?.is_some() {
            wait();
            connection.send(OK)?;
        }
        Ok(())
    })
}

#[test]
fn an_idle_instance_ends_at_once_with_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let backend = Backend::replying(OK);
        let mut ringate = Setup::to(backend.address()).workers(2).start();
        ringate.get("/");
        let begun = Instant::now();
        ringate.signal(signal);
        assert_eq!(ringate.wait().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(2));
        backend.await_ended(1);
    }
}

#[test]
fn an_exchange_under_way_is_finished_with_connection_close() {
    let (backend, go) = held_back();
    let mut ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(GET);
    backend.request();
    ringate.signal(Signal::TERM);
    ringate.await_drain();
    go.send(()).unwrap();
    let response = client.response();
    assert_eq!((response.text(), response.header("Connection")), ("ok", Some("close")));
    client.closes();
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn a_body_under_way_is_finished() {
    let (backend, go) = Backend::stepped(|connection, wait| {
        connection.request()?;
        connection.send(HALF)?;
        wait();
        connection.send("half")
    });
    let mut ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(GET).until("\r\n\r\nhalf");
    ringate.signal(Signal::TERM);
    ringate.await_drain();
    go.send(()).unwrap();
    assert_eq!(client.rest(), b"half");
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn a_request_that_is_half_there_is_still_served() {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\n");
    // A whole exchange on the same worker: by now it has read the half as well.
    ringate.get("/");
    ringate.signal(Signal::TERM);
    ringate.await_drain();
    client.send("Host: h\r\n\r\n");
    assert_eq!(client.response().header("Connection"), Some("close"));
    client.closes();
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn a_connection_that_has_just_come_may_send_its_first_request() {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    ringate.get("/");
    ringate.signal(Signal::TERM);
    ringate.await_drain();
    std::thread::sleep(Duration::from_millis(150));
    let response = client.send(GET).response();
    assert_eq!((response.text(), response.header("Connection")), ("ok", Some("close")));
    client.closes();
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn requests_that_came_ahead_are_served() {
    let (backend, go) = Backend::stepped(|connection, wait| {
        connection.request()?;
        connection.send(HALF)?;
        wait();
        connection.send("half")?;
        connection.request()?;
        connection.send(OK)
    });
    let mut ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(format!("{GET}{GET}")).until("\r\n\r\nhalf");
    ringate.signal(Signal::TERM);
    ringate.await_drain();
    go.send(()).unwrap();
    assert_eq!(client.bytes(4), b"half");
    let response = client.response();
    assert_eq!((response.text(), response.header("Connection")), ("ok", Some("close")));
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn idle_connections_close_at_once_and_new_ones_are_refused() {
    let (backend, go) = held_back();
    let mut ringate = Setup::to(backend.address()).start();
    let mut used = ringate.client();
    go.send(()).unwrap();
    used.send(GET).response();
    let mut fresh = ringate.client();
    let mut busy = ringate.client();
    backend.request();
    busy.send(GET);
    backend.request();
    ringate.signal(Signal::TERM);
    let begun = Instant::now();
    used.closes();
    fresh.closes();
    assert!(begun.elapsed() < Duration::from_secs(2));
    ringate.await_drain();
    go.send(()).unwrap();
    assert_eq!(busy.response().text(), "ok");
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn a_connection_that_was_silent_for_long_closes_at_once_too() {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(GET).response();
    // Longer than a silent connection keeps its buffer: it waits in another way then.
    std::thread::sleep(Duration::from_millis(900));
    ringate.signal(Signal::TERM);
    client.closes();
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn what_takes_longer_than_the_bound_is_cut() {
    let (backend, _go) = held_back();
    let mut ringate = Setup::to(backend.address()).runtime("drain = \"500ms\"").start();
    let mut client = ringate.client();
    client.send(GET);
    backend.request();
    let begun = Instant::now();
    ringate.signal(Signal::TERM);
    assert_eq!(ringate.wait().code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(500) && begun.elapsed() < Duration::from_secs(3));
    assert!(ringate.log().contains("drain is over: 1 connections cut"), "{}", ringate.log());
    client.ends();
}

#[test]
fn a_second_signal_stops_at_once() {
    let (backend, _go) = held_back();
    let mut ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(GET);
    backend.request();
    ringate.signal(Signal::TERM);
    ringate.await_log("draining");
    // Any sooner it would count as the same.
    std::thread::sleep(Duration::from_millis(1100));
    let begun = Instant::now();
    ringate.signal(Signal::TERM);
    assert_eq!(ringate.wait().code(), Some(1), "what was asked for, a drain, did not happen");
    assert!(begun.elapsed() < Duration::from_secs(1));
    client.ends();
}

#[test]
fn no_request_of_a_busy_client_is_lost() {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address()).workers(2).start();
    let address = ringate.address();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut served = 0;
                    // Until new connections are refused; each that was accepted must be answered.
                    while let Ok(mut client) = Client::try_connect(address) {
                        if client.try_send(GET).is_err() {
                            break;
                        }
                        match client.try_response() {
                            Ok(response) => assert_eq!(response.status, 200),
                            Err(_) => break,
                        }
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        eventually("some traffic", || (backend.requests() > 200).then_some(()));
        ringate.signal(Signal::TERM);
        let served: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert_eq!(served, backend.requests(), "what the backend did reached its client");
    });
    assert_eq!(ringate.wait().code(), Some(0));
}

#[test]
fn the_access_log_is_written_to_its_last_line() {
    let backend = Backend::replying(OK);
    for driver in ["io_uring", "epoll"] {
        let mut ringate = Setup::to(backend.address())
            .workers(2)
            .driver(driver)
            .section("[log]\naccess = \"stdout\"\nformat = \"json\"")
            .start();
        for number in 0..20 {
            ringate.get(&format!("/{number}"));
        }
        ringate.signal(Signal::TERM);
        assert_eq!(ringate.wait().code(), Some(0));
        let log = ringate.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut targets: Vec<String> =
            lines.filter_map(|line| line["target"].as_str().map(str::to_owned)).collect();
        targets.sort_by_key(|target| target[1..].parse::<usize>().unwrap());
        assert_eq!(targets, (0..20).map(|number| format!("/{number}")).collect::<Vec<_>>(), "{log}");
    }
}
