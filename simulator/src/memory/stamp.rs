//! Who made an access and when, in one word; and what the accessor knows of the others.
//!
//! | bits | what |
//! |---|---|
//! | 0..5 | lane |
//! | 5 | several lanes of the warp |
//! | 6 | strong |
//! | 7 | poison: the write left bytes as good as never written |
//! | 8..32 | epoch; 0 is the host, or never |
//! | 32..64 | warp in the grid |

/// Never accessed.
pub(super) const NEVER: u64 = 0;
/// Accessed by the host or by an earlier launch: ordered before everything.
pub(super) const HOST: u64 = 1;
pub(super) const LANE: u64 = 31;
pub(super) const SEVERAL: u64 = 1 << 5;
pub(super) const STRONG: u64 = 1 << 6;
pub(super) const POISON: u64 = 1 << 7;
pub(super) const EPOCH_SHIFT: u32 = 8;
/// The last epoch. It does not end, so accesses stamped with it count as ordered.
pub(super) const LAST_EPOCH: u32 = (1 << 24) - 1;
pub(super) const WARP_SHIFT: u32 = 32;

const EPOCH: u64 = (LAST_EPOCH as u64) << EPOCH_SHIFT;
const WARP: u64 = !0 << WARP_SHIFT;

pub(super) fn warp_of(stamp: u64) -> u64 {
    stamp >> WARP_SHIFT
}

pub(super) fn epoch_of(stamp: u64) -> u32 {
    ((stamp & EPOCH) >> EPOCH_SHIFT) as u32
}

pub(super) fn lane_of(stamp: u64) -> u32 {
    (stamp & LANE) as u32
}

pub(super) fn is_written(stamp: u64) -> bool {
    stamp != NEVER && stamp & POISON == 0
}

/// What a warp can tell of a stamp without its clocks: enough for nearly all stamps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// The warp's stamp now, of lane 0, with `STRONG` if the access is.
    pub(super) me: u64,
    /// Every lane of the warp knows the warp's own epochs up to this one.
    pub(super) own: u64,
    /// The warp knows the epochs of all warps of its block up to this one.
    pub(super) floor: u64,
    /// The block's first warp in the grid.
    pub(super) first_warp: u64,
    /// Warps of the block.
    pub(super) warps: u64,
}

impl Sight {
    /// Whether an access was certainly ordered before one of this warp now; `who` is the lane, with
    /// `SEVERAL` if other lanes do it too.
    #[inline(always)]
    pub(super) fn surely_before(&self, stamp: u64, who: u64) -> bool {
        let epoch = stamp >> EPOCH_SHIFT & LAST_EPOCH as u64;
        let difference = stamp ^ self.me;
        let same_lane = (difference ^ who) & (WARP | SEVERAL | LANE) == 0;
        let same_warp = (difference & WARP == 0) & (epoch <= self.own);
        let warp = (stamp >> WARP_SHIFT).wrapping_sub(self.first_warp) & WARP >> WARP_SHIFT;
        (epoch == 0) | same_lane | same_warp | ((warp < self.warps) & (epoch <= self.floor))
    }
}

/// The lanes of a run of cells: cell `i` belongs to lane `first + (i >> shift)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    pub(super) first: u32,
    pub(super) shift: u32,
    /// Every cell is accessed by several lanes, of which `first` is one.
    pub(super) shared: bool,
}

impl Lanes {
    /// The lane of a cell, with `SEVERAL` if it is not the only one.
    #[inline(always)]
    fn who(&self, cell: usize) -> u64 {
        let (shift, mark) = if self.shared { (63, SEVERAL) } else { (self.shift, 0) };
        (u64::from(self.first).wrapping_add(cell as u64 >> (shift & 63))) | mark
    }
}

/// One of the three records of a run of cells: who last wrote, or who read.
#[derive(Debug)]
pub(super) struct Slots<'a> {
    pub(super) stamps: &'a mut [u64],
    /// Where in the code, for the stamps of this launch.
    pub(super) places: &'a mut [u32],
}

/// What a scan over the cells of a run found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// All earlier writes are certainly ordered before.
    pub(super) ordered: bool,
    /// All cells were written.
    pub(super) written: bool,
}

// The bodies are plain loops over slices of equal length, without calls and overflow checks, so that
// they are compiled to vector code.

/// Checks a read against the writes and enters it, with its place, into the two slots of readers. Of
/// two readers the one ordered before this read goes, else the one that `coin` says.
#[inline(always)]
fn read_body(
    write: &[u64],
    [slot0, slot1]: [Slots<'_>; 2],
    sight: &Sight,
    lanes: Lanes,
    (place, coin): (u32, bool),
) -> Scan {
    let count = write.len();
    let (read0, read1) = (&mut slot0.stamps[..count], &mut slot1.stamps[..count]);
    let (place0, place1) = (&mut slot0.places[..count], &mut slot1.places[..count]);
    let (mut any, mut all) = (0, !0);
    for cell in 0..count {
        any |= write[cell] | read0[cell];
        all &= write[cell];
    }
    if any & EPOCH == 0 {
        for (cell, read0) in read0.iter_mut().enumerate() {
            *read0 = sight.me | lanes.who(cell);
        }
        place0.fill(place);
        return Scan { ordered: true, written: all == HOST };
    }
    let (mut unordered, mut missing) = (0_u64, 0_u64);
    for cell in 0..count {
        let who = lanes.who(cell);
        let me = sight.me | who;
        let written = write[cell];
        unordered |= u64::from(!sight.surely_before(written, who));
        missing |= u64::from((written == NEVER) | (written & POISON != 0));
        let (old0, old1) = (read0[cell], read1[cell]);
        let same0 = (old0 ^ me) & (WARP | EPOCH | STRONG) == 0;
        let same1 = (old1 ^ me) & (WARP | EPOCH | STRONG) == 0;
        let free0 = sight.surely_before(old0, who);
        let free1 = sight.surely_before(old1, who);
        let into0 = same0 | (!same1 & (free0 | (!free1 & coin)));
        let old = if into0 { old0 } else { old1 };
        let several = if (old ^ me) & (LANE | SEVERAL) == 0 { 0 } else { SEVERAL };
        let new = if same0 | same1 { old | several } else { me };
        read0[cell] = if into0 { new } else { old0 };
        read1[cell] = if into0 { old1 } else { new };
        place0[cell] = if into0 { place } else { place0[cell] };
        place1[cell] = if into0 { place1[cell] } else { place };
    }
    Scan { ordered: unordered == 0, written: missing == 0 }
}

/// Whether all earlier writes and reads are certainly ordered before a write. Changes nothing.
#[inline(always)]
fn write_body(write: &[u64], [read0, read1]: [&[u64]; 2], sight: &Sight, lanes: Lanes) -> bool {
    let count = write.len();
    let (read0, read1) = (&read0[..count], &read1[..count]);
    let mut any = 0;
    for cell in 0..count {
        any |= write[cell] | read0[cell] | read1[cell];
    }
    if any & EPOCH == 0 {
        return true;
    }
    let mut unordered = 0_u64;
    for cell in 0..count {
        let who = lanes.who(cell);
        unordered |= u64::from(!sight.surely_before(write[cell], who));
        unordered |= u64::from(!sight.surely_before(read0[cell], who));
        unordered |= u64::from(!sight.surely_before(read1[cell], who));
    }
    unordered == 0
}

/// Cells from which on vector code pays.
#[cfg(target_arch = "x86_64")]
const VECTOR: usize = 4;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn read_avx2(
    write: &[u64],
    reads: [Slots<'_>; 2],
    sight: &Sight,
    lanes: Lanes,
    now: (u32, bool),
) -> Scan {
    read_body(write, reads, sight, lanes, now)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn write_avx2(write: &[u64], reads: [&[u64]; 2], sight: &Sight, lanes: Lanes) -> bool {
    write_body(write, reads, sight, lanes)
}

/// As described at [`read_body`].
pub(super) fn scan_read(
    write: &[u64],
    reads: [Slots<'_>; 2],
    sight: &Sight,
    lanes: Lanes,
    now: (u32, bool),
) -> Scan {
    #[cfg(target_arch = "x86_64")]
    if write.len() >= VECTOR && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { read_avx2(write, reads, sight, lanes, now) };
    }
    read_body(write, reads, sight, lanes, now)
}

/// As described at [`write_body`].
pub(super) fn scan_write(write: &[u64], reads: [&[u64]; 2], sight: &Sight, lanes: Lanes) -> bool {
    #[cfg(target_arch = "x86_64")]
    if write.len() >= VECTOR && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { write_avx2(write, reads, sight, lanes) };
    }
    write_body(write, reads, sight, lanes)
}
