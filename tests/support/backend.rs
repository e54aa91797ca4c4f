//! A backend that runs a test's script, byte by byte, in threads of the test's process.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::PATIENCE;
use super::wire::{Ahead, Request, text};
use crate::http::{OK, ok};

/// A response's head with the first half of its body, `halfhalf`.
pub const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";

/// A scripted backend. It stops listening, and its connections end, when it is dropped.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    told: Condvar,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Seen {
    /// What arrived on each connection, in the order they were accepted.
    received: Vec<Vec<u8>>,
    /// Requests read by [`Connection::request`] and not yet taken by [`Backend::request`].
    requests: std::collections::VecDeque<Request>,
    requests_in_all: usize,
    /// Connections whose script has ended.
    ended: usize,
    /// A handle of each connection, so that a dropped backend can end them.
    sockets: Vec<Option<TcpStream>>,
}

/// A connection that was accepted, in the hands of its script.
pub struct Connection {
    /// 0 for the first connection.
    pub number: usize,
    stream: Recorded,
    ahead: Ahead,
    requests: usize,
    resets: bool,
}

struct Recorded {
    number: usize,
    tcp: TcpStream,
    recorded: bool,
    shared: Arc<Shared>,
}

impl Backend {
    /// Runs `script` for each connection, in a thread of its own. The connection closes when the script ends.
    pub fn start(script: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    /// The same at a given address.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let accepting = Arc::clone(&shared);
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(tcp) = tcp else { continue };
                let mut connection = accepting.open(tcp);
                let (script, shared) = (Arc::clone(&script), Arc::clone(&accepting));
                std::thread::spawn(move || {
                    // A proxy may hang up on a backend at any time: that is no failure of the script.
                    let _ = script(&mut connection);
                    if !connection.resets {
                        let _ = connection.stream.tcp.shutdown(Shutdown::Both);
                    }
                    let number = connection.number;
                    drop(connection);
                    shared.change(|seen| {
                        seen.ended += 1;
                        seen.sockets[number] = None;
                    });
                });
            }
        });
        Self { address, shared }
    }

    /// Answers every request with the same bytes, and keeps its connections open.
    pub fn replying(response: impl AsRef<[u8]>) -> Self {
        let response = response.as_ref().to_vec();
        Self::serving(move |_| response.clone())
    }

    /// Answers every request with what `answer` makes of it, and keeps its connections open.
    pub fn serving(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |connection| {
            while let Some(request) = connection.request()? {
                connection.send(answer(&request))?;
            }
            Ok(())
        })
    }

    /// As [`start`](Self::start), for a script that waits, by its second argument, for words of the returned channel.
    pub fn stepped(
        script: impl Fn(&mut Connection, &dyn Fn()) -> io::Result<()> + Send + Sync + 'static,
    ) -> (Self, Sender<()>) {
        let (go, words) = channel();
        let words = Mutex::new(words);
        let wait = move || {
            let _ = words.lock().unwrap().recv();
        };
        (Self::start(move |connection| script(connection, &wait)), go)
    }

    /// Answers each request with its line, one for each word of the returned channel.
    pub fn held_back() -> (Self, Sender<()>) {
        Self::stepped(|connection, wait| {
            while let Some(request) = connection.request()? {
                wait();
                connection.send(ok(request.line()))?;
            }
            Ok(())
        })
    }

    /// Answers `ok`; the body of `/long` ends with a word of the returned channel, after its first half.
    pub fn with_long_exchanges() -> (Self, Sender<()>) {
        Self::stepped(|connection, wait| {
            while let Some(request) = connection.request()? {
                if request.head.starts_with("GET /long ") {
                    connection.send(HALF)?;
                    wait();
                    connection.send("half")?;
                } else {
                    connection.send(OK)?;
                }
            }
            Ok(())
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request that a script has read, in order over all connections.
    pub fn request(&self) -> Request {
        self.wait("a request", |seen| seen.requests.pop_front())
    }

    /// Requests that scripts have read.
    pub fn requests(&self) -> usize {
        self.shared.seen.lock().unwrap().requests_in_all
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.shared.seen.lock().unwrap().received.len()
    }

    /// Connections whose script has ended.
    pub fn ended(&self) -> usize {
        self.shared.seen.lock().unwrap().ended
    }

    /// Everything that arrived on connection `number`, read by its script so far.
    pub fn received(&self, number: usize) -> Vec<u8> {
        self.shared.seen.lock().unwrap().received.get(number).cloned().unwrap_or_default()
    }

    /// Waits until so many connections were accepted.
    pub fn await_connections(&self, count: usize) {
        self.wait("a connection", |seen| (seen.received.len() >= count).then_some(()));
    }

    /// Waits until so many connections were accepted and have ended.
    pub fn await_ended(&self, count: usize) {
        self.wait("a connection's end", |seen| (seen.ended >= count).then_some(()));
    }

    fn wait<T>(&self, what: &str, mut ready: impl FnMut(&mut Seen) -> Option<T>) -> T {
        let mut ended = None;
        let seen = self.shared.seen.lock().unwrap();
        let waited = self.shared.told.wait_timeout_while(seen, PATIENCE, |seen| {
            ended = ready(seen);
            ended.is_none()
        });
        drop(waited);
        ended.unwrap_or_else(|| panic!("the backend waited for {what}"))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then lets go of the port.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        for socket in self.shared.seen.lock().unwrap().sockets.iter().flatten() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.told.notify_all();
    }

    fn open(self: &Arc<Self>, tcp: TcpStream) -> Connection {
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut number = 0;
        self.change(|seen| {
            number = seen.received.len();
            seen.received.push(Vec::new());
            seen.sockets.push(tcp.try_clone().ok());
        });
        let stream = Recorded { number, tcp, recorded: true, shared: Arc::clone(self) };
        Connection { number, stream, ahead: Ahead::default(), requests: 0, resets: false }
    }
}

impl Connection {
    /// Reads the next request, its body included. `None`: the peer closed.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let request = self.ahead.request(&mut self.stream)?;
        if let Some(request) = &request {
            self.requests += 1;
            self.stream.shared.change(|seen| {
                seen.requests.push_back(request.clone());
                seen.requests_in_all += 1;
            });
        }
        Ok(request)
    }

    /// Requests read on this connection.
    pub fn requests_read(&self) -> usize {
        self.requests
    }

    /// Reads the next request's head and leaves its body.
    pub fn head(&mut self) -> io::Result<String> {
        let head = self.ahead.until(&mut self.stream, b"\r\n\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(text(&head))
    }

    /// Reads a line, its end included.
    pub fn line(&mut self) -> io::Result<String> {
        let line = self.ahead.until(&mut self.stream, b"\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(text(&line))
    }

    /// Reads exactly so many bytes.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.ahead.exactly(&mut self.stream, count)
    }

    /// Reads up to the peer's end.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        self.ahead.rest(&mut self.stream)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.tcp.write_all(bytes.as_ref())
    }

    /// Keeps no record of what arrives from now on: there will be a lot of it.
    pub fn forget(&mut self) {
        self.stream.recorded = false;
    }

    /// Ends our side and leaves the other open.
    pub fn finish_sending(&self) -> io::Result<()> {
        self.stream.tcp.shutdown(Shutdown::Write)
    }

    /// Makes the end of the script a reset, without a FIN before it.
    pub fn reset(&mut self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream.tcp).set_linger(Some(Duration::ZERO))?;
        self.resets = true;
        // A reset is sent when the last handle is closed.
        let number = self.number;
        self.stream.shared.change(|seen| seen.sockets[number] = None);
        Ok(())
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.stream.tcp
    }
}

impl Read for Recorded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.tcp.read(into)?;
        if self.recorded {
            self.shared.change(|seen| seen.received[self.number].extend_from_slice(&into[..count]));
        }
        Ok(count)
    }
}
