//! Headers of our own.

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, Version, v2};

/// Which connection a header describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Our own: a health check. LOCAL; version 1 has only UNKNOWN for it.
    Local,
    /// A client's.
    Client(Addresses),
    /// A client's whose addresses are not known: UNKNOWN, UNSPEC.
    Unknown,
}

/// A header of version 2 that a datagram begins with. Addresses of two families are UNSPEC, as in [`encode`].
pub(crate) fn encode_datagram(addresses: Addresses) -> Vec<u8> {
    binary(v2::PROXY, v2::DATAGRAM, alike(addresses))
}

/// A header. Addresses of two families cannot be written: then the header says UNKNOWN, or UNSPEC. IPv4-mapped addresses
/// (`::ffff:192.0.2.1`) are written as IPv4 if both are IPv4.
pub fn encode(version: Version, subject: Subject) -> Vec<u8> {
    let addresses = match subject {
        Subject::Client(addresses) => alike(addresses),
        Subject::Local | Subject::Unknown => None,
    };
    match version {
        Version::V1 => line(addresses).into_bytes(),
        Version::V2 => {
            let command = if subject == Subject::Local { v2::LOCAL } else { v2::PROXY };
            binary(command, v2::STREAM, addresses)
        }
    }
}

fn line(addresses: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((source, destination)) = addresses else { return "PROXY UNKNOWN\r\n".to_owned() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.port(), destination.port());
    format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip())
}

fn binary(command: u8, transport: u8, addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut block = Vec::with_capacity(36);
    let mut family = 0;
    if let Some((source, destination)) = addresses {
        family = if source.is_ipv4() { v2::IPV4 } else { v2::IPV6 } | transport;
        for address in [source, destination] {
            match address.ip() {
                IpAddr::V4(ip) => block.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => block.extend_from_slice(&ip.octets()),
            }
        }
        block.extend_from_slice(&source.port().to_be_bytes());
        block.extend_from_slice(&destination.port().to_be_bytes());
    }
    [&v2::SIGNATURE[..], &[command, family, 0, block.len() as u8], &block].concat()
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
