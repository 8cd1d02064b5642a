//! `grouped_gemm`: both products of every expert; the fast backend includes the combine.

use crate::data::{uniform, weight};
use criterion::{BenchmarkId, Criterion, Throughput};
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
