//! Seeded inputs.

use expertile_reference::{Elements, Tensor};

/// `elements` values, uniform in -scale..scale.
pub(crate) fn uniform(seed: u64, elements: usize, scale: f32) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..elements).map(|_| (2.0 * rng.f32() - 1.0) * scale).collect()
}

/// A bf16 weight of two extents, scaled so that products keep the size of their input.
pub(crate) fn weight(seed: u64, shape: [usize; 2]) -> Tensor {
    let scale = (3.0 / shape[1] as f32).sqrt();
    let elements = uniform(seed, shape[0] * shape[1], scale);
    let elements = elements.into_iter().map(half::bf16::from_f32).collect();
    Tensor::new(shape, Elements::Bf16(elements)).expect("extents match the elements")
}
