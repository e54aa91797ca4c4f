//! Whether the machine's clock can be trusted with a decision that lasts.
//!
//! A clock that is far ahead for a moment makes certificates seem expired, and what is generated then is valid only from
//! that moment on: peers refuse it when the clock is right again.

use std::time::{Duration, Instant, SystemTime};

/// How far the wall clock and the monotonic clock may move apart between two readings.
const TOLERANCE: Duration = Duration::from_secs(5);
/// How long they must agree after a step, or before a certificate is believed to have expired.
const SETTLE: Duration = Duration::from_secs(600);

/// Readings of both clocks.
#[derive(Debug)]
pub(super) struct Steady {
    started: Instant,
    last: (Instant, SystemTime),
    stepped: Option<Instant>,
}

impl Default for Steady {
    fn default() -> Self {
        Self::new(Instant::now(), SystemTime::now())
    }
}

impl Steady {
    fn new(at: Instant, wall: SystemTime) -> Self {
        Self { started: at, last: (at, wall), stepped: None }
    }

    /// Notes a reading. True: the wall clock was set since the one before, or the machine slept.
    pub(super) fn read(&mut self, at: Instant, wall: SystemTime) -> bool {
        let (at_before, wall_before) = std::mem::replace(&mut self.last, (at, wall));
        let passed = at.saturating_duration_since(at_before);
        let expected = wall_before + passed;
        let apart = match wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        let stepped = apart > TOLERANCE;
        if stepped {
            self.stepped = Some(at);
        }
        stepped
    }

    /// Whether the clocks have agreed for long enough, as of the last reading, to make a successor of a certificate that
    /// has `expired` by the wall clock, or has not. One that has is a sign of a clock that was wrong from the start.
    pub(super) fn is_settled(&self, expired: bool) -> bool {
        let since = self.stepped.or(expired.then_some(self.started));
        since.is_none_or(|since| self.last.0.saturating_duration_since(since) >= SETTLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const YEARS: Duration = Duration::from_secs(730 * 86_400);

    #[test]
    fn a_step_in_either_direction_settles_after_ten_minutes_without_another() {
        let (mut at, mut wall) = (Instant::now(), SystemTime::now());
        let mut clock = Steady::new(at, wall);
        assert!(clock.is_settled(false));
        for step in ["ahead", "back"] {
            at += SECOND;
            wall = if step == "ahead" { wall + YEARS } else { wall - YEARS };
            assert!(clock.read(at, wall), "{step}");
            assert!(!clock.is_settled(false) && !clock.is_settled(true), "{step}");
            for _ in 0..8 {
                (at, wall) = (at + SECOND, wall + SECOND);
                assert!(!clock.read(at, wall));
                assert!(!clock.is_settled(false));
            }
        }
        // A reading that is late is no step.
        (at, wall) = (at + SETTLE, wall + SETTLE);
        assert!(!clock.read(at, wall));
        assert!(clock.is_settled(false) && clock.is_settled(true));
    }

    #[test]
    fn an_expired_certificate_at_the_start_is_believed_after_ten_minutes() {
        let (at, wall) = (Instant::now(), SystemTime::now());
        let mut clock = Steady::new(at, wall);
        assert!(clock.is_settled(false) && !clock.is_settled(true));
        clock.read(at + SETTLE, wall + SETTLE + SECOND);
        assert!(clock.is_settled(true));
    }

    #[test]
    fn a_clock_before_1970_is_read() {
        let (at, wall) = (Instant::now(), std::time::UNIX_EPOCH - YEARS);
        let mut clock = Steady::new(at, wall);
        assert!(!clock.read(at + SECOND, wall + SECOND));
        assert!(clock.read(at + SECOND, SystemTime::now()));
    }
}
