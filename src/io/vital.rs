//! Threads and tasks without which the process is of no use: where one ends unasked, the process ends too, so that its
//! supervisor starts it anew. A worker that is missing would leave connections in its listen queues for ever.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use super::log;

/// Logs why, and ends the process with exit code 1. Standard error is waited for no longer than [`log::LAST_LINES`].
pub(crate) fn end(why: &str) -> ! {
    let line = format!("{why}; the process ends, so that its supervisor can start it anew");
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{line}");
    } else {
        // `RUST_LOG=off` is no reason to end without a word.
        log::send(format!("ERROR {line}\n").as_bytes());
    }
    log::flush(log::LAST_LINES);
    std::process::exit(1)
}

/// Runs `work`. A panic in it ends the process; `what` names it in the log.
pub(crate) fn guard<T>(what: &str, work: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value,
        Err(panic) => end(&format!("{what} panicked: {}", message(&*panic))),
    }
}

/// The same for a task.
pub(crate) async fn task<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| guard(what, || work.as_mut().poll(context))).await
}

/// What a panic was raised with.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
