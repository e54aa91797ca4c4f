//! How long a peer may take.

use std::time::Duration;

/// Times of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// From the connection's beginning to the peer's first SETTINGS, and from ours to their acknowledgement; and for a header
    /// block or another frame from its first byte to its last.
    pub(crate) head: Duration,
    /// Without progress in taking what is sent.
    pub(crate) write: Duration,
    /// Without a stream.
    pub(crate) idle: Duration,
    /// Silence of a peer with streams after which a PING asks whether it is alive, and how long the answer may take.
    /// `None`: it is not asked.
    pub(crate) ping: Option<(Duration, Duration)>,
}

/// How often times of a connection in use are checked.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// The time between two PINGs to a peer that has sent no message meanwhile.
pub(super) const PING_PAUSE: Duration = Duration::from_secs(300);

/// Since when things are awaited, in milliseconds of the session's clock.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Our SETTINGS were sent.
    pub(super) started: u64,
    /// Part of a frame or of a header block is there.
    pub(super) partial: Option<u64>,
    /// Output is being sent.
    pub(super) sending: Option<u64>,
    /// Something was received.
    pub(super) heard: u64,
    /// A PING was sent.
    pub(super) pinged: Option<u64>,
    /// No other PING is sent before this, unless the peer sends a message meanwhile: gRPC servers end connections for more.
    pub(super) next_ping: u64,
    /// An orderly end was announced.
    pub(super) announced: Option<u64>,
}

/// Which time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The peer's first SETTINGS, or a whole frame or header block.
    Head,
    /// The acknowledgement of our SETTINGS.
    Settings,
    /// Progress in taking what is sent.
    Write,
    /// The answer to a PING.
    Ping,
}

/// Whether `since` is further back than `patience`.
pub(super) fn is_over(since: u64, patience: Duration, now: u64) -> bool {
    u128::from(now.saturating_sub(since)) > patience.as_millis()
}
