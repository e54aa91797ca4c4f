//! The runtime of a worker's thread: io_uring with the flags that the kernel has, or epoll.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use monoio::io::AsyncReadRent as _;
use monoio::net::UnixStream;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

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
        let builder = RuntimeBuilder::<IoUringDriver>::new().uring_builder(backend.flags());
        let mut runtime = builder.with_entries(ENTRIES).enable_timer().build()?;
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
}
