//! Clients that are slow, deaf or rude, two hundred of each at once: memory stays bounded, and others are served
//! beside them. `scripts/hostile` has thousands, and says what they do to the latency of others.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::http::{OK, ok};
use crate::support::*;

const COUNT: usize = 200;

/// What the process gained in memory of its own since it was first asked.
struct Memory {
    pid: u32,
    before: usize,
}

impl Memory {
    fn of(ringate: &Ringate) -> Self {
        // What the first connections cost, others do not.
        ringate.get("/");
        let mut memory = Self { pid: ringate.pid(), before: 0 };
        memory.before = memory.gained();
        memory
    }

    fn gained(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let kib: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        (kib * 1024).saturating_sub(self.before)
    }

    /// Fails if it gained more than so much for each of [`COUNT`] clients, and a little for the allocator.
    #[track_caller]
    fn assert_within(&self, each: usize) {
        let gained = self.gained();
        assert!(gained <= COUNT * each + (4 << 20), "{} KiB for each", gained / COUNT / 1024);
    }
}

fn dial(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

/// Asks like anyone, a few times on one connection, and fails if it is not served.
fn serve_others(ringate: &Ringate) {
    let mut client = ringate.client();
    for _ in 0..5 {
        let begun = Instant::now();
        let response = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
        assert_eq!(response.status, 200);
        assert!(begun.elapsed() < Duration::from_secs(5), "served, but after {:?}", begun.elapsed());
    }
}

/// A backend that swallows what is sent to `/slow`, sends 2 MiB for `/big`, interim responses without end for
/// `/interim`, and otherwise a short answer.
fn backend() -> Backend {
    Backend::start(|connection| {
        connection.forget();
        loop {
            let head = connection.head()?;
            match head.split(' ').nth(1).unwrap() {
                "/slow" => return connection.rest().map(drop),
                "/big" => connection.send(ok(vec![b'x'; 2 << 20]))?,
                "/interim" => loop {
                    connection.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(100))?;
                },
                _ => connection.send(OK)?,
            }
        }
    })
}

/// Opens [`COUNT`] connections that send `start`, then a byte each, round after round.
fn dribbling(ringate: &Ringate, start: &str, rounds: usize) -> Vec<TcpStream> {
    let mut slow: Vec<_> = (0..COUNT).map(|_| dial(ringate.address())).collect();
    for tcp in &mut slow {
        tcp.write_all(start.as_bytes()).unwrap();
    }
    for _ in 0..rounds {
        for tcp in &mut slow {
            tcp.write_all(b"x").unwrap();
        }
        serve_others(ringate);
    }
    slow
}

#[test]
fn slow_heads() {
    let backend = backend();
    let ringate = Setup::to(backend.address()).limits("head_timeout = \"4s\"").start();
    let memory = Memory::of(&ringate);
    let slow = dribbling(&ringate, "GET / HTTP/1.1\r\nHost: h\r\nX: ", 10);
    memory.assert_within(48 << 10);
    for mut tcp in slow {
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    serve_others(&ringate);
}

#[test]
fn slow_bodies() {
    let backend = backend();
    let ringate = Setup::to(backend.address()).start();
    let memory = Memory::of(&ringate);
    let _slow = dribbling(&ringate, "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n", 10);
    memory.assert_within(96 << 10);
}

#[test]
fn clients_that_do_not_read() {
    let backend = backend();
    let ringate = Setup::to(backend.address()).limits("body_timeout = \"2s\"").start();
    let memory = Memory::of(&ringate);
    let deaf: Vec<_> = (0..COUNT)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            // As over a network: in loopback's segments of 64 KiB the kernel would take all of the response.
            socket.set_tcp_mss(536).unwrap();
            socket.connect(&ringate.address().into()).unwrap();
            let mut tcp = TcpStream::from(socket);
            tcp.write_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            tcp
        })
        .collect();
    serve_others(&ringate);
    // A large buffer each, at the most.
    memory.assert_within(320 << 10);
    // After `body_timeout` they are cut off, and the backend's connections with them.
    backend.await_ended(COUNT);
    serve_others(&ringate);
    drop(deaf);
}

#[test]
fn head_bombs() {
    let backend = backend();
    let ringate = Setup::to(backend.address()).start();
    let memory = Memory::of(&ringate);
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}", "A: b\r\n".repeat(10_000));
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "b".repeat(60_000));
    let target = format!("GET /{}", "a".repeat(60_000));
    let mut bombs = Vec::new();
    for number in 0..COUNT {
        let mut tcp = dial(ringate.address());
        let bomb = [&many, &long, &target][number % 3];
        // It may be refused, and its connection reset, before all is sent.
        let _ = tcp.write_all(bomb.as_bytes());
        bombs.push(tcp);
    }
    memory.assert_within(48 << 10);
    for (number, mut tcp) in bombs.into_iter().enumerate() {
        let mut status = [0; 12];
        if tcp.read_exact(&mut status).is_ok() {
            let expected = [b"HTTP/1.1 431", b"HTTP/1.1 431", b"HTTP/1.1 414"][number % 3];
            assert_eq!(status.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }
    serve_others(&ringate);
    assert_eq!(backend.connections(), 1, "not one reached the backend");
}

#[test]
fn ten_thousand_chunks_of_a_byte_each() {
    let backend = Backend::serving(|request| ok(request.body.len().to_string()));
    let ringate = Setup::to(backend.address()).start();
    let memory = Memory::of(&ringate);
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in 0..100 {
        // Cut where it hurts: between CR and LF.
        client.send("1\r\na\r\n".repeat(99)).send("1\r").send("\na\r").send("\n");
        if part % 25 == 0 {
            serve_others(&ringate);
        }
    }
    assert_eq!(client.send("0\r\n\r\n").response().text(), "10000");
    memory.assert_within(4 << 10);
}

#[test]
fn interim_responses_without_end() {
    let backend = backend();
    let ringate = Setup::to(backend.address()).start();
    let memory = Memory::of(&ringate);
    let asking: Vec<_> = (0..COUNT)
        .map(|_| {
            let mut tcp = dial(ringate.address());
            tcp.write_all(b"GET /interim HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            tcp
        })
        .collect();
    serve_others(&ringate);
    for mut tcp in asking {
        let mut answer = String::new();
        let _: io::Result<usize> = tcp.read_to_string(&mut answer);
        assert_eq!(answer.matches("HTTP/1.1 102 ").count(), 16);
        assert_eq!(answer.matches("HTTP/1.1 502 ").count(), 1, "{answer}");
    }
    memory.assert_within(96 << 10);
}
