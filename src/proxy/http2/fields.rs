//! Field lists that are used again from message to message.

use std::cell::RefCell;

use crate::http2::FieldList;

/// Lists that a worker keeps, and the bytes of text that a kept one may have.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 8 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<FieldList>> = const { RefCell::new(Vec::new()) };
}

/// An empty list.
pub(super) fn take() -> FieldList {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps a list for the next message.
pub(super) fn give(mut list: FieldList) {
    list.shrink(KEPT_BYTES);
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < KEPT {
            spare.push(list);
        }
    });
}
