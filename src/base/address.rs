//! Where a stream socket is: an IP address and port, or a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// What the config has before the path of a Unix socket.
pub(crate) const UNIX: &str = "unix:";
/// Bytes of the longest path: `sockaddr_un` has 108, the last of which is zero (unix(7)).
pub(crate) const MAX_UNIX_PATH: usize = 107;

/// Where a stream socket is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A path or, after `@`, a name in the abstract namespace (unix(7)).
    Unix(Arc<Path>),
}

impl Address {
    /// The address that `text` is, if it is one and not a name: `192.0.2.1:80`, `[2001:db8::1]:80`, `unix:PATH`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(UNIX) {
            Some(path) => Some(Self::Unix(Path::new(path).into())),
            None => text.parse().ok().map(Self::Ip),
        }
    }

    /// Its IP address and port, if it has one.
    pub fn ip(&self) -> Option<&SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// The other end of a client's connection, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over TCP.
    Ip(SocketAddr),
    /// Over a Unix socket. The process is not identified: the socket's mode decides which may connect.
    Unix,
}

impl Peer {
    /// Its IP address, an IPv4-mapped one (RFC 4291 §2.5.5.2) as IPv4.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }

    /// How logs, rules and X-Forwarded-For name it: its IP address without the port, or `unix:`.
    pub(crate) fn name(self) -> Box<str> {
        self.ip().map_or(UNIX.into(), |address| address.to_string().into())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str(UNIX),
        }
    }
}

/// The host that an endpoint's name has, with the brackets of an IPv6 address. A Unix socket has none: it is on this
/// host.
pub(crate) fn endpoint_host(name: &str) -> &str {
    match name.starts_with(UNIX) {
        true => "localhost",
        // A source that has no endpoint yet.
        false => match name.strip_prefix("dns:").unwrap_or(name).rsplit_once(':') {
            Some((host, _)) => host,
            None => name,
        },
    }
}

/// What a request that names no host is given for the endpoint of this name.
pub(crate) fn endpoint_authority(name: &str) -> &str {
    if name.starts_with(UNIX) { "localhost" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["192.0.2.1:80", "[2001:db8::1]:443", "unix:/run/app.sock", "unix:@app"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("app.test:80"), None);
    }

    #[test]
    fn a_unix_socket_is_on_this_host() {
        for (name, host, authority) in [
            ("app.test:80", "app.test", "app.test:80"),
            ("[::1]:80", "[::1]", "[::1]:80"),
            ("unix:/run/a:b.sock", "localhost", "localhost"),
        ] {
            assert_eq!((endpoint_host(name), endpoint_authority(name)), (host, authority));
        }
    }
}
