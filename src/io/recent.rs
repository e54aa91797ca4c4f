//! The last warnings and errors of the log, kept in memory for the admin API.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::log::Line;
use crate::base::limits::{RECENT_LINE_BYTES, RECENT_LINES};
use crate::base::text::without_controls;
use crate::certs::Timestamp;

static LINES: Mutex<VecDeque<Recent>> = Mutex::new(VecDeque::new());

/// A line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Recent {
    /// When it was written.
    at: Timestamp,
    /// `warn` or `error`.
    level: &'static str,
    /// As in the log, without colors.
    text: String,
}

/// The lines, the oldest first.
pub(crate) fn all() -> Vec<Recent> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// The log's writer, which keeps warnings and errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping;

/// A line on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptLine(Option<&'static str>);

impl MakeWriter<'_> for Keeping {
    type Writer = KeptLine;

    fn make_writer(&self) -> KeptLine {
        KeptLine(None)
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> KeptLine {
        KeptLine(match *meta.level() {
            Level::ERROR => Some("error"),
            Level::WARN => Some("warn"),
            _ => None,
        })
    }
}

impl io::Write for KeptLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(level) = self.0 {
            keep(level, line);
        }
        Line.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Warnings of the data path are sampled, so that the lock is seldom taken.
fn keep(level: &'static str, line: &[u8]) {
    let line = String::from_utf8_lossy(&line[..line.len().min(RECENT_LINE_BYTES)]);
    let text = without_controls(&plain(&line)).trim_end().to_owned();
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() >= RECENT_LINES {
        lines.pop_front();
    }
    lines.push_back(Recent { at: SystemTime::now().into(), level, text });
}

/// A line without the sequences that color it (ECMA-48 §8.3.117).
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        out.push_str(&rest[..at]);
        rest = &rest[at + 2..];
        rest = rest.find('m').map_or("", |end| &rest[end + 1..]);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_taken_out() {
        assert_eq!(plain("a\u{1b}[2mb\u{1b}[0mc"), "abc");
        assert_eq!(plain("a\u{1b}["), "a");
    }
}
