//! By a key: weighted rendezvous hashing (Thaler and Ravishankar, 1998; weights after Schindelhauer and Schomaker, 2005) with
//! bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016).
//!
//! Each endpoint has a score for each key, from the key and its own name alone, and the best score wins. So an endpoint
//! that is added takes keys for itself only, one that is removed gives its own to the others, and nothing else moves. The same
//! names give the same choice in every process.

use super::Endpoints;
use super::generator::mix;
use crate::base::limits::HASH_LOAD_FLOOR;

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

/// The endpoint with the best score that has room, or else the one with the best score.
pub(super) fn pick(among: &impl Endpoints, key: u64, bound: LoadBound) -> Option<usize> {
    let all = if bound.is_set() { sums(among) } else { (0, 0) };
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
