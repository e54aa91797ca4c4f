//! Memory for buffers is bounded: what is under way continues, and what would be too much is refused.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::{OK, ok};
use crate::support::*;

use super::{ADMIN, GET, limited};

/// Kilobytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn readers_that_do_not_read_take_no_more_than_their_share() {
    let body = vec![b'x'; 8 << 20];
    for tls in [false, true] {
        let expected = body.clone();
        let large = ok(&body);
        let backend =
            Backend::serving(
                move |request| if request.line() == "GET /large" { large.clone() } else { OK.to_vec() },
            );
        let pki = Pki::new();
        let ringate = Setup::to(backend.address())
            .section(ADMIN)
            .limits("buffer_memory = \"6MiB\"")
            .listener(if tls { pki.listener_tls() } else { String::new() }.as_str())
            .start();
        let client = || if tls { ringate.tls_client(pki.client_config()) } else { ringate.client() };
        let mut good = client();
        assert_eq!(good.send(GET).response().status, 200);
        let before = resident(ringate.pid());
        let mut readers: Vec<Client> = Vec::new();
        let begun = Instant::now();
        // More of them until one is refused: at once as a connection, or as an exchange.
        while ringate.metric("limit_buffer_memory_total") == 0 {
            assert!(begun.elapsed() < PATIENCE, "never refused");
            assert!(readers.len() < 200, "200 readers within 6 MiB");
            let mut reader = client();
            if reader.try_send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n").is_ok() {
                readers.push(reader);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let grown = resident(ringate.pid()).saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB more");
        // A client with a connection gets a response, and may repeat its request. The memory of the refused one may be just what it
        // takes: then one more reader takes that.
        let refused = loop {
            let response = good.send(GET).response();
            if response.status == 503 {
                break response;
            }
            assert!(begun.elapsed() < PATIENCE, "never refused again");
            let mut reader = client();
            if reader.try_send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n").is_ok() {
                readers.push(reader);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
        assert_eq!(refused.header("Connection"), Some("close"));
        // Those that were let in get all of it.
        let mut first = readers.remove(0);
        assert!(first.response().body == expected);
        drop((first, readers));
        eventually("room again", || (ringate.metric("connections_open") == 0).then_some(()));
        assert_eq!(client().send(GET).response().status, 200);
    }
}

#[test]
fn a_client_that_leaves_while_the_backend_thinks_frees_it() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.rest().map(drop)
    });
    for tls in [false, true] {
        let pki = Pki::new();
        let ringate = Setup::to(backend.address())
            .section(ADMIN)
            .listener(if tls { pki.listener_tls() } else { String::new() }.as_str())
            .start();
        for resets in [false, true] {
            let mut client = if tls { ringate.tls_client(pki.client_config()) } else { ringate.client() };
            let ended = backend.connections();
            client.send(GET);
            backend.request();
            if resets {
                client.reset()
            } else {
                drop(client)
            }
            let begun = Instant::now();
            backend.await_ended(ended + 1);
            assert!(begun.elapsed() < Duration::from_secs(5), "long before timeouts.response");
        }
        ringate.await_metric("downstream_disconnects_total", 2);
        ringate.await_metric("connections_open", 0);
    }
}

#[test]
fn a_client_that_waits_long_is_answered_and_a_backend_that_takes_too_long_is_504() {
    let backend = Backend::start(|connection| {
        while let Some(request) = connection.request()? {
            if request.line() == "GET /slow" {
                std::thread::sleep(Duration::from_millis(2600));
            }
            connection.send(OK)?;
        }
        Ok(())
    });
    let mut ringate = limited(&backend, "");
    let mut client = ringate.client();
    // What is pipelined behind it is no sign of having left.
    client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").send(GET);
    assert_eq!((client.response().status, client.response().status), (200, 200));
    assert_eq!(ringate.metric("downstream_disconnects_total"), 0);
    ringate.signal(Signal::TERM);
    ringate.wait();
    let ringate = Setup::to(backend.address()).upstream("timeouts.response = \"1500ms\"").start();
    let begun = Instant::now();
    assert_eq!(ringate.get("/slow").status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(1500) && begun.elapsed() < Duration::from_millis(2500));
}
