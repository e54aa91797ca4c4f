//! What becomes of a client connection after an exchange.

/// What a client connection does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// It waits for a request, silent for now.
    Idle,
    /// It ends, in order.
    Close,
    /// It ends, in order, although the client may still be sending.
    Linger,
    /// It ends at once: its response is cut, and must be recognisable as cut.
    Abort,
}

/// Whether a response that begins now is the last of its client's connection; it is given how to learn whether more of
/// the client's requests have arrived.
pub(crate) type IsLast<'a> = &'a dyn Fn(&dyn Fn() -> bool) -> bool;
