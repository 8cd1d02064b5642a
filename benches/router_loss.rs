//! `router_loss`: load histogram, load-balancing losses and z-loss.

use crate::data::uniform;
use crate::device::{Bound, Calls, DeviceBench, Work, normal};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Buffer, Dtype, Result, RouterLoss, Stream, router_loss_workspace_bytes};
use expertile_reference::router_loss::router_loss;

pub(crate) fn bench(c: &mut Criterion) {
    let (tokens, experts, top_k) = (256, 16, 4);
    let logits = uniform(0, tokens * experts, 4.0);
    let ids: Vec<i32> = (0..tokens * top_k).map(|i| (i * 7 % experts) as i32).collect();
    let mut group = c.benchmark_group("router_loss");
    group.throughput(Throughput::Elements(tokens as u64));
    let shape = format!("[{tokens}, {experts}] of {top_k}");
    group.bench_function(BenchmarkId::new("plain", shape), |b| {
        b.iter(|| router_loss(&logits, experts, &ids, top_k));
    });
}

/// Logits and ids are read once; losses, counts and means are written.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "router_loss",
    extents: &["tokens", "experts", "top_k"],
    shapes: &[
        &[4096, 16, 4],
        &[64, 16, 4],
        &[512, 16, 4],
        &[32_768, 16, 4],
        &[4096, 256, 8],
        &[32_768, 256, 8],
    ],
    tiny: &[3, 16, 4],
    work: |extents, dtype| {
        let [tokens, experts, top_k] = extents else { unreachable!("three extents") };
        let bytes = tokens * (experts * dtype.bytes() + 4 * top_k) + 8 * experts + 12;
        Work { bytes, flops: 0, bound: Bound::Read }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], dtype: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, experts, top_k] = extents else { unreachable!("three extents") };
    let (scores, slots) = (tokens * experts, tokens * top_k);
    let logits = normal(stream, dtype, sets * scores, 1)?;
    let mut random = fastrand::Rng::with_seed(2);
    let ids: Vec<i32> = (0..sets * slots).map(|_| random.i32(0..experts as i32)).collect();
    let ids = Buffer::from_slice(stream, &ids)?;
    let new = |dtype, elements| Buffer::new(stream.device(), dtype, elements);
    let kept = router_loss_workspace_bytes(tokens, experts) / 4;
    let (mut losses, mut means) = (new(Dtype::F32, 3)?, new(Dtype::F32, experts)?);
    let (mut counts, mut workspace) = (new(Dtype::I32, experts)?, new(Dtype::I32, kept)?);
    Ok(Box::new(move |stream, set| {
        let arguments = RouterLoss {
            logits: logits.strided(&[tokens, experts], &[experts, 1], set * scores)?,
            ids: ids.strided(&[tokens, top_k], &[top_k, 1], set * slots)?,
            losses: losses.tensor_mut(&[3])?,
            counts: counts.tensor_mut(&[experts])?,
            mean_probabilities: means.tensor_mut(&[experts])?,
            workspace: workspace.tensor_mut(&[kept])?,
        };
        expertile::router_loss(stream, &arguments)
    }))
}
