//! The experts of one block: both products and the combine.

use super::product::{
    Stored, panel_extent, put_columns, rows_by_columns, rows_by_transpose, with_scratch,
};
use crate::arithmetic::Experts;
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

    let panel = panel_extent(hidden, ffn_hidden, tasks);
    let x = by_panels(&active, rows, ffn_hidden, panel, |expert, columns| {
        let first = (expert * ffn_hidden + columns.start) * hidden;
        let weight = first..first + columns.len() * hidden;
        let mut gate = vec![0.0; rows(expert).len() * columns.len()];
        with_scratch(rows(expert).len() * hidden, |x| {
            for (x, &token) in x.chunks_exact_mut(hidden).zip(&tokens_of_rows[rows(expert)]) {
                x.copy_from_slice(&h[token * hidden..][..hidden]);
            }
            with_scratch(gate.len(), |up| {
                rows_by_transpose(x, &w1[weight.clone()], hidden, &mut gate);
                rows_by_transpose(x, &v1[weight], hidden, up);
                gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = silu(*gate) * *up);
            });
        });
        gate
    });

    let weights = input.weights_of_rows();
    let panel = panel_extent(ffn_hidden, hidden, tasks);
    let y = by_panels(&active, rows, hidden, panel, |expert, columns| {
        let x = &x[scaled(rows(expert), ffn_hidden)];
        let weight = &w2[scaled(expert..expert + 1, ffn_hidden * hidden)];
        let mut y = vec![0.0; rows(expert).len() * columns.len()];
        rows_by_columns(x, weight, hidden, columns.start, &mut y);
        for (y, row) in y.chunks_exact_mut(columns.len()).zip(rows(expert)) {
            let weight = weights[row] as f32;
            y.iter_mut().for_each(|y| *y *= weight);
        }
        y
    });

    let mut out = input.residual.to_vec();
    let mut sum = vec![0.0; hidden];
    for (out, rows) in out.chunks_exact_mut(hidden).zip(dispatch.rows.chunks_exact(input.top_k)) {
        sum.fill(0.0);
        for row in rows.iter().copied().flatten() {
            sum.iter_mut().zip(&y[row * hidden..]).for_each(|(sum, y)| *sum += y);
        }
        out.iter_mut().zip(&sum).for_each(|(out, sum)| *out += sum);
    }
    out
}

/// Computes `[all rows, width]` in one task for each active expert and panel of columns. `product`
/// returns `[rows of the expert, columns]`.
fn by_panels(
    active: &[usize],
    rows: impl Fn(usize) -> Range<usize>,
    width: usize,
    panel: usize,
    product: impl Fn(usize, Range<usize>) -> Vec<f32> + Sync,
) -> Vec<f32> {
    let tasks: Vec<(usize, Range<usize>)> = active
        .iter()
        .flat_map(|&expert| {
            let panels = (0..width).step_by(panel);
            panels.map(move |first| (expert, first..width.min(first + panel)))
        })
        .collect();
    let parts: Vec<Vec<f32>> =
        tasks.par_iter().map(|(expert, columns)| product(*expert, columns.clone())).collect();

    let total = active.last().map_or(0, |&expert| rows(expert).end);
    let mut out = vec![0.0; total * width];
    for ((expert, columns), part) in tasks.iter().zip(parts) {
        put_columns(&part, &mut out[scaled(rows(*expert), width)], width, columns.start);
    }
    out
}

/// The elements of a range of rows.
fn scaled(rows: Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}

fn silu(g: f32) -> f32 {
    g / (1.0 + (-g).exp())
}
