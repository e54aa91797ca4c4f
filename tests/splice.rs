//! Large pieces of bodies that are plain on both sides are moved by the kernel, and arrive like any other: whole, in order,
//! counted, or visibly cut.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::http::ok;
use crate::support::*;

const ADMIN: &str = "[admin]";
const MIB: usize = 1 << 20;
const SIZE: usize = 24 * MIB;

/// Answers a GET with so many bytes, and a POST with what it sent.
fn backend() -> Backend {
    let large = ok(Pattern::bytes(SIZE as u64));
    Backend::serving(
        move |request| {
            if request.line().starts_with("GET") { large.clone() } else { ok(&request.body) }
        },
    )
}

fn setup(backend: SocketAddr) -> Setup {
    Setup::to(backend).section(ADMIN)
}

/// The count is handed on once a second.
fn moved(ringate: &Ringate, at_least: usize) {
    eventually("bytes moved without a copy", || {
        (ringate.metric("spliced_bytes_total") >= at_least as u64).then_some(())
    });
}

fn none_moved(ringate: &Ringate) {
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(ringate.metric("spliced_bytes_total"), 0);
}

fn round_trip(client: &mut Client) {
    assert!(client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().body == Pattern::bytes(SIZE as u64));
    let body = Pattern::bytes(SIZE as u64);
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n")).send(&body);
    assert!(client.response().body == body);
}

#[test]
fn long_bodies_both_ways_on_either_driver() {
    for driver in ["io_uring", "epoll"] {
        let backend = backend();
        let ringate = setup(backend.address()).driver(driver).start();
        let mut client = ringate.client();
        round_trip(&mut client);
        // An upload and two downloads, of which some is read as it comes.
        moved(&ringate, SIZE);
        // Connections are as good as before.
        round_trip(&mut client);
        assert_eq!(backend.connections(), 1);
    }
}

#[test]
fn a_body_that_the_connection_ends() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 200 OK\r\n\r\n")?;
        connection.send(Pattern::bytes(SIZE as u64))
    });
    let ringate = setup(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
    client.until("\r\n\r\n");
    assert!(client.rest() == Pattern::bytes(SIZE as u64));
    moved(&ringate, MIB);
}

#[test]
fn tcp_relays() {
    let server = Server::start(None, |stream| {
        let mut piece = vec![0; 256 * 1024];
        loop {
            match stream.read(&mut piece)? {
                0 => return stream.get_mut().finish(),
                count => stream.get_mut().write_all(&piece[..count])?,
            }
        }
    });
    let ringate = setup(server.address()).listener("protocol = \"tcp\"").start();
    let mut client = ringate.client();
    let mut out = client.tcp().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        out.write_all(&Pattern::bytes(SIZE as u64)).unwrap();
        out.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert!(client.rest() == Pattern::bytes(SIZE as u64));
    sending.join().unwrap();
    moved(&ringate, MIB);
}

#[test]
fn nothing_is_moved_where_that_is_not_wanted() {
    let backend = backend();
    let ringate = setup(backend.address()).runtime("splice = false").start();
    round_trip(&mut ringate.client());
    none_moved(&ringate);
}

#[test]
fn nothing_is_moved_where_bytes_change_on_their_way() {
    let backend = backend();
    let pki = Pki::new();
    let ringate = setup(backend.address()).listener(&pki.listener_tls()).start();
    round_trip(&mut ringate.tls_client(pki.client_config()));
    none_moved(&ringate);
}

#[test]
fn a_backend_that_ends_within_a_body_is_seen_to() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))?;
        connection.send(Pattern::bytes(SIZE as u64 / 2))
    });
    let ringate = setup(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.until("\r\n\r\n");
    let got = client.rest();
    assert!(got == Pattern::bytes(SIZE as u64)[..SIZE / 2], "all that it sent, and the end: {}", got.len());
    moved(&ringate, MIB);
    assert_eq!(ringate.metric("exchanges_aborted_total"), 1);
}

#[test]
fn clients_that_leave_within_a_body_leave_nothing_behind() {
    let backend = backend();
    let ringate = setup(backend.address()).start();
    round_trip(&mut ringate.client());
    let open = || std::fs::read_dir(format!("/proc/{}/fd", ringate.pid())).unwrap().count();
    let before = open();
    for _ in 0..100 {
        let mut client = ringate.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.bytes(MIB);
    }
    eventually("as few descriptors as before", || (open() <= before + 2).then_some(()));
    round_trip(&mut ringate.client());
}

#[test]
fn more_deaf_clients_than_pipes_are_served_all_the_same() {
    // A worker has 64. What all of them read, they read well within the `body_grace` of the last one.
    const CLIENTS: usize = 72;
    const SIZE: usize = 12 * MIB;
    let large = ok(Pattern::bytes(SIZE as u64));
    let backend = Backend::serving(move |_| large.clone());
    let ringate = setup(backend.address()).start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| ringate.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.bytes(1);
    }
    // Their sockets, and the pipes of some, fill up within moments: no event shows when.
    std::thread::sleep(Duration::from_millis(500));
    clients.push(ringate.client());
    clients[CLIENTS].send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let expected = Pattern::bytes(SIZE as u64);
    for mut client in clients.into_iter().rev() {
        client.until("\r\n\r\n");
        assert!(client.bytes(SIZE).as_slice() == expected, "one got something else");
    }
    moved(&ringate, MIB);
}
