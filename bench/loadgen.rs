//! What wrk cannot do: requests at a fixed rate, a TLS connection a request, idle connections, datagrams.
//!
//! ```text
//! loadgen rate      --address A --rate R --seconds S   open loop: latency from the intended send time
//! loadgen handshake --address A --seconds S [--resume] closed loop: a new TLS connection a request
//! loadgen idle      --address A --count N [--tls]      open, one request each, hold until a line on stdin
//! loadgen udp       --address A --seconds S --size B   datagrams that a server sends back, a window of them per client
//! loadgen echo      --address A                        that server
//! ```
//!
//! Each prints one line of JSON per result and exits non-zero on any error or answer other than 200.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a tool that is run by hand

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
};

mod datagrams;

/// No connection may stay silent for longer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Requests at a fixed rate over kept-alive plain connections.
    Rate {
        #[command(flatten)]
        target: Target,
        /// Requests a second, evenly spaced.
        #[arg(long)]
        rate: f64,
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Seconds at the beginning that are not recorded.
        #[arg(long, default_value_t = 1.0)]
        warmup: f64,
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// One TLS 1.3 connection a request, as many at a time as there are connections.
    Handshake {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        #[arg(long, default_value_t = 32)]
        connections: usize,
        /// Resume with the tickets of earlier connections.
        #[arg(long)]
        resume: bool,
    },
    /// Opens connections, makes one request on each, and holds them.
    Idle {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 5000)]
        count: usize,
        #[arg(long)]
        tls: bool,
    },
    /// Datagrams to a server that sends them back, a number of them under way for each client.
    Udp {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        #[arg(long, default_value_t = 64)]
        connections: usize,
        #[arg(long, default_value_t = 64)]
        size: usize,
        #[arg(long, default_value_t = 8)]
        window: usize,
    },
    /// Sends each datagram back.
    Echo {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Args)]
struct Target {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value = "/1k")]
    path: String,
}

impl Target {
    fn request(&self, connection: &str) -> Vec<u8> {
        let Self { address, path } = self;
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: {connection}\r\n\r\n").into_bytes()
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

fn main() -> io::Result<()> {
    match Options::parse().mode {
        Mode::Rate { target, rate, seconds, warmup, connections } => {
            OpenLoop::new(&target, rate, seconds, warmup, connections)?.run()
        }
        Mode::Handshake { target, seconds, connections, resume } => {
            handshakes(&target, Duration::from_secs_f64(seconds), connections, resume)
        }
        Mode::Idle { target, count, tls } => idle(&target, count, tls),
        Mode::Udp { target: Target { address, .. }, seconds, connections: clients, size, window } => {
            let time = Duration::from_secs_f64(seconds);
            datagrams::load(&datagrams::Load { address, time, clients, size, window })
        }
        Mode::Echo { target } => datagrams::echo(target.address),
    }
}

fn failure(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are fixed and valid")
}

/// Latencies are kept in nanoseconds and printed in microseconds.
fn percentiles(histogram: &Histogram<u64>) -> String {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    format!(
        r#""p50_us":{:.1},"p99_us":{:.1},"p999_us":{:.1},"max_us":{:.1}"#,
        at(0.5),
        at(0.99),
        at(0.999),
        histogram.max() as f64 / 1e3
    )
}

// Responses -------------------------------------------------------------------------------------

/// How far a response has come.
enum Response {
    Head(Vec<u8>),
    Body { remaining: usize },
}

impl Response {
    fn new() -> Self {
        Self::Head(Vec::new())
    }

    /// Takes what arrived; true when the response is whole. Only 200 with a Content-Length will do.
    fn take(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if let Self::Head(head) = self {
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(false);
            };
            let body = head.len() - end - 4;
            let length = content_length(&head[..end])?;
            let remaining = length.checked_sub(body).ok_or_else(|| failure("more body than announced"))?;
            *self = Self::Body { remaining };
        } else if let Self::Body { remaining } = self {
            *remaining =
                remaining.checked_sub(bytes.len()).ok_or_else(|| failure("more body than announced"))?;
        }
        Ok(matches!(self, Self::Body { remaining: 0 }))
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    let head = str::from_utf8(head).map_err(|_| failure("a head that is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(failure(format!("not a 200: {status}")));
    }
    lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| failure("no content-length"))
}

fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<()> {
    stream.write_all(request)?;
    let mut response = Response::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(failure("closed before the response was whole"));
        }
        if response.take(&buffer[..read])? {
            return Ok(());
        }
    }
}

// A fixed rate ----------------------------------------------------------------------------------

/// Sends on schedule whatever the answers do. A request that finds every connection busy waits, and its
/// latency still runs from the moment it should have been sent: no coordinated omission.
struct OpenLoop {
    request: Vec<u8>,
    connections: Vec<TcpStream>,
    /// Beside each connection: the intended send time of what it carries, and how far the answer is.
    busy: Vec<Option<(Instant, Response)>>,
    free: Vec<usize>,
    start: Instant,
    interval: f64,
    sent: u64,
    done: u64,
    total: u64,
    unrecorded: u64,
    latency: Histogram<u64>,
    /// How late a request left though a connection was free: the generator's own error.
    lateness: Histogram<u64>,
    /// Requests wait for a free connection: until they are caught up with, lateness is not the generator's.
    starved: bool,
}

impl OpenLoop {
    fn new(target: &Target, rate: f64, seconds: f64, warmup: f64, connections: usize) -> io::Result<Self> {
        let streams = (0..connections).map(|_| target.connect()).collect::<io::Result<Vec<_>>>()?;
        for stream in &streams {
            stream.set_nonblocking(true)?;
        }
        Ok(Self {
            request: target.request("keep-alive"),
            busy: streams.iter().map(|_| None).collect(),
            free: (0..streams.len()).collect(),
            connections: streams,
            start: Instant::now(),
            interval: 1.0 / rate,
            sent: 0,
            done: 0,
            total: ((warmup + seconds) * rate) as u64,
            unrecorded: (warmup * rate) as u64,
            latency: histogram(),
            lateness: histogram(),
            starved: false,
        })
    }

    fn intended(&self, request: u64) -> Instant {
        self.start + Duration::from_secs_f64(self.interval * request as f64)
    }

    fn run(mut self) -> io::Result<()> {
        // The kernel rounds timers up by 50 µs by default.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        self.start = Instant::now();
        let end = self.intended(self.total) + PATIENCE;
        while self.done < self.total {
            if Instant::now() > end {
                return Err(failure(format!("{} of {} answers missing", self.total - self.done, self.total)));
            }
            self.send_due()?;
            for ready in self.wait()? {
                self.receive(ready)?;
            }
        }
        let elapsed = self.start.elapsed().as_secs_f64();
        println!(
            r#"{{"requests":{},"rate":{:.1},{},"late_p99_us":{:.1}}}"#,
            self.done,
            self.done as f64 / elapsed,
            percentiles(&self.latency),
            self.lateness.value_at_quantile(0.99) as f64 / 1e3
        );
        Ok(())
    }

    fn send_due(&mut self) -> io::Result<()> {
        while self.sent < self.total {
            let intended = self.intended(self.sent);
            let now = Instant::now();
            if intended > now {
                self.starved = false;
                return Ok(());
            }
            let Some(connection) = self.free.pop() else {
                self.starved = true;
                return Ok(());
            };
            let written = self.connections[connection].write(&self.request)?;
            if written != self.request.len() {
                return Err(failure("a request of some bytes did not fit the socket"));
            }
            if !self.starved {
                self.lateness.saturating_record((now - intended).as_nanos() as u64);
            }
            self.busy[connection] = Some((intended, Response::new()));
            self.sent += 1;
        }
        Ok(())
    }

    /// Waits for answers, until the next request is due; without a free connection, for answers alone.
    fn wait(&self) -> io::Result<Vec<usize>> {
        let mut wait = Duration::from_millis(100);
        if self.sent < self.total && !self.free.is_empty() {
            wait = wait.min(self.intended(self.sent).saturating_duration_since(Instant::now()));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut polled: Vec<_> =
            self.connections.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        poll(&mut polled, Some(&timeout))?;
        let ready = polled.iter().enumerate().filter(|(_, entry)| !entry.revents().is_empty());
        Ok(ready.map(|(index, _)| index).collect())
    }

    fn receive(&mut self, connection: usize) -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        let read = self.connections[connection].read(&mut buffer)?;
        let Some((intended, response)) = &mut self.busy[connection] else {
            return Err(failure(format!("{read} bytes on an idle connection (0: it was closed)")));
        };
        if read == 0 {
            return Err(failure("closed before the response was whole"));
        }
        if response.take(&buffer[..read])? {
            if self.start + Duration::from_secs_f64(self.interval * self.unrecorded as f64) <= *intended {
                self.latency.saturating_record(intended.elapsed().as_nanos() as u64);
            }
            self.busy[connection] = None;
            self.free.push(connection);
            self.done += 1;
        }
        Ok(())
    }
}

// TLS connections -------------------------------------------------------------------------------

/// The generator does not check whom it talks to: that the proxy's certificate is right is tested before
/// the measurement, and the generator's own CPU time is better spent on load.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// TLS 1.3, AES-128-GCM and X25519 only, so that every candidate does the same arithmetic.
fn tls_config(resume: bool) -> io::Result<Arc<ClientConfig>> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.resumption = if resume { Resumption::in_memory_sessions(32) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

fn tls_connect(target: &Target, config: &Arc<ClientConfig>) -> io::Result<TlsStream> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, target.connect()?))
}

struct Handshakes {
    requests: u64,
    resumed: u64,
    latency: Histogram<u64>,
}

fn handshakes(target: &Target, duration: Duration, connections: usize, resume: bool) -> io::Result<()> {
    let start = Instant::now();
    let end = start + duration;
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..connections).map(|_| scope.spawn(|| handshake_until(target, end, resume))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(failure("a thread panicked")))
        };
        threads.into_iter().map(join).collect::<io::Result<Vec<Handshakes>>>()
    })?;
    let elapsed = start.elapsed().as_secs_f64();
    let mut latency = histogram();
    for part in &parts {
        latency.add(&part.latency).map_err(io::Error::other)?;
    }
    let requests: u64 = parts.iter().map(|part| part.requests).sum();
    let resumed: u64 = parts.iter().map(|part| part.resumed).sum();
    println!(
        r#"{{"requests":{requests},"resumed":{resumed},"rate":{:.1},{}}}"#,
        requests as f64 / elapsed,
        percentiles(&latency)
    );
    Ok(())
}

fn handshake_until(target: &Target, end: Instant, resume: bool) -> io::Result<Handshakes> {
    let config = tls_config(resume)?;
    let request = target.request("close");
    let mut result = Handshakes { requests: 0, resumed: 0, latency: histogram() };
    while Instant::now() < end {
        let start = Instant::now();
        let mut stream = tls_connect(target, &config)?;
        exchange(&mut stream, &request)?;
        result.latency.saturating_record(start.elapsed().as_nanos() as u64);
        result.requests += 1;
        result.resumed += u64::from(stream.conn.handshake_kind() == Some(HandshakeKind::Resumed));
        stream.conn.send_close_notify();
        // The proxy may have closed already: it was asked to.
        let _ = stream.flush();
    }
    Ok(result)
}

// Idle connections ------------------------------------------------------------------------------

fn idle(target: &Target, count: usize, tls: bool) -> io::Result<()> {
    let request = target.request("keep-alive");
    let config = tls_config(false)?;
    let mut plain = Vec::new();
    let mut secure: Vec<TlsStream> = Vec::new();
    for _ in 0..count {
        if tls {
            let mut stream = tls_connect(target, &config)?;
            exchange(&mut stream, &request)?;
            secure.push(stream);
        } else {
            let mut stream = target.connect()?;
            exchange(&mut stream, &request)?;
            plain.push(stream);
        }
    }
    println!(r#"{{"open":{count}}}"#);
    io::stdout().flush()?;
    io::stdin().lock().read_line(&mut String::new())?;
    let streams = plain.iter().chain(secure.iter().map(|stream| &stream.sock));
    let open = streams.map(still_open).filter(|&open| open).count();
    println!(r#"{{"still_open":{open}}}"#);
    if open == count { Ok(()) } else { Err(failure(format!("{} connections were closed", count - open))) }
}

fn still_open(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    match peeked {
        Ok(read) => read > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
