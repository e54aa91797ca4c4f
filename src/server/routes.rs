//! Names for routes, which the config gives none.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use rustc_hash::FxHashMap;

use super::changes;
use crate::config::Plan;

/// The id of each route: it depends on what the route matches, and not on what it does with that or where it stands.
/// Of several that match the same, the later ones have their number behind it.
pub(crate) fn ids(plan: &Plan) -> Vec<String> {
    let mut before: FxHashMap<String, usize> = FxHashMap::default();
    let ids = plan.routes.iter().map(|route| {
        let matches = changes::matches(plan, route);
        let digits = HEXLOWER.encode(&digest(&SHA256, matches.as_bytes()).as_ref()[..4]);
        let id = match before.get(&digits) {
            None => format!("r{digits}"),
            Some(same) => format!("r{digits}-{}", same + 1),
        };
        *before.entry(digits).or_default() += 1;
        id
    });
    ids.collect()
}

/// Where a route stands in the file, from 0: by its id, or by that number.
pub(crate) fn position(plan: &Plan, name: &str) -> Option<usize> {
    let by_number = || name.parse::<usize>().ok().filter(|at| *at < plan.routes.len());
    ids(plan).iter().position(|id| id == name).or_else(by_number)
}
