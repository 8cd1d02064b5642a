//! What `layer_norm` and `rms_norm` share: their arguments, their plan, their launch.

use crate::driver::{DeviceInfo, Geometry};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{NORM_ELEMENTS_PER_THREAD, NORM_MAX_HIDDEN, NORM_MAX_THREADS, NormParams};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};

/// What is added to `x` before a norm, and where the sum goes.
#[derive(Debug)]
pub enum Residual<'a> {
    /// Nothing is added.
    None,
    /// Added; the sum is not kept.
    Add(Tensor<'a>),
    /// Added, and the sum is written to the second tensor.
    AddTo(Tensor<'a>, TensorMut<'a>),
    /// Added, and the sum replaces it.
    Update(TensorMut<'a>),
}

/// The arguments of [`layer_norm`](crate::layer_norm()) and [`rms_norm`](crate::rms_norm()).
#[derive(Debug)]
pub struct Norm<'a> {
    /// `[tokens, hidden]`.
    pub x: Tensor<'a>,
    /// `[tokens, hidden]`, each of them.
    pub residual: Residual<'a>,
    /// `[hidden]`.
    pub weight: Tensor<'a>,
    /// `[tokens, hidden]`.
    pub out: TensorMut<'a>,
    /// Added to the variance or mean square; at least 0.
    pub epsilon: f32,
}

/// The threads of the block that normalises a row, in whole waves: on a device it depends on `hidden`
/// alone, and so does the order of every sum.
fn threads(hidden: u32, wave_threads: u32) -> u32 {
    hidden.div_ceil(NORM_ELEMENTS_PER_THREAD).next_multiple_of(wave_threads)
}

/// The geometry for `tokens` rows; no blocks without tokens.
///
/// Each block goes through many rows with the weight in registers. Two blocks for each
/// multiprocessor keep enough loads in flight, since a block asks for its next row before it
/// reduces the current one; more would read the weight more often.
pub(crate) fn plan(tokens: u32, hidden: u32, multiprocessors: u32, wave_threads: u32) -> Geometry {
    const { assert!(NORM_MAX_HIDDEN <= NORM_MAX_THREADS * NORM_ELEMENTS_PER_THREAD) };
    let threads = threads(hidden, wave_threads);
    let blocks = multiprocessors.saturating_mul((1024 / threads).max(2));
    Geometry { grid: [tokens.min(blocks), 1, 1], threads, shared_bytes: 0, cluster_blocks: 1 }
}

/// One entry for each dtype: bf16, f16, f32.
pub(crate) fn entry(
    operator: &'static str,
    entries: &[&'static str; 3],
    dtype: Dtype,
) -> Result<&'static str> {
    match dtype {
        Dtype::Bf16 => Ok(entries[0]),
        Dtype::F16 => Ok(entries[1]),
        Dtype::F32 => Ok(entries[2]),
        other => Err(Error::unsupported(operator, format!("dtype {other}"), "bf16, f16 and f32")),
    }
}

/// Checks the arguments against each other and the kernels; `None` if there is nothing to do.
fn prepare(
    operator: &'static str,
    arguments: &Norm<'_>,
    device: &DeviceInfo,
) -> Result<Option<(NormParams, Geometry)>> {
    let x = &arguments.x.layout;
    let [tokens, hidden] = *x.shape else {
        let found = format!("{:?}", &*x.shape);
        return Err(Error::value(operator, "x", found, "of shape [tokens, hidden]"));
    };
    let (residual, sum): (Option<&Layout>, Option<&Layout>) = match &arguments.residual {
        Residual::None => (None, None),
        Residual::Add(residual) => (Some(&residual.layout), None),
        Residual::AddTo(residual, sum) => (Some(&residual.layout), Some(&sum.layout)),
        Residual::Update(residual) => (Some(&residual.layout), Some(&residual.layout)),
    };
    let out = &arguments.out.layout;
    let weight = &arguments.weight.layout;
    let identity = (device.platform, device.ordinal);
    x.check_device(operator, "x", identity)?;
    for (argument, layout) in [("residual", residual), ("sum", sum), ("out", Some(out))] {
        let Some(layout) = layout else { continue };
        layout.check_device(operator, argument, identity)?;
        layout.check_shape(operator, argument, &[tokens, hidden])?;
        layout.check_dtype(operator, argument, x.dtype)?;
    }
    weight.check_device(operator, "weight", identity)?;
    weight.check_shape(operator, "weight", &[hidden])?;
    weight.check_dtype(operator, "weight", x.dtype)?;
    if arguments.epsilon.is_nan() || arguments.epsilon < 0.0 {
        return Err(Error::value(operator, "epsilon", arguments.epsilon, "at least 0"));
    }

    let max = u64::from(NORM_MAX_HIDDEN);
    if !(8..=max).contains(&hidden) || !hidden.is_multiple_of(8) {
        let supported = format!("multiples of 8 from 8 to {max}");
        return Err(Error::unsupported(operator, format!("hidden {hidden}"), supported));
    }
    let Ok(rows) = u32::try_from(tokens) else {
        return Err(Error::unsupported(operator, format!("{tokens} tokens"), "less than 2^32"));
    };
    if rows == 0 {
        return Ok(None);
    }
    x.check_vectors(operator, "x")?;
    weight.check_vectors(operator, "weight")?;
    out.check_vectors(operator, "out")?;
    for (argument, layout) in [("residual", residual), ("sum", sum)] {
        layout.map_or(Ok(()), |layout| layout.check_vectors(operator, argument))?;
    }

    let address = |layout: Option<&Layout>| layout.map_or(0, |layout| layout.address as usize);
    let stride = |layout: Option<&Layout>| layout.map_or(0, |layout| layout.strides[0]);
    let params = NormParams {
        x: x.address as usize as *const _,
        residual: address(residual) as *const _,
        weight: weight.address as usize as *const _,
        out: out.address as usize as *mut _,
        sum: address(sum) as *mut _,
        x_stride: x.strides[0],
        residual_stride: stride(residual),
        out_stride: out.strides[0],
        sum_stride: stride(sum),
        tokens: rows,
        hidden: hidden as u32,
        epsilon: arguments.epsilon,
        reserved: 0,
    };
    let geometry = plan(rows, hidden as u32, device.multiprocessors, device.wave_threads);
    Ok(Some((params, geometry)))
}

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check(
    operator: &'static str,
    entries: &[&'static str; 3],
    arguments: &Norm<'_>,
    device: &DeviceInfo,
) -> Result<()> {
    entry(operator, entries, arguments.x.dtype())?;
    prepare(operator, arguments, device).map(drop)
}

/// Checks, plans and launches.
pub(crate) fn norm(
    operator: &'static str,
    entries: &[&'static str; 3],
    stream: &Stream,
    arguments: &Norm<'_>,
) -> Result<()> {
    let entry = entry(operator, entries, arguments.x.dtype())?;
    let Some((params, geometry)) = prepare(operator, arguments, stream.device().info())? else {
        return Ok(());
    };
    // SAFETY: every pointer covers `tokens` rows of `hidden` elements at its stride (`weight` one
    // row), as its tensor states and `prepare` checked. `out` and `sum` are borrowed mutably, so
    // nothing else is given them unless ordered by the stream; all stay allocated until the launch
    // is done: a buffer's free waits for the device, and owners of raw tensors vouch for theirs.
    unsafe { stream.launch(entry, &geometry, &params) }
}
