//! The client of a request, where trusted proxies name it in a field.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::base::address::UNIX;
use crate::config::plan::ClientAddress;
use crate::http::RequestHead;

/// A client's address in text, without an allocation: 45 bytes are the longest IPv6 address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressText {
    bytes: [u8; 48],
    len: usize,
}

impl AddressText {
    fn of(address: IpAddr) -> Self {
        let mut bytes = [0; 48];
        let room = bytes.len();
        let mut rest = &mut bytes[..];
        let written = write!(rest, "{address}");
        let len = if written.is_ok() { room - rest.len() } else { 0 };
        Self { bytes, len }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

/// The client that a request with this head on a connection from `peer` is from: the rightmost hop that is not
/// trusted. `None`: the peer itself.
///
/// Each proxy appends the address that it received the request from, so an entry is as trustworthy as the hop to its right:
/// it is read only if all of those are trusted. An entry that is no address ends the search: the hop that wrote it counts as
/// the client. Of hops that are all trusted, the leftmost is the client.
pub(crate) fn client_of(rule: &ClientAddress, head: &RequestHead<'_, '_>, peer: &str) -> Option<AddressText> {
    let is_trusted = |address: IpAddr| rule.trusted.iter().any(|network| network.contains(address));
    let trusted = match peer {
        UNIX => rule.trusts_unix,
        _ => is_trusted(peer.parse().ok()?),
    };
    if !trusted {
        return None;
    }
    let name = rule.field.name();
    let entries = head.fields.all(name).rev().flat_map(|value| value.rsplit(|&byte| byte == b','));
    let mut client = None;
    for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        let Some(address) = hop(entry) else { break };
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client.map(AddressText::of)
}

/// An address, perhaps in brackets, perhaps with a port.
fn hop(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok();
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.or_else(|| bare().map(IpAddr::V6)).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::Limits;
    use crate::config::plan::ClientField;
    use crate::http1::{HeadLimits, Parsed, header_slots, parse_request};

    fn found(peer: &str, fields: &str) -> Option<String> {
        let rule = ClientAddress {
            field: ClientField::ForwardedFor,
            trusted: ["10.0.0.0/8", "::1", "2001:db8::/32"].map(|text| text.parse().unwrap()).to_vec(),
            trusts_unix: true,
        };
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let mut slots = header_slots();
        let limits = HeadLimits::from(&Limits::default());
        match parse_request(text.as_bytes(), &mut slots, &limits) {
            Ok(Parsed::Complete(head)) => client_of(&rule, &head, peer).map(|text| text.as_str().to_owned()),
            other => panic!("{fields}: {other:?}"),
        }
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
        for (peer, values, client) in [
            ("10.0.0.1", &["192.0.2.1"][..], Some("192.0.2.1")),
            ("unix:", &["192.0.2.1, 10.0.0.2"], Some("192.0.2.1")),
            // The leftmost entries may be the client's own.
            ("10.0.0.1", &["1.1.1.1, 192.0.2.1"], Some("192.0.2.1")),
            ("10.0.0.1", &["1.1.1.1, 192.0.2.1 ,10.9.9.9,\t10.0.0.2"], Some("192.0.2.1")),
            ("10.0.0.1", &["1.1.1.1", "192.0.2.1, 10.0.0.2"], Some("192.0.2.1")),
            ("10.0.0.1", &["192.0.2.1", "10.0.0.2", ""], Some("192.0.2.1")),
            // A peer that is not trusted speaks for itself alone.
            ("192.0.2.9", &["10.0.0.5"], None),
            ("::2", &["10.0.0.5"], None),
            ("10.0.0.1", &[], None),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            // Forms.
            ("10.0.0.1", &["192.0.2.1:443"], Some("192.0.2.1")),
            ("::1", &["[2001:db9::1]:443, [2001:db8::1]"], Some("2001:db9::1")),
            ("::1", &["2001:DB9:0::1"], Some("2001:db9::1")),
            ("10.0.0.1", &["::ffff:192.0.2.1"], Some("192.0.2.1")),
            ("10.0.0.1", &["192.0.2.1, ::ffff:10.0.0.2"], Some("192.0.2.1")),
            ("10.0.0.1", &["192.0.2.1,, 10.0.0.2,"], Some("192.0.2.1")),
            // An entry that is no address is ignored, and all entries to its left with it.
            ("10.0.0.1", &["192.0.2.1, unknown"], None),
            ("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"], Some("10.0.0.2")),
            ("10.0.0.1", &["192.0.2.1, 10.0.0.2:x"], None),
            ("10.0.0.1", &["192.0.2.1, [10.0.0.2]"], None),
            ("10.0.0.1", &["192.0.2.1 10.0.0.2"], None),
            ("10.0.0.1", &["\"192.0.2.1\""], None),
            ("10.0.0.1", &["fe80::1%eth0"], None),
            ("10.0.0.1", &["192.0.2.256"], None),
        ] {
            let fields: String = values.iter().map(|value| format!("X-Forwarded-For: {value}\r\n")).collect();
            assert_eq!(found(peer, &fields).as_deref(), client, "{peer}: {values:?}");
        }
        for name in ["X_Forwarded_For", "X-Forwarded-Fo", "Forwarded", "X-Real-IP"] {
            assert_eq!(found("10.0.0.1", &format!("{name}: 192.0.2.1\r\n")), None, "{name}");
        }
    }
}
