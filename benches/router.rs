//! `router`: softmax, top-k and norm of given logits.

use crate::data::uniform;
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::Rounding;
use expertile_reference::router::router;

pub(crate) fn bench(c: &mut Criterion) {
    let (tokens, experts, top_k) = (256, 16, 4);
    let logits = uniform(0, tokens * experts, 4.0);
    let mut group = c.benchmark_group("router");
    group.throughput(Throughput::Elements(tokens as u64));
    let shape = format!("[{tokens}, {experts}] choose {top_k}");
    group.bench_function(BenchmarkId::new("plain", shape), |b| {
        b.iter(|| router(&logits, experts, top_k, Some(1.0), Rounding::F32));
    });
}
