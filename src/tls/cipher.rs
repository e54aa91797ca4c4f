//! One direction's key: nonces, additional data and the layout of a record.
//!
//! | layout | record |
//! | --- | --- |
//! | TLS 1.3 (RFC 8446 §5.2) | header 5, sealed (data, content type 1), tag 16 |
//! | TLS 1.2 AES-GCM (RFC 5288) | header 5, explicit nonce 8, sealed (data), tag 16 |
//! | TLS 1.2 ChaCha20-Poly1305 (RFC 7905) | header 5, sealed (data), tag 16 |

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use super::error::RecordError;

/// Bytes of a record's header: content type, version, length.
pub(super) const HEADER: usize = 5;
/// Bytes of the tag of every AEAD that TLS 1.2 and 1.3 share.
pub(super) const TAG: usize = 16;
/// Bytes of the explicit nonce of RFC 5288.
const EXPLICIT_NONCE: usize = 8;
/// The version that every protected record names, TLS 1.3's included (RFC 8446 §5.2).
pub(super) const RECORD_VERSION: u16 = 0x0303;

/// How a record is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Tls13,
    Tls12Gcm,
    Tls12ChaCha,
}

impl Layout {
    pub(super) fn of(tls13: bool, secrets: &ConnectionTrafficSecrets) -> Self {
        match secrets {
            _ if tls13 => Self::Tls13,
            ConnectionTrafficSecrets::Chacha20Poly1305 { .. } => Self::Tls12ChaCha,
            _ => Self::Tls12Gcm,
        }
    }

    /// Bytes before the data.
    pub(super) const fn prefix(self) -> usize {
        match self {
            Self::Tls13 | Self::Tls12ChaCha => HEADER,
            Self::Tls12Gcm => HEADER + EXPLICIT_NONCE,
        }
    }

    /// Bytes after the data.
    pub(super) const fn suffix(self) -> usize {
        match self {
            Self::Tls13 => 1 + TAG,
            Self::Tls12Gcm | Self::Tls12ChaCha => TAG,
        }
    }

    /// Longest fragment after the header (RFC 8446 §5.2, RFC 5246 §6.2.3).
    pub(super) const fn max_body(self) -> usize {
        match self {
            Self::Tls13 => 16_384 + 256,
            Self::Tls12Gcm | Self::Tls12ChaCha => 16_384 + 2_048,
        }
    }
}

/// A key, its starting point for nonces, and the number of the next record.
///
/// `LessSafeKey` keeps the key schedule on the heap (about 600 bytes) and wipes it when dropped.
pub(super) struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    pub(super) layout: Layout,
    pub(super) seq: u64,
}

/// The additional data of a record, on the stack.
struct AdditionalData {
    bytes: [u8; 13],
    len: usize,
}

impl AsRef<[u8]> for AdditionalData {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Direction {
    pub(super) fn new(
        layout: Layout,
        seq: u64,
        secrets: ConnectionTrafficSecrets,
    ) -> Result<Self, RecordError> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(RecordError::Internal),
        };
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::Internal)?;
        Self::of_key(layout, seq, algorithm, key.as_ref(), iv)
    }

    /// The same of a bare key and IV (in TLS 1.2 AES-GCM: salt and explicit nonce).
    pub(super) fn of_key(
        layout: Layout,
        seq: u64,
        algorithm: &'static Algorithm,
        key: &[u8],
        iv: [u8; 12],
    ) -> Result<Self, RecordError> {
        let key = UnboundKey::new(algorithm, key).map_err(|_| RecordError::Internal)?;
        Ok(Self { key: LessSafeKey::new(key), iv, layout, seq })
    }

    /// The key of the next epoch, from record 0 (RFC 8446 §7.2).
    pub(super) fn replace(
        &mut self,
        (seq, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<(), RecordError> {
        *self = Self::new(self.layout, seq, secrets)?;
        Ok(())
    }

    /// The record's number put over the IV (RFC 8446 §5.3, RFC 7905 §2). For TLS 1.2 AES-GCM the IV is
    /// salt and explicit nonce in one, as rustls makes it, so that rustls' first records and ours never share a nonce.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, seq) in nonce[4..].iter_mut().zip(self.seq.to_be_bytes()) {
            *byte ^= seq;
        }
        nonce
    }

    /// RFC 8446 §5.2 (the header as sent), RFC 5246 §6.2.3.3 (number, type, version, length of the data).
    fn additional_data(&self, header: [u8; HEADER], data: usize) -> Aad<AdditionalData> {
        let mut bytes = [0; 13];
        let len = match self.layout {
            Layout::Tls13 => {
                bytes[..HEADER].copy_from_slice(&header);
                HEADER
            }
            Layout::Tls12Gcm | Layout::Tls12ChaCha => {
                bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
                bytes[8..11].copy_from_slice(&header[..3]);
                bytes[11..].copy_from_slice(&(data as u16).to_be_bytes());
                13
            }
        };
        Aad::from(AdditionalData { bytes, len })
    }

    /// Opens one whole record in place; answers where the data is, TLS 1.3's content type and padding included.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<Range<usize>, RecordError> {
        let start = self.layout.prefix();
        let end = record.len().checked_sub(TAG).filter(|end| *end >= start).ok_or(RecordError::BadMac)?;
        if self.seq == u64::MAX {
            return Err(RecordError::KeysExhausted);
        }
        let (rest, tag) = record.split_at_mut(end);
        let (head, body) = rest.split_at_mut(start);
        let header = [head[0], head[1], head[2], head[3], head[4]];
        let nonce = match self.layout {
            Layout::Tls13 | Layout::Tls12ChaCha => self.nonce(),
            Layout::Tls12Gcm => {
                let mut nonce = [0; 12];
                nonce[..4].copy_from_slice(&self.iv[..4]);
                nonce[4..].copy_from_slice(&head[HEADER..]);
                nonce
            }
        };
        let aad = self.additional_data(header, body.len());
        self.key
            .open_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, tag, body)
            .map_err(|_| RecordError::BadMac)?;
        self.seq += 1;
        Ok(start..end)
    }

    /// Seals `len` bytes at the record's place for data, in place. `record` is the record's whole range.
    pub(super) fn seal_in_place(
        &mut self,
        content_type: u8,
        record: &mut [u8],
        len: usize,
    ) -> Result<(), RecordError> {
        let (nonce, aad) = self.start_record(content_type, &mut record[..self.layout.prefix()], len)?;
        let sealed = record.len() - TAG;
        if self.layout == Layout::Tls13 {
            record[sealed - 1] = content_type;
        }
        let (front, tag) = record.split_at_mut(sealed);
        let made = self
            .key
            .seal_in_place_separate_tag(nonce, aad, &mut front[self.layout.prefix()..])
            .map_err(|_| RecordError::Internal)?;
        tag.copy_from_slice(made.as_ref());
        self.seq += 1;
        Ok(())
    }

    /// Seals `plaintext` into `record`, which is exactly as long as the record will be.
    pub(super) fn seal_from(
        &mut self,
        content_type: u8,
        plaintext: &[u8],
        record: &mut [u8],
    ) -> Result<(), RecordError> {
        let (head, rest) = record.split_at_mut(self.layout.prefix());
        let (nonce, aad) = self.start_record(content_type, head, plaintext.len())?;
        let (ciphertext, tail) = rest.split_at_mut(plaintext.len());
        let inner_type = [content_type];
        let extra = if self.layout == Layout::Tls13 { inner_type.as_slice() } else { &[] };
        self.key
            .seal_out_of_place_scatter(nonce, aad, plaintext, ciphertext, extra, tail)
            .map_err(|_| RecordError::Internal)?;
        self.seq += 1;
        Ok(())
    }

    /// Writes header and explicit nonce; makes what the AEAD needs.
    fn start_record(
        &self,
        content_type: u8,
        head: &mut [u8],
        len: usize,
    ) -> Result<(Nonce, Aad<AdditionalData>), RecordError> {
        if self.seq == u64::MAX {
            return Err(RecordError::KeysExhausted);
        }
        let outer = if self.layout == Layout::Tls13 { super::record::APPLICATION_DATA } else { content_type };
        let body = self.layout.prefix() - HEADER + len + self.layout.suffix();
        let [v1, v2] = RECORD_VERSION.to_be_bytes();
        let [l1, l2] = (body as u16).to_be_bytes();
        let header = [outer, v1, v2, l1, l2];
        head[..HEADER].copy_from_slice(&header);
        let nonce = self.nonce();
        if self.layout == Layout::Tls12Gcm {
            head[HEADER..].copy_from_slice(&nonce[4..]);
        }
        Ok((Nonce::assume_unique_for_key(nonce), self.additional_data(header, len)))
    }
}
