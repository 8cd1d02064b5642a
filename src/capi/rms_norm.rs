use super::device::expertile_device;
use super::norm::{arguments, expertile_norm_args};
use super::operator::{self, Operator};
use super::panic::guard;
use super::status::Failure;
use super::tensor::Place;
use crate::rms_norm;
use crate::stream::Stream;
use std::ffi::c_void;

struct RmsNormOperator;

impl Operator for RmsNormOperator {
    type Arguments = expertile_norm_args;

    const NAME: &'static str = "rms_norm";

    fn check(place: Place<'_>, args: &expertile_norm_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args)? };
        Ok(rms_norm::check(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_norm_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { arguments(place, args)? };
        Ok(rms_norm::rms_norm(stream, &arguments)?)
    }
}

/// Whether `expertile_rms_norm` takes such arguments on the device: EXPERTILE_OK, or the status that it
/// would return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_rms_norm(
    device: *mut expertile_device,
    args: *const expertile_norm_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<RmsNormOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_rms_norm` needs for such arguments: 0 today. Addresses
/// are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_rms_norm_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_norm_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<RmsNormOperator>(device, args, bytes) })
}

/// Adds the residual to each row, then scales the row to a mean square of 1.
///
///   sum[t, i] = x[t, i] + residual[t, i]
///   out[t, i] = sum[t, i] / sqrt(mean_square[t] + epsilon) * weight[i]
///
/// hidden is a multiple of 8 from 8 to 16384; rows may have strides, multiples of 8. The sum is taken in
/// f32 and rounded to the type of x; what is divided by is f32, in an order that depends on hidden alone;
/// each output is rounded once. Zero tokens launch nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_rms_norm(
    device: *mut expertile_device,
    args: *const expertile_norm_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<RmsNormOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
