use super::device::expertile_device;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::packet::{self, PacketPack};
use crate::stream::Stream;
use std::ffi::c_void;

/// The arguments of `expertile_packet_pack`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_packet_pack_args {
    /// sizeof(expertile_packet_pack_args)
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// [tokens, hidden], bf16, f16 or f32
    pub x: expertile_tensor,
    /// [tokens, top_k], i32, dense
    pub ids: expertile_tensor,
    /// [tokens, top_k], f32, dense
    pub weights: expertile_tensor,
    /// [tokens * top_k], i32, dense: of `expertile_dispatch`
    pub pairs: expertile_tensor,
    /// [local experts + 1], i32, dense: of `expertile_dispatch`; the last is read
    pub offsets: expertile_tensor,
    /// [packets, hidden + 16 bytes of elements], as x; written
    pub packets: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_packet_pack_args {}

struct PacketPackOperator;

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn arguments<'t>(
    place: Place<'_>,
    args: &expertile_packet_pack_args,
) -> Result<PacketPack<'t>, Failure> {
    if args.reserved != 0 {
        return Err(Failure::value(place.call, "reserved", args.reserved, "0"));
    }
    // SAFETY: the caller's contract is the same.
    unsafe {
        Ok(PacketPack {
            x: place.tensor("x", &args.x)?,
            ids: place.tensor("ids", &args.ids)?,
            weights: place.tensor("weights", &args.weights)?,
            pairs: place.tensor("pairs", &args.pairs)?,
            offsets: place.tensor("offsets", &args.offsets)?,
            packets: place.tensor_mut("packets", &args.packets)?,
        })
    }
}

impl Operator for PacketPackOperator {
    type Arguments = expertile_packet_pack_args;

    const NAME: &'static str = "packet_pack";

    fn check(place: Place<'_>, args: &expertile_packet_pack_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args)? };
        Ok(packet::check_pack(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_packet_pack_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { arguments(place, args)? };
        Ok(packet::packet_pack(stream, &arguments)?)
    }
}

/// Whether `expertile_packet_pack` takes such arguments on the device: EXPERTILE_OK, or the status that it would
/// return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_packet_pack(
    device: *mut expertile_device,
    args: *const expertile_packet_pack_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<PacketPackOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_packet_pack` needs for such arguments: 0 today. Addresses
/// are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_packet_pack_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_packet_pack_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<PacketPackOperator>(device, args, bytes) })
}

/// Writes a packet for each row that `expertile_dispatch` found: a row of x and 16 bytes, the pair (i32), its
/// id (i32), its weight (f32) and 0. At most as many as there are packets; others are untouched.
///
///   packets[row] = x[pairs[row] / top_k], pairs[row], ids[pairs[row]], weights[pairs[row]], 0
///       for row < offsets[local experts]
///
/// hidden is a multiple of 8; addresses and strides of rows are multiples of 16 bytes. Bits are copied. The receiver
/// takes packets apart, dispatches them with top_k 1 to its own experts, and combines the results with
/// top_k 1 and no residual: they come back in the order of the packets. No pairs or no packets launch nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_packet_pack(
    device: *mut expertile_device,
    args: *const expertile_packet_pack_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<PacketPackOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
