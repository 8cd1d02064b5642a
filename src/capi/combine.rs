use super::device::expertile_device;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::combine::{self, Combine, CombineOut};
use crate::stream::Stream;
use std::ffi::c_void;

/// Nothing is added; `residual` is all zero.
pub const EXPERTILE_COMBINE_SUM: i32 = 0;
/// `residual` is added.
pub const EXPERTILE_COMBINE_ADD: i32 = 1;
/// `out` is added to, in place; `residual` is all zero.
pub const EXPERTILE_COMBINE_UPDATE: i32 = 2;

/// The arguments of `expertile_combine`. All but `rows` have one type of elements: bf16, f16 or f32.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_combine_args {
    /// sizeof(expertile_combine_args)
    pub struct_size: u32,
    /// EXPERTILE_COMBINE_SUM, ...
    pub mode: i32,
    /// [expert_rows, hidden]
    pub expert_out: expertile_tensor,
    /// [tokens, top_k], i32, dense; a row outside of expert_out adds nothing
    pub rows: expertile_tensor,
    /// [tokens, hidden]
    pub residual: expertile_tensor,
    /// [tokens, hidden]; written
    pub out: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_combine_args {}

struct CombineOperator;

/// What is added, and where the sum goes.
///
/// # Safety
///
/// As [`Place::tensor_mut`], for both tensors.
pub(super) unsafe fn sum<'t>(
    place: Place<'_>,
    mode: i32,
    residual: &expertile_tensor,
    out: &expertile_tensor,
) -> Result<CombineOut<'t>, Failure> {
    if !(EXPERTILE_COMBINE_SUM..=EXPERTILE_COMBINE_UPDATE).contains(&mode) {
        return Err(Failure::value(place.call, "mode", mode, "0 to 2"));
    }
    if mode != EXPERTILE_COMBINE_ADD {
        place.absent("residual", residual)?;
    }
    // SAFETY: the caller's contract is the same.
    unsafe {
        Ok(match mode {
            EXPERTILE_COMBINE_ADD => {
                CombineOut::Add(place.tensor("residual", residual)?, place.tensor_mut("out", out)?)
            }
            EXPERTILE_COMBINE_UPDATE => CombineOut::Update(place.tensor_mut("out", out)?),
            _ => CombineOut::Sum(place.tensor_mut("out", out)?),
        })
    }
}

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn arguments<'t>(
    place: Place<'_>,
    args: &expertile_combine_args,
) -> Result<Combine<'t>, Failure> {
    // SAFETY: the caller's contract is the same.
    unsafe {
        let out = sum(place, args.mode, &args.residual, &args.out)?;
        Ok(Combine {
            expert_out: place.tensor("expert_out", &args.expert_out)?,
            rows: place.tensor("rows", &args.rows)?,
            out,
        })
    }
}

impl Operator for CombineOperator {
    type Arguments = expertile_combine_args;

    const NAME: &'static str = "combine";

    fn check(place: Place<'_>, args: &expertile_combine_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args)? };
        Ok(combine::check(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_combine_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { arguments(place, args)? };
        Ok(combine::combine(stream, &arguments)?)
    }
}

/// Whether `expertile_combine` takes such arguments on the device: EXPERTILE_OK, or the status that it would
/// return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_combine(
    device: *mut expertile_device,
    args: *const expertile_combine_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<CombineOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_combine` needs for such arguments: 0 today. Addresses
/// are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_combine_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_combine_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<CombineOperator>(device, args, bytes) })
}

/// Adds each token's expert outputs in the order of its slots, then the residual.
///
///   out[t, :] = expert_out[rows[t, 0], :] + expert_out[rows[t, 1], :] + ... + residual[t, :]
///
/// hidden is a multiple of 8 from 8 to 65536, top_k from 1 to 16; rows of elements may have strides,
/// multiples of 8. Sums are f32; the result is rounded once. A single term is copied bit for bit; without
/// any the result is 0. Zero tokens launch nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_combine(
    device: *mut expertile_device,
    args: *const expertile_combine_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<CombineOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
