//! Idle backend connections serve all workers: there are about as many as exchanges, not as many for each worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::http::OK;
use crate::support::*;

/// Each request on a connection of its own, so that the kernel spreads requests over the workers.
const CLOSING: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const CLIENTS: usize = 10;

/// Sends `each` requests from each of the clients, at the same time, and lets none fail.
fn load(ringate: &Ringate, each: usize) {
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..each {
                    assert_eq!(ringate.client().send(CLOSING).response().text(), "ok");
                }
            });
        }
    });
}

#[test]
fn workers_share_idle_connections() {
    for driver in ["io_uring", "epoll"] {
        let backend = Backend::replying(OK);
        let ringate = Setup::to(backend.address()).workers(4).section("[admin]").driver(driver).start();
        load(&ringate, 100);
        // One for each exchange, and one that each worker may keep for itself.
        let most = CLIENTS + 4;
        assert!(backend.connections() <= most, "{driver}: {} connections", backend.connections());
        assert!(ringate.metric("backend_connections_taken_over_total") > 0);
        let before = backend.connections();
        load(&ringate, 100);
        assert!(backend.connections() <= before.max(most), "no new ones after the warm-up");
    }
}

#[test]
fn without_sharing_each_worker_has_its_own() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .workers(4)
        .section("[admin]")
        .upstream("pool = { shared = false }")
        .start();
    load(&ringate, 50);
    assert_eq!(ringate.metric("backend_connections_taken_over_total"), 0);
}

#[test]
fn a_shared_connection_that_its_backend_closed_is_not_used() {
    let closing = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&closing);
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let backend = Backend::start(move |connection| {
        while connection.request()?.is_some() {
            connection.send(OK)?;
            count.fetch_add(1, SeqCst);
            if seen.load(SeqCst) {
                return Ok(());
            }
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).workers(4).section("[admin]").start();
    load(&ringate, 20);
    closing.store(true, SeqCst);
    load(&ringate, 20);
    assert_eq!(answered.load(SeqCst), 2 * 20 * CLIENTS);
}

#[test]
fn shared_connections_end_with_the_idle_timeout() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .workers(4)
        .section("[admin]")
        .upstream("timeouts = { idle = \"1s\" }")
        .start();
    load(&ringate, 20);
    backend.await_ended(backend.connections());
}

#[test]
fn idle_connections_are_made_ahead() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address())
        .workers(2)
        .section("[admin]")
        .upstream("pool = { min_idle = 6 }")
        .start();
    backend.await_connections(6);
    let made = backend.connections();
    load(&ringate, 1);
    thread::sleep(Duration::from_millis(1200));
    assert!(made <= 8 && ringate.metric("backend_connections_prewarmed_total") >= 6, "{made}");
}
