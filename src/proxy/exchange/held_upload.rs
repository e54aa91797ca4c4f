//! What was sent of a request's body, for as long as it may have to be sent again: to another connection of HTTP/2, as the
//! backend of this one says that it has not processed the request.

use std::cell::RefCell;

use super::body::Part;
use crate::base::limits::MAX_REPEATED_BYTES;
use crate::io::Buffer;
use crate::proxy::worker::HeadBuffers;

/// A body that was not at hand when its request was sent. Nothing of it, where more passed by than is kept.
#[derive(Debug, Default)]
pub(crate) struct HeldUpload(RefCell<Option<Vec<u8>>>);

impl HeldUpload {
    /// The first part was sent. `memory` is where all are kept.
    pub(crate) fn begin(&self, first: &[u8], memory: Vec<u8>) {
        self.0.replace(Some(memory));
        self.add(first);
    }

    /// Whether what passes by is kept.
    pub(crate) fn is_held(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Another part is sent.
    pub(crate) fn add(&self, data: &[u8]) {
        let mut held = self.0.borrow_mut();
        let Some(bytes) = &mut *held else { return };
        if bytes.len() + data.len() <= MAX_REPEATED_BYTES as usize {
            bytes.extend_from_slice(data);
        } else {
            *held = None;
        }
    }

    /// It will not be sent again.
    pub(crate) fn release(&self, memory: &HeadBuffers) {
        if let Some(bytes) = self.0.take() {
            memory.give(bytes);
        }
    }

    /// What was sent of the body as it would be had it been at hand, in front of what its client has sent behind it. `done`: that
    /// is all of it. `None`: it was not kept.
    pub(crate) fn restore(&self, rest: &Buffer, done: bool) -> Option<(Part, Buffer)> {
        let bytes = self.0.take().filter(|_| rest.raw_len() == 0)?;
        let mut buffer = Buffer::small();
        let fits = buffer.reserve(bytes.len() + rest.len()) && buffer.append(&bytes);
        let part = Part::all(&buffer, 0, done);
        (fits && buffer.append(rest.data())).then_some((part, buffer))
    }
}
