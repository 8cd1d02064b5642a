use crate::data::{Random, assert_near, cases, gather, refusal, same_bits, tokens, wide};
use expertile_reference::Rounding;
use expertile_reference::router::{Routing, router};
use proptest::prelude::*;

fn route(logits: &[f64], experts: usize, top_k: usize, p_norm: Option<f64>) -> Routing {
    router(logits, experts, top_k, p_norm, Rounding::F64).unwrap()
}

/// What takes part in the order instead of a logit, as the page says.
fn keys(logits: &[f64]) -> Vec<f64> {
    let infinite = logits.contains(&f64::INFINITY);
    let nothing = logits.iter().all(|x| x.is_nan() || *x == f64::NEG_INFINITY);
    let key = |&x: &f64| match x {
        _ if nothing => 0.0,
        _ if x.is_nan() => f64::NEG_INFINITY,
        f64::INFINITY => 0.0,
        _ if infinite => f64::NEG_INFINITY,
        _ => x,
    };
    logits.iter().map(key).collect()
}

/// The expert of each rank, by counting those before each.
fn ranking(logits: &[f64]) -> Vec<i32> {
    let keys = keys(logits);
    let mut ranking = vec![-1; keys.len()];
    for (a, x) in keys.iter().enumerate() {
        let before = keys.iter().enumerate().filter(|&(b, y)| y > x || (y == x && b < a)).count();
        ranking[before] = a as i32;
    }
    ranking
}

/// Logits with ties and with values that have no place in an order.
fn hostile(random: &mut Random, count: usize) -> Vec<f64> {
    let few = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, -f64::NAN, 2.0, 1e300];
    let kinds = 1 + random.below(few.len());
    let offset = random.below(few.len());
    let tame = random.below(3);
    let integers = random.integers(count);
    let value = |&integer: &f32| match random.below(3) {
        0 if tame > 0 => integer.into(),
        _ if tame == 2 => integer.into(),
        _ => few[(offset + random.below(kinds)) % few.len()],
    };
    integers.iter().map(value).collect()
}

/// Extents and a seed.
fn shapes() -> impl Strategy<Value = (usize, usize, usize, u64)> {
    let experts = prop_oneof![1..20usize, Just(16), Just(1)];
    experts.prop_flat_map(|experts| (tokens(), Just(experts), 1..=experts, any::<u64>()))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn ids_are_the_start_of_a_full_sort((tokens, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        for _ in 0..8 {
            let logits: Vec<f64> = (0..tokens).flat_map(|_| hostile(&mut random, experts)).collect();
            let routing = route(&logits, experts, top_k, Some(1.0));
            let mut counts = vec![0; experts];
            for (ids, logits) in routing.ids.chunks(top_k).zip(logits.chunks(experts)) {
                assert_eq!(ids, &ranking(logits)[..top_k], "{logits:?}");
                ids.iter().for_each(|&id| counts[id as usize] += 1);
            }
            assert_eq!(routing.counts, counts);
            assert!(routing.weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
        }
    }

    #[test]
    fn weights_are_the_softmax_over_its_norm((tokens, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        let logits: Vec<f64> = wide(&random.eighths(tokens * experts));
        let mut softmax = Vec::new();
        for logits in logits.chunks(experts) {
            // No logit is above 4, so nothing overflows without the largest taken out.
            let sum: f64 = logits.iter().map(|x| x.exp()).sum();
            softmax.extend(logits.iter().map(|x| x.exp() / sum));
        }
        for p_norm in [None, Some(0.5), Some(1.0), Some(2.0), Some(3.5), Some(1e4), Some(f64::INFINITY)] {
            let routing = route(&logits, experts, top_k, p_norm);
            assert_near(&routing.probabilities, &softmax, |i| 1e-14 * softmax[i]);
            for (token, weights) in routing.weights.chunks(top_k).enumerate() {
                let ids = &routing.ids[token * top_k..][..top_k];
                let chosen: Vec<f64> =
                    ids.iter().map(|&id| softmax[token * experts + id as usize]).collect();
                let norm = match p_norm {
                    None => 1.0,
                    Some(p) if p > 100.0 => chosen[0],
                    Some(p) => chosen.iter().map(|x| x.powf(p)).sum::<f64>().powf(1.0 / p),
                };
                let want: Vec<f64> = chosen.iter().map(|x| x / norm).collect();
                // With p = 1e4 the norm is up to 20^(1/p) times the largest.
                let slack = if p_norm == Some(1e4) { 4e-4 } else { 1e-12 };
                assert_near(weights, &want, |slot| slack * want[slot]);
                let mass = match p_norm {
                    Some(f64::INFINITY) => weights.iter().copied().fold(0.0, f64::max),
                    Some(p) => weights.iter().map(|x| x.powf(p)).sum::<f64>().powf(1.0 / p),
                    None => 1.0,
                };
                assert!((mass - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_constant_changes_nothing((tokens, experts, top_k, seed) in shapes(), c in -1000..1000i32) {
        let logits = wide(&Random::new(seed).eighths(tokens * experts));
        let shifted: Vec<f64> = logits.iter().map(|x| x + f64::from(c)).collect();
        assert_eq!(
            route(&logits, experts, top_k, Some(2.0)),
            route(&shifted, experts, top_k, Some(2.0))
        );
    }

    #[test]
    fn raising_a_chosen_logit_keeps_it((_, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        let mut logits = hostile(&mut random, experts);
        let before = route(&logits, experts, top_k, None);
        let slot = random.below(top_k);
        let id = before.ids[slot];
        let raised = &mut logits[id as usize];
        *raised = if raised.is_nan() { 0.0 } else { *raised + 1.0 };
        let after = route(&logits, experts, top_k, None);
        assert!(after.ids[..=slot].contains(&id), "{before:?} {after:?}");
    }

    #[test]
    fn tokens_do_not_see_each_other((tokens, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        let logits: Vec<f64> = (0..tokens).flat_map(|_| hostile(&mut random, experts)).collect();
        let whole = route(&logits, experts, top_k, Some(1.0));
        let order = random.permutation(tokens);
        let permuted = route(&gather(&logits, experts, &order), experts, top_k, Some(1.0));
        assert_eq!(permuted.ids, gather(&whole.ids, top_k, &order));
        assert!(same_bits(&permuted.weights, &gather(&whole.weights, top_k, &order)));
        assert_eq!(permuted.counts, whole.counts);
    }

    #[test]
    fn weights_are_rounded_once((tokens, experts, top_k, seed) in shapes()) {
        let logits = wide(&Random::new(seed).eighths(tokens * experts));
        let exact = route(&logits, experts, top_k, Some(1.0));
        for rounding in [Rounding::F32, Rounding::F16, Rounding::Bf16] {
            let routing = router(&logits, experts, top_k, Some(1.0), rounding).unwrap();
            assert_eq!(routing.weights, rounding.round_all(exact.weights.clone()));
            assert_eq!(routing.ids, exact.ids);
            assert_eq!(routing.probabilities, exact.probabilities);
        }
    }
}

#[test]
fn by_hand() {
    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;
    for (logits, ids, weights) in [
        ([NAN; 4], [0, 1], [0.5, 0.5]),
        ([-INF; 4], [0, 1], [0.5, 0.5]),
        ([-INF, NAN, -INF, NAN], [0, 1], [0.5, 0.5]),
        ([1.0, NAN, 1.0, NAN], [0, 2], [0.5, 0.5]),
        ([NAN, NAN, NAN, -5.0], [3, 0], [1.0, 0.0]),
        ([0.0, INF, 7.0, INF], [1, 3], [0.5, 0.5]),
        ([0.0, 5.0, 7.0, INF], [3, 0], [1.0, 0.0]),
        ([INF; 4], [0, 1], [0.5, 0.5]),
        ([-0.0, 0.0, -0.0, 0.0], [0, 1], [0.5, 0.5]),
        ([-2.0, -1.0, -1.0, -1.0], [1, 2], [0.5, 0.5]),
        // Probability 0 in f64, and still in the order of the logits.
        ([0.0, -5000.0, -4000.0, -3000.0], [0, 3], [1.0, 0.0]),
    ] {
        let routing = route(&logits, 4, 2, Some(1.0));
        assert_eq!(
            (&routing.ids[..], &routing.weights[..]),
            (&ids[..], &weights[..]),
            "{logits:?}"
        );
    }
    let shared = route(&[0.0, INF, 7.0, INF], 4, 1, None);
    assert_eq!(shared.probabilities, [0.0, 0.5, 0.0, 0.5]);
    assert_eq!(shared.weights, [0.5]);
}

#[test]
fn refusals() {
    let run = |logits: &[f32], experts, top_k, p_norm| {
        router(logits, experts, top_k, p_norm, Rounding::F32)
    };
    assert_eq!(
        refusal(run(&[0.0; 5], 4, 2, None)),
        "router: logits.len() is 5, expected a multiple of the row length 4"
    );
    for top_k in [0, 5, usize::MAX] {
        assert_eq!(
            refusal(run(&[0.0; 4], 4, top_k, None)),
            format!("router: top_k is {top_k}, expected at least 1 and at most experts = 4")
        );
    }
    for p in [0.0, -1.0, f64::NAN] {
        assert_eq!(
            refusal(run(&[0.0; 4], 4, 2, Some(p))),
            format!("router: p_norm is {p}, expected above 0")
        );
    }
    assert_eq!(
        refusal(run(&[], usize::MAX, 1, None)),
        "router: experts is 18446744073709551615, expected at most 2147483647"
    );
    refusal(run(&[], 0, 0, None));
    refusal(run(&[0.0], 0, 1, None));
    let none = run(&[], 4, 2, Some(1.0)).unwrap();
    assert_eq!(none.counts, [0; 4]);
    assert!(none.ids.is_empty() && none.weights.is_empty() && none.probabilities.is_empty());
}
