//! The bits of the kernels against the f64 oracle.

use crate::data::{Random, cases, refusal};
use expertile_reference::Rounding;
use expertile_reference::router::{Groups, Rule, Scoring, route};
use expertile_reference::router_f32::{logits_f32, router_f32};
use proptest::prelude::*;

/// The spacing of f32 numbers around `x`.
fn ulp(x: f64) -> f64 {
    let x = (x.abs() as f32).max(f32::MIN_POSITIVE);
    f64::from(f32::from_bits(x.to_bits() & 0x7f80_0000)) * f64::from(f32::EPSILON)
}

/// Experts, the chosen, and how the groups are.
type Extents = (usize, usize, Option<Groups>);

fn extents() -> impl Strategy<Value = Extents> {
    let grouped = (1..=8usize, 1..=8usize, any::<u64>()).prop_map(|(count, size, seed)| {
        let mut random = Random::new(seed);
        let chosen = 1 + random.below(count);
        let top_k = 1 + random.below(16.min(chosen * size));
        (count * size, top_k, Some(Groups { count, chosen }))
    });
    let plain = (1..=64usize, any::<u64>())
        .prop_map(|(experts, seed)| (experts, 1 + Random::new(seed).below(experts.min(16)), None));
    let wide = (Just(256), 1..=16usize).prop_map(|(experts, top_k)| (experts, top_k, None));
    prop_oneof![3 => grouped, 4 => plain, 1 => wide]
}

/// Logits: 0 smooth, 1 with ties by the thousand, 2 of all magnitudes, 3 with NaN and infinities.
fn logits(random: &mut Random, count: usize, kind: u8) -> Vec<f32> {
    let few = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, f32::MAX, f32::MIN, 1e-42];
    (0..count)
        .map(|_| {
            let unit = random.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0;
            match kind {
                0 => 8.0 * unit,
                1 => (8.0 * unit).round() / 4.0,
                2 => unit * 2f32.powi(random.below(14) as i32 - 6),
                _ if random.below(2) == 0 => few[random.below(few.len())],
                _ => unit,
            }
        })
        .collect()
}

/// A scoring by number, and by how much its weights may be off, in ulp.
fn scoring(number: u8, bias: &[f32]) -> (Scoring<'_>, f64) {
    let softmax = |p: f64| (Scoring::Softmax { p_norm: Some(p) }, 8.0 / p.min(1.0));
    match number {
        0 => (Scoring::Softmax { p_norm: None }, 8.0),
        1 => softmax(1.0),
        2 => softmax(2.0),
        3 => softmax(0.125),
        4 => softmax(37.5),
        5 => softmax(f64::INFINITY),
        6 => (Scoring::TopKSoftmax, 8.0),
        7 => (Scoring::Sigmoid { bias: None, normalize: false }, 8.0),
        8 => (Scoring::Sigmoid { bias: None, normalize: true }, 8.0),
        9 => (Scoring::Sigmoid { bias: Some(bias), normalize: false }, 8.0),
        _ => (Scoring::Sigmoid { bias: Some(bias), normalize: true }, 8.0),
    }
}

/// Whether two of the values are so near that f32 may order them otherwise.
fn near_tie(values: &[f64], bound: f64) -> bool {
    values.iter().enumerate().any(|(i, a)| values[..i].iter().any(|b| (a - b).abs() <= bound))
}

fn agree(extents: Extents, number: u8, kind: u8, forced: bool, scaled: bool, seed: u64) {
    let (experts, top_k, groups) = extents;
    let mut random = Random::new(seed);
    let tokens = 1 + random.below(6);
    let logits = logits(&mut random, tokens * experts, kind);
    let bias: Vec<f32> = random.eighths(experts);
    let ids: Vec<i32> = (0..tokens * top_k)
        .map(|_| match random.below(8) {
            0 => [-1, experts as i32, i32::MIN, i32::MAX][random.below(4)],
            _ => random.below(experts) as i32,
        })
        .collect();
    let (scoring, ulps) = scoring(number, &bias);
    let scale = if scaled { 2.5 } else { 1.0 };
    let rule = Rule { top_k, scoring, groups, scale, forced: forced.then_some(&ids) };

    let got = router_f32(&logits, experts, &rule).unwrap();
    let oracle = route(&logits, experts, &rule, Rounding::F64).unwrap();
    for token in 0..tokens {
        let (got, want) =
            (&got.ids[token * top_k..][..top_k], &oracle.ids[token * top_k..][..top_k]);
        if forced {
            assert_eq!(got, want);
            continue;
        }
        let mut distinct = got.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(
            distinct.len() == top_k && distinct.iter().all(|&id| (0..experts as i32).contains(&id))
        );
        // Logits are compared as they are. Sigmoids are off by 4 ulp, their sums with a bias and
        // with each other are rounded.
        if got != want {
            let scores = &oracle.probabilities[token * experts..][..experts];
            let choice: Vec<f64> = match scoring {
                Scoring::Sigmoid { bias: Some(bias), .. } => {
                    scores.iter().zip(bias).map(|(score, bias)| score + f64::from(*bias)).collect()
                }
                Scoring::Sigmoid { .. } if groups.is_some() => scores.to_vec(),
                _ => panic!("token {token}: {got:?}, not {want:?}"),
            };
            let bound = 16.0 * f64::from(f32::EPSILON) * 17.0;
            let sums: Vec<f64> = groups.map_or(Vec::new(), |groups| {
                choice
                    .chunks(experts / groups.count)
                    .map(|group| {
                        let mut group = group.to_vec();
                        group.sort_by(|a, b| b.total_cmp(a));
                        group[..group.len().min(2)].iter().sum()
                    })
                    .collect()
            });
            assert!(near_tie(&choice, bound) || near_tie(&sums, bound), "{got:?}, not {want:?}");
        }
    }

    // The weights of what was chosen.
    let again = Rule { forced: Some(&got.ids), groups: None, ..rule };
    let oracle = route(&logits, experts, &again, Rounding::F64).unwrap();
    assert_eq!(got.counts, oracle.counts);
    let ulps = if scaled { ulps + 1.0 } else { ulps };
    for (i, (got, want)) in got.weights.iter().zip(&oracle.weights).enumerate() {
        let error = (f64::from(*got) - want).abs() / ulp(*want);
        assert!(error <= ulps, "weight {i} is {got:e}, not {want:e}: {error} ulp");
    }
    for (got, want) in got.probabilities.iter().zip(&oracle.probabilities) {
        assert!((f64::from(*got) - want).abs() <= 8.0 * ulp(*want), "{got} {want}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn bits_are_near_the_oracle(
        extents in extents(), kind in 0..4u8, forced in prop::bool::weighted(0.2), scaled: bool, seed: u64,
    ) {
        for number in 0..11 {
            agree(extents, number, kind, forced, scaled, seed);
        }
    }

    #[test]
    fn products_are_near_the_oracle(
        tokens in 0..3usize, experts in 1..4usize, vectors in 1..700usize, wide: bool, seed: u64,
    ) {
        let mut random = Random::new(seed);
        let element_bytes = if wide { 4 } else { 2 };
        let hidden = vectors * 8;
        let (h, weight) = (random.eighths(tokens * hidden), random.eighths(experts * hidden));
        // Eighths: every sum is exact, whatever its order.
        let got = logits_f32(&h, &weight, hidden, element_bytes).unwrap();
        for (i, got) in got.iter().enumerate() {
            let (h, w) = (&h[i / experts * hidden..][..hidden], &weight[i % experts * hidden..][..hidden]);
            let want: f64 = h.iter().zip(w).map(|(h, w)| f64::from(*h) * f64::from(*w)).sum();
            assert_eq!(f64::from(*got), want);
        }
    }
}

#[test]
fn every_pattern_of_nan_and_infinity() {
    // Three kinds of logits over 8 experts are 6561 rows; the ids do not depend on the scoring.
    for pattern in 0..6561u32 {
        let mut left = pattern;
        let row: Vec<f32> = (0..8)
            .map(|i| {
                let kind = left % 3;
                left /= 3;
                match (kind, pattern % 2) {
                    (0, _) => i as f32,
                    (1, 0) => f32::NAN,
                    (1, _) => f32::NEG_INFINITY,
                    _ => f32::INFINITY,
                }
            })
            .collect();
        for number in 0..11 {
            let (scoring, _) = scoring(number, &[0.0; 8]);
            let rule = Rule { scoring, ..Rule::softmax(4, None) };
            let got = router_f32(&row, 8, &rule).unwrap();
            let oracle = route(&row, 8, &rule, Rounding::F64).unwrap();
            let biased = matches!(scoring, Scoring::Sigmoid { bias: Some(_), .. });
            // Sigmoids are one number for several logits, in f32 for more of them.
            assert!(biased || got.ids == oracle.ids, "{row:?} {scoring:?}");
            let mut ids = got.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 4, "{row:?}");
            assert!(got.weights.iter().all(|weight| (0.0..=1.0).contains(weight)), "{row:?}");
        }
    }
}

#[test]
fn refusals() {
    let rule = Rule::softmax(2, Some(1.0));
    let logits = [0f32; 12];
    let refuse = |rule: &Rule<'_>| refusal(route(&logits, 6, rule, Rounding::F64));
    let groups = |count, chosen| Some(Groups { count, chosen });
    let one = Rule { groups: groups(4, 1), ..rule };
    assert_eq!(refuse(&one), "router: groups.count is 4, expected a divisor of experts = 6");
    let few = Rule { groups: groups(6, 1), ..rule };
    assert_eq!(
        refuse(&few),
        "router: groups.chosen is 1, expected at most 6, and 2 experts in them"
    );
    let short = Rule { forced: Some(&[1]), ..rule };
    assert_eq!(refuse(&short), "router: forced has 1 elements, expected [2, 2]");
    let scoring = Scoring::Sigmoid { bias: Some(&[0.0]), normalize: true };
    let bias = Rule { scoring, ..rule };
    assert_eq!(refuse(&bias), "router: bias has shape [1], expected [6]");
    assert_eq!(
        refusal(logits_f32(&[0.0; 8], &[0.0; 8], 8, 3)),
        "router: element_bytes is 3, expected 2 or 4"
    );
}
