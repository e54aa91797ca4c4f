//! How long the head of a request may be: `tune.bufsize`, `tune.maxrewrite` and `tune.http.maxhdr`.

use super::super::draft::Section;
use super::super::report::Line;
use super::super::values;
use super::HaProxy;
use crate::base::limits::{MAX_HEAD_BYTES, MAX_HEADERS};

/// What HAProxy has by default.
const BUFFER: u64 = 16_384;
const REWRITE: u64 = 1024;

impl HaProxy<'_, '_> {
    /// The bounds of a listener's heads. `line`: that of its address.
    pub(super) fn head_bounds(&mut self, listener: &mut Section, line: Line) {
        const MOST: u64 = MAX_HEAD_BYTES as u64;
        const MAX_FIELDS: u64 = MAX_HEADERS as u64;
        let of = |name: &str| {
            let item = self.bounds.get(name)?;
            Some((values::bytes(item.word(1))?, item.line))
        };
        let (buffer, kept) = (of("tune.bufsize"), of("tune.maxrewrite"));
        let fields = of("tune.http.maxhdr");
        let size = buffer.map_or(BUFFER, |(size, _)| size);
        let kept_bytes = kept.map_or(REWRITE, |(size, _)| size).min(size / 2);
        let most = size.saturating_sub(kept_bytes).clamp(1024, MOST);
        if let Some((_, line)) = buffer {
            listener.set("limits.head_bytes", values::size(most), line);
        }
        // The target may have all of a head but its fields.
        listener.set("limits.target_bytes", values::size(most), buffer.map_or(line, |(_, line)| line));
        for (_, line) in buffer.into_iter().chain(kept) {
            match size.saturating_sub(kept_bytes) > MOST {
                true => self.report.note(line, "a head has 32 KiB at most"),
                false => self.report.done(line),
            }
        }
        if let Some((count, line)) = fields {
            listener.set("limits.headers", count.clamp(1, MAX_FIELDS).to_string(), line);
            match count > MAX_FIELDS {
                true => self.report.note(line, "a head has 256 fields at most"),
                false => self.report.done(line),
            }
        }
    }
}
