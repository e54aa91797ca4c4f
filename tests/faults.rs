//! Whatever one peer does, it hurts its own exchange at most.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::http::OK;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_response_that_breaks_off_looks_broken_off() {
    for (reply, what) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "by length"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "in chunks"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf", "within a chunk"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
            "before the end of chunks",
        ),
    ] {
        for resets in [false, true] {
            let backend = Backend::start(move |connection| {
                connection.request()?;
                connection.send(reply)?;
                // The reset must not overtake the bytes.
                std::thread::sleep(Duration::from_millis(50));
                if resets { connection.reset() } else { Ok(()) }
            });
            let ringate = Setup::to(backend.address()).start();
            let mut client = ringate.client();
            client.send(GET);
            assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"), "{what}");
            let rest = String::from_utf8_lossy(&client.try_rest().unwrap_or_default()).into_owned();
            assert!(!rest.ends_with("0\r\n\r\n") && rest.len() < 17, "{what}: looks whole: {rest:?}");
            // And the next one is served.
            assert!(ringate.client().send(GET).until("\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
        }
    }
}

#[test]
fn a_reset_that_the_upload_is_told_of_still_cuts_the_response() {
    let backend = Backend::start(|connection| {
        connection.head()?;
        connection.send("HTTP/1.1 200 OK\r\n\r\nhalf")?;
        // Until the upload has filled every buffer on its way and waits.
        std::thread::sleep(Duration::from_millis(300));
        connection.reset()
    });
    let ringate = Setup::to(backend.address()).start();
    for _ in 0..5 {
        let mut client = ringate.client();
        let mut out = client.tcp().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let _ = out.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 268435456\r\n\r\n");
            while out.write_all(&[b'x'; 65_536]).is_ok() {}
        });
        assert!(client.until("half").starts_with("HTTP/1.1 200 OK\r\n"));
        let rest = String::from_utf8_lossy(&client.try_rest().unwrap_or_default()).into_owned();
        assert!(!rest.contains("0\r\n\r\n"), "looks whole: {rest:?}");
        sending.join().unwrap();
    }
}

#[test]
fn a_body_that_turns_bad_in_the_middle_is_cut() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")?;
        std::thread::sleep(Duration::from_millis(50));
        connection.send("zz\r\nevil\r\n0\r\n\r\n")?;
        connection.rest().map(drop)
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send(GET).until("\r\n\r\n");
    let rest = String::from_utf8_lossy(&client.try_rest().unwrap_or_default()).into_owned();
    assert_eq!(rest, "2\r\nok\r\n");
    backend.await_ended(1);
}

#[test]
fn a_stalled_response_is_cut_after_its_time() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
        connection.rest().map(drop)
    });
    let ringate = Setup::to(backend.address()).upstream("timeouts = { idle = \"1s\" }").start();
    let begun = Instant::now();
    let mut client = ringate.client();
    client.send(GET).until("\r\n\r\n");
    assert_eq!(client.try_rest().unwrap_or_default(), b"half");
    assert!(begun.elapsed() >= Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(4));
    backend.await_ended(1);
}

#[test]
fn a_backend_that_takes_an_upload_bit_by_bit_is_waited_for() {
    const SIZE: usize = 24 << 20;
    let backend = Backend::start(|connection| {
        connection.head()?;
        socket2::SockRef::from(connection.tcp()).set_recv_buffer_size(32 * 1024)?;
        let (begun, mut got) = (Instant::now(), 0);
        while got < SIZE {
            let piece = 40_000.min(SIZE - got);
            got += connection.bytes(piece)?.len();
            if begun.elapsed() < Duration::from_secs(4) {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        connection.send(OK)?;
        connection.rest().map(drop)
    });
    // By splice, and by way of buffers.
    for splice in [true, false] {
        let ringate = Setup::to(backend.address())
            .runtime(&format!("splice = {splice}"))
            .upstream("timeouts = { response = \"1s\" }")
            .start();
        let mut client = ringate.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n"));
        client.send(vec![b'x'; SIZE]);
        assert_eq!(client.response().status, 200, "splice = {splice}");
    }
}

#[test]
fn a_killed_backend_is_502_and_its_return_heals() {
    let mut nginx = Nginx::plain("location / { return 200 alive; }");
    let ringate = Setup::to(nginx.address()).start();
    let mut client = ringate.client();
    assert_eq!(client.send(GET).response().text(), "alive");
    nginx.stop();
    let begun = Instant::now();
    assert_eq!(client.send(GET).response().status, 502);
    assert!(begun.elapsed() < Duration::from_secs(1), "quickly");
    nginx.resume();
    assert_eq!(ringate.get("/").text(), "alive", "at once");
}

#[test]
fn half_a_request_and_then_nothing_ends_quietly() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).start();
    for half in ["G", "GET / HTTP/1.1\r\nHost: h\r\n", "\r\n"] {
        let mut client = ringate.client();
        client.send(half).finish_sending();
        client.closes();
    }
    assert_eq!(backend.connections(), 0);
    let mut client = ringate.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf").finish_sending();
    client.ends();
    backend.await_ended(1);
    assert_eq!(backend.requests(), 0, "half a request is none");
    assert_eq!(ringate.client().send(GET).response().text(), "ok");
}

#[test]
fn a_client_that_leaves_takes_its_backend_connection_with_it_and_no_other() {
    let backend = Backend::start(|connection| {
        while let Some(request) = connection.request()? {
            if request.line() == "GET /long" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
                loop {
                    connection.send([b'x'; 65_536])?;
                }
            }
            connection.send(OK)?;
        }
        Ok(())
    });
    let ringate = Setup::to(backend.address()).start();
    let mut good = ringate.client();
    assert_eq!(good.send(GET).response().text(), "ok");
    for resets in [false, true] {
        let mut leaver = ringate.client();
        leaver.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n").bytes(200_000);
        if resets {
            leaver.reset()
        } else {
            drop(leaver)
        }
        assert_eq!(good.send(GET).response().text(), "ok");
    }
    backend.await_ended(2);
    assert_eq!(good.send(GET).response().text(), "ok");
}

#[test]
fn a_client_that_gives_up_waiting_does_not_hold_its_backend() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.rest().map(drop)
    });
    let ringate = Setup::to(backend.address()).upstream("timeouts = { response = \"1s\" }").start();
    let mut client = ringate.client();
    client.send(GET);
    backend.request();
    client.reset();
    backend.await_ended(1);
}

/// Bytes that are no HTTP, of a kind per number.
fn garbage(number: usize) -> Vec<u8> {
    match number % 6 {
        0 => crate::http::noise(1 + number * 37),
        1 => vec![b'A'; 100_000],
        2 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        3 => vec![0; 5_000],
        4 => b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\n"
            .to_vec(),
        _ => [b"GET / HTTP/1.1\r\n".as_slice(), &b"X: y\r\n".repeat(5_000)].concat(),
    }
}

#[test]
fn two_hundred_connections_of_garbage_do_not_disturb_a_good_client() {
    let backend = Backend::replying(OK);
    let ringate = Setup::to(backend.address()).limits("head_timeout = \"1s\"").start();
    let address = ringate.address();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let mut client = ringate.client();
            let (mut served, mut slowest) = (0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) || served < 100 {
                let begun = Instant::now();
                assert_eq!(client.send(GET).response().text(), "ok");
                slowest = slowest.max(begun.elapsed());
                served += 1;
            }
            slowest
        });
        let bad = (0..200).map(|number| {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let _ = stream.write_all(&garbage(number));
                let mut answer = Vec::new();
                let ended = stream.read_to_end(&mut answer);
                if let Err(error) = ended {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "garbage {number}");
                }
                let status = answer.get(..13).unwrap_or_default();
                let refused = [b"HTTP/1.1 400 ", b"HTTP/1.1 408 ", b"HTTP/1.1 414 ", b"HTTP/1.1 431 "];
                assert!(answer.is_empty() || refused.iter().any(|known| known.as_slice() == status));
            })
        });
        let bad: Vec<_> = bad.collect();
        for thread in bad {
            thread.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let slowest = good.join().unwrap();
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    });
    assert!(!ringate.log().contains("panic"), "{}", ringate.log());
}

#[test]
fn garbage_on_a_tls_port_does_not_disturb_a_good_client() {
    let pki = Pki::new();
    let backend = Backend::replying(OK);
    let ringate =
        Setup::to(backend.address()).limits("head_timeout = \"1s\"").listener(&pki.listener_tls()).start();
    let mut good = ringate.tls_client(pki.client_config());
    assert_eq!(good.send(GET).response().text(), "ok");
    let mut bad: Vec<Client> = (0..60).map(|_| ringate.client()).collect();
    for (number, client) in bad.iter_mut().enumerate() {
        let _ = client.try_send(garbage(number));
    }
    assert_eq!(good.send(GET).response().text(), "ok");
    for (number, mut client) in bad.into_iter().enumerate() {
        if let Err(error) = client.try_rest() {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "garbage {number}");
        }
    }
    assert_eq!(good.send(GET).response().text(), "ok");
}

#[test]
fn a_response_that_only_its_connections_end_would_end_is_cut_with_a_reset() {
    let backend = Backend::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    });
    let ringate = Setup::to(backend.address()).start();
    let mut client = ringate.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let end = client.try_rest().expect_err("half of it looks whole");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}
