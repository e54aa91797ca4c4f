//! Choosing an endpoint: one file for each algorithm. Pure: weights, loads and keys in, an index out.
//!
//! An algorithm sees the endpoints through [`Endpoints`] at the moment of the choice. Weights change at run time (slow
//! start, `ringate endpoint weight`), and an endpoint that is not to be chosen has the weight 0.

mod generator;
mod hash;
mod least_requests;
mod random;
mod round_robin;
mod two_choices;

#[cfg(test)]
mod tests;

pub(crate) use hash::{LoadBound, stable_hash};

use generator::Generator;
use round_robin::RoundRobin;

/// The endpoints `0..len`, as an algorithm sees them.
pub(crate) trait Endpoints {
    /// How many there are, those with the weight 0 included.
    fn len(&self) -> usize;
    /// The endpoint's share of the traffic. 0: it is not chosen.
    fn weight(&self, endpoint: usize) -> u32;
    /// Exchanges at it now, over all workers.
    fn load(&self, endpoint: usize) -> u64;
    /// The [`stable_hash`] of its name.
    fn name(&self, endpoint: usize) -> u64;
    /// Whether all weights but those of 0 are known to be the same.
    fn is_even(&self) -> bool;
}

/// Which algorithm chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Algorithm {
    /// Smooth weighted round robin.
    #[default]
    RoundRobin,
    /// The endpoint with the fewest exchanges for its weight.
    LeastRequests,
    /// The less loaded of two that are drawn by weight.
    TwoChoices,
    /// Drawn by weight.
    Random,
    /// By the request's key.
    Hash(LoadBound),
}

/// An algorithm with the state of one worker.
#[derive(Debug)]
pub(crate) struct Balancer {
    algorithm: Algorithm,
    turns: RoundRobin,
    generator: Generator,
}

impl Balancer {
    /// One for endpoints of these `weights`. `start` moves the first pick: give each worker its own number, so that they do
    /// not all begin with the same endpoint.
    pub(crate) fn new(algorithm: Algorithm, weights: &[u32], start: usize) -> Self {
        Self { algorithm, turns: RoundRobin::new(weights, start), generator: Generator::new(start as u64) }
    }

    /// Goes on where `last` stopped, as far as the endpoints are the same: `was` gives the index that an endpoint had there.
    pub(crate) fn follow(&self, last: &Self, was: impl Fn(usize) -> Option<usize>) {
        self.turns.follow(&last.turns, was);
        self.generator.follow(&last.generator);
    }

    /// Whether it looks at loads.
    pub(crate) fn weighs_loads(&self) -> bool {
        match self.algorithm {
            Algorithm::LeastRequests | Algorithm::TwoChoices => true,
            Algorithm::Hash(bound) => bound.is_set(),
            Algorithm::RoundRobin | Algorithm::Random => false,
        }
    }

    /// The endpoint for a request with this `key`; `None`: all weights are 0.
    #[inline]
    pub(crate) fn pick(&self, among: &impl Endpoints, key: Option<u64>) -> Option<usize> {
        match (self.algorithm, key) {
            (Algorithm::LeastRequests, _) => least_requests::pick(among, &self.turns),
            (Algorithm::TwoChoices, _) => two_choices::pick(among, &self.generator),
            (Algorithm::Random, _) => random::pick(among, &self.generator),
            (Algorithm::Hash(bound), Some(key)) => hash::pick(among, key, bound),
            (Algorithm::RoundRobin | Algorithm::Hash(_), _) => self.turns.pick(among),
        }
    }

    /// The endpoint for a request that could not be served by `last`, which is no turn of round robin.
    pub(crate) fn pick_after(&self, last: usize, among: &impl Endpoints, key: Option<u64>) -> Option<usize> {
        match (self.algorithm, key) {
            (Algorithm::LeastRequests, _) => least_requests::pick_after(among, last),
            (Algorithm::TwoChoices, _) => two_choices::pick(among, &self.generator),
            (Algorithm::Random, _) => random::pick(among, &self.generator),
            (Algorithm::Hash(bound), Some(key)) => hash::pick(among, key, bound),
            (Algorithm::RoundRobin | Algorithm::Hash(_), _) => round_robin::next(among, last),
        }
    }
}

/// Endpoints of which only some may be chosen.
struct Only<'a, E, F> {
    of: &'a E,
    may: F,
}

impl<E: Endpoints, F: Fn(usize) -> bool> Endpoints for Only<'_, E, F> {
    fn len(&self) -> usize {
        self.of.len()
    }

    fn weight(&self, endpoint: usize) -> u32 {
        if (self.may)(endpoint) { self.of.weight(endpoint) } else { 0 }
    }

    fn load(&self, endpoint: usize) -> u64 {
        self.of.load(endpoint)
    }

    fn name(&self, endpoint: usize) -> u64 {
        self.of.name(endpoint)
    }

    fn is_even(&self) -> bool {
        self.of.is_even()
    }
}
