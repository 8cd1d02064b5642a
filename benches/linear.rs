//! `linear`: one row is bound by reading the weight, many rows by arithmetic.

use crate::data::{uniform, weight};
use crate::device::{Bound, Calls, DeviceBench, Work, normal};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Dtype, Linear, LinearOut, Result, Stream, WeightLayout};
use expertile_reference::linear::linear;
use expertile_reference::{Arithmetic, Fast};

pub(crate) fn bench(c: &mut Criterion) {
    let (in_features, out_features) = (1024, 1536);
    let weight = weight(0, [out_features, in_features]);
    let mut group = c.benchmark_group("linear");
    for tokens in [1, 16, 128] {
        let x = uniform(1, tokens * in_features, 1.0);
        let shape = format!("[{tokens}, {in_features}] x [{out_features}, {in_features}]");
        group.throughput(Throughput::Elements((2 * tokens * in_features * out_features) as u64));
        group.bench_function(BenchmarkId::new("plain", &shape), |b| {
            b.iter(|| linear(&x, &weight.to_f32(), in_features));
        });
        group.bench_function(BenchmarkId::new("fast", &shape), |b| {
            b.iter(|| Fast.linear(&x, &weight, in_features));
        });
    }
}

/// The weight of each set is another one: what is timed reads it from memory. Results of f32 are of bf16.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "linear",
    extents: &["tokens", "in_features", "out_features"],
    // DBRX's Wqkv, out_proj and lm_head; a square that others publish.
    shapes: &[
        &[4096, 6144, 8192],
        &[4096, 6144, 6144],
        &[8192, 8192, 8192],
        &[512, 6144, 8192],
        &[1, 6144, 8192],
        &[16, 6144, 8192],
        &[64, 6144, 8192],
        &[1, 6144, 100_352],
    ],
    tiny: &[3, 64, 96],
    work: |extents, dtype| {
        let &[tokens, in_features, out_features] = extents else { unreachable!("three extents") };
        let read = 2 * (tokens * in_features + in_features * out_features);
        let bound = if tokens <= 64 { Bound::Read } else { Bound::Matrix };
        let flops = 2 * tokens * in_features * out_features;
        Work { bytes: read + tokens * out_features * dtype.bytes(), flops, bound }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], dtype: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, in_features, out_features] = extents else { unreachable!("three extents") };
    let of_x = if dtype == Dtype::F32 { Dtype::Bf16 } else { dtype };
    let (of_tokens, of_weight) = (tokens * in_features, in_features * out_features);
    let x = normal(stream, of_x, sets * of_tokens, 1)?;
    let weight = normal(stream, of_x, sets * of_weight, 2)?;
    let mut out = normal(stream, dtype, sets * tokens * out_features, 3)?;
    Ok(Box::new(move |stream, set| {
        let strides = [in_features, 1];
        let product = out.strided_mut(
            &[tokens, out_features],
            &[out_features, 1],
            set * tokens * out_features,
        )?;
        let arguments = Linear {
            x: x.strided(&[tokens, in_features], &strides, set * of_tokens)?,
            weight: weight.strided(&[out_features, in_features], &strides, set * of_weight)?,
            layout: WeightLayout::OutIn,
            clamp: None,
            out: LinearOut::Product(product),
        };
        expertile::linear(stream, &arguments)
    }))
}
