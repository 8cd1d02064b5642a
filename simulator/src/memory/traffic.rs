//! What a launch moves.

use super::page::{Page, SECTOR_SHIFT};
use super::region::Access;
use super::shape::{Shape, lanes_in};

/// Global memory traffic of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that lanes asked to read, each lane's counted.
    pub bytes_read: u64,
    /// Bytes that lanes wrote; of atomics too.
    pub bytes_written: u64,
    /// 32-byte sectors that read instructions touched: each counted once per instruction and warp,
    /// as the memory system serves them.
    pub sectors_read: u64,
    /// The same of writes and atomics.
    pub sectors_written: u64,
    /// Different sectors read in the whole launch: what must come from memory at least once.
    pub unique_sectors_read: u64,
    /// Different sectors written.
    pub unique_sectors_written: u64,
    /// Warp-wide instructions that read or wrote.
    pub instructions: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, other: &Traffic) {
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.sectors_read += other.sectors_read;
        self.sectors_written += other.sectors_written;
        self.unique_sectors_read += other.unique_sectors_read;
        self.unique_sectors_written += other.unique_sectors_written;
        self.instructions += other.instructions;
    }
}

/// Shared memory traffic of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedTraffic {
    /// Warp-wide instructions.
    pub instructions: u64,
    /// Passes that 32 banks of 4 bytes need for them; without conflicts, one for each 128 bytes.
    /// 8-byte accesses are served by half-warps, 16-byte accesses by quarter-warps.
    pub passes: u64,
    /// Passes beyond what the bytes need: conflicts.
    pub conflicts: u64,
}

impl SharedTraffic {
    pub(crate) fn add(&mut self, other: &SharedTraffic) {
        self.instructions += other.instructions;
        self.passes += other.passes;
        self.conflicts += other.conflicts;
    }
}

/// The counts of one region.
#[derive(Debug, Default)]
pub(super) struct Counts {
    is_shared: bool,
    /// What comes now is not counted.
    pub(super) is_paused: bool,
    /// The launch that `traffic` is of.
    launch: u32,
    traffic: Traffic,
    pub(super) shared: SharedTraffic,
}

impl Counts {
    pub(super) fn global() -> Counts {
        Counts::default()
    }

    pub(super) fn shared() -> Counts {
        Counts { is_shared: true, ..Counts::default() }
    }

    /// The traffic of that launch.
    pub(super) fn of_launch(&self, launch: u32) -> Traffic {
        if self.launch == launch { self.traffic } else { Traffic::default() }
    }

    /// An instruction is about to touch the region.
    #[inline]
    pub(super) fn instruction(
        &mut self,
        launch: u32,
        access: &Access<'_>,
        base: u64,
        shape: Shape,
        write: bool,
    ) {
        if self.is_paused {
            return;
        }
        if self.is_shared {
            let (passes, conflicts) = passes(access, shape);
            self.shared.instructions += 1;
            self.shared.passes += passes;
            self.shared.conflicts += conflicts;
            return;
        }
        if self.launch != launch {
            self.launch = launch;
            self.traffic = Traffic::default();
        }
        let bytes = u64::from(access.bytes) * u64::from(access.mask.count_ones());
        let sectors = sectors(access, base, shape);
        let traffic = &mut self.traffic;
        traffic.instructions += 1;
        if write {
            traffic.bytes_written += bytes;
            traffic.sectors_written += sectors;
        } else {
            traffic.bytes_read += bytes;
            traffic.sectors_read += sectors;
        }
    }

    /// A part of it touches these bytes of a page.
    #[inline]
    pub(super) fn run(&mut self, page: &mut Page, start: usize, length: usize, write: bool) {
        if self.is_shared || self.is_paused {
            return;
        }
        let (first, last) = (start >> SECTOR_SHIFT, (start + length - 1) >> SECTOR_SHIFT);
        let mask = (u128::MAX >> (127 - (last - first))) << first;
        let seen = &mut page.sectors[usize::from(write)];
        let fresh = u64::from((mask & !*seen).count_ones());
        *seen |= mask;
        if write {
            self.traffic.unique_sectors_written += fresh;
        } else {
            self.traffic.unique_sectors_read += fresh;
        }
    }
}

/// The different sectors of one instruction.
fn sectors(access: &Access<'_>, base: u64, shape: Shape) -> u64 {
    if shape == Shape::Uniform {
        return 1;
    }
    if shape == Shape::Contiguous {
        let first = access.addresses[0] - base;
        let last = first + 32 * u64::from(access.bytes) - 1;
        return (last >> SECTOR_SHIFT) - (first >> SECTOR_SHIFT) + 1;
    }
    // No lane straddles two sectors: accesses are aligned and at most 16 bytes.
    let mut all = [0; 32];
    let mut count = 0;
    for lane in access.lanes() {
        let sector = access.addresses[lane as usize] >> SECTOR_SHIFT;
        if count == 0 || all[count - 1] != sector {
            all[count] = sector;
            count += 1;
        }
    }
    let all = &mut all[..count];
    if !all.is_sorted() {
        all.sort_unstable();
    }
    1 + all.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}

/// The passes that 32 banks of 4 bytes need, and how many of them are due to conflicts. Lanes that
/// read the same word of a bank are served together.
fn passes(access: &Access<'_>, shape: Shape) -> (u64, u64) {
    let groups = (access.bytes / 4).max(1);
    if shape == Shape::Contiguous {
        return (groups.into(), 0);
    }
    let lanes_of_group = 32 / groups;
    let (mut passes, mut conflicts) = (0, 0);
    for group in 0..groups {
        let mask = (u32::MAX >> (32 - lanes_of_group)) << (group * lanes_of_group) & access.mask;
        if mask == 0 {
            continue;
        }
        let needed = if shape == Shape::Uniform { 1 } else { passes_of_group(access, mask) };
        passes += needed;
        conflicts += needed - 1;
    }
    (passes, conflicts)
}

fn passes_of_group(access: &Access<'_>, mask: u32) -> u64 {
    // The different words of each bank. The first is kept apart: mostly it is the only one.
    let (mut first, mut used) = ([0; 32], 0_u32);
    let mut more = [0; 32];
    let mut count = 0;
    for lane in lanes_in(mask) {
        let word = access.addresses[lane as usize] / 4;
        for word in word..word + u64::from(access.bytes.div_ceil(4)) {
            let bank = (word % 32) as usize;
            if used >> bank & 1 == 0 {
                used |= 1 << bank;
                first[bank] = word;
            } else if first[bank] != word && !more[..count].contains(&word) {
                more[count] = word;
                count += 1;
            }
        }
    }
    let mut load = [1; 32];
    for word in &more[..count] {
        load[(word % 32) as usize] += 1;
    }
    if count == 0 { 1 } else { load.into_iter().max().unwrap_or(1) }
}
