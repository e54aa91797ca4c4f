//! UDP sockets, and many of them waited for at once.
//!
//! The runtime waits for the readiness of an epoll instance, which holds all sockets of a listener: a session costs its
//! socket and no task. The datagrams themselves pass through [`super::datagrams`].
#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use monoio::net::udp::UdpSocket as Waiting;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::datagrams::UDP_GRO;
use super::descriptors;

/// What a socket's receive queue is asked to hold, in bytes; the kernel cuts it to `net.core.rmem_max`.
const RECEIVE_QUEUE: usize = 4 << 20;
/// Sockets that one look reports at most.
const EVENTS: usize = 128;

/// A socket of one worker that receives from clients: SO_REUSEPORT beside its siblings, so that the kernel's hash of both
/// addresses keeps a client with its worker. `ipv6_only`: an IPv6 address receives nothing over IPv4.
pub(crate) fn listen(address: SocketAddr, ipv6_only: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    socket.bind(&address.into())?;
    let socket = socket.into();
    prepare(&socket, address)?;
    Ok(socket)
}

/// Prepares a socket that is bound at `address`, perhaps by another process.
pub(crate) fn prepare(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let _ = SockRef::from(socket).set_recv_buffer_size(RECEIVE_QUEUE);
    let _ = set(socket, libc::SOL_UDP, UDP_GRO);
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL);
    if address.ip().is_unspecified() {
        // Replies must leave from the address that the client has sent to.
        match address.is_ipv6() {
            true => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?,
            false => set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?,
        }
    }
    Ok(())
}

/// Whether no other process has a UDP socket at `address`: SO_REUSEPORT would let one of the same user share it.
pub(crate) fn probe_free(address: SocketAddr, ipv6_only: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    match socket.bind(&address.into()) {
        // Connected sockets are of sessions that a process finishes while it drains.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !is_received_at(address.port()) => Ok(()),
        bound => bound,
    }
}

/// Whether a UDP socket at this port receives from any client (proc(5), net/udp: a socket that is not connected is in state 07). True
/// where that is not known.
fn is_received_at(port: u16) -> bool {
    let texts =
        ["/proc/net/udp", "/proc/net/udp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let mut lines = texts.iter().flat_map(|text| text.lines());
    let at_port = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1).and_then(|local| u16::from_str_radix(local.rsplit(':').next()?, 16).ok());
        local == Some(port) && fields.nth(1) == Some("07")
    };
    texts[0].is_empty() || lines.any(at_port)
}

/// A socket that sends to `address`, from `source` where that is given, and receives from there alone, on a descriptor that clients may have: it is a client's
/// datagram that asks for it.
///
/// # Errors
/// There is no descriptor or port, or no way to the address ([`is_unreachable`]).
pub(crate) fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let made = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP));
    let socket = made.and_then(|socket| match descriptors::is_for_clients(&socket) {
        true => Ok(socket),
        false => Err(io::Error::from_raw_os_error(libc::EMFILE)),
    });
    let socket = socket.inspect_err(|error| {
        if descriptors::is_want(error) {
            descriptors::want();
        }
    })?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&address.into())?;
    Ok(socket.into())
}

/// A socket at `local`, beside those that are bound there with SO_REUSEPORT, that receives from `client` alone. Between the two
/// steps that make it, it may take a datagram of another client.
///
/// # Errors
/// There is no descriptor, or the port is privileged or not shared.
pub(crate) fn connect_from(local: SocketAddr, client: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if !descriptors::is_for_clients(&socket) {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    socket.set_reuse_port(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(client.ip().to_canonical().is_ipv6())?;
    }
    socket.bind(&local.into())?;
    socket.connect(&client.into())?;
    let socket = socket.into();
    prepare(&socket, local)?;
    Ok(socket)
}

/// Prepares a connected socket for many datagrams: UDP_GRO, and a longer queue.
pub(crate) fn expect_many(socket: &UdpSocket) {
    let _ = set(socket, libc::SOL_UDP, UDP_GRO);
    let _ = SockRef::from(socket).set_recv_buffer_size(RECEIVE_QUEUE);
}

/// Sets an option to 1.
fn set(socket: &impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (fd, len) = (socket.as_fd().as_raw_fd(), size_of_val(&on) as libc::socklen_t);
    // SAFETY: the value is one `int`, which lives for the call, and the socket is open for it.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const on).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether an error of a connected socket says that its peer does not receive: an ICMP message, or no way to it.
pub(crate) fn is_unreachable(error: &io::Error) -> bool {
    let unreachable =
        [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EHOSTDOWN, libc::ENETDOWN];
    error.raw_os_error().is_some_and(|errno| unreachable.contains(&errno))
}

/// Whether an error is a want of descriptors, ports or memory, which says nothing of the peer.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EAGAIN, libc::EADDRINUSE, libc::ENOBUFS, libc::ENOMEM];
    descriptors::is_want(error) || error.raw_os_error().is_some_and(|errno| shortages.contains(&errno))
}

/// Many sockets, waited for at once.
pub(crate) struct Readiness {
    epoll: OwnedFd,
    waiting: Waiting,
}

impl Readiness {
    /// Waits for nothing yet. On a worker's runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // The runtime polls the descriptor and asks nothing of it that only a socket has.
        let waiting = Waiting::from_std(UdpSocket::from(epoll.try_clone()?))?;
        Ok(Self { epoll, waiting })
    }

    /// Waits for `socket` too, for as long as it is open. Its readiness is reported as `token`.
    pub(crate) fn add(&self, socket: &UdpSocket, token: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)?)
    }

    /// Does not wait for `socket` any more: another process may have it, too, so that closing it would not be enough.
    pub(crate) fn remove(&self, socket: &UdpSocket) {
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits until one of them is ready, to be read or to report an error.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        self.waiting.readable(true).await
    }

    /// The tokens of those that are ready now, in `into`.
    pub(crate) fn look(&self, into: &mut Vec<u64>) -> io::Result<()> {
        into.clear();
        let none = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut events = [none; EVENTS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = epoll::wait(&self.epoll, &mut events[..], Some(&at_once))?;
        into.extend(events[..count].iter().map(|event| { event.data }.u64()));
        Ok(())
    }
}
