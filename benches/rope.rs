//! `rope`: clip, split, rotate.

use crate::data::uniform;
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::rope::{inv_freq, rope};
use expertile_reference::{Arithmetic, Fast, Rounding};

pub(crate) fn bench(c: &mut Criterion) {
    let (tokens, q_heads, kv_heads, head_dim) = (64, 12, 2, 128);
    let qkv = uniform(0, tokens * (q_heads + 2 * kv_heads) * head_dim, 10.0);
    let positions: Vec<i32> = (0..tokens as i32).map(|token| 32_000 + token).collect();
    let inv_freq = inv_freq(5e5, head_dim);
    let shape = format!("[{tokens}, {q_heads}+2*{kv_heads}, {head_dim}]");
    let mut group = c.benchmark_group("rope");
    group.throughput(Throughput::Bytes((2 * qkv.len() * 4) as u64));
    group.bench_function(BenchmarkId::new("plain", &shape), |b| {
        b.iter(|| rope(&qkv, &positions, &inv_freq, q_heads, kv_heads, Some(8.0), Rounding::F32));
    });
    group.bench_function(BenchmarkId::new("fast", &shape), |b| {
        b.iter(|| Fast.rope(&qkv, &positions, &inv_freq, (q_heads, kv_heads), Some(8.0)));
    });
}
