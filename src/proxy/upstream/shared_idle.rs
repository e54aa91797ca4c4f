//! Idle connections of one endpoint that any worker may take.
//!
//! Each worker keeps a few idle connections for itself, which cost no shared memory. What it has beyond them is put here,
//! and a worker that has none takes one from here before it makes a new one. Connections of an upstream are therefore
//! as many as it has exchanges, and not as many for each worker.
//!
//! ```text
//!   worker A: check_in ──► own list ──(more than it needs)──► SharedIdle ──► check_out: worker B
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_queue::SegQueue;
use rustls::pki_types::ServerName;

use super::backend_tls::UpstreamTls;
use super::circuit::CountedConnection;
use crate::base::clock;
use crate::io::deadline::TICK;
use crate::io::stream::DetachedStream;
use crate::proxy::identity_connections::DetachedTrack;

/// Most connections that a search takes out before it gives up: those before were made with another TLS config, or another
/// identity.
const MAX_MISSES: usize = 8;

/// Milliseconds of a tick of a worker's wheel.
pub(super) const TICK_MILLIS: u64 = TICK.as_millis() as u64;

/// The shortest time between two sweeps, over all workers.
const SWEEP_PAUSE: Duration = Duration::from_millis(200);

/// An idle connection that belongs to no worker.
#[derive(Debug)]
pub(crate) struct SharedConnection {
    /// The connection.
    pub(crate) stream: DetachedStream,
    /// Its entry among the uses of a client identity.
    pub(crate) track: Option<DetachedTrack>,
    /// The TLS config that it was made with.
    pub(crate) tls: Option<Arc<UpstreamTls>>,
    /// The name that was verified.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// The serial of the client identity that it was made with; 0 without one.
    pub(crate) identity: u64,
    /// Its count among those of the upstream and the endpoint, where these are bounded.
    pub(crate) counted: CountedConnection,
    /// When it was made, in milliseconds of [`clock`].
    pub(crate) born: u64,
    /// Since when it is idle, in the same way.
    pub(crate) since: u64,
}

/// The idle connections of one endpoint that any worker may take, the longest idle first.
#[derive(Debug, Default)]
pub(crate) struct SharedIdle {
    idle: SegQueue<Box<SharedConnection>>,
    /// The fewest that there were since the last trim: no worker needed these.
    fewest: AtomicUsize,
    /// When it was swept last, in milliseconds of [`clock`].
    swept: AtomicU64,
    /// When it was trimmed last, in the same way.
    trimmed: AtomicU64,
}

impl SharedIdle {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.idle.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// Adds one, unless there are `most`: then it is closed.
    pub(crate) fn put(&self, connection: Box<SharedConnection>, most: usize) {
        if self.idle.len() < most {
            self.idle.push(connection);
        }
    }

    /// Takes one that `fits`. Those before it, which can serve no other worker either, are closed.
    pub(crate) fn take(&self, fits: impl Fn(&SharedConnection) -> bool) -> Option<Box<SharedConnection>> {
        if self.idle.is_empty() {
            return None;
        }
        let found = (0..MAX_MISSES).map_while(|_| self.idle.pop()).find(|connection| fits(connection));
        self.fewest.fetch_min(self.idle.len(), Relaxed);
        found
    }

    /// Closes those that `keeps` refuses and, once in each `idle_timeout`, as many as no worker needed in all that time:
    /// which of them are used changes, as the longest idle one is taken first. It does nothing where another worker has just
    /// swept.
    pub(crate) fn sweep(&self, idle_timeout: Duration, keeps: impl Fn(&SharedConnection) -> bool) {
        if self.idle.is_empty() {
            return;
        }
        let now = clock::millis().max(1);
        let last = self.swept.load(Relaxed);
        let is_due = last == 0 || now.saturating_sub(last) >= millis(SWEEP_PAUSE);
        if !is_due || self.swept.compare_exchange(last, now, Relaxed, Relaxed).is_err() {
            return;
        }
        let mut surplus = 0;
        if now.saturating_sub(self.trimmed.load(Relaxed)) >= millis(idle_timeout) {
            self.trimmed.store(now, Relaxed);
            surplus = self.fewest.swap(usize::MAX, Relaxed).min(self.idle.len());
        }
        for _ in 0..self.idle.len() {
            let Some(connection) = self.idle.pop() else { break };
            if surplus > 0 {
                surplus -= 1;
            } else if keeps(&connection) {
                self.idle.push(connection);
            }
        }
        self.fewest.fetch_min(self.idle.len(), Relaxed);
    }

    /// Closes those that have been idle since before `last`, in milliseconds of [`clock`].
    pub(crate) fn shed(&self, last: u64) {
        for _ in 0..self.idle.len() {
            let Some(connection) = self.idle.pop() else { break };
            if connection.since >= last {
                self.idle.push(connection);
            }
        }
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        while self.idle.pop().is_some() {}
    }
}

/// A duration as [`clock`] counts it.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
