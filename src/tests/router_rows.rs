//! `router`: every number of tokens, ties, patterns of NaN and infinity, relabelled experts.

use super::harness::{cases, devices};
use super::router::{Case, Inputs, SCORINGS, check, run, same};
use expertile::Dtype;
use expertile_reference::router::Rule;
use expertile_reference::router_f32::router_f32;
use half::bf16;

/// DBRX's choice, from logits of bf16, with little to compute.
fn small(tokens: usize, hidden_8: usize) -> Case {
    Case {
        tokens,
        experts: 16,
        top_k: 4,
        hidden_8,
        gap: 0,
        dtype: Dtype::Bf16,
        scoring: 1,
        groups: None,
        kind: 0,
        forced: false,
        scale: 1.0,
        round_logits: true,
        more: false,
        seed: 7,
    }
}

#[test]
fn every_number_of_tokens_is_routed() {
    // The rows are those of the longest, which is checked against the reference.
    let whole = small(512, 1);
    check(&whole).unwrap();
    let inputs = whole.inputs::<bf16>();
    let deep = cases() >= 1000;
    for (i, device) in devices().iter().enumerate() {
        let stream = device.stream().unwrap();
        let longest = run(&stream, &whole, &inputs).unwrap();
        // The devices share the numbers, unless there is time for all of them on each.
        for tokens in (0..512).filter(|tokens| deep || tokens % devices().len() == i) {
            let case = Case { tokens, ..whole };
            let rows =
                Inputs { rows: inputs.rows[..tokens * case.stride()].to_vec(), ..inputs.clone() };
            let got = run(&stream, &case, &rows).unwrap();
            let slots = 4 * tokens;
            assert_eq!(got.ids, longest.ids[..slots], "{tokens} tokens");
            same("router", "weights", &got.weights, &longest.weights[..slots]).unwrap();
        }
    }
}

#[test]
fn a_block_of_many_tokens_gives_the_same_bits() {
    // More tokens than any device here has blocks for: four share a block, and one is left over.
    for (experts, more) in [(16, false), (5, false), (70, true)] {
        let tokens = 4 * devices().iter().map(|d| d.info().multiprocessors).max().unwrap_or(1) + 1;
        let case = Case { experts, more, ..small(tokens as usize, 1) };
        check(&case).unwrap();
    }
}

#[test]
fn ties_by_the_thousand() {
    for experts in [4, 16, 64] {
        check(&Case { experts, kind: 1, more: true, ..small(1000, 0) }).unwrap();
        check(&Case { experts, kind: 2, ..small(100, 1) }).unwrap();
    }
}

#[test]
fn all_experts_may_be_chosen() {
    for scoring in 0..SCORINGS {
        for experts in [1, 2, 7, 8, 9, 16] {
            check(&Case { experts, top_k: experts, scoring, kind: 3, ..small(9, 0) }).unwrap();
            check(&Case { experts, top_k: experts, scoring, ..small(9, 2) }).unwrap();
        }
    }
}

#[test]
fn every_pattern_of_nan_and_infinity_gives_distinct_experts() {
    // Each of 16 logits is a number or the one that the pattern is of.
    let patterns: u32 = if cases() >= 1000 { 1 << 16 } else { 1 << 12 };
    let mixed = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for kind in 0..4 {
        let rows = (0..patterns).flat_map(|pattern| {
            // Odd, so that a part of the patterns has all bits in it.
            let bits = pattern.wrapping_mul(((1 << 16) / patterns) | 1);
            (0..16u32).map(move |expert| match (bits >> expert & 1, kind) {
                (0, _) => bf16::from_f32((expert * 5 % 7) as f32),
                (_, 3) => bf16::from_f32(mixed[((bits + expert) % 3) as usize]),
                _ => bf16::from_f32(mixed[kind as usize]),
            })
        });
        let case = small(patterns as usize, 0);
        let inputs =
            Inputs { rows: rows.collect(), weight: vec![], bias: vec![0.0; 16], forced: vec![] };
        let logits: Vec<f32> = inputs.rows.iter().map(|x| x.to_f32()).collect();
        let rule = Rule::softmax(4, Some(1.0));
        let want = router_f32(&logits, 16, &rule).unwrap();
        for device in devices() {
            let got = run(&device.stream().unwrap(), &case, &inputs).unwrap();
            for (token, ids) in got.ids.chunks(4).enumerate() {
                let distinct = (0..4).all(|i| !ids[..i].contains(&ids[i]));
                assert!(distinct && ids.iter().all(|id| (0..16).contains(id)), "{token}: {ids:?}");
            }
            assert_eq!(got.ids, want.ids);
            same("router", "weights", &got.weights, &want.weights).unwrap();
        }
    }
}

#[test]
fn experts_may_be_relabelled() {
    // Without ties the choice follows its experts.
    let case = small(64, 0);
    let mut random = fastrand::Rng::with_seed(3);
    let mut order: Vec<usize> = (0..16).collect();
    random.shuffle(&mut order);
    let rows: Vec<bf16> = (0..64)
        .flat_map(|_| {
            let mut row: Vec<i32> = (-8..8).collect();
            random.shuffle(&mut row);
            row
        })
        .map(|logit| bf16::from_f32(logit as f32 / 4.0))
        .collect();
    let inputs = |rows| Inputs { rows, weight: vec![], bias: vec![0.0; 16], forced: vec![] };
    let moved = rows.chunks(16).flat_map(|row| order.iter().map(|&from| row[from])).collect();
    let (rows, moved) = (inputs(rows), inputs(moved));
    for device in devices() {
        let stream = device.stream().unwrap();
        let before = run(&stream, &case, &rows).unwrap();
        let after = run(&stream, &case, &moved).unwrap();
        let back: Vec<i32> = after.ids.iter().map(|&id| order[id as usize] as i32).collect();
        assert_eq!(back, before.ids);
        same("router", "weights", &after.weights, &before.weights).unwrap();
    }
}
