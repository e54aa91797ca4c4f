//! How long responses took, as one worker counts them: a logarithmic histogram without allocation.
//!
//! A bucket is a quarter of an octave of microseconds: a quantile is at most a fifth too high.

use std::time::Duration;

use super::count::Count;

/// Buckets: up to 2^27 microseconds, 134 seconds. What takes longer counts in the last one.
const BUCKETS: usize = 27 * 4;
/// The first octave of [`LatencySum::octaves`]: 128 microseconds.
const FIRST_OCTAVE: usize = 7;

/// Counts by duration. Written by one worker only.
#[derive(Debug)]
pub struct LatencyCounts {
    buckets: [Count; BUCKETS],
    /// The sum of all durations.
    micros: Count,
}

/// The sum of several [`LatencyCounts`], or the difference of two sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LatencySum {
    buckets: [u64; BUCKETS],
    micros: u64,
}

impl Default for LatencyCounts {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Count::default()), micros: Count::default() }
    }
}

impl Default for LatencySum {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], micros: 0 }
    }
}

impl LatencyCounts {
    /// Counts a response. Called by the owning worker only.
    #[inline]
    pub(crate) fn add(&self, took: Duration) {
        self.buckets[bucket(took)].add(1);
        self.micros.add(u64::try_from(took.as_micros()).unwrap_or(0));
    }
}

/// The bucket of a duration: the position of its highest bit, and the two bits behind that.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < 4 {
        return 0;
    }
    let octave = micros.ilog2() as usize;
    let quarter = (micros >> (octave - 2) & 3) as usize;
    (octave * 4 + quarter).min(BUCKETS - 1)
}

/// Where a bucket ends, in microseconds.
fn end(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / 4, bucket as u64 % 4);
    if octave < 2 { 4 } else { (5 + quarter) << (octave - 2) }
}

impl LatencySum {
    /// Adds what a worker has counted.
    pub(crate) fn add(&mut self, counts: &LatencyCounts) {
        for (sum, count) in self.buckets.iter_mut().zip(&counts.buckets) {
            *sum += count.get();
        }
        self.micros = self.micros.wrapping_add(counts.micros.get());
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, count)| *sum += count);
        self.micros = self.micros.wrapping_add(other.micros);
    }

    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let buckets = std::array::from_fn(|at| self.buckets[at].saturating_sub(earlier.buckets[at]));
        Self { buckets, micros: self.micros.wrapping_sub(earlier.micros) }
    }

    /// All that was counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all durations, in seconds.
    #[allow(clippy::cast_precision_loss)] // as in Prometheus itself
    pub(crate) fn seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// The time within which `share` (of 1) of the responses came, in milliseconds. `None`: there were none.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rank within `count`
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= rank
        });
        found.filter(|_| count > 0).map(|bucket| end(bucket) as f64 / 1000.0)
    }

    /// Upper bounds in seconds with the count of all that took less, an octave apart: a histogram of Prometheus.
    #[allow(clippy::cast_precision_loss)] // as in Prometheus itself
    pub(crate) fn octaves(&self) -> impl Iterator<Item = (f64, u64)> {
        (FIRST_OCTAVE..BUCKETS / 4).map(|octave| {
            let below = self.buckets[..octave * 4].iter().sum();
            ((1u64 << octave) as f64 / 1e6, below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_above_what_it_counts_and_at_most_a_quarter_above() {
        for micros in (0..5000).chain([100_000, 1_000_000, 59_999_999]) {
            let end = end(bucket(Duration::from_micros(micros)));
            assert!(end > micros, "{micros} < {end}");
            assert!(micros < 4 || end <= micros + micros / 4 + 1, "{micros}: {end}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_what_was_counted_since() {
        let counts = LatencyCounts::default();
        counts.add(Duration::from_secs(5));
        let mut before = LatencySum::default();
        before.add(&counts);
        for _ in 0..98 {
            counts.add(Duration::from_millis(1));
        }
        counts.add(Duration::from_millis(100));
        counts.add(Duration::from_millis(100));
        let mut after = LatencySum::default();
        after.add(&counts);
        let since = after.since(&before);
        assert_eq!(since.count(), 100);
        assert!((1.0..1.25).contains(&since.quantile(0.5).unwrap()));
        assert!((100.0..125.0).contains(&since.quantile(0.99).unwrap()));
        assert_eq!(before.since(&after).quantile(0.5), None);
        assert_eq!(since.octaves().last().unwrap().1, 100);
    }
}
