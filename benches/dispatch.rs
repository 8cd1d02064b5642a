//! `dispatch`: the stable sort by expert.

use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::dispatch::dispatch;

pub(crate) fn bench(c: &mut Criterion) {
    let (tokens, experts, top_k) = (256, 16, 4);
    let mut rng = fastrand::Rng::with_seed(0);
    let ids: Vec<i32> = (0..tokens * top_k).map(|_| rng.i32(0..experts)).collect();
    let mut group = c.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(ids.len() as u64));
    let shape = format!("[{tokens}, {top_k}] over {experts}");
    group.bench_function(BenchmarkId::new("plain", shape), |b| {
        b.iter(|| dispatch(&ids, top_k, 0..experts as usize));
    });
}
