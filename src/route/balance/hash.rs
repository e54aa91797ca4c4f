//! By a key: weighted rendezvous hashing (Thaler and Ravishankar, 1998; weights after Schindelhauer and Schomaker, 2005) with
//! bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016).
//!
//! Keys fall into [slots](HashTable). Each endpoint has a score for each slot, from the slot and its own name alone, and the
//! best score wins. So an endpoint that is added takes slots for itself only, one that is removed gives its own to the others,
//! and nothing else moves. The same names give the same choice in every process. The winner of each slot is known beforehand,
//! so that a choice costs the same however many endpoints there are; the scores are compared only where the winner can't be
//! taken. (A Maglev table, Eisenbud et al., 2016, is more even, and moves about twice the ideal share.)

use super::Endpoints;
use super::generator::mix;
use crate::base::limits::{HASH_LOAD_FLOOR, HASH_TABLE_ENDPOINTS};

/// How much more than its share of the exchanges an endpoint may have before its keys go to others, in percent of the share;
/// 0: no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadBound(pub(crate) u32);

impl LoadBound {
    pub(super) fn is_set(self) -> bool {
        self.0 > 0
    }

    /// Most exchanges at an endpoint with this `weight`, of `load` over endpoints with `weights` in all.
    fn room(self, weight: u32, (load, weights): (u64, u64)) -> u64 {
        if !self.is_set() {
            return u64::MAX;
        }
        let share = u128::from(self.0) * u128::from(load + 1) * u128::from(weight);
        let room = share.div_ceil(100 * u128::from(weights.max(1)));
        u64::try_from(room).unwrap_or(u64::MAX).max(HASH_LOAD_FLOOR)
    }
}

/// Keys in slots, and the endpoint with the best score for each slot where all endpoints have their whole weights.
#[derive(Debug)]
pub(crate) struct HashTable {
    winners: Box<[u16]>,
}

impl HashTable {
    /// The table for endpoints with these names (by their [`stable_hash`]) and weights. What has the weight 0 wins nothing.
    /// `None`: there is no endpoint, or more than [`HASH_TABLE_ENDPOINTS`]; then each key is a slot of its own.
    ///
    /// Shares of slots differ from those of weights by some √(endpoints / slots): about 3 %.
    pub(crate) fn new(names: &[u64], weights: &[u32]) -> Option<Self> {
        let used = weights.iter().filter(|weight| **weight > 0).count();
        let slots = (used * SLOTS_PER_ENDPOINT).next_power_of_two().clamp(LEAST_SLOTS, MOST_SLOTS);
        (names.len() <= HASH_TABLE_ENDPOINTS).then(|| Self::of_slots(slots, names, weights))?
    }

    /// The same of so many slots, a power of two above 1.
    pub(super) fn of_slots(slots: usize, names: &[u64], weights: &[u32]) -> Option<Self> {
        let mut used: Vec<usize> = (0..names.len()).filter(|&endpoint| weights[endpoint] > 0).collect();
        if used.is_empty() {
            return None;
        }
        // Within one weight the order is that of the hashes alone.
        used.sort_by_key(|&endpoint| weights[endpoint]);
        let classes: Vec<&[usize]> = used.chunk_by(|one, other| weights[*one] == weights[*other]).collect();
        let winner = |slot: u64| {
            let best_of = |class: &&[usize]| {
                let best = class.iter().copied().max_by_key(|&endpoint| mix(mix(slot) ^ names[endpoint]))?;
                Some((score(slot, names[best], weights[best], classes.len() == 1), best))
            };
            let best = classes
                .iter()
                .filter_map(best_of)
                .reduce(|best, other| if other.0 > best.0 { other } else { best });
            best.map_or(0, |(_, endpoint)| endpoint as u16)
        };
        Some(Self { winners: (0..slots as u64).map(winner).collect() })
    }

    /// The slot of a key.
    fn slot(&self, key: u64) -> u64 {
        mix(key) >> (u64::BITS - self.winners.len().trailing_zeros())
    }
}

/// Slots for each endpoint, and the fewest and most of them. They make shares even, and the table long to build: some 15
/// milliseconds for 64 endpoints, half a second for 1,024.
const SLOTS_PER_ENDPOINT: usize = 1024;
const LEAST_SLOTS: usize = 1 << 16;
const MOST_SLOTS: usize = 1 << 18;

/// The endpoint with the best score that has room, or else the one with the best score.
pub(super) fn pick(
    among: &impl Endpoints,
    key: u64,
    bound: LoadBound,
    table: Option<&HashTable>,
) -> Option<usize> {
    let Some(table) = table else { return best(among, key, bound) };
    let slot = table.slot(key);
    let winner = usize::from(table.winners[slot as usize]);
    // With less than its whole weight, it may not be the winner: the weights of others can only be less, too.
    let is_it = winner < among.len() && {
        let weight = among.weight(winner);
        weight > 0 && weight == among.whole_weight(winner) && has_room(among, winner, bound)
    };
    if is_it { Some(winner) } else { best(among, slot, bound) }
}

/// Whether an endpoint has room, by what is known of the load of all.
fn has_room(among: &impl Endpoints, endpoint: usize, bound: LoadBound) -> bool {
    let load = among.load(endpoint);
    load < HASH_LOAD_FLOOR
        || !bound.is_set()
        || load < bound.room(among.weight(endpoint), among.sums().unwrap_or_else(|| sums(among)))
}

/// The same by the scores of all endpoints.
fn best(among: &impl Endpoints, key: u64, bound: LoadBound) -> Option<usize> {
    let all = if bound.is_set() { among.sums().unwrap_or_else(|| sums(among)) } else { (0, 0) };
    let has_room = |endpoint| among.load(endpoint) < bound.room(among.weight(endpoint), all);
    let mut best = None;
    let mut best_with_room = None;
    for endpoint in (0..among.len()).filter(|&endpoint| among.weight(endpoint) > 0) {
        let score = score(key, among.name(endpoint), among.weight(endpoint), among.is_even());
        let is_best = |best: Option<(f64, usize)>| best.is_none_or(|(best, _)| score > best);
        if is_best(best) {
            best = Some((score, endpoint));
        }
        if is_best(best_with_room) && (!bound.is_set() || has_room(endpoint)) {
            best_with_room = Some((score, endpoint));
        }
    }
    best_with_room.or(best).map(|(_, endpoint)| endpoint)
}

/// Exchanges and weights of all endpoints that may be chosen.
fn sums(among: &impl Endpoints) -> (u64, u64) {
    let chosen = (0..among.len()).filter(|&endpoint| among.weight(endpoint) > 0);
    chosen.fold((0, 0), |(load, weights), endpoint| {
        (load + among.load(endpoint), weights + u64::from(among.weight(endpoint)))
    })
}

/// The higher, the better. Among endpoints of one weight the order is that of the hash alone (`even`), which is faster.
fn score(key: u64, name: u64, weight: u32, even: bool) -> f64 {
    let hash = mix(mix(key) ^ name);
    // Within 0 and 1, without either.
    #[allow(clippy::cast_precision_loss)] // 53 bits are what an f64 has
    let point = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    if even { point } else { -f64::from(weight) / point.ln() }
}

/// A hash that is the same in every process, on every machine and in every version: keys stay where they are.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    }
    mix(hash)
}
