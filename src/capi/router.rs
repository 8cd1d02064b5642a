use super::device::expertile_device;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::router::{self, ExpertGroups, Router, RouterInput, Scoring};
use crate::stream::Stream;
use std::ffi::c_void;

/// Logits are the products of `h` and `weight`; `logits` is where they are kept, or all zero.
pub const EXPERTILE_ROUTER_HIDDEN: i32 = 0;
/// Logits are read from `logits`; `h` and `weight` are all zero.
pub const EXPERTILE_ROUTER_LOGITS: i32 = 1;

/// Softmax over all experts, then the choice, as in DBRX, Mixtral and DeepSeek-V2; `bias` is all zero.
pub const EXPERTILE_SCORING_SOFTMAX: i32 = 0;
/// The choice, then the softmax over the chosen, as in GPT-OSS; `bias` is all zero.
pub const EXPERTILE_SCORING_TOP_K_SOFTMAX: i32 = 1;
/// Sigmoids; the choice is by sigmoid plus bias, if there is one, as in DeepSeek-V3.
pub const EXPERTILE_SCORING_SIGMOID: i32 = 2;

/// The arguments of `expertile_router`. Optional tensors are absent if they are all zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_router_args {
    /// sizeof(expertile_router_args)
    pub struct_size: u32,
    /// EXPERTILE_ROUTER_HIDDEN or EXPERTILE_ROUTER_LOGITS
    pub input: i32,
    /// EXPERTILE_SCORING_SOFTMAX, ...
    pub scoring: i32,
    /// 1: the weights are divided by their p-norm, if sigmoids by their sum; 0: they are not, or in
    /// EXPERTILE_SCORING_TOP_K_SOFTMAX
    pub normalize: i32,
    /// of a softmax with `normalize`: from 2^-10, may be infinite, 1 for the sum; else not looked at
    pub p_norm: f32,
    /// the weights are multiplied by it; 0: they are not
    pub scale: f32,
    /// 1: logits are rounded to the type of h, as the published DBRX does; 0: they are not, or given
    pub round_logits: i32,
    /// among how many groups of consecutive experts some are admitted, up to 32; 0: the choice is among all
    pub groups: u32,
    /// how many are admitted: those with the best expert under a softmax, those with the greatest sum of
    /// their two best under sigmoids; 0 without groups
    pub top_groups: u32,
    /// 0
    pub reserved: u32,
    /// [tokens, hidden], bf16, f16 or f32
    pub h: expertile_tensor,
    /// [experts, hidden], as h
    pub weight: expertile_tensor,
    /// [tokens, experts]: given, bf16, f16 or f32; or optional, f32, written
    pub logits: expertile_tensor,
    /// [experts], f32; optional
    pub bias: expertile_tensor,
    /// [tokens, top_k], i32; optional: ids to take instead of a choice, for benchmarks
    pub forced: expertile_tensor,
    /// [tokens, top_k], i32: the chosen experts, the best first; written
    pub ids: expertile_tensor,
    /// [tokens, top_k], f32; written
    pub weights: expertile_tensor,
    /// [experts], i32; optional: the number of tokens of each expert is added to it
    pub counts: expertile_tensor,
    /// [tokens, experts], f32; optional: the scores of all experts; written
    pub probabilities: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_router_args {}

struct RouterOperator;

/// A number that is 0 or 1.
pub(super) fn flag(place: Place<'_>, argument: &'static str, value: i32) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Failure::value(place.call, argument, other, "0 or 1")),
    }
}

/// How logits become weights, in numbers.
pub(super) struct Numbers {
    pub(super) scoring: i32,
    pub(super) normalize: i32,
    pub(super) p_norm: f32,
    pub(super) scale: f32,
    pub(super) groups: u32,
    pub(super) top_groups: u32,
}

impl Numbers {
    /// # Safety
    ///
    /// As [`Place::tensor`], for the bias.
    pub(super) unsafe fn scoring<'t>(
        &self,
        place: Place<'_>,
        argument: &'static str,
        bias: &expertile_tensor,
    ) -> Result<Scoring<'t>, Failure> {
        let normalize = flag(place, "normalize", self.normalize)?;
        if self.scoring != EXPERTILE_SCORING_SIGMOID {
            place.absent(argument, bias)?;
        }
        match self.scoring {
            EXPERTILE_SCORING_SOFTMAX => {
                Ok(Scoring::Softmax { p_norm: normalize.then_some(self.p_norm) })
            }
            EXPERTILE_SCORING_TOP_K_SOFTMAX if normalize => {
                let expected = "0, since a softmax is divided already";
                Err(Failure::value(place.call, "normalize", 1, expected))
            }
            EXPERTILE_SCORING_TOP_K_SOFTMAX => Ok(Scoring::TopKSoftmax),
            EXPERTILE_SCORING_SIGMOID => {
                // SAFETY: the caller's contract is the same.
                let bias = unsafe { place.optional(argument, bias)? };
                Ok(Scoring::Sigmoid { bias, normalize })
            }
            other => Err(Failure::value(place.call, "scoring", other, "0 to 2")),
        }
    }

    pub(super) fn groups(&self, place: Place<'_>) -> Result<Option<ExpertGroups>, Failure> {
        match (self.groups, self.top_groups) {
            (0, 0) => Ok(None),
            (0, chosen) => {
                let expected = "0, since there are no groups";
                Err(Failure::value(place.call, "top_groups", chosen, expected))
            }
            (count, chosen) => Ok(Some(ExpertGroups { count, chosen })),
        }
    }

    /// 0 is 1.
    pub(super) fn scale(&self) -> f32 {
        if self.scale == 0.0 { 1.0 } else { self.scale }
    }
}

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn arguments<'t>(
    place: Place<'_>,
    args: &expertile_router_args,
) -> Result<Router<'t>, Failure> {
    if args.reserved != 0 {
        return Err(Failure::value(place.call, "reserved", args.reserved, "0"));
    }
    let numbers = Numbers {
        scoring: args.scoring,
        normalize: args.normalize,
        p_norm: args.p_norm,
        scale: args.scale,
        groups: args.groups,
        top_groups: args.top_groups,
    };
    let groups = numbers.groups(place)?;
    let round_logits = flag(place, "round_logits", args.round_logits)?;
    // SAFETY: the caller's contract is the same.
    unsafe {
        let (input, logits) = match args.input {
            EXPERTILE_ROUTER_HIDDEN => {
                let h = place.tensor("h", &args.h)?;
                let weight = place.tensor("weight", &args.weight)?;
                let logits = place.optional_mut("logits", &args.logits)?;
                (RouterInput::Hidden { h, weight, round_logits }, logits)
            }
            EXPERTILE_ROUTER_LOGITS if round_logits => {
                let expected = "0, since logits are given";
                return Err(Failure::value(place.call, "round_logits", 1, expected));
            }
            EXPERTILE_ROUTER_LOGITS => {
                place.absent("h", &args.h)?;
                place.absent("weight", &args.weight)?;
                (RouterInput::Logits(place.tensor("logits", &args.logits)?), None)
            }
            other => return Err(Failure::value(place.call, "input", other, "0 or 1")),
        };
        Ok(Router {
            input,
            scoring: numbers.scoring(place, "bias", &args.bias)?,
            groups,
            scale: numbers.scale(),
            forced: place.optional("forced", &args.forced)?,
            ids: place.tensor_mut("ids", &args.ids)?,
            weights: place.tensor_mut("weights", &args.weights)?,
            logits,
            counts: place.optional_mut("counts", &args.counts)?,
            probabilities: place.optional_mut("probabilities", &args.probabilities)?,
        })
    }
}

impl Operator for RouterOperator {
    type Arguments = expertile_router_args;

    const NAME: &'static str = "router";

    fn check(place: Place<'_>, args: &expertile_router_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args)? };
        Ok(router::check(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_router_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { arguments(place, args)? };
        Ok(router::router(stream, &arguments)?)
    }
}

/// Whether `expertile_router` takes such arguments on the device: EXPERTILE_OK, or the status that it would
/// return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_router(
    device: *mut expertile_device,
    args: *const expertile_router_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<RouterOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_router` needs for such arguments: 0 today. Addresses are
/// not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_router_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_router_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<RouterOperator>(device, args, bytes) })
}

/// Turns each token's hidden state or logits into experts and their weights.
///
///   logits[t, e] = sum over i of h[t, i] * weight[e, i]
///   score[t, e]  = exp(logits[t, e]) / sum over e' of exp(logits[t, e'])   or 1 / (1 + exp(-logits[t, e]))
///   choice[t, e] = logits[t, e]                                           or score[t, e] + bias[e]
///   ids[t, :]    = the top_k experts of largest choice[t, :], ties to the lower id
///   w[t, j]      = score[t, ids[t, j]]
///   weights      = scale * w / (sum over j of w[t, j]^p)^(1 / p)           or scale * w without a norm
///
/// hidden is a multiple of 8, experts are 1 to 256, top_k is 1 to 16 and at most experts. Rows of h and
/// weight may have strides, multiples of 8; rows of given logits any; all else is dense. Products and sums are
/// f32, in an order that depends on hidden alone; softmax, norm and weights are f32, right to 8 ulp of what
/// the logits give. A NaN counts as -inf; logits of +inf share a softmax; there are always top_k distinct
/// valid ids. A forced id that is no expert has weight 0. One launch, or two if there are more than 64 experts
/// and logits are kept; zero tokens launch nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_router(
    device: *mut expertile_device,
    args: *const expertile_router_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<RouterOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
