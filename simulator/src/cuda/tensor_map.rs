//! `cuTensorMapEncodeTiled`: the documented conditions, and an encoding of our own.

use super::error::{Code, refuse};
use super::ffi::{In, Out, call};
use crate::tensor_map::{BYTES, INTERLEAVE_32B, MAGIC, Tiled};

/// The caller's 128 bytes, 64-byte aligned.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TensorMap([u8; BYTES]);

#[unsafe(no_mangle)]
extern "C" fn cuTensorMapEncodeTiled(
    map: Out<TensorMap>,
    data_type: u32,
    rank: u32,
    address: u64,
    extents: In<u64>,
    strides: In<u64>,
    boxes: In<u32>,
    element_strides: In<u32>,
    interleave: u32,
    swizzle: u32,
    promotion: u32,
    fill: u32,
) -> u32 {
    call("cuTensorMapEncodeTiled", |driver| {
        let context = driver.current()?;
        let card = driver.devices[driver.device_of(context)?].architecture;
        if card.major < 9 {
            return refuse(Code::NOT_SUPPORTED, format!("{} has no tensor maps", card.name));
        }
        if !map.address().is_multiple_of(64) {
            let reason = format!("the map is at {:#x}, no multiple of 64", map.address());
            return refuse(Code::INVALID_VALUE, reason);
        }
        if !(1..=5).contains(&rank) {
            return refuse(Code::INVALID_VALUE, format!("rank {rank}, from 1 to 5"));
        }
        let rank = rank as usize;
        let tiled = Tiled {
            address,
            extents: extents.all(rank)?,
            strides: strides.all(rank - 1)?,
            boxes: boxes.all(rank)?,
            element_strides: element_strides.all(rank)?,
            data_type,
            interleave,
            swizzle,
            promotion,
            fill,
        };
        tiled.check().or_else(|reason| refuse(Code::INVALID_VALUE, reason))?;
        map.set(TensorMap(tiled.encode()))
    })
}

/// Puts another address into a tensor map.
#[unsafe(no_mangle)]
extern "C" fn cuTensorMapReplaceAddress(map: super::ffi::InOut<TensorMap>, address: u64) -> u32 {
    call("cuTensorMapReplaceAddress", |_| {
        let TensorMap(mut bytes) = map.get()?;
        if bytes[..8] != MAGIC.to_le_bytes() {
            return refuse(Code::INVALID_VALUE, "no tensor map of this driver");
        }
        let alignment = if u32::from(bytes[68]) == INTERLEAVE_32B { 32 } else { 16 };
        if !address.is_multiple_of(alignment) {
            let reason = format!("address {address:#x}, no multiple of {alignment}");
            return refuse(Code::INVALID_VALUE, reason);
        }
        bytes[8..16].copy_from_slice(&address.to_le_bytes());
        map.set(TensorMap(bytes))
    })
}
