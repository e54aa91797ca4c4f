//! Bytes in JSON: PEM as it is, anything else in base64.

use std::fmt;

use data_encoding::{BASE64, BASE64_MIME};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

/// A file's content, which may be a key: it wipes itself, and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Blob(Zeroizing<Vec<u8>>);

impl Blob {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The content of a PEM section.
    pub(super) fn from_pem_section(pem: &str) -> Option<Self> {
        Pem::iter_from_buffer(pem.as_bytes()).next()?.ok().map(|section| Self::from(section.contents))
    }

    fn is_pem(&self) -> bool {
        const BEGIN: &[u8] = b"-----BEGIN ";
        self.0.windows(BEGIN.len()).any(|window| window == BEGIN) && std::str::from_utf8(&self.0).is_ok()
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<Zeroizing<Vec<u8>>> for Blob {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) if self.is_pem() => serializer.serialize_str(text),
            _ => serializer.serialize_str(&Zeroizing::new(BASE64.encode(&self.0))),
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let pem = Self::from(text.as_bytes().to_vec());
        if pem.is_pem() {
            return Ok(pem);
        }
        let packed: Zeroizing<String> = Zeroizing::new(text.split_ascii_whitespace().collect());
        let decoded = BASE64_MIME.decode(packed.as_bytes()).map(Self::from);
        decoded.map_err(|_| D::Error::custom("give PEM as it is, and anything else (DER, PKCS#12) in base64"))
    }
}
