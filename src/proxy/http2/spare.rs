//! Bytes in memory that serves again: content and trailers that wait, on one stream after another.

use std::cell::RefCell;

/// Pieces of memory that a worker keeps, and the bytes of a kept one.
const KEPT: usize = 128;
const KEPT_BYTES: usize = 16 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that hold no memory while there are none.
#[derive(Debug, Default)]
pub(crate) struct SpareBytes(Vec<u8>);

impl SpareBytes {
    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// To append to them.
    pub(crate) fn appendable(&mut self) -> &mut Vec<u8> {
        if self.0.capacity() == 0 {
            self.0 = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        &mut self.0
    }

    /// Gives all of them up, and the memory with them.
    pub(crate) fn clear(&mut self) {
        let mut memory = std::mem::take(&mut self.0);
        if memory.capacity() == 0 || memory.capacity() > KEPT_BYTES {
            return;
        }
        memory.clear();
        // A worker that ends keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push(memory);
            }
        });
    }
}

impl Drop for SpareBytes {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_serves_again_unless_it_is_large() {
        let mut bytes = SpareBytes::default();
        bytes.appendable().extend_from_slice(b"some");
        let place = bytes.as_slice().as_ptr();
        bytes.clear();
        assert_eq!(bytes.0.capacity(), 0);
        let mut other = SpareBytes::default();
        other.appendable().extend_from_slice(b"more");
        assert_eq!((other.as_slice(), other.as_slice().as_ptr()), (&b"more"[..], place));
        other.appendable().extend_from_slice(&[0; KEPT_BYTES]);
        drop(other);
        assert_eq!(SPARE.with_borrow(Vec::len), 0);
    }
}
