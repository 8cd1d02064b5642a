//! `rope`: clip, split, rotate; on devices also the cache append.

use crate::data::uniform;
use crate::device;
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Buffer, Pairing, Rope};
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
    drop(group);
    for tokens in [1, 64, 4096] {
        on_devices(c, tokens);
    }
}

/// DBRX's heads: what is moved is each row twice, read and written.
fn on_devices(c: &mut Criterion, tokens: u64) {
    let (q_heads, kv_heads, head_dim) = (48, 8, 128);
    let heads = q_heads + 2 * kv_heads;
    for device in device::devices() {
        let stream = device.stream().unwrap_or_else(|error| panic!("{error}"));
        let slots: Vec<i64> = (0..tokens as i64).collect();
        let positions: Vec<i32> = (0..tokens as i32).collect();
        let inputs = || -> expertile::Result<[Buffer; 3]> {
            Ok([
                Buffer::from_slice(&stream, &positions)?,
                Buffer::from_slice(&stream, &inv_freq(5e5, head_dim as usize))?,
                Buffer::from_slice(&stream, &slots)?,
            ])
        };
        let [positions, inv_freq, slots] = inputs().unwrap_or_else(|error| panic!("{error}"));
        let mut qkv = device::zeros(&stream, tokens * heads * head_dim);
        let [mut k_cache, mut v_cache] =
            [(); 2].map(|()| device::zeros(&stream, tokens * kv_heads * head_dim));
        let mut group = c.benchmark_group("rope");
        group.throughput(Throughput::Bytes(2 * 2 * tokens * heads * head_dim));
        let shape = format!("[{tokens}, {q_heads}+2*{kv_heads}, {head_dim}]");
        device::bench(&mut group, &stream, &shape, |stream| {
            let cache = [1, tokens, kv_heads, head_dim];
            let arguments = Rope {
                qkv: qkv.tensor_mut(&[tokens, heads, head_dim])?,
                positions: positions.tensor(&[tokens])?,
                inv_freq: inv_freq.tensor(&[head_dim / 2])?,
                k_cache: k_cache.tensor_mut(&cache)?,
                v_cache: v_cache.tensor_mut(&cache)?,
                slot_mapping: slots.tensor(&[tokens])?,
                clip: Some(8.0),
                pairing: Pairing::Halves,
            };
            expertile::rope(stream, &arguments)
        });
    }
}
