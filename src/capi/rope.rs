use super::device::expertile_device;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::rope::{self, Pairing, Rope};
use crate::stream::Stream;
use std::ffi::c_void;

/// Rotates i against i + head_dim / 2, as in DBRX and GPT-NeoX.
pub const EXPERTILE_PAIRING_HALVES: i32 = 0;
/// Rotates 2 i against 2 i + 1, as in GPT-J.
pub const EXPERTILE_PAIRING_INTERLEAVED: i32 = 1;

/// The arguments of `expertile_rope`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_rope_args {
    /// sizeof(expertile_rope_args)
    pub struct_size: u32,
    /// EXPERTILE_PAIRING_HALVES or EXPERTILE_PAIRING_INTERLEAVED
    pub pairing: i32,
    /// 1: Q, K and V are clipped to -clip..clip; 0: they are not
    pub has_clip: i32,
    /// at least 0
    pub clip: f32,
    /// [tokens, q_heads + 2 kv_heads, head_dim], bf16, f16 or f32: Q, then K, then V; Q is rotated in place
    pub qkv: expertile_tensor,
    /// [tokens], i32
    pub positions: expertile_tensor,
    /// [head_dim / 2], f32
    pub inv_freq: expertile_tensor,
    /// [pages, page_size, kv_heads, head_dim], as qkv; written
    pub k_cache: expertile_tensor,
    /// [pages, page_size, kv_heads, head_dim], as qkv; written
    pub v_cache: expertile_tensor,
    /// [tokens], i64: page * page_size + position in the page; one outside the cache appends nothing
    pub slot_mapping: expertile_tensor,
}

// SAFETY: numbers and a pointer that is not followed, `struct_size` first.
unsafe impl Sized32 for expertile_rope_args {}

struct RopeOperator;

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn arguments<'t>(place: Place<'_>, args: &expertile_rope_args) -> Result<Rope<'t>, Failure> {
    let pairing = match args.pairing {
        EXPERTILE_PAIRING_HALVES => Pairing::Halves,
        EXPERTILE_PAIRING_INTERLEAVED => Pairing::Interleaved,
        other => return Err(Failure::value(place.call, "pairing", other, "0 or 1")),
    };
    let clip = match args.has_clip {
        0 => None,
        1 => Some(args.clip),
        other => return Err(Failure::value(place.call, "has_clip", other, "0 or 1")),
    };
    // SAFETY: the caller's contract is the same.
    unsafe {
        Ok(Rope {
            qkv: place.tensor_mut("qkv", &args.qkv)?,
            positions: place.tensor("positions", &args.positions)?,
            inv_freq: place.tensor("inv_freq", &args.inv_freq)?,
            k_cache: place.tensor_mut("k_cache", &args.k_cache)?,
            v_cache: place.tensor_mut("v_cache", &args.v_cache)?,
            slot_mapping: place.tensor("slot_mapping", &args.slot_mapping)?,
            clip,
            pairing,
        })
    }
}

impl Operator for RopeOperator {
    type Arguments = expertile_rope_args;

    const NAME: &'static str = "rope";

    fn check(place: Place<'_>, args: &expertile_rope_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args)? };
        Ok(rope::check(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_rope_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { arguments(place, args)? };
        Ok(rope::rope(stream, &arguments)?)
    }
}

/// Whether `expertile_rope` takes such arguments on the device: EXPERTILE_OK, or the status that it would
/// return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_rope(
    device: *mut expertile_device,
    args: *const expertile_rope_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<RopeOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_rope` needs for such arguments: 0 today. Addresses are
/// not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_rope_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_rope_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<RopeOperator>(device, args, bytes) })
}

/// Clips packed rows, rotates queries in place, and appends rotated keys and clipped values to the cache.
///
/// With `x = clamp(qkv, -clip, clip)`, `angle = positions[t] * inv_freq[i]` and, by the pairing, `low = i`
/// and `high = i + head_dim / 2`, or `low = 2 i` and `high = 2 i + 1`:
///
///   rotated[low]  = x[low]  cos(angle) - x[high] sin(angle)
///   rotated[high] = x[high] cos(angle) + x[low]  sin(angle)
///
/// head_dim is a multiple of 8 from 16 to 256; heads follow each other in qkv, other strides are multiples
/// of 8; positions are up to 131071 in magnitude. Products and sums are f32; each result is rounded once.
/// If two tokens name one slot, which of them is kept is undefined. Zero tokens launch nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_rope(
    device: *mut expertile_device,
    args: *const expertile_rope_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<RopeOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
