//! How each algorithm spreads requests: by chi-square over seeds, and what a hash moves.

use proptest::prelude::*;

use super::*;

/// Endpoints with weights and loads as given.
#[derive(Clone)]
struct Given {
    weights: Vec<u32>,
    loads: Vec<u64>,
    names: Vec<u64>,
}

fn given(weights: &[u32]) -> Given {
    let names = (0..weights.len()).map(|at| stable_hash(format!("10.0.0.{at}:80").as_bytes())).collect();
    Given { weights: weights.to_vec(), loads: vec![0; weights.len()], names }
}

impl Endpoints for Given {
    fn len(&self) -> usize {
        self.weights.len()
    }

    fn weight(&self, endpoint: usize) -> u32 {
        self.weights[endpoint]
    }

    fn load(&self, endpoint: usize) -> u64 {
        self.loads[endpoint]
    }

    fn name(&self, endpoint: usize) -> u64 {
        self.names[endpoint]
    }

    fn is_even(&self) -> bool {
        let mut weights = self.weights.iter().filter(|&&weight| weight > 0);
        let first = weights.next();
        weights.all(|weight| Some(weight) == first)
    }
}

const NO_BOUND: LoadBound = LoadBound(0);

const ALL: [Algorithm; 5] = [
    Algorithm::RoundRobin,
    Algorithm::LeastRequests,
    Algorithm::TwoChoices,
    Algorithm::Random,
    Algorithm::Hash(NO_BOUND),
];

fn balancer(algorithm: Algorithm, of: &Given, start: usize) -> Balancer {
    Balancer::new(algorithm, &of.weights, start)
}

fn picks(algorithm: Algorithm, of: &Given, start: usize, count: usize) -> Vec<usize> {
    let balancer = balancer(algorithm, of, start);
    (0..count).map(|_| balancer.pick(of, None).unwrap()).collect()
}

/// How often each endpoint was chosen for `count` requests, each with its own key.
fn counts(algorithm: Algorithm, of: &Given, seed: usize, count: usize) -> Vec<u64> {
    let balancer = balancer(algorithm, of, seed);
    let mut counts = vec![0; of.len()];
    for request in 0..count {
        let key = stable_hash(format!("{seed}/{request}").as_bytes());
        counts[balancer.pick(of, Some(key)).unwrap()] += 1;
    }
    counts
}

/// Pearson's statistic of `counts` against shares by `weights`.
#[allow(clippy::cast_precision_loss)]
fn chi_square(counts: &[u64], weights: &[u32]) -> f64 {
    let all = counts.iter().sum::<u64>() as f64 / f64::from(weights.iter().sum::<u32>());
    let terms = counts.iter().zip(weights).filter(|(_, weight)| **weight > 0).map(|(count, weight)| {
        let expected = all * f64::from(*weight);
        (*count as f64 - expected).powi(2) / expected
    });
    terms.sum()
}

#[test]
fn idle_endpoints_are_chosen_by_their_weights() {
    for weights in [&[1, 1, 1, 1, 1][..], &[5, 1, 1, 2, 10], &[7, 0, 7, 7, 7, 7]] {
        let of = given(weights);
        let freedom = weights.iter().filter(|weight| **weight > 0).count() - 1;
        assert_eq!(freedom, 4);
        for algorithm in ALL {
            let statistics: Vec<f64> =
                (0..100).map(|seed| chi_square(&counts(algorithm, &of, seed, 2_000), weights)).collect();
            // The quantiles of chi-square with 4 degrees of freedom: 5 % are above 9.49, 0.1 % above 18.47.
            let above = |bound: f64| statistics.iter().filter(|one| **one > bound).count();
            assert!(above(9.49) <= 14, "{algorithm:?} {weights:?}: {} of 100", above(9.49));
            assert!(above(18.47) <= 2, "{algorithm:?} {weights:?}: {} of 100", above(18.47));
            let mean = statistics.iter().sum::<f64>() / 100.0;
            match algorithm {
                Algorithm::RoundRobin | Algorithm::LeastRequests => assert!(mean < 0.01, "{mean}"),
                // As random as can be, and no more even than that.
                _ => assert!((2.9..5.1).contains(&mean), "{algorithm:?} {weights:?}: {mean}"),
            }
        }
    }
}

#[test]
fn what_has_no_weight_is_not_chosen() {
    for algorithm in ALL {
        for key in [None, Some(1)] {
            let none = given(&[0, 0]);
            assert_eq!(balancer(algorithm, &none, 1).pick(&none, key), None);
            assert_eq!(balancer(algorithm, &none, 1).pick_after(0, &none, key), None);
            let one = given(&[0, 3, 0]);
            assert_eq!(balancer(algorithm, &one, 1).pick(&one, key), Some(1));
            assert_eq!(balancer(algorithm, &one, 1).pick_after(1, &one, key), Some(1));
        }
    }
}

#[test]
fn equal_weights_take_turns() {
    assert_eq!(picks(Algorithm::RoundRobin, &given(&[1, 1, 1]), 0, 7), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(picks(Algorithm::RoundRobin, &given(&[7, 7]), 0, 3), [0, 1, 0]);
    assert_eq!(picks(Algorithm::RoundRobin, &given(&[3]), 5, 3), [0, 0, 0]);
}

#[test]
fn workers_begin_at_different_endpoints() {
    assert_eq!(picks(Algorithm::RoundRobin, &given(&[1, 1, 1]), 4, 3), [1, 2, 0]);
    assert_eq!(picks(Algorithm::RoundRobin, &given(&[5, 1, 1]), 2, 3), [1, 0, 2]);
}

#[test]
fn a_heavy_endpoint_is_spread_among_the_others() {
    assert_eq!(picks(Algorithm::RoundRobin, &given(&[5, 1, 1]), 0, 7), [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn the_turns_of_an_endpoint_that_is_out_go_to_all_others_alike() {
    assert_eq!(picks(Algorithm::RoundRobin, &given(&[1, 0, 1, 1]), 0, 6), [0, 2, 3, 0, 2, 3]);
    let mut got = [0; 4];
    picks(Algorithm::RoundRobin, &given(&[4, 0, 2, 2]), 0, 8).into_iter().for_each(|at| got[at] += 1);
    assert_eq!(got, [4, 0, 2, 2]);
}

#[test]
fn a_turn_goes_on_after_a_reload() {
    let of = given(&[1, 1, 1]);
    let last = balancer(Algorithm::RoundRobin, &of, 0);
    let next = |weights: &[u32], was: &[Option<usize>]| {
        let of = given(weights);
        let next = balancer(Algorithm::RoundRobin, &of, 0);
        next.follow(&last, |endpoint| was[endpoint]);
        next.pick(&of, None).unwrap()
    };
    assert_eq!(last.pick(&of, None), Some(0));
    assert_eq!(next(&[1, 1, 1], &[Some(0), Some(1), Some(2)]), 1);
    assert_eq!(next(&[1, 1, 1, 1], &[None, Some(0), Some(1), Some(2)]), 2, "one was added");
    assert_eq!(next(&[1, 1], &[Some(0), Some(2)]), 1, "the one whose turn it was is gone");
    assert_eq!(next(&[1, 1], &[None, None]), 0);
    // Weighted: 5, 1, 1 give 0 0 1 0 2 0 0.
    let of = given(&[5, 1, 1]);
    let last = balancer(Algorithm::RoundRobin, &of, 0);
    let before: Vec<_> = (0..3).filter_map(|_| last.pick(&of, None)).collect();
    let next = balancer(Algorithm::RoundRobin, &of, 1);
    next.follow(&last, Some);
    let after: Vec<_> = (0..4).filter_map(|_| next.pick(&of, None)).collect();
    assert_eq!([before, after].concat(), [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn least_requests_counts_exchanges_for_each_weight() {
    let of = Given { loads: vec![4, 3, 5], ..given(&[1, 1, 1]) };
    assert_eq!(picks(Algorithm::LeastRequests, &of, 2, 2), [1, 1]);
    let of = Given { loads: vec![7, 2, 4], ..given(&[4, 1, 2]) };
    assert_eq!(picks(Algorithm::LeastRequests, &of, 2, 2), [0, 0], "7/4 is less than 2/1 and 4/2");
    let of = Given { loads: vec![8, 2, 9], ..given(&[4, 1, 2]) };
    let picked = picks(Algorithm::LeastRequests, &of, 0, 10);
    assert_eq!(picked.iter().filter(|at| **at == 0).count(), 8, "equals take turns by weight: {picked:?}");
    assert!(!picked.contains(&2));
    // Each exchange lasts: loads stay in proportion to the weights.
    let mut of = given(&[4, 1, 2]);
    let balancer = balancer(Algorithm::LeastRequests, &of, 0);
    for _ in 0..70 {
        let picked = balancer.pick(&of, None).unwrap();
        of.loads[picked] += 1;
    }
    assert_eq!(of.loads, [40, 10, 20]);
}

#[test]
fn two_choices_keep_loads_together_where_random_ones_drift_apart() {
    // Exchanges that do not end, at 10 endpoints: the most loaded one has ln ln n more than the others, not √.
    let spread = |algorithm, seed| {
        let mut of = given(&[1; 10]);
        let balancer = balancer(algorithm, &of, seed);
        for _ in 0..10_000 {
            let picked = balancer.pick(&of, None).unwrap();
            of.loads[picked] += 1;
        }
        of.loads.iter().max().unwrap() - of.loads.iter().min().unwrap()
    };
    for seed in 0..20 {
        assert!(spread(Algorithm::TwoChoices, seed) <= 12, "{}", spread(Algorithm::TwoChoices, seed));
        assert!(spread(Algorithm::Random, seed) > 30, "{}", spread(Algorithm::Random, seed));
    }
    let of = Given { loads: vec![50, 1], ..given(&[1, 1]) };
    assert!(picks(Algorithm::TwoChoices, &of, 3, 50).iter().all(|at| *at == 1), "of two, the other one");
}

/// Where each of 20,000 keys goes.
fn places(of: &Given) -> Vec<u64> {
    let balancer = balancer(Algorithm::Hash(NO_BOUND), of, 0);
    let keys = (0..20_000_u32).map(|key| stable_hash(&key.to_le_bytes()));
    keys.map(|key| of.names[balancer.pick(of, Some(key)).unwrap()]).collect()
}

#[test]
fn a_hash_moves_the_ideal_share_and_nothing_else_when_an_endpoint_is_added_or_removed() {
    for endpoints in [1, 2, 5, 20] {
        let all = given(&vec![1; endpoints + 1]);
        for out in [0, endpoints / 2, endpoints] {
            let mut fewer = all.clone();
            fewer.weights.remove(out);
            fewer.loads.remove(out);
            fewer.names.remove(out);
            let (with, without) = (places(&all), places(&fewer));
            let moved = with.iter().zip(&without).filter(|(with, without)| with != without).count();
            let own = with.iter().filter(|place| **place == all.names[out]).count();
            assert_eq!(moved, own, "only its own keys move");
            let ideal = 20_000 / (endpoints + 1);
            assert!(moved * 10 <= ideal * 11, "{moved} of {ideal} with {endpoints}");
        }
    }
}

#[test]
fn a_hash_does_not_depend_on_the_order_of_endpoints_and_a_weight_moves_keys_one_way() {
    let of = given(&[1, 2, 3, 4]);
    let mut turned = of.clone();
    turned.weights.reverse();
    turned.names.reverse();
    assert_eq!(places(&of), places(&turned));
    let even = given(&[3; 4]);
    let heavier = Given { weights: vec![3, 3, 3, 6], ..even.clone() };
    let moved: Vec<_> =
        places(&even).into_iter().zip(places(&heavier)).filter(|(from, to)| from != to).collect();
    assert!(moved.iter().all(|(_, to)| *to == even.names[3]), "only to the one that became heavier");
    // From 1/4 of the keys to 2/5.
    assert!((2_700..3_300).contains(&moved.len()), "{}", moved.len());
}

#[test]
fn a_hash_is_the_same_in_every_version() {
    assert_eq!(stable_hash(b"10.0.0.1:8443"), 0x6A04_22F2_5B24_E433);
    let of = given(&[1, 2, 1, 3]);
    let balancer = balancer(Algorithm::Hash(NO_BOUND), &of, 0);
    let places: Vec<_> = (0..12_u64).map(|key| balancer.pick(&of, Some(key)).unwrap()).collect();
    assert_eq!(places, [2, 3, 1, 3, 3, 2, 1, 3, 3, 3, 1, 1]);
}

#[test]
fn keys_of_a_full_endpoint_go_to_the_next_and_come_back() {
    let bound = Algorithm::Hash(LoadBound(125));
    let key = stable_hash(b"hot");
    let mut of = given(&[1, 1, 1, 1]);
    let balancer = balancer(bound, &of, 0);
    let home = balancer.pick(&of, Some(key)).unwrap();
    let mut most = 0.0_f64;
    for request in 1..=4_000_u32 {
        let picked = balancer.pick(&of, Some(key)).unwrap();
        of.loads[picked] += 1;
        if request > 100 {
            let fullest = u32::try_from(*of.loads.iter().max().unwrap()).unwrap();
            most = most.max(f64::from(fullest) / (f64::from(request) / 4.0));
        }
    }
    assert!((1.2..1.3).contains(&most), "one key alone: {:?}, {most}", of.loads);
    assert_eq!(of.loads[home], *of.loads.iter().max().unwrap());
    of.loads[home] = 0;
    assert_eq!(balancer.pick(&of, Some(key)), Some(home), "it has room again");
    // Few exchanges are no load: keys stay.
    of.loads = vec![0; 4];
    of.loads[home] = 7;
    assert_eq!(balancer.pick(&of, Some(key)), Some(home));
    of.loads[home] = 8;
    assert_ne!(balancer.pick(&of, Some(key)), Some(home));
    let free = Balancer::new(Algorithm::Hash(NO_BOUND), &of.weights, 0);
    of.loads[home] = 1_000_000;
    assert_eq!(free.pick(&of, Some(key)), Some(home));
}

#[test]
fn the_least_loaded_of_the_others_is_next() {
    let of = Given { loads: vec![0, 5, 2, 2], ..given(&[1, 1, 1, 1]) };
    let without_first = Only { of: &of, may: |endpoint| endpoint != 0 };
    let balancer = balancer(Algorithm::LeastRequests, &of, 0);
    assert_eq!(balancer.pick_after(0, &without_first, None), Some(2));
    assert_eq!(balancer.pick_after(2, &without_first, None), Some(3));
}

proptest! {
    #[test]
    fn each_gets_its_weight_in_every_round(weights in prop::collection::vec(1u32..20, 1..8)) {
        let total: u32 = weights.iter().sum();
        let of = given(&weights);
        let balancer = balancer(Algorithm::RoundRobin, &of, 0);
        for _ in 0..3 {
            let mut got = vec![0; weights.len()];
            for _ in 0..total {
                got[balancer.pick(&of, None).unwrap()] += 1;
            }
            // Equal weights share a round evenly as well, since it is a multiple of their number.
            prop_assert_eq!(&got, &weights);
        }
    }

    #[test]
    fn every_algorithm_chooses_one_that_may_be_chosen(
        endpoints in prop::collection::vec((0u32..2_000_000, 0u64..u64::MAX / 4), 1..12),
        key in prop::option::of(any::<u64>()),
        last in 0usize..12,
        start in any::<usize>(),
        bound in prop::sample::select(vec![0, 100, 125, 1000]),
    ) {
        let (weights, loads): (Vec<u32>, Vec<u64>) = endpoints.into_iter().unzip();
        let of = Given { loads: loads.iter().map(|load| load / 16).collect(), ..given(&weights) };
        let some = weights.iter().any(|weight| *weight > 0);
        for algorithm in ALL.into_iter().chain([Algorithm::Hash(LoadBound(bound))]) {
            let balancer = balancer(algorithm, &of, start % 1000);
            for _ in 0..3 {
                let chosen = [balancer.pick(&of, key), balancer.pick_after(last % of.len(), &of, key)];
                for one in chosen {
                    prop_assert_eq!(one.is_some(), some);
                    prop_assert!(one.is_none_or(|one| weights[one] > 0));
                }
            }
        }
    }
}
