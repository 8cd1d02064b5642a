use super::device::expertile_device;
use super::linear::weight_layout;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor, is_absent};
use crate::grouped_gemm::{self, Activation, Gated, GroupedDown, GroupedUp, PairWeights};
use crate::stream::Stream;
use std::ffi::c_void;

/// gate * sigmoid(gate) * up, as in DBRX, Mixtral and DeepSeek.
pub const EXPERTILE_ACTIVATION_SILU: i32 = 0;
/// gelu(gate) * up, with the approximation by the hyperbolic tangent.
pub const EXPERTILE_ACTIVATION_GELU_TANH: i32 = 1;
/// g * sigmoid(alpha * g) * (u + 1), with g = min(gate, limit) and u = up clamped to -limit..limit, as in
/// GPT-OSS: 7 and 1.702.
pub const EXPERTILE_ACTIVATION_CLAMPED_SWIGLU: i32 = 2;

/// The arguments of `expertile_grouped_gemm_up`.
///
/// If `up` is all zero, `gate` is both, [experts, 2 * ffn_hidden, hidden], the gate's half first; and so is
/// `gate_bias` if `up_bias` is. Without biases both are all zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_grouped_gemm_up_args {
    /// sizeof(expertile_grouped_gemm_up_args)
    pub struct_size: u32,
    /// EXPERTILE_ACTIVATION_SILU, ...
    pub activation: i32,
    /// of EXPERTILE_ACTIVATION_CLAMPED_SWIGLU: above 0, may be infinite; else not looked at
    pub limit: f32,
    /// of EXPERTILE_ACTIVATION_CLAMPED_SWIGLU: finite; else not looked at
    pub alpha: f32,
    /// pairs of a token
    pub top_k: u32,
    /// 0
    pub reserved: u32,
    /// [tokens, hidden], bf16 or f16
    pub x: expertile_tensor,
    /// [rows], i32, of expertile_dispatch
    pub pairs: expertile_tensor,
    /// [experts + 1], i32, of expertile_dispatch
    pub offsets: expertile_tensor,
    /// [experts, ffn_hidden, hidden], as x
    pub gate: expertile_tensor,
    /// [experts, ffn_hidden, hidden], as x
    pub up: expertile_tensor,
    /// [experts, ffn_hidden], as x; optional
    pub gate_bias: expertile_tensor,
    /// [experts, ffn_hidden], as x; optional
    pub up_bias: expertile_tensor,
    /// [rows, ffn_hidden], as x; written
    pub out: expertile_tensor,
}

/// The arguments of `expertile_grouped_gemm_down`. Optional tensors are absent if they are all zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_grouped_gemm_down_args {
    /// sizeof(expertile_grouped_gemm_down_args)
    pub struct_size: u32,
    /// EXPERTILE_WEIGHT_OUT_IN or EXPERTILE_WEIGHT_IN_OUT
    pub layout: i32,
    /// [rows, ffn_hidden], bf16 or f16
    pub x: expertile_tensor,
    /// [experts + 1], i32, of expertile_dispatch
    pub offsets: expertile_tensor,
    /// [experts, hidden, ffn_hidden] or, with EXPERTILE_WEIGHT_IN_OUT, [experts, ffn_hidden, hidden], as x
    pub weight: expertile_tensor,
    /// [experts, hidden], as x; optional
    pub bias: expertile_tensor,
    /// [tokens, top_k], f32: of each pair; optional, and then rows are multiplied by nothing
    pub weights: expertile_tensor,
    /// [rows], i32, of expertile_dispatch; all zero without weights
    pub pairs: expertile_tensor,
    /// [rows, hidden], as x; written
    pub out: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_grouped_gemm_up_args {}
// SAFETY: as above.
unsafe impl Sized32 for expertile_grouped_gemm_down_args {}

struct UpOperator;
struct DownOperator;

pub(super) fn activation(
    place: Place<'_>,
    activation: i32,
    limit: f32,
    alpha: f32,
) -> Result<Activation, Failure> {
    match activation {
        EXPERTILE_ACTIVATION_SILU => Ok(Activation::Silu),
        EXPERTILE_ACTIVATION_GELU_TANH => Ok(Activation::GeluTanh),
        EXPERTILE_ACTIVATION_CLAMPED_SWIGLU => Ok(Activation::ClampedSwiglu { limit, alpha }),
        other => Err(Failure::value(place.call, "activation", other, "0 to 2")),
    }
}

/// Two tensors, or both in the first.
///
/// # Safety
///
/// As [`Place::tensor`], for both tensors.
pub(super) unsafe fn gated<'t>(
    place: Place<'_>,
    [gate_name, up_name]: [&'static str; 2],
    gate: &expertile_tensor,
    up: &expertile_tensor,
) -> Result<Gated<'t>, Failure> {
    // SAFETY: the caller's contract is the same.
    unsafe {
        let gate = place.tensor(gate_name, gate)?;
        let up = place.optional(up_name, up)?;
        Ok(up.map_or(Gated::Packed(gate), |up| Gated::Separate { gate, up }))
    }
}

/// As [`gated`]; nothing if both are absent.
///
/// # Safety
///
/// As [`Place::tensor`], for both tensors.
pub(super) unsafe fn biases<'t>(
    place: Place<'_>,
    gate: &expertile_tensor,
    up: &expertile_tensor,
) -> Result<Option<Gated<'t>>, Failure> {
    if is_absent(gate) && is_absent(up) {
        return Ok(None);
    }
    // SAFETY: the caller's contract is the same.
    unsafe { gated(place, ["gate_bias", "up_bias"], gate, up) }.map(Some)
}

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn up<'t>(
    place: Place<'_>,
    args: &expertile_grouped_gemm_up_args,
) -> Result<GroupedUp<'t>, Failure> {
    if args.reserved != 0 {
        return Err(Failure::value(place.call, "reserved", args.reserved, "0"));
    }
    let activation = activation(place, args.activation, args.limit, args.alpha)?;
    // SAFETY: the caller's contract is the same.
    unsafe {
        Ok(GroupedUp {
            x: place.tensor("x", &args.x)?,
            pairs: place.tensor("pairs", &args.pairs)?,
            top_k: args.top_k,
            offsets: place.tensor("offsets", &args.offsets)?,
            weights: gated(place, ["gate", "up"], &args.gate, &args.up)?,
            biases: biases(place, &args.gate_bias, &args.up_bias)?,
            activation,
            out: place.tensor_mut("out", &args.out)?,
        })
    }
}

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn down<'t>(
    place: Place<'_>,
    args: &expertile_grouped_gemm_down_args,
) -> Result<GroupedDown<'t>, Failure> {
    let layout = weight_layout(place, "layout", args.layout)?;
    // SAFETY: the caller's contract is the same.
    unsafe {
        let weights = place.optional("weights", &args.weights)?;
        let pair_weights = match weights {
            Some(weights) => {
                Some(PairWeights { weights, pairs: place.tensor("pairs", &args.pairs)? })
            }
            None => {
                place.absent("pairs", &args.pairs)?;
                None
            }
        };
        Ok(GroupedDown {
            x: place.tensor("x", &args.x)?,
            offsets: place.tensor("offsets", &args.offsets)?,
            weight: place.tensor("weight", &args.weight)?,
            layout,
            bias: place.optional("bias", &args.bias)?,
            pair_weights,
            out: place.tensor_mut("out", &args.out)?,
        })
    }
}

impl Operator for UpOperator {
    type Arguments = expertile_grouped_gemm_up_args;

    const NAME: &'static str = "grouped_gemm_up";

    fn check(place: Place<'_>, args: &expertile_grouped_gemm_up_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { up(place, args)? };
        Ok(grouped_gemm::check_up(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_grouped_gemm_up_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { up(place, args)? };
        Ok(grouped_gemm::grouped_gemm_up(stream, &arguments)?)
    }
}

impl Operator for DownOperator {
    type Arguments = expertile_grouped_gemm_down_args;

    const NAME: &'static str = "grouped_gemm_down";

    fn check(place: Place<'_>, args: &expertile_grouped_gemm_down_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { down(place, args)? };
        Ok(grouped_gemm::check_down(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_grouped_gemm_down_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { down(place, args)? };
        Ok(grouped_gemm::grouped_gemm_down(stream, &arguments)?)
    }
}

/// Whether `expertile_grouped_gemm_up` takes such arguments on the device: EXPERTILE_OK, or the status that it
/// would return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_grouped_gemm_up(
    device: *mut expertile_device,
    args: *const expertile_grouped_gemm_up_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<UpOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_grouped_gemm_up` needs for such arguments: 0 today.
/// Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_grouped_gemm_up_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_grouped_gemm_up_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<UpOperator>(device, args, bytes) })
}

/// The first product of every expert, with the gate applied: for each row r of expert e, with the token
/// t = pairs[r] / top_k
///
///   gate[r, f] = sum over i of x[t, i] * gate[e, f, i] + gate_bias[e, f]
///   up[r, f]   = sum over i of x[t, i] * up[e, f, i]   + up_bias[e, f]
///   out[r, f]  = activation(gate[r, f], up[r, f])
///
/// hidden and ffn_hidden are multiples of 8, experts 1 to 256; rows may have strides, multiples of 8, and so
/// may experts. Sums, biases and activation are f32; the result is rounded once. A row's bits do not depend on
/// other rows, nor on how many there are. Rows beyond the last offset are left as they are; a row whose pair is
/// of no token, such as -1, has an x of zeros. Offsets outside 0..rows count as the nearer end. Zero rows launch
/// nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_grouped_gemm_up(
    device: *mut expertile_device,
    args: *const expertile_grouped_gemm_up_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<UpOperator>(device, args, workspace, workspace_bytes, stream)
    })
}

/// Whether `expertile_grouped_gemm_down` takes such arguments on the device: EXPERTILE_OK, or the status that
/// it would return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_grouped_gemm_down(
    device: *mut expertile_device,
    args: *const expertile_grouped_gemm_down_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<DownOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_grouped_gemm_down` needs for such arguments: 0 today.
/// Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_grouped_gemm_down_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_grouped_gemm_down_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<DownOperator>(device, args, bytes) })
}

/// The second product of every expert, scaled by the routing weight: for each row r of expert e
///
///   out[r, n] = (sum over f of x[r, f] * weight[e, n, f] + bias[e, n]) * weights[pairs[r]]
///
/// hidden and ffn_hidden are multiples of 8, experts 1 to 256; rows may have strides, multiples of 8, and so
/// may experts; weights are dense. Sums, bias and weight are f32; the result is rounded once. A row's bits do
/// not depend on other rows, nor on how many there are. Rows beyond the last offset are left as they are; a
/// pair outside weights has the weight 0. Offsets outside 0..rows count as the nearer end. Zero rows launch
/// nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_grouped_gemm_down(
    device: *mut expertile_device,
    args: *const expertile_grouped_gemm_down_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<DownOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
