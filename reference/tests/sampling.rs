//! The sampler against its definition.

use expertile_reference::checkpoint::sampling::{Sampler, greedy, log_probability};
use proptest::prelude::*;

/// Tokens drawn from the same logits, one after another.
fn draw(sampler: &mut Sampler, logits: &[f32], count: usize) -> Vec<u32> {
    (0..count).map(|_| sampler.sample(logits).unwrap()).collect()
}

/// The probabilities that the sampler's page defines, and which tokens are kept, by a search rather
/// than by a sum.
fn expected(logits: &[f32], temperature: f64, top_p: f64) -> Vec<f64> {
    let p: Vec<f64> = logits.iter().map(|&x| (f64::from(x) / temperature).exp()).collect();
    let total: f64 = p.iter().sum();
    let is_before = |a: usize, b: usize| logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
    let mass_before =
        |id| -> f64 { (0..p.len()).filter(|&x| is_before(x, id)).map(|x| p[x]).sum() };
    let kept = |id: usize| if mass_before(id) < top_p * total { p[id] } else { 0.0 };
    let kept: Vec<f64> = (0..p.len()).map(kept).collect();
    let total: f64 = kept.iter().sum();
    kept.iter().map(|p| p / total).collect()
}

/// Each count is binomial. By Bernstein's inequality it is further than `t` from its mean with a
/// probability of at most `2 exp(-t^2 / (2 (variance + t / 3)))`; at the `t` that solves for 1e-12,
/// fewer than one in 1e9 seeds would fail anywhere here.
#[test]
fn frequencies_are_those_of_the_softmax() {
    let logits = [1.5f32, -0.5, 2.0, f32::NEG_INFINITY, 0.25, 2.0, -30.0, 1.0];
    let draws = 20_000;
    for (seed, temperature, top_p) in
        [(0, 1.0, 1.0), (1, 0.5, 1.0), (2, 3.0, 1.0), (3, 1.0, 0.8), (4, 0.8, 0.95), (5, 1.0, 0.3)]
    {
        let mut sampler = Sampler::new(temperature, top_p, seed).unwrap();
        let mut counts = [0u32; 8];
        draw(&mut sampler, &logits, draws).iter().for_each(|&id| counts[id as usize] += 1);
        let exponent = (2.0 / 1e-12f64).ln();
        for (id, &p) in expected(&logits, temperature, top_p).iter().enumerate() {
            let variance = draws as f64 * p * (1.0 - p);
            let t = exponent / 3.0 + (exponent.powi(2) / 9.0 + 2.0 * variance * exponent).sqrt();
            let difference = (f64::from(counts[id]) - draws as f64 * p).abs();
            assert!(
                difference <= t,
                "temperature {temperature}, top_p {top_p}: token {id} of probability {p} was \
                 drawn {} times of {draws}, further than {t:.0} from the mean",
                counts[id]
            );
            assert!(p > 0.0 || counts[id] == 0, "token {id} is not to be drawn");
        }
    }
}

#[test]
fn ties_go_to_the_lower_id() {
    let logits = [0.0f32, 1.0, -0.0, 1.0, 1.0];
    assert_eq!(greedy(&logits).unwrap(), 1);
    assert_eq!(greedy(&[-0.0f32, 0.0]).unwrap(), 0);
    // A mass that is reached exactly is enough.
    for (top_p, kept) in [(0.25, 1), (0.5, 2), (0.75, 3)] {
        let drawn = draw(&mut Sampler::new(1.0, top_p, 7).unwrap(), &[2.0; 4], 500);
        assert!((0..4).all(|id| drawn.contains(&id) == (id < kept)), "{drawn:?}");
    }
    // Half of the mass of five equal tokens is in the first three.
    let mut sampler = Sampler::new(1.0, 0.5, 7).unwrap();
    let drawn = draw(&mut sampler, &[0.0, -0.0, 0.0, -0.0, 0.0], 500);
    assert!((0..5).all(|id| drawn.contains(&id) == (id < 3)), "{drawn:?}");
}

#[test]
fn extremes() {
    for temperature in [f64::from_bits(1), 1e-300, 1e-3] {
        let mut sampler = Sampler::new(temperature, 1.0, 0).unwrap();
        assert_eq!(draw(&mut sampler, &[-f32::MAX, 3.0, f32::MAX, f32::MIN_POSITIVE], 20), [2; 20]);
    }
    let mut sampler = Sampler::new(f64::MAX, 1.0, 0).unwrap();
    let drawn = draw(&mut sampler, &[-f32::MAX, f32::NEG_INFINITY, f32::MAX], 100);
    assert!((0..3).all(|id| drawn.contains(&id) == (id != 1)), "{drawn:?}");
    assert_eq!(draw(&mut sampler, &[-7.0], 3), [0; 3]);
}

/// A change here changes the text that every seed gives.
#[test]
fn tokens_of_a_seed_are_fixed() {
    let logits: Vec<f32> = (0..100).map(|id| ((id * 37 % 100) as f32 / 25.0).sin()).collect();
    let mut sampler = Sampler::new(0.8, 0.95, 1).unwrap();
    assert_eq!(draw(&mut sampler, &logits, 8), [44, 1, 33, 9, 31, 26, 98, 55]);
}

#[test]
fn refusals() {
    let refusal = |temperature, top_p| Sampler::new(temperature, top_p, 0).unwrap_err().to_string();
    for (temperature, found) in [(-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let expected = format!("sampling: temperature is {found}, expected finite and at least 0");
        assert_eq!(refusal(temperature, 0.5), expected);
    }
    for (top_p, found) in [(0.0, "0"), (-0.5, "-0.5"), (1.5, "1.5"), (f64::NAN, "NaN")] {
        let expected = format!("sampling: top_p is {found}, expected above 0 and at most 1");
        assert_eq!(refusal(1.0, top_p), expected);
    }

    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for (logits, expected) in [
        (&[0.0, nan][..], "logits[1] is NaN, expected a number below infinity"),
        (&[inf, 0.0], "logits[0] is inf, expected a number below infinity"),
        (&[-inf, -inf], "the largest of 2 logits is -inf, expected finite"),
        (&[], "the largest of 0 logits is -inf, expected finite"),
    ] {
        let expected = format!("sampling: {expected}");
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(temperature, 0.9, 0).unwrap();
            assert_eq!(sampler.sample(logits).unwrap_err().to_string(), expected);
        }
        assert_eq!(log_probability(logits, 0).unwrap_err().to_string(), expected);
    }
    let expected = "sampling: token is 2, expected less than 2";
    assert_eq!(log_probability(&[0.0f32, 1.0], 2).unwrap_err().to_string(), expected);
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        8 => -20f32..20.0,
        2 => prop::sample::select(vec![0.0, -0.0, 1.0, 20.0]),
        1 => Just(f32::NEG_INFINITY),
    ];
    let row = prop::collection::vec(logit, 1..60);
    row.prop_filter("one above -inf", |row| row.iter().any(|logit| logit.is_finite()))
}

proptest! {
    #[test]
    fn greedy_is_the_first_of_the_largest(logits in logits()) {
        let token = greedy(&logits).unwrap() as usize;
        prop_assert!(logits[..token].iter().all(|&logit| logit < logits[token]));
        prop_assert!(logits[token..].iter().all(|&logit| logit <= logits[token]));
    }

    #[test]
    fn temperature_0_and_a_tiny_top_p_are_greedy(logits in logits(), seed: u64, top_p in 0.01..1.0) {
        let token = greedy(&logits).unwrap();
        let mut cold = Sampler::new(0.0, top_p, seed).unwrap();
        let mut narrow = Sampler::new(1.0, f64::MIN_POSITIVE, seed).unwrap();
        prop_assert_eq!(draw(&mut cold, &logits, 5), [token; 5]);
        prop_assert_eq!(draw(&mut narrow, &logits, 5), [token; 5]);
    }

    /// The same seed gives the same tokens, and none that top-p leaves out. A sum in another order
    /// may differ in its last bits, hence the margin.
    #[test]
    fn seeds_repeat_and_top_p_holds(
        logits in logits(),
        seed: u64,
        temperature in 0.1..5.0,
        top_p in 0.01..1.0,
    ) {
        let mut sampler = Sampler::new(temperature, top_p, seed).unwrap();
        let drawn = draw(&mut sampler.clone(), &logits, 50);
        prop_assert_eq!(&drawn, &draw(&mut sampler, &logits, 50));
        let kept = expected(&logits, temperature, (top_p + 1e-9).min(1.0));
        prop_assert!(drawn.iter().all(|&id| kept[id as usize] > 0.0), "{:?} {:?}", drawn, kept);
    }

    #[test]
    fn probabilities_sum_to_1(logits in logits()) {
        let tokens = 0..logits.len() as u32;
        let sum: f64 = tokens.map(|id| log_probability(&logits, id).unwrap().exp()).sum();
        prop_assert!((sum - 1.0).abs() < 1e-12, "{}", sum);
    }
}
