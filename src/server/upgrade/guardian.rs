//! Has a service manager adopt a successor. systemd waits for the end of a main process only where that is its own child: one that
//! is the predecessor's is killed at the first `systemctl stop`, without a drain, even when systemd has adopted it since.
//!
//! ```text
//! the predecessor ── starts ─► the guardian ── starts the same command ─► the successor
//!                                  waits for the successor's end ◄──────── ends before it serves
//!                                  ends ◄───────────────────────────────── serves: the service manager is its parent now
//!         MAINPID ─► the service manager
//! ```
//!
//! Where the predecessor ends the guardian, because the successor is not ready in time, the kernel ends the successor.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getppid, kill_process, set_parent_process_death_signal};

use super::MARK;

/// What [`MARK`] is for a process that a guardian has started.
const GUARDED: &str = "guarded";
/// How long a guardian may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// In a process that a predecessor has started: becomes the guardian of the successor if there is a service manager, and does not
/// return then. To be called on the main thread, before any other is started.
///
/// # Errors
/// The successor cannot be started, in words.
pub(super) fn stand_between() -> Result<(), String> {
    if is_guarded() {
        return set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| format!("error: prctl: {error}"));
    }
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("error: the successor can't be started: {error}");
    let mut arguments = env::args_os();
    let mut command = Command::new(env::current_exe().map_err(failed)?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let status = command.args(arguments).env(MARK, GUARDED).status().map_err(failed)?;
    std::process::exit(status.code().unwrap_or(1))
}

/// The successor serves: its guardian ends. Returns when the service manager is its parent. To be called on the main thread.
pub(super) fn release() {
    let Some(guardian) = getppid().filter(|_| is_guarded()) else { return };
    // What the guardian's end is to mean no longer.
    let _ = set_parent_process_death_signal(None);
    let _ = kill_process(guardian, Signal::TERM);
    let until = Instant::now() + PATIENCE;
    while getppid() == Some(guardian) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_guarded() -> bool {
    env::var_os(MARK).is_some_and(|mark| mark == GUARDED)
}
