//! The power of two choices (Mitzenmacher, 2001): of two endpoints that are drawn by weight, the one with fewer exchanges
//! for its weight. It needs no order among workers, so that they do not all choose the same endpoint at once.

use super::generator::Generator;
use super::least_requests::is_less;
use super::{Endpoints, Only, random};

pub(super) fn pick(among: &impl Endpoints, generator: &Generator) -> Option<usize> {
    let first = random::pick(among, generator)?;
    let others = Only { of: among, may: |endpoint| endpoint != first };
    let Some(second) = random::pick(&others, generator) else { return Some(first) };
    let load = |endpoint| (among.load(endpoint), u64::from(among.weight(endpoint)));
    Some(if is_less(load(second), load(first)) { second } else { first })
}
