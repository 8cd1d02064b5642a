use super::device::expertile_device;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::dtype::Dtype;
use crate::router_loss::{self, RouterLoss, router_loss_workspace_bytes};
use crate::stream::Stream;
use crate::tensor::TensorMut;
use std::ffi::c_void;

/// The arguments of `expertile_router_loss`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_router_loss_args {
    /// sizeof(expertile_router_loss_args)
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// [tokens, experts], bf16, f16 or f32: before the softmax
    pub logits: expertile_tensor,
    /// [tokens, top_k], i32; any value
    pub ids: expertile_tensor,
    /// [3], f32: MegaBlocks' load-balancing loss, the published DBRX's, the z-loss; written
    pub losses: expertile_tensor,
    /// [experts], i32: how many tokens chose each expert; written
    pub counts: expertile_tensor,
    /// [experts], f32: the mean of the softmax; written
    pub mean_probabilities: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_router_loss_args {}

struct RouterLossOperator;

/// With a workspace as large as they need.
///
/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor and the workspace.
unsafe fn arguments<'t>(
    place: Place<'_>,
    args: &expertile_router_loss_args,
    workspace: *mut c_void,
) -> Result<(RouterLoss<'t>, usize), Failure> {
    if args.reserved != 0 {
        return Err(Failure::value(place.call, "reserved", args.reserved, "0"));
    }
    // SAFETY: the caller's contract is the same.
    unsafe {
        let logits = place.tensor("logits", &args.logits)?;
        let bytes = match *logits.shape() {
            [tokens, experts] => router_loss_workspace_bytes(tokens, experts),
            _ => 0,
        };
        let address = workspace.addr() as u64;
        // No kernel needs 2^40 bytes: of extents that would, the extents are refused, not the workspace.
        let elements = bytes.min(1 << 40) / 4;
        let kept = TensorMut::from_raw(place.device, address, Dtype::I32, &[elements], None);
        let arguments = RouterLoss {
            logits,
            ids: place.tensor("ids", &args.ids)?,
            losses: place.tensor_mut("losses", &args.losses)?,
            counts: place.tensor_mut("counts", &args.counts)?,
            mean_probabilities: place.tensor_mut("mean_probabilities", &args.mean_probabilities)?,
            workspace: kept?,
        };
        Ok((arguments, usize::try_from(bytes).unwrap_or(usize::MAX)))
    }
}

impl Operator for RouterLossOperator {
    type Arguments = expertile_router_loss_args;

    const NAME: &'static str = "router_loss";

    fn check(place: Place<'_>, args: &expertile_router_loss_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let (arguments, _) = unsafe { arguments(place, args, std::ptr::null_mut())? };
        Ok(router_loss::check(&arguments, place.device.info())?)
    }

    fn workspace_bytes(place: Place<'_>, args: &expertile_router_loss_args) -> usize {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args, std::ptr::null_mut()) };
        let taken = |(arguments, _): &(RouterLoss<'_>, usize)| {
            router_loss::check(arguments, place.device.info()).is_ok()
        };
        arguments.ok().filter(taken).map_or(0, |(_, bytes)| bytes)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_router_loss_args,
        workspace: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors and the workspace.
        let (arguments, _) = unsafe { arguments(place, args, workspace)? };
        Ok(router_loss::router_loss(stream, &arguments)?)
    }
}

/// Whether `expertile_router_loss` takes such arguments on the device: EXPERTILE_OK, or the status that it
/// would return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_router_loss(
    device: *mut expertile_device,
    args: *const expertile_router_loss_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<RouterLossOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_router_loss` needs for such arguments: 0 without tokens.
/// Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_router_loss_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_router_loss_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<RouterLossOperator>(device, args, bytes) })
}

/// The load histogram of a routing, two load-balancing losses and the z-loss, each with weight 1.
///
///   P[t, :]               = softmax(logits[t, :])
///   Q[t, :]               = softmax(P[t, :])
///   counts[e]             = how many of ids are e
///   mean_probabilities[e] = mean over t of P[t, e]
///   losses[0] = experts / (tokens * top_k) * sum over e of counts[e] * mean over t of P[t, e]
///   losses[1] = experts / tokens * sum over e of counts[e] * mean over t of Q[t, e]
///   losses[2] = mean over t of log(sum over e of exp(logits[t, e]))^2
///
/// There are 1 to 256 experts, 1 to 16 slots of a token and less than 2^31 tokens. Rows of logits may have any
/// strides; all else is dense. A token none of whose ids is an expert is padding: it counts as no token. A NaN
/// counts as -inf, logits of +inf share a softmax. Sums are f32, in an order that depends on the extents alone.
/// Two launches; what the workspace holds does not matter. Zero tokens launch once: all results become 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_router_loss(
    device: *mut expertile_device,
    args: *const expertile_router_loss_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<RouterLossOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
