//! `linear`: one row is bound by reading the weight, many rows by arithmetic.

use crate::data::{uniform, weight};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::linear::linear;
use expertile_reference::{Arithmetic, Fast};

pub(crate) fn bench(c: &mut Criterion) {
    let (in_features, out_features) = (1024, 1536);
    let weight = weight(0, [out_features, in_features]);
    let mut group = c.benchmark_group("linear");
    for tokens in [1, 16, 128] {
        let x = uniform(1, tokens * in_features, 1.0);
        let shape = format!("[{tokens}, {in_features}] x [{out_features}, {in_features}]");
        group.throughput(Throughput::Elements((2 * tokens * in_features * out_features) as u64));
        group.bench_function(BenchmarkId::new("plain", &shape), |b| {
            b.iter(|| linear(&x, &weight.to_f32(), in_features));
        });
        group.bench_function(BenchmarkId::new("fast", &shape), |b| {
            b.iter(|| Fast.linear(&x, &weight, in_features));
        });
    }
}
