//! The dynamic table (RFC 7541 §2.3.2 and §4).

use std::collections::VecDeque;

use super::ENTRY_OVERHEAD;
use super::static_table::StaticName;

/// An entry. Its text is in the table's, name first.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Counted from the first byte ever put in, wrapping around.
    start: u32,
    name_len: u16,
    value_len: u16,
    tag: Tag,
}

/// What is known of an entry beside its text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tag {
    /// Of name and value, for the encoder.
    pub(super) hash: u32,
    /// Of the name alone, for the encoder.
    pub(super) name_hash: u32,
    /// For the decoder.
    pub(super) static_name: StaticName,
}

/// Fields in the order of their insertion, of which the oldest leave.
///
/// `entries` are in one piece of `text`, the oldest first. What stands before them is of entries that left, and never
/// more than they are: `text.len() <= 2 * live + the entry put in last`.
#[derive(Debug, Default)]
pub(super) struct DynamicTable {
    text: Vec<u8>,
    /// The number of the byte `text[0]`.
    base: u32,
    entries: VecDeque<Entry>,
    /// Bytes as RFC 7541 §4.1 counts them.
    size: usize,
}

impl DynamicTable {
    fn text_of(&self, entry: Entry) -> (&[u8], &[u8]) {
        let start = entry.start.wrapping_sub(self.base) as usize;
        let value = start + usize::from(entry.name_len);
        (&self.text[start..value], &self.text[value..value + usize::from(entry.value_len)])
    }

    /// The field `place` places behind the newest.
    pub(super) fn get(&self, place: usize) -> Option<(&[u8], &[u8], StaticName)> {
        let at = self.entries.len().checked_sub(place + 1)?;
        let entry = self.entries[at];
        let (name, value) = self.text_of(entry);
        Some((name, value, entry.tag.static_name))
    }

    /// The place of a field with this hash, and this name and value.
    pub(super) fn find(&self, name: &[u8], value: &[u8], hash: u32) -> Option<usize> {
        self.entries.iter().rev().position(|entry| {
            entry.tag.hash == hash && {
                let (own_name, own_value) = self.text_of(*entry);
                own_name.eq_ignore_ascii_case(name) && own_value == value
            }
        })
    }

    /// The place of a field with this name.
    pub(super) fn find_name(&self, name: &[u8], hash: u32) -> Option<usize> {
        let same =
            |entry: &Entry| entry.tag.name_hash == hash && self.text_of(*entry).0.eq_ignore_ascii_case(name);
        self.entries.iter().rev().position(same)
    }

    /// Puts a field in, each byte of its name after `fold`. One that is larger than `max` empties the table (§4.4).
    /// Returns how many entries left.
    pub(super) fn insert(
        &mut self,
        name: &[u8],
        value: &[u8],
        max: usize,
        tag: Tag,
        fold: fn(u8) -> u8,
    ) -> u32 {
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        let evicted = self.shrink(max.saturating_sub(size));
        if size > max {
            return evicted;
        }
        let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u16::try_from(value.len())) else {
            return evicted; // no table is as large
        };
        let start = self.base.wrapping_add(self.text.len() as u32);
        self.text.extend(name.iter().map(|&byte| fold(byte)));
        self.text.extend_from_slice(value);
        self.entries.push_back(Entry { start, name_len, value_len, tag });
        self.size += size;
        evicted
    }

    /// Evicts the oldest entries until the size is `max` at most (§4.3). Returns how many left.
    pub(super) fn shrink(&mut self, max: usize) -> u32 {
        let mut evicted = 0;
        while self.size > max {
            let Some(oldest) = self.entries.pop_front() else { break };
            evicted += 1;
            self.size -= usize::from(oldest.name_len) + usize::from(oldest.value_len) + ENTRY_OVERHEAD;
        }
        let end = self.base.wrapping_add(self.text.len() as u32);
        let first = self.entries.front().map_or(end, |entry| entry.start);
        let left = first.wrapping_sub(self.base) as usize;
        if left > self.text.len() / 2 || left == self.text.len() {
            self.text.drain(..left);
            self.base = first;
        }
        evicted
    }

    /// Bytes as RFC 7541 §4.1 counts them.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (0..).map_while(|place| self.get(place)).map(|(name, value, _)| (text(name), text(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// As a list of pairs of strings would do it.
        #[test]
        fn entries_are_those_that_fit_and_the_text_stays_small(
            inserted in proptest::collection::vec(("[a-z]{0,20}", "[a-z]{0,60}", 40usize..300), 0..100)
        ) {
            let mut table = DynamicTable::default();
            let mut model: Vec<(String, String)> = Vec::new();
            for (name, value, max) in inserted {
                table.insert(name.as_bytes(), value.as_bytes(), max, Tag::default(), |byte| byte);
                model.insert(0, (name, value));
                let size = |model: &[(String, String)]| {
                    model.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>()
                };
                while size(&model) > max {
                    model.pop();
                }
                prop_assert_eq!(table.entries(), model.clone());
                prop_assert_eq!(table.size(), size(&model));
                let live: usize = model.iter().map(|(name, value)| name.len() + value.len()).sum();
                prop_assert!(table.text.len() <= 2 * live + 80);
            }
        }
    }
}
