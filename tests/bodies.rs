//! Bodies of all sizes arrive as they were sent, up and down, over plain and TLS, and leave no trace in memory.
//!
//! With `RINGATE_TEST_BIG=1` the largest have 1 GiB.

use std::io::{self, BufRead, BufReader, Read, Write};

use crate::support::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Around the sizes of buffers and TLS records.
const SIZES: [u64; 9] = [0, 1, KIB, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 64 * KIB, MIB, MIB + 7];
/// What the proxy may grow by while large bodies pass.
const GROWTH: u64 = 64 * MIB;

/// Through the whole of it.
fn largest() -> u64 {
    if std::env::var_os("RINGATE_TEST_BIG").is_some() { 1024 * MIB } else { 100 * MIB }
}

/// How a body's length is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length,
    Chunked,
}

const FRAMINGS: [Framing; 2] = [Framing::Length, Framing::Chunked];

/// Writes a message: its start line, and a body of so many bytes.
fn send(out: &mut Stream, start: &str, size: u64, framing: Framing) -> io::Result<()> {
    let mut body = Pattern::new(size);
    if framing == Framing::Length {
        write!(out, "{start}\r\nContent-Length: {size}\r\n\r\n")?;
        let mut piece = vec![0; 128 * 1024];
        loop {
            match body.read(&mut piece)? {
                0 => break,
                count => out.write_all(&piece[..count])?,
            }
        }
        return out.flush();
    }
    write!(out, "{start}\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    // Chunks of uneven sizes, some beyond any buffer.
    let mut piece = vec![0; 300_007];
    let mut sizes = [1, 7, 16 * 1024, 300_007, 65_536, 100].into_iter().cycle();
    loop {
        let most = if size < 10 * MIB { sizes.next().unwrap_or(1) } else { piece.len() };
        let count = body.read(&mut piece[..most])?;
        if count == 0 {
            out.write_all(b"0\r\n\r\n")?;
            return out.flush();
        }
        write!(out, "{count:x}\r\n")?;
        out.write_all(&piece[..count])?;
        out.write_all(b"\r\n")?;
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or(io::ErrorKind::UnexpectedEof.into())
}

/// Reads a message: its start line, and its body's length and hash.
fn receive(from: &mut impl BufRead) -> io::Result<(String, (u64, String))> {
    let start = line(from)?;
    let mut hash = Hash::new();
    let (mut length, mut chunked) = (0, false);
    loop {
        let field = line(from)?.to_ascii_lowercase();
        match field.split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("transfer-encoding", _)) => chunked = true,
            Some(_) => {}
        }
    }
    let mut pass = |from: &mut dyn BufRead, count: u64| -> io::Result<()> {
        let passed = io::copy(&mut from.take(count), &mut hash)?;
        if passed == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    if !chunked {
        pass(from, length)?;
        return Ok((start, hash.finish()));
    }
    loop {
        let size = u64::from_str_radix(&line(from)?, 16).map_err(io::Error::other)?;
        pass(from, size)?;
        assert_eq!(line(from)?, "", "a chunk, or all of them, end with CR LF");
        if size == 0 {
            return Ok((start, hash.finish()));
        }
    }
}

/// Answers `GET /SIZE/FRAMING` with such a body, and anything else with the length and hash of what it got.
fn serve(stream: &mut BufReader<Stream>) -> io::Result<()> {
    loop {
        let (start, (count, hash)) = receive(stream)?;
        let mut words = start.split([' ', '/']);
        if words.next() == Some("GET") {
            let size = words.find_map(|word| word.parse().ok()).unwrap_or(0);
            let framing = if start.contains("/chunked") { Framing::Chunked } else { Framing::Length };
            send(stream.get_mut(), "HTTP/1.1 200 OK", size, framing)?;
        } else {
            let body = format!("{count} {hash}");
            let head = format!("HTTP/1.1 200 OK\r\nX-Seen: {body}\r\nContent-Length: 0\r\n\r\n");
            stream.get_mut().write_all(head.as_bytes())?;
            stream.get_mut().flush()?;
        }
    }
}

/// A proxy before [`serve`], over TLS where it says so.
struct Path {
    ringate: Ringate,
    /// Another one behind it, if they speak HTTP/2 with each other.
    second: Option<Ringate>,
    client: BufReader<Stream>,
    _server: Server,
}

impl Path {
    fn new(front: bool, back: bool) -> Self {
        let pki = Pki::new();
        let server = Server::start(back.then(|| pki.server_config()), serve);
        let mut setup = Setup::to(server.address());
        if front {
            setup = setup.listener(&pki.listener_tls());
        }
        if back {
            setup = setup.upstream(&pki.upstream_tls());
        }
        let ringate = setup.start();
        let stream = Stream::connect(ringate.address(), front.then(|| pki.client_config()));
        Self { ringate, second: None, client: BufReader::with_capacity(64 * 1024, stream), _server: server }
    }

    /// Two proxies, between which bodies go by HTTP/2 over TLS: to a backend for one, from a client for the other.
    fn over_http2() -> Self {
        let pki = Pki::new();
        let server = Server::start(None, serve);
        let second = Setup::to(server.address()).listener(&pki.listener_tls()).start();
        let http2 = format!("http = \"2\"\n{}", pki.upstream_tls());
        let ringate = Setup::to(second.address()).upstream(&http2).start();
        let stream = Stream::connect(ringate.address(), None);
        let client = BufReader::with_capacity(64 * 1024, stream);
        Self { ringate, second: Some(second), client, _server: server }
    }

    fn download(&mut self, size: u64, framing: Framing) {
        let path = if framing == Framing::Chunked { "chunked" } else { "length" };
        let request = format!("GET /{size}/{path} HTTP/1.1\r\nHost: h\r\n\r\n");
        self.client.get_mut().write_all(request.as_bytes()).unwrap();
        self.client.get_mut().flush().unwrap();
        let (start, got) = receive(&mut self.client).unwrap();
        assert_eq!(start, "HTTP/1.1 200 OK");
        assert_eq!(got, (size, Pattern::hash(size)), "download {framing:?}");
    }

    fn upload(&mut self, size: u64, framing: Framing) {
        send(self.client.get_mut(), "POST / HTTP/1.1\r\nHost: h", size, framing).unwrap();
        assert_eq!(line(&mut self.client).unwrap(), "HTTP/1.1 200 OK");
        let mut seen = None;
        loop {
            let field = line(&mut self.client).unwrap();
            if field.is_empty() {
                break;
            }
            if let Some((name, value)) = field.split_once(": ")
                && name.eq_ignore_ascii_case("x-seen")
            {
                seen = Some(value.to_owned());
            }
        }
        assert_eq!(seen, Some(format!("{size} {}", Pattern::hash(size))), "upload {framing:?}");
    }

    /// A line of `/proc/PID/status`, in bytes, of all proxies together.
    fn memory(&self, name: &str) -> u64 {
        let of = |ringate: &Ringate| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", ringate.pid())).unwrap();
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap().trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        of(&self.ringate) + self.second.as_ref().map_or(0, of)
    }
}

/// All sizes on one kept-alive connection, then the largest ones while memory is watched.
fn all_sizes(front: bool, back: bool) {
    pass(Path::new(front, back), largest());
}

fn pass(mut path: Path, largest: u64) {
    for size in SIZES {
        for framing in FRAMINGS {
            path.download(size, framing);
            path.upload(size, framing);
        }
    }
    let before = path.memory("VmRSS");
    for framing in FRAMINGS {
        path.download(largest, framing);
        path.upload(largest, framing);
    }
    let growth = path.memory("VmHWM").saturating_sub(before);
    assert!(growth < GROWTH, "{growth} bytes more for bodies of {largest}");
}

#[test]
fn http2_from_client_and_to_backend() {
    let largest = largest();
    pass(Path::over_http2(), if largest > 100 * MIB { largest } else { 30 * MIB });
}

#[test]
fn plain_client_plain_backend() {
    all_sizes(false, false);
}

#[test]
fn plain_client_tls_backend() {
    all_sizes(false, true);
}

#[test]
fn tls_client_plain_backend() {
    all_sizes(true, false);
}

#[test]
fn tls_client_tls_backend() {
    all_sizes(true, true);
}

#[test]
fn a_client_that_does_not_read_is_not_read_ahead_for() {
    let size = 200 * MIB;
    for (front, back) in [(false, false), (true, true)] {
        let mut path = Path::new(front, back);
        path.download(MIB, Framing::Length);
        let before = path.memory("VmRSS");
        let request = format!("GET /{size}/length HTTP/1.1\r\nHost: h\r\n\r\n");
        path.client.get_mut().write_all(request.as_bytes()).unwrap();
        path.client.get_mut().flush().unwrap();
        // Once bytes have arrived, what the sockets hold fills up within moments: no event shows when.
        path.client.fill_buf().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(500));
        let growth = path.memory("VmHWM").saturating_sub(before);
        assert!(growth < 4 * MIB, "{growth} bytes more for a client that does not read");
        let (_, got) = receive(&mut path.client).unwrap();
        assert_eq!(got, (size, Pattern::hash(size)));
    }
}
