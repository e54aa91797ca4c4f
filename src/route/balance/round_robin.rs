//! Smooth weighted round robin.

use std::cell::Cell;

use super::Endpoints;

/// The state of one worker.
///
/// Of every `sum of weights` picks each endpoint gets its weight, as evenly spread as can be: weights 5, 1, 1 give
/// a a b a c a a rather than a a a a a b c. Equal weights cost a step of the cursor; others one pass over the endpoints.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    /// The next endpoint while all weights are the same.
    cursor: Cell<usize>,
    /// How far each endpoint's due exceeds what it got, while weights differ.
    owed: Box<[Cell<i64>]>,
}

impl RoundRobin {
    /// One for endpoints of these weights. `start` moves the first pick.
    ///
    /// # Panics
    /// There is no weight; the config's check lets no such upstream through.
    pub(crate) fn new(weights: &[u32], start: usize) -> Self {
        assert!(!weights.is_empty(), "an upstream has at least one endpoint");
        let start = start % weights.len();
        let round_robin =
            Self { cursor: Cell::new(start), owed: weights.iter().map(|_| Cell::new(0)).collect() };
        if weights.iter().any(|&weight| weight != weights[0]) {
            for _ in 0..start {
                round_robin.pick_weighted(|endpoint| weights[endpoint]);
            }
        }
        round_robin
    }

    /// Goes on where `last` stopped. `was`: the index there of an endpoint, if it was there.
    pub(super) fn follow(&self, last: &Self, was: impl Fn(usize) -> Option<usize>) {
        let places: Vec<Option<usize>> = (0..self.owed.len()).map(was).collect();
        for (owed, place) in self.owed.iter().zip(&places) {
            let kept = place.and_then(|place| last.owed.get(place));
            owed.set(kept.map_or(0, Cell::get));
        }
        // The first that stays, from the one whose turn it was.
        let endpoints = last.owed.len();
        let turns = (0..endpoints).map(|step| (last.cursor.get() + step) % endpoints);
        let mut next = turns.filter_map(|turn| places.iter().position(|place| *place == Some(turn)));
        if let Some(next) = next.next() {
            self.cursor.set(next);
        }
    }

    /// The endpoint whose turn it is. Those with the weight 0 lose their turn, to all others alike.
    #[inline]
    pub(super) fn pick(&self, among: &impl Endpoints) -> Option<usize> {
        if !among.is_even() {
            return self.pick_weighted(|endpoint| among.weight(endpoint));
        }
        let endpoints = among.len();
        let mut at = self.cursor.get();
        for _ in 0..endpoints {
            let next = if at + 1 >= endpoints { 0 } else { at + 1 };
            if among.weight(at) > 0 {
                self.cursor.set(next);
                return Some(at);
            }
            at = next;
        }
        None
    }

    fn pick_weighted(&self, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let (mut picked, mut most, mut total) = (None, i64::MIN, 0);
        for (endpoint, owed) in self.owed.iter().enumerate() {
            let weight = i64::from(weight(endpoint));
            if weight == 0 {
                continue;
            }
            total += weight;
            let due = owed.get() + weight;
            owed.set(due);
            if due > most {
                (picked, most) = (Some(endpoint), due);
            }
        }
        let picked = picked?;
        self.owed[picked].set(most - total);
        Some(picked)
    }
}

/// The first endpoint after `last` that may be chosen, in the order of the config.
pub(super) fn next(among: &impl Endpoints, last: usize) -> Option<usize> {
    let endpoints = among.len();
    (1..=endpoints).map(|step| (last + step) % endpoints).find(|&endpoint| among.weight(endpoint) > 0)
}
