//! The experts of one block: both products and the combine.

use super::exponential::swiglu;
use super::product::{
    FEW_ROWS, Stored, few_rows_by_columns, panel_extent, put_columns, rows_by_columns,
    rows_by_transpose, with_scratch,
};
use super::rows::TOKENS;
use crate::arithmetic::Experts;
use crate::dispatch::Dispatch;
use crate::tensor::{Elements, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// The tasks that each of the two products is cut into at least, while its panels stay large enough.
const TASKS: usize = 16;

/// [`up`](crate::grouped_gemm::up), [`down`](crate::grouped_gemm::down) and
/// [`combine`](crate::combine::combine) in slot order.
pub(super) fn experts(input: &Experts<'_, f32>) -> Vec<f32> {
    match (input.w1.elements(), input.v1.elements(), input.w2.elements()) {
        (Elements::F32(w1), Elements::F32(v1), Elements::F32(w2)) => stored(input, w1, v1, w2),
        (Elements::F16(w1), Elements::F16(v1), Elements::F16(w2)) => stored(input, w1, v1, w2),
        (Elements::Bf16(w1), Elements::Bf16(v1), Elements::Bf16(w2)) => stored(input, w1, v1, w2),
        // A checkpoint that mixes stored types inside one block: widen it whole.
        _ => {
            let wide = |tensor: &Tensor| tensor.to_f32().into_owned();
            stored(input, &wide(input.w1), &wide(input.v1), &wide(input.w2))
        }
    }
}

fn stored<W: Stored>(input: &Experts<'_, f32>, w1: &[W], v1: &[W], w2: &[W]) -> Vec<f32> {
    let Experts { h, hidden, ffn_hidden, dispatch, .. } = *input;
    let tokens_of_rows = input.tokens_of_rows();
    let active: Vec<usize> = (0..dispatch.offsets.len().saturating_sub(1))
        .filter(|&expert| dispatch.offsets[expert] < dispatch.offsets[expert + 1])
        .collect();
    let rows = |expert: usize| dispatch.offsets[expert]..dispatch.offsets[expert + 1];
    let tasks = TASKS.div_ceil(active.len().max(1));

    let total = dispatch.pairs.len();
    let weights = input.weights_of_rows();
    let mut out = input.residual.to_vec();
    with_scratch(total * ffn_hidden, |x| {
        let panel = panel_extent(hidden, ffn_hidden, tasks);
        for_each_expert(&active, rows, x, ffn_hidden, |expert, out| {
            by_columns(out, ffn_hidden, panel, |columns, out| {
                let first = (expert * ffn_hidden + columns.start) * hidden;
                let weight = first..first + columns.len() * hidden;
                with_scratch(rows(expert).len() * hidden, |x| {
                    let tokens = &tokens_of_rows[rows(expert)];
                    for (x, &token) in x.chunks_exact_mut(hidden).zip(tokens) {
                        x.copy_from_slice(&h[token * hidden..][..hidden]);
                    }
                    with_scratch(out.len(), |up| {
                        rows_by_transpose(x, &w1[weight.clone()], hidden, out);
                        rows_by_transpose(x, &v1[weight], hidden, up);
                        swiglu(out, up);
                    });
                });
            });
        });

        with_scratch(total * hidden, |y| {
            let panel = panel_extent(ffn_hidden, hidden, tasks);
            for_each_expert(&active, rows, y, hidden, |expert, out| {
                let x = &x[scaled(rows(expert), ffn_hidden)];
                let weight = &w2[scaled(expert..expert + 1, ffn_hidden * hidden)];
                if rows(expert).len() <= FEW_ROWS {
                    few_rows_by_columns(x, weight, hidden, tasks, out);
                } else {
                    by_columns(out, hidden, panel, |columns, out| {
                        rows_by_columns(x, weight, hidden, columns.start, out);
                    });
                }
                for (out, row) in out.chunks_exact_mut(hidden).zip(rows(expert)) {
                    let weight = weights[row] as f32;
                    out.iter_mut().for_each(|out| *out *= weight);
                }
            });
            combine(y, dispatch, hidden, input.top_k, &mut out);
        });
    });
    out
}

/// Adds the sum of each token's rows of y, in slot order, to its row of out.
fn combine(y: &[f32], dispatch: &Dispatch, hidden: usize, top_k: usize, out: &mut [f32]) {
    out.par_chunks_exact_mut(hidden)
        .zip(dispatch.rows.par_chunks_exact(top_k))
        .with_min_len(TOKENS)
        .for_each(|(out, rows)| {
            let mut sum = vec![0.0; hidden];
            for row in rows.iter().copied().flatten() {
                sum.iter_mut().zip(&y[row * hidden..]).for_each(|(sum, y)| *sum += y);
            }
            out.iter_mut().zip(&sum).for_each(|(out, sum)| *out += sum);
        });
}

/// Calls `work` for each active expert, on all threads, with its rows of `out`, `[all rows, width]`.
fn for_each_expert(
    active: &[usize],
    rows: impl Fn(usize) -> Range<usize>,
    out: &mut [f32],
    width: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let mut rest = out;
    let mut tasks = Vec::new();
    for &expert in active {
        let (out, after) = rest.split_at_mut(rows(expert).len() * width);
        tasks.push((expert, out));
        rest = after;
    }
    tasks.into_par_iter().with_max_len(1).for_each(|(expert, out)| work(expert, out));
}

/// Overwrites `out`, `[rows, width]`, in panels of columns, on all threads; `product` overwrites its
/// `[rows, columns]`.
fn by_columns(
    out: &mut [f32],
    width: usize,
    panel: usize,
    product: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    if panel >= width {
        return product(0..width, out);
    }
    let firsts: Vec<usize> = (0..width).step_by(panel).collect();
    let part = |&first: &usize| {
        let columns = first..width.min(first + panel);
        let mut part = vec![0.0; out.len() / width * columns.len()];
        product(columns, &mut part);
        part
    };
    let parts: Vec<Vec<f32>> = firsts.par_iter().map(part).collect();
    for (first, part) in firsts.iter().zip(parts) {
        put_columns(&part, out, width, *first);
    }
}

/// The elements of a range of rows.
fn scaled(rows: Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}
