//! Sockets: listening, connecting, and the look at a pooled connection before it is used.
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

use monoio::net::{TcpListener, TcpStream};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Protocol, Socket, Type};

/// Length of each listening socket's accept queue; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A listening socket of one worker: SO_REUSEPORT beside its siblings, TCP_NODELAY inherited by
/// what it accepts. Bound and listening from the moment it is made, so that a port in use is
/// known before any worker starts. `ipv6_only`: an IPv6 address takes no IPv4 connections.
pub(crate) fn listen(address: SocketAddr, ipv6_only: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether somebody else already listens on `address`: SO_REUSEPORT would let a second process
/// of the same user share it silently, which nobody who starts a proxy twice wants.
pub(crate) fn probe_free(address: SocketAddr, ipv6_only: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    socket.bind(&address.into())
}

/// A peer as it is known: an IPv4 client of an IPv6 socket has an IPv4-mapped address (RFC 4291 §2.5.5.2).
pub(crate) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Asks the kernel to hand connections that arrive on `cpu` to this listening socket.
pub(crate) fn prefer_cpu(listener: &std::net::TcpListener, cpu: usize) -> io::Result<()> {
    let cpu = u32::try_from(cpu).map_err(io::Error::other)?;
    Ok(rustix::net::sockopt::set_socket_incoming_cpu(listener, cpu)?)
}

/// A listening socket on this worker's runtime.
pub(crate) fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    // monoio's epoll driver needs it; io_uring's accept does not mind.
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// A connection to `address`, with TCP_NODELAY.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_addr(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a look at an idle connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Open, with nothing to read.
    Quiet,
    /// Something has arrived.
    Readable,
    /// Closed or broken.
    Dead,
}

/// Looks at a connection without taking anything from it and without waiting.
pub(crate) fn pulse(fd: RawFd) -> Pulse {
    // SAFETY: the caller holds the stream that owns `fd`, so it is open for this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut byte = [0u8; 1];
    match recv(fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Pulse::Dead,
        Ok(_) => Pulse::Readable,
        Err(rustix::io::Errno::AGAIN) => Pulse::Quiet,
        Err(_) => Pulse::Dead,
    }
}

/// Reads what has arrived, without waiting. `None`: nothing has.
pub(crate) fn recv_now(fd: RawFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: as in `pulse`.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    match recv(fd, into, RecvFlags::DONTWAIT) {
        Ok((_, n)) => Ok(Some(n)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Bytes that have arrived and lie unread.
pub(crate) fn arrived(fd: RawFd) -> io::Result<u64> {
    // SAFETY: as in `pulse`.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::io::ioctl_fionread(fd)?)
}

/// Lets the socket count as readable only from so many bytes on, or at the peer's end.
pub(crate) fn set_low_water(fd: RawFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
    let len = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the option's value is one `int`, which lives for the call; a bad descriptor is an error.
    let result =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, (&raw const bytes).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends last words, if that goes without waiting.
pub(crate) fn send_now(fd: RawFd, bytes: &[u8]) {
    // SAFETY: as in `pulse`.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    if !bytes.is_empty() {
        let _ = send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// Ends our side and drops what has arrived, without waiting and up to a bound.
pub(crate) fn drain_now(fd: RawFd) {
    // SAFETY: as in `pulse`.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = rustix::net::shutdown(borrowed, rustix::net::Shutdown::Write);
    let mut piece = [0; 4096];
    for _ in 0..64 {
        if !matches!(recv_now(fd, &mut piece), Ok(Some(1..))) {
            return;
        }
    }
}

/// Ends a connection with a reset, now: monoio's halves send a FIN when they are dropped, lingering or not.
/// What the peer has not got yet is lost with it.
pub(crate) fn reset(fd: RawFd) {
    // SAFETY: as in `pulse`.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = rustix::net::connect_unspec(fd);
}

/// Ends a connection in both directions: whoever reads from it finds its end, whoever writes to it an error.
pub(crate) fn end(fd: RawFd) {
    // SAFETY: as in `pulse`.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
}
