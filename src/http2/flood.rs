//! Bounds against peers that make work without use.
//!
//! Each kind of frame may be received so often within a window of time, and so often more for each useful frame in it: a busy
//! connection is allowed what a silent one is not.

use super::error::{Flood, Violation};
use crate::base::limits;

/// A bound for one kind within the window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimit {
    /// So many in any case.
    pub base: u32,
    /// So many more for each useful frame: DATA with content, or a head. Of resets: for each response that was sent whole.
    pub per_use: u32,
}

/// The bounds of a connection. Their reasons are in `src/base/limits.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floods {
    /// The window of time, in the unit of the connection's clock.
    pub window: u64,
    /// [`Flood::ResetsReceived`]. Of servers only: a client opens its streams itself.
    pub resets_received: FloodLimit,
    /// [`Flood::ResetsProvoked`]
    pub resets_provoked: FloodLimit,
    /// [`Flood::StreamsRefused`]
    pub streams_refused: FloodLimit,
    /// [`Flood::Settings`]
    pub settings: FloodLimit,
    /// [`Flood::Pings`]
    pub pings: FloodLimit,
    /// [`Flood::EmptyData`]
    pub empty_data: FloodLimit,
    /// [`Flood::WindowUpdates`]
    pub window_updates: FloodLimit,
    /// [`Flood::Priorities`]
    pub priorities: FloodLimit,
    /// [`Flood::ClosedStreams`]
    pub closed_streams: FloodLimit,
    /// [`Flood::UnknownFrames`]
    pub unknown_frames: FloodLimit,
    /// [`Flood::HeadsTooLarge`]
    pub heads_too_large: FloodLimit,
    /// [`Flood::Table`]
    pub table: FloodLimit,
    /// [`Flood::Continuations`]: frames of one header block.
    pub continuations: u32,
}

impl Default for Floods {
    fn default() -> Self {
        let limit = |(base, per_use)| FloodLimit { base, per_use };
        Self {
            window: limits::HTTP2_FLOOD_WINDOW.as_millis() as u64,
            resets_received: limit(limits::HTTP2_RESETS_RECEIVED),
            resets_provoked: limit(limits::HTTP2_RESETS_PROVOKED),
            streams_refused: limit(limits::HTTP2_STREAMS_REFUSED),
            settings: limit(limits::HTTP2_SETTINGS),
            pings: limit(limits::HTTP2_PINGS),
            empty_data: limit(limits::HTTP2_EMPTY_DATA),
            window_updates: limit(limits::HTTP2_WINDOW_UPDATES),
            priorities: limit(limits::HTTP2_PRIORITIES),
            closed_streams: limit(limits::HTTP2_CLOSED_STREAMS),
            unknown_frames: limit(limits::HTTP2_UNKNOWN_FRAMES),
            heads_too_large: limit(limits::HTTP2_HEADS_TOO_LARGE),
            table: limit(limits::HTTP2_TABLE_EVICTIONS),
            continuations: limits::HTTP2_CONTINUATIONS,
        }
    }
}

impl Floods {
    fn limit(&self, flood: Flood) -> FloodLimit {
        match flood {
            Flood::ResetsReceived => self.resets_received,
            Flood::ResetsProvoked => self.resets_provoked,
            Flood::StreamsRefused => self.streams_refused,
            Flood::Settings => self.settings,
            Flood::Pings => self.pings,
            Flood::EmptyData => self.empty_data,
            Flood::WindowUpdates => self.window_updates,
            Flood::Priorities => self.priorities,
            Flood::ClosedStreams => self.closed_streams,
            Flood::UnknownFrames => self.unknown_frames,
            Flood::HeadsTooLarge => self.heads_too_large,
            Flood::Table => self.table,
            // Counted for each header block, not within the window.
            Flood::Continuations | Flood::HeaderBlock => FloodLimit { base: 0, per_use: 0 },
        }
    }
}

/// Kinds that are counted within the window: those before [`Flood::Continuations`].
const COUNTED: usize = Flood::Continuations as usize;

/// What one connection counted since the beginning of its window of time.
#[derive(Debug, Default)]
pub(super) struct FloodGuard {
    since: u64,
    uses: u32,
    responses: u32,
    counts: [u32; COUNTED],
}

impl FloodGuard {
    /// Begins a new window of time if the last one is over.
    #[inline]
    pub(super) fn advance(&mut self, now: u64, floods: &Floods) {
        if now.saturating_sub(self.since) >= floods.window {
            *self = Self { since: now, ..Self::default() };
        }
    }

    /// A useful frame was received or sent.
    #[inline]
    pub(super) fn useful(&mut self) {
        self.uses = self.uses.saturating_add(1);
    }

    /// A response was sent whole.
    pub(super) fn response(&mut self) {
        self.responses = self.responses.saturating_add(1);
    }

    /// Counts one of a kind.
    ///
    /// # Errors
    /// Its bound is passed.
    #[inline]
    pub(super) fn count(&mut self, flood: Flood, floods: &Floods) -> Result<(), Violation> {
        self.count_all(flood, 1, floods)
    }

    /// Counts several of a kind.
    ///
    /// # Errors
    /// Its bound is passed.
    #[inline]
    pub(super) fn count_all(&mut self, flood: Flood, more: u32, floods: &Floods) -> Result<(), Violation> {
        let Some(count) = self.counts.get_mut(flood as usize) else { return Ok(()) };
        *count = count.saturating_add(more);
        let limit = floods.limit(flood);
        let uses = if flood == Flood::ResetsReceived { self.responses } else { self.uses };
        let most = limit.base.saturating_add(limit.per_use.saturating_mul(uses));
        if *count > most { Err(Violation::Flood(flood)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_connection_has_no_bound_but_that_of_its_use() {
        // A fast download: several updates for each frame of content that was sent.
        let (mut guard, floods) = (FloodGuard::default(), Floods::default());
        for _ in 0..100_000 {
            guard.useful();
            for _ in 0..8 {
                guard.count(Flood::WindowUpdates, &floods).unwrap();
            }
        }
    }

    #[test]
    fn a_bound_holds_within_its_window_and_grows_with_use() {
        let floods = Floods { pings: FloodLimit { base: 2, per_use: 3 }, window: 10, ..Floods::default() };
        let mut guard = FloodGuard::default();
        let ping = |guard: &mut FloodGuard| guard.count(Flood::Pings, &floods).is_ok();
        guard.advance(100, &floods);
        assert!(ping(&mut guard) && ping(&mut guard) && !ping(&mut guard));
        guard.advance(109, &floods);
        assert!(!ping(&mut guard));
        guard.useful();
        assert!(ping(&mut guard) && !ping(&mut guard));
        guard.advance(110, &floods);
        assert!(ping(&mut guard) && ping(&mut guard) && !ping(&mut guard));
        assert!(guard.count(Flood::Settings, &floods).is_ok());
    }
}
