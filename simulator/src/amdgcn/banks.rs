//! The banks of LDS: how many passes an instruction needs.
//!
//! LDS serves some lanes of a wave at a time, a word of four bytes of each bank. gfx942 and gfx950 as
//! measured for `ds_read_b32`, `b64` and `b128` (nod-ai, "AMDGPU Kernel Optimization Guide", and the
//! phases that AMD names for `ds_write_b128`, "Understanding AMD GPU LDS and Bank Conflicts").
//! Assumed: gfx90a is as gfx942; three words are served for eight lanes in order; on gfx950 all but
//! reads of one, two and four words see 32 banks and gfx942's phases; atomics are as writes.

use super::decode::Architecture;
use super::wave::lanes_of;

/// Lanes that are served at a time, and the banks.
struct Phases {
    groups: &'static [u64],
    banks: usize,
}

/// Eight groups of eight, as reads of 16 bytes are served.
static READ_EIGHTS: [u64; 8] = both_halves([0x00F0_000F, 0x000F_00F0, 0xF000_0F00, 0x0F00_F000]);
/// Four groups of sixteen, as gfx950 does.
static READ_SIXTEENS: [u64; 4] = both_halves([0x0FF0_F00F, 0xF00F_0FF0]);
static EIGHTS: [u64; 8] = in_order(8);
static SIXTEENS: [u64; 4] = in_order(16);
static HALVES: [u64; 2] = in_order(32);
static ALL: [u64; 1] = [u64::MAX];

const fn in_order<const N: usize>(lanes: u32) -> [u64; N] {
    let mut groups = [0; N];
    let mut at = 0;
    while at < N {
        groups[at] = (u64::MAX >> (64 - lanes)) << (at as u32 * lanes);
        at += 1;
    }
    groups
}

/// The groups of the lower 32 lanes, and the same of the upper ones.
const fn both_halves<const N: usize, const M: usize>(lower: [u32; N]) -> [u64; M] {
    let mut groups = [0; M];
    let mut at = 0;
    while at < M {
        groups[at] = (lower[at / 2] as u64) << (32 * (at % 2));
        at += 1;
    }
    groups
}

fn phases(architecture: Architecture, reads: bool, bytes: u32) -> Phases {
    let is_wide = architecture == Architecture::Gfx950 && reads;
    let (groups, banks): (&[u64], _) = match bytes {
        0..=4 if is_wide => (&ALL, 64),
        5..=8 if is_wide => (&HALVES, 64),
        16 if is_wide => (&READ_SIXTEENS, 64),
        0..=4 => (&HALVES, 32),
        5..=8 => (&SIXTEENS, 32),
        16 if reads => (&READ_EIGHTS, 32),
        _ => (&EIGHTS, 32),
    };
    Phases { groups, banks }
}

/// The passes that an access needs, and how many of them are due to conflicts. Lanes that touch the
/// same word are served together.
pub(super) fn passes(
    architecture: Architecture,
    reads: bool,
    bytes: u32,
    lanes: u64,
    addresses: &[u64; 64],
) -> (u64, u64) {
    let Phases { groups, banks } = phases(architecture, reads, bytes);
    let (mut passes, mut conflicts) = (0, 0);
    for group in groups.iter().map(|group| group & lanes).filter(|&group| group != 0) {
        let needed = passes_of_group(banks, bytes, group, addresses);
        passes += needed;
        conflicts += needed - 1;
    }
    (passes, conflicts)
}

fn passes_of_group(banks: usize, bytes: u32, group: u64, addresses: &[u64; 64]) -> u64 {
    // The different words of each bank. The first is kept apart: mostly it is the only one.
    let (mut first, mut counts) = ([0; 64], [0u8; 64]);
    let mut more = [0; 64];
    let mut count = 0;
    for lane in lanes_of(group) {
        let start = addresses[lane] / 4;
        for word in start..start + u64::from(bytes.div_ceil(4)) {
            let bank = word as usize % banks;
            if counts[bank] == 0 {
                first[bank] = word;
                counts[bank] = 1;
            } else if first[bank] != word && !more[..count].contains(&word) {
                more[count] = word;
                count += 1;
                counts[bank] += 1;
            }
        }
    }
    counts.into_iter().max().unwrap_or(0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(architecture: Architecture, reads: bool, bytes: u32, stride: u64) -> (u64, u64) {
        let addresses = std::array::from_fn(|lane| lane as u64 * stride);
        passes(architecture, reads, bytes, u64::MAX, &addresses)
    }

    #[test]
    fn lanes_in_order_do_not_conflict() {
        for architecture in [Architecture::Gfx90a, Architecture::Gfx942] {
            for reads in [false, true] {
                let found =
                    [4, 8, 12, 16].map(|bytes| count(architecture, reads, bytes, bytes.into()));
                assert_eq!(found, [(2, 0), (4, 0), (8, 0), (8, 0)], "{architecture:?} {reads}");
            }
        }
        let found = [4, 8, 16].map(|bytes| count(Architecture::Gfx950, true, bytes, bytes.into()));
        assert_eq!(found, [(1, 0), (2, 0), (4, 0)]);
        let found = [4, 8, 16].map(|bytes| count(Architecture::Gfx950, false, bytes, bytes.into()));
        assert_eq!(found, [(2, 0), (4, 0), (8, 0)]);
    }

    #[test]
    fn columns_conflict() {
        assert_eq!(count(Architecture::Gfx942, true, 4, 128), (64, 62));
        assert_eq!(count(Architecture::Gfx950, true, 4, 128), (32, 31));
        assert_eq!(count(Architecture::Gfx950, true, 4, 256), (64, 63));
        assert_eq!(count(Architecture::Gfx942, true, 4, 132), (2, 0));
        assert_eq!(count(Architecture::Gfx942, true, 1, 1), (2, 0));
        assert_eq!(count(Architecture::Gfx942, true, 4, 0), (2, 0));
    }

    /// Rows of 64 bytes, 16 lanes down a column of 16 bytes each: two lanes of four words share a bank
    /// in each group, and none if the rows' words are exchanged by twos.
    #[test]
    fn reads_of_16_bytes_are_served_out_of_order() {
        let rows = |swizzle: bool| {
            let place = |lane: usize| {
                let (row, column) = (lane as u64 % 16, lane as u64 / 16);
                64 * row + 16 * (column ^ if swizzle { row / 2 % 4 } else { 0 })
            };
            passes(Architecture::Gfx942, true, 16, u64::MAX, &std::array::from_fn(place))
        };
        assert_eq!(rows(false), (16, 8));
        assert_eq!(rows(true), (8, 0));
        // Lanes 0 to 3 and 20 to 23 go together, 0 and 4 do not.
        let pair = |a: u32, b: u32, architecture| {
            let lanes = 1 << a | 1 << b;
            let addresses = std::array::from_fn(|lane| if lane as u32 == a { 0 } else { 1024 });
            passes(architecture, true, 16, lanes, &addresses)
        };
        assert_eq!(pair(0, 20, Architecture::Gfx942), (2, 1));
        assert_eq!(pair(0, 4, Architecture::Gfx942), (2, 0));
        assert_eq!(pair(0, 12, Architecture::Gfx942), (2, 0));
        assert_eq!(pair(0, 12, Architecture::Gfx950), (2, 1));
        assert_eq!(pair(0, 24, Architecture::Gfx950), (2, 1));
        assert_eq!(pair(0, 4, Architecture::Gfx950), (2, 0));
    }

    #[test]
    fn only_active_lanes_count() {
        let addresses = std::array::from_fn(|lane| lane as u64 * 128);
        assert_eq!(passes(Architecture::Gfx942, true, 4, 0xF, &addresses), (4, 3));
        assert_eq!(passes(Architecture::Gfx942, true, 4, 0, &addresses), (0, 0));
    }
}
