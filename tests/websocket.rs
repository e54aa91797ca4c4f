//! WebSocket over TLS on both sides: frames arrive as they were sent, silence and a drain end a tunnel, and an idle
//! one holds no buffer. `scripts/websocket` has the long suite.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::*;

const ASKING: &str = "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame of RFC 6455 §5.2, whole, masked if there is a mask.
fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..126 => frame.push(bit | len as u8),
        len @ 126..65_536 => {
            frame.push(bit | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(bit | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| frame.extend_from_slice(mask)).unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Reads a frame: its opcode and its payload, unmasked.
fn read_frame(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    assert_eq!(head[0] & 0xf0, 0x80, "whole frames, without extensions");
    let mut long = [0; 8];
    let len = match head[1] & 0x7f {
        126 => {
            stream.read_exact(&mut long[6..])?;
            u64::from_be_bytes(long)
        }
        127 => {
            stream.read_exact(&mut long)?;
            u64::from_be_bytes(long)
        }
        len => u64::from(len),
    };
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut mask)?;
    }
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    stream.read_exact(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((head[0] & 0xf, payload))
}

/// Reads a head, to its empty line.
fn read_head(stream: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// A server that echoes messages, answers pings, and ends a connection that was closed.
fn echo(stream: &mut BufReader<Stream>) -> io::Result<()> {
    let head = read_head(stream)?;
    assert!(head.contains("\r\nUpgrade: websocket\r\n"), "{head}");
    stream.get_mut().write_all(AGREED.as_bytes())?;
    stream.get_mut().flush()?;
    loop {
        let (opcode, payload) = read_frame(stream)?;
        let answer = if opcode == PING { PONG } else { opcode };
        stream.get_mut().write_all(&frame(answer, &payload, None))?;
        stream.get_mut().flush()?;
        if opcode == CLOSE {
            return stream.get_mut().finish();
        }
    }
}

/// The echo server, and Ringate before it, TLS everywhere.
struct Chat {
    ringate: Ringate,
    pki: Pki,
    _server: Server,
}

impl Chat {
    fn new(idle: &str, runtime: &str) -> Self {
        let pki = Pki::new();
        let server = Server::start(Some(pki.server_config()), echo);
        let ringate = Setup::to(server.address())
            .listener(&pki.listener_tls())
            .upstream(&format!("timeouts = {{ idle = \"{idle}\" }}\n{}", pki.upstream_tls()))
            .runtime(runtime)
            .start();
        Self { ringate, pki, _server: server }
    }

    /// A client whose upgrade went through.
    fn join(&self) -> BufReader<Stream> {
        let mut client =
            BufReader::new(Stream::connect(self.ringate.address(), Some(self.pki.client_config())));
        client.get_mut().write_all(ASKING.as_bytes()).unwrap();
        assert_eq!(read_head(&mut client).unwrap(), AGREED);
        client
    }
}

fn say(client: &mut BufReader<Stream>, opcode: u8, payload: &[u8]) {
    client.get_mut().write_all(&frame(opcode, payload, Some(*b"mask"))).unwrap();
}

fn hears(client: &mut BufReader<Stream>, opcode: u8, payload: &[u8]) {
    let (heard, bytes) = read_frame(client).unwrap();
    assert_eq!((heard, bytes.len(), bytes == payload), (opcode, payload.len(), true));
}

#[test]
fn frames_of_every_size_come_back_as_they_were_sent() {
    let chat = Chat::new("60s", "");
    let mut client = chat.join();
    for size in [0, 1, 125, 126, 127, 4096, 16_384, 65_535, 65_536, 1 << 20] {
        let payload = Pattern::bytes(size);
        say(&mut client, BINARY, &payload);
        hears(&mut client, BINARY, &payload);
        say(&mut client, PING, b"alive?");
        hears(&mut client, PONG, b"alive?");
    }
    // A frame byte by byte, and many at once.
    for byte in frame(TEXT, b"slowly", Some(*b"mask")) {
        client.get_mut().write_all(&[byte]).unwrap();
    }
    hears(&mut client, TEXT, b"slowly");
    let many: Vec<u8> = (0..1000u16).flat_map(|n| frame(BINARY, &n.to_be_bytes(), Some(*b"mask"))).collect();
    client.get_mut().write_all(&many).unwrap();
    for number in 0..1000u16 {
        hears(&mut client, BINARY, &number.to_be_bytes());
    }
    say(&mut client, CLOSE, &[0x0f, 0xa1, b'b', b'y', b'e']);
    hears(&mut client, CLOSE, &[0x0f, 0xa1, b'b', b'y', b'e']);
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0, "close_notify ends it, nothing is cut");
}

#[test]
fn a_silent_tunnel_ends_and_one_that_pings_does_not() {
    let chat = Chat::new("1s", "");
    let (mut silent, mut lively) = (chat.join(), chat.join());
    let begun = Instant::now();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(500));
        say(&mut lively, PING, b"");
        hears(&mut lively, PONG, b"");
    }
    // Cut, not closed: there was no close frame.
    assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(begun.elapsed() < Duration::from_secs(4));
    say(&mut lively, TEXT, b"still here");
    hears(&mut lively, TEXT, b"still here");
}

#[test]
fn a_drain_waits_for_tunnels_and_then_for_no_longer() {
    let mut chat = Chat::new("60s", "drain = \"3s\"");
    let (mut polite, mut stubborn) = (chat.join(), chat.join());
    let begun = Instant::now();
    chat.ringate.signal(Signal::TERM);
    chat.ringate.await_drain();
    for client in [&mut polite, &mut stubborn] {
        say(client, TEXT, b"go on");
        hears(client, TEXT, b"go on");
    }
    say(&mut polite, CLOSE, &[3, 232]);
    hears(&mut polite, CLOSE, &[3, 232]);
    assert_eq!(polite.read_to_end(&mut Vec::new()).unwrap(), 0);
    chat.ringate.wait();
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    assert!(matches!(stubborn.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn idle_tunnels_hold_no_buffers() {
    let chat = Chat::new("60s", "");
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", chat.ringate.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
    };
    // What the first connections cost, others do not.
    let warm: Vec<_> = (0..20).map(|_| chat.join()).collect();
    let idle = Duration::from_millis(2500);
    std::thread::sleep(idle);
    let before = resident();
    const COUNT: usize = 200;
    let mut clients: Vec<_> = (0..COUNT).map(|_| chat.join()).collect();
    for client in &mut clients {
        say(client, TEXT, b"hello");
        hears(client, TEXT, b"hello");
    }
    // Two buffers of 36 KiB each until they go back, and the states of two connections for good.
    eventually("buffers going back", || {
        (resident().saturating_sub(before) / COUNT < 24 * 1024).then_some(())
    });
    for client in &mut clients {
        say(client, TEXT, b"again");
        hears(client, TEXT, b"again");
    }
    drop(warm);
}
