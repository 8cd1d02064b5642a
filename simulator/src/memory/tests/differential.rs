//! Random programs on the memory and on the plain model of its rules.

use super::model::{Model, Race};
use super::{ALL, BASE};
use crate::memory::stamp::LAST_EPOCH;
use crate::memory::{Access, Clocks, Fence, Finding, Memory, Now, Order};

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What a program may do.
#[derive(Clone, Copy)]
struct Rules {
    blocks: u64,
    warps_per_block: u64,
    /// Strong accesses, fences, and synchronisation of a part of a warp.
    all: bool,
    steps: usize,
    /// The width of where accesses go.
    window: u64,
    /// The first epoch.
    epoch: u32,
}

#[derive(Default, Debug)]
struct Tally {
    racing: usize,
    found: usize,
    instructions: usize,
}

const SIZE: u64 = 3 * 4096 + 100;

struct Pair {
    random: Random,
    rules: Rules,
    memory: Memory,
    clocks: Clocks,
    start: u64,
    model: Model,
    tally: Tally,
}

impl Pair {
    fn new(seed: u64, rules: Rules) -> Pair {
        let mut memory = Memory::new(BASE, 1 << 20);
        memory.allocate(1000).unwrap();
        let start = memory.allocate(SIZE).unwrap();
        let warps = rules.blocks * rules.warps_per_block;
        Pair {
            random: Random(seed),
            clocks: Clocks::new(Now::from(0), 1),
            memory,
            start,
            model: Model::new(SIZE as usize, warps as usize),
            tally: Tally::default(),
            rules,
        }
    }

    fn addresses(&mut self, bytes: u64) -> [u64; 32] {
        let r = &mut self.random;
        let slots = self.rules.window / bytes;
        let first = r.below(slots) * bytes;
        let step = match r.below(6) {
            0 | 1 => bytes,
            2 => 0,
            3 => bytes * (1 + r.below(5)),
            _ => u64::MAX,
        };
        let near = 1 + r.below(slots);
        let group = r.pick(&[1, 1, 2, 8]);
        std::array::from_fn(|lane| {
            let offset = match step {
                u64::MAX => r.below(near) * bytes,
                step => lane as u64 / group * step,
            };
            // Over the end of a page.
            self.start + 4096 - self.rules.window / 2 + (first + offset) % self.rules.window
        })
    }

    fn mask(&mut self) -> u32 {
        let r = &mut self.random;
        match r.below(4) {
            0 => ALL >> r.below(32),
            1 => (r.below(1 << 32) & r.below(1 << 32)) as u32,
            2 => 1 << r.below(32),
            _ => ALL,
        }
    }

    fn judge(&mut self, races: &[Race], findings: &[Finding], what: &str) {
        assert!(findings.len() <= 1);
        self.tally.instructions += 1;
        self.tally.racing += usize::from(races.iter().any(|race| race.recent));
        self.tally.found += findings.len();
        let Some(found) = findings.first() else { return };
        // A finding names the start of a cell, all of whose bytes have one history.
        let offset = (found.address - self.start) as usize;
        let real =
            |race: &Race| race.lane == found.lane && (offset..offset + 16).contains(&race.offset);
        assert!(races.iter().any(real), "{what}: false alarm: {found:?} at {offset:#x}");
    }

    fn access(&mut self) {
        let bytes = self.random.pick(&[1, 2, 4, 4, 8, 16, 16]);
        let addresses = self.addresses(bytes);
        let strong = self.rules.all && self.random.below(3) == 0;
        let warp = self.random.below(self.rules.blocks * self.rules.warps_per_block);
        let mut access = Access {
            addresses: &addresses,
            mask: self.mask(),
            bytes: bytes as u32,
            order: Order::Weak,
            warp,
            place: 0,
        };
        let mut findings = Vec::new();
        let base = self.start;
        match self.random.below(if self.rules.all { 5 } else { 4 }) {
            0 | 1 => {
                access.order = if strong {
                    self.random.pick(&[Order::Relaxed, Order::Acquire])
                } else {
                    Order::Weak
                };
                let mut out = [0xEE; 512];
                let written =
                    self.memory.load(&mut self.clocks, &access, &mut out, &mut findings).unwrap();
                let (values, races) = self.model.load(&access, base);
                for (lane, value) in values.iter().enumerate() {
                    let out = &out[lane * bytes as usize..][..bytes as usize];
                    let expected: Vec<u8> = match value {
                        Some(value) => value.iter().map(|byte| byte.unwrap_or(0xFF)).collect(),
                        None => vec![0xEE; bytes as usize],
                    };
                    assert_eq!(out, expected, "lane {lane}");
                    let all = value.as_ref().is_some_and(|value| value.iter().all(Option::is_some));
                    assert_eq!(written >> lane & 1 == 1, all, "lane {lane}");
                }
                self.judge(&races, &findings, "load");
            }
            2 | 3 => {
                access.order = if strong {
                    self.random.pick(&[Order::Relaxed, Order::Release])
                } else {
                    Order::Weak
                };
                let kinds = self.random.pick(&[1, 2, 256]);
                let data = std::array::from_fn(|_| self.random.below(kinds) as u8);
                let defined =
                    if self.random.below(4) == 0 { self.random.below(1 << 32) as u32 } else { ALL };
                self.memory
                    .store(&mut self.clocks, &access, &data, defined, &mut findings)
                    .unwrap();
                let races = self.model.store(&access, base, &data, defined);
                self.judge(&races, &findings, "store");
            }
            _ => {
                access.order = self.random.pick(&[
                    Order::Relaxed,
                    Order::Acquire,
                    Order::Release,
                    Order::AcquireRelease,
                ]);
                let mut lanes: Vec<u32> =
                    (0..32).filter(|lane| access.mask >> lane & 1 == 1).collect();
                if self.random.below(2) == 0 {
                    lanes.reverse();
                }
                let add = self.random.below(3) as u8;
                let mut update = |_: u32, bytes: &mut [u8]| bytes[0] = bytes[0].wrapping_add(add);
                let written = self
                    .memory
                    .atomic(&mut self.clocks, &access, &lanes, &mut update, &mut findings)
                    .unwrap();
                let (expected, races) = self.model.atomic(&access, base, &lanes, add);
                assert_eq!(written, expected);
                self.judge(&races, &findings, "atomic");
            }
        }
    }

    fn barrier(&mut self) {
        let count = self.rules.warps_per_block;
        let block = self.random.below(self.rules.blocks);
        let mut fence = Fence::default();
        let warps = block * count..(block + 1) * count;
        warps.clone().for_each(|warp| self.clocks.barrier_arrive(warp, &mut fence));
        warps.clone().for_each(|warp| self.clocks.barrier_leave(warp, &fence));
        self.model.barrier(warps.start as usize..warps.end as usize);
    }

    fn host(&mut self) {
        let r = &mut self.random;
        let any = |r: &mut Random| match r.below(3) {
            0 => (0, SIZE),
            1 => (r.below(SIZE), r.below(64)),
            _ => (r.below(SIZE / 16) * 16, r.below(SIZE / 16) * 16),
        };
        let (from, count) = any(r);
        let to = any(r).0;
        let count = count.min(SIZE - from.max(to));
        match r.below(3) {
            0 => {
                let data: Vec<u8> = (0..count).map(|_| r.below(256) as u8).collect();
                self.memory.write(self.start + from, &data).unwrap();
                let data: Vec<_> = data.into_iter().map(Some).collect();
                self.model.host_write(from as usize, &data);
            }
            1 => {
                self.memory.copy(self.start + to, self.start + from, count).unwrap();
                let data = self.model.host_read(from as usize, count as usize);
                self.model.host_write(to as usize, &data);
            }
            _ => {
                let pattern = [1, 2, 3, 4];
                let length = r.pick(&[1, 2, 4]);
                let count = count / length;
                let pattern = &pattern[..length as usize];
                self.memory.fill(self.start + from, pattern, count).unwrap();
                let data: Vec<_> = pattern.repeat(count as usize).into_iter().map(Some).collect();
                self.model.host_write(from as usize, &data);
            }
        }
        self.compare();
    }

    fn compare(&self) {
        let mut bytes = vec![0; SIZE as usize];
        self.memory.read(self.start, &mut bytes).unwrap();
        let expected = self.model.host_read(0, SIZE as usize);
        let place =
            bytes.iter().zip(expected).position(|(&byte, value)| byte != value.unwrap_or(0xFF));
        assert_eq!(place, None);
    }

    fn step(&mut self) {
        let warps = self.rules.blocks * self.rules.warps_per_block;
        let warp = self.random.below(warps);
        match self.random.below(if self.rules.all { 16 } else { 14 }) {
            0..=9 => self.access(),
            10 | 11 => self.barrier(),
            12 | 13 => {
                let lanes =
                    if self.rules.all && self.random.below(2) == 0 { self.mask() } else { ALL };
                self.clocks.warp_sync(warp, lanes);
                self.model.warp_sync(warp as usize, lanes);
            }
            _ => {
                self.clocks.fence(warp);
                self.model.fence(warp as usize);
            }
        }
    }

    fn run(mut self) -> Tally {
        for _ in 0..3 {
            (0..self.random.below(4)).for_each(|_| self.host());
            let launch = self.memory.begin_launch();
            self.clocks = Clocks::new(launch, self.rules.warps_per_block as u32);
            self.clocks.start_late(self.rules.epoch);
            self.model.launch((self.rules.blocks * self.rules.warps_per_block) as usize);
            for _ in 0..self.rules.steps {
                self.step();
            }
            assert_eq!(self.memory.traffic(), self.model.traffic);
            self.compare();
        }
        self.tally
    }
}

fn run(seeds: u64, rules: Rules) -> Tally {
    let mut all = Tally::default();
    for seed in 0..seeds {
        let tally =
            std::panic::catch_unwind(|| Pair::new(seed, rules).run()).unwrap_or_else(|panic| {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic)
            });
        all.racing += tally.racing;
        all.found += tally.found;
        all.instructions += tally.instructions;
    }
    eprintln!("{all:?}");
    all
}

/// With two warps, weak accesses and whole warps, the memory forgets nothing that matters.
#[test]
fn two_warps_exactly() {
    for (blocks, warps_per_block) in [(1, 2), (2, 1), (1, 1)] {
        for window in [64, 1024, 4096] {
            let rules = Rules { blocks, warps_per_block, all: false, steps: 40, window, epoch: 1 };
            let tally = run(150, rules);
            assert_eq!(tally.found, tally.racing);
        }
    }
}

/// No finding without a race; and few races are missed.
#[test]
fn anything_without_false_alarms() {
    for (blocks, warps_per_block) in [(1, 1), (2, 2), (3, 1), (1, 4)] {
        for window in [64, 1024, 4096] {
            let rules = Rules { blocks, warps_per_block, all: true, steps: 60, window, epoch: 1 };
            let tally = run(100, rules);
            assert!(tally.found * 10 >= tally.racing * 9, "{tally:?}");
        }
    }
}

/// When the epochs of a block run out, races are missed, but none is made up.
#[test]
fn epochs_run_out() {
    for (blocks, warps_per_block) in [(1, 1), (2, 2), (1, 4)] {
        let epoch = LAST_EPOCH - 6;
        let rules = Rules { blocks, warps_per_block, all: true, steps: 60, window: 1024, epoch };
        let tally = run(200, rules);
        assert!(tally.found > 0 && tally.found * 10 < tally.racing * 9, "{tally:?}");
    }
}
