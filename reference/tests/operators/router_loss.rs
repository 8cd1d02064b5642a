use crate::data::{Random, assert_near, cases, refusal};
use expertile_reference::Rounding;
use expertile_reference::router::router;
use expertile_reference::router_loss::router_loss;
use proptest::prelude::*;

#[test]
fn an_even_load_costs_one_and_top_k() {
    // Token t takes the experts t and t + 1; all logits are equal, so every mean is 1 / experts.
    let ids: Vec<i32> = (0..8).flat_map(|t| [t, (t + 1) % 8]).collect();
    let loss = router_loss(&[0.0; 64], 8, &ids, 2).unwrap();
    assert_eq!(loss.counts, [2; 8]);
    assert_near(
        &[loss.load_balancing_megablocks, loss.load_balancing_transformers],
        &[1.0, 2.0],
        |_| 1e-14,
    );
    assert_near(&[loss.z], &[8f64.ln().powi(2)], |_| 1e-14);
    assert_near(&loss.mean_probabilities, &[0.125; 8], |_| 1e-15);
}

#[test]
fn by_hand() {
    // One token, all of whose load is on expert 0, whose probability is 3 / 4.
    let loss = router_loss(&[3f64.ln(), 0.0], 2, &[0], 1).unwrap();
    let (high, low) = (0.75f64.exp(), 0.25f64.exp());
    assert_near(&[loss.load_balancing_megablocks], &[2.0 * 0.75], |_| 1e-14);
    assert_near(&[loss.load_balancing_transformers], &[2.0 * high / (high + low)], |_| 1e-14);
    assert_near(&[loss.z], &[4f64.ln().powi(2)], |_| 1e-14);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn padding_and_order_change_nothing(tokens in 1..20usize, experts in 2..20usize, seed: u64) {
        let mut random = Random::new(seed);
        let top_k = 1 + random.below(experts);
        let logits = random.eighths(tokens * experts);
        let ids = router(&logits, experts, top_k, None, Rounding::F64).unwrap().ids;
        let loss = router_loss(&logits, experts, &ids, top_k).unwrap();
        let total: u32 = loss.counts.iter().sum();
        assert_eq!(total as usize, tokens * top_k);
        assert!((loss.mean_probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);

        let mut padded = vec![f32::NAN; experts];
        padded.extend(logits.iter().rev().collect::<Vec<_>>().chunks(experts).flat_map(|row| row.iter().rev().copied()));
        let mut padded_ids = vec![[-1, experts as i32, i32::MIN, i32::MAX][random.below(4)]; top_k];
        padded_ids.extend(ids.chunks(top_k).rev().flatten());
        let again = router_loss(&padded, experts, &padded_ids, top_k).unwrap();
        assert_eq!(again.counts, loss.counts);
        let all = |loss: &expertile_reference::router_loss::RouterLoss| {
            [loss.load_balancing_megablocks, loss.load_balancing_transformers, loss.z]
        };
        assert_near(&all(&again), &all(&loss), |_| 1e-12);
    }
}

#[test]
fn nothing_costs_nothing_and_infinity_costs_infinity() {
    let none = router_loss(&[f32::NAN; 4], 4, &[-1], 1).unwrap();
    assert_eq!((none.load_balancing_megablocks, none.z), (0.0, 0.0));
    assert_eq!(router_loss(&[0f32; 0], 4, &[], 2).unwrap().counts, [0; 4]);
    let loss = router_loss(&[f32::INFINITY, 0.0], 2, &[0], 1).unwrap();
    assert_eq!((loss.load_balancing_megablocks, loss.z), (2.0, f64::INFINITY));
}

#[test]
fn refusals() {
    let refuse = |ids: &[i32], top_k| refusal(router_loss(&[0f32; 6], 3, ids, top_k));
    assert_eq!(refuse(&[0], 1), "router_loss: ids has 1 elements, expected [2, 1]");
    assert_eq!(refuse(&[], 0), "router_loss: top_k is 0, expected at least 1");
}
