//! Memory for heads, paths and field lines, used again from message to message.

use std::cell::{Cell, RefCell};

/// Bytes that a buffer for a head begins with.
const HEAD_BYTES: usize = 2048;
/// Bytes of a buffer that is kept at most.
const MOST_HEAD_BYTES: usize = 64 * 1024;
/// Bytes of all buffers that are kept.
const FREE_BYTES: usize = 2 * 1024 * 1024;

/// Memory for heads on their way, used again from message to message. Each exchange holds one for its request, to its
/// end.
#[derive(Debug, Default)]
pub(crate) struct HeadBuffers {
    free: RefCell<Vec<Vec<u8>>>,
    /// Bytes of these.
    bytes: Cell<usize>,
}

impl HeadBuffers {
    /// An empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        let Some(head) = self.free.borrow_mut().pop() else { return Vec::with_capacity(HEAD_BYTES) };
        self.bytes.set(self.bytes.get() - head.capacity());
        head
    }

    /// Keeps a buffer for the next message. One that has grown far is not kept, nor are more than there is room for.
    pub(crate) fn give(&self, mut head: Vec<u8>) {
        let bytes = self.bytes.get() + head.capacity();
        if bytes <= FREE_BYTES && (1..=MOST_HEAD_BYTES).contains(&head.capacity()) {
            head.clear();
            self.bytes.set(bytes);
            self.free.borrow_mut().push(head);
        }
    }
}
