//! `grouped_gemm`: both products of every expert, where the fast backend includes the combine; on devices the first
//! product, and in `moe.rs` all of the layer.

use crate::data::{uniform, weight};
use crate::device::{Bound, Calls, DeviceBench, Work, normal};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Activation, Buffer, Dtype, Gated, GroupedUp, Result, Stream, grouped_gemm_up};
use expertile_reference::arithmetic::{Arithmetic, Experts};
use expertile_reference::dispatch::dispatch;
use expertile_reference::grouped_gemm::{down, up};
use expertile_reference::{Fast, Rounding};

pub(crate) fn bench(c: &mut Criterion) {
    let (experts, top_k, hidden, ffn_hidden) = (16, 4, 512, 768);
    let [w1, v1, w2] = [0, 1, 2].map(|seed| weight(seed, [experts * ffn_hidden, hidden]));
    let [w1_f32, v1_f32, w2_f32] = [&w1, &v1, &w2].map(|weight| weight.to_f32());
    let mut group = c.benchmark_group("grouped_gemm");
    for tokens in [1, 64] {
        let h = uniform(3, tokens * hidden, 1.0);
        let ids: Vec<i32> = (0..tokens)
            .flat_map(|token| (0..top_k).map(move |slot| ((token + slot * 5) % experts) as i32))
            .collect();
        let dispatch = dispatch(&ids, top_k, 0..experts).expect("extents match");
        let weights = vec![0.25; ids.len()];
        let input = Experts {
            h: &h,
            residual: &h,
            hidden,
            ffn_hidden,
            top_k,
            dispatch: &dispatch,
            weights: &weights,
            w1: &w1,
            v1: &v1,
            w2: &w2,
        };
        let (tokens_of_rows, row_weights) = (input.tokens_of_rows(), input.weights_of_rows());
        let offsets = &dispatch.offsets;
        let shape = format!("[{tokens}, {hidden}], {experts} x {ffn_hidden} choose {top_k}");
        group.throughput(Throughput::Elements((6 * ids.len() * hidden * ffn_hidden) as u64));
        group.bench_function(BenchmarkId::new("plain", &shape), |b| {
            b.iter(|| {
                let rounding = Rounding::F32;
                let x = up(&h, hidden, &tokens_of_rows, offsets, &w1_f32, &v1_f32, rounding)?;
                down(&x, ffn_hidden, offsets, &w2_f32, &row_weights, rounding)
            });
        });
        group.bench_function(BenchmarkId::new("fast", &shape), |b| b.iter(|| Fast.experts(&input)));
    }
}

/// Who gets how many rows.
const BALANCED: u64 = 0;
/// By Zipf's law.
const ZIPF: u64 = 1;
/// All to as many experts as a token has.
const FEW: u64 = 2;

/// `[tokens, top_k]` ids of a routing.
pub(crate) fn ids(tokens: u64, experts: u64, top_k: u64, routing: u64) -> Vec<i32> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut token = |token: u64| -> Vec<i32> {
        match routing {
            BALANCED => (0..top_k).map(|slot| ((token * top_k + slot) % experts) as i32).collect(),
            ZIPF => {
                let mut left: Vec<u64> = (0..experts).collect();
                let mut take = |_| {
                    let odds = |expert: &u64| 1.0 / (*expert as f64 + 1.0);
                    let mut rest = random.f64() * left.iter().map(odds).sum::<f64>();
                    let reached = |expert: &u64| {
                        rest -= odds(expert);
                        rest <= 0.0
                    };
                    let place = left.iter().position(reached).unwrap_or(left.len() - 1);
                    left.remove(place) as i32
                };
                (0..top_k).map(&mut take).collect()
            }
            _ => (0..top_k as i32).collect(),
        }
    };
    let mut order: Vec<u64> = (0..tokens).collect();
    fastrand::Rng::with_seed(6).shuffle(&mut order);
    order.into_iter().flat_map(&mut token).collect()
}

/// Experts that have a row.
pub(crate) fn active(tokens: u64, experts: u64, top_k: u64, routing: u64) -> u64 {
    if routing == FEW { top_k } else { experts.min(tokens * top_k) }
}

/// Reading weights bounds up to about 266 rows an expert, arithmetic above (H100: operations for a byte).
pub(crate) fn bound(rows: u64, active: u64) -> Bound {
    if rows <= 266 * active { Bound::Read } else { Bound::Matrix }
}

/// The first product, of rows that are gathered. Results of f32 are of bf16.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "grouped_gemm",
    extents: &["tokens", "hidden", "ffn_hidden", "experts", "top_k"],
    shapes: &[
        &[4096, 6144, 10752, 16, 4],
        &[1, 6144, 10752, 16, 4],
        &[8, 6144, 10752, 16, 4],
        &[64, 6144, 10752, 16, 4],
        &[512, 6144, 10752, 16, 4],
    ],
    tiny: &[5, 64, 72, 4, 2],
    work: |extents, _| {
        let &[tokens, hidden, ffn_hidden, experts, top_k] = extents else {
            unreachable!("five extents")
        };
        let (rows, active) = (tokens * top_k, active(tokens, experts, top_k, BALANCED));
        let weights = 2 * active * ffn_hidden * hidden;
        Work {
            bytes: 2 * (weights + tokens * hidden + rows * ffn_hidden),
            flops: 4 * rows * hidden * ffn_hidden,
            bound: bound(rows, active),
        }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], dtype: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, hidden, ffn_hidden, experts, top_k] = extents else {
        unreachable!("five extents")
    };
    let dtype = if dtype == Dtype::F32 { Dtype::Bf16 } else { dtype };
    let (rows, of_weights) = (tokens * top_k, experts * ffn_hidden * hidden);
    let x = normal(stream, dtype, sets * tokens * hidden, 1)?;
    let weights = normal(stream, dtype, sets * 2 * of_weights, 2)?;
    let mut out = normal(stream, dtype, sets * rows * ffn_hidden, 3)?;
    let ids = ids(tokens, experts, top_k, BALANCED);
    let sorted = dispatch(&ids, top_k as usize, 0..experts as usize).expect("extents match");
    let offsets: Vec<i32> = sorted.offsets.iter().map(|&offset| offset as i32).collect();
    let mut pairs: Vec<i32> = (0..rows as i32).collect();
    pairs.sort_by_key(|&pair| ids[pair as usize]);
    let (pairs, offsets) =
        (Buffer::from_slice(stream, &pairs)?, Buffer::from_slice(stream, &offsets)?);
    Ok(Box::new(move |stream, set| {
        let packed = [experts, 2 * ffn_hidden, hidden];
        let by_packed = [2 * ffn_hidden * hidden, hidden, 1];
        let arguments = GroupedUp {
            x: x.strided(&[tokens, hidden], &[hidden, 1], set * tokens * hidden)?,
            pairs: pairs.tensor(&[rows])?,
            top_k: top_k as u32,
            offsets: offsets.tensor(&[experts + 1])?,
            weights: Gated::Packed(weights.strided(&packed, &by_packed, set * 2 * of_weights)?),
            biases: None,
            activation: Activation::Silu,
            out: out.strided_mut(&[rows, ffn_hidden], &[ffn_hidden, 1], set * rows * ffn_hidden)?,
        };
        grouped_gemm_up(stream, &arguments)
    }))
}
