//! File descriptors. Clients cannot take the last ones: a part is reserved for connections to backends, and a part of that
//! for the admin server, the log and files.
//!
//! The kernel gives the lowest number that is free. So a kind of connection that keeps to the numbers below a line leaves
//! all numbers above it to the others, and nothing has to be counted.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use monoio::net::TcpStream;
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::socket;
use crate::base::clock;

/// Descriptors that backends leave to the admin server, the log and files, where the limit allows.
const OF_ADMIN: u64 = 16;
/// Descriptors that clients leave to all others, at least, where the limit allows.
const OF_OTHERS: u64 = 64;
/// For how long a want of descriptors is taken to last, in milliseconds: some beats of a worker.
const LASTS: u64 = 500;

/// Clients have descriptors below this one.
static CLIENTS: AtomicI32 = AtomicI32::new(i32::MAX);
/// Connections to backends have descriptors below this one.
static BACKENDS: AtomicI32 = AtomicI32::new(i32::MAX);
/// When one was wanted last, in milliseconds of this process. 0: never.
static WANTED: AtomicU64 = AtomicU64::new(0);

/// Divides what is free now of `limit` descriptors: to be called once all that lasts is open.
pub(crate) fn divide(limit: u64) {
    if let Some(used) = lowest_free() {
        let (clients, backends) = lines(limit, u64::try_from(used).unwrap_or_default());
        CLIENTS.store(clients, Relaxed);
        BACKENDS.store(backends, Relaxed);
    }
}

/// The lines for clients and for backends.
fn lines(limit: u64, used: u64) -> (i32, i32) {
    let kept = (limit / 4).max(OF_OTHERS).min(limit.saturating_sub(used) / 2);
    let line = |kept: u64| i32::try_from(limit - kept).unwrap_or(i32::MAX);
    (line(kept), line(OF_ADMIN.min(kept / 2)))
}

/// A descriptor was wanted, and there was none.
pub(crate) fn want() {
    WANTED.store(now(), Relaxed);
}

/// Whether descriptors are short.
pub(crate) fn are_short() -> bool {
    let wanted = WANTED.load(Relaxed);
    wanted != 0 && now().saturating_sub(wanted) < LASTS
}

/// Whether an error is a want of descriptors.
pub(crate) fn is_want(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Whether a client may have the descriptor of this socket.
pub(crate) fn is_for_clients(socket: &impl AsRawFd) -> bool {
    socket.as_raw_fd() < CLIENTS.load(Relaxed)
}

/// Whether a connection to a backend may have the descriptor of this socket.
pub(crate) fn is_for_backends(socket: &impl AsRawFd) -> bool {
    socket.as_raw_fd() < BACKENDS.load(Relaxed)
}

/// Whether a connection to a backend would get a descriptor, as far as that is known. Costs a system call, only while
/// descriptors are short.
pub(crate) fn has_one_for_backends() -> bool {
    !are_short() || lowest_free().is_some_and(|fd| is_for_backends(&fd))
}

/// A client's connection on a descriptor that clients may have; none if they have them all.
pub(crate) fn lower(stream: &TcpStream) -> Option<TcpStream> {
    let lower = fcntl_dupfd_cloexec(socket::fd_of(stream), 0).ok()?;
    if !is_for_clients(&lower) {
        return None;
    }
    TcpStream::from_std(std::net::TcpStream::from(lower)).ok()
}

/// The lowest descriptor that is free, if one is.
fn lowest_free() -> Option<RawFd> {
    UnixDatagram::unbound().ok().map(|socket| socket.as_raw_fd())
}

/// Milliseconds of this process, from 1 on.
fn now() -> u64 {
    clock::millis() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_part_of_any_limit() {
        assert_eq!(lines(1 << 20, 40), (3 << 18, (1 << 20) - 16));
        assert_eq!(lines(256, 30), (192, 240));
        assert_eq!(lines(64, 28), (46, 55));
        assert_eq!(lines(64, 60), (62, 63));
        assert_eq!(lines(64, 64), (64, 64));
        assert_eq!(lines(u64::MAX, 64).0, i32::MAX);
    }
}
