//! `embedding`: bound by reading one row for each token.

use crate::data::uniform;
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::embedding::embedding;

pub(crate) fn bench(c: &mut Criterion) {
    let (vocab, hidden, tokens) = (2048, 1024, 64);
    let table = uniform(0, vocab * hidden, 1.0);
    let ids: Vec<u32> = (0..tokens).map(|token| token * 31 % vocab as u32).collect();
    let mut group = c.benchmark_group("embedding");
    group.throughput(Throughput::Bytes((ids.len() * hidden * 4) as u64));
    group.bench_function(BenchmarkId::new("plain", format!("[{tokens}, {hidden}]")), |b| {
        b.iter(|| embedding(&table, hidden, &ids).expect("extents match"));
    });
}
