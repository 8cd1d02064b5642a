//! The operators that treat each token by itself.

use crate::error::{Error, Result, check_rows, check_shape};
use crate::rope::{self, Rotated};
use crate::rounding::Rounding;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// The tokens of one task.
const TOKENS: usize = 16;

/// [`layer_norm`](crate::layer_norm::layer_norm) with f32 elements and f64 sums.
pub(super) fn layer_norm(
    x: &[f32],
    residual: Option<&[f32]>,
    weight: &[f32],
    epsilon: f64,
) -> Result<[Vec<f32>; 2]> {
    let hidden = weight.len();
    let tokens = check_rows("layer_norm", "x", x.len(), hidden)?;
    let mut sum = x.to_vec();
    if let Some(residual) = residual {
        check_shape("layer_norm", "residual", residual.len(), &[tokens, hidden])?;
        sum.iter_mut().zip(residual).for_each(|(sum, residual)| *sum += residual);
    }
    let mut out = sum.clone();
    let normalize = |rows: &mut [f32]| Arch::new().dispatch(Normalize { rows, weight, epsilon });
    match tokens {
        0 => {}
        1..=TOKENS => normalize(&mut out),
        _ => out.par_chunks_mut(TOKENS * hidden).for_each(normalize),
    }
    Ok([sum, out])
}

/// Normalises rows in place.
struct Normalize<'a> {
    rows: &'a mut [f32],
    weight: &'a [f32],
    epsilon: f64,
}

impl WithSimd for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let hidden = self.weight.len();
        for row in self.rows.chunks_exact_mut(hidden) {
            let mean = sum_of(row, f64::from) / hidden as f64;
            let variance = sum_of(row, |x| (f64::from(x) - mean).powi(2)) / hidden as f64;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            for (x, weight) in row.iter_mut().zip(self.weight) {
                *x = ((f64::from(*x) - mean) * scale * f64::from(*weight)) as f32;
            }
        }
    }
}

/// The sum of `term` over a row, in 8 partial sums so that it vectorises.
#[inline(always)]
fn sum_of(row: &[f32], term: impl Fn(f32) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    let blocks = row.chunks_exact(sums.len());
    let tail: f64 = blocks.remainder().iter().map(|&x| term(x)).sum();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, &x)| *sum += term(x));
    }
    sums.iter().sum::<f64>() + tail
}

/// [`rope`](crate::rope::rope) with f32 elements; the rotation is f64.
pub(super) fn rope(
    qkv: &[f32],
    positions: &[i32],
    inv_freq: &[f32],
    (q_heads, kv_heads): (usize, usize),
    clip: Option<f64>,
) -> Result<[Vec<f32>; 3]> {
    let (tokens, half) = (positions.len(), inv_freq.len());
    let head_dim = 2 * half;
    let heads = q_heads.saturating_add(kv_heads.saturating_mul(2));
    check_shape("rope", "qkv", qkv.len(), &[tokens, heads, head_dim])?;
    if let Some(clip) = clip.filter(|clip| clip.is_nan() || *clip < 0.0) {
        return Err(Error::value("rope", "clip", clip, "at least 0"));
    }
    if qkv.is_empty() {
        return Ok(Default::default());
    }
    if q_heads == 0 || kv_heads == 0 {
        // Rows of nothing cannot be split into chunks.
        let Rotated { q, k, v } =
            rope::rope(qkv, positions, inv_freq, q_heads, kv_heads, clip, Rounding::F32)?;
        return Ok([q, k, v].map(|x| x.into_iter().map(|x| x as f32).collect()));
    }
    let (q_row, kv_row) = (q_heads * head_dim, kv_heads * head_dim);
    let [mut q, mut k] = [vec![0.0; tokens * q_row], vec![0.0; tokens * kv_row]];
    let mut v = k.clone();

    let clip = clip.map_or(f32::INFINITY, |clip| clip as f32);
    let rotate = |x: &[f32], out: &mut [f32], rotation: &[(f32, f32)]| {
        for (x, out) in x.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
            let (out_low, out_high) = out.split_at_mut(half);
            for (i, (cos, sin)) in rotation.iter().enumerate() {
                let (a, b) = (x[i].clamp(-clip, clip), x[i + half].clamp(-clip, clip));
                out_low[i] = a * cos - b * sin;
                out_high[i] = b * cos + a * sin;
            }
        }
    };
    q.par_chunks_exact_mut(q_row)
        .zip(k.par_chunks_exact_mut(kv_row))
        .zip(v.par_chunks_exact_mut(kv_row))
        .zip(qkv.par_chunks_exact(q_row + 2 * kv_row))
        .zip(positions)
        .with_min_len(TOKENS)
        .for_each(|((((q, k), v), x), &position)| {
            let rotation: Vec<(f32, f32)> = inv_freq
                .iter()
                .map(|inv_freq| f64::from(position as f32 * inv_freq).sin_cos())
                .map(|(sin, cos)| (cos as f32, sin as f32))
                .collect();
            rotate(&x[..q_row], q, &rotation);
            rotate(&x[q_row..q_row + kv_row], k, &rotation);
            for (v, x) in v.iter_mut().zip(&x[q_row + kv_row..]) {
                *v = x.clamp(-clip, clip);
            }
        });
    Ok([q, k, v])
}
