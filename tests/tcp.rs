//! TCP listeners: bytes both ways as they are, over plain or TLS on either side, each half closed on its own.

use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, Instant};

use crate::support::*;

/// Whether clients and backends speak TLS.
const SIDES: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// A relay to a server, and what is needed to speak through it.
struct Relay {
    ringate: Ringate,
    pki: Pki,
    front: bool,
    /// Dropped last: it listens for as long as the relay runs.
    _server: Server,
}

impl Relay {
    fn new(
        (front, back): (bool, bool),
        upstream: &str,
        script: impl Fn(&mut BufReader<Stream>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let pki = Pki::new();
        let server = Server::start(back.then(|| pki.server_config()), script);
        let ringate = setup(&pki, (front, back), server.address(), upstream).start();
        Self { ringate, pki, front, _server: server }
    }

    fn connect(&self) -> Stream {
        Stream::connect(self.ringate.address(), self.front.then(|| self.pki.client_config()))
    }
}

fn setup(pki: &Pki, (front, back): (bool, bool), server: std::net::SocketAddr, upstream: &str) -> Setup {
    let mut listener = "protocol = \"tcp\"\n".to_owned();
    if front {
        listener += &pki.listener_tls();
    }
    let mut upstream = format!("{upstream}\n");
    if back {
        upstream += &pki.upstream_tls();
    }
    Setup::to(server).listener(&listener).upstream(&upstream)
}

/// Sends everything back as it comes, and ends when the peer has.
fn echo(stream: &mut BufReader<Stream>) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut piece)? {
            0 => return stream.get_mut().finish(),
            count => {
                stream.get_mut().write_all(&piece[..count])?;
                stream.get_mut().flush()?;
            }
        }
    }
}

#[test]
fn bytes_go_both_ways_as_they_are() {
    for sides in SIDES {
        let relay = Relay::new(sides, "", echo);
        let mut client = relay.connect();
        // No protocol of ours is looked for: HTTP, NULs and broken lines are bytes like others.
        for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0", b"\r\n\r\n", &[0xff; 70_000]] {
            client.write_all(sent).unwrap();
            client.flush().unwrap();
            let mut got = vec![0; sent.len()];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, sent, "{sides:?}");
        }
        client.finish().unwrap();
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0, "{sides:?}");
    }
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    for sides in SIDES {
        let relay = Relay::new(sides, "", |stream| {
            stream.get_mut().write_all(b"220 ready\r\n")?;
            stream.get_mut().flush()?;
            echo(stream)
        });
        let mut client = relay.connect();
        let mut got = [0; 11];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"220 ready\r\n", "{sides:?}");
    }
}

#[test]
fn a_client_that_has_ended_its_half_still_gets_all_of_the_answer() {
    let size = 3_000_001;
    for sides in SIDES {
        // Answers only after the end of what it got: its length and hash, and much more.
        let relay = Relay::new(sides, "", move |stream| {
            let (count, hash) = Hash::of(stream)?;
            let out = stream.get_mut();
            out.write_all(format!("{count} {hash}\n").as_bytes())?;
            io::copy(&mut Pattern::new(size), out)?;
            out.finish()
        });
        let mut client = relay.connect();
        io::copy(&mut Pattern::new(size), &mut client).unwrap();
        client.finish().unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        let line = format!("{size} {}\n", Pattern::hash(size));
        assert!(answer.starts_with(line.as_bytes()), "{sides:?}");
        assert!(answer[line.len()..] == Pattern::bytes(size), "{sides:?}");
    }
}

#[test]
fn a_server_that_has_ended_its_half_still_gets_all_that_the_client_sends() {
    let size = 3_000_001;
    for sides in SIDES {
        let (told, hashes) = std::sync::mpsc::channel();
        let relay = Relay::new(sides, "", move |stream| {
            stream.get_mut().write_all(b"that is all from me\n")?;
            stream.get_mut().finish()?;
            let _ = told.send(Hash::of(stream)?);
            Ok(())
        });
        let mut client = relay.connect();
        let mut said = String::new();
        // To the end, which on TLS is close_notify and nothing less.
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "that is all from me\n", "{sides:?}");
        io::copy(&mut Pattern::new(size), &mut client).unwrap();
        client.finish().unwrap();
        let hash = hashes.recv_timeout(PATIENCE).unwrap();
        assert_eq!(hash, (size, Pattern::hash(size)), "{sides:?}");
    }
}

#[test]
fn much_goes_both_ways_at_once() {
    const SIZE: u64 = 32 << 20;
    // So much may be on its way at a time; less than what the sockets on it hold.
    const AHEAD: u64 = 256 << 10;
    for sides in SIDES {
        let relay = Relay::new(sides, "", echo);
        let mut client = relay.connect();
        let (mut pattern, mut hash) = (Pattern::new(SIZE), Hash::new());
        let (mut sent, mut got) = (0, 0);
        let mut piece = vec![0; 48 * 1024];
        while got < SIZE {
            if sent < SIZE && sent - got < AHEAD {
                let count = pattern.read(&mut piece).unwrap();
                client.write_all(&piece[..count]).unwrap();
                sent += count as u64;
            } else {
                client.flush().unwrap();
                let count = client.read(&mut piece).unwrap();
                assert!(count > 0, "{sides:?}: ended after {got} bytes");
                hash.write_all(&piece[..count]).unwrap();
                got += count as u64;
            }
        }
        assert_eq!(hash.finish(), (SIZE, Pattern::hash(SIZE)), "{sides:?}");
    }
}

#[test]
fn two_plain_streams_at_full_speed_do_not_wait_for_each_other() {
    const SIZE: u64 = 128 << 20;
    let (told, hashes) = std::sync::mpsc::channel();
    let relay = Relay::new((false, false), "", move |stream| {
        let mut out = stream.get_ref().tcp().try_clone()?;
        let sending = std::thread::spawn(move || io::copy(&mut Pattern::new(SIZE + 1), &mut out));
        let hash = Hash::of(stream)?;
        sending.join().unwrap()?;
        stream.get_mut().finish()?;
        let _ = told.send(hash);
        Ok(())
    });
    let mut client = relay.connect();
    let mut out = client.tcp().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        io::copy(&mut Pattern::new(SIZE), &mut out).unwrap();
        out.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert_eq!(Hash::of(&mut client).unwrap(), (SIZE + 1, Pattern::hash(SIZE + 1)));
    sending.join().unwrap();
    assert_eq!(hashes.recv_timeout(PATIENCE).unwrap(), (SIZE, Pattern::hash(SIZE)));
}

#[test]
fn a_reset_on_one_side_ends_the_other_at_once() {
    for sides in SIDES {
        // By the server, in the middle of a transfer.
        let relay = Relay::new(sides, "", |stream| {
            stream.get_mut().write_all(b"hello")?;
            stream.get_mut().flush()?;
            stream.read_exact(&mut [0; 4])?;
            socket2::SockRef::from(stream.get_ref().tcp()).set_linger(Some(Duration::ZERO))
        });
        let mut client = relay.connect();
        client.read_exact(&mut [0; 5]).unwrap();
        client.write_all(b"ping").unwrap();
        client.flush().unwrap();
        let begun = Instant::now();
        let end = client.read_to_end(&mut Vec::new());
        assert!(begun.elapsed() < Duration::from_secs(2), "{sides:?}");
        if sides.0 {
            end.expect_err("without close_notify it must not count as whole");
        }

        // By the client.
        let (told, ended) = std::sync::mpsc::channel();
        let relay = Relay::new(sides, "", move |stream| {
            stream.read_exact(&mut [0; 4])?;
            let _ = told.send(None);
            let _ = told.send(Some(stream.read_to_end(&mut Vec::new()).is_ok()));
            Ok(())
        });
        let mut client = relay.connect();
        client.write_all(b"ping").unwrap();
        client.flush().unwrap();
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(None));
        client.reset();
        let whole = ended.recv_timeout(Duration::from_secs(2)).unwrap().unwrap();
        assert!(!(sides.1 && whole), "a cut stream must not end as if it were whole: {sides:?}");
    }
}

#[test]
fn a_server_that_hangs_up_on_a_client_that_talks_is_heard() {
    for sides in SIDES {
        let relay = Relay::new(sides, "", |stream| {
            stream.read_exact(&mut [0; 1000])?;
            stream.get_mut().write_all(b"enough")?;
            stream.get_mut().flush()
        });
        for _ in 0..10 {
            let mut client = relay.connect();
            client.write_all(&[b'x'; 1000]).unwrap();
            // Once some of it is refused, the rest is of no interest.
            let mut heard = [0; 6];
            let mut out = client.tcp().try_clone().unwrap();
            let talking = (!sides.0)
                .then(|| std::thread::spawn(move || while out.write_all(&[b'x'; 100_000]).is_ok() {}));
            client.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"enough", "{sides:?}");
            drop(client);
            let _ = talking.map(std::thread::JoinHandle::join);
        }
    }
}

/// The send queue of a server that has died is lost: the kernel answers the client's last bytes with a reset.
/// So the server is not gone before the relay has taken all of it, most of which its client has yet to read.
#[test]
fn an_answer_arrives_whole_though_its_server_has_gone_and_its_client_says_a_last_word() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let relay = Relay::new((false, false), "", move |stream| {
        stream.read_exact(&mut [0; 3])?;
        let server = stream.get_ref().tcp().try_clone()?;
        let is_taken =
            |sent: u64| ringate::internals::io::peer::flow(&server).is_some_and(|flow| flow.taken >= sent);
        let mut sent = 0;
        // Until the relay takes no more, as its client reads nothing.
        loop {
            stream.get_mut().write_all(&[b'x'; 32 << 10])?;
            stream.get_mut().flush()?;
            sent += 32 << 10;
            let begun = Instant::now();
            while !is_taken(sent) && begun.elapsed() < Duration::from_millis(400) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !is_taken(sent) || sent >= 64 << 20 {
                break;
            }
        }
        tell.lock().unwrap().send(sent).unwrap();
        eventually("the last piece being taken", || is_taken(sent).then_some(()));
        tell.lock().unwrap().send(sent).unwrap();
        Ok(())
    });
    let mut client = relay.connect();
    client.write_all(b"get").unwrap();
    let sent = told.recv_timeout(PATIENCE).unwrap();
    let mut got = vec![0; 16 << 10];
    let mut read = 0;
    while told.try_recv().is_err() {
        read += client.read(&mut got).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    client.write_all(b"quit").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    client.tcp().shutdown(std::net::Shutdown::Write).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!((read + rest.len()) as u64, sent);
    assert!(rest.len() > 256 << 10, "the relay had much of it to pass on: {}", rest.len());
}

#[test]
fn a_tls_stream_cut_without_close_notify_does_not_end_in_order_on_the_other_side() {
    let relay = Relay::new((true, true), "", |stream| {
        stream.get_mut().write_all(b"half of")?;
        stream.get_mut().flush()?;
        stream.read_exact(&mut [0; 4])?;
        stream.get_ref().tcp().shutdown(std::net::Shutdown::Both)
    });
    let mut client = relay.connect();
    client.read_exact(&mut [0; 7]).unwrap();
    client.write_all(b"ping").unwrap();
    client.flush().unwrap();
    client.read_to_end(&mut Vec::new()).expect_err("the server died: that was not the end");
}

#[test]
fn a_relay_on_which_nobody_speaks_is_closed_after_the_idle_timeout() {
    for sides in SIDES {
        let (told, ended) = std::sync::mpsc::channel();
        let relay = Relay::new(sides, "timeouts = { idle = \"700ms\" }", move |stream| {
            let mut piece = [0; 100];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                stream.get_mut().write_all(&piece[..count])?;
                stream.get_mut().flush()?;
            }
            let _ = told.send(());
            Ok(())
        });
        let mut client = relay.connect();
        // A word now and then keeps it open for longer than the timeout.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1_000) {
            client.write_all(b"word").unwrap();
            client.flush().unwrap();
            client.read_exact(&mut [0; 4]).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        let silent = Instant::now();
        let _ = client.read(&mut [0; 1]);
        let took = silent.elapsed();
        assert!((Duration::from_millis(400)..Duration::from_secs(3)).contains(&took), "{sides:?}: {took:?}");
        ended.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_client_is_closed_at_once_when_there_is_no_server() {
    let pki = Pki::new();
    for sides in SIDES {
        let ringate = setup(&pki, sides, free_address(), "").start();
        let begun = Instant::now();
        let mut client = Stream::connect(ringate.address(), sides.0.then(|| pki.client_config()));
        let _ = client.write_all(b"anyone there?").and_then(|()| client.flush());
        assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)), "{sides:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{sides:?}");
        ringate.await_log("connect: Connection refused");
    }
}

#[test]
fn a_server_that_is_back_is_used_again() {
    let address = free_address();
    let pki = Pki::new();
    let ringate = setup(&pki, (false, false), address, "").start();
    ringate.client().ends();
    let _backend = Backend::start_at(address, |connection| connection.send("back"));
    let mut client = ringate.client();
    assert_eq!(client.rest(), b"back");
}

#[test]
fn openssl_answers_through_tls_that_ringate_makes_for_a_plain_client() {
    let pki = Pki::new();
    // `-rev`: s_server sends each line back reversed.
    for version in ["-tls1_2", "-tls1_3"] {
        let server = SServer::start(&pki, &["-rev", "-Verify", "1", "-verify_return_error", version]);
        let tls = pki.upstream_mutual_tls();
        let ringate = Setup::to(server.address()).listener("protocol = \"tcp\"").upstream(&tls).start();
        let mut client = ringate.client();
        client.send("desserts\n");
        assert_eq!(client.until("\n"), "stressed\n");
        client.send("drawer\n");
        assert_eq!(client.until("\n"), "reward\n");
    }
}

#[test]
fn many_relays_run_beside_each_other() {
    let relay = Relay::new((true, true), "", echo);
    let mut clients: Vec<Stream> = (0..50).map(|_| relay.connect()).collect();
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            write!(client, "{round:04} {number:04}").unwrap();
            client.flush().unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut got = [0; 9];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, *format!("{round:04} {number:04}").as_bytes());
        }
    }
}

#[test]
fn a_client_that_takes_a_long_piece_bit_by_bit_is_not_silent() {
    const SIZE: u64 = 24 << 20;
    let slowly = |sides: (bool, bool)| {
        let relay = Relay::new(sides, "timeouts = { idle = \"1s\" }", |stream| {
            stream.read_exact(&mut [0; 2])?;
            io::copy(&mut Pattern::new(SIZE), stream.get_mut())?;
            stream.get_mut().finish()
        });
        let mut client = relay.connect();
        socket2::SockRef::from(client.tcp()).set_recv_buffer_size(32 * 1024).unwrap();
        client.write_all(b"go").unwrap();
        client.flush().unwrap();
        let (mut hash, mut piece) = (Hash::new(), [0; 40_000]);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            client.read_exact(&mut piece).unwrap_or_else(|error| panic!("{sides:?}: {error}"));
            hash.write_all(&piece).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        io::copy(&mut client, &mut hash).unwrap_or_else(|error| panic!("{sides:?}: {error}"));
        assert_eq!(hash.finish(), (SIZE, Pattern::hash(SIZE)), "{sides:?}");
    };
    std::thread::scope(|scope| {
        for sides in [(false, false), (true, false), (false, true)] {
            scope.spawn(move || slowly(sides));
        }
    });
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    for sides in SIDES {
        let (told, ended) = std::sync::mpsc::channel();
        let relay = Relay::new(sides, "timeouts = { idle = \"700ms\" }", move |stream| {
            stream.read_exact(&mut [0; 2])?;
            let begun = Instant::now();
            let _ = io::copy(&mut Pattern::new(1 << 30), stream.get_mut());
            let _ = told.send(begun.elapsed());
            Ok(())
        });
        let mut client = relay.connect();
        client.write_all(b"go").unwrap();
        client.flush().unwrap();
        let took = ended.recv_timeout(PATIENCE).unwrap();
        assert!((Duration::from_millis(700)..Duration::from_secs(6)).contains(&took), "{sides:?}: {took:?}");
    }
}

#[test]
fn half_a_record_does_not_keep_a_relay_open() {
    for sides in [(true, false), (false, true)] {
        let half = |tls: &Stream| tls.tcp().write_all(&[23, 3, 3, 0, 100, 1, 2, 3]);
        let relay = Relay::new(sides, "timeouts = { idle = \"1200ms\" }", move |stream| {
            stream.read_exact(&mut [0; 4])?;
            stream.get_mut().write_all(b"back")?;
            stream.get_mut().flush()?;
            if sides.1 {
                half(stream.get_ref())?;
            }
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
        let mut client = relay.connect();
        client.write_all(b"word").unwrap();
        client.flush().unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        if sides.0 {
            half(&client).unwrap();
        }
        let silent = Instant::now();
        let _ = client.read(&mut [0; 1]);
        let took = silent.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{sides:?}: {took:?}");
    }
}

#[test]
fn what_came_whole_before_a_bad_record_still_arrives() {
    let pki = Pki::new();
    let server = Server::start(Some(pki.server_config()), |stream| {
        stream.read_exact(&mut [0; 4])?;
        let Stream::Server(tls) = stream.get_mut() else { unreachable!() };
        let mut wire = Vec::new();
        tls.conn.writer().write_all(b"answer")?;
        while tls.conn.wants_write() {
            tls.conn.write_tls(&mut wire)?;
        }
        wire.extend([23, 3, 3, 0, 32]);
        wire.extend([7; 32]);
        tls.sock.write_all(&wire)?;
        let _ = tls.sock.read(&mut [0; 1000]);
        Ok(())
    });
    let ringate =
        Setup::to(server.address()).listener("protocol = \"tcp\"").upstream(&pki.upstream_tls()).start();
    let mut client = ringate.client();
    client.send("ping");
    let mut got = Vec::new();
    let _ = client.tcp().read_to_end(&mut got);
    assert_eq!(got, b"answer");
}
