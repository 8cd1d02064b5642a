//! All benches in one binary: a file and a criterion group for each operator, and the whole model.
//!
//! Ids read `operator/backend/shape`. `cargo bench -- linear` runs one group, `-- --test` runs
//! everything once.

mod attention;
mod combine;
mod data;
mod dbrx;
mod dispatch;
mod embedding;
mod grouped_gemm;
mod layer_norm;
mod linear;
mod rope;
mod router;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    operators,
    embedding::bench,
    layer_norm::bench,
    linear::bench,
    rope::bench,
    router::bench,
    dispatch::bench,
    grouped_gemm::bench,
    combine::bench,
    attention::bench,
    dbrx::bench,
);
criterion_main!(operators);
