//! The server name in a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), for a relay that does not open the TLS.
//!
//! Strict: what two readers could take differently is malformed, as the backend reads it again.

use crate::base::limits::MAX_CLIENT_HELLO_BYTES;

/// What the bytes at a connection's start are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a ClientHello.
    Partial,
    /// A whole ClientHello, with its server name in lower case.
    Whole(Option<String>),
    /// Something else, or a ClientHello that is longer than [`MAX_CLIENT_HELLO_BYTES`].
    Other,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
const LONGEST_FRAGMENT: usize = 16_384;
const LONGEST_NAME: usize = 253;

/// Reads the hello at the front of `bytes`, all of which is there.
pub fn read_hello(bytes: &[u8]) -> Hello {
    HelloReader::default().read(bytes)
}

/// Reads a hello that arrives in pieces. Each record is read once, in however many pieces it arrives.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// The handshake message, out of the records read so far.
    message: Vec<u8>,
    /// Where the next record begins.
    at: usize,
}

struct Malformed;

impl HelloReader {
    /// What is known of the hello by now. `bytes` holds all that was received so far, from the first byte on.
    pub fn read(&mut self, bytes: &[u8]) -> Hello {
        match self.body(bytes) {
            Ok(Some(body)) => name(body).map_or(Hello::Other, Hello::Whole),
            Ok(None) => Hello::Partial,
            Err(Malformed) => Hello::Other,
        }
    }

    /// The body of the handshake message, out of as many records as it takes. `None`: more must arrive.
    fn body(&mut self, bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
        loop {
            let message = self.message.as_slice();
            let wanted = match message {
                [] | [CLIENT_HELLO] | [CLIENT_HELLO, _] | [CLIENT_HELLO, _, _] => usize::MAX,
                [CLIENT_HELLO, high, middle, low, ..] => {
                    4 + (usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low))
                }
                _ => return Err(Malformed),
            };
            if wanted != usize::MAX && wanted > MAX_CLIENT_HELLO_BYTES || message.len() > wanted {
                return Err(Malformed);
            }
            if message.len() == wanted {
                return Ok(Some(&self.message[4..]));
            }
            // As much of a record's header as there is must be one of a handshake.
            let rest = &bytes[self.at..];
            match rest {
                [] | [HANDSHAKE] | [HANDSHAKE, 3, ..] => {}
                _ => return Err(Malformed),
            }
            let Some((&[_, _, _, high, low], rest)) = rest.split_first_chunk::<5>() else { return Ok(None) };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 || length > LONGEST_FRAGMENT || message.len() + length > MAX_CLIENT_HELLO_BYTES {
                return Err(Malformed);
            }
            let Some(fragment) = rest.get(..length) else {
                // Enough to see that it is no hello is enough.
                return match message.first().or(rest.first()) {
                    None | Some(&CLIENT_HELLO) => Ok(None),
                    Some(_) => Err(Malformed),
                };
            };
            self.message.extend_from_slice(fragment);
            self.at += 5 + length;
        }
    }
}

/// The name in a hello's body; `None` where the hello is malformed.
fn name(body: &[u8]) -> Option<Option<String>> {
    let mut body = Reader(body);
    body.take(2 + 32)?;
    body.vector8()?;
    body.vector16()?;
    body.vector8()?;
    if body.0.is_empty() {
        return Some(None);
    }
    let mut extensions = body.vector16()?;
    if !body.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.vector16()?;
        if kind == SERVER_NAME {
            if found.is_some() {
                return None;
            }
            found = Some(host_name(content)?);
        }
    }
    Some(found)
}

/// The one name of a list that knows no other kind than host names.
pub(super) fn host_name(mut content: Reader<'_>) -> Option<String> {
    let mut list = content.vector16()?;
    let &[kind] = list.take(1)? else { return None };
    let name = list.vector16()?.0;
    let ended = content.0.is_empty() && list.0.is_empty();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let usable = kind == HOST_NAME && (1..=LONGEST_NAME).contains(&name.len()) && name.iter().all(plain);
    let name = std::str::from_utf8(name).ok().filter(|_| ended && usable)?;
    Some(name.to_ascii_lowercase())
}

/// What is left to read.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number16(&mut self) -> Option<u16> {
        let number = self.take(2)?;
        Some(u16::from_be_bytes([number[0], number[1]]))
    }

    pub(super) fn vector8(&mut self) -> Option<Self> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length).map(Self)
    }

    pub(super) fn vector16(&mut self) -> Option<Self> {
        let length = usize::from(self.number16()?);
        self.take(length).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What rustls sends first.
    fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut bytes = Vec::new();
        ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same message in records of `size` bytes.
    fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
        let fragments = hello[5..].chunks(size);
        let records =
            fragments.map(|part| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat());
        records.collect::<Vec<_>>().concat()
    }

    #[test]
    fn the_name_is_found_however_the_hello_is_cut() {
        let whole = hello("DB.Example");
        let found = Hello::Whole(Some("db.example".into()));
        assert_eq!(read_hello(&whole), found);
        for size in [1, 3, 100] {
            let bytes = fragmented(&whole, size);
            assert_eq!(read_hello(&bytes), found);
            let mut bit_by_bit = HelloReader::default();
            for end in 0..bytes.len() {
                assert_eq!(read_hello(&bytes[..end]), Hello::Partial, "{size} {end}");
                assert_eq!(bit_by_bit.read(&bytes[..end]), Hello::Partial, "{size} {end}");
                // What has been read is not read again: a peer that sends a byte at a time can't make it dear.
                assert_eq!(bit_by_bit.at, end / (5 + size) * (5 + size), "{size} {end}");
            }
            assert_eq!(bit_by_bit.read(&bytes), found);
        }
        assert_eq!(read_hello(&hello("10.0.0.1")), Hello::Whole(None));
    }

    #[test]
    fn what_is_no_hello_is_seen_at_once() {
        for bytes in [
            &b"G"[..],
            b"SSH-2.0",
            &[22, 2],
            &[21, 3, 1],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0, 9, 2],
            &[22, 3, 1, 0x40, 1],
        ] {
            assert_eq!(read_hello(bytes), Hello::Other, "{bytes:?}");
        }
        // Longer than any that is waited for.
        assert_eq!(read_hello(&[22, 3, 1, 0, 4, 1, 1, 0, 0]), Hello::Other);
        // Bytes behind the message in its record belong to nothing.
        let mut longer = hello("a.example");
        let length = u16::from_be_bytes([longer[3], longer[4]]) + 1;
        longer[3..5].copy_from_slice(&length.to_be_bytes());
        longer.push(0);
        assert_eq!(read_hello(&longer), Hello::Other);
    }

    #[test]
    fn a_name_that_two_readers_take_differently_is_malformed() {
        let whole = hello("a.example");
        let at = whole.windows(9).position(|window| window == b"a.example").unwrap();
        for (offset, byte) in [(0, 0), (0, b' '), (1, 0xff), (3, b'/')] {
            let mut bytes = whole.clone();
            bytes[at + offset] = byte;
            assert_eq!(read_hello(&bytes), Hello::Other);
        }
        // Another kind of name; a list that is longer than its name.
        for (back, byte) in [(3, 1), (4, 13)] {
            let mut bytes = whole.clone();
            bytes[at - back] = byte;
            assert_eq!(read_hello(&bytes), Hello::Other);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(cut in 0usize..400, at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = hello("a.example");
            bytes.truncate(cut.max(1));
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read_hello(&bytes);
        }
    }
}
