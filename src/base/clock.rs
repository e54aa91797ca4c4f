//! The clock that all threads share: milliseconds since it was first asked.

use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since the first call in this process. They never go back.
pub(crate) fn millis() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_millis() as u64
}
