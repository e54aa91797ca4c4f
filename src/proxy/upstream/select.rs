//! Which endpoint of an upstream a request goes to: all choices are made by [`select`].
//!
//! The balancer gives the order. Endpoints that are not usable now (they are shunned) and those at which the request
//! has failed before (it has tried them) move back in it, or leave it, as the [`Query`] says.

use crate::proxy::upstream::pool::Pool;
use crate::route::RoundRobin;

/// The endpoints of an upstream, as one worker sees them at one moment.
#[derive(Clone, Copy)]
pub(crate) struct EndpointSet<'a, S> {
    pub(crate) balance: &'a RoundRobin,
    /// Whether the endpoint is not usable now: it failed to connect, or was ejected.
    pub(crate) is_shunned: S,
}

/// Where the order begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// With the endpoint whose turn it is. The balancer counts that as a pick.
    Turn,
    /// With this endpoint.
    With(usize),
    /// With the one after this endpoint, which is left out.
    After(usize),
}

/// What becomes of the endpoints that the request has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// They follow all others.
    Last,
    /// They are left out.
    Never,
}

/// What becomes of the endpoints that are shunned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shunned {
    /// They follow those that are not.
    Last,
    /// They are left out.
    Never,
    /// They are left out, unless every endpoint of the upstream is shunned.
    IfAll,
}

/// What is selected for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) start: Start,
    /// Endpoints at which the request has failed.
    pub(crate) tried: &'a [usize],
    pub(crate) tried_are: Tried,
    pub(crate) shunned_are: Shunned,
}

/// The endpoints that a request may go to, the best first, each once. It allocates nothing.
///
/// Which endpoints are shunned is asked while the result is iterated: collect it before anything changes that.
pub(crate) fn select<'a, S>(set: EndpointSet<'a, S>, query: Query<'a>) -> impl Iterator<Item = usize> + 'a
where
    S: Fn(usize) -> bool + Copy + 'a,
{
    let EndpointSet { balance, is_shunned } = set;
    let (first, with_first) = match query.start {
        Start::Turn => (balance.pick(), true),
        Start::With(first) => (first, true),
        Start::After(last) => (last, false),
    };
    let order = move || std::iter::once(first).filter(move |_| with_first).chain(balance.others(first));
    let shunned_are = match query.shunned_are {
        Shunned::IfAll if set.all_are_shunned() => Shunned::Last,
        Shunned::IfAll => Shunned::Never,
        other => other,
    };
    let rank = move |endpoint: usize| match (query.tried.contains(&endpoint), is_shunned(endpoint)) {
        (true, _) if query.tried_are == Tried::Never => None,
        (_, true) if shunned_are == Shunned::Never => None,
        (tried, shunned) => Some(2 * u8::from(tried) + u8::from(shunned)),
    };
    (0..4).flat_map(move |wanted| order().filter(move |&endpoint| rank(endpoint) == Some(wanted)))
}

impl<S: Fn(usize) -> bool> EndpointSet<'_, S> {
    /// Whether no endpoint is usable.
    pub(crate) fn all_are_shunned(&self) -> bool {
        (self.is_shunned)(0) && self.balance.others(0).all(&self.is_shunned)
    }
}

impl Pool {
    fn set(&self) -> EndpointSet<'_, impl Fn(usize) -> bool + Copy + '_> {
        let panics = self.panics();
        let is_shunned = move |endpoint: usize| !panics && !self.is_usable(endpoint);
        EndpointSet { balance: &self.balance, is_shunned }
    }

    /// The endpoint whose turn it is, or the next one after it that did not just refuse.
    pub fn pick(&self) -> usize {
        let query =
            Query { start: Start::Turn, tried: &[], tried_are: Tried::Last, shunned_are: Shunned::Last };
        select(self.set(), query).next().unwrap_or(0)
    }

    /// Whether every endpoint has just refused.
    pub(crate) fn is_shunned(&self) -> bool {
        self.set().all_are_shunned()
    }

    /// Every endpoint that did not just refuse, from the one whose turn it is; all of them if each did. Without those in
    /// `avoided`.
    pub(crate) fn candidates<'a>(&'a self, avoided: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        let query = Query {
            start: Start::Turn,
            tried: avoided,
            tried_are: Tried::Never,
            shunned_are: Shunned::IfAll,
        };
        select(self.set(), query)
    }

    /// Where a request goes that failed at `last`: the next endpoint that did not just refuse and has room, or the
    /// same one again.
    pub(crate) fn next(&self, last: usize, has_room: impl Fn(usize) -> bool) -> usize {
        let query = Query {
            start: Start::After(last),
            tried: &[],
            tried_are: Tried::Last,
            shunned_are: Shunned::Never,
        };
        select(self.set(), query).find(|&endpoint| has_room(endpoint)).unwrap_or(last)
    }

    /// Where a request goes that failed at the endpoints `failed`, the last of them just now: to the next one at which it
    /// did not, rather one that did not just refuse, and only one that has room.
    pub(crate) fn next_untried(&self, failed: &[usize], has_room: impl Fn(usize) -> bool) -> Option<usize> {
        let start = Start::After(*failed.last()?);
        let query = Query { start, tried: failed, tried_are: Tried::Never, shunned_are: Shunned::Last };
        select(self.set(), query).find(|&endpoint| has_room(endpoint))
    }

    /// Where a connection is tried, one after the other: `first`, the other addresses of its name and, if the upstream's
    /// retries are for that, all others. An endpoint that has just refused is tried last, but before those at which the
    /// request has failed.
    pub(crate) fn in_order(&self, first: usize, failed: &[usize]) -> Vec<usize> {
        let endpoints = &self.upstream.endpoints;
        let start = Start::With(first);
        let query = Query { start, tried: failed, tried_are: Tried::Last, shunned_are: Shunned::Last };
        // A trial is no wish of its client: it may always go elsewhere.
        let everywhere = self.upstream.retries.connect || endpoints[first].state.outlier.is_held();
        let is_tried = |other: &usize| everywhere || endpoints[*other].name == endpoints[first].name;
        let ordered = select(self.set(), query).filter(is_tried);
        // What was chosen is the first, also if its trial has begun with that.
        let chosen = Some(first).filter(|first| !failed.contains(first));
        chosen.into_iter().chain(ordered.filter(|other| Some(*other) != chosen)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is selected of four endpoints of the same weight, `shunned` of them shunned.
    fn selected(shunned: &[usize], query: Query<'_>) -> Vec<usize> {
        let balance = RoundRobin::new(&[1; 4], 1);
        let set = EndpointSet { balance: &balance, is_shunned: |endpoint| shunned.contains(&endpoint) };
        select(set, query).collect()
    }

    const TURN: Query<'_> =
        Query { start: Start::Turn, tried: &[], tried_are: Tried::Last, shunned_are: Shunned::Last };

    #[test]
    fn the_order_is_that_of_the_balancer_from_where_it_starts() {
        assert_eq!(selected(&[], TURN), [1, 2, 3, 0]);
        assert_eq!(selected(&[], Query { start: Start::With(3), ..TURN }), [3, 0, 1, 2]);
        assert_eq!(selected(&[], Query { start: Start::After(3), ..TURN }), [0, 1, 2]);
    }

    #[test]
    fn a_turn_is_one_pick_of_the_balancer() {
        let balance = RoundRobin::new(&[3, 1], 0);
        let set = EndpointSet { balance: &balance, is_shunned: |_| false };
        let firsts: Vec<_> = (0..8).filter_map(|_| select(set, TURN).next()).collect();
        assert_eq!(firsts, [0, 0, 1, 0, 0, 0, 1, 0]);
        // Whatever is selected from a given endpoint on takes no turn.
        assert_eq!(select(set, Query { start: Start::With(1), ..TURN }).next(), Some(1));
        assert_eq!(select(set, Query { start: Start::After(1), ..TURN }).next(), Some(0));
        assert_eq!(select(set, TURN).next(), Some(0));
    }

    #[test]
    fn shunned_endpoints_are_last_or_left_out_or_taken_only_if_all_are() {
        let of = |shunned_are| Query { shunned_are, ..TURN };
        assert_eq!(selected(&[1, 3], of(Shunned::Last)), [2, 0, 1, 3]);
        assert_eq!(selected(&[1, 3], of(Shunned::Never)), [2, 0]);
        assert_eq!(selected(&[1, 3], of(Shunned::IfAll)), [2, 0]);
        assert!(selected(&[0, 1, 2, 3], of(Shunned::Never)).is_empty());
        assert_eq!(selected(&[0, 1, 2, 3], of(Shunned::IfAll)), [1, 2, 3, 0]);
    }

    #[test]
    fn what_was_tried_is_behind_what_is_shunned_or_left_out() {
        let last = Query { tried: &[1, 2], ..TURN };
        assert_eq!(selected(&[3], last), [0, 3, 1, 2]);
        assert_eq!(selected(&[3, 1], last), [0, 3, 2, 1]);
        let never = Query { tried_are: Tried::Never, ..last };
        assert_eq!(selected(&[3], never), [0, 3]);
        assert_eq!(selected(&[3], Query { start: Start::After(0), ..never }), [3]);
    }

    #[test]
    fn an_endpoint_that_is_shunned_does_not_stand_in_for_others_that_were_tried() {
        let query = Query { tried: &[0, 2, 3], tried_are: Tried::Never, shunned_are: Shunned::IfAll, ..TURN };
        assert!(selected(&[1], query).is_empty(), "others answer: room at them is waited for");
        assert_eq!(selected(&[0, 1, 2, 3], query), [1]);
    }

    #[test]
    fn a_single_endpoint_is_always_selected() {
        let balance = RoundRobin::new(&[1], 0);
        let set = EndpointSet { balance: &balance, is_shunned: |_| true };
        assert_eq!(select(set, TURN).collect::<Vec<_>>(), [0]);
        assert!(set.all_are_shunned());
        assert_eq!(select(set, Query { start: Start::After(0), ..TURN }).next(), None);
    }
}
