//! What rules add to a response, some of it by the response's status, which is known last.

use std::borrow::Cow;
use std::sync::Arc;

use super::Rules;
use super::headers::Conditional;
use crate::http::remove_lines;

/// Field lines that are added to a response, each rule's behind those of the rules before it.
#[derive(Debug, Default)]
pub(super) struct ResponseLines {
    /// Those whatever the status, before the first one that asks for it.
    lines: Vec<u8>,
    by_status: Vec<StatusLines>,
}

/// Lines of a change that asks for the status.
#[derive(Debug)]
struct StatusLines {
    /// The rules that have the change.
    rules: Arc<Rules>,
    /// Its number among the conditional ones.
    at: usize,
    lines: Vec<u8>,
    /// Those behind it, whatever the status.
    after: Vec<u8>,
}

impl StatusLines {
    /// The change, if it is for this status.
    fn of(&self, status: u16) -> Option<&Conditional> {
        let change = self.rules.headers.as_ref()?.conditional(self.at);
        change.is_for(status).then_some(change)
    }
}

impl ResponseLines {
    /// Appends lines, whatever the status.
    pub(super) fn extend(&mut self, lines: &[u8]) {
        self.by_status.last_mut().map_or(&mut self.lines, |last| &mut last.after).extend_from_slice(lines);
    }

    /// Appends those of the conditional change `at` of `rules`, for its statuses.
    pub(super) fn push_by_status(&mut self, rules: &Arc<Rules>, at: usize, lines: Vec<u8>) {
        self.by_status.push(StatusLines { rules: Arc::clone(rules), at, lines, after: Vec::new() });
    }

    /// Takes out lines of these names, whatever the status.
    pub(super) fn remove(&mut self, removed: impl Fn(&[u8]) -> bool) {
        remove_lines(&mut self.lines, &removed);
        for it in &mut self.by_status {
            remove_lines(&mut it.lines, &removed);
            remove_lines(&mut it.after, &removed);
        }
    }

    /// Those of a response with this status.
    pub(super) fn of(&self, status: u16) -> Cow<'_, [u8]> {
        if self.by_status.is_empty() {
            return Cow::Borrowed(&self.lines);
        }
        let mut lines = self.lines.clone();
        for it in &self.by_status {
            if let Some(change) = it.of(status) {
                remove_lines(&mut lines, |name| change.drops_from_response(name));
                lines.extend_from_slice(&it.lines);
            }
            lines.extend_from_slice(&it.after);
        }
        Cow::Owned(lines)
    }

    /// Whether a change by the status takes a field of this name out of such a response.
    pub(super) fn drops(&self, status: u16, name: &[u8]) -> bool {
        self.by_status.iter().filter_map(|it| it.of(status)).any(|change| change.drops_from_response(name))
    }
}
