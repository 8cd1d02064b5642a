//! `combine`: the sum of a token's expert rows and the residual.

use crate::data::uniform;
use crate::device::{Bound, Calls, DeviceBench, Work, normal};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Buffer, Combine, CombineOut, Dtype, Result, Stream};
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

/// The rows of all slots and the residual are read, the sum is written in its place.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "combine",
    extents: &["tokens", "top_k", "hidden"],
    shapes: &[
        &[4096, 4, 6144],
        &[1, 4, 6144],
        &[8, 4, 6144],
        &[64, 4, 6144],
        &[512, 4, 6144],
        &[4096, 8, 4096],
    ],
    tiny: &[3, 4, 64],
    work: |extents, dtype| {
        let &[tokens, top_k, hidden] = extents else { unreachable!("three extents") };
        let bytes = tokens * ((top_k + 2) * hidden * dtype.bytes() + 4 * top_k);
        Work { bytes, flops: tokens * top_k * hidden, bound: Bound::Copy }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], dtype: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, top_k, hidden] = extents else { unreachable!("three extents") };
    let (count, elements) = (tokens * top_k, tokens * hidden);
    let of_experts = normal(stream, dtype, sets * count * hidden, 1)?;
    let mut out = normal(stream, dtype, sets * elements, 2)?;
    let mut rows: Vec<i32> = (0..count as i32).collect();
    fastrand::Rng::with_seed(3).shuffle(&mut rows);
    let rows = Buffer::from_slice(stream, &rows)?;
    Ok(Box::new(move |stream, set| {
        let (shape, strides) = ([tokens, hidden], [hidden, 1]);
        let expert_rows = [count, hidden];
        let out = out.strided_mut(&shape, &strides, set * elements)?;
        let arguments = Combine {
            expert_out: of_experts.strided(&expert_rows, &strides, set * count * hidden)?,
            rows: rows.tensor(&[tokens, top_k])?,
            out: CombineOut::Update(out),
        };
        expertile::combine(stream, &arguments)
    }))
}
