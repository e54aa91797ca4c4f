//! Headers of our own.

use std::net::SocketAddr;

use proxy_header::{ProxiedAddress, ProxyHeader};

use super::{Addresses, Version, v2};

/// Of whom a header speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Of us: the connection is made to look at the peer. LOCAL; version 1 has no word for that but UNKNOWN.
    Local,
    /// Of a client.
    Client(Addresses),
    /// Of a client whose addresses are not known: UNKNOWN, UNSPEC.
    Unknown,
}

/// A header of version 2 that a datagram begins with. Addresses of unlike families are UNSPEC, as in [`encode`].
pub(crate) fn encode_datagram(addresses: Addresses) -> Vec<u8> {
    let mut header = Vec::with_capacity(64);
    let known = alike(addresses).map(|(source, destination)| ProxiedAddress::datagram(source, destination));
    if !known.is_some_and(|known| write(Version::V2, &ProxyHeader::with_address(known), &mut header)) {
        header.clear();
        header.extend_from_slice(&[&v2::SIGNATURE[..], &[v2::PROXY, 0, 0, 0]].concat());
    }
    header
}

/// A header. Addresses of unlike families can't be said: then the header says UNKNOWN, or UNSPEC. IPv4 addresses in the
/// clothes of IPv6 (`::ffff:192.0.2.1`) are said as what they are where both are IPv4.
pub fn encode(version: Version, subject: Subject) -> Vec<u8> {
    let mut header = Vec::with_capacity(64);
    let written = match subject {
        Subject::Local => write(version, &ProxyHeader::with_local(), &mut header),
        Subject::Client(addresses) => match alike(addresses) {
            Some((source, destination)) => {
                let addresses = ProxiedAddress::stream(source, destination);
                write(version, &ProxyHeader::with_address(addresses), &mut header)
            }
            None => false,
        },
        Subject::Unknown => false,
    };
    if !written {
        header.clear();
        match version {
            Version::V1 => header.extend_from_slice(b"PROXY UNKNOWN\r\n"),
            Version::V2 => header.extend_from_slice(&[&v2::SIGNATURE[..], &[v2::PROXY, 0, 0, 0]].concat()),
        }
    }
    header
}

fn write(version: Version, header: &ProxyHeader<'_>, into: &mut Vec<u8>) -> bool {
    match version {
        Version::V1 => header.encode_v1(into).is_ok(),
        Version::V2 => header.encode_v2(into).is_ok(),
    }
}

/// Both addresses in one family, if they are of one.
fn alike(Addresses { source, destination }: Addresses) -> Option<(SocketAddr, SocketAddr)> {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (from, to) = (plain(source), plain(destination));
    if from.is_ipv4() && to.is_ipv4() {
        return Some((from, to));
    }
    (source.is_ipv6() && destination.is_ipv6()).then_some((source, destination))
}
