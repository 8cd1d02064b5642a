//! `combine`: the sum of a token's expert rows and the residual.

use crate::data::uniform;
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::Rounding;
use expertile_reference::combine::{CombineOrder, combine};

pub(crate) fn bench(c: &mut Criterion) {
    let (tokens, hidden, top_k) = (64, 1024, 4);
    let expert_out = uniform(0, tokens * top_k * hidden, 1.0);
    let residual = uniform(1, tokens * hidden, 1.0);
    let rows: Vec<Option<usize>> = (0..tokens * top_k).rev().map(Some).collect();
    let mut group = c.benchmark_group("combine");
    group.throughput(Throughput::Bytes((4 * (expert_out.len() + 2 * residual.len())) as u64));
    let shape = format!("[{tokens}, {top_k}, {hidden}]");
    group.bench_function(BenchmarkId::new("plain", shape), |b| {
        let order = CombineOrder::Slot;
        b.iter(|| combine(&expert_out, hidden, &rows, top_k, &residual, order, Rounding::F32));
    });
}
