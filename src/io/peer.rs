//! What the kernel knows of a connection's other end. Asked about waits that last, never on the way of a request.
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, getpeername, getsockname, recv};

use super::socket;
use super::stream::Socket;

/// The other end of a stream, to ask the kernel about it while the stream is in use. It keeps the socket open, so its
/// descriptor cannot become another connection's.
#[derive(Clone, Debug)]
pub(crate) struct PeerHandle(pub(super) Rc<Socket>);

impl PeerHandle {
    /// See [`flow`].
    pub(crate) fn flow(&self) -> Option<Flow> {
        flow(&self.0)
    }

    /// Whether bytes of the peer wait to be read.
    pub(crate) fn has_arrived(&self) -> bool {
        socket::arrived(self.0.as_fd()).is_ok_and(|waiting| waiting > 0)
    }

    /// Whether nothing of what the peer sent waits to be read.
    pub(crate) fn is_drained(&self) -> bool {
        socket::arrived(self.0.as_fd()).is_ok_and(|waiting| waiting == 0)
    }

    /// Whether the peer has ended its side or broken the connection, also behind bytes that wait to be read.
    pub(crate) fn has_left(&self) -> bool {
        has_left(self.0.as_fd())
    }

    /// The peer's address and our own; `None` if the connection has broken.
    pub(crate) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        addresses(self.0.as_fd())
    }

    /// Ends the connection in both directions: the next read finds its end, the next write fails.
    pub(crate) fn end(&self) {
        socket::end(self.0.as_fd());
    }
}

/// How many bytes a connection has carried since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bytes that the peer has sent.
    pub received: u64,
    /// Bytes that the peer has taken.
    pub taken: u64,
    /// Whether bytes wait here because the peer (or the way to it) takes no more.
    pub held_up: bool,
}

/// The front of the kernel's `struct tcp_info`, which only ever grows at its end.
const INFO_LEN: usize = 148;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const NOTSENT_BYTES: usize = 144;

/// The flow of a TCP connection; `None` if the kernel does not report it (before Linux 4.6).
pub fn flow(socket: &impl AsFd) -> Option<Flow> {
    let fd = socket.as_fd().as_raw_fd();
    let mut info = [0u8; INFO_LEN];
    let mut len = INFO_LEN as libc::socklen_t;
    // SAFETY: `info` has `len` bytes, which the kernel fills at most; a number that is no socket's is an error.
    let result = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if result != 0 || (len as usize) < INFO_LEN {
        return None;
    }
    let long = |at: usize| info[at..at + 8].try_into().map(u64::from_ne_bytes);
    let unsent = info[NOTSENT_BYTES..].iter().any(|&byte| byte != 0);
    Some(Flow { received: long(BYTES_RECEIVED).ok()?, taken: long(BYTES_ACKED).ok()?, held_up: unsent })
}

fn has_left(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().intersects(ended)
}

/// Shows what has arrived and leaves it there, without waiting. `None`: nothing has; 0 bytes: the peer's end.
pub(super) fn peek(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<usize>> {
    match recv(fd, into, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, n)) => Ok(Some(n)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn addresses(fd: BorrowedFd<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let (peer, own) = (getpeername(fd).ok()??, getsockname(fd).ok()?);
    Some((peer.try_into().ok()?, own.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_are_counted_both_ways() {
        let (mut client, mut server) = pair();
        client.write_all(&[0; 1000]).unwrap();
        server.read_exact(&mut [0; 600]).unwrap();
        server.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        let flow = flow(&server).unwrap();
        assert_eq!((flow.received, flow.taken, flow.held_up), (1000, 5, false));
        assert_eq!(socket::arrived(server.as_fd()).unwrap(), 400);
        server.read_exact(&mut [0; 400]).unwrap();
        assert_eq!(socket::arrived(server.as_fd()).unwrap(), 0);
    }

    #[test]
    fn what_has_arrived_is_shown_and_stays() {
        let (mut client, mut server) = pair();
        let mut shown = [0; 8];
        assert_eq!(peek(server.as_fd(), &mut shown).unwrap(), None);
        client.write_all(b"hello").unwrap();
        while peek(server.as_fd(), &mut shown).unwrap() != Some(5) {}
        server.read_exact(&mut shown[..5]).unwrap();
        assert_eq!(&shown[..5], b"hello");
        assert_eq!(peek(server.as_fd(), &mut shown).unwrap(), None);
        let ends = (client.local_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!(addresses(server.as_fd()), Some(ends));
        drop(client);
        while peek(server.as_fd(), &mut shown).unwrap() != Some(0) {}
    }

    #[test]
    fn a_peer_that_does_not_read_holds_bytes_up() {
        let (_client, mut server) = pair();
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 65_536]).is_ok() {}
        assert!(flow(&server).unwrap().held_up);
    }

    #[test]
    fn an_end_is_seen_behind_unread_bytes() {
        let (mut client, server) = pair();
        client.write_all(b"unread").unwrap();
        assert!(!has_left(server.as_fd()));
        client.shutdown(Shutdown::Write).unwrap();
        assert!(has_left(server.as_fd()));
    }
}
