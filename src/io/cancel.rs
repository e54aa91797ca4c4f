//! Cancelling reads without losing what they read.
//!
//! monoio cancels only reads that were registered in a hash set, which every request would pay for, although few clients
//! fall silent. The kernel needs no registration: it finds the read of a socket by descriptor and operation
//! (IORING_REGISTER_SYNC_CANCEL, Linux 6.6). monoio's way is used on epoll, on older kernels, and for a worker with so
//! many streams that the kernel's search would take long.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::{fs, io};

use monoio::io::{CancelHandle, Canceller};
use rustix::io_uring::{
    IoringAsyncCancelFlags, IoringEnterFlags, IoringOp, IoringRegisterOp, io_uring_enter, io_uring_register,
    io_uring_sync_cancel_reg,
};

use super::peer::PeerHandle;

/// IORING_ASYNC_CANCEL_OP, which rustix does not name yet.
const BY_OPERATION: IoringAsyncCancelFlags = IoringAsyncCancelFlags::from_bits_retain(1 << 5);

thread_local! {
    /// This thread's ring, if its kernel can call off reads by their socket.
    static RING: Cell<Option<RawFd>> = const { Cell::new(None) };
    /// How many streams this thread has.
    static STREAMS: Cell<usize> = const { Cell::new(0) };
}

/// Most streams of a worker with which reads are cancelled by their socket. The kernel searches all pending reads: that takes
/// a few microseconds for one, and milliseconds if all fall silent at once. With more streams monoio's registered reads are
/// faster.
const FEW: usize = 512;

/// Finds the ring that this thread has just made: monoio keeps its number to itself.
pub(super) fn find_ring() {
    // A kernel that can cancel by descriptor answers ENOENT for a descriptor without reads. Other threads' rings refuse
    // (SINGLE_ISSUER); if more than one ring is left, monoio's way is used.
    let own = |ring: &RawFd| call_off_read(*ring, *ring) == Err(rustix::io::Errno::NOENT);
    let mut found = rings().into_iter().filter(own);
    RING.set(found.next().filter(|_| found.next().is_none()));
}

/// The rings among this process's descriptors.
pub(super) fn rings() -> Vec<RawFd> {
    let ring = |name: &OsStr| {
        let fd: RawFd = name.to_str()?.parse().ok()?;
        let target = fs::read_link(Path::new("/proc/self/fd").join(name)).ok()?;
        (target.as_os_str() == "anon_inode:[io_uring]").then_some(fd)
    };
    let all = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    all.filter_map(|entry| ring(&entry.file_name())).collect()
}

/// The thread's ring has gone.
pub(super) fn forget_ring() {
    RING.set(None);
}

/// One stream more of this thread, or less.
pub(super) fn count_stream(one: isize) {
    STREAMS.set(STREAMS.get().wrapping_add_signed(one));
}

/// Whether reads of this thread need not be announced.
fn is_free() -> bool {
    RING.get().is_some() && STREAMS.get() <= FEW
}

/// Cancels the read from `fd` in `ring` (a socket has one at most); it ends with ECANCELED.
fn call_off_read(ring: RawFd, fd: RawFd) -> rustix::io::Result<()> {
    let mut wanted = io_uring_sync_cancel_reg::default();
    wanted.fd = fd;
    wanted.flags = IoringAsyncCancelFlags::FD | BY_OPERATION;
    wanted.opcode = IoringOp::Recv as u8;
    // SAFETY: the ring was made by this thread's runtime, which outlives its tasks; a descriptor that is no ring, or closed,
    // is an error. The argument is of the kind that this call takes, and lives for as long as it.
    unsafe {
        let ring = BorrowedFd::borrow_raw(ring);
        io_uring_register(ring, IoringRegisterOp::RegisterSyncCancel, (&raw const wanted).cast(), 1)?;
    }
    Ok(())
}

/// Submits what waits in the ring's queue: what a task has just requested.
fn submit(ring: RawFd) -> rustix::io::Result<u32> {
    // SAFETY: as above; what waits there belongs to operations whose buffers live until they end.
    unsafe { io_uring_enter(BorrowedFd::borrow_raw(ring), u32::MAX, 0, IoringEnterFlags::empty()) }
}

/// Calls off reads of one socket. A read that has been called off ends with ECANCELED, or with what it had read.
#[derive(Default)]
pub(crate) struct ReadCancel(Option<Canceller>);

impl ReadCancel {
    /// What a read is to be announced with, if it must be.
    pub(crate) fn handle(&mut self) -> Option<CancelHandle> {
        if is_free() {
            self.0 = None;
            return None;
        }
        Some(self.0.get_or_insert_default().handle())
    }

    /// Calls off the read that is under way from the stream of this peer.
    pub(crate) fn call_off(&mut self, peer: &PeerHandle) {
        if let Some(canceller) = self.0.take() {
            self.0 = Some(canceller.cancel());
            return;
        }
        let Some(ring) = RING.get() else { return };
        let fd = peer.0.as_fd().as_raw_fd();
        if call_off_read(ring, fd).is_err() && submit(ring).is_ok() {
            // It had not reached the kernel yet. Or it has ended by itself.
            let _ = call_off_read(ring, fd);
        }
    }
}

/// ECANCELED, which is what a read that was called off ends with.
pub(crate) fn is_canceled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::CANCELED.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use crate::io::runtime::{self, Driver, block_on};
    use crate::io::{Buffer, Stream, StreamError, sleep};

    /// A stream of this runtime, and its peer.
    fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        (Stream::plain(monoio::net::TcpStream::from_std(accepted).unwrap()), peer)
    }

    /// Reads until something comes, calling it off after a while. Fails where it does not end at all.
    async fn read(
        stream: &mut Stream,
        off: &mut ReadCancel,
        patience: Duration,
    ) -> (Result<usize, StreamError>, Buffer) {
        let (handle, other) = (off.handle(), stream.reader.peer());
        let mut reading = pin!(stream.reader.fill_cancelable(Buffer::small(), handle));
        let mut waiting = pin!(sleep(patience));
        let mut too_long = pin!(sleep(Duration::from_secs(10)));
        let mut called = false;
        poll_fn(|cx| {
            if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                return Poll::Ready(read);
            }
            assert!(too_long.as_mut().poll(cx).is_pending(), "the read goes on, though it was called off");
            if !called && (patience.is_zero() || waiting.as_mut().poll(cx).is_ready()) {
                called = true;
                off.call_off(&other);
                return reading.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    }

    #[test]
    fn what_is_called_off_ends_and_loses_nothing() {
        for backend in [runtime::detect().unwrap_or(Driver::Epoll), Driver::Epoll] {
            let work = async move {
                let ((mut stream, mut peer), mut off) = (pair(), ReadCancel::default());
                // Before the kernel has heard of the read, too; then as one of many, and as one of few again.
                let waits = [(0, 0), (20, 0), (0, 0), (0, FEW), (20, FEW), (0, 0), (20, 0)];
                for (milliseconds, others) in waits {
                    let patience = Duration::from_millis(milliseconds);
                    STREAMS.set(1 + others);
                    let (result, buffer) = read(&mut stream, &mut off, patience).await;
                    assert!(
                        matches!(&result, Err(StreamError::Io(error)) if is_canceled(error)),
                        "{backend:?}: {result:?}"
                    );
                    assert!(buffer.is_idle());
                    peer.write_all(b"kept").unwrap();
                    let (result, buffer) = read(&mut stream, &mut off, Duration::from_secs(5)).await;
                    assert_eq!((result.unwrap(), buffer.data()), (4, &b"kept"[..]), "{backend:?}");
                }
                drop(stream);
                assert_eq!(STREAMS.get(), 0);
            };
            block_on(backend, work).unwrap();
        }
    }

    #[test]
    fn the_ring_is_found_where_the_kernel_can() {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let backend = runtime::detect().unwrap_or(Driver::Epoll);
        let can = backend != Driver::Epoll && version >= (6, 6);
        assert_eq!(block_on(backend, async { is_free() }).unwrap(), can, "{backend:?} on Linux {release}");
        assert!(!is_free(), "the ring has gone with its runtime");
    }
}
