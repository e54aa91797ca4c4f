//! Choosing an endpoint.

use std::cell::Cell;

/// Smooth weighted round-robin over endpoints `0..n`, with the cursor of one worker.
///
/// Of every `sum of weights` picks each endpoint gets its weight, as evenly spread as can be: weights 5, 1, 1 give
/// a a b a c a a rather than a a a a a b c. Equal weights cost a step of the cursor; others one pass over the endpoints.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    cursor: Cursor,
    endpoints: usize,
}

#[derive(Debug)]
enum Cursor {
    /// All weigh the same: the next one.
    Even(Cell<usize>),
    /// How far each endpoint's due exceeds what it got. They sum to 0.
    Weighted { owed: Box<[(u32, Cell<i64>)]>, total: i64 },
}

impl RoundRobin {
    /// Over `weights`, of which there is at least one, none 0. `start` moves the first pick: give each worker its
    /// own number, so that they do not all begin with the same endpoint.
    ///
    /// # Panics
    /// There is no weight, or one of 0; the config's check lets neither through.
    pub(crate) fn new(weights: &[u32], start: usize) -> Self {
        assert!(!weights.is_empty(), "an upstream has at least one endpoint");
        assert!(weights.iter().all(|&weight| weight > 0), "a weight is at least 1");
        let endpoints = weights.len();
        let start = start % endpoints;
        if weights.iter().all(|&weight| weight == weights[0]) {
            return Self { cursor: Cursor::Even(Cell::new(start)), endpoints };
        }
        let total = weights.iter().map(|&weight| i64::from(weight)).sum();
        let owed = weights.iter().map(|&weight| (weight, Cell::new(0))).collect();
        let round_robin = Self { cursor: Cursor::Weighted { owed, total }, endpoints };
        for _ in 0..start {
            round_robin.pick();
        }
        round_robin
    }

    /// The endpoint whose turn it is.
    #[inline]
    pub(crate) fn pick(&self) -> usize {
        match &self.cursor {
            Cursor::Even(next) => {
                let picked = next.get();
                next.set(if picked + 1 == self.endpoints { 0 } else { picked + 1 });
                picked
            }
            Cursor::Weighted { owed, total } => {
                let mut picked = (0, i64::MIN);
                for (endpoint, (weight, due)) in owed.iter().enumerate() {
                    due.set(due.get() + i64::from(*weight));
                    if due.get() > picked.1 {
                        picked = (endpoint, due.get());
                    }
                }
                owed[picked.0].1.set(picked.1 - total);
                picked.0
            }
        }
    }

    /// Every endpoint but `first`, each once, in order from the one after it: where to go when it cannot be reached.
    pub(crate) fn others(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        let endpoints = self.endpoints;
        (1..endpoints).map(move |step| (first + step) % endpoints)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picks(round_robin: &RoundRobin, count: usize) -> Vec<usize> {
        (0..count).map(|_| round_robin.pick()).collect()
    }

    #[test]
    fn equal_weights_take_turns() {
        assert_eq!(picks(&RoundRobin::new(&[1, 1, 1], 0), 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picks(&RoundRobin::new(&[7, 7], 0), 3), [0, 1, 0]);
        assert_eq!(picks(&RoundRobin::new(&[3], 5), 3), [0, 0, 0]);
    }

    #[test]
    fn workers_begin_at_different_endpoints() {
        assert_eq!(picks(&RoundRobin::new(&[1, 1, 1], 4), 3), [1, 2, 0]);
        assert_eq!(picks(&RoundRobin::new(&[5, 1, 1], 2), 3), [1, 0, 2]);
    }

    #[test]
    fn a_heavy_endpoint_is_spread_among_the_others() {
        assert_eq!(picks(&RoundRobin::new(&[5, 1, 1], 0), 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn the_others_are_all_but_the_first() {
        let round_robin = RoundRobin::new(&[1, 2, 3, 4], 0);
        assert_eq!(round_robin.others(2).collect::<Vec<_>>(), [3, 0, 1]);
        assert_eq!(round_robin.others(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(RoundRobin::new(&[1], 0).others(0).count(), 0);
    }

    proptest! {
        #[test]
        fn each_gets_its_weight_in_every_round(weights in prop::collection::vec(1u32..20, 1..8)) {
            let total: u32 = weights.iter().sum();
            let round_robin = RoundRobin::new(&weights, 0);
            for _ in 0..3 {
                let mut got = vec![0; weights.len()];
                for picked in picks(&round_robin, total as usize) {
                    got[picked] += 1;
                }
                // Equal weights share a round evenly as well, since it is a multiple of their number.
                prop_assert_eq!(&got, &weights);
            }
        }
    }
}
