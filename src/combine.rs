//! Combine: the sum of a token's expert outputs, and the residual.

use crate::driver::{DeviceInfo, Geometry};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{COMBINE_MAX_HIDDEN, COMBINE_MAX_TOP_K, COMBINE_THREADS, CombineParams};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};

/// One entry for each dtype: bf16, f16, f32.
pub(crate) const ENTRIES: [&str; 3] = ["combine_bf16", "combine_f16", "combine_f32"];

/// What is added to the expert outputs, and where the sum goes.
#[derive(Debug)]
pub enum CombineOut<'a> {
    /// Nothing is added.
    Sum(TensorMut<'a>),
    /// The first tensor is added; the sum is written to the second.
    Add(Tensor<'a>, TensorMut<'a>),
    /// It is added, and the sum replaces it.
    Update(TensorMut<'a>),
}

/// The arguments of [`combine`](crate::combine()).
#[derive(Debug)]
pub struct Combine<'a> {
    /// `[expert_rows, hidden]`.
    pub expert_out: Tensor<'a>,
    /// `[tokens, top_k]`, i32.
    pub rows: Tensor<'a>,
    /// `[tokens, hidden]`, each of them.
    pub out: CombineOut<'a>,
}

/// The geometry for `tokens` rows of `vectors` vectors of 16 bytes, and the logarithm of a row's
/// threads.
///
/// A row is spread as far as it goes, so that few tokens use many multiprocessors. Sixteen blocks for
/// each fill the machine twice; with more rows the blocks go on to others. No result depends on it.
pub(crate) fn plan(tokens: u32, vectors: u32, multiprocessors: u32) -> (Geometry, u32) {
    // The slots of a token are handed around among 16 lanes.
    const { assert!(COMBINE_MAX_TOP_K <= 16) };
    let lanes = vectors.clamp(16, COMBINE_THREADS).next_power_of_two();
    let groups = tokens.div_ceil(COMBINE_THREADS / lanes);
    let grid = [groups.min(multiprocessors.saturating_mul(16)), vectors.div_ceil(lanes), 1];
    (Geometry { grid, threads: COMBINE_THREADS, shared_bytes: 0, cluster_blocks: 1 }, lanes.ilog2())
}

/// Checks the arguments against each other and the kernels; `None` if there is nothing to do.
fn prepare(
    arguments: &Combine<'_>,
    device: &DeviceInfo,
) -> Result<Option<(CombineParams, Geometry)>> {
    let (expert_out, rows) = (&arguments.expert_out.layout, &arguments.rows.layout);
    let (residual, out): (Option<&Layout>, &Layout) = match &arguments.out {
        CombineOut::Sum(out) => (None, &out.layout),
        CombineOut::Add(residual, out) => (Some(&residual.layout), &out.layout),
        CombineOut::Update(out) => (Some(&out.layout), &out.layout),
    };
    let [expert_rows, hidden] = *expert_out.shape else {
        let found = format!("{:?}", &*expert_out.shape);
        let expected = "of shape [expert_rows, hidden]";
        return Err(Error::value("combine", "expert_out", found, expected));
    };
    let [tokens, top_k] = *rows.shape else {
        let found = format!("{:?}", &*rows.shape);
        return Err(Error::value("combine", "rows", found, "of shape [tokens, top_k]"));
    };
    let identity = (device.platform, device.ordinal);
    let dtype = expert_out.dtype;
    for (argument, layout, dtype, shape) in [
        ("expert_out", Some(expert_out), dtype, [expert_rows, hidden]),
        ("rows", Some(rows), Dtype::I32, [tokens, top_k]),
        ("residual", residual, dtype, [tokens, hidden]),
        ("out", Some(out), dtype, [tokens, hidden]),
    ] {
        let Some(layout) = layout else { continue };
        layout.check_device("combine", argument, identity)?;
        layout.check_shape("combine", argument, &shape)?;
        layout.check_dtype("combine", argument, dtype)?;
    }

    let (max_hidden, max_top_k) = (u64::from(COMBINE_MAX_HIDDEN), u64::from(COMBINE_MAX_TOP_K));
    if !(8..=max_hidden).contains(&hidden) || !hidden.is_multiple_of(8) {
        let supported = format!("multiples of 8 from 8 to {max_hidden}");
        return Err(Error::unsupported("combine", format!("hidden {hidden}"), supported));
    }
    if !(1..=max_top_k).contains(&top_k) {
        let supported = format!("1 to {max_top_k}");
        return Err(Error::unsupported("combine", format!("top_k {top_k}"), supported));
    }
    let Ok(token_count) = u32::try_from(tokens) else {
        return Err(Error::unsupported("combine", format!("{tokens} tokens"), "less than 2^32"));
    };
    if tokens == 0 {
        return Ok(None);
    }
    expert_out.check_vectors("combine", "expert_out")?;
    out.check_vectors("combine", "out")?;
    residual.map_or(Ok(()), |residual| residual.check_vectors("combine", "residual"))?;
    rows.check_dense("combine", "rows")?;

    let vectors = hidden as u32 / (16 / dtype.bytes() as u32);
    let (geometry, lane_bits) = plan(token_count, vectors, device.multiprocessors);
    let params = CombineParams {
        expert_out: expert_out.address as usize as *const _,
        residual: residual.map_or(0, |residual| residual.address as usize) as *const _,
        rows: rows.address as usize as *const _,
        out: out.address as usize as *mut _,
        expert_out_stride: expert_out.strides[0],
        residual_stride: residual.map_or(0, |residual| residual.strides[0]),
        out_stride: out.strides[0],
        tokens: token_count,
        // No row of i32 names one beyond.
        expert_rows: expert_rows.min(1 << 31) as u32,
        hidden: hidden as u32,
        top_k: top_k as u32,
        lane_bits,
        reserved: 0,
    };
    Ok(Some((params, geometry)))
}

/// What a call checks, without the call.
pub(crate) fn check(arguments: &Combine<'_>, device: &DeviceInfo) -> Result<()> {
    crate::norm::entry("combine", &ENTRIES, arguments.expert_out.dtype())?;
    prepare(arguments, device).map(drop)
}

/// Adds each token's expert outputs in the order of its slots, then the residual.
///
/// ```text
/// out[t, :] = expert_out[rows[t, 0], :] + expert_out[rows[t, 1], :] + ... + residual[t, :]
/// ```
///
/// | argument     | dtype           | shape                   | note                                      |
/// |--------------|-----------------|-------------------------|-------------------------------------------|
/// | `expert_out` | bf16, f16, f32  | `[expert_rows, hidden]` | weighted; `hidden` a multiple of 8 up to 65536 |
/// | `rows`       | i32             | `[tokens, top_k]`       | of [`dispatch`](crate::dispatch()); `top_k` from 1 to 16 |
/// | `residual`   | as `expert_out` | `[tokens, hidden]`      | none, added, or added in place            |
/// | `out`        | as `expert_out` | `[tokens, hidden]`      |                                           |
///
/// A row outside `0..expert_rows`, such as -1, adds nothing. Sums are f32; the result is rounded once and
/// written once. A single term is copied bit for bit, so that a token without rows keeps its residual,
/// and `top_k` 1 without a residual gathers rows; without any term the result is 0. Addresses are
/// multiples of 16 bytes, strides of 8 elements; `rows` is dense. No result depends on other tokens. Zero
/// tokens launch nothing.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The outputs are unchanged in each case.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxExperts.forward` and `DbrxBlock`; there the order is
/// by expert.
pub fn combine(stream: &Stream, arguments: &Combine<'_>) -> Result<()> {
    let entry = crate::norm::entry("combine", &ENTRIES, arguments.expert_out.dtype())?;
    let Some((params, geometry)) = prepare(arguments, stream.device().info())? else {
        return Ok(());
    };
    // SAFETY: `prepare` checked every extent against its tensor; the kernel reads no row outside
    // `expert_out`. The output is borrowed mutably, so nothing else is given it unless ordered by
    // the stream; all stay allocated until the launch is done: a buffer's free waits for the
    // device, and owners of raw tensors vouch for theirs.
    unsafe { stream.launch(entry, &geometry, &params) }
}
