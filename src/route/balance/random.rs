//! Random, by weight.

use super::Endpoints;
use super::generator::Generator;

pub(super) fn pick(among: &impl Endpoints, generator: &Generator) -> Option<usize> {
    let total: u64 = (0..among.len()).map(|endpoint| u64::from(among.weight(endpoint))).sum();
    if total == 0 {
        return None;
    }
    let mut point = generator.below(total);
    (0..among.len()).find(|&endpoint| {
        let weight = u64::from(among.weight(endpoint));
        let is_here = point < weight;
        point = point.wrapping_sub(weight);
        is_here
    })
}
