use crate::data::{Random, cases, gather, refusal, same_bits, tokens, wide};
use expertile_reference::linear::linear;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn integers_are_exact(
        tokens in tokens(), k in 1..70usize, n in 0..20usize, seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let (x, weight) = (random.integers(tokens * k), random.integers(n * k));
        let mut want = Vec::new();
        for x in x.chunks(k) {
            for weight in weight.chunks(k) {
                let sum: i64 = x.iter().zip(weight).map(|(&x, &w)| x as i64 * w as i64).sum();
                want.push(sum as f64);
            }
        }
        assert_eq!(linear(&x, &weight, k).unwrap(), want);
    }

    #[test]
    fn the_identity_changes_nothing(tokens in tokens(), k in 1..20usize, seed in any::<u64>()) {
        let x = Random::new(seed).values(tokens * k);
        let mut identity = vec![0.0; k * k];
        identity.iter_mut().step_by(k + 1).for_each(|x| *x = 1.0);
        assert_eq!(linear(&x, &identity, k).unwrap(), wide(&x));
    }

    #[test]
    fn one_hot_rows_select_columns(k in 1..20usize, n in 1..20usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let weight = random.values(n * k);
        let column = random.below(k);
        let mut x = vec![0f32; k];
        x[column] = 1.0;
        let want: Vec<f64> = weight.chunks(k).map(|row| row[column].into()).collect();
        assert_eq!(linear(&x, &weight, k).unwrap(), want);
    }

    #[test]
    fn rows_do_not_see_each_other(
        tokens in 1..6usize, k in 1..20usize, n in 1..20usize, seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let (mut x, weight) = (random.values(tokens * k), random.values(n * k));
        let whole = linear(&x, &weight, k).unwrap();
        let order = random.permutation(tokens);
        let permuted = linear(&gather(&x, k, &order), &weight, k).unwrap();
        assert!(same_bits(&permuted, &gather(&whole, n, &order)));
        x.splice(..k, vec![f32::NAN; k]);
        assert!(same_bits(&linear(&x, &weight, k).unwrap()[n..], &whole[n..]));
    }
}

#[test]
fn refusals() {
    assert_eq!(
        refusal(linear(&[0f32; 5], &[0.0; 4], 2)),
        "linear: x.len() is 5, expected a multiple of the row length 2"
    );
    assert_eq!(
        refusal(linear(&[0f32; 4], &[0.0; 3], 2)),
        "linear: weight.len() is 3, expected a multiple of the row length 2"
    );
    refusal(linear(&[0f32; 4], &[0.0; 4], usize::MAX));
    refusal(linear(&[0f32; 4], &[], 0));
    for in_features in [0, 1, usize::MAX] {
        assert!(linear(&[0f32; 0], &[], in_features).unwrap().is_empty());
    }
    assert!(linear(&[0f32; 4], &[], 2).unwrap().is_empty());
    assert!(linear(&[0f32; 0], &[0.0; 4], 2).unwrap().is_empty());
}
