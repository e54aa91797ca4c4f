//! Request ids: what a request is called in logs and towards backends.

use std::cell::Cell;

use data_encoding::HEXLOWER;

use crate::base::limits::MAX_REQUEST_ID_BYTES;
use crate::http::RequestHead;

/// 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The id of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestId {
    digits: [u8; 32],
    /// A fraction of 2⁶⁴: over any row of ids they are spread evenly (the golden ratio's multiples are), so that
    /// shares of a split hold without a cursor.
    pub(crate) point: u64,
}

impl RequestId {
    /// 32 hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits).unwrap_or_default()
    }
}

/// Request ids: 32 hexadecimal digits, the worker's own start and a count.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Of the worker's start.
    digits: [u8; 16],
    /// The same number, turned: what the count is mixed with.
    turned: u64,
    count: Cell<u64>,
}

impl RequestIds {
    /// Ids that begin with `worker`.
    pub(crate) fn new(worker: u64) -> Self {
        let (digits, turned) = (hex(worker), worker.rotate_left(32));
        Self { digits, turned, count: Cell::new(0) }
    }

    /// The next id.
    pub(crate) fn next(&self) -> RequestId {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        // Spread over all digits, so that ids of one worker differ in each; a bijection, so none repeats.
        let point = count.wrapping_mul(GOLDEN);
        let mut digits = [0; 32];
        digits[..16].copy_from_slice(&self.digits);
        digits[16..].copy_from_slice(&hex(point ^ self.turned));
        RequestId { digits, point }
    }
}

fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    HEXLOWER.encode_mut(&number.to_be_bytes(), &mut digits);
    digits
}

/// The id that a trusted client gave its request: one field, and nothing that a page or a log would stumble over.
pub(crate) fn given_id<'b>(head: &RequestHead<'_, 'b>) -> Option<&'b str> {
    let mut all = head.fields.all("x-request-id");
    let id = all.next().filter(|_| all.next().is_none())?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(byte);
    let good = !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.iter().all(plain);
    std::str::from_utf8(id).ok().filter(|_| good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_do_not_repeat() {
        let ids = RequestIds::new(0x0123_4567_89ab_cdef);
        let all: std::collections::HashSet<_> = (0..1000).map(|_| ids.next().as_str().to_owned()).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|id| id.starts_with("0123456789abcdef")));
    }
}
