//! Inputs from a seed, and comparisons.

use proptest::prelude::*;
use std::fmt::{Debug, Display};

/// 256 cases of each property, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Token counts: none, one, some.
pub(crate) fn tokens() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0), 2 => Just(1), 6 => 2..12usize]
}

/// Numbers that follow from a seed.
pub(crate) struct Random(fastrand::Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(fastrand::Rng::with_seed(seed))
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// From -1 to 1.
    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.0.f32() * 2.0 - 1.0).collect()
    }

    /// Integers from -8 to 8.
    pub(crate) fn integers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.0.i8(-8..=8).into()).collect()
    }

    /// Multiples of 1/8 from -4 to 4: sums of a few are exact in every type.
    pub(crate) fn eighths(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| f32::from(self.0.i8(-32..=32)) / 8.0).collect()
    }

    /// The numbers below `count`, in some order.
    pub(crate) fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        self.0.shuffle(&mut order);
        order
    }
}

pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

pub(crate) fn magnitudes(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| x.abs()).collect()
}

/// The rows of `x` in the order of `rows`.
pub(crate) fn gather<T: Copy>(x: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|row| &x[row * width..][..width]).copied().collect()
}

/// Whether two arrays have the same bits.
pub(crate) fn same_bits(x: &[f64], y: &[f64]) -> bool {
    x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits())
}

/// Checks that each element is as near to what is wanted as its bound says.
#[track_caller]
pub(crate) fn assert_near<T: Copy + Into<f64>>(
    found: &[T],
    want: &[f64],
    bound: impl Fn(usize) -> f64,
) {
    assert_eq!(found.len(), want.len());
    for (i, (&found, &want)) in found.iter().zip(want).enumerate() {
        let found: f64 = found.into();
        let (error, bound) = ((found - want).abs(), bound(i));
        assert!(
            error <= bound,
            "[{i}] is {found}, expected {want} within {bound:e}: {error:e} off"
        );
    }
}

/// What `n` roundings to nearest, one after another, can do to a result at most, relative to the
/// sum of the magnitudes of its terms (Higham, Accuracy and Stability, lemma 3.1).
pub(crate) fn gamma(n: usize, unit_roundoff: f64) -> f64 {
    let product = n as f64 * unit_roundoff;
    product / (1.0 - product)
}

/// Half the distance from 1 to the next f64.
pub(crate) const U64: f64 = f64::EPSILON / 2.0;

/// The text of a refusal.
#[track_caller]
pub(crate) fn refusal<T: Debug, E: Display>(result: Result<T, E>) -> String {
    result.unwrap_err().to_string()
}
