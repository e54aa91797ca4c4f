//! What must not change while a successor of this process begins: it has read the config and the store, and reads them once.

use std::sync::{MutexGuard, PoisonError};

use super::Deployment;
use crate::certs::consumers::ConsumerError;
use crate::server::rotation::RotationGuard;

/// See [`Deployment::freeze`].
pub(crate) struct Frozen<'a> {
    _changing: MutexGuard<'a, ()>,
    _moving: RotationGuard<'a>,
    _ordering: MutexGuard<'a, ()>,
}

impl Deployment {
    /// Nothing is published for as long as it is held, and consumers and credentials stay as they are.
    pub(crate) fn freeze(&self) -> Frozen<'_> {
        let (_changing, _moving) = (self.changing(), self.rotations.lock());
        Frozen { _changing, _moving, _ordering: self.ordering() }
    }

    /// The right to change consumers and credentials. Only the process whose workers check them has it.
    ///
    /// # Errors
    /// [`ConsumerError::Replaced`].
    pub(in crate::server) fn may_order(&self) -> Result<MutexGuard<'_, ()>, ConsumerError> {
        let guard = self.ordering();
        if self.server.is_replaced() { Err(ConsumerError::Replaced) } else { Ok(guard) }
    }

    fn ordering(&self) -> MutexGuard<'_, ()> {
        self.ordering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
