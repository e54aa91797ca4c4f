//! `upstream.limits`

/// Most of each for an upstream over all workers; 0: no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CircuitLimits {
    /// `connections`, idle ones included.
    pub connections: u64,
    /// `pending`: requests for which a connection is being made.
    pub pending: u64,
    /// `requests`: those under way, or tcp connections.
    pub requests: u64,
}
