use crate::data::{Random, assert_near, cases, gamma, magnitudes, refusal};
use crate::{U32, everywhere, tensor, values};
use expertile_reference::linear::linear;
use expertile_reference::{Arithmetic, Fast};
use proptest::prelude::*;
use proptest::sample::select;

/// Rows around the change from dot products to panels; depths around a block of 128; widths around
/// a panel of 64 and of several.
fn shapes() -> impl Strategy<Value = (usize, usize, usize)> {
    (
        select(vec![0, 1, 2, 15, 16, 17, 64]),
        select(vec![1, 7, 127, 128, 129, 300]),
        select(vec![0, 1, 31, 63, 64, 65, 130, 520]),
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn near_the_operator((rows, k, n) in shapes(), stored in 0..3usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (x, weight) = (random.values(rows * k), values(&mut random, n * k));
        let stored = tensor(&weight, stored);
        let weight = stored.to_f32();
        let want = linear(&x, &weight, k).unwrap();
        let magnitude = linear(&magnitudes(&x), &magnitudes(&weight), k).unwrap();
        let found = everywhere(|| Fast.linear(&x, &stored, k).unwrap());
        // k products and their k - 1 sums, in any order: each product meets at most k roundings.
        assert_near(&found, &want, |i| gamma(k, U32) * magnitude[i]);
    }

    #[test]
    fn integers_are_exact((rows, k, n) in shapes(), stored in 0..3usize, seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (x, weight) = (random.integers(rows * k), random.integers(n * k));
        let want = linear(&x, &weight, k).unwrap();
        let found = Fast.linear(&x, &tensor(&weight, stored), k).unwrap();
        assert_near(&found, &want, |_| 0.0);
    }

    /// Neither the other rows nor what a thread's buffers held before are in a row.
    #[test]
    fn rows_do_not_see_each_other((rows, k, n) in shapes(), seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let (mut x, weight) = (random.values(rows * k), tensor(&random.values(n * k), 2));
        let clean = Fast.linear(&x, &weight, k).unwrap();
        if rows > 0 {
            x[(rows - 1) * k..].fill(f32::NAN);
            let poisoned = Fast.linear(&x, &weight, k).unwrap();
            assert_eq!(poisoned[..(rows - 1) * n], clean[..(rows - 1) * n]);
            assert!(poisoned[(rows - 1) * n..].iter().all(|x| x.is_nan()));
        }
        assert_eq!(Fast.linear(&vec![0.0; rows * k], &weight, k).unwrap(), vec![0.0; rows * n]);
    }
}

#[test]
fn refusals() {
    for (x, weight, in_features) in [(5, 4, 2), (4, 3, 2), (4, 4, 0), (4, 4, usize::MAX)] {
        let (x, weight) = (vec![0.0; x], tensor(&vec![0.0; weight], 0));
        assert_eq!(
            refusal(Fast.linear(&x, &weight, in_features)),
            refusal(linear(&x, &weight.to_f32(), in_features))
        );
    }
    for in_features in [0, 2, usize::MAX] {
        assert!(Fast.linear(&[], &tensor(&[], 0), in_features).unwrap().is_empty());
    }
}
