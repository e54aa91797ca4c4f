//! Random numbers for balancing: fast, and the same for the same seed. Not for secrets.

use std::cell::Cell;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Debug)]
pub(super) struct Generator(Cell<u64>);

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(mix(seed)))
    }

    /// Goes on where `last` stopped.
    pub(super) fn follow(&self, last: &Self) {
        self.0.set(last.0.get());
    }

    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        mix(state)
    }

    /// A number below `bound`, which is not 0. Its bias is below `bound` / 2⁶⁴.
    pub(super) fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// The finaliser of SplitMix64: a bijection in which each bit of the input changes half of the output's.
#[inline]
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
