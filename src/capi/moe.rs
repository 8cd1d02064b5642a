use super::combine;
use super::device::expertile_device;
use super::grouped_gemm::{activation, biases, gated};
use super::linear::weight_layout;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::router::{Numbers, flag};
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::dtype::Dtype;
use crate::moe::{self, Experts, Moe, Route};
use crate::stream::Stream;
use crate::tensor::TensorMut;
use std::ffi::c_void;

/// The router chooses; `ids` and `weights` are all zero.
pub const EXPERTILE_ROUTE_ROUTER: i32 = 0;
/// `ids` and `weights` are given; `router_weight`, `router_bias` and the router's numbers are all zero.
pub const EXPERTILE_ROUTE_GIVEN: i32 = 1;

/// The arguments of `expertile_moe`. The router's are those of `expertile_router`, the experts' those of
/// `expertile_grouped_gemm_up` and `expertile_grouped_gemm_down`, the residual's those of `expertile_combine`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_moe_args {
    /// sizeof(expertile_moe_args)
    pub struct_size: u32,
    /// EXPERTILE_ROUTE_ROUTER or EXPERTILE_ROUTE_GIVEN
    pub route: i32,
    /// the router's: EXPERTILE_SCORING_SOFTMAX, ...
    pub scoring: i32,
    /// the router's: 1 or 0
    pub normalize: i32,
    /// the router's, of a softmax with `normalize`; else not looked at
    pub p_norm: f32,
    /// the router's: the weights are multiplied by it; 0: they are not
    pub scale: f32,
    /// the router's: 1 or 0
    pub round_logits: i32,
    /// the router's: among how many groups some are admitted, or 0
    pub groups: u32,
    /// the router's: how many are admitted; 0 without groups
    pub top_groups: u32,
    /// the router's: experts of a token
    pub top_k: u32,
    /// the first local expert, as ids number them
    pub first_expert: u32,
    /// behind the last local expert
    pub end_expert: u32,
    /// EXPERTILE_ACTIVATION_SILU, ...
    pub activation: i32,
    /// of EXPERTILE_ACTIVATION_CLAMPED_SWIGLU; else not looked at
    pub limit: f32,
    /// of EXPERTILE_ACTIVATION_CLAMPED_SWIGLU; else not looked at
    pub alpha: f32,
    /// of `down`: EXPERTILE_WEIGHT_OUT_IN or EXPERTILE_WEIGHT_IN_OUT
    pub down_layout: i32,
    /// EXPERTILE_COMBINE_SUM, ...
    pub mode: i32,
    /// 0
    pub reserved: u32,
    /// [tokens, hidden], bf16 or f16
    pub x: expertile_tensor,
    /// [experts, hidden], as x: of all experts, local or not
    pub router_weight: expertile_tensor,
    /// [experts], f32; optional, of EXPERTILE_SCORING_SIGMOID
    pub router_bias: expertile_tensor,
    /// [tokens, top_k], i32; any value
    pub ids: expertile_tensor,
    /// [tokens, top_k], f32
    pub weights: expertile_tensor,
    /// [local experts, ffn_hidden, hidden], as x; twice ffn_hidden, if `up` is all zero
    pub gate: expertile_tensor,
    /// [local experts, ffn_hidden, hidden], as x
    pub up: expertile_tensor,
    /// [local experts, ffn_hidden], as x; optional; twice ffn_hidden, if only `up_bias` is all zero
    pub gate_bias: expertile_tensor,
    /// [local experts, ffn_hidden], as x; optional
    pub up_bias: expertile_tensor,
    /// [local experts, hidden, ffn_hidden] or, with EXPERTILE_WEIGHT_IN_OUT, [local experts, ffn_hidden,
    /// hidden], as x
    pub down: expertile_tensor,
    /// [local experts, hidden], as x; optional
    pub down_bias: expertile_tensor,
    /// [tokens, hidden], as x; of EXPERTILE_COMBINE_ADD
    pub residual: expertile_tensor,
    /// [tokens, hidden], as x; written
    pub out: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_moe_args {}

struct MoeOperator;

/// # Safety
///
/// As [`Place::tensor`], for the router's tensors and those that are given instead.
unsafe fn route<'t>(place: Place<'_>, args: &expertile_moe_args) -> Result<Route<'t>, Failure> {
    let numbers = Numbers {
        scoring: args.scoring,
        normalize: args.normalize,
        p_norm: args.p_norm,
        scale: args.scale,
        groups: args.groups,
        top_groups: args.top_groups,
    };
    match args.route {
        EXPERTILE_ROUTE_ROUTER => {
            place.absent("ids", &args.ids)?;
            place.absent("weights", &args.weights)?;
            let round_logits = flag(place, "round_logits", args.round_logits)?;
            let groups = numbers.groups(place)?;
            // SAFETY: the caller's contract is the same.
            unsafe {
                Ok(Route::Router {
                    weight: place.tensor("router_weight", &args.router_weight)?,
                    round_logits,
                    scoring: numbers.scoring(place, "router_bias", &args.router_bias)?,
                    groups,
                    scale: numbers.scale(),
                    top_k: args.top_k,
                })
            }
        }
        EXPERTILE_ROUTE_GIVEN => {
            place.absent("router_weight", &args.router_weight)?;
            place.absent("router_bias", &args.router_bias)?;
            for (argument, is_zero, found) in [
                ("scoring", args.scoring == 0, args.scoring.into()),
                ("normalize", args.normalize == 0, args.normalize.into()),
                ("scale", args.scale == 0.0, args.scale.into()),
                ("round_logits", args.round_logits == 0, args.round_logits.into()),
                ("groups", args.groups == 0, f64::from(args.groups)),
                ("top_groups", args.top_groups == 0, args.top_groups.into()),
                ("top_k", args.top_k == 0, args.top_k.into()),
            ] {
                if !is_zero {
                    let expected = "0, since no router is asked";
                    return Err(Failure::value(place.call, argument, found, expected));
                }
            }
            // SAFETY: the caller's contract is the same.
            unsafe {
                Ok(Route::Given {
                    ids: place.tensor("ids", &args.ids)?,
                    weights: place.tensor("weights", &args.weights)?,
                })
            }
        }
        other => Err(Failure::value(place.call, "route", other, "0 or 1")),
    }
}

/// With a workspace as large as they need.
///
/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor and the workspace.
unsafe fn arguments<'t>(
    place: Place<'_>,
    args: &expertile_moe_args,
    workspace: *mut c_void,
) -> Result<(Moe<'t>, usize), Failure> {
    if args.reserved != 0 {
        return Err(Failure::value(place.call, "reserved", args.reserved, "0"));
    }
    let down_layout = weight_layout(place, "down_layout", args.down_layout)?;
    let activation = activation(place, args.activation, args.limit, args.alpha)?;
    let address = workspace.addr() as u64;
    // SAFETY: the caller's contract is the same.
    unsafe {
        let kept = |elements: u64| {
            TensorMut::from_raw(place.device, address, Dtype::I32, &[elements], None)
        };
        let mut arguments = Moe {
            x: place.tensor("x", &args.x)?,
            route: route(place, args)?,
            experts: Experts {
                local: args.first_expert..args.end_expert,
                weights: gated(place, ["gate", "up"], &args.gate, &args.up)?,
                biases: biases(place, &args.gate_bias, &args.up_bias)?,
                activation,
                down: place.tensor("down", &args.down)?,
                down_layout,
                down_bias: place.optional("down_bias", &args.down_bias)?,
            },
            out: combine::sum(place, args.mode, &args.residual, &args.out)?,
            workspace: kept(0)?,
        };
        let bytes = moe::needed(&arguments, place.device.info());
        // Of extents that need more, the extents are refused, not the workspace.
        if bytes < 1 << 62 {
            arguments.workspace = kept(bytes / 4)?;
        }
        Ok((arguments, usize::try_from(bytes).unwrap_or(usize::MAX)))
    }
}

impl Operator for MoeOperator {
    type Arguments = expertile_moe_args;

    const NAME: &'static str = "moe";

    fn check(place: Place<'_>, args: &expertile_moe_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let (arguments, _) = unsafe { arguments(place, args, std::ptr::null_mut())? };
        Ok(moe::check(&arguments, place.device)?)
    }

    fn workspace_bytes(place: Place<'_>, args: &expertile_moe_args) -> usize {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args, std::ptr::null_mut()) };
        let taken = |(arguments, _): &(Moe<'_>, usize)| moe::check(arguments, place.device).is_ok();
        arguments.ok().filter(taken).map_or(0, |(_, bytes)| bytes)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_moe_args,
        workspace: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors and the workspace.
        let (arguments, _) = unsafe { arguments(place, args, workspace)? };
        Ok(moe::moe(stream, &arguments)?)
    }
}

/// Whether `expertile_moe` takes such arguments on the device: EXPERTILE_OK, or the status that it would
/// return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_moe(
    device: *mut expertile_device,
    args: *const expertile_moe_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<MoeOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_moe` needs for such arguments: about tokens * top_k *
/// (ffn_hidden + hidden) elements. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_moe_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_moe_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<MoeOperator>(device, args, bytes) })
}

/// Routes each token to its experts and adds up what they make of it.
///
///   ids, weights = router(x)
///   y[t, s] = down_e(activation(gate_e(x[t]), up_e(x[t]))) * weights[t, s]   with e = ids[t, s], if it is local
///   out[t]  = y[t, 0] + y[t, 1] + ... + residual[t]
///
/// It is expertile_router, expertile_dispatch, both products and expertile_combine after each other, with their
/// roundings and their limits; an error of one of them is returned under its name. Five launches; beyond 4096
/// pairs dispatch is two, and beyond 64 experts and 16 tokens the router. A token's bits do not depend on other
/// tokens. An id that is not local, such as -1, adds nothing: with experts spread over devices the results of
/// all add up to the whole. The workspace is at a multiple of 16 bytes; what it holds does not matter. Zero
/// tokens launch nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_moe(
    device: *mut expertile_device,
    args: *const expertile_moe_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<MoeOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
