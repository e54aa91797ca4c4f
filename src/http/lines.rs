//! Field lines as HTTP/1 writes them, `name: value` and CRLF one behind another: the form in which fields are kept that
//! go on. Another version reads names and values from them.

use std::fmt;
use std::io::Write as _;
use std::ops::Range;

use memchr::memchr;

use super::Field;

/// The first of some lines with its end, and those behind it.
#[inline]
pub(crate) fn first_line(lines: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', lines).map_or(lines.len(), |at| at + 1);
    (end > 0).then(|| lines.split_at(end))
}

/// The name and the value of a field line.
#[inline]
pub(crate) fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

/// Field lines, one after the other, each with its end.
#[derive(Clone, Debug)]
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (line, rest) = first_line(self.rest)?;
        self.rest = rest;
        Some(line)
    }
}

/// The names and values of field lines.
pub(crate) fn read_lines(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    Lines { rest: lines }.filter_map(split_line)
}

/// Appends those of some field lines whose names are not `removed`.
pub(crate) fn copy_lines(lines: &[u8], removed: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
    for line in (Lines { rest: lines }) {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if !removed(name) {
            out.extend_from_slice(line);
        }
    }
}

/// Takes out of field lines those whose names are `removed`.
pub(crate) fn remove_lines(lines: &mut Vec<u8>, removed: impl Fn(&[u8]) -> bool) {
    let (mut read, mut kept) = (0, 0);
    while let Some(len) = lines[read..].iter().position(|&byte| byte == b'\n') {
        let line = read..read + len + 1;
        let name = lines[line.clone()].split(|&byte| byte == b':').next().unwrap_or_default();
        read = line.end;
        if !removed(name) {
            kept += line.len();
            lines.copy_within(line.clone(), kept - line.len());
        }
    }
    lines.truncate(kept);
}

/// Appends a field line.
pub(crate) fn put_line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The same with a value that is written as text.
pub(crate) fn put_text_line(name: &str, value: impl fmt::Display, out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{name}: {value}\r\n");
}

/// What goes on of the fields of a head: lines that came as they would be written, and stand together, leave in one copy.
pub(crate) struct LineCopy<'b> {
    /// What the fields point into.
    block: &'b [u8],
    /// Lines to be copied.
    run: Range<usize>,
}

impl<'b> LineCopy<'b> {
    /// For fields that point into `block`, behind `run`, which is copied in front of them.
    pub(crate) fn new(block: &'b [u8], run: Range<usize>) -> Self {
        Self { block, run }
    }

    /// The next field.
    #[inline]
    pub(crate) fn put(&mut self, field: &Field<'_>, out: &mut Vec<u8>) {
        let at = |bytes: &[u8]| bytes.as_ptr().addr().wrapping_sub(self.block.as_ptr().addr());
        let (name, value) = (field.name.as_bytes(), at(field.value));
        let start = value.wrapping_sub(name.len() + 2);
        let end = value.wrapping_add(field.value.len() + 2);
        // One space before the value, and none after it. A name that HTTP/2 has in a table does not point into the block.
        let as_written = self.block.get(value.wrapping_sub(2)..value) == Some(b": ")
            && self.block.get(end.wrapping_sub(2)..end) == Some(b"\r\n")
            && (at(name) == start || self.block.get(start..value.wrapping_sub(2)) == Some(name));
        if as_written && start == self.run.end {
            self.run.end = end;
            return;
        }
        self.end(out);
        if as_written {
            self.run = start..end;
        } else {
            put_line(field.name, field.value, out);
        }
    }

    /// Copies what is still to be copied.
    #[inline]
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.block[std::mem::take(&mut self.run)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::is_same_name;

    #[test]
    fn lines_are_read_copied_and_taken_out() {
        let lines = b"X-A: 1\r\nx_a: 2\r\nB: X-A: 3\r\nC: \r\n";
        let read: Vec<_> = read_lines(lines).collect();
        assert_eq!(read, [(&b"X-A"[..], &b"1"[..]), (b"x_a", b"2"), (b"B", b"X-A: 3"), (b"C", b"")]);
        for (name, kept) in [
            ("x-a", &b"B: X-A: 3\r\nC: \r\n"[..]),
            ("b", b"X-A: 1\r\nx_a: 2\r\nC: \r\n"),
            ("c", b"X-A: 1\r\nx_a: 2\r\nB: X-A: 3\r\n"),
            ("d", lines),
        ] {
            let removed = |other: &[u8]| is_same_name(other, name.as_bytes());
            let mut copied = Vec::new();
            copy_lines(lines, removed, &mut copied);
            assert_eq!(copied, kept);
            let mut left = lines.to_vec();
            remove_lines(&mut left, removed);
            assert_eq!(left, kept);
        }
    }
}
