//! The accesses of a warp, by runs of lanes.

use super::Clocks;
use super::page::{PAGE, PAGE_SHIFT};
use super::places::Places;
use super::region::{Access, Finding, Order, Region};
use super::shape::{Shape, lanes_in};
use super::stamp::{self, POISON, STRONG, Sight};

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
        let (clocks, warp) = (&mut *self.clocks, self.access.warp);
        let known = strong && !read && places.knows(clocks, warp, at.0, at.1);
        !known && !clocks.is_before(stamp, warp, lane)
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
        (base, shape): (u64, Shape),
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
        self.counts.instruction(launch, access, base, shape, false);
        let mut judge = Judge { clocks, access, findings, found: false };
        let bytes = access.bytes as usize;
        let shift = access.bytes.trailing_zeros();
        let generation = self.generation;
        let mut written = 0;
        access.for_runs(base, shape, true, |run| {
            let (memory, page, places, counts) = self.page(run.page);
            page.enter(launch, generation);
            counts.run(page, run.start, run.length, false);
            let cells = page.cells(memory, shift, run.start, run.length);
            let lanes = run.lanes_of_cells(&cells, access);
            let scan = stamp::scan_read(cells.write, cells.reads, &sight, lanes, coin);
            if !scan.ordered && !judge.found {
                let offset = ((run.page << PAGE_SHIFT) + run.start) as u64;
                for (cell, &stamp) in cells.write.iter().enumerate() {
                    let start = offset + ((cell as u64) << cells.shift);
                    let at = (start, start + (1 << cells.shift));
                    let racing = lanes_in(run.lanes_of(lanes, cell))
                        .find(|&lane| judge.races(places, stamp, false, lane, at));
                    if let Some(lane) = racing {
                        judge.report(stamp, false, lane, base + start);
                        break;
                    }
                }
            }
            if scan.written {
                written |= run.mask;
            } else {
                for (i, of_lane) in cells.write.chunks(bytes >> cells.shift).enumerate() {
                    if of_lane.iter().all(|&stamp| stamp::is_written(stamp)) {
                        written |= if run.shared { run.mask } else { 1 << (run.lane + i as u32) };
                    }
                }
            }
            let from = &memory[run.start..][..run.length];
            if run.shared {
                for lane in lanes_in(run.mask) {
                    out[lane as usize * bytes..][..bytes].copy_from_slice(from);
                }
            } else {
                out[run.lane as usize * bytes..][..run.length].copy_from_slice(from);
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
        (base, shape): (u64, Shape),
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
        self.counts.instruction(launch, access, base, shape, true);
        let mut judge = Judge { clocks, access, findings, found: false };
        let bytes = access.bytes as usize;
        let shift = access.bytes.trailing_zeros();
        let generation = self.generation;
        access.for_runs(base, shape, false, |run| {
            let (memory, page, places, counts) = self.page(run.page);
            page.enter(launch, generation);
            counts.run(page, run.start, run.length, true);
            let cells = page.cells(memory, shift, run.start, run.length);
            let lanes = run.lanes_of_cells(&cells, access);
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
            if run.mask & !defined != 0 {
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
        (base, shape): (u64, Shape),
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
        self.counts.instruction(launch, access, base, shape, true);
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
