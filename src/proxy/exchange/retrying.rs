//! The retries of an upstream, counted: for exchanges, and for requests of Ringate's own.

use std::sync::atomic::Ordering::Relaxed;

use crate::proxy::exchange::retry_policy::{Attempts, Cause, Verdict};
use crate::proxy::upstream::pool::Pool;
use crate::proxy::worker::Worker;

/// Whether the upstream's retries cover this, and its budget has room.
pub(crate) fn may_retry(worker: &Worker, pool: &Pool, attempts: &Attempts, cause: Cause) -> bool {
    let upstream = &pool.upstream;
    match attempts.judge(&upstream.retries, cause, &pool.budget, worker.wheel.now()) {
        Verdict::Final => false,
        Verdict::Again => {
            worker.counters.retries.add(1);
            upstream.retried.sent.fetch_add(1, Relaxed);
            tracing::debug!(upstream = upstream.name, ?cause, "the request is tried again");
            true
        }
        Verdict::OverBudget => {
            worker.counters.retries_refused.add(1);
            upstream.retried.refused.fetch_add(1, Relaxed);
            false
        }
    }
}
