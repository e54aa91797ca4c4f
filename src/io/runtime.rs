//! The runtime of a worker's thread: io_uring with the flags that the kernel has, or epoll.

use std::future::Future;
use std::io;

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use super::cancel;

/// Entries of a worker's submission queue.
const ENTRIES: u32 = 4096;

/// What a worker's runtime is driven by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring with SINGLE_ISSUER, COOP_TASKRUN and DEFER_TASKRUN (Linux 6.1).
    UringDeferred,
    /// io_uring with COOP_TASKRUN (Linux 5.19).
    UringCooperative,
    /// io_uring without flags.
    Uring,
    /// epoll.
    Epoll,
}

impl Backend {
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

/// The best io_uring backend that this machine allows, or why it allows none.
pub fn detect() -> io::Result<Backend> {
    let mut refused = io::Error::other("io_uring was not tried");
    for backend in [Backend::UringDeferred, Backend::UringCooperative, Backend::Uring] {
        match backend.flags().build(8) {
            Ok(_) => return Ok(backend),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Runs `work` to its end on this thread.
///
/// # Errors
/// The ring or the epoll instance could not be made (`RLIMIT_NOFILE`, `RLIMIT_MEMLOCK`).
pub fn block_on<F: Future>(backend: Backend, work: F) -> io::Result<F::Output> {
    if backend == Backend::Epoll {
        let mut runtime: monoio::Runtime<TimeDriver<LegacyDriver>> =
            RuntimeBuilder::<LegacyDriver>::new().with_entries(ENTRIES).enable_timer().build()?;
        return Ok(runtime.block_on(work));
    }
    let builder = RuntimeBuilder::<IoUringDriver>::new().uring_builder(backend.flags());
    let builder = builder.with_entries(ENTRIES).enable_timer();
    let mut runtime: monoio::Runtime<TimeDriver<IoUringDriver>> = builder.build()?;
    cancel::find_ring();
    let result = runtime.block_on(work);
    cancel::forget_ring();
    Ok(result)
}

/// Runs a task of its own on this worker, detached. A panic ends the task alone.
pub fn spawn(work: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(work));
}
