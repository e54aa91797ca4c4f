//! How many connections there may be, and what one may do.

use std::time::{Duration, Instant};

use crate::http::OK;
use crate::support::*;

use super::{ADMIN, GET, limited};

#[test]
fn each_refusal_is_counted_by_its_bound() {
    let backend = Backend::replying(OK);
    let limits = "head_bytes = \"1KiB\"\nheaders = 5\ntarget_bytes = 200\nbody_bytes = 10\nhead_timeout = \"300ms\"\n\
                  idle_timeout = \"700ms\"";
    let ringate = limited(&backend, limits);
    let long = "x".repeat(300);
    for (request, status, metric) in [
        (
            format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(1200)),
            431,
            "limit_head_bytes_total",
        ),
        (format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(5)), 431, "limit_headers_total"),
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414, "limit_target_bytes_total"),
        ("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n".to_owned(), 413, "limit_body_bytes_total"),
        ("GET / HTTP/1.1\r\n".to_owned(), 408, "limit_head_timeout_total"),
    ] {
        assert_eq!(ringate.metric(metric), 0);
        assert_eq!(ringate.client().send(&request).response().status, status, "{metric}");
        assert_eq!(ringate.metric(metric), 1, "{metric}");
    }
    let mut idle = ringate.client();
    idle.send(GET).response();
    idle.closes();
    ringate.await_metric("limit_idle_timeout_total", 1);
}

#[test]
fn a_listener_has_limits_of_its_own() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .limits("target_bytes = 100")
        .section("[[listener]]\nname = \"wide\"\naddress = \"127.0.0.1:0\"\nlimits.target_bytes = 1000")
        .routes("[[route]]\nlistener = [\"web\", \"wide\"]\nupstream = \"app\"")
        .start();
    let request = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(500));
    assert_eq!(Client::connect(ringate.address_of("web")).send(&request).response().status, 414);
    assert_eq!(Client::connect(ringate.address_of("wide")).send(&request).response().status, 200);
}

#[test]
fn a_connection_carries_so_many_requests() {
    let backend = Backend::replying(OK);
    let ringate = limited(&backend, "requests_per_connection = 3");
    for _ in 0..2 {
        let mut client = ringate.client();
        for number in 1..=3 {
            let response = client.send(GET).response();
            assert_eq!(response.header("Connection"), (number == 3).then_some("close"));
        }
        client.closes();
    }
    assert_eq!(ringate.metric("limit_requests_per_connection_total"), 2);
    assert_eq!(backend.connections(), 1, "the backend's connection lives on");
}

#[test]
fn ringates_own_answers_count_as_requests() {
    let ringate = Setup::to(free_address())
        .limits("requests_per_connection = 2")
        .routes("[[route]]\nrespond = { status = 204 }")
        .start();
    let mut client = ringate.client();
    assert_eq!(client.send(GET).response().header("Connection"), None);
    assert_eq!(client.send(GET).response().header("Connection"), Some("close"));
    client.closes();
}

#[test]
fn a_client_has_so_many_connections_over_all_workers() {
    for driver in ["io_uring", "epoll"] {
        let backend = Backend::replying(OK);
        let ringate = Setup::to(backend.address())
            .workers(2)
            .driver(driver)
            .section(ADMIN)
            .limits("connections_per_client = 3")
            .start();
        for _ in 0..3 {
            let mut clients: Vec<_> = (0..3).map(|_| ringate.client()).collect();
            for client in &mut clients {
                assert_eq!(client.send(GET).response().status, 200);
            }
            let mut fourth = ringate.client();
            let refusal = fourth.response();
            assert_eq!((refusal.status, refusal.header("Retry-After")), (503, Some("1")));
            assert_eq!(refusal.header("Connection"), Some("close"));
            fourth.closes();
            // Those that it has go on, and one that ends makes room.
            assert_eq!(clients[0].send(GET).response().status, 200);
            drop(clients.pop());
            eventually("room", || (ringate.metric("connections_open") == 2).then_some(()));
            assert_eq!(ringate.get("/").status, 200);
            drop(clients);
            eventually("room", || (ringate.metric("connections_open") == 0).then_some(()));
        }
        assert_eq!(ringate.metric("limit_connections_per_client_total"), 3);
        // Another address is another client.
        let held: Vec<_> = (0..3).map(|_| ringate.client().send(GET).response()).collect();
        assert_eq!(held.len(), 3);
    }
}

#[test]
fn where_http_is_not_spoken_in_the_clear_too_many_connections_are_just_closed() {
    let backend = Backend::start(|connection| connection.rest().map(drop));
    let ringate = Setup::to(backend.address())
        .section(ADMIN)
        .listener("protocol = \"tcp\"\nlimits.connections_per_client = 1")
        .start();
    let _first = ringate.client();
    backend.await_connections(1);
    ringate.client().ends();
    ringate.await_metric("limit_connections_per_client_total", 1);
}

#[test]
fn a_listener_has_so_many_connections_and_more_wait() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .workers(2)
        .section(ADMIN)
        .listener("protocol = \"http\"\nlimits.connections = 2")
        .start();
    let mut clients: Vec<_> = (0..2).map(|_| ringate.client()).collect();
    for client in &mut clients {
        client.send(GET).response();
    }
    let mut third = ringate.client();
    third.send(GET);
    ringate.await_metric("limit_connections_total", 1);
    assert_eq!((ringate.metric("connections_open"), backend.requests()), (2, 2));
    let begun = Instant::now();
    clients.pop();
    assert_eq!(third.response().status, 200);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn connections_that_wait_are_served_by_a_drain() {
    let backend = Backend::replying(OK);
    let mut ringate = Setup::to(backend.address())
        .section(ADMIN)
        .listener("protocol = \"http\"\nlimits.connections = 1")
        .start();
    let mut first = ringate.client();
    first.send(GET).response();
    let mut waiting = ringate.client();
    waiting.send(GET);
    ringate.await_metric("limit_connections_total", 1);
    ringate.signal(rustix::process::Signal::TERM);
    first.closes();
    let response = waiting.response();
    assert_eq!((response.status, response.header("Connection")), (200, Some("close")));
    assert_eq!(ringate.wait().code(), Some(0));
}
