//! Tensor maps as the device reads them: the pieces of a box in global memory, and where its chunks go
//! in shared memory (PTX ISA, "Tensors"; the encoding is that of [`tensor_map`](crate::tensor_map)).

use super::transfer::{CHUNK, Piece};
use crate::tensor_map::{BYTES, ELEMENT_BYTES, MAGIC};

/// What a tensor map says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorMap {
    address: u64,
    pub(super) rank: usize,
    extents: [u64; 5],
    /// In bytes, from dimension 1 on.
    strides: [u64; 4],
    boxes: [u64; 5],
    element_bytes: u64,
    swizzle: u32,
    fills_nan: bool,
}

impl TensorMap {
    /// # Errors
    ///
    /// What is wrong, or not modelled.
    pub(super) fn decode(bytes: &[u8; BYTES]) -> Result<TensorMap, String> {
        let number = |at: usize, count: usize| {
            let mut word = [0; 8];
            word[..count].copy_from_slice(&bytes[at..at + count]);
            u64::from_le_bytes(word)
        };
        let magic = number(0, 8);
        if magic != MAGIC {
            return Err(format!("no tensor map: it begins with {magic:#018x}"));
        }
        let (rank, data_type) = (usize::from(bytes[66]), usize::from(bytes[67]));
        let strides = &bytes[61..61 + rank.min(5)];
        let refused = match bytes[68] {
            _ if data_type > 9 => Some(format!("tensor maps of data type {data_type}")),
            0 => None,
            interleave => Some(format!("interleave {interleave}")),
        };
        let strided = strides.iter().any(|&stride| stride != 1);
        let refused = refused.or_else(|| strided.then(|| format!("element strides {strides:?}")));
        if let Some(what) = refused {
            return Err(format!("{what}: not modelled"));
        }
        Ok(TensorMap {
            address: number(8, 8),
            rank,
            extents: std::array::from_fn(|at| number(16 + 4 * at, 4) + 1),
            strides: std::array::from_fn(|at| 16 * number(36 + 5 * at, 5)),
            boxes: std::array::from_fn(|at| u64::from(bytes[56 + at]) + 1),
            element_bytes: ELEMENT_BYTES[data_type].into(),
            swizzle: bytes[69].into(),
            fills_nan: bytes[71] == 1,
        })
    }

    fn row_bytes(&self) -> u64 {
        self.boxes[0] * self.element_bytes
    }

    fn rows(&self) -> u64 {
        self.boxes[1..self.rank].iter().product()
    }

    /// Bytes of a box, those outside the tensor too.
    pub(super) fn box_bytes(&self) -> u64 {
        self.rows() * self.row_bytes()
    }

    /// The runs of the box at these coordinates that lie in the tensor.
    pub(super) fn pieces(&self, coordinates: &[i32]) -> Vec<Piece> {
        let at = |dimension: usize, index: u64| i64::from(coordinates[dimension]) + index as i64;
        let within = |dimension: usize, coordinate: i64| {
            (0..self.extents[dimension] as i64).contains(&coordinate)
        };
        let start = at(0, 0).clamp(0, self.extents[0] as i64);
        let end = at(0, self.boxes[0]).clamp(0, self.extents[0] as i64);
        let mut pieces = Vec::new();
        for row in 0..if start < end { self.rows() } else { 0 } {
            let (mut rest, mut inside, mut address) = (row, true, self.address);
            for dimension in 1..self.rank {
                let coordinate = at(dimension, rest % self.boxes[dimension]);
                rest /= self.boxes[dimension];
                inside &= within(dimension, coordinate);
                let offset = (coordinate as u64).wrapping_mul(self.strides[dimension - 1]);
                address = address.wrapping_add(offset);
            }
            if inside {
                let first = (start - at(0, 0)) as u64 * self.element_bytes;
                pieces.push(Piece {
                    address: address.wrapping_add(start as u64 * self.element_bytes),
                    at: (row * self.row_bytes() + first) as u32,
                    bytes: ((end - start) as u64 * self.element_bytes) as u32,
                });
            }
        }
        pieces
    }

    /// A box of what is filled in outside the tensor: zeros, or NaNs.
    pub(super) fn filled(&self) -> Vec<u8> {
        let bytes = self.box_bytes() as usize;
        if !self.fills_nan {
            return vec![0; bytes];
        }
        let size = self.element_bytes as usize;
        // Quiet, with all other bits set: which NaN it is, is not documented.
        (0..bytes).map(|at| if at % size == size - 1 { 0x7F } else { 0xFF }).collect()
    }

    /// Where the chunks of a box lie that starts at an offset in shared memory.
    pub(super) fn chunks(&self, start: u64) -> Vec<u64> {
        let chunks = self.box_bytes() / CHUNK as u64;
        (0..chunks).map(|chunk| swizzled(start + chunk * CHUNK as u64, self.swizzle)).collect()
    }
}

/// Modes 1 to 3 exchange chunks of 16 bytes within 32, 64 or 128 bytes, by bits 7 to 9 of the address.
fn swizzled(address: u64, mode: u32) -> u64 {
    let chunks = (1 << mode) - 1;
    address ^ (address >> 7 & chunks) << 4
}
