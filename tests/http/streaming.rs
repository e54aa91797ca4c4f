//! Bodies flow: nothing is held back, nothing is collected, and a slow reader slows its writer down.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::OK;
use crate::support::*;

const MIB: usize = 1 << 20;

/// A figure of a process in KiB, from /proc.
fn memory(pid: u32, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn each_event_reaches_the_client_before_the_next_is_made() {
    let (produce, next) = channel::<&str>();
    let next = Mutex::new(next);
    let backend = Backend::start(move |connection| {
        connection.request()?;
        connection.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        while let Ok(event) = next.lock().unwrap().recv() {
            connection.send(event)?;
        }
        connection.send("0\r\n\r\n")
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.until("\r\n\r\n").contains("text/event-stream"), "the head comes without a body");
    for event in ["9\r\ndata: 1\n\n\r\n", "a\r\ndata: 22\n\n\r\n", "b\r\ndata: 333\n\n\r\n"] {
        produce.send(event).unwrap();
        assert_eq!(String::from_utf8(client.bytes(event.len())).unwrap(), event);
    }
    drop(produce);
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
}

#[test]
fn each_part_of_an_upload_reaches_the_backend_before_the_next_is_sent() {
    let (arrived, told) = channel();
    let arrived = Mutex::new(arrived);
    let backend = Backend::start(move |connection| {
        connection.head()?;
        for _ in 0..3 {
            arrived.lock().unwrap().send(connection.bytes(8)?).unwrap();
        }
        connection.bytes(5)?;
        connection.send(OK)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in ["3\r\nabc\r\n", "3\r\ndef\r\n", "3\r\nghi\r\n"] {
        client.send(chunk);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), chunk.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
}

/// A long body of known length is read in large pieces, but only from a fast sender: what has arrived is never held
/// back for more, neither at its beginning nor after a fast part, nor in the next exchange on the same connections.
#[test]
fn a_body_of_known_length_is_passed_on_as_it_comes() {
    const FAST: usize = 8 * MIB;
    const PARTS: usize = 5;
    let (produce, next) = channel::<()>();
    let next = Mutex::new(next);
    let backend = Backend::start(move |connection| {
        while connection.request()?.is_some() {
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * FAST))?;
            connection.send(vec![b'f'; FAST])?;
            for _ in 0..PARTS {
                next.lock().unwrap().recv().unwrap();
                connection.send("part")?;
            }
            connection.send(vec![b'r'; FAST - 4 * PARTS])?;
            connection.request()?;
            connection.send(OK)?;
        }
        Ok(())
    });
    for driver in ["auto", "epoll"] {
        let ringate = Setup::to(backend.address()).driver(driver).start();
        let mut client = ringate.client();
        for _ in 0..2 {
            client.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n");
            client.until("\r\n\r\n");
            assert!(client.bytes(FAST).iter().all(|byte| *byte == b'f'));
            for _ in 0..PARTS {
                produce.send(()).unwrap();
                assert_eq!(client.bytes(4), b"part");
            }
            assert!(client.bytes(FAST - 4 * PARTS).iter().all(|byte| *byte == b'r'));
            client.send("GET /short HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(client.response().text(), "ok");
        }
    }
}

#[test]
fn a_gibibyte_passes_each_way_in_flat_memory() {
    let block = super::bodies::noise(MIB);
    let sent = block.clone();
    let backend = Backend::start(move |connection| {
        connection.forget();
        loop {
            let head = connection.head()?;
            if head.starts_with("GET") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")?;
                for _ in 0..1024 {
                    connection.send(&sent)?;
                }
            } else {
                let same = (0..if head.starts_with("PUT") { 1024 } else { 0 })
                    .try_fold(true, |same, _| io::Result::Ok(same & (connection.bytes(MIB)? == sent)))?;
                let status = if same { "200 OK" } else { "500 Different" };
                connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))?;
            }
        }
    });
    let ringate = Setup::to(backend.address()).start();
    super::exchange(&ringate, "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let before = memory(ringate.pid(), "VmHWM");

    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").until("\r\n\r\n");
    for number in 0..1024 {
        assert!(client.bytes(MIB) == block, "block {number} differs");
    }
    drop(client);

    let mut client = ringate.client();
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\n");
    for _ in 0..1024 {
        client.send(&block);
    }
    assert_eq!(client.response().head.lines().next(), Some("HTTP/1.1 200 OK"));
    let grown = memory(ringate.pid(), "VmHWM") - before;
    assert!(grown < 8 * 1024, "{grown} KiB more than before");
}

#[test]
fn a_client_that_does_not_read_stops_its_backend() {
    let (stuck, told) = channel();
    let stuck = Mutex::new(stuck);
    let backend = Backend::start(move |connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        connection.tcp().set_write_timeout(Some(Duration::from_millis(500)))?;
        let block = [b"10000\r\n".as_slice(), &[b'x'; 65_536], b"\r\n"].concat();
        let mut written = 0;
        while written < 256 * MIB && connection.tcp().write_all(&block).is_ok() {
            written += block.len();
        }
        stuck.lock().unwrap().send(written).map_err(std::io::Error::other)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    // What was written is in the kernel's socket buffers, four of them.
    let written = told.recv_timeout(PATIENCE).unwrap();
    assert!(written < 64 * MIB, "{written} bytes taken from the backend");
    assert!(memory(ringate.pid(), "VmRSS") < 64 * 1024);
}

#[test]
fn a_backend_that_does_not_read_stops_its_client() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        // Ends when the proxy hangs up, without having read.
        let mut last = [0];
        while connection.tcp().peek(&mut last)? > 0 && connection.tcp().take_error()?.is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).upstream("timeouts = { response = \"3s\" }").start();
    let mut client = ringate.client();
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\n");
    // Far less than the backend's patience: once that is over, what the client sends is read and dropped.
    client.tcp().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut written = 0;
    while written < 1024 * MIB && client.tcp().write_all(&[b'x'; 65_536]).is_ok() {
        written += 65_536;
    }
    assert!(written < 64 * MIB, "{written} bytes taken from the client");
    assert!(memory(ringate.pid(), "VmRSS") < 64 * 1024);
    assert_eq!(client.response().status, 504);
}
