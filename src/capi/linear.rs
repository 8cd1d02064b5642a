use super::device::expertile_device;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::linear::{self, Linear, LinearOut, WeightLayout};
use crate::stream::Stream;
use std::ffi::c_void;

/// The weight is [out_features, in_features].
pub const EXPERTILE_WEIGHT_OUT_IN: i32 = 0;
/// The weight is [in_features, out_features].
pub const EXPERTILE_WEIGHT_IN_OUT: i32 = 1;

/// Nothing is added; `residual` is all zero.
pub const EXPERTILE_LINEAR_PRODUCT: i32 = 0;
/// `residual` is added.
pub const EXPERTILE_LINEAR_ADD: i32 = 1;
/// `out` is added to, in place; `residual` is all zero.
pub const EXPERTILE_LINEAR_UPDATE: i32 = 2;

/// The arguments of `expertile_linear`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_linear_args {
    /// sizeof(expertile_linear_args)
    pub struct_size: u32,
    /// EXPERTILE_LINEAR_PRODUCT, ...
    pub mode: i32,
    /// EXPERTILE_WEIGHT_OUT_IN or EXPERTILE_WEIGHT_IN_OUT
    pub layout: i32,
    /// 1: products are clamped to -clamp..clamp; 0: they are not
    pub has_clamp: i32,
    /// above 0
    pub clamp: f32,
    /// 0
    pub reserved: u32,
    /// [tokens, in_features], bf16 or f16
    pub x: expertile_tensor,
    /// of the shape that the layout says, as x
    pub weight: expertile_tensor,
    /// [tokens, out_features], as out
    pub residual: expertile_tensor,
    /// [tokens, out_features], as x or f32; written
    pub out: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_linear_args {}

struct LinearOperator;

pub(super) fn weight_layout(
    place: Place<'_>,
    argument: &'static str,
    value: i32,
) -> Result<WeightLayout, Failure> {
    match value {
        EXPERTILE_WEIGHT_OUT_IN => Ok(WeightLayout::OutIn),
        EXPERTILE_WEIGHT_IN_OUT => Ok(WeightLayout::InOut),
        other => Err(Failure::value(place.call, argument, other, "0 or 1")),
    }
}

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn arguments<'t>(
    place: Place<'_>,
    args: &expertile_linear_args,
) -> Result<Linear<'t>, Failure> {
    if !(EXPERTILE_LINEAR_PRODUCT..=EXPERTILE_LINEAR_UPDATE).contains(&args.mode) {
        return Err(Failure::value(place.call, "mode", args.mode, "0 to 2"));
    }
    let layout = weight_layout(place, "layout", args.layout)?;
    let clamp = match args.has_clamp {
        0 => None,
        1 => Some(args.clamp),
        other => return Err(Failure::value(place.call, "has_clamp", other, "0 or 1")),
    };
    if args.reserved != 0 {
        return Err(Failure::value(place.call, "reserved", args.reserved, "0"));
    }
    if args.mode != EXPERTILE_LINEAR_ADD {
        place.absent("residual", &args.residual)?;
    }
    // SAFETY: the caller's contract is the same.
    unsafe {
        Ok(Linear {
            x: place.tensor("x", &args.x)?,
            weight: place.tensor("weight", &args.weight)?,
            layout,
            clamp,
            out: match args.mode {
                EXPERTILE_LINEAR_ADD => LinearOut::Add(
                    place.tensor("residual", &args.residual)?,
                    place.tensor_mut("out", &args.out)?,
                ),
                EXPERTILE_LINEAR_UPDATE => LinearOut::Update(place.tensor_mut("out", &args.out)?),
                _ => LinearOut::Product(place.tensor_mut("out", &args.out)?),
            },
        })
    }
}

impl Operator for LinearOperator {
    type Arguments = expertile_linear_args;

    const NAME: &'static str = "linear";

    fn check(place: Place<'_>, args: &expertile_linear_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args)? };
        Ok(linear::check(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_linear_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { arguments(place, args)? };
        Ok(linear::linear(stream, &arguments)?)
    }
}

/// Whether `expertile_linear` takes such arguments on the device: EXPERTILE_OK, or the status that it would
/// return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_linear(
    device: *mut expertile_device,
    args: *const expertile_linear_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<LinearOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_linear` needs for such arguments: 0 today. Addresses are not
/// looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_linear_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_linear_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<LinearOperator>(device, args, bytes) })
}

/// Multiplies each row by a weight, clamps, and adds the residual.
///
///   out[t, n] = clamp(sum over k of x[t, k] * weight[n, k]) + residual[t, n]
///
/// in_features and out_features are multiples of 8; rows may have strides, multiples of 8. Sums are f32; the
/// result is rounded once. A row's bits do not depend on other rows, nor on how many there are. Zero tokens
/// launch nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_linear(
    device: *mut expertile_device,
    args: *const expertile_linear_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<LinearOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
