//! Lines that were written as indices before, so that one that comes again is neither checked nor looked up once more.

/// Lines that are remembered.
const PLACES: usize = 32;
/// Bytes of the longest one, its end included, and of the longest index.
const LONGEST: usize = 116;
const LONGEST_INDEX: usize = 3;

/// A line, and what it became.
#[derive(Clone, Copy)]
struct Known {
    /// Of the table that its index counts from.
    generation: u32,
    /// What the field counts in a list's size.
    size: u16,
    len: u8,
    index_len: u8,
    index: [u8; LONGEST_INDEX],
    line: [u8; LONGEST],
}

const NONE: Known =
    Known { generation: 0, size: 0, len: 0, index_len: 0, index: [0; LONGEST_INDEX], line: [0; LONGEST] };

/// What is known of a line. It holds the index itself: another line may have the place in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct KnownLine {
    generation: u32,
    /// What its field counts in a list's size.
    pub(in super::super) size: u16,
    index_len: u8,
    index: [u8; LONGEST_INDEX],
}

impl KnownLine {
    /// What the line became, if that counts from the table of this generation.
    #[inline]
    pub(super) fn index(&self, generation: u32) -> Option<&[u8]> {
        if self.generation == generation { self.index.get(..usize::from(self.index_len)) } else { None }
    }
}

/// See the module. Lines have their places by a hash, and a later one takes the place of an earlier one.
#[derive(Default)]
pub(super) struct KnownLines(Option<Box<[Known; PLACES]>>);

impl KnownLines {
    /// The entry of a line, if its index counts from the table of this generation.
    #[inline]
    pub(super) fn find(&self, line: &[u8], generation: u32) -> Option<KnownLine> {
        let known = &self.0.as_ref()?[place_of(line)];
        let same = known.generation == generation && known.line.get(..usize::from(known.len)) == Some(line);
        let same = same && known.len > 0;
        let Known { size, index_len, index, .. } = *known;
        same.then_some(KnownLine { generation, size, index_len, index })
    }

    /// Remembers a line that became this index.
    pub(super) fn learn(&mut self, line: &[u8], size: usize, generation: u32, index: &[u8]) {
        let (Ok(size), true, true) =
            (u16::try_from(size), line.len() <= LONGEST, index.len() <= LONGEST_INDEX)
        else {
            return;
        };
        let all = self.0.get_or_insert_with(|| Box::new([NONE; PLACES]));
        let known = &mut all[place_of(line)];
        *known = Known { generation, size, len: line.len() as u8, index_len: index.len() as u8, ..NONE };
        known.index[..index.len()].copy_from_slice(index);
        known.line[..line.len()].copy_from_slice(line);
    }

    /// Gives the memory back.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }
}

impl std::fmt::Debug for KnownLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownLines").finish_non_exhaustive()
    }
}

/// By the line's length, beginning and end: lines of one field share a place more often than not.
#[inline]
fn place_of(line: &[u8]) -> usize {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (first, last) = (word(line.first_chunk()), word(line.last_chunk()));
    let mixed = (first ^ last.rotate_left(29) ^ line.len() as u64).wrapping_mul(0x517c_c1b7_2722_0a95);
    (mixed >> 59) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_known_for_as_long_as_their_table_stays() {
        let mut lines = KnownLines::default();
        let line = b"server: x\r\n";
        assert_eq!(lines.find(line, 1), None);
        lines.learn(line, 39, 1, &[0xbe]);
        let known = lines.find(line, 1).unwrap();
        assert_eq!((known.size, known.index(1)), (39, Some(&[0xbe][..])));
        assert_eq!((lines.find(line, 2), known.index(2)), (None, None));
        assert_eq!((lines.find(b"server: y\r\n", 1), lines.find(b"", 0)), (None, None));
        for too_long in [&[b'x'; LONGEST + 1][..], &[b'x'; 300]] {
            lines.learn(too_long, 400, 1, &[0xbf]);
            assert_eq!(lines.find(too_long, 1), None);
        }
        lines.release();
        assert_eq!(lines.find(line, 1), None);
    }

    #[test]
    fn a_line_keeps_its_index_when_another_one_takes_its_place() {
        let line = b"server: value 0\r\n".to_vec();
        let mut others = (1..10_000).map(|number| format!("server: value {number}\r\n").into_bytes());
        let other = others.find(|other| place_of(other) == place_of(&line)).unwrap();
        let mut lines = KnownLines::default();
        lines.learn(&line, 39, 1, &[0xbe]);
        let known = lines.find(&line, 1).unwrap();
        lines.learn(&other, 39, 1, &[0xbf]);
        assert_eq!(known.index(1), Some(&[0xbe][..]));
        assert_eq!((lines.find(&line, 1), lines.find(&other, 1).is_some()), (None, true));
    }
}
