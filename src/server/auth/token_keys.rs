//! The keys of one issuer in a running instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::auth::jwks::KeySet;
use crate::base::published::Published;

/// The cell that workers verify by, and what its watch must know.
#[derive(Clone, Debug)]
pub(crate) struct TokenKeys {
    /// `None`: they could not be had yet.
    pub(crate) cell: Published<Option<KeySet>>,
    /// A token named a key that is not there.
    pub(crate) wanted: Arc<AtomicBool>,
    /// How often they could not be had.
    pub(crate) failures: Arc<AtomicU64>,
}

impl TokenKeys {
    /// With these keys.
    pub(crate) fn new(keys: Option<KeySet>) -> Self {
        Self { cell: Published::new(keys), wanted: Arc::default(), failures: Arc::default() }
    }
}
