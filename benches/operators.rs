//! The operators: a file and a criterion group for each.
//!
//! Ids read `operator/backend/shape`. `cargo bench --bench operators -- linear` runs one group,
//! `-- --test` runs everything once.

mod attention;
mod combine;
mod data;
mod device;
mod dispatch;
mod embedding;
mod grouped_gemm;
mod layer_norm;
mod linear;
mod norm;
mod rms_norm;
mod rope;
mod router;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    operators,
    embedding::bench,
    layer_norm::bench,
    rms_norm::bench,
    linear::bench,
    rope::bench,
    router::bench,
    dispatch::bench,
    grouped_gemm::bench,
    combine::bench,
    attention::bench,
);
criterion_main!(operators);
