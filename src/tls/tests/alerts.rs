//! Clients that break the protocol once records are protected: each reads the alert that the RFCs name.

use std::sync::Mutex;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use rustls::{AlertDescription, ClientConnection, KeyLog};

use super::*;
use crate::tls::cipher::{Direction, Layout};

/// Keeps a client's handshake traffic secret.
#[derive(Debug, Default)]
struct Secret(Mutex<Vec<u8>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_HANDSHAKE_TRAFFIC_SECRET" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label (RFC 8446 §7.1), without a context.
fn expand<const N: usize>(secret: &[u8], label: &str) -> [u8; N] {
    let label = format!("tls13 {label}");
    let info = [&[0, N as u8, label.len() as u8], label.as_bytes(), &[0]].concat();
    let mut out = [0; N];
    let prk = Prk::new_less_safe(HKDF_SHA256, secret);
    prk.expand(&[&info], Length(N)).unwrap().fill(&mut out).unwrap();
    out
}

/// A client that has read the server's flight and has sent nothing of its own, with the key to do so.
struct Client {
    connection: ClientConnection,
    server: End,
    key: Direction,
}

impl Client {
    fn new() -> Self {
        let secret = Arc::new(Secret::default());
        let mut config = (*only(CIPHER_SUITES[0])).clone();
        config.key_log = Arc::clone(&secret) as Arc<_>;
        let mut connection = ClientConnection::new(Arc::new(config), name(NAME)).unwrap();
        let mut server = End::server(&server_config(&server_policy()).unwrap());
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        let flight = server.take(&hello);
        connection.read_tls(&mut flight.as_slice()).unwrap();
        connection.process_new_packets().unwrap();
        let secret = secret.0.lock().unwrap();
        let (key, iv) = (expand::<16>(&secret, "key"), expand(&secret, "iv"));
        let algorithm = &aws_lc_rs::aead::AES_128_GCM;
        let key = Direction::of_key(Layout::Tls13, 0, algorithm, &key, iv).unwrap();
        Self { connection, server, key }
    }

    fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut record = vec![0; 5 + content.len() + 17];
        self.key.seal_from(kind, content, &mut record).unwrap();
        record
    }

    /// The alert that answers `bytes`.
    fn alert(mut self, bytes: &[u8]) -> AlertDescription {
        let out = self.server.take(bytes);
        let error = self.server.result.unwrap_err();
        self.connection.read_tls(&mut out.as_slice()).unwrap();
        match self.connection.process_new_packets() {
            Err(rustls::Error::AlertReceived(alert)) => alert,
            other => panic!("{error}: {other:?}"),
        }
    }
}

#[test]
fn a_client_with_keys_that_breaks_the_protocol_reads_why() {
    type Make = fn(&mut Client) -> Vec<u8>;
    let finished = [20, 0, 0, 32, 1, 2, 3];
    let table: [(&str, Make, AlertDescription); 13] = [
        ("no content type", |client| client.seal(0, &[0; 9]), AlertDescription::UnexpectedMessage),
        ("no content at all", |client| client.seal(0, &[]), AlertDescription::UnexpectedMessage),
        ("data", |client| client.seal(23, b"data"), AlertDescription::UnexpectedMessage),
        ("change_cipher_spec", |client| client.seal(20, &[1]), AlertDescription::UnexpectedMessage),
        ("heartbeat", |client| client.seal(24, &[1, 0, 0]), AlertDescription::UnexpectedMessage),
        ("an empty alert", |client| client.seal(21, &[]), AlertDescription::UnexpectedMessage),
        ("an empty fragment", |client| client.seal(22, &[]), AlertDescription::UnexpectedMessage),
        (
            "a Finished that is cut short",
            |client| client.seal(22, &[&[20, 0, 0, 31][..], &[7; 31]].concat()),
            AlertDescription::DecodeError,
        ),
        (
            "a Finished of an odd length, bit by bit",
            |client| [&[20][..], &[0, 0], &[33, 1]].map(|part| client.seal(22, part)).concat(),
            AlertDescription::DecodeError,
        ),
        (
            "a plain Finished",
            |_| [&[22, 3, 3, 0, 36, 20, 0, 0, 32][..], &[7; 32]].concat(),
            AlertDescription::UnexpectedMessage,
        ),
        ("a plain heartbeat", |_| vec![24, 3, 3, 0, 3, 1, 0, 0], AlertDescription::UnexpectedMessage),
        (
            "no record of this key",
            |_| [&[23, 3, 3, 0, 40][..], &[7; 40]].concat(),
            AlertDescription::BadRecordMac,
        ),
        (
            "too long a record",
            |client| [&client.seal(22, &[20])[..], &[23, 3, 3, 0x41, 1]].concat(),
            AlertDescription::RecordOverflow,
        ),
    ];
    for (what, make, alert) in table {
        let mut client = Client::new();
        let bytes = make(&mut client);
        assert_eq!(client.alert(&bytes), alert, "{what}");
    }
    for kind in [20, 21, 23] {
        for content in [&[][..], &[1], &[1, 0]] {
            let mut client = Client::new();
            let bytes = [client.seal(22, &finished), client.seal(kind, content)].concat();
            assert_eq!(client.alert(&bytes), AlertDescription::UnexpectedMessage, "{kind} {content:?}");
        }
    }
}
