//! `upstream.outliers`

use std::time::Duration;

/// Which outcomes eject an endpoint, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outliers {
    /// `health.passive`. Default true.
    pub passive: bool,
    /// Failures in a row. Default 5; 0: they eject nothing.
    pub consecutive_failures: u32,
    /// Responses of the 5xx class in a row. Default 0: they eject nothing.
    pub consecutive_5xx: u32,
    /// Percent of responses that are 502, 503 or 504. Default 30; 0: they eject nothing.
    pub error_rate: u32,
    /// A response later than this counts as a failure. Default 2 s; 0: it does not.
    pub slow_after: Duration,
    /// The first time. Default 30 s.
    pub base_ejection: Duration,
    /// The longest time. Default 5 min.
    pub max_ejection: Duration,
    /// Percent of the endpoints that may be ejected at once. Default 50.
    pub max_ejected: u32,
    /// All endpoints are used if fewer percent of them are usable. Default 0: if none is.
    pub panic_threshold: u32,
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            passive: true,
            consecutive_failures: 5,
            consecutive_5xx: 0,
            error_rate: 30,
            slow_after: Duration::from_secs(2),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected: 50,
            panic_threshold: 0,
        }
    }
}
