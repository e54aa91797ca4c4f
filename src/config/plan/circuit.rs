//! `upstream.limits` and `upstream.queue`

use std::time::Duration;

/// Most of each for an upstream, or for each of its endpoints, over all workers; 0: no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CircuitLimits {
    /// `connections`, idle ones included.
    pub connections: u64,
    /// `pending`: requests for which a connection is being made.
    pub pending: u64,
    /// `requests`: those under way, or tcp connections.
    pub requests: u64,
}

/// `upstream.queue`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// `length`: exchanges that wait at most, over all workers. Default 100; 0: none waits.
    pub length: usize,
    /// `timeout`: how long one waits. Default 1 s.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: 100, timeout: Duration::from_secs(1) }
    }
}
