//! Where log lines go: standard error, as text for people or as JSON. A thread of its own writes them: `io::log`.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

use super::output;
use crate::base::sample::{self, Kind};
use crate::base::text::{without_controls, without_keys};
use crate::config::plan::{Log, LogFormat};
use crate::io::recent::Keeping;
use crate::io::{log, vital};

/// Sets the log up. `RUST_LOG`, where it is set, overrides `log.level`.
///
/// # Errors
/// The system starts no thread, in words.
pub(super) fn init(settings: &Log) -> Result<(), String> {
    start()?;
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(settings.level.as_str()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Keeping)
        .log_internal_errors(false)
        .with_target(false);
    // Tests may have set one up already.
    let _ = match settings.format {
        LogFormat::Text => builder.with_ansi(output::is_colored()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // The standard library's hook writes to standard error itself, and would wait for a reader that stalls.
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Starts the thread that alone waits for standard error from then on.
///
/// # Errors
/// The system starts no thread, in words.
pub(super) fn start() -> Result<(), String> {
    log::start().map_err(|error| format!("error: the log's thread: {error}"))
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let Some(left_out) = sample::next(Kind::Panic, &place) else { return };
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let message = info.payload_as_str().unwrap_or("without a message");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!("thread {thread} panicked at {place}: {message}{left_out}\n{backtrace}");
    } else {
        tracing::error!("thread {thread} panicked at {place}: {message}{left_out}");
    }
}

/// The final error of a command: through the log where it is set up, as only its thread may wait for standard error.
pub(super) fn last(message: &str) {
    if log::is_started() {
        log::send(format!("{}\n", without_controls(&without_keys(message))).as_bytes());
    } else {
        output::note(message);
    }
}

/// Waits for the log's last lines, within bounds.
pub(super) fn finish() {
    log::flush(log::LAST_LINES);
}

/// Runs a command. A panic in it ends the process with exit code 1, like any other failure.
pub(super) fn guard<T>(command: impl FnOnce() -> T) -> T {
    vital::guard("the control thread", command)
}
