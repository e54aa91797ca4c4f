//! Descriptors that pass from one process to another: to a successor over a socket pair, from a service manager by number.
//!
//! ```text
//! a message   length of the text, number of descriptors (4 bytes each) ─► the text ─► a byte with up to 64 descriptors, …
//! ```
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::{ipv6_v6only, socket_acceptconn, socket_reuseport, socket_type};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketType, getsockname, recvmsg, sendmsg, sendmsg_addr,
};

use crate::base::address::Address;
use crate::base::limits::{HANDOVER_BYTES, HANDOVER_DESCRIPTORS};

/// Descriptors that one control message has; the kernel allows 253.
const AT_ONCE: usize = 64;
/// The first descriptor that a service manager passes (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// One end of the socket pair between a process and its successor.
#[derive(Debug)]
pub(crate) struct Channel(UnixStream);

impl Channel {
    /// Both ends; the second one is to be the standard input of the successor.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = UnixStream::pair()?;
        Ok((Self(own), other.into()))
    }

    /// The end that a predecessor has left as standard input, in whose place /dev/null is opened.
    ///
    /// # Errors
    /// Standard input is no Unix socket.
    pub(crate) fn from_standard_input() -> io::Result<Self> {
        let stdin = io::stdin();
        let own = stdin.as_fd().try_clone_to_owned()?;
        if !matches!(socket_type(&own), Ok(SocketType::STREAM)) || unix_path(&own).is_err() {
            return Err(io::Error::other("standard input is no socket of a predecessor"));
        }
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok(Self(own.into()))
    }

    /// How long the other end may take, from one piece of a message to the next.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let patience = Some(patience.max(Duration::from_millis(1)));
        self.0.set_read_timeout(patience)?;
        self.0.set_write_timeout(patience)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The other end is gone, or takes nothing.
    pub(crate) fn send(&self, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut stream = &self.0;
        let length = |length: usize| u32::try_from(length).map(u32::to_le_bytes).map_err(io::Error::other);
        stream.write_all(&length(text.len())?)?;
        stream.write_all(&length(descriptors.len())?)?;
        stream.write_all(text)?;
        for some in descriptors.chunks(AT_ONCE) {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(some));
            sendmsg(&self.0, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// Receives a message.
    ///
    /// # Errors
    /// The other end is gone (`UnexpectedEof`), silent (`WouldBlock`), or sends something else.
    pub(crate) fn receive(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut stream = &self.0;
        let mut lengths = [[0; 4]; 2];
        stream.read_exact(&mut lengths[0])?;
        stream.read_exact(&mut lengths[1])?;
        let [length, count] = lengths.map(|bytes| u32::from_le_bytes(bytes) as usize);
        if length > HANDOVER_BYTES || count > HANDOVER_DESCRIPTORS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the message is larger than any that is sent",
            ));
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text)?;
        let mut descriptors = Vec::with_capacity(count);
        while descriptors.len() < count {
            let before = descriptors.len();
            let mut byte = [0];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    descriptors.extend(some);
                }
            }
            if descriptors.len() == before {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "descriptors are missing"));
            }
        }
        Ok((text, descriptors))
    }
}

/// Has a command inherit its standard streams alone. The runtime accepts connections without CLOEXEC: a successor would keep
/// those open that this process closes.
pub(crate) fn keep_descriptors_from(command: &mut Command) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    let close = move || {
        // SAFETY: the call takes numbers, and marks descriptors of the new process, which runs nothing else before exec.
        let marked =
            unsafe { libc::syscall(libc::SYS_close_range, FIRST, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        if marked == 0 {
            return Ok(());
        }
        // Before Linux 5.11. Numbers that are free are an error that makes no difference.
        for fd in FIRST..i32::try_from(limit).unwrap_or(1 << 20) {
            // SAFETY: as above.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls alone, and allocates nothing.
    unsafe { command.pre_exec(close) };
}

/// The descriptors that a service manager passes, with their names (sd_listen_fds(3)). `count` and `names` are what
/// LISTEN_FDS and LISTEN_FDNAMES have, and LISTEN_PID must have been checked. To be called once, before others are opened.
pub(crate) fn passed(count: usize, names: &str) -> Vec<(String, OwnedFd)> {
    let mut names = names.split(':');
    let count = i32::try_from(count.min(HANDOVER_DESCRIPTORS)).unwrap_or_default();
    let numbers = (FIRST..FIRST + count).map(|number| (number, names.next().unwrap_or_default().to_owned()));
    let open = numbers.filter_map(|(number, name)| {
        // SAFETY: the service manager has opened it for this process, and this is the first that takes it. A number that is not
        // open is an error here, and is taken by nothing.
        let marked = fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::CLOEXEC);
        // SAFETY: it is open, and has no other owner.
        marked.ok().map(|()| (name, unsafe { OwnedFd::from_raw_fd(number) }))
    });
    open.collect()
}

/// What clients reach a socket by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Connections: it listens.
    Stream,
    /// Datagrams.
    Datagram,
}

/// A socket that another process has bound.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    /// What clients reach it by.
    pub(crate) kind: Kind,
    /// Where it is bound.
    pub(crate) address: Address,
    /// Whether it takes no IPv4; false if it is no IPv6 socket.
    pub(crate) ipv6_only: bool,
    /// Whether others may be bound beside it.
    pub(crate) shares_port: bool,
    /// The socket.
    pub(crate) fd: OwnedFd,
}

impl BoundSocket {
    /// What a descriptor is, if it is a socket that clients reach: `None` for any other.
    pub(crate) fn of(fd: OwnedFd) -> Option<Self> {
        let kind = match socket_type(&fd).ok()? {
            SocketType::STREAM if socket_acceptconn(&fd).ok()? => Kind::Stream,
            SocketType::DGRAM => Kind::Datagram,
            _ => return None,
        };
        let address = match SocketAddr::try_from(getsockname(&fd).ok()?) {
            Ok(address) => Address::Ip(address),
            Err(_) => Address::Unix(Path::new(&unix_path(&fd).ok()?).into()),
        };
        let ipv6 = address.ip().is_some_and(SocketAddr::is_ipv6);
        let ipv6_only = ipv6 && ipv6_v6only(&fd).unwrap_or(false);
        let shares_port = address.ip().is_some() && socket_reuseport(&fd).unwrap_or(false);
        Some(Self { kind, address, ipv6_only, shares_port, fd })
    }
}

/// The path of a Unix socket, or `@` and its name in the abstract namespace; empty if it has none.
fn unix_path(fd: &OwnedFd) -> io::Result<String> {
    let address = SocketAddrUnix::try_from(getsockname(fd)?)?;
    if let Some(name) = address.abstract_name() {
        return Ok(format!("@{}", String::from_utf8_lossy(name)));
    }
    Ok(address.path().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default())
}

/// Sends a datagram with descriptors to the Unix socket at `path`, or at a name in the abstract namespace after `@`, without
/// waiting.
///
/// # Errors
/// There is no such socket, or it takes nothing now.
pub(crate) fn send_datagram(path: &str, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(path)?,
    };
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let some = &descriptors[..descriptors.len().min(AT_ONCE)];
    if !some.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(some));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg_addr(&socket, &address, &[IoSlice::new(text)], &mut control, flags)?;
    Ok(())
}

/// Most descriptors of one [`send_datagram`].
pub(crate) const DATAGRAM_DESCRIPTORS: usize = AT_ONCE;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn messages_carry_any_number_of_descriptors() {
        let (own, other) = Channel::pair().unwrap();
        let other = Channel(other.into());
        own.send(b"none", &[]).unwrap();
        assert_eq!(other.receive().unwrap().0, b"none");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let many = vec![listener.as_fd(); 3 * AT_ONCE + 1];
        own.send(b"many", &many).unwrap();
        own.send(b"after", &[]).unwrap();
        let (text, descriptors) = other.receive().unwrap();
        assert_eq!((&*text, descriptors.len()), (&b"many"[..], many.len()));
        for fd in descriptors {
            let socket = BoundSocket::of(fd).unwrap();
            assert_eq!((socket.kind, socket.address), (Kind::Stream, Address::Ip(address)));
        }
        assert_eq!(other.receive().unwrap().0, b"after");
        drop(own);
        assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn sockets_are_known_by_what_they_are() {
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let address = udp.local_addr().unwrap();
        let socket = BoundSocket::of(udp.into()).unwrap();
        assert_eq!((socket.kind, socket.address), (Kind::Datagram, Address::Ip(address)));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(BoundSocket::of(unix.into()).unwrap().address, Address::Unix(path.into()));
        let (stream, _) = UnixStream::pair().unwrap();
        assert!(BoundSocket::of(stream.into()).is_none(), "it is connected");
        assert!(BoundSocket::of(std::fs::File::open("/dev/null").unwrap().into()).is_none());
    }
}
