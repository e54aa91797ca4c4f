//! Floor 1: the PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2) without I/O: how a load balancer sends the
//! addresses of a connection, before the connection's own first byte.
//!
//! ```text
//!   v1   PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 CR LF                         107 bytes at most
//!   v2   12 bytes of signature, version and command, family, length, then so many bytes: addresses, TLVs
//! ```
//!
//! [`parse`] is called again with all bytes so far for as long as it returns [`Parsed::Partial`]. Until then every byte
//! belongs to the header and may be taken off the socket; what follows a whole header is not read.
//!
//! A header is read strictly: a line of the right length, ports without signs and leading zeroes, TLVs that fill the rest.

mod encode;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

pub(crate) use encode::encode_datagram;
#[allow(unreachable_pub)] // for internals
pub use encode::{Subject, encode};

use crate::base::limits::MAX_PROXY_V2_BYTES;

/// The longest header of either version, in bytes.
pub const MAX_HEADER: usize = v2::FIXED + MAX_PROXY_V2_BYTES;

/// A version of the protocol; `upstream.NAME.proxy_protocol`, unless that is `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Version {
    /// The word in the config.
    pub fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Which versions a peer may send; `listener.proxy_protocol`, unless that is `"off"`. Any other version is refused
/// like a missing header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Version 1.
    V1,
    /// Version 2.
    V2,
    /// Either.
    Any,
}

impl Accept {
    /// The word in the config.
    pub fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Any => "any",
        }
    }
}

/// Both ends of a connection, as the peer that relays it sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes.
    pub len: usize,
    /// `None` where the connection's own addresses count: LOCAL (the peer checks our health), UNKNOWN, and families other than
    /// IPv4 and IPv6.
    pub addresses: Option<Addresses>,
}

/// The bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    Partial,
    /// A header, and perhaps more.
    Complete(Header),
}

/// Why the bytes so far are no header. More bytes would not change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It does not begin like one of a version that is taken.
    Absent,
    /// A line without an end in 107 bytes, or more than [`MAX_PROXY_V2_BYTES`] behind the first 16.
    TooLong,
    /// The line is not as the specification has it.
    Line,
    /// The version is not 2, or the command neither LOCAL nor PROXY.
    Command,
    /// The family is reserved, or is of datagrams, which TCP does not carry.
    Family,
    /// The addresses do not fit the length.
    Length,
    /// The TLVs do not fill what they are in.
    Tlv,
    /// The CRC32c is another one.
    Checksum,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => {
                "the connection does not begin with a PROXY header of a version that the listener takes"
            }
            Self::TooLong => "the PROXY header is too long",
            Self::Line => "the line of the PROXY header is broken",
            Self::Command => "the PROXY header has an unknown version or command",
            Self::Family => "the PROXY header has a family that TCP does not carry",
            Self::Length => "the PROXY header is shorter than its addresses",
            Self::Tlv => "the PROXY header has a TLV that is cut off",
            Self::Checksum => "the PROXY header's checksum is wrong",
        })
    }
}

impl std::error::Error for HeaderError {}

/// Reads the header at the front of `bytes`, which are all bytes so far.
///
/// # Errors
/// Whatever follows, this is no header.
pub fn parse(bytes: &[u8], accept: Accept) -> Result<Parsed, HeaderError> {
    match bytes.first() {
        None => Ok(Parsed::Partial),
        Some(b'P') if accept != Accept::V2 => v1::parse(bytes),
        Some(b'\r') if accept != Accept::V1 => v2::parse(bytes),
        Some(_) => Err(HeaderError::Absent),
    }
}

/// Whether `bytes` begin with as much of `fixed` as they have room for.
fn begins(bytes: &[u8], fixed: &[u8]) -> bool {
    let len = bytes.len().min(fixed.len());
    bytes[..len] == fixed[..len]
}
