//! When a batch is sent again that the collector has not taken, and when the next one is sent. No I/O.
//!
//! The collector decides, by Retry-After (OTLP/HTTP, Throttling); without that, pauses grow with each failure. A batch waits for a
//! bounded time and is then given up, so that what is recorded meanwhile has its turn.

use std::time::{Duration, Instant, SystemTime};

use crate::base::limits::{TRACE_HELD, TRACE_REST};
use crate::server::verification::jittered;

/// How often a batch is sent at most.
const TRIES: u32 = 3;
/// The first pause that the collector does not decide on, and the longest. Each is twice as long as the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// See the module.
#[derive(Debug)]
pub(super) struct Pacing {
    /// What spreads the pauses of several processes.
    seed: u64,
    /// Failures since the collector has taken a batch.
    failures: u32,
    /// Until when nothing is sent.
    rest: Option<Instant>,
}

/// What a batch has gone through.
#[derive(Debug, Default)]
pub(super) struct Tries {
    count: u32,
    waited: Duration,
}

impl Pacing {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, failures: 0, rest: None }
    }

    /// Whether nothing is to be sent now.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rest.is_some_and(|until| now < until)
    }

    /// A batch was taken.
    pub(super) fn taken(&mut self) {
        (self.failures, self.rest) = (0, None);
    }

    /// A batch was not taken, for now: returns the pause before it is sent again. `asked` is what the collector asks for. `None`: it
    /// is given up, and the next one is sent after the pause.
    pub(super) fn failed(
        &mut self,
        tries: &mut Tries,
        asked: Option<Duration>,
        now: Instant,
    ) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let pause = match asked {
            Some(asked) => asked.clamp(PAUSES.0, TRACE_REST),
            None => self.own_pause(),
        };
        tries.count += 1;
        tries.waited = tries.waited.saturating_add(pause);
        self.rest = Some(now + pause);
        (tries.count < TRIES && tries.waited <= TRACE_HELD).then_some(pause)
    }

    fn own_pause(&self) -> Duration {
        let doubled = PAUSES.0.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        jittered(doubled.min(PAUSES.1), self.seed ^ u64::from(self.failures))
    }
}

/// The value of Retry-After (RFC 9110 §10.2.3), as the time from `now` on. `None`: it is none.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_grow_until_a_batch_is_taken() {
        let (mut pacing, now) = (Pacing::new(7), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let mut tries = Tries::default();
            let mut count = 1;
            while let Some(pause) = pacing.failed(&mut tries, None, now) {
                assert!(!pacing.rests(now + seconds(100)));
                pauses.push(pause);
                count += 1;
            }
            assert!(pacing.rests(now) && !pacing.rests(now + seconds(34)), "{pacing:?}");
            assert!(count <= TRIES && tries.waited <= TRACE_HELD + seconds(33), "{tries:?}");
        }
        for (pause, due) in pauses.iter().zip([500, 1000, 4000, 8000]) {
            let due = Duration::from_millis(due);
            assert!((due * 9 / 10..=due * 11 / 10).contains(pause), "{pauses:?}");
        }
        pacing.taken();
        assert!(!pacing.rests(now));
        let first = pacing.failed(&mut Tries::default(), None, now).unwrap();
        assert!(first < seconds(1), "{first:?}");
    }

    #[test]
    fn the_collectors_word_counts_within_bounds() {
        let now = Instant::now();
        let failed = |asked| {
            let (mut pacing, mut tries) = (Pacing::new(7), Tries::default());
            let pause = pacing.failed(&mut tries, Some(asked), now);
            (pause, pacing)
        };
        let (pause, pacing) = failed(seconds(5));
        assert_eq!(pause, Some(seconds(5)));
        assert!(pacing.rests(now + seconds(4)) && !pacing.rests(now + seconds(5)));
        assert_eq!(failed(Duration::ZERO).0, Some(PAUSES.0), "it is not flooded");
        let (pause, pacing) = failed(TRACE_HELD + seconds(1));
        assert_eq!(pause, None, "no batch is kept for so long");
        assert!(pacing.rests(now + TRACE_HELD) && !pacing.rests(now + TRACE_HELD + seconds(2)));
        let (_, pacing) = failed(Duration::MAX);
        assert!(pacing.rests(now + TRACE_REST - seconds(1)) && !pacing.rests(now + TRACE_REST));
    }

    #[test]
    fn retry_after_has_two_forms() {
        let now = SystemTime::UNIX_EPOCH + seconds(784_111_777);
        for (value, expected) in [
            ("120", Some(seconds(120))),
            (" 0 ", Some(seconds(0))),
            ("99999999999999999999999", Some(seconds(u64::MAX))),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(seconds(10))),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(seconds(0))),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }
}
