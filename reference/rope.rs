//! Clip, split and rotate packed query, key and value rows, and append keys and values to a cache
//! (rotary position embedding: RoFormer, arXiv:2104.09864, section 3.4.2).

use crate::error::{Error, Result, check_shape};
use crate::kv_cache::CacheLayout;
use crate::rounding::{Real, Rounding};

/// What [`rope`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotated {
    /// Rotated queries, `[tokens, q_heads, head_dim]`.
    pub q: Vec<f64>,
    /// Rotated keys, `[tokens, kv_heads, head_dim]`.
    pub k: Vec<f64>,
    /// Clipped values, `[tokens, kv_heads, head_dim]`.
    pub v: Vec<f64>,
}

/// The rotary frequency of each pair of elements.
///
/// ```text
/// out[i] = 1 / theta^(2 i / head_dim)        for i < head_dim / 2
/// ```
///
/// Exponent, power and quotient are each rounded to f32, as the published model rounds them. An odd
/// `head_dim` is rounded down.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxRotaryEmbedding`.
pub fn inv_freq(theta: f64, head_dim: usize) -> Vec<f32> {
    (0..head_dim / 2)
        .map(|i| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            let power = theta.powf(f64::from(exponent)) as f32;
            1.0 / power
        })
        .collect()
}

/// Clips packed rows, splits them, and rotates the first half of each query and key head against
/// its second half.
///
/// With `x = clamp(qkv, -clip, clip)`, `half = head_dim / 2`, `angle = positions[t] * inv_freq[i]`
/// and for each head of Q and K:
///
/// ```text
/// out[t, head, i]        = x[t, head, i] cos(angle) - x[t, head, i + half] sin(angle)
/// out[t, head, i + half] = x[t, head, i + half] cos(angle) + x[t, head, i] sin(angle)
/// ```
///
/// | argument    | dtype    | shape                                         | note               |
/// |-------------|----------|-----------------------------------------------|--------------------|
/// | `qkv`       | f32, f64 | `[tokens, (q_heads + 2 kv_heads) * head_dim]` | Q, then K, then V  |
/// | `positions` | i32      | `[tokens]`                                    | any value          |
/// | `inv_freq`  | f32      | `[head_dim / 2]`                              | see [`inv_freq()`] |
/// | `q_heads`   |          |                                               |                    |
/// | `kv_heads`  |          |                                               |                    |
/// | `clip`      | f64      |                                               | `None`: no clip    |
///
/// The angle is rounded to f32, because that rounding is part of the published operator. Then the
/// cosine, the sine, each of the four products, and each sum are rounded by `rounding`. Clipping
/// is exact where `clip` is representable, and a NaN stays a NaN. Zero tokens give empty results.
///
/// # Errors
///
/// `Shape` if `qkv` does not match, `Value` if `clip` is negative or NaN.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxAttention.forward` (clip before the split and
/// before the rotation, values too) and `apply_rotary_pos_emb` (`rotate_half`).
pub fn rope(
    qkv: &[impl Real],
    positions: &[i32],
    inv_freq: &[f32],
    q_heads: usize,
    kv_heads: usize,
    clip: Option<f64>,
    rounding: Rounding,
) -> Result<Rotated> {
    let half = inv_freq.len();
    rotate_pairs(qkv, positions, inv_freq, (q_heads, kv_heads), clip, rounding, |i| (i, i + half))
}

/// [`rope()`] with neighbours paired: element `2 i` is rotated against `2 i + 1`.
///
/// ```text
/// out[t, head, 2 i]     = x[t, head, 2 i] cos(angle) - x[t, head, 2 i + 1] sin(angle)
/// out[t, head, 2 i + 1] = x[t, head, 2 i + 1] cos(angle) + x[t, head, 2 i] sin(angle)
/// ```
///
/// Arguments, rounding and errors are those of [`rope()`]. DBRX pairs halves; this form is for
/// models that were trained with neighbours paired.
///
/// # Errors
///
/// As [`rope()`].
///
/// Source: RoFormer (arXiv:2104.09864), equation 34.
pub fn rope_interleaved(
    qkv: &[impl Real],
    positions: &[i32],
    inv_freq: &[f32],
    q_heads: usize,
    kv_heads: usize,
    clip: Option<f64>,
    rounding: Rounding,
) -> Result<Rotated> {
    let heads = (q_heads, kv_heads);
    rotate_pairs(qkv, positions, inv_freq, heads, clip, rounding, |i| (2 * i, 2 * i + 1))
}

/// Rotates the elements that `pair` names for each `i < head_dim / 2`.
fn rotate_pairs(
    qkv: &[impl Real],
    positions: &[i32],
    inv_freq: &[f32],
    (q_heads, kv_heads): (usize, usize),
    clip: Option<f64>,
    rounding: Rounding,
    pair: impl Fn(usize) -> (usize, usize),
) -> Result<Rotated> {
    let tokens = positions.len();
    let half = inv_freq.len();
    let head_dim = 2 * half;
    let heads = q_heads.saturating_add(kv_heads.saturating_mul(2));
    check_shape("rope", "qkv", qkv.len(), &[tokens, heads, head_dim])?;
    if let Some(clip) = clip.filter(|clip| clip.is_nan() || *clip < 0.0) {
        return Err(Error::value("rope", "clip", clip, "at least 0"));
    }

    let (mut q, mut k, mut v) = (Vec::new(), Vec::new(), Vec::new());
    if qkv.is_empty() {
        return Ok(Rotated { q, k, v });
    }
    for token in 0..tokens {
        let rotation: Vec<(f64, f64)> = inv_freq
            .iter()
            .map(|inv_freq| {
                let angle = f64::from(positions[token] as f32 * inv_freq);
                (rounding.round(angle.cos()), rounding.round(angle.sin()))
            })
            .collect();
        for head in 0..heads {
            let mut x: Vec<f64> = qkv[(token * heads + head) * head_dim..][..head_dim]
                .iter()
                .map(|&x| x.into())
                .map(|x| clip.map_or(x, |clip| x.clamp(-clip, clip)))
                .collect();
            if head < q_heads + kv_heads {
                for (i, &(cos, sin)) in rotation.iter().enumerate() {
                    let (low, high) = pair(i);
                    let (a, b) = (x[low], x[high]);
                    x[low] = rounding.round(rounding.round(a * cos) - rounding.round(b * sin));
                    x[high] = rounding.round(rounding.round(b * cos) + rounding.round(a * sin));
                }
            }
            let out = match head {
                _ if head < q_heads => &mut q,
                _ if head < q_heads + kv_heads => &mut k,
                _ => &mut v,
            };
            out.extend(x);
        }
    }
    Ok(Rotated { q, k, v })
}

/// Writes key or value rows into the cache slots of their tokens.
///
/// ```text
/// cache[slot / page_size, slot % page_size, :, :] = rows[t, :, :]   with slot = slot_mapping[t]
/// ```
///
/// | argument       | dtype | shape                                       | note                   |
/// |----------------|-------|---------------------------------------------|------------------------|
/// | `rows`         | any   | `[tokens, kv_heads, head_dim]`              |                        |
/// | `slot_mapping` | i64   | `[tokens]`                                  | -1 skips the token     |
/// | `cache`        | any   | `[pages, page_size, kv_heads, head_dim]`    | strided by `layout`    |
///
/// Nothing is rounded. If two tokens name one slot, the later wins. On error the cache is
/// unchanged.
///
/// # Errors
///
/// `Shape` if `rows` does not match or `cache` is shorter than its layout, `Value` if a slot is
/// neither -1 nor in the cache.
///
/// Source: the slot mapping of paged attention (arXiv:2309.06180, section 4.2).
pub fn append<T: Copy>(
    rows: &[T],
    slot_mapping: &[i64],
    cache: &mut [T],
    layout: &CacheLayout,
) -> Result<()> {
    let (kv_heads, head_dim) = (layout.kv_heads, layout.head_dim);
    check_shape("append", "rows", rows.len(), &[slot_mapping.len(), kv_heads, head_dim])?;
    let elements = layout.elements("append")?;
    if cache.len() < elements {
        let (found, expected) = (vec![cache.len()], vec![elements]);
        return Err(Error::Shape { operator: "append", argument: "cache", found, expected });
    }
    let slots = layout.slots();
    for (token, &slot) in slot_mapping.iter().enumerate() {
        if slot != -1 && usize::try_from(slot).ok().is_none_or(|slot| slot >= slots) {
            let (argument, expected) =
                (format!("slot_mapping[{token}]"), format!("-1 or less than {slots}"));
            return Err(Error::value("append", argument, slot, expected));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    for (token, &slot) in slot_mapping.iter().enumerate() {
        let Ok(slot) = usize::try_from(slot) else { continue };
        for head in 0..kv_heads {
            let row = &rows[(token * kv_heads + head) * head_dim..][..head_dim];
            let to = layout.offset(slot / layout.page_size, slot % layout.page_size, head);
            cache[to..][..head_dim].copy_from_slice(row);
        }
    }
    Ok(())
}
