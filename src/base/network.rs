//! Networks of IP addresses (RFC 4632), and rules of allowed and denied addresses.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::address::UNIX;

/// `10.0.0.0/8`, or one address. IPv4 in the clothes of IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The network of 64 bits that an IPv6 client is counted by: the least that a network assigns to a client (RFC 6177).
pub(crate) fn ipv6_prefix(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

/// Why a text is no [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// The part before the slash is no IP address.
    Address,
    /// The part behind the slash is no number of bits for such an address.
    Bits,
    /// The address has bits beyond the network's; this is the network.
    Host(Network),
}

impl Network {
    /// The network of so many bits that has this address; `None`: addresses of its version have fewer bits.
    pub fn of(address: IpAddr, bits: u8) -> Option<Self> {
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then(|| Self { address, bits }.base())
    }

    /// How many bits it has.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether the address is one of the network's.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u32::from(own) ^ u32::from(other);
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = u128::from(own) ^ u128::from(other);
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The same network without the bits that are not its own.
    fn base(self) -> Self {
        let address = match self.address {
            IpAddr::V4(own) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((u32::from(own) & mask).into())
            }
            IpAddr::V6(own) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6((u128::from(own) & mask).into())
            }
        };
        Self { address, ..self }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(text, bits)| (text, Some(bits)));
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let address = written.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let plain = |bits: &str| bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) if plain(bits) => {
                let bits: u8 = bits.parse().map_err(|_| NetworkError::Bits)?;
                let mapped = if written == address { 0 } else { 96 };
                bits.checked_sub(mapped).filter(|bits| *bits <= most).ok_or(NetworkError::Bits)?
            }
            Some(_) => return Err(NetworkError::Bits),
        };
        let network = Self { address, bits };
        if network.base() == network { Ok(network) } else { Err(NetworkError::Host(network.base())) }
    }
}

/// Which addresses are permitted: none that is denied and, if any are allowed, only those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRule {
    /// `allow`; empty: all.
    pub allow: Vec<Network>,
    /// `deny`, which wins.
    pub deny: Vec<Network>,
}

impl AddressRule {
    /// Whether the rule allows or denies anything.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether this address is permitted.
    pub fn permits(&self, address: IpAddr) -> bool {
        let among = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        !among(&self.deny) && (self.allow.is_empty() || among(&self.allow))
    }

    /// The same of a client by its name: an address, or `unix:`. A Unix socket is in no network: only a rule that allows
    /// some networks alone keeps its clients out.
    pub(crate) fn permits_client(&self, name: &str) -> bool {
        match name {
            UNIX => self.allow.is_empty(),
            _ => name.parse().is_ok_and(|address| self.permits(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.2"),
            ("10.1.2.3", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.9.9.9"),
        ] {
            let [inside, outside] = [inside, outside].map(|text| text.parse().unwrap());
            assert!(network(text).contains(inside) && !network(text).contains(outside), "{text}");
        }
        let wrong = |text: &str| text.parse::<Network>().unwrap_err();
        assert_eq!(wrong("10.0.0.1/8"), NetworkError::Host(network("10.0.0.0/8")));
        for text in ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "::ffff:1.2.3.4/32"]
        {
            assert_eq!(wrong(text), NetworkError::Bits, "{text}");
        }
        for text in ["", "10.0.0", "localhost", "10.0.0.0 /8", "[::1]", "fe80::1%eth0"] {
            assert_eq!(wrong(text), NetworkError::Address, "{text}");
        }
    }

    #[test]
    fn deny_wins_over_allow() {
        let rule = AddressRule { allow: vec![network("10.0.0.0/8")], deny: vec![network("10.1.0.0/16")] };
        let permits = |text: &str| rule.permits(text.parse().unwrap());
        assert!(permits("10.2.0.1") && !permits("10.1.0.1") && !permits("192.0.2.1") && !permits("::1"));
        let rule = AddressRule { allow: Vec::new(), ..rule };
        assert!(rule.permits("::1".parse().unwrap()) && !rule.permits("10.1.0.1".parse().unwrap()));
        assert!(
            rule.permits_client("unix:") && rule.permits_client("::1") && !rule.permits_client("10.1.0.1")
        );
        let rule = AddressRule { allow: vec![network("0.0.0.0/0")], deny: Vec::new() };
        assert!(!rule.permits_client("unix:") && !rule.permits_client("unknown"));
    }
}
