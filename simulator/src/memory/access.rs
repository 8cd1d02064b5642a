//! The accesses of a warp, by runs of lanes.

use super::Clocks;
use super::page::{Cells, PAGE, PAGE_SHIFT};
use super::places::Places;
use super::region::{Access, AccessFault, Finding, Order, Region};
use super::stamp::{self, Lanes, POISON, STRONG, Sight};

/// Lanes whose accesses lie side by side in one page, or (`shared`) all at one place.
struct Run {
    lane: u32,
    lanes: u32,
    page: usize,
    /// In the page.
    start: usize,
    /// In bytes.
    length: usize,
    shared: bool,
}

impl Run {
    fn mask(&self) -> u32 {
        (u32::MAX >> (32 - self.lanes)) << self.lane
    }

    fn cells_of_lane(&self, cells: &Cells<'_>, access: &Access<'_>) -> Lanes {
        let shift = access.bytes.trailing_zeros() - cells.shift;
        Lanes { first: self.lane, shift, shared: self.shared }
    }

    /// The lanes that access a cell of the run.
    fn lanes_of(&self, lanes: Lanes, cell: usize) -> std::ops::Range<u32> {
        if self.shared {
            self.lane..self.lane + self.lanes
        } else {
            let lane = self.lane + (cell >> lanes.shift) as u32;
            lane..lane + 1
        }
    }
}

impl Access<'_> {
    pub(super) fn is_strong(&self) -> bool {
        self.order != Order::Weak
    }

    fn acquires(&self) -> bool {
        matches!(self.order, Order::Acquire | Order::AcquireRelease)
    }

    fn releases(&self) -> bool {
        matches!(self.order, Order::Release | Order::AcquireRelease)
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = u32> + use<> {
        let mut rest = self.mask;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let lane = rest.trailing_zeros();
                rest &= rest - 1;
                lane
            })
        })
    }

    /// All 32 lanes, side by side.
    pub(super) fn is_contiguous(&self) -> bool {
        let first = self.addresses[0];
        self.mask == u32::MAX
            && (0..32).fold(true, |all, lane| {
                all & (self.addresses[lane]
                    == first.wrapping_add(lane as u64 * u64::from(self.bytes)))
            })
    }

    /// The first lane that cannot access `start..start + size`: as a fault if it is misaligned.
    pub(super) fn fault(&self, start: u64, size: u64) -> Option<Result<AccessFault, u32>> {
        debug_assert!(self.bytes.is_power_of_two() && self.bytes <= 16);
        let bytes = u64::from(self.bytes);
        let misaligned = |address: u64| address & (bytes - 1) != 0;
        let outside = |address: u64| {
            let offset = address.wrapping_sub(start);
            offset >= size || size - offset < bytes
        };
        let any = (0..32).fold(false, |any, lane| {
            let address = self.addresses[lane];
            any | (self.mask >> lane & 1 == 1) & (misaligned(address) | outside(address))
        });
        if !any {
            return None;
        }
        self.lanes().find_map(|lane| {
            let address = self.addresses[lane as usize];
            if misaligned(address) {
                Some(Ok(AccessFault::Misaligned { lane, address }))
            } else {
                outside(address).then_some(Err(lane))
            }
        })
    }

    /// Calls `each` for every run; `join` makes lanes at one place one run.
    fn for_runs(&self, base: u64, contiguous: bool, join: bool, mut each: impl FnMut(Run)) {
        let bytes = self.bytes as usize;
        let mut lane = 0;
        while lane < 32 {
            if self.mask >> lane & 1 == 0 {
                lane += 1;
                continue;
            }
            let address = self.addresses[lane as usize];
            let offset = address - base;
            let (page, start) = ((offset >> PAGE_SHIFT) as usize, offset as usize % PAGE);
            let fit = ((PAGE - start) / bytes).min(32 - lane as usize) as u32;
            let active = (!(self.mask >> lane)).trailing_zeros().min(32 - lane);
            let while_at = |step: u64, most: u32| {
                let at = |next: &u32| {
                    let expected = address + u64::from(*next) * step;
                    self.addresses[(lane + *next) as usize] == expected
                };
                (1..most.min(active)).take_while(at).count() as u32 + 1
            };
            let same = if join && !contiguous { while_at(0, 32) } else { 1 };
            let lanes = match (contiguous, same) {
                (true, _) => fit,
                (false, 1) => while_at(bytes as u64, fit),
                (false, same) => same,
            };
            let length = if same > 1 { bytes } else { lanes as usize * bytes };
            each(Run { lane, lanes, page, start, length, shared: same > 1 });
            lane += lanes;
        }
    }
}

/// Looks for the access that another one is not ordered with.
struct Judge<'a, 'b> {
    clocks: &'a mut Clocks,
    access: &'a Access<'b>,
    findings: &'a mut Vec<Finding>,
    /// A finding was made for this instruction.
    found: bool,
}

impl Judge<'_, '_> {
    /// Whether this lane's access races with the earlier one at `at` in the region.
    fn races(
        &mut self,
        places: &Places,
        stamp: u64,
        read: bool,
        lane: u32,
        at: (u64, u64),
    ) -> bool {
        let strong = stamp & STRONG != 0;
        if strong && self.access.is_strong() {
            return false;
        }
        !self.clocks.is_before(stamp, self.access.warp, lane)
            && !(strong && !read && places.knows(self.clocks, self.access.warp, at.0, at.1))
    }

    fn report(&mut self, stamp: u64, read: bool, lane: u32, address: u64) {
        self.found = true;
        let message =
            self.clocks.describe(stamp, if read { "read" } else { "write" }, self.access.warp);
        self.findings.push(Finding { lane, address, message });
    }
}

impl Region {
    pub(super) fn load_within(
        &mut self,
        base: u64,
        clocks: &mut Clocks,
        access: &Access<'_>,
        out: &mut [u8; 512],
        findings: &mut Vec<Finding>,
    ) -> u32 {
        if access.mask == 0 {
            return 0;
        }
        let launch = clocks.launch();
        let sight = sight(clocks, access);
        let coin = clocks.coin();
        let contiguous = access.is_contiguous();
        self.counts.instruction(launch, access, base, contiguous, false);
        let mut judge = Judge { clocks, access, findings, found: false };
        let bytes = access.bytes as usize;
        let shift = access.bytes.trailing_zeros();
        let generation = self.generation;
        let mut written = 0;
        access.for_runs(base, contiguous, true, |run| {
            let (memory, page, places, counts) = self.page(run.page);
            page.enter(launch, generation);
            counts.run(page, run.start, run.length, false);
            let cells = page.cells(memory, shift, run.start, run.length);
            let lanes = run.cells_of_lane(&cells, access);
            let scan = stamp::scan_read(cells.write, cells.reads, &sight, lanes, coin);
            if !scan.ordered && !judge.found {
                let offset = ((run.page << PAGE_SHIFT) + run.start) as u64;
                for (cell, &stamp) in cells.write.iter().enumerate() {
                    let start = offset + ((cell as u64) << cells.shift);
                    let at = (start, start + (1 << cells.shift));
                    let racing = run
                        .lanes_of(lanes, cell)
                        .find(|&lane| judge.races(places, stamp, false, lane, at));
                    if let Some(lane) = racing {
                        judge.report(stamp, false, lane, base + start);
                        break;
                    }
                }
            }
            if scan.written {
                written |= run.mask();
            } else {
                for (i, of_lane) in cells.write.chunks(bytes >> cells.shift).enumerate() {
                    if of_lane.iter().all(|&stamp| stamp::is_written(stamp)) {
                        written |= if run.shared { run.mask() } else { 1 << (run.lane + i as u32) };
                    }
                }
            }
            let from = &memory[run.start..][..run.length];
            let to = &mut out[run.lane as usize * bytes..][..run.lanes as usize * bytes];
            if run.shared {
                to.chunks_exact_mut(bytes).for_each(|to| to.copy_from_slice(from));
            } else {
                to.copy_from_slice(from);
            }
        });
        if access.is_strong() {
            for lane in access.lanes() {
                self.places.read(
                    judge.clocks,
                    access.warp,
                    range(access, base, lane),
                    access.acquires(),
                );
            }
        }
        written
    }

    pub(super) fn store_within(
        &mut self,
        base: u64,
        clocks: &mut Clocks,
        access: &Access<'_>,
        data: &[u8; 512],
        defined: u32,
        findings: &mut Vec<Finding>,
    ) {
        if access.mask == 0 {
            return;
        }
        let poisoned;
        let data = if access.mask & !defined == 0 {
            data
        } else {
            poisoned = poison(data, access, defined);
            &poisoned
        };
        let launch = clocks.launch();
        let sight = sight(clocks, access);
        let contiguous = access.is_contiguous();
        self.counts.instruction(launch, access, base, contiguous, true);
        let mut judge = Judge { clocks, access, findings, found: false };
        let bytes = access.bytes as usize;
        let shift = access.bytes.trailing_zeros();
        let generation = self.generation;
        access.for_runs(base, contiguous, false, |run| {
            let (memory, page, places, counts) = self.page(run.page);
            page.enter(launch, generation);
            counts.run(page, run.start, run.length, true);
            let cells = page.cells(memory, shift, run.start, run.length);
            let lanes = run.cells_of_lane(&cells, access);
            let [read0, read1] = cells.reads;
            let ordered = stamp::scan_write(cells.write, [read0, read1], &sight, lanes);
            let to = &mut memory[run.start..][..run.length];
            let from = &data[run.lane as usize * bytes..][..run.length];
            if !ordered && !judge.found {
                let offset = ((run.page << PAGE_SHIFT) + run.start) as u64;
                for cell in 0..cells.write.len() {
                    let lane = run.lane + (cell >> lanes.shift) as u32;
                    let inside = cell << cells.shift..(cell + 1) << cells.shift;
                    let start = offset + inside.start as u64;
                    let at = (start, offset + inside.end as u64);
                    let changes = to[inside.clone()] != from[inside];
                    let write = cells.write[cell];
                    let earlier = [(write, false), (read0[cell], true), (read1[cell], true)];
                    let racing = earlier.into_iter().find(|&(stamp, read)| {
                        (read || changes) && judge.races(places, stamp, read, lane, at)
                    });
                    if let Some((stamp, read)) = racing {
                        judge.report(stamp, read, lane, base + start);
                        break;
                    }
                }
            }
            to.copy_from_slice(from);
            let me = sight.me + u64::from(run.lane);
            for (cell, stamp) in cells.write.iter_mut().enumerate() {
                *stamp = me + (cell >> lanes.shift) as u64;
            }
            if run.mask() & !defined != 0 {
                for (cell, stamp) in cells.write.iter_mut().enumerate() {
                    let lane = run.lane + (cell >> lanes.shift) as u32;
                    *stamp |= if defined >> lane & 1 == 1 { 0 } else { POISON };
                }
            }
            // Whoever conflicts with a read from before also conflicts with this write, unless it
            // may be unordered with a strong one.
            if !access.is_strong() {
                read0.fill(stamp::NEVER);
                read1.fill(stamp::NEVER);
            }
        });
        if access.is_strong() {
            for lane in access.lanes() {
                let range = range(access, base, lane);
                self.places.write(judge.clocks, access.warp, range, access.releases(), false);
            }
        }
    }

    pub(super) fn atomic_within(
        &mut self,
        base: u64,
        clocks: &mut Clocks,
        access: &Access<'_>,
        lanes: &[u32],
        update: &mut dyn FnMut(u32, &mut [u8]),
        findings: &mut Vec<Finding>,
    ) -> u32 {
        if access.mask == 0 {
            return 0;
        }
        let launch = clocks.launch();
        let mut sight = sight(clocks, access);
        sight.me |= STRONG;
        self.counts.instruction(launch, access, base, false, true);
        let order = if access.is_strong() { access.order } else { Order::Relaxed };
        let access = &Access { order, ..access.clone() };
        let mut judge = Judge { clocks, access, findings, found: false };
        let (bytes, shift) = (access.bytes as usize, access.bytes.trailing_zeros());
        let generation = self.generation;
        let mut written = 0;
        for &lane in lanes.iter().filter(|&&lane| access.mask >> lane & 1 == 1) {
            let offset = access.addresses[lane as usize] - base;
            let start = offset as usize % PAGE;
            let (memory, page, places, counts) = self.page((offset >> PAGE_SHIFT) as usize);
            page.enter(launch, generation);
            counts.run(page, start, bytes, true);
            let cells = page.cells(memory, shift, start, bytes);
            let earlier = [&*cells.write, &*cells.reads[0], &*cells.reads[1]];
            for (cell, (read, stamps)) in (0..cells.write.len()).flat_map(|cell| {
                [
                    (cell, (false, earlier[0])),
                    (cell, (true, earlier[1])),
                    (cell, (true, earlier[2])),
                ]
            }) {
                if judge.found || sight.surely_before(stamps[cell], lane.into()) {
                    continue;
                }
                let at = offset + ((cell as u64) << cells.shift);
                if judge.races(places, stamps[cell], read, lane, (at, at + (1 << cells.shift))) {
                    judge.report(stamps[cell], read, lane, base + at);
                }
            }
            if cells.write.iter().all(|&stamp| stamp::is_written(stamp)) {
                written |= 1 << lane;
            }
            cells.write.fill(sight.me + u64::from(lane));
            update(lane, &mut memory[start..start + bytes]);
            let range = (offset, offset + bytes as u64);
            places.read(judge.clocks, access.warp, range, access.acquires());
            places.write(judge.clocks, access.warp, range, access.releases(), true);
        }
        written
    }
}

fn sight(clocks: &mut Clocks, access: &Access<'_>) -> Sight {
    let mut sight = clocks.sight(access.warp);
    sight.me |= if access.is_strong() { STRONG } else { 0 };
    sight
}

fn range(access: &Access<'_>, base: u64, lane: u32) -> (u64, u64) {
    let start = access.addresses[lane as usize] - base;
    (start, start + u64::from(access.bytes))
}

/// The data with 0xFF in place of undefined lanes.
fn poison(data: &[u8; 512], access: &Access<'_>, defined: u32) -> [u8; 512] {
    let mut data = *data;
    for (lane, bytes) in data.chunks_exact_mut(access.bytes as usize).take(32).enumerate() {
        if defined >> lane & 1 == 0 {
            bytes.fill(0xFF);
        }
    }
    data
}
