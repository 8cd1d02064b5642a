//! `attention`: prefill and decode of one sequence, GQA ratio 6.

use crate::data::uniform;
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::attention::{KvIndex, attention};
use expertile_reference::{Arithmetic, Fast, Rounding};

pub(crate) fn bench(c: &mut Criterion) {
    let (q_heads, kv_heads, head_dim) = (12, 2, 128);
    let scale = 1.0 / (head_dim as f64).sqrt();
    let mut group = c.benchmark_group("attention");
    for (queries, keys) in [(128, 128), (1, 1024)] {
        let q = uniform(0, queries * q_heads * head_dim, 1.0);
        let [k, v] = [1, 2].map(|seed| uniform(seed, keys * kv_heads * head_dim, 1.0));
        let (cu_q_lens, cu_lens) = ([0, queries], [0, keys]);
        let kv = KvIndex::Contiguous { cu_lens: &cu_lens, kv_heads, head_dim };
        let shape = format!("{queries} queries, {keys} keys, {q_heads}/{kv_heads} x {head_dim}");
        let seen: usize = (0..queries).map(|query| query + 1 + keys - queries).sum();
        group.throughput(Throughput::Elements((4 * seen * q_heads * head_dim) as u64));
        group.bench_function(BenchmarkId::new("plain", &shape), |b| {
            let rounding = Rounding::F32;
            b.iter(|| attention(&q, &cu_q_lens, q_heads, &k, &v, kv, scale, true, rounding));
        });
        group.bench_function(BenchmarkId::new("fast", &shape), |b| {
            b.iter(|| Fast.attention(&q, &cu_q_lens, q_heads, &k, &v, kv, scale));
        });
    }
}
