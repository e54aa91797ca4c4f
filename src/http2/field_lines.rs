//! What a head to be sent has behind its pseudo-fields.

use std::iter::Empty;

use super::fields::Field;
use crate::http::read_lines;

/// Fields to be sent: lines first, as HTTP/1 writes them, and then others. Lines that repeat from head to head cost little.
pub trait FieldSource<'a>: Clone {
    /// `name: value` and CRLF, one behind another.
    fn lines(&self) -> &'a [u8];
    /// The fields behind them.
    fn fields(self) -> impl Iterator<Item = Field<'a>> + Clone;
}

impl<'a, I: Iterator<Item = Field<'a>> + Clone> FieldSource<'a> for I {
    fn lines(&self) -> &'a [u8] {
        &[]
    }

    fn fields(self) -> impl Iterator<Item = Field<'a>> + Clone {
        self
    }
}

/// Lines, and fields behind them.
#[derive(Clone, Copy, Debug)]
pub struct FieldLines<'a, I> {
    /// See [`FieldSource::lines`].
    pub lines: &'a [u8],
    /// See [`FieldSource::fields`].
    pub more: I,
}

impl<'a> FieldLines<'a, Empty<Field<'a>>> {
    /// These lines, and nothing else.
    pub fn of(lines: &'a [u8]) -> Self {
        Self { lines, more: std::iter::empty() }
    }
}

impl<'a, I: Iterator<Item = Field<'a>> + Clone> FieldSource<'a> for FieldLines<'a, I> {
    fn lines(&self) -> &'a [u8] {
        self.lines
    }

    fn fields(self) -> impl Iterator<Item = Field<'a>> + Clone {
        self.more
    }
}

/// The fields of lines.
pub(super) fn fields_of(lines: &[u8]) -> impl Iterator<Item = Field<'_>> + Clone {
    read_lines(lines).map(|(name, value)| Field { name, value, never_indexed: false })
}
