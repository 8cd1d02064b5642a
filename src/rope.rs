//! Clip, rotate, and append keys and values to the cache (rotary position embedding).

use crate::driver::{DeviceInfo, Geometry};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{ROPE_MAX_HEAD_DIM, ROPE_THREADS, RopeParams};
use crate::stream::Stream;
use crate::tensor::{Tensor, TensorMut};

/// Entries for bf16, f16 and f32.
const HALVES: [&str; 3] = ["rope_bf16", "rope_f16", "rope_f32"];
const INTERLEAVED: [&str; 3] =
    ["rope_bf16_interleaved", "rope_f16_interleaved", "rope_f32_interleaved"];

/// Every entry of the image.
pub(crate) const ENTRIES: [&str; 6] =
    [HALVES[0], HALVES[1], HALVES[2], INTERLEAVED[0], INTERLEAVED[1], INTERLEAVED[2]];

/// Which elements of a head are rotated against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairing {
    /// `i` and `i + head_dim / 2`, as in DBRX and GPT-NeoX.
    #[default]
    Halves,
    /// `2 i` and `2 i + 1`, as in the RoFormer paper and GPT-J.
    Interleaved,
}

/// The arguments of [`rope`](crate::rope()).
#[derive(Debug)]
pub struct Rope<'a> {
    /// `[tokens, q_heads + 2 kv_heads, head_dim]`: Q, then K, then V. Q is rotated in place.
    pub qkv: TensorMut<'a>,
    /// `[tokens]`, i32.
    pub positions: Tensor<'a>,
    /// `[head_dim / 2]`, f32.
    pub inv_freq: Tensor<'a>,
    /// `[pages, page_size, kv_heads, head_dim]`.
    pub k_cache: TensorMut<'a>,
    /// `[pages, page_size, kv_heads, head_dim]`.
    pub v_cache: TensorMut<'a>,
    /// `[tokens]`, i64: `page * page_size + position in the page`.
    pub slot_mapping: Tensor<'a>,
    /// Clips Q, K and V to `-clip..clip`.
    pub clip: Option<f32>,
    /// Which elements are pairs.
    pub pairing: Pairing,
}

/// The geometry for `tokens` rows of `heads`; no blocks without either.
///
/// A block computes a token's sines and cosines once and rotates `heads_per_block` heads with them.
/// With few tokens the heads are spread over more blocks, so that every multiprocessor has one; no
/// result depends on it.
pub(crate) fn plan(
    dtype: Dtype,
    tokens: u32,
    heads: u32,
    head_dim: u32,
    multiprocessors: u32,
) -> (Geometry, u32) {
    let half = head_dim / 2;
    // The elements of each half that a thread takes at a time, as the kernel chooses them.
    let width = if dtype.bytes() == 2 && half.is_multiple_of(8) { 8 } else { 4 };
    let at_once = (ROPE_THREADS / (half / width)).max(1);
    let few =
        u64::from(tokens) * u64::from(heads.div_ceil(at_once)) < 2 * u64::from(multiprocessors);
    let passes = if few { 1 } else { heads.div_ceil(at_once) };
    let heads_per_block = (at_once * passes).max(heads.div_ceil(u32::from(u16::MAX)));
    let grid = [tokens, heads.div_ceil(heads_per_block), 1];
    (Geometry { grid, threads: ROPE_THREADS, shared_bytes: 0, cluster_blocks: 1 }, heads_per_block)
}

fn entry(dtype: Dtype, pairing: Pairing) -> Result<&'static str> {
    let entries = match pairing {
        Pairing::Halves => &HALVES,
        Pairing::Interleaved => &INTERLEAVED,
    };
    crate::norm::entry("rope", entries, dtype)
}

/// Checks the arguments against each other and the kernels; `None` if there is nothing to do.
fn prepare(arguments: &Rope<'_>, device: &DeviceInfo) -> Result<Option<(RopeParams, Geometry)>> {
    let (qkv, k_cache) = (&arguments.qkv.layout, &arguments.k_cache.layout);
    let v_cache = &arguments.v_cache.layout;
    let [tokens, heads, head_dim] = *qkv.shape else {
        let (found, expected) =
            (format!("{:?}", &*qkv.shape), "of shape [tokens, q_heads + 2 kv_heads, head_dim]");
        return Err(Error::value("rope", "qkv", found, expected));
    };
    let [pages, page_size, kv_heads, _] = *k_cache.shape else {
        let (found, expected) =
            (format!("{:?}", &*k_cache.shape), "of shape [pages, page_size, kv_heads, head_dim]");
        return Err(Error::value("rope", "k_cache", found, expected));
    };
    let identity = (device.platform, device.ordinal);
    let (positions, inv_freq) = (&arguments.positions.layout, &arguments.inv_freq.layout);
    let slot_mapping = &arguments.slot_mapping.layout;
    let cache = [pages, page_size, kv_heads, head_dim];
    for (argument, layout, dtype, shape) in [
        ("qkv", qkv, qkv.dtype, &[tokens, heads, head_dim][..]),
        ("positions", positions, Dtype::I32, &[tokens]),
        ("inv_freq", inv_freq, Dtype::F32, &[head_dim / 2]),
        ("k_cache", k_cache, qkv.dtype, &cache),
        ("v_cache", v_cache, qkv.dtype, &cache),
        ("slot_mapping", slot_mapping, Dtype::I64, &[tokens]),
    ] {
        layout.check_device("rope", argument, identity)?;
        layout.check_shape("rope", argument, shape)?;
        layout.check_dtype("rope", argument, dtype)?;
    }
    let q_heads = kv_heads.checked_mul(2).and_then(|both| heads.checked_sub(both));
    let Some(q_heads) = q_heads else {
        let expected = format!("at least 2 * {kv_heads} heads of keys and values");
        return Err(Error::value("rope", "qkv", format!("of {heads} heads"), expected));
    };
    let clip = arguments.clip.unwrap_or(f32::INFINITY);
    if clip.is_nan() || clip < 0.0 {
        return Err(Error::value("rope", "clip", clip, "at least 0"));
    }

    let max = u64::from(ROPE_MAX_HEAD_DIM);
    if !(16..=max).contains(&head_dim) || !head_dim.is_multiple_of(8) {
        let supported = format!("multiples of 8 from 16 to {max}");
        return Err(Error::unsupported("rope", format!("head_dim {head_dim}"), supported));
    }
    let limit = |argument, extent: u64, bound: u64| {
        u32::try_from(extent).ok().filter(|_| extent < bound).ok_or_else(|| {
            let supported = format!("less than {bound}");
            Error::unsupported("rope", format!("{argument} {extent}"), supported)
        })
    };
    // A token's blocks are one column of the grid.
    let tokens = limit("tokens", tokens, device.platform.grid_end(ROPE_THREADS))?;
    let heads = limit("heads", heads, 1 << 24)?;
    let page_size = limit("page_size", page_size, 1 << 31)?;
    if tokens == 0 || heads == 0 {
        return Ok(None);
    }
    qkv.check_vectors("rope", "qkv")?;
    if heads > 1 && qkv.strides[1] != head_dim {
        let found = format!("of strides {:?}", &*qkv.strides);
        return Err(Error::value("rope", "qkv", found, "heads that follow each other"));
    }
    k_cache.check_vectors("rope", "k_cache")?;
    v_cache.check_vectors("rope", "v_cache")?;
    positions.check_dense("rope", "positions")?;
    slot_mapping.check_dense("rope", "slot_mapping")?;
    inv_freq.check_vectors("rope", "inv_freq")?;

    let (geometry, heads_per_block) =
        plan(qkv.dtype, tokens, heads, head_dim as u32, device.multiprocessors);
    let params = RopeParams {
        qkv: qkv.address as usize as *mut _,
        k_cache: k_cache.address as usize as *mut _,
        v_cache: v_cache.address as usize as *mut _,
        positions: positions.address as usize as *const _,
        slot_mapping: slot_mapping.address as usize as *const _,
        inv_freq: inv_freq.address as usize as *const _,
        qkv_stride: qkv.strides[0],
        k_page_stride: k_cache.strides[0],
        k_position_stride: k_cache.strides[1],
        k_head_stride: k_cache.strides[2],
        v_page_stride: v_cache.strides[0],
        v_position_stride: v_cache.strides[1],
        v_head_stride: v_cache.strides[2],
        slots: pages.saturating_mul(u64::from(page_size)),
        tokens,
        q_heads: q_heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: head_dim as u32,
        page_size,
        heads_per_block,
        clip,
        reserved: 0,
    };
    Ok(Some((params, geometry)))
}

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check(arguments: &Rope<'_>, device: &DeviceInfo) -> Result<()> {
    entry(arguments.qkv.dtype(), arguments.pairing)?;
    prepare(arguments, device).map(drop)
}

/// Clips packed rows, rotates queries in place, and appends rotated keys and clipped values to the
/// cache.
///
/// With `x = clamp(qkv, -clip, clip)`, `angle = positions[t] * inv_freq[i]` and, for
/// [`Pairing::Halves`], `low = i` and `high = i + head_dim / 2` (for [`Pairing::Interleaved`], `2 i`
/// and `2 i + 1`), for each `i < head_dim / 2`:
///
/// ```text
/// rotated[low]  = x[low]  cos(angle) - x[high] sin(angle)
/// rotated[high] = x[high] cos(angle) + x[low]  sin(angle)
///
/// qkv[t, head]             = rotated              for each query head
/// k_cache[page, place, head] = rotated            for each key head
/// v_cache[page, place, head] = x                  for each value head
///     with page = slot_mapping[t] / page_size, place = slot_mapping[t] % page_size
/// ```
///
/// | argument       | dtype          | shape                                       | note                          |
/// |----------------|----------------|---------------------------------------------|-------------------------------|
/// | `qkv`          | bf16, f16, f32 | `[tokens, q_heads + 2 kv_heads, head_dim]`  | keys and values stay as given |
/// | `positions`    | i32            | `[tokens]`                                  | up to 131071 in magnitude     |
/// | `inv_freq`     | f32            | `[head_dim / 2]`                            | DBRX: `500000^(-2i / head_dim)` |
/// | `k_cache`      | as `qkv`       | `[pages, page_size, kv_heads, head_dim]`    | any strides that are multiples of 8 |
/// | `v_cache`      | as `qkv`       | `[pages, page_size, kv_heads, head_dim]`    | the same                      |
/// | `slot_mapping` | i64            | `[tokens]`                                  | one outside the cache, such as -1, appends nothing |
/// | `clip`         | f32            |                                             | `None`: no clip; DBRX: 8      |
///
/// `head_dim` is a multiple of 8 from 16 to 256; a contiguous cache is one page per sequence.
/// Addresses are multiples of 16 bytes. The angle is rounded to f32, as in the published model; sine
/// and cosine are right to 4 ulp; products and sums are f32; each result is rounded once. A NaN
/// stays a NaN through the clip. If two tokens name one slot, which of them is kept is undefined.
/// Zero tokens launch nothing; more than 2^31 - 1, or 2^24 - 1 on AMD devices, are too many for a grid.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The outputs are unchanged in each case.
///
/// Source: RoFormer (arXiv:2104.09864), section 3.4.2; databricks/dbrx `modeling_dbrx.py`.
pub fn rope(stream: &Stream, arguments: &Rope<'_>) -> Result<()> {
    let entry = entry(arguments.qkv.dtype(), arguments.pairing)?;
    let Some((params, geometry)) = prepare(arguments, stream.device().info())? else {
        return Ok(());
    };
    // SAFETY: `prepare` checked every extent against its tensor; the kernel ignores slots outside
    // the cache. `qkv` and the caches are borrowed mutably, so nothing else is given them unless
    // ordered by the stream; all stay allocated until the launch is done: a buffer's free waits for
    // the device, and owners of raw tensors vouch for theirs.
    unsafe { stream.launch(entry, &geometry, &params) }
}
