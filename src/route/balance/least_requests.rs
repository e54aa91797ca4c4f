//! Least requests, weighted: the endpoint with the fewest exchanges for its weight. Among equals, round robin: endpoints
//! that are all idle get requests by their weights.

use super::round_robin::{self, RoundRobin};
use super::{Endpoints, Only};

pub(super) fn pick(among: &impl Endpoints, turns: &RoundRobin) -> Option<usize> {
    let least = least(among)?;
    turns.pick(&Only { of: among, may: |endpoint| is_least(among, endpoint, least) })
}

/// The same, without a turn taken.
pub(super) fn pick_after(among: &impl Endpoints, last: usize) -> Option<usize> {
    let least = least(among)?;
    round_robin::next(&Only { of: among, may: |endpoint| is_least(among, endpoint, least) }, last)
}

/// Load and weight of an endpoint with the least load for its weight.
fn least(among: &impl Endpoints) -> Option<(u64, u64)> {
    let mut least = None;
    for endpoint in 0..among.len() {
        let weight = u64::from(among.weight(endpoint));
        if weight == 0 {
            continue;
        }
        let load = among.load(endpoint);
        if least.is_none_or(|(least, its)| is_less((load, weight), (least, its))) {
            least = Some((load, weight));
        }
    }
    least
}

fn is_least(among: &impl Endpoints, endpoint: usize, least: (u64, u64)) -> bool {
    let weight = u64::from(among.weight(endpoint));
    !is_less(least, (among.load(endpoint), weight))
}

/// Whether a load is less than another one, each for its weight.
pub(super) fn is_less((load, weight): (u64, u64), (other, its): (u64, u64)) -> bool {
    u128::from(load) * u128::from(its) < u128::from(other) * u128::from(weight)
}
