//! Clients that break the TLS protocol on a listener: each reads the alert that the RFCs name, then the end of the
//! connection, never a reset. And those that only seem to are served.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ServerConfig;

use crate::support::*;

const UNEXPECTED_MESSAGE: u8 = 10;
const RECORD_OVERFLOW: u8 = 22;
const HANDSHAKE_FAILURE: u8 = 40;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const MISSING_EXTENSION: u8 = 109;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

const GROUPS: u16 = 10;
const SIGNATURES: u16 = 13;
const EARLY_DATA: u16 = 42;
const VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
const RENEGOTIATION: u16 = 0xff01;

/// A ClientHello of parts that a test changes.
struct Hello {
    version: u16,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    fn tls12() -> Self {
        let extensions = vec![
            (GROUPS, vec![0, 4, 0, 23, 0, 29]),
            (SIGNATURES, vec![0, 6, 4, 3, 8, 4, 4, 1]),
            (11, vec![1, 0]),
        ];
        Self { version: 0x0303, extensions }
    }

    fn tls13() -> Self {
        let share = [&[0, 36, 0, 29, 0, 32][..], &[9; 32]].concat();
        let hello = Self::tls12().with(GROUPS, &[0, 2, 0, 29]);
        hello.with(VERSIONS, &[2, 3, 4]).with(KEY_SHARE, &share)
    }

    fn of(self, version: u16) -> Self {
        Self { version, ..self }
    }

    fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|(other, _)| *other != kind);
        self
    }

    fn with(self, kind: u16, content: &[u8]) -> Self {
        let mut hello = self.without(kind);
        hello.extensions.push((kind, content.to_vec()));
        hello
    }

    fn message(&self) -> Vec<u8> {
        let extensions = self.extensions.iter().map(|(kind, content)| {
            [&kind.to_be_bytes()[..], &(content.len() as u16).to_be_bytes(), content].concat()
        });
        let extensions = extensions.collect::<Vec<_>>().concat();
        let body = [
            &self.version.to_be_bytes()[..],
            &[5; 32],
            &[0],
            &[0, 6, 0x13, 1, 0xc0, 0x2b, 0xc0, 0x2f],
            &[1, 0],
            &(extensions.len() as u16).to_be_bytes(),
            &extensions,
        ];
        message(1, &body.concat())
    }

    fn record(&self) -> Vec<u8> {
        record(HANDSHAKE, &self.message())
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &(content.len() as u16).to_be_bytes()[..], content].concat()
}

/// The last record of the answer to `bytes`, which the end of the connection follows.
fn last_record(what: &str, address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (mut rest, mut last) = (&answer[..], &[][..]);
    while let [_, _, _, high, low, ..] = rest {
        let length = 5 + usize::from(u16::from_be_bytes([*high, *low]));
        (last, rest) = rest.split_at_checked(length).unwrap_or_else(|| panic!("{what}: {answer:?}"));
    }
    last.to_vec()
}

#[test]
fn an_alert_answers_each_breach_and_the_end_follows_it() {
    let pki = Pki::new();
    let backend = Backend::replying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let ringate = Setup::to(backend.address()).listener(&pki.listener_tls()).start();
    let (hello12, hello13) = (Hello::tls12().record(), Hello::tls13().record());
    let within = |kind, content: &[u8]| {
        [record(HANDSHAKE, &Hello::tls13().message()[..50]), record(kind, content)].concat()
    };
    let after12 = |kind, content: &[u8]| [hello12.clone(), record(kind, content)].concat();
    let point = |length: usize, first: u8| {
        let mut point = vec![7; length];
        point[0] = first;
        after12(HANDSHAKE, &message(16, &[&[length as u8], &point[..]].concat()))
    };
    let warnings = std::iter::repeat_n(record(ALERT, &[1, 90]), 5).collect::<Vec<_>>().concat();
    let huge = message(1, &vec![0; 70_000]);
    let huge = huge.chunks(16_384).map(|part| record(HANDSHAKE, part)).collect::<Vec<_>>().concat();
    let renegotiating = |hello: Hello| hello.with(RENEGOTIATION, &[3, 1, 2, 3]).record();
    for (what, bytes, alert) in [
        ("too long a record", record(HANDSHAKE, &vec![1; 16_385]), RECORD_OVERFLOW),
        ("too long a record later", after12(HANDSHAKE, &vec![16; 16_385]), RECORD_OVERFLOW),
        ("far too long a record", record(HANDSHAKE, &vec![1; 60_000]), RECORD_OVERFLOW),
        ("an empty fragment", record(HANDSHAKE, &[]), UNEXPECTED_MESSAGE),
        ("an empty alert", record(ALERT, &[]), UNEXPECTED_MESSAGE),
        ("an empty alert later", after12(ALERT, &[]), UNEXPECTED_MESSAGE),
        ("change_cipher_spec first", record(CHANGE_CIPHER_SPEC, &[1]), UNEXPECTED_MESSAGE),
        ("data first", record(DATA, b"x"), UNEXPECTED_MESSAGE),
        ("heartbeat first", record(HEARTBEAT, &[1, 0, 0]), UNEXPECTED_MESSAGE),
        ("heartbeat later", after12(HEARTBEAT, &[1, 0, 0]), UNEXPECTED_MESSAGE),
        ("a long change_cipher_spec", after12(CHANGE_CIPHER_SPEC, &[1, 1]), UNEXPECTED_MESSAGE),
        ("another change_cipher_spec", after12(CHANGE_CIPHER_SPEC, &[2]), UNEXPECTED_MESSAGE),
        ("an alert within a message", within(ALERT, &[1, 90]), UNEXPECTED_MESSAGE),
        ("no data within a message", within(DATA, &[]), UNEXPECTED_MESSAGE),
        ("data within a message", within(DATA, b"x"), UNEXPECTED_MESSAGE),
        ("change_cipher_spec within a message", within(CHANGE_CIPHER_SPEC, &[1]), UNEXPECTED_MESSAGE),
        ("a hello twice", after12(HANDSHAKE, &Hello::tls12().message()), UNEXPECTED_MESSAGE),
        ("a plain Finished", after12(HANDSHAKE, &message(20, &[7; 12])), UNEXPECTED_MESSAGE),
        ("five warnings", [hello12.clone(), warnings].concat(), UNEXPECTED_MESSAGE),
        ("a renegotiation first", renegotiating(Hello::tls12()), HANDSHAKE_FAILURE),
        ("a renegotiation first, of TLS 1.3", renegotiating(Hello::tls13()), HANDSHAKE_FAILURE),
        ("SSL 3.0 beside TLS 1.3", Hello::tls13().of(0x0300).record(), PROTOCOL_VERSION),
        ("no key share", Hello::tls13().without(KEY_SHARE).record(), MISSING_EXTENSION),
        ("no groups", Hello::tls13().without(GROUPS).record(), MISSING_EXTENSION),
        ("neither", Hello::tls13().without(GROUPS).without(KEY_SHARE).record(), MISSING_EXTENSION),
        ("no signature algorithms", Hello::tls13().without(SIGNATURES).record(), MISSING_EXTENSION),
        ("SHA-384 alone", Hello::tls12().with(SIGNATURES, &[0, 2, 5, 3]).record(), HANDSHAKE_FAILURE),
        ("SHA-512 alone", Hello::tls12().with(SIGNATURES, &[0, 2, 6, 3]).record(), HANDSHAKE_FAILURE),
        ("a point cut short", point(64, 4), DECODE_ERROR),
        ("half a point", point(40, 4), DECODE_ERROR),
        ("a ClientHello beyond 64 KiB", huge, DECODE_ERROR),
    ] {
        assert_eq!(last_record(what, ringate.address(), &bytes), [ALERT, 3, 3, 0, 2, 2, alert], "{what}");
    }
    // What is protected can only be counted here: a record of an alert's length.
    let early = Hello::tls13().with(EARLY_DATA, &[]).record();
    let junk = record(DATA, &[7; 9_000]);
    for (what, bytes) in [
        ("early data beyond its bound", [early.clone(), junk.clone(), junk.clone()].concat()),
        ("data that nothing announced", [hello13.clone(), junk].concat()),
        ("a hello twice", [hello13.clone(), Hello::tls13().record()].concat()),
        ("a plain Finished", [hello13, record(HANDSHAKE, &message(20, &[7; 32]))].concat()),
    ] {
        let last = last_record(what, ringate.address(), &bytes);
        assert_eq!((last[0], last.len()), (DATA, 24), "{what}");
    }
}

#[test]
fn early_data_that_is_rejected_is_skipped_once_in_whatever_records() {
    let pki = Pki::new();
    let mut giving = ServerConfig::clone(&pki.server_config());
    giving.max_early_data_size = 16_384;
    let server = Server::start(Some(Arc::new(giving)), |stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        stream.get_mut().write_all(&byte)
    });
    let backend = Backend::replying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let ringate = Setup::to(backend.address()).listener(&pki.listener_tls()).start();
    let mut config = rustls::ClientConfig::clone(&pki.client_config());
    config.enable_early_data = true;
    let config = Arc::new(config);
    for (records, bytes) in [
        (1, 8000),
        (1, 9000),
        (1, 16_000),
        (2, 4000),
        (2, 8000),
        (10, 300),
        (20, 100),
        (100, 100),
        (300, 1),
        (1, 0),
    ] {
        // A ticket of a server that takes early data, under the same name.
        let mut stream = Stream::connect(server.address(), Some(Arc::clone(&config)));
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        drop(stream);
        let Stream::Client(mut tls) = Stream::connect(ringate.address(), Some(Arc::clone(&config))) else {
            unreachable!()
        };
        for _ in 0..records {
            let sent = tls.conn.early_data().unwrap().write(&vec![b'x'; bytes]).unwrap();
            assert_eq!(sent, bytes);
        }
        tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        tls.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{records} of {bytes}: {error}"));
        assert!(
            !tls.conn.is_early_data_accepted() && answer.ends_with("hello"),
            "{records} of {bytes}: {answer}"
        );
    }
}

#[test]
fn http_1_0_is_served_by_alpn() {
    let pki = Pki::new();
    let backend = Backend::replying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let ringate = Setup::to(backend.address()).listener(&pki.listener_tls()).start();
    let url = format!("https://localhost:{}/", ringate.address().port());
    let ca = pki.file("ca.pem");
    assert_eq!(curl(&["--cacert", ca.to_str().unwrap(), "--http1.0", &url]), "hello");
}

#[test]
fn plain_http_on_a_tls_port_is_answered_in_plain_http() {
    let pki = Pki::new();
    let backend = Backend::replying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let ringate = Setup::to(backend.address()).listener(&pki.listener_tls()).start();
    let body = vec![b'x'; 100_000];
    let post = [&b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"[..], &body].concat();
    for request in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &post] {
        let mut client = ringate.client();
        client.send(request);
        let answer = String::from_utf8(client.rest()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nThe plain HTTP request was sent to HTTPS port.\n"), "{answer}");
    }
    // What is neither gets nothing.
    let mut client = ringate.client();
    client.send("SSH-2.0-x\r\n");
    assert_eq!(client.rest(), b"");
}
