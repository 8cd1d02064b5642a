//! `rope`: clip, split, rotate; on devices also the cache append.

use crate::data::uniform;
use crate::device::{Bound, Calls, DeviceBench, Work, normal};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Buffer, Dtype, Pairing, Result, Rope, Stream};
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

/// Each row is read and written once, beside it the token's position and slot.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "rope",
    extents: &["tokens", "q_heads", "kv_heads", "head_dim"],
    shapes: &[
        &[4096, 48, 8, 128],
        &[1, 48, 8, 128],
        &[8, 48, 8, 128],
        &[64, 48, 8, 128],
        &[512, 48, 8, 128],
        &[32_768, 48, 8, 128],
    ],
    tiny: &[3, 6, 1, 16],
    work: |extents, dtype| {
        let [tokens, q_heads, kv_heads, head_dim] = extents else { unreachable!("four extents") };
        let row = (q_heads + 2 * kv_heads) * head_dim * dtype.bytes();
        // Three operations for each element of q and k; clipping is not counted.
        let flops = 3 * tokens * (q_heads + kv_heads) * head_dim;
        Work { bytes: tokens * (2 * row + 4 + 8), flops, bound: Bound::Copy }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], dtype: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, q_heads, kv_heads, head_dim] = extents else { unreachable!("four extents") };
    let heads = q_heads + 2 * kv_heads;
    let (row, cache) = (tokens * heads * head_dim, tokens * kv_heads * head_dim);
    let mut qkv = normal(stream, dtype, sets * row, 1)?;
    let mut k_cache = Buffer::new(stream.device(), dtype, sets * cache)?;
    let mut v_cache = Buffer::new(stream.device(), dtype, sets * cache)?;
    let all_positions: Vec<i32> = (0..tokens as i32).collect();
    let positions = Buffer::from_slice(stream, &all_positions)?;
    let all_slots: Vec<i64> = (0..tokens as i64).collect();
    let slots = Buffer::from_slice(stream, &all_slots)?;
    let inv_freq = Buffer::from_slice(stream, &inv_freq(5e5, head_dim as usize))?;
    Ok(Box::new(move |stream, set| {
        let (rows, of_row) = ([tokens, heads, head_dim], [heads * head_dim, head_dim, 1]);
        let page = [1, tokens, kv_heads, head_dim];
        let of_page = [cache, kv_heads * head_dim, head_dim, 1];
        let arguments = Rope {
            qkv: qkv.strided_mut(&rows, &of_row, set * row)?,
            positions: positions.tensor(&[tokens])?,
            inv_freq: inv_freq.tensor(&[head_dim / 2])?,
            k_cache: k_cache.strided_mut(&page, &of_page, set * cache)?,
            v_cache: v_cache.strided_mut(&page, &of_page, set * cache)?,
            slot_mapping: slots.tensor(&[tokens])?,
            clip: Some(8.0),
            pairing: Pairing::Halves,
        };
        expertile::rope(stream, &arguments)
    }))
}
