use crate::data::{Random, cases, refusal, tokens};
use expertile_reference::Rounding;
use expertile_reference::layer_norm::layer_norm;
use expertile_reference::rms_norm::rms_norm;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rows_of_mean_0_are_normalised_as_layer_norm_does(
        tokens in tokens(), half in 1..9usize, seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let values = random.values(tokens * half);
        // Each value is there with both signs, so that the mean is exactly 0.
        let x: Vec<f32> = values.iter().flat_map(|&x| [x, -x]).collect();
        let weight = random.values(2 * half);
        let rms = rms_norm(&x, None, &weight, 1e-5, Rounding::F64).unwrap();
        let layer = layer_norm(&x, None, &weight, 1e-5, Rounding::F64).unwrap();
        for (rms, layer) in rms.normalized.iter().zip(&layer.normalized) {
            assert!((rms - layer).abs() <= 1e-14 * (1.0 + layer.abs()), "{rms} {layer}");
        }
    }

    #[test]
    fn without_epsilon_the_mean_square_is_1(hidden in 1..20usize, seed in any::<u64>()) {
        let x: Vec<f32> = Random::new(seed).values(hidden).iter().map(|x| x + 3.0).collect();
        let y = rms_norm(&x, None, &vec![1.0; hidden], 0.0, Rounding::F64).unwrap().normalized;
        let mean_square = y.iter().map(|y| y * y).sum::<f64>() / hidden as f64;
        assert!((mean_square - 1.0).abs() < 1e-14);
    }
}

#[test]
fn a_row_by_hand() {
    let out = rms_norm(&[3f32, 4.0], Some(&[0.0, 0.0]), &[1.0, 2.0], 0.0, Rounding::F64).unwrap();
    let scale = 12.5f64.sqrt();
    assert_eq!(out.sum, [3.0, 4.0]);
    assert_eq!(out.normalized, [3.0 * (1.0 / scale), 4.0 * (1.0 / scale) * 2.0]);
}

#[test]
fn the_sum_is_rounded_before_the_statistics() {
    let out = rms_norm(&[1f32], Some(&[1.0 / 512.0]), &[1.0], 3.0, Rounding::Bf16).unwrap();
    assert_eq!(out.sum, [1.0]);
    assert_eq!(out.normalized, [0.5]);
}

#[test]
fn refusals() {
    let norm = |x: &[f32], residual: Option<&[f32]>| {
        refusal(rms_norm(x, residual, &[1.0; 2], 0.0, Rounding::F64))
    };
    assert_eq!(
        norm(&[0.0; 3], None),
        "rms_norm: x.len() is 3, expected a multiple of the row length 2"
    );
    assert_eq!(
        norm(&[0.0; 4], Some(&[0.0; 2])),
        "rms_norm: residual has 2 elements, expected [2, 2]"
    );
}
