//! What is observed of an exchange, for the access log, metrics and traces: always recorded, whatever is configured.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::proxy::access::Relayed;

/// See the module.
#[derive(Debug)]
pub(crate) struct Observed {
    /// When its head had been understood.
    started: Instant,
    /// From there to the final response's head.
    first_byte: Cell<Option<Duration>>,
    /// The last status that the backend answered; 0 for none.
    pub(crate) status: Cell<u16>,
    /// Bytes of the request that were received: its head, and what was sent on of its body, framing included.
    pub(crate) received: Cell<u64>,
    /// The code that a call of gRPC ended with, by its backend.
    pub(crate) grpc_status: Cell<Option<u32>>,
    /// Bytes of the response that went to the client, its head included.
    pub(crate) bytes: Cell<u64>,
    /// The endpoint that it was sent to last, by its index.
    pub(crate) endpoint: Cell<Option<usize>>,
    /// What its tunnel came to, if it became one.
    pub(crate) relayed: Cell<Option<Relayed>>,
}

impl Observed {
    /// An exchange that begins now, of a request that has waited for so long.
    pub(crate) fn begin(waited: Duration) -> Self {
        let now = Instant::now();
        Self {
            started: now.checked_sub(waited).unwrap_or(now),
            first_byte: Cell::new(None),
            status: Cell::new(0),
            received: Cell::new(0),
            grpc_status: Cell::new(None),
            bytes: Cell::new(0),
            endpoint: Cell::new(None),
            relayed: Cell::new(None),
        }
    }

    /// The final response's head is here.
    pub(crate) fn responded(&self) {
        self.first_byte.set(Some(self.started.elapsed()));
    }

    /// How long it has lasted.
    pub(crate) fn duration(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long the response's head took; `None`: there was none.
    pub(crate) fn first_byte(&self) -> Option<Duration> {
        self.first_byte.get()
    }
}
