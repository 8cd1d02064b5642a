//! The accesses of a warp, by runs of lanes.

use super::Clocks;
use super::page::{PAGE, PAGE_SHIFT, Page};
use super::places::Places;
use super::region::{Access, Finding, Order, Region};
use super::shape::{Run, Shape, lanes_in};
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

    fn report(&mut self, (stamp, place): (u64, u32), read: bool, lane: u32, address: u64) {
        self.found = true;
        let what = if read { "read" } else { "write" };
        let (earlier, missing) = self.clocks.describe(stamp, what, self.access.warp);
        let (place, missing) = (Some(place), missing.to_owned());
        self.findings.push(Finding { lane, address, earlier, place, missing });
    }

    /// Looks for earlier work that is not ordered with this launch; `base` is the page's address.
    #[cold]
    fn meet_rivals(&mut self, page: &Page, run: &Run, base: u64, write: bool) {
        let range = (run.start, run.start + run.length);
        let conflict = page.conflict(range, write, self.access.is_strong());
        let Some(conflict) = conflict.filter(|_| !self.found) else { return };
        self.found = true;
        let into = (conflict.at - run.start) as u32 / self.access.bytes;
        let lane = run.lane + if run.shared { 0 } else { into };
        let address = base + conflict.at as u64;
        self.findings.push(conflict.finding(self.clocks.now(), lane, address));
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
            page.enter(judge.clocks.now(), generation);
            counts.run(page, run.start, run.length, false);
            if page.has_rivals {
                judge.meet_rivals(page, &run, base + ((run.page << PAGE_SHIFT) as u64), false);
            }
            let cells = page.cells(memory, shift, run.start, run.length);
            let lanes = run.lanes_of_cells(&cells, access);
            let write = &*cells.write.stamps;
            let scan = stamp::scan_read(write, cells.reads, &sight, lanes, (access.place, coin));
            if !scan.ordered && !judge.found {
                let offset = ((run.page << PAGE_SHIFT) + run.start) as u64;
                for (cell, &stamp) in write.iter().enumerate() {
                    let start = offset + ((cell as u64) << cells.shift);
                    let at = (start, start + (1 << cells.shift));
                    let racing = lanes_in(run.lanes_of(lanes, cell))
                        .find(|&lane| judge.races(places, stamp, false, lane, at));
                    if let Some(lane) = racing {
                        let earlier = (stamp, cells.write.places[cell]);
                        judge.report(earlier, false, lane, base + start);
                        break;
                    }
                }
            }
            if scan.written {
                written |= run.mask;
            } else {
                for (i, of_lane) in write.chunks(bytes >> cells.shift).enumerate() {
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
            page.enter(judge.clocks.now(), generation);
            counts.run(page, run.start, run.length, true);
            if page.has_rivals {
                judge.meet_rivals(page, &run, base + ((run.page << PAGE_SHIFT) as u64), true);
            }
            let cells = page.cells(memory, shift, run.start, run.length);
            let lanes = run.lanes_of_cells(&cells, access);
            let ([read0, read1], writes) = (cells.reads, cells.write);
            let earlier = [&*read0.stamps, &*read1.stamps];
            let ordered = stamp::scan_write(writes.stamps, earlier, &sight, lanes);
            let to = &mut memory[run.start..][..run.length];
            let from = &data[run.lane as usize * bytes..][..run.length];
            if !ordered && !judge.found {
                let offset = ((run.page << PAGE_SHIFT) + run.start) as u64;
                for cell in 0..writes.stamps.len() {
                    let lane = run.lane + (cell >> lanes.shift) as u32;
                    let inside = cell << cells.shift..(cell + 1) << cells.shift;
                    let start = offset + inside.start as u64;
                    let at = (start, offset + inside.end as u64);
                    let changes = to[inside.clone()] != from[inside];
                    let earlier = [(&writes, false), (&read0, true), (&read1, true)];
                    let racing = earlier.into_iter().find(|&(slots, read)| {
                        let stamp = slots.stamps[cell];
                        (read || changes) && judge.races(places, stamp, read, lane, at)
                    });
                    if let Some((slots, read)) = racing {
                        let earlier = (slots.stamps[cell], slots.places[cell]);
                        judge.report(earlier, read, lane, base + start);
                        break;
                    }
                }
            }
            to.copy_from_slice(from);
            let me = sight.me + u64::from(run.lane);
            for (cell, stamp) in writes.stamps.iter_mut().enumerate() {
                *stamp = me + (cell >> lanes.shift) as u64;
            }
            writes.places.fill(access.place);
            if run.mask & !defined != 0 {
                for (cell, stamp) in writes.stamps.iter_mut().enumerate() {
                    let lane = run.lane + (cell >> lanes.shift) as u32;
                    *stamp |= if defined >> lane & 1 == 1 { 0 } else { POISON };
                }
            }
            // Whoever conflicts with a read from before also conflicts with this write, unless it
            // may be unordered with a strong one.
            if !access.is_strong() {
                read0.stamps.fill(stamp::NEVER);
                read1.stamps.fill(stamp::NEVER);
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
            page.enter(judge.clocks.now(), generation);
            counts.run(page, start, bytes, true);
            let run = Run {
                lane,
                mask: 1 << lane,
                page: offset as usize >> PAGE_SHIFT,
                start,
                length: bytes,
                shared: false,
            };
            if page.has_rivals {
                judge.meet_rivals(page, &run, base + offset - start as u64, true);
            }
            let cells = page.cells(memory, shift, start, bytes);
            let earlier = [(&cells.write, false), (&cells.reads[0], true), (&cells.reads[1], true)];
            for cell in 0..cells.write.stamps.len() {
                for &(slots, read) in &earlier {
                    let stamp = slots.stamps[cell];
                    if judge.found || sight.surely_before(stamp, lane.into()) {
                        continue;
                    }
                    let at = offset + ((cell as u64) << cells.shift);
                    if judge.races(places, stamp, read, lane, (at, at + (1 << cells.shift))) {
                        judge.report((stamp, slots.places[cell]), read, lane, base + at);
                    }
                }
            }
            if cells.write.stamps.iter().all(|&stamp| stamp::is_written(stamp)) {
                written |= 1 << lane;
            }
            cells.write.stamps.fill(sight.me + u64::from(lane));
            cells.write.places.fill(access.place);
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
