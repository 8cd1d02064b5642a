//! Tensor maps: what `cuTensorMapEncodeTiled` is told, the documented conditions, and an encoding of our
//! own, which the engine decodes.
//!
//! # Layout of the 128 bytes (little endian)
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `exp-tmap`, eight letters |
//! | 8 | 8 | global address |
//! | 16 | 20 | five extents less 1, u32 each (0 beyond the rank) |
//! | 36 | 20 | strides of dimensions 1 to 4 in units of 16 bytes, 40 bits each |
//! | 56 | 5 | box extents less 1 |
//! | 61 | 5 | element strides |
//! | 66 | 6 | rank, data type, interleave, swizzle, L2 promotion, out-of-bounds fill |
//! | 72 | 56 | zero |

/// Marks 128 bytes as a tensor map of this simulator.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"exp-tmap");
/// Of a tensor map.
pub const BYTES: usize = 128;

/// Element sizes by `CUtensorMapDataType`. The packed types that follow need compute capability 10.
pub(crate) const ELEMENT_BYTES: [u32; 13] = [1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4];
/// The first and the integer ones among them.
const INTEGERS: std::ops::Range<u32> = 0..6;
pub(crate) const INTERLEAVE_32B: u32 = 2;
const SWIZZLE_32B: u32 = 1;
/// Widths by `CUtensorMapSwizzle`. The patterns that follow need compute capability 10.
const SWIZZLE_BYTES: [u32; 4] = [0, 32, 64, 128];

/// A tensor and its boxes. Lists are innermost first; modes are numbers as the driver's enumerations have
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiled {
    /// In global memory.
    pub address: u64,
    /// In elements.
    pub extents: Vec<u64>,
    /// In bytes, from the second dimension on.
    pub strides: Vec<u64>,
    /// Extents of a box in elements.
    pub boxes: Vec<u32>,
    /// How many elements on the next of a box is.
    pub element_strides: Vec<u32>,
    /// `CUtensorMapDataType`.
    pub data_type: u32,
    /// `CUtensorMapInterleave`.
    pub interleave: u32,
    /// `CUtensorMapSwizzle`.
    pub swizzle: u32,
    /// `CUtensorMapL2promotion`.
    pub promotion: u32,
    /// `CUtensorMapFloatOOBfill`.
    pub fill: u32,
}

impl Tiled {
    /// The documented conditions.
    ///
    /// # Errors
    ///
    /// The one that does not hold, with its numbers.
    pub fn check(&self) -> Result<(), String> {
        let invalid = |reason: String| Err(reason);
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

    /// The 128 bytes.
    pub fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
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
        bytes
    }
}
