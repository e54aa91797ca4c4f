//! Request ids: what a request is called in logs and towards backends.

use std::cell::Cell;

use data_encoding::HEXLOWER;

use super::error_pages::ErrorFormat;

/// 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Request ids: 32 hexadecimal digits, the worker's own start and a count.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Of the worker's start.
    digits: [u8; 16],
    /// The same number, turned: what the count is mixed with.
    turned: u64,
    count: Cell<u64>,
    /// Of the request whose head is being looked at.
    pub(crate) wish: Cell<Option<ErrorFormat>>,
}

impl RequestIds {
    /// Ids that begin with `worker`.
    pub(crate) fn new(worker: u64) -> Self {
        let (digits, turned) = (hex(worker), worker.rotate_left(32));
        Self { digits, turned, count: Cell::new(0), wish: Cell::new(None) }
    }

    /// A fraction of 2⁶⁴ for the id that was given last: over any row of ids they are spread evenly (the golden
    /// ratio's multiples are), so that shares hold without a cursor.
    pub(crate) fn point(&self) -> u64 {
        self.count.get().wrapping_mul(GOLDEN)
    }

    /// The next id.
    pub(crate) fn next(&self) -> [u8; 32] {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        // Spread over all digits, so that ids of one worker don't look alike; a bijection, so none repeats.
        let low = hex(count.wrapping_mul(GOLDEN) ^ self.turned);
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.digits);
        id[16..].copy_from_slice(&low);
        id
    }
}

fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    HEXLOWER.encode_mut(&number.to_be_bytes(), &mut digits);
    digits
}

impl RequestIds {
    /// How the client of the head that was looked at last wants to be told of a failure, if that was understood.
    pub(crate) fn take_wish(&self) -> Option<ErrorFormat> {
        self.wish.take()
    }
}
