//! Access lines as syslog messages (RFC 5424), a datagram each: over UDP (RFC 5426) or to a Unix socket; or as entries of
//! systemd's journal.
//!
//! Nothing waits for the receiver: a line that it does not take at once, or within [`PATIENCE`] for the first of a batch,
//! is dropped and counted.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::journal;
use super::shared::Shared;
use crate::io::sealed;

/// Facility local0, severity informational (RFC 5424 §6.2.1).
const PRIORITY: u8 = 16 * 8 + 6;
/// How long the first line of a batch that a full receiver refuses is offered again.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often a lost receiver is connected to again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the messages go.
#[derive(Clone, Debug)]
pub(crate) enum Receiver {
    /// `HOST:PORT`, resolved when the log is opened.
    Udp(String),
    /// The path of a datagram socket, such as `/dev/log`.
    Unix(PathBuf),
    /// The path of the journal's socket.
    Journal(PathBuf),
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Receiver {
    fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Udp(name) => {
                let missing = || io::Error::new(ErrorKind::NotFound, "it resolves to no address");
                let address = name.to_socket_addrs()?.next().ok_or_else(missing)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let any: SocketAddr = any.parse().map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Ok(Socket::Udp(socket))
            }
            Self::Unix(path) | Self::Journal(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_nonblocking(true)?;
                Ok(Socket::Unix(socket))
            }
        }
    }
}

/// An open connection to a receiver. Takes whole lines.
pub(crate) struct Syslog {
    receiver: Receiver,
    socket: Option<Socket>,
    /// When it was connected to the last time.
    tried: Instant,
    /// ` HOSTNAME ringate PID access - `
    head: String,
    message: Vec<u8>,
    /// Lines lost since sending failed; `None` while it works.
    failing: Option<u64>,
    shared: Arc<Shared>,
}

impl Syslog {
    /// # Errors
    /// The name does not resolve, or the socket is not there.
    pub(crate) fn open(receiver: &Receiver, shared: &Arc<Shared>) -> io::Result<Self> {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let plain = |name: &String| {
            !name.is_empty() && name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let name = Some(name).filter(plain).unwrap_or_else(|| "-".to_owned());
        Ok(Self {
            socket: Some(receiver.connect()?),
            receiver: receiver.clone(),
            tried: Instant::now(),
            head: format!(" {name} ringate {} access - ", std::process::id()),
            message: Vec::with_capacity(2048),
            failing: None,
            shared: Arc::clone(shared),
        })
    }

    /// Puts the datagram of a line together.
    fn put_together(&mut self, line: &[u8], now: SystemTime) {
        if matches!(self.receiver, Receiver::Journal(_)) {
            self.message.clear();
            journal::put_entry(line, &mut self.message);
        } else {
            self.compose(line, now);
        }
    }

    /// Sends an entry that is too long for a datagram: in a file, or where there can be none in a shorter form. `None`: the receiver
    /// takes neither.
    fn send_long(&mut self, line: &[u8], patience: &mut Duration) -> Option<io::Result<()>> {
        if !matches!(self.receiver, Receiver::Journal(_)) {
            return None;
        }
        let file = sealed::file(&self.message);
        let sent = file.and_then(|file| self.send(Some(file.as_fd()), patience));
        if sent.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::WouldBlock) {
            return Some(sent);
        }
        self.message.clear();
        journal::put_shortened(line, &mut self.message);
        Some(self.send(None, patience))
    }

    /// The receiver in a word, for the log.
    fn word(&self) -> &'static str {
        if matches!(self.receiver, Receiver::Journal(_)) { "journald" } else { "syslog" }
    }

    /// Puts the message together: `<134>1 2026-01-02T03:04:05.678901Z host ringate 123 access - LINE`.
    fn compose(&mut self, line: &[u8], now: SystemTime) {
        let mut start = String::with_capacity(64);
        let _ = write!(start, "<{PRIORITY}>1 ");
        stamp(now, &mut start);
        self.message.clear();
        self.message.extend_from_slice(start.as_bytes());
        self.message.extend_from_slice(self.head.as_bytes());
        self.message.extend_from_slice(line);
    }

    /// Sends the message or, in its place, this file.
    fn send(&mut self, file: Option<BorrowedFd<'_>>, patience: &mut Duration) -> io::Result<()> {
        if self.socket.is_none() {
            if self.tried.elapsed() < AGAIN {
                return Err(ErrorKind::NotConnected.into());
            }
            self.tried = Instant::now();
            self.socket = Some(self.receiver.connect()?);
        }
        let Some(socket) = &self.socket else { return Err(ErrorKind::NotConnected.into()) };
        let once = || match (socket, file) {
            (Socket::Udp(socket), _) => socket.send(&self.message).map(drop),
            (Socket::Unix(socket), None) => socket.send(&self.message).map(drop),
            (Socket::Unix(socket), Some(file)) => sealed::send(socket, file),
        };
        let mut reported = false;
        loop {
            match once().map_err(|error| (error.kind(), error)) {
                Ok(()) => return Ok(()),
                Err((ErrorKind::Interrupted, _)) => {}
                // What an earlier datagram met (ICMP): this one was not sent yet.
                Err((ErrorKind::ConnectionRefused, _)) if matches!(socket, Socket::Udp(_)) && !reported => {
                    reported = true;
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                }
                Err((ErrorKind::WouldBlock, _)) if !patience.is_zero() => {
                    let pause = Duration::from_millis(1);
                    std::thread::sleep(pause);
                    *patience = patience.saturating_sub(pause);
                }
                Err((ErrorKind::WouldBlock, error)) => return Err(error),
                Err((_, error)) => {
                    // A receiver on a Unix socket that was started anew has another socket.
                    if !is_too_long(&error) {
                        self.socket = None;
                    }
                    return Err(error);
                }
            }
        }
    }

    fn took(&mut self, result: io::Result<()>) {
        match (result, self.failing) {
            (Ok(()), None) => {}
            (Ok(()), Some(lost)) => {
                tracing::info!("access log: {} takes lines again; {lost} were lost", self.word());
                self.failing = None;
            }
            (Err(error), lost) => {
                if lost.is_none() {
                    tracing::error!("access log: {}: {error}; lines are dropped and counted", self.word());
                }
                self.failing = Some(lost.unwrap_or(0) + 1);
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Write for Syslog {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut patience = PATIENCE;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.put_together(line, SystemTime::now());
            let mut sent = self.send(None, &mut patience);
            if sent.as_ref().is_err_and(is_too_long)
                && let Some(again) = self.send_long(line, &mut patience)
            {
                sent = again;
            }
            self.took(sent);
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a datagram is longer than the system takes.
fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

/// RFC 3339 in UTC, with microseconds.
fn stamp(now: SystemTime, out: &mut String) {
    let now = time::OffsetDateTime::from(now);
    let (date, clock) = (now.date(), now.time());
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.microsecond()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_line_is_a_message_and_lost_ones_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let shared = Arc::new(Shared::default());
        let mut syslog = Syslog::open(&Receiver::Unix(path.clone()), &shared).unwrap();
        syslog.write_all(b"a b\n{\"c\":1}\n").unwrap();
        let first = receive(&receiver);
        let words: Vec<&str> = first.splitn(7, ' ').collect();
        assert_eq!((words[0], words[3], words[5], words[6]), ("<134>1", "ringate", "access", "- a b"));
        assert!(words[1].ends_with('Z') && words[1].len() == "2026-01-02T03:04:05.678901Z".len(), "{first}");
        assert_eq!(words[4], std::process::id().to_string());
        assert!(receive(&receiver).ends_with(" access - {\"c\":1}"));
        // One that takes nothing holds nothing up.
        let began = Instant::now();
        syslog.write_all("x\n".repeat(2000).as_bytes()).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2));
        let lost = shared.take_lost();
        assert!((1..2000).contains(&lost), "{lost}");
        // A receiver that was lost and returns is found again.
        drop(receiver);
        std::fs::remove_file(&path).unwrap();
        syslog.write_all(b"y\n").unwrap();
        assert_eq!(shared.take_lost(), 1);
        let receiver = UnixDatagram::bind(&path).unwrap();
        syslog.tried = Instant::now() - AGAIN;
        syslog.write_all(b"z\n").unwrap();
        assert!(receive(&receiver).ends_with(" z"));
        assert_eq!(shared.take_lost(), 0);
    }

    #[test]
    fn udp_without_a_receiver_is_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = receiver.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let mut syslog = Syslog::open(&Receiver::Udp(address.to_string()), &shared).unwrap();
        syslog.write_all(b"a\n").unwrap();
        let mut buffer = [0; 512];
        let length = receiver.recv(&mut buffer).unwrap();
        assert!(buffer[..length].starts_with(b"<134>1 ") && buffer[..length].ends_with(b" - a"));
        drop(receiver);
        for _ in 0..20 {
            syslog.write_all(b"b\n").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(shared.take_lost() > 0);
    }
}
