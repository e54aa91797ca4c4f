//! Sockets: listening, connecting, and the check of a pooled connection before its reuse.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use monoio::io::CancelHandle;
use monoio::net::{TcpListener, TcpStream, UnixListener};
use monoio::time::sleep;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, acceptfrom_with, recv, send};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::runtime;
use crate::base::address::{Address, Peer};

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

/// Whether another socket already listens on `address`. With SO_REUSEPORT a second process of the same user would share
/// the port silently, and each would get a part of the connections.
pub(crate) fn probe_free(address: SocketAddr, ipv6_only: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    socket.bind(&address.into())
}

/// A listening socket that is bound, before a worker's runtime has it.
#[derive(Debug)]
pub(crate) enum BoundListener {
    /// Over TCP.
    Tcp(std::net::TcpListener),
    /// On a Unix socket. Each worker has a descriptor of the same one.
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket on a worker's runtime.
pub(crate) enum Listener {
    /// Over TCP.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// The next connection. `cancel` is of the canceller that may end the wait.
    pub(crate) async fn accept(&self, cancel: CancelHandle) -> io::Result<(TcpStream, Peer)> {
        let unix = match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.cancelable_accept(cancel).await?;
                return Ok((stream, Peer::Ip(canonical(peer))));
            }
            Self::Unix(listener) => listener,
        };
        let (stream, _) = unix.cancelable_accept(cancel).await?;
        // SAFETY: the stream gives its descriptor up, so that this is its only owner.
        let stream = unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) };
        Ok((TcpStream::from_std(stream.into())?, Peer::Unix))
    }
}

impl Listener {
    /// The next connection, if one is in the accept queue.
    pub(crate) fn accept_now(&self) -> Option<(TcpStream, Peer)> {
        let raw = match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener) => listener.as_raw_fd(),
        };
        // SAFETY: the listener owns the descriptor, and is borrowed for the call.
        let listener = unsafe { BorrowedFd::borrow_raw(raw) };
        let (fd, from) = acceptfrom_with(listener, SocketFlags::CLOEXEC).ok()?;
        let peer = match (self, from.map(SocketAddr::try_from)) {
            (Self::Tcp(_), Some(Ok(from))) => Peer::Ip(canonical(from)),
            (Self::Tcp(_), _) => return None,
            (Self::Unix(_), _) => Peer::Unix,
        };
        Some((adopt_stream(fd.into()).ok()?, peer))
    }
}

/// Prepares a listening socket that another process has bound, as [`listen`] does.
pub(crate) fn prepare(listener: &std::net::TcpListener) -> io::Result<()> {
    SockRef::from(listener).set_tcp_nodelay(true)?;
    // A service manager may have made the accept queue another length.
    Ok(rustix::net::listen(listener, BACKLOG)?)
}

/// A listening Unix socket: `mode` are its file's permissions from the first moment on, but for those that the umask
/// takes away.
pub(crate) fn listen_unix(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // What bind(2) makes has the mode of the socket itself (unix(7) does not say so, net/unix/af_unix.c does).
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode))?;
    socket.bind(&unix_address(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A peer as it is known: an IPv4 client of an IPv6 socket has an IPv4-mapped address (RFC 4291 §2.5.5.2).
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Makes the kernel hand connections that arrive on `cpu` to this listening socket.
pub(crate) fn prefer_cpu(listener: &std::net::TcpListener, cpu: usize) -> io::Result<()> {
    let cpu = u32::try_from(cpu).map_err(io::Error::other)?;
    Ok(rustix::net::sockopt::set_socket_incoming_cpu(listener, cpu)?)
}

/// A listening socket on this worker's runtime.
pub(crate) fn adopt(listener: BoundListener) -> io::Result<Listener> {
    // monoio's epoll driver needs it; io_uring's accept does not mind.
    match listener {
        BoundListener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener).map(Listener::Tcp)
        }
        BoundListener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener).map(Listener::Unix)
        }
    }
}

/// How long a connection to a Unix socket whose accept queue is full waits before it tries again: the kernel does not
/// report when there is room.
const QUEUE_PAUSE: Duration = Duration::from_millis(2);

/// A connection to `address`; over TCP with TCP_NODELAY, and from `source` if that is given.
pub(crate) async fn connect(address: &Address, source: Option<IpAddr>) -> io::Result<TcpStream> {
    match address {
        Address::Ip(address) => {
            let stream = match source {
                None => TcpStream::connect_addr(*address).await?,
                Some(source) => connect_from(*address, source).await?,
            };
            stream.set_nodelay(true)?;
            Ok(stream)
        }
        Address::Unix(path) => {
            let address = unix_address(path)?;
            loop {
                match connect_unix(&address) {
                    Ok(socket) => return adopt_stream(socket),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_PAUSE).await,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// A TCP connection from a source address.
async fn connect_from(address: SocketAddr, source: IpAddr) -> io::Result<TcpStream> {
    let socket = bound_to(source, address)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let stream = adopt_stream(socket)?;
    stream.writable(false).await?;
    rustix::net::sockopt::socket_error(fd_of(&stream))??;
    Ok(stream)
}

/// A socket that will connect to `address` from `source`. The port is chosen when it connects (IP_BIND_ADDRESS_NO_PORT):
/// so connections to different addresses may share one.
fn bound_to(source: IpAddr, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    let yes: libc::c_int = 1;
    let len = size_of_val(&yes) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), (&raw const yes).cast());
    // SAFETY: the option's value is one `int`, which lives for the call; the socket owns the descriptor.
    let set = unsafe { libc::setsockopt(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, value, len) };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(socket)
}

/// The same for a thread that may block, for `patience` at most.
pub(crate) fn connect_within(
    address: &Address,
    source: Option<IpAddr>,
    patience: Duration,
) -> io::Result<std::net::TcpStream> {
    let path = match address {
        Address::Ip(address) => {
            let stream = match source {
                None => std::net::TcpStream::connect_timeout(address, patience)?,
                Some(source) => {
                    let socket = bound_to(source, *address)?;
                    socket.connect_timeout(&(*address).into(), patience)?;
                    socket.into()
                }
            };
            stream.set_nodelay(true)?;
            return Ok(stream);
        }
        Address::Unix(path) => path,
    };
    let (address, until) = (unix_address(path)?, Instant::now() + patience);
    loop {
        match connect_unix(&address) {
            Ok(socket) => {
                socket.set_nonblocking(false)?;
                return Ok(socket.into());
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if Instant::now() >= until => return Err(io::ErrorKind::TimedOut.into()),
            Err(_) => std::thread::sleep(QUEUE_PAUSE),
        }
    }
}

/// The kernel's form of the path of a Unix socket, or of a name in the abstract namespace after `@`.
pub(crate) fn unix_address(path: &Path) -> io::Result<SockAddr> {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
        _ => SockAddr::unix(path),
    }
}

/// A non-blocking socket that is connected. The kernel connects at once, or says that the queue is full.
fn connect_unix(address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(socket)
}

/// A stream socket of any family on this worker's runtime. Its methods that ask for addresses or TCP options fail where
/// it is no TCP socket; reads and writes go by the descriptor.
fn adopt_stream(socket: Socket) -> io::Result<TcpStream> {
    // Only epoll needs it, and io_uring does not wait in all operations on such a descriptor.
    socket.set_nonblocking(runtime::is_epoll())?;
    TcpStream::from_std(socket.into())
}

/// The descriptor of a stream that is not split.
pub(super) fn fd_of(tcp: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and is borrowed for as long as the result lives.
    unsafe { BorrowedFd::borrow_raw(tcp.as_raw_fd()) }
}

/// Sends what a peer shall read before its connection is closed, if that is possible without waiting.
pub(crate) fn send_last(tcp: &TcpStream, bytes: &[u8]) {
    send_now(fd_of(tcp), bytes);
}

/// The state of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Open, with nothing to read.
    Quiet,
    /// Something has arrived.
    Readable,
    /// Closed or broken.
    Dead,
}

/// The state of a connection. Takes nothing from it and does not wait.
pub(super) fn pulse(fd: BorrowedFd<'_>) -> Pulse {
    let mut byte = [0u8; 1];
    match recv(fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Pulse::Dead,
        Ok(_) => Pulse::Readable,
        Err(rustix::io::Errno::AGAIN) => Pulse::Quiet,
        Err(_) => Pulse::Dead,
    }
}

/// Reads what has arrived, without waiting. `None`: nothing has.
pub(super) fn recv_now(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<usize>> {
    match recv(fd, into, RecvFlags::DONTWAIT) {
        Ok((_, n)) => Ok(Some(n)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Bytes that have arrived and lie unread.
pub(super) fn arrived(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(fd)?)
}

/// Lets the socket count as readable only from so many bytes on, or at the peer's end.
pub(super) fn set_low_water(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
    let len = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the option's value is one `int`, which lives for the call; a bad descriptor is an error.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, (&raw const bytes).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends bytes before a connection is closed, if that is possible without waiting.
pub(super) fn send_now(fd: BorrowedFd<'_>, bytes: &[u8]) {
    if !bytes.is_empty() {
        let _ = send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// Ends our side and drops what has arrived, without waiting and up to a bound.
pub(super) fn drain_now(fd: BorrowedFd<'_>) {
    finish(fd);
    let mut piece = [0; 4096];
    for _ in 0..64 {
        if !matches!(recv_now(fd, &mut piece), Ok(Some(1..))) {
            return;
        }
    }
}

/// Ends our side.
pub(super) fn finish(fd: BorrowedFd<'_>) {
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
}

/// Ends a connection with a reset, now: a stream sends a FIN when it is dropped, lingering or not.
/// What the peer has not got yet is lost with it.
pub(super) fn reset(fd: BorrowedFd<'_>) {
    let _ = rustix::net::connect_unspec(fd);
}

/// Ends a connection in both directions: a read finds its end, a write fails.
pub(super) fn end(fd: BorrowedFd<'_>) {
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
}
