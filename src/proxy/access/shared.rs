//! What workers, the access log's writer and the control thread share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

/// What workers, the writer and the control thread share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) thread: OnceLock<Thread>,
    /// Lines that the writer could not write and no worker has counted yet.
    pub(crate) lost: AtomicU64,
    pub(crate) reopen: AtomicBool,
    pub(crate) stop: AtomicBool,
}

impl Shared {
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(crate) fn take_lost(&self) -> u64 {
        if self.lost.load(Ordering::Relaxed) == 0 { 0 } else { self.lost.swap(0, Ordering::Relaxed) }
    }
}
