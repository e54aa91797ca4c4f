//! Version 2: binary.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, HeaderError, Parsed, begins};
use crate::base::limits::MAX_PROXY_V2_BYTES;

/// Bytes before the addresses.
pub(super) const FIXED: usize = 16;
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 in the upper half, LOCAL in the lower one.
pub(super) const LOCAL: u8 = 0x20;
/// The same with PROXY.
pub(super) const PROXY: u8 = 0x21;
/// Address families, in the upper half of the family byte; the transport protocol is in the lower one.
pub(super) const IPV4: u8 = 0x10;
pub(super) const IPV6: u8 = 0x20;
pub(super) const STREAM: u8 = 1;
pub(super) const DATAGRAM: u8 = 2;
const TCP4: u8 = IPV4 | STREAM;
const TCP6: u8 = IPV6 | STREAM;
/// PP2_TYPE_CRC32C
pub(super) const CRC32C: u8 = 0x03;

/// CRC32c as RFC 9260 §6.8 has it.
pub(super) static CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if !begins(bytes, SIGNATURE) {
        return Err(HeaderError::Absent);
    }
    let command = bytes.get(12).copied();
    let local = command == Some(LOCAL);
    match (command, bytes.get(13)) {
        (Some(LOCAL | PROXY) | None, None) => return Ok(Parsed::Partial),
        // LOCAL: the family and what follows are ignored, except for a checksum.
        (Some(LOCAL), _) => {}
        // UNSPEC, IPv4, IPv6 and UNIX over streams; other values are of datagrams, or reserved.
        (Some(PROXY), Some(0x00 | 0x11 | 0x21 | 0x31)) => {}
        (Some(PROXY), _) => return Err(HeaderError::Family),
        _ => return Err(HeaderError::Command),
    }
    let Some(fixed) = bytes.get(..FIXED) else { return Ok(Parsed::Partial) };
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest > MAX_PROXY_V2_BYTES {
        return Err(HeaderError::TooLong);
    }
    let len = FIXED + rest;
    let Some(header) = bytes.get(..len) else { return Ok(Parsed::Partial) };
    match address_bytes(fixed[13]).and_then(|count| FIXED.checked_add(count)).filter(|at| *at <= len) {
        Some(at) => match check_tlvs(header, at) {
            Err(HeaderError::Tlv) if local => {}
            checked => checked?,
        },
        None if local => {}
        None => return Err(HeaderError::Length),
    }
    let addresses = if local { None } else { addresses(fixed[13], &header[FIXED..]) };
    Ok(Parsed::Complete(Header { len, addresses }))
}

/// How long the addresses of a family are; `None` of a reserved one.
fn address_bytes(family: u8) -> Option<usize> {
    match family >> 4 {
        0 => Some(0),
        1 => Some(12),
        2 => Some(36),
        3 => Some(216),
        _ => None,
    }
}

/// The addresses behind the first 16 bytes, which are there in full. `None`: the family has neither IPv4 nor IPv6.
fn addresses(family: u8, block: &[u8]) -> Option<Addresses> {
    let (ips, ports) = match family {
        TCP4 => {
            let (&source, rest) = block.split_first_chunk::<4>()?;
            let (&destination, rest) = rest.split_first_chunk::<4>()?;
            ([IpAddr::V4(Ipv4Addr::from(source)), IpAddr::V4(Ipv4Addr::from(destination))], rest)
        }
        TCP6 => {
            let (&source, rest) = block.split_first_chunk::<16>()?;
            let (&destination, rest) = rest.split_first_chunk::<16>()?;
            ([IpAddr::V6(Ipv6Addr::from(source)), IpAddr::V6(Ipv6Addr::from(destination))], rest)
        }
        _ => return None,
    };
    let &[a, b, c, d] = ports.first_chunk()?;
    Some(Addresses {
        source: SocketAddr::new(ips[0], u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(ips[1], u16::from_be_bytes([c, d])),
    })
}

/// Walks the TLVs from `at` to the header's end, and compares the checksum if there is one.
fn check_tlvs(header: &[u8], mut at: usize) -> Result<(), HeaderError> {
    let mut checksum = None;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return Err(HeaderError::Tlv) };
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        at = value.end;
        let Some(bytes) = header.get(value.clone()) else { return Err(HeaderError::Tlv) };
        if kind == CRC32C {
            let said = <[u8; 4]>::try_from(bytes).map(u32::from_be_bytes).map_err(|_| HeaderError::Tlv)?;
            // Each would be part of what the other is of.
            if checksum.replace((value, said)).is_some() {
                return Err(HeaderError::Tlv);
            }
        }
    }
    match checksum {
        Some((value, said)) if sum(header, value.start) != said => Err(HeaderError::Checksum),
        _ => Ok(()),
    }
}

/// The checksum of a header with zeroes in the four bytes at `at`.
pub(super) fn sum(header: &[u8], at: usize) -> u32 {
    let mut digest = CHECKSUM.digest();
    digest.update(&header[..at]);
    digest.update(&[0; 4]);
    digest.update(&header[at + 4..]);
    digest.finalize()
}
