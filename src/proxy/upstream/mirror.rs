//! Where copies of an upstream's requests go, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::limits::MIRRORED_AT_ONCE;

/// `upstream.mirror` as workers see it.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    /// The name of the upstream that gets the copies.
    pub(crate) upstream: String,
    /// How many of the requests, in millionths.
    pub(crate) millionths: u32,
    /// They outlive a reload.
    pub(crate) counts: Arc<MirrorCounts>,
}

/// Copies of an upstream's requests, over all workers.
#[derive(Debug, Default)]
pub(crate) struct MirrorCounts {
    /// Copies that got a response.
    pub(crate) sent: AtomicU64,
    /// Copies that got none.
    pub(crate) failed: AtomicU64,
    /// Copies that are held or under way.
    pub(crate) in_flight: AtomicU64,
    skipped: [AtomicU64; 5],
}

/// Why a request has no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Its body is longer than what is held for this.
    BodyTooLong,
    /// Its body did not arrive whole.
    Incomplete,
    /// As many copies are under way as may be.
    Busy,
    /// Buffers take three quarters of `limits.buffer_memory`.
    MemoryShort,
    /// It asks for a change of protocol.
    Upgrade,
}

impl Skipped {
    pub(crate) const ALL: [Self; 5] =
        [Self::BodyTooLong, Self::Incomplete, Self::Busy, Self::MemoryShort, Self::Upgrade];

    /// Its label in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BodyTooLong => "body_too_long",
            Self::Incomplete => "incomplete",
            Self::Busy => "busy",
            Self::MemoryShort => "memory",
            Self::Upgrade => "upgrade",
        }
    }
}

/// One copy that is held or under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct CopyInFlight(Arc<MirrorCounts>);

impl Mirror {
    /// Whether the request whose random number is `point` has a copy. Another part of the number decides than on the
    /// upstream of a split.
    pub(crate) fn covers(&self, point: u64) -> bool {
        let mixed = (point ^ point >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let place = (u128::from(mixed) * 1_000_000) >> 64;
        place < u128::from(self.millionths)
    }
}

impl MirrorCounts {
    /// Counts one more copy; `None`: there are as many as may be.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<CopyInFlight> {
        let more = |count| (count < MIRRORED_AT_ONCE).then_some(count + 1);
        self.in_flight.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(CopyInFlight(Arc::clone(self)))
    }

    /// Counts a request without a copy.
    pub(crate) fn skip(&self, reason: Skipped) {
        self.skipped[reason as usize].fetch_add(1, Relaxed);
    }

    /// Requests without a copy for this reason.
    pub(crate) fn skipped(&self, reason: Skipped) -> u64 {
        self.skipped[reason as usize].load(Relaxed)
    }
}

impl Drop for CopyInFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(millionths: u32) -> usize {
        let mirror = Mirror { upstream: String::new(), millionths, counts: Arc::default() };
        (0..100_000_u64).filter(|number| mirror.covers(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))).count()
    }

    #[test]
    fn the_share_is_kept() {
        assert_eq!((covered(0), covered(1_000_000)), (0, 100_000));
        assert!((4_700..5_300).contains(&covered(50_000)), "{}", covered(50_000));
        assert!((80..320).contains(&covered(2_000)), "{}", covered(2_000));
    }

    #[test]
    fn copies_are_bounded() {
        let counts = Arc::new(MirrorCounts::default());
        let all: Vec<_> = (0..MIRRORED_AT_ONCE).map_while(|_| counts.begin()).collect();
        assert_eq!(all.len() as u64, MIRRORED_AT_ONCE);
        assert!(counts.begin().is_none());
        drop(all);
        assert!(counts.begin().is_some());
    }
}
