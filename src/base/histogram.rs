//! How long something took, as one worker counts it: a histogram of fixed buckets without allocation.
//!
//! The bounds are those that a proxy's dashboards need, from 100 µs to a minute. [`latency`](super::latency) has finer
//! ones, for the quantiles of the whole process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::count::Count;

/// The upper bounds of the buckets in microseconds, each included. A further bucket has what took longer.
pub(crate) const BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Buckets of a histogram.
pub(crate) const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts by duration. Written by one worker only.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Count; BUCKETS],
    /// The sum of all durations.
    micros: Count,
    /// The last trace of each bucket. There are none before the first request that was traced.
    exemplars: OnceLock<Box<[Cell; BUCKETS]>>,
}

/// The sum of the histograms of all workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistogramSum {
    buckets: [u64; BUCKETS],
    micros: u64,
    exemplars: [Option<Exemplar>; BUCKETS],
}

/// A request that a bucket counts, and its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exemplar {
    /// The trace's id.
    pub(crate) trace: u128,
    /// What the request took, in microseconds.
    pub(crate) micros: u64,
    /// When it ended, in milliseconds since 1970.
    pub(crate) at: u64,
}

/// An exemplar that one thread writes and others read, without a lock: its version is odd while it is written.
#[derive(Debug, Default)]
struct Cell {
    version: AtomicU64,
    words: [AtomicU64; 4],
}

/// A duration in whole microseconds.
fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// The bucket of a duration in microseconds.
fn bucket(micros: u64) -> usize {
    BOUNDS.partition_point(|bound| *bound < micros)
}

impl Histogram {
    /// Counts one. Called by the owning worker only.
    #[inline]
    pub(crate) fn add(&self, took: Duration) {
        let micros = micros(took);
        self.buckets[bucket(micros)].add(1);
        self.micros.add(micros);
    }

    /// Keeps a request that was counted as an exemplar. Called by the owning worker only.
    pub(crate) fn keep(&self, exemplar: &Exemplar) {
        let cells = self.exemplars.get_or_init(Box::default);
        cells[bucket(exemplar.micros)].write(exemplar);
    }
}

impl Exemplar {
    /// One that ends now. `at`: milliseconds since 1970.
    pub(crate) fn new(trace: u128, took: Duration, at: u64) -> Self {
        Self { trace, micros: micros(took), at }
    }
}

impl Cell {
    fn write(&self, exemplar: &Exemplar) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let words = [(exemplar.trace >> 64) as u64, exemplar.trace as u64, exemplar.micros, exemplar.at];
        for (word, value) in self.words.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    /// `None`: there is none, or it is written at this moment.
    fn read(&self) -> Option<Exemplar> {
        let before = self.version.load(Ordering::Acquire);
        let [high, low, micros, at] = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let is_whole =
            before > 0 && before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before;
        is_whole.then_some(Exemplar { trace: u128::from(high) << 64 | u128::from(low), micros, at })
    }
}

impl HistogramSum {
    /// Adds what a worker has counted.
    pub(crate) fn add(&mut self, counts: &Histogram) {
        for (sum, count) in self.buckets.iter_mut().zip(&counts.buckets) {
            *sum += count.get();
        }
        self.micros = self.micros.wrapping_add(counts.micros.get());
        let Some(cells) = counts.exemplars.get() else { return };
        for (latest, cell) in self.exemplars.iter_mut().zip(cells.iter()) {
            if let Some(found) = cell.read()
                && latest.is_none_or(|known| known.at < found.at)
            {
                *latest = Some(found);
            }
        }
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

    /// Each bucket: its upper bound in seconds, the count of all that took no longer, and an exemplar of the bucket itself.
    /// The last one has no bound.
    #[allow(clippy::cast_precision_loss)] // the bounds are small
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64, Option<Exemplar>)> {
        let mut sum = 0;
        self.buckets.iter().enumerate().map(move |(at, count)| {
            sum += count;
            (BOUNDS.get(at).map(|bound| *bound as f64 / 1e6), sum, self.exemplars[at])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_what_took_no_longer_than_its_bound() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for micros in [0, 100, 101] {
            one.add(Duration::from_micros(micros));
        }
        other.add(Duration::from_secs(60));
        other.add(Duration::from_secs(61));
        other.add(Duration::from_secs(u64::MAX));
        let mut sum = HistogramSum::default();
        sum.add(&one);
        sum.add(&other);
        let buckets: Vec<_> = sum.buckets().map(|(bound, count, _)| (bound, count)).collect();
        assert_eq!(buckets[..2], [(Some(0.0001), 2), (Some(0.00025), 3)]);
        assert_eq!(buckets[17..], [(Some(60.0), 4), (None, 6)]);
        assert_eq!(sum.count(), 6);
    }

    #[test]
    fn the_latest_exemplar_of_all_workers_is_kept() {
        let (one, other) = (Histogram::default(), Histogram::default());
        let exemplar = |trace, at| Exemplar::new(trace, Duration::from_millis(2), at);
        one.keep(&exemplar(1 << 100 | 7, 50));
        one.keep(&exemplar(1 << 100 | 8, 70));
        other.keep(&exemplar(9, 60));
        let mut sum = HistogramSum::default();
        sum.add(&one);
        sum.add(&other);
        let kept: Vec<_> =
            sum.buckets().filter_map(|(bound, _, exemplar)| Some((bound, exemplar?))).collect();
        assert_eq!(kept, [(Some(0.0025), exemplar(1 << 100 | 8, 70))]);
    }

    #[test]
    fn a_reader_sees_an_exemplar_whole_or_not_at_all() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..20_000u64 {
                    let trace = u128::from(n) << 64 | u128::from(n);
                    histogram.keep(&Exemplar { trace, micros: 7, at: n });
                }
            });
            for _ in 0..5000 {
                let mut sum = HistogramSum::default();
                sum.add(&histogram);
                for (_, _, exemplar) in sum.buckets() {
                    let Some(Exemplar { trace, at, .. }) = exemplar else { continue };
                    assert_eq!(trace, u128::from(at) << 64 | u128::from(at));
                }
            }
        });
    }
}
