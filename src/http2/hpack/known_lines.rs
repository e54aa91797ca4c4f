//! Lines that were written as indices before, so that one that comes again is neither checked nor looked up once more.

/// Lines that are remembered.
const PLACES: usize = 32;
/// Places of one line: heads of a dozen lines find room for all of them.
const WAYS: usize = 4;
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

/// See the module. A line has one of the places of its hash; where all of them are taken, one of the others leaves.
#[derive(Default)]
pub(super) struct KnownLines {
    all: Option<Box<[Known; PLACES]>>,
    /// Which one leaves.
    turn: usize,
}

impl KnownLines {
    /// The entry of a line, if its index counts from the table of this generation.
    #[inline]
    pub(super) fn find(&self, line: &[u8], generation: u32) -> Option<KnownLine> {
        let first = first_place_of(line);
        let places = &self.all.as_ref()?[first..first + WAYS];
        let known = places.iter().find(|known| {
            known.generation == generation
                && usize::from(known.len) == line.len()
                && known.line.get(..line.len()) == Some(line)
        })?;
        let Known { size, index_len, index, .. } = *known;
        (index_len > 0).then_some(KnownLine { generation, size, index_len, index })
    }

    /// Remembers a line that became this index.
    pub(super) fn learn(&mut self, line: &[u8], size: usize, generation: u32, index: &[u8]) {
        let (Ok(size), true, true) =
            (u16::try_from(size), line.len() <= LONGEST, index.len() <= LONGEST_INDEX)
        else {
            return;
        };
        let first = first_place_of(line);
        let all = self.all.get_or_insert_with(|| Box::new([NONE; PLACES]));
        let places = &mut all[first..first + WAYS];
        let free = places.iter().position(|known| known.index_len == 0 || known.generation != generation);
        let place = free.unwrap_or_else(|| {
            self.turn = (self.turn + 1) % WAYS;
            self.turn
        });
        let known = &mut places[place];
        *known = Known { generation, size, len: line.len() as u8, index_len: index.len() as u8, ..NONE };
        known.index[..index.len()].copy_from_slice(index);
        known.line[..line.len()].copy_from_slice(line);
    }

    /// Gives the memory back.
    pub(super) fn release(&mut self) {
        self.all = None;
    }
}

impl std::fmt::Debug for KnownLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownLines").finish_non_exhaustive()
    }
}

/// By the line's length, beginning and end.
#[inline]
fn first_place_of(line: &[u8]) -> usize {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (first, last) = (word(line.first_chunk()), word(line.last_chunk()));
    let mixed = (first ^ last.rotate_left(29) ^ line.len() as u64).wrapping_mul(0x517c_c1b7_2722_0a95);
    (mixed >> 59) as usize % (PLACES / WAYS) * WAYS
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

    /// Lines that have the same places.
    fn rivals() -> impl Iterator<Item = Vec<u8>> {
        let lines = (0..100_000).map(|number| format!("server: value {number}\r\n").into_bytes());
        lines.filter(|line| first_place_of(line) == 0)
    }

    #[test]
    fn a_line_keeps_its_index_when_another_one_takes_its_place() {
        let rivals: Vec<_> = rivals().take(WAYS + 1).collect();
        let mut lines = KnownLines::default();
        for line in &rivals[..WAYS] {
            lines.learn(line, 39, 1, &[0xbe]);
        }
        let known: Vec<_> = rivals[..WAYS].iter().map(|line| lines.find(line, 1).unwrap()).collect();
        lines.learn(&rivals[WAYS], 39, 1, &[0xbf]);
        assert!(known.iter().all(|known| known.index(1) == Some(&[0xbe][..])));
        assert_eq!(rivals.iter().filter(|line| lines.find(line, 1).is_some()).count(), WAYS);
        assert!(lines.find(&rivals[WAYS], 1).is_some());
    }

    #[test]
    fn a_line_of_a_table_that_has_changed_leaves_first() {
        let rivals: Vec<_> = rivals().take(WAYS + 1).collect();
        let mut lines = KnownLines::default();
        for (line, generation) in rivals.iter().zip([1, 2, 2, 2, 2]) {
            lines.learn(line, 39, generation, &[0xbe]);
        }
        let found: Vec<_> = rivals.iter().map(|line| lines.find(line, 2).is_some()).collect();
        assert_eq!(found, [false, true, true, true, true]);
    }
}
