use super::operator::{Operator, Sized32};
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::driver::DeviceInfo;
use crate::norm::{Norm, Residual};
use crate::stream::Stream;
use std::ffi::c_void;

/// Nothing is added; `residual` and `sum` are all zero.
pub const EXPERTILE_RESIDUAL_NONE: i32 = 0;
/// `residual` is added and the sum is not kept; `sum` is all zero.
pub const EXPERTILE_RESIDUAL_ADD: i32 = 1;
/// `residual` is added and the sum is written to `sum`.
pub const EXPERTILE_RESIDUAL_ADD_TO: i32 = 2;
/// `residual` is added and the sum replaces it; `sum` is all zero.
pub const EXPERTILE_RESIDUAL_UPDATE: i32 = 3;

/// The arguments of `expertile_layer_norm` and `expertile_rms_norm`. The tensors have one type of
/// elements: bf16, f16 or f32.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_norm_args {
    /// sizeof(expertile_norm_args)
    pub struct_size: u32,
    /// EXPERTILE_RESIDUAL_NONE, ...
    pub residual_mode: i32,
    /// added to the variance or mean square; at least 0
    pub epsilon: f32,
    /// 0
    pub reserved: u32,
    /// [tokens, hidden]
    pub x: expertile_tensor,
    /// [tokens, hidden]
    pub residual: expertile_tensor,
    /// [tokens, hidden]; written
    pub sum: expertile_tensor,
    /// [hidden]
    pub weight: expertile_tensor,
    /// [tokens, hidden]; written
    pub out: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_norm_args {}

/// One of the norms: what the Rust call checks, and the call.
pub(super) trait NormOperator {
    const NAME: &'static str;

    fn check(arguments: &Norm<'_>, device: &DeviceInfo) -> crate::Result<()>;

    fn run(stream: &Stream, arguments: &Norm<'_>) -> crate::Result<()>;
}

impl<N: NormOperator> Operator for N {
    type Arguments = expertile_norm_args;

    const NAME: &'static str = N::NAME;

    fn check(place: Place<'_>, args: &expertile_norm_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args)? };
        Ok(N::check(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_norm_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { arguments(place, args)? };
        Ok(N::run(stream, &arguments)?)
    }
}

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn arguments<'t>(place: Place<'_>, args: &expertile_norm_args) -> Result<Norm<'t>, Failure> {
    if args.reserved != 0 {
        return Err(Failure::value(place.call, "reserved", args.reserved, "0"));
    }
    let mode = args.residual_mode;
    if !(EXPERTILE_RESIDUAL_NONE..=EXPERTILE_RESIDUAL_UPDATE).contains(&mode) {
        return Err(Failure::value(place.call, "residual_mode", mode, "0 to 3"));
    }
    if mode == EXPERTILE_RESIDUAL_NONE {
        place.absent("residual", &args.residual)?;
    }
    if mode != EXPERTILE_RESIDUAL_ADD_TO {
        place.absent("sum", &args.sum)?;
    }
    // SAFETY: the caller's contract is the same.
    unsafe {
        let residual = match mode {
            EXPERTILE_RESIDUAL_ADD => Residual::Add(place.tensor("residual", &args.residual)?),
            EXPERTILE_RESIDUAL_ADD_TO => Residual::AddTo(
                place.tensor("residual", &args.residual)?,
                place.tensor_mut("sum", &args.sum)?,
            ),
            EXPERTILE_RESIDUAL_UPDATE => {
                Residual::Update(place.tensor_mut("residual", &args.residual)?)
            }
            _ => Residual::None,
        };
        Ok(Norm {
            x: place.tensor("x", &args.x)?,
            residual,
            weight: place.tensor("weight", &args.weight)?,
            out: place.tensor_mut("out", &args.out)?,
            epsilon: args.epsilon,
        })
    }
}
