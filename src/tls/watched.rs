//! What rustls' record layer does in a listener's handshake and does not show: which records it skipped as rejected early
//! data, and the key under which an alert of ours has to be sent.
//!
//! The cipher suites of a listener are rustls' own with another AEAD around theirs, which notes both in a place of the
//! thread. [`watch`] moves the notes of one handshake there for one step.

use std::cell::RefCell;
use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305};
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, OutboundOpaqueMessage, OutboundPlainMessage, Tls12AeadAlgorithm, Tls13AeadAlgorithm,
    UnsupportedOperationError,
};
use rustls::{
    AlertDescription, CipherSuite, ConnectionTrafficSecrets, ContentType, Error, InvalidMessage,
    PeerMisbehaved, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

use super::cipher::{Direction, HEADER, Layout};
use super::config::CIPHER_SUITES;

const ALERT: u8 = 21;
const FATAL: u8 = 2;
const FINISHED: u8 = 20;

/// Every suite of [`CIPHER_SUITES`], watched.
static WATCHED_SUITES: LazyLock<[SupportedCipherSuite; 9]> = LazyLock::new(|| CIPHER_SUITES.map(make));

/// The same suite, watched; `None`: it is not one of [`CIPHER_SUITES`].
pub(super) fn watched(suite: SupportedCipherSuite) -> Option<SupportedCipherSuite> {
    WATCHED_SUITES.iter().find(|watched| watched.suite() == suite.suite()).copied()
}

/// What is known of one handshake's record layer.
#[derive(Default)]
pub(super) struct Notes {
    /// The newest writing key, with the number of the next record.
    sealing: Option<Direction>,
    /// Records are written with that key by now. In TLS 1.2 it is made before its change_cipher_spec.
    active: bool,
    /// Whether the last step met a record that does not decrypt.
    pub(super) undecryptable: bool,
}

impl Notes {
    /// Whether records are protected already.
    pub(super) fn is_sealing(&self) -> bool {
        self.active
    }

    /// A fatal alert's record, protected if the handshake has keys by then.
    pub(super) fn alert(&mut self, description: AlertDescription) -> Vec<u8> {
        let alert = [FATAL, u8::from(description)];
        let sealing = self.sealing.as_mut().filter(|_| self.active);
        let Some(direction) = sealing else {
            return vec![ALERT, 3, 3, 0, 2, alert[0], alert[1]];
        };
        let mut record = vec![0; direction.layout.prefix() + alert.len() + direction.layout.suffix()];
        let sealed = direction.seal_from(ALERT, &alert, &mut record);
        if sealed.is_ok() { record } else { Vec::new() }
    }
}

/// Whether the last record of `sent` is an alert, protected or not.
pub(super) fn ends_with_alert(mut sent: &[u8]) -> bool {
    let mut last = false;
    while let Some((&[kind, _, _, high, low], rest)) = sent.split_first_chunk::<HEADER>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        // In TLS 1.3: level, description, content type and tag. No handshake message is as short.
        last = kind == ALERT || kind == super::record::APPLICATION_DATA && length == 2 + 1 + 16;
        sent = rest.get(length..).unwrap_or_default();
    }
    last
}

thread_local! {
    static NOTES: RefCell<Notes> = RefCell::default();
}

/// Runs one step of the handshake that `notes` belong to.
pub(super) fn watch<R>(notes: &mut Notes, step: impl FnOnce() -> R) -> R {
    notes.undecryptable = false;
    NOTES.set(std::mem::take(notes));
    let result = step();
    *notes = NOTES.take();
    result
}

fn make(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: common.confidentiality_limit,
    };
    let algorithm = algorithm(suite.suite());
    // Leaked once for each suite of the process.
    match suite {
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: Box::leak(Box::new(Tls13Aead {
                    inner: suite.aead_alg,
                    algorithm,
                    finished: suite.common.hash_provider.output_len(),
                })),
                quic: None,
            })))
        }
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: Box::leak(Box::new(Tls12Aead { inner: suite.aead_alg, algorithm })),
            })))
        }
    }
}

fn algorithm(suite: CipherSuite) -> &'static Algorithm {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => &AES_128_GCM,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => &AES_256_GCM,
        _ => &CHACHA20_POLY1305,
    }
}

/// Notes a writing key. Without it, which cannot be, an alert is left out.
fn note_key(layout: Layout, algorithm: &'static Algorithm, key: &[u8], iv: [u8; 12]) {
    NOTES.with_borrow_mut(|notes| {
        notes.sealing = Direction::of_key(layout, 0, algorithm, key, iv).ok();
        notes.active |= layout == Layout::Tls13;
    });
}

struct Tls13Aead {
    inner: &'static dyn Tls13AeadAlgorithm,
    algorithm: &'static Algorithm,
    finished: usize,
}

impl Tls13AeadAlgorithm for Tls13Aead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        if let Ok(iv) = iv.as_ref().try_into() {
            note_key(Layout::Tls13, self.algorithm, key.as_ref(), iv);
        }
        Box::new(Encrypter(self.inner.encrypter(key, iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        let messages = Messages { header: [0; 4], known: 0, left: 0, finished: self.finished };
        Box::new(Decrypter { inner: self.inner.decrypter(key, iv), messages })
    }

    fn key_len(&self) -> usize {
        self.inner.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.inner.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.inner.fips()
    }
}

struct Tls12Aead {
    inner: &'static dyn Tls12AeadAlgorithm,
    algorithm: &'static Algorithm,
}

impl Tls12AeadAlgorithm for Tls12Aead {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        let chacha = extra.is_empty();
        let layout = if chacha { Layout::Tls12ChaCha } else { Layout::Tls12Gcm };
        if let Ok(iv) = [iv, extra].concat().try_into() {
            note_key(layout, self.algorithm, key.as_ref(), iv);
        }
        Box::new(Encrypter(self.inner.encrypter(key, iv, extra)))
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        self.inner.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.inner.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.inner.extract_keys(key, iv, explicit)
    }

    fn fips(&self) -> bool {
        self.inner.fips()
    }
}

/// Notes how many records were written.
struct Encrypter(Box<dyn MessageEncrypter>);

impl MessageEncrypter for Encrypter {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        NOTES.with_borrow_mut(|notes| {
            notes.active = true;
            if let Some(direction) = &mut notes.sealing {
                direction.seq = seq + 1;
            }
        });
        self.0.encrypt(message, seq)
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.0.encrypted_payload_len(payload_len)
    }
}

/// Notes a record that does not decrypt, and refuses content that rustls would answer with another alert than RFC 8446.
struct Decrypter {
    inner: Box<dyn MessageDecrypter>,
    messages: Messages,
}

impl MessageDecrypter for Decrypter {
    fn decrypt<'a>(
        &mut self,
        message: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let result = self.inner.decrypt(message, seq);
        match &result {
            Err(Error::DecryptError) => NOTES.with_borrow_mut(|notes| notes.undecryptable = true),
            Ok(plain) => match plain.typ {
                ContentType::ApplicationData => {}
                // §5.4: neither may be empty.
                ContentType::Alert | ContentType::Handshake if plain.payload.is_empty() => {
                    return Err(PeerMisbehaved::IllegalTlsInnerPlaintext.into());
                }
                ContentType::Alert => {}
                ContentType::Handshake => self.messages.read(plain.payload)?,
                _ => return Err(PeerMisbehaved::IllegalTlsInnerPlaintext.into()),
            },
            Err(_) => {}
        }
        result
    }
}

/// The bounds of handshake messages, whatever the records that they come in.
struct Messages {
    header: [u8; 4],
    /// Bytes of the header that are there.
    known: usize,
    /// Bytes of the message's body that have not arrived yet.
    left: usize,
    /// Length of a Finished: that of the suite's hash (§4.4.4).
    finished: usize,
}

impl Messages {
    fn read(&mut self, mut fragment: &[u8]) -> Result<(), Error> {
        while let Some((&byte, rest)) = fragment.split_first() {
            if self.known < self.header.len() {
                self.header[self.known] = byte;
                self.known += 1;
                fragment = rest;
                if self.known == self.header.len() {
                    let [kind, a, b, c] = self.header;
                    self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                    if kind == FINISHED && self.left != self.finished {
                        return Err(InvalidMessage::MissingData("Finished").into());
                    }
                }
            } else {
                let taken = self.left.min(fragment.len());
                self.left -= taken;
                fragment = &fragment[taken..];
            }
            if self.known == self.header.len() && self.left == 0 {
                self.known = 0;
            }
        }
        Ok(())
    }
}
