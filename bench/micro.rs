//! Micro-benchmarks of the pieces that a request passes through: `cargo bench --bench micro [-- NAME]`.
//!
//! | group | what |
//! | --- | --- |
//! | `head` | request and response heads: parse, and encode for the other side |
//! | `chunked` | a body of 16 KiB in chunks of 1 KiB: decode in place; a chunk's size line |
//! | `route` | lookup of host and path in tables of 1, 100 and 10,000 routes |
//! | `record` | TLS 1.3 records of Ringate's record layer: seal in place, open in place |
//! | `monoio-rustls` | the same bytes through its streams, in memory: what the record layer takes the place of |
//! | `aes-gcm` | the same bytes on aws-lc-rs alone: the least that a record can cost |
//! | `pool` | check-out of an idle connection, its look for life included, and check-in |

use std::cell::RefCell;
use std::future::poll_fn;
use std::hint::black_box;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use monoio::BufResult;
use monoio::buf::{IoBuf, IoBufMut, IoVecBuf, IoVecBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio_rustls::{TlsAcceptor, TlsConnector};
use ringate::internals::base::limits::Limits;
use ringate::internals::base::published::Published;
use ringate::internals::http::{
    ForwardedFor, HeadEdit, OutgoingRequest, PathRewrite, RequestContext, RequestHead, ResponseHead, Version,
};
use ringate::internals::http1::{self, ChunkedDecoder, HeadLimits, Parsed, ResponseContext};
use ringate::internals::io::runtime;
use ringate::internals::proxy::{ConnectRequest, Frontend, Worker};
use ringate::internals::route::{HostPattern, PathPattern, RouteQuery, RouteSpec, Table};
use ringate::internals::tls::{
    self, BackendVerifier, Handshake, Identity, Opener, Sealer, ServerResolver, State, TrustAnchors,
};
use ringate::internals::{config, server};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};

/// The header of a TLS 1.3 record, which is its additional data (RFC 8446 §5.2).
const RECORD_HEADER: [u8; 5] = [23, 3, 3, 0x40, 0x11];
const SIZES: [(&str, usize); 2] = [("1KiB", 1024), ("16KiB", 16 * 1024)];
const CIPHERS: [(&str, &Algorithm); 2] = [("aes-128-gcm", &AES_128_GCM), ("aes-256-gcm", &AES_256_GCM)];
/// The same two in TLS 1.3.
const SUITES: [(&str, &str); 2] =
    [("aes-128-gcm", "TLS13_AES_128_GCM_SHA256"), ("aes-256-gcm", "TLS13_AES_256_GCM_SHA384")];

fn key(algorithm: &'static Algorithm) -> LessSafeKey {
    let bytes = [7; 32];
    let key = UnboundKey::new(algorithm, &bytes[..algorithm.key_len()]).expect("the key has its length");
    LessSafeKey::new(key)
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([3; NONCE_LEN])
}

fn aes_gcm_seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("aes-gcm/seal");
    for (cipher, algorithm) in CIPHERS {
        let key = key(algorithm);
        for (name, size) in SIZES {
            let mut record = vec![0; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{cipher}/{name}"), |bencher| {
                bencher.iter(|| {
                    key.seal_in_place_separate_tag(nonce(), Aad::from(RECORD_HEADER), black_box(&mut record))
                });
            });
        }
    }
    group.finish();
}

fn aes_gcm_open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("aes-gcm/open");
    for (cipher, algorithm) in CIPHERS {
        let key = key(algorithm);
        for (name, size) in SIZES {
            let mut sealed = vec![0; size];
            key.seal_in_place_append_tag(nonce(), Aad::from(RECORD_HEADER), &mut sealed).expect("it seals");
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{cipher}/{name}"), |bencher| {
                // Opening overwrites the record, so that each iteration needs a copy of its own.
                bencher.iter_batched_ref(
                    || sealed.clone(),
                    |record| {
                        let opened = key.open_in_place(nonce(), Aad::from(RECORD_HEADER), record);
                        black_box(opened.expect("it opens").len())
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

const REQUEST: &[u8] = b"GET /orders/4711?view=full&lang=de HTTP/1.1\r\n\
Host: api.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: de,en-US;q=0.7,en;q=0.3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Connection: keep-alive\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: nginx\r\n\
Date: Sun, 22 Nov 2026 06:21:10 GMT\r\n\
Content-Type: application/json; charset=utf-8\r\n\
Content-Length: 1024\r\n\
Connection: keep-alive\r\n\
Cache-Control: private, max-age=0\r\n\
ETag: \"65f2c1a0-400\"\r\n\
\r\n";

fn limits() -> HeadLimits {
    HeadLimits::from(&Limits::default())
}

fn with_request<R>(work: impl FnOnce(&RequestHead<'_, '_>) -> R) -> R {
    let mut slots = http1::header_slots();
    match http1::parse_request(black_box(REQUEST), &mut slots, &limits()) {
        Ok(Parsed::Complete(head)) => work(&head),
        other => panic!("{other:?}"),
    }
}

fn with_response<R>(work: impl FnOnce(&ResponseHead<'_, '_>) -> R) -> R {
    let context = with_request(|head| RequestContext::from(head));
    let mut slots = http1::header_slots();
    match http1::parse_response(black_box(RESPONSE), &mut slots, &limits(), &context) {
        Ok(Parsed::Complete(head)) => work(&head),
        other => panic!("{other:?}"),
    }
}

fn head(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    group.bench_function("parse request", |bencher| bencher.iter(|| with_request(|head| head.fields.len())));
    group.bench_function("parse response", |bencher| {
        let context = with_request(|head| RequestContext::from(head));
        bencher.iter(|| {
            let mut slots = http1::header_slots();
            http1::parse_response(black_box(RESPONSE), &mut slots, &limits(), &context).is_ok()
        });
    });
    let forwarded = ForwardedFor {
        client: "192.0.2.17",
        proto: "https",
        host: Some("api.example.com"),
        request_id: "0123456789abcdef0123456789abcdef",
        client_certificate: None,
    };
    let mut out = Vec::with_capacity(4096);
    group.bench_function("encode request", |bencher| {
        let (edit, mut text) = (HeadEdit::default(), Vec::with_capacity(4096));
        with_request(|head| {
            bencher.iter(|| {
                out.clear();
                text.clear();
                let text_of = std::mem::take(&mut text);
                let head = black_box(head);
                let mut request =
                    OutgoingRequest::new(head, PathRewrite::Keep, None, &forwarded, &edit, text_of);
                http1::encode_request(&request, &mut out);
                text = request.take_memory();
                out.len()
            });
        });
    });
    group.bench_function("encode response", |bencher| {
        let to = ResponseContext { version: Version::Http11, close: false };
        with_response(|head| {
            bencher.iter(|| {
                out.clear();
                http1::encode_response(black_box(head), &HeadEdit::default(), &to, &mut out)
            });
        });
    });
    group.finish();
}

fn chunked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    let chunk = [b"400\r\n".as_slice(), &[b'x'; 1024], b"\r\n"].concat();
    let body = [chunk.repeat(16), b"0\r\n\r\n".to_vec()].concat();
    group.throughput(Throughput::Bytes(16 * 1024));
    group.bench_function("decode 16 x 1KiB", |bencher| {
        // Decoding moves the data together in its buffer, so that each iteration needs a copy of its own.
        bencher.iter_batched_ref(
            || body.clone(),
            |body| ChunkedDecoder::default().decode(black_box(body)).expect("it is well formed").done,
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("size line", |bencher| {
        let mut line = [0; 20];
        bencher.iter(|| http1::chunk_header(black_box(65_000), &mut line).len());
    });
    group.finish();
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for count in [1, 100, 10_000] {
        let specs = (0..count).map(|id| RouteSpec {
            host: Some(HostPattern::Exact(format!("host{}.example.com", id / 10))),
            path: PathPattern::Prefix(format!("/service/{}", id % 10)),
            methods: None,
            conditions: Vec::new(),
            id,
        });
        let table = Table::build(specs).expect("no two are alike");
        let host = format!("host{}.example.com", (count - 1) / 10);
        let path = format!("/service/{}/orders/4711", (count - 1) % 10);
        group.bench_function(format!("host and prefix of {count}"), |bencher| {
            let asked = RouteQuery {
                host: Some(&host),
                path: &path,
                query: None,
                method: "GET",
                client: "192.0.2.1",
                headers: &[],
                announced: None,
            };
            bencher.iter(|| table.find(black_box(&asked)));
        });
    }
    group.finish();
}

/// What both ends of a connection agree by.
fn configs(suite: &str) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["backend.test".to_owned()]).expect("it is made");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it is a key");
    let chain = vec![made.cert.der().clone()];
    let trust = TrustAnchors::build(chain.clone()).expect("it is a certificate");
    let identity = Identity::new("bench", 1, chain, key).expect("they belong together");
    let suite = tls::config::cipher_suite_by_name(suite).expect("it is known");
    let client = tls::client_config(&tls::ClientPolicy {
        versions: tls::Versions::default(),
        cipher_suites: Some(vec![suite]),
        groups: None,
        verifier: BackendVerifier::new(trust, Vec::new(), [], ringate::internals::tls::RsaBits::default())
            .expect("it verifies"),
        alpn: Vec::new(),
    });
    let server = tls::server_config(&tls::ServerPolicy {
        versions: tls::Versions::default(),
        cipher_suites: None,
        cipher_order: tls::CipherOrder::Server,
        groups: None,
        resolver: Arc::new(ServerResolver::new(vec![Published::new(identity)])),
        client_verifier: None,
        alpn: Vec::new(),
        ticketer: tls::ticketer().expect("there is randomness"),
    });
    (client.expect("it is whole"), server.expect("it is whole"))
}

fn backend_name() -> ServerName<'static> {
    ServerName::try_from("backend.test").expect("it is a name")
}

/// Both ends of an established connection: what the client seals, the server opens.
fn connection(suite: &str) -> (Sealer, Opener) {
    let (client, server) = configs(suite);
    let mut ends = [
        Handshake::client(client, backend_name()).expect("it begins"),
        Handshake::server(server).expect("it begins"),
    ];
    let mut towards = [Vec::new(), Vec::new()];
    let mut done = [false, false];
    while done != [true, true] {
        for end in 0..2 {
            let mut out = Vec::new();
            let progress = ends[end].advance(&mut towards[end], &mut out).expect("they agree");
            done[end] = progress.state == State::Done;
            towards[end].drain(..progress.consumed);
            towards[1 - end].extend_from_slice(&out);
        }
    }
    let [client, server] = ends.map(|end| end.finish().expect("it is done"));
    (client.sealer, server.opener)
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for (cipher, suite) in SUITES {
        for (name, size) in SIZES {
            let (mut sealer, mut opener) = connection(suite);
            let plaintext = sealer.prefix_len()..sealer.prefix_len() + size;
            let mut block = vec![7; plaintext.end + sealer.suffix_len()];
            group.throughput(Throughput::Bytes(size as u64));
            // Each record is opened once and in its turn: so sealing and opening are timed together.
            group.bench_function(format!("seal and open/{cipher}/{name}"), |bencher| {
                bencher.iter(|| {
                    let record = sealer.seal_in_place(&mut block, plaintext.clone()).expect("it fits");
                    opener.open(&mut block[record]).expect("it is whole")
                });
            });
            let (mut sealer, _) = connection(suite);
            group.bench_function(format!("seal/{cipher}/{name}"), |bencher| {
                bencher.iter(|| sealer.seal_in_place(&mut block, plaintext.clone()).expect("it fits").len());
            });
        }
    }
    group.finish();
}

/// One end of a connection in memory. A read waits until the other end has written.
struct MemoryEnd {
    inbound: Rc<RefCell<Vec<u8>>>,
    outbound: Rc<RefCell<Vec<u8>>>,
}

impl AsyncReadRent for MemoryEnd {
    async fn read<T: IoBufMut>(&mut self, buffer: T) -> BufResult<usize, T> {
        let arrived = |_: &mut Context<'_>| match self.inbound.borrow().is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        };
        poll_fn(arrived).await;
        let mut bytes = self.inbound.take();
        let (result, buffer) = (&bytes[..]).read(buffer).await;
        bytes.drain(..*result.as_ref().unwrap_or(&0));
        self.inbound.replace(bytes);
        (result, buffer)
    }

    async fn readv<T: IoVecBufMut>(&mut self, buffers: T) -> BufResult<usize, T> {
        (Err(ErrorKind::Unsupported.into()), buffers)
    }
}

impl AsyncWriteRent for MemoryEnd {
    async fn write<T: IoBuf>(&mut self, buffer: T) -> BufResult<usize, T> {
        // SAFETY: an `IoBuf` has that many initialised bytes there, and is held until the copy is made.
        #[allow(unsafe_code)]
        let bytes = unsafe { std::slice::from_raw_parts(buffer.read_ptr(), buffer.bytes_init()) };
        self.outbound.borrow_mut().extend_from_slice(bytes);
        (Ok(bytes.len()), buffer)
    }

    async fn writev<T: IoVecBuf>(&mut self, buffers: T) -> BufResult<usize, T> {
        (Err(ErrorKind::Unsupported.into()), buffers)
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The result of a future that has all that it waits for.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for more than there is"),
    }
}

/// Both ends of an established connection of monoio-rustls.
fn rustls_streams(
    suite: &str,
) -> (monoio_rustls::ClientTlsStream<MemoryEnd>, monoio_rustls::ServerTlsStream<MemoryEnd>) {
    let (client, server) = configs(suite);
    let (up, down) = (Rc::default(), Rc::default());
    let ends = [
        MemoryEnd { inbound: Rc::clone(&down), outbound: Rc::clone(&up) },
        MemoryEnd { inbound: up, outbound: down },
    ];
    let [client_end, server_end] = ends;
    let (connector, acceptor) = (TlsConnector::from(client), TlsAcceptor::from(server));
    let mut connecting = pin!(connector.connect(backend_name(), client_end));
    let mut accepting = pin!(acceptor.accept(server_end));
    let mut context = Context::from_waker(Waker::noop());
    let (mut connected, mut accepted) = (None, None);
    while connected.is_none() || accepted.is_none() {
        if connected.is_none()
            && let Poll::Ready(stream) = connecting.as_mut().poll(&mut context)
        {
            connected = Some(stream.expect("they agree"));
        }
        if accepted.is_none()
            && let Poll::Ready(stream) = accepting.as_mut().poll(&mut context)
        {
            accepted = Some(stream.expect("they agree"));
        }
    }
    (connected.expect("the handshake is done"), accepted.expect("the handshake is done"))
}

fn monoio_rustls_records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("monoio-rustls");
    for (cipher, suite) in SUITES {
        for (name, size) in SIZES {
            let (mut client, mut server) = rustls_streams(suite);
            let mut sent = vec![7; size];
            let mut received = Vec::with_capacity(size);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("write and read/{cipher}/{name}"), |bencher| {
                bencher.iter(|| {
                    let (result, buffer) = ready(client.write_all(std::mem::take(&mut sent)));
                    result.expect("there is room");
                    sent = buffer;
                    let mut left = size;
                    while left > 0 {
                        received.clear();
                        let (result, buffer) = ready(server.read(std::mem::take(&mut received)));
                        left -= result.expect("the record is whole");
                        received = buffer;
                    }
                });
            });
        }
    }
    group.finish();
}

fn pool(criterion: &mut Criterion) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let text = format!(
        "[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:0\"\n[[route]]\nupstream = \"u\"\n\
         [upstream.u]\nendpoints = [\"{address}\"]\n"
    );
    let plan = config::parse("bench.toml", &text, Path::new(".")).expect("it is right");
    let mut problems = config::Diagnostics::new("bench.toml", &text);
    let assembly = server::build(&plan, None, &mut problems).expect("it is right");
    let backend = runtime::detect().unwrap_or(runtime::Driver::Epoll);
    let work = async {
        let snapshot = Published::new(assembly.running);
        let frontend =
            Frontend::new(Worker::new(0, Arc::default(), (None, None), Arc::default(), 1), &snapshot, 1);
        let (worker, view) = (&*frontend.worker, frontend.view());
        let pool = &view.pools[0];
        let made =
            pool.open_stream(worker, &worker.wheel.deadline(), ConnectRequest::default(), 0, None).await;
        pool.check_in(worker, made.expect("the listener is there"));
        criterion.bench_function("pool/check out and in", |bencher| {
            bencher.iter(|| {
                let endpoint = pool.pick(Default::default()).unwrap_or(0);
                let idle = pool.check_out(worker, endpoint, ConnectRequest::default());
                let backend = idle.expect("it is idle and alive");
                pool.check_in(worker, backend);
            });
        });
    };
    runtime::block_on(backend, work).expect("there is a runtime");
}

criterion_group!(
    benches,
    head,
    chunked,
    route,
    record,
    monoio_rustls_records,
    aes_gcm_seal,
    aes_gcm_open,
    pool
);
criterion_main!(benches);
