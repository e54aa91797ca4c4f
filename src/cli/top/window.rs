//! What happened between two samples of one process: rates of counters, percentiles of histograms.

use std::time::SystemTime;

use serde::Serialize;

use super::scrape::{Buckets, Scrape};
use super::status::Status;

/// What an instance answered at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: SystemTime,
    pub(super) scrape: Scrape,
    pub(super) status: Status,
}

/// A sample, and the one before it if that is of the same process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'s> {
    pub(super) now: &'s Sample,
    before: Option<&'s Sample>,
    /// The time between both by the process' own clock, in seconds.
    seconds: f64,
}

/// Response times in milliseconds. None: there was no response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) responses: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p90_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// Starts of one process differ by no more, in seconds: the kernel's boot time is rounded anew when the clock is set.
const SAME_START: f64 = 0.5;
/// Shorter windows give no rates, in seconds.
const SHORTEST: f64 = 0.001;

impl Sample {
    fn one(&self, name: &str) -> f64 {
        self.scrape.value(name, "").unwrap_or(0.0)
    }

    /// Whether `earlier` is of the process that this one is of: no restart and no upgrade was between them.
    fn follows(&self, earlier: &Self) -> bool {
        let starts = [self, earlier].map(|sample| sample.one("process_start_time_seconds"));
        let uptimes = [self, earlier].map(|sample| sample.one("ringate_uptime_seconds"));
        (starts[0] - starts[1]).abs() < SAME_START && uptimes[0] > uptimes[1] + SHORTEST
    }
}

impl<'s> Window<'s> {
    /// From `before` to `now`, or without rates if these are of two processes.
    pub(super) fn new(now: &'s Sample, before: Option<&'s Sample>) -> Self {
        let before = before.filter(|before| now.follows(before));
        let uptime = |sample: &Sample| sample.one("ringate_uptime_seconds");
        let seconds = before.map_or(0.0, |before| uptime(now) - uptime(before));
        Self { now, before, seconds }
    }

    /// Its length; none if there are no rates.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.before.map(|_| rounded(self.seconds))
    }

    /// The value of a series now.
    pub(super) fn value(&self, name: &str, labels: &str) -> f64 {
        self.now.scrape.value(name, labels).unwrap_or(0.0)
    }

    /// By how much a counter grew. A series that is new, or is lower than before, has begun anew.
    fn growth(&self, name: &str, labels: &str) -> Option<f64> {
        let now = self.value(name, labels);
        let before = self.before?.scrape.value(name, labels).unwrap_or(0.0);
        Some(if now >= before { now - before } else { now })
    }

    /// The growth of a counter a second.
    pub(super) fn rate(&self, name: &str, labels: &str) -> Option<f64> {
        Some(rounded(self.growth(name, labels)? / self.seconds))
    }

    /// The same of all series of a family together.
    pub(super) fn rate_of_all(&self, name: &str) -> Option<f64> {
        self.before?;
        let growths = self.now.scrape.labels(name).filter_map(|labels| self.growth(name, labels));
        Some(rounded(growths.sum::<f64>() / self.seconds))
    }

    /// The mean of a histogram or summary in seconds, in milliseconds.
    pub(super) fn mean_ms(&self, name: &str, labels: &str) -> Option<f64> {
        let count = self.growth(&format!("{name}_count"), labels)?;
        let sum = self.growth(&format!("{name}_sum"), labels)?;
        (count > 0.0).then(|| rounded(sum / count * 1000.0))
    }

    /// The percentiles of a histogram in seconds.
    pub(super) fn latency(&self, name: &str, labels: &str) -> Latency {
        let (Some(before), Some(now)) = (self.before, self.now.scrape.buckets(name, labels)) else {
            return Latency::default();
        };
        let grown = growth(now, before.scrape.buckets(name, labels));
        let of = |share| quantile(&grown, share).map(|seconds| rounded(seconds * 1000.0));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
        let responses = grown.last().map_or(0.0, |(_, count)| *count) as u64;
        Latency { responses, p50_ms: of(0.5), p90_ms: of(0.9), p99_ms: of(0.99) }
    }
}

/// What was added to a histogram since. One that has other bounds or counts less than before has begun anew.
fn growth(now: &Buckets, before: Option<&Buckets>) -> Buckets {
    let goes_on = |before: &&Buckets| {
        before.len() == now.len()
            && before.iter().zip(now).all(|(then, now)| then.0 == now.0 && then.1 <= now.1)
    };
    match before.filter(goes_on) {
        Some(before) => now.iter().zip(before).map(|(now, then)| (now.0, now.1 - then.1)).collect(),
        None => now.clone(),
    }
}

/// The value below which `share` of a histogram's counts are, as Prometheus' `histogram_quantile` has it: between the
/// bounds of its bucket in proportion; beyond the last bound that bound. None: it counts nothing.
fn quantile(buckets: &Buckets, share: f64) -> Option<f64> {
    let all = buckets.last().filter(|(_, all)| *all > 0.0)?.1;
    let rank = all * share;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (upper, count) = buckets[at];
    let (lower, below) = at.checked_sub(1).map_or((0.0, 0.0), |previous| buckets[previous]);
    if upper.is_infinite() {
        return Some(lower);
    }
    Some(if count > below { lower + (upper - lower) * (rank - below) / (count - below) } else { upper })
}

/// To a thousandth; without the sign of zero, which a sum of nothing has.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0 + 0.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::top) fn sample(text: &str) -> Sample {
        Sample { at: SystemTime::UNIX_EPOCH, scrape: Scrape::parse(text).unwrap(), status: Status::default() }
    }

    /// A process that started at `start` and is so old, with a counter.
    fn counted(start: f64, uptime: f64, count: u64) -> Sample {
        sample(&format!(
            "process_start_time_seconds {start}\nringate_uptime_seconds {uptime}\nc_total {count}\n"
        ))
    }

    #[test]
    fn rates_are_of_the_time_between_both() {
        let (before, now) = (counted(1000.0, 10.0, 100), counted(1000.0, 12.0, 150));
        let window = Window::new(&now, Some(&before));
        assert_eq!(window.seconds(), Some(2.0));
        assert_eq!(window.rate("c_total", ""), Some(25.0));
        assert_eq!(window.rate_of_all("c_total"), Some(25.0));
        assert_eq!(window.rate("other_total", ""), Some(0.0));
        assert_eq!(Window::new(&now, None).rate("c_total", ""), None);
    }

    #[test]
    fn no_rate_is_negative() {
        let before = counted(1000.0, 10.0, 100);
        // A new process: after a restart that was quick, and after one that took longer than the old one had run.
        for now in [counted(1011.0, 0.5, 3), counted(1031.0, 12.0, 3)] {
            let window = Window::new(&now, Some(&before));
            assert_eq!((window.seconds(), window.rate("c_total", "")), (None, None));
            assert_eq!(window.rate_of_all("c_total"), None);
        }
        // A counter of the same process that begins anew, such as that of an endpoint which was removed and added.
        let now = counted(1000.2, 12.0, 4);
        assert_eq!(Window::new(&now, Some(&before)).rate("c_total", ""), Some(2.0));
        // The same answer twice.
        assert_eq!(Window::new(&before, Some(&before)).rate("c_total", ""), None);
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_bucket() {
        let buckets = |counts: [f64; 4]| -> Buckets {
            [0.1, 0.2, 0.4, f64::INFINITY].into_iter().zip(counts).collect()
        };
        assert_eq!(quantile(&buckets([0.0; 4]), 0.5), None);
        assert_eq!(quantile(&Vec::new(), 0.5), None);
        assert_eq!(quantile(&buckets([10.0; 4]), 0.5), Some(0.05));
        let spread = buckets([10.0, 10.0, 20.0, 30.0]);
        assert!((quantile(&spread, 0.5).unwrap() - 0.3).abs() < 1e-9);
        assert_eq!(quantile(&spread, 0.99), Some(0.4));
    }

    #[test]
    fn percentiles_are_of_what_came_since() {
        let of = |uptime: f64, fast: u64, all: u64| {
            sample(&format!(
                "process_start_time_seconds 5\nringate_uptime_seconds {uptime}\n\
                 h_bucket{{le=\"0.001\"}} {fast}\nh_bucket{{le=\"1\"}} {all}\nh_bucket{{le=\"+Inf\"}} {all}\n\
                 h_sum {all}\nh_count {all}\n"
            ))
        };
        let (before, now) = (of(1.0, 1000, 1000), of(2.0, 1000, 1004));
        let latency = Window::new(&now, Some(&before)).latency("h", "");
        assert_eq!(latency.responses, 4);
        assert!(latency.p50_ms.unwrap() > 400.0, "{latency:?}");
        assert_eq!(Window::new(&now, Some(&before)).mean_ms("h", ""), Some(1000.0));
        assert_eq!(Window::new(&before, None).latency("h", ""), Latency::default());
        // It counts less than before: all of it is new.
        let less = of(3.0, 8, 8);
        assert_eq!(Window::new(&less, Some(&now)).latency("h", "").responses, 8);
        // Nothing came.
        let same = of(4.0, 8, 8);
        let none = Window::new(&same, Some(&less));
        assert_eq!((none.latency("h", "").p99_ms, none.mean_ms("h", "")), (None, None));
    }
}
