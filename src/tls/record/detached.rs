//! A connection's halves on their way to another thread.

use std::rc::Rc;

use super::{Opener, ReadState, Sealer, Shared};
use crate::tls::cipher::Direction;

/// Both halves of a connection without the cell that they share, so that another thread can have them: see [`detach`].
pub(crate) struct Detached {
    opener: Direction,
    message: Vec<u8>,
    barren: u8,
    renegotiation: bool,
    sealer: Direction,
    limit: u64,
    shared: Shared,
}

const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Detached>();
};

/// Takes the two halves of one connection out of their thread. `None`: they are not of one connection, one of them is
/// closed or has failed, or a record is due that has not been sent.
pub(crate) fn detach(opener: Opener, sealer: Sealer) -> Option<Detached> {
    let usable = matches!(opener.state, ReadState::Open) && !sealer.closed && !sealer.has_pending();
    let Opener { direction, shared, message, barren, renegotiation, .. } = opener;
    let Sealer { direction: sealing, shared: other, limit, .. } = sealer;
    drop(shared);
    let shared = Rc::into_inner(other).filter(|_| usable)?;
    Some(Detached { opener: direction, message, barren, renegotiation, sealer: sealing, limit, shared })
}

impl Detached {
    /// The two halves again, in the thread that calls this.
    pub(crate) fn attach(self) -> (Opener, Sealer) {
        let shared = Rc::new(self.shared);
        let opener = Opener {
            direction: self.opener,
            shared: Rc::clone(&shared),
            message: self.message,
            barren: self.barren,
            state: ReadState::Open,
            renegotiation: self.renegotiation,
        };
        (opener, Sealer { direction: self.sealer, shared, limit: self.limit, closed: false })
    }
}

impl std::fmt::Debug for Detached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detached").field("layout", &self.sealer.layout).finish_non_exhaustive()
    }
}
