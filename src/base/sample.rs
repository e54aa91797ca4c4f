//! Which log lines are written where peers can cause any number of them: a few at once, then one a second with the
//! number of those left out. Counters have every event.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustc_hash::FxHasher;

/// Nanoseconds between two lines of one kind and name, once its burst is used up.
const INTERVAL: u64 = 1_000_000_000;

/// What a line reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A connection could not be accepted.
    Accept,
    /// A TLS handshake with a client failed.
    ClientHandshake,
    /// A connection began with no valid PROXY header.
    ProxyHeader,
    /// A client named a server that no route has.
    ServerName,
    /// A backend could not be connected to, or ended its TLS connection.
    Connect,
    /// An exchange or a relay failed.
    Exchange,
    /// Spans were not taken by their collector.
    Traces,
    /// A connection's task panicked.
    Panic,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "connections that could not be accepted",
            Self::ClientHandshake => "failed TLS handshakes with clients",
            Self::ProxyHeader => "connections without a valid PROXY header",
            Self::ServerName => "server names without a route",
            Self::Connect => "failures of backend connections",
            Self::Exchange => "failed exchanges",
            Self::Traces => "batches of spans that were dropped",
            Self::Panic => "panics",
        })
    }
}

impl Kind {
    /// Lines that may be written at once.
    fn burst(self) -> u64 {
        match self {
            // It is the same reason each time: descriptors are used up.
            Self::Accept => 1,
            Self::Panic => 4,
            _ => 10,
        }
    }
}

/// How many lines of a kind and name were left out since the last one. Its text goes behind the line's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut(pub u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " ({n} more like this were not logged)"),
        }
    }
}

/// Whether a line of this kind is written now. `name` is of the config, such as a listener's: no peer may choose it.
/// Names are distinguished by their hash; two with the same hash share their lines.
pub(crate) fn next(kind: Kind, name: &str) -> Option<LeftOut> {
    let mut hasher = FxHasher::default();
    (kind, name).hash(&mut hasher);
    // The upper bits are the well mixed ones.
    let place = &PLACES[(hasher.finish() >> 56) as usize];
    let written = place.next(now(), kind.burst());
    if written.is_none() {
        place.first.get_or_init(|| (kind, name.into()));
    }
    written
}

/// Logs how many lines were left out of floods that have ended since. To be called now and then.
pub(crate) fn report() {
    for place in &PLACES {
        let Some((kind, name)) = place.first.get() else { continue };
        if place.left_out.load(Ordering::Relaxed) == 0 {
            continue;
        }
        if let Some(LeftOut(n)) = place.take(now(), kind.burst()) {
            match kind {
                Kind::ClientHandshake | Kind::ProxyHeader | Kind::ServerName => {
                    tracing::info!("{kind}, {name}: {n} more were not logged");
                }
                _ => tracing::warn!("{kind}, {name}: {n} more were not logged"),
            }
        }
    }
}

static PLACES: [Place; 256] = [const { Place::new() }; 256];

/// Nanoseconds since the first call.
fn now() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// A line of a [`Kind`]: at its level if [`next`] gives it leave, else at debug, where every one is shown.
macro_rules! sampled {
    ($level:ident, $kind:ident of $name:expr, {$($fields:tt)*}, $($text:tt)+) => {
        match $crate::base::sample::next($crate::base::sample::Kind::$kind, $name) {
            Some(left_out) => tracing::$level!($($fields)* "{}{left_out}", format_args!($($text)+)),
            None => tracing::debug!($($fields)* "{}", format_args!($($text)+)),
        }
    };
}
pub(crate) use sampled;

/// A token bucket as the time at which it will be full again (GCRA), in nanoseconds.
struct Place {
    full: AtomicU64,
    left_out: AtomicU64,
    /// Which line was the first that it left out.
    first: OnceLock<(Kind, Box<str>)>,
}

impl Place {
    const fn new() -> Self {
        Self { full: AtomicU64::new(0), left_out: AtomicU64::new(0), first: OnceLock::new() }
    }

    fn next(&self, now: u64, burst: u64) -> Option<LeftOut> {
        let written = self.take(now, burst);
        if written.is_none() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    /// Leave for a line, which has the number of those left out before it.
    fn take(&self, now: u64, burst: u64) -> Option<LeftOut> {
        let taken = self.full.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
            let full = full.max(now) + INTERVAL;
            (full <= now + burst * INTERVAL).then_some(full)
        });
        taken.ok().map(|_| LeftOut(self.left_out.swap(0, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_burst_and_then_a_line_a_second_that_counts_the_others() {
        let place = Place::new();
        let mut lines = Vec::new();
        // 100 events a second for three seconds.
        for event in 0..300 {
            lines.extend(place.next(event * INTERVAL / 100, 5).map(|left_out| left_out.0));
        }
        assert_eq!(lines, [0, 0, 0, 0, 0, 95, 99]);
        // What comes after a silence is written at once again.
        let later: Vec<_> = (0..6).filter_map(|event| place.next(100 * INTERVAL + event, 5)).collect();
        assert_eq!(later, [99, 0, 0, 0, 0].map(LeftOut));
    }

    #[test]
    fn every_line_is_written_or_counted() {
        let place = Place::new();
        let counted = |events: std::ops::Range<u64>| -> u64 {
            events.filter_map(|event| place.next(event * 1_000_000, 1)).map(|left_out| 1 + left_out.0).sum()
        };
        let before_the_last = counted(0..5001);
        assert_eq!(before_the_last, 5001);
    }

    #[test]
    fn what_was_left_out_is_said_only_if_something_was() {
        assert_eq!(LeftOut(0).to_string(), "");
        assert_eq!(LeftOut(7).to_string(), " (7 more like this were not logged)");
    }
}
