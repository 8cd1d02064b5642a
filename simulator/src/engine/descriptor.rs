//! Where a matrix of wgmma lies in shared memory (PTX ISA, "Shared Memory Matrix Layout" and "Matrix
//! Descriptor Format").
//!
//! A matrix of 16 bytes' chunks has `extent` rows (M or N) of 16 halves (K). K-major: chunk `c` of row `r`
//! holds eight halves along K; MN-major: chunk `k` of group `g` holds those of eight rows. With `w` the
//! swizzle's width in bytes, from the start:
//!
//! | major | no swizzle | swizzle |
//! |---|---|---|
//! | K | `r / 8 * SBO + r % 8 * 16 + c * LBO` | `r / 8 * SBO + r % 8 * w + c * 16` |
//! | MN | `g * SBO + k % 8 * 16 + k / 8 * LBO` | `g / (w / 16) * LBO + g % (w / 16) * 16 + k % 8 * w + k / 8 * SBO` |
//!
//! Then bits 4 to 6 of the address are flipped by bits 7 to 9 as the swizzle says: all three, the lower
//! two, or the lowest.

/// A descriptor in parts. Offsets are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    start: u64,
    leading: u64,
    stride: u64,
    /// Bytes of a row of the swizzle's pattern; none without.
    width: Option<u64>,
}

/// Eight halves that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) address: u64,
    /// The first half's row, and its place along K.
    pub(super) row: usize,
    pub(super) k: usize,
}

impl Descriptor {
    /// Takes a descriptor apart.
    ///
    /// # Errors
    ///
    /// What of it is not modelled.
    pub(super) fn decode(bits: u64) -> Result<Descriptor, String> {
        let base_offset = bits >> 49 & 7;
        if base_offset != 0 {
            return Err(format!("the descriptor {bits:#018x} has the base offset {base_offset}"));
        }
        const RESERVED: u64 = 0x3FF1_C000_C000_C000;
        if bits & RESERVED != 0 {
            let set = bits & RESERVED;
            return Err(format!("the descriptor {bits:#018x} has the reserved bits {set:#x}"));
        }
        let field = |shift: u32| (bits >> shift & 0x3FFF) << 4;
        let width = [None, Some(128), Some(64), Some(32)][(bits >> 62) as usize];
        Ok(Descriptor { start: field(0), leading: field(16), stride: field(32), width })
    }

    /// The chunks of a matrix with that many rows, in order of their rows.
    pub(super) fn chunks(self, extent: usize, transposed: bool) -> impl Iterator<Item = Chunk> {
        let Descriptor { start, leading, stride, width } = self;
        let per_group = if transposed { 16 } else { 2 };
        let groups = if transposed { extent / 8 } else { extent };
        (0..groups * per_group).map(move |at| {
            let (group, part) = ((at / per_group) as u64, (at % per_group) as u64);
            let offset = match (transposed, width) {
                (false, None) => group / 8 * stride + group % 8 * 16 + part * leading,
                (false, Some(width)) => group / 8 * stride + group % 8 * width + part * 16,
                (true, None) => group * stride + part % 8 * 16 + part / 8 * leading,
                (true, Some(width)) => {
                    let (outer, inner) = (group / (width / 16), group % (width / 16));
                    outer * leading + inner * 16 + part % 8 * width + part / 8 * stride
                }
            };
            let address = start + offset;
            let flips = width.map_or(0, |width| address >> 3 & (width - 16));
            let address = address ^ flips;
            match transposed {
                false => Chunk { address, row: group as usize, k: 8 * part as usize },
                true => Chunk { address, row: 8 * group as usize, k: part as usize },
            }
        })
    }
}
