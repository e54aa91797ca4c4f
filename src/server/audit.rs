//! The audit log (`admin.audit`): a line of JSON for each change, written by a thread that alone waits for the disk.
//!
//! The file is opened for each line: one that was moved away is made anew, and a disk that is full now may not be later.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::base::limits::{AUDIT_LINES, AUDIT_STATE_BYTES};
use crate::base::text::without_keys;
use crate::certs::Timestamp;

/// A change, done or not.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    time: Timestamp,
    /// The caller: how it is known, and its role.
    pub who: Value,
    /// The call, as `PATCH /v1/upstreams/app`, or another word for what was done.
    pub call: String,
    /// What it is about.
    pub subject: String,
    /// That, before and after; null: it was not there.
    pub before: Value,
    pub after: Value,
    /// `done`, `refused` or `failed`.
    pub outcome: &'static str,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why it was not done.
    pub reason: Option<String>,
}

impl Entry {
    /// One of now.
    pub(crate) fn new(who: Value, call: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            time: SystemTime::now().into(),
            who,
            call: call.into(),
            subject: subject.into(),
            before: Value::Null,
            after: Value::Null,
            outcome: "done",
            status: None,
            reason: None,
        }
    }

    /// The line. A state that is too long is left out.
    fn line(mut self) -> Option<String> {
        for state in [&mut self.before, &mut self.after] {
            if state.to_string().len() > AUDIT_STATE_BYTES {
                *state = "(too long to be shown)".into();
            }
        }
        let text = serde_json::to_string(&self).ok()?;
        Some(without_keys(&text).into_owned() + "\n")
    }
}

/// The way to the file.
#[derive(Debug)]
pub(crate) struct Audit {
    lines: SyncSender<(String, Option<oneshot::Sender<()>>)>,
    failed: Arc<AtomicU64>,
}

impl Audit {
    /// Starts the thread that writes to `path`.
    ///
    /// # Errors
    /// The file can't be written, or the system starts no thread; in words.
    pub(crate) fn start(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        write_whole(path, "").map_err(|error| format!("`admin.audit`: {shown} can't be written: {error}"))?;
        let (lines, inbox) = sync_channel(AUDIT_LINES);
        let failed = Arc::new(AtomicU64::new(0));
        let (path, counted) = (path.to_owned(), Arc::clone(&failed));
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread
            .spawn(move || write(&path, &inbox, &counted))
            .map_err(|error| format!("the audit log's thread: {error}"))?;
        Ok(Self { lines, failed })
    }

    /// Hands a line over. What is returned ends once it is written, or could not be.
    pub(crate) fn note(&self, entry: Entry) -> oneshot::Receiver<()> {
        let (written, done) = oneshot::channel();
        if let Some(line) = entry.line()
            && self.lines.try_send((line, Some(written))).is_ok()
        {
            return done;
        }
        self.failed.fetch_add(1, Relaxed);
        tracing::error!("audit log: a change was not written down: its disk is too slow");
        done
    }

    /// Lines that were not written.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }
}

/// Writes a line at once, in a process that has no thread for it.
///
/// # Errors
/// The system's.
pub(crate) fn append(path: &Path, entry: Entry) -> std::io::Result<()> {
    entry.line().map_or(Ok(()), |line| write_whole(path, &line))
}

fn write(path: &Path, inbox: &Receiver<(String, Option<oneshot::Sender<()>>)>, failed: &AtomicU64) {
    let mut is_failing = false;
    for (line, written) in inbox {
        let result = write_whole(path, &line);
        let shown = path.display();
        match &result {
            Err(error) => {
                failed.fetch_add(1, Relaxed);
                // The line says what was done: it must not be lost altogether.
                tracing::error!("audit log: {shown}: {error}; not written: {}", line.trim_end());
            }
            Ok(()) if is_failing => tracing::info!("audit log: {shown}: changes are written down again"),
            Ok(()) => {}
        }
        is_failing = result.is_err();
        if let Some(written) = written {
            let _ = written.send(());
        }
    }
}

/// Writes a whole line, or none of it.
fn write_whole(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    let result = file.write_all(line.as_bytes());
    if result.is_err() && metadata.is_file() {
        let _ = file.set_len(metadata.len());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_whole_and_a_file_that_was_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (file, moved) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
        let audit = Audit::start(&file).unwrap();
        let entry = || Entry::new(serde_json::json!({ "by": "a test" }), "POST /v1/reload", "config");
        audit.note(entry()).blocking_recv().unwrap();
        std::fs::rename(&file, &moved).unwrap();
        audit.note(entry()).blocking_recv().unwrap();
        for path in [&file, &moved] {
            let text = std::fs::read_to_string(path).unwrap();
            let line: Value = serde_json::from_str(text.trim_end()).unwrap();
            assert_eq!(line["who"]["by"], "a test", "{line}");
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        audit.note(entry()).blocking_recv().unwrap();
        assert_eq!(audit.failed(), 1);
        assert!(Audit::start(&file).is_err());
    }

    #[test]
    fn a_line_is_bounded_and_has_no_key() {
        let mut entry = Entry::new(Value::Null, "x", "y");
        entry.before = "x".repeat(AUDIT_STATE_BYTES + 1).into();
        entry.after = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----".into();
        let line = entry.line().unwrap();
        assert!(line.len() < 1000 && line.contains("too long") && !line.contains("MIIE"), "{line}");
    }
}
