//! From header blocks to fields (RFC 7541 §3).

use super::super::error::{Flood, HpackError, Violation};
use super::super::fields::FieldList;
use super::static_table::{ENTRIES, StaticName};
use super::table::{DynamicTable, Tag};
use super::{DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD, MAX_TABLE_BYTES, huffman, integer};

/// A block may decode to so many times the list's bound before its connection ends. Up to that it is decoded to its end,
/// which keeps the table, and only its stream is refused.
const MAX_OVERFLOW: usize = 4;
/// Most table size updates at the beginning of a block: the smallest and the last one (RFC 7541 §4.2).
const MAX_SIZE_UPDATES: usize = 2;
/// So many entries that leave the table one table size update counts as: the table is made anew after it.
const SIZE_UPDATE_CHURN: u32 = 64;

/// How a literal field treats the dynamic table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexing {
    Incremental,
    Without,
    Never,
}

/// The decoder of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Option<Box<DynamicTable>>,
    /// The size that the peer's encoder chose last.
    max: u32,
    /// SETTINGS_HEADER_TABLE_SIZE in force.
    limit: u32,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: None, max: DEFAULT_TABLE_BYTES, limit: DEFAULT_TABLE_BYTES }
    }
}

impl Decoder {
    /// Our SETTINGS_HEADER_TABLE_SIZE is in force: the peer has acknowledged it.
    pub fn set_limit(&mut self, bytes: u32) {
        self.limit = bytes.min(MAX_TABLE_BYTES);
    }

    /// Decodes a whole header block into `fields`, which was cleared with its bounds. A list beyond its bounds is
    /// decoded all the same, and `fields` reports it. Returns how many entries left the table, which a peer can make it do
    /// without use: a table size update counts as 64.
    ///
    /// # Errors
    /// The block is invalid, or it decodes to far more than the bounds. The connection cannot go on.
    pub fn decode(&mut self, block: &[u8], fields: &mut FieldList) -> Result<u32, Violation> {
        let mut at = 0;
        let mut churn = self.size_updates(block, &mut at)?;
        while let Some(&first) = block.get(at) {
            match first {
                0x80.. => {
                    let index = integer::decode(block, &mut at, 7)? as usize;
                    let (name, value, static_name) = self.entry(index)?;
                    fields.push_named(name, value, static_name);
                }
                0x40.. => churn += self.literal(block, &mut at, 6, Indexing::Incremental, fields)?,
                0x20.. => return Err(HpackError::TableSizeMisplaced.into()),
                0x10.. => churn += self.literal(block, &mut at, 4, Indexing::Never, fields)?,
                _ => churn += self.literal(block, &mut at, 4, Indexing::Without, fields)?,
            }
            if fields.size() > fields.max_size().saturating_mul(MAX_OVERFLOW) {
                return Err(Violation::Flood(Flood::HeaderBlock));
            }
        }
        Ok(churn)
    }

    /// Table size updates (§6.3). They stand before the first field only.
    fn size_updates(&mut self, block: &[u8], at: &mut usize) -> Result<u32, HpackError> {
        let (mut updates, mut churn) = (0, 0);
        while let Some(0x20..0x40) = block.get(*at) {
            let size = integer::decode(block, at, 5)?;
            updates += 1;
            if updates > MAX_SIZE_UPDATES {
                return Err(HpackError::TableSizeMisplaced);
            }
            if size > self.limit {
                return Err(HpackError::TableSizeTooLarge);
            }
            self.max = size;
            churn += SIZE_UPDATE_CHURN;
            if let Some(table) = &mut self.table {
                churn += table.shrink(size as usize);
                if size == 0 {
                    self.table = None;
                }
            }
        }
        if self.max > self.limit { Err(HpackError::TableSizeMissing) } else { Ok(churn) }
    }

    /// The field of an index (§2.3.3).
    #[inline]
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8], StaticName), HpackError> {
        let place = index.checked_sub(1).ok_or(HpackError::IndexZero)?;
        match ENTRIES.get(place) {
            Some(&(name, value)) => Ok((name, value, StaticName::of(index))),
            None => {
                let table = self.table.as_ref().ok_or(HpackError::IndexUnknown)?;
                table.get(place - ENTRIES.len()).ok_or(HpackError::IndexUnknown)
            }
        }
    }

    /// A literal field (§6.2). Returns how many entries left the table for it.
    fn literal(
        &mut self,
        block: &[u8],
        at: &mut usize,
        bits: u32,
        indexing: Indexing,
        fields: &mut FieldList,
    ) -> Result<u32, HpackError> {
        let index = integer::decode(block, at, bits)? as usize;
        let start = fields.text.len();
        let mut static_name = StaticName::default();
        if index == 0 {
            string(block, at, &mut fields.text)?;
        } else {
            let (name, _, known) = self.entry(index)?;
            fields.text.extend_from_slice(name);
            static_name = known;
        }
        let value_start = fields.begin_value();
        string(block, at, &mut fields.text)?;
        let mut evicted = 0;
        if indexing == Indexing::Incremental {
            let max = self.max as usize;
            let (name, value) = fields.appended(start, value_start);
            if name.len() + value.len() + ENTRY_OVERHEAD <= max || self.table.is_some() {
                let table = self.table.get_or_insert_default();
                let tag = Tag { static_name, ..Tag::default() };
                evicted = table.insert(name, value, max, tag, |byte| byte);
            }
        }
        fields.close(start, value_start, indexing == Indexing::Never, static_name);
        Ok(evicted)
    }

    /// Bytes of the dynamic table, as RFC 7541 §4.1 counts them.
    pub fn table_size(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.size())
    }

    #[cfg(test)]
    pub(in super::super) fn entries(&self) -> Vec<(String, String)> {
        self.table.as_ref().map(|table| table.entries()).unwrap_or_default()
    }
}

/// A string literal (§5.2), appended to `out`.
fn string(block: &[u8], at: &mut usize, out: &mut Vec<u8>) -> Result<(), HpackError> {
    let is_huffman = block.get(*at).is_some_and(|first| first & 0x80 != 0);
    let len = integer::decode(block, at, 7)? as usize;
    let rest = &block[*at..];
    let encoded = rest.get(..len).ok_or(HpackError::Truncated)?;
    *at += len;
    if is_huffman {
        huffman::decode(encoded, out)
    } else {
        out.extend_from_slice(encoded);
        Ok(())
    }
}
