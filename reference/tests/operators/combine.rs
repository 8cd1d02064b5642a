use crate::data::{Random, cases, refusal, tokens};
use expertile_reference::Rounding;
use expertile_reference::combine::{CombineOrder, combine};
use half::bf16;
use proptest::prelude::*;

const ORDERS: [CombineOrder; 2] = [CombineOrder::Slot, CombineOrder::Expert];

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn integers_are_exact(
        tokens in tokens(), top_k in 0..5usize, hidden in 1..9usize, expert_rows in 1..9usize,
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let tokens = if top_k == 0 { 0 } else { tokens };
        let expert_out = random.integers(expert_rows * hidden);
        let residual = random.integers(tokens * hidden);
        let rows: Vec<Option<usize>> = (0..tokens * top_k)
            .map(|_| Some(random.below(expert_rows + 1)).filter(|&row| row < expert_rows))
            .collect();
        let mut want = Vec::new();
        for token in 0..tokens {
            for i in 0..hidden {
                let rows = rows[token * top_k..][..top_k].iter().flatten();
                let sum: i64 = rows.map(|row| expert_out[row * hidden + i] as i64).sum();
                want.push((sum + residual[token * hidden + i] as i64) as f64);
            }
        }
        for order in ORDERS {
            let rounding = Rounding::F16;
            let out = combine(&expert_out, hidden, &rows, top_k, &residual, order, rounding);
            assert_eq!(out.unwrap(), want);
        }
    }

    #[test]
    fn every_partial_sum_is_rounded(top_k in 1..6usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let expert_out = random.values(top_k);
        let residual = random.values(1);
        let order = random.permutation(top_k);
        let rows: Vec<_> = order.iter().map(|&row| Some(row)).collect();
        let round = |x: f64| -> f64 { bf16::from_f32(x as f32).into() };
        let sum = |rows: &[usize]| {
            let y = rows.iter().fold(0.0, |y, &row| round(y + f64::from(expert_out[row])));
            round(y + f64::from(residual[0]))
        };
        let ascending: Vec<usize> = (0..top_k).collect();
        for (combine_order, want) in ORDERS.into_iter().zip([sum(&order), sum(&ascending)]) {
            let rounding = Rounding::Bf16;
            let out = combine(&expert_out, 1, &rows, top_k, &residual, combine_order, rounding);
            assert_eq!(out.unwrap(), [want]);
        }
    }
}

/// In f32 1e8 + 1 is 1e8: the order of the slots is seen, and that the residual comes last.
#[test]
fn the_order_is_fixed() {
    let run = |order, residual| {
        let rows = [Some(2), Some(0), Some(1)];
        combine(&[-1e8f32, 1.0, 1e8], 1, &rows, 3, &[residual], order, Rounding::F32).unwrap()
    };
    assert_eq!(run(CombineOrder::Slot, 0.0), [1.0]);
    assert_eq!(run(CombineOrder::Expert, 0.0), [0.0]);
    assert_eq!(run(CombineOrder::Slot, -1e8), [-1e8]);
}

#[test]
fn refusals() {
    let run = |expert_out: &[f32], hidden, rows: &[Option<usize>], top_k, residual: &[f32]| {
        combine(expert_out, hidden, rows, top_k, residual, CombineOrder::Slot, Rounding::F32)
    };
    let (two, rows) = ([0.0; 2], [Some(0), None]);
    assert_eq!(
        refusal(run(&two, 2, &[Some(0), Some(1)], 2, &two)),
        "combine: rows[1] is 1, expected less than 1 rows of expert_out"
    );
    assert_eq!(
        refusal(run(&two, 2, &rows, 3, &two)),
        "combine: rows.len() is 2, expected a multiple of the row length 3"
    );
    assert_eq!(
        refusal(run(&[0.0; 3], 2, &rows, 2, &two)),
        "combine: expert_out.len() is 3, expected a multiple of the row length 2"
    );
    assert_eq!(
        refusal(run(&two, 2, &rows, 1, &two)),
        "combine: residual has 2 elements, expected [2, 2]"
    );
    refusal(run(&two, 2, &rows, 0, &two));
    refusal(run(&two, 0, &rows, 2, &two));
    refusal(run(&two, 2, &[Some(usize::MAX), None], 2, &two));
    refusal(run(&[], usize::MAX, &rows, 1, &two));
    for (hidden, top_k) in [(0, 0), (2, 2), (usize::MAX, usize::MAX)] {
        assert!(run(&[], hidden, &[], top_k, &[]).unwrap().is_empty());
    }
    assert_eq!(run(&[], 2, &[None, None], 2, &[1.0, 2.0]).unwrap(), [1.0, 2.0]);
}
