//! What one client connection counts for among those of its listener and of its client, over all workers.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::base::network::ipv6_prefix;
use crate::base::tally::{Entry, Key, Tally};

/// The seats that one connection holds, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    tally: Arc<Tally>,
    pub(crate) held: [Option<Key>; 2],
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        for key in self.held.into_iter().flatten() {
            self.tally.leave(key);
        }
    }
}

/// The client has as many connections as `limits.connections_per_client` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientFull;

impl ConnectionPermit {
    /// A permit that holds nothing yet.
    pub(crate) fn new(tally: &Arc<Tally>) -> Box<Self> {
        Box::new(Self { tally: Arc::clone(tally), held: [None; 2] })
    }

    pub(crate) fn enter_client(
        &mut self,
        (listener, bound): (&str, u64),
        address: IpAddr,
    ) -> Result<(), ClientFull> {
        let tally = &self.tally;
        let key = tally.key(&(listener, client(address)));
        match tally.enter(key, bound) {
            Entry::Counted => self.held[0] = Some(key),
            Entry::Uncounted => {}
            Entry::Full => return Err(ClientFull),
        }
        Ok(())
    }
}

/// What counts as one client: an IPv4 address, or the network that an IPv6 host chooses its addresses from.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(u128::from(ipv6_prefix(address)) << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_ipv4() {
        let client = |text: &str| client(text.parse().unwrap());
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::9"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }
}
