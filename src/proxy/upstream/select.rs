//! Which endpoint of an upstream gets a request: all choices are made by [`select`].
//!
//! Endpoints have ranks: first those that may be used, then those that are not usable now (they are shunned), then those at which the request has failed before (it has tried them); within each, backup endpoints follow the
//! others. Of the first rank that has any, the balancer chooses by weight, load and the request's key.

use crate::proxy::failure::Bound;
use crate::proxy::upstream::endpoint;
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::request_key::{Repeat, RequestKey};
use crate::proxy::upstream::warm_up::SeenWeights;
use crate::route::{Balancer, Endpoints};

/// What of an endpoint decides its rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// It is not usable now: it failed to connect, or was ejected.
    pub(crate) shunned: bool,
    /// It is used only where no other one can be.
    pub(crate) backup: bool,
}

/// The endpoints of an upstream, as one worker sees them at one moment.
#[derive(Clone, Copy)]
pub(crate) struct EndpointSet<E, S> {
    /// Weights, loads and names. What has the weight 0, as a drained endpoint, is selected only for a session at it.
    pub(crate) endpoints: E,
    /// Each endpoint's standing.
    pub(crate) standing: S,
}

/// Where the order begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// With the endpoint of the request's session or else the one that the balancer picks, which it counts as a turn.
    Turn,
    /// With this endpoint, if none has a better rank.
    With(usize),
    /// With the one after this endpoint, which is left out.
    After(usize),
}

/// What becomes of the endpoints that the request has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TriedAre {
    /// They follow all others.
    Last,
    /// They are left out.
    Never,
}

/// What becomes of the endpoints that are shunned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShunnedAre {
    /// They follow those that are not.
    Last,
    /// They are left out.
    Never,
    /// They are left out, unless every endpoint of the upstream is shunned.
    IfAll,
}

/// What becomes of backup endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackupsAre {
    /// They follow the others of their rank.
    Next,
    /// They are left out where there is another one in their rank: it may be full, but can be used.
    Spare,
}

/// At which endpoints a request has been, and what follows from that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried<'a> {
    pub(crate) start: Start,
    /// Endpoints at which the request has failed.
    pub(crate) tried: &'a [usize],
    pub(crate) tried_are: TriedAre,
    pub(crate) shunned_are: ShunnedAre,
    pub(crate) backups_are: BackupsAre,
}

/// The endpoints that a request may go to, the best first, each once. It allocates nothing, unless there are more than 256
/// of them.
///
/// What they are like is asked while the result is iterated: collect it before anything changes that.
pub(crate) fn select<'a, E, S>(
    set: EndpointSet<E, S>,
    balancer: &'a Balancer,
    key: RequestKey,
    tried: Tried<'a>,
) -> Selection<'a, E, S>
where
    E: Endpoints + 'a,
    S: Fn(usize) -> Standing + Copy + 'a,
{
    let shunned_are = match tried.shunned_are {
        ShunnedAre::IfAll if set.all_are_shunned() => ShunnedAre::Last,
        ShunnedAre::IfAll => ShunnedAre::Never,
        other => other,
    };
    let mut taken = Taken::default();
    let (wanted, last) = match tried.start {
        Start::Turn => (key.endpoint().filter(|&endpoint| endpoint < set.endpoints.len()), None),
        Start::With(first) => (Some(first), Some(first)),
        Start::After(last) => {
            taken.add(last);
            (None, Some(last))
        }
    };
    Selection {
        set,
        balancer,
        key,
        tried: Tried { shunned_are, ..tried },
        wanted,
        last,
        taken,
        had_primary: false,
    }
}

/// The result of [`select`].
pub(crate) struct Selection<'a, E, S> {
    set: EndpointSet<E, S>,
    balancer: &'a Balancer,
    key: RequestKey,
    tried: Tried<'a>,
    /// The endpoint that is next if none has a better rank.
    wanted: Option<usize>,
    /// What was selected last.
    last: Option<usize>,
    taken: Taken,
    /// An endpoint that is no backup was selected.
    had_primary: bool,
}

/// The first rank.
const BEST: u8 = 0;
/// What a backup endpoint's rank has.
const BACKUP: u8 = 1;

impl<E: Endpoints, S: Fn(usize) -> Standing> Selection<'_, E, S> {
    /// The lower, the better; `None`: it is left out.
    fn rank(&self, endpoint: usize) -> Option<u8> {
        let Standing { shunned, backup } = (self.set.standing)(endpoint);
        let tried = self.tried.tried.contains(&endpoint);
        let out = self.taken.has(endpoint)
            || self.set.endpoints.weight(endpoint) == 0 && !self.is_of_session(endpoint)
            || tried && self.tried.tried_are == TriedAre::Never
            || shunned && self.tried.shunned_are == ShunnedAre::Never
            || backup && self.had_primary && self.tried.backups_are == BackupsAre::Spare;
        (!out).then_some(4 * u8::from(tried) + 2 * u8::from(shunned) + BACKUP * u8::from(backup))
    }

    /// Whether the request belongs to a session at the endpoint.
    fn is_of_session(&self, endpoint: usize) -> bool {
        matches!(self.tried.start, Start::Turn) && self.wanted == Some(endpoint)
    }

    fn best_of(&self, rank: u8) -> Option<usize> {
        if let Some(wanted) = self.wanted.filter(|&wanted| self.rank(wanted) == Some(rank)) {
            return Some(wanted);
        }
        let among = OfRank { selection: self, rank };
        match self.last {
            None => self.balancer.pick(&among, self.key.hash),
            Some(last) => self.balancer.pick_after(last, &among, self.key.hash),
        }
    }
}

impl<E: Endpoints, S: Fn(usize) -> Standing> Iterator for Selection<'_, E, S> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        // Mostly there is one of the best rank, and round robin need not look at all others then.
        let best = self.best_of(BEST).or_else(|| {
            let ranks = (0..self.set.endpoints.len()).filter_map(|endpoint| self.rank(endpoint));
            self.best_of(ranks.min()?)
        })?;
        self.taken.add(best);
        self.last = Some(best);
        self.had_primary |= !(self.set.standing)(best).backup;
        Some(best)
    }
}

/// The endpoints of one rank, as the balancer sees them.
struct OfRank<'s, 'a, E, S> {
    selection: &'s Selection<'a, E, S>,
    rank: u8,
}

impl<E: Endpoints, S: Fn(usize) -> Standing> Endpoints for OfRank<'_, '_, E, S> {
    fn len(&self) -> usize {
        self.selection.set.endpoints.len()
    }

    fn weight(&self, endpoint: usize) -> u32 {
        let is_of_rank = self.selection.rank(endpoint) == Some(self.rank);
        if is_of_rank { self.selection.set.endpoints.weight(endpoint) } else { 0 }
    }

    fn load(&self, endpoint: usize) -> u64 {
        self.selection.set.endpoints.load(endpoint)
    }

    fn name(&self, endpoint: usize) -> u64 {
        self.selection.set.endpoints.name(endpoint)
    }

    fn is_even(&self) -> bool {
        self.selection.set.endpoints.is_even()
    }
}

/// Endpoints that were selected already.
#[derive(Default)]
struct Taken {
    first: [u64; 4],
    more: Vec<u64>,
}

impl Taken {
    fn has(&self, endpoint: usize) -> bool {
        let words = self.first.get(endpoint / 64).or_else(|| self.more.get(endpoint / 64 - 4));
        words.is_some_and(|word| word >> (endpoint % 64) & 1 == 1)
    }

    fn add(&mut self, endpoint: usize) {
        let at = endpoint / 64;
        if at >= 4 && self.more.len() <= at - 4 {
            self.more.resize(at - 3, 0);
        }
        if let Some(word) = self.first.get_mut(at).or_else(|| self.more.get_mut(at - 4)) {
            *word |= 1 << (endpoint % 64);
        }
    }
}

impl<E: Endpoints, S: Fn(usize) -> Standing> EndpointSet<E, S> {
    /// Whether no endpoint is usable.
    pub(crate) fn all_are_shunned(&self) -> bool {
        let used = |&endpoint: &usize| self.endpoints.weight(endpoint) > 0;
        (0..self.endpoints.len()).filter(used).all(|endpoint| (self.standing)(endpoint).shunned)
    }
}

impl Endpoints for &Pool {
    fn len(&self) -> usize {
        self.endpoints.len()
    }

    #[inline]
    fn weight(&self, endpoint: usize) -> u32 {
        self.weights[endpoint].get()
    }

    #[inline]
    fn load(&self, endpoint: usize) -> u64 {
        self.endpoints[endpoint].used.load()
    }

    fn name(&self, endpoint: usize) -> u64 {
        self.upstream.endpoints[endpoint].hash
    }

    fn is_even(&self) -> bool {
        self.seen.get().even
    }
}

impl Pool {
    /// The set of this moment, for one choice that such a request is for.
    fn set(&self, repeat: Repeat) -> EndpointSet<&Self, impl Fn(usize) -> Standing + Copy + '_> {
        let now = self.wheel.now();
        self.look(now);
        if self.balancer.weighs_loads() {
            self.refresh.step(now, self.endpoints.iter().map(|endpoint| &*endpoint.used));
        }
        let panics = self.panics();
        let standing = move |endpoint: usize| Standing {
            shunned: !panics && !self.is_usable(endpoint, repeat),
            backup: self.upstream.endpoints[endpoint].backup,
        };
        EndpointSet { endpoints: self, standing }
    }

    /// Takes up weights that have changed since the last look. Those that rise are looked at once a tick.
    #[inline]
    fn look(&self, tick: u64) {
        let seen = self.seen.get();
        let changes = endpoint::changes();
        if seen.changes != changes || seen.rises && seen.tick != tick {
            self.look_at_all(changes, tick);
        }
    }

    #[cold]
    fn look_at_all(&self, changes: u64, tick: u64) {
        let (mut rises, mut even, mut first) = (false, true, None);
        for (kept, endpoint) in self.weights.iter().zip(&self.upstream.endpoints) {
            let own = if endpoint.drain { 0 } else { endpoint.weight };
            let (weight, its) = endpoint.state.weight(own, self.upstream.slow_start);
            kept.set(weight);
            rises |= its;
            even &= weight == 0 || *first.get_or_insert(weight) == weight;
        }
        self.seen.set(SeenWeights { changes, tick, rises, even });
    }

    /// The endpoint for a request with this key: that of its session or the balancer's choice, but rather one that did not
    /// just refuse. `None`: none is in use.
    pub fn pick(&self, key: RequestKey) -> Option<usize> {
        select(self.set(key.repeat), &self.balancer, key, TURN).next()
    }

    /// The same, but rather one at which a bound of `limits.per_endpoint` leaves room.
    pub(crate) fn pick_with_room(&self, key: RequestKey) -> Option<usize> {
        let mut all = select(self.set(key.repeat), &self.balancer, key, TURN);
        let first = all.next()?;
        let is_free = !self.upstream.circuit.bounds_endpoints() || self.has_room(first);
        Some(if is_free { first } else { all.find(|&other| self.has_room(other)).unwrap_or(first) })
    }

    /// Whether the endpoint's bounds leave room for a request, and for a connection if no idle one is at hand.
    fn has_room(&self, endpoint: usize) -> bool {
        let (circuit, state) = (&self.upstream.circuit, &self.upstream.endpoints[endpoint].state);
        let has = |of| circuit.has_room_at(&state.circuit, of);
        let is_idle = || !self.endpoints[endpoint].idle.borrow().is_empty() || !state.shared_idle.is_empty();
        has(Bound::EndpointRequests)
            && (is_idle() || has(Bound::EndpointPending) && has(Bound::EndpointConnections))
    }

    /// Whether every endpoint has just refused, or awaits another request than such a one.
    pub(crate) fn is_shunned(&self, repeat: Repeat) -> bool {
        self.set(repeat).all_are_shunned()
    }

    /// Every endpoint that did not just refuse, the best for the key first; all of them if each did. Without those in
    /// `avoided`, and without backup endpoints where there are others.
    pub(crate) fn candidates<'a>(
        &'a self,
        key: RequestKey,
        avoided: &'a [usize],
    ) -> impl Iterator<Item = usize> + 'a {
        let tried = Tried {
            tried: avoided,
            tried_are: TriedAre::Never,
            shunned_are: ShunnedAre::IfAll,
            backups_are: BackupsAre::Spare,
            ..TURN
        };
        select(self.set(key.repeat), &self.balancer, key, tried)
    }

    /// The destination of a request that failed at `last`: the next endpoint that did not just refuse and has room, or the
    /// same one again.
    pub(crate) fn next(&self, last: usize, key: RequestKey, has_room: impl Fn(usize) -> bool) -> usize {
        let tried = Tried { start: Start::After(last), shunned_are: ShunnedAre::Never, ..TURN };
        select(self.set(key.repeat), &self.balancer, key, tried)
            .find(|&endpoint| has_room(endpoint))
            .unwrap_or(last)
    }

    /// The destination of a request that failed at the endpoints `failed`, the last of them just now: the next one at which it
    /// did not, rather one that did not just refuse, and only one that has room.
    pub(crate) fn next_untried(
        &self,
        failed: &[usize],
        key: RequestKey,
        has_room: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let start = Start::After(*failed.last()?);
        let tried = Tried { start, tried: failed, tried_are: TriedAre::Never, ..TURN };
        select(self.set(key.repeat), &self.balancer, key, tried).find(|&endpoint| has_room(endpoint))
    }

    /// Where a connection is tried, one after the other: `first`, the other addresses of its name and, if the upstream's
    /// retries are for that, all others. An endpoint that has just refused is tried last, but before those at which the
    /// request has failed.
    pub(crate) fn in_order(&self, first: usize, key: RequestKey, failed: &[usize]) -> Vec<usize> {
        let endpoints = &self.upstream.endpoints;
        let tried = Tried { start: Start::With(first), tried: failed, ..TURN };
        // A trial is not what its client needs: it may always use another endpoint.
        let everywhere = self.upstream.retries.connect || endpoints[first].state.outlier.is_held();
        let is_tried = |other: &usize| everywhere || endpoints[*other].name == endpoints[first].name;
        let ordered = select(self.set(key.repeat), &self.balancer, key, tried).filter(is_tried);
        // What was chosen is the first, also if its trial has begun with that.
        let chosen = Some(first).filter(|first| !failed.contains(first));
        chosen.into_iter().chain(ordered.filter(|other| Some(*other) != chosen)).collect()
    }
}

/// All endpoints, from the one whose turn it is.
const TURN: Tried<'static> = Tried {
    start: Start::Turn,
    tried: &[],
    tried_are: TriedAre::Last,
    shunned_are: ShunnedAre::Last,
    backups_are: BackupsAre::Next,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::upstream::request_key::Session;
    use crate::route::{Algorithm, LoadBound, stable_hash};

    /// Endpoints of the same weight, some with the weight 0.
    #[derive(Clone, Copy)]
    struct Same<'a> {
        endpoints: usize,
        unused: &'a [usize],
    }

    impl Endpoints for Same<'_> {
        fn len(&self) -> usize {
            self.endpoints
        }

        fn weight(&self, endpoint: usize) -> u32 {
            u32::from(!self.unused.contains(&endpoint))
        }

        fn load(&self, _: usize) -> u64 {
            0
        }

        fn name(&self, endpoint: usize) -> u64 {
            stable_hash(&[endpoint as u8])
        }

        fn is_even(&self) -> bool {
            true
        }
    }

    fn turns(endpoints: usize, start: usize) -> Balancer {
        Balancer::new(Algorithm::RoundRobin, &vec![1; endpoints], start)
    }

    /// A set of which some endpoints are shunned, some backups and some not in use.
    fn set<'a>(
        endpoints: usize,
        [shunned, backups, unused]: [&'a [usize]; 3],
    ) -> EndpointSet<Same<'a>, impl Fn(usize) -> Standing + Copy + 'a> {
        let standing = move |endpoint: usize| Standing {
            shunned: shunned.contains(&endpoint),
            backup: backups.contains(&endpoint),
        };
        EndpointSet { endpoints: Same { endpoints, unused }, standing }
    }

    /// What is selected of four endpoints of the same weight, `shunned` of them shunned.
    fn selected(shunned: &[usize], tried: Tried<'_>) -> Vec<usize> {
        select(set(4, [shunned, &[], &[]]), &turns(4, 1), RequestKey::default(), tried).collect()
    }

    fn with_backups(shunned: &[usize], backups: &[usize], tried: Tried<'_>) -> Vec<usize> {
        select(set(4, [shunned, backups, &[]]), &turns(4, 0), RequestKey::default(), tried).collect()
    }

    #[test]
    fn the_order_is_that_of_the_balancer_from_where_it_starts() {
        assert_eq!(selected(&[], TURN), [1, 2, 3, 0]);
        assert_eq!(selected(&[], Tried { start: Start::With(3), ..TURN }), [3, 0, 1, 2]);
        assert_eq!(selected(&[], Tried { start: Start::After(3), ..TURN }), [0, 1, 2]);
    }

    #[test]
    fn a_turn_is_one_pick_of_the_balancer() {
        let (balancer, all) = (turns(2, 0), set(2, [&[], &[], &[]]));
        let first = |tried| select(all, &balancer, RequestKey::default(), tried).next();
        assert_eq!([first(TURN), first(TURN), first(TURN)], [Some(0), Some(1), Some(0)]);
        // Whatever is selected from a given endpoint on takes no turn.
        assert_eq!(first(Tried { start: Start::With(0), ..TURN }), Some(0));
        assert_eq!(first(Tried { start: Start::After(1), ..TURN }), Some(0));
        assert_eq!(select(all, &balancer, RequestKey::default(), TURN).count(), 2);
        assert_eq!(first(TURN), Some(0), "the order of all was one turn");
    }

    #[test]
    fn the_turns_of_shunned_endpoints_go_to_all_others_alike() {
        let (balancer, some) = (turns(4, 0), set(4, [&[1], &[], &[]]));
        let next = || select(some, &balancer, RequestKey::default(), TURN).next().unwrap();
        assert_eq!((0..6).map(|_| next()).collect::<Vec<_>>(), [0, 2, 3, 0, 2, 3]);
    }

    #[test]
    fn shunned_endpoints_are_last_or_left_out_or_taken_only_if_all_are() {
        let of = |shunned_are| Tried { shunned_are, ..TURN };
        assert_eq!(selected(&[1, 3], of(ShunnedAre::Last)), [2, 0, 1, 3]);
        assert_eq!(selected(&[1, 3], of(ShunnedAre::Never)), [2, 0]);
        assert_eq!(selected(&[1, 3], of(ShunnedAre::IfAll)), [2, 0]);
        assert!(selected(&[0, 1, 2, 3], of(ShunnedAre::Never)).is_empty());
        assert_eq!(selected(&[0, 1, 2, 3], of(ShunnedAre::IfAll)), [1, 2, 3, 0]);
    }

    #[test]
    fn what_was_tried_is_behind_what_is_shunned_or_left_out() {
        let last = Tried { tried: &[1, 2], ..TURN };
        assert_eq!(selected(&[3], last), [0, 3, 1, 2]);
        assert_eq!(selected(&[3, 1], last), [0, 3, 2, 1]);
        let never = Tried { tried_are: TriedAre::Never, ..last };
        assert_eq!(selected(&[3], never), [0, 3]);
        assert_eq!(selected(&[3], Tried { start: Start::After(0), ..never }), [3]);
    }

    #[test]
    fn an_endpoint_that_is_shunned_does_not_stand_in_for_others_that_were_tried() {
        let shunned_are = ShunnedAre::IfAll;
        let tried = Tried { tried: &[0, 2, 3], tried_are: TriedAre::Never, shunned_are, ..TURN };
        assert!(selected(&[1], tried).is_empty(), "others answer: room at them is waited for");
        assert_eq!(selected(&[0, 1, 2, 3], tried), [1]);
    }

    #[test]
    fn backup_endpoints_are_used_only_where_no_other_one_can_be() {
        let spare = Tried { backups_are: BackupsAre::Spare, shunned_are: ShunnedAre::IfAll, ..TURN };
        assert_eq!(with_backups(&[], &[0, 2], TURN), [1, 3, 0, 2]);
        assert_eq!(with_backups(&[1, 3], &[0, 2], TURN), [0, 2, 3, 1], "before those that just failed");
        assert_eq!(with_backups(&[], &[0, 2], spare), [1, 3], "full ones are waited for");
        assert_eq!(with_backups(&[1], &[0, 2], spare), [3]);
        assert_eq!(with_backups(&[1, 3], &[0, 2], spare), [0, 2]);
        assert_eq!(with_backups(&[0, 1, 2, 3], &[0, 2], spare), [1, 3], "all are the same");
        let failed = Tried { tried: &[1, 3], tried_are: TriedAre::Never, ..spare };
        assert_eq!(with_backups(&[], &[0, 2], failed), [0, 2], "the request has been at all others");
    }

    #[test]
    fn the_endpoint_of_a_session_is_first_if_it_can_be_used() {
        let key = RequestKey { session: Some(Session { endpoint: 3, ages: false }), ..RequestKey::default() };
        let order = |[shunned, backups, unused]: [&[usize]; 3], tried| -> Vec<usize> {
            select(set(4, [shunned, backups, unused]), &turns(4, 0), key, tried).collect()
        };
        assert_eq!(order([&[], &[], &[]], TURN), [3, 0, 1, 2]);
        assert_eq!(order([&[3], &[], &[]], TURN), [0, 1, 2, 3]);
        assert_eq!(order([&[], &[3], &[]], TURN), [0, 1, 2, 3]);
        assert_eq!(order([&[], &[], &[3]], TURN), [3, 0, 1, 2], "it is drained, and keeps its sessions");
        assert_eq!(order([&[3], &[], &[3]], TURN)[..3], [0, 1, 2], "it is drained and down");
        assert_eq!(order([&[], &[], &[]], Tried { tried: &[3], ..TURN }), [0, 1, 2, 3]);
        let balancer = turns(4, 0);
        let turn = |key| select(set(4, [&[]; 3]), &balancer, key, TURN).next();
        assert_eq!([turn(key), turn(RequestKey::default()), turn(key)], [Some(3), Some(0), Some(3)]);
        assert_eq!(turn(RequestKey::default()), Some(1), "a session takes no turn");
        let gone =
            RequestKey { session: Some(Session { endpoint: 9, ages: false }), ..RequestKey::default() };
        assert_eq!(turn(gone), Some(2));
    }

    #[test]
    fn a_key_has_an_order_of_its_own() {
        let balancer = Balancer::new(Algorithm::Hash(LoadBound(0)), &[1; 8], 0);
        let order = |hash, unused: &[usize], start| -> Vec<usize> {
            let key = RequestKey { hash: Some(hash), ..RequestKey::default() };
            select(set(8, [&[], &[], unused]), &balancer, key, Tried { start, ..TURN }).collect()
        };
        let whole = order(7, &[], Start::Turn);
        assert_eq!(order(7, &[], Start::Turn), whole);
        assert_eq!(order(7, &whole[..2], Start::Turn), whole[2..], "the rest stays in its order");
        assert_eq!(order(7, &[], Start::After(whole[0])), whole[1..]);
        assert!((0..20).any(|hash| order(hash, &[], Start::Turn)[0] != whole[0]));
    }

    #[test]
    fn each_of_many_endpoints_is_selected_once() {
        let (balancer, all) = (turns(1000, 0), set(1000, [&[], &[], &[]]));
        let tried = Tried { start: Start::After(700), ..TURN };
        let mut order: Vec<_> = select(all, &balancer, RequestKey::default(), tried).collect();
        assert_eq!(order[..2], [701, 702]);
        order.sort_unstable();
        assert_eq!(order, (0..1000).filter(|&endpoint| endpoint != 700).collect::<Vec<_>>());
    }

    #[test]
    fn a_single_endpoint_is_always_selected() {
        let (balancer, one) = (turns(1, 0), set(1, [&[0], &[], &[]]));
        let order = |tried| select(one, &balancer, RequestKey::default(), tried).collect::<Vec<_>>();
        assert_eq!(order(TURN), [0]);
        assert!(one.all_are_shunned());
        assert!(order(Tried { start: Start::After(0), ..TURN }).is_empty());
    }
}
