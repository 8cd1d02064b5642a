//! Seeded choices.

/// A small generator (splitmix64): the same seed, the same choices.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed ^ 0x6A09_E667_F3BC_C909)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `count`, which is not 0.
    pub(crate) fn below(&mut self, count: u32) -> u32 {
        (((self.next() >> 32) * u64::from(count)) >> 32) as u32
    }

    /// The lanes of a mask in random order.
    pub(super) fn order(&mut self, mask: u32) -> ([u32; 32], usize) {
        let mut lanes = [0; 32];
        let mut count = 0;
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            let at = self.below(count as u32 + 1) as usize;
            lanes[count] = lanes[at];
            lanes[at] = lane;
            count += 1;
        }
        (lanes, count)
    }
}
