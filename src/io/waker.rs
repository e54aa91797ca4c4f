//! Wakers that are kept from one poll to the next.

use std::ptr;
use std::task::Waker;

/// A task's waker, kept until it is woken. [`Waker::will_wake`] compares the functions of the waker that a poll brings with
/// those of its clone; with monoio's, each of which is generic, these lie at two addresses more often than not, and a
/// waker would be cloned and dropped on each poll. This remembers the one that was cloned.
#[derive(Debug)]
pub(super) struct Kept {
    waker: Waker,
    of: [usize; 2],
}

impl Kept {
    pub(super) fn new(waker: &Waker) -> Self {
        Self { waker: waker.clone(), of: parts(waker) }
    }

    /// Whether it is this one: its task lives for as long as a clone does, so nothing else can be at its place.
    pub(super) fn is(&self, waker: &Waker) -> bool {
        self.of == parts(waker)
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// The addresses of a waker's parts.
fn parts(waker: &Waker) -> [usize; 2] {
    [waker.data().addr(), ptr::from_ref(waker.vtable()).addr()]
}
