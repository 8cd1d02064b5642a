//! `layer_norm` with a residual: bound by reading and writing two rows for each token.

use crate::data::uniform;
use crate::device::DeviceBench;
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::config::LAYER_NORM_EPSILON;
use expertile_reference::layer_norm::layer_norm;
use expertile_reference::{Arithmetic, Elements, Fast, Rounding, Tensor};

pub(crate) const DEVICE: DeviceBench =
    crate::norm::bench("layer_norm", |stream, extents, dtype, sets| {
        crate::norm::prepare(expertile::layer_norm, stream, extents, dtype, sets)
    });

pub(crate) fn bench(c: &mut Criterion) {
    let (tokens, hidden) = (64, 1024);
    let (x, residual) = (uniform(0, tokens * hidden, 1.0), uniform(1, tokens * hidden, 1.0));
    let weight = Tensor::new([hidden], Elements::F32(uniform(2, hidden, 1.0))).expect("extents");
    let shape = format!("[{tokens}, {hidden}]");
    let mut group = c.benchmark_group("layer_norm");
    group.throughput(Throughput::Bytes((4 * x.len() * 4) as u64));
    group.bench_function(BenchmarkId::new("plain", &shape), |b| {
        b.iter(|| {
            let weight = weight.to_f32();
            layer_norm(&x, Some(&residual), &weight, LAYER_NORM_EPSILON, Rounding::F32)
        });
    });
    group.bench_function(BenchmarkId::new("fast", &shape), |b| {
        b.iter(|| Fast.layer_norm(&x, Some(&residual), &weight, LAYER_NORM_EPSILON));
    });
}
