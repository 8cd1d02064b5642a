//! The operators that treat each token by itself.

use crate::data::{Random, assert_near, cases, refusal, wide};
use crate::{U32, everywhere, tensor, values};
use expertile_reference::layer_norm::layer_norm;
use expertile_reference::rope::{inv_freq, rope};
use expertile_reference::router::router;
use expertile_reference::{Arithmetic, Fast, Rounding};
use proptest::prelude::*;
use proptest::sample::select;

/// Token counts around the 16 of a task.
fn tokens() -> impl Strategy<Value = usize> {
    select(vec![0, 1, 15, 16, 17, 33, 64])
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn layer_norm_is_near_the_operator(
        tokens in tokens(), hidden in select(vec![1usize, 7, 8, 9, 24, 130]), residual in any::<bool>(),
        stored in 0..3usize, seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let x = random.values(tokens * hidden);
        let residual = residual.then(|| random.values(tokens * hidden));
        let weight = tensor(&values(&mut random, hidden), stored);
        let (residual, epsilon) = (residual.as_deref(), 1e-5);
        let f32s = weight.to_f32();
        let want = layer_norm(&x, residual, &f32s, epsilon, Rounding::F32).unwrap();
        let run = || Fast.layer_norm(&x, residual, &weight, epsilon).unwrap();
        let [sum, _] = run();
        assert_eq!(wide(&sum), want.sum);
        // Both compute in f64, where sums in another order are 2^-53 of a row's mass off, which
        // epsilon scales by 300 at most; the result is then rounded to f32.
        let found = everywhere(|| run()[1].clone());
        assert_near(&found, &want.normalized, |i| want.normalized[i].abs() * U32 + 1e-11);
    }

    #[test]
    fn rope_is_near_the_operator(
        tokens in tokens(), half in select(vec![1usize, 2, 5, 64]),
        heads in select(vec![(6usize, 1usize), (2, 2), (8, 1), (0, 1), (3, 0)]),
        clip in select(vec![None, Some(0.5), Some(8.0)]), seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let x = random.values(tokens * (heads.0 + 2 * heads.1) * 2 * half);
        let positions: Vec<i32> = (0..tokens)
            .map(|_| match random.below(6) {
                0 => 0,
                1 => 32767,
                2 => -5,
                // Beyond the angles that the vectors take.
                3 => i32::MAX,
                _ => random.below(131_072) as i32,
            })
            .collect();
        let inv_freq = inv_freq(500_000.0, 2 * half);
        let want = rope(&x, &positions, &inv_freq, heads.0, heads.1, clip, Rounding::F64).unwrap();
        let run = || Fast.rope(&x, &positions, &inv_freq, heads, clip).unwrap();
        let [_, _, v] = run();
        assert_eq!(wide(&v), want.v);
        let found = everywhere(|| {
            let [q, k, _] = run();
            [q, k].concat()
        });
        // Of each term: its cosine or sine half an ulp of 1 and 2e-9 off, then two roundings.
        let largest = clip.unwrap_or(1.0).min(1.0);
        let trigonometry = 2.0 * largest * (U32 + 2e-9);
        let roundings = 2.0 * 2.0 * largest * U32;
        assert_near(&found, &[want.q, want.k].concat(), |_| 1.01 * (trigonometry + roundings));
    }

    #[test]
    fn the_router_is_the_operator(
        tokens in tokens(), experts in select(vec![1usize, 5, 16]), top_k in 1..5usize,
        p_norm in select(vec![None, Some(1.0), Some(2.0)]), seed in any::<u64>(),
    ) {
        let top_k = top_k.min(experts);
        let mut random = Random::new(seed);
        let mut logits = random.eighths(tokens * experts);
        for logit in &mut logits {
            match random.below(20) {
                0 => *logit = f32::NAN,
                1 => *logit = f32::INFINITY,
                2 => *logit = f32::NEG_INFINITY,
                _ => (),
            }
        }
        let want = router(&logits, experts, top_k, p_norm, Rounding::F32).unwrap();
        assert_eq!(Fast.router(&logits, experts, top_k, p_norm).unwrap(), want);
    }
}

#[test]
fn a_nan_survives_the_clip() {
    let mut x = [1.0; 12];
    x[5] = f32::NAN;
    x[8] = f32::NAN;
    let [q, k, v] = Fast.rope(&x, &[3], &[1.0, 0.1], (1, 1), Some(0.5)).unwrap();
    let found: Vec<bool> = [q, k, v].concat().iter().map(|x| x.is_nan()).collect();
    let want: Vec<bool> = (0..12).map(|i| [5, 7, 8].contains(&i)).collect();
    assert_eq!(found, want);
}

#[test]
fn refusals() {
    let one = tensor(&[1.0], 0);
    for (x, residual, hidden) in [(5, None, 2), (4, Some(2), 2), (4, None, 0)] {
        let (x, residual) = (vec![0.0; x], residual.map(|len| vec![0.0; len]));
        let (residual, weight) = (residual.as_deref(), vec![0.0; hidden]);
        assert_eq!(
            refusal(Fast.layer_norm(&x, residual, &tensor(&weight, 0), 1e-5)),
            refusal(layer_norm(&x, residual, &weight, 1e-5, Rounding::F32))
        );
    }
    assert_eq!(Fast.layer_norm(&[], None, &one, 1e-5).unwrap(), [vec![0f32; 0], vec![]]);
    assert_eq!(Fast.layer_norm(&[], None, &tensor(&[], 0), 1e-5).unwrap(), [vec![0f32; 0], vec![]]);

    for (elements, tokens, heads, clip) in [
        (16, 1, (1, 1), None),
        (12, 2, (1, 1), None),
        (12, 1, (1, 1), Some(-1.0)),
        (12, 1, (1, 1), Some(f64::NAN)),
        (12, 1, (usize::MAX, usize::MAX), None),
        (12, 1, (0, usize::MAX), None),
    ] {
        let (x, positions, inv_freq) = (vec![0.0; elements], vec![0; tokens], [1.0, 0.1]);
        assert_eq!(
            refusal(Fast.rope(&x, &positions, &inv_freq, heads, clip)),
            refusal(rope(&x, &positions, &inv_freq, heads.0, heads.1, clip, Rounding::F32))
        );
    }
    for heads in [(0, 0), (1, 1), (usize::MAX, usize::MAX)] {
        assert_eq!(
            Fast.rope(&[], &[], &[1.0], heads, None).unwrap(),
            [vec![0f32; 0], vec![], vec![]]
        );
        assert_eq!(
            Fast.rope(&[], &[0], &[], heads, None).unwrap(),
            [vec![0f32; 0], vec![], vec![]]
        );
    }

    for (logits, experts, top_k, p_norm) in [
        (5, 4, 2, None),
        (70, 4, 2, None),
        (80, 4, 0, None),
        (80, 4, 5, None),
        (80, 4, 2, Some(0.0)),
        (80, 0, 0, None),
        (80, usize::MAX, 1, None),
        (0, usize::MAX, 1, None),
        (0, 0, 0, None),
    ] {
        let logits = vec![0.0; logits];
        assert_eq!(
            refusal(Fast.router(&logits, experts, top_k, p_norm)),
            refusal(router(&logits, experts, top_k, p_norm, Rounding::F32))
        );
    }
}
