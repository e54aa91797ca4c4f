//! Sockets that another process has bound for this one: its predecessor, or a service manager (LISTEN_FDS).
//!
//! A socket is found by its address or, where that is chosen by the system or written in another way (`0.0.0.0` and `[::]`), by its
//! name and port.

use std::env;
use std::fmt;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::unix_socket;
use crate::base::address::Address;
use crate::io::inherit::{self, BoundSocket, Kind};

/// How a predecessor names a socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SocketName {
    /// Its listener's name.
    pub(crate) listener: String,
    /// Its address, as the predecessor's config had it.
    pub(crate) address: String,
    /// Whether the predecessor made its file, so that this process removes it in the end.
    #[serde(default)]
    pub(crate) owns_file: bool,
    /// Whether it is one of the admin server.
    #[serde(default)]
    pub(crate) admin: bool,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct InheritedSocket {
    /// Its place among those that were passed.
    position: usize,
    name: SocketName,
    /// The address as it was written; `None`: unknown.
    written: Option<Address>,
    socket: BoundSocket,
}

/// What is bound and may be used in the place of a socket of one's own.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<InheritedSocket>);

/// What a socket is wanted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The listener's name; `None`: the admin server.
    pub(crate) listener: Option<&'a str>,
    /// Its address, as the config has it.
    pub(crate) address: &'a Address,
    /// What clients reach it by.
    pub(crate) kind: Kind,
    /// Whether it takes no IPv4.
    pub(crate) ipv6_only: bool,
}

impl Inherited {
    /// What a predecessor has sent. Descriptors that are no such sockets are closed.
    pub(crate) fn of_predecessor(sockets: Vec<(SocketName, OwnedFd)>) -> Self {
        let known = sockets.into_iter().enumerate().filter_map(|(position, (name, fd))| {
            let written = Address::parse(&name.address);
            Some(InheritedSocket { position, written, name, socket: BoundSocket::of(fd)? })
        });
        Self(known.collect())
    }

    /// What a service manager has passed to this process (sd_listen_fds(3)). To be called once, before descriptors are opened.
    pub(crate) fn of_service_manager() -> Self {
        let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        let count = env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).filter(|_| is_ours);
        let Some(count) = count else { return Self::default() };
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let passed = inherit::passed(count, &names).into_iter().enumerate();
        let known = passed.filter_map(|(position, (listener, fd))| {
            let Some(socket) = BoundSocket::of(fd) else {
                tracing::warn!(
                    "LISTEN_FDS has a descriptor named {listener:?} that is no listening socket: it is closed"
                );
                return None;
            };
            let name =
                SocketName { listener, address: socket.address.to_string(), owns_file: false, admin: false };
            Some(InheritedSocket { position, name, written: None, socket })
        });
        Self(known.collect())
    }

    /// The names of their listeners, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let of_listeners = self.0.iter().filter(|socket| !socket.name.admin);
        let mut names: Vec<String> = of_listeners.map(|socket| socket.name.listener.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The sockets that serve `wanted`, in the order in which they were passed.
    pub(crate) fn find(&self, wanted: &Wanted<'_>) -> Vec<&InheritedSocket> {
        let by_address: Vec<_> = self.0.iter().filter(|socket| socket.is_at(wanted)).collect();
        if !by_address.is_empty() {
            return by_address;
        }
        self.0.iter().filter(|socket| socket.is_named(wanted)).collect()
    }

    /// Those of listeners of which `is_used` is false.
    pub(crate) fn without(&self, is_used: impl Fn(&InheritedSocket) -> bool) -> Vec<&InheritedSocket> {
        self.0.iter().filter(|socket| !socket.name.admin && !is_used(socket)).collect()
    }
}

impl fmt::Display for InheritedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name.listener, self.socket.address)
    }
}

impl InheritedSocket {
    /// Its place among those that were passed.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Where it is bound.
    pub(crate) fn address(&self) -> &Address {
        &self.socket.address
    }

    /// Whether others may be bound beside it.
    pub(crate) fn shares_port(&self) -> bool {
        self.socket.shares_port
    }

    /// Whether this process removes its file in the end.
    pub(crate) fn owns_file(&self) -> bool {
        self.name.owns_file
    }

    /// A descriptor of it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn open(&self) -> std::io::Result<OwnedFd> {
        self.socket.fd.try_clone()
    }

    /// Whether it is bound at the address, and serves it as the config wants.
    fn is_at(&self, wanted: &Wanted<'_>) -> bool {
        if self.socket.kind != wanted.kind || is_lost(&self.socket.address) {
            return false;
        }
        match (wanted.address, &self.socket.address) {
            (Address::Ip(address), _) if address.port() == 0 => {
                self.written.as_ref() == Some(wanted.address) && self.is_of(wanted)
            }
            (Address::Ip(address), Address::Ip(bound)) => {
                address == bound && (!address.is_ipv6() || self.socket.ipv6_only == wanted.ipv6_only)
            }
            (Address::Unix(path), Address::Unix(bound)) => {
                self.written.as_ref() == Some(wanted.address) || path == bound || {
                    let full = path.canonicalize();
                    full.is_ok_and(|full| bound.canonicalize().is_ok_and(|bound| bound == full))
                }
            }
            _ => false,
        }
    }

    /// Whether a service manager has named it as the listener, and bound it at its port.
    fn is_named(&self, wanted: &Wanted<'_>) -> bool {
        let (Address::Ip(address), Address::Ip(bound)) = (wanted.address, &self.socket.address) else {
            return false;
        };
        let same_port = address.port() == 0 || address.port() == bound.port();
        let named = self.written.is_none() && self.is_of(wanted);
        named && same_port && self.socket.kind == wanted.kind
    }

    fn is_of(&self, wanted: &Wanted<'_>) -> bool {
        match wanted.listener {
            Some(name) => {
                !self.name.admin && self.name.listener == file_name(name) || self.name.listener == name
            }
            None => self.name.admin || self.name.listener == "admin",
        }
    }
}

/// Whether no client reaches a Unix socket, as its file has been removed. Then it is made anew.
fn is_lost(address: &Address) -> bool {
    matches!(address, Address::Unix(path) if unix_socket::is_lost(path))
}

/// A listener's name as a service manager takes it (FDNAME of sd_pid_notify_with_fds(3)): printable ASCII without `:`, 255
/// characters at most.
pub(crate) fn file_name(listener: &str) -> String {
    let plain =
        |character: char| if character.is_ascii_graphic() && character != ':' { character } else { '_' };
    listener.chars().map(plain).take(255).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn named(listener: &str, address: &str, socket: TcpListener) -> (SocketName, OwnedFd) {
        let (listener, address) = (listener.to_owned(), address.to_owned());
        (SocketName { listener, address, owns_file: false, admin: false }, socket.into())
    }

    fn found(inherited: &Inherited, listener: &str, address: &str) -> usize {
        let address = Address::parse(address).unwrap();
        let wanted =
            Wanted { listener: Some(listener), address: &address, kind: Kind::Stream, ipv6_only: true };
        inherited.find(&wanted).len()
    }

    #[test]
    fn sockets_are_found_by_address_and_chosen_ports_by_name() {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (fixed, chosen) = (bind(), bind());
        let at = fixed.local_addr().unwrap().to_string();
        let inherited =
            Inherited::of_predecessor(vec![named("web", &at, fixed), named("any", "127.0.0.1:0", chosen)]);
        assert_eq!(found(&inherited, "renamed", &at), 1);
        assert_eq!(found(&inherited, "any", "127.0.0.1:0"), 1);
        assert_eq!(found(&inherited, "web", "127.0.0.1:0"), 0, "it had a port of its own");
        assert_eq!(found(&inherited, "web", "127.0.0.1:1"), 0);
        assert_eq!(found(&inherited, "web", &at.replace("127.0.0.1", "0.0.0.0")), 0);
    }

    #[test]
    fn names_of_a_service_manager_are_plain() {
        assert_eq!(file_name("web:1 ä"), "web_1__");
        assert_eq!(file_name(&"x".repeat(300)).len(), 255);
    }
}
