//! The log's way to standard error: a bounded queue, and one thread that waits for the stream.
//!
//! A line that the queue has no room for, or that can't be written, is dropped and counted. The threads that log never
//! wait and never fail.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::standard::Standard;
use crate::base::limits::{LOG_QUEUE_BYTES, LOG_QUEUE_LINES};

/// How long the process's end waits for its last lines.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(1);
/// How often a wait for the writer's thread checks whether it is over.
const POLL: Duration = Duration::from_millis(1);
/// How often at most lost lines are reported in the log.
const REPORT: Duration = Duration::from_secs(1);

static QUEUE: OnceLock<Queue> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Queue {
    lines: SyncSender<Vec<u8>>,
    /// Bytes in it.
    bytes: AtomicUsize,
    /// Lines ever handed over, and those of them that were written or dropped.
    sent: AtomicU64,
    done: AtomicU64,
}

impl Queue {
    fn send(&self, line: &[u8]) {
        self.sent.fetch_add(1, Ordering::AcqRel);
        let fits = self.bytes.fetch_add(line.len(), Ordering::AcqRel) + line.len() <= LOG_QUEUE_BYTES;
        if !fits || self.lines.try_send(line.to_vec()).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            self.over(line.len());
        }
    }

    fn has_room(&self) -> bool {
        let done = self.done.load(Ordering::Acquire);
        let waiting = self.sent.load(Ordering::Acquire) - done;
        waiting < LOG_QUEUE_LINES as u64 / 2 && self.bytes.load(Ordering::Acquire) < LOG_QUEUE_BYTES / 2
    }

    /// A line has left the queue, written or not.
    fn over(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.done.fetch_add(1, Ordering::AcqRel);
    }
}

/// Starts the writer's thread, once.
///
/// # Errors
/// The system starts no thread.
pub(crate) fn start() -> io::Result<()> {
    let (sender, lines) = sync_channel(LOG_QUEUE_LINES);
    let queue =
        Queue { lines: sender, bytes: AtomicUsize::new(0), sent: AtomicU64::new(0), done: AtomicU64::new(0) };
    if QUEUE.set(queue).is_err() {
        return Ok(());
    }
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&lines)).map(drop)
}

/// Whether [`start`] was called: from then on nothing else writes to standard error.
pub(crate) fn is_started() -> bool {
    QUEUE.get().is_some()
}

/// Hands over a line, its line feed included.
pub(crate) fn send(line: &[u8]) {
    if let Some(queue) = QUEUE.get() {
        queue.send(line);
    }
}

/// Lines dropped since the start.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits until all lines that were handed over are written or dropped. False: not within `patience`.
pub(crate) fn flush(patience: Duration) -> bool {
    let Some(queue) = QUEUE.get() else { return true };
    let (sent, deadline) = (queue.sent.load(Ordering::Acquire), Instant::now() + patience);
    while queue.done.load(Ordering::Acquire) < sent {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// What a subscriber writes its lines to: each call of `write` is one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line;

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        send(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writer's thread.
fn write(lines: &Receiver<Vec<u8>>) {
    let mut torn = false;
    let mut reported = (0, None::<Instant>);
    while let (Ok(mut line), Some(queue)) = (lines.recv(), QUEUE.get()) {
        let length = line.len();
        if torn {
            line.insert(0, b'\n');
        }
        let (written, result) = Standard::Error.write_whole(&line);
        if written > 0 {
            torn = written < line.len();
        }
        queue.over(length);
        if result.is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let dropped = dropped();
        // The report needs room in the queue itself.
        if dropped > reported.0 && queue.has_room() && reported.1.is_none_or(|last| last.elapsed() >= REPORT)
        {
            tracing::warn!(
                "{} log lines were dropped: standard error did not take them",
                dropped - reported.0
            );
            reported = (dropped, Some(Instant::now()));
        }
    }
}
