//! The least speed of a body, and what is no slowness.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::http::{OK, ok};
use crate::support::*;

use super::limited;

/// Within seconds instead of minutes: a client may fall behind by one second.
const FLOOR: &str = "body_rate = \"2KiB/s\"\nbody_grace = \"1s\"";

#[test]
fn a_body_that_trickles_in_is_408() {
    let backend = Backend::start(|connection| connection.rest().map(drop));
    let ringate = limited(&backend, FLOOR);
    let mut client = ringate.client();
    client.tcp().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    let begun = Instant::now();
    let response = loop {
        assert!(begun.elapsed() < Duration::from_secs(15), "still open");
        let _ = client.try_send("x");
        if let Ok(response) = client.try_response() {
            break response;
        }
    };
    assert_eq!(response.status, 408);
    assert!(begun.elapsed() > Duration::from_secs(1));
    assert_eq!((ringate.metric("limit_body_rate_total"), ringate.metric("limit_body_timeout_total")), (1, 0));
    backend.await_ended(1);
}

#[test]
fn a_reader_that_is_too_slow_is_cut() {
    let body = vec![b'x'; 16 << 20];
    let backend = Backend::replying(ok(&body));
    let ringate = limited(&backend, FLOOR);
    for tls in [false, true] {
        let pki = Pki::new();
        let ringate = if tls {
            &Setup::to(backend.address())
                .section(super::ADMIN)
                .limits(FLOOR)
                .listener(&pki.listener_tls())
                .start()
        } else {
            &ringate
        };
        let mut client = if tls { ringate.tls_client(pki.client_config()) } else { ringate.client() };
        client.send(super::GET).bytes(1000);
        ringate.await_metric("limit_body_rate_total", 1);
        ringate.await_metric("exchanges_aborted_total", 1);
        // What the kernel had taken already still arrives; the rest never does.
        assert!(client.try_rest().unwrap_or_default().len() < body.len());
    }
}

#[test]
fn slow_and_steady_is_served_whatever_the_pieces() {
    // Far less than a whole piece within `body_timeout`, but never silent for so long.
    let body = vec![b'x'; 9 << 20];
    let expected = body.len();
    let backend = Backend::replying(ok(&body));
    let ringate = limited(&backend, "body_timeout = \"2s\"\nbody_rate = \"10KiB/s\"\nbody_grace = \"3s\"");
    let mut client = ringate.client();
    // The kernel's buffers hold a lot: a socket that takes little makes it wait. It still takes up to 200 KB ahead, which
    // its client must get through well within `body_timeout`: until then the backend does not read it.
    socket2::SockRef::from(client.tcp()).set_recv_buffer_size(65_536).unwrap();
    client.send(super::GET).until("\r\n\r\n");
    // What came before the buffer was made small is out of the way first.
    let mut read = client.bytes(2 << 20).len();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        read += client.bytes(8000).len();
        std::thread::sleep(Duration::from_millis(50));
        let cut = ["limit_body_rate_total", "limit_body_timeout_total"].map(|name| ringate.metric(name));
        assert_eq!(cut, [0, 0], "after {:?}", begun.elapsed());
    }
    read += client.bytes(expected - read).len();
    assert_eq!(read, expected);
}

#[test]
fn a_backend_that_pauses_is_not_the_clients_fault() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..10 {
            connection.send("5\r\nevent\r\n")?;
            std::thread::sleep(Duration::from_millis(500));
        }
        connection.send("0\r\n\r\n")
    });
    let ringate = limited(&backend, FLOOR);
    assert_eq!(ringate.client().send(super::GET).response().body, b"event".repeat(10));
    assert_eq!(ringate.metric("limit_body_rate_total"), 0);
}

#[test]
fn a_backend_that_takes_its_time_with_an_upload_is_not_the_clients_fault() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        for _ in 0..40 {
            connection.bytes(100_000)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        connection.send(OK)
    });
    let ringate = limited(&backend, FLOOR);
    let mut client = ringate.client();
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n").send(vec![b'x'; 4_000_000]);
    assert_eq!(client.response().status, 200);
    assert_eq!(ringate.metric("limit_body_rate_total"), 0);
}

#[test]
fn what_a_backend_does_not_read_is_not_owed_by_the_client() {
    const LENGTH: usize = 200_000;
    // Little fits between the two, and all of the body a buffer here: nothing of it waits in the client's socket.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(8).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let backend = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_secs(4));
        let mut taken = 0;
        let mut part = vec![0; 1 << 16];
        while taken < LENGTH {
            let read = connection.read(&mut part).unwrap();
            assert!(read > 0, "cut after {taken} bytes");
            taken += read;
        }
        connection.write_all(OK).unwrap();
        let _ = connection.read(&mut part);
    });
    let ringate = Setup::to(address).section(super::ADMIN).limits(FLOOR).start();
    let mut client = ringate.client();
    client
        .send(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {LENGTH}\r\n\r\n"))
        .send(vec![b'x'; LENGTH]);
    assert_eq!(client.response().status, 200);
    assert_eq!(ringate.metric("limit_body_rate_total"), 0);
    drop(client);
    drop(ringate);
    backend.join().unwrap();
}
