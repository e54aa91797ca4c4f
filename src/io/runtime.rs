//! The runtime of a worker's thread: io_uring with the flags that the kernel has, or epoll.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_void;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use io_uring::opcode;
use io_uring::register::Restriction;
use monoio::io::AsyncReadRent as _;
use monoio::net::UnixStream;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::io_uring::{IoringRegisterOp, io_uring_register};

use super::cancel;

/// Entries of a worker's submission queue.
const ENTRIES: u32 = 4096;
/// How long the first operation of a new ring may take.
const TRIAL: Duration = Duration::from_secs(5);
/// Bytes of a ring that count against `RLIMIT_MEMLOCK`: submission entries of 64 bytes, twice as many completion entries
/// of 16, an index of 4 for each submission, and the pages of the heads.
pub(crate) const LOCKED_BYTES: u64 = ENTRIES as u64 * (64 + 2 * 16 + 4) + 2 * 4096;

/// What a worker's runtime is driven by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with SINGLE_ISSUER, COOP_TASKRUN and DEFER_TASKRUN (Linux 6.1).
    UringDeferred,
    /// io_uring with COOP_TASKRUN (Linux 5.19).
    UringCooperative,
    /// io_uring without flags.
    Uring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// Its name in log and status.
    pub fn name(self) -> &'static str {
        match self {
            Self::UringDeferred => "io_uring (SINGLE_ISSUER, COOP_TASKRUN, DEFER_TASKRUN)",
            Self::UringCooperative => "io_uring (COOP_TASKRUN)",
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    fn flags(self) -> io_uring::Builder {
        let mut builder = io_uring::IoUring::builder();
        match self {
            Self::UringDeferred => {
                builder.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun();
            }
            Self::UringCooperative => {
                builder.setup_coop_taskrun();
            }
            Self::Uring | Self::Epoll => {}
        }
        builder
    }
}

/// The best io_uring backend that this machine allows, or why it allows none: a small ring, and one operation on it.
pub fn detect() -> io::Result<Driver> {
    let mut refused = io::Error::other("io_uring was not tried");
    for backend in [Driver::UringDeferred, Driver::UringCooperative, Driver::Uring] {
        match backend.flags().build(8).and_then(try_nop) {
            Ok(()) => return Ok(backend),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Has a ring do nothing once. `io_uring_setup` may be allowed where `io_uring_enter` is refused.
fn try_nop(mut ring: io_uring::IoUring) -> io::Result<()> {
    let nop = io_uring::opcode::Nop::new().build();
    // SAFETY: the operation has no buffer or descriptor that would have to live until it ends.
    unsafe { ring.submission().push(&nop) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let completed = ring.completion().next();
    completed.map(drop).ok_or_else(|| io::Error::other("an operation was submitted and did not complete"))
}

thread_local! {
    /// Whether this thread's runtime is driven by epoll.
    static EPOLL: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's runtime is driven by epoll, which takes non-blocking descriptors only.
pub(super) fn is_epoll() -> bool {
    EPOLL.get()
}

/// A runtime of this thread.
pub(crate) struct Runtime(Kind);

enum Kind {
    Uring(Box<monoio::Runtime<TimeDriver<IoUringDriver>>>),
    Epoll(Box<monoio::Runtime<TimeDriver<LegacyDriver>>>),
}

impl Runtime {
    /// A runtime that works: a ring has completed an operation.
    ///
    /// # Errors
    /// The ring or the epoll instance can't be made (`RLIMIT_NOFILE`, `RLIMIT_MEMLOCK`, a memory control group), or
    /// completes nothing within five seconds.
    pub(crate) fn new(backend: Driver) -> io::Result<Self> {
        if backend == Driver::Epoll {
            let builder = RuntimeBuilder::<LegacyDriver>::new().with_entries(ENTRIES).enable_timer();
            return Ok(Self(Kind::Epoll(Box::new(builder.build()?))));
        }
        let mut runtime = make(backend)?;
        let (reader, mut writer) = StdStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.write_all(&[0])?;
        runtime.block_on(try_read(reader))?;
        Ok(Self(Kind::Uring(Box::new(runtime))))
    }

    /// Runs `work` to its end on this thread.
    pub(crate) fn block_on<F: Future>(self, work: F) -> F::Output {
        match self.0 {
            Kind::Epoll(mut runtime) => {
                EPOLL.set(true);
                let result = runtime.block_on(work);
                EPOLL.set(false);
                result
            }
            Kind::Uring(mut runtime) => {
                cancel::find_ring();
                let result = runtime.block_on(work);
                cancel::forget_ring();
                result
            }
        }
    }
}

/// Whether rings are restricted: see [`restrict_rings`].
static RESTRICTED: AtomicBool = AtomicBool::new(true);
/// Held while a ring is made, which is then found among the process's descriptors: monoio keeps its number to itself.
static MAKING: Mutex<()> = Mutex::new(());

/// Whether rings that are made from now on refuse operations which are not used.
pub(crate) fn restrict_rings(restricted: bool) {
    RESTRICTED.store(restricted, Ordering::Relaxed);
}

/// A runtime on a ring that is restricted, unless the kernel (before Linux 5.10) cannot.
fn make(backend: Driver) -> io::Result<monoio::Runtime<TimeDriver<IoUringDriver>>> {
    let build = |flags: io_uring::Builder| {
        let builder = RuntimeBuilder::<IoUringDriver>::new().uring_builder(flags);
        builder.with_entries(ENTRIES).enable_timer().build()
    };
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if RESTRICTED.load(Ordering::Relaxed) {
        let before = cancel::rings();
        let mut flags = backend.flags();
        flags.setup_r_disabled();
        let made = build(flags).and_then(|runtime| {
            let new = cancel::rings().into_iter().filter(|ring| !before.contains(ring));
            restrict(new).map(|()| runtime)
        });
        match made {
            Ok(runtime) => return Ok(runtime),
            Err(error) => {
                tracing::debug!("a ring is not restricted to the operations that are used: {error}")
            }
        }
    }
    build(backend.flags())
}

/// Operations of a worker's ring: those of monoio on sockets, pipes and timers. None opens, makes or removes a file.
const OPERATIONS: [u8; 20] = [
    opcode::Nop::CODE,
    opcode::Readv::CODE,
    opcode::Writev::CODE,
    opcode::PollAdd::CODE,
    opcode::PollRemove::CODE,
    opcode::SendMsg::CODE,
    opcode::RecvMsg::CODE,
    opcode::Timeout::CODE,
    opcode::TimeoutRemove::CODE,
    opcode::Accept::CODE,
    opcode::AsyncCancel::CODE,
    opcode::LinkTimeout::CODE,
    opcode::Connect::CODE,
    opcode::Close::CODE,
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Send::CODE,
    opcode::Recv::CODE,
    opcode::Splice::CODE,
    opcode::Shutdown::CODE,
];

/// Restricts the one of these rings that is made and not enabled yet, and enables it.
fn restrict(rings: impl Iterator<Item = RawFd>) -> io::Result<()> {
    let calls = [IoringRegisterOp::RegisterSyncCancel, IoringRegisterOp::RegisterEnableRings];
    let mut allowed: Vec<Restriction> = OPERATIONS.iter().map(|code| Restriction::sqe_op(*code)).collect();
    allowed.extend(calls.map(|call| Restriction::register_op(call as u8)));
    allowed.push(Restriction::sqe_flags_allowed(u8::MAX));
    let mut refused = io::Error::other("the ring was not found");
    for ring in rings {
        let call = |call, argument: *const c_void, count: usize| {
            // SAFETY: what is passed is an array of as many entries of the kernel's form (`Restriction` is transparent) as `count` says,
            // which lives for the call. A descriptor that is no ring, closed, or enabled already is an error.
            unsafe { io_uring_register(BorrowedFd::borrow_raw(ring), call, argument, count as u32) }
        };
        let restricted = call(IoringRegisterOp::RegisterRestrictions, allowed.as_ptr().cast(), allowed.len())
            .and_then(|_| call(IoringRegisterOp::RegisterEnableRings, std::ptr::null(), 0));
        match restricted {
            Ok(_) => return Ok(()),
            Err(error) => refused = error.into(),
        }
    }
    Err(refused)
}

/// Reads the byte that has arrived at `reader`.
async fn try_read(reader: StdStream) -> io::Result<()> {
    let mut reader = UnixStream::from_std(reader)?;
    let reading = reader.read(vec![0; 1]);
    match monoio::time::timeout(TRIAL, reading).await {
        Ok((Ok(1), _)) => Ok(()),
        Ok((Ok(_), _)) => Err(io::Error::other("a read of a new ring found nothing")),
        Ok((Err(error), _)) => Err(error),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "a read of a new ring did not complete")),
    }
}

/// Runs `work` to its end on this thread, on a runtime of its own.
///
/// # Errors
/// See [`Runtime::new`].
pub fn block_on<F: Future>(backend: Driver, work: F) -> io::Result<F::Output> {
    Ok(Runtime::new(backend)?.block_on(work))
}

/// Runs a task of its own on this worker, detached. A panic in it unwinds out of `block_on`, and so ends the worker: where
/// input could cause one, the task catches it.
pub fn spawn(work: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(work));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_was_tried_runs() {
        for backend in [detect().unwrap_or(Driver::Epoll), Driver::Epoll] {
            let runtime = Runtime::new(backend).unwrap();
            assert_eq!(runtime.block_on(async { 7 }), 7, "{backend:?}");
        }
    }

    #[test]
    fn a_ring_opens_no_file() {
        let Ok(backend) = detect() else { return };
        let opened = block_on(backend, monoio::fs::File::open("/dev/null")).unwrap();
        assert_eq!(opened.map(drop).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
