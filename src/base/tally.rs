//! Counts of what is open by key, shared by all workers without a lock: connections of a listener, of a client.
//!
//! A table of a fixed size. A key belongs to one cache line, whose eight slots each hold the mark of a key and how
//! many of it are open; a slot whose count is 0 is free. Two workers that enter a new key at the same moment may
//! give it two slots: then its count is the sum of both, and either may be taken from.
//!
//! The table, 1 MiB, is made when the first is counted. A key that finds its line full is not counted: then the
//! bound is not kept for it, rather than a client kept out that may be alone.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::limits::{MAX_COUNT, MAX_COUNTED};

const SLOTS: usize = 8;
const LINES: usize = MAX_COUNTED / SLOTS;
/// Bits of a slot that count; the others mark the key.
const COUNT_BITS: u32 = 24;
const _: () = assert!(MAX_COUNT < 1 << COUNT_BITS && LINES.is_power_of_two());

#[derive(Debug)]
#[repr(align(64))]
struct Line([AtomicU64; SLOTS]);

/// The counts.
#[derive(Debug, Default)]
pub struct Tally {
    lines: OnceLock<Box<[Line]>>,
    /// With random keys, so that a client cannot choose keys that share a line.
    hasher: RandomState,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// What came of an attempt to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is counted: [`Tally::leave`] takes it out again.
    Counted,
    /// So many are open already.
    Full,
    /// There is no room to count it.
    Uncounted,
}

impl Tally {
    /// The key of a value.
    pub fn key(&self, of: &(impl Hash + ?Sized)) -> Key {
        Key(self.hasher.hash_one(of))
    }

    fn line(&self, key: Key) -> &[AtomicU64; SLOTS] {
        let free = || (0..LINES).map(|_| Line([const { AtomicU64::new(0) }; SLOTS])).collect();
        &self.lines.get_or_init(free)[(key.0 % LINES as u64) as usize].0
    }

    /// Counts one more of `key`, unless there are `bound` or more.
    pub fn enter(&self, key: Key, bound: u64) -> Entry {
        let line = self.line(key);
        loop {
            let mut open = 0;
            let mut own = None;
            let mut free = None;
            for slot in line {
                let value = slot.load(Ordering::Acquire);
                if count(value) == 0 {
                    free = free.or(Some((slot, value)));
                } else if mark(value) == mark(key.0) {
                    open += count(value);
                    own = Some((slot, value));
                }
            }
            if open >= bound.min(MAX_COUNT) {
                return Entry::Full;
            }
            let Some((slot, value)) = own.or(free) else {
                return Entry::Uncounted;
            };
            let more = mark(key.0) | (count(value) + 1);
            if slot.compare_exchange(value, more, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Entry::Counted;
            }
        }
    }

    /// Counts one less of `key`: one that was [`Entry::Counted`].
    pub fn leave(&self, key: Key) {
        for slot in self.line(key) {
            let less = |value| (count(value) > 0 && mark(value) == mark(key.0)).then(|| value - 1);
            if slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok() {
                return;
            }
        }
        debug_assert!(false, "what leaves has entered");
    }

    /// How many of `key` are open.
    pub fn open(&self, key: Key) -> u64 {
        let values = self.line(key).iter().map(|slot| slot.load(Ordering::Acquire));
        values.filter(|&value| mark(value) == mark(key.0)).map(count).sum()
    }
}

/// The line's number is not part of the mark: bits from the other end of the hash are.
fn mark(hash: u64) -> u64 {
    hash >> COUNT_BITS << COUNT_BITS
}

fn count(value: u64) -> u64 {
    value & ((1 << COUNT_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_for_each_key() {
        let tally = Tally::default();
        let (a, b) = (tally.key(&"a"), tally.key(&"b"));
        assert_eq!([(); 3].map(|()| tally.enter(a, 2)), [Entry::Counted, Entry::Counted, Entry::Full]);
        assert_eq!(tally.enter(b, 1), Entry::Counted);
        assert_eq!((tally.open(a), tally.open(b)), (2, 1));
        tally.leave(a);
        assert_eq!(tally.enter(a, 2), Entry::Counted);
        assert_eq!(tally.enter(a, 2), Entry::Full);
    }

    #[test]
    fn a_full_line_counts_no_further_key_and_forgets_none() {
        let tally = Tally::default();
        let keys: Vec<_> = (0..=SLOTS as u64).map(|n| Key(n << 40)).collect();
        let entered: Vec<_> = keys.iter().map(|&key| tally.enter(key, 1)).collect();
        assert!(entered[..SLOTS].iter().all(|&entry| entry == Entry::Counted));
        assert_eq!(entered[SLOTS], Entry::Uncounted);
        assert_eq!(tally.enter(keys[0], 1), Entry::Full);
        tally.leave(keys[0]);
        assert_eq!(tally.enter(keys[SLOTS], 1), Entry::Counted);
    }

    /// `threads` enter and leave; returns the most that were in at once under one key.
    fn crowd(tally: &Tally, keys: &[Key], bound: u64) -> u64 {
        let inside: Vec<_> = keys.iter().map(|_| AtomicU64::new(0)).collect();
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (inside, most) = (&inside, &most);
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let at = (round + thread) % keys.len();
                        if tally.enter(keys[at], bound) == Entry::Counted {
                            most.fetch_max(inside[at].fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            inside[at].fetch_sub(1, Ordering::SeqCst);
                            tally.leave(keys[at]);
                        }
                    }
                });
            }
        });
        most.into_inner()
    }

    #[test]
    fn threads_keep_the_bound() {
        let tally = Tally::default();
        let key = tally.key(&"a");
        assert!((1..=2).contains(&crowd(&tally, &[key], 2)));
        assert_eq!(tally.open(key), 0);
    }

    #[test]
    fn threads_that_fight_for_slots_leave_nothing_behind() {
        let tally = Tally::default();
        let keys: Vec<_> = (0..4u64).map(|n| Key(n << 40)).collect();
        crowd(&tally, &keys, 2);
        assert!(keys.iter().all(|&key| tally.open(key) == 0));
    }
}
