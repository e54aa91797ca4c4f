//! In the steady state a proxied request allocates nothing: counted, with Ringate's worker in this very process.
//!
//! A binary of its own, since its allocator counts. It counts what threads called `worker-…` ask for; clients and
//! backends run on other threads.
#![allow(unsafe_code)] // an allocator is unsafe by its trait
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringate::internals::config::{self, Diagnostics};
use ringate::internals::http2::{Config, Connection, Event, Field, FieldList, RequestLine};
use ringate::internals::server::{Server, build};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    /// Allocations after which a thread's name is not looked at any more: it has it long since.
    static LOOKS: Cell<u32> = const { Cell::new(1000) };
}

/// Whether this thread is a worker. Asks the kernel, as asking the library might allocate.
fn is_worker() -> bool {
    if IS_WORKER.get() || LOOKS.get() == 0 {
        return IS_WORKER.get();
    }
    LOOKS.set(LOOKS.get() - 1);
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes to where it is told.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    IS_WORKER.set(name.starts_with(b"worker-"));
    IS_WORKER.get()
}

fn count() {
    if is_worker() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 200;

/// A backend that answers every request with a body of `size` bytes.
fn backend(size: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n");
    let answer = [head.as_bytes(), &vec![b'x'; size]].concat();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, answer) = (connection.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while let Ok(n @ 1..) = connection.read(&mut piece) {
                    request.extend_from_slice(&piece[..n]);
                    if request.ends_with(b"\r\n\r\n") {
                        request.clear();
                        connection.write_all(&answer).unwrap();
                    }
                }
            });
        }
    });
    address
}

/// One request on each connection, each read to its end.
fn round(clients: &mut [TcpStream], size: usize, piece: &mut [u8]) {
    for client in clients.iter_mut() {
        client
            .write_all(b"GET /some/path?and=query HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n")
            .unwrap();
    }
    for client in clients.iter_mut() {
        let mut held = 0;
        let body = loop {
            held += client.read(&mut piece[held..]).unwrap();
            if let Some(at) = piece[..held].windows(4).position(|four| four == b"\r\n\r\n") {
                break held - at - 4;
            }
        };
        assert!(piece.starts_with(b"HTTP/1.1 200 OK\r\n"));
        let mut left = size - body;
        while left > 0 {
            let n = client.read(piece).unwrap();
            assert!(n > 0);
            left -= n;
        }
    }
}

/// A route to a backend.
fn to(backend: SocketAddr, upstream: &str) -> String {
    format!("[[route]]\nupstream = \"app\"\n[upstream.app]\nendpoints = [\"{backend}\"]\n{upstream}\n")
}

/// A server of one worker with this route, and where its listener is.
fn server(protocol: &str, route: &str) -> (Server, SocketAddr) {
    let text = format!(
        "[runtime]\nworkers = 1\n[[listener]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"{protocol}\"\n{route}"
    );
    let plan = config::parse("test.toml", &text, Path::new(".")).unwrap();
    let assembly = build(&plan, None, &mut Diagnostics::new("test.toml", &text)).unwrap();
    let server = Server::start(&plan, assembly.running).unwrap();
    let address = *server.snapshot.load().listeners[0].addresses[0].ip().unwrap();
    (server, address)
}

/// Allocations of the worker during `rounds`, once it has been through them.
fn in_the_steady_state(server: Server, mut rounds: impl FnMut()) -> u64 {
    rounds();
    let before = COUNT.load(Ordering::Relaxed);
    assert!(before > 0, "the worker's allocations are counted at all");
    rounds();
    let during = COUNT.load(Ordering::Relaxed) - before;
    server.begin_drain();
    during
}

/// Allocations of the worker during `ROUNDS` requests on each of `CONNECTIONS` connections.
fn allocations(size: usize, route: &str) -> u64 {
    let route = to(backend(size), "").replacen("[[route]]", &format!("[[route]]\n{route}"), 1);
    let (server, address) = server("http", &route);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut piece = vec![0; 64 * 1024];
    in_the_steady_state(server, || (0..ROUNDS).for_each(|_| round(&mut clients, size, &mut piece)))
}

/// A root with files that are as long as the pages of backends, and the route to it.
fn files() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("some")).unwrap();
    for name in ["some/path", "index.html", "app.js", "app.js.br"] {
        std::fs::write(dir.path().join(name), [b'x'; 1024]).unwrap();
    }
    let route = format!("[[route]]\nroot = \"{}\"\nprecompressed = [\"br\"]\n", dir.path().display());
    (dir, route)
}

/// Requests for files: what is sent, the status line of each response, and the bytes of its content.
const FILES: [(&str, &str, usize); 5] = [
    ("GET /some/path?and=query HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n", 1024),
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n", 1024),
    ("GET /app.js HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n", "HTTP/1.1 200 OK\r\n", 1024),
    ("GET /app.js HTTP/1.1\r\nHost: a\r\nRange: bytes=2-3\r\n\r\n", "HTTP/1.1 206 ", 2),
    ("GET /app.js HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n", 0),
];

/// Allocations of the worker during `ROUNDS` times all of `FILES` on each connection.
fn allocations_of_files() -> u64 {
    let (dir, route) = files();
    let (server, address) = server("http", &route);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut piece = vec![0; 4096];
    let rounds = || {
        for (request, status, size) in std::iter::repeat_n(FILES, ROUNDS).flatten() {
            for client in &mut clients {
                client.write_all(request.as_bytes()).unwrap();
            }
            for client in &mut clients {
                let mut held = 0;
                let end = |piece: &[u8]| piece.windows(4).position(|four| four == b"\r\n\r\n");
                while end(&piece[..held]).is_none_or(|end| held < end + 4 + size) {
                    held += client.read(&mut piece[held..]).unwrap();
                }
                assert!(piece.starts_with(status.as_bytes()), "{request}: {}", piece[..held].escape_ascii());
            }
        }
    };
    let during = in_the_steady_state(server, rounds);
    drop(dir);
    during
}

/// The bytes of the next datagram. The worker's ring is in this process, and may interrupt the call.
fn receive(client: &UdpSocket) -> usize {
    loop {
        match client.recv(&mut [0; 2048]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

/// The same for datagrams of each of `CONNECTIONS` clients, there and back.
fn allocations_of_datagrams() -> u64 {
    let backend = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (server, address) = server("udp", &to(backend.local_addr().unwrap(), ""));
    std::thread::spawn(move || {
        let mut piece = [0; 2048];
        while let Ok((count, from)) = backend.recv_from(&mut piece) {
            let _ = backend.send_to(&piece[..count], from);
        }
    });
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for client in &clients {
        client.connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    let round = || {
        for client in &clients {
            for size in [1200, 1200, 64] {
                client.send(&[7; 1200][..size]).unwrap();
            }
        }
        for client in &clients {
            for size in [1200, 1200, 64] {
                assert_eq!(receive(client), size);
            }
        }
    };
    in_the_steady_state(server, || (0..ROUNDS).for_each(|_| round()))
}

/// One end of an HTTP/2 connection in memory, with what it needs of a worker.
struct End {
    connection: Connection,
    fields: FieldList,
    out: Vec<u8>,
}

impl End {
    fn new(connection: Connection) -> Self {
        let mut end = Self { connection, fields: FieldList::new(), out: Vec::new() };
        end.connection.start(&mut end.out);
        end
    }

    /// Takes in what the other end has written, and acts on each event.
    fn take(&mut self, other: &mut Self, mut act: impl FnMut(&mut Connection, Event, &mut Vec<u8>)) {
        let mut at = 0;
        loop {
            let input = &other.out[at..];
            let received = self.connection.receive(input, 0, &mut self.fields, &mut self.out).unwrap();
            at += received.consumed;
            let Some(event) = received.event else { break };
            act(&mut self.connection, event, &mut self.out);
        }
        assert_eq!(at, other.out.len());
        other.out.clear();
    }
}

/// Requests with content, of which each is answered with content and trailers, `count` times ten at once.
fn exchanges(client: &mut End, server: &mut End, count: usize) {
    let line = RequestLine {
        method: "POST",
        scheme: Some("https"),
        authority: "a.example",
        path: Some("/service/method"),
        protocol: None,
    };
    for _ in 0..count {
        for _ in 0..10 {
            let fields = [field("content-type", "application/grpc"), field("te", "trailers")];
            let out = &mut client.out;
            let stream = client.connection.send_request(&line, fields.into_iter(), false, out).unwrap();
            assert_eq!(client.connection.send_data(stream, &[b'x'; 100], true, out), Ok(100));
        }
        server.take(client, |connection, event, out| {
            if let Event::Data { stream, data, end_stream } = event {
                connection.consume(stream, data.len(), out);
                assert!(end_stream);
                let fields = [field("content-type", "application/grpc"), field("server", "x")];
                connection.send_response(stream, 200, fields.into_iter(), false, out).unwrap();
                connection.want_to_send(stream, true);
                assert!(connection.next_ready().is_some());
                assert_eq!(connection.send_data(stream, &[b'y'; 1000], false, out), Ok(1000));
                connection.send_trailers(stream, [field("grpc-status", "0")].into_iter(), out).unwrap();
            }
        });
        client.take(server, |connection, event, out| {
            if let Event::Data { stream, data, .. } = event {
                connection.consume(stream, data.len(), out);
            }
        });
        server.take(client, |_, _, _| {});
        assert_eq!((client.connection.stream_count(), server.connection.stream_count()), (0, 0));
    }
}

/// What the HTTP/2 backend answers.
#[derive(Clone, Copy)]
enum Service {
    /// A GET with so many bytes.
    Content(usize),
    /// A call of gRPC with a message and a status.
    Call,
}

impl Service {
    fn fields(self) -> [Field<'static>; 2] {
        let content_type = match self {
            Self::Content(_) => "text/plain",
            Self::Call => "application/grpc",
        };
        [field("content-type", content_type), field("te", "trailers")]
    }

    fn content(self) -> Vec<u8> {
        vec![b'x'; if let Self::Content(size) = self { size } else { 105 }]
    }
}

fn field(name: &'static str, value: &'static str) -> Field<'static> {
    Field { name: name.as_bytes(), value: value.as_bytes(), never_indexed: false }
}

impl End {
    /// Reads once from `stream`, and hands each event to `act`. False: it has ended.
    fn read(
        &mut self,
        stream: &mut TcpStream,
        input: &mut Vec<u8>,
        mut act: impl FnMut(&mut Connection, Event, &mut Vec<u8>),
    ) -> bool {
        let mut piece = [0; 64 * 1024];
        match stream.read(&mut piece) {
            Ok(n @ 1..) => input.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            _ => return false,
        }
        loop {
            let received = self.connection.receive(input, 0, &mut self.fields, &mut self.out).unwrap();
            if let Some(Event::Data { stream, data, .. }) = &received.event {
                self.connection.consume(*stream, data.len(), &mut self.out);
            }
            let event = received.event;
            input.drain(..received.consumed);
            let Some(event) = event else { break };
            act(&mut self.connection, event, &mut self.out);
        }
        stream.write_all(&self.out).unwrap();
        self.out.clear();
        true
    }
}

/// Answers each request once it is whole, for as long as the connection lasts.
fn serve_http2(mut stream: TcpStream, service: Service) {
    let mut end = End::new(Connection::server(Arc::new(Config::default())));
    let (mut input, content) = (Vec::new(), service.content());
    let answer = |connection: &mut Connection, stream, out: &mut Vec<u8>| {
        let [content_type, _] = service.fields();
        connection.send_response(stream, 200, [content_type].into_iter(), false, out).unwrap();
        let is_call = matches!(service, Service::Call);
        assert_eq!(connection.send_data(stream, &content, !is_call, out), Ok(content.len()));
        if is_call {
            connection.send_trailers(stream, [field("grpc-status", "0")].into_iter(), out).unwrap();
        }
    };
    stream.write_all(&std::mem::take(&mut end.out)).unwrap();
    while end.read(&mut stream, &mut input, |connection, event, out| match event {
        Event::Head { stream, end_stream: true, .. } | Event::Data { stream, end_stream: true, .. } => {
            answer(connection, stream, out);
        }
        _ => {}
    }) {}
}

fn http2_backend(service: Service) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.unwrap();
            std::thread::spawn(move || serve_http2(connection, service));
        }
    });
    address
}

/// Requests at a time on each HTTP/2 connection.
const STREAMS: usize = 10;

/// Sends requests on all streams of a connection at once, and reads all responses to their ends.
fn http2_round(stream: &mut TcpStream, end: &mut End, input: &mut Vec<u8>, service: Service) {
    let is_call = matches!(service, Service::Call);
    let line = RequestLine {
        method: if is_call { "POST" } else { "GET" },
        scheme: Some("http"),
        authority: "example.com",
        path: Some("/some/path?and=query"),
        protocol: None,
    };
    for _ in 0..STREAMS {
        let fields = service.fields().into_iter().take(if is_call { 2 } else { 0 });
        let id = end.connection.send_request(&line, fields, !is_call, &mut end.out).unwrap();
        if is_call {
            assert_eq!(end.connection.send_data(id, &service.content(), true, &mut end.out), Ok(105));
        }
    }
    stream.write_all(&end.out).unwrap();
    end.out.clear();
    let (mut left, mut received) = (STREAMS, 0);
    while left > 0 {
        let open = end.read(stream, input, |_, event, _| match event {
            Event::Data { data, end_stream, .. } => {
                received += data.len();
                left -= usize::from(end_stream);
            }
            Event::Trailers { .. } => left -= 1,
            Event::Reset { stream, cause } => panic!("{stream:?} was reset: {cause:?}"),
            _ => {}
        });
        assert!(open, "the connection ended");
    }
    assert_eq!(received, STREAMS * service.content().len());
}

/// Allocations of the worker during `ROUNDS` times `STREAMS` requests on HTTP/2 connections.
fn allocations_of_streams(route: &str, service: Service) -> u64 {
    let (server, address) = server("http", route);
    let mut clients: Vec<_> = (0..2)
        .map(|_| {
            let end = End::new(Connection::client(Arc::new(Config::default())));
            (TcpStream::connect(address).unwrap(), end, Vec::new())
        })
        .collect();
    let rounds = || {
        for _ in 0..ROUNDS {
            for (stream, end, input) in &mut clients {
                http2_round(stream, end, input, service);
            }
        }
    };
    in_the_steady_state(server, rounds)
}

/// Allocations during 1000 exchanges of the HTTP/2 codec, on a thread that counts as a worker.
fn allocations_of_http2() -> u64 {
    let run = || {
        let config = Arc::new(Config::default());
        let mut client = End::new(Connection::client(config.clone()));
        let mut server = End::new(Connection::server(config));
        exchanges(&mut client, &mut server, 100);
        let before = COUNT.load(Ordering::Relaxed);
        assert!(before > 0, "allocations are counted at all");
        exchanges(&mut client, &mut server, 100);
        COUNT.load(Ordering::Relaxed) - before
    };
    std::thread::Builder::new().name("worker-http2".to_owned()).spawn(run).unwrap().join().unwrap()
}

/// One test, as the count is of all workers together.
#[test]
fn requests_and_datagrams_allocate_nothing() {
    assert_eq!(allocations_of_http2(), 0, "allocations for 1000 exchanges of the HTTP/2 codec");
    let during = allocations_of_datagrams();
    assert!(during <= 16, "{during} allocations for {} datagrams", 3 * CONNECTIONS * ROUNDS);
    // Header rules whose conditions do not hold.
    let when = "headers.when = [{ path = \"/other\", headers = { X-A = \"1\" }, response = { set = { X-B = \"{request.path}\" } } }]";
    for (size, route) in [(1024, ""), (16 * 1024, ""), (1024, when)] {
        let requests = (CONNECTIONS * ROUNDS) as u64;
        let during = allocations(size, route);
        // What the worker does once a second may allocate; a request may not.
        assert!(during <= 16, "{during} allocations for {requests} requests with {size} bytes of answer");
    }
    let during = allocations_of_files();
    assert!(
        during <= 16,
        "{during} allocations for {} requests of files",
        FILES.len() * CONNECTIONS * ROUNDS
    );
    let page = Service::Content(1024);
    let (_dir, files) = files();
    let all = [
        ("HTTP/1.1", to(backend(1024), ""), page),
        ("HTTP/2", to(http2_backend(page), "http = \"2\""), page),
        ("gRPC", to(http2_backend(Service::Call), "http = \"2\""), Service::Call),
        ("files", files, page),
    ];
    for (name, route, service) in all {
        let during = allocations_of_streams(&route, service);
        let requests = 2 * STREAMS * ROUNDS;
        assert!(during <= 16, "{during} allocations for {requests} requests on streams to {name}");
    }
}
