use super::device::expertile_device;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::packet::{self, PacketUnpack};
use crate::stream::Stream;
use std::ffi::c_void;

/// The arguments of `expertile_packet_unpack`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_packet_unpack_args {
    /// sizeof(expertile_packet_unpack_args)
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// [packets, hidden + 16 bytes of elements], as x
    pub packets: expertile_tensor,
    /// [packets, hidden], bf16, f16 or f32; written
    pub x: expertile_tensor,
    /// [packets, 1], i32, dense; written
    pub ids: expertile_tensor,
    /// [packets, 1], f32, dense; written
    pub weights: expertile_tensor,
    /// [packets], i32, dense; written
    pub pairs: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_packet_unpack_args {}

struct PacketUnpackOperator;

/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor.
unsafe fn arguments<'t>(
    place: Place<'_>,
    args: &expertile_packet_unpack_args,
) -> Result<PacketUnpack<'t>, Failure> {
    if args.reserved != 0 {
        return Err(Failure::value(place.call, "reserved", args.reserved, "0"));
    }
    // SAFETY: the caller's contract is the same.
    unsafe {
        Ok(PacketUnpack {
            packets: place.tensor("packets", &args.packets)?,
            x: place.tensor_mut("x", &args.x)?,
            ids: place.tensor_mut("ids", &args.ids)?,
            weights: place.tensor_mut("weights", &args.weights)?,
            pairs: place.tensor_mut("pairs", &args.pairs)?,
        })
    }
}

impl Operator for PacketUnpackOperator {
    type Arguments = expertile_packet_unpack_args;

    const NAME: &'static str = "packet_unpack";

    fn check(place: Place<'_>, args: &expertile_packet_unpack_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args)? };
        Ok(packet::check_unpack(&arguments, place.device.info())?)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_packet_unpack_args,
        _: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors.
        let arguments = unsafe { arguments(place, args)? };
        Ok(packet::packet_unpack(stream, &arguments)?)
    }
}

/// Whether `expertile_packet_unpack` takes such arguments on the device: EXPERTILE_OK, or the status that it would
/// return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_packet_unpack(
    device: *mut expertile_device,
    args: *const expertile_packet_unpack_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<PacketUnpackOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_packet_unpack` needs for such arguments: 0 today. Addresses
/// are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_packet_unpack_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_packet_unpack_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<PacketUnpackOperator>(device, args, bytes) })
}

/// Takes packets of `expertile_packet_pack` apart.
///
///   x[i], pairs[i], ids[i, 0], weights[i, 0] = packets[i]
///
/// hidden is a multiple of 8; addresses and strides of rows are multiples of 16 bytes. Bits are copied. Zero packets
/// launch nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_packet_unpack(
    device: *mut expertile_device,
    args: *const expertile_packet_unpack_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<PacketUnpackOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
