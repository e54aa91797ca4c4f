//! What was sent of a request's body, for as long as it may have to be sent again: to another connection of HTTP/2, as the
//! backend of this one says that it has not processed the request.

use std::cell::RefCell;

use super::body::Part;
use crate::base::limits::{HTTP2_HELD_BYTES, MAX_REPEATED_BYTES};
use crate::io::Buffer;
use crate::io::buffer::{self, Use};
use crate::proxy::head_buffers::HeadBuffers;

/// A body that was not at hand when its request was sent. Nothing of it, where more passed by than is kept.
#[derive(Debug, Default)]
pub(crate) struct HeldUpload(RefCell<Option<Held>>);

/// Bytes that count as if they were in a buffer.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    counted: usize,
}

impl Held {
    fn count(&mut self, now: usize) {
        buffer::hold_beside(self.counted, now);
        self.counted = now;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl HeldUpload {
    /// The first part was sent. `memory` is where all are kept.
    pub(crate) fn begin(&self, first: &[u8], memory: Vec<u8>) {
        self.0.replace(Some(Held { bytes: memory, counted: 0 }));
        self.add(first);
    }

    /// Whether what passes by is kept.
    pub(crate) fn is_held(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Another part is sent.
    pub(crate) fn add(&self, data: &[u8]) {
        let mut kept = self.0.borrow_mut();
        let Some(held) = &mut *kept else { return };
        let length = held.bytes.len() + data.len();
        let fits = length <= MAX_REPEATED_BYTES as usize
            || length <= HTTP2_HELD_BYTES && buffer::in_use() == Use::Low;
        if fits {
            held.bytes.extend_from_slice(data);
            held.count(length);
        } else {
            *kept = None;
        }
    }

    /// It will not be sent again.
    pub(crate) fn release(&self, memory: &HeadBuffers) {
        if let Some(mut held) = self.0.take() {
            memory.give(std::mem::take(&mut held.bytes));
        }
    }

    /// What was sent of the body as it would be had it been at hand, in front of what its client has sent behind it. `done`: that
    /// is all of it. `None`: it was not kept.
    pub(crate) fn restore(&self, rest: &Buffer, done: bool) -> Option<(Part, Buffer)> {
        let held = self.0.take().filter(|_| rest.raw_len() == 0)?;
        let mut buffer = Buffer::small();
        let fits = buffer.reserve(held.bytes.len() + rest.len()) && buffer.append(&held.bytes);
        let part = Part::all(&buffer, 0, done);
        (fits && buffer.append(rest.data())).then_some((part, buffer))
    }
}
