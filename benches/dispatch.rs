//! `dispatch`: the stable sort by expert.

use crate::device::{Bound, Calls, DeviceBench, Work};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Buffer, Dispatch, Dtype, Result, Stream, dispatch_workspace_bytes, max_tiles};
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

const TILE_ROWS: u32 = 64;

/// Each id is read, and each pair's row and row's pair are written, beside offsets and tiles. Ids are i32
/// whatever the dtype.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "dispatch",
    extents: &["tokens", "top_k", "experts"],
    shapes: &[
        &[4096, 4, 16],
        &[1, 4, 16],
        &[8, 4, 16],
        &[64, 4, 16],
        &[512, 4, 16],
        &[32_768, 4, 16],
        &[4096, 8, 256],
    ],
    tiny: &[3, 4, 16],
    work: |extents, _| {
        let &[tokens, top_k, experts] = extents else { unreachable!("three extents") };
        let pairs = tokens * top_k;
        let layout = 2 * experts + 2 + 2 * max_tiles(pairs, experts, TILE_ROWS);
        Work { bytes: 4 * (3 * pairs + layout), flops: 0, bound: Bound::Copy }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], _: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, top_k, experts] = extents else { unreachable!("three extents") };
    let (device, pairs) = (stream.device(), tokens * top_k);
    let mut random = fastrand::Rng::with_seed(1);
    let ids: Vec<i32> = (0..sets * pairs).map(|_| random.i32(0..experts as i32)).collect();
    let ids = Buffer::from_slice(stream, &ids)?;
    let i32s = |elements| Buffer::new(device, Dtype::I32, elements);
    let most = max_tiles(pairs, experts, TILE_ROWS);
    let kept = dispatch_workspace_bytes(device.info(), tokens, top_k, experts) / 4;
    let (mut sorted, mut rows) = (i32s(sets * pairs)?, i32s(sets * pairs)?);
    let (mut offsets, mut counts) = (i32s(experts + 1)?, i32s(experts)?);
    let (mut tiles, mut tile_count, mut workspace) = (i32s(2 * most)?, i32s(1)?, i32s(kept)?);
    Ok(Box::new(move |stream, set| {
        let (shape, strides, first) = ([tokens, top_k], [top_k, 1], set * pairs);
        let arguments = Dispatch {
            ids: ids.strided(&shape, &strides, first)?,
            experts: 0..experts as u32,
            tile_rows: TILE_ROWS,
            pairs: sorted.strided_mut(&[pairs], &[1], first)?,
            rows: rows.strided_mut(&shape, &strides, first)?,
            offsets: offsets.tensor_mut(&[experts + 1])?,
            counts: counts.tensor_mut(&[experts])?,
            tiles: tiles.tensor_mut(&[most, 2])?,
            tile_count: tile_count.tensor_mut(&[1])?,
            workspace: workspace.tensor_mut(&[kept])?,
        };
        expertile::dispatch(stream, &arguments)
    }))
}
