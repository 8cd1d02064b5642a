//! Causal attention in blocks of queries.

use super::exponential::softmax;
use super::product::{Matrix, matmul};
use crate::attention::KvIndex;
use rayon::prelude::*;

/// The query positions of one task.
const POSITIONS: usize = 32;

/// One task: some query positions of one sequence, and the heads that share one key head.
struct Task {
    sequence: usize,
    kv_head: usize,
    /// The first query token, in the batch.
    first_token: usize,
    positions: usize,
    /// The keys that the task's first query sees, at least 1.
    visible: usize,
}

/// [`attention`](crate::attention::attention) under the causal mask, `[tokens, q_heads, head_dim]`;
/// the extents have been checked. `kv_arrays` are K and V.
pub(super) fn causal(
    q: &[f32],
    cu_q_lens: &[usize],
    q_heads: usize,
    kv_arrays: [&[f32]; 2],
    kv: KvIndex<'_>,
    scale: f32,
) -> Vec<f32> {
    let (kv_heads, head_dim) = kv.head_extents();
    let group = q_heads / kv_heads;
    let mut tasks = Vec::new();
    for sequence in 0..cu_q_lens.len() - 1 {
        let (q_start, q_end) = (cu_q_lens[sequence], cu_q_lens[sequence + 1]);
        // Queries before this one see no key; their rows stay zero.
        let unseeing = (q_end - q_start).saturating_sub(kv.len(sequence));
        for first_token in (q_start + unseeing..q_end).step_by(POSITIONS) {
            let positions = POSITIONS.min(q_end - first_token);
            let visible = kv.len(sequence) + first_token + 1 - q_end;
            tasks.extend((0..kv_heads).map(|kv_head| Task {
                sequence,
                kv_head,
                first_token,
                positions,
                visible,
            }));
        }
    }

    let rows: Vec<Vec<f32>> = tasks
        .par_iter()
        .with_max_len(1)
        .map(|task| attend(task, q, [q_heads, group, head_dim], kv_arrays, kv, scale))
        .collect();

    let mut out = vec![0.0; q.len()];
    let width = group * head_dim;
    for (task, rows) in tasks.iter().zip(rows) {
        for (position, row) in rows.chunks_exact(width).enumerate() {
            let token = task.first_token + position;
            let to = (token * q_heads + task.kv_head * group) * head_dim;
            out[to..][..width].copy_from_slice(row);
        }
    }
    out
}

/// The output of one task, `[positions, group, head_dim]`.
fn attend(
    task: &Task,
    q: &[f32],
    [q_heads, group, head_dim]: [usize; 3],
    kv_arrays: [&[f32]; 2],
    kv: KvIndex<'_>,
    scale: f32,
) -> Vec<f32> {
    let keys = task.visible + task.positions - 1;
    let rows = task.positions * group;
    let mut queries = Vec::with_capacity(rows * head_dim);
    for token in task.first_token..task.first_token + task.positions {
        let from = (token * q_heads + task.kv_head * group) * head_dim;
        queries.extend(q[from..][..group * head_dim].iter().map(|q| q * scale));
    }
    let [k, v] = kv_arrays.map(|array| {
        let mut rows = Vec::with_capacity(keys * head_dim);
        for position in 0..keys {
            let from = kv.offset(task.sequence, position, task.kv_head);
            rows.extend_from_slice(&array[from..][..head_dim]);
        }
        rows
    });

    let mut scores = vec![0.0; rows * keys];
    let k = Matrix::rows(&k, head_dim).transposed();
    matmul(Matrix::rows(&queries, head_dim), k, &mut scores, false);
    for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
        softmax(scores, task.visible + row / group);
    }
    let mut out = vec![0.0; rows * head_dim];
    matmul(Matrix::rows(&scores, keys), Matrix::rows(&v, head_dim), &mut out, false);
    out
}
