//! UDP listeners: sessions by client, with one endpoint each, and what ends them.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::reload::{edit, reload};
use crate::support::*;

/// A UDP server on loopback, whose socket is closed when this is dropped.
struct Datagrams {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Datagrams {
    /// Each datagram is given to `serve`, with its sender.
    fn start(serve: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> Self {
        Self::at("127.0.0.1:0", serve)
    }

    fn at(address: &str, serve: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut piece = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((count, from)) = socket.recv_from(&mut piece) {
                    serve(&socket, &piece[..count], from);
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// Sends each datagram back.
    fn echo() -> Self {
        Self::start(|socket, bytes, from| drop(socket.send_to(bytes, from)))
    }

    /// Replies with its name and the port of the sender.
    fn named(name: &'static str) -> Self {
        Self::start(move |socket, _, from| {
            let _ = socket.send_to(format!("{name} {}", from.port()).as_bytes(), from);
        })
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A client of a UDP server.
struct Sender(UdpSocket);

impl Sender {
    fn to(address: SocketAddr) -> Self {
        Self::from(if address.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" }, address)
    }

    fn from(own: &str, address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(own).unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(socket)
    }

    fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        self.try_receive(Duration::from_secs(10)).expect("a datagram")
    }

    fn try_receive(&self, patience: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut piece = vec![0; 65_536];
        let count = self.0.recv(&mut piece).ok()?;
        piece.truncate(count);
        Some(piece)
    }

    fn ask(&self, bytes: &[u8]) -> String {
        self.send(bytes);
        String::from_utf8(self.receive()).unwrap()
    }
}

/// A udp listener on loopback before these endpoints.
fn udp_to(endpoints: &[&Datagrams]) -> Setup {
    let setup = Setup::to_all(endpoints.iter().map(|endpoint| endpoint.address));
    setup.listener("protocol = \"udp\"").section("[admin]\n[log]\naccess = \"access.log\"\nformat = \"json\"")
}

/// Lines of the access log, once there are so many.
fn await_lines(ringate: &Ringate, count: usize) -> Vec<serde_json::Value> {
    let file = ringate.dir().join("access.log");
    eventually("lines of the access log", || {
        let text = fs::read_to_string(&file).ok()?;
        let lines: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn datagrams_of_any_size_go_both_ways_as_they_are() {
    let server = Datagrams::echo();
    for driver in ["auto", "epoll"] {
        let ringate = udp_to(&[&server]).driver(driver).start();
        let client = Sender::to(ringate.address());
        for size in [1, 0, 1200, 1472, 9000, 65_507] {
            let sent = Pattern::bytes(size);
            client.send(&sent);
            assert!(client.receive() == sent, "{driver}: {size} bytes");
        }
        for (name, value) in [("udp_datagrams_up", 6), ("udp_datagrams_down", 6), ("udp_bytes_up", 77_180)] {
            ringate.await_metric(&format!("{name}_total"), value);
        }
        let text = ringate.admin("/metrics");
        assert!(text.contains("ringate_listener_udp_bytes_down_total{listener=\"web\"} 77180"), "{text}");
        let status = ringate.admin("/v1/status");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let udp = &status["listeners"][0]["udp"];
        assert_eq!((&udp["sessions_open"], &udp["datagrams_up"]), (&1.into(), &6.into()), "{status}");
    }
}

#[test]
fn a_client_stays_with_its_endpoint_and_others_share_them() {
    let servers = [Datagrams::named("a"), Datagrams::named("b")];
    let ringate = udp_to(&[&servers[0], &servers[1]]).workers(2).start();
    let clients: Vec<Sender> = (0..16).map(|_| Sender::to(ringate.address())).collect();
    let first: Vec<String> = clients.iter().map(|client| client.ask(b"?")).collect();
    for _ in 0..3 {
        // Its socket towards the endpoint stays, too.
        assert!(clients.iter().zip(&first).all(|(client, first)| client.ask(b"?") == *first));
    }
    let of_a = first.iter().filter(|name| name.starts_with("a ")).count();
    assert!((6..=10).contains(&of_a), "{first:?}");
    assert_eq!(ringate.metric("udp_sessions_open"), 16);
}

#[test]
fn a_silent_session_ends_with_a_line_in_the_access_log() {
    let server = Datagrams::start(|socket, bytes, from| {
        let _ = socket.send_to(bytes, from);
        let _ = socket.send_to(b"and more", from);
    });
    let ringate = udp_to(&[&server]).upstream("timeouts.idle = \"200ms\"").start();
    let client = Sender::to(ringate.address());
    client.send(b"hello");
    assert_eq!((client.receive(), client.receive()), (b"hello".to_vec(), b"and more".to_vec()));
    let line = await_lines(&ringate, 1).remove(0);
    let endpoint = server.address.to_string();
    for (name, value) in [
        ("listener", "web"),
        ("client", "127.0.0.1"),
        ("upstream", "app"),
        ("endpoint", &endpoint),
        ("end", "idle"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    for (name, value) in [("bytes_up", 5), ("bytes_down", 13), ("datagrams_up", 1), ("datagrams_down", 2)] {
        assert_eq!(line[name], value, "{line}");
    }
    let duration = line["duration_us"].as_u64().unwrap();
    assert!((200_000..2_000_000).contains(&duration), "{line}");
    assert_eq!(ringate.metric("udp_sessions_open"), 0);
    client.send(b"again");
    assert_eq!(client.receive(), b"again");
    assert_eq!(ringate.metric("udp_sessions_total"), 2);
}

#[test]
fn with_all_sessions_taken_one_that_is_not_confirmed_makes_room() {
    let server = Datagrams::echo();
    let ringate = udp_to(&[&server]).limits("udp_sessions = 2").start();
    let [kept, other, third] = [(); 3].map(|()| Sender::to(ringate.address()));
    // It sends after a reply: no forged address.
    assert_eq!((kept.ask(b"1"), kept.ask(b"2")), ("1".into(), "2".into()));
    for client in [&other, &third] {
        assert_eq!(client.ask(b"x"), "x");
    }
    assert_eq!((ringate.metric("udp_sessions_open"), ringate.metric("limit_udp_sessions_total")), (2, 1));
    let line = await_lines(&ringate, 1).remove(0);
    assert_eq!((&line["end"], &line["datagrams_up"]), (&"displaced".into(), &1.into()), "{line}");
    assert_eq!(kept.ask(b"3"), "3");
    assert_eq!(ringate.metric("udp_sessions_total"), 3, "the confirmed one was not begun again");
    // Both confirmed and in use: a new client gets nothing.
    assert_eq!(third.ask(b"y"), "y");
    let refused = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // In use for as long as the new client is not refused: a session that is silent for a second makes room.
        for client in [&kept, &third] {
            client.send(b"k");
            scope.spawn(|| {
                for _ in 0..200 {
                    client.send(b"k");
                    std::thread::sleep(Duration::from_millis(50));
                    if refused.load(Ordering::SeqCst) {
                        break;
                    }
                }
            });
        }
        other.send(b"z");
        ringate.await_metric("udp_refused_total", 1);
        refused.store(true, Ordering::SeqCst);
    });
    assert_eq!((ringate.metric("udp_sessions_open"), ringate.metric("udp_sessions_total")), (2, 3));
}

#[test]
fn clients_are_bounded_and_refused_by_their_address() {
    let server = Datagrams::echo();
    let setup = udp_to(&[&server]).limits("connections_per_client = 1");
    let ringate = setup.listener("protocol = \"udp\"\ndeny = [\"127.0.0.9\"]").start();
    let first = Sender::to(ringate.address());
    assert_eq!(first.ask(b"1"), "1");
    Sender::to(ringate.address()).send(b"one too many");
    ringate.await_metric("limit_connections_per_client_total", 1);
    Sender::from("127.0.0.9:0", ringate.address()).send(b"denied");
    ringate.await_metric("udp_refused_total", 2);
    assert_eq!(Sender::from("127.0.0.8:0", ringate.address()).ask(b"2"), "2");
    assert_eq!((first.ask(b"3"), ringate.metric("udp_sessions_total")), ("3".into(), 2));
}

#[test]
fn another_endpoint_takes_over_where_one_is_gone() {
    let servers = [Datagrams::named("a"), Datagrams::named("b")];
    let ringate = udp_to(&[&servers[0], &servers[1]]).start();
    let clients: Vec<Sender> = (0..4).map(|_| Sender::to(ringate.address())).collect();
    clients.iter().for_each(|client| drop(client.ask(b"?")));
    let [a, _b] = servers;
    let gone = a.address.to_string();
    drop(a);
    for client in &clients {
        // The first datagram may be the one that finds out (ICMP); the next one goes to the other endpoint.
        let reply = eventually("a reply of the other endpoint", || {
            client.send(b"?");
            client.try_receive(Duration::from_millis(200))
        });
        assert!(reply.starts_with(b"b "), "{reply:?}");
    }
    assert!((1..=3).contains(&ringate.metric("udp_unreachable_total")));
    let ended = await_lines(&ringate, 1).remove(0);
    assert_eq!(ended["end"], "backend_lost", "{ended}");
    assert!(ended["failure"].as_str().unwrap().contains("refused"), "{ended}");
    let status = ringate.admin("/v1/status");
    assert!(status.contains("refused") && status.contains("down"), "{status}");
    let failures: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/failures")).unwrap();
    let failure = &failures[0];
    assert_eq!(
        (&failure["type"], &failure["fault"]),
        (&"connection_refused".into(), &"backend".into()),
        "{failure}"
    );
    assert_eq!(failure["endpoint"], gone, "{failure}");
}

#[test]
fn a_reload_leaves_sessions_alone() {
    let (server, other) = (Datagrams::named("a"), Datagrams::named("b"));
    let ringate = udp_to(&[&server]).workers(2).upstream("timeouts.idle = \"30s\"").start();
    let clients: Vec<Sender> = (0..8).map(|_| Sender::to(ringate.address())).collect();
    let first: Vec<String> = clients.iter().map(|client| client.ask(b"?")).collect();
    let done = Arc::new(AtomicBool::new(false));
    let pump = {
        let (done, address) = (Arc::clone(&done), ringate.address());
        std::thread::spawn(move || {
            let client = Sender::to(address);
            let mut asked = 0;
            let mut replies = Vec::new();
            while !done.load(Ordering::Relaxed) {
                replies.push(client.ask(b"?"));
                asked += 1;
            }
            replies.dedup();
            (asked, replies)
        })
    };
    let config = edit(&ringate, &format!("\"{}\"", server.address), &format!("\"{}\"", other.address));
    reload(&ringate, &config);
    reload(&ringate, &config.replace("\"30s\"", "\"40s\""));
    // What runs goes on where it was; new sessions go where the config says.
    assert!(clients.iter().zip(&first).all(|(client, first)| client.ask(b"?") == *first));
    assert!(Sender::to(ringate.address()).ask(b"?").starts_with("b "));
    done.store(true, Ordering::Relaxed);
    let (asked, replies) = pump.join().unwrap();
    assert!(asked > 10 && replies.len() == 1, "{asked} {replies:?}");
    assert_eq!(ringate.metric("udp_sessions_total"), 10);
}

/// Bursts as QUIC sends them, through two instances in a row: one hands the other datagrams as one piece (UDP_SEGMENT),
/// which the other receives as one (UDP_GRO).
#[test]
fn bursts_arrive_whole_and_in_order_both_ways() {
    const BURST: u32 = 48;
    let server = Datagrams::echo();
    let back = udp_to(&[&server]).start();
    let front = Setup::to(back.address()).listener("protocol = \"udp\"").section("[admin]").start();
    let clients = [Sender::to(front.address()), Sender::to(front.address())];
    for burst in 0..60 {
        for (number, client) in clients.iter().enumerate() {
            for sequence in 0..BURST {
                // The last one is shorter.
                let mut datagram = vec![number as u8; if sequence + 1 == BURST { 700 } else { 1200 }];
                datagram[..4].copy_from_slice(&(burst * BURST + sequence).to_be_bytes());
                client.send(&datagram);
            }
        }
        for (number, client) in clients.iter().enumerate() {
            for sequence in 0..BURST {
                let datagram = client.receive();
                assert_eq!(datagram[..4], (burst * BURST + sequence).to_be_bytes());
                assert_eq!(datagram.len(), if sequence + 1 == BURST { 700 } else { 1200 });
                assert!(datagram[4..].iter().all(|&byte| byte == number as u8));
            }
        }
    }
    for ringate in [&front, &back] {
        let passed = u64::from(60 * BURST * 2);
        ringate.await_metric("udp_datagrams_up_total", passed);
        ringate.await_metric("udp_datagrams_down_total", passed);
        assert_eq!(ringate.metric("udp_send_drops_total") + ringate.metric("udp_queue_drops_total"), 0);
    }
}

#[test]
fn replies_leave_from_the_address_that_was_asked() {
    let server = Datagrams::at("[::1]:0", |socket, bytes, from| drop(socket.send_to(bytes, from)));
    let listener = |name: &str, address: &str, more: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"udp\"\n{more}\n")
    };
    let ringate = Ringate::start(&format!(
        "[runtime]\nworkers = 2\n{}{}{}[[route]]\nlistener = [\"v6\", \"any4\", \"any\"]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        listener("v6", "[::1]:0", ""),
        listener("any4", "0.0.0.0:0", ""),
        listener("any", "[::]:0", "ipv6_only = false"),
        server.address
    ));
    let port = |name: &str| ringate.address_of(name).port();
    // A connected socket receives from the address alone that it is connected to.
    for (name, address) in
        [("v6", "::1"), ("any4", "127.0.0.1"), ("any4", "127.0.0.7"), ("any", "::1"), ("any", "127.0.0.7")]
    {
        let address: IpAddr = address.parse().unwrap();
        let client = Sender::to(SocketAddr::new(address, port(name)));
        for text in ["1", "2"] {
            assert_eq!(client.ask(text.as_bytes()), text, "{name} {address}");
        }
    }
}

#[test]
fn each_datagram_begins_with_a_proxy_header_where_the_upstream_wants_it() {
    let server =
        Datagrams::start(|socket, bytes, from| drop(socket.send_to(&bytes.to_ascii_uppercase(), from)));
    let ringate = udp_to(&[&server]).upstream("proxy_protocol = \"v2\"").start();
    let client = Sender::to(ringate.address());
    let own = client.0.local_addr().unwrap();
    for text in [&b"one"[..], b"", b"three"] {
        client.send(text);
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
        expected.extend(own.port().to_be_bytes());
        expected.extend(ringate.address().port().to_be_bytes());
        expected.extend(text);
        assert_eq!(client.receive(), expected.to_ascii_uppercase());
    }
}

#[test]
fn sessions_end_by_their_responses_and_requests() {
    let servers = [Datagrams::named("a"), Datagrams::named("b")];
    let setup = udp_to(&[&servers[0], &servers[1]]);
    let ringate = setup.listener("protocol = \"udp\"\nudp.responses = 1\nudp.requests = 1").start();
    let client = Sender::to(ringate.address());
    let mut replies: Vec<String> = (0..4).map(|_| client.ask(b"?")).collect();
    ringate.await_metric("udp_sessions_open", 0);
    assert!(await_lines(&ringate, 4).iter().all(|line| line["end"] == "answered"));
    assert_eq!(replies.iter().filter(|reply| reply.starts_with("a ")).count(), 2, "each goes its own way");
    replies.sort();
    replies.dedup();
    assert_eq!(replies.len(), 4, "each had a socket of its own");
}

#[test]
fn a_drain_leaves_sessions_until_they_are_silent() {
    let server = Datagrams::echo();
    let mut ringate = udp_to(&[&server]).upstream("timeouts.idle = \"500ms\"").start();
    let client = Sender::to(ringate.address());
    assert_eq!(client.ask(b"1"), "1");
    ringate.signal(Signal::TERM);
    ringate.await_log("draining");
    let until = Instant::now() + Duration::from_millis(900);
    while Instant::now() < until {
        assert_eq!(client.ask(b"2"), "2");
        std::thread::sleep(Duration::from_millis(50));
    }
    let late = Sender::to(ringate.address());
    late.send(b"3");
    assert_eq!(late.try_receive(Duration::from_millis(100)), None, "no session is begun any more");
    assert!(ringate.wait().success());
}

#[test]
fn tcp_and_udp_share_a_port() {
    let (server, backend) = (Datagrams::echo(), Backend::replying("HTTP/1.1 204 No Content\r\n\r\n"));
    let address = free_address();
    let ringate_config = format!(
        "[[listener]]\nname = \"web\"\naddress = \"{address}\"\n[[listener]]\nname = \"dns\"\naddress = \"{address}\"\n\
         protocol = \"udp\"\n[[route]]\nlistener = \"web\"\nupstream = \"http\"\n[[route]]\nlistener = \"dns\"\n\
         upstream = \"udp\"\n[upstream.http]\nendpoints = [\"{}\"]\n[upstream.udp]\nendpoints = [\"{}\"]\n",
        backend.address(),
        server.address
    );
    let ringate = Ringate::start(&ringate_config);
    assert_eq!(ringate.get("/").status, 204);
    assert_eq!(Sender::to(address).ask(b"x"), "x");
    // Another process can't have a socket there too.
    let file = ringate.dir().join("other.toml");
    let (_, udp_alone) =
        ringate_config.split_once("[[listener]]").unwrap().1.split_once("[[listener]]").unwrap();
    let udp_alone = udp_alone.replace("[[route]]\nlistener = \"web\"\nupstream = \"http\"\n", "");
    fs::write(&file, format!("[[listener]]{udp_alone}")).unwrap();
    let output = Ringate::command().arg("run").arg("-c").arg(file).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"), "{output:?}");
}

#[test]
fn keys_that_udp_does_not_have_are_refused() {
    let listener = "[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:0\"\nprotocol = \"udp\"\n";
    let rest = "[[route]]\nupstream = \"app\"\n";
    let app = "[upstream.app]\nendpoints = [\"127.0.0.1:1\"]\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringate.toml");
    for (config, says) in [
        (
            format!("{listener}[listener.tls]\ncertificates = [\"web\"]\n{rest}{app}"),
            "TLS over TCP, and this listener is udp",
        ),
        (format!("{listener}proxy_protocol = \"v2\"\n{rest}{app}"), "not supported yet"),
        (format!("{listener}compression = true\n{rest}{app}"), "needs `protocol = \"http\"`"),
        (format!("{listener}limits.body_bytes = 1\n{rest}{app}"), "bounds HTTP, and this listener is udp"),
        (
            format!("{listener}limits.connections = 1\n{rest}{app}"),
            "bounds connections, and this listener is udp",
        ),
        (format!("{listener}{rest}path = \"/x\"\n{app}"), "needs an http listener, and `l` is udp"),
        (format!("{listener}{rest}sni = \"a.example\"\n{app}"), "needs a tcp listener, and `l` is udp"),
        (format!("{listener}{rest}{rest}{app}"), "already has such a route"),
        (format!("{listener}{rest}{app}tls.insecure_skip_verify = true\n"), "`app` has TLS"),
        (format!("{listener}{rest}{app}proxy_protocol = \"v1\"\n"), "for TCP alone"),
        (format!("{listener}{rest}{app}pool.max_per_endpoint = 1\n"), "not supported yet for udp"),
        (format!("{listener}{rest}[upstream.app]\nendpoints = [\"unix:a.sock\"]\n"), "on a Unix socket"),
        (format!("{}{rest}{app}", listener.replace("127.0.0.1:0", "unix:a.sock")), "is a Unix socket"),
        (
            format!("{}udp.responses = 1\n{rest}{app}", listener.replace("udp", "tcp")),
            "needs `protocol = \"udp\"`",
        ),
        (
            format!("{}limits.udp_sessions = 1\n{rest}{app}", listener.replace("udp", "tcp")),
            "bounds sessions of udp listeners, and this listener is tcp",
        ),
    ] {
        fs::write(&file, &config).unwrap();
        let output = Ringate::command().arg("check").arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        assert!(output.status.code() == Some(1) && said.contains(says), "{config}\n{said}");
    }
}

#[test]
fn a_probe_tells_a_closed_port_from_a_silent_one() {
    let (server, file) = (Datagrams::echo(), tempfile::tempdir().unwrap());
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = file.path().join("ringate.toml");
    let probe = |endpoint: SocketAddr| {
        let text = format!(
            "[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:0\"\nprotocol = \"udp\"\n[[route]]\nupstream = \"app\"\n\
             [upstream.app]\nendpoints = [\"{endpoint}\"]\n"
        );
        fs::write(&config, text).unwrap();
        let output =
            Ringate::command().args(["probe", "--upstream", "app", "-c"]).arg(&config).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, said) = probe(closed);
    assert!(code == Some(1) && said.contains("refused"), "{said}");
    let (code, said) = probe(server.address);
    assert!(code == Some(0) && said.contains("udp"), "{said}");
}

/// A query for the address of a name (RFC 1035 §4), and what a server says: its status and, if there is one, the address.
fn lookup(server: SocketAddr, own: &str, name: &str) -> Option<(u8, Option<[u8; 4]>)> {
    let client = Sender::from(own, server);
    let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend(b"\0\0\x01\0\x01");
    client.send(&query);
    let answer = client.try_receive(Duration::from_millis(500))?;
    assert_eq!(answer[..2], query[..2]);
    let address = (answer[7] == 1).then(|| answer[answer.len() - 4..].try_into().unwrap());
    Some((answer[3] & 15, address))
}

/// unbound takes PROXY headers, one in each datagram: what it refuses by the client's address shows that it has read them.
#[test]
fn a_name_server_is_asked_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, proxied) = (free_address(), free_address());
    let config = format!(
        "server:\n interface: {plain}\n interface: {proxied}\n proxy-protocol-port: {}\n do-daemonize: no\n\
         chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n directory: \"{}\"\n access-control: 127.0.0.0/8 allow\n\
         access-control: 127.0.0.9/32 refuse\n local-zone: \"example.\" static\n local-data: \"www.example. A 192.0.2.7\"\n\
         module-config: \"iterator\"\nremote-control:\n control-enable: no\n",
        proxied.port(),
        dir.path().display()
    );
    // With a port in it, an interface is ADDRESS@PORT.
    let config = [plain, proxied].iter().fold(config, |config, address| {
        config.replace(&address.to_string(), &format!("{}@{}", address.ip(), address.port()))
    });
    fs::write(dir.path().join("unbound.conf"), config).unwrap();
    let unbound = if fs::exists("/usr/sbin/unbound").unwrap() { "/usr/sbin/unbound" } else { "unbound" };
    let _server = Process::start(Command::new(unbound).arg("-c").arg(dir.path().join("unbound.conf")));
    eventually("unbound", || lookup(plain, "127.0.0.1:0", "www.example"));
    let setup = |endpoint, more: &str| {
        let listener = "protocol = \"udp\"\nudp.responses = 1";
        Setup::to(endpoint).listener(listener).section("[admin]").upstream(more).start()
    };
    let ringate = setup(plain, "");
    let to_proxied = setup(proxied, "proxy_protocol = \"v2\"");
    for _ in 0..20 {
        for ringate in [&ringate, &to_proxied] {
            let answer = lookup(ringate.address(), "127.0.0.1:0", "www.example");
            assert_eq!(answer, Some((0, Some([192, 0, 2, 7]))));
        }
    }
    assert_eq!(lookup(ringate.address(), "127.0.0.1:0", "no.example"), Some((3, None)));
    // REFUSED, since the header names a client that is refused; without a header the client is Ringate.
    assert_eq!(lookup(to_proxied.address(), "127.0.0.9:0", "www.example"), Some((5, None)));
    let answer = lookup(ringate.address(), "127.0.0.9:0", "www.example");
    assert_eq!(answer, Some((0, Some([192, 0, 2, 7]))));
    ringate.await_metric("udp_sessions_open", 0);
}
