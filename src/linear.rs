//! A dense layer: the product with a weight, clamped, and the residual.

use crate::driver::{DeviceInfo, Driver, Geometry, Matrix};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{LINEAR_SM90_CHUNK_TOKENS, LinearParams, LinearSm90Params, TensorMap};
use crate::linear_plan::{self, Boxes, Extents, Plan};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};

/// How a weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// `[out_features, in_features]`, as PyTorch's `Linear` stores it.
    OutIn,
    /// `[in_features, out_features]`.
    InOut,
}

/// What is added to the product, and where the sum goes.
#[derive(Debug)]
pub enum LinearOut<'a> {
    /// Nothing is added.
    Product(TensorMut<'a>),
    /// The first tensor is added; the sum is written to the second.
    Add(Tensor<'a>, TensorMut<'a>),
    /// It is added, and the sum replaces it.
    Update(TensorMut<'a>),
}

/// The arguments of [`linear`](crate::linear()).
#[derive(Debug)]
pub struct Linear<'a> {
    /// `[tokens, in_features]`.
    pub x: Tensor<'a>,
    /// Of the shape that the layout says.
    pub weight: Tensor<'a>,
    /// How the weight lies.
    pub layout: WeightLayout,
    /// The product's elements are clamped to `-clamp..clamp` before the residual is added.
    pub clamp: Option<f32>,
    /// `[tokens, out_features]`, each of them.
    pub out: LinearOut<'a>,
}

/// A launch with its parameters, but for the maps.
struct Call {
    entry: &'static str,
    plan: Plan,
    params: LinearParams,
    dtype: Dtype,
    out_dtype: Dtype,
}

/// Checks the arguments against each other and the kernels; `None` if there is nothing to do.
fn prepare(arguments: &Linear<'_>, device: &DeviceInfo) -> Result<Option<Call>> {
    let (x, weight) = (&arguments.x.layout, &arguments.weight.layout);
    let (residual, out): (Option<&Layout>, &Layout) = match &arguments.out {
        LinearOut::Product(out) => (None, &out.layout),
        LinearOut::Add(residual, out) => (Some(&residual.layout), &out.layout),
        LinearOut::Update(out) => (Some(&out.layout), &out.layout),
    };
    let [tokens, in_features] = *x.shape else {
        let found = format!("{:?}", &*x.shape);
        return Err(Error::value("linear", "x", found, "of shape [tokens, in_features]"));
    };
    let is_nn = arguments.layout == WeightLayout::InOut;
    let out_features = match *weight.shape {
        [out_features, _] if !is_nn => out_features,
        [_, out_features] if is_nn => out_features,
        _ => {
            let expected =
                if is_nn { "[in_features, out_features]" } else { "[out_features, in_features]" };
            let found = format!("{:?}", &*weight.shape);
            return Err(Error::value("linear", "weight", found, format!("of shape {expected}")));
        }
    };
    let weight_shape =
        if is_nn { [in_features, out_features] } else { [out_features, in_features] };
    let dtype = x.dtype;
    let identity = (device.platform, device.ordinal);
    for (argument, layout, dtype, shape) in [
        ("x", Some(x), dtype, [tokens, in_features]),
        ("weight", Some(weight), dtype, weight_shape),
        ("residual", residual, out.dtype, [tokens, out_features]),
        ("out", Some(out), out.dtype, [tokens, out_features]),
    ] {
        let Some(layout) = layout else { continue };
        layout.check_device("linear", argument, identity)?;
        layout.check_shape("linear", argument, &shape)?;
        layout.check_dtype("linear", argument, dtype)?;
    }
    let entry = entry(dtype, out.dtype, is_nn)?;

    let clamp = arguments.clamp.unwrap_or(f32::INFINITY);
    if clamp.is_nan() || clamp <= 0.0 {
        return Err(Error::value("linear", "clamp", clamp, "a positive number"));
    }
    for (name, extent) in [("in_features", in_features), ("out_features", out_features)] {
        if extent == 0 || !extent.is_multiple_of(8) || extent >= 1 << 31 {
            let supported = "multiples of 8 from 8 to 2^31 - 8";
            return Err(Error::unsupported("linear", format!("{name} {extent}"), supported));
        }
    }
    if tokens >= 1 << 31 {
        return Err(Error::unsupported("linear", format!("{tokens} tokens"), "less than 2^31"));
    }
    let extents = Extents {
        tokens: tokens as u32,
        in_features: in_features as u32,
        out_features: out_features as u32,
        is_nn,
    };
    // A device without a kernel refuses every call, not only those that have work.
    let sample = Extents { tokens: extents.tokens.max(1), ..extents };
    let Some(plan) = linear_plan::plan(sample, device) else {
        let found = format!("a device of images {}", device.images);
        return Err(Error::unsupported(
            "linear",
            found,
            "those of sm_80, sm_89, sm_90a, gfx90a, gfx942, gfx950",
        ));
    };
    if tokens == 0 {
        return Ok(None);
    }
    let blocks = plan.tiles(extents);
    if plan.boxes.is_none() && blocks >= device.platform.grid_end(plan.geometry.threads) {
        let supported = format!("less than {}", device.platform.grid_end(plan.geometry.threads));
        return Err(Error::unsupported("linear", format!("{blocks} tiles"), supported));
    }
    for (argument, layout) in
        [("x", Some(x)), ("weight", Some(weight)), ("residual", residual), ("out", Some(out))]
    {
        layout.map_or(Ok(()), |layout| layout.check_vectors("linear", argument))?;
    }
    let params = LinearParams {
        x: x.address as usize as *const _,
        weight: weight.address as usize as *const _,
        residual: residual.map_or(0, |residual| residual.address as usize) as *const _,
        out: out.address as usize as *mut _,
        x_stride: x.strides[0],
        weight_stride: weight.strides[0],
        residual_stride: residual.map_or(0, |residual| residual.strides[0]),
        out_stride: out.strides[0],
        tokens: extents.tokens,
        in_features: extents.in_features,
        out_features: extents.out_features,
        clamp,
        tile_tokens: plan.tile_tokens,
        tile_features: plan.tile_features,
        panel: plan.panel,
        xcds: plan.xcds,
    };
    let entry = plan.source.entries[entry];
    Ok(Some(Call { entry, plan, params, dtype, out_dtype: out.dtype }))
}

/// The place among a source's entries.
fn entry(dtype: Dtype, out: Dtype, is_nn: bool) -> Result<usize> {
    let first = match dtype {
        Dtype::Bf16 => 0,
        Dtype::F16 => 4,
        other => return Err(Error::unsupported("linear", format!("x of {other}"), "bf16 and f16")),
    };
    let widened = match out {
        Dtype::F32 => 2,
        out if out == dtype => 0,
        other => {
            let supported = format!("{dtype} and f32, for x of {dtype}");
            return Err(Error::unsupported("linear", format!("out of {other}"), supported));
        }
    };
    Ok(first + widened + usize::from(is_nn))
}

impl Call {
    /// The parameters of a kernel that copies boxes.
    fn with_maps(&self, boxes: Boxes, driver: &dyn Driver) -> Result<LinearSm90Params> {
        let p = &self.params;
        let is_nn = self.entry.contains("_nn");
        let (k, features) = (u64::from(p.in_features), u64::from(p.out_features));
        let (rows, columns) = if is_nn { (k, features) } else { (features, k) };
        let tokens = u64::from(p.tokens);
        let map = |address: u64, rows, columns, stride, box_rows| {
            let dtype = self.dtype;
            // One row has no stride; what the caller gave for it means nothing.
            let stride = if rows == 1 { columns } else { stride };
            driver.tensor_map(&Matrix {
                address,
                dtype,
                rows,
                columns,
                stride,
                box_rows,
                experts: None,
            })
        };
        let none = TensorMap { words: [0; 16] };
        let [mut residual_map, mut out_map] = [none; 2];
        if boxes.copies_out && self.out_dtype != Dtype::F32 {
            let box_rows = LINEAR_SM90_CHUNK_TOKENS;
            out_map = map(p.out as u64, tokens, features, p.out_stride, box_rows)?;
            if !p.residual.is_null() {
                residual_map =
                    map(p.residual as u64, tokens, features, p.residual_stride, box_rows)?;
            }
        }
        Ok(LinearSm90Params {
            common: *p,
            x_map: map(p.x as u64, tokens, k, p.x_stride, boxes.x)?,
            weight_map: map(p.weight as u64, rows, columns, p.weight_stride, boxes.weight)?,
            residual_map,
            out_map,
        })
    }
}

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check(arguments: &Linear<'_>, device: &DeviceInfo) -> Result<()> {
    prepare(arguments, device).map(drop)
}

/// Multiplies each row by a weight, clamps, and adds the residual.
///
/// ```text
/// out[t, n] = clamp(sum over k of x[t, k] * weight[n, k]) + residual[t, n]
/// ```
///
/// | argument   | dtype          | shape                                                      | note                             |
/// |------------|----------------|------------------------------------------------------------|----------------------------------|
/// | `x`        | bf16, f16      | `[tokens, in_features]`                                    |                                  |
/// | `weight`   | as `x`         | `[out_features, in_features]` or `[in_features, out_features]` | by `layout`                  |
/// | `clamp`    | f32            |                                                            | none, or positive                |
/// | `residual` | as `out`       | `[tokens, out_features]`                                   | none, added, or added in place   |
/// | `out`      | as `x`, or f32 | `[tokens, out_features]`                                   |                                  |
///
/// Products are exact, sums f32 by the chip's matrix instruction with k ascending; clamp and residual are f32;
/// the result is rounded once. Both feature counts are multiples of 8; addresses are multiples of 16 bytes,
/// strides of 8 elements. A row's bits do not depend on other rows, nor on how many there are. Zero tokens
/// launch nothing.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The outputs are unchanged in each case.
///
/// Source: databricks/dbrx `modeling_dbrx.py`: `Wqkv` with `clip_qkv`, `out_proj` and `lm_head`.
pub fn linear(stream: &Stream, arguments: &Linear<'_>) -> Result<()> {
    let device = stream.device();
    let Some(call) = prepare(arguments, device.info())? else {
        return Ok(());
    };
    let geometry: &Geometry = &call.plan.geometry;
    // Both launches: `prepare` checked every extent against its tensor, and the maps are of the same
    // extents; the kernels read and write nothing outside. The output is borrowed mutably, so nothing else
    // is given it unless ordered by the stream; all stay allocated until the launch is done: a buffer's free
    // waits for the device, and owners of raw tensors vouch for theirs.
    match call.plan.boxes {
        // SAFETY: as said above.
        None => unsafe { stream.launch(call.entry, geometry, &call.params) },
        Some(boxes) => {
            let params = call.with_maps(boxes, device.driver())?;
            // SAFETY: as said above.
            unsafe { stream.launch(call.entry, geometry, &params) }
        }
    }
}
