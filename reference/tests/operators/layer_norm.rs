use crate::data::{Random, assert_near, cases, gather, refusal, same_bits, tokens, wide};
use expertile_reference::Rounding;
use expertile_reference::config::LAYER_NORM_EPSILON;
use expertile_reference::layer_norm::layer_norm;
use half::{bf16, f16};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rows_have_mean_0_and_variance_1(
        tokens in tokens(), hidden in 2..40usize, seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let x = random.values(tokens * hidden);
        let epsilon = 1e-5;
        let out = layer_norm(&x, None, &vec![1.0; hidden], epsilon, Rounding::Bf16).unwrap();
        assert_eq!(out.sum, wide(&x), "without a residual nothing is rounded");
        for (x, y) in x.chunks(hidden).zip(out.normalized.chunks(hidden)) {
            let n = hidden as f64;
            // Welford's update, a way to the variance that shares nothing with two passes.
            let (mut mean, mut squares) = (0.0, 0.0);
            for (i, &x) in x.iter().enumerate() {
                let delta = f64::from(x) - mean;
                mean += delta / (i + 1) as f64;
                squares += delta * (f64::from(x) - mean);
            }
            let variance = squares / n;
            assert!((y.iter().sum::<f64>() / n).abs() < 1e-9);
            let found = y.iter().map(|y| y * y).sum::<f64>() / n;
            assert!((found - variance / (variance + epsilon)).abs() < 1e-9);
        }
    }

    #[test]
    fn shifts_and_scales_are_taken_out(hidden in 2..40usize, c in -1000..1000i32, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let x = random.eighths(hidden);
        let weight = random.eighths(hidden);
        let norm = |x: &[f64], epsilon| {
            layer_norm(x, None, &weight, epsilon, Rounding::F64).unwrap().normalized
        };
        let x = wide(&x);
        let shifted: Vec<f64> = x.iter().map(|x| x + f64::from(c)).collect();
        let want = norm(&x, 1e-5);
        // A mean of 1000 is 2^-43 off at most, which the smallest deviation, above 1/100, divides.
        assert_near(&norm(&shifted, 1e-5), &want, |_| 1e-8);
        let scaled: Vec<f64> = x.iter().map(|x| x * 1024.0).collect();
        if x.iter().any(|y| *y != x[0]) {
            assert!(same_bits(&norm(&scaled, 0.0), &norm(&x, 0.0)));
        }
    }

    /// Where the mean of squares less the square of the mean has no digit left.
    #[test]
    fn a_large_mean_costs_no_digits(hidden in 2..40usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let noise = random.eighths(hidden);
        let x: Vec<f32> = noise.iter().map(|noise| 1e6 + noise).collect();
        let weight = vec![1.0; hidden];
        let out = layer_norm(&x, None, &weight, 1e-5, Rounding::F32).unwrap();
        let want = layer_norm(&noise, None, &weight, 1e-5, Rounding::F32).unwrap();
        // The mean is at most 40 roundings of 1e6 off: 5e-9, less than 1e-6 of a deviation.
        assert_near(&out.normalized, &want.normalized, |_| 1e-6);
    }

    #[test]
    fn the_residual_is_added_and_rounded(
        tokens in tokens(), hidden in 1..20usize, seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let x = random.values(tokens * hidden);
        let residual = random.values(tokens * hidden);
        let weight = random.values(hidden);
        for rounding in [Rounding::F64, Rounding::F32, Rounding::F16, Rounding::Bf16] {
            let out = layer_norm(&x, Some(&residual), &weight, 1e-5, rounding).unwrap();
            for ((&found, &x), &residual) in out.sum.iter().zip(&x).zip(&residual) {
                let exact = f64::from(x) + f64::from(residual);
                let want = match rounding {
                    Rounding::F64 => exact,
                    Rounding::F32 => (x + residual).into(),
                    Rounding::F16 => f16::from_f32(x + residual).into(),
                    Rounding::Bf16 => bf16::from_f32(x + residual).into(),
                };
                assert_eq!(found, want);
            }
            let again = layer_norm(&out.sum, None, &weight, 1e-5, rounding).unwrap();
            assert!(same_bits(&out.normalized, &again.normalized));
        }
    }

    #[test]
    fn rows_do_not_see_each_other(tokens in 1..6usize, hidden in 1..20usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (x, weight) = (random.values(tokens * hidden), random.values(hidden));
        let norm = |x: &[f32]| {
            layer_norm(x, None, &weight, 1e-5, Rounding::F32).unwrap().normalized
        };
        let order = random.permutation(tokens);
        let mut poisoned = x.clone();
        poisoned.splice(..hidden, vec![f32::NAN; hidden]);
        let whole = norm(&x);
        assert!(same_bits(&norm(&gather(&x, hidden, &order)), &gather(&whole, hidden, &order)));
        assert!(same_bits(&norm(&poisoned)[hidden..], &whole[hidden..]));
    }
}

#[test]
fn by_hand() {
    // Mean 2, variance 1e-5: with DBRX's epsilon each deviation is divided by sqrt(2e-5).
    let deviation = 1e-5f64.sqrt();
    let x = [2.0 - deviation, 2.0 + deviation];
    let out = layer_norm(&x, None, &[1.0, 4.0], LAYER_NORM_EPSILON, Rounding::F64).unwrap();
    let half = 0.5f64.sqrt();
    assert_near(&out.normalized, &[-half, 4.0 * half], |_| 1e-9);
    let out = layer_norm(&[3.0, 3.0], None, &[1.0, 1.0], LAYER_NORM_EPSILON, Rounding::F64);
    assert_eq!(out.unwrap().normalized, [0.0, 0.0]);
}

#[test]
fn refusals() {
    let norm = |x: &[f32], residual: Option<&[f32]>, weight: &[f32]| {
        layer_norm(x, residual, weight, 1e-5, Rounding::F32)
    };
    assert_eq!(
        refusal(norm(&[0.0; 5], None, &[0.0; 2])),
        "layer_norm: x.len() is 5, expected a multiple of the row length 2"
    );
    assert_eq!(
        refusal(norm(&[0.0; 4], Some(&[0.0; 2]), &[0.0; 2])),
        "layer_norm: residual has 2 elements, expected [2, 2]"
    );
    refusal(norm(&[0.0], None, &[]));
    for weight in [&[][..], &[1.0]] {
        let out = norm(&[], Some(&[]), weight).unwrap();
        assert!(out.sum.is_empty() && out.normalized.is_empty());
    }
}
