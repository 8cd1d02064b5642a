//! The operators that treat each token by itself.

use crate::error::{Error, Result, check_rows, check_shape};
use crate::rope::{self, Rotated};
use crate::rounding::Rounding;
use crate::router::{self, Routing};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// The tokens of one task, at least.
pub(super) const TOKENS: usize = 16;

/// [`layer_norm`](crate::layer_norm::layer_norm) with f32 elements and f64 sums.
pub(super) fn layer_norm(
    x: &[f32],
    residual: Option<&[f32]>,
    weight: &[f32],
    epsilon: f64,
) -> Result<[Vec<f32>; 2]> {
    let hidden = weight.len();
    let tokens = check_rows("layer_norm", "x", x.len(), hidden)?;
    if let Some(residual) = residual {
        check_shape("layer_norm", "residual", residual.len(), &[tokens, hidden])?;
    }
    let [mut sum, mut out] = [vec![0.0; x.len()], vec![0.0; x.len()]];
    if out.is_empty() {
        return Ok([sum, out]);
    }
    let chunk = TOKENS * hidden;
    sum.par_chunks_mut(chunk).zip(out.par_chunks_mut(chunk)).enumerate().for_each(
        |(index, (sum, out))| {
            let elements = index * chunk..index * chunk + sum.len();
            sum.copy_from_slice(&x[elements.clone()]);
            if let Some(residual) = residual {
                sum.iter_mut().zip(&residual[elements]).for_each(|(sum, x)| *sum += x);
            }
            out.copy_from_slice(sum);
            Arch::new().dispatch(Normalize { rows: out, weight, epsilon });
        },
    );
    Ok([sum, out])
}

/// [`router`](crate::router::router) itself, for some tokens at a time.
pub(super) fn router(
    logits: &[f32],
    experts: usize,
    top_k: usize,
    p_norm: Option<f64>,
) -> Result<Routing> {
    let rounding = Rounding::F32;
    let chunk = TOKENS.saturating_mul(experts);
    if logits.len() <= chunk {
        return router::router(logits, experts, top_k, p_norm, rounding);
    }
    check_rows("router", "logits", logits.len(), experts)?;
    let parts: Result<Vec<Routing>> = logits
        .par_chunks(chunk)
        .map(|logits| router::router(logits, experts, top_k, p_norm, rounding))
        .collect();
    let parts = parts?;
    let mut counts = vec![0; experts];
    for part in &parts {
        counts.iter_mut().zip(&part.counts).for_each(|(count, part)| *count += part);
    }
    Ok(Routing {
        ids: parts.iter().flat_map(|part| &part.ids).copied().collect(),
        weights: parts.iter().flat_map(|part| &part.weights).copied().collect(),
        probabilities: parts.iter().flat_map(|part| &part.probabilities).copied().collect(),
        counts,
    })
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
            let rotation = rotation(position as f32, inv_freq);
            rotate(&x[..q_row], q, &rotation);
            rotate(&x[q_row..q_row + kv_row], k, &rotation);
            for (v, x) in v.iter_mut().zip(&x[q_row + kv_row..]) {
                *v = x.clamp(-clip, clip);
            }
        });
    Ok([q, k, v])
}

/// `(cos, sin)` of one token's angles, one for each frequency.
fn rotation(position: f32, inv_freq: &[f32]) -> Vec<(f32, f32)> {
    if inv_freq.iter().any(|inv_freq| (position * inv_freq).abs() > LARGEST_ANGLE) {
        let exact = |inv_freq| f64::from(position * inv_freq).sin_cos();
        return inv_freq.iter().map(exact).map(|(sin, cos)| (cos as f32, sin as f32)).collect();
    }
    let mut out = vec![(0.0, 0.0); inv_freq.len()];
    Arch::new().dispatch(Rotation { position, inv_freq, out: &mut out });
    out
}

/// Fills `out` for angles up to [`LARGEST_ANGLE`].
struct Rotation<'a> {
    position: f32,
    inv_freq: &'a [f32],
    out: &'a mut [(f32, f32)],
}

impl WithSimd for Rotation<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, inv_freq) in self.out.iter_mut().zip(self.inv_freq) {
            *out = cos_sin(self.position * inv_freq);
        }
    }
}

/// The largest angle that [`cos_sin`] takes.
const LARGEST_ANGLE: f32 = 1_048_576.0;

/// The cosine and sine of an angle up to [`LARGEST_ANGLE`], within half an ulp of 1 and 2e-9.
///
/// `angle = n pi / 2 + r` with `n` the nearest integer and pi / 2 in two parts: the first has 33
/// bits, so that `n` times it is exact. Taylor's series to r^9 and r^10 leave 2e-9 for
/// `|r| <= pi / 4`. No branch and no call, so that a loop over it becomes vector instructions.
#[inline(always)]
fn cos_sin(angle: f32) -> (f32, f32) {
    /// Adding it rounds to an integer, which is then in the low bits: 1.5 * 2^52.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const HALF_PI: [f64; 2] = [1.570_796_326_734_125_6, 6.077_100_506_506_192e-11];
    const SIN: [f64; 4] = [1.0 / 6.0, 1.0 / 20.0, 1.0 / 42.0, 1.0 / 72.0];
    const COS: [f64; 5] = [1.0 / 2.0, 1.0 / 12.0, 1.0 / 30.0, 1.0 / 56.0, 1.0 / 90.0];

    let angle = f64::from(angle);
    let rounded = angle * std::f64::consts::FRAC_2_PI + ROUND;
    let (n, quadrant) = (rounded - ROUND, rounded.to_bits());
    let r = angle - n * HALF_PI[0] - n * HALF_PI[1];
    let r2 = r * r;
    let sin = r * SIN.iter().rev().fold(1.0, |sum, factor| 1.0 - sum * r2 * factor);
    let cos = COS.iter().rev().fold(1.0, |sum, factor| 1.0 - sum * r2 * factor);
    let (a, b) = if quadrant & 1 == 0 { (cos, sin) } else { (sin, cos) };
    let a = if (quadrant + 1) & 2 == 0 { a } else { -a };
    let b = if quadrant & 2 == 0 { b } else { -b };
    (a as f32, b as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cos_sin_is_as_accurate_as_its_page_says() {
        let mut worst = 0.0f64;
        let mut angle = 1e-6f32;
        while angle < LARGEST_ANGLE {
            for angle in [angle, -angle] {
                let (cos, sin) = cos_sin(angle);
                let (want_sin, want_cos) = f64::from(angle).sin_cos();
                worst = worst.max((f64::from(cos) - want_cos).abs());
                worst = worst.max((f64::from(sin) - want_sin).abs());
            }
            angle *= 1.000_01;
        }
        assert!(worst <= 2f64.powi(-25) + 2e-9, "{worst:e}");
        assert_eq!(cos_sin(0.0), (1.0, 0.0));
    }
}
