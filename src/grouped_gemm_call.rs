//! What the two products of experts are checked for, and their launches.

use crate::driver::{DeviceInfo, Driver, Matrix, MatrixExperts};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::grouped_gemm::{Activation, Gated, GroupedDown, GroupedUp, PairWeights};
use crate::grouped_gemm_plan::{self, Boxes, Extents, Plan, Product};
use crate::kernels::{
    ACTIVATION_CLAMPED_SWIGLU, ACTIVATION_GELU_TANH, ACTIVATION_SILU, GROUPED_MAX_EXPERTS,
    GroupedGemmParams, GroupedGemmSm90Params, TensorMap,
};
use crate::linear::WeightLayout;
use crate::stream::Stream;
use crate::tensor::Layout;

/// A launch with its parameters, but for the maps.
pub(crate) struct Call {
    entry: &'static str,
    plan: Plan,
    params: GroupedGemmParams,
    dtype: Dtype,
    product: Product,
}

/// One weight of all experts: where it is, from row to row, from expert to expert.
struct Part {
    address: u64,
    stride: u64,
    expert_stride: u64,
}

/// What both products are checked for.
struct Checked<'a> {
    operator: &'static str,
    device: &'a DeviceInfo,
    dtype: Dtype,
}

impl Checked<'_> {
    fn tensor(
        &self,
        argument: &'static str,
        layout: &Layout,
        dtype: Dtype,
        shape: &[u64],
    ) -> Result<()> {
        let identity = (self.device.platform, self.device.ordinal);
        layout.check_device(self.operator, argument, identity)?;
        layout.check_shape(self.operator, argument, shape)?;
        layout.check_dtype(self.operator, argument, dtype)
    }

    /// One that kernels read or write by vectors.
    fn vectors(&self, argument: &'static str, layout: &Layout, shape: &[u64]) -> Result<()> {
        self.tensor(argument, layout, self.dtype, shape)?;
        layout.check_vectors(self.operator, argument)
    }

    fn integers(&self, argument: &'static str, layout: &Layout, count: u64) -> Result<()> {
        self.tensor(argument, layout, Dtype::I32, &[count])?;
        layout.check_dense(self.operator, argument)
    }

    /// The gate's part and the other's, of tensors whose first dimensions are `[experts, ffn_hidden]`.
    fn gated(
        &self,
        arguments: [&'static str; 3],
        gated: &Gated<'_>,
        shape: &[u64],
    ) -> Result<[Part; 2]> {
        let part = |layout: &Layout, first: u64| Part {
            address: layout.address + first * layout.strides[1] * layout.dtype.bytes(),
            stride: layout.strides[1],
            expert_stride: layout.strides[0],
        };
        match gated {
            Gated::Separate { gate, up } => {
                self.vectors(arguments[0], &gate.layout, shape)?;
                self.vectors(arguments[1], &up.layout, shape)?;
                Ok([part(&gate.layout, 0), part(&up.layout, 0)])
            }
            Gated::Packed(both) => {
                let mut whole = [0; 3];
                let whole = &mut whole[..shape.len()];
                whole.copy_from_slice(shape);
                whole[1] *= 2;
                self.vectors(arguments[2], &both.layout, whole)?;
                Ok([part(&both.layout, 0), part(&both.layout, shape[1])])
            }
        }
    }

    /// Extents that no kernel takes.
    fn extents(
        &self,
        rows: u64,
        x_rows: u64,
        experts: u64,
        features: [(&'static str, u64); 2],
    ) -> Result<()> {
        if !matches!(self.dtype, Dtype::Bf16 | Dtype::F16) {
            let found = format!("x of {}", self.dtype);
            return Err(Error::unsupported(self.operator, found, "bf16 and f16"));
        }
        if !(1..=u64::from(GROUPED_MAX_EXPERTS)).contains(&experts) {
            let supported = format!("1 to {GROUPED_MAX_EXPERTS}");
            return Err(Error::unsupported(self.operator, format!("{experts} experts"), supported));
        }
        for (name, extent) in features {
            if extent == 0 || !extent.is_multiple_of(8) || extent >= 1 << 30 {
                let supported = "multiples of 8 from 8 to 2^30 - 8";
                return Err(Error::unsupported(
                    self.operator,
                    format!("{name} {extent}"),
                    supported,
                ));
            }
        }
        for (name, extent) in [("rows", rows), ("tokens", x_rows)] {
            if extent >= 1 << 31 {
                let found = format!("{extent} {name}");
                return Err(Error::unsupported(self.operator, found, "less than 2^31"));
            }
        }
        Ok(())
    }

    fn plan(&self, extents: Extents) -> Result<Plan> {
        // A device without a kernel refuses every call, not only those that have work.
        grouped_gemm_plan::plan(extents, self.device).ok_or_else(|| {
            let found = format!("a device of images {}", self.device.images);
            let supported = "those of sm_80, sm_89, sm_90a, gfx90a, gfx942, gfx950";
            Error::unsupported(self.operator, found, supported)
        })
    }
}

fn pointer<T>(address: u64) -> *const T {
    address as usize as *const T
}

/// The extent at a place of a shape of so many dimensions.
fn extent<const RANK: usize>(
    operator: &'static str,
    argument: &'static str,
    layout: &Layout,
    expected: &str,
) -> Result<[u64; RANK]> {
    (*layout.shape).try_into().map_err(|_| {
        let found = format!("{:?}", &*layout.shape);
        Error::value(operator, argument, found, format!("of shape {expected}"))
    })
}

/// Checks the arguments against each other and the kernels; `None` if there is nothing to do.
pub(crate) fn prepare_up(arguments: &GroupedUp<'_>, device: &DeviceInfo) -> Result<Option<Call>> {
    let operator = "grouped_gemm_up";
    let (x, out) = (&arguments.x.layout, &arguments.out.layout);
    let [tokens, hidden] = extent(operator, "x", x, "[tokens, hidden]")?;
    let [rows, ffn_hidden] = extent(operator, "out", out, "[rows, ffn_hidden]")?;
    let offsets = &arguments.offsets.layout;
    let [ends] = extent(operator, "offsets", offsets, "[experts + 1]")?;
    let experts = ends.saturating_sub(1);
    let checked = Checked { operator, device, dtype: x.dtype };
    checked.extents(rows, tokens, experts, [("hidden", hidden), ("ffn_hidden", ffn_hidden)])?;
    if arguments.top_k == 0 {
        return Err(Error::value(operator, "top_k", 0, "at least 1"));
    }
    let (activation, limit, alpha) = match arguments.activation {
        Activation::Silu => (ACTIVATION_SILU, 0.0, 0.0),
        Activation::GeluTanh => (ACTIVATION_GELU_TANH, 0.0, 0.0),
        Activation::ClampedSwiglu { limit, alpha } => (ACTIVATION_CLAMPED_SWIGLU, limit, alpha),
    };
    if activation == ACTIVATION_CLAMPED_SWIGLU && (limit.is_nan() || limit <= 0.0) {
        return Err(Error::value(operator, "limit", limit, "a positive number"));
    }
    if !alpha.is_finite() {
        return Err(Error::value(operator, "alpha", alpha, "a finite number"));
    }
    checked.vectors("x", x, &[tokens, hidden])?;
    checked.integers("pairs", &arguments.pairs.layout, rows)?;
    checked.integers("offsets", offsets, ends)?;
    let names = ["gate", "up", "weights"];
    let weights = checked.gated(names, &arguments.weights, &[experts, ffn_hidden, hidden])?;
    let names = ["gate_bias", "up_bias", "biases"];
    let biases = arguments
        .biases
        .as_ref()
        .map(|biases| checked.gated(names, biases, &[experts, ffn_hidden]))
        .transpose()?;
    checked.vectors("out", out, &[rows, ffn_hidden])?;
    let product = Product::Up;
    let extents = Extents {
        rows: rows as u32,
        experts: experts as u32,
        in_features: hidden as u32,
        out_features: ffn_hidden as u32,
        product,
    };
    let plan = checked.plan(extents)?;
    if rows == 0 {
        return Ok(None);
    }
    let bias =
        |part: usize| biases.as_ref().map_or((0, 0), |b| (b[part].address, b[part].expert_stride));
    let params = GroupedGemmParams {
        x: pointer(x.address),
        weight: pointer(weights[0].address),
        up_weight: pointer(weights[1].address),
        bias: pointer(bias(0).0),
        up_bias: pointer(bias(1).0),
        pairs: pointer(arguments.pairs.layout.address),
        x_stride: x.strides[0],
        weight_stride: weights[0].stride,
        weight_expert_stride: weights[0].expert_stride,
        up_weight_stride: weights[1].stride,
        up_weight_expert_stride: weights[1].expert_stride,
        bias_stride: bias(0).1,
        up_bias_stride: bias(1).1,
        x_rows: tokens as u32,
        top_k: arguments.top_k,
        activation,
        limit,
        alpha,
        ..common(extents, &plan, offsets, out)
    };
    let entry = plan.source.entries[product.entry(x.dtype == Dtype::F16)];
    Ok(Some(Call { entry, plan, params, dtype: x.dtype, product }))
}

/// What both products say of themselves; the rest is 0.
fn common(extents: Extents, plan: &Plan, offsets: &Layout, out: &Layout) -> GroupedGemmParams {
    GroupedGemmParams {
        x: std::ptr::null(),
        weight: std::ptr::null(),
        up_weight: std::ptr::null(),
        bias: std::ptr::null(),
        up_bias: std::ptr::null(),
        offsets: pointer(offsets.address),
        pairs: std::ptr::null(),
        weights: std::ptr::null(),
        out: out.address as usize as *mut _,
        x_stride: 0,
        weight_stride: 0,
        weight_expert_stride: 0,
        up_weight_stride: 0,
        up_weight_expert_stride: 0,
        bias_stride: 0,
        up_bias_stride: 0,
        out_stride: out.strides[0],
        x_rows: 0,
        rows: extents.rows,
        pair_count: 0,
        top_k: 1,
        experts: extents.experts,
        in_features: extents.in_features,
        out_features: extents.out_features,
        tile_shift: plan.tile_shift,
        tile_features: plan.tile_features,
        panel: plan.panel,
        activation: ACTIVATION_SILU,
        limit: 0.0,
        alpha: 0.0,
        xcds: plan.xcds,
    }
}

/// As [`prepare_up`].
pub(crate) fn prepare_down(
    arguments: &GroupedDown<'_>,
    device: &DeviceInfo,
) -> Result<Option<Call>> {
    let operator = "grouped_gemm_down";
    let (x, out) = (&arguments.x.layout, &arguments.out.layout);
    let [rows, ffn_hidden] = extent(operator, "x", x, "[rows, ffn_hidden]")?;
    let [_, hidden] = extent(operator, "out", out, "[rows, hidden]")?;
    let offsets = &arguments.offsets.layout;
    let [ends] = extent(operator, "offsets", offsets, "[experts + 1]")?;
    let experts = ends.saturating_sub(1);
    let checked = Checked { operator, device, dtype: x.dtype };
    checked.extents(rows, rows, experts, [("hidden", hidden), ("ffn_hidden", ffn_hidden)])?;
    checked.vectors("x", x, &[rows, ffn_hidden])?;
    checked.integers("offsets", offsets, ends)?;
    let is_nn = arguments.layout == WeightLayout::InOut;
    let weight = &arguments.weight.layout;
    let shape = if is_nn { [experts, ffn_hidden, hidden] } else { [experts, hidden, ffn_hidden] };
    checked.vectors("weight", weight, &shape)?;
    let bias = arguments.bias.as_ref().map(|bias| &bias.layout);
    bias.map_or(Ok(()), |bias| checked.vectors("bias", bias, &[experts, hidden]))?;
    let mut pairs = (0, 0, 0);
    if let Some(PairWeights { weights, pairs: of_rows }) = &arguments.pair_weights {
        let [tokens, top_k] = extent(operator, "weights", &weights.layout, "[tokens, top_k]")?;
        checked.tensor("weights", &weights.layout, Dtype::F32, &[tokens, top_k])?;
        weights.layout.check_dense(operator, "weights")?;
        checked.integers("pairs", &of_rows.layout, rows)?;
        let count = tokens.saturating_mul(top_k);
        if count >= 1 << 31 {
            let found = format!("{count} weights");
            return Err(Error::unsupported(operator, found, "less than 2^31"));
        }
        pairs = (weights.layout.address, of_rows.layout.address, count as u32);
    }
    checked.vectors("out", out, &[rows, hidden])?;
    let product = Product::Down { is_nn };
    let extents = Extents {
        rows: rows as u32,
        experts: experts as u32,
        in_features: ffn_hidden as u32,
        out_features: hidden as u32,
        product,
    };
    let plan = checked.plan(extents)?;
    if rows == 0 {
        return Ok(None);
    }
    let params = GroupedGemmParams {
        x: pointer(x.address),
        weight: pointer(weight.address),
        bias: pointer(bias.map_or(0, |bias| bias.address)),
        pairs: pointer(pairs.1),
        weights: pointer(pairs.0),
        x_stride: x.strides[0],
        weight_stride: weight.strides[1],
        weight_expert_stride: weight.strides[0],
        bias_stride: bias.map_or(0, |bias| bias.strides[0]),
        x_rows: rows as u32,
        pair_count: pairs.2,
        ..common(extents, &plan, offsets, out)
    };
    let entry = plan.source.entries[product.entry(x.dtype == Dtype::F16)];
    Ok(Some(Call { entry, plan, params, dtype: x.dtype, product }))
}

impl Call {
    /// The parameters of a kernel that copies boxes.
    fn with_maps(&self, boxes: Boxes, driver: &dyn Driver) -> Result<GroupedGemmSm90Params> {
        let p = &self.params;
        let dtype = self.dtype;
        // What has one row or one expert has no stride there; what the caller gave for it means nothing.
        let stride = |given: u64, count: u64, span: u64| if count == 1 { span } else { given };
        let (k, features) = (u64::from(p.in_features), u64::from(p.out_features));
        let is_nn = self.product == Product::Down { is_nn: true };
        let (rows, columns) = if is_nn { (k, features) } else { (features, k) };
        let experts = u64::from(p.experts);
        let weight = |address: u64, given: u64, expert: u64| {
            let row = stride(given, rows, columns);
            driver.tensor_map(&Matrix {
                address,
                dtype,
                rows,
                columns,
                stride: row,
                box_rows: boxes.weight,
                experts: Some(MatrixExperts {
                    count: experts,
                    stride: stride(expert, experts, row.saturating_mul(rows)),
                }),
            })
        };
        let none = TensorMap { words: [0; 16] };
        let [mut x_map, mut up_weight_map] = [none; 2];
        if let Some(box_rows) = boxes.x {
            let rows = u64::from(p.rows);
            x_map = driver.tensor_map(&Matrix {
                address: p.x as u64,
                dtype,
                rows,
                columns: k,
                stride: stride(p.x_stride, rows, k),
                box_rows,
                experts: None,
            })?;
        }
        if self.product == Product::Up {
            let up = (p.up_weight as u64, p.up_weight_stride, p.up_weight_expert_stride);
            up_weight_map = weight(up.0, up.1, up.2)?;
        }
        let weight_map = weight(p.weight as u64, p.weight_stride, p.weight_expert_stride)?;
        Ok(GroupedGemmSm90Params { common: *p, x_map, weight_map, up_weight_map })
    }

    pub(crate) fn launch(&self, stream: &Stream) -> Result<()> {
        let geometry = &self.plan.geometry;
        // Both launches: every extent was checked against its tensor, and the maps are of the same extents;
        // offsets and pairs are held to them by the kernels, which read and write nothing outside. The output
        // is borrowed mutably, so nothing else is given it unless ordered by the stream; all stay allocated
        // until the launch is done: a buffer's free waits for the device, and owners of raw tensors vouch for
        // theirs.
        match self.plan.boxes {
            // SAFETY: as said above.
            None => unsafe { stream.launch(self.entry, geometry, &self.params) },
            Some(boxes) => {
                let params = self.with_maps(boxes, stream.device().driver())?;
                // SAFETY: as said above.
                unsafe { stream.launch(self.entry, geometry, &params) }
            }
        }
    }
}
