//! `cuTensorMapEncodeTiled`: the documented conditions, and an encoding of our own.
//!
//! # Layout of the 128 bytes (little endian)
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 8 | global address |
//! | 16 | 20 | five extents less 1, u32 each (0 beyond the rank) |
//! | 36 | 20 | strides of dimensions 1 to 4 in units of 16 bytes, 40 bits each |
//! | 56 | 5 | box extents less 1 |
//! | 61 | 5 | element strides |
//! | 66 | 6 | rank, data type, interleave, swizzle, L2 promotion, out-of-bounds fill |
//! | 72 | 56 | zero |

use super::error::{Code, Result, refuse};
use super::ffi::{In, Out, call};

/// Marks 128 bytes as a tensor map of this simulator.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"exp-tmap");

/// The caller's 128 bytes, 64-byte aligned.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TensorMap([u8; 128]);

/// What the caller describes.
struct Tiled {
    address: u64,
    extents: Vec<u64>,
    strides: Vec<u64>,
    boxes: Vec<u32>,
    element_strides: Vec<u32>,
    data_type: u32,
    interleave: u32,
    swizzle: u32,
    promotion: u32,
    fill: u32,
}

/// Element sizes by `CUtensorMapDataType`. The packed types that follow need compute capability 10.
pub(crate) const ELEMENT_BYTES: [u32; 13] = [1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4];
/// The first and the integer ones among them.
const INTEGERS: std::ops::Range<u32> = 0..6;
const INTERLEAVE_32B: u32 = 2;
const SWIZZLE_32B: u32 = 1;
/// Widths by `CUtensorMapSwizzle`. The patterns that follow need compute capability 10.
const SWIZZLE_BYTES: [u32; 4] = [0, 32, 64, 128];

impl Tiled {
    fn check(&self) -> Result<()> {
        let invalid = |reason: String| refuse(Code::INVALID_VALUE, reason);
        let rank = self.extents.len();
        let Some(&element_bytes) = ELEMENT_BYTES.get(self.data_type as usize) else {
            return invalid(format!("data type {}", self.data_type));
        };
        let Some(&swizzle_bytes) = SWIZZLE_BYTES.get(self.swizzle as usize) else {
            return invalid(format!("swizzle {}", self.swizzle));
        };
        if self.interleave > INTERLEAVE_32B || self.promotion > 3 || self.fill > 1 {
            let Tiled { interleave, promotion, fill, .. } = self;
            return invalid(format!(
                "interleave {interleave}, L2 promotion {promotion}, out-of-bounds fill {fill}"
            ));
        }
        if self.interleave != 0 && rank < 3 {
            return invalid(format!("interleaved with rank {rank}, at least 3"));
        }
        let alignment = if self.interleave == INTERLEAVE_32B { 32 } else { 16 };
        if !self.address.is_multiple_of(alignment) {
            return invalid(format!("address {:#x}, no multiple of {alignment}", self.address));
        }
        if self.extents.iter().any(|extent| !(1..=1 << 32).contains(extent)) {
            return invalid(format!("extents {:?}, each from 1 to 2^32", self.extents));
        }
        if self.strides.iter().any(|stride| !stride.is_multiple_of(alignment) || *stride >= 1 << 40)
        {
            return invalid(format!(
                "strides {:?}, multiples of {alignment} below 2^40",
                self.strides
            ));
        }
        if self.boxes.iter().any(|extent| !(1..=256).contains(extent)) {
            return invalid(format!("box {:?}, each from 1 to 256", self.boxes));
        }
        let checked = if self.interleave == 0 { 1 } else { 0 };
        if self.element_strides[checked..].iter().any(|stride| !(1..=8).contains(stride)) {
            return invalid(format!(
                "element strides {:?}, each from 1 to 8",
                self.element_strides
            ));
        }
        let inner_bytes = self.boxes[0] * element_bytes;
        if self.interleave == 0 && !inner_bytes.is_multiple_of(16) {
            return invalid(format!("the box has {inner_bytes} bytes inside, no multiple of 16"));
        }
        if self.interleave == 0 && swizzle_bytes > 0 && inner_bytes > swizzle_bytes {
            return invalid(format!(
                "the box has {inner_bytes} bytes inside, the swizzle {swizzle_bytes}"
            ));
        }
        if self.interleave == INTERLEAVE_32B && self.swizzle != SWIZZLE_32B {
            return invalid(format!("32-byte interleave with swizzle {}", self.swizzle));
        }
        if self.fill == 1 && INTEGERS.contains(&self.data_type) {
            return invalid(format!("NaN fill of integers (data type {})", self.data_type));
        }
        Ok(())
    }

    fn encode(&self) -> TensorMap {
        let mut bytes = [0; 128];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.address.to_le_bytes());
        for (dimension, extent) in self.extents.iter().enumerate() {
            let at = 16 + 4 * dimension;
            bytes[at..at + 4].copy_from_slice(&((extent - 1) as u32).to_le_bytes());
            bytes[56 + dimension] = (self.boxes[dimension] - 1) as u8;
            // The stride inside a row is ignored without interleave, whatever it is.
            let ignored = dimension == 0 && self.interleave == 0;
            bytes[61 + dimension] = if ignored { 1 } else { self.element_strides[dimension] as u8 };
        }
        for (index, stride) in self.strides.iter().enumerate() {
            let at = 36 + 5 * index;
            bytes[at..at + 5].copy_from_slice(&(stride / 16).to_le_bytes()[..5]);
        }
        let modes = [self.data_type, self.interleave, self.swizzle, self.promotion, self.fill];
        bytes[66] = self.extents.len() as u8;
        for (place, mode) in bytes[67..72].iter_mut().zip(modes) {
            *place = mode as u8;
        }
        TensorMap(bytes)
    }
}

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
        tiled.check()?;
        map.set(tiled.encode())
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
