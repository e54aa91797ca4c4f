//! Key exchange groups (RFC 8446 §4.2.7), as the config names them.

use std::fmt;

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;

/// A group for key exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// ML-KEM-768 beside X25519, of TLS 1.3 alone: safe from quantum computers.
    X25519MlKem768,
    /// Curve25519 (RFC 7748).
    X25519,
    /// P-256.
    Secp256r1,
    /// P-384.
    Secp384r1,
}

impl Group {
    /// Each of them, best first: the order where the config has none.
    pub const ALL: [Self; 4] = [Self::X25519MlKem768, Self::X25519, Self::Secp256r1, Self::Secp384r1];

    /// Its name in the IANA's registry of TLS Supported Groups.
    pub fn name(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "X25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }

    /// The group of a name, of the IANA's or as OpenSSL has it. Letters' case does not count.
    pub fn by_alias(name: &str) -> Option<Self> {
        match &*name.to_ascii_lowercase() {
            "x25519mlkem768" => Some(Self::X25519MlKem768),
            "x25519" => Some(Self::X25519),
            "secp256r1" | "prime256v1" | "p-256" => Some(Self::Secp256r1),
            "secp384r1" | "p-384" => Some(Self::Secp384r1),
            _ => None,
        }
    }

    /// Whether TLS 1.2 has it.
    pub fn is_of_tls12(self) -> bool {
        self != Self::X25519MlKem768
    }

    /// As the provider has it.
    pub(super) fn key_exchange(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::X25519MlKem768 => kx_group::X25519MLKEM768,
            Self::X25519 => kx_group::X25519,
            Self::Secp256r1 => kx_group::SECP256R1,
            Self::Secp384r1 => kx_group::SECP384R1,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
