//! `router`: softmax, top-k and norm of given logits; on devices also the logits of hidden states.

use crate::data::uniform;
use crate::device::{Bound, Calls, DeviceBench, Work, normal};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Buffer, Dtype, Result, Router, RouterInput, Scoring, Stream};
use expertile_reference::Rounding;
use expertile_reference::router::router;

pub(crate) fn bench(c: &mut Criterion) {
    let (tokens, experts, top_k) = (256, 16, 4);
    let logits = uniform(0, tokens * experts, 4.0);
    let mut group = c.benchmark_group("router");
    group.throughput(Throughput::Elements(tokens as u64));
    let shape = format!("[{tokens}, {experts}] choose {top_k}");
    group.bench_function(BenchmarkId::new("plain", shape), |b| {
        b.iter(|| router(&logits, experts, top_k, Some(1.0), Rounding::F32));
    });
}

/// Hidden states and weight are read once, or the logits that are given where `hidden` is 0; ids and weights
/// are written.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "router",
    extents: &["tokens", "hidden", "experts", "top_k"],
    shapes: &[
        &[4096, 6144, 16, 4],
        &[1, 6144, 16, 4],
        &[8, 6144, 16, 4],
        &[64, 6144, 16, 4],
        &[512, 6144, 16, 4],
        &[32_768, 6144, 16, 4],
        &[64, 0, 256, 8],
        &[4096, 0, 256, 8],
        &[32_768, 0, 256, 8],
    ],
    tiny: &[3, 64, 16, 4],
    work: |extents, dtype| {
        let [tokens, hidden, experts, top_k] = extents else { unreachable!("four extents") };
        let read = if *hidden == 0 { tokens * experts } else { (tokens + experts) * hidden };
        let bytes = read * dtype.bytes() + tokens * top_k * 8;
        Work { bytes, flops: 2 * tokens * hidden * experts, bound: Bound::Read }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], dtype: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, hidden, experts, top_k] = extents else { unreachable!("four extents") };
    let columns = if hidden == 0 { experts } else { hidden };
    let (row, slots) = (tokens * columns, tokens * top_k);
    let rows = normal(stream, dtype, sets * row, 1)?;
    let weight = normal(stream, dtype, sets * experts * hidden, 2)?;
    let mut ids = Buffer::new(stream.device(), Dtype::I32, sets * slots)?;
    let mut weights = Buffer::new(stream.device(), Dtype::F32, sets * slots)?;
    Ok(Box::new(move |stream, set| {
        let rows = rows.strided(&[tokens, columns], &[columns, 1], set * row)?;
        let input = if hidden == 0 {
            RouterInput::Logits(rows)
        } else {
            let offset = set * experts * hidden;
            let weight = weight.strided(&[experts, hidden], &[hidden, 1], offset)?;
            RouterInput::Hidden { h: rows, weight, round_logits: true }
        };
        let (chosen, of_slots) = ([tokens, top_k], [top_k, 1]);
        let arguments = Router {
            input,
            scoring: Scoring::Softmax { p_norm: Some(1.0) },
            groups: None,
            scale: 1.0,
            forced: None,
            ids: ids.strided_mut(&chosen, &of_slots, set * slots)?,
            weights: weights.strided_mut(&chosen, &of_slots, set * slots)?,
            logits: None,
            counts: None,
            probabilities: None,
        };
        expertile::router(stream, &arguments)
    }))
}
