use crate::data::{Random, cases, refusal, same_bits};
use expertile_reference::Rounding;
use expertile_reference::grouped_gemm::{down, up};
use half::bf16;
use proptest::prelude::*;

fn silu(g: f64) -> f64 {
    g / (1.0 + (-g).exp())
}

/// Rows of each expert: some have none, or all.
fn offsets() -> impl Strategy<Value = Vec<usize>> {
    let rows = prop_oneof![2 => Just(0), 3 => 1..5usize];
    let some = proptest::collection::vec(rows, 0..5);
    let all = (0..5usize, 0..5usize, 1..20usize)
        .prop_map(|(before, after, rows)| [vec![0; before], vec![rows], vec![0; after]].concat());
    prop_oneof![3 => some, 1 => all].prop_map(|rows| {
        let mut offsets = vec![0];
        for rows in rows {
            offsets.push(offsets[offsets.len() - 1] + rows);
        }
        offsets
    })
}

/// The expert of each row.
fn experts_of_rows(offsets: &[usize]) -> Vec<usize> {
    let rows = |(expert, ends): (usize, &[usize])| vec![expert; ends[1] - ends[0]];
    offsets.windows(2).enumerate().flat_map(rows).collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn integers_are_exact(
        offsets in offsets(), hidden in 1..9usize, ffn_hidden in 1..9usize, tokens in 1..6usize,
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let experts = offsets.len() - 1;
        let [mut w1, mut v1, mut w2] =
            [(); 3].map(|()| random.integers(experts * ffn_hidden * hidden));
        // Experts without rows are not read.
        for (expert, ends) in offsets.windows(2).enumerate().filter(|(_, ends)| ends[0] == ends[1]) {
            assert_eq!(ends[0], ends[1]);
            for weight in [&mut w1, &mut v1, &mut w2] {
                weight[expert * ffn_hidden * hidden..][..ffn_hidden * hidden].fill(f32::NAN);
            }
        }
        let of_rows = experts_of_rows(&offsets);
        let h = random.integers(tokens * hidden);
        let tokens_of_rows: Vec<usize> = of_rows.iter().map(|_| random.below(tokens)).collect();
        let mut want = Vec::new();
        for (&expert, &token) in of_rows.iter().zip(&tokens_of_rows) {
            for f in 0..ffn_hidden {
                let dot = |weight: &[f32]| -> f64 {
                    let at = |i| (expert * ffn_hidden + f) * hidden + i;
                    let products = (0..hidden).map(|i| h[token * hidden + i] as i64 * weight[at(i)] as i64);
                    products.sum::<i64>() as f64
                };
                want.push(silu(dot(&w1)) * dot(&v1));
            }
        }
        let found = up(&h, hidden, &tokens_of_rows, &offsets, &w1, &v1, Rounding::F64).unwrap();
        assert_eq!(found, want);

        let x = random.integers(of_rows.len() * ffn_hidden);
        let weights: Vec<f64> = of_rows.iter().map(|_| random.below(9) as f64 / 8.0).collect();
        let mut want = Vec::new();
        for (row, &expert) in of_rows.iter().enumerate() {
            for i in 0..hidden {
                let at = |f| (expert * ffn_hidden + f) * hidden + i;
                let products = (0..ffn_hidden).map(|f| x[row * ffn_hidden + f] as i64 * w2[at(f)] as i64);
                want.push(products.sum::<i64>() as f64 * weights[row]);
            }
        }
        assert_eq!(down(&x, ffn_hidden, &offsets, &w2, &weights, Rounding::F32).unwrap(), want);
    }

    #[test]
    fn one_hot_rows_select_weights(
        hidden in 1..9usize, ffn_hidden in 1..9usize, expert in 0..3usize, seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let [w1, v1, w2] = [(); 3].map(|()| random.values(3 * ffn_hidden * hidden));
        let mut offsets = vec![0; expert + 1];
        offsets.resize(4, 1);
        let (column, row) = (random.below(hidden), random.below(ffn_hidden));
        let at = |f, i| (expert * ffn_hidden + f) * hidden + i;

        let mut h = vec![0f32; hidden];
        h[column] = 1.0;
        let want: Vec<f64> = (0..ffn_hidden)
            .map(|f| silu(w1[at(f, column)].into()) * f64::from(v1[at(f, column)]))
            .collect();
        assert_eq!(up(&h, hidden, &[0], &offsets, &w1, &v1, Rounding::F64).unwrap(), want);

        let mut x = vec![0f32; ffn_hidden];
        x[row] = 1.0;
        let want: Vec<f64> = (0..hidden).map(|i| w2[at(row, i)].into()).collect();
        assert_eq!(down(&x, ffn_hidden, &offsets, &w2, &[1.0], Rounding::F64).unwrap(), want);
    }

    #[test]
    fn zero_rows_give_zero(hidden in 1..9usize, ffn_hidden in 1..9usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let [w1, v1, w2] = [(); 3].map(|()| random.values(ffn_hidden * hidden));
        let zeros = vec![0f32; hidden];
        let x = up(&zeros, hidden, &[0], &[0, 1], &w1, &v1, Rounding::Bf16).unwrap();
        assert_eq!(x, vec![0.0; ffn_hidden]);
        let y = down(&x, ffn_hidden, &[0, 1], &w2, &[0.5], Rounding::Bf16).unwrap();
        assert_eq!(y, vec![0.0; hidden]);
    }

    #[test]
    fn every_named_point_is_rounded(hidden in 1..9usize, ffn_hidden in 1..5usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let [w1, v1, w2] = [(); 3].map(|()| random.values(ffn_hidden * hidden));
        let (h, weight) = (random.values(hidden), 0.3);
        let round = |x: f64| -> f64 { bf16::from_f32(x as f32).into() };
        let dot = |x: &[f64], weight: &mut dyn Iterator<Item = f32>| -> f64 {
            round(x.iter().zip(weight).map(|(x, weight)| x * f64::from(weight)).sum())
        };
        let wide: Vec<f64> = h.iter().map(|&x| x.into()).collect();
        let x: Vec<f64> = (0..ffn_hidden)
            .map(|f| {
                let row = f * hidden..(f + 1) * hidden;
                let gate = round(silu(dot(&wide, &mut w1[row.clone()].iter().copied())));
                round(gate * dot(&wide, &mut v1[row].iter().copied()))
            })
            .collect();
        assert_eq!(up(&h, hidden, &[0], &[0, 1], &w1, &v1, Rounding::Bf16).unwrap(), x);
        let y: Vec<f64> = (0..hidden)
            .map(|i| round(weight * dot(&x, &mut w2[i..].iter().step_by(hidden).copied())))
            .collect();
        let found = down(&x, ffn_hidden, &[0, 1], &w2, &[weight], Rounding::Bf16).unwrap();
        assert_eq!(found, y);
    }

    #[test]
    fn rows_do_not_see_each_other(hidden in 1..6usize, ffn_hidden in 1..6usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let [w1, v1, w2] = [(); 3].map(|()| random.values(2 * ffn_hidden * hidden));
        let h = random.values(2 * hidden);
        let mut poisoned = h.clone();
        poisoned[..hidden].fill(f32::NAN);
        let run = |h: &[f32]| {
            let x = up(h, hidden, &[0, 1, 0, 1], &[0, 2, 4], &w1, &v1, Rounding::F64).unwrap();
            down(&x, ffn_hidden, &[0, 2, 4], &w2, &[0.5; 4], Rounding::F64).unwrap()
        };
        let (clean, poisoned) = (run(&h), run(&poisoned));
        for row in [1, 3] {
            let row = row * hidden..(row + 1) * hidden;
            assert!(same_bits(&clean[row.clone()], &poisoned[row]));
        }
    }
}

/// Two experts, hidden 2, ffn_hidden 3; the gate is so large that SiLU is the identity.
#[test]
fn layouts_by_hand() {
    let gate = [40f32, 0.0, 0.0, 40.0, 40.0, 40.0, 80.0, 0.0, 0.0, 80.0, 80.0, 80.0];
    let value = [1f32, 0.0, 0.0, 1.0, 1.0, -1.0, 2.0, 0.0, 0.0, 2.0, 2.0, -2.0];
    let h = [3f32, 5.0];
    let x = up(&h, 2, &[0, 0], &[0, 1, 2], &gate, &value, Rounding::F32).unwrap();
    // Expert 0: gates 120, 200, 320, values 3, 5, -2. Expert 1: twice each.
    assert_eq!(x, [360.0, 1000.0, -640.0, 1440.0, 4000.0, -2560.0]);

    // w2 is [ffn_hidden, hidden]: input by output.
    let w2 = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
    let x = [1f32, 10.0, 100.0, 1.0, 10.0, 100.0];
    let y = down(&x, 3, &[0, 1, 2], &w2, &[1.0, 0.5], Rounding::F32).unwrap();
    assert_eq!(y, [531.0, 642.0, 0.0, 55.5]);
}

/// A gate that rounds to -inf closes, as one just above it does.
#[test]
fn a_gate_of_minus_infinity_is_closed() {
    let out = up(&[300f32], 1, &[0], &[0, 1], &[-300.0], &[1.0], Rounding::F16).unwrap();
    assert_eq!(out, [0.0]);
}

#[test]
fn refusals_of_up() {
    let run = |h: usize, hidden, rows: &[usize], offsets: &[usize], w1: usize, v1: usize| {
        let [h, w1, v1] = [h, w1, v1].map(|elements| vec![0f32; elements]);
        up(&h, hidden, rows, offsets, &w1, &v1, Rounding::F32)
    };
    // Two experts of [3, 2].
    assert_eq!(run(4, 2, &[0, 1], &[0, 1, 2], 12, 12).unwrap(), [0.0; 6]);
    for (offsets, text) in [
        (&[][..], "[]"),
        (&[0, 1, 1], "[0, 1, 1]"),
        (&[1, 1, 2], "[1, 1, 2]"),
        (&[0, 3, 2], "[0, 3, 2]"),
        (&[0, 1, usize::MAX], "[0, 1, 18446744073709551615]"),
    ] {
        let expected = "expected ascending from 0 to rows = 2";
        assert_eq!(
            refusal(run(4, 2, &[0, 1], offsets, 12, 12)),
            format!("grouped_gemm up: offsets is {text}, {expected}")
        );
    }
    assert_eq!(
        refusal(run(4, 2, &[0, 2], &[0, 1, 2], 12, 12)),
        "grouped_gemm up: tokens_of_rows[1] is 2, expected less than tokens = 2"
    );
    assert_eq!(
        refusal(run(4, 2, &[0, 1], &[0, 1, 2], 12, 8)),
        "grouped_gemm up: v1 has 8 elements, expected [2, 3, 2]"
    );
    assert_eq!(
        refusal(run(4, 2, &[0, 1], &[0, 1, 2], 10, 10)),
        "grouped_gemm up: w1.len() is 10, expected a multiple of the row length 4"
    );
    refusal(run(3, 2, &[0, 1], &[0, 1, 2], 12, 12));
    refusal(run(4, 0, &[0, 1], &[0, 1, 2], 12, 12));
    refusal(run(4, usize::MAX, &[0, 1], &[0, 1, 2], 12, 12));
    for hidden in [0, 2, usize::MAX] {
        assert!(run(0, hidden, &[], &[0, 0, 0], 0, 0).unwrap().is_empty());
        assert!(run(0, hidden, &[], &[0], 0, 0).unwrap().is_empty());
    }
}

#[test]
fn refusals_of_down() {
    let run = |x: usize, ffn_hidden, offsets: &[usize], w2: usize, weights: usize| {
        let [x, w2] = [x, w2].map(|elements| vec![0f32; elements]);
        down(&x, ffn_hidden, offsets, &w2, &vec![0.0; weights], Rounding::F32)
    };
    assert_eq!(run(6, 3, &[0, 1, 2], 12, 2).unwrap(), [0.0; 4]);
    assert_eq!(
        refusal(run(6, 3, &[0, 1, 3], 12, 2)),
        "grouped_gemm down: offsets is [0, 1, 3], expected ascending from 0 to rows = 2"
    );
    assert_eq!(
        refusal(run(6, 3, &[0, 1, 2], 12, 3)),
        "grouped_gemm down: weights has shape [3], expected [2]"
    );
    assert_eq!(
        refusal(run(6, 3, &[0, 1, 2], 11, 2)),
        "grouped_gemm down: w2.len() is 11, expected a multiple of the row length 6"
    );
    refusal(run(5, 3, &[0, 1, 2], 12, 2));
    refusal(run(6, 0, &[0, 1, 2], 12, 2));
    refusal(run(6, usize::MAX, &[0, 1, 2], 12, 2));
    refusal(run(6, 3, &[], 12, 2));
    for ffn_hidden in [0, 3, usize::MAX] {
        assert!(run(0, ffn_hidden, &[0, 0], 0, 0).unwrap().is_empty());
    }
}
