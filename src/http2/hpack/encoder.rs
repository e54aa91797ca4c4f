//! From fields to header blocks (RFC 7541 §6).

use super::known_lines::{KnownLine, KnownLines};
use super::pseudo_field::PseudoField;
use super::static_table::{ENTRIES, find_name, find_value, hash, hash_value};
use super::table::{DynamicTable, Tag};
use super::{DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD, MAX_TABLE_BYTES, huffman, integer};

/// Fields that are remembered as seen once.
const SEEN: usize = 32;
/// A field may take this part of the table at most: larger ones would evict what repeats.
const LARGEST_SHARE: usize = 4;
/// Strings of so many bytes, and of fewer once they are encoded, have a length of one byte (§5.1).
const SHORT: usize = 127;
/// Indices of `authorization`, `cookie`, `proxy-authorization` and `set-cookie` in the static table.
const SENSITIVE: [usize; 4] = [23, 32, 49, 55];

/// A table, and hashes of fields that were sent once and are not in it.
///
/// A field is put into the table the second time that it is sent. So values that never repeat (request ids, dates, lengths)
/// evict nothing, without a list of their names.
#[derive(Debug, Default)]
struct Indexed {
    table: DynamicTable,
    seen: Seen,
    /// Another number whenever indices change their meaning.
    generation: u32,
    lines: KnownLines,
}

/// Hashes of the fields that were sent last and were not in the table.
#[derive(Debug, Default)]
struct Seen {
    hashes: [u32; SEEN],
    oldest: usize,
}

impl Seen {
    /// Whether a field is among them. If not, it takes the place of the oldest one.
    fn again(&mut self, hash: u32) -> bool {
        // Without an early exit, so that it is done many at a time.
        let found = self.hashes.iter().fold(false, |found, &seen| found | (seen == hash));
        if !found {
            self.hashes[self.oldest] = hash;
            self.oldest = (self.oldest + 1) % SEEN;
        }
        found
    }
}

/// Changes of the table's size that the next block has to begin with (§4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SizeUpdate {
    smallest: u32,
    last: u32,
}

/// The encoder of one direction of a connection.
#[derive(Debug)]
pub struct Encoder {
    indexed: Option<Box<Indexed>>,
    /// Size in force.
    max: u32,
    /// The largest that we want.
    wanted: u32,
    update: Option<SizeUpdate>,
}

impl Encoder {
    /// An encoder with a dynamic table of `wanted` bytes at most, 0 for none.
    pub fn new(wanted: u32) -> Self {
        let wanted = wanted.min(MAX_TABLE_BYTES);
        let mut encoder = Self { indexed: None, max: DEFAULT_TABLE_BYTES, wanted, update: None };
        encoder.set_limit(DEFAULT_TABLE_BYTES);
        encoder
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_limit(&mut self, bytes: u32) {
        let max = bytes.min(self.wanted);
        if max == self.max {
            return;
        }
        let smallest = self.update.map_or(self.max, |update| update.smallest).min(max);
        self.update = Some(SizeUpdate { smallest, last: max });
        self.max = max;
        if let Some(indexed) = &mut self.indexed {
            indexed.table.shrink(max as usize);
            indexed.generation = indexed.generation.wrapping_add(1);
        }
        if max == 0 {
            self.indexed = None;
        }
    }

    /// Begins a block: before its first field.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(update) = self.update.take() else { return };
        if update.smallest < update.last {
            integer::encode(update.smallest as usize, 5, 0x20, out);
        }
        integer::encode(update.last as usize, 5, 0x20, out);
    }

    /// Writes a field, its name in lower case. `never_indexed`: no table of any hop may hold it (§7.1.3). The same holds for
    /// credentials: on a connection that many clients share, a guess of one could be confirmed by its length.
    pub fn field(&mut self, name: &[u8], value: &[u8], never_indexed: bool, out: &mut Vec<u8>) {
        let name_hash = hash(name);
        let static_name = find_name(name, name_hash);
        if never_indexed || static_name.is_some_and(|index| SENSITIVE.contains(&index)) {
            return self.literal(0x10, 4, static_name, name, value, out);
        }
        self.indexed_field((name, name_hash, static_name), value, out);
    }

    /// Writes a pseudo-field.
    pub(in super::super) fn pseudo(&mut self, field: PseudoField, value: &[u8], out: &mut Vec<u8>) {
        self.indexed_field(field.name_in_tables(), value, out);
    }

    /// Writes a field that tables may hold, given its name with its hash and its index in the static table.
    fn indexed_field(
        &mut self,
        (name, name_hash, static_name): (&[u8], u32, Option<usize>),
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        if let Some(index) = static_name.and_then(|index| find_value(index, value)) {
            return integer::encode(index, 7, 0x80, out);
        }
        let max = self.max as usize;
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        if size > max / LARGEST_SHARE {
            return self.literal(0x00, 4, static_name, name, value, out);
        }
        let hash = hash_value(name_hash, value);
        let indexed = self.indexed.get_or_insert_default();
        if let Some(place) = indexed.table.find(name, value, hash) {
            return integer::encode(place + ENTRIES.len() + 1, 7, 0x80, out);
        }
        let dynamic_name = || indexed.table.find_name(name, name_hash).map(|place| place + ENTRIES.len() + 1);
        let index = static_name.or_else(dynamic_name);
        if indexed.seen.again(hash) {
            let tag = Tag { hash, name_hash, ..Tag::default() };
            indexed.table.insert(name, value, max, tag, lower);
            indexed.generation = indexed.generation.wrapping_add(1);
            self.literal(0x40, 6, index, name, value, out);
        } else {
            self.literal(0x00, 4, index, name, value, out);
        }
    }

    fn literal(
        &self,
        pattern: u8,
        bits: u32,
        index: Option<usize>,
        name: &[u8],
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        integer::encode(index.unwrap_or(0), bits, pattern, out);
        if index.is_none() {
            string(name, lower, out);
        }
        string(value, |byte| byte, out);
    }

    /// Whether a line, its end included, was written as an index, and would be again.
    #[inline]
    pub(in super::super) fn known(&self, line: &[u8]) -> Option<KnownLine> {
        let indexed = self.indexed.as_ref()?;
        indexed.lines.find(line, indexed.generation)
    }

    /// The index of a known line; `None` if the table has changed since it was found.
    #[inline]
    pub(in super::super) fn known_index<'l>(&self, line: &'l KnownLine) -> Option<&'l [u8]> {
        line.index(self.indexed.as_ref()?.generation)
    }

    /// Takes note of a line that has just been `written`, if that is an index. `size`: of its field in a list.
    pub(in super::super) fn learn(&mut self, line: &[u8], size: usize, written: &[u8]) {
        let is_index = written.first().is_some_and(|first| first & 0x80 != 0);
        if let Some(indexed) = self.indexed.as_mut().filter(|_| is_index) {
            indexed.lines.learn(line, size, indexed.generation, written);
        }
    }

    /// Gives memory back that a quiet connection does not need.
    pub(in super::super) fn release_memory(&mut self) {
        if let Some(indexed) = &mut self.indexed {
            indexed.lines.release();
        }
    }

    /// Bytes of the dynamic table, as RFC 7541 §4.1 counts them.
    pub fn table_size(&self) -> usize {
        self.indexed.as_ref().map_or(0, |indexed| indexed.table.size())
    }
}

fn lower(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}

/// A string literal (§5.2), in the shorter of its two forms.
#[inline]
fn string(plain: &[u8], fold: fn(u8) -> u8, out: &mut Vec<u8>) {
    // Most strings have a length of one byte, so that they are encoded before it is known.
    let start = out.len();
    let encoded = if plain.len() <= SHORT {
        out.push(0x80);
        huffman::encode(plain, fold, out);
        out.len() - start - 1
    } else {
        huffman::encoded_len(plain, fold)
    };
    if encoded >= plain.len() {
        out.truncate(start);
        integer::encode(plain.len(), 7, 0x00, out);
        out.extend(plain.iter().map(|&byte| fold(byte)));
    } else if plain.len() <= SHORT {
        out[start] |= encoded as u8;
    } else {
        integer::encode(encoded, 7, 0x80, out);
        huffman::encode(plain, fold, out);
    }
}
