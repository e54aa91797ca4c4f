//! The static table (RFC 7541 Appendix A), and the hash by which names are found.

/// The entries, from index 1 on.
pub(super) const ENTRIES: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// Whose name a field has, where that came from the static table, itself or through the dynamic one: then it need not be
/// checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct StaticName(u8);

impl StaticName {
    /// The name of the entry with this index.
    #[inline]
    pub(super) fn of(index: usize) -> Self {
        Self(if index <= ENTRIES.len() { index as u8 } else { 0 })
    }

    /// The name; `None` if it did not come from the table.
    #[inline]
    pub(in super::super) fn text(self) -> Option<&'static str> {
        TEXTS.get(usize::from(self.0).wrapping_sub(1)).copied()
    }
}

/// The names as text.
static TEXTS: [&str; ENTRIES.len()] = texts();

const fn texts() -> [&'static str; ENTRIES.len()] {
    let mut texts = [""; ENTRIES.len()];
    let mut entry = 0;
    while entry < ENTRIES.len() {
        texts[entry] = match std::str::from_utf8(ENTRIES[entry].0) {
            Ok(text) => text,
            Err(_) => panic!("a name of the static table is not text"),
        };
        entry += 1;
    }
    texts
}

/// Places of [`NAMES`]: enough for short ways to each.
const PLACES: usize = 256;

/// The first index of each name, in the place of its hash or behind it. 0: none.
static NAMES: [u8; PLACES] = names();

const fn names() -> [u8; PLACES] {
    let mut places = [0; PLACES];
    let mut entry = 0;
    while entry < ENTRIES.len() {
        let name = ENTRIES[entry].0;
        if entry == 0 || !same(ENTRIES[entry - 1].0, name) {
            let mut place = hash(name) as usize % PLACES;
            while places[place] != 0 {
                place = (place + 1) % PLACES;
            }
            places[place] = entry as u8 + 1;
        }
        entry += 1;
    }
    places
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// A hash of a name, the same for upper and lower case.
#[inline]
pub(super) const fn hash(name: &[u8]) -> u32 {
    mix(name, 0x2020_2020_2020_2020, name.len() as u64)
}

/// A hash of a field, from its name's hash and its value.
#[inline]
pub(super) const fn hash_value(name: u32, value: &[u8]) -> u32 {
    mix(value, 0, (name as u64) << 16 | value.len() as u64)
}

/// Eight bytes at a time, each with the bits of `fold` set.
const fn mix(bytes: &[u8], fold: u64, seed: u64) -> u32 {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let mut hash = seed.wrapping_mul(FACTOR);
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        hash = (hash.rotate_left(5) ^ (u64::from_le_bytes(*word) | fold)).wrapping_mul(FACTOR);
        rest = behind;
    }
    let mut last = 0;
    if let Some(word) = bytes.last_chunk::<8>() {
        // Some of them once more: the length tells where they begin.
        last = u64::from_le_bytes(*word);
    } else {
        while let [byte, behind @ ..] = rest {
            last = last << 8 | *byte as u64;
            rest = behind;
        }
    }
    hash = (hash.rotate_left(5) ^ (last | fold)).wrapping_mul(FACTOR);
    (hash >> 32) as u32
}

/// The first index of the entries with this name, given its hash.
#[inline]
pub(super) fn find_name(name: &[u8], hash: u32) -> Option<usize> {
    let mut place = hash as usize % PLACES;
    loop {
        let index = usize::from(NAMES[place]);
        if index == 0 {
            return None;
        }
        if ENTRIES[index - 1].0.eq_ignore_ascii_case(name) {
            return Some(index);
        }
        place = (place + 1) % PLACES;
    }
}

/// How many entries from each index on have its name and a value. Index 0 is none.
static VALUES: [u8; ENTRIES.len() + 1] = values();

const fn values() -> [u8; ENTRIES.len() + 1] {
    let mut counts = [0; ENTRIES.len() + 1];
    let mut index = ENTRIES.len();
    while index > 0 {
        if !ENTRIES[index - 1].1.is_empty() {
            let goes_on = index < ENTRIES.len() && same(ENTRIES[index - 1].0, ENTRIES[index].0);
            counts[index] = 1 + if goes_on { counts[index + 1] } else { 0 };
        }
        index -= 1;
    }
    counts
}

/// The index of this field, where its name has the index `name`.
#[inline]
pub(super) fn find_value(name: usize, value: &[u8]) -> Option<usize> {
    let valued = &ENTRIES[name - 1..name - 1 + usize::from(VALUES[name])];
    valued.iter().position(|entry| entry.1 == value).map(|place| name + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_in_any_case() {
        for (index, (name, value)) in (1..).zip(ENTRIES) {
            let first = ENTRIES.iter().position(|entry| entry.0 == name).unwrap() + 1;
            assert_eq!(find_name(name, hash(name)), Some(first));
            let upper = name.to_ascii_uppercase();
            assert_eq!(find_name(&upper, hash(&upper)), Some(first));
            assert_eq!(find_value(first, value), (!value.is_empty()).then_some(index));
        }
        for name in [&b""[..], b"x", b"content-lengt", b"content-length-", b":statu"] {
            assert_eq!(find_name(name, hash(name)), None);
        }
    }
}
