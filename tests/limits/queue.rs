//! Exchanges in flight at an endpoint, and the queue before it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::{OK, ok};
use crate::support::*;

use super::{ADMIN, GET};

fn queueing(backend: &Backend, upstream: &str) -> Setup {
    Setup::to(backend.address()).section(ADMIN).upstream(upstream)
}

fn get(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn what_waits_is_served_in_the_order_it_came_over_all_workers() {
    for driver in ["io_uring", "epoll"] {
        let (backend, go) = Backend::held_back();
        let ringate = queueing(&backend, "pool.max_per_endpoint = 1\nqueue.timeout = \"10s\"")
            .workers(3)
            .driver(driver)
            .start();
        let mut clients: Vec<Client> = Vec::new();
        for number in 0..12 {
            let mut client = ringate.client();
            client.send(get(number));
            if number == 0 {
                assert_eq!(backend.request().line(), "GET /0");
            } else {
                ringate.await_metric("queue_open", number as u64);
            }
            clients.push(client);
        }
        assert_eq!(backend.requests(), 1);
        for (number, client) in clients.iter_mut().enumerate() {
            let begun = Instant::now();
            go.send(()).unwrap();
            assert_eq!(client.response().text(), format!("GET /{number}"));
            if number < 11 {
                assert_eq!(backend.request().line(), format!("GET /{}", number + 1), "{driver}");
            }
            assert!(begun.elapsed() < Duration::from_millis(900), "by a wake-up, not by chance");
        }
        assert_eq!((ringate.metric("queue_open"), ringate.metric("queued_total")), (0, 11));
    }
}

#[test]
fn a_full_queue_and_a_long_wait_are_503() {
    let (backend, go) = Backend::held_back();
    let queue = "pool.max_per_endpoint = 1\nqueue = { length = 1, timeout = \"500ms\" }";
    let ringate = queueing(&backend, queue).start();
    let mut first = ringate.client();
    first.send(GET);
    backend.request();
    let mut waiting = ringate.client();
    let begun = Instant::now();
    waiting.send(GET);
    ringate.await_metric("queue_open", 1);
    let refused = ringate.client().send(GET).response();
    assert!(begun.elapsed() < Duration::from_millis(450), "at once");
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
    let late = waiting.response();
    assert_eq!((late.status, late.header("Retry-After")), (503, Some("1")));
    assert!(begun.elapsed() >= Duration::from_millis(500) && begun.elapsed() < Duration::from_secs(3));
    go.send(()).unwrap();
    assert_eq!(first.response().status, 200);
    let counts = ["limit_queue_length_total", "limit_queue_timeout_total", "queue_open"];
    assert_eq!(counts.map(|name| ringate.metric(name)), [1, 1, 0]);
    assert_eq!(backend.requests(), 1, "what was refused was never sent");
}

#[test]
fn without_a_queue_nobody_waits() {
    let (backend, _go) = Backend::held_back();
    let ringate = queueing(&backend, "pool.max_per_endpoint = 1\nqueue.length = 0").start();
    let mut first = ringate.client();
    first.send(GET);
    backend.request();
    assert_eq!(ringate.get("/").status, 503);
}

#[test]
fn a_client_that_leaves_gives_up_its_place() {
    let (backend, go) = Backend::held_back();
    let queue = "pool.max_per_endpoint = 1\nqueue = { length = 1, timeout = \"15s\" }";
    let ringate = queueing(&backend, queue).start();
    let mut first = ringate.client();
    first.send(get(1));
    backend.request();
    for resets in [false, true] {
        let mut leaver = ringate.client();
        leaver.send(get(2));
        ringate.await_metric("queue_open", 1);
        if resets {
            leaver.reset();
        } else {
            drop(leaver);
        }
        ringate.await_metric("queue_open", 0);
    }
    assert_eq!(ringate.metric("downstream_disconnects_total"), 2);
    // The name of before stays for a version.
    assert_eq!(ringate.metric("clients_left_total"), 2);
    let text = ringate.admin("/metrics");
    for (new, old) in [
        ("downstream_disconnects", "clients_left"),
        ("client_certificate_fallbacks", "identity_rescues"),
        ("client_certificate_grace_expired", "identity_overdue"),
    ] {
        let help = format!(
            "# HELP ringate_{old}_total Deprecated, removed in the next version: use ringate_{new}_total.\n\
             # TYPE ringate_{old}_total counter\n"
        );
        assert!(text.contains(&help), "{old}: {text}");
        assert_eq!(ringate.metric(&format!("{new}_total")), ringate.metric(&format!("{old}_total")));
    }
    let mut stays = ringate.client();
    stays.send(get(3));
    ringate.await_metric("queue_open", 1);
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "GET /1");
    go.send(()).unwrap();
    assert_eq!(stays.response().text(), "GET /3");
}

#[test]
fn what_waits_is_served_by_a_drain_with_its_body_as_it_came() {
    let (backend, go) = Backend::stepped(|connection, wait| {
        while let Some(request) = connection.request()? {
            wait();
            connection.send(ok(&request.body))?;
        }
        Ok(())
    });
    for tls in [false, true] {
        let pki = Pki::new();
        let listener = if tls { pki.listener_tls() } else { String::new() };
        let mut ringate = queueing(&backend, "pool.max_per_endpoint = 1\nqueue.timeout = \"10s\"")
            .listener(&listener)
            .start();
        let client = || if tls { ringate.tls_client(pki.client_config()) } else { ringate.client() };
        let mut first = client();
        first.send(GET);
        backend.request();
        // One with all of its body there, one with half of it.
        let body: Vec<u8> = (0..9000u32).map(|n| n as u8).collect();
        let put = format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
        let (mut whole, mut half) = (client(), client());
        whole.send([put.as_bytes(), &body].concat());
        ringate.await_metric("queue_open", 1);
        half.send([put.as_bytes(), &body[..4000]].concat());
        ringate.await_metric("queue_open", 2);
        ringate.signal(Signal::TERM);
        ringate.await_drain();
        half.send(&body[4000..]);
        (0..3).for_each(|_| go.send(()).unwrap());
        assert_eq!(first.response().status, 200);
        for client in [&mut whole, &mut half] {
            let response = client.response();
            assert_eq!(response.header("Connection"), Some("close"));
            assert!(response.body == body);
        }
        assert_eq!(ringate.wait().code(), Some(0));
        (0..2).for_each(|_| drop(backend.request()));
    }
}

#[test]
fn an_endpoint_with_room_is_taken_before_anyone_waits() {
    let (busy, _go) = Backend::held_back();
    let free = Backend::replying(OK);
    let ringate = Setup::to_all([busy.address(), free.address()])
        .section(ADMIN)
        .upstream("pool.max_per_endpoint = 1")
        .start();
    let mut held = ringate.client();
    held.send(GET);
    eventually("a request", || (busy.requests() + free.requests() == 1).then_some(()));
    if free.requests() == 1 {
        held.response();
        held.send(GET);
    }
    busy.request();
    let mut client = ringate.client();
    for _ in 0..10 {
        assert_eq!(client.send(GET).response().status, 200);
    }
    assert_eq!((ringate.metric("queued_total"), busy.requests()), (0, 1));
}

#[test]
fn an_endpoint_that_is_down_is_passed_over_within_the_bound() {
    let alive = Backend::replying(OK);
    let ringate = Setup::to_all([free_address(), alive.address()])
        .section(ADMIN)
        .upstream("pool.max_per_endpoint = 1")
        .start();
    for _ in 0..30 {
        assert_eq!(ringate.get("/").status, 200);
    }
    assert_eq!(ringate.metric("queue_open"), 0);
}

#[test]
fn who_finds_one_endpoint_down_and_the_other_full_waits_for_room() {
    for protocol in ["http", "tcp"] {
        let alive = Backend::serving(|_| {
            std::thread::sleep(Duration::from_millis(60));
            OK.to_vec()
        });
        let ringate = Setup::to_all([free_address(), alive.address()])
            .section(ADMIN)
            .upstream("pool.max_per_endpoint = 1\nqueue.timeout = \"10s\"")
            .listener(&format!("protocol = \"{protocol}\""))
            .start();
        // Long enough for the one that is down to have its turn again.
        let ringate = &ringate;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(move || {
                    for _ in 0..8 {
                        assert_eq!(ringate.get("/").status, 200, "{protocol}");
                    }
                });
            }
        });
        assert!(ringate.metric("backend_connect_failures_total") >= 2, "{protocol}");
    }
}

#[test]
fn who_waits_for_room_beside_an_endpoint_that_is_down_waits_its_whole_time() {
    let (backend, go) = Backend::held_back();
    let ringate = Setup::to_all([free_address(), backend.address()])
        .section(ADMIN)
        .upstream("pool.max_per_endpoint = 1\nqueue.timeout = \"15s\"")
        .start();
    let mut first = ringate.client();
    first.send(get(1));
    backend.request();
    let mut second = ringate.client();
    second.send(get(2));
    // The one that is down has its turn several times meanwhile.
    std::thread::sleep(Duration::from_millis(4500));
    assert!(ringate.metric("backend_connect_failures_total") >= 3);
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "GET /1");
    go.send(()).unwrap();
    assert_eq!(second.response().text(), "GET /2");
}

#[test]
fn relays_are_bounded_and_wait_too() {
    let backend = Backend::start(|connection| {
        let word = connection.bytes(4)?;
        connection.send(word)?;
        connection.rest().map(drop)
    });
    let ringate = queueing(&backend, "pool.max_per_endpoint = 1\nqueue.timeout = \"10s\"")
        .listener("protocol = \"tcp\"")
        .start();
    let mut first = ringate.client();
    assert_eq!(first.send("ping").bytes(4), b"ping");
    let mut second = ringate.client();
    second.send("pong");
    ringate.await_metric("queue_open", 1);
    assert_eq!(backend.connections(), 1);
    drop(first);
    assert_eq!(second.bytes(4), b"pong");
}

/// A backend that knows how many of its requests run at the same time.
fn counting() -> (Backend, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let backend = Backend::start(move |connection| -> io::Result<()> {
        while connection.request()?.is_some() {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(500));
            now.fetch_sub(1, Ordering::SeqCst);
            connection.send(OK)?;
        }
        Ok(())
    });
    (backend, most)
}

#[test]
fn the_bound_holds_under_a_crowd_and_no_wake_up_is_lost() {
    let (one, two) = (counting(), counting());
    let ringate = Setup::to_all([one.0.address(), two.0.address()])
        .workers(4)
        .section(ADMIN)
        .upstream("pool.max_per_endpoint = 2\nqueue = { length = 1000, timeout = \"15s\" }")
        .start();
    let address = ringate.address();
    std::thread::scope(|scope| {
        for number in 0..24 {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..40 {
                    client.send(GET);
                    if number % 4 == 0 && round % 5 == 0 {
                        // Gone before its answer, at one moment or another.
                        client = Client::connect(address);
                        continue;
                    }
                    assert_eq!(client.response().status, 200, "client {number}, round {round}");
                }
            });
        }
    });
    assert_eq!((one.1.load(Ordering::SeqCst), two.1.load(Ordering::SeqCst)), (2, 2));
    ringate.await_metric("queue_open", 0);
    assert!(ringate.metric("queued_total") > 100);
    let begun = Instant::now();
    assert_eq!(ringate.get("/").status, 200);
    assert!(begun.elapsed() < Duration::from_millis(900), "nothing is left behind");
}

/// The client of this number, whose request is at the only place of the backend, or in the line behind it.
fn next_in_line(ringate: &Ringate, backend: &Backend, number: usize) -> Client {
    let mut client = ringate.client();
    client.send(get(number));
    if number == 0 {
        backend.request();
    } else {
        ringate.await_metric("queue_open", number as u64);
    }
    client
}

#[test]
fn what_waits_when_a_reload_comes_is_served() {
    let (backend, go) = Backend::held_back();
    let setup = queueing(&backend, "pool.max_per_endpoint = 1\nqueue.timeout = \"15s\"").workers(2);
    let ringate = setup.start();
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..6 {
        clients.push(next_in_line(&ringate, &backend, number));
    }
    // The upstream is another one from here on, and its route is gone.
    let path = ringate.dir().join("ringate.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replace("queue.timeout = \"15s\"", "queue.timeout = \"14s\"");
    for (text, reloads) in [
        (changed.clone(), 1),
        (changed.replace("upstream = \"app\"", "respond = { status = 200, body = \"gone\" }"), 2),
    ] {
        std::fs::write(&path, text).unwrap();
        ringate.signal(Signal::HUP);
        eventually("the reload", || {
            (ringate.log().matches("reloaded (SIGHUP)").count() == reloads).then_some(())
        });
    }
    assert_eq!(ringate.get("/").text(), "gone");
    for (number, client) in clients.iter_mut().enumerate() {
        go.send(()).unwrap();
        assert_eq!(client.response().text(), format!("GET /{number}"));
    }
    assert_eq!((ringate.metric("queue_open"), backend.requests()), (0, 6));
}

#[test]
fn what_is_at_an_endpoint_counts_across_a_reload() {
    let (backend, go) = Backend::held_back();
    let setup = queueing(&backend, "pool.max_per_endpoint = 1\nqueue.timeout = \"15s\"").workers(2);
    let ringate = setup.start();
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..4 {
        if number == 2 {
            // The upstream is another one from here on, before the same endpoint.
            let path = ringate.dir().join("ringate.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            let changed = text.replace("queue.timeout = ", "timeouts.idle = \"9s\"\nqueue.timeout = ");
            std::fs::write(&path, changed).unwrap();
            ringate.signal(Signal::HUP);
            ringate.await_log("reloaded (SIGHUP)");
        }
        clients.push(next_in_line(&ringate, &backend, number));
    }
    assert_eq!(backend.requests(), 1, "the reload made no room");
    for (number, client) in clients.iter_mut().enumerate() {
        go.send(()).unwrap();
        let begun = Instant::now();
        assert_eq!(client.response().text(), format!("GET /{number}"));
        assert!(begun.elapsed() < Duration::from_millis(900), "old and new wake each other: {number}");
        let next = (number + 2).min(4);
        eventually("the next one", || (backend.requests() >= next).then_some(()));
        assert_eq!(backend.requests(), next, "one at a time");
    }
}
